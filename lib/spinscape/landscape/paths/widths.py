"""How barriers depend on the width of networks: where they peak, and what is left at the largest width.

Each width has networks of its own, and a barrier for each pair of them.
Networks are drawn anew, not pairs, since pairs that share a network are not independent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spinscape.landscape.paths.common import Comparison
from spinscape.landscape.power import clopper_pearson
from spinscape.statistics import Estimate, resampled

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Peak:
    """The largest of the mean barriers of several widths, and how far the others are below.

    Attributes
    ----------
    place
        Number of the width with the largest mean barrier.
    rise, fall
        Mean barrier there less that at the first width, and less that at the last.
    share
        Mean barrier at the last width over the largest.
    """

    place: int
    rise: Estimate
    fall: Estimate
    share: Estimate


def pair_table(first: ArrayLike, second: ArrayLike, values: ArrayLike) -> Floats:
    """Return values of pairs as a symmetric table ``(R, R)`` with NaN where there is no pair.

    Parameters
    ----------
    first, second
        Numbers of the networks of each pair, ``(P,)``.
    values
        One number for each pair, ``(P,)``.
    """
    i, j = np.asarray(first, np.int64), np.asarray(second, np.int64)
    count = int(max(i.max(), j.max())) + 1
    table = np.full((count, count), np.nan)
    table[i, j] = table[j, i] = np.asarray(values, float)
    return table


def share_of_pairs(comparison: Comparison, hits: ArrayLike) -> Estimate:
    """Return the share of the pairs without the reference of which something is true.

    The interval is the wider one of two: the jackknife over networks, which has no width where all pairs
    agree, and that of Clopper and Pearson for as many independent trials as there are networks.

    Parameters
    ----------
    comparison
        Lines between pairs.
    hits
        Bool for each pair, ``(P,)``.
    """
    flags = np.asarray(hits, bool)
    found = comparison.estimate(flags.astype(float)).clipped(0.0, 1.0)
    count = int(found.n)
    low, high = clopper_pearson(round(float(found.value) * count), count)
    ends = np.minimum(found.low, low), np.maximum(found.high, high)
    return Estimate(found.value, *ends, found.n, found.level)


def peak(tables: Sequence[ArrayLike], *, level: float = 0.95, draws: int = 2000, seed: int = 0) -> Peak:
    """Find the width with the largest barrier, with intervals over networks.

    The largest of several noisy means lies above the first one even where all are alike.
    So the intervals hold for all widths that could have been chosen at once (Bonferroni's correction).

    Parameters
    ----------
    tables
        For each width, in increasing order, barriers of pairs ``(R, R)``; NaN where there is none.
    level
        Nominal coverage of all of them together.
    draws, seed
        Of the bootstrap.

    Raises
    ------
    ValueError
        If there are fewer than three widths, or a table is not square with at least three networks.
    """
    each = [np.asarray(table, float) for table in tables]
    if len(each) < 3:
        raise ValueError(f"a peak needs at least three widths, not {len(each)}")
    for table in each:
        if table.ndim != 2 or table.shape[0] != table.shape[1] or len(table) < 3:
            raise ValueError(f"tables must be square with at least 3 networks, not {table.shape}")
    numbers = [np.arange(len(table)) for table in each]
    place = int(np.argmax([_mean(table, rows) for table, rows in zip(each, numbers, strict=True)]))
    each_level = 1 - (1 - level) / (len(each) - 1)

    def against(other: int, how: Callable[[float, float], float]) -> Estimate:
        def between(top: Sequence[int], end: Sequence[int]) -> float:
            return how(_mean(each[place], np.asarray(top)), _mean(each[other], np.asarray(end)))

        if other == place:
            same = np.array(how(1.0, 1.0))
            return Estimate(same, same, same, np.array(len(numbers[place])), level)
        return resampled(between, numbers[place], numbers[other], draws=draws, level=each_level, seed=seed)

    last = len(each) - 1
    return Peak(
        place,
        against(0, lambda top, end: top - end),
        against(last, lambda top, end: top - end),
        against(last, lambda top, end: end / top),
    )


def _mean(table: Floats, rows: NDArray[np.int64]) -> float:
    """Return the mean over pairs of different networks among those drawn."""
    part = table[np.ix_(rows, rows)]
    return (
        float(np.nanmean(np.where(rows[:, None] == rows, np.nan, part)))
        if len(set(rows.tolist())) > 1
        else np.nan
    )
