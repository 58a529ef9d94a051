"""What the chains of parallel tempering hold, whatever computes them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spinscape.glasses._draws import CHAINS

Floats = NDArray[np.float64]

REFRESH = 32
"""Sweeps after which local fields or energies are computed anew, so that rounding does not add up."""


@dataclass(frozen=True)
class Sums:
    """Sums over sweeps, of means over replicas or pairs of them: u, u^2 and q^2, each (I, T)."""

    energy: Floats
    square: Floats
    q2: Floats

    @classmethod
    def zeros(cls, shape: tuple[int, int, int]) -> Sums:
        """Return sums over nothing."""
        return cls(*(np.zeros((shape[0], shape[2])) for _ in range(3)))


class Chains(ABC):
    """Walkers of I instances, R replicas and T temperatures, and what is counted along the way.

    Walker w of a replica starts at temperature w; walkers exchange their temperatures.

    Attributes
    ----------
    counts
        How often an overlap was seen, int64 (I, T, n + 1).
    flips
        Spin flips taken, int64 (I, T).
    swaps
        Exchanges taken, int64 (I, T - 1).
    round_trips
        Ways of a walker from the lowest temperature to the highest and back, int64 (I, R).
    done
        Sweeps since the start.
    """

    def __init__(self, couplings: Floats, temperatures: Floats, keys: NDArray[np.uint64]) -> None:
        instances, replicas, most = keys.shape
        self.shape = (instances, replicas, most - 1)
        self.n = couplings.shape[1]
        self.keys = keys
        self.beta = 1 / temperatures
        self.done = 0
        self.counts = np.zeros((instances, most - 1, self.n + 1), np.int64)
        self.flips = np.zeros((instances, most - 1), np.int64)
        self.swaps = np.zeros((instances, most - 2), np.int64)
        self.round_trips = np.zeros((instances, replicas), np.int64)

    @abstractmethod
    def advance(self, sweeps: int, *, count: bool) -> Sums:
        """Do so many sweeps of every walker, an exchange and a measurement after each."""

    @abstractmethod
    def states(self, t: int) -> tuple[NDArray[np.int8], NDArray[np.int64]]:
        """Return the states at temperature t, (I, R, n), and which walker each is, (I, R)."""


def make_keys(seed: int, n: int, instances: int, replicas: int, count: int) -> NDArray[np.uint64]:
    """Return a 64-bit key for every walker, and one for the exchanges of each replica, (I, R, T + 1).

    Those of a walker depend on the seed, n, its instance, its replica and its number only.
    """
    keys = np.empty((instances, replicas, count + 1), np.uint64)
    for i in range(instances):
        for r in range(replicas):
            sequence = np.random.SeedSequence(seed, spawn_key=(CHAINS, n, i, r))
            drawn = sequence.generate_state(count + 1, np.uint64)
            keys[i, r] = np.roll(drawn, -1)
    return keys


def start_bits(keys: NDArray[np.uint64], n: int) -> NDArray[np.uint64]:
    """Return the lowest bits of outputs 1 .. n of splitmix64 (Steele, Lea & Flood 2014), (*keys, n)."""
    z = keys[..., None] + np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (z ^ (z >> np.uint64(31))) & np.uint64(1)
