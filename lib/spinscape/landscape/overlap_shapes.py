"""Distributions P(q) of models and of networks, in forms that can be set side by side.

Overlaps of different kinds of states have different means and deviations.
So each P(q) comes twice: as it is, and with the overlaps of every instance standardised by their own mean and
deviation, beside draws of the instance's null, which have the same two moments.
What differs from the null is shape: peaks, shoulders, tails.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter1d

from spinscape.landscape.null_overlaps import draw, fit
from spinscape.landscape.pairs import Pairs

Floats = NDArray[np.float64]

SMOOTHING = 0.2
"""Deviation of the normal kernel, in standard deviations of an instance's overlaps.

It hides the steps of the overlaps of spins, which are a quarter of one where N spins are free.
"""

MOST_SMOOTHING = 0.02
"""Largest deviation of the kernel where overlaps are as they are."""

FARTHEST = 5.0
"""Standardised overlaps are drawn up to here; what lies beyond is left out, and not moved to the edge."""

STEPS_PER_KERNEL = 10


@dataclass(frozen=True)
class OverlapShape:
    """P(q) of I instances, smoothed; T points as they are and S standardised.

    Attributes
    ----------
    q
        Overlaps, increasing, ``(T,)``.
    density
        P(q) of every instance, ``(I, T)``, each with an integral of 1 over all q.
    x
        Overlaps less their mean, over their standard deviation, within one instance, ``(S,)``.
    standard
        Mean density of `x` over the instances whose overlaps vary, ``(S,)``.
    null
        The same of draws of the instances' nulls, each draw standardised by itself: the 2.5 and 97.5
        percentiles over draws of the mean over instances, ``(2, S)``.
    counted
        Number of instances in `standard` and `null`.
    """

    q: Floats
    density: Floats
    x: Floats
    standard: Floats
    null: Floats
    counted: int


def overlap_shape(overlaps: ArrayLike, *, draws: int = 40, seed: int = 0) -> OverlapShape:
    """Smooth the overlaps of all instances of a model, and those of their nulls.

    Parameters
    ----------
    overlaps
        Cosines of the pairs of R states, ``(I, R, R)``; R at least 8.
    draws
        Draws of the null of every instance, at least 2.
    seed
        Seed of the draws; instance i has the seed plus i.

    Raises
    ------
    ValueError
        If overlaps are not of such a shape, or vary in no instance, or draws are fewer than 2.
    """
    sets = np.asarray(overlaps, float)
    if sets.ndim != 3 or sets.shape[1] != sets.shape[2] or sets.shape[1] < 8 or not len(sets):
        raise ValueError(f"overlaps must be (I, R, R) with at least 8 states, not {sets.shape}")
    if draws < 2:
        raise ValueError(f"draws must be at least 2, not {draws}")
    upper = np.triu_indices(sets.shape[1], 1)
    values = sets[:, *upper]
    widths = np.minimum(MOST_SMOOTHING, SMOOTHING * values.std(1, ddof=1))
    finest = max(float(widths.min()), MOST_SMOOTHING / 100)
    q = _grid(values.min() - 4 * finest, values.max() + 4 * finest, finest)
    density = np.stack([_density(row, q, max(w, finest)) for row, w in zip(values, widths, strict=True)])
    x = _grid(-FARTHEST, FARTHEST, SMOOTHING)
    measured, expected = [], []
    for i, (own, row) in enumerate(zip(sets, values, strict=True)):
        try:
            fitted = fit(Pairs.from_overlaps(own))
        except ValueError:  # all pairs alike
            continue
        drawn = draw(fitted, draws, seed=seed + i).overlaps[:, *upper]
        measured.append(_density(_standardised(row), x, SMOOTHING))
        expected.append([_density(_standardised(one), x, SMOOTHING) for one in drawn])
    if not measured:
        raise ValueError("overlaps vary in no instance")
    null = np.percentile(np.mean(expected, 0), (2.5, 97.5), axis=0)
    return OverlapShape(q, density, x, np.mean(measured, 0), null, len(measured))


def _standardised(values: Floats) -> Floats:
    return np.asarray((values - values.mean()) / values.std(ddof=1), np.float64)


def _grid(low: float, high: float, width: float) -> Floats:
    step = width / STEPS_PER_KERNEL
    return np.asarray(low + step * np.arange(int(np.ceil((high - low) / step)) + 1), np.float64)


def _density(values: Floats, grid: Floats, width: float) -> Floats:
    """Density of values on a grid, smoothed by a normal kernel; values beyond the grid are left out."""
    step = grid[1] - grid[0]
    counts = np.histogram(values, np.r_[grid - step / 2, grid[-1] + step / 2])[0]
    mass = counts / (len(values) * step)
    return np.asarray(gaussian_filter1d(mass, width / step, mode="constant"), np.float64)
