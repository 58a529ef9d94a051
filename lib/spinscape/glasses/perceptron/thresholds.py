"""Where geodesics between typical solutions are free of barriers: exact conditions in the limit.

Take a solution of margin kappa_1 and one of margin kappa_E < 0 with mutual overlap p, and energies at
kappa_E.
The smallest stability of ``gamma w_1 + (1 - gamma) w_E`` on the sphere is
``(gamma kappa_1 + (1 - gamma) kappa_E) / c``, reached as stabilities near both margins are met together, so
the energy vanishes iff

    f(gamma) = gamma kappa_1 + (1 - gamma) kappa_E - kappa_E c(gamma) >= 0,
    c(gamma)^2 = gamma^2 + (1 - gamma)^2 + 2 gamma (1 - gamma) p.

c is a norm along a line and so convex; with -kappa_E > 0, f is convex, and f(0) = 0.
It is therefore non-negative on [0, 1] iff its slope at 0 is: c'(0) = p - 1, and

    kappa_1 - kappa_E - kappa_E (p - 1) >= 0, that is kappa_1 >= p kappa_E.

For two solutions of one margin kappa_1, ``f = kappa_1 - kappa_E c``; c is smallest at 1/2, and the condition
is ``kappa_1 >= kappa_E sqrt((1 + q) / 2)``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from spinscape.glasses.perceptron._quadrature import find_root
from spinscape.glasses.perceptron.replica_symmetric import (
    Overlap,
    capacity,
    check_valid,
    contacts,
    densities,
    largest_margin,
    margins,
    saddle,
    stability,
)
from spinscape.glasses.perceptron.two_groups import mutual, mutual_overlap

Floats = NDArray[np.float64]

_SINGLE = 30.0
"""Logit of the overlap, 1 to 1e-13, that stands for the last solution at the capacity."""


@dataclass(frozen=True)
class Threshold:
    """Smallest margin from which geodesics are free of barriers.

    Attributes
    ----------
    margin
        Shape (...), NaN where no margin up to the largest one suffices.
    overlap
        Overlap of the two solutions there, same shape.
    stability
        The larger of the stabilities of the groups; replica symmetry is stable below 1.
    stable
        Whether it is; false where the margin is NaN.
    """

    margin: Floats
    overlap: Floats
    stability: Floats
    stable: NDArray[np.bool_]


@dataclass(frozen=True)
class Vanishing:
    """Where the core of the star vanishes: the star threshold meets the largest margin.

    Attributes
    ----------
    alpha
        Patterns per weight.
    margin
        The threshold, and largest margin, there.
    overlap
        Overlap of the last solution with typical ones.
    stability_core, stability_typical
        Of the last solution (``contacts(margin)``) and of typical solutions; stable below 1.
    stable
        Whether replica symmetry is stable at both: if not, the number is no prediction.
    """

    alpha: float
    margin: float
    overlap: float
    stability_core: float
    stability_typical: float
    stable: bool


def star_threshold(alpha: ArrayLike, kappa_energy: ArrayLike, *, unstable: bool = False) -> Threshold:
    """Return the smallest margin whose solutions see typical ones of margin kappa_energy without a barrier.

    Parameters
    ----------
    alpha, kappa_energy
        Patterns per weight, and the negative margin of the typical solutions and of the energy; they
        broadcast to shape (...).
    unstable
        Whether typical solutions above the de Almeida-Thouless line are allowed.

    Raises
    ------
    ValueError
        If kappa_energy is not negative, or typical solutions are outside the range of the theory.
    """
    loads, levels = _levels(alpha, kappa_energy, unstable)
    out = np.full((3, *loads.shape), np.nan)
    for i in np.ndindex(loads.shape):
        load, level = float(loads[i]), float(levels[i])
        typical = _one(load, level)

        def excess(k: Floats, load: float = load, level: float = level, typical: Overlap = typical) -> Floats:
            return np.asarray(k - mutual(load, (float(k), level), [_one(load, float(k)), typical]) * level)

        high = _almost_largest(load)
        if high > level and excess(np.asarray(high)) > 0:
            k = float(find_root(excess, np.asarray(level), np.asarray(high), tolerance=1e-12))
            out[0][i], out[1][i] = k, mutual_overlap(load, k, level, unstable=True)
            out[2][i] = max(float(stability(load, k)), float(stability(load, level)))
    return Threshold(out[0], out[1], out[2], out[2] < 1)


def convex_threshold(alpha: ArrayLike, kappa_energy: ArrayLike, *, unstable: bool = False) -> Threshold:
    """Return the smallest margin of which any two typical solutions are connected without a barrier.

    Arguments and errors as in `star_threshold`.
    """
    loads, levels = _levels(alpha, kappa_energy, unstable)
    out = np.full((3, *loads.shape), np.nan)
    for i in np.ndindex(loads.shape):
        load, level = float(loads[i]), float(levels[i])

        def excess(k: Floats, load: float = load, level: float = level) -> Floats:
            return k - level * np.sqrt((1 + saddle(load, k).q) / 2)

        high = _almost_largest(load)
        if high > level and excess(np.asarray(high)) > 0:
            k = find_root(excess, np.asarray(level), np.asarray(high))
            out[0][i], out[1][i], out[2][i] = k, saddle(load, k).q, stability(load, k)
    return Threshold(out[0], out[1], out[2], out[2] < 1)


def core_vanishes(kappa_energy: float) -> Vanishing:
    """Return the alpha above which even the largest margin is below the star threshold.

    The largest margin is negative there, so the last solution has more contacts than degrees of freedom in
    this theory: replica symmetry is broken in the core, whatever `kappa_energy`.

    Raises
    ------
    ValueError
        If kappa_energy is not negative.
    """
    level = float(margins(kappa_energy))
    if not level < 0:
        raise ValueError(f"the margin of the energy must be negative, not {level:.6g}")
    last = Overlap(expit(_SINGLE), expit(-_SINGLE))

    def overlap(k: float) -> float:
        load = float(capacity(k))
        return mutual(load, (k, level), [last, _one(load, level)])

    def excess(k: Floats) -> Floats:
        return np.asarray(k - overlap(float(k)) * level)

    k = float(find_root(excess, np.asarray(level * (1 - 1e-4)), np.asarray(0.0), tolerance=1e-11))
    load = float(capacity(k))
    core, typical = float(contacts(k)), float(stability(load, level))
    return Vanishing(load, k, overlap(k), core, typical, core < 1 and typical < 1)


def _levels(alpha: ArrayLike, kappa_energy: ArrayLike, unstable: bool) -> tuple[Floats, Floats]:
    loads, levels = np.broadcast_arrays(densities(alpha), margins(kappa_energy))
    if np.any(levels >= 0):
        raise ValueError(f"the margin of the energy must be negative, not {levels.max():.6g}")
    check_valid(loads, levels, unstable=unstable)
    return loads, levels


def _one(alpha: float, kappa: float) -> Overlap:
    return saddle(np.asarray(alpha), np.asarray(kappa))


def _almost_largest(alpha: float) -> float:
    """Return the margin whose capacity is alpha but for one part in 1e10."""
    return float(largest_margin(alpha * (1 + 1e-10)))
