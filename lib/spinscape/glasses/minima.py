"""Minima among enumerated critical points: how close in energy, and how their width goes with their depth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spinscape.glasses.complexity import threshold_energy
from spinscape.glasses.critical_points import CriticalPoints

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Minima:
    """The minima of I instances, one after the other; for even p one of each antipodal pair.

    Attributes
    ----------
    p, n
        Order and number of spins.
    instance
        Which instance each minimum belongs to, ascending, (M,).
    depth
        ``-u / E_inf``, the energy below zero in units of the threshold, (M,).
    curvature
        Smallest Hessian eigenvalue over ``2 sqrt(p (p-1))``, the radius of the semicircle, (M,);
        small where a minimum is wide.
    count
        Minima of each instance, (I,).
    deepest
        Largest depth of each instance, (I,).
    spread
        Standard deviation of the depths of each instance, (I,); NaN where it has one minimum.
    gap
        Depth of the deepest minimum above that of the next, (I,); NaN where there is one.
    """

    p: int
    n: int
    instance: NDArray[np.int64]
    depth: Floats
    curvature: Floats
    count: NDArray[np.int64]
    deepest: Floats
    spread: Floats
    gap: Floats


@dataclass(frozen=True)
class TradeOff:
    """How curvature goes with depth over the minima of many instances.

    Attributes
    ----------
    slope, correlation
        Of curvature against depth, all minima together.
    slope_interval, correlation_interval
        95% percentile bootstrap over instances, (2,).
    minima, instances
        How many of them there were.
    """

    slope: float
    correlation: float
    slope_interval: Floats
    correlation_interval: Floats
    minima: int
    instances: int


def minima(found: CriticalPoints) -> Minima:
    """Select the minima of enumerated critical points.

    Raises
    ------
    ValueError
        If some instance is not complete.
    """
    if not found.complete.all():
        raise ValueError(f"minima of a whole set are asked for, but {found.statement()}")
    chosen = found.index == 0
    if found.p % 2 == 0:
        # The largest entries of a pair of points have opposite signs; one of the two is kept.
        largest = np.take_along_axis(found.points, np.abs(found.points).argmax(1)[:, None], 1)[:, 0]
        chosen &= largest > 0
    instance, total = found.instance[chosen], len(found)
    depth = -found.energy[chosen] / threshold_energy(found.p)
    curvature = found.smallest[chosen] / (2 * np.sqrt(found.p * (found.p - 1)))
    parts = np.split(depth, np.searchsorted(instance, np.arange(1, total)))
    several = [part if len(part) > 1 else np.full(2, np.nan) for part in parts]
    return Minima(
        p=found.p,
        n=found.n,
        instance=instance,
        depth=depth,
        curvature=curvature,
        count=np.bincount(instance, minlength=total),
        deepest=np.array([part.max() for part in parts]),
        spread=np.array([part.std(ddof=1) for part in several]),
        gap=np.array([-np.diff(np.sort(part)[::-1])[0] for part in several]),
    )


def trade_off(bottoms: Minima, *, resamples: int = 2000, seed: int = 0) -> TradeOff:
    """Regress curvature on depth over all minima, with a bootstrap over instances.

    Raises
    ------
    ValueError
        If there are fewer than two instances or three minima, or `resamples` is below 1.
    """
    total = len(bottoms.count)
    if total < 2 or len(bottoms.depth) < 3 or resamples < 1:
        raise ValueError(
            f"a trade-off takes two instances, three minima and a resample, not {total}, "
            f"{len(bottoms.depth)} and {resamples}"
        )
    x, y = bottoms.depth - bottoms.depth.mean(), bottoms.curvature - bottoms.curvature.mean()
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y])
    sums = np.stack([np.bincount(bottoms.instance, term, total) for term in terms])
    draws = np.random.default_rng(seed).multinomial(total, np.full(total, 1 / total), size=resamples)
    slope, correlation = _regression(sums.sum(1, keepdims=True))
    slopes, correlations = _regression(sums @ draws.T.astype(float))
    return TradeOff(
        slope=float(slope[0]),
        correlation=float(correlation[0]),
        slope_interval=np.quantile(slopes, [0.025, 0.975]),
        correlation_interval=np.quantile(correlations, [0.025, 0.975]),
        minima=len(bottoms.depth),
        instances=total,
    )


def _regression(sums: Floats) -> tuple[Floats, Floats]:
    """Return slope and correlation (S,) from sums (6, S) of 1, x, y, x^2, x y and y^2."""
    count, x, y, xx, xy, yy = sums
    a, b, c = xx - x * x / count, xy - x * y / count, yy - y * y / count
    return b / a, b / np.sqrt(a * c)
