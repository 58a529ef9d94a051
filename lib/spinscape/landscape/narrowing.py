"""How samples spread as the size grows: networks' losses beside the energies of glasses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats

Floats = NDArray[np.float64]

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


@dataclass(frozen=True)
class Narrowing:
    """How samples at S rising sizes spread.

    Attributes
    ----------
    sizes
        ``(S,)``.
    mean, sd
        Mean and standard deviation, ``(S,)``.
    low, high
        Bootstrap interval of the standard deviation at 95%, ``(S,)``.
    quantiles
        ``(S, Q)`` at :data:`QUANTILES`.
    exponent, exponent_low, exponent_high
        Slope of log sd against log size, with its bootstrap interval; below zero where samples narrow.
    levene
        P value of the Brown-Forsythe test that all spreads are equal.
    trend
        One-sided p value that spreads do not fall with size, by permutation: slope of the log of the mean
        distance from the median against log size, among samples moved to a common median, exchanged between
        sizes, and centred anew. Without centring anew, skewed samples raise twice the alarms they should.
    falls
        Share of bootstrap draws in which the sd falls at every step to a larger size.
    n
        Finite samples at each size, ``(S,)``.
    """

    sizes: Floats
    mean: Floats
    sd: Floats
    low: Floats
    high: Floats
    quantiles: Floats
    exponent: float
    exponent_low: float
    exponent_high: float
    levene: float
    trend: float
    falls: float
    n: NDArray[np.int64]


@dataclass(frozen=True)
class Scaling:
    """Losses divided by a fitted law of their mean, as in Choromanska et al. (2015).

    Attributes
    ----------
    alpha, beta
        Of ``E L ~ exp(alpha size^beta)``.
    factor
        ``exp(alpha size^beta)``, made to be 1 at the smallest size, ``(S,)``.
    scaled
        Samples over their factor, ``(S, R)``.
    residual
        Largest relative difference of a mean from the law.
    """

    alpha: float
    beta: float
    factor: Floats
    scaled: Floats
    residual: float


def narrowing(samples: ArrayLike, sizes: ArrayLike, *, draws: int = 2000, seed: int = 0) -> Narrowing:
    """Describe and test how the spread of samples changes with size.

    Parameters
    ----------
    samples
        ``(S, R)``: R independent samples (networks, instances) at each size; those not finite are left out.
    sizes
        ``(S,)``, rising and positive.
    draws
        Bootstrap draws.
    seed
        Seed of the bootstrap.

    Raises
    ------
    ValueError
        If shapes do not fit, sizes do not rise, or a size has fewer than three samples.
    """
    table, steps = _table(samples, sizes)
    rows = [row[np.isfinite(row)] for row in table]
    if min(len(row) for row in rows) < 3:
        raise ValueError("narrowing needs at least three finite samples at each size")
    sd = np.array([row.std(ddof=1) for row in rows])
    rng = np.random.default_rng(seed)
    again = np.stack([_resampled_sd(row, draws, rng) for row in rows])
    low, high = np.quantile(again, [0.025, 0.975], axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        slopes = _slope(np.log(steps), np.log(again))
        slope = float(_slope(np.log(steps), np.log(sd)[:, None])[0])
    ends = (
        np.quantile(slopes[np.isfinite(slopes)], [0.025, 0.975])
        if np.isfinite(slopes).any()
        else [np.nan] * 2
    )
    several = len(rows) > 1
    with np.errstate(divide="ignore", invalid="ignore"):
        levene = stats.levene(*rows, center="median").pvalue if several else np.nan
    return Narrowing(
        sizes=steps,
        mean=np.array([row.mean() for row in rows]),
        sd=sd,
        low=low,
        high=high,
        quantiles=np.stack([np.quantile(row, QUANTILES) for row in rows]),
        exponent=slope,
        exponent_low=float(ends[0]),
        exponent_high=float(ends[1]),
        levene=float(levene),
        trend=_trend(rows, steps, draws, rng) if several else float("nan"),
        falls=float((np.diff(again, axis=0) < 0).all(0).mean()),
        n=np.array([len(row) for row in rows]),
    )


def scaled(samples: ArrayLike, sizes: ArrayLike) -> Scaling:
    """Divide losses by a law of their mean, ``E L ~ exp(alpha size^beta)``, so that sizes can be compared.

    Parameters
    ----------
    samples, sizes
        As in :func:`narrowing`, at least three sizes and positive means.

    Raises
    ------
    ValueError
        If there are fewer than three sizes or a mean is not positive.

    Notes
    -----
    ``log E L = a + alpha size^beta`` is fitted by least squares; for any beta the rest is linear, so only
    beta is searched for, in [-3, 3]. Where beta is near 0 the law is a power of the size.
    Dividing by a law of the mean leaves ratios: spreads of scaled losses are relative spreads.
    """
    table, steps = _table(samples, sizes)
    means = np.nanmean(table, axis=1)
    if len(steps) < 3 or not (means > 0).all():
        raise ValueError("the law of the mean needs three sizes or more, and positive means")
    target = np.log(means)
    ratio = steps / steps[0]

    def fit(beta: float) -> tuple[Floats, float]:
        rise = np.expm1(beta * np.log(ratio)) / beta
        design = np.stack([np.ones(len(steps)), rise], 1)
        coefficients, *_ = np.linalg.lstsq(design, target, rcond=None)
        return coefficients, float(((design @ coefficients - target) ** 2).sum())

    # An even number of points leaves out beta = 0, where the law is not defined.
    grid = np.linspace(-3, 3, 120)
    best = grid[int(np.argmin([fit(beta)[1] for beta in grid]))]
    around = optimize.minimize_scalar(
        lambda b: fit(b)[1], bounds=(best - 0.06, best + 0.06), method="bounded"
    )
    beta = float(around.x) if around.fun <= fit(best)[1] and abs(around.x) > 1e-6 else float(best)
    (level, rate), _ = fit(beta)
    factor = np.exp(rate * np.expm1(beta * np.log(ratio)) / beta)
    alpha = float(rate / beta * steps[0] ** -beta)
    off = float(np.abs(means / (np.exp(level) * factor) - 1).max())
    return Scaling(alpha, beta, factor, table / factor[:, None], off)


def _trend(rows: Sequence[Floats], sizes: Floats, draws: int, rng: np.random.Generator) -> float:
    """Return the p value of the permutation test that spreads do not fall with size."""
    pooled = np.concatenate([row - np.median(row) for row in rows])
    ends = np.cumsum([len(row) for row in rows])[:-1]

    def slope(table: Floats) -> Floats:
        parts = np.split(table, ends, axis=1)
        spreads = [np.abs(part - np.median(part, axis=1, keepdims=True)).mean(1) for part in parts]
        with np.errstate(divide="ignore"):
            return _slope(np.log(sizes), np.log(np.stack(spreads)))

    own = slope(pooled[None])[0]
    if not np.isfinite(own):
        return float("nan")
    size = max(1, 2**21 // len(pooled))
    below = 0
    for first in range(0, draws, size):
        table = np.tile(pooled, (min(size, draws - first), 1))
        below += int((slope(rng.permuted(table, axis=1)) <= own).sum())
    return (1 + below) / (1 + draws)


def _resampled_sd(row: Floats, draws: int, rng: np.random.Generator) -> Floats:
    """Return the standard deviation of bootstrap draws, in blocks of bounded memory."""
    size = max(1, 2**22 // len(row))
    return np.concatenate(
        [
            row[rng.integers(len(row), size=(min(size, draws - first), len(row)))].std(1, ddof=1)
            for first in range(0, draws, size)
        ]
    )


def _slope(x: Floats, rows: Floats) -> Floats:
    """Return the least-squares slope of each column of rows ``(S, D)`` against x ``(S,)``."""
    centred = x - x.mean()
    with np.errstate(invalid="ignore"):
        return centred @ rows / (centred @ centred)


def _table(samples: ArrayLike, sizes: ArrayLike) -> tuple[Floats, Floats]:
    table, steps = np.asarray(samples, float), np.asarray(sizes, float)
    if table.ndim != 2 or steps.shape != (len(table),):
        raise ValueError(f"samples (S, R) and sizes (S,) are needed, not {table.shape} and {steps.shape}")
    if not (steps > 0).all() or (np.diff(steps) <= 0).any():
        raise ValueError("sizes must be positive and rise")
    return table, steps
