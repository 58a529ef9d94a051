"""How well matching finds a permutation that was planted, and how much noise on the weights it bears.

A network is permuted at random, noise is added to the result, and it is matched to the original.
The search is judged on the permuted network without the noise: the permutation found is right if it brings
back every parameter of the original, bit for bit.
Units that are equal in all their weights (dead units with zero weights, say) may be exchanged by that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spinscape import progress
from spinscape.landscape.steps import NOISE, PLANTED, draw, generator
from spinscape.landscape.symmetry._alike import check_gains
from spinscape.landscape.symmetry._pair import Orders, Pair, rows
from spinscape.landscape.symmetry.checks import at_least, check_finite, check_memory
from spinscape.landscape.symmetry.matching import Search, look
from spinscape.landscape.symmetry.permutations import fitting
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.units import Description

METHODS: dict[str, dict[str, str]] = {
    "layerwise": {"method": "layerwise"},
    "descent": {"start": "identity"},
    "descent, random order": {"start": "identity", "sequence": "random"},
    "layerwise, then descent": {"start": "layerwise"},
}
"""Options of `match` by name; the third is the algorithm of Ainsworth et al."""


@dataclass(frozen=True)
class Recovery:
    """Planted permutations, found or not.

    Attributes
    ----------
    noise
        Standard deviation of the noise on a parameter in units of its root mean square, ``(K,)``.
    methods
        Names of the methods.
    exact
        Whether the permutation found brings back the original, bool ``(methods, K, trials)``.
    right
        Share of the hidden units that it brings to the place of the original, or of one equal to it,
        float64 ``(methods, K, trials)``.
    by_set
        The same for each set of units, ``(methods, K, trials, sets)``.
    sets
        Names of the sets, in forward order.
    """

    noise: NDArray[np.float64]
    methods: tuple[str, ...]
    exact: NDArray[np.bool_]
    right: NDArray[np.float64]
    by_set: NDArray[np.float64]
    sets: tuple[str, ...]


def recovery(
    ensemble: Ensemble,
    *,
    noise: Sequence[float] = (0.0,),
    trials: int = 100,
    methods: Sequence[str] | Mapping[str, Mapping[str, Any]] = tuple(METHODS),
    seed: int = 0,
    description: Description | None = None,
) -> Recovery:
    """Plant random permutations in noisy copies of networks, and look for them.

    Trial t uses network ``t % R``.
    Its permutation and its noise depend on the seed and t only: they are the same for all methods, and the
    noise differs between levels by its size alone.

    Parameters
    ----------
    ensemble
        R networks.
    noise
        Levels: standard deviations in units of the root mean square of each parameter.
    trials
        Number of planted permutations, at least 1.
    methods
        Keys of :data:`METHODS`, or options of :func:`match` by a name of your own.
    seed
        Seed of permutations, noise and searches.
    description
        The hidden units; by default those of the model.

    Returns
    -------
    Recovery
        Per method, level and trial.

    Raises
    ------
    ValueError
        If a level is negative or not finite, there is no trial, a method is unknown, the networks have no
        hidden units, or as :func:`match`.
    TypeError
        If a method of your own has an option that :func:`match` has not.
    MemoryError
        If results do not fit in memory, or as :func:`match`.
    """
    description = fitting(ensemble, description)
    if not description.units:
        raise ValueError("the networks have no hidden units to permute")
    try:
        levels = np.array(noise, dtype=np.float64).reshape(-1)
    except (TypeError, ValueError):
        levels = np.array([])
    if not len(levels) or not (np.isfinite(levels) & (levels >= 0)).all():
        raise ValueError(f"noise must list finite levels of at least 0, not {noise!r}")
    trials = at_least("trials", trials, 1)
    searches = _searches(methods, seed)
    # For each trial its exactness, its share, and that of each set.
    each = len(searches) * len(levels) * (1 + 8 * (1 + len(description.units)))
    check_memory("trials", trials, each, what="of all methods and levels")
    check_gains(ensemble, description)
    check_finite(ensemble.params)
    shape = (len(searches), len(levels), trials)
    exact, by_set = np.zeros(shape, bool), np.zeros((*shape, len(description.units)))
    with progress.bar("planted permutations", trials * len(levels)) as bar:
        for t in range(trials):
            original = {name: value[t % len(value)].detach() for name, value in ensemble.params.items()}
            names = _classes(original, description)
            planted, truth = _plant(original, description, seed, t)
            for k, level in enumerate(levels):
                noisy = _noisy(planted, float(level), seed, t)
                for m, search in enumerate(searches.values()):
                    pair = Pair(original, noisy, description, bias=search.bias)
                    orders = look(pair, search, t).orders
                    exact[m, k, t] = _same(original, Pair(original, planted, description).ordered(orders))
                    by_set[m, k, t] = _right(names, truth, orders)
                bar.update(1)
    sizes = np.array([units.size for units in description.units])
    right = by_set @ sizes / sizes.sum()
    sets = tuple(units.name for units in description.units)
    return Recovery(levels, tuple(searches), exact, right, by_set, sets)


def _searches(methods: Sequence[str] | Mapping[str, Mapping[str, Any]], seed: int) -> dict[str, Search]:
    if isinstance(methods, Mapping) and methods:
        return {
            name: Search.of(f"method {name!r}", {"seed": seed, **options})
            for name, options in methods.items()
        }
    listed = not isinstance(methods, str) and isinstance(methods, Sequence) and bool(methods)
    if not listed or any(name not in METHODS for name in methods):
        raise ValueError(f"methods must be some of {tuple(METHODS)}, or options by name, not {methods!r}")
    return {name: Search(seed=seed, **METHODS[name]) for name in methods}  # type: ignore[arg-type]


def _plant(
    original: Mapping[str, Tensor], description: Description, seed: int, t: int
) -> tuple[dict[str, Tensor], Orders]:
    """Return the permuted parameters and the orders that were planted."""
    source = generator(seed, PLANTED, t)
    device = next(iter(original.values())).device
    truth = {u.name: torch.randperm(u.size, generator=source).to(device) for u in description.units}
    return Pair(original, original, description).ordered(truth), truth


def _noisy(planted: Mapping[str, Tensor], level: float, seed: int, t: int) -> dict[str, Tensor]:
    source = generator(seed, NOISE, t)
    return (
        {
            name: value + level * value.square().mean().sqrt() * draw(tuple(value.shape), value, source)
            for name, value in planted.items()
        }
        if level
        else dict(planted)
    )


def _same(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return all(torch.equal(value, b[name]) for name, value in a.items())


def _classes(original: Mapping[str, Tensor], description: Description) -> dict[str, Tensor]:
    """Return a number for each unit of each set, the same for units that are equal."""
    numbers = {}
    for units in description.units:
        weights = [
            rows(original[axis.name], axis, units.size) for axis in units.axes if axis.name in original
        ]
        numbers[units.name] = torch.unique(torch.cat(weights, 1), dim=0, return_inverse=True)[1]
    return numbers


def _right(names: Mapping[str, Tensor], truth: Orders, orders: Orders) -> list[float]:
    """Share of the places of each set that hold the unit of the original, or one equal to it."""
    return [
        float((number[truth[name][orders[name]]] == number).double().mean()) for name, number in names.items()
    ]
