"""Where on a circle all stabilities reach a margin: a union of arcs in closed form."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def allowed_arcs(a: ArrayLike, b: ArrayLike, kappa: float, offset: ArrayLike = 0.0) -> tuple[Floats, Floats]:
    """Return the arcs in [0, 2 pi] where every ``offset + a cos t + b sin t`` is at least kappa.

    A pattern of radius ``R = hypot(a, b)`` forbids ``arccos((offset - kappa) / R)`` to both sides of its
    trough ``atan2(b, a) + pi``; nothing if the trough is above kappa.

    Parameters
    ----------
    a, b, offset
        Of each pattern, shape (P,); an offset of 0 is a great circle.
    kappa
        Margin.

    Returns
    -------
    low, high
        Ends of the arcs in order, shape (A,) each; one that reaches across 0 is two.
    """
    a, b, c = np.broadcast_arrays(*np.atleast_1d(a, b, np.asarray(offset, float)))
    radius = np.hypot(a, b)
    at_work = c - radius < kappa
    a, b, c, radius = a[at_work], b[at_work], c[at_work], radius[at_work]
    with np.errstate(divide="ignore", invalid="ignore"):
        half = np.arccos(np.clip((c - kappa) / radius, -1, 1))
    half[c + radius < kappa] = np.pi
    start = (np.arctan2(b, a) + np.pi - half) % (2 * np.pi)
    end = start + 2 * half
    across = end > 2 * np.pi
    start = np.concatenate([start, np.zeros(across.sum()), [2 * np.pi]])
    end = np.concatenate([np.minimum(end, 2 * np.pi), end[across] - 2 * np.pi, [2 * np.pi]])
    order = start.argsort()
    low, high = np.concatenate([[0.0], np.maximum.accumulate(end[order])[:-1]]), start[order]
    free = high > low
    return low[free], high[free]
