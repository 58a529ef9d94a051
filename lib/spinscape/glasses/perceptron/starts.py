"""Starts inside the solutions of the spherical perceptron.

Weights climb the soft minimum of their stabilities, ``-log(sum_mu exp(-s h_mu)) / s``, on the sphere, while
its sharpness s grows.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from spinscape.glasses._arguments import whole
from spinscape.glasses._draws import STARTS, generator
from spinscape.glasses.perceptron._chains import advance
from spinscape.glasses.perceptron.patterns import Patterns

Floats = NDArray[np.float64]

KINDS = ("core", "random")
GROUP = 8
"""Chains that climb together, always as many: products of one shape give the same bits for every chain."""

BLUNT, SHARP = 3.0, 60.0
"""Sharpness at the beginning and at the end of a climb, times the scale of the stabilities, 1."""

CACHE = 2**19
"""Bytes of patterns that are climbed on at once."""

LONG, SHORT = 0.3, 0.003
"""First and last step, in radians."""

MEMORY = 0.8
"""Share of a step's direction that comes from the steps before."""

FORGET = 4
"""Moves on great circles, per weight, between a climb and a random start."""

LEVELS = 0.2, 0.8
"""Where random starts lie between kappa (0) and the best margin of their climb (1)."""


def interior_starts(
    patterns: Patterns,
    kappa: float,
    *,
    chains: int,
    seed: int = 0,
    kind: str = "core",
    budget: int = 400,
    offset: int = 0,
) -> Floats:
    """Return solutions whose margin is above kappa, (I, C, N).

    Start c of instance i is the same whatever the numbers of instances and chains.

    Parameters
    ----------
    kind
        ``"core"``: the best point of a climb from random weights, near the largest margin there is.
        ``"random"``: the climb from other random weights ends at a margin drawn between kappa and its best,
        different for every chain; then come ``4 N`` moves on great circles at that margin.
    budget
        Steps of a climb.
    offset
        Number of the first instance, where `patterns` are some of several.

    Raises
    ------
    ValueError
        If an argument is out of range.
    RuntimeError
        If a climb reaches no margin above kappa: with the best margin, the budget, alpha and kappa.
    """
    chains, budget = whole(chains, "chains", 1), whole(budget, "budget", 1)
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, not {kind!r}")
    if not math.isfinite(kappa):
        raise ValueError(f"kappa must be finite, not {kappa}")
    rounded = -(-chains // GROUP) * GROUP
    w = np.empty((patterns.instances, rounded, patterns.n))
    share = np.empty((patterns.instances, rounded))
    for i in range(patterns.instances):
        for c in range(rounded):
            draws = generator(seed, STARTS, KINDS.index(kind), patterns.n, offset + i, c)
            w[i, c] = draws.standard_normal(patterns.n)
            share[i, c] = draws.uniform(*LEVELS)
    found, margin = climb(patterns, w, budget)
    if (margin[:, :chains] <= kappa).any():
        i, c = divmod(int(margin[:, :chains].argmin()), chains)
        raise RuntimeError(
            f"no start above kappa = {kappa:g}: the climb of chain {c} of instance {offset + i} reached "
            f"margin {margin[i, c]:.6g} within its budget of {budget} steps (alpha = {patterns.alpha:g}, "
            f"N = {patterns.n}; the best of all climbs reached {margin[:, :chains].max():.6g})"
        )
    if kind == "core":
        return found[:, :chains]
    level = kappa + share * (margin - kappa)
    found, _ = climb(patterns, w, budget, level)
    found, level = np.ascontiguousarray(found[:, :chains]), level[:, :chains]
    nothing = np.empty((*found.shape[:2], 0, patterns.n))
    advance(patterns, level, found, nothing, 1, FORGET * patterns.n, "great-circle", seed, 1, offset)
    return found


def climb(
    patterns: Patterns, start: Floats, budget: int, level: Floats | None = None
) -> tuple[Floats, Floats]:
    """Climb the soft minimum of the stabilities from every start.

    The length of a step falls geometrically, whatever the size of the gradient.

    Parameters
    ----------
    start
        Shape (I, C, N), C a multiple of `GROUP`, of any length.
    level
        Where a climb may stop: at the first point of at least this margin, (I, C); nowhere if None.

    Returns
    -------
    points, margins
        The best point of every climb, or the first at its level, (I, C, N), and its margin, (I, C).
    """
    best, margins = np.empty_like(start), np.full(start.shape[:2], -np.inf)
    target = np.full(start.shape[:2], np.inf) if level is None else level
    # As many instances at once as a cache holds.
    some = max(1, CACHE // (8 * patterns.count * patterns.n))
    for i in range(0, patterns.instances, some):
        rows = patterns.xi[i : i + some] / math.sqrt(patterns.n)
        for first in range(0, start.shape[1], GROUP):
            part = np.s_[i : i + some, first : first + GROUP]
            best[part], margins[part] = _climb(rows, start[part], budget, target[part])
    return best, margins


def _climb(rows: Floats, start: Floats, budget: int, target: Floats) -> tuple[Floats, Floats]:
    """Climb on patterns (J, P, N) divided by sqrt(N) from (J, C, N); one climb does not depend on others."""
    n = rows.shape[-1]
    radius = math.sqrt(n)
    w = start * (radius / np.linalg.norm(start, axis=-1, keepdims=True))
    best, margins, speed = w.copy(), np.full(w.shape[:2], -np.inf), np.zeros_like(w)
    for step in range(budget):
        h = w @ rows.swapaxes(1, 2)
        least = h.min(-1)
        better = (least > margins) & (margins < target)
        best[better], margins[better] = w[better], least[better]
        if (margins >= target).all():
            break
        done = step / budget
        weights = np.exp(-BLUNT * (SHARP / BLUNT) ** done * (h - least[..., None]))
        force = weights @ rows
        force -= w * ((force * w).sum(-1, keepdims=True) / n)
        force /= np.maximum(np.linalg.norm(force, axis=-1, keepdims=True), 1e-300)
        speed = MEMORY * speed + (1 - MEMORY) * force
        w = w + radius * LONG * (SHORT / LONG) ** done * speed
        w *= radius / np.linalg.norm(w, axis=-1, keepdims=True)
    return best, margins
