"""What swapped units cost halfway to the copy: a law without free parameters.

Halfway between a network with one hidden layer and its copy, every displaced unit has become the mean of
itself and its partner.
Mean and covariance of its outputs over random pairs follow from sums over all pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spinscape.landscape._displaced import OneHidden, check_rows, one_hidden
from spinscape.landscape.steps import LAW, draw, generator
from spinscape.landscape.symmetry.checks import as_numbers, at_least, check_memory
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.losses import PerSample, resolve_loss
from spinscape.progress import bar

Floats = NDArray[np.float64]

PAIR_BYTES = 2**19
"""Pairs of hidden units that are averaged together, for a block of samples, on a CPU."""

DEVICE_BYTES = 2**28
"""Likewise on an accelerator."""

SAMPLES = 64
"""Samples in a block on a CPU."""

DRAW_BYTES = 2**24
"""Drawn outputs that are evaluated together."""

DRAWN = 8
"""Copies of the drawn outputs at once, at most: normals and noises of two kinds, their sum, the outputs."""


@dataclass(frozen=True)
class ShrunkLoss:
    """Loss of R networks in which a random share of the hidden units has been averaged in pairs.

    Attributes
    ----------
    shares
        Displaced units as a share of all, ``(K,)``.
    start
        Loss of the networks, ``(R,)``.
    mean
        Loss of the mean outputs, ``(R, K)``; for a convex loss never above the mean of the losses.
    fluctuating
        Mean loss of Gaussian outputs of the right mean and covariance, ``(R, K)``.
    shrinkage
        Factor by which the outputs' differences between samples have shrunk where all units are averaged
        (slope of the mean outputs on the network's, each centred by class), ``(R,)``.
    spread
        Standard deviation of the outputs over random pairs, root mean square over samples and classes,
        ``(R, K)``.
    """

    shares: Floats
    start: Floats
    mean: Floats
    fluctuating: Floats
    shrinkage: Floats
    spread: Floats


class Moments(NamedTuple):
    """What averaging one random pair of units adds to the outputs, ``D_ij = mean + a_i + a_j + r_ij``.

    Attributes
    ----------
    outputs
        Of the network, ``(N, C)``.
    mean
        ``(N, C)``.
    units, rest
        Covariances of ``a_i`` over units and of ``r_ij`` over pairs, ``(N, C, C)``.
    """

    outputs: Tensor
    mean: Tensor
    units: Tensor
    rest: Tensor


def shrunk_loss(
    ensemble: Ensemble,
    x: Tensor,
    y: Tensor,
    shares: Sequence[float] | Floats,
    *,
    paired: Sequence[float] | Floats | float = 1.0,
    loss: str | PerSample = "cross_entropy",
    draws: int = 32,
    seed: int = 0,
) -> ShrunkLoss:
    r"""Predict the loss halfway to a copy in which a share of the units has changed places in random pairs.

    Parameters
    ----------
    ensemble
        R networks with one hidden layer of M units, at least 3.
    x, y
        Inputs ``(N, ...)`` and labels or targets ``(N, ...)``.
    shares
        Shares s of displaced units in [0, 1], ``(K,)``: 2 S / M for S disjoint pairs; for swaps in succession
        the mean of `SwapLines.displaced` over M.
    paired
        What part of the displaced units has changed places with its partner, ``(K,)`` or one number: 1 for
        disjoint pairs; for swaps in succession the mean of `SwapLines.paired` over that of `displaced`.
    loss
        As in :func:`spinscape.networks.evaluation.evaluate`.
    draws
        Gaussian outputs for every sample; each is used with its mirror image.
    seed
        Seed of these.

    Returns
    -------
    ShrunkLoss

    Raises
    ------
    ValueError
        If the model has not one hidden layer, has fewer than 3 units, weights are not finite, samples do not
        fit the model, or an argument is out of range.
    MemoryError
        If the drawn outputs do not fit in memory; it tells how many do.

    Notes
    -----
    With hidden values ``h_i = phi(z_i)`` and outputs ``f = c + sum_i v_i h_i``, averaging the pair (i, j)
    adds ``D_ij = (v_i + v_j) phi((z_i + z_j) / 2) - v_i h_i - v_j h_j``.
    Let ``D_ij = m + a_i + a_j + r_ij``, where a has mean zero over units and r over the partners of any unit.
    For P = s M / 2 disjoint random pairs the outputs have, exactly, the mean and covariance

    .. math::

        f + \frac{sM}{2} m, \qquad
        \frac{s(1-s)M^2}{M-1} \mathrm{Cov}\,a
        + P \Bigl(1 + \frac{2(P-1)}{(M-2)(M-3)}\Bigr) \mathrm{Cov}\,r .

    The mean outputs move along a straight line from f to those of a network all of whose units are averaged.
    In a chain of three or more units each is averaged with the next, so that every r_ij comes once, with
    weight 1/2, and not twice; to first order in 1/M such units add half as much to the second term.
    That the outputs are Gaussian is an approximation: good for many pairs, or for few that change little.
    Time grows as ``N M^2 C``.
    """
    table = np.atleast_1d(as_numbers("shares", shares))
    if table.ndim != 1 or not table.size or not ((table >= 0) & (table <= 1)).all():
        raise ValueError(f"shares must lie in [0, 1], not {shares!r}")
    parts = np.broadcast_to(as_numbers("paired", paired), table.shape)
    if not ((parts >= 0) & (parts <= 1)).all():
        raise ValueError(f"paired must lie in [0, 1], not {paired!r}")
    draws = at_least("draws", draws, 1)
    per_sample = resolve_loss(loss)
    x, y = check_rows(ensemble, x, y, loss)
    outputs = len(x) * len(one_hidden(ensemble.model, ensemble.params, 0).offset)
    check_memory("draws", draws, DRAWN * outputs * x.element_size(), device=x.device)
    replicas = ensemble.replicas
    found = {name: np.empty((replicas, len(table))) for name in ("mean", "fluctuating", "spread")}
    start, shrinkage = np.empty(replicas), np.empty(replicas)
    with bar("law of swapped units", replicas) as progress:
        for r in range(replicas):
            network = one_hidden(ensemble.model, ensemble.params, r)
            width = len(network.weight)
            moments = pair_moments(network, x)
            start[r] = _mean(per_sample, moments.outputs[None], y)
            shrinkage[r] = _slope(moments.outputs, moments.outputs + width / 2 * moments.mean)
            source = generator(seed, LAW, r)
            roots = [_root(moments.units), _root(moments.rest)]
            normal = draw((2, len(x), moments.outputs.shape[1], draws), x, source)
            noises = [(root @ part).permute(2, 0, 1) for root, part in zip(roots, normal, strict=True)]
            for k, share in enumerate(table.tolist()):
                centre = moments.outputs + share * width / 2 * moments.mean
                factors = covariance_factors(width, share, float(parts[k]))
                noise = sum(f**0.5 * part for f, part in zip(factors, noises, strict=True))
                assert isinstance(noise, Tensor)
                found["mean"][r, k] = _mean(per_sample, centre[None], y)
                sides = [_mean(per_sample, centre + sign * noise, y) for sign in (1, -1)]
                found["fluctuating"][r, k] = np.mean(sides)
                covariance = factors[0] * moments.units + factors[1] * moments.rest
                diagonal = covariance.diagonal(dim1=1, dim2=2).double().mean()
                found["spread"][r, k] = float(diagonal.clamp_min(0).sqrt())
            progress.update()
    return ShrunkLoss(shares=table, start=start, shrinkage=shrinkage, **found)


def covariance_factors(width: int, share: float, paired: float = 1.0) -> tuple[float, float]:
    """Return what `Moments.units` and `Moments.rest` are multiplied by; see :func:`shrunk_loss`.

    Parameters
    ----------
    width
        Number M of hidden units, at least 3.
    share
        Displaced units as a share of all, in [0, 1].
    paired
        What part of them has changed places with its partner, in [0, 1].
    """
    pairs = share * width / 2
    meeting = 2 * (pairs - 1) / ((width - 2) * (width - 3)) if width > 3 and pairs > 1 else 0.0
    return share * (1 - share) * width**2 / (width - 1), pairs * (1 + paired) / 2 * (1 + meeting)


@torch.no_grad()
def pair_moments(network: OneHidden, x: Tensor) -> Moments:
    """Sum over all pairs of hidden units of a network; see :func:`shrunk_loss`.

    Parameters
    ----------
    network
        M units, at least 3.
    x
        Inputs ``(N, ...)`` of the network's type, on its device.

    Raises
    ------
    ValueError
        If there are fewer than 3 units.
    """
    width = len(network.weight)
    if width < 3:
        raise ValueError(f"pairs that differ need at least 3 hidden units, not {width}")
    size = SAMPLES if x.device.type == "cpu" else max(1, DEVICE_BYTES // (64 * width * x.element_size()))
    parts = [_moments(network, rows) for rows in x.split(size)]
    return Moments(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _moments(network: OneHidden, x: Tensor) -> Moments:
    z = network.hidden(x)
    h = network.phi(z.clone())
    width, readout = len(z), network.readout
    outputs = torch.addmm(network.offset[:, None], readout, h)
    # First and second powers of averaged units, summed over partners with weights 1 and v_j.
    first, second = _over_partners(network, z, h)
    own = readout.T[:, :, None] * h[:, None]  # v_i h_i, (M, C, B)
    total = own.sum(0)
    sums = readout.T[:, :, None] * first[:, :1] + first[:, 1:]  # sum over j of (v_i + v_j) g_ij
    rows = sums - (width - 1) * own - (total - own)  # sum over j of D_ij
    mean = rows.sum(0) / (width * (width - 1))
    single = (rows / (width - 1) - mean) * ((width - 1) / (width - 2))
    units = _products(single, single) / width
    # Sum over ordered pairs of the products of D_ij with itself.
    v = readout.T[:, :, None].expand_as(own)
    squares = 2 * (_products(v * second[:, :1], v) + _products(v, second[:, 1:]))
    crossed = _products(sums, own)
    both = 2 * ((width - 1) * _products(own, own) + _outer(total, total) - _products(own, own))
    whole = (squares - 2 * (crossed + crossed.mT) + both) / (width * (width - 1)) - _outer(mean, mean)
    rest = whole - 2 * (width - 2) / (width - 1) * units
    return Moments(outputs.T, mean.T, units, rest)


def _over_partners(network: OneHidden, z: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    """Return sums over j != i of ``g_ij`` and ``v_j g_ij``, and of ``g_ij^2`` likewise, ``(M, 1 + C, B)``."""
    weights = torch.cat([torch.ones_like(network.readout[:1]), network.readout])
    budget = PAIR_BYTES if z.device.type == "cpu" else DEVICE_BYTES
    firsts, seconds = [], []
    for mine in z.split(max(1, budget // (z.numel() * z.element_size()))):
        g = network.phi((mine[:, None] + z) / 2)
        firsts.append(weights @ g)
        seconds.append(weights @ g.square_())
    own = weights.T[:, :, None]
    return torch.cat(firsts) - own * h[:, None], torch.cat(seconds) - own * h.square()[:, None]


def _products(a: Tensor, b: Tensor) -> Tensor:
    """Return the sum over units of outer products, ``(M, C, B)`` twice to ``(B, C, C)``."""
    return a.permute(2, 1, 0) @ b.permute(2, 0, 1)


def _outer(a: Tensor, b: Tensor) -> Tensor:
    return a.T[:, :, None] * b.T[:, None]


def _root(covariance: Tensor) -> Tensor:
    """Return A with ``A A^T`` the covariance ``(N, C, C)``; what rounding made negative is left out."""
    values, vectors = torch.linalg.eigh(covariance)
    return vectors * values.clamp_min(0).sqrt()[:, None]


def _mean(loss: object, outputs: Tensor, y: Tensor) -> float:
    """Return the mean loss of outputs ``(K, N, C)``."""
    assert callable(loss)
    size = max(1, DRAW_BYTES // (outputs[0].numel() * outputs.element_size()))
    total = sum(
        float(loss(part, y.expand(len(part), *y.shape)).double().sum()) for part in outputs.split(size)
    )
    return total / (len(outputs) * outputs.shape[1])


def _slope(before: Tensor, after: Tensor) -> float:
    first, second = ((f - f.mean(0)).double() for f in (before, after))
    return float((first * second).sum() / first.square().sum())
