"""Moves of one Markov chain on the solutions of a perceptron, compiled by numba.

Every move turns the weights on a circle, on which each stability is ``c + a cos t + b sin t``: on a great
circle through the weights c is 0; on the small circle of a pair of weights c is what the others give.
The angle is drawn uniformly from the angles at which all stabilities reach the margin.

Such an angle is found by rejection from a set that shrinks: first the whole circle.
When a draw fails, the arc that one of the violated patterns forbids, known in closed form, is cut out.
What is left always holds all the allowed angles, so whenever a draw is accepted, and whatever was cut before,
its law is uniform on them: the same as after the union of all arcs, without computing and sorting them all.

Machine code is not kept on disk, as in the kernel of the Sherrington-Kirkpatrick model.
"""

from __future__ import annotations

import numba
import numpy as np

from spinscape.glasses.perceptron._random import uniform

TURN = 2 * np.pi

LIMIT = 1000
"""Draws of an angle beyond one for each pattern, after which a move is given up: never without rounding."""


@numba.njit(nogil=True, fastmath=True, error_model="numpy")
def _violated(c, a, b, cosine, sine, kappa, out):
    """Fill `out` with the stabilities at an angle; return how many of them are below kappa."""
    below = 0
    for k in range(out.size):
        out[k] = c[k] + a[k] * cosine + b[k] * sine
        below += out[k] < kappa
    return below


@numba.njit(nogil=True, fastmath=True, error_model="numpy")
def _least(h):
    """Return the smallest number, by eight at a time, which compiles to vector instructions."""
    whole = h.size // 8 * 8
    m0 = m1 = m2 = m3 = m4 = m5 = m6 = m7 = h[0]
    for k in range(0, whole, 8):
        m0, m1, m2, m3 = min(m0, h[k]), min(m1, h[k + 1]), min(m2, h[k + 2]), min(m3, h[k + 3])
        m4, m5, m6, m7 = min(m4, h[k + 4]), min(m5, h[k + 5]), min(m6, h[k + 6]), min(m7, h[k + 7])
    for k in range(whole, h.size):
        m0 = min(m0, h[k])
    return min(min(min(m0, m1), min(m2, m3)), min(min(m4, m5), min(m6, m7)))


@numba.njit(nogil=True, error_model="numpy")
def _cut(low, high, count, start, end):
    """Take (start, end) out of the first `count` intervals, in order; return how many are left.

    Without room for one more, which rounding alone can bring about, nothing is taken out: that is right too.
    """
    if count == low.size:
        return count
    kept = 0
    split = -1
    for j in range(count):
        left, right = low[j], high[j]
        if end <= left or start >= right:
            low[kept], high[kept] = left, right
            kept += 1
        elif start > left and end < right:
            low[kept], high[kept] = left, start
            kept += 1
            split = kept
            last = right
        elif start > left:
            low[kept], high[kept] = left, start
            kept += 1
        elif end < right:
            low[kept], high[kept] = end, right
            kept += 1
    # An arc inside one interval makes two of it; the intervals behind have kept their places.
    if split >= 0:
        for j in range(kept, split, -1):
            low[j], high[j] = low[j - 1], high[j - 1]
        low[split], high[split] = end, last
        kept += 1
    return kept


@numba.njit(nogil=True, error_model="numpy")
def draw_angle(c, a, b, kappa, low, high, out, rng):
    """Draw an angle uniformly from those where all ``c + a cos t + b sin t`` are at least kappa.

    `low` and `high` are room for intervals, `out` takes the stabilities at the angle; angle 0 is allowed.
    Returns the angle in (0, 2 pi), the smallest stability, and the number of draws.
    """
    low[0], high[0], count, total = 0.0, TURN, 1, TURN
    for tries in range(1, LIMIT + out.size):
        x = uniform(rng) * total
        j = 0
        while j < count - 1 and x > high[j] - low[j]:
            x -= high[j] - low[j]
            j += 1
        t = min(low[j] + x, high[j])
        if _violated(c, a, b, np.cos(t), np.sin(t), kappa, out) == 0:
            return t, _least(out), tries
        # The first one will do: to look for the most violated takes longer than the draws that it saves.
        k = 0
        while out[k] >= kappa:
            k += 1
        radius = np.hypot(a[k], b[k])
        half = np.arccos(max(-1.0, min(1.0, (c[k] - kappa) / radius)))
        start = (np.arctan2(b[k], a[k]) + np.pi - half) % TURN
        count = _cut(low, high, count, start, start + 2 * half)
        if start + 2 * half > TURN:
            count = _cut(low, high, count, start - TURN, start + 2 * half - TURN)
        total = 0.0
        for j in range(count):
            total += high[j] - low[j]
        if count == 0 or total < 1e-14:
            break
    _violated(c, a, b, 1.0, 0.0, kappa, out)
    return 0.0, _least(out), tries


@numba.njit(nogil=True, fastmath=True, error_model="numpy")
def _dot(a, b):
    total = 0.0
    for k in range(a.size):
        total += a[k] * b[k]
    return total


@numba.njit(nogil=True, fastmath=True, error_model="numpy")
def _combine(x, p, y, q, out):
    for k in range(out.size):
        out[k] = p * x[k] + q * y[k]


@numba.njit(nogil=True, error_model="numpy")
def _copy(x, out):
    # An assignment of arrays does the same and takes seconds to compile.
    for k in range(out.size):
        out[k] = x[k]


@numba.njit(nogil=True, error_model="numpy")
def great_circles(w, h, raw, images, kappa, first, count, burn, stride, kept, tally, low, high, rng):
    """Do `count` moves on great circles, in place.

    `raw` (B, N) holds normal vectors, `images` (B, P) what the patterns make of them, divided by sqrt(N).
    A direction is the part of such a vector that is orthogonal to w; its image follows from h.
    `tally` gathers the angles turned, the draws, the moves, and the smallest stability.
    """
    n = w.size
    zero, slope, out = np.zeros(h.size), np.empty(h.size), np.empty(h.size)
    tangent = np.empty(n)
    for step in range(count):
        along = _dot(raw[step], w) / _dot(w, w)
        _combine(raw[step], 1.0, w, -along, tangent)
        scale = np.sqrt(n / _dot(tangent, tangent))
        _combine(images[step], scale, h, -along * scale, slope)
        t, least, tries = draw_angle(zero, h, slope, kappa, low, high, out, rng)
        _combine(w, np.cos(t), tangent, np.sin(t) * scale, w)
        _copy(out, h)
        _count(tally, t, tries, least)
        _keep(kept, first + step + 1 - burn, stride, w)


@numba.njit(nogil=True, error_model="numpy")
def pair_rotations(w, h, columns, order, kappa, first, count, burn, stride, kept, tally, low, high, rng):
    """Do `count` sweeps in place: each rotates the weights of N // 2 disjoint random pairs, one by one.

    `columns` (N, P) are the patterns divided by sqrt(N), `order` the numbers 0 to N - 1 in any order.
    """
    n = w.size
    rest, cosine, sine, out = np.empty(h.size), np.empty(h.size), np.empty(h.size), np.empty(h.size)
    for step in range(count):
        for k in range(n - 1, 0, -1):
            other = np.int64(uniform(rng) * (k + 1))
            order[k], order[other] = order[other], order[k]
        for k in range(0, n - 1, 2):
            i, j = order[k], order[k + 1]
            _combine(columns[i], w[i], columns[j], w[j], cosine)
            _combine(columns[j], w[i], columns[i], -w[j], sine)
            _combine(h, 1.0, cosine, -1.0, rest)
            t, least, tries = draw_angle(rest, cosine, sine, kappa, low, high, out, rng)
            c, s = np.cos(t), np.sin(t)
            w[i], w[j] = c * w[i] - s * w[j], s * w[i] + c * w[j]
            _copy(out, h)
            _count(tally, t, tries, least)
        _keep(kept, first + step + 1 - burn, stride, w)


@numba.njit(inline="always")
def _count(tally, t, tries, least):
    tally[0] += min(t, TURN - t)
    tally[1] += tries
    tally[2] += 1
    tally[3] = min(tally[3], least)


@numba.njit(inline="always")
def _keep(kept, done, stride, w):
    if done > 0 and done % stride == 0 and done // stride <= kept.shape[0]:
        _copy(w, kept[done // stride - 1])
