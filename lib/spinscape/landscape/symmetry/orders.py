"""Whether the order of layers matters, and a transformation that is no symmetry."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from spinscape.landscape.symmetry.checks import at_least, check_finite
from spinscape.landscape.symmetry.group import digests, enumerate_permutations
from spinscape.landscape.symmetry.permutations import permute
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.units import describe


@dataclass(frozen=True)
class BothOrders:
    """Networks reached by permuting the sets of units in two orders.

    Attributes
    ----------
    forward
        Number of different weight vectors reached from the first set to the last.
    backward
        Number of those reached from the last set to the first.
    together
        Number of those reached in either order.
    """

    forward: int
    backward: int
    together: int


def both_orders(ensemble: Ensemble) -> BothOrders:
    """Permute the sets of hidden units of a tiny network one after the other, in both orders.

    Parameters
    ----------
    ensemble
        One network of at most a million permutations.

    Returns
    -------
    BothOrders
        If the order gave other elements, `together` would be larger than `forward`.

    Raises
    ------
    ValueError
        If there are several networks, too many permutations, or weights are not finite.
    """
    if ensemble.replicas != 1:
        raise ValueError(f"ensemble must be one network, not {ensemble.replicas}")
    description = describe(ensemble.model)
    check_finite(ensemble)
    names = [units.name for units in description.units]
    reached = []
    for order in (names, names[::-1]):
        images: set[bytes] = set()
        for element in enumerate_permutations(description):
            moved = ensemble
            for name in order:
                moved = permute(moved, {name: element[name]}, description)
            images |= digests(moved)
        reached.append(images)
    return BothOrders(len(reached[0]), len(reached[1]), len(reached[0] | reached[1]))


def exchange_inputs(ensemble: Ensemble, name: str, unit: int, first: int, second: int) -> Ensemble:
    """Exchange two incoming weights of one unit: a permutation of weights that is no symmetry.

    Parameters
    ----------
    ensemble
        R networks.
    name
        Name of a weight, units first.
    unit, first, second
        The unit and its two inputs.

    Returns
    -------
    Ensemble
        Networks of other functions.

    Raises
    ------
    ValueError
        If there is no such weight, unit or input, or the inputs are one.
    """
    if name not in ensemble.params or ensemble.params[name].ndim < 3:
        weights = [key for key, value in ensemble.params.items() if value.ndim > 2]
        raise ValueError(f"name must be one of the weights {weights}, not {name!r}")
    weight = ensemble.params[name]
    unit, first, second = (
        at_least(what, value, 0) for what, value in (("unit", unit), ("first", first), ("second", second))
    )
    if not 0 <= unit < weight.shape[1]:
        raise ValueError(f"unit must be one of 0 to {weight.shape[1] - 1}, not {unit}")
    if first == second or not all(0 <= k < weight.shape[2] for k in (first, second)):
        raise ValueError(f"first and second must differ and lie in 0 to {weight.shape[2] - 1}")
    index = torch.arange(weight.shape[2])
    index[[first, second]] = index[[second, first]]
    changed: Tensor = weight.clone()
    changed[:, unit] = weight[:, unit, index]
    return Ensemble(ensemble.model, ensemble.params | {name: changed}, ensemble.buffers)
