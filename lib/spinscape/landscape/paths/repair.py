"""Activation statistics of networks between others, reset to those of the others.

Where weights of networks are averaged, the preactivations of hidden units vary less over samples than in
either network, layer after layer less: their variance collapses.
REPAIR (Jordan, Sedghi, Saukh, Entezari, Neyshabur, arXiv:2211.08403) gives every hidden unit i of a network
with weights ``sum_e c_e w_e`` the mean and standard deviation

    ``mu_i = sum_e c_e mu_i(e)``,   ``sigma_i = sum_e c_e sigma_i(e)``

over given samples, layer by layer, each layer being measured behind the layers that were reset before.
That is an affine map of a unit's preactivation, so it goes into the unit's weights and bias.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from spinscape.landscape.paths._by_layer import ByLayer
from spinscape.networks.device import chunk_size, keep_heap
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.forward import Forward, training_mode
from spinscape.networks.units import join

FLAT = 1e-5
"""A unit whose deviation is a smaller share than this of its mean and of its aim is flat, up to rounding.

It cannot be given a deviation, and is only moved.
"""

Floats = NDArray[np.float64]


class Line(Protocol):
    """What is needed of a path: positions, bases of which the first and the last are its ends, and points."""

    @property
    def t(self) -> Any:
        """Positions ``(K,)`` from 0 to 1."""

    @property
    def bases(self) -> Sequence[Ensemble]:
        """Networks, P each."""

    def points(self) -> Ensemble:
        """Return the P K networks, pair by pair."""


@dataclass(frozen=True)
class UnitStatistics:
    """Mean and standard deviation of the preactivation of every hidden unit.

    Over samples, and over positions where the units are channels of feature maps.

    Attributes
    ----------
    layers
        Names of the hidden layers, in forward order.
    mean, sd
        By layer, float64 ``(R, units)``; the deviation is the population's.
    """

    layers: tuple[str, ...]
    mean: dict[str, Floats]
    sd: dict[str, Floats]


def unit_statistics(ensemble: Ensemble, x: Tensor, *, chunk: int | None = None) -> UnitStatistics:
    """Measure the preactivations of all hidden units.

    Parameters
    ----------
    ensemble
        R networks, chains of fully connected layers or convolutions.
    x
        Inputs ``(N, ...)``, at least two.
    chunk
        Networks at once; by default what fits the cache or the GPU.

    Raises
    ------
    ValueError
        If the model is no chain, has batch norms or a hidden layer without bias.
    MemoryError
        If the layers of one network do not fit in memory; it tells how many samples do.

    Examples
    --------
    >>> from spinscape.networks.models import mlp
    >>> found = unit_statistics(Ensemble.from_modules([mlp([6, 8, 5, 3])]), torch.randn(50, 6))
    >>> found.layers, found.sd["layer2"].shape
    (('layer1', 'layer2'), (1, 5))
    """
    means, sds = _measured(ByLayer(ensemble.model, x, ensemble), ensemble, chunk)

    def arrays(values: dict[str, Tensor]) -> dict[str, Floats]:
        return {name: value.cpu().double().numpy() for name, value in values.items()}

    return UnitStatistics(tuple(means), arrays(means), arrays(sds))


def repair(
    points: Ensemble,
    ends: Sequence[Ensemble],
    x: Tensor,
    *,
    t: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    chunk: int | None = None,
) -> Ensemble:
    """Reset mean and deviation of all hidden preactivations to the mixture of the ends' ones.

    Where a weight is 1 and the others 0 the point must be that end, and stays as it is up to rounding.

    Parameters
    ----------
    points
        P K networks between the ends, pair by pair: chains of fully connected layers or convolutions with
        biases and without batch norm.
    ends
        E ensembles of P networks each: the two ends of P lines, or what is averaged.
    x
        Inputs ``(N, ...)`` over which statistics are taken, at least two.
    t
        Positions ``(K,)`` between two ends, for weights ``1 - t`` and ``t``.
    weights
        Or the share of each end in each point, ``(K, E)``.
        A mixture of deviations below 0, beyond the ends, is taken as 0.
    chunk
        Networks at once; by default what fits the cache or the GPU.

    Returns
    -------
    Ensemble
        P K networks of the same model.

    Raises
    ------
    ValueError
        If numbers of networks do not fit, the model is no chain, has batch norms (see
        :func:`reset_statistics`) or a hidden layer without bias, which is named.
    MemoryError
        If the layers of one network do not fit in memory; it tells how many samples do.

    Examples
    --------
    The middle of two networks, with the variance it had lost.

    >>> from spinscape.networks.models import mlp
    >>> a, b = (Ensemble.from_modules([mlp([20, 64, 64, 3])]) for _ in range(2))
    >>> x = torch.randn(100, 20)
    >>> middle = Ensemble(a.model, {name: (a.params[name] + b.params[name]) / 2 for name in a.params})
    >>> bool(variance_ratios(middle, [a, b], x, t=[0.5]).mean() < 0.8)
    True
    >>> again = variance_ratios(repair(middle, [a, b], x, t=[0.5]), [a, b], x, t=[0.5])
    >>> bool(abs(again - 1).max() < 1e-4)
    True
    """
    shares = _shares(points, ends, t, weights)
    layers = ByLayer(points.model, x, points)
    aims = _aims(layers, ends, shares, chunk)
    params = dict(points.params)
    for segment in layers.segments:
        for name in segment.names.values():
            params[name] = torch.empty_like(points.params[name])

    def work(part: Ensemble, rows: slice) -> None:
        def act(layer: str, values: Tensor) -> None:
            mean, sd = moments(values)
            aim_mean, aim_sd = (aim[rows] for aim in aims[layer])
            flat = sd <= FLAT * (mean.abs() + aim_sd)
            factor = torch.where(flat, torch.ones_like(sd), aim_sd / sd.where(~flat, 1.0))
            shift = aim_mean - mean * factor
            weight, bias = part.params[join(layer, "weight")], part.params[join(layer, "bias")]
            params[join(layer, "weight")][rows] = (weight * _along(factor, weight, 1)).to(weight.dtype)
            params[join(layer, "bias")][rows] = (bias * factor + shift).to(bias.dtype)
            values.mul_(_along(factor, values, 2)).add_(_along(shift, values, 2))

        layers.run(part, act)

    layers.in_chunks(points, work, chunk)
    return Ensemble(points.model, params, points.buffers)


def repair_path(path: Line, x: Tensor, *, chunk: int | None = None) -> Ensemble:
    """Return the points of a path, each with the activation statistics of the line between its ends.

    Parameters
    ----------
    path
        A path between two networks, any number of pairs; the first and the last of its bases are its ends.
    x, chunk
        As in :func:`repair`.

    Returns
    -------
    Ensemble
        P K networks, pair by pair.
    """
    return repair(path.points(), [path.bases[0], path.bases[-1]], x, t=path.t, chunk=chunk)


def variance_ratios(
    points: Ensemble,
    ends: Sequence[Ensemble],
    x: Tensor,
    *,
    t: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    chunk: int | None = None,
) -> Floats:
    """Return the variance of preactivations relative to that of the ends, each summed over a layer's units.

    Below 1 the variance collapses; :func:`repair` restores 1.

    Parameters
    ----------
    points, ends, x, t, weights, chunk
        As in :func:`repair`, which aims at the variance that the ratio is to.

    Returns
    -------
    ndarray
        float64 ``(layers, P, K)``.
    """
    shares = _shares(points, ends, t, weights)
    layers = ByLayer(points.model, x, points)
    aims = _aims(layers, ends, shares, chunk)
    _, sds = _measured(layers, points, chunk)
    rows = [(sds[layer] ** 2).sum(1) / (aims[layer][1] ** 2).sum(1) for layer in sds]
    return torch.stack(rows).cpu().double().numpy().reshape(len(rows), ends[0].replicas, -1)


def reset_statistics(
    ensemble: Ensemble, x: Tensor, *, batch_size: int | None = None, chunk: int | None = None
) -> Ensemble:
    """Measure the running statistics of all batch norms anew, as a network between others needs it.

    Each batch norm normalises by the statistics of the batch while those behind it are measured; dropout is
    left out.

    Parameters
    ----------
    ensemble
        R networks of any model with batch norms.
    x
        Inputs ``(N, ...)``.
    batch_size
        Samples at once, at least two; by default all, which is exact: the networks in use then do what they
        do in training on `x`.
        Statistics of several batches are joined; a last batch of one sample is left out.
    chunk
        Networks at once; by default what fits the cache or the GPU.

    Returns
    -------
    Ensemble
        The same networks with other buffers.

    Raises
    ------
    ValueError
        If the model has no batch norm with running statistics, or there are fewer than two samples.
    """
    model = deepcopy(ensemble.model)
    norms: list[str] = []
    for name, module in list(model.named_modules()):
        if isinstance(module, _DropoutNd):
            model.set_submodule(name, nn.Identity())
        if isinstance(module, _BatchNorm) and module.track_running_stats:
            module.momentum = 1.0
            norms.append(name)
    if not norms:
        raise ValueError(
            "the model has no batch norm with running statistics; repair() resets those of layers"
        )
    size = len(x) if batch_size is None else batch_size
    if min(size, len(x)) < 2:
        raise ValueError(f"statistics need at least two samples in a batch, not {min(size, len(x))}")
    x = x.to(ensemble.device, ensemble.dtype if x.is_floating_point() else x.dtype)
    batches = [part for part in x.split(size) if len(part) > 1]
    positions = _positions(model, ensemble, norms, x[:2])
    widest = max(ensemble.buffers[join(name, "running_mean")][0].numel() * n for name, n in positions.items())
    each = 8 * ensemble.dtype.itemsize * len(batches[0]) * max(widest, x[0].numel())
    step = chunk or chunk_size(each, ensemble.device, ensemble.replicas, few=1)
    found = {name: value.clone() for name, value in ensemble.buffers.items()}
    keep_heap()
    for start in range(0, ensemble.replicas, step):
        rows = slice(start, start + step)
        seen = [_trained(model, ensemble[rows], part) for part in batches]
        shares = torch.tensor([len(part) for part in batches]).to(x.device, ensemble.dtype)
        shares = (shares / shares.sum())[:, None, None]
        for name in norms:
            mean_of, variance_of = join(name, "running_mean"), join(name, "running_var")
            means = torch.stack([state[mean_of] for state in seen])
            # PyTorch stores the unbiased variance and normalises by the other one.
            counts = (len(part) * positions[name] for part in batches)
            variances = [state[variance_of] * ((n - 1) / n) for state, n in zip(seen, counts, strict=True)]
            mean = (shares * means).sum(0)
            found[mean_of][rows] = mean
            found[variance_of][rows] = (shares * (torch.stack(variances) + (means - mean).square())).sum(0)
    return Ensemble(ensemble.model, ensemble.params, found)


def _trained(model: nn.Module, ensemble: Ensemble, x: Tensor) -> dict[str, Tensor]:
    """Return the buffers after one batch in training mode."""
    state = {name: value.clone() for name, value in ensemble.buffers.items()}
    with torch.no_grad():
        forward = Forward(model, ensemble.params, state, x, training=True)
        forward(ensemble.params, state, x, shared=True)
    return state


def _positions(model: nn.Module, ensemble: Ensemble, norms: list[str], x: Tensor) -> dict[str, int]:
    """Return over how many positions of a sample each batch norm takes its statistics."""
    found: dict[str, int] = {}

    def count(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        return lambda _, given: found.__setitem__(name, given[0][0, 0].numel())

    hooks = [model.get_submodule(name).register_forward_pre_hook(count(name)) for name in norms]
    tensors = {name: value[0] for name, value in (ensemble.params | ensemble.buffers).items()}
    with torch.no_grad(), training_mode(model, False):
        functional_call(model, tensors, (x,))
    for hook in hooks:
        hook.remove()
    return found


def moments(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return means and deviations over samples and positions, ``(R, N, units, ...)`` to ``(R, units)``."""
    dims = (1, *range(3, values.ndim))
    mean = values.mean(dims)
    centred = values - _along(mean, values, 2)
    return mean, centred.square_().mean(dims).sqrt()


def _along(per_unit: Tensor, values: Tensor, axis: int) -> Tensor:
    """Shape ``(R, units)`` so that its units lie along an axis of `values`."""
    shape = [len(per_unit), *[1] * (values.ndim - 1)]
    shape[axis] = per_unit.shape[1]
    return per_unit.view(shape)


def _measured(
    layers: ByLayer, ensemble: Ensemble, chunk: int | None
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return means and deviations by layer, ``(R, units)``."""
    found: dict[str, list[tuple[Tensor, Tensor]]] = {segment.name: [] for segment in layers.segments}

    def work(part: Ensemble, rows: slice) -> None:
        here: dict[str, tuple[Tensor, Tensor]] = {}
        layers.run(part, lambda layer, values: here.__setitem__(layer, moments(values)))
        for layer, pair in here.items():
            found[layer].append(pair)

    layers.in_chunks(ensemble, work, chunk)
    means = {layer: torch.cat([mean for mean, _ in pairs]) for layer, pairs in found.items()}
    return means, {layer: torch.cat([sd for _, sd in pairs]) for layer, pairs in found.items()}


def _aims(
    layers: ByLayer, ends: Sequence[Ensemble], shares: Tensor, chunk: int | None
) -> dict[str, tuple[Tensor, Tensor]]:
    """Return the mixtures of the ends' means and deviations by layer, ``(P K, units)`` each."""
    measured = [_measured(layers, end, chunk) for end in ends]
    aims = {}
    for layer in measured[0][0]:
        mean, sd = (torch.stack([found[kind][layer] for found in measured], 1) for kind in (0, 1))
        own = shares.to(mean)
        aims[layer] = ((own @ mean).flatten(0, 1), (own @ sd).clamp(min=0).flatten(0, 1))
    return aims


def _shares(
    points: Ensemble, ends: Sequence[Ensemble], t: ArrayLike | None, weights: ArrayLike | None
) -> Tensor:
    """Return the share of each end in each point of a path, ``(K, E)``."""
    if (t is None) == (weights is None):
        raise ValueError("give either t, positions between two ends, or weights of the ends")
    if t is not None:
        at = np.atleast_1d(np.asarray(t, float))
        if at.ndim != 1:
            raise ValueError(f"t must be positions (K,), not of shape {at.shape}")
        table = np.stack([1 - at, at], 1)
    else:
        table = np.asarray(weights, float)
    if table.ndim != 2 or table.shape[1] != len(ends) or not len(ends):
        raise ValueError(f"weights must have shape (K, {len(ends)}), not {table.shape}")
    if not np.isfinite(table).all():
        raise ValueError("t and weights must be finite")
    pairs = ends[0].replicas
    if any(end.replicas != pairs for end in ends) or points.replicas != pairs * len(table):
        told = ", ".join(str(end.replicas) for end in ends)
        raise ValueError(
            f"{points.replicas} points do not fit {len(table)} positions between ends of {told} networks"
        )
    return torch.from_numpy(table)
