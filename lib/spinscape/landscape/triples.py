r"""Triples of states, which tell whether the space of solutions is ultrametric.

Of the three distances :math:`d_1 \le d_2 \le d_3` of a triple an ultrametric space has the two largest equal,
of three overlaps the two smallest.
How far that fails is told in units of the standard deviation over pairs,

.. math:: K = (d_3 - d_2) / \mathrm{sd}(d) , \qquad B = (d_2 - d_1) / \mathrm{sd}(d) .

A hierarchy has triples with K near 0 and B well above it (two states of one branch, one of another);
independent normals have a mean K of 0.8463 and as much of B.
Overlaps are told by their negatives, so that K is :math:`(q_2 - q_1) / \mathrm{sd}(q)` of
:math:`q_1 \le q_2 \le q_3`.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb, pi, sqrt

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from spinscape.landscape._matrices import matrix, stack
from spinscape.landscape.pairs import Pairs
from spinscape.landscape.steps import TRIPLES, generator
from spinscape.memory import available_bytes

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

INDEPENDENT = 3 / (2 * sqrt(pi))
"""Mean K of triples of independent normals: the expected largest of three."""

BYTES = 80
"""What a triple takes: its indices, its three sides, and what is made of them."""

PIECE = 2**18
"""Entries of all matrices that are worked on at once."""


@dataclass(frozen=True)
class Triples:
    """Sorted sides of triples, in units of the standard deviation over pairs.

    Attributes
    ----------
    k
        ``(d_3 - d_2) / sd``, float64 ``(T,)``; 0 in an ultrametric space.
    base
        ``(d_2 - d_1) / sd``, ``(T,)``: how much shorter the shortest side is.
    states
        The three states of each triple, i < j < k where all are taken; int64 ``(T, 3)``.
    scale
        Standard deviation over pairs of what the sides are.
    """

    k: Floats
    base: Floats
    states: Ints
    scale: float

    @property
    def mean_k(self) -> float:
        """Mean of K."""
        return float(self.k.mean())

    def plane(self, edges: ArrayLike) -> Floats:
        """Return the density of triples over B (rows) and K (columns) between common edges.

        Its sum times the cells' areas is the share of triples within the edges.
        """
        e = np.asarray(edges, float)
        counts = np.histogram2d(self.base, self.k, bins=(e, e))[0]
        return counts / len(self.k) / np.outer(np.diff(e), np.diff(e))


def triples(
    values: Pairs | ArrayLike, kind: str = "distances", *, sample: int | None = None, seed: int = 0
) -> Triples:
    """Sort the sides of all triples, or of as many drawn with replacement.

    Parameters
    ----------
    values
        `Pairs`, or distances or overlaps ``(R, R)`` of at least 3 states.
    kind
        ``"distances"`` or ``"overlaps"``.
    sample
        Number of triples to draw; all ``R (R - 1) (R - 2) / 6`` by default.
    seed
        Seed of the draw; the triples depend on it, on R and on `sample` alone.

    Raises
    ------
    ValueError
        If values are no such matrix or are all equal, or `sample` is below 1.
    MemoryError
        If the triples do not fit in memory; it tells how many do.
    """
    m = matrix(values, kind, states=3)
    states = len(m)
    count = comb(states, 3) if sample is None else sample
    if count < 1:
        raise ValueError(f"sample must be at least 1, not {sample}")
    there = available_bytes(torch.device("cpu"))
    if count * BYTES > there:
        raise MemoryError(
            f"{count} triples take {count * BYTES / 2**30:.3g} GiB, more than there is: "
            f"sample must be at most {int(there / BYTES)}"
        )
    scale = float(_scales(m[None])[0])
    which = _all(states) if sample is None else _drawn(states, sample, seed)
    i, j, k = which.T
    near, middle, far = _sorted(*(m if kind == "distances" else -m)[[i, i, j], [j, k, k]])
    return Triples((far - middle) / scale, (middle - near) / scale, which, scale)


def mean_k(values: Pairs | ArrayLike, kind: str = "distances") -> Floats:
    """Return the mean of K over all triples, of one matrix or of many such as draws of a null.

    Parameters
    ----------
    values
        `Pairs`, or distances or overlaps ``(R, R)`` or ``(B, R, R)`` of at least 3 states.
    kind
        ``"distances"`` or ``"overlaps"``.

    Returns
    -------
    ndarray
        ``()`` or ``(B,)``.

    Raises
    ------
    ValueError
        If values are no such matrices, or one's are all equal.
    """
    m = stack(values, kind, states=3)
    scale = _scales(m)
    if kind == "overlaps":
        m = -m
    step = max(1, PIECE // m[0].size)
    far, middle = np.concatenate([_sums(m[at : at + step]) for at in range(0, len(m), step)], 1)
    mean: Floats = (far - middle) / comb(m.shape[1], 3) / scale
    return mean[0] if isinstance(values, Pairs) or np.ndim(values) == 2 else mean


def _sums(m: Floats) -> Floats:
    """Return the sums over triples of the longest and of the middle side, ``(2, B)``."""
    sums = np.zeros((2, len(m)))
    room = np.empty((3, m.size))
    for i in range(m.shape[1] - 2):
        row, rest = m[:, i, i + 1 :], m[:, i + 1 :, i + 1 :]
        low, high, middle = (part[: rest.size].reshape(rest.shape) for part in room)
        np.minimum(row[:, :, None], row[:, None, :], out=low)
        np.maximum(row[:, :, None], row[:, None, :], out=high)
        np.minimum(high, rest, out=middle)
        np.maximum(low, middle, out=middle)
        np.maximum(high, rest, out=high)
        # The diagonal holds no triple, and every other one stands there twice.
        for total, side in zip(sums, (high, middle), strict=True):
            total += (side.reshape(len(m), -1).sum(1) - np.einsum("bjj->b", side)) / 2
    return sums


def _sorted(a: Floats, b: Floats, c: Floats) -> tuple[Floats, Floats, Floats]:
    low, high = np.minimum(a, b), np.maximum(a, b)
    return np.minimum(low, c), np.maximum(low, np.minimum(high, c)), np.maximum(high, c)


def _scales(m: Floats) -> Floats:
    """Return the standard deviations over pairs ``(B,)``."""
    entries = m[:, *np.triu_indices(m.shape[1], 1)]
    found = entries.std(1)
    if (found <= 1e-12 * np.abs(entries).max()).any():
        raise ValueError("all pairs are alike: their triples have no scale")
    return found


def _all(states: int) -> Ints:
    parts = []
    for i in range(states - 2):
        j, k = np.triu_indices(states - i - 1, 1)
        parts.append(np.stack([np.full(len(j), i), j + i + 1, k + i + 1], 1))
    return np.concatenate(parts)


def _drawn(states: int, sample: int, seed: int) -> Ints:
    """Return triples of distinct states, sorted; each alike likely."""
    g = generator(seed, TRIPLES)
    i, j, k = (torch.randint(states - n, (sample,), generator=g).numpy() for n in range(3))
    j += j >= i
    low, high = np.minimum(i, j), np.maximum(i, j)
    k += k >= low
    k += k >= high
    return np.sort(np.stack([i, j, k], 1), 1)
