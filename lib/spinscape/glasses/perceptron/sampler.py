"""Solutions of the spherical perceptron drawn uniformly, by Markov chains that reject nothing.

Hit-and-run on great circles: from w a uniform tangential direction d, and then an angle t of
``cos(t) w + sin(t) sqrt(N) d``, uniform where all stabilities reach the margin.
The move is reversible, and its stationary law is the uniform one on the solutions.
Turning pairs of weights instead, ``(w_i, w_j)`` by an angle drawn in the same way, has the same stationary
law; a move is about as long and costs O(P) operations in place of O(N P).

A chain that starts near the border of the solutions, as one does at the end of a perceptron rule, stays there
for very long: start inside (`interior_starts`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spinscape.glasses._arguments import whole
from spinscape.glasses.perceptron._chains import MOVES, advance
from spinscape.glasses.perceptron.patterns import Patterns
from spinscape.glasses.perceptron.starts import interior_starts

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Solutions:
    """States of Markov chains on the solutions.

    Attributes
    ----------
    points
        Kept states, of squared length N, shape (I, C, K, N).
    least
        Smallest stability that a chain has had, shape (I, C).
    turn
        Mean angle of a move, shape (I, C).
    tries
        Mean number of angles drawn for a move, shape (I, C).
    kappa
        Margin.
    steps
        Steps from one kept state to the next, and before the first one beyond the burn-in.
    burn
        Steps of the burn-in.
    """

    points: Floats
    least: Floats
    turn: Floats
    tries: Floats
    kappa: float
    steps: int
    burn: int


def sample_solutions(
    patterns: Patterns,
    kappa: float,
    *,
    chains: int = 8,
    steps: int,
    burn: int | None = None,
    keep: int = 50,
    start: ArrayLike | None = None,
    moves: str = "great-circle",
    seed: int = 0,
) -> Solutions:
    """Draw solutions of margin kappa.

    Chain c of instance i is the same, to the last bit, whatever the numbers of instances and of chains.

    Parameters
    ----------
    patterns
        Patterns of I instances.
    kappa
        Margin, of either sign.
    chains
        Chains C of each instance.
    steps
        Steps of a chain after its burn-in; `keep` states are kept, one every ``steps // keep``.
    burn
        Steps before; a quarter of `steps` if None.
    start
        Solutions to start from, (I, C, N), of any length; `interior_starts` of kind ``"random"`` if None.
    moves
        ``"great-circle"``: a step is one move on a random great circle.
        ``"pairs"``: a step is a sweep that turns the weights of ``N // 2`` disjoint random pairs in turn.
        A sweep takes about as many operations as one move on a great circle.
    seed
        Seed of the chains.

    Raises
    ------
    ValueError
        If an argument is out of range, a start is no solution, or states do not fit in memory.
    RuntimeError
        If no start is given and none is found, see `interior_starts`.
    """
    chains, steps, keep = whole(chains, "chains", 1), whole(steps, "steps", 1), whole(keep, "keep", 1)
    burn = steps // 4 if burn is None else whole(burn, "burn", 0)
    whole(seed, "seed", 0)
    if moves not in MOVES:
        raise ValueError(f"moves must be one of {', '.join(MOVES)}, not {moves!r}")
    if keep > steps:
        raise ValueError(f"{keep} states cannot be kept of {steps} steps")
    if not math.isfinite(kappa):
        raise ValueError(f"kappa must be finite, not {kappa}")
    _check_fits(patterns, chains, keep)
    if start is None:
        start = interior_starts(patterns, kappa, chains=chains, seed=seed, kind="random")
    w = _checked_start(patterns, kappa, start, chains)
    points = np.empty((patterns.instances, chains, keep, patterns.n))
    margins = np.full(w.shape[:2], float(kappa))
    tally = advance(patterns, margins, w, points, steps // keep, burn, moves, seed)
    made = tally[..., 2]
    return Solutions(
        points, tally[..., 3], tally[..., 0] / made, tally[..., 1] / made, float(kappa), steps // keep, burn
    )


def _check_fits(patterns: Patterns, chains: int, keep: int) -> None:
    import torch

    from spinscape.memory import available_bytes

    there = available_bytes(torch.device("cpu"))
    each = 8.0 * patterns.instances * chains * patterns.n
    if each * keep > there:
        raise ValueError(
            f"{keep} states of {chains} chains of {patterns.instances} instances take "
            f"{each * keep / 2**30:.3g} GiB, more than there is: at most keep = {int(there / each)}"
        )


def _checked_start(patterns: Patterns, kappa: float, start: ArrayLike, chains: int) -> Floats:
    w = np.array(start, float)
    wanted = (patterns.instances, chains, patterns.n)
    if w.shape != wanted:
        raise ValueError(f"start must have shape {wanted}, not {w.shape}")
    length = np.linalg.norm(w, axis=-1, keepdims=True)
    if not (np.isfinite(length).all() and (length > 0).all()):
        raise ValueError("start must be finite and not zero")
    w *= math.sqrt(patterns.n) / length
    margin = patterns.stabilities(w).min(-1)
    if not (margin >= kappa).all():
        i, c = np.unravel_index(margin.argmin(), margin.shape)
        raise ValueError(
            f"start {c} of instance {i} has margin {margin[i, c]:.6g}, below kappa = {kappa:g}: no solution"
        )
    return w
