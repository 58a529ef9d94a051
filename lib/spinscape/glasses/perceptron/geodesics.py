"""Great circles between points of the sphere: which patterns fall below a margin on the way, exactly.

On the arc of length theta from a to b a stability is a sinusoid of the angle phi,

    h(phi) = (sin(theta - phi) h_a + sin(phi) h_b) / sin(theta) = R cos(phi - phi_0).

An arc shorter than pi holds at most one lowest point of it.
The slope is negative at a where h_b < h_a cos(theta) and positive at b where h_a < h_b cos(theta), so the
lowest value is -R where both hold, and the smaller end where one fails.
The pattern is below the margin kappa within arccos(-kappa / R) of phi_0 + pi.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spinscape.glasses._arguments import whole
from spinscape.glasses.perceptron.patterns import Patterns

Floats = NDArray[np.float64]

CHUNK_NUMBERS = 2**20
"""Stabilities treated at a time."""

NEAR = 1e-12
"""Points whose overlap is within this of -1 are taken for antipodes."""


@dataclass(frozen=True)
class Barrier:
    """The highest share of patterns below the margin on each arc.

    Attributes
    ----------
    height
        Largest share of patterns below the margin, ends included, shape (...).
    where
        Where on the arc, as a share of its angle: the middle of the first stretch of that height, and 0 where
        the height is 0; shape (...).
    """

    height: Floats
    where: Floats


@dataclass(frozen=True)
class Connections:
    """Arcs between S points and C points of each instance.

    Attributes
    ----------
    free
        Whether no pattern falls below the margin on the arc, shape (I, S, C).
    height, where
        Largest share of patterns below the margin and where on the arc (see `Barrier`), shape (I, S, C).
    overlap
        Scalar product per weight of the ends, shape (I, S, C).
    margin_start, margin_end
        Smallest stability of the ends, shapes (I, S) and (I, C).
    """

    free: NDArray[np.bool_]
    height: Floats
    where: Floats
    overlap: Floats
    margin_start: Floats
    margin_end: Floats


def lowest(ha: ArrayLike, hb: ArrayLike, overlap: ArrayLike) -> Floats:
    """Return the lowest value of every stability on the arc from a to b.

    Parameters
    ----------
    ha, hb
        Stabilities at the ends, shapes (..., P).
    overlap
        Scalar product of the ends per weight, their cosine, shape (...).

    Returns
    -------
    Floats
        Shape (..., P).

    Raises
    ------
    ValueError
        If an overlap is beyond 1, or the ends are antipodes, between which there are many arcs.
    """
    a, b = np.asarray(ha, float), np.asarray(hb, float)
    cosine = _cosines(overlap)[..., None]
    inside = (b < a * cosine) & (a < b * cosine)
    # R^2 - h_a^2 = (h_b - h_a cos)^2 / sin^2: no difference of large numbers.
    square = np.maximum(1 - cosine**2, np.finfo(float).tiny)
    trough = -np.sqrt(a**2 + (b - a * cosine) ** 2 / square)
    return np.where(inside, trough, np.minimum(a, b))


def barrier_free(ha: ArrayLike, hb: ArrayLike, overlap: ArrayLike, kappa_energy: float) -> NDArray[np.bool_]:
    """Return whether no pattern falls below the margin anywhere on the arc, ends included.

    Parameters
    ----------
    ha, hb, overlap
        As in `lowest`.
    kappa_energy
        The margin.

    Returns
    -------
    NDArray[np.bool_]
        Shape (...).
    """
    return np.asarray((lowest(ha, hb, overlap) >= kappa_energy).all(-1))


def barrier(ha: ArrayLike, hb: ArrayLike, overlap: ArrayLike, kappa_energy: float) -> Barrier:
    """Return the largest share of patterns below the margin on every arc, exactly.

    Each pattern is below the margin on one or two stretches in closed form; the ends of all stretches are
    sorted and counted.
    The height is zero exactly where `barrier_free` holds.

    Parameters
    ----------
    ha, hb, overlap
        As in `lowest`.
    kappa_energy
        The margin.
    """
    a, b, cosine = np.asarray(ha, float), np.asarray(hb, float), _cosines(overlap)
    a, b = np.broadcast_arrays(a, b)
    cosine = np.broadcast_to(cosine, a.shape[:-1])
    count = a.shape[-1]
    flat_a, flat_b, flat = a.reshape(-1, count), b.reshape(-1, count), cosine.reshape(-1)
    height, where = np.zeros(flat.size), np.zeros(flat.size)
    rows = max(1, CHUNK_NUMBERS // count)
    for first in range(0, flat.size, rows):
        part = slice(first, first + rows)
        height[part], where[part] = _highest(flat_a[part], flat_b[part], flat[part], kappa_energy)
    return Barrier((height / count).reshape(cosine.shape), where.reshape(cosine.shape))


def energies(h: ArrayLike, overlaps: ArrayLike, gamma: ArrayLike, kappa_energy: float) -> Floats:
    """Return the share of patterns below the margin at ``sum_r gamma_r w_r``, put back on the sphere.

    Parameters
    ----------
    h
        Stabilities of the y corners, shape (..., y, P).
    overlaps
        Scalar products of the corners per weight, shape (..., y, y), ones on the diagonal.
    gamma
        Coefficients, not negative, of a positive sum, shape (G, y).
    kappa_energy
        The margin.

    Returns
    -------
    Floats
        Shape (..., G).
    """
    corners, products, mix = np.asarray(h, float), np.asarray(overlaps, float), np.asarray(gamma, float)
    y, count = corners.shape[-2:]
    if mix.ndim != 2 or mix.shape[1] != y or products.shape[-2:] != (y, y):
        raise ValueError(
            f"gamma and overlaps must have shapes (G, {y}) and (..., {y}, {y}) for {y} corners, "
            f"not {mix.shape} and {products.shape}"
        )
    if not (mix >= 0).all() or not (mix.sum(1) > 0).all():
        raise ValueError("gamma must not be negative and each row must have a positive sum")
    lead = np.broadcast_shapes(corners.shape[:-2], products.shape[:-2])
    flat = np.broadcast_to(corners, (*lead, y, count)).reshape(-1, y, count)
    square = np.einsum("gr,...rs,gs->...g", mix, products, mix)
    if not (square > NEAR).all():
        raise ValueError("a combination of the corners vanishes: it has no direction")
    level = np.broadcast_to(kappa_energy * np.sqrt(square), (*lead, len(mix))).reshape(-1, len(mix))
    found = np.empty(level.shape)
    rows = max(1, CHUNK_NUMBERS // (count * len(mix)))
    for first in range(0, len(flat), rows):
        part = slice(first, first + rows)
        found[part] = (mix @ flat[part] < level[part, :, None]).mean(-1)
    return found.reshape(*lead, len(mix))


def connections(patterns: Patterns, start: Floats, end: Floats, kappa_energy: float) -> Connections:
    """Follow the great circle from every point of one set to every point of another.

    Parameters
    ----------
    patterns
        Patterns of I instances.
    start, end
        Points on the sphere ``|w|^2 = N``, shapes (I, S, N) and (I, C, N).
    kappa_energy
        The margin.
    """
    a, b = check_points(patterns, start, "start"), check_points(patterns, end, "end")
    n = a.shape[2]
    overlap = a @ b.transpose(0, 2, 1) / n
    ha, hb = patterns.stabilities(a), patterns.stabilities(b)
    height, where = np.empty(overlap.shape), np.empty(overlap.shape)
    for i in range(len(a)):
        for s in range(a.shape[1]):
            found = barrier(ha[i, s], hb[i], overlap[i, s], kappa_energy)
            height[i, s], where[i, s] = found.height, found.where
    return Connections(height == 0, height, where, overlap, ha.min(2), hb.min(2))


def ternary_grid(n: int) -> Floats:
    """Return all rows (i, j, k) / n of whole numbers with i + j + k = n, shape ((n + 1)(n + 2) / 2, 3)."""
    n = whole(n, "n", 1)
    i, j = np.meshgrid(np.arange(n + 1), np.arange(n + 1), indexing="ij")
    keep = i + j <= n
    return np.stack([i[keep], j[keep], n - i[keep] - j[keep]], 1) / n


def check_points(patterns: Patterns, points: Floats, name: str) -> Floats:
    """Return the points (I, C, N) as floats; ValueError if the shape or the norm is wrong."""
    found = np.asarray(points, float)
    instances, _, n = patterns.xi.shape
    if found.ndim != 3 or found.shape[0] != instances or found.shape[2] != n:
        raise ValueError(f"{name} must have shape ({instances}, points, {n}), not {found.shape}")
    if not np.allclose((found**2).sum(2), n, rtol=1e-6):
        raise ValueError(f"{name} must lie on the sphere |w|^2 = {n}")
    return found


def check_several(patterns: Patterns, typical: ArrayLike) -> Floats:
    """Return typical solutions (I, C, N) as floats; ValueError also if there is one only: it has no pair."""
    points = check_points(patterns, np.asarray(typical, float), "typical")
    if points.shape[1] < 2:
        raise ValueError("typical needs two solutions of each instance at least, of different chains")
    return points


def _cosines(overlap: ArrayLike) -> Floats:
    """Return the overlaps, at most 1; ValueError for antipodes and for numbers that are no cosine."""
    cosine = np.asarray(overlap, float)
    if not (np.abs(cosine) <= 1 + 1e-9).all():
        raise ValueError("overlaps must lie from -1 to 1")
    if (cosine <= -1 + NEAR).any():
        raise ValueError("two points are antipodes: the great circle between them is not unique")
    return np.minimum(cosine, 1.0)


def _highest(a: Floats, b: Floats, cosine: Floats, kappa: float) -> tuple[Floats, Floats]:
    """Return the largest number of patterns below `kappa` on each arc, and where; a and b (M, P)."""
    pair, which = np.nonzero(lowest(a, b, cosine) < kappa)
    # The ends are part of the arc; one of them may be all that is below.
    first, last = (a < kappa).sum(1), (b < kappa).sum(1)
    height, where = np.maximum(first, last).astype(float), np.where(last > first, 1.0, 0.0)
    if not pair.size:
        return height, where
    owner, begin, finish = _stretches(a[pair, which], b[pair, which], cosine[pair], kappa, pair)
    place = np.concatenate([begin, finish])
    change = np.repeat([1, -1], begin.size)
    owner = np.concatenate([owner, owner])
    # The stretches are open: at equal places patterns leave before others enter.
    order = np.lexsort((change, place, owner))
    owner, place, level = owner[order], place[order], np.cumsum(change[order])
    inside = np.zeros(len(a))
    np.maximum.at(inside, owner, level)
    top = np.flatnonzero((level == inside[owner]) & (inside > height)[owner])
    arcs, at = np.unique(owner[top], return_index=True)
    chosen = top[at]
    height[arcs] = inside[arcs]
    where[arcs] = (place[chosen] + place[chosen + 1]) / 2 / np.arccos(cosine[arcs])
    # A trough so shallow that its stretch has no length still is one.
    height[pair] = np.maximum(height[pair], 1)
    return height, where


def _stretches(
    ha: Floats, hb: Floats, cosine: Floats, kappa: float, owner: NDArray[np.int64]
) -> tuple[NDArray[np.int64], Floats, Floats]:
    """Return where patterns (M,) are below `kappa` on their arcs: owners, first and last angles."""
    theta, sine = np.arccos(cosine), np.sqrt(np.maximum(1 - cosine**2, np.finfo(float).tiny))
    slope = (hb - ha * cosine) / sine
    radius = np.maximum(np.hypot(ha, slope), np.finfo(float).tiny)
    half = np.arccos(np.clip(-kappa / radius, -1, 1))
    enter = np.mod(np.arctan2(slope, ha) + np.pi - half, 2 * np.pi)
    leave = enter + 2 * half
    # Two stretches that touch could overlap by rounding and count twice.
    enter, leave = np.where(radius <= kappa, 0.0, enter), np.where(radius <= kappa, theta, leave)
    begin = np.concatenate([enter, np.zeros_like(enter)])
    finish = np.minimum(np.concatenate([leave, leave - 2 * np.pi]), np.tile(theta, 2))
    there = finish > begin
    return np.tile(owner, 2)[there], begin[there], finish[there]
