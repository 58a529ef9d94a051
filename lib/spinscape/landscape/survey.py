"""The same statistics on many sets of states: glasses with a known answer, and networks.

Every set is compared with its own nulls, see :mod:`spinscape.landscape.structure`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spinscape import progress
from spinscape.landscape.modality import mixtures
from spinscape.landscape.null_overlaps import Draws, draw, fit
from spinscape.landscape.pairs import Pairs
from spinscape.landscape.power import clopper_pearson
from spinscape.landscape.structure import HIERARCHY, LEVEL, MODALITY, STRUCTURE, check, pvalue, statistics
from spinscape.statistics import Estimate, holm

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Survey:
    """Verdicts and statistics of the overlaps of I sets of states.

    Attributes
    ----------
    modality_p, hierarchy_p, structure_p
        P values of the verdicts, ``(I,)``.
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
    structure_p: Floats
    triples: Floats
    modes: NDArray[np.int64]
    levels: NDArray[np.int64]

    @property
    def seen(self) -> Estimate:
        """Share of the sets in which the test of modes or that of hierarchy finds something."""
        return share(self.levels > 0)

    def right(self, levels: int) -> Estimate:
        """Return the share of the sets that are told to have so many levels."""
        return share(self.levels == levels)


def survey(overlaps: ArrayLike, *, draws: int = 99, seed: int = 0) -> Survey:
    """Run the statistics on the overlaps of every set.

    Parameters
    ----------
    overlaps
        Cosines of the pairs of R states, ``(I, R, R)``.
    draws, seed
        As in `structure`, with the same p values; set i has the seed of the survey plus i.

    Raises
    ------
    ValueError
        As `structure`, or if there is no set.
    """
    sets = np.asarray(overlaps, float)
    if sets.ndim != 3 or not len(sets):
        raise ValueError(f"overlaps must be (I, R, R) with at least one set, not {sets.shape}")
    states = [Pairs.from_overlaps(q) for q in sets]
    check(states[0], draws, "overlaps")
    columns, seeds = np.triu_indices(sets.shape[1], 1), range(seed, seed + len(sets))
    modes = [one.modes for one in mixtures(sets[:, *columns], most=5, bins=200, steps=100)]
    rows = []
    for number, pairs, found in zip(seeds, progress.track(states, "survey"), modes, strict=True):
        null, own = fit(pairs), Draws(pairs.overlaps[None], pairs.norms[None])
        alike = statistics(
            draw(null, draws, seed=number), of="overlaps", names=(*MODALITY, *STRUCTURE, "triples")
        )[0]
        turned = draw(null, draws, kind="rotated", seed=number)
        rotated = statistics(turned, of="overlaps", names=HIERARCHY)[0]
        value = statistics(own, of="overlaps", names=(*MODALITY, *HIERARCHY, *STRUCTURE, "triples"))[0]
        modal, nested, beyond = (
            float(holm([pvalue(value[name], drawn[name])[0] for name in group]).min())
            for group, drawn in ((MODALITY, alike), (HIERARCHY, rotated), (STRUCTURE, alike))
        )
        level = 0 if min(modal, nested) > LEVEL else 2 if found > 2 else 1
        ratio = float(value["triples"][0] / alike["triples"].mean())
        rows.append((modal, nested, beyond, ratio, found, level))
    return Survey(*(np.array(column) for column in zip(*rows, strict=True)))


@dataclass(frozen=True)
class Components:
    """Numbers of components of mixtures of normals, by the Bayesian information criterion.

    Attributes
    ----------
    best
        Of the distances.
    null
        Of the distances in draws of the symmetric null, ``(B,)``.
    """

    best: int
    null: NDArray[np.int64]


def components(pairs: Pairs, *, draws: int = 20, norms: str = "smooth", seed: int = 0) -> Components:
    """Choose numbers of components for distances, and for those of a null that has no clusters.

    Parameters
    ----------
    pairs
        At least 8 states.
    draws, norms, seed
        As in `null_overlaps.draw`.
    """
    upper = np.triu_indices(pairs.replicas, 1)
    drawn = draw(fit(pairs), draws, norms=norms, seed=seed).distances[:, *upper]
    found = mixtures(np.concatenate([pairs.upper_distances[None], drawn]), bins=200, steps=100)
    return Components(found[0].best, np.array([one.best for one in found[1:]]))


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
