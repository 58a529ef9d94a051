"""How barriers depend on the width of networks: where they peak, and what is left at the largest width.

Each width has networks of its own, and a barrier for each pair of them.
Networks, not pairs, are the unit of every interval, since pairs that share a network are not independent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from spinscape.landscape.paths.common import Comparison
from spinscape.landscape.power import clopper_pearson
from spinscape.statistics import Estimate

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Peak:
    """The largest of the mean barriers of several widths, and how far the others are below.

    Attributes
    ----------
    place
        Number of the width with the largest mean barrier.
    rise, fall
        Largest mean barrier of the other widths less that at the first width, and less that at the last.
        Negative where the first (last) width itself has the largest one.
    share
        Mean barrier at the last width over the largest of the other widths: below 1 what is left of the
        peak, above 1 where barriers still rise at the last width.
        Not cut at 1, so that it is no point there; the upper end is infinite where the barriers of all other
        widths may be zero.
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

    Raises
    ------
    ValueError
        If lengths differ, or a pair is of a network with itself.
    """
    i, j = np.asarray(first, np.int64), np.asarray(second, np.int64)
    numbers = np.asarray(values, float)
    if not i.shape == j.shape == numbers.shape or i.ndim != 1 or not len(i):
        raise ValueError(f"pairs need lists of equal length, not {i.shape}, {j.shape} and {numbers.shape}")
    if (i == j).any() or min(i.min(), j.min()) < 0:
        raise ValueError("a pair is of two different networks, numbered from 0")
    count = int(max(i.max(), j.max())) + 1
    table = np.full((count, count), np.nan)
    table[i, j] = table[j, i] = numbers
    return table


def share_of_pairs(comparison: Comparison, hits: ArrayLike) -> Estimate:
    """Return the share of the pairs without the reference of which something is true.

    The interval is the wider one of two: the jackknife over networks, which has no width where all pairs
    agree, and that of Clopper and Pearson for as many independent trials as there are networks.
    So at least 6 networks besides the reference are needed to tell at 95% that most pairs agree, or that
    most do not: of 5 trials that all agree the interval still reaches one half.

    Parameters
    ----------
    comparison
        Lines between pairs.
    hits
        Bool for each pair, ``(P,)``.

    Raises
    ------
    ValueError
        If there is not one for each pair, or there are fewer than three networks besides the reference.
    """
    flags = np.asarray(hits, bool)
    found = comparison.estimate(flags.astype(float)).clipped(0.0, 1.0)
    count = int(found.n)
    low, high = clopper_pearson(round(float(found.value) * count), count)
    ends = np.minimum(found.low, low), np.maximum(found.high, high)
    return Estimate(found.value, *ends, found.n, found.level)


def peak(tables: Sequence[ArrayLike], *, level: float = 0.95) -> Peak:
    """Find the width with the largest barrier, with intervals over networks.

    The largest of several noisy means lies above the first one even where all are alike.
    So the first (last) width is compared with each of the others, at levels by which all of these intervals
    hold at once (Bonferroni's correction); the largest difference lies between the largest of the lower and
    the largest of the upper ends, whichever width has the largest mean.
    Where rise and fall are both positive, the peak is neither at the first nor at the last width.

    Means of pairs have the variance of the jackknife over networks.
    Differences have the interval of Welch's t, ratios that of Fieller (1954) with Welch's degrees of freedom.

    Parameters
    ----------
    tables
        For each width, in increasing order, barriers of pairs ``(R, R)``; NaN where there is none.
    level
        Nominal coverage of each of the three intervals.

    Returns
    -------
    Peak
        Ends of an interval are NaN where networks cannot be left out one by one for lack of pairs.

    Raises
    ------
    ValueError
        If there are fewer than three widths, a table is not square with at least three networks, or the level
        is not between 0 and 1.
    """
    each = [np.asarray(table, float) for table in tables]
    if len(each) < 3:
        raise ValueError(f"a peak needs at least three widths, not {len(each)}")
    for table in each:
        if table.ndim != 2 or table.shape[0] != table.shape[1] or len(table) < 3:
            raise ValueError(f"tables must be square with at least 3 networks, not {table.shape}")
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, not {level}")
    means = [_Mean.of(table) for table in each]
    tail = (1 - level) / 2 / (len(each) - 1)
    fewest = np.array(min(one.count for one in means))

    def above(end: _Mean, others: Sequence[_Mean]) -> Estimate:
        low, high = np.array([_difference(one, end, tail) for one in others]).max(0)
        value = max(one.value for one in others) - end.value
        return Estimate(np.array(value), np.asarray(low), np.asarray(high), fewest, level)

    first, last = means[0], means[-1]
    largest = max(one.value for one in means[:-1])
    low, high = np.array([_ratio(last, one, tail) for one in means[:-1]]).min(0)
    share = np.array(last.value / largest if largest > 0 else np.nan)
    return Peak(
        int(np.argmax([one.value for one in means])),
        above(first, means[1:]),
        above(last, means[:-1]),
        Estimate(share, np.asarray(low), np.asarray(high), fewest, level),
    )


@dataclass(frozen=True)
class _Mean:
    """A mean over pairs, its variance by the jackknife over networks, and the number of networks."""

    value: float
    variance: float
    count: int

    @classmethod
    def of(cls, table: Floats) -> _Mean:
        count = len(table)
        whole = _mean(table)
        without = np.array([_mean(np.delete(np.delete(table, k, 0), k, 1)) for k in range(count)])
        pseudo = count * whole - (count - 1) * without
        return cls(whole, float(pseudo.var(ddof=1)) / count, count)


def _mean(table: Floats) -> float:
    """Return the mean over pairs of different networks; NaN where there is none."""
    values = table[~np.eye(len(table), dtype=bool)]
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else np.nan


def _reach(first: _Mean, second: _Mean, factor: float, tail: float) -> float:
    """Return Student's t for the first mean less `factor` times the second, degrees of freedom by Welch."""
    parts = np.array([first.variance, factor**2 * second.variance])
    freedom = np.array([first.count - 1, second.count - 1])
    spread = float((parts**2 / freedom).sum())
    return float(stats.t.ppf(1 - tail, parts.sum() ** 2 / spread if spread > 0 else freedom.sum()))


def _difference(first: _Mean, second: _Mean, tail: float) -> tuple[float, float]:
    """Return the ends of the interval of a difference of means."""
    centre = first.value - second.value
    half = _reach(first, second, 1.0, tail) * np.sqrt(first.variance + second.variance)
    return centre - half, centre + half


def _ratio(first: _Mean, second: _Mean, tail: float) -> tuple[float, float]:
    """Return the ends of the interval of a ratio of means that are not negative, after Fieller.

    All ratios r are kept for which ``first - r second`` may be zero; without an upper end where the second
    mean may be zero itself.
    """
    if not np.isfinite([first.variance, second.variance]).all():
        return np.nan, np.nan
    factor = first.value / second.value if second.value > 0 else 1.0
    squared = _reach(first, second, factor, tail) ** 2
    a, b = second.value**2 - squared * second.variance, first.value * second.value
    c = first.value**2 - squared * first.variance
    root = b + np.sqrt(max(b**2 - a * c, 0.0))
    low = 0.0 if c <= 0 else c / root if root > 0 else np.inf
    return low, root / a if a > 0 else np.inf
