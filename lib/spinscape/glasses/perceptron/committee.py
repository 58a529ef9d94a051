"""Jamming of a small committee machine that learns random associations."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf

from spinscape.glasses._arguments import whole
from spinscape.glasses._draws import COMPRESSIONS, INPUTS, generator
from spinscape.glasses.perceptron._compression import Machine
from spinscape.glasses.perceptron._descent import on_sphere
from spinscape.glasses.perceptron.jamming import Jamming, compress_all

Floats = NDArray[np.float64]

KINDS = ("full", "tree")


def jam_committee(
    instances: int,
    n: int,
    alpha: float,
    *,
    units: int = 3,
    kind: str = "full",
    gain: float = 1.0,
    overlap: float = 1e-8,
    seed: int = 0,
) -> Jamming:
    """Compress soft committee machines to jamming and count the contacts per degree of freedom.

    The output is ``f(w; xi) = K^{-1/2} sum_k erf(gain xi^k . w_k / sqrt(2 M))``, every unit on its own sphere
    ``|w_k|^2 = M``, and the constraints are ``f >= kappa``.
    A random label changes the sign of an odd function of a symmetric input, so labels are left out.
    In the full machine all units see the same M = n inputs; in the tree each sees M = n / K of its own.

    Parameters
    ----------
    instances, n
        Numbers of instances and of inputs.
    alpha
        Patterns per weight: P = round(alpha K M).
    units
        Number K of hidden units.
    kind
        ``"full"`` or ``"tree"``.
    gain
        Scale of the fields that enter the units.
    overlap
        Root mean square overlap per contact at which to stop.
    seed
        Seed of inputs and first weights.

    Raises
    ------
    ValueError
        If the kind is unknown, a tree's units do not divide n, alpha leaves no pattern, or the gain is not
        positive.
    """
    instances, n, units = whole(instances, "instances", 1), whole(n, "n", 2), whole(units, "units", 1)
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {KINDS}, not {kind!r}")
    if kind == "tree" and (n % units or n // units < 2):
        raise ValueError(f"a tree of {units} units needs n to be {units} times at least 2, not {n}")
    if not (math.isfinite(gain) and gain > 0):
        raise ValueError(f"gain must be a positive number, not {gain!r}")
    m = n if kind == "full" else n // units
    if not math.isfinite(alpha) or round(alpha * units * m) < 1:
        raise ValueError(f"alpha = {alpha!r} leaves no pattern for {units * m} weights")
    count = round(alpha * units * m)
    machines = [
        Machine(_inputs(kind, units, count, m, seed, i), lambda h: _erf_unit(gain * h, gain))
        for i in range(instances)
    ]
    first = np.stack(
        [generator(seed, COMPRESSIONS, n, i).standard_normal((units, m)) for i in range(instances)]
    )
    return compress_all(machines, on_sphere(first), overlap)


def _inputs(kind: str, units: int, count: int, m: int, seed: int, instance: int) -> NDArray[np.float64]:
    """Return what each unit sees, (K, P, M)."""
    draws = generator(seed, INPUTS, m, instance)
    if kind == "full":
        return np.broadcast_to(draws.standard_normal((count, m)), (units, count, m))
    return np.ascontiguousarray(draws.standard_normal((count, units, m)).transpose(1, 0, 2))


def _erf_unit(x: Floats, gain: float) -> tuple[Floats, Floats, Floats]:
    """Return ``erf(x / sqrt(2))`` with its derivatives in h, x = gain h."""
    slope = math.sqrt(2 / math.pi) * np.exp(-(x**2) / 2)
    return erf(x / math.sqrt(2)), gain * slope, -(gain**2) * x * slope
