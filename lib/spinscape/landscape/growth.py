"""How a curve grows: flat at first, steepest somewhere, a plateau at the end.

The words "flat region" and "plateau" are given a meaning by slopes on linear axes, so that a straight
line has neither.
All functions take curves with time along the last axis and any leading axes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Shape:
    """Slopes of a curve relative to its steepest quarter.

    Attributes
    ----------
    initial
        Slope of the first steps over that of the steepest quarter, shape (...); 1 on a straight line.
    final
        Slope of the last quarter over that of the steepest, shape (...); 1 on a straight line.
    steepest
        Slope of the steepest quarter, per step, shape (...).
    """

    initial: Floats
    final: Floats
    steepest: Floats


def shape(curve: ArrayLike, *, first: int | None = None) -> Shape:
    """Compare a curve's first and last slopes with its steepest quarter.

    Parameters
    ----------
    curve
        Values at times 0..T, shape (..., T + 1), with T at least 8.
    first
        Steps in the initial slope; by default a twentieth of T, at least 1.

    Raises
    ------
    ValueError
        If the curve has fewer than 9 points, or `first` does not lie in its first quarter.
    """
    values = np.asarray(curve, float)
    steps = values.shape[-1] - 1
    if steps < 8:
        raise ValueError(f"a shape needs at least 8 steps, not {steps}")
    first = first or max(1, steps // 20)
    if first > steps // 4:
        raise ValueError(f"first must lie in the first quarter of {steps} steps, not {first}")
    edges = np.linspace(0, steps, 5).round().astype(int)
    quarters = np.diff(values[..., edges], axis=-1) / np.diff(edges)
    steepest = quarters.max(-1)
    initial = (values[..., first] - values[..., 0]) / first
    return Shape(initial / steepest, quarters[..., -1] / steepest, steepest)


def flat_length(curve: ArrayLike, rise: float) -> NDArray[np.int64]:
    """Count the steps before a curve first rises by more than `rise` above its start.

    Parameters
    ----------
    curve
        Shape (..., T + 1).
    rise
        Positive, in the curve's unit.

    Returns
    -------
    ndarray of int
        Shape (...), between 0 and T; T where the curve never rises so far.
    """
    if rise <= 0:
        raise ValueError(f"rise must be positive, not {rise}")
    values = np.asarray(curve, float)
    above = values - values[..., :1] > rise
    first = np.where(above.any(-1), above.argmax(-1), values.shape[-1])
    return first - 1


def exponent(times: ArrayLike, curve: ArrayLike, *, start: int = 1, stop: int | None = None) -> Floats:
    """Power of time with which a positive curve grows: the least-squares slope in log-log.

    Parameters
    ----------
    times
        Shape (T,), positive between `start` and `stop`.
    curve
        Shape (..., T), positive there; NaN where it is not.
    start, stop
        Slice of the times that are used.

    Returns
    -------
    ndarray
        Shape (...).
    """
    window = slice(start, stop)
    t = np.log(np.asarray(times, float)[window])
    values = np.asarray(curve, float)[..., window]
    log = np.log(np.where(values > 0, values, np.nan))
    t = t - t.mean()
    return (log * t).sum(-1) / (t**2).sum()


def taylor_ratio(rise: ArrayLike, spread: ArrayLike, trace: ArrayLike) -> Floats:
    """Divide a measured rise of the loss by the growth law ``s Tr H / 2`` with ``s = sigma^2 t``.

    Parameters
    ----------
    rise
        Loss minus loss at the start, shape (S, R, T).
    spread
        Variance ``sigma^2 t`` of each weight's displacement, shape (S, T), positive.
    trace
        Trace of the Hessian at the start, shape (R,).

    Returns
    -------
    ndarray
        Shape (S, R, T); 1 where the second-order expansion of the mean loss is exact.
    """
    law = np.asarray(spread, float)[:, None, :] * np.asarray(trace, float)[None, :, None] / 2
    return np.asarray(rise, float) / law
