"""Clenshaw and Curtis' rule on a stretched axis."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def rule(intervals: int, power: float) -> tuple[Floats, Floats, Floats]:
    """Return strengths from 0 to 1 and the weights of Clenshaw and Curtis' rule in ``strength^(1/power)``.

    Parameters
    ----------
    intervals
        One less than the number of strengths; a multiple of 4.
    power
        Above 1.

    Returns
    -------
    strengths, weights, coarse : ndarray
        ``(intervals + 1,)``; `coarse` are the weights of the rule with every other strength.

    Examples
    --------
    >>> strengths, weights, coarse = rule(8, 2.0)
    >>> round(float(weights @ strengths**2), 6), round(float(coarse @ strengths**2), 6)
    (0.333333, 0.333333)
    """
    s = (1 - np.cos(np.pi * np.arange(intervals + 1) / intervals)) / 2
    stretch = power * s ** (power - 1)
    coarse = np.zeros(intervals + 1)
    coarse[::2] = _clenshaw_curtis(intervals // 2)
    return s**power, _clenshaw_curtis(intervals) * stretch, coarse * stretch


def _clenshaw_curtis(n: int) -> Floats:
    """Return the weights of the rule with n + 1 points on [0, 1], n even."""
    k, j = np.arange(n + 1), np.arange(1, n // 2 + 1)
    terms = np.where(j == n // 2, 1.0, 2.0) / (4.0 * j**2 - 1)
    weights = (1 - np.cos(2 * np.pi * np.outer(k, j) / n) @ terms) / n
    weights[[0, -1]] /= 2
    return weights
