"""What robust solutions see: the share of typical ones that a geodesic reaches without a barrier."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spinscape.glasses._arguments import whole
from spinscape.glasses.perceptron._chains import advance
from spinscape.glasses.perceptron.algorithms import maximise_margin
from spinscape.glasses.perceptron.geodesics import check_several, connections
from spinscape.glasses.perceptron.patterns import Patterns

Floats = NDArray[np.float64]

BURN = 4
"""Sweeps per step that are kept between the largest margin and the first robust solution."""

FIRST_PART = 2
"""Runs 0 and 1 of a seed are those of typical solutions and of their starts."""


@dataclass(frozen=True)
class Sight:
    """Geodesics from robust to typical solutions of I instances, at L margins.

    Attributes
    ----------
    margins
        Margins of the robust solutions, shape (I, L).
    share
        Share of geodesics without a barrier, shape (I, L); NaN where an instance has no such solution.
    height
        Mean largest share of patterns below the margin on a geodesic, shape (I, L).
    overlap
        Mean overlap of robust with typical solutions, shape (I, L).
    mutual
        Share of geodesics without a barrier between robust solutions of two chains, shape (I, L).
    best
        Largest margin found, shape (I,), and what is seen from there: `best_share`, `best_height`, (I,).
    typical
        Share of geodesics without a barrier between typical solutions of different chains, shape (I,).
    """

    margins: Floats
    share: Floats
    height: Floats
    overlap: Floats
    mutual: Floats
    best: Floats
    best_share: Floats
    best_height: Floats
    typical: Floats

    def smallest(self, share: float = 0.5, *, mutual: bool = False) -> Floats:
        """Return the smallest margin that sees at least `share`, (I,), by interpolation; NaN where none does.

        The best solution counts as the last margin.
        With `mutual`, the margin whose solutions see that share of one another; the best sees itself.
        """
        table = self.mutual if mutual else self.share
        last = np.ones(len(self.best)) if mutual else self.best_share
        found = np.full(len(self.best), np.nan)
        for i in range(len(found)):
            known = np.isfinite(table[i])
            at = np.append(self.margins[i, known], self.best[i])
            seen = np.append(table[i, known], last[i])
            above = np.flatnonzero(seen >= share)
            if not above.size:
                continue
            k = above[0]
            if k == 0:
                found[i] = at[0]
            else:
                found[i] = at[k - 1] + (at[k] - at[k - 1]) * (share - seen[k - 1]) / (seen[k] - seen[k - 1])
        return found


def sight(
    drawn: Patterns,
    typical: ArrayLike,
    kappa: float,
    *,
    margins: ArrayLike | None = None,
    levels: ArrayLike | None = None,
    robust: int = 8,
    stride: int = 100,
    seed: int = 0,
) -> Sight:
    """Sample robust solutions and follow the geodesics to typical ones.

    Chains start at the largest margin that is found, which lies inside every smaller one, and move by sweeps
    of rotations of pairs of weights.

    Parameters
    ----------
    drawn
        Patterns of I instances.
    typical
        Typical solutions, one for each of two independent chains at least, shape (I, C, N).
    kappa
        The margin of typical solutions, below which a pattern counts as violated.
    margins
        Margins of robust solutions, shape (L,), increasing.
    levels
        Instead of `margins`: shares of the way from `kappa` to the largest margin of each instance, (L,).
    robust
        Robust solutions of each instance and margin, in two chains; rounded up to an even number.
    stride
        Sweeps between two of them; `BURN` times as many before the first.
    seed
        Seed of climbs and chains.

    Raises
    ------
    ValueError
        If not exactly one of `margins` and `levels` is given, they do not increase, or there is only one
        typical solution.
    RuntimeError
        If no instance has a solution of margin kappa within the budget of `maximise_margin`.
    """
    points = check_several(drawn, typical)
    robust, stride = whole(robust, "robust", 1), whole(stride, "stride", 1)
    if (margins is None) == (levels is None):
        raise ValueError("sight needs margins or levels, one of them")
    asked = np.atleast_1d(np.asarray(levels if margins is None else margins, float))
    if asked.ndim != 1 or not (np.isfinite(asked).all() and (np.diff(asked) > 0).all()):
        raise ValueError("margins or levels must be finite and increase")
    run = maximise_margin(drawn, kappa=kappa, seed=seed)
    best = run.margin[:, 0]
    at = np.tile(asked, (len(best), 1))
    if margins is None:
        at = kappa + asked * (best - kappa)[:, None]
    shape = at.shape
    share, height, overlap, mutual = (np.full(shape, np.nan) for _ in range(4))
    for k in range(shape[1]):
        inside = np.flatnonzero(at[:, k] < best)
        if inside.size:
            some = Patterns(drawn.xi[inside], drawn.alpha)
            w = np.repeat(run.points[inside], 2, 1)
            kept = np.empty((len(inside), 2, -(-robust // 2), drawn.n))
            chains = np.repeat(at[inside, k, None], 2, 1)
            advance(some, chains, w, kept, stride, BURN * stride, "pairs", seed, FIRST_PART + k)
            seen = connections(some, kept.reshape(len(inside), -1, drawn.n), points[inside], kappa)
            share[inside, k], height[inside, k] = seen.free.mean((1, 2)), seen.height.mean((1, 2))
            overlap[inside, k] = seen.overlap.mean((1, 2))
            mutual[inside, k] = connections(some, kept[:, 0], kept[:, 1], kappa).free.mean((1, 2))
    top = connections(drawn, run.points, points, kappa)
    pairs = connections(drawn, points, points, kappa)
    others = ~np.eye(points.shape[1], dtype=bool)
    return Sight(
        at, share, height, overlap, mutual, best, top.free.mean((1, 2)), top.height.mean((1, 2)),
        pairs.free[:, others].mean(1),
    )  # fmt: skip
