"""Eigenvalue density of the Gaussian orthogonal ensemble (GOE) at finite size, in closed form.

Convention of Mehta, *Random Matrices*, chapter 7: the joint density of the n eigenvalues is proportional
to ``prod_{i<j} |x_i - x_j| exp(-sum_i x_i^2 / 2)``, so the spectrum ends near ``sqrt(2 n)``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfcx, ndtr

Array = NDArray[np.float64]
LARGE = 1e30
EVERY = 4


def whole_integrals(n: int) -> Array:
    """Integrals over the line of the orthonormal Hermite functions 0..n, shape (n + 1,)."""
    found = np.zeros(n + 1)
    found[0] = np.sqrt(2) * np.pi**0.25
    for j in range(2, n + 1, 2):
        found[j] = np.sqrt((j - 1) / j) * found[j - 2]
    return found


def log_density(n: int, x: Array) -> Array:
    """Log of the one-point density of the n x n GOE, which integrates to n.

    Mehta's closed form for even and odd n, by the three-term recurrence of the Hermite functions and of
    their integrals from minus infinity, both carried with one floating scale a point, so that neither the
    far tail nor n = 1000 underflows.
    The density is even and is evaluated at x <= 0, where no term cancels the leading one.

    Parameters
    ----------
    n
        Size of the matrix, at least 1.
    x
        Points, any shape.

    Returns
    -------
    ndarray
        Nats, same shape.
    """
    shape = np.shape(x)
    x = -np.abs(np.ravel(np.asarray(x, float)))
    scale = -x * x / 2
    last, before = np.full_like(x, np.pi**-0.25), np.zeros_like(x)
    area, area_before = np.sqrt(2) * np.pi**0.25 * erfcx(-x / np.sqrt(2)) / 2, np.zeros_like(x)
    squares = last**2
    for j in range(n):
        # before, last = functions j - 1 and j; area = integral of j from minus infinity.
        up, down = np.sqrt(2 / (j + 1)), np.sqrt(j / (j + 1))
        area, area_before = down * area_before - up * last, area
        last, before = up * x * last - down * before, last
        if j + 1 < n:
            squares += last**2
        if j % EVERY == 0:
            size = np.maximum(np.abs(last), np.abs(before))
            if size.max(initial=0) > LARGE:
                factor = np.where(size > LARGE, 1 / size, 1.0)
                last, before, area, area_before = (v * factor for v in (last, before, area, area_before))
                squares *= factor**2
                scale -= np.log(factor)
    whole = whole_integrals(n)
    half = -np.sqrt(n / 2) * whole[n] / 2 if n % 2 == 0 else 1 / whole[n - 1]
    pairs = squares + np.sqrt(n / 2) * before * area
    return (scale + np.log(np.exp(scale) * pairs + before * half)).reshape(shape)


def hermite(n: int, x: Array) -> tuple[Array, Array]:
    """Orthonormal Hermite functions 0..n at x and their integrals from minus infinity.

    Parameters
    ----------
    n
        Highest order, at least 1.
    x
        Points, shape (X,).

    Returns
    -------
    tuple of ndarray
        Both of shape (n + 1, X).
    """
    values, areas = np.empty((n + 1, len(x))), np.empty((n + 1, len(x)))
    values[0] = np.pi**-0.25 * np.exp(-x * x / 2)
    areas[0] = np.sqrt(2) * np.pi**0.25 * ndtr(x)
    values[1], areas[1] = np.sqrt(2) * x * values[0], -np.sqrt(2) * values[0]
    for j in range(1, n):
        up, down = np.sqrt(2 / (j + 1)), np.sqrt(j / (j + 1))
        values[j + 1] = up * x * values[j] - down * values[j - 1]
        areas[j + 1] = down * areas[j - 1] - up * values[j]
    return values, areas
