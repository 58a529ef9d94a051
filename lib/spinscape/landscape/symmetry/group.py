"""The group of permutations of hidden units: its order, its laws, and all of it for a tiny network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice, permutations, product
from math import exp, factorial, lgamma, log, prod

import numpy as np
import torch
from torch import Tensor, nn

from spinscape.landscape.functions import function_change
from spinscape.landscape.symmetry.checks import at_least, check_finite, check_memory
from spinscape.landscape.symmetry.permutations import (
    ROW_BYTES,
    Permutations,
    compose,
    description_of,
    identity,
    inverse,
    permute,
    random_permutations,
)
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.units import Description
from spinscape.progress import bar, track

LARGEST = 1_000_000
"""Number of permutations that are enumerated."""

WRITTEN = 12
"""Digits up to which a number of permutations that are too many is written out."""

CHUNK = 256
"""Permuted networks at once."""


@dataclass(frozen=True)
class GroupLaws:
    """Largest absolute deviations of weights from the laws of a group, over networks; float64 ``(samples,)``.

    Attributes
    ----------
    associativity
        Between permuting three times and permuting once by the product, bracketed either way.
    identity
        Between a network and itself permuted by the identity.
    inverse
        Between a network and itself permuted and permuted back, in either order.
    commutation
        Between permuting two different sets of units in either order; NaN where there is one set.
    within
        Between permuting one set of units by two permutations in either order: not 0 where these do not
        commute and units differ.
    commuting
        Whether those two permutations commute, ``(samples,)``.
    function
        Relative change of the function under the permutation, see `function_change`.
    """

    associativity: np.ndarray
    identity: np.ndarray
    inverse: np.ndarray
    commutation: np.ndarray
    within: np.ndarray
    commuting: np.ndarray
    function: np.ndarray


@dataclass(frozen=True)
class Exhaustion:
    """All permutations of the hidden units of networks.

    Attributes
    ----------
    count
        Order of the group.
    distinct
        Number of different weight vectors among the permuted networks, int64 ``(R,)``.
    function
        Largest relative change of the function, float64 ``(R,)``, see `function_change`.
    """

    count: int
    distinct: np.ndarray
    function: np.ndarray


def log10_order(of: nn.Module | Ensemble | Description | Sequence[int]) -> float:
    """Return the common logarithm of the number of permutations, of the product of M! over sets of units.

    Parameters
    ----------
    of
        A model, an ensemble, a description, or the widths of the hidden layers.

    Raises
    ------
    ValueError
        If a width is no positive whole number.

    Examples
    --------
    >>> round(log10_order([512]), 1)
    1166.5
    """
    return sum(lgamma(width + 1) for width in _widths(of)) / log(10)


def enumerate_permutations(of: nn.Module | Ensemble | Description) -> Iterator[Permutations]:
    """Return an iterator over all permutations of the hidden units, ``(size,)`` by set, the identity first.

    Parameters
    ----------
    of
        A model, an ensemble or a description.

    Raises
    ------
    ValueError
        If there are more than `LARGEST`; it says how many.
    """
    description = description_of(of)
    order(description)
    return _enumerate(description)


def order(of: nn.Module | Ensemble | Description) -> int:
    """Return the number of permutations of the hidden units.

    Parameters
    ----------
    of
        A model, an ensemble or a description.

    Raises
    ------
    ValueError
        If there are more than `LARGEST`; it says how many.
    """
    widths, digits = _widths(description_of(of)), log10_order(of)
    if digits > WRITTEN or prod(factorial(width) for width in widths) > LARGEST:
        told = f"{round(exp(digits * log(10))):,}" if digits < WRITTEN else f"10^{digits:.1f}"
        raise ValueError(f"hidden units {widths} have {told} permutations, more than {LARGEST:,}")
    return prod(factorial(width) for width in widths)


def group_laws(ensemble: Ensemble, x: Tensor, *, samples: int = 10, seed: int = 0) -> GroupLaws:
    """Measure how well sampled permutations of hidden units keep the laws of a group and the function.

    Parameters
    ----------
    ensemble
        R networks.
    x
        Inputs ``(N, ...)`` at which functions are compared.
    samples
        Number of draws of three permutations, each done to all networks; sample k depends on the seed and k.
    seed
        Seed of the draws.

    Raises
    ------
    ValueError
        If `samples` is below 1, the model has no hidden units, or weights are not finite.
    MemoryError
        If the draws do not fit in memory; it tells how many do.
    """
    samples = at_least("samples", samples, 1)
    description = description_of(ensemble)
    if not description.units:
        raise ValueError("the model has no hidden units to permute")
    check_finite(ensemble)
    sizes = sum(units.size for units in description.units)
    check_memory("samples", samples, 3 * ROW_BYTES * sizes)
    draws = random_permutations(description, replicas=3 * samples, seed=seed)
    wide = [units.name for units in description.units if units.size > 1] or [description.units[0].name]
    rows = []
    for k in track(range(samples), "group laws"):
        p, q, r = ({name: value[3 * k + j] for name, value in draws.items()} for j in range(3))
        rows.append(_laws(ensemble, x, description, (p, q, r), wide[k % len(wide)]))
    return GroupLaws(**{name: np.array([row[name] for row in rows]) for name in rows[0]})


def exhaust(ensemble: Ensemble, x: Tensor) -> Exhaustion:
    """Apply every permutation of the hidden units to tiny networks.

    Parameters
    ----------
    ensemble
        R networks.
    x
        Inputs ``(N, ...)`` at which functions are compared.

    Raises
    ------
    ValueError
        If there are more than `LARGEST` permutations; it says how many. Or if weights are not finite.
    """
    description = description_of(ensemble)
    count = order(description)
    check_finite(ensemble)
    distinct, function = [], []
    with bar("all permutations", count * ensemble.replicas) as progress:
        for r in range(ensemble.replicas):
            one, largest = ensemble[r], 0.0
            seen: set[bytes] = set()
            every = _enumerate(description)
            while chunk := list(islice(every, CHUNK)):
                rows = {name: torch.stack([p[name] for p in chunk]) for name in chunk[0]}
                moved = permute(one, rows, description) if rows else one
                largest = max(largest, float(function_change(one, moved, x).max()))
                seen.update(digests(moved))
                progress.update(len(chunk))
            distinct.append(len(seen))
            function.append(largest)
    return Exhaustion(count, np.array(distinct), np.array(function))


def digests(ensemble: Ensemble) -> set[bytes]:
    """Return what tells weight vectors ``(R, P)`` apart: 16 bytes of a hash, of 0 and -0 the same."""
    rows = ensemble.flat().detach().cpu().numpy() + 0.0
    return {blake2b(row.tobytes(), digest_size=16).digest() for row in rows}


def _laws(
    ensemble: Ensemble, x: Tensor, description: Description, draws: tuple[Permutations, ...], within: str
) -> dict[str, float]:
    """Return what `GroupLaws` lists, for one draw of three permutations."""
    p, q, r = draws

    def apply(*steps: Permutations) -> Ensemble:
        moved = ensemble
        for step in steps:
            moved = permute(moved, step, description)
        return moved

    stepwise = apply(p, q, r)
    brackets = [compose(compose(p, q), r), compose(p, compose(q, r))]
    names = list(p)
    other = names[names.index(within) - 1]
    first, second, third = {within: p[within]}, {within: q[within]}, {other: p[other]}
    return {
        "associativity": max(_difference(stepwise, apply(product)) for product in brackets),
        "identity": _difference(ensemble, apply(identity(description))),
        "inverse": max(
            _difference(ensemble, apply(p, inverse(p))), _difference(ensemble, apply(inverse(p), p))
        ),
        "commutation": _difference(apply(first, third), apply(third, first)) if other != within else np.nan,
        "within": _difference(apply(first, second), apply(second, first)),
        "commuting": torch.equal(compose(first, second)[within], compose(second, first)[within]),
        "function": float(function_change(ensemble, apply(p), x).max()),
    }


def _difference(a: Ensemble, b: Ensemble) -> float:
    """Return the largest absolute difference of parameters and buffers."""
    pairs = [(value, (b.params | b.buffers)[name]) for name, value in (a.params | a.buffers).items()]
    return max(float((one.double() - two.double()).abs().max()) for one, two in pairs if one.numel())


def _enumerate(description: Description) -> Iterator[Permutations]:
    names = [units.name for units in description.units]
    sets = (permutations(range(units.size)) for units in description.units)
    for chosen in product(*sets):
        yield {name: torch.tensor(p) for name, p in zip(names, chosen, strict=True)}


def _widths(of: nn.Module | Ensemble | Description | Sequence[int]) -> list[int]:
    if isinstance(of, nn.Module | Ensemble | Description):
        return [units.size for units in description_of(of).units]
    for width in of:
        at_least("widths", width, 1)
    return [int(width) for width in of]
