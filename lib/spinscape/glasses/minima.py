"""How the minima of a glass are spread in energy, and how their curvature goes with it.

The independent seed is the instance; a minimum is not, so intervals resample whole instances.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spinscape import statistics
from spinscape.glasses.complexity import threshold_energy

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Tradeoff:
    """Depth of minima against their width, over many instances of one glass.

    Attributes
    ----------
    spread
        Standard deviation of the minima's energies in units of E_inf.
    slope
        Least-squares slope of the smallest Hessian eigenvalue, in units of the semicircle's radius
        ``2 sqrt(p (p - 1))``, on the energy in units of E_inf: narrow minima have a large eigenvalue.
        As `spread` NaN with fewer than two minima, or if all are of one energy.
    minima
        Mean number of minima of an instance.
    """

    spread: statistics.Estimate
    slope: statistics.Estimate
    minima: statistics.Estimate


def tradeoff(
    p: int,
    instance: NDArray[np.int64],
    energy: Floats,
    smallest: Floats,
    *,
    instances: int,
    seed: int = 0,
) -> Tradeoff:
    """Measure the spread of the minima's energies and the trade-off of their depth and width.

    Parameters
    ----------
    p
        Number of spins that a coupling couples.
    instance
        Which instance each minimum belongs to, shape (M,).
    energy
        Energy per spin of each minimum, shape (M,).
    smallest
        Smallest eigenvalue of the Riemannian Hessian there, shape (M,), positive.
    instances
        Number of instances I; those without a minimum in the list count as such.
    seed
        Seed of the bootstrap.

    Raises
    ------
    ValueError
        If lengths differ, a value is not finite or an instance is out of range.
    """
    if not len(instance) == len(energy) == len(smallest):
        raise ValueError("instance, energy and smallest must have one entry per minimum")
    if not (np.isfinite(energy).all() and np.isfinite(smallest).all()):
        raise ValueError("energies and smallest eigenvalues must be finite")
    if len(instance) and not 0 <= instance.min() <= instance.max() < instances:
        raise ValueError(f"instances are numbered 0 to {instances - 1}")
    depth = energy / threshold_energy(p)
    width = smallest / (2 * math.sqrt(p * (p - 1)))
    rows = [np.stack([depth[instance == i], width[instance == i]]) for i in range(instances)]
    return Tradeoff(
        statistics.resampled(_spread, rows, seed=seed),
        statistics.resampled(_slope, rows, seed=seed),
        statistics.mean([row.shape[1] for row in rows], seed=seed),
    )


def _spread(rows: Sequence[Floats]) -> float:
    depth = np.concatenate(rows, axis=1)[0]
    return float(np.std(depth, ddof=1)) if len(depth) > 1 else float("nan")


def _slope(rows: Sequence[Floats]) -> float:
    depth, width = np.concatenate(rows, axis=1)
    return float(np.polyfit(depth, width, 1)[0]) if len(set(depth.tolist())) > 1 else float("nan")
