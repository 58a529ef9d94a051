"""Geodesics on the product of spheres that networks in normal form lie on.

Every hidden unit's incoming vector, bias included, has norm 1, and so has the last layer as a whole.
A geodesic of a product is a geodesic of each factor: vectors of norm 1 turn at constant speed along the
shorter arc, whatever is on no sphere moves on a straight line.
Both are combinations of the ends, with one number per unit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from spinscape.landscape.paths.combination import (
    POINTS,
    Coefficients,
    Path,
    as_positions,
    same_size,
    weights_of,
)
from spinscape.landscape.symmetry.scaling import Tensors
from spinscape.memory import available_bytes
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.units import Axis, Description, describe

TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-6}
"""How far from 1 norms may be, by number type; 1e-2 in half precision."""

NEARLY_OPPOSITE = 1e-2
"""Angle to the opposite (radians) below which the direction of the arc is kept as a network of its own."""

VANISHING = 1e-6
"""Norm of a sum of unit vectors below which it has no direction."""

_ENTRIES = 2**22
"""Numbers in double precision at once."""


@dataclass(frozen=True)
class Sphere:
    """Vectors of one norm in a network: those into the units of a set, or the last layer.

    Attributes
    ----------
    name
        What to call them in messages.
    axes
        The parameters that hold them, and the axis of each along which the vectors are listed.
    size
        The number of vectors.
    """

    name: str
    axes: tuple[Axis, ...]
    size: int

    def vectors(self, tensors: Tensors) -> Tensor:
        """Return the vectors in double precision, ``(R, size, d)``; on the CPU where the device has none."""
        vectors = torch.cat([_listed(tensors[a.name], a, self.size) for a in self.axes], -1)
        return (vectors.cpu() if vectors.device.type == "mps" else vectors).double()

    def called(self, unit: int) -> str:
        """Name one of the vectors."""
        return self.name if self.size == 1 else f"unit {unit} of {self.name}"


def geodesic(
    a: Ensemble,
    b: Ensemble,
    t: int | ArrayLike = POINTS,
    *,
    description: Description | None = None,
) -> Path:
    """Return the geodesics between networks in normal form.

    Parameters
    ----------
    a, b
        P networks each, or one for all, as :func:`spinscape.landscape.symmetry.normalize` returns them by
        default (``bias=True``, ``output="global"``).
    t
        A number of equidistant points (at least 2), or positions in [0, 1] in increasing order.
    description
        The hidden units; by default those of the model.

    Returns
    -------
    Path
        Every point is in normal form, and the ends are the given networks.

    Raises
    ------
    ValueError
        If a unit's incoming vector or the last layer has not norm 1 to within `TOLERANCE`; it is named.
        Or if the ensembles do not fit, or `t` is no number of points and no positions.
    MemoryError
        If the coefficients do not fit in memory.

    Notes
    -----
    Between unit vectors at angle w the point at t is ``(sin((1 - t) w) a + sin(t w) b) / sin(w)`` (Shoemake
    1985, Animating rotation with quaternion curves).
    The shorter arc between opposite vectors is not unique: it then runs through the first coordinate axis
    among those that the vector leans on least.
    Units of which an end has norm 0 are dead and move on a straight line.
    So do, in residual streams, the weights of layers after those that open the stream.
    """
    positions = as_positions(t)
    a, b = same_size((a, b))
    along = torch.from_numpy(positions)
    coefficients = weights_of(a, np.stack([1 - positions, positions]), list(a.params))
    turned: dict[str, tuple[Tensor, ...]] = {}
    third: Tensors = {}
    found = spheres(a, description)
    check_memory(found, a.replicas, len(positions))
    for sphere in found:
        factors, direction = _arcs(sphere, a, b, along)
        turned |= by_parameter(sphere, a, factors)
        third |= direction
    if not third:
        return Path(positions, (a, b), coefficients | {name: c[:2] for name, c in turned.items()})
    zeros = {name: third.get(name, torch.zeros_like(value)) for name, value in a.params.items()}
    for name, value in coefficients.items():
        coefficients[name] = (*value, torch.zeros_like(value[0]))
    return Path(positions, (a, b, Ensemble(a.model, zeros, a.buffers)), coefficients | turned)


def spheres(ensemble: Ensemble, description: Description | None = None) -> list[Sphere]:
    """Return the spheres that networks in normal form lie on.

    Raises
    ------
    ValueError
        If the model has batch norms, or units that have no normal form.
    """
    description = description or describe(ensemble.model)
    told = "bring networks to normal form first, symmetry.normalize(networks).ensemble"
    if description.norms:
        raise ValueError(f"{description.norms[0][1]} is a batch norm, which has to be folded: {told}")
    found = []
    for units in description.units:
        if units.kind not in ("homogeneous", "linear"):
            raise ValueError(f"units {units.name!r} have no normal form: their activation is {units.kind}")
        found.append(Sphere(units.name, units.opening, units.size))
    if not description.outputs:
        raise ValueError(
            "the last layer has no normal form: its activation does not commute with positive factors"
        )
    outputs = tuple(Axis(name, -1) for name in description.outputs)
    return [*found, Sphere("the last layer", outputs, 1)]


def check_memory(found: list[Sphere], pairs: int, points: int) -> None:
    """Refuse coefficients that do not fit in memory.

    Raises
    ------
    MemoryError
        It tells how many points fit.
    """
    # Three bases, and about as much again for what they are computed from, in double precision.
    each = 8 * 8 * pairs * sum(sphere.size for sphere in found)
    there = available_bytes(torch.device("cpu"))
    if each * points > there:
        raise MemoryError(
            f"{points} points on {pairs} paths take {each * points / 2**30:.3g} GiB of coefficients, more "
            f"than there is: at most {int(there / each)} points fit"
        )


def unit_norms(sphere: Sphere, ensemble: Ensemble) -> Tensor:
    """Return the norms of the vectors of a sphere, float64 ``(R, size)``, 0 of dead units.

    Raises
    ------
    ValueError
        If one is neither 1, to within `TOLERANCE`, nor 0; it is named.
    """
    tolerance = TOLERANCE.get(ensemble.dtype, 1e-2)
    parts = [torch.linalg.vector_norm(sphere.vectors(rows), dim=-1) for rows in _pieces(sphere, ensemble)]
    norms = torch.cat(parts)
    dead = norms < torch.finfo(ensemble.dtype).tiny
    wrong = ~((norms - 1).abs() <= tolerance) & ~dead
    if bool(wrong.any()):
        r, unit = (int(i) for i in wrong.nonzero()[0])
        raise ValueError(
            f"{sphere.called(unit)} of network {r} has norm {float(norms[r, unit]):.9g}, not 1 to within "
            f"{tolerance:g}: bring networks to normal form first, symmetry.normalize(networks).ensemble"
        )
    return norms.where(~dead, 0.0)


def combined(sphere: Sphere, ensembles: Sequence[Ensemble], function: Callable[..., Tensor]) -> Tensor:
    """Return a function of the directions of the vectors of several networks, in pieces that fit memory.

    Parameters
    ----------
    sphere
        Which vectors.
    ensembles
        Ensembles of P networks.
    function
        Of one tensor ``(p, size, d)`` per ensemble, unit vectors in double precision (zeros where dead).
    """
    pieces = zip(*(_pieces(sphere, ensemble) for ensemble in ensembles), strict=True)
    return torch.cat([function(*(_directions(sphere.vectors(rows)) for rows in piece)) for piece in pieces])


def angles(sphere: Sphere, a: Ensemble, b: Ensemble) -> Tensor:
    """Return the angles between the vectors of networks, float64 radians ``(P, size)``.

    Where one of two units is dead that is pi / 2, where both are 0.
    """
    return combined(sphere, (a, b), _angle)


def by_parameter(sphere: Sphere, ensemble: Ensemble, factors: Tensor) -> Coefficients:
    """Turn coefficients of vectors into those of parameters.

    Parameters
    ----------
    sphere
        Which vectors.
    ensemble
        The networks.
    factors
        float64 ``(bases, P, K, size)``.
    """
    found = {}
    for axis in sphere.axes:
        value = ensemble.params[axis.name]
        if axis.axis < 0:
            shaped = factors.reshape(*factors.shape[:3], *[1] * (value.ndim - 1))
        else:
            shape = [1] * (value.ndim - 1)
            shape[axis.axis] = -1
            shaped = factors.repeat_interleave(axis.repeat, -1).reshape(*factors.shape[:3], *shape)
        found[axis.name] = tuple(shaped.to(value.dtype).to(value.device))
    return found


def _arcs(sphere: Sphere, a: Ensemble, b: Ensemble, t: Tensor) -> tuple[Tensor, Tensors]:
    """Return coefficients ``(3, P, K, size)`` of both ends and of a direction, and that direction by name."""
    norms = [unit_norms(sphere, ensemble)[:, None] for ensemble in (a, b)]
    t = t.to(norms[0].device)
    angle = angles(sphere, a, b)[:, None]
    alive = (norms[0] > 0) & (norms[1] > 0)
    opposite = alive & (torch.pi - angle < NEARLY_OPPOSITE)
    s = t[:, None]
    radius = (1 - s) * norms[0] + s * norms[1]
    # sin(s w) / sin(w), also where w is 0.
    whole = torch.sinc(angle / torch.pi)
    factors = []
    for share, norm in ((1 - s, norms[0]), (s, norms[1])):
        turn = share * torch.sinc(share * angle / torch.pi) / whole
        factors.append(torch.where(alive, turn * radius / norm, share.expand_as(radius)))
    third = torch.zeros_like(radius)
    if not bool(opposite.any()):
        return torch.stack([*factors, third]), {}
    inner = opposite & (s > 0) & (s < 1)
    factors[0] = torch.where(inner, (s * angle).cos() * radius / norms[0], factors[0])
    ends = [(s == end).double().expand_as(radius) for end in (0, 1)]
    for k, end in enumerate(ends):
        factors[k] = torch.where(opposite & ~inner, end, factors[k])
    factors[1] = torch.where(inner, 0.0, factors[1])
    third = torch.where(inner, (s * angle).sin() * radius, third)
    return torch.stack([*factors, third]), _directions_of_arcs(sphere, a, b, opposite[:, 0])


def _directions_of_arcs(sphere: Sphere, a: Ensemble, b: Ensemble, which: Tensor) -> Tensors:
    """Return the directions in which arcs leave, by parameter; zeros for all other units."""
    found = {axis.name: torch.zeros_like(a.params[axis.name]) for axis in sphere.axes}
    for p in which.any(1).nonzero()[:, 0].tolist():
        first, second = (
            _directions(sphere.vectors({n: e.params[n][p : p + 1] for n in found}))[0] for e in (a, b)
        )
        rows = torch.zeros_like(first)
        rows[which[p]] = _tangent(first[which[p]], second[which[p]])
        start = 0
        for axis in sphere.axes:
            target = _listed(found[axis.name][p : p + 1], axis, sphere.size)
            count = target[0, 0].numel()
            values = rows[:, start : start + count].reshape(target.shape).to(target.dtype)
            found[axis.name][p] = _unlisted(values, axis, found[axis.name][p].shape)
            start += count
    return found


def _tangent(a: Tensor, b: Tensor) -> Tensor:
    """Return unit vectors ``(n, d)`` at right angles to `a`, towards `b`, or any where that is ``-a``."""
    # a + b is small and exact, and has the same part at right angles to a as b.
    towards = _without(a + b, a)
    length = torch.linalg.vector_norm(towards, dim=-1, keepdim=True)
    axis = torch.zeros_like(a).scatter_(-1, a.abs().argmin(-1, keepdim=True), 1.0)
    towards = torch.where(length > 1e-13, towards / length.clamp_min(1e-300), _without(axis, a))
    # Once more, as rounding leaves some of a in a short vector.
    return torch.nn.functional.normalize(_without(towards, a), dim=-1, eps=1e-300)


def _without(vectors: Tensor, a: Tensor) -> Tensor:
    return vectors - (vectors * a).sum(-1, keepdim=True) * a


def _angle(a: Tensor, b: Tensor) -> Tensor:
    """Return the angle between unit vectors, to full accuracy at 0 and at pi too (Kahan)."""
    apart, sum_ = (torch.linalg.vector_norm(v, dim=-1) for v in (a - b, a + b))
    return 2 * torch.atan2(apart, sum_)


def _directions(vectors: Tensor) -> Tensor:
    """Return vectors divided by their norms, zeros where those are 0."""
    norms = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    return vectors / norms.where(norms > 0, 1.0)


def _pieces(sphere: Sphere, ensemble: Ensemble) -> Iterator[Tensors]:
    """Yield the parameters of a sphere for some networks at once."""
    values = {axis.name: ensemble.params[axis.name] for axis in sphere.axes}
    rows = max(1, _ENTRIES // sum(value[0].numel() for value in values.values()))
    for start in range(0, ensemble.replicas, rows):
        yield {name: value[start : start + rows] for name, value in values.items()}


def _listed(value: Tensor, axis: Axis, size: int) -> Tensor:
    """Return a parameter ``(R, ...)`` as ``(R, size, entries)``."""
    if axis.axis < 0:
        return value.reshape(len(value), size, -1)
    return value.movedim(axis.axis + 1, 1).reshape(len(value), size, -1)


def _unlisted(values: Tensor, axis: Axis, shape: torch.Size) -> Tensor:
    """Undo `_listed` for one network, ``(1, size, entries)`` to the parameter's shape."""
    if axis.axis < 0:
        return values.reshape(shape)
    moved = [shape[axis.axis], *[n for k, n in enumerate(shape) if k != axis.axis]]
    return values.reshape(moved).movedim(0, axis.axis)
