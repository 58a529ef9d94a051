"""Whether gradient descent moves typical solutions to where they see the others.

Descent starts at solutions, and on its way the great circles to a fixed set of typical solutions are
followed: their barriers, and the share of them without one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spinscape.glasses._arguments import whole
from spinscape.glasses.perceptron._descent import Descent, Loss
from spinscape.glasses.perceptron.geodesics import check_points, connections
from spinscape.glasses.perceptron.patterns import Patterns
from spinscape.progress import track

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Attraction:
    """Barriers from descending points to a fixed set of solutions.

    Attributes
    ----------
    times
        Passes over the patterns made, from 0, shape (T,).
    barrier, mean_barrier
        Largest and mean, over the C references, of the largest share of patterns below the margin on the
        great circle; shape (I, S, T).
    share_free
        Share of great circles without a pattern below the margin, shape (I, S, T).
    margin
        Smallest stability of the descending point, shape (I, S, T).
    overlap
        Mean overlap with the references, shape (I, S, T).
    moved
        Overlap with the start, shape (I, S, T).
    points
        Last points, shape (I, S, N).
    """

    times: NDArray[np.int64]
    barrier: Floats
    mean_barrier: Floats
    share_free: Floats
    margin: Floats
    overlap: Floats
    moved: Floats
    points: Floats


def barriers_along(
    patterns: Patterns,
    start: Floats,
    reference: Floats,
    kappa_energy: float,
    *,
    loss: str = "cross-entropy",
    margin: float | None = None,
    sharpness: float = 10.0,
    batch: int | None = 10,
    rate: float = 0.05,
    steps: int = 100,
    every: int = 5,
    seed: int = 0,
) -> Attraction:
    """Descend from solutions and follow the great circles to other solutions on the way.

    A hinge at the margin of the solutions would not move them: take the cross-entropy, or a larger `margin`.

    Parameters
    ----------
    patterns
        Patterns of I instances.
    start
        Where descent starts, shape (I, S, N).
    reference
        Solutions to look at, independent of the starts, shape (I, C, N).
    kappa_energy
        The margin below which a pattern counts.
    loss, margin, sharpness
        See `Loss`; the margin of the loss is `kappa_energy` unless given.
    batch, rate
        Patterns per step, at most all (None: all), and step size.
    steps
        Passes over the patterns.
    every
        Passes between two looks.
    seed
        Seed of the orders of patterns.

    Raises
    ------
    ValueError
        If the loss moves none of the starts.
    """
    steps, every = whole(steps, "steps", 1), whole(every, "every", 1, steps)
    first = check_points(patterns, start, "start")
    what = Loss(loss, kappa_energy if margin is None else margin, sharpness)
    times = np.arange(0, steps + 1, every)
    points, n = first.copy(), first.shape[2]
    which = np.arange(len(first))
    batch = batch if batch is None else min(batch, patterns.count)
    descent = Descent(patterns, what, rate=rate, batch=batch, seed=seed)
    seen: list[tuple[Floats, ...]] = []
    for t in track(range(times[-1] + 1), "barriers along descent"):
        if t:
            points = descent.one_pass(points, which)
        if t % every == 0:
            to = connections(patterns, points, reference, kappa_energy)
            seen.append((
                to.height.max(2), to.height.mean(2), to.free.mean(2), to.margin_start, to.overlap.mean(2),
                (points * first).sum(2) / n,
            ))  # fmt: skip
    columns = [np.stack(c, 2) for c in zip(*seen, strict=True)]
    if np.array_equal(points, first):
        raise ValueError(f"the {loss} of margin {what.margin:g} moves none of the starts: raise its margin")
    barrier, mean, free, reached, overlap, moved = columns
    return Attraction(times, barrier, mean, free, reached, overlap, moved, points)
