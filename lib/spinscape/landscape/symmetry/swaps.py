"""Pairs of hidden units that change places: the swaps of Liao et al. 2024, section 4.3."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from spinscape.landscape.steps import LAYERS, SWAPS, generator
from spinscape.landscape.symmetry.checks import at_least, check_copies, check_memory, whole_numbers
from spinscape.landscape.symmetry.permutations import Permutations, description_of, permute
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.units import Description, Units

PAIR_BYTES = 128
"""What a pair takes while it is drawn: two numbers, two units, and the lists of these."""

ENTRY_BYTES = 40
"""What an entry of a table of permutations takes, with what is computed from it at once."""

Counts = Callable[[int, int], Mapping[str, Sequence[int]]]
"""From a network and a trial to the numbers of pairs, one for each step, by set."""


SPREADS = ("each", "total")
"""Ways to spread swaps over several sets of units."""


@dataclass(frozen=True)
class Swapped:
    """Copies of networks in which pairs of hidden units have changed places.

    Attributes
    ----------
    ensemble
        The copies, ``R * trials`` of them: all trials of the first network, then of the next.
    permutations
        What was done to each copy, ``(R * trials, size)`` by set.
    displaced
        Number of units that are not in their old place, int64 ``(R, trials)``.
    """

    ensemble: Ensemble
    permutations: Permutations
    displaced: np.ndarray


def swap(
    ensemble: Ensemble,
    swaps: int,
    *,
    trials: int = 1,
    units: str | Sequence[str] | None = None,
    disjoint: bool = False,
    seed: int = 0,
) -> Swapped:
    """Let random pairs of hidden units change places, in copies of the networks.

    Parameters
    ----------
    ensemble
        R networks.
    swaps
        Number S of pairs in each set of units, at least 0.
    trials
        Copies of each network, each with pairs of its own.
        Trial t of network r in the k-th set depends on the seed, r, t and k; its first pairs are the same
        whatever S.
    units
        Name of the set, or several; by default every set of the model.
    disjoint
        Whether no unit is in two pairs; otherwise the S transpositions are done in succession and may undo
        each other.
    seed
        Seed of the draws.

    Returns
    -------
    Swapped

    Raises
    ------
    ValueError
        If a count is out of range (disjoint pairs: at most half the units), or a set is unknown.
    MemoryError
        If the copies do not fit in memory; it tells how many do.
    """
    description = description_of(ensemble)
    trials = at_least("trials", trials, 1)
    check_copies(ensemble, "trials", trials)
    permutations = random_swaps(
        description,
        swaps,
        replicas=ensemble.replicas,
        trials=trials,
        units=units,
        disjoint=disjoint,
        seed=seed,
    )
    flat = {name: p.flatten(0, 1) for name, p in permutations.items()}
    # One network need not be copied before it is permuted.
    index = torch.arange(ensemble.replicas).repeat_interleave(trials)
    copies = ensemble if ensemble.replicas == 1 else ensemble[index]
    away = sum((p != torch.arange(p.shape[-1])).sum(-1) for p in permutations.values())
    return Swapped(permute(copies, flat, description), flat, torch.as_tensor(away).numpy())


def random_swaps(
    of: nn.Module | Ensemble | Description,
    swaps: int,
    *,
    replicas: int,
    trials: int = 1,
    units: str | Sequence[str] | None = None,
    disjoint: bool = False,
    seed: int = 0,
) -> Permutations:
    """Draw the permutations that :func:`swap` applies.

    Parameters
    ----------
    of
        A model, an ensemble or a description.
    swaps, trials, units, disjoint, seed
        As in :func:`swap`.
    replicas
        Number R of networks.

    Returns
    -------
    dict
        int64 ``(R, trials, size)`` by set, on the CPU.

    Raises
    ------
    ValueError
        If a count is out of range (disjoint pairs: at most half the units), or a set is unknown.
    MemoryError
        If the draws do not fit in memory; it tells how many do.
    """
    description = description_of(of)
    chosen = _chosen(description, units)
    counts = {one.name: [at_least("swaps", swaps, 0)] for one in chosen}
    drawn = _draw(description, lambda r, t: counts, counts, replicas, trials, disjoint, seed)
    return {name: p[:, :, 0] for name, p in drawn.items()}


def swap_series(
    description: Description,
    swaps: Sequence[int],
    *,
    replicas: int,
    trials: int,
    where: str = "each",
    disjoint: bool = False,
    seed: int = 0,
) -> Permutations:
    """Draw the permutations of several numbers of swaps, of which the larger go on where smaller ones end.

    Parameters
    ----------
    description
        The hidden units.
    swaps
        Numbers S of pairs, ``(K,)``.
    replicas, trials
        Numbers R of networks and T of copies of each.
    where
        ``"each"``: S pairs in every set, those of :func:`random_swaps`; ``"total"``: S pairs, each in a set
        drawn at random.
    disjoint
        Whether no unit is in two pairs.
    seed
        Seed of the draws.

    Returns
    -------
    dict
        int64 ``(R, T, K, size)`` by set, on the CPU.

    Raises
    ------
    ValueError
        If a count is out of range, or `where` is neither.
    MemoryError
        If the draws do not fit in memory; it tells how many do.
    """
    counts = whole_numbers("swaps", swaps, 0)
    if where not in SPREADS:
        raise ValueError(f"where must be one of {SPREADS}, not {where!r}")
    names = [units.name for units in description.units]
    if not names:
        raise ValueError("the model has no hidden units to swap")
    everywhere = dict.fromkeys(names, counts)

    def spread(r: int, t: int) -> Mapping[str, Sequence[int]]:
        numbers = torch.rand(max(counts), generator=generator(seed, LAYERS, r, t), dtype=torch.float64)
        chosen = (numbers * len(names)).long().numpy()
        sums = {name: np.cumsum(np.insert(chosen == k, 0, False)) for k, name in enumerate(names)}
        return {name: own[counts].tolist() for name, own in sums.items()}

    of = spread if where == "total" else lambda r, t: everywhere
    return _draw(description, of, everywhere, replicas, trials, disjoint, seed)


def _draw(
    description: Description,
    counts: Counts,
    largest: Mapping[str, Sequence[int]],
    replicas: int,
    trials: int,
    disjoint: bool,
    seed: int,
) -> Permutations:
    """Return the permutations ``(R, T, K, size)`` of the sets that `largest` names.

    `largest` bounds what `counts` gives.
    """
    replicas, trials = at_least("replicas", replicas, 1), at_least("trials", trials, 1)
    chosen = [units for units in description.units if units.name in largest]
    most = max(max(numbers) for numbers in largest.values())
    steps = len(next(iter(largest.values())))
    for one in chosen:
        if disjoint and most > one.size // 2:
            raise ValueError(
                f"swaps must be at most {one.size // 2}, half the {one.size} units of {one.name!r}, "
                f"for disjoint pairs, not {most}"
            )
        if most and one.size < 2:
            raise ValueError(f"swaps must be 0 where {one.name!r} has one unit, not {most}")
    check_memory("swaps", most, PAIR_BYTES)
    row = ENTRY_BYTES * steps * sum(one.size for one in chosen)
    check_memory("replicas", replicas, row)
    check_memory("trials", trials, row * replicas, what=f"of {replicas} networks")
    drawn = {one.name: torch.empty((replicas, trials, steps, one.size), dtype=torch.int64) for one in chosen}
    for r in range(replicas):
        for t in range(trials):
            own = counts(r, t)
            for one in chosen:
                source = generator(seed, SWAPS, r, t, description.units.index(one))
                drawn[one.name][r, t] = _swapped(one.size, own[one.name], disjoint, source)
    return drawn


def _swapped(size: int, counts: Sequence[int], disjoint: bool, source: torch.Generator) -> Tensor:
    """Return the permutations ``(K, size)`` that the first so many of random pairs make."""
    rows = torch.empty((len(counts), size), dtype=torch.int64)
    if disjoint:
        pairs = torch.randperm(size, generator=source)
        for row, count in zip(rows, counts, strict=True):
            first, second = pairs[: 2 * count : 2], pairs[1 : 2 * count : 2]
            torch.arange(size, out=row)
            row[first], row[second] = second, first
        return rows
    u, v = torch.rand((max(counts), 2), generator=source, dtype=torch.float64).numpy().T
    i, j = (u * size).astype(np.int64), (v * (size - 1)).astype(np.int64)
    # The second of a pair is any other unit.
    turns = list(zip(i.tolist(), (j + (j >= i)).tolist(), strict=True))
    order, done = list(range(size)), 0
    for k in sorted(range(len(counts)), key=lambda k: counts[k]):
        for a, b in turns[done : counts[k]]:
            order[a], order[b] = order[b], order[a]
        rows[k], done = torch.tensor(order), counts[k]
    return rows


def _chosen(description: Description, units: str | Sequence[str] | None) -> list[Units]:
    names = [units] if isinstance(units, str) else units
    if names is None:
        names = [one.name for one in description.units]
    known = {one.name: one for one in description.units}
    for name in names:
        if name not in known:
            told = ", ".join(repr(known_name) for known_name in known)
            raise ValueError(f"units names hidden units {name!r}; known sets: {told}")
    if not names or len(set(names)) < len(names):
        raise ValueError(f"units must name at least one set of hidden units, each once, not {list(names)}")
    return [known[name] for name in names]
