"""Markov chains of the Sherrington-Kirkpatrick model on one core, compiled by numba.

Every walker (one configuration of one replica of one instance) holds its spins and local fields.
A sweep offers each spin a flip by Metropolis' rule; a flip costs one row of couplings added to the fields.
Random numbers are a hash of (walker, sweep, spin), so a loop over the spins fills them all at once, and the
negative logarithm that Metropolis' rule compares with comes from a polynomial that compiles to vector
instructions.

Machine code is not kept on disk: compiling takes one to two seconds, and a damaged cache could crash a run.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from spinscape.glasses._sk_chains import REFRESH, Chains, Sums, start_bits

U64 = np.uint64
F32 = np.float32


class NumbaChains(Chains):
    """Chains on the CPU; see `Chains`."""

    def __init__(
        self, couplings: NDArray[np.float64], temperatures: NDArray[np.float64], keys: NDArray[np.uint64]
    ) -> None:
        super().__init__(couplings, temperatures, keys)
        self._couplings = np.ascontiguousarray(couplings, np.float32)
        instances, replicas, count = self.shape
        shape = (instances, replicas, count, self.n)
        self._spins, self._fields = np.empty(shape, np.float32), np.empty(shape, np.float32)
        self._at = np.tile(np.arange(count), (instances, replicas, 1))
        self._seen = np.zeros(self.shape, np.int8)
        self._level = np.empty((replicas, count))
        self._spins[...] = 1 - 2 * start_bits(keys[:, :, :-1], self.n).astype(np.float32)
        words = np.empty((self.n + 1) // 2, np.uint64)
        numbers, mantissas, self._thresholds = np.empty((3, 2 * words.size), np.float32)
        self._buffers = (
            words, words.view(np.uint32), numbers, numbers.view(np.int32), mantissas, mantissas.view(np.int32)
        )  # fmt: skip

    def advance(self, sweeps: int, *, count: bool) -> Sums:
        """Do so many sweeps of every walker, an exchange and a measurement after each."""
        sums = Sums.zeros(self.shape)
        _advance(
            self._couplings, self._spins, self._fields, self.keys, self.beta, self._buffers,
            self._thresholds, self._level, self._at, self._seen,
            self.done, sweeps, count, sums.energy, sums.square, sums.q2, self.counts, self.flips, self.swaps,
            self.round_trips,
        )  # fmt: skip
        self.done += sweeps
        return sums

    def states(self, t: int) -> tuple[NDArray[np.int8], NDArray[np.int64]]:
        """Return the states at temperature t, (I, R, n), and which walker each is, (I, R)."""
        walker = self._at[:, :, t]
        chosen = np.take_along_axis(self._spins, walker[:, :, None, None], 2)[:, :, 0]
        return chosen.astype(np.int8), walker.copy()


@numba.njit(inline="always")
def _hash(key, counter):
    """Output number `counter` of splitmix64 (Steele, Lea & Flood 2014) from state `key`."""
    z = key + counter * U64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> U64(30))) * U64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> U64(27))) * U64(0x94D049BB133111EB)
    return z ^ (z >> U64(31))


@numba.njit(nogil=True, error_model="numpy")
def _exponentials(key, counter, buffers, out):
    """Fill `out` with -log((b + 1/2) / 2^32), b uniform on 32 bits, two from each 64-bit output.

    The logarithm is Cephes' logf; its error, 5e-7, is that of the 32-bit fields it is compared with.
    """
    # Two pairs of names for the same bits: of numbers and of mantissas as floats and as integers.
    words, bits, numbers, pattern, mantissas, scaled = buffers
    for j in range(words.size):
        words[j] = _hash(key, counter + U64(j))
    for j in range(out.size):
        numbers[j] = F32(bits[j]) + F32(0.5)
    for j in range(out.size):
        # Mantissas lie between sqrt(1/2) and sqrt(2).
        exponent = (pattern[j] - np.int32(0x3F3504F3)) >> np.int32(23)
        scaled[j] = pattern[j] - (exponent << np.int32(23))
        out[j] = F32(exponent) - F32(32)
    for j in range(out.size):
        x = mantissas[j] - F32(1)
        y = F32(7.0376836292e-2)
        y = y * x + F32(-1.1514610310e-1)
        y = y * x + F32(1.1676998740e-1)
        y = y * x + F32(-1.2420140846e-1)
        y = y * x + F32(1.4249322787e-1)
        y = y * x + F32(-1.6668057665e-1)
        y = y * x + F32(2.0000714765e-1)
        y = y * x + F32(-2.4999993993e-1)
        y = y * x + F32(3.3333331174e-1)
        square = x * x
        y = y * x * square + out[j] * F32(-2.12194440e-4) - F32(0.5) * square
        out[j] = -(x + y + out[j] * F32(0.693359375))


@numba.njit(nogil=True, error_model="numpy")
def _sweep(spins, fields, couplings, beta, thresholds):
    """Offer every spin a flip, in order; return how many were taken."""
    taken = 0
    twice = F32(2 * beta)
    for k in range(spins.size):
        if twice * spins[k] * fields[k] < thresholds[k]:
            change = F32(-2) * spins[k]
            spins[k] = -spins[k]
            taken += 1
            for m in range(spins.size):
                fields[m] += change * couplings[k, m]
    return taken


@numba.njit(nogil=True, fastmath=True, error_model="numpy")
def _dot(a, b):
    total = F32(0)
    for k in range(a.size):
        total += a[k] * b[k]
    return total


@numba.njit(nogil=True, error_model="numpy")
def _exchange(energy, at, beta, key, sweep, swaps):
    """Offer neighbours in temperature an exchange: even pairs and odd pairs take turns."""
    count = len(at)
    for t in range(sweep & 1, count - 1, 2):
        bits = _hash(key, U64(sweep) * U64(count) + U64(t)) >> U64(11)
        threshold = -np.log((np.float64(bits) + 0.5) * 2.0**-53)
        if (beta[t + 1] - beta[t]) * (energy[t] - energy[t + 1]) < threshold:
            at[t], at[t + 1] = at[t + 1], at[t]
            energy[t], energy[t + 1] = energy[t + 1], energy[t]
            swaps[t] += 1


@numba.njit(nogil=True, error_model="numpy")
def _turns(at, seen):
    """Follow walkers between the ends: 1 after the lowest temperature, 2 after it and the highest."""
    low, high = at[0], at[len(at) - 1]
    done = 1 if seen[low] == 2 else 0
    seen[low] = 1
    if seen[high] == 1 and low != high:
        seen[high] = 2
    return done


@numba.njit(nogil=True, error_model="numpy")
def _advance(
    couplings, spins, fields, keys, beta, buffers, thresholds, level, at, seen, done, sweeps, counting,
    energy, square, q2, counts, flips, swaps, trips,
):  # fmt: skip
    instances, replicas, count, n = spins.shape
    for i in range(instances):
        j = couplings[i]
        for sweep in range(done, done + sweeps):
            for r in range(replicas):
                for t in range(count):
                    w = at[i, r, t]
                    s, h = spins[i, r, w], fields[i, r, w]
                    if sweep % REFRESH == 0:
                        for k in range(n):
                            h[k] = _dot(s, j[k])
                    # Outputs below 2 n belong to the start.
                    first = U64(2 * n) + U64(sweep) * U64(thresholds.size // 2)
                    _exponentials(keys[i, r, w], first, buffers, thresholds)
                    flips[i, t] += _sweep(s, h, j, beta[t], thresholds)
                    level[r, t] = -0.5 * _dot(s, h)
                _exchange(level[r], at[i, r], beta, keys[i, r, count], sweep, swaps[i])
                trips[i, r] += _turns(at[i, r], seen[i, r])
            for t in range(count):
                for r in range(replicas):
                    u = level[r, t] / n
                    energy[i, t] += u / replicas
                    square[i, t] += u * u / replicas
                    for other in range(r):
                        dot = _dot(spins[i, r, at[i, r, t]], spins[i, other, at[i, other, t]])
                        q2[i, t] += (dot / n) ** 2 * 2 / (replicas * (replicas - 1))
                        if counting:
                            counts[i, t, np.int64(round((dot + n) / 2))] += 1
