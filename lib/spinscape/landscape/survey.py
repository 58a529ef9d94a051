"""The same statistics on many sets of states: glasses with a known answer, and networks.

Every set is compared with its own nulls, see :mod:`spinscape.landscape.structure`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spinscape import progress
from spinscape.landscape.pairs import Pairs
from spinscape.landscape.power import clopper_pearson
from spinscape.landscape.structure import LEVEL, structure
from spinscape.statistics import Estimate

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Survey:
    """Verdicts and statistics of the overlaps of I sets of states.

    Attributes
    ----------
    modality_p, hierarchy_p
        P values of the two verdicts, ``(I,)``.
    triples
        Mean K of the triples over its mean in draws of the symmetric null, ``(I,)``; 1 where the two largest
        of three distances differ as much as they do without any structure, less where they are more equal.
    modes
        Number of modes of the mixture that describes the overlaps best, ``(I,)``.
    levels
        Levels of grouping that the statistics tell: 0 where neither verdict found anything, 1 where one did,
        2 where one did and there are three modes or more, ``(I,)``.
    """

    modality_p: Floats
    hierarchy_p: Floats
    triples: Floats
    modes: NDArray[np.int64]
    levels: NDArray[np.int64]

    @property
    def seen(self) -> Estimate:
        """Share of the sets in which the test of hierarchy finds something."""
        return share(self.hierarchy_p <= LEVEL)

    def right(self, levels: int) -> Estimate:
        """Return the share of the sets that are told to have so many levels."""
        return share(self.levels == levels)


def survey(overlaps: ArrayLike, *, draws: int = 99, mixture_draws: int = 0, seed: int = 0) -> Survey:
    """Run the statistics on the overlaps of every set.

    Parameters
    ----------
    overlaps
        Cosines of the pairs of R states, ``(I, R, R)``.
    draws, mixture_draws, seed
        As in `structure`; set i has the seed of the survey plus i.

    Raises
    ------
    ValueError
        As `structure`, or if there is no set.
    """
    sets = np.asarray(overlaps, float)
    if sets.ndim != 3 or not len(sets):
        raise ValueError(f"overlaps must be (I, R, R) with at least one set, not {sets.shape}")
    rows = []
    for i, q in enumerate(progress.track(sets, "survey")):
        pairs = Pairs.from_overlaps(q)
        one = structure(pairs, of="overlaps", draws=draws, mixture_draws=mixture_draws, seed=seed + i)
        value, symmetric, _ = one.row("triples")
        modes = one.mixture.modes
        level = 0 if not (one.multimodal or one.clustered) else 2 if modes > 2 else 1
        rows.append((one.modality_p, one.hierarchy_p, value / symmetric.mean(), modes, level))
    return Survey(*(np.array(column) for column in zip(*rows, strict=True)))


def share(hits: ArrayLike) -> Estimate:
    """Return the share of hits among independent trials, with Clopper and Pearson's 95% interval.

    Raises
    ------
    ValueError
        If there is no trial.
    """
    flags = np.asarray(hits, bool).ravel()
    if not len(flags):
        raise ValueError("a share needs at least one trial")
    low, high = clopper_pearson(int(flags.sum()), len(flags))
    return Estimate(np.array(flags.mean()), np.array(low), np.array(high), np.array(len(flags)), 0.95)
