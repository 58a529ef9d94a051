"""What it is worth to choose, among many trained networks, the one of the lowest training loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Floats = NDArray[np.float64]


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
