"""Joint law of the stabilities of solutions of one instance, as polynomials on a box.

At a pattern, solution r of margin k_r has stability ``h_r = sqrt(q_r) z_r + sqrt(1 - q_r) t_r``: the z_r
are normal with correlations ``p_rs / sqrt(q_r q_s)`` and t_r is normal given that h_r >= k_r.
With ``z_r = a_r z + sqrt(1 - a_r^2) y_r`` (one common z, the y_r independent) the corners are independent
given z, and each needs one integral over its y_r.
Corners of one margin share z_r, so a_r = 1 for a margin that occurs twice, and the other margin has the rest;
three different margins have no such numbers in general and are not served.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.polynomial.chebyshev import chebvander
from numpy.typing import NDArray

from spinscape.glasses.perceptron._quadrature import normal_nodes, tail_density, tail_share
from spinscape.glasses.perceptron.replica_symmetric import Overlap, feature, saddle
from spinscape.glasses.perceptron.two_groups import conditional_nodes, mutual

Floats = NDArray[np.float64]

MOST_POINTS = {2: 1000, 3: 100}
"""Largest number of points per corner, for 2 and 3 corners: the joint table has its square or cube."""


@dataclass(frozen=True)
class Groups:
    """The saddle point of y solutions: margins (y,), own overlaps, and the matrix of overlaps (y, y)."""

    kappas: tuple[float, ...]
    pairs: tuple[Overlap, ...]
    overlaps: Floats

    def part(self, which: list[int]) -> Groups:
        """Return some of the solutions."""
        return Groups(
            tuple(self.kappas[i] for i in which),
            tuple(self.pairs[i] for i in which),
            self.overlaps[np.ix_(which, which)],
        )


def groups(alpha: float, kappas: tuple[float, ...], *, refine: int = 1) -> Groups:
    """Return the saddle point of solutions of the given margins, which are not checked."""
    different = sorted(set(kappas))
    found = saddle(np.full(len(different), alpha), np.array(different), refine=refine)
    pairs = [Overlap(found.q[i], found.rest[i]) for i in range(len(different))]
    between = np.empty((len(different),) * 2)
    for i, j in np.ndindex(between.shape):
        if i <= j:
            kk = (different[i], different[j])
            between[i, j] = between[j, i] = mutual(alpha, kk, [pairs[i], pairs[j]], refine=refine)
    which = [different.index(k) for k in kappas]
    overlaps = between[np.ix_(which, which)]
    np.fill_diagonal(overlaps, 1.0)
    return Groups(kappas, tuple(pairs[i] for i in which), overlaps)


def loadings(group: Groups) -> Floats:
    """Return a_r, shape (y,), with ``a_r a_s`` the correlation of z_r and z_s; at most two margins differ."""
    different = sorted(set(group.kappas))
    if len(different) == 1:
        return np.ones(len(group.kappas))
    i, j = (group.kappas.index(k) for k in different)
    between = group.overlaps[i, j] / math.sqrt(group.pairs[i].q * group.pairs[j].q)
    shared = max(different, key=lambda k: (group.kappas.count(k), -k))
    return np.array([1.0 if k == shared else min(between, 1.0) for k in group.kappas])


def points(length: float, scale: float, corners: int) -> int:
    """Return the Chebyshev points for a side of the box of that length in units of sqrt(1 - q).

    Raises
    ------
    ValueError
        If they are more than `MOST_POINTS` for that number of corners.
    """
    count = 12 + math.ceil(4 * length + 6 * math.sqrt(length * max(1.0, 1 / scale)))
    most = MOST_POINTS[corners]
    if count > most:
        raise ValueError(
            f"the violated stabilities reach over {length:.4g} times sqrt(1 - q), a table of {count} points "
            f"for each of {corners} corners; at most {most} are served: take margins nearer to that of the "
            "energy, or a lower alpha"
        )
    return count


@dataclass(frozen=True)
class Table:
    """Densities and shares of the corners given z, at Chebyshev points of a box.

    Attributes
    ----------
    low, high
        Ends of the box, shape (y,).
    weights
        Weights of the nodes of z, shape (Z,).
    density, share
        Density of h_r, and share below it, given z, as Chebyshev coefficients, (J_r, Z) for each corner.
    """

    low: Floats
    high: Floats
    weights: Floats
    density: tuple[Floats, ...]
    share: tuple[Floats, ...]

    def powers(self, r: int, h: Floats) -> Floats:
        """Return the Chebyshev polynomials of corner r at stabilities h of shape (...), shape (..., J_r)."""
        x = 2 * (h - self.low[r]) / (self.high[r] - self.low[r]) - 1
        return chebvander(np.clip(x, -1.0, 1.0), len(self.density[r]) - 1)


def table(group: Groups, high: Floats, *, refine: int = 1) -> Table:
    """Return the table on the box from the margins to `high`, shape (y,)."""
    a = loadings(group)
    main = int(np.argmax(a))
    places = [feature(p, np.asarray(k)) for p, k in zip(group.pairs, group.kappas, strict=True)]
    scale = min(float(s) for _, s in places)
    low = np.array(group.kappas)
    lefts = [math.sqrt(p.rest) for p in group.pairs]
    farthest = max(
        (u - k) / left + abs(float(c - places[main][0])) / scale
        for (c, _), u, k, left in zip(places, high, low, lefts, strict=True)
    )
    z, weights = normal_nodes(places[main][0], np.asarray(scale), refine=refine, second=farthest)
    density, share = [], []
    for r, (pair, left) in enumerate(zip(group.pairs, lefts, strict=True)):
        length = (high[r] - low[r]) / left
        count = refine * points(length, float(places[r][1]), len(lefts))
        nodes = np.cos(math.pi * (np.arange(count) + 0.5) / count)
        step = (nodes + 1) / 2 * length
        rest = math.sqrt(max(1 - a[r] ** 2, 0.0))
        inner, parts = conditional_nodes(group.kappas[r], pair, z, float(a[r]), rest, refine)
        x = (group.kappas[r] - math.sqrt(pair.q) * inner) / left
        transform = chebvander(nodes, count - 1).T * (2 / count)
        transform[0] /= 2
        rows = [(tail_density(x, s) / left, tail_share(x, s)) for s in step]
        density.append(transform @ np.stack([np.sum(parts * f, -1) for f, _ in rows]))
        share.append(transform @ np.stack([np.sum(parts * f, -1) for _, f in rows]))
    return Table(low, np.asarray(high, float), weights, tuple(density), tuple(share))
