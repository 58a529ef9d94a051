"""States kept by parallel tempering: how independent they are, and which way up."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spinscape.glasses._sk_checks import checked_spins
from spinscape.glasses._sk_equilibrium import autocorrelation
from spinscape.glasses._sk_tempering import Tempering
from spinscape.statistics import nonzero

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Independence:
    """How independent kept states are.

    Attributes
    ----------
    kept
        Temperatures, (T',).
    spacing
        Sweeps between states of one replica.
    within
        Mean q^2 of a state and the next one of the same replica, (I, T'); NaN with one state of each.
    between
        Mean q^2 of states of different replicas, (I, T').
    difference_p
        P values that the two are equal in the mean over instances, after Holm's correction, (T',).
    autocorrelation
        Integrated autocorrelation time of q^2 between replicas in sweeps, (I, T'); states forget themselves
        more slowly than that.
    memory
        Share of q^2 = 1 that a state keeps of the one before, ``(within - between) / (1 - between)`` of the
        means over instances, at least 0, (T',); NaN with one state of each replica.
    effective
        ``K (1 - memory) / (1 + memory)``: how many independent states the K are worth, (T',).
    walkers
        Number of different walkers, of all replicas, among the states, (I, T').
    """

    kept: Floats
    spacing: float
    within: Floats
    between: Floats
    difference_p: Floats
    autocorrelation: Floats
    memory: Floats
    effective: Floats
    walkers: NDArray[np.int64]


def independence(result: Tempering) -> Independence:
    """Compare kept states of the same replica with those of different replicas.

    Raises
    ------
    ValueError
        If no states were kept.
    """
    if not result.spins.size:
        raise ValueError("no states were kept: name temperatures in keep")
    spins = result.spins.astype(float)
    q2 = (spins @ spins.swapaxes(-1, -2) / result.n) ** 2
    first, second = np.triu_indices(len(result.replica), 1)
    apart = result.replica[first] != result.replica[second]
    following = ~apart & (second - first == result.replicas)
    between, within = (
        q2[..., first[chosen], second[chosen]].mean(-1) if chosen.any() else np.full(q2.shape[:2], np.nan)
        for chosen in (apart, following)
    )
    moments = -(-len(result.replica) // result.replicas)
    spacing = result.sweeps / moments
    levels = np.searchsorted(result.temperatures, result.kept)
    times = autocorrelation(result)[:, levels]
    # At the lowest temperatures of small systems all states can be one, up to their sign.
    memory = ((within - between).mean(0) / np.maximum(1 - between.mean(0), 1e-12)).clip(0, 1)
    names = result.walker * result.replicas + result.replica
    walkers = np.array([[len(np.unique(row)) for row in one] for one in names])
    return Independence(
        result.kept, spacing, within, between, nonzero(within - between), times,
        memory, len(result.replica) * (1 - memory) / (1 + memory), walkers,
    )  # fmt: skip


def oriented(spins: ArrayLike) -> NDArray[np.int8]:
    """Turn states over so that they point along the leading direction of their overlaps.

    Without a field a state and its reverse are equally likely, so overlaps come with both signs, which says
    nothing about the states.

    Parameters
    ----------
    spins
        +1 or -1, (..., K, n).

    Returns
    -------
    ndarray
        The states, each as it was or reversed, int8 (..., K, n).
    """
    s = checked_spins(spins, 2)
    rows = s.astype(float)
    leading = np.linalg.eigh(rows @ rows.swapaxes(-1, -2))[1][..., -1]
    return (s * np.where(leading < 0, -1, 1)[..., None]).astype(np.int8)
