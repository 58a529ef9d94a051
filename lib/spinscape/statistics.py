"""Intervals and trend tests over independent seeds.

The unit of replication is always an independent seed (a network trained on its own, an instance
drawn on its own), never a point of one run.
The module lies below the four rooms, so that every one of them may use it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

SMALL = 20
"""Below this many seeds a bootstrap interval is too short (at 8 it covers 90%, not 95%)."""

CONSTANT = 1e-12
"""Seeds that differ by less than this share of their mean are one number, up to rounding."""


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its interval.

    Attributes
    ----------
    value
        The mean over the first axis, any shape.
    low, high
        Ends of the interval at `level`, same shape; NaN with fewer than two seeds.
    n
        Number of finite seeds behind each value.
    level
        Nominal coverage.
    """

    value: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    n: NDArray[np.int64]
    level: float

    @property
    def interval(self) -> tuple[float, float]:
        """The two ends as floats, for a scalar estimate."""
        return float(self.low), float(self.high)

    def __float__(self) -> float:
        return float(self.value)

    def scaled(self, factor: float) -> Estimate:
        """Return the estimate in another unit; `factor` is positive."""
        return Estimate(self.value * factor, self.low * factor, self.high * factor, self.n, self.level)

    def clipped(self, low: float, high: float) -> Estimate:
        """Return the estimate with the ends of its interval kept in the range that values can have."""
        return Estimate(
            self.value, np.clip(self.low, low, high), np.clip(self.high, low, high), self.n, self.level
        )


def mean(samples: ArrayLike, *, level: float = 0.95, seed: int = 0) -> Estimate:
    """Mean over independent seeds with an interval.

    Student's t below 20 seeds, the bias-corrected and accelerated bootstrap (Efron 1987) from 20 on.
    Seeds that are not finite (diverged networks) are left out and counted out.

    Parameters
    ----------
    samples
        Shape ``(n, ...)``; the first axis runs over independent seeds.
    level
        Nominal coverage of the interval.
    seed
        Seed of the bootstrap.

    Raises
    ------
    ValueError
        If there is no seed axis, or `level` is not between 0 and 1.
    """
    values = np.asarray(samples, dtype=float)
    if values.ndim == 0 or values.shape[0] == 0:
        raise ValueError("mean needs at least one seed along the first axis")
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, not {level}")
    shape = values.shape[1:]
    columns = values.reshape(len(values), -1).T
    rows = [_one(column[np.isfinite(column)], level, seed) for column in columns]
    value, low, high, n = (np.array(part).reshape(shape) for part in zip(*rows, strict=True))
    return Estimate(value, low, high, n.astype(np.int64), level)


def _one(x: NDArray[np.float64], level: float, seed: int) -> tuple[float, float, float, int]:
    if len(x) == 0:
        return np.nan, np.nan, np.nan, 0
    centre = float(x.mean())
    if len(x) < 2:
        return centre, np.nan, np.nan, len(x)
    if np.ptp(x) <= CONSTANT * abs(centre):
        return centre, centre, centre, len(x)
    if len(x) < SMALL:
        half = stats.t.ppf(0.5 + level / 2, len(x) - 1) * x.std(ddof=1) / np.sqrt(len(x))
        return centre, centre - half, centre + half, len(x)
    interval = stats.bootstrap(
        (x,), np.mean, confidence_level=level, rng=np.random.default_rng(seed)
    ).confidence_interval
    return centre, float(interval.low), float(interval.high), len(x)


def spearman_rows(x: ArrayLike, y: ArrayLike) -> NDArray[np.float64]:
    """Spearman's rank correlation along the last axis, one value per row.

    Parameters
    ----------
    x, y
        Shapes that broadcast to ``(..., T)``.

    Returns
    -------
    ndarray
        Shape ``(...)``; NaN where a row is constant.
    """
    a, b = np.broadcast_arrays(np.asarray(x, float), np.asarray(y, float))
    ranks = [stats.rankdata(part, axis=-1) for part in (a, b)]
    ranks = [part - part.mean(axis=-1, keepdims=True) for part in ranks]
    norm = np.sqrt((ranks[0] ** 2).sum(-1) * (ranks[1] ** 2).sum(-1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(norm > 0, (ranks[0] * ranks[1]).sum(-1) / norm, np.nan)


def page_increasing(table: ArrayLike) -> float:
    """P value of Page's test that the columns of a table rise from left to right.

    Within a row the columns must be exchangeable under the null; times of one walk are not, see `falling`.

    Parameters
    ----------
    table
        Shape ``(n, T)``: independent seeds by ordered conditions; rows with a NaN are left out.

    Returns
    -------
    float
        P value under the null of no trend (Page 1963); NaN with fewer than 2 rows or 3 conditions.
    """
    values = np.asarray(table, float)
    values = values[np.isfinite(values).all(1)]
    if len(values) < 2 or values.shape[1] < 3:
        return float("nan")
    return float(stats.page_trend_test(values).pvalue)


@dataclass(frozen=True)
class Trend:
    """Whether curves fall, for several conditions tested at once.

    Attributes
    ----------
    rank
        Spearman's correlation of each curve with time, shape (S, n); 0 for a constant curve, NaN for one
        with a NaN.
    pvalue
        P value that the mean correlation is negative, after Holm's correction, shape (S,); NaN where all
        curves of a condition are constant and nothing could be seen.
    """

    rank: NDArray[np.float64]
    pvalue: NDArray[np.float64]


def falling(curves: ArrayLike) -> Trend:
    """Test whether curves fall with time, condition by condition.

    The points of one curve depend on each other, so only the sign of its trend is used: a one-sided t test of
    the correlations of independent seeds with time.
    On driftless random walks it raises a false alarm as often as it says; Page's test over times would raise
    one in 16 to 30 of 100 (6 to 24 seeds, 8 to 40 times) at a nominal 5%.

    Parameters
    ----------
    curves
        Shape (S, n, T): conditions by independent seeds by times.
    """
    values = np.asarray(curves, float)
    whole = np.isfinite(values).all(-1)
    rank = np.nan_to_num(spearman_rows(np.arange(values.shape[-1]), np.where(whole[..., None], values, 0)))
    rank = np.where(whole, rank, np.nan)
    pvalue = np.array([_negative(row[np.isfinite(row)]) for row in rank])
    told = np.isfinite(pvalue)
    pvalue[told] = holm(pvalue[told])
    return Trend(rank, pvalue)


def _negative(ranks: NDArray[np.float64]) -> float:
    """One-sided t test that the mean of correlations is negative; NaN where all are 0 or fewer than 2."""
    if len(ranks) < 2 or not ranks.any():
        return float("nan")
    if np.ptp(ranks) == 0:
        return 0.5 ** len(ranks) if ranks[0] < 0 else 1.0
    return float(stats.ttest_1samp(ranks, 0, alternative="less").pvalue)


def nonzero(samples: ArrayLike) -> NDArray[np.float64]:
    """Return P values that means over seeds differ from zero, after Holm's correction, (K,).

    A two-sided t test for each of K quantities; NaN where fewer than two seeds are finite.

    Parameters
    ----------
    samples
        Shape (n, K): independent seeds by quantities.
    """
    values = np.asarray(samples, float)
    if values.ndim != 2:
        raise ValueError(f"samples must have shape (n, K), not {values.shape}")
    pvalues = np.array([_differs(column[np.isfinite(column)]) for column in values.T])
    told = np.isfinite(pvalues)
    pvalues[told] = holm(pvalues[told])
    return pvalues


def _differs(x: NDArray[np.float64]) -> float:
    """Two-sided t test of a mean against zero."""
    if len(x) < 2:
        return float("nan")
    if np.ptp(x) == 0:
        return 1.0 if x[0] == 0 else 0.5 ** (len(x) - 1)
    return float(stats.ttest_1samp(x, 0).pvalue)


def holm(pvalues: ArrayLike) -> NDArray[np.float64]:
    """Holm's step-down adjustment of several p values, in their order (Holm 1979)."""
    p = np.asarray(pvalues, float)
    if len(p) == 0:
        return p
    order = np.argsort(p)
    stepped = np.maximum.accumulate((len(p) - np.arange(len(p))) * p[order])
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def resampled(
    function: Callable[..., float],
    *groups: Sequence[Any] | NDArray[Any],
    draws: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Estimate:
    """Interval of any number that is computed from several groups of independent seeds.

    Seeds are drawn with replacement within each group (the percentile bootstrap, Efron 1979), and the
    percentiles are moved outwards by as much as Student's t of the smallest group asks for, since the plain
    ones are too short for few seeds (the expanded percentile interval of Hesterberg 2015).

    Parameters
    ----------
    function
        Takes as many lists as there are groups, each of as many seeds as its group has, and returns a
        number; draws for which it is not finite are left out.
    *groups
        Each a sequence of seeds: numbers, or arrays of any length.
    draws
        Number of resamples.
    level
        Nominal coverage of the interval.
    seed
        Seed of the bootstrap.

    Returns
    -------
    Estimate
        `n` is the size of the smallest group; the ends are NaN with fewer than two seeds in a group or
        where half of the draws give no number.

    Raises
    ------
    ValueError
        If there is no group, or a group has no seed.
    """
    if not groups or not all(len(group) for group in groups):
        raise ValueError("resampled needs at least one group and at least one seed in each")
    rng = np.random.default_rng(seed)
    lists = [list(group) for group in groups]
    value = float(function(*lists))
    smallest = min(map(len, lists))
    low = high = float("nan")
    if smallest > 1:
        found = np.array(
            [
                float(
                    function(*([rows[i] for i in rng.integers(len(rows), size=len(rows))] for rows in lists))
                )
                for _ in range(draws)
            ]
        )
        finite = found[np.isfinite(found)]
        if 2 * len(finite) >= draws:
            reach = stats.t.ppf((1 + level) / 2, smallest - 1) * np.sqrt(smallest / (smallest - 1))
            low, high = np.quantile(finite, [stats.norm.cdf(-reach), stats.norm.cdf(reach)])
    return Estimate(np.array(value), np.array(low), np.array(high), np.array(smallest), level)


def difference_of_means(first: ArrayLike, second: ArrayLike) -> float:
    """Return the mean of the first seeds less that of the second, for `resampled`."""
    return float(np.mean(np.asarray(first, float)) - np.mean(np.asarray(second, float)))


def log_ratio_of_means(first: ArrayLike, second: ArrayLike) -> float:
    """Return the logarithm to base 10 of `ratio_of_means`, NaN where a mean is not positive."""
    means = [float(np.mean(np.asarray(group, float))) for group in (first, second)]
    return float(np.log10(means[0] / means[1])) if min(means) > 0 else float("nan")


def log_ratio_of_columns(rows: ArrayLike) -> float:
    """Return the logarithm to base 10 of `ratio_of_columns`, NaN where a sum is not positive."""
    sums = np.sum(np.asarray(rows, float), axis=0)
    return float(np.log10(sums[0] / sums[1])) if sums.min() > 0 else float("nan")


def rank_of_rows(*groups: ArrayLike) -> float:
    """Return Spearman's correlation of two numbers over the seeds of all groups, for `resampled`.

    Each group is a list of seeds of two numbers, ``(n, 2)``.
    """
    rows = np.concatenate([np.asarray(group, float) for group in groups])
    return float(spearman_rows(rows[:, 0], rows[:, 1]))


def partial_rank_of_rows(*groups: ArrayLike) -> float:
    """Return the rank correlation of two numbers given a third, over the seeds of all groups.

    Each group is a list of seeds of three numbers, ``(n, 3)``: the two and the third.
    It is the correlation of what is left of the ranks of both after a line in the ranks of the third.
    """
    rows = np.concatenate([np.asarray(group, float) for group in groups])
    ranks = stats.rankdata(rows, axis=0)
    third = ranks[:, 2] - ranks[:, 2].mean()
    if not (third**2).sum() > 0:
        return rank_of_rows(rows[:, :2])
    left = []
    for column in ranks[:, :2].T:
        centred = column - column.mean()
        left.append(centred - third * (third @ centred) / (third @ third))
    size = np.linalg.norm(left[0]) * np.linalg.norm(left[1])
    scale = np.linalg.norm(ranks[:, 0] - ranks[:, 0].mean()) * np.linalg.norm(
        ranks[:, 1] - ranks[:, 1].mean()
    )
    return float(left[0] @ left[1] / size) if size > 1e-9 * scale else float("nan")


def ratio_of_means(first: ArrayLike, second: ArrayLike) -> float:
    """Return the mean of the first seeds over that of the second, for `resampled`."""
    return float(np.mean(np.asarray(first, float)) / np.mean(np.asarray(second, float)))


def ratio_of_columns(rows: ArrayLike) -> float:
    """Return the sum of the first column over that of the second: `resampled` of seeds of two numbers."""
    first, second = np.sum(np.asarray(rows, float), axis=0)
    return float(first / second) if second else float("nan")


def extrapolate(
    sizes: ArrayLike,
    samples: Sequence[ArrayLike],
    *,
    powers: Sequence[float] = (1 / 2, 2 / 3),
    level: float = 0.95,
    seed: int = 0,
) -> Estimate:
    """Value for infinite size: the intercept of a straight line in ``size ** -power``.

    The power of the leading correction is seldom known, so several are tried: the value is the mean of
    their intercepts and the interval reaches from the lowest to the highest end.
    Sizes weigh by the inverse variance of their means.

    Parameters
    ----------
    sizes
        Shape (S,), positive, at least two different ones.
    samples
        For each size the values of its independent seeds, at least two.
    powers
        Positive powers that bracket the true one.
    level, seed
        As in `resampled`.

    Raises
    ------
    ValueError
        If sizes are not positive, fewer than two differ, or a size has fewer than two seeds.
    """
    n = np.asarray(sizes, float)
    rows = [np.asarray(row, float) for row in samples]
    if len(np.unique(n)) < 2 or (n <= 0).any() or len(n) != len(rows) or min(map(len, rows)) < 2:
        raise ValueError("extrapolate needs two different positive sizes, each with two samples at least")
    error = np.array([row.std(ddof=1) / np.sqrt(len(row)) for row in rows])
    weights = 1 / error if (error > 0).all() else np.ones(len(n))

    def intercept(power: float, *drawn: Sequence[float]) -> float:
        means = [np.mean(np.asarray(row, float)) for row in drawn]
        return float(np.polyfit(n**-power, means, 1, w=weights)[1])

    found = [resampled(partial(intercept, power), *rows, seed=seed, level=level) for power in powers]
    return Estimate(
        np.array(np.mean([row.value for row in found])),
        np.array(np.min([row.low for row in found])),
        np.array(np.max([row.high for row in found])),
        found[0].n,
        level,
    )


def proportion(hits: ArrayLike, *, level: float = 0.95) -> Estimate:
    """Share of hits among independent trials with Wilson's interval, no point where all are alike."""
    flags = np.asarray(hits, float).ravel()
    n = max(len(flags), 1)
    share = float(flags.mean()) if len(flags) else float("nan")
    z2 = stats.norm.ppf((1 + level) / 2) ** 2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    reach = np.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    low, high = max(middle - reach, 0.0), min(middle + reach, 1.0)
    ends = (low if share > 0 else 0.0, high if share < 1 else 1.0) if len(flags) else (share, share)
    return Estimate(np.array(share), np.array(ends[0]), np.array(ends[1]), np.array(len(flags)), level)


def difference_of_proportions(first: ArrayLike, second: ArrayLike, *, level: float = 0.95) -> Estimate:
    """Difference of two shares of hits with the interval of Newcombe (1998), from Wilson's of both."""
    a, b = proportion(first, level=level), proportion(second, level=level)
    value = a.value - b.value
    low = value - np.sqrt((a.value - a.low) ** 2 + (b.high - b.value) ** 2)
    high = value + np.sqrt((a.high - a.value) ** 2 + (b.value - b.low) ** 2)
    return Estimate(value, low, high, np.minimum(a.n, b.n), level)


def mean_share(samples: ArrayLike, *, level: float = 0.95, seed: int = 0) -> Estimate:
    """Mean of shares over independent seeds; where all are 0 or all are 1, the interval of `proportion`.

    Seeds that are all alike at an end of the range say how rare others are, not that there are none.
    """
    x = np.asarray(samples, float)
    x = x[np.isfinite(x)]
    if len(x) and (np.all(x == 0) or np.all(x == 1)):
        return proportion(x, level=level)
    return mean(x, level=level, seed=seed).clipped(0, 1)


def relative_limit(
    sizes: ArrayLike,
    samples: Sequence[ArrayLike],
    theory: float,
    *,
    controls: Sequence[ArrayLike] | None = None,
    power: float = 1.0,
    level: float = 0.9973,
    seed: int = 0,
) -> Estimate:
    """Relative difference from theory of what samples tend to for infinite size.

    Parameters
    ----------
    sizes, samples
        As in `extrapolate`.
    theory
        Value at infinite size, not zero.
    controls
        For each size a control variate as in `controlled`.
    power
        Of the leading correction.
    level
        Nominal coverage; three standard errors either side unless given.
    seed
        Seed of the bootstrap.
    """
    rows = [np.asarray(row, float) for row in samples]
    if controls is not None:
        rows = [controlled(row, control) for row, control in zip(rows, controls, strict=True)]
    return extrapolate(sizes, [row / theory - 1 for row in rows], powers=(power,), level=level, seed=seed)


def controlled(samples: ArrayLike, control: ArrayLike) -> NDArray[np.float64]:
    """Take from every seed what goes along with a control variate whose mean is known to be zero.

    Parameters
    ----------
    samples
        Shape ``(n, ...)``; the first axis runs over independent seeds.
    control
        Shape (n,), of mean zero over all seeds that could be drawn.

    Returns
    -------
    ndarray
        Of the same shape: samples less their slope on the control times the control.
        The mean stays right up to a bias of order ``1 / n``, and scatters less.
    """
    x, c = np.asarray(samples, float), np.asarray(control, float)
    centred = c - c.mean()
    size = centred @ centred
    if not size > 0:
        return x.copy()
    slopes = np.tensordot(centred, x, (0, 0)) / size
    return x - np.multiply.outer(c, slopes)


def limits(sizes: ArrayLike, values: ArrayLike, power: float) -> NDArray[np.float64]:
    """Extrapolate exact values from each two neighbouring sizes by a straight line in ``size ** -power``.

    Parameters
    ----------
    sizes
        Shape (S,), different and positive.
    values
        Shape (S,).
    power
        Positive power of the leading correction.

    Returns
    -------
    ndarray
        Shape (S - 1,).
    """
    x, y = np.asarray(sizes, float) ** -power, np.asarray(values, float)
    return (x[:-1] * y[1:] - x[1:] * y[:-1]) / (x[:-1] - x[1:])


def factorial(table: ArrayLike, factors: int) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Return the effects of two-valued factors in a full factorial design, seed by seed.

    Parameters
    ----------
    table
        Shape (2^F, n): all combinations, the last factor running fastest, by independent seeds.
    factors
        F.

    Returns
    -------
    list
        For each factor the main effect (n,), second value minus first, averaged over the others; and the
        simple effects (2^(F - 1), n), at each combination of the others.
    """
    values = np.asarray(table, float)
    whole = values.reshape(*factors * (2,), values.shape[-1])
    found = []
    for axis in range(factors):
        simple = (whole.take(1, axis) - whole.take(0, axis)).reshape(-1, values.shape[-1])
        found.append((simple.mean(0), simple))
    return found


def widest(rows: ArrayLike, *, level: float = 0.95, seed: int = 0) -> Estimate:
    """Return one interval that holds the means of several conditions at once (Bonferroni).

    Parameters
    ----------
    rows
        Shape (S, n): conditions by independent seeds.
    level
        Coverage of all conditions together.
    seed
        Seed of the bootstrap.

    Returns
    -------
    Estimate
        The mean of largest magnitude, with the lowest and the highest end of all intervals.
    """
    table = np.asarray(rows, float)
    each = mean(table.T, level=1 - (1 - level) / len(table), seed=seed)
    largest = each.value[np.argmax(np.abs(each.value))]
    ends = np.array(each.low.min()), np.array(each.high.max())
    return Estimate(np.array(largest), *ends, np.array(each.n.min()), level)


def slope(x: ArrayLike, samples: Sequence[ArrayLike], *, level: float = 0.95, seed: int = 0) -> Estimate:
    """Slope of a straight line through the means of independent seeds at several abscissas.

    Parameters
    ----------
    x
        Shape (S,), at least two different ones.
    samples
        For each abscissa the values of its independent seeds.
    level, seed
        As in `resampled`.
    """
    at = np.asarray(x, float)
    if len(np.unique(at)) < 2 or len(at) != len(samples):
        raise ValueError("slope needs at least two different abscissas, each with its samples")

    def of(*rows: Sequence[float]) -> float:
        return float(np.polyfit(at, [np.mean(row) for row in rows], 1)[0])

    return resampled(of, *(np.asarray(row, float) for row in samples), level=level, seed=seed)
