"""Counts of critical points of many small glasses of several sizes, beside the exact numbers.

Every count is of a certified list (`critical_points.find`); the independent seed is the instance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from spinscape import statistics
from spinscape.glasses._arguments import whole
from spinscape.glasses.complexity import mean_critical_points
from spinscape.glasses.critical_points import CriticalPoints, check_size, find
from spinscape.glasses.pspin import PSpin, check_fits

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

CENSUS = 201
"""Tag of the seeds of these instances."""


@dataclass(frozen=True)
class Census:
    """Critical points of I instances at each of S sizes of one order.

    Attributes
    ----------
    p
        Number of spins that a coupling couples.
    sizes
        Numbers of spins, (S,).
    formula
        Complex classes of a generic instance, (S,).
    complex_count
        Complex classes found, (S, I).
    complete
        Whether the list of an instance is proved to be whole, (S, I).
    real
        Critical points on the sphere, (S, I); two for each real class.
    by_index
        The same by index, (S, I, n) with n the largest size, zero where an index does not exist.
    exact, exact_by_index
        Exact means of `real` and `by_index`, (S,) and (S, n).
    """

    p: int
    sizes: Counts
    formula: Counts
    complex_count: Counts
    complete: NDArray[np.bool_]
    real: Counts
    by_index: Counts
    exact: Floats
    exact_by_index: Floats

    @property
    def share(self) -> Floats:
        """Real classes over complex ones, (S, I)."""
        return self.real / 2 / self.formula[:, None]

    def deviation(self) -> Floats:
        """Mean count minus the exact one in standard errors, (S,); NaN where all instances count alike."""
        return _deviation(self.real, self.exact)

    def deviation_by_index(self) -> Floats:
        """As `deviation`, for each index, (S, n); NaN also where an index does not exist."""
        return _deviation(self.by_index, self.exact_by_index)

    def growth(self, *, seed: int = 0) -> statistics.Estimate:
        """Least-squares slope of the log mean count on the size, in nats per spin.

        The interval resamples instances within each size.

        Raises
        ------
        ValueError
            With fewer than two sizes.
        """
        if len(self.sizes) < 2:
            raise ValueError("growth needs at least two sizes")

        def slope(*counts: Sequence[float]) -> float:
            return float(np.polyfit(self.sizes, [np.log(np.mean(row)) for row in counts], 1)[0])

        return statistics.resampled(slope, *self.real.astype(float), seed=seed)


def census(
    p: int,
    sizes: Sequence[int],
    *,
    instances: int,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> Census:
    """Enumerate all critical points of many instances at several sizes.

    Parameters
    ----------
    p
        Number of spins that a coupling couples, at least 2.
    sizes
        Numbers of spins, each at least 2; taken in increasing order, without repetitions.
    instances
        Instances of each size.
    seed
        Seed of the instances; those of different orders and sizes are independent.
    device
        Where to compute.

    Raises
    ------
    ValueError
        If there is no size, or one is too small or too large (see `critical_points.find`).
    """
    ordered = sorted(set(sizes))
    if not ordered:
        raise ValueError("a census needs at least one size")
    for n in ordered:
        check_size(p, n)
        check_fits(p, n, whole(instances, "instances", 1), torch.float64, torch.device(device))
    found = [enumerated(p, n, instances=instances, seed=seed, device=device) for n in ordered]
    largest = ordered[-1]
    return Census(
        p=p,
        sizes=np.array(ordered),
        formula=np.array([one.expected for one in found]),
        complex_count=np.stack([one.complex_count for one in found]),
        complete=np.stack([one.complete for one in found]),
        real=np.stack([one.counts for one in found]),
        by_index=np.stack([_padded(one.counts_by_index, largest) for one in found]),
        exact=np.array([float(mean_critical_points(p, n)) for n in ordered]),
        exact_by_index=np.stack(
            [
                _padded(np.array([float(mean_critical_points(p, n, index=k)) for k in range(n)]), largest)
                for n in ordered
            ]
        ),
    )


def enumerated(
    p: int,
    n: int,
    *,
    instances: int,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> CriticalPoints:
    """Enumerate all critical points of the instances that a `census` of this seed has at this size."""
    seed = whole(seed, "seed", 0)
    own = np.random.SeedSequence(seed, spawn_key=(CENSUS, p, n)).generate_state(1)[0]
    glass = PSpin.sample(p, n, instances=instances, seed=int(own), device=device)
    return find(glass, seed=int(own))


def _deviation(counts: Counts, exact: Floats) -> Floats:
    """Deviation of the mean over axis 1 of (S, I, ...) from (S, ...), in standard errors."""
    error = counts.std(1, ddof=1) / np.sqrt(counts.shape[1]) if counts.shape[1] > 1 else np.zeros_like(exact)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(error > 0, (counts.mean(1) - exact) / error, np.nan)


def _padded(values: NDArray[np.generic], size: int) -> NDArray[np.generic]:
    """Fill the last axis with zeros up to a size."""
    wide = [(0, 0)] * (values.ndim - 1) + [(0, size - values.shape[-1])]
    return np.pad(values, wide)
