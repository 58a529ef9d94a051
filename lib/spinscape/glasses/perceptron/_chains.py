"""All Markov chains of all instances, one after the other, in blocks of steps."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from spinscape.glasses._draws import STEPS, generator
from spinscape.glasses.perceptron.patterns import Patterns

Floats = NDArray[np.float64]

MOVES = ("great-circle", "pairs")

BLOCK = {"great-circle": 128, "pairs": 16}
"""Steps after which stabilities are computed anew; directions of great circles come in such blocks too."""


def advance(
    patterns: Patterns, margins: Floats, w: Floats, points: Floats, stride: int, burn: int, moves: str,
    seed: int, part: int = 0, offset: int = 0,
) -> Floats:  # fmt: skip
    """Advance every chain by ``burn + stride * K`` steps and keep K states.

    Each chain has random numbers of its own and its products have the same shape always, so that it does not
    depend on the other chains.

    Parameters
    ----------
    margins
        Margin of every chain, (I, C).
    w
        Where the chains are, (I, C, N), of squared length N; moved in place.
    points
        Room for the kept states, (I, C, K, N); K may be 0 with a stride of 1.
    part
        Number of the run, where one seed serves several.
    offset
        Number of the first instance, where `patterns` are some of several.

    Returns
    -------
    tally
        Sum of the angles turned, draws of angles, moves, and smallest stability, (I, C, 4).
    """
    # numba takes a third of a second to import.
    from spinscape.glasses.perceptron._kernel import great_circles, pair_rotations
    from spinscape.glasses.perceptron._random import fill_normal
    from spinscape.progress import bar

    instances, chains, keep, n = points.shape
    total, block = burn + stride * keep, BLOCK[moves]
    # A pattern's arc makes one interval more of a circle at most, one across its beginning two.
    low, high = np.empty((2, 2 * patterns.count + 2))
    raw, images = np.empty((block, n)), np.empty((block, patterns.count))
    tally = np.zeros((instances, chains, 4))
    tally[..., 3] = np.inf
    with bar("solutions", instances * chains) as progress:
        for i in range(instances):
            rows = patterns.xi[i] / math.sqrt(n)
            columns = np.ascontiguousarray(rows.T)
            for c in range(chains):
                keys = generator(seed, STEPS, n, offset + i, c, part).integers(2**64, size=2, dtype=np.uint64)
                directions, rng = (np.array([key, 0], np.uint64) for key in keys)
                x, h, order = w[i, c], np.empty(patterns.count), np.arange(n)
                kept, sums = points[i, c], tally[i, c]
                for first in range(0, total, block):
                    x *= math.sqrt(n) / np.linalg.norm(x)
                    np.dot(rows, x, out=h)
                    sums[3] = min(sums[3], h.min())
                    count = min(block, total - first)
                    rest = (margins[i, c], first, count, burn, stride, kept, sums, low, high, rng)
                    if moves == "pairs":
                        pair_rotations(x, h, columns, order, *rest)
                    else:
                        fill_normal(directions, raw)
                        np.matmul(raw, columns, out=images)
                        great_circles(x, h, raw, images, *rest)
                progress.update(1)
    return tally
