"""Random patterns of a perceptron."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from spinscape.glasses._arguments import whole
from spinscape.glasses._draws import PATTERNS, generator
from spinscape.memory import available_bytes

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Patterns:
    """Patterns of I perceptrons.

    Attributes
    ----------
    xi
        P patterns of each instance, independent standard normal numbers, shape (I, P, N).
    alpha
        Patterns per weight, P / N.
    """

    xi: Floats
    alpha: float


def patterns(instances: int, n: int, alpha: float, seed: int) -> Patterns:
    """Draw P = round(alpha n) patterns for each instance.

    Instance i has the same patterns whatever the number of instances, and a larger alpha adds patterns to
    those of a smaller one.

    Parameters
    ----------
    instances, n
        Numbers of instances and of weights.
    alpha
        Patterns per weight asked for.
    seed
        Seed of the run.

    Raises
    ------
    ValueError
        If alpha is not positive and finite, or leaves no pattern.
    MemoryError
        If the patterns would take more than half of the free memory.
    """
    instances, n = whole(instances, "instances", 1), whole(n, "n", 2)
    if not (math.isfinite(alpha) and alpha > 0):
        raise ValueError(f"alpha must be a positive number, not {alpha!r}")
    count = round(alpha * n)
    if count < 1:
        raise ValueError(f"alpha = {alpha:g} leaves no pattern for n = {n}")
    need, free = 8.0 * instances * count * n, available_bytes(torch.device("cpu"))
    if need > free / 2:
        raise MemoryError(
            f"{instances} instances of {count} patterns of {n} numbers take {need / 2**30:.1f} GiB; "
            f"{free / 2**31:.1f} GiB are allowed"
        )
    xi = np.empty((instances, count, n))
    for i in range(instances):
        generator(seed, PATTERNS, n, i).standard_normal(out=xi[i])
    return Patterns(xi, count / n)
