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
CHUNK = 2**21
SKETCH = 32
"""Directions kept near the edge of a large matrix, an even number."""
SKETCH_ERROR = 1e-14


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
    left, right = (_times_distance(_times_distance(m, x).transpose(0, 2, 1), x) for m in (left, right))
    a, b = (_times_distance(v[..., None], x)[..., 0] for v in (a, b))
    tiny = np.abs(a).max(1) < 1e-290
    size = np.where(tiny, 1.0, np.linalg.norm(a, axis=1))
    a = np.where(tiny[:, None], b, a) / size[:, None]
    if n % 2:
        even, odd = _part(left, right, []), _part(left, right, [b, a])
    else:
        even, odd = _part(left, right, [b]), _part(left, right, [a])
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
    gaps = order[:n] - order[:n].T + np.eye(n)
    up, down = np.sqrt(2 / (order[:, 0] + 1)), np.sqrt(order[:, 0] / (order[:, 0] + 1))
    found = np.zeros((n, n, len(x)))
    square = ndtr(np.sqrt(2) * x)
    # Column 0 first, of which row 0 is the negative; every other row follows from the two before.
    for i in range(n - 1):
        product = square if i == 0 else (slope[i] * values[0] - values[i] * slope[0]) / (-2 * i)
        found[i + 1, 0] = down[i] * found[i - 1, 0] - up[i] * (2 * product - values[i] * areas[0])
    found[0] = -found[:, 0]
    for i in range(n - 1):
        # Integrals of phi_i phi_j by the Wronskian, of phi_i^2 by the ladder of orders.
        products = (slope[i] * values - values[i] * slope) / gaps[:, i, None]
        products[i] = 2 * square
        products -= values[i] * areas
        products *= -up[i]
        found[i + 1] = down[i] * found[i - 1] + products
        square = square - values[i + 1] * values[i] / np.sqrt(2 * (i + 1))
    found = (found - found.transpose(1, 0, 2)) / 2
    return np.moveaxis(found, 2, 0), areas.T


def _times_distance(rows: Array, x: Array) -> Array:
    """Replace phi_i by ``(x - y) phi_i`` along the second axis (X, n, ...), for i < n - 1."""
    n = rows.shape[1]
    factor = np.sqrt(np.arange(1, n) / 2)[:, None]
    found = x[:, None, None] * rows[:, :-1] - factor * rows[:, 1:]
    found[:, 1:] -= factor[:-1] * rows[:, :-2]
    return found


def _part(left: Array, right: Array, borders: list[Array]) -> tuple[Array, Array]:
    """One parity of the generating function: log of its value at 1 and its normalised coefficients.

    A border, a constant column (X, m), restricts the pencil to the complement of the column and
    multiplies the Pfaffian by its length.
    """
    log_volume = np.zeros(len(left))
    borders = list(borders)
    while borders:
        # Householder: reflect the column onto the first axis, then drop that axis.
        column = borders.pop(0)
        length = np.linalg.norm(column, axis=1)
        mirror = column.copy()
        mirror[:, 0] += np.copysign(length, column[:, 0])
        mirror /= np.maximum(np.linalg.norm(mirror, axis=1), 1e-300)[:, None]
        left, right = _reflected(left, mirror), _reflected(right, mirror)
        borders = [(v - 2 * mirror * (mirror * v).sum(1)[:, None])[:, 1:] for v in borders]
        log_volume += np.log(np.maximum(length, 1e-300))
    if left.shape[1] == 0:
        return log_volume, np.ones((len(left), 1))
    whole = left + right
    return log_volume + np.linalg.slogdet(whole)[1] / 2, _sum_of_tosses(_tosses(whole, left))


def _reflected(matrix: Array, mirror: Array) -> Array:
    """Antisymmetric matrices (X, m, m) reflected on both sides, without the first row and column."""
    image = (matrix @ mirror[..., None])[..., 0]
    cross = 2 * mirror[:, 1:, None] * image[:, None, 1:]
    return matrix[:, 1:, 1:] + cross - cross.transpose(0, 2, 1)


def _tosses(whole: Array, left: Array) -> Array:
    """Chances of the coins: half of the eigenvalues of ``whole^{-1} left``, which come in equal pairs.

    Near the edge `left` has few significant directions, and its range is found by a random sketch; where
    the sketch misses more than rounding, the whole pencil is solved.
    """
    size = left.shape[1]
    found = np.zeros((len(left), size // 2))
    if size > 2 * SKETCH:
        probes = np.random.default_rng(0).standard_normal((size, SKETCH + 1))
        images = left @ probes
        basis = np.linalg.qr(images[:, :, 1:])[0]
        missed = images[:, :, 0] - (basis @ (basis.transpose(0, 2, 1) @ images[:, :, :1]))[..., 0]
        length = np.linalg.norm(images[:, :, 0], axis=1)
        fits = np.linalg.norm(missed, axis=1) <= SKETCH_ERROR * length
        basis = basis[fits]
        turned = basis.transpose(0, 2, 1)
        small = (turned @ np.linalg.solve(whole[fits], basis)) @ (turned @ left[fits] @ basis)
        found[fits, -SKETCH // 2 :] = _halved(np.linalg.eigvals(small))
    else:
        fits = np.zeros(len(left), dtype=bool)
    if not fits.all():
        found[~fits] = _halved(np.linalg.eigvals(np.linalg.solve(whole[~fits], left[~fits])))
    return found


def _halved(eigenvalues: NDArray[np.inexact]) -> Array:
    """One of each pair of eigenvalues, ascending, as a probability."""
    ordered = np.sort(np.real(eigenvalues), axis=1)
    found = np.clip((ordered[:, ::2] + ordered[:, 1::2]) / 2, 0, 1)
    found[found > 1 - CERTAIN] = 1
    return found


def _sum_of_tosses(tosses: Array) -> Array:
    """Law of the number of heads in independent tosses (X, m): shape (X, m + 1)."""
    found = np.zeros((len(tosses), tosses.shape[1] + 1))
    found[:, 0] = 1
    for m, chance in enumerate(tosses.T):
        heads = found[:, : m + 1] * chance[:, None]
        found[:, : m + 1] *= (1 - chance)[:, None]
        found[:, 1 : m + 2] += heads
    return found
