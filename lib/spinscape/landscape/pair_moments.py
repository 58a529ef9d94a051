"""Mean and spread over all pairs of states, with intervals over the states.

The pairs of R states are not independent, so an interval over pairs would be too short.
Both numbers are functions of averages over pairs, and leaving out one state at a time gives R pseudo-values
whose mean and standard error are those of the number (the jackknife, Tukey 1958; for averages over pairs
Arvesen 1969).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from spinscape import statistics
from spinscape.statistics import Estimate

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PairMoments:
    """Mean and standard deviation over pairs, and what each state contributes.

    Attributes
    ----------
    mean, sd
        Over the pairs i < j.
    means
        Pseudo-values of the mean, one per state, ``(R,)``.
    log_sds
        Pseudo-values of the logarithm of the standard deviation, ``(R,)``.
    """

    mean: float
    sd: float
    means: Floats
    log_sds: Floats

    def mean_estimate(self) -> Estimate:
        """Return the mean with its interval over states."""
        return statistics.mean(self.means)

    def sd_estimate(self) -> Estimate:
        """Return the standard deviation with its interval over states, taken on its logarithm."""
        found = statistics.mean(self.log_sds)
        return Estimate(np.array(self.sd), np.exp(found.low), np.exp(found.high), found.n, found.level)


def moments(matrix: ArrayLike) -> PairMoments:
    """Return mean and standard deviation over the pairs of a symmetric matrix.

    Parameters
    ----------
    matrix
        Distances or overlaps ``(R, R)`` of at least four states; the diagonal does not count.

    Raises
    ------
    ValueError
        If it is not a square matrix of at least four states, symmetric and finite, or all pairs are equal.
    """
    table = np.array(matrix, float)
    if table.ndim != 2 or table.shape[0] != table.shape[1] or len(table) < 4:
        raise ValueError(f"moments need a square matrix of at least 4 states, not {table.shape}")
    if not (np.isfinite(table).all() and np.allclose(table, table.T)):
        raise ValueError("moments need a finite symmetric matrix")
    count = len(table)
    np.fill_diagonal(table, 0)
    centre = table.sum() / (count * (count - 1))
    off = table - centre
    np.fill_diagonal(off, 0)
    first, second = off.sum(1), (off**2).sum(1)
    pairs, left = count * (count - 1) / 2, (count - 1) * (count - 2) / 2
    variance = second.sum() / 2 / (pairs - 1)
    means = (first.sum() / 2 - first) / left
    variances = ((second.sum() / 2 - second) - left * means**2) / (left - 1)
    if variance <= 0 or (variances <= 0).any():
        raise ValueError("all pairs are equal: there is no spread")
    log_sd, log_sds = np.log(variance) / 2, np.log(variances) / 2
    return PairMoments(
        float(centre),
        float(np.sqrt(variance)),
        centre - (count - 1) * means,
        count * log_sd - (count - 1) * log_sds,
    )


def pair_mean(tables: ArrayLike, *, level: float = 0.95) -> Estimate:
    """Return means over the pairs of symmetric tables, with intervals over the states.

    Pseudo-values of the jackknife, one per state, and Student's t: a table of sums ``x_i + x_j`` has the
    interval of twice the mean of the x.
    In 2,000 simulated tables of 5 to 10 states intervals held the mean in 94% to 96% of them where numbers
    were sums of normal x, and in 79% to 83% where they were products of exponential ones, the worst case
    tried.

    Parameters
    ----------
    tables
        A number for each pair of at least three states, ``(R, R, ...)``; the diagonal does not count.
    level
        Nominal coverage.

    Returns
    -------
    Estimate
        Of shape ``(...)``; `n` is the number of states.

    Raises
    ------
    ValueError
        If tables are not square with at least three states, symmetric and finite off the diagonal, or the
        level is not between 0 and 1.
    """
    given = np.array(tables, float)
    if given.ndim < 2 or given.shape[0] != given.shape[1] or len(given) < 3:
        raise ValueError(f"tables must be square with at least 3 states, not {given.shape}")
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, not {level}")
    count = len(given)
    given[np.diag_indices(count)] = 0
    if not (np.isfinite(given).all() and np.allclose(given, given.swapaxes(0, 1))):
        raise ValueError("tables must be finite and symmetric")
    sums = given.sum(1)
    mean = sums.sum(0) / (count * (count - 1))
    without = (sums.sum(0) - 2 * sums) / ((count - 1) * (count - 2))
    pseudo = count * mean - (count - 1) * without
    half = stats.t.ppf(0.5 + level / 2, count - 1) * pseudo.std(axis=0, ddof=1) / np.sqrt(count)
    states = np.full(mean.shape, count, np.int64)
    return Estimate(np.asarray(mean), np.asarray(mean - half), np.asarray(mean + half), states, level)
