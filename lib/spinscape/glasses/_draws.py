"""Random numbers of this room: one stream per purpose and instance, drawn on the CPU."""

from __future__ import annotations

import numpy as np

from spinscape.glasses._arguments import whole

COUPLINGS, POINTS, THERMAL = 101, 102, 103
HOMOTOPY, NEWTON = 121, 122
"""What random numbers are drawn for."""

BONDS, CHAINS = 141, 142
"""Likewise, for the Sherrington-Kirkpatrick model: its couplings, and its Markov chains."""

SYMMETRIC, PLANTED, LABELS, HIERARCHY = 151, 152, 153, 154
"""Likewise, for overlaps of replica-symmetric and planted states."""

LEVELS, STATES = 155, 156
"""Likewise, for energies of random-energy models and states drawn from them."""

TEMPERING, EXCHANGES = 157, 158
"""Likewise, for parallel tempering on the sphere."""

PATTERNS, STEPS, STARTS, PROBES = 161, 162, 163, 164
"""Likewise, for the perceptron: patterns, steps and starts of Markov chains, and directions to look along."""

WEIGHTS, ORDERS, COPIES, COMPRESSIONS, INPUTS = 165, 166, 167, 168, 169
"""Likewise, for its algorithms: first weights, orders of patterns, replicas, compressions, and committees."""


def generator(seed: int, purpose: int, *which: int) -> np.random.Generator:
    """Return the generator for one purpose and, say, one instance and start; no two share a stream.

    NumPy's normals come one after the other, so the first rows of a draw do not depend on how many follow.

    Parameters
    ----------
    seed
        Seed of the run, not negative.
    purpose
        `COUPLINGS` or another of the constants above.
    *which
        Further numbers, such as order, number of spins, instance and start.

    Raises
    ------
    ValueError
        If the seed is no whole number of at least 0.
    """
    seed = whole(seed, "seed", 0)
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(purpose, *which)))
