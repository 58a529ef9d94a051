"""Uniform and normal random numbers from (key, counter), compiled by numba.

A stream is an array of two 64-bit numbers; the next number is output `counter` of splitmix64 (Steele, Lea &
Flood 2014) from state `key`.
"""

from __future__ import annotations

import math

import numba
import numpy as np
from numpy.typing import NDArray

U64 = np.uint64
LAYERS = 256
TAIL = 3.6541528853610088
"""Where the lowest layer of the ziggurat ends and the tail begins (Marsaglia & Tsang 2000)."""


def ziggurat() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return widths of the layers, from the lowest up, and heights of the normal curve there, (257,) each.

    All layers have one area; the width of the lowest is that of a box as large as it is with its tail.
    """
    area = TAIL * math.exp(-(TAIL**2) / 2) + math.sqrt(math.pi / 2) * math.erfc(TAIL / math.sqrt(2))
    width = [area * math.exp(TAIL**2 / 2), TAIL]
    for _ in range(LAYERS - 2):
        width.append(math.sqrt(-2 * math.log(area / width[-1] + math.exp(-(width[-1] ** 2) / 2))))
    found = np.array([*width, 0.0])
    return found, np.exp(-(found**2) / 2)


WIDTH, HEIGHT = ziggurat()


@numba.njit(inline="always")
def _bits(rng):
    rng[1] += U64(1)
    z = rng[0] + rng[1] * U64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> U64(30))) * U64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> U64(27))) * U64(0x94D049BB133111EB)
    return z ^ (z >> U64(31))


@numba.njit(inline="always")
def uniform(rng):
    """Return a number in (0, 1)."""
    return (np.float64(_bits(rng) >> U64(11)) + 0.5) * 2.0**-53


@numba.njit(nogil=True, error_model="numpy")
def _normal(rng):
    while True:
        bits = _bits(rng)
        # Layer, sign and place come from different bits.
        layer = np.int64(bits & U64(255))
        sign = 1.0 - 2.0 * np.float64((bits >> U64(8)) & U64(1))
        x = np.float64(bits >> U64(11)) * 2.0**-53 * WIDTH[layer]
        if x < WIDTH[layer + 1]:
            return sign * x
        if layer == 0:
            while True:
                beyond = -np.log(uniform(rng)) / TAIL
                if -2 * np.log(uniform(rng)) > beyond * beyond:
                    return sign * (TAIL + beyond)
        if HEIGHT[layer] + uniform(rng) * (HEIGHT[layer + 1] - HEIGHT[layer]) < np.exp(-0.5 * x * x):
            return sign * x


@numba.njit(nogil=True, error_model="numpy")
def fill_normal(rng, out):
    """Fill the rows of `out` (B, N) with standard normal numbers."""
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = _normal(rng)
