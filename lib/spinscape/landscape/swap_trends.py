"""What barriers on lines to swapped copies do with the number of swaps, the width and the depth."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from spinscape.statistics import holm

SIGNIFICANT = 0.05

Floats = NDArray[np.float64]


def peak_position(alphas: ArrayLike, loss: ArrayLike) -> Floats:
    """Return where the mean curve of each network is highest, ``(R,)``.

    Parameters
    ----------
    alphas
        Points of the line ``(A,)``.
    loss
        ``(R, T, A)``: networks, trials, points.

    Returns
    -------
    ndarray
        ``(R,)``; NaN where a mean curve is not finite.

    Raises
    ------
    ValueError
        If shapes do not fit.
    """
    points, values = np.asarray(alphas, float), np.asarray(loss, float)
    if values.ndim != 3 or points.shape != values.shape[-1:] or not values.size:
        raise ValueError(
            f"loss must have shape (R, T, A) with A points alphas, not {values.shape} with {points.shape}"
        )
    curves = values.mean(1)
    return np.where(np.isfinite(curves).all(-1), points[curves.argmax(-1)], np.nan)


def falling_steps(barriers: ArrayLike) -> list[int]:
    """Count the steps from one number of swaps to the next at which barriers fall, width by width.

    One-sided paired t tests over networks, Holm's correction over all steps at all widths, 5%.

    Parameters
    ----------
    barriers
        ``(W, R, S)``: widths by networks by increasing numbers of swaps.

    Returns
    -------
    list of int
        One number per width.

    Raises
    ------
    ValueError
        If there are fewer than two networks or numbers of swaps.
    """
    values = np.asarray(barriers, float)
    if values.ndim != 3 or min(values.shape[1:]) < 2:
        raise ValueError(f"barriers must have shape (W, R, S) with R, S >= 2, not {values.shape}")
    steps = np.diff(values, axis=2).swapaxes(1, 2)
    pvalues = [_falls(step) for step in steps.reshape(-1, values.shape[1])]
    falls = (holm(pvalues) < SIGNIFICANT).reshape(steps.shape[:2])
    return [int(count) for count in falls.sum(1)]


def _falls(step: Floats) -> float:
    """P value of a t test that a mean is negative; 1 or 0 where all values are equal."""
    if np.ptp(step) == 0:
        return float(step[0] >= 0)
    return float(stats.ttest_1samp(step, 0, alternative="less").pvalue)


def log_collapse_ratio(barriers: ArrayLike, widths: ArrayLike, swaps: ArrayLike) -> Floats:
    """Compare barriers at equal shares of swapped units, at adjacent widths.

    For every pair of adjacent widths M < M' the barriers at S and S' = S M' / M are summed over all S > 0 for
    which both were measured; the logarithm of the ratio of the sums is averaged over the pairs of widths.
    It is zero if the barrier depends on S / M only.

    Parameters
    ----------
    barriers
        ``(W, R, S)``: widths, networks, numbers of swaps.
    widths
        ``(W,)``, increasing.
    swaps
        ``(S,)``.

    Returns
    -------
    ndarray
        ``(R,)``; NaN where no two widths have a share in common.

    Raises
    ------
    ValueError
        If shapes do not fit, or widths do not increase.
    """
    values, sizes, counts = _measured(barriers, widths, swaps)
    at = {float(swap): k for k, swap in enumerate(counts) if swap > 0}
    ratios = []
    for w, factor in enumerate(sizes[1:] / sizes[:-1]):
        pairs = [(k, at[swap * factor]) for swap, k in at.items() if swap * factor in at]
        if pairs:
            first, second = (np.array(columns) for columns in zip(*pairs, strict=True))
            sums = values[w][:, first].sum(1), values[w + 1][:, second].sum(1)
            with np.errstate(invalid="ignore", divide="ignore"):
                ratios.append(np.log(sums[0] / sums[1]))
    return np.mean(ratios, axis=0) if ratios else np.full(values.shape[1], np.nan)


def log_change(barriers: ArrayLike) -> Floats:
    """Return the logarithm of the barriers' sum under the last condition over that under the first, ``(R,)``.

    Parameters
    ----------
    barriers
        ``(W, R, S)``: ordered conditions, such as widths, by networks by numbers of swaps; sums run over S.

    Raises
    ------
    ValueError
        If the shape is another.
    """
    sums = _table(barriers).sum(-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.log(sums[-1] / sums[0])


def exponents(barriers: ArrayLike, widths: ArrayLike, swaps: ArrayLike) -> Floats:
    """Fit ``barrier ~ S^a M^-b`` by least squares of logarithms over all S > 0.

    Parameters
    ----------
    barriers, widths, swaps
        As in :func:`log_collapse_ratio`; at least two widths and two positive numbers of swaps.

    Returns
    -------
    ndarray
        a and b of each network, ``(R, 2)``; NaN where a barrier is not positive.

    Raises
    ------
    ValueError
        If shapes do not fit, widths do not increase, or there are fewer than two of either.
    """
    values, sizes, moved = _measured(barriers, widths, swaps)
    use = moved > 0
    if len(sizes) < 2 or len(set(moved[use])) < 2:
        raise ValueError("exponents need at least two widths and two positive numbers of swaps")
    grid = np.stack(np.meshgrid(sizes, moved[use], indexing="ij"), -1)
    design = np.column_stack(
        [np.ones(grid[..., 0].size), np.log(grid[..., 1].ravel()), -np.log(grid[..., 0].ravel())]
    )
    found = []
    for r in range(values.shape[1]):
        row = values[:, r, use].ravel()
        whole = bool((row > 0).all())
        found.append(np.linalg.lstsq(design, np.log(row), rcond=None)[0][1:] if whole else [np.nan] * 2)
    return np.array(found)


def _table(barriers: ArrayLike) -> Floats:
    """Return barriers ``(W, R, S)`` after a check of their shape."""
    values = np.asarray(barriers, float)
    if values.ndim != 3 or not values.size:
        raise ValueError(f"barriers must have shape (W, R, S), not {values.shape}")
    return values


def _measured(barriers: ArrayLike, widths: ArrayLike, swaps: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Return barriers ``(W, R, S)``, widths and numbers of swaps after a check."""
    values, sizes, counts = _table(barriers), np.asarray(widths, float), np.asarray(swaps, float)
    if sizes.shape != values.shape[:1] or counts.shape != values.shape[2:]:
        raise ValueError(
            f"barriers of shape (W, R, S) = {values.shape} need W widths and S swaps, "
            f"not {sizes.shape} and {counts.shape}"
        )
    if not (sizes > 0).all() or not (np.diff(sizes) > 0).all():
        raise ValueError(f"widths must be positive and increase, not {sizes.tolist()}")
    if not (counts >= 0).all():
        raise ValueError(f"swaps must be at least 0, not {counts.tolist()}")
    return values, sizes, counts
