"""Permutations and signs that bring networks of odd activations close to others.

Where an activation is odd (tanh) a hidden unit's incoming and outgoing weights may change sign together, as
well as units may change places; of ReLU units only the places.
All signs and orders are of the full inner product, as in `matching`.
For one set of units, all others held, the best order and signs follow from one linear assignment: put unit j
in place i and it adds ``|G_ij|`` where G are the gains, with the sign of ``G_ij``.
So one hidden layer is solved exactly, several by coordinate descent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spinscape import progress
from spinscape.landscape.symmetry._alike import check_pairs
from spinscape.landscape.symmetry._pair import Orders, Pair, assignment
from spinscape.landscape.symmetry.matching import ROUNDING, SWEEPS, one_pair, stack
from spinscape.landscape.symmetry.permutations import Permutations, permute
from spinscape.landscape.symmetry.scaling import SIGNED, flip_signs, scale
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.units import Description

Signs = dict[str, Tensor]
"""By set of units +1 or -1, ``(size,)``."""


@dataclass(frozen=True)
class SignMatching:
    """Permutations and signs of R networks `b` that bring them close to networks `a`.

    Attributes
    ----------
    permutations
        By set of units, int64 ``(R, size)``, on the CPU.
    signs
        +1 or -1 by set of units whose activation is odd, ``(R, size)``, in the order after the permutation.
    objective
        Inner product of `a` and the network brought close to it, float64 ``(R,)``.
    before
        The same of `b` as it was, ``(R,)``.
    sweeps
        Passes over the sets, ``(R,)``.
    """

    permutations: Permutations
    signs: Signs
    objective: NDArray[np.float64]
    before: NDArray[np.float64]
    sweeps: NDArray[np.int64]

    def apply(self, b: Ensemble, description: Description | None = None) -> Ensemble:
        """Return the networks permuted and with signs flipped; their functions stay."""
        return flip_signs(permute(b, self.permutations, description), self.signs, description)


def match_signs(a: Ensemble, b: Ensemble, *, description: Description | None = None) -> SignMatching:
    """Find permutations and signs of the hidden units of `b` that bring it close to `a`.

    Parameters
    ----------
    a
        R networks, or one for all.
    b
        R networks of the same model, without batch norm.
    description
        The hidden units; by default those of the model of `b`.

    Returns
    -------
    SignMatching
        For models without odd activations it has no signs.

    Raises
    ------
    ValueError
        If the networks differ in parameters, shapes or hidden units, have batch norms, or a parameter is not
        finite.
    MemoryError
        If the gains of a set of units do not fit in memory; it tells how many units would.

    Examples
    --------
    >>> from spinscape.landscape.symmetry import random_permutations, random_signs
    >>> from spinscape.networks.models import mlp
    >>> a = Ensemble.from_modules([mlp([8, 6, 5, 2], activation="tanh")])
    >>> b = flip_signs(permute(a, random_permutations(a, replicas=3)), random_signs(a, replicas=3))
    >>> again = match_signs(a, b).apply(b)
    >>> all(torch.equal(again.params[name][2], a.params[name][0]) for name in a.params)
    True
    """
    if a.replicas not in (1, b.replicas):
        raise ValueError(f"a must have 1 or {b.replicas} networks, as b has, not {a.replicas}")
    description = check_pairs(a, b, description)
    if description.norms or any(units.norms for units in description.units):
        raise ValueError("networks have batch norms: fold them first (spinscape.networks.folding)")
    found = [
        _look(*one_pair(a, b, r % a.replicas, r), description)
        for r in progress.track(range(b.replicas), "matching with signs")
    ]
    signed = [units.name for units in description.units if units.kind in SIGNED]
    return SignMatching(
        stack([orders for orders, *_ in found]),
        {name: torch.stack([signs[name] for _, signs, *_ in found]).cpu() for name in signed},
        np.array([objective for _, _, objective, _, _ in found]),
        np.array([before for _, _, _, before, _ in found]),
        np.array([sweeps for *_, sweeps in found]),
    )


def _look(
    a: Mapping[str, Tensor], b: Mapping[str, Tensor], description: Description
) -> tuple[Orders, Signs, float, float, int]:
    """Return orders, signs, inner products after and before, and passes of one pair."""
    plain = Pair(a, b, description)
    like = next(iter(b.values()))
    orders = plain.identity()
    signs: Signs = {units.name: like.new_ones(units.size) for units in plain.units}
    before = value = plain.objective(orders)
    if len(plain.units) > 1:
        # Set by set in forward order, by the cosines of incoming vectors.
        begun = dict(orders), dict(signs)
        for units in description.units:
            pair = Pair(_flipped(a, description, begun[1], units.name), b, description)
            _choose(pair.cosines(units, begun[0]), units.name, units.kind in SIGNED, *begun)
        start = Pair(_flipped(a, description, begun[1]), b, description).objective(begun[0])
        if start > before:
            (orders, signs), value = begun, start
    sweeps, changed = 0, True
    while changed and sweeps < SWEEPS:
        sweeps, changed = sweeps + 1, False
        for units in description.units:
            tried = dict(orders), dict(signs)
            pair = Pair(_flipped(a, description, signs, units.name), b, description)
            _choose(pair.gains(units, orders), units.name, units.kind in SIGNED, *tried)
            new = Pair(_flipped(a, description, tried[1]), b, description).objective(tried[0])
            if new - value > ROUNDING * torch.finfo(like.dtype).eps * max(abs(new), abs(value)):
                (orders, signs), value, changed = tried, new, True
    return orders, signs, value, before, sweeps


def _choose(gains: Tensor, name: str, signed: bool, orders: Orders, signs: Signs) -> None:
    """Set order and signs of one set to those of the largest sum of gains, in dicts."""
    orders[name] = assignment(gains.abs() if signed else gains)
    if signed:
        chosen = gains.gather(1, orders[name][:, None])[:, 0]
        signs[name] = torch.where(chosen < 0, -1.0, 1.0).to(signs[name])


def _flipped(
    a: Mapping[str, Tensor], description: Description, signs: Signs, but: str | None = None
) -> dict[str, Tensor]:
    """Return `a` with the signs of all sets but one: as good as `b` with them in its new order."""
    params = {name: value[None] for name, value in a.items()}
    for units in description.units:
        if units.name != but and bool((signs[units.name] < 0).any()):
            scale(params, units, signs[units.name][None])
    return {name: value[0] for name, value in params.items()}
