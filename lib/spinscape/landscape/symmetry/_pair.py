"""Two networks of one description: what it gains to put a unit of the second in a place of the first."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from spinscape.networks.units import Axis, Description, Units

Orders = dict[str, Tensor]
"""For each set of units the unit of the input that stands in each place, int64 ``(size,)``."""

LARGE, SMALL, SEVERAL = 256, 64, 8
"""Units from which on dual variables are estimated before an assignment; it pays from there, and already from
fewer units where several are solved together."""

TINY = 2.0**-30
"""Largest weight below which gains are taken of multiples of the weights."""

SHARPNESS, SINKHORN_STEPS = 10.0, 10
"""How the dual variables are estimated; measured on random and on trained networks of 256 to 1024 units."""


@dataclass(frozen=True)
class Touch:
    """A set of units on an axis of a parameter."""

    units: str
    axis: Axis


class Pair:
    """Parameter settings `a` and `b` of one model, and the gains of orders of the units of `b`.

    The gain of order p of one set, all other sets in given orders, is ``sum_i G[i, p[i]]`` with
    ``G[i, j]`` the inner product of all weights of unit i of `a` with those of unit j of `b`.
    It is the sum of one matrix product per parameter, and each product is kept until an order that it
    depends on changes.

    Parameters
    ----------
    a, b
        Parameters by name, without a replica axis.
    description
        The sets of units.
    bias
        Whether biases of layers that write the units count.
    """

    def __init__(
        self, a: Mapping[str, Tensor], b: Mapping[str, Tensor], description: Description, *, bias: bool = True
    ) -> None:
        self.a, self.b, self.units = a, b, description.units
        left_out = set() if bias else hidden_biases(description, b)
        self.opening = {
            units.name: [axis for axis in units.opening if axis.name not in left_out] for units in self.units
        }
        self.touches: dict[str, list[Touch]] = {}
        self.terms: dict[str, list[tuple[str, int]]] = {units.name: [] for units in self.units}
        for units in self.units:
            for axis in units.axes:
                if axis.name in b:
                    several = self.touches.setdefault(axis.name, [])
                    if axis.name not in left_out:
                        self.terms[units.name].append((axis.name, len(several)))
                    several.append(Touch(units.name, axis))
            if not self.terms[units.name] or not self.opening[units.name]:
                raise ValueError(f"there is no parameter to tell the units of {units.name!r} apart")
        # Powers of 2 change no digit; products of tiny weights would vanish.
        self._up = {side: power_of_two(values.values()) for side, values in (("a", a), ("b", b))}
        self._left: dict[tuple[str, int], Tensor] = {}
        self._kept: dict[tuple[str, int], tuple[list[Tensor], Tensor]] = {}

    def neighbours(self, units: Units) -> set[str]:
        """Return the sets that the gains of this set depend on; itself, if it is twice on a parameter."""
        return {
            touch.units
            for name, k in self.terms[units.name]
            for i, touch in enumerate(self.touches[name])
            if i != k
        }

    def identity(self) -> Orders:
        """Return the orders that leave everything in place."""
        device = next(iter(self.b.values())).device
        return {units.name: torch.arange(units.size, device=device) for units in self.units}

    def gains(self, units: Units, orders: Orders) -> Tensor:
        """Return the gains of one set, ``(size, size)``, the others in the given orders.

        Where the set is on two axes of a parameter, each is taken with the other in its given order:
        half the gradient of the quadratic form comes from each.
        Where all weights of a network are tiny the gains of all sets are times one number.
        """
        parts = [self._part(name, k, units, orders) for name, k in self.terms[units.name]]
        return torch.stack(parts).sum(0) if len(parts) > 2 else sum(parts[1:], parts[0])

    def _part(self, name: str, k: int, units: Units, orders: Orders) -> Tensor:
        own = self.touches[name][k]
        others = [touch for i, touch in enumerate(self.touches[name]) if i != k]
        # Orders are replaced, never written into, so a matrix holds as long as they are the same objects.
        state = [orders[touch.units] for touch in others]
        kept = self._kept.get((name, k))
        if kept is not None and all(old is new for old, new in zip(kept[0], state, strict=True)):
            return kept[1]
        value = self.b[name] if self._up["b"] == 1 else self.b[name] * self._up["b"]
        for touch in others:
            value = reorder(value, touch.axis, orders[touch.units])
        if (name, k) not in self._left:
            left = rows(self.a[name], own.axis, units.size)
            self._left[name, k] = left if self._up["a"] == 1 else left * self._up["a"]
        part = self._left[name, k] @ rows(value, own.axis, units.size).T
        self._kept[name, k] = (state, part)
        return part

    def cosines(self, units: Units, orders: Orders) -> Tensor:
        """Return the cosines between incoming vectors, ``(size, size)``, earlier sets in the given orders."""
        left, right = [], []
        for axis in self.opening[units.name]:
            value = self.b[axis.name]
            for touch in self.touches[axis.name]:
                if touch.units != units.name:
                    value = reorder(value, touch.axis, orders[touch.units])
            left.append(rows(self.a[axis.name], axis, units.size))
            right.append(rows(value, axis, units.size))
        ours, theirs = (directions(torch.cat(side, 1)) for side in (left, right))
        return ours @ theirs.T

    def local(self, units: Units, orders: Orders) -> float:
        """Return the inner product over the parameters that a set is on, in double precision."""
        return sum(self._product(name, orders) for name in {name for name, _ in self.terms[units.name]})

    def objective(self, orders: Orders) -> float:
        """Return the inner product over all parameters, in double precision."""
        return sum(self._product(name, orders) for name in self.b)

    def ordered(self, orders: Orders) -> dict[str, Tensor]:
        """Return the parameters of `b` with all units in the given orders."""
        return {name: self._ordered(name, orders) for name in self.b}

    def _product(self, name: str, orders: Orders) -> float:
        value = self._ordered(name, orders)
        return float(torch.dot(self.a[name].double().flatten(), value.double().flatten()))

    def _ordered(self, name: str, orders: Orders) -> Tensor:
        value = self.b[name]
        for touch in self.touches.get(name, []):
            value = reorder(value, touch.axis, orders[touch.units])
        return value


def power_of_two(values: Iterable[Tensor]) -> float:
    """Return a power of 2 that brings the largest entry near 1 if all are below `TINY`; else 1."""
    extremes = [torch.linalg.vector_norm(value, torch.inf) for value in values]
    largest = float(torch.stack(extremes).max())
    return 2.0 ** min(-math.frexp(largest)[1], 120) if 0 < largest < TINY else 1.0


def directions(vectors: Tensor) -> Tensor:
    """Scale each row to norm 1; rows of zeros stay."""
    # Largest entries first: squares of the weights themselves may overflow or vanish.
    for order in (torch.inf, 2):
        length = torch.linalg.vector_norm(vectors, order, dim=1, keepdim=True)
        vectors = vectors / torch.where(length > 0, length, 1.0)
    return vectors


def rows(value: Tensor, axis: Axis, size: int) -> Tensor:
    """Arrange a parameter as one row per unit, ``(size, entries)``."""
    return value.movedim(axis.axis, 0).reshape(size, -1)


def reorder(value: Tensor, axis: Axis, order: Tensor) -> Tensor:
    """Put unit ``order[i]`` of a parameter in place i."""
    if axis.repeat > 1:
        order = (order[:, None] * axis.repeat + torch.arange(axis.repeat, device=order.device)).flatten()
    return value.index_select(axis.axis, order)


def hidden_biases(description: Description, params: Mapping[str, Tensor]) -> set[str]:
    """Return the names of the biases of all layers that write hidden units."""
    incoming = (axis.name for units in description.units for axis in units.incoming)
    return {name for name in incoming if params[name].ndim == 1}


def assignment(gains: Tensor) -> Tensor:
    """Return the order p that maximises ``sum_i gains[i, p[i]]``, exactly.

    From `LARGE` units on, estimates of the dual variables are taken off rows and columns first.
    That changes all sums by one number, so not the answer, and the solver has 2 to 5 times less to do.

    Parameters
    ----------
    gains
        ``(size, size)``.

    Returns
    -------
    Tensor
        int64 ``(size,)``, on the device of `gains`.

    Raises
    ------
    ValueError
        If a gain is not finite.
    """
    return assignments(gains[None])[0]


def assignments(gains: Tensor) -> Tensor:
    """Return the orders p that maximise ``sum_i gains[b, i, p[b, i]]``, exactly, one by one.

    Parameters
    ----------
    gains
        ``(B, size, size)``.

    Returns
    -------
    Tensor
        int64 ``(B, size)``, on the device of `gains`.

    Raises
    ------
    ValueError
        If a gain is not finite.
    """
    if not torch.isfinite(gains).all():
        raise ValueError(
            "inner products of weights overflow: convert both ensembles to torch.float64, or scale them down"
        )
    best = gains.argmax(2)
    ordered = best.sort(1).values
    hard = (ordered[:, 1:] == ordered[:, :-1]).any(1).nonzero().flatten()
    if not len(hard):
        return best
    rest = gains if len(hard) == len(gains) else gains[hard]
    matrices = rest.double()
    if gains.shape[1] >= (LARGE if len(rest) < SEVERAL else SMALL):
        of_rows, of_columns = _duals(rest)
        matrices = matrices - of_rows[:, :, None] - of_columns[:, None]
    solved = [linear_sum_assignment(matrix, maximize=True)[1] for matrix in matrices.cpu().numpy()]
    best[hard] = torch.from_numpy(np.stack(solved)).to(best.device)
    return best


def _duals(gains: Tensor) -> tuple[Tensor, Tensor]:
    """Return numbers for rows and columns, near the largest gain of each, float64 ``(B, size)``.

    They follow from the scales that make ``exp(b gains)`` doubly stochastic, by a few steps of Sinkhorn's
    iteration; b is `SHARPNESS` over the standard deviation of the gains.
    """
    of_rows = gains.amax(2)
    left = gains - of_rows[:, :, None]
    of_columns = left.amax(1)
    left -= of_columns[:, None]
    # The square first, as all are negative: their largest is zero.
    mean, square = left.mean((1, 2)), torch.linalg.vector_norm(left, dim=(1, 2)) / left.shape[1]
    sharpness = SHARPNESS / (square.square() - mean.square()).sqrt()
    sharp = torch.isfinite(sharpness)
    sharpness = sharpness.where(sharp, 1.0)[:, None]
    kernel, tiny = torch.exp(left.mul_(sharpness[..., None])), torch.finfo(left.dtype).tiny
    over_rows, over_columns = torch.ones_like(of_rows), of_columns
    for _ in range(SINKHORN_STEPS):
        over_columns = torch.bmm(over_rows[:, None], kernel)[:, 0].clamp_min(tiny).reciprocal()
        over_rows = torch.bmm(kernel, over_columns[..., None])[..., 0]
        over_rows = over_rows.clamp_min(tiny).reciprocal().clamp_max(1 / tiny)
    of_rows = of_rows - (over_rows.log() / sharpness).where(sharp[:, None], 0.0)
    of_columns = of_columns - (over_columns.log() / sharpness).where(sharp[:, None], 0.0)
    return of_rows.double(), of_columns.double()
