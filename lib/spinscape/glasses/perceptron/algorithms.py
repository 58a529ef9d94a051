"""Algorithms that look for a solution of a perceptron, batched over instances and starts.

All of them move on the sphere ``|w|^2 = N`` and stop at the first solution of margin kappa that a pass over
the patterns ends in, unless told otherwise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spinscape.glasses._arguments import whole
from spinscape.glasses._draws import COPIES, WEIGHTS
from spinscape.glasses.perceptron._compression import Machine, compress
from spinscape.glasses.perceptron._descent import Descent, Loss, centres, on_sphere, random_points
from spinscape.glasses.perceptron.geodesics import check_points
from spinscape.glasses.perceptron.patterns import Patterns
from spinscape.progress import track

Floats = NDArray[np.float64]

RATE = 0.5
"""Step of the ascent of the soft minimum, in units of its inverse curvature."""


@dataclass(frozen=True)
class Run:
    """Where an algorithm ended.

    Attributes
    ----------
    points
        Last points, on the sphere, shape (I, S, N).
    margin
        Their smallest stability, shape (I, S).
    solved
        Whether that is at least kappa, shape (I, S).
    steps
        Passes over the patterns until the first solution, or all of them, shape (I, S).
    """

    points: Floats
    margin: Floats
    solved: NDArray[np.bool_]
    steps: NDArray[np.int64]


def perceptron_rule(
    patterns: Patterns,
    kappa: float,
    *,
    starts: int = 1,
    start: Floats | None = None,
    rate: float = 0.2,
    passes: int = 1000,
    seed: int = 0,
) -> Run:
    """Visit the patterns in random order and add ``rate xi / sqrt(N)`` for each that is below the margin.

    Parameters
    ----------
    patterns
        Patterns of I instances.
    kappa
        The margin.
    starts
        Uniform first points per instance.
    start
        First points (I, S, N) instead.
    rate
        What a violated pattern's stability gains, before the sphere is restored.
    passes
        Largest number of passes over the patterns.
    seed
        Seed of first points and orders.

    Raises
    ------
    RuntimeError
        If no start of any instance was solved.
    """
    loss = Loss("hinge", kappa)
    first = _first(patterns, starts, start, seed)
    descent = Descent(patterns, loss, rate=rate, batch=1, seed=seed)
    return _solve(patterns, kappa, descent, first, passes, stop=True, what="the perceptron rule")


def gradient_descent(
    patterns: Patterns,
    kappa: float,
    *,
    loss: str = "hinge",
    margin: float | None = None,
    sharpness: float = 10.0,
    batch: int | None = 10,
    starts: int = 1,
    start: Floats | None = None,
    rate: float = 0.2,
    passes: int = 1000,
    stop: bool = True,
    seed: int = 0,
) -> Run:
    """Stochastic gradient descent on the sphere.

    Parameters
    ----------
    patterns, kappa, starts, start, passes, seed
        As in `perceptron_rule`.
    loss, margin, sharpness
        See `Loss`; the margin of the loss is kappa unless given.
    batch
        Patterns per step; None takes all.
    rate
        Step size, for losses summed over the patterns of a batch.
    stop
        Whether to stop at the first solution; otherwise all passes are made.

    Raises
    ------
    RuntimeError
        If no start of any instance was solved.
    """
    what = Loss(loss, kappa if margin is None else margin, sharpness)
    first = _first(patterns, starts, start, seed)
    descent = Descent(patterns, what, rate=rate, batch=batch, seed=seed)
    return _solve(patterns, kappa, descent, first, passes, stop=stop, what=f"gradient descent on the {loss}")


def replicated(
    patterns: Patterns,
    kappa: float,
    *,
    copies: int = 3,
    loss: str = "cross-entropy",
    margin: float | None = None,
    sharpness: float = 10.0,
    batch: int | None = 10,
    starts: int = 1,
    rate: float = 0.2,
    passes: int = 200,
    pull: tuple[float, float] = (1e-3, 0.5),
    seed: int = 0,
) -> Run:
    """Replicated gradient descent: copies drawn to their common centre ever harder; the centre is returned.

    Parameters
    ----------
    patterns, kappa, starts, passes, seed
        As in `perceptron_rule`; all passes are made.
    copies
        Replicas per start, from independent first points.
    loss, margin, sharpness, batch, rate
        As in `gradient_descent`.
    pull
        Share of the way to the centre per step, in the first and in the last pass; geometric in between.

    Raises
    ------
    RuntimeError
        If no centre of any instance was solved.
    """
    copies, passes = whole(copies, "copies", 2), whole(passes, "passes", 1)
    if not 0 < pull[0] <= pull[1] <= 1:
        raise ValueError(f"pull must be two shares, 0 < first <= last <= 1, not {pull}")
    what = Loss(loss, kappa if margin is None else margin, sharpness)
    instances, _, n = patterns.xi.shape
    points = random_points(instances, whole(starts, "starts", 1) * copies, n, seed, COPIES)
    descent = Descent(patterns, what, rate=rate, batch=batch, seed=seed)
    every = np.arange(instances)
    steps = np.full((instances, starts), passes)
    seen = np.zeros(steps.shape, bool)
    for t, share in enumerate(track(np.geomspace(*pull, passes), "replicated descent")):
        points = descent.one_pass(points, every, copies, float(share))
        reached = patterns.stabilities(centres(points, copies)).min(2) >= kappa
        steps[reached & ~seen] = t + 1
        seen |= reached
    centre = centres(points, copies)
    found = patterns.stabilities(centre).min(2)
    return _checked(patterns, kappa, Run(centre, found, found >= kappa, steps), passes, "replicated descent")


def maximise_margin(
    patterns: Patterns,
    *,
    kappa: float = -math.inf,
    starts: int = 1,
    start: Floats | None = None,
    sharpness: tuple[float, float] = (1.0, 200.0),
    steps: int = 400,
    polish: bool = True,
    seed: int = 0,
) -> Run:
    """Raise the smallest stability: ascent of a soft minimum, ever sharper, then compression to a maximum.

    The soft minimum is ``-log(sum_mu exp(-s h_mu)) / s``; s grows geometrically.
    The polish (see `jam`) ends in a maximum of the margin to some nine digits: the only one where the largest
    margin is positive, and one of many where it is negative.

    Parameters
    ----------
    patterns, starts, start, seed
        As in `perceptron_rule`.
    kappa
        Margin from which a point counts as solved.
    sharpness
        First and last s.
    steps
        Steps of the ascent.
    polish
        Whether to compress after the ascent, point by point.

    Raises
    ------
    RuntimeError
        If no start of any instance reached `kappa`.
    """
    steps = whole(steps, "steps", 1)
    if not 0 < sharpness[0] <= sharpness[1]:
        raise ValueError(f"sharpness must be two numbers, 0 < first <= last, not {sharpness}")
    points = _first(patterns, starts, start, seed)
    xi, root = patterns.xi, math.sqrt(patterns.xi.shape[2])
    for s in track(np.geomspace(*sharpness, steps), "largest margin"):
        h = patterns.stabilities(points)
        weight = np.exp(-s * (h - h.min(2, keepdims=True)))
        weight /= weight.sum(2, keepdims=True)
        # The curvature of the soft minimum is s times a covariance of trace 1 over this many patterns.
        active = 1 / (weight**2).sum(2, keepdims=True)
        points = on_sphere(points + (weight @ xi) * (RATE * active / (s * root)))
    if polish:
        for i, s in track(list(np.ndindex(points.shape[:2])), "polish"):
            machine = Machine.perceptron(xi[i])
            points[i, s] = compress(machine, points[i, s][None]).best[0]
    found = patterns.stabilities(points).min(2)
    run = Run(points, found, found >= kappa, np.full(found.shape, steps))
    return _checked(patterns, kappa, run, steps, "the largest margin")


def _first(patterns: Patterns, starts: int, start: Floats | None, seed: int) -> Floats:
    """Return the first points, drawn or given."""
    if start is not None:
        return check_points(patterns, start, "start")
    instances, _, n = patterns.xi.shape
    return random_points(instances, whole(starts, "starts", 1), n, seed, WEIGHTS)


def _solve(
    patterns: Patterns, kappa: float, descent: Descent, first: Floats, passes: int, *, stop: bool, what: str
) -> Run:
    """Make passes, and leave points alone once they are solutions where `stop` is set."""
    passes = whole(passes, "passes", 1)
    points = first.copy()
    margin = patterns.stabilities(points).min(2)
    seen = margin >= kappa
    steps = np.where(seen, 0, passes)
    for t in track(range(1, passes + 1), what):
        which = np.flatnonzero(~seen.all(1)) if stop else np.arange(len(points))
        if not which.size:
            break
        moved = descent.one_pass(points[which], which)
        if stop:
            moved = np.where(seen[which, :, None], points[which], moved)
        points[which] = moved
        margin[which] = _least(patterns, moved, which)
        steps[(margin >= kappa) & ~seen] = t
        seen |= margin >= kappa
    return _checked(patterns, kappa, Run(points, margin, margin >= kappa, steps), passes, what)


def _least(patterns: Patterns, points: Floats, which: NDArray[np.int64]) -> Floats:
    """Return the smallest stabilities of points (A, S, N) of instances `which`."""
    xi = patterns.xi if len(which) == len(patterns.xi) else patterns.xi[which]
    return Patterns(xi, patterns.alpha).stabilities(points).min(2)


def _checked(patterns: Patterns, kappa: float, run: Run, budget: int, what: str) -> Run:
    """Return the run; RuntimeError if nothing is solved."""
    if not run.solved.any():
        raise RuntimeError(
            f"{what} found no solution of margin {kappa:g} at alpha = {patterns.alpha:g}, "
            f"N = {patterns.xi.shape[2]} within {budget} passes from {run.margin.size} starts; "
            f"the largest margin reached is {run.margin.max():.4g}"
        )
    return run
