"""Distributions P(q) of models and of networks, in forms that can be set side by side.

Overlaps of different kinds of states have different means and deviations.
So each P(q) comes twice: as it is, and with the overlaps of every instance standardised by their own mean and
deviation, beside draws of the instance's null, which have the same two moments.
What differs from the null is shape: peaks, shoulders, tails.

The band of the null holds whole curves: `OUTSIDE` of the curves of the null leave it anywhere.
A curve's deviation is its largest distance from the mean of all curves, in units of the 2.5 and 97.5
percentiles at that place; the measured curve counts among them, so that its rank among those of the null is
exact (the global envelope test of Myllymaki and others 2017).
A band of percentiles at each place alone is left somewhere by most curves of the null.
"""

from __future__ import annotations

import math
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

OUTSIDE = 0.05
"""Share of the null's curves that leave its band."""

KERNEL_HEIGHT = 1 / (SMOOTHING * math.sqrt(2 * math.pi))
"""Height of the kernel of one standardised value."""

LEAST_DRAWS = 39
"""Fewest draws of the null for a band."""


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
        Band that the same mean leaves with a probability of `OUTSIDE` where the null holds, ``(2, S)``.
    p
        Share of the null's curves, the measured one counted in, that are as far from their mean as the
        measured one, which leaves the band where this is at most `OUTSIDE`.
    counted
        Number of instances in `standard` and `null`.
    """

    q: Floats
    density: Floats
    x: Floats
    standard: Floats
    null: Floats
    p: float
    counted: int

    @property
    def leaves(self) -> bool:
        """Whether the measured curve leaves the band anywhere."""
        return self.p <= OUTSIDE


def overlap_shape(overlaps: ArrayLike, *, draws: int = 199, seed: int = 0) -> OverlapShape:
    """Smooth the overlaps of all instances of a model, and those of their nulls.

    Parameters
    ----------
    overlaps
        Cosines of the pairs of R states, ``(I, R, R)``; R at least 8.
    draws
        Draws of the null of every instance, at least 39; draw b of all instances makes one curve.
    seed
        Seed of the draws; instance i has the seed plus i.

    Raises
    ------
    ValueError
        If overlaps are not of such a shape, or vary in no instance, or draws are fewer than 39.
    """
    sets = np.asarray(overlaps, float)
    if sets.ndim != 3 or sets.shape[1] != sets.shape[2] or sets.shape[1] < 8 or not len(sets):
        raise ValueError(f"overlaps must be (I, R, R) with at least 8 states, not {sets.shape}")
    if draws < LEAST_DRAWS:
        raise ValueError(f"draws must be at least {LEAST_DRAWS}, not {draws}")
    upper = np.triu_indices(sets.shape[1], 1)
    values = sets[:, *upper]
    widths = np.minimum(MOST_SMOOTHING, SMOOTHING * values.std(1, ddof=1))
    finest = max(float(widths.min()), MOST_SMOOTHING / 100)
    q = _grid(values.min() - 4 * finest, values.max() + 4 * finest, finest)
    density = np.stack(
        [
            _smoothed(_shares(row[None], q)[0], q, max(w, finest))
            for row, w in zip(values, widths, strict=True)
        ]
    )
    x = _grid(-FARTHEST, FARTHEST, SMOOTHING)
    total, counted = np.zeros((draws + 1, len(x))), 0
    for i, (own, row) in enumerate(zip(sets, values, strict=True)):
        try:
            fitted = fit(Pairs.from_overlaps(own))
        except ValueError:  # all pairs alike
            continue
        drawn = draw(fitted, draws, seed=seed + i).overlaps[:, *upper]
        total += _shares(_standardised(np.concatenate([row[None], drawn])), x)
        counted += 1
    if not counted:
        raise ValueError("overlaps vary in no instance")
    curves = _smoothed(total / counted, x, SMOOTHING)
    band, p = envelope(curves, least=KERNEL_HEIGHT / (counted * values.shape[1]))
    return OverlapShape(q, density, x, curves[0], band, p, counted)


def envelope(curves: Floats, *, least: float = 0.0) -> tuple[Floats, float]:
    """Return a band that whole curves of the null leave with a probability of `OUTSIDE`.

    Parameters
    ----------
    curves
        Densities: the measured one, and then those of the null, ``(B + 1, S)``.
    least
        Smallest unit of a deviation, positive where no curve of the null may vary.

    Returns
    -------
    tuple
        Band ``(2, S)``, and the p value of the measured curve; it leaves the band where that is at most
        `OUTSIDE`.
    """
    centre = curves.mean(0)
    low, high = np.percentile(curves, (2.5, 97.5), axis=0)
    down, up = np.maximum(centre - low, least), np.maximum(high - centre, least)
    off = curves - centre
    size = np.maximum(off / up, -off / down).max(1)
    # The measured curve is beyond this one where it is among the share of curves that are farthest.
    count = int(OUTSIDE * len(curves) + 1e-9)
    edge = np.sort(size[1:])[len(curves) - 1 - count]
    p = float((size >= size[0]).mean())
    return np.stack([np.maximum(centre - edge * down, 0), centre + edge * up]), p


def _standardised(values: Floats) -> Floats:
    """Less their mean and over their deviation, row by row."""
    centred = values - values.mean(1, keepdims=True)
    return np.asarray(centred / values.std(1, ddof=1, keepdims=True), np.float64)


def _grid(low: float, high: float, width: float) -> Floats:
    step = width / STEPS_PER_KERNEL
    return np.asarray(low + step * np.arange(int(np.ceil((high - low) / step)) + 1), np.float64)


def _shares(values: Floats, grid: Floats) -> Floats:
    """Density of each row of values ``(B, n)`` in steps around a grid; values beyond it are left out."""
    step, size = grid[1] - grid[0], len(grid)
    place = np.floor((values - grid[0]) / step + 0.5)
    inside = (place >= 0) & (place < size)
    row = np.broadcast_to(np.arange(len(values))[:, None], values.shape)
    flat = (row[inside] * size + place[inside]).astype(np.int64)
    counts = np.bincount(flat, minlength=len(values) * size).reshape(len(values), size)
    return np.asarray(counts / (values.shape[1] * step), np.float64)


def _smoothed(rows: Floats, grid: Floats, width: float) -> Floats:
    """Smooth densities on a grid by a normal kernel."""
    return np.asarray(gaussian_filter1d(rows, width / (grid[1] - grid[0]), mode="constant"), np.float64)
