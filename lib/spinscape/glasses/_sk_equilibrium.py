"""Whether parallel tempering of the Sherrington-Kirkpatrick model has reached equilibrium."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spinscape.glasses._sk_exact import Thermal
from spinscape.glasses._sk_tempering import Tempering
from spinscape.statistics import nonzero

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class IdentityGap:
    """``u + (1 - q^2) / (2 T)``, zero in the mean over instances in equilibrium.

    Attributes
    ----------
    temperatures
        (T,).
    gap
        By instance, (I, T).
    mean, error
        Mean over instances and its standard error, (T,); the error is NaN for one instance.
    sharp
        The gap with the part taken off that an instance's own strength of couplings explains, (I, T).
    sharp_mean, sharp_error
        Likewise, (T,): the same mean over all instances, with a smaller error.
    """

    temperatures: Floats
    gap: Floats
    mean: Floats
    error: Floats
    sharp: Floats
    sharp_mean: Floats
    sharp_error: Floats


@dataclass(frozen=True)
class Equilibrium:
    """What must vanish in equilibrium, with instances as independent seeds.

    Attributes
    ----------
    identity
        The identity of energy and overlap.
    energy_drift, q2_drift
        Second minus first half of the measured sweeps, (I, T).
    identity_p, energy_p, q2_p
        P values that the means over instances are zero, after Holm's correction over temperatures, (T,); that
        of the identity with the sharp gap. NaN for one instance.
    stages
        Ends of stages of the run in sweeps from the start, (L + 1,).
    gap_stages, gap_stages_error
        Mean over instances of the sharp gap by stage, and its standard error, (T, L): it starts away from
        zero and settles there.
    autocorrelation
        Integrated autocorrelation time of q^2 in sweeps, at least 1/2, (I, T).
    round_trips
        (I, R).
    """

    identity: IdentityGap
    energy_drift: Floats
    q2_drift: Floats
    identity_p: Floats
    energy_p: Floats
    q2_p: Floats
    stages: NDArray[np.int64]
    gap_stages: Floats
    gap_stages_error: Floats
    autocorrelation: Floats
    round_trips: NDArray[np.int64]


def identity_gap(result: Tempering | Thermal, *, strength: Floats | None = None) -> IdentityGap:
    """Measure by how much the identity of energy and overlap fails.

    ``E[u + (1 - q^2) / (2 T)] = 0`` at every n.
    Multiplying all couplings of an instance by ``1 + e`` changes the gap by ``2 e E<u>`` to first order, so
    ``E<u>`` (of the other instances) times ``strength - 1`` is taken off in the sharp gap.

    Parameters
    ----------
    result
        From `temper`, or from `thermal`.
    strength
        ``(2 / (n - 1)) sum_{i<j} J_ij^2``, (I,); `temper` tells it. Without it the sharp gap is the gap.
    """
    if strength is None:
        strength = getattr(result, "strength", np.ones(len(result.energy)))
    return _gap(result.temperatures, result.energy, result.q2, np.asarray(strength, float))


def equilibrium(result: Tempering) -> Equilibrium:
    """Put together what shows equilibrium."""
    identity = identity_gap(result)
    energy_drift, q2_drift = (_drift(x) for x in (result.energy_bins, result.q2_bins))
    stages = [
        _gap(result.temperatures, result.energy_stages[..., k], result.q2_stages[..., k], result.strength)
        for k in range(len(result.stages) - 1)
    ]
    return Equilibrium(
        identity, energy_drift, q2_drift, nonzero(identity.sharp), nonzero(energy_drift), nonzero(q2_drift),
        result.stages, np.stack([s.sharp_mean for s in stages], -1),
        np.stack([s.sharp_error for s in stages], -1), autocorrelation(result), result.round_trips,
    )  # fmt: skip


def autocorrelation(result: Tempering) -> Floats:
    """Estimate the integrated autocorrelation time of q^2 in sweeps, at least 1/2, (I, T).

    From the variance of means over bins; with B bins its relative error is about ``sqrt(2 / B)``, and times
    longer than a bin are seen too small.
    """
    fourth = (result.distribution * result.support**4).sum(-1)
    variance = fourth - result.q2**2
    length = result.sweeps / result.q2_bins.shape[-1]
    with np.errstate(invalid="ignore", divide="ignore"):
        times = result.q2_bins.var(-1, ddof=1) * length / (2 * variance)
    return np.where(variance > 0, times, 0.5).clip(0.5)


def _gap(t: Floats, energy: Floats, q2: Floats, strength: Floats) -> IdentityGap:
    gap = energy + (1 - q2) / (2 * t)
    many = len(gap)
    if many > 1:
        others = (energy.sum(0) - energy) / (many - 1)
        sharp = gap - others * (strength - 1)[:, None]
    else:
        sharp = gap
    return IdentityGap(t, gap, gap.mean(0), _error(gap), sharp, sharp.mean(0), _error(sharp))


def _error(rows: Floats) -> Floats:
    if len(rows) < 2:
        return np.full(rows.shape[1:], np.nan)
    return rows.std(0, ddof=1) / np.sqrt(len(rows))


def _drift(bins: Floats) -> Floats:
    half = bins.shape[-1] // 2
    return bins[..., half:].mean(-1) - bins[..., :half].mean(-1)
