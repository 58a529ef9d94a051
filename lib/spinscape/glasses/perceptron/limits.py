"""Capacity of the spherical perceptron in the replica-symmetric theory, and what is allowed as input."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

from spinscape.glasses.perceptron._quadrature import find_root

Floats = NDArray[np.float64]

LEAST_MARGIN = -6.0
"""Smallest margin served; the capacity is 1e10 there."""


def capacity(kappa: ArrayLike) -> Floats:
    """Return the replica-symmetric capacity: patterns per weight above which no solution is left.

    ``1 / Int_{-kappa}^inf Dt (t + kappa)^2``; exact for kappa >= 0, an upper bound of the true one below.

    Raises
    ------
    ValueError
        If a margin is below `LEAST_MARGIN` or not finite.

    Examples
    --------
    >>> float(capacity(0.0))
    2.0
    """
    k = margins(kappa)
    return 1 / ((1 + k**2) * ndtr(k) + k * _density(k))


def largest_margin(alpha: ArrayLike) -> Floats:
    """Return the margin at which `capacity` is alpha.

    Raises
    ------
    ValueError
        If alpha is not positive, or beyond the capacity at `LEAST_MARGIN`.
    """
    found = densities(alpha)
    most = float(capacity(LEAST_MARGIN))
    if np.any(found > most):
        raise ValueError(
            f"alpha is {found.max():.6g}, margins below {LEAST_MARGIN:g} (alpha {most:.4g}) are not served"
        )
    return find_root(lambda k: np.log(capacity(k) / found), LEAST_MARGIN, 1 / np.sqrt(found) + 1.0)


def contacts(kappa: ArrayLike) -> Floats:
    """Return the patterns of stability exactly kappa, per weight, of the last solution at the capacity.

    ``capacity(kappa) Phi(kappa)``: 1 at kappa = 0, less above, where the problem is convex: the last
    solution is hypostatic.
    Below 0 the replica-symmetric number exceeds 1, the number of degrees of freedom, and is wrong.
    It equals `stability` in the limit: replica symmetry is lost before the capacity exactly where the
    count exceeds 1.
    """
    k = margins(kappa)
    return capacity(k) * ndtr(k)


def margins(kappa: ArrayLike) -> Floats:
    """Return margins as floats; ValueError if one is not finite or below `LEAST_MARGIN`."""
    found = np.array(kappa, float)
    if not np.all(np.isfinite(found) & (found >= LEAST_MARGIN)):
        raise ValueError(f"margins must be finite and at least {LEAST_MARGIN:g}, not {kappa!r}")
    return found


def densities(alpha: ArrayLike) -> Floats:
    """Return alpha as floats; ValueError if one is not positive and finite."""
    found = np.array(alpha, float)
    if not np.all(np.isfinite(found) & (found > 0)):
        raise ValueError(f"alpha must be positive and finite, not {alpha!r}")
    return found


def _density(x: Floats) -> Floats:
    return np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
