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
        The patterns.
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
        chains of an instance, shape (I,).
    effective
        Smallest effective sample size over the same quantities, shape (I,).
    """

    drawn: Patterns
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
        See `sample_solutions`; a quarter as many steps are made before.
    seed
        Seed of patterns, starts and chains.

    Raises
    ------
    ValueError
        If an argument is out of range.
    RuntimeError
        If no start has a margin above `kappa`.
    """
    chains = whole(chains, "chains", 1)
    drawn = patterns(instances, n, alpha, seed)
    starts = [
        interior_starts(drawn, kappa, chains=chains, seed=seed, kind=kind) for kind in ("core", "random")
    ]
    run = sample_solutions(
        drawn, kappa, chains=2 * chains, steps=steps, keep=keep, moves=moves, seed=seed,
        start=np.concatenate(starts, 1),
    )  # fmt: skip
    seen = converged(drawn, run, seed=seed)
    halves = (run.points[:, :chains], run.points[:, chains:])
    core, other = (chain_overlaps(w) if chains > 1 else np.full(instances, np.nan) for w in halves)
    return Equilibrium(
        drawn, run.points, run.least, chain_overlaps(run.points), core, other, seen.r_hat.max(1),
        seen.effective.min(1),
    )  # fmt: skip
