"""The band of minima at finite size: where points of low index lie, from exact mean counts.

Laws here are ratios of mean numbers ("annealed"): the energy of a point drawn with equal weight from all
points of an index in all instances.
The module needs numpy and scipy only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq

from spinscape.glasses._arguments import energies, whole
from spinscape.glasses._counts import log_cumulative, log_weighted, scale
from spinscape.glasses._goe_index import LIMIT, shares
from spinscape.glasses.complexity import (
    complexity,
    log_mean_critical_density,
    log_mean_critical_points,
    threshold_energy,
)

Array = NDArray[np.float64]


@dataclass(frozen=True)
class EnergyLaw:
    """Energies per spin of the points of one index, for several sizes.

    Attributes
    ----------
    p, index
        Interaction order and index.
    sizes
        Numbers of spins, shape (S,).
    log_count
        Log of the mean number of such points, shape (S,).
    mean, sd
        Mean and standard deviation of the energy per spin, shape (S,).
    gap
        Mean energy plus ``E_inf``: the height of the mean above the threshold, shape (S,).
    levels, quantiles
        Probabilities (Q,) and the energies below which those shares lie, shape (S, Q).
    margins, below
        Margins eps (E,) and the share of points with energy below ``-E_inf + eps``, shape (S, E).
    """

    p: int
    index: int
    sizes: NDArray[np.int64]
    log_count: Array
    mean: Array
    sd: Array
    gap: Array
    levels: Array
    quantiles: Array
    margins: Array
    below: Array

    def local_power(self) -> Array:
        """Power of n with which the gap closes between neighbouring sizes, shape (S - 1,)."""
        return np.diff(np.log(self.gap)) / np.diff(np.log(self.sizes))


def energy_law(
    p: int,
    sizes: Sequence[int],
    index: int = 0,
    *,
    levels: ArrayLike = (0.05, 0.25, 0.5, 0.75, 0.95),
    margins: ArrayLike = (0.0,),
) -> EnergyLaw:
    """Exact law of the energies of points of one index (minima by default) at several sizes.

    Parameters
    ----------
    p
        Interaction order, at least 2.
    sizes
        Numbers of spins, each from 2 to 200 and above the index; a few seconds at 200.
    index
        Number of negative directions.
    levels
        Probabilities between 0 and 1, shape (Q,).
    margins
        Energies added to ``-E_inf``, shape (E,).

    Raises
    ------
    ValueError
        If an argument is out of range.
    """
    p, index = whole(p, "p", 2), whole(index, "index", 0)
    sizes = [whole(n, "every size", max(2, index + 1), LIMIT) for n in sizes]
    levels, margins = np.atleast_1d(np.asarray(levels, float)), np.atleast_1d(energies(margins, "margins"))
    if not sizes:
        raise ValueError("energy_law needs at least one size")
    if not ((levels > 0) & (levels < 1)).all():
        raise ValueError("levels must lie strictly between 0 and 1")
    rows = [_law(p, n, index, levels, margins) for n in sizes]
    log_count, mean, sd, quantiles, below = (np.array(part) for part in zip(*rows, strict=True))
    gap = mean + threshold_energy(p)
    return EnergyLaw(p, index, np.array(sizes), log_count, mean, sd, gap, levels, quantiles, margins, below)


def _law(
    p: int, n: int, index: int, levels: Array, margins: Array
) -> tuple[float, float, float, Array, Array]:
    grid, values = log_weighted(p, n, index)
    total = float(log_cumulative(grid, values, np.array(np.inf)))
    mass = grid.mass(values - total)
    u = grid.x / scale(p, n)
    mean = float((mass * u).sum())
    sd = float(np.sqrt((mass * (u - mean) ** 2).sum()))
    below = np.exp(log_mean_critical_points(p, n, index, margins - threshold_energy(p)) - total)

    def excess(x: float, level: float) -> float:
        return float(np.exp(log_cumulative(grid, values, np.array(x)) - total)) - level

    ends = grid.start, -grid.start
    quantiles = np.array([brentq(excess, *ends, args=(level,)) for level in levels]) / scale(p, n)
    return total, mean, sd, quantiles, below


def leading_gap(p: int, n: ArrayLike) -> Array:
    """Leading form of `EnergyLaw.gap` for many spins: ``E_inf^2 sqrt((p-2) / (2 (p-1) n))``.

    The mean count grows with energy as ``exp(n a d)`` a height d above the threshold, with
    ``a = E_inf (p-2) / (2 (p-1))``, while a lowest eigenvalue that high is rare as
    ``exp(-n^2 d^3 / (3 E_inf^3))`` (left tail of the Tracy-Widom law); the gap is where they balance.
    The share of minima below the threshold therefore falls as ``exp(-c sqrt n)``, not as a power.

    Parameters
    ----------
    p
        Interaction order, at least 3.
    n
        Numbers of spins, any shape.

    Raises
    ------
    ValueError
        If p is bad.
    """
    p = whole(p, "p", 3)
    return np.asarray(threshold_energy(p) ** 2 * np.sqrt((p - 2) / (2 * (p - 1) * np.asarray(n, float))))


def meeting_energy(p: int, *, tolerance: float = 1e-14) -> float:
    """Highest energy per spin at which minima and points of index 1 have different complexities.

    Found by bisection on the complexities alone, without the closed form of the threshold, to about
    `tolerance` to the power 2/3.

    Raises
    ------
    ValueError
        If p is below 2.
    """
    below, above = -3.0, 0.0
    while above - below > 1e-12:
        middle = (below + above) / 2
        apart = float(complexity(middle, p, 0) - complexity(middle, p, 1)) > tolerance
        below, above = (middle, above) if apart else (below, middle)
    return below


def crossing_energy(p: int, sizes: Sequence[int]) -> Array:
    """Energy per spin at which points of index 1 become as frequent as minima, at finite sizes.

    Parameters
    ----------
    p
        Interaction order, at least 3.
    sizes
        Numbers of spins, 3 to 200.

    Returns
    -------
    ndarray
        Shape (S,); it tends to ``-E_inf`` from above, with a distance of order ``n^(-2/3)``.

    Raises
    ------
    ValueError
        If p or a size is out of range.
    """
    edge = -threshold_energy(whole(p, "p", 3))
    sizes = [whole(n, "every size", 3, LIMIT) for n in sizes]
    # At fixed u the weights of energy cancel: u / E_inf depends on n alone, and (1 + u / E_inf) n^(2/3)
    # falls from 1.5 to 1.2.
    # Far above, both densities vanish in double precision.
    return np.array(
        [
            brentq(lambda u, n=n: float(saddle_ratio(u, p, [n])[0, 0]), edge, top, xtol=1e-10)
            for n, top in ((n, edge * (1 - 1.7 * n ** (-2 / 3))) for n in sizes)
        ]
    )


def saddle_ratio(u: ArrayLike, p: int, sizes: Sequence[int], index: int = 1) -> Array:
    """Log of the ratio of the mean densities of points of an index and of minima, at fixed energy.

    Below the threshold it falls as ``-n index I(u)``, less a multiple of log n.

    Parameters
    ----------
    u
        Energies per spin, shape (U,).
    p
        Interaction order, at least 2.
    sizes
        Numbers of spins, 2 to 200.
    index
        Index of the saddles, at least 1.

    Returns
    -------
    ndarray
        Nats, shape (S, U).

    Raises
    ------
    ValueError
        If an argument is out of range.
    """
    values = np.atleast_1d(energies(u))
    index = whole(index, "index", 1)
    with np.errstate(invalid="ignore"):
        rows = [
            log_mean_critical_density(values, p, n, index) - log_mean_critical_density(values, p, n, 0)
            for n in sizes
        ]
    return np.array(rows).reshape(len(rows), len(values))


def falling_rate(u: float, p: int, n: int, index: int = 1) -> float:
    """Rate per spin at which `saddle_ratio` falls at a fixed energy, extrapolated to many spins.

    The slopes between n / 4, n / 2 and n spins have a correction of order 1 / n, which is taken out.
    Far enough below the threshold this is ``index I(u)``; close to it the sizes that can be computed are
    too small.

    Parameters
    ----------
    u
        Energy per spin.
    p
        Interaction order, at least 2.
    n
        Largest number of spins, 12 to 200.
    index
        Index of the saddles, at least 1.

    Returns
    -------
    float
        Nats per spin.

    Raises
    ------
    ValueError
        If an argument is out of range.
    """
    n = whole(n, "n", 12, LIMIT)
    sizes = [n // 4, n // 2, n]
    first, last = -np.diff(saddle_ratio(u, p, sizes, index)[:, 0]) / np.diff(sizes)
    return float(2 * last - first)


def band_ratio(p: int, sizes: Sequence[int], index: int = 1) -> Array:
    """Ratio of the mean numbers of points of an index and of minima in the whole band below ``-E_inf``.

    Parameters
    ----------
    p
        Interaction order, at least 2.
    sizes
        Numbers of spins, 2 to 200.
    index
        Index of the saddles, at least 1.

    Returns
    -------
    ndarray
        Shape (S,).

    Raises
    ------
    ValueError
        If an argument is out of range.
    """
    edge = -threshold_energy(p)
    index = whole(index, "index", 1)
    logs = [[float(log_mean_critical_points(p, n, k, edge)) for k in (index, 0)] for n in sizes]
    return np.exp(np.diff(-np.array(logs).reshape(-1, 2), axis=1)[:, 0])


def mean_index(u: ArrayLike, p: int, n: int) -> Array:
    """Mean index over n of the critical points with energy u, from the exact densities of every index.

    Parameters
    ----------
    u
        Energies per spin, finite, any shape.
    p
        Interaction order, at least 2.
    n
        Number of spins, 2 to 200.

    Returns
    -------
    ndarray
        Between 0 and 1, the shape of u.

    Raises
    ------
    ValueError
        If an argument is out of range.
    """
    p, n = whole(p, "p", 2), whole(n, "n", 2, LIMIT)
    values = energies(u)
    if not np.isfinite(values).all():
        raise ValueError("u must be finite")
    law = shares(n, values.ravel() * scale(p, n))
    return (law @ np.arange(n) / n).reshape(values.shape)


def limiting_index(u: ArrayLike, p: int) -> Array:
    """Limit of `mean_index`: the part of the semicircle of radius E_inf that lies below u.

    Equivalently the negative part of the Hessian's spectrum, of radius ``2 sqrt(p(p-1))`` about ``-p u``.

    Parameters
    ----------
    u
        Energies per spin, any shape.
    p
        Interaction order, at least 2.

    Returns
    -------
    ndarray
        Between 0 and 1, the shape of u.

    Raises
    ------
    ValueError
        If p is bad, or u holds NaN.
    """
    ratio = np.clip(energies(u) / threshold_energy(p), -1, 1)
    return np.asarray(0.5 + (ratio * np.sqrt(1 - ratio**2) + np.arcsin(ratio)) / np.pi)
