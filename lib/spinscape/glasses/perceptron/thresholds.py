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

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from spinscape.glasses.perceptron._quadrature import find_root
from spinscape.glasses.perceptron.limits import capacity, contacts, densities, largest_margin, margins
from spinscape.glasses.perceptron.replica_symmetric import (
    Overlap,
    almeida_thouless,
    check_valid,
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
    """Where the largest margin no longer satisfies the condition of the star.

    Attributes
    ----------
    alpha
        Patterns per weight.
    margin
        The largest margin there.
    overlap
        Overlap of the last solution with typical ones.
    stability_core, stability_typical
        Of the last solution (``contacts(margin)``) and of typical solutions; stable below 1.
    stable
        Whether replica symmetry is stable at both: if not, the number is no prediction.
    stable_below
        The alpha up to which replica symmetry is stable at `star_threshold` and at typical solutions.
    """

    alpha: float
    margin: float
    overlap: float
    stability_core: float
    stability_typical: float
    stable: bool
    stable_below: float


def star_threshold(alpha: ArrayLike, kappa_energy: ArrayLike, *, unstable: bool = False) -> Threshold:
    """Return the smallest margin whose solutions see typical ones of margin kappa_energy without a barrier.

    It is looked for from kappa_energy upwards in 16 intervals up to the largest margin.

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

        k = _smallest_root(excess, level, _almost_largest(load))
        if k is not None:
            out[(0, *i)], out[(1, *i)] = k, mutual_overlap(load, k, level, unstable=True)
            out[(2, *i)] = max(float(stability(load, k)), float(stability(load, level)))
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

        k = _smallest_root(excess, level, _almost_largest(load))
        if k is not None:
            out[(0, *i)], out[(1, *i)], out[(2, *i)] = k, saddle(load, k).q, stability(load, k)
    return Threshold(out[0], out[1], out[2], out[2] < 1)


def core_vanishes(kappa_energy: float) -> Vanishing:
    """Return the alpha above which the solution of largest margin sees typical ones across a barrier.

    The largest margin is negative there, so the last solution has more contacts than degrees of freedom in
    this theory: replica symmetry is broken in the core, whatever `kappa_energy`.
    There the overlap falls as the margin grows, and the condition can fail at the largest margin and hold at
    smaller ones.
    What the theory predicts ends at `stable_below`.

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

    def broken(alpha: Floats) -> Floats:
        found = star_threshold(alpha, level, unstable=True).stability
        return np.where(np.isnan(found), 1.0, found - 1)

    line = float(almeida_thouless(level))
    until = float(
        find_root(broken, np.asarray(min(0.5, line / 9)), np.asarray(line * (1 + 1e-9)), tolerance=1e-7)
    )
    return Vanishing(load, k, overlap(k), core, typical, core < 1 and typical < 1, until)


def _levels(alpha: ArrayLike, kappa_energy: ArrayLike, unstable: bool) -> tuple[Floats, Floats]:
    loads, levels = np.broadcast_arrays(densities(alpha), margins(kappa_energy))
    if np.any(levels >= 0):
        raise ValueError(f"the margin of the energy must be negative, not {levels.max():.6g}")
    check_valid(loads, levels, unstable=unstable)
    return loads, levels


def _one(alpha: float, kappa: float) -> Overlap:
    return saddle(np.asarray(alpha), np.asarray(kappa))


def _smallest_root(function: Callable[[Floats], Floats], low: float, high: float) -> float | None:
    """Return the smallest root above low, where the function is negative; None if it stays negative."""
    ends = np.linspace(low, high, 17)
    for a, b in pairwise(ends):
        if function(np.asarray(b)) > 0:
            return float(find_root(function, np.asarray(a), np.asarray(b), tolerance=1e-12))
    return None


def _almost_largest(alpha: float) -> float:
    """Return the margin whose capacity is alpha but for one part in 1e10."""
    return float(largest_margin(alpha * (1 + 1e-10)))
