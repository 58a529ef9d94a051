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

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from spinscape.landscape.paths._by_layer import ByLayer
from spinscape.landscape.paths.combination import Path
from spinscape.networks._pieces import in_chunks
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.units import join

FLAT = 1e-5
"""A unit whose deviation is a smaller share than this of its mean and of its aim is flat, up to rounding.

It cannot be given a deviation, and is only moved.
"""

Floats = NDArray[np.float64]


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
        :func:`spinscape.landscape.paths.reset_statistics`) or a hidden layer without bias, which is named.
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

    in_chunks(points, layers.bytes, work, chunk)
    return Ensemble(points.model, params, points.buffers)


def repair_path(
    path: Path,
    x: Tensor,
    *,
    pairs: slice | Sequence[int] | NDArray[np.int64] | None = None,
    chunk: int | None = None,
) -> Ensemble:
    """Return the points of a path, each with the activation statistics of the line between its ends.

    Parameters
    ----------
    path
        A path between two networks, any number of pairs; the first and the last of its bases are its ends.
    x, chunk
        As in :func:`repair`.
    pairs
        Numbers of the pairs that are wanted; by default all.

    Returns
    -------
    Ensemble
        K networks for each pair, pair by pair.
    """
    ends = [path.bases[0], path.bases[-1]]
    if pairs is None:
        return repair(path.points(), ends, x, t=path.t, chunk=chunk)
    return repair(path.points(pairs), [end[pairs] for end in ends], x, t=path.t, chunk=chunk)


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

    in_chunks(ensemble, layers.bytes, work, chunk)
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
