"""Which eigenvalue of a GOE matrix sits at a point: exact shares by order at finite size.

The density at x of the eigenvalue with k eigenvalues below it is the coefficient of z^k in

    D(z; x) ~ exp(-x^2/2) E_{n-1}[ prod_i |x - y_i| (z if y_i < x else 1) ],

the mean being over the (n-1) x (n-1) ensemble.
De Bruijn's formula makes D a Pfaffian in the Hermite functions, and multiplication by ``x - y`` is
tridiagonal there.
The terms odd in z enter with rank two, so that the even and the odd part of D are, each, the Pfaffian of
a linear pencil ``R + z^2 L``, with L and R the integrals left and right of x.
The eigenvalues of ``(R + L)^{-1} L`` come in equal pairs between 0 and 1: each part is the generating
function of a sum of independent coin tosses, and no differences of large numbers arise.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from spinscape.glasses._goe import hermite

Array = NDArray[np.float64]
LIMIT = 200
"""Largest n: the cost of a point is of order n^3, about 0.1 s here."""
CERTAIN = 1e-12
"""A toss within this of certain is taken as certain: below it rounding would stand in for probability."""
CHUNK = 2**22


def shares(n: int, x: Array) -> Array:
    """Probability that an eigenvalue at x has k eigenvalues below it.

    Parameters
    ----------
    n
        Size of the matrix, 1 to 200.
    x
        Points, shape (X,).

    Returns
    -------
    ndarray
        Shape (X, n), every row of sum 1, k = 0..n-1 along the second axis.
        The error is about 1e-12 of the row's sum; what is smaller is set to 0 at the low end of k where
        a point has almost surely more eigenvalues below it.
    """
    x = np.ascontiguousarray(x, float)
    return np.array(_cached(n, x.tobytes()))


@lru_cache(maxsize=64)
def _cached(n: int, raw: bytes) -> Array:
    x = np.frombuffer(raw)
    if n == 1:
        return np.ones((len(x), 1))
    step = max(1, CHUNK // (n * n))
    parts = [_shares_left(n, -np.abs(x[i : i + step])) for i in range(0, len(x), step)]
    found = np.concatenate(parts) if parts else np.zeros((0, n))
    found = np.where(x[:, None] > 0, found[:, ::-1], found)
    found.setflags(write=False)
    return found


def _shares_left(n: int, x: Array) -> Array:
    """`shares` at points x <= 0, any number that fits memory."""
    sign = (-1.0) ** np.arange(n)
    left, a = _half_line(n, x)
    right, b = _half_line(n, -x)
    right, b = -sign[:, None] * sign * right, sign * b
    down = _times_distance(n, x)
    left, right = (down @ m @ down.transpose(0, 2, 1) for m in (left, right))
    a, b = ((down @ v[..., None])[..., 0] for v in (a, b))
    tiny = np.abs(a).max(1) < 1e-290
    size = np.where(tiny, 1.0, np.linalg.norm(a, axis=1))
    a = np.where(tiny[:, None], b, a) / size[:, None]
    if n % 2:
        even, odd = _part(left, right, None), _part(left, right, np.stack([a, b], 2), drop=tiny)
    else:
        even, odd = _part(left, right, b[..., None]), _part(left, right, a[..., None])
    weight = np.stack([even[0], odd[0] + np.where(tiny, -np.inf, np.log(size))])
    weight = np.exp(weight - weight.max(0))
    found = np.zeros((len(x), n))
    found[:, ::2] = weight[0][:, None] * even[1]
    found[:, 1::2] = weight[1][:, None] * odd[1]
    return found / found.sum(1, keepdims=True)


def _half_line(n: int, x: Array) -> tuple[Array, Array]:
    """Integrals over y, z < x of ``sgn(z - y) phi_i(y) phi_j(z)``, (X, n, n), and of phi_i, (X, n).

    Both by recurrence: ``phi_i' = sqrt(i/2) phi_{i-1} - sqrt((i+1)/2) phi_{i+1}`` under the integral.
    """
    values, areas = hermite(n, x)
    order = np.arange(n + 1.0)[:, None]
    slope = np.sqrt(2 * order) * np.roll(values, 1, 0) - x * values
    values, areas, slope = values[:n], areas[:n], slope[:n]
    products = np.empty((n, n, len(x)))
    for i in range(n):
        gap = np.where(order[:n] == i, 1.0, order[:n] - i)
        products[i] = (slope[i] * values - values[i] * slope) / (2 * gap)
    products[0, 0] = ndtr(np.sqrt(2) * x)
    for i in range(1, n):
        products[i, i] = products[i - 1, i - 1] - values[i] * values[i - 1] / np.sqrt(2 * i)
    found = np.zeros((n, n, len(x)))
    for i in range(n - 1):
        # Column 0 first: row 0 is minus it, and every other row follows from the two before.
        earlier = np.sqrt(i / (i + 1)) * found[i - 1, 0] if i else 0.0
        found[i + 1, 0] = earlier - np.sqrt(2 / (i + 1)) * (2 * products[i, 0] - values[i] * areas[0])
    found[0] = -found[:, 0]
    for i in range(n - 1):
        earlier = np.sqrt(i / (i + 1)) * found[i - 1] if i else 0.0
        found[i + 1] = earlier - np.sqrt(2 / (i + 1)) * (2 * products[i] - values[i] * areas)
    found = (found - found.transpose(1, 0, 2)) / 2
    return np.moveaxis(found, 2, 0), areas.T


def _times_distance(n: int, x: Array) -> Array:
    """Matrix of ``phi_i -> (x - y) phi_i`` for i < n - 1 in the first n functions, (X, n - 1, n)."""
    i = np.arange(n - 1)
    found = np.zeros((len(x), n - 1, n))
    found[:, i, i] = x[:, None]
    found[:, i, i + 1] = -np.sqrt((i + 1) / 2)
    found[:, i[1:], i[1:] - 1] = -np.sqrt(i[1:] / 2)
    return found


def _part(left: Array, right: Array, border: Array | None, drop: Array | None = None) -> tuple[Array, Array]:
    """One parity of the generating function: log of its value at 1 and its normalised coefficients.

    A border of constant columns restricts the pencil to their complement and multiplies the Pfaffian by
    the volume they span.
    Points in `drop` have dependent columns; they are given weight elsewhere and only kept finite here.
    """
    log_volume = np.zeros(len(left))
    if border is not None:
        width = border.shape[2]
        q, r = np.linalg.qr(border, mode="complete")
        volume = np.abs(np.prod(r[:, np.arange(width), np.arange(width)], axis=1))
        if drop is not None:
            volume = np.where(drop, 1.0, volume)
        log_volume = np.log(volume)
        rest = q[:, :, width:]
        left, right = (rest.transpose(0, 2, 1) @ m @ rest for m in (left, right))
    if left.shape[1] == 0:
        return log_volume, np.ones((len(left), 1))
    whole = left + right
    tosses = np.sort(np.linalg.eigvals(np.linalg.solve(whole, left)).real, axis=1)
    tosses = np.clip((tosses[:, ::2] + tosses[:, 1::2]) / 2, 0, 1)
    tosses[tosses > 1 - CERTAIN] = 1
    return log_volume + np.linalg.slogdet(whole)[1] / 2, _sum_of_tosses(tosses)


def _sum_of_tosses(tosses: Array) -> Array:
    """Law of the number of heads in independent tosses (X, m): shape (X, m + 1)."""
    found = np.zeros((len(tosses), tosses.shape[1] + 1))
    found[:, 0] = 1
    for m, chance in enumerate(tosses.T):
        heads = found[:, : m + 1] * chance[:, None]
        found[:, : m + 1] *= (1 - chance)[:, None]
        found[:, 1 : m + 2] += heads
    return found
