"""How the losses of many networks from independent starts spread, and how the spread shrinks with size.

Choromanska et al. (2015, figure 3) train a thousand networks of one hidden layer at each of several widths,
and compare the distributions of their test losses with those of energies that descent reaches in spin
glasses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats

from spinscape.landscape.network_paths import glass_sizes
from spinscape.landscape.steps import SPREAD
from spinscape.networks.datasets import Dataset
from spinscape.networks.evaluation import evaluate
from spinscape.networks.models import mlp
from spinscape.networks.training import train

Floats = NDArray[np.float64]

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


@dataclass(frozen=True)
class LossSpread:
    """Losses of R networks at each of S sizes.

    Attributes
    ----------
    hidden
        Hidden units, ``(S,)``.
    parameters
        Weights and biases of a network, ``(S,)``.
    glass_size
        Lambda = Psi^(1/H) of a network, ``(S,)``.
    train_loss, test_loss
        Mean loss per sample of the trained networks, ``(S, R)``; NaN where training diverged.
    train_accuracy, test_accuracy
        ``(S, R)``, likewise; NaN for regression.
    """

    hidden: NDArray[np.int64]
    parameters: NDArray[np.int64]
    glass_size: Floats
    train_loss: Floats
    test_loss: Floats
    train_accuracy: Floats
    test_accuracy: Floats


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


@dataclass(frozen=True)
class BestOf:
    """What choosing the network of the lowest training loss is worth on test samples.

    Attributes
    ----------
    n
        Numbers of networks to choose from, ``(B,)``.
    train_loss, test_loss, test_accuracy
        Expected values of the chosen network, ``(B,)``.
    gain, gain_low, gain_high
        Test loss of a typical network minus that of the chosen one, with its bootstrap interval over networks
        at 95%, ``(B,)``; below zero where choosing does harm.
    accuracy_gain, accuracy_gain_low, accuracy_gain_high
        Test accuracy of the chosen network minus that of a typical one, likewise.
    rank_correlation, correlation_low, correlation_high
        Spearman's correlation of training and test loss over the networks, with its bootstrap interval.
    pvalue
        Two-sided p value of no correlation.
    """

    n: NDArray[np.int64]
    train_loss: Floats
    test_loss: Floats
    test_accuracy: Floats
    gain: Floats
    gain_low: Floats
    gain_high: Floats
    accuracy_gain: Floats
    accuracy_gain_low: Floats
    accuracy_gain_high: Floats
    rank_correlation: float
    correlation_low: float
    correlation_high: float
    pvalue: float


def loss_spread(
    dataset: Dataset, hidden: Sequence[int], *, networks: int = 100, seed: int = 0, **training: Any
) -> LossSpread:
    """Train many networks of one hidden layer at each size, all of a size at once.

    Parameters
    ----------
    dataset
        Training and test samples.
    hidden
        Hidden units, rising.
    networks
        R, networks at each size, at least 2.
    seed
        Seed; network r of a size does not depend on the other sizes and networks.
    **training
        Options of :func:`spinscape.networks.training.train`, such as ``epochs``.

    Raises
    ------
    ValueError
        If sizes do not rise, there are fewer than two networks, or an option is not known.
    """
    widths = np.asarray(hidden)
    if widths.ndim != 1 or not len(widths) or (np.diff(widths) <= 0).any():
        raise ValueError(f"hidden must be rising numbers of units, not {list(hidden)}")
    if networks < 2:
        raise ValueError(f"at least 2 networks are needed at each size, not {networks}")
    loss = training.get("loss") or ("cross_entropy" if dataset.task == "classification" else "mse")
    found: dict[str, list[Floats]] = {}
    sizes, parameters = [], []
    for units in widths.tolist():
        layers = [dataset.features, units, dataset.targets]
        own = int(np.random.SeedSequence(seed, spawn_key=(SPREAD, units)).generate_state(1)[0])
        trained = train(mlp(layers), dataset, replicas=networks, seed=own, evaluate_test=False, **training)
        assert trained.history is not None
        sizes.append(glass_sizes(layers).size)
        parameters.append(trained.flat().shape[1])
        for split, x, y in (
            ("train", dataset.x_train, dataset.y_train),
            ("test", dataset.x_test, dataset.y_test),
        ):
            result = evaluate(trained, x, y, loss=loss)
            for name, values in (("loss", result.loss), ("accuracy", result.accuracy)):
                kept = np.where(trained.history.diverged, np.nan, np.asarray(values))
                found.setdefault(f"{split}_{name}", []).append(kept)
    return LossSpread(
        widths.astype(np.int64),
        np.array(parameters),
        np.array(sizes),
        **{name: np.stack(rows) for name, rows in found.items()},
    )


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


def best_of(
    train_loss: ArrayLike,
    test_loss: ArrayLike,
    test_accuracy: ArrayLike,
    *,
    n: Sequence[int] = (1, 2, 5, 10, 20, 50),
    draws: int = 2000,
    seed: int = 0,
) -> BestOf:
    """Compare the network of the lowest training loss among n with a typical one.

    Parameters
    ----------
    train_loss, test_loss, test_accuracy
        One value per network of one size, ``(R,)``; networks with a value that is not finite are left out.
    n
        Numbers to choose from, each at most R.
    draws
        Bootstrap draws.
    seed
        Seed of the bootstrap.

    Raises
    ------
    ValueError
        If there are fewer than three networks, or a number does not lie in 1..R.

    Notes
    -----
    The expectation over which n of the R networks there are to choose from is exact: the k-th lowest is the
    best of n with probability ``C(R - k, n - 1) / C(R, n)``.
    """
    columns = np.stack([np.asarray(part, float) for part in (train_loss, test_loss, test_accuracy)])
    if columns.ndim != 2:
        raise ValueError("best_of takes one value per network, (R,)")
    columns = columns[:, np.isfinite(columns[:2]).all(0)]
    count = columns.shape[1]
    numbers = np.asarray(n, int)
    if count < 3 or numbers.min() < 1 or numbers.max() > count:
        raise ValueError(f"n must lie in 1..{count}, the number of finite networks, which must be at least 3")
    chance = _chances(count, numbers)
    chosen = columns[:, np.argsort(columns[0], kind="stable")] @ chance.T
    rng = np.random.default_rng(seed)
    gains, ranks = np.empty((2, draws, len(numbers))), np.empty(draws)
    for k in range(draws):
        drawn = columns[:, rng.integers(count, size=count)]
        test = drawn[1:, np.argsort(drawn[0], kind="stable")]
        gains[:, k] = test @ chance.T - test.mean(1, keepdims=True)
        ranks[k] = _spearman(drawn[:2])
    low, high = np.quantile(gains, [0.025, 0.975], axis=1)
    told = ranks[np.isfinite(ranks)]
    ends = np.quantile(told, [0.025, 0.975]) if len(told) else [np.nan, np.nan]
    return BestOf(
        n=numbers,
        train_loss=chosen[0],
        test_loss=chosen[1],
        test_accuracy=chosen[2],
        gain=columns[1].mean() - chosen[1],
        gain_low=-high[0],
        gain_high=-low[0],
        accuracy_gain=chosen[2] - columns[2].mean(),
        accuracy_gain_low=low[1],
        accuracy_gain_high=high[1],
        rank_correlation=_spearman(columns[:2]),
        correlation_low=float(ends[0]),
        correlation_high=float(ends[1]),
        pvalue=_pvalue(columns[:2]),
    )


def _chances(count: int, numbers: NDArray[np.int64]) -> Floats:
    """Return the probability that the k-th of R is the first of n drawn ones, ``(B, R)``."""
    rows = np.zeros((len(numbers), count))
    for row, n in zip(rows, numbers, strict=True):
        row[0] = n / count
        for k in range(1, count - n + 1):
            row[k] = row[k - 1] * (count - k - n + 1) / (count - k)
    return rows


def _spearman(pair: Floats) -> float:
    ranks = stats.rankdata(pair, axis=1)
    if np.ptp(ranks[0]) == 0 or np.ptp(ranks[1]) == 0:
        return float("nan")
    return float(np.corrcoef(ranks)[0, 1])


def _pvalue(pair: Floats) -> float:
    return float("nan") if (np.ptp(pair, axis=1) == 0).any() else float(stats.spearmanr(*pair).pvalue)


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
