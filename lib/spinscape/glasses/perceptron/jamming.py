"""Jamming of the perceptron: contacts per degree of freedom at the largest margin that a compression reaches.

The constraints are ``h_mu = xi_mu . w / sqrt(N) >= kappa`` on the sphere ``|w|^2 = N``, of N - 1 dimensions.
A maximum of the smallest h at a margin below zero needs at least N constraints in contact, since a smaller
number leaves directions in which the sphere curves away from them all; a generic one has no more than N, the
number of unknowns with the margin itself: it is isostatic.
Above zero the curvature holds the point, and fewer contacts suffice.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spinscape.glasses._draws import COMPRESSIONS
from spinscape.glasses.perceptron._compression import Compressed, Machine, compress
from spinscape.glasses.perceptron._descent import random_points
from spinscape.glasses.perceptron.geodesics import check_points
from spinscape.glasses.perceptron.patterns import Patterns
from spinscape.progress import track

Floats = NDArray[np.float64]

ABOVE = 1.0
"""First margin of a compression; it is raised where solutions are found there."""


@dataclass(frozen=True)
class Jamming:
    """Jamming points of I instances, one each.

    Attributes
    ----------
    margin
        Margin at jamming, shape (I,).
    contacts
        Constraints in contact, shape (I,).
    freedom
        Degrees of freedom: dimensions of the spheres.
    z
        Contacts per degree of freedom, shape (I,).
    energy
        U per weight at the last margin, shape (I,); U = half the sum of squared overlaps.
    finished
        Whether the overlaps became as small as asked, in a minimum of U; shape (I,).
        Leave the others out: their contacts are not those of a jamming point.
    path_margin, path_energy, path_z
        Margin, U per weight and contacts per degree of freedom on the way; shape (I, T), NaN after the end.
    points
        Weights at jamming, shape (I, K, M): K units of M weights; one unit for the perceptron.
    """

    margin: Floats
    contacts: NDArray[np.int64]
    freedom: int
    z: Floats
    energy: Floats
    finished: NDArray[np.bool_]
    path_margin: Floats
    path_energy: Floats
    path_z: Floats
    points: Floats


def jam(
    patterns: Patterns,
    *,
    start: Floats | None = None,
    above: float = ABOVE,
    overlap: float = 1e-8,
    seed: int = 0,
) -> Jamming:
    """Compress every instance from a margin beyond its largest one to where the energy vanishes.

    Parameters
    ----------
    patterns
        Patterns of I instances.
    start
        First points (I, 1, N); uniform ones unless given.
    above
        First margin.
        At a positive one with enough patterns U has one minimum, which the compression then follows whatever
        the start; from a first margin close to the last one the starts jam in different places.
    overlap
        Root mean square overlap per contact at which to stop; U / N is about half its square.
    seed
        Seed of the first points.

    Raises
    ------
    ValueError
        If the overlap is not positive, or below what float64 resolves (1e-10).
    """
    instances, _, n = patterns.xi.shape
    if start is None:
        first = random_points(instances, 1, n, seed, COMPRESSIONS)
    else:
        first = check_points(patterns, start, "start")[:, :1]
    machines = [Machine.perceptron(xi) for xi in patterns.xi]
    return compress_all(machines, first, overlap, above)


def compress_all(machines: list[Machine], first: Floats, overlap: float, above: float = ABOVE) -> Jamming:
    """Compress machines of one shape from first weights (I, K, M)."""
    if not 1e-10 <= overlap < 1:
        raise ValueError(f"overlap must lie from 1e-10, what float64 resolves, to below 1, not {overlap!r}")
    if not np.isfinite(above):
        raise ValueError(f"the first margin must be finite, not {above!r}")
    found = [
        compress(machine, w, overlap=overlap, kappa=above)
        for machine, w in track(list(zip(machines, first, strict=True)), "compression")
    ]
    units, m = first.shape[1:]
    freedom = units * (m - 1)
    contacts = np.array([f.contacts.sum() for f in found])
    return Jamming(
        margin=np.array([f.margin for f in found]),
        contacts=contacts,
        freedom=freedom,
        z=contacts / freedom,
        energy=np.array([f.energy[-1] if f.energy.size else 0.0 for f in found]) / (units * m),
        finished=np.array([f.finished for f in found]),
        path_margin=_table(found, "kappa"),
        path_energy=_table(found, "energy") / (units * m),
        path_z=_table(found, "touching") / freedom,
        points=np.stack([f.points for f in found]),
    )


def _table(found: list[Compressed], name: str) -> Floats:
    """Return what compressions saw on the way, (I, T), NaN after the end of the shorter ones."""
    table = np.full((len(found), max(len(f.kappa) for f in found)), np.nan)
    for row, f in zip(table, found, strict=True):
        seen = getattr(f, name)
        row[: len(seen)] = seen
    return table
