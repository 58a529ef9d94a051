"""Gaussian integrals with a feature of known place and width, stable tails, and bracketed roots.

The integrals of the replica-symmetric theory are of analytic functions of a normal variable z, that change
within a width ``scale`` around ``centre``.
With ``z = centre + scale sinh(u)`` the trapezoidal rule in u converges exponentially, however narrow the
feature is.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import erfcx, ndtr

Floats = NDArray[np.float64]

REACH = 11.0
"""The integrals over normal variables end here; the normal density is 1e-27 of its peak."""

STEP = 0.08
"""Step of the trapezoidal rule in u."""

BULK = 0.6
"""Largest step in z at z = 0, and largest step at a second feature in units of its width."""


CHUNK = 4096
"""Integrals done at once."""


def chunked(function: Callable[..., Floats], *arrays: ArrayLike) -> Floats:
    """Return a function's values over arrays that broadcast, `CHUNK` of its elements at a time.

    The function takes one-dimensional arrays of one length and returns one of that length.
    """
    same = np.broadcast_arrays(*(np.asarray(a, float) for a in arrays))
    flat = [a.ravel() for a in same]
    out = np.empty(flat[0].size)
    for start in range(0, out.size, CHUNK):
        out[start : start + CHUNK] = function(*(a[start : start + CHUNK] for a in flat))
    return out.reshape(same[0].shape)


def normal_nodes(
    centre: ArrayLike, scale: ArrayLike, *, refine: int = 1, second: float = 0.0
) -> tuple[Floats, Floats]:
    """Return nodes and weights for the mean over a normal variable, given one narrow feature.

    Parameters
    ----------
    centre, scale
        Place and width of the feature, shape (...); a wider one than 1 counts as 1.
    refine
        Multiplies the number of nodes.
    second
        Largest distance from the centre, in units of the scale, of other features of the same width.

    Returns
    -------
    nodes, weights
        Shape (..., M), the normal density is in the weights.
    """
    wide = np.minimum(scale, 1.0)[..., None]
    middle = np.clip(centre, -REACH, REACH)[..., None]
    low, high = np.arcsinh((-REACH - middle) / wide), np.arcsinh((REACH - middle) / wide)
    far = float(np.max(np.hypot(middle, wide), initial=1.0))
    step = min(STEP, BULK / far, BULK / max(second, 1.0)) / refine
    count = 2 + math.ceil(float(np.max(high - low, initial=1.0)) / step)
    u = low + (high - low) * np.linspace(0.0, 1.0, count)
    nodes = middle + wide * np.sinh(u)
    slope = wide * np.cosh(u) * (high - low) / (count - 1)
    return nodes, slope * np.exp(-(nodes**2) / 2) / math.sqrt(2 * math.pi)


@functools.cache
def legendre_nodes(count: int) -> tuple[Floats, Floats]:
    """Return Gauss-Legendre nodes and weights on [0, 1], shape (count,)."""
    x, w = np.polynomial.legendre.leggauss(count)
    return (x + 1) / 2, w / 2


def mills(x: ArrayLike) -> Floats:
    """Return A(x) = G(x) / Hc(x), normal density over upper tail; 0 where it is below 1e-300."""
    return math.sqrt(2 / math.pi) / erfcx(np.asarray(x, float) / math.sqrt(2))


def mills_slope(x: ArrayLike) -> Floats:
    """Return A'(x) = A (A - x), from 0 to 1; by a continued fraction for A - x where x is large."""
    x = np.asarray(x, float)
    large = np.maximum(x, 8.0)
    below = large
    for k in range(30, 1, -1):
        below = large + k / below
    above = 1 / below
    ratio = mills(x)
    return ratio * np.where(x > 8.0, above, ratio - x)


def tail_density(x: ArrayLike, step: ArrayLike) -> Floats:
    """Return the density of a normal variable above x, at x + step (step at least 0), in its own units."""
    x, step = np.asarray(x, float), np.asarray(step, float)
    upper = np.maximum(x, 0.0)
    inside = mills(upper) * np.exp(-step * (upper + step / 2))
    lower = np.minimum(x, 0.0)
    outside = np.exp(-((lower + step) ** 2) / 2) / math.sqrt(2 * math.pi) / ndtr(-lower)
    return np.where(x > 0, inside, outside)


def tail_share(x: ArrayLike, step: ArrayLike) -> Floats:
    """Return the share of a normal variable above x that is below x + step (step at least 0)."""
    x, step = np.asarray(x, float), np.asarray(step, float)
    upper = np.maximum(x, 0.0) / math.sqrt(2)
    ratio = erfcx(upper + step / math.sqrt(2)) / erfcx(upper)
    inside = 1 - ratio * np.exp(-step * (math.sqrt(2) * upper + step / 2))
    lower = np.minimum(x, 0.0)
    outside = (ndtr(lower + step) - ndtr(lower)) / ndtr(-lower)
    return np.where(x > 0, inside, outside)


def find_root(
    function: Callable[[Floats], Floats], low: ArrayLike, high: ArrayLike, *, tolerance: float = 1e-14
) -> Floats:
    """Return roots, element by element, of a function that changes sign between low and high.

    Chandrupatla's method (Advances in Engineering Software 28, 145, 1997): inverse quadratic interpolation
    where it is safe, halving elsewhere.

    Raises
    ------
    ValueError
        If the function has the same sign at both ends somewhere.
    """
    b, a = np.broadcast_arrays(np.asarray(low, float), np.asarray(high, float))
    fb, fa = function(b), function(a)
    if np.any(fa * fb > 0) or not np.all(np.isfinite(fa) & np.isfinite(fb)):
        raise ValueError("the function does not change sign between the ends")
    t = np.full(a.shape, 0.5)
    for _ in range(200):
        x = a + t * (b - a)
        fx = function(x)
        same = np.sign(fx) == np.sign(fa)
        c, fc = np.where(same, a, b), np.where(same, fa, fb)
        b, fb = np.where(same, b, a), np.where(same, fb, fa)
        a, fa = x, fx
        best = np.where(np.abs(fa) < np.abs(fb), a, b)
        width = np.abs(b - a)
        allowed = tolerance * (1 + np.abs(best))
        done = (width <= 2 * allowed) | (fa == 0) | (fb == 0)
        if done.all():
            break
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            xi, phi = (a - b) / (c - b), (fa - fb) / (fc - fb)
            safe = (phi**2 < xi) & ((1 - phi) ** 2 < 1 - xi)
            curve = fa / (fb - fa) * fc / (fb - fc) + (c - a) / (b - a) * fa / (fc - fa) * fb / (fc - fb)
            limit = np.minimum(allowed / width, 0.5)
            t = np.clip(np.where(safe & np.isfinite(curve), curve, 0.5), limit, 1 - limit)
            t = np.where(np.isfinite(t), t, 0.5)
    return np.where(np.abs(fa) < np.abs(fb), a, b)
