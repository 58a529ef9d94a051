"""The replica identities behind the entropic algorithms, by quadrature in one dimension.

The slides (Pittorino 2023) derive replicated SGD in two steps.
With ``L_LE(w) = -log( integral dw' exp(-beta L(w') - beta gamma (w - w')^2 / 2) ) / beta``:

1. ``p(w) ~ exp(-beta y L_LE(w))`` is the marginal of w in a system of y + 1 replicas, one of them w, where y
   copies ``w^a`` have energy ``L(w^a) + gamma (w - w^a)^2 / 2``;
2. integrated over w, that system is ``exp(-beta L_R)`` for the copies, with
   ``L_R = sum_a L(w^a) + (gamma / 2) sum_a (w^a - mean w)^2``.

The system is summed on a grid, with all its y + 1 axes; the right-hand sides are computed without it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from math import inf, sqrt

import numpy as np
from numpy.typing import NDArray

from spinscape.landscape.symmetry.checks import at_least, check_memory

Floats = NDArray[np.float64]
Energy = Callable[[Floats], Floats]

STIFFNESS = 1.0
"""Of the quadratic energy ``w^2 / 2``."""

ENERGIES: dict[str, Energy] = {
    "quadratic": lambda w: STIFFNESS * w**2 / 2,
    "double well": lambda w: (w**2 - 1) ** 2 + 0.3 * w,
}
"""Energies by name. The double well is not symmetric: its two minima differ in depth."""

SMALLEST = 1e-6
"""Share of the largest density below which densities are not compared."""

EDGE = 45.0
"""What ``beta`` times the energy rises by from its minimum to the edges of the grid."""


@dataclass(frozen=True)
class ReplicaIdentity:
    """Both identities in numbers.

    Attributes
    ----------
    copies, beta, gamma
        y, the inverse temperature, the coupling.
    marginal
        Largest relative difference between the marginal of w in the system and ``exp(-beta y L_LE)``.
    replicas
        Likewise between the copies' joint density in the system and ``exp(-beta L_R)``.
    wrong_marginal, wrong_replicas
        The same with the coupling twice as strong on the right-hand sides: a check that sees it.
    system
        ``<w^2>``, ``<(w^a)^2>`` and ``<w^a w^b>`` in the system, ``(3,)``.
    measures
        The same from ``exp(-beta y L_LE)`` and ``exp(-beta L_R)``.
    closed
        The same in closed form; NaN if the energy is not the quadratic one.
    grid
        Positions w, ``(n,)``; those of the copies are closer together, as they spread less.
    density, entropic, wrong
        Marginal density of w on the grid: in the system, from L_LE, and with twice the coupling, ``(n,)``.
    """

    copies: int
    beta: float
    gamma: float
    marginal: float
    replicas: float
    wrong_marginal: float
    wrong_replicas: float
    system: Floats
    measures: Floats
    closed: Floats
    grid: Floats
    density: Floats
    entropic: Floats
    wrong: Floats


def replica_identity(
    energy: str | Energy = "double well",
    *,
    copies: int = 2,
    beta: float = 2.0,
    gamma: float = 1.0,
    points: int = 81,
) -> ReplicaIdentity:
    """Check both replica identities for one energy in one dimension.

    Parameters
    ----------
    energy
        ``"quadratic"``, ``"double well"``, or a function of positions that rises on both sides.
    copies
        y, at least 2.
    beta, gamma
        Positive.
    points
        Points of the grid on each of y + 1 axes. The trapezoid rule is exact to rounding once the spacing is
        below the narrowest width, about ``1 / sqrt(beta (L'' + gamma))``.

    Returns
    -------
    ReplicaIdentity

    Raises
    ------
    ValueError
        If a number is out of range, the energy is unknown, or it does not rise on both sides.
    MemoryError
        If the grid does not fit in memory.

    Examples
    --------
    >>> found = replica_identity("quadratic", copies=2)
    >>> found.marginal < 1e-9, found.replicas < 1e-9, found.wrong_replicas > 0.1
    (True, True, True)
    """
    copies, points = at_least("copies", copies, 2), at_least("points", points, 9)
    for name, number in (("beta", beta), ("gamma", gamma)):
        if not 0 < number < inf:
            raise ValueError(f"{name} must be positive and finite, not {number}")
    if isinstance(energy, str):
        if energy not in ENERGIES:
            raise ValueError(f"energy must be one of {sorted(ENERGIES)} or a function, not {energy!r}")
        quadratic, energy = energy == "quadratic", ENERGIES[energy]
    else:
        quadratic = False
    check_memory("points", points, 32.0, power=copies, what=f"for {copies} copies")
    low, high = _edges(energy, beta)
    inner = np.linspace(low, high, points)
    margin = 7 / sqrt(beta * gamma * copies)
    grid = np.linspace(low - margin, high + margin, points)
    marginal, joint = _system(energy(inner), inner, grid, copies, beta, gamma)
    entropic, wrong = (_entropic(energy, grid, copies, beta, g, low, high) for g in (gamma, 2 * gamma))
    replicated, doubled = (_replicated(energy(inner), inner, copies, beta, g) for g in (gamma, 2 * gamma))
    square = grid**2
    system = np.array([marginal @ square, *_moments(joint, inner)])
    return ReplicaIdentity(
        copies=copies,
        beta=float(beta),
        gamma=float(gamma),
        marginal=_difference(marginal, entropic),
        replicas=_difference(joint, replicated),
        wrong_marginal=_difference(marginal, wrong),
        wrong_replicas=_difference(joint, doubled),
        system=system,
        measures=np.array([entropic @ square, *_moments(replicated, inner)]),
        closed=_closed(copies, beta, gamma) if quadratic else np.full(3, np.nan),
        grid=grid,
        **{
            name: values / (grid[1] - grid[0])
            for name, values in (("density", marginal), ("entropic", entropic), ("wrong", wrong))
        },
    )


def _edges(energy: Energy, beta: float) -> tuple[float, float]:
    """Return where the energy has risen by ``EDGE / beta`` from its minimum, on both sides."""
    for reach in 2.0 ** np.arange(0, 16):
        w = np.linspace(-reach, reach, 20001)
        with np.errstate(over="ignore"):
            values = beta * energy(w)
        inside = np.flatnonzero(values < values.min() + EDGE)
        if inside[0] > 0 and inside[-1] < len(w) - 1:
            return float(w[inside[0] - 1]), float(w[inside[-1] + 1])
    raise ValueError("the energy must rise on both sides, or the measures cannot be normalised")


def _system(
    values: Floats, inner: Floats, grid: Floats, copies: int, beta: float, gamma: float
) -> tuple[Floats, Floats]:
    """Return the marginal of w and that of the copies, summed over the points of all y + 1 replicas."""
    pull = (grid[:, None] - inner) ** 2 / 2
    factors = np.exp(-beta * (values - values.min() + gamma * pull))
    marginal = np.empty(len(grid))
    joint = np.zeros((len(inner),) * copies)
    for i, row in enumerate(factors):
        slab = reduce(np.multiply.outer, [row] * copies)
        marginal[i] = slab.sum()
        joint += slab
    return marginal / marginal.sum(), joint / joint.sum()


def _entropic(
    energy: Energy, grid: Floats, copies: int, beta: float, gamma: float, low: float, high: float
) -> Floats:
    """Return ``exp(-beta y L_LE)`` on the grid, its integral by Gauss and Legendre's rule on finer points."""
    nodes, weights = np.polynomial.legendre.leggauss(400)
    inner = (low + high) / 2 + (high - low) / 2 * nodes
    values = energy(inner)
    exponent = -beta * (values - values.min() + gamma * (grid[:, None] - inner) ** 2 / 2)
    top = exponent.max(1)
    local = -(np.log(np.exp(exponent - top[:, None]) @ weights) + top) / beta
    density = np.exp(-beta * copies * (local - local.min()))
    return density / density.sum()


def _replicated(values: Floats, grid: Floats, copies: int, beta: float, gamma: float) -> Floats:
    """Return ``exp(-beta L_R)`` on the grid of the copies."""
    axes = np.meshgrid(*[grid] * copies, indexing="ij", sparse=True)
    energies = np.meshgrid(*[values] * copies, indexing="ij", sparse=True)
    centre = reduce(np.add, axes) / copies
    spread = reduce(np.add, [(w - centre) ** 2 for w in axes])
    total = reduce(np.add, energies) + gamma / 2 * spread
    density = np.exp(-beta * (total - total.min()))
    return density / density.sum()


def _moments(joint: Floats, grid: Floats) -> tuple[float, float]:
    """Return ``<(w^a)^2>`` and ``<w^a w^b>`` of the first two copies."""
    pair = joint.reshape(len(grid), len(grid), -1).sum(2)
    return float(pair.sum(1) @ grid**2), float(grid @ pair @ grid)


def _closed(copies: int, beta: float, gamma: float) -> Floats:
    """Return the moments for the quadratic energy: the copies' mean has stiffness k, the rest k + gamma."""
    mean, rest = 1 / (beta * STIFFNESS), 1 / (beta * (STIFFNESS + gamma))
    own, other = (mean + (copies - 1) * rest) / copies, (mean - rest) / copies
    return np.array([(mean + 1 / (beta * gamma)) / copies, own, other])


def _difference(found: Floats, expected: Floats) -> float:
    """Return the largest relative difference where a density is not negligible."""
    larger = np.maximum(found, expected)
    where = larger > SMALLEST * larger.max()
    return float((np.abs(found - expected)[where] / larger[where]).max())
