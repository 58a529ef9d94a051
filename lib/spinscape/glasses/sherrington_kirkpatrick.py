"""The Sherrington-Kirkpatrick model: n spins +1 or -1, each coupled to every other one.

    H(s) = - sum_{i<j} J_ij s_i s_j,    J_ij ~ N(0, 1 / n),    energy per spin u = H / n.

The transition is at temperature 1 (Boltzmann's constant is 1).
Ground states tend to -0.763166 per spin; above the transition the energy tends to -1 / (2 T).

In equilibrium, and only there, energy and overlap q of two independent replicas satisfy

    E<u> = -(1 - E<q^2>) / (2 T)

at every n: integration by parts gives ``E J_ij <s_i s_j> = (1 - E <s_i s_j>^2) / (n T)``, and over the
n (n - 1) / 2 pairs the squares add up to ``(n^2 <q^2> - n) / 2``, whose n cancels that of the pairs.

`temper` samples by parallel tempering, `thermal` and `ground_states` go through all configurations.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from spinscape.glasses._arguments import whole
from spinscape.glasses._draws import BONDS, generator
from spinscape.glasses._sk_checks import check_fits, checked_couplings, checked_size, checked_spins
from spinscape.glasses._sk_equilibrium import Equilibrium, IdentityGap, equilibrium, identity_gap
from spinscape.glasses._sk_exact import GroundStates, Thermal, ground_states, thermal
from spinscape.glasses._sk_kept import Independence, independence, oriented
from spinscape.glasses._sk_tempering import Tempering, ladder, temper

__all__ = [
    "Equilibrium", "GroundStates", "IdentityGap", "Independence", "Tempering", "Thermal", "energies",
    "equilibrium", "ground_states", "identity_gap", "independence", "ladder", "oriented", "overlaps",
    "sample_couplings", "temper", "thermal",
]  # fmt: skip

Floats = NDArray[np.float64]


def sample_couplings(n: int, instances: int, *, seed: int = 0) -> Floats:
    """Draw couplings of independent instances.

    Instance i depends on the seed, n and i only.

    Parameters
    ----------
    n
        Number of spins, at least 2.
    instances
        Number of instances I.
    seed
        Seed of the couplings.

    Returns
    -------
    ndarray
        Symmetric, zero on the diagonal, variance 1 / n elsewhere; float64 (I, n, n).

    Raises
    ------
    ValueError
        If a number is no whole number or too small, or the couplings do not fit in memory.
    """
    n, instances = checked_size(n), whole(instances, "instances", 1)
    check_fits(n, instances, 8.0 * n**2, "couplings", torch.device("cpu"))
    upper = np.triu_indices(n, 1)
    j = np.zeros((instances, n, n))
    for i, one in enumerate(j):
        one[upper] = generator(seed, BONDS, n, i).standard_normal(len(upper[0])) / np.sqrt(n)
        one += one.T
    return j


def energies(couplings: ArrayLike, spins: ArrayLike) -> Floats:
    """Return energies per spin.

    Parameters
    ----------
    couplings
        (I, n, n).
    spins
        +1 or -1, (I, ..., n).

    Returns
    -------
    ndarray
        (I, ...).

    Raises
    ------
    ValueError
        If couplings are not symmetric with zeros on the diagonal, spins are not +1 or -1, or shapes differ.
    """
    j, s = checked_couplings(couplings), checked_spins(spins, 2)
    n = j.shape[1]
    if s.shape[0] != len(j) or s.shape[-1] != n:
        raise ValueError(f"spins must have shape ({len(j)}, ..., {n}), not {s.shape}")
    rows = s.reshape(len(j), -1, n).astype(float)
    return (-((rows @ j) * rows).sum(-1) / (2 * n)).reshape(s.shape[:-1])


def overlaps(spins: ArrayLike) -> Floats:
    """Return overlaps of all pairs of states, ``q = s.s' / n``.

    ``Pairs.from_overlaps`` takes what this returns for one instance, ``Pairs.from_vectors`` its spins.

    Parameters
    ----------
    spins
        +1 or -1, (..., K, n).

    Returns
    -------
    ndarray
        (..., K, K), ones on the diagonal.

    Raises
    ------
    ValueError
        If a spin is neither +1 nor -1.
    """
    s = checked_spins(spins, 2).astype(float)
    return s @ s.swapaxes(-1, -2) / s.shape[-1]
