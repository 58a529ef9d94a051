"""Typical solutions of many instances, from two kinds of interior starts at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spinscape.glasses._arguments import whole
from spinscape.glasses.perceptron.convergence import converged
from spinscape.glasses.perceptron.observables import chain_overlaps
from spinscape.glasses.perceptron.patterns import Patterns, patterns
from spinscape.glasses.perceptron.sampler import sample_solutions
from spinscape.glasses.perceptron.starts import interior_starts

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Equilibrium:
    """Solutions of I instances from 2 C chains, the first C from the core, the others from elsewhere inside.

    Attributes
    ----------
    drawn
        The patterns; with `drop` of those instances that starts were found for,
        which may be none.
    found
        Numbers of these instances among those asked for, shape (I,).
    points
        Kept states, shape (I, 2 C, K, N).
    least
        Smallest stability that a chain has had, shape (I, 2 C).
    overlap
        Mean overlap of solutions of different chains, shape (I,).
    overlap_core, overlap_other
        The same among the first C chains and among the others, shape (I,); NaN with one chain each.
    r_hat
        Largest rank-normalised split R-hat over the quantities of `convergence.QUANTITIES`, between all
        chains of an instance, shape (I,); quantities that never change are left out.
    effective
        Smallest effective sample size over the same quantities, shape (I,).
    """

    drawn: Patterns
    found: NDArray[np.int64]
    points: Floats
    least: Floats
    overlap: Floats
    overlap_core: Floats
    overlap_other: Floats
    r_hat: Floats
    effective: Floats


def equilibrate(
    instances: int,
    n: int,
    alpha: float,
    kappa: float,
    *,
    chains: int = 4,
    steps: int,
    keep: int = 20,
    moves: str = "pairs",
    drop: bool = False,
    seed: int = 0,
) -> Equilibrium:
    """Draw instances and sample their solutions.

    Parameters
    ----------
    instances, n, alpha
        See `patterns`.
    kappa
        Margin.
    chains
        Chains C from each of the two kinds of starts of `interior_starts`.
    steps, keep, moves
        See `sample_solutions`; a quarter as many steps are made before, and at least four states are kept.
    drop
        Whether to leave out instances for which a start has no margin above `kappa`, as some have near the
        capacity; else they are an error.
    seed
        Seed of patterns, starts and chains.

    Raises
    ------
    ValueError
        If an argument is out of range.
    RuntimeError
        If a start has no margin above `kappa`, unless `drop` is set.
    """
    chains, keep = whole(chains, "chains", 1), whole(keep, "keep", 4)
    drawn = patterns(instances, n, alpha, seed)
    starts, found = _starts(drawn, kappa, chains, seed, drop)
    drawn = Patterns(drawn.xi[found], drawn.alpha)
    if not len(found):
        none = np.empty(0)
        points = np.empty((0, 2 * chains, keep, drawn.n))
        return Equilibrium(drawn, found, points, points[..., 0, 0], none, none, none, none, none)
    run = sample_solutions(
        drawn, kappa, chains=2 * chains, steps=steps, keep=keep, moves=moves, seed=seed,
        start=starts,
    )  # fmt: skip
    seen = converged(drawn, run, seed=seed)
    halves = (run.points[:, :chains], run.points[:, chains:])
    core, other = (chain_overlaps(w) if chains > 1 else np.full(len(found), np.nan) for w in halves)
    return Equilibrium(
        drawn, found, run.points, run.least, chain_overlaps(run.points), core, other,
        np.fmax.reduce(seen.r_hat, 1), np.fmin.reduce(seen.effective, 1),
    )  # fmt: skip


def _starts(
    drawn: Patterns, kappa: float, chains: int, seed: int, drop: bool
) -> tuple[Floats, NDArray[np.int64]]:
    """Return starts of both kinds, (I, 2 C, N), and the instances they are of."""

    def both(some: Patterns, first: int) -> Floats:
        kinds = (
            interior_starts(some, kappa, chains=chains, seed=seed, kind=kind, offset=first)
            for kind in ("core", "random")
        )
        return np.concatenate(list(kinds), 1)

    try:
        return both(drawn, 0), np.arange(drawn.instances)
    except RuntimeError:
        if not drop:
            raise
    rows, found = [], []
    for i in range(drawn.instances):
        try:
            rows.append(both(Patterns(drawn.xi[i : i + 1], drawn.alpha), i))
        except RuntimeError:
            continue
        found.append(i)
    starts = np.concatenate(rows) if rows else np.empty((0, 2 * chains, drawn.n))
    return starts, np.array(found, int)
