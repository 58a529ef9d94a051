"""The normal form of networks, which all their rescaled copies share.

Every unit's incoming vector has norm 1 and the norms are pushed forward to the last layer, which one
positive number scales: a point on a product of spheres.
"""

from __future__ import annotations

from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from spinscape.landscape.symmetry.checks import check_finite
from spinscape.landscape.symmetry.scaling import (
    POSITIVE,
    Tensors,
    along,
    check_kind,
    folded,
    scale,
)
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.units import Axis, Description, Units

_ENTRIES = 2**24
"""Numbers that are turned into double precision at once."""

_SMALL = 1e-140
"""Norms above keep their digits when squares are summed."""


@dataclass(frozen=True)
class NormalForm:
    """Networks on a product of spheres.

    Attributes
    ----------
    ensemble
        The networks, without batch norm.
    output_scale
        What their outputs are to be multiplied with to give those of the original, ``(R,)``.
    norms
        By set, the number that each unit's incoming weights were divided by, ``(R, size)``; 1 for units that
        nothing writes.
    """

    ensemble: Ensemble
    output_scale: Tensor
    norms: Tensors


def normalize(
    ensemble: Ensemble,
    *,
    bias: bool = True,
    output: Literal["global", "keep"] = "global",
    description: Description | None = None,
) -> NormalForm:
    """Bring networks to the normal form, which all their rescaled copies share.

    Parameters
    ----------
    ensemble
        R networks; batch norms are folded first.
    bias
        Whether a unit's bias counts in its norm; it is divided by the norm in either case.
    output
        ``"global"``: the last layer (with `bias`, its bias too) gets norm 1 as a whole; ``"keep"``: it
        keeps what was pushed into it.
    description
        The hidden units, for a model without batch norm; by default those of the model.

    Returns
    -------
    NormalForm
        ``outputs(ensemble) = output_scale * outputs(normal form)``.

    Raises
    ------
    ValueError
        If an activation is not homogeneous, or a weight is not finite.

    Notes
    -----
    A residual stream is written by several layers and has one factor per channel.
    It is the norm of the incoming weights in the layers that open the stream, which do not depend on it.
    The norm u over all the layers that write it would have to solve ``u^2 = a^2 + K u^2`` with the K of
    :func:`stream_gain`, because what later layers write is scaled with what they read.

    Where a unit's norm is 0 its factor comes from the next of these that is not: with ``bias=False`` its
    bias; in a residual stream the later layers in their order, restricted to the channels that earlier ones
    write.
    Norms below the smallest normal number of the networks' type count as 1, so such units stay as they are.
    A unit that nothing writes is 0 for every input and stays as it is.
    Its outgoing weights have no effect and no scale, and become 0: otherwise they would count in the norms of
    the units that read them, and rescaled copies would differ.
    """
    if output not in ("global", "keep"):
        raise ValueError(f'output must be "global" or "keep", not {output!r}')
    ensemble, description = folded(ensemble, description)
    for units in description.units:
        check_kind(units, POSITIVE, "normal form needs activations that commute with positive factors")
    params, norms = dict(ensemble.params), Tensors()
    for units in _forward(description):
        norm = _norm_of_units(params, description, units, bias, set(norms))
        narrow = norm.to(ensemble.dtype)
        norms[units.name] = narrow.where(narrow >= torch.finfo(ensemble.dtype).tiny, 1)
        scale(params, units, norms[units.name].reciprocal())
        _cut(params, units, norm > 0)
    factor = torch.ones(ensemble.replicas, dtype=ensemble.dtype, device=ensemble.device)
    if output == "global":
        if not description.outputs:
            raise ValueError(
                'output must be "keep": the last activation does not commute with positive factors'
            )
        last = [(params[name].ndim == 2, _length(params[name])) for name in description.outputs]
        total = _joint(last, bias)
        factor = total.where(total > 0, 1).to(ensemble.dtype)
        for name in description.outputs:
            params[name] = params[name] / factor.reshape(-1, *[1] * (params[name].ndim - 1))
    check_finite(params, "the normal form of the weights overflows at")
    return NormalForm(Ensemble(ensemble.model, params, ensemble.buffers, ensemble.history), factor, norms)


def stream_gain(ensemble: Ensemble, description: Description | None = None) -> dict[str, np.ndarray]:
    """Return how strongly the norms of residual streams would feed back on themselves.

    Parameters
    ----------
    ensemble
        R networks; batch norms are folded first.
    description
        The hidden units, for a model without batch norm; by default those of the model.

    Returns
    -------
    dict
        Spectral radius of K, float64 ``(R,)``, for each set of units that a layer writes which depends on
        them; empty for chains.

    Notes
    -----
    Let all layers that write a channel share its norm ``u_i``, and let inner units have norm 1.
    Then ``u_i^2 = a_i^2 + sum_c K_ic u_c^2``, where a is due to the opening layers and to inner biases, and
    K to pairs of later layers: ``K_ic = sum_j V_ij^2 W_jc^2``, squares summed over the kernel.
    There is a solution for every a only if the spectral radius of K is below 1.
    It does not change when units are rescaled or permuted.

    At He's initialisation (variance 2 / fan out) every block after the first adds 4 to it, at PyTorch's 1/9,
    before batch norms have seen data; afterwards, and in training, it lies on either side of 1.
    """
    ensemble, description = folded(ensemble, description)
    readers = _readers(description)

    def gain(axes: tuple[Axis, ...], source: Units) -> Tensor | None:
        """Squares of what layers make of the channels of `source`, ``(R, size, channels)``."""
        total = None
        for axis in axes:
            if axis.name not in readers:
                continue
            units, reads = readers[axis.name]
            square = _by_units(ensemble.params[axis.name].detach().double().square(), axis, reads)
            if units.name != source.name:
                before = gain(units.opening, source)
                if before is None:
                    continue
                square = square @ before
            total = square if total is None else total + square
        return total

    found = {}
    for units in description.units:
        later = tuple(axis for axis in units.incoming if axis not in units.opening)
        matrix = gain(later, units) if later else None
        if matrix is not None:
            radius = [torch.linalg.eigvals(one).abs().max() for one in matrix.cpu()]
            found[units.name] = torch.stack(radius).numpy()
    return found


def _forward(description: Description) -> list[Units]:
    """Return the sets so that the opening layers of each read only sets before it."""
    readers = _readers(description)
    before = {
        units.name: {readers[axis.name][0].name for axis in units.opening if axis.name in readers}
        for units in description.units
    }
    try:
        return [description[name] for name in TopologicalSorter(before).static_order()]
    except CycleError as error:
        raise ValueError(f"opening layers of hidden units depend on the units: {error.args[1]}") from None


def _readers(description: Description) -> dict[str, tuple[Units, Axis]]:
    """Return the set that each parameter reads, and along which axis."""
    return {axis.name: (units, axis) for units in description.units for axis in units.outgoing}


def _norm_of_units(
    params: Tensors, description: Description, units: Units, bias: bool, done: set[str]
) -> Tensor:
    """Return the norm ``(R, size)`` that a set is divided by, 0 where nothing writes a unit."""
    readers = _readers(description)
    units_of = {axis.name: units for units in description.units for axis in units.incoming}

    def norms(axes: tuple[Axis, ...], known: Tensors) -> Tensor:
        parts = []
        for axis in axes:
            value = params[axis.name]
            if axis.name in readers and readers[axis.name][0].name not in done:
                source, reads = readers[axis.name]
                if source.name not in known:
                    known[source.name] = norms(source.opening, known)
                value = value * along(value, reads, known[source.name])
            rows = value.movedim(axis.axis + 1, 1).reshape(len(value), units_of[axis.name].size, -1)
            parts.append((value.ndim == 2, _length(rows, 2)))
        return _joint(parts, bias)

    found = norms(units.opening, {})
    layers = dict.fromkeys(
        axis.name.rpartition(".")[0] for axis in units.incoming if axis not in units.opening
    )
    for layer in layers:
        if bool((found > 0).all()):
            break
        axes = tuple(axis for axis in units.incoming if axis.name.rpartition(".")[0] == layer)
        found = found.where(found > 0, norms(axes, {units.name: found}))
    return found


def _joint(parts: list[tuple[bool, Tensor]], bias: bool) -> Tensor:
    """Return the norm of several vectors, of weights and (True) biases; 0 of weights counts the biases."""
    whole = _length_of_rows(torch.stack([norm for _, norm in parts], -1))
    weights = [norm for is_bias, norm in parts if not is_bias]
    if bias or not weights:
        return whole
    alone = _length_of_rows(torch.stack(weights, -1))
    return alone.where(alone > 0, whole)


def _length(value: Tensor, first: int = 1) -> Tensor:
    """Return Euclidean norms over the axes from `first` on, in double precision; 0 only of zeros."""
    flat = value.flatten(first)
    rows = max(1, _ENTRIES // max(1, flat[0].numel()))
    return torch.cat([_length_of_rows(part) for part in flat.split(rows)])


def _length_of_rows(rows: Tensor) -> Tensor:
    length = torch.linalg.vector_norm(rows, dim=-1, dtype=torch.float64)
    if bool(((length > _SMALL) & length.isfinite()).all()):
        return length
    # Squares may have left the range of numbers.
    largest = rows.double().abs().amax(-1, keepdim=True)
    parts = rows / largest.where(largest > 0, 1)
    return largest[..., 0] * torch.linalg.vector_norm(parts, dim=-1)


def _cut(params: Tensors, units: Units, alive: Tensor) -> None:
    """Set weights that read dead units to 0, in a dict."""
    if not bool(alive.all()):
        for axis in units.outgoing:
            params[axis.name] = params[axis.name] * along(params[axis.name], axis, alive)


def _by_units(square: Tensor, writes: Axis, reads: Axis) -> Tensor:
    """Sum squares ``(R, ...)`` to one number per unit written and read, ``(R, written, read)``."""
    table = square.movedim((writes.axis + 1, reads.axis + 1), (1, 2))
    rows, columns = table.shape[1] // writes.repeat, table.shape[2] // reads.repeat
    return table.reshape(len(table), rows, writes.repeat, columns, -1).sum((2, 4))
