"""Compression of a constraint problem on a product of spheres to its jamming point, in float64.

With values ``f_mu(w)`` and overlaps ``r_mu = max(0, kappa - f_mu)`` the energy is ``U = sum_mu r_mu^2 / 2``.
It is minimised by Newton's method with a shift (Levenberg-Marquardt), with the curvature of the spheres and
of f.
At a minimum ``dU / dkappa = sum r``, so to first order the root of U vanishes at
``kappa - sum r^2 / sum r``.
Each round goes most of the way there, until the root mean square overlap is of the wanted size.
Where U vanishes on the way, because the minimum has opened into solutions, kappa is raised again from there.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve

Floats = NDArray[np.float64]

KEPT = 0.1
"""Share of the distance to the jamming point that a round leaves."""

OPENED = 1e-3
"""Overlaps that shrink by this in one round: the minimum has opened into solutions."""

RAISE = 0.05
"""First step of kappa upwards."""

ROUNDS = 200
"""Most values of kappa."""

ITERATIONS = 2000
"""Most trial steps of a minimisation."""

GROWTH = 3.0
"""How much the shift grows after a trial step that fails."""

FLAT, STILL = 1e-12, 1e-9
"""A minimum: the gradient over the root of 2 U, or the gain of a Newton step over U."""

ROUNDING, NOISE, LOST = 1e-14, 1e-6, 8
"""Change of U over the root of 2 U that rounding may cause, gain over U that it may hide, and how often."""

EMPTY = 1e-25
"""Values of U that count as none."""


@dataclass(frozen=True)
class Machine:
    """Constraints ``f_mu = K^{-1/2} sum_k s(xi_mu^k . w_k / sqrt(M))``, K units on spheres ``|w_k|^2 = M``.

    Attributes
    ----------
    inputs
        What each unit sees, shape (K, P, M).
    unit
        The units' function with its first and second derivative.
    """

    inputs: Floats
    unit: Callable[[Floats], tuple[Floats, Floats, Floats]]

    @staticmethod
    def perceptron(xi: Floats) -> Machine:
        """Return the machine of one linear unit; patterns (P, N)."""
        return Machine(xi[None], lambda h: (h, np.ones_like(h), np.zeros_like(h)))

    def fields(self, w: Floats) -> Floats:
        """Return what enters the units, (K, P), at weights (K, M)."""
        return (self.inputs @ w[:, :, None])[:, :, 0] / math.sqrt(w.shape[1])

    def values(self, w: Floats) -> Floats:
        """Return f, shape (P,)."""
        return self.unit(self.fields(w))[0].sum(0) / math.sqrt(len(w))


@dataclass(frozen=True)
class Compressed:
    """One compression.

    Attributes
    ----------
    points
        Weights at the jamming point, slightly beyond it, (K, M).
    best
        The weights seen with the largest of all smallest values, (K, M).
    margin, reached
        Margin of the jamming point, by extrapolation, and the smallest value at `best`.
    contacts
        Which constraints are in contact, (P,).
    kappa, energy, touching
        Margin, U and contacts round by round, (T,) each.
    finished
        Whether the wanted overlap was reached, in a minimum.
    """

    points: Floats
    best: Floats
    margin: float
    reached: float
    contacts: NDArray[np.bool_]
    kappa: Floats
    energy: Floats
    touching: NDArray[np.int64]
    finished: bool


def compress(
    machine: Machine, start: Floats, *, overlap: float = 1e-8, kappa: float | None = None
) -> Compressed:
    """Follow the minimum of U from too large a margin to the one where it vanishes.

    Parameters
    ----------
    machine
        The constraints.
    start
        First weights (K, M), on their spheres.
    overlap
        Root mean square overlap, per contact, at which to stop.
    kappa
        First margin; without one, slightly above the smallest value at the start.
    """
    w, best = start.copy(), start
    reached = float(machine.values(start).min())
    kappa = reached + RAISE if kappa is None else kappa
    seen: list[tuple[float, float, int]] = []
    scale, lift, finished, margin = 0.0, RAISE, False, reached
    touching = np.zeros(machine.inputs.shape[1], bool)
    for _ in range(ROUNDS):
        w, still = minimise(machine, w, kappa)
        values = machine.values(w)
        r = np.maximum(kappa - values, 0)
        if values.min() > reached:
            reached, best = float(values.min()), w
        found = math.sqrt(r @ r / max(1, np.count_nonzero(r)))
        if found <= OPENED * max(scale, overlap):
            kappa, lift = kappa + lift, 2 * lift
            continue
        touching, scale, lift = r > 0, found, found / 2
        seen.append((kappa, float(r @ r) / 2, int(touching.sum())))
        left = float(r @ r / r.sum())
        margin = kappa - left
        if scale <= overlap:
            finished = still
            break
        kappa -= (1 - KEPT) * left
    path = list(zip(*seen, strict=True)) or [(), (), ()]
    return Compressed(
        w, best, margin, reached, touching,
        np.array(path[0], float), np.array(path[1], float), np.array(path[2], np.int64), finished,
    )  # fmt: skip


def minimise(machine: Machine, w: Floats, kappa: float) -> tuple[Floats, bool]:
    """Return weights at a minimum of U for this margin, downhill from `w`, and whether it was reached."""
    energy, gradient, hessian, bend = _expand(machine, w, kappa)
    shift, rejected, lost = 0.0, False, 0
    diagonal = np.arange(w.size)
    for _ in range(ITERATIONS):
        if energy <= EMPTY or np.linalg.norm(gradient) <= FLAT * math.sqrt(2 * energy):
            return w, True
        shifted = hessian.copy()
        shifted[diagonal, diagonal] += shift
        try:
            factor = cho_factor(shifted, lower=True, overwrite_a=True, check_finite=False)
        except LinAlgError:
            shift, rejected = max(GROWTH * shift, bend), True
            continue
        step = cho_solve(factor, gradient.ravel(), check_finite=False).reshape(w.shape)
        gain = float((gradient * step).sum()) / (2 * energy)
        trial = _retract(w - step)
        r = np.maximum(kappa - machine.values(trial), 0)
        there = float(r @ r) / 2
        if not there < energy:
            if there - energy <= ROUNDING * math.sqrt(2 * energy):
                # With a small shift the step is the whole way to the minimum; a large one made it short.
                if (shift <= bend and gain <= NOISE) or lost == LOST:
                    return w, lost < LOST
                shift, rejected, lost = 0.0, False, lost + 1
                continue
            shift, rejected = max(GROWTH * shift, bend), True
            continue
        w = trial
        if shift == 0 and gain <= STILL:
            return w, True
        if not rejected:
            shift = shift / GROWTH**2 if shift > bend / 100 else 0.0
        rejected = False
        energy, gradient, hessian, bend = _expand(machine, w, kappa)
    return w, False


def _expand(machine: Machine, w: Floats, kappa: float) -> tuple[float, Floats, Floats, float]:
    """Return U, its gradient (K, M), its Hessian (K M, K M), and how much of that the spheres add.

    Both are those on the spheres; the Hessian is 1 along the normals.
    The last number is the largest curvature, without sign, that is due to the spheres.
    """
    units, m = w.shape
    value, slope, bend = machine.unit(machine.fields(w))
    r = kappa - value.sum(0) / math.sqrt(units)
    active = r > 0
    r = r[active]
    x = machine.inputs[:, active] / math.sqrt(m * units)
    euclidean = -np.einsum("p,kp,kpm->km", r, slope[:, active], x)
    radial = (w * euclidean).sum(1) / m
    gradient = euclidean - radial[:, None] * w
    x = x - (x @ w[:, :, None]) * w[:, None] / m
    jacobian = (slope[:, active, None] * x).transpose(1, 0, 2).reshape(len(r), units * m)
    hessian = jacobian.T @ jacobian
    for k in range(units):
        part = slice(k * m, (k + 1) * m)
        normal = np.outer(w[k], w[k]) / m
        hessian[part, part] += (1 + radial[k]) * normal
        hessian[np.arange(part.start, part.stop), np.arange(part.start, part.stop)] -= radial[k]
        if bend[k].any():
            hessian[part, part] -= math.sqrt(units) * (x[k].T * (r * bend[k, active])) @ x[k]
    return float(r @ r) / 2, gradient, hessian, float(abs(radial).max())


def _retract(w: Floats) -> Floats:
    """Return the weights, each unit on its sphere."""
    return w * (math.sqrt(w.shape[1]) / np.linalg.norm(w, axis=1, keepdims=True))
