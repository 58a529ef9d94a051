"""Small Sherrington-Kirkpatrick instances exactly, by going through all configurations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import hadamard
from scipy.special import comb

from spinscape.glasses._sk_checks import checked_couplings, checked_size, checked_temperatures

Floats = NDArray[np.float64]

LARGEST = 24
"""Spins up to which ground states are searched: 2^23 energies of an instance at a time, 64 MiB."""

LARGEST_THERMAL = 20
"""Spins up to which thermal averages are summed."""


@dataclass(frozen=True)
class GroundStates:
    """Lowest configurations.

    Attributes
    ----------
    energy
        Lowest energy per spin, (I,).
    spins
        A configuration that has it, its last spin up, int8 (I, n).
    """

    energy: Floats
    spins: NDArray[np.int8]


@dataclass(frozen=True)
class Thermal:
    """Thermal averages without sampling error.

    Attributes
    ----------
    temperatures
        (T,).
    energy
        Mean energy per spin, (I, T).
    heat
        Specific heat per spin, ``n (<u^2> - <u>^2) / T^2``, (I, T).
    q2
        Mean square of the overlap q of two independent replicas, (I, T).
    support
        Values that q can have, ``-1, -1 + 2 / n, ..., 1``, (n + 1,).
    distribution
        Their probabilities P(q), (I, T, n + 1).
    """

    temperatures: Floats
    energy: Floats
    heat: Floats
    q2: Floats
    support: Floats
    distribution: Floats


def ground_states(couplings: ArrayLike) -> GroundStates:
    """Find ground states by going through all configurations.

    The spins are cut into two halves; energies of all pairs of half configurations are a matrix product.

    Parameters
    ----------
    couplings
        (I, n, n), symmetric, zero on the diagonal, n at most 24.

    Raises
    ------
    ValueError
        If couplings are no such array.
    """
    j = checked_couplings(couplings)
    n = checked_size(j.shape[1], LARGEST)
    a, b = _halves(n)
    energy, spins = np.empty(len(j)), np.empty((len(j), n), np.int8)
    for i, one in enumerate(j):
        levels = _levels(one, a, b)
        left, right = divmod(int(levels.argmin()), len(b))
        energy[i] = levels[left, right] / n
        spins[i] = np.concatenate([a[left], b[right]])
    return GroundStates(energy, spins)


def thermal(couplings: ArrayLike, temperatures: ArrayLike) -> Thermal:
    """Sum thermal averages over all configurations.

    P(q) needs no pairs of configurations: with ``C_k`` the sum of squared correlations of all sets of k
    spins, ``P(q_d) = 2^-n sum_k C_k K_d(k)``, where ``K_d`` is Krawtchouk's polynomial, and all correlations
    come from one Hadamard transform of the Boltzmann weights.

    Parameters
    ----------
    couplings
        (I, n, n), symmetric, zero on the diagonal, n at most 20.
    temperatures
        Positive and increasing, (T,).

    Raises
    ------
    ValueError
        If couplings or temperatures are not such.
    """
    j, t = checked_couplings(couplings), checked_temperatures(temperatures)
    n = checked_size(j.shape[1], LARGEST_THERMAL)
    a, b = _halves(n)
    left, right = hadamard(len(a)).astype(float), hadamard(len(b)).astype(float)
    # The last spin is up, so a set of the others stands for the even set that has the last one or not.
    members = _bits(len(a)).sum(1)[:, None] + _bits(len(b)).sum(1)
    order = 2 * ((members + 1) // 2)
    krawtchouk = _krawtchouk(n)
    shape = (len(j), len(t))
    energy, square, q2 = np.empty(shape), np.empty(shape), np.empty(shape)
    distribution = np.empty((*shape, n + 1))
    for i, one in enumerate(j):
        levels = _levels(one, a, b)
        least = levels.min()
        for k, temperature in enumerate(t):
            weights = np.exp((least - levels) / temperature)
            weights /= weights.sum()
            energy[i, k] = (weights * levels).sum() / n
            square[i, k] = (weights * (levels / n - energy[i, k]) ** 2).sum()
            correlations = (left @ weights @ right) ** 2
            sums = np.bincount(order.ravel(), correlations.ravel(), n + 1)
            q2[i, k] = (n + 2 * sums[2]) / n**2
            distribution[i, k] = krawtchouk @ sums
    support = np.linspace(-1, 1, n + 1)
    return Thermal(t, energy, n * square / t**2, q2, support, distribution.clip(0))


def _halves(n: int) -> tuple[Floats, Floats]:
    """Return configurations of the first spins, and of the rest with the last one up, as rows."""
    left = n // 2
    first, rest = (1 - 2 * _bits(2**k).astype(float) for k in (left, n - left - 1))
    return first, np.column_stack([rest, np.ones(len(rest))])


def _bits(count: int) -> NDArray[np.int64]:
    """Return digits of 0 .. count - 1, a power of 2, (count, log2 count), the lowest first."""
    return np.arange(count)[:, None] >> np.arange(count.bit_length() - 1) & 1


def _levels(j: Floats, a: Floats, b: Floats) -> Floats:
    """Return energies (not per spin) of all pairs of rows of the two halves."""
    cut = a.shape[1]
    levels = -(a @ j[:cut, cut:]) @ b.T
    for half, rows, axis in ((j[:cut, :cut], a, 1), (j[cut:, cut:], b, 0)):
        levels -= np.expand_dims(((rows @ half) * rows).sum(1) / 2, axis)
    return levels


def _krawtchouk(n: int) -> Floats:
    """Return ``2^-n K_d(k)`` with rows by overlap ``1 - 2 d / n`` from -1 to 1, columns by k."""
    k, d, m = np.ogrid[: n + 1, : n + 1, : n + 1]
    table = ((-1.0) ** m * comb(k, m) * comb(n - k, d - m)).sum(2) / 2.0**n
    return table.T[::-1]
