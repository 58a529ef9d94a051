"""Where algorithms end: the margin of what they find, and what it sees of the typical solutions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spinscape.glasses.perceptron.algorithms import (
    Run,
    gradient_descent,
    maximise_margin,
    perceptron_rule,
    replicated,
)
from spinscape.glasses.perceptron.geodesics import check_several, connections
from spinscape.glasses.perceptron.patterns import Patterns

Floats = NDArray[np.float64]

BATCH = 10
"""Patterns per step of gradient descent, where there are as many."""


@dataclass(frozen=True)
class Landing:
    """Solutions of A algorithms on I instances, S starts each, beside typical ones.

    Attributes
    ----------
    names
        A algorithms; the last, ``"typical"``, are typical solutions themselves.
    solved
        Share of starts from which a solution was found, shape (A, I).
    margin
        Mean margin of the solutions, shape (A, I); NaN where there is none.
    share
        Share of geodesics to typical solutions without a barrier, shape (A, I).
    height
        Mean largest share of violated patterns on these geodesics, shape (A, I).
    overlap
        Mean overlap with typical solutions, shape (A, I).
    """

    names: tuple[str, ...]
    solved: Floats
    margin: Floats
    share: Floats
    height: Floats
    overlap: Floats


def landing(
    drawn: Patterns, typical: ArrayLike, kappa: float, *, starts: int = 2, passes: int = 200, seed: int = 0
) -> Landing:
    """Run every algorithm from random weights.

    The perceptron rule and descent of the hinge loss stop at the first solution; descent of the
    cross-entropy, alone and with three coupled copies, makes all `passes`; the last raises the margin.
    An algorithm that finds no solution at all has solved none.

    Parameters
    ----------
    drawn, typical, kappa
        As in `sight`.
    starts
        Starts S for each instance.
    passes
        Passes over the patterns at most; five times as many for algorithms that stop.

    Raises
    ------
    ValueError
        If there is only one typical solution, or a shape or number is wrong.
    """
    points = check_several(drawn, typical)
    same: dict[str, Any] = {"starts": starts, "seed": seed}
    steps = same | {"batch": min(BATCH, drawn.count)}
    runs: dict[str, Callable[[], Run]] = {
        "perceptron rule": lambda: perceptron_rule(drawn, kappa, passes=5 * passes, **same),
        "SGD, hinge": lambda: gradient_descent(drawn, kappa, loss="hinge", passes=5 * passes, **steps),
        "SGD, cross-entropy": lambda: gradient_descent(
            drawn, kappa, loss="cross-entropy", passes=passes, stop=False, **steps
        ),
        "rSGD, cross-entropy": lambda: replicated(drawn, kappa, passes=passes, **steps),
        "largest margin": lambda: maximise_margin(drawn, kappa=kappa, **same),
    }
    rows = [_row(drawn, run, points, kappa) for run in runs.values()]
    rows.append(_pairs(drawn, points, kappa))
    return Landing((*runs, "typical"), *(np.stack(column) for column in zip(*rows, strict=True)))


def _row(drawn: Patterns, work: Callable[[], Run], points: Floats, kappa: float) -> list[Floats]:
    """Return means over the solved starts of every instance, each (I,); NaN where nothing is solved."""
    try:
        run = work()
    except RuntimeError:
        return [np.zeros(len(points)), *(np.full(len(points), np.nan) for _ in range(4))]
    seen = connections(drawn, run.points, points, kappa)
    count = run.solved.sum(1)
    measured = (run.margin, seen.free.mean(2), seen.height.mean(2), seen.overlap.mean(2))
    means = [
        np.where(count > 0, np.where(run.solved, each, 0.0).sum(1) / np.maximum(count, 1), np.nan)
        for each in measured
    ]
    return [run.solved.mean(1), *means]


def _pairs(drawn: Patterns, points: Floats, kappa: float) -> list[Floats]:
    seen = connections(drawn, points, points, kappa)
    others = ~np.eye(points.shape[1], dtype=bool)
    rows = [
        seen.margin_start.mean(1),
        *(each[:, others].mean(1) for each in (seen.free, seen.height, seen.overlap)),
    ]
    return [np.ones(len(points)), *rows]
