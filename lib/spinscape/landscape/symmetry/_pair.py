"""Two networks of one description: what it gains to put a unit of the second in a place of the first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from spinscape.networks.units import Axis, Description, Units

Orders = dict[str, Tensor]
"""For each set of units the unit of the input that stands in each place, int64 ``(size,)``."""


def rows(value: Tensor, axis: Axis, size: int) -> Tensor:
    """Arrange a parameter as one row per unit, ``(size, entries)``."""
    return value.movedim(axis.axis, 0).reshape(size, -1)


def reorder(value: Tensor, axis: Axis, order: Tensor) -> Tensor:
    """Put unit ``order[i]`` of a parameter in place i."""
    if axis.repeat > 1:
        order = (order[:, None] * axis.repeat + torch.arange(axis.repeat, device=order.device)).flatten()
    return value.index_select(axis.axis, order)


def assignment(gains: Tensor) -> Tensor:
    """Return the order p that maximises ``sum_i gains[i, p[i]]``, exactly.

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
    matrix = gains.double().cpu().numpy()
    if not np.isfinite(matrix).all():
        raise ValueError(
            "products of weights are not finite: the weights are too large for their number type; "
            "convert both ensembles to torch.float64, or scale them down"
        )
    return torch.from_numpy(linear_sum_assignment(matrix, maximize=True)[1]).to(gains.device)


@dataclass(frozen=True)
class Touch:
    """A set of units on an axis of a parameter."""

    units: str
    axis: Axis


def touches(description: Description, names: Mapping[str, Tensor], *, bias: bool) -> dict[str, list[Touch]]:
    """List for each parameter the sets of units on its axes.

    Parameters
    ----------
    description
        The sets.
    names
        The parameters; axes of other tensors (buffers) are left out.
    bias
        Whether biases of the layers that write the units count.
    """
    found: dict[str, list[Touch]] = {}
    for units in description.units:
        biases = set() if bias else {axis.name for axis in units.incoming if names[axis.name].ndim == 1}
        for axis in units.axes:
            if axis.name in names and axis.name not in biases:
                found.setdefault(axis.name, []).append(Touch(units.name, axis))
    return found


class Pair:
    """Two parameter settings `a` and `b` of one model, and the gains of orders of the units of `b`.

    The gain of order p of one set, all other sets in given orders, is ``sum_i G[i, p[i]]`` with
    ``G[i, j]`` the inner product of all weights of unit i of `a` with those of unit j of `b`.
    It is the sum of one matrix product per parameter, and each is kept until an order that it depends on
    changes.

    Parameters
    ----------
    a, b
        Parameters by name, without a replica axis.
    description
        The sets of units.
    bias
        Whether biases count.
    """

    def __init__(
        self, a: Mapping[str, Tensor], b: Mapping[str, Tensor], description: Description, *, bias: bool = True
    ) -> None:
        self.a, self.b, self.description, self.bias = a, b, description, bias
        self.touches = touches(description, b, bias=bias)
        self.terms: dict[str, list[tuple[str, int]]] = {units.name: [] for units in description.units}
        for name, several in self.touches.items():
            for k, touch in enumerate(several):
                self.terms[touch.units].append((name, k))
        self.quadratic = {
            units: len({name for name, _ in terms}) < len(terms) for units, terms in self.terms.items()
        }
        self._kept: dict[tuple[str, int], tuple[list[Tensor], Tensor]] = {}
        self._left: dict[tuple[str, int], Tensor] = {}

    def identity(self) -> Orders:
        """Return the orders that leave everything in place."""
        device = next(iter(self.b.values())).device
        return {units.name: torch.arange(units.size, device=device) for units in self.description.units}

    def gains(self, units: Units, orders: Orders) -> Tensor:
        """Return the gains of one set, ``(size, size)``, all sets in the given orders.

        For a set on two axes of a parameter it is the gradient there: each axis with the other held.
        """
        total = None
        for name, k in self.terms[units.name]:
            part = self._part(name, k, units, orders)
            total = part if total is None else total + part
        if total is None:
            raise ValueError(f"no parameter tells the units of {units.name} apart")
        return total

    def _part(self, name: str, k: int, units: Units, orders: Orders) -> Tensor:
        own = self.touches[name][k]
        others = [touch for i, touch in enumerate(self.touches[name]) if i != k]
        # An order is replaced, never written into, so that its identity tells whether it has changed.
        state = [orders[touch.units] for touch in others]
        kept = self._kept.get((name, k))
        if kept is not None and all(x is y for x, y in zip(kept[0], state, strict=True)):
            return kept[1]
        value = self.b[name]
        for touch in others:
            value = reorder(value, touch.axis, orders[touch.units])
        left = self._left.get((name, k))
        if left is None:
            left = self._left[name, k] = rows(self.a[name], own.axis, units.size)
        part = left @ rows(value, own.axis, units.size).T
        self._kept[name, k] = (state, part)
        return part

    def ordered(self, orders: Orders) -> dict[str, Tensor]:
        """Return the parameters of `b` with all units in the given orders."""
        result = dict(self.b)
        for units in self.description.units:
            for axis in units.axes:
                if axis.name in result:
                    result[axis.name] = reorder(result[axis.name], axis, orders[units.name])
        return result

    def objective(self, orders: Orders) -> float:
        """Return the inner product of `a` with the ordered `b`, all parameters (or all but biases)."""
        total = 0.0
        for name, value in self.ordered(orders).items():
            if name in self.touches or not self._is_hidden_bias(name):
                total += float((self.a[name].double() * value.double()).sum())
        return total

    def _is_hidden_bias(self, name: str) -> bool:
        return self.b[name].ndim == 1 and any(
            axis.name == name for units in self.description.units for axis in units.incoming
        )


def layerwise(pair: Pair) -> Orders:
    """Match set by set in forward order, by the cosine between incoming vectors."""
    orders = pair.identity()
    for units in pair.description.units:
        left, right = [], []
        for axis in units.opening:
            several = pair.touches.get(axis.name, [])
            if not several:
                continue
            value = pair.b[axis.name]
            for touch in several:
                if touch.units != units.name:
                    value = reorder(value, touch.axis, orders[touch.units])
            left.append(rows(pair.a[axis.name], axis, units.size))
            right.append(rows(value, axis, units.size))
        if not left:
            raise ValueError(f"no parameter tells the units of {units.name} apart")
        ours, theirs = (torch.nn.functional.normalize(torch.cat(side, 1), dim=1) for side in (left, right))
        orders[units.name] = assignment(ours @ theirs.T)
    return orders
