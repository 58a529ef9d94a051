"""Local energy: how much the loss rises, on average, when the weights are shaken.

The slides' proxy of the local entropy (Pittorino 2023; Pittorino et al., arXiv:2006.07897)::

    delta E(w, sigma) = E_z E(w + sigma z * w) - E(w),    z standard normal, one number per parameter

Noise in proportion to each weight is carried along by a rescaling of hidden units: with the same z the
rescaled network has the same outputs, so the measure cannot be changed by it.
Noise of one size for all weights is not.

All points of a draw lie on one line from the network, so a first linear layer is computed once per draw and
not once per draw and sigma (`spinscape.landscape.paths`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from spinscape.landscape.paths.combination import euclidean, same_size
from spinscape.landscape.paths.profiles import profile
from spinscape.landscape.steps import SHAKES, draw, generator
from spinscape.landscape.symmetry.checks import (
    as_numbers,
    as_tensor,
    at_least,
    check_finite,
    check_memory,
    check_samples,
)
from spinscape.landscape.symmetry.permutations import Permutations, permute
from spinscape.networks.device import FREE_SHARE
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.losses import PerSample
from spinscape.progress import bar

Floats = NDArray[np.float64]
Kind = Literal["multiplicative", "additive"]
Measure = Literal["loss", "error"]

PIECE_BYTES = 64 * 2**20
"""Noise and shaken weights that are held at once, on a CPU."""


@dataclass(frozen=True)
class LocalEnergy:
    """Mean rise of the loss and of the share of wrong answers under noise on the weights.

    Attributes
    ----------
    sigmas
        Sizes of the noise, ``(S,)``: in units of each weight, or of the weights if the noise is additive.
    loss, loss_error
        Mean rise of the loss and the Monte Carlo standard error of that mean, ``(R, S)``.
    error, error_error
        Likewise of the share of wrong answers; NaN for regression.
    loss_draws, error_draws
        The rises of every draw, ``(R, S, K)``.
    reference_loss, reference_error
        Of the networks as they are, ``(R,)``.
    draws
        The number K of draws.
    kind
        ``"multiplicative"`` or ``"additive"``.
    common
        Whether all networks had the same draws.
    """

    sigmas: Floats
    loss: Floats
    loss_error: Floats
    error: Floats
    error_error: Floats
    loss_draws: Floats
    error_draws: Floats
    reference_loss: Floats
    reference_error: Floats
    draws: int
    kind: str
    common: bool

    def difference(
        self, first: ArrayLike, second: ArrayLike, measure: Measure = "loss"
    ) -> tuple[Floats, Floats]:
        """Return how much higher networks `first` lie than networks `second`, and the standard error.

        Parameters
        ----------
        first, second
            Numbers of networks, ``(P,)`` each or one number.
        measure
            ``"loss"`` or ``"error"``.

        Returns
        -------
        difference, error : ndarray
            ``(P, S)``. Common draws are subtracted one by one, so what they share drops out.
        """
        if measure not in get_args(Measure):
            raise ValueError(f"measure must be one of {get_args(Measure)}, not {measure!r}")
        rows = self.loss_draws if measure == "loss" else self.error_draws
        one, other = rows[np.atleast_1d(first)], rows[np.atleast_1d(second)]
        between = (one - other).mean(-1)
        if self.common:
            return between, _standard_error(one - other)
        return between, np.hypot(_standard_error(one), _standard_error(other))


def local_energy(
    ensemble: Ensemble,
    x: Tensor,
    y: Tensor,
    sigmas: ArrayLike,
    *,
    draws: int = 100,
    kind: Kind = "multiplicative",
    common: bool = False,
    carried: Mapping[str, ArrayLike] | None = None,
    loss: str | PerSample = "cross_entropy",
    chunk: int | None = None,
    seed: int = 0,
) -> LocalEnergy:
    """Measure by how much noise on the weights raises the mean loss and the share of wrong answers.

    Parameters
    ----------
    ensemble
        R networks of any model, evaluated as they are in use (no dropout, stored batch-norm statistics).
        All parameters are shaken, those of batch norms too; statistics are not.
    x, y
        Inputs ``(N, ...)`` and labels ``(N,)`` or targets.
    sigmas
        Sizes of the noise ``(S,)``, at least 0; at 0 nothing rises.
    draws
        Draws of the noise K, at least 2; each serves all sigmas.
    kind
        ``"multiplicative"``: ``w + sigma z * w``; ``"additive"``: ``w + sigma z``.
    common
        Whether draw k is the same for all networks, so that they are compared with less noise.
        Else draw k of network r depends on the seed, r and k.
    carried
        Permutations of hidden units ``(R, size)`` or ``(size,)`` by set that were applied to the networks:
        the noise is permuted likewise, so that a permuted network gets what the original gets.
    loss
        As in :func:`spinscape.networks.evaluation.evaluate`.
    chunk
        Draws of one network at once; by default what fits. It never changes a draw.
    seed
        Seed of the noise.

    Returns
    -------
    LocalEnergy

    Raises
    ------
    ValueError
        If a sigma is negative or not finite, `draws` is below 2, `kind` is unknown, weights are not finite,
        or samples do not fit the model.
    MemoryError
        If the rises do not fit in memory.

    Examples
    --------
    >>> import torch
    >>> from spinscape.networks.ensemble import Ensemble
    >>> nets = Ensemble.from_modules([torch.nn.Linear(3, 2) for _ in range(4)])
    >>> found = local_energy(nets, torch.randn(5, 3), torch.tensor([0, 1, 0, 1, 1]), [0.0, 0.1], draws=10)
    >>> found.loss.shape, bool((found.loss[:, 0] == 0).all())
    ((4, 2), True)
    """
    sizes = np.atleast_1d(as_numbers("sigmas", sigmas))
    if sizes.ndim != 1 or not sizes.size or not (np.isfinite(sizes) & (sizes >= 0)).all():
        raise ValueError(f"sigmas must be finite numbers of at least 0, not {sigmas!r}")
    draws = at_least("draws", draws, 2)
    if kind not in get_args(Kind):
        raise ValueError(f"kind must be one of {get_args(Kind)}, not {kind!r}")
    generator(seed, SHAKES)
    check_finite(ensemble)
    check_memory("draws", draws, 32.0 * ensemble.replicas * len(sizes))
    x, y = check_samples(ensemble, x, y, loss)
    size = _at_once(ensemble) if chunk is None else at_least("chunk", chunk, 1)
    rises = np.empty((2, ensemble.replicas, len(sizes), draws))
    reference = np.empty((2, ensemble.replicas))
    zero = np.zeros(1)
    with bar("local energy", draws * ensemble.replicas) as progress:
        for start in range(0, draws, size):
            some = range(start, min(start + size, draws))
            z = None
            for r in range(ensemble.replicas):
                one = ensemble[r]
                if start == 0:
                    here = profile(euclidean(zero, (one, one), np.array([[1.0], [0.0]])), x, y, loss)
                    reference[:, r] = here.loss[0, 0], here.error[0, 0]
                if z is None or not common:
                    z = _noise(one, seed, () if common else (r,), some)
                shaken = _shaken(one, _carried(one, z, carried, r), kind)
                path = euclidean(sizes, same_size((one, shaken)), np.stack([1 - sizes, sizes]))
                found = profile(path, x, y, loss)
                for k, values in enumerate((found.loss, found.error)):
                    rises[k, r, :, some.start : some.stop] = values.T - reference[k, r]
                progress.update(len(some))
    rises[:, :, sizes == 0] = np.where(np.isnan(rises[:, :, sizes == 0]), np.nan, 0.0)
    return LocalEnergy(
        sizes,
        rises[0].mean(-1),
        _standard_error(rises[0]),
        rises[1].mean(-1),
        _standard_error(rises[1]),
        rises[0],
        rises[1],
        reference[0],
        reference[1],
        draws,
        kind,
        common,
    )


def _at_once(ensemble: Ensemble) -> int:
    """Return how many draws of one network are made at once: each takes noise and shaken weights."""
    room = float(PIECE_BYTES)
    if ensemble.device.type == "cuda":
        room = FREE_SHARE / 4 * torch.cuda.mem_get_info(ensemble.device)[0]
    each = 3 * sum(value[0].numel() * value.element_size() for value in ensemble.params.values())
    return max(1, int(room // each))


def _noise(one: Ensemble, seed: int, network: tuple[int, ...], draws: range) -> Tensor:
    """Return standard normals ``(draws, D)`` for one network."""
    like = next(iter(one.params.values()))
    count = sum(value[0].numel() for value in one.params.values())
    return torch.stack([draw((count,), like, generator(seed, SHAKES, k, *network)) for k in draws])


def _carried(one: Ensemble, z: Tensor, carried: Mapping[str, ArrayLike] | None, r: int) -> Ensemble:
    """Return the noise in the shapes of the parameters, its units permuted as those of network r were."""
    noise = one.unflatten(z)
    if carried is None:
        return noise
    orders = Permutations()
    for name, given in carried.items():
        p = as_tensor(name, given)
        orders[name] = p[r] if p.ndim == 2 and len(p) > 1 else p
    return permute(noise, orders)


def _shaken(one: Ensemble, noise: Ensemble, kind: str) -> Ensemble:
    """Return the network shaken by noise of sigma 1, once per draw."""
    params = {}
    for name, value in one.params.items():
        z = noise.params[name]
        params[name] = torch.addcmul(value, value, z) if kind == "multiplicative" else value + z
    buffers = {name: value.expand(noise.replicas, *value.shape[1:]) for name, value in one.buffers.items()}
    return Ensemble(one.model, params, buffers)


def _standard_error(samples: Floats) -> Floats:
    """Return the standard error of the mean over the last axis."""
    error: Floats = samples.std(-1, ddof=1) / np.sqrt(samples.shape[-1])
    return error
