"""Gaussian steps in the space of parameters: where walkers stand, and what each of them draws."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from spinscape.networks.ensemble import Ensemble

WALKS, DOWNHILL, PROBES, PLANES = 1, 2, 3, 4
"""What random numbers are drawn for; training has streams of its own."""

PRUNING, PATHS, SPREAD = 11, 12, 13
"""Likewise, for networks as spin glasses."""

PERMUTATIONS, SWAPS, SCALES, SIGNS = 21, 22, 23, 24
"""Likewise, for symmetries."""

STARTS, PLANTED, NOISE = 31, 32, 33
"""Likewise, for matching."""

RISES, LAW, LAYERS = 41, 42, 43
"""Likewise, for points at a given distance, for the law of swapped units, and for the layers of swaps."""

NULLS, PLANTS, TRIPLES, GAUSSIANS = 51, 52, 53, 54
"""Likewise, for null models of distances, planted clusters, sampled triples, and Gaussian networks."""

BOOTSTRAP, COURSES, DISTORTION = 61, 62, 63
"""Likewise, for networks drawn anew, courses of training, and alignments."""

OBSERVABLES, BATCHES, IMAGES = 71, 72, 73
"""Likewise, for the observables of a data set."""

BENDS, BANDS = 82, 83
"""Likewise, for curves and for bands between networks."""

LANCZOS = 94
"""Likewise, for the first vectors of Krylov spaces."""


SHAKES, CHAINS = 95, 96
"""Likewise, for noise on weights and for chains around networks."""


def check(sigmas: list[float], steps: int, walks: int) -> None:
    """Refuse step sizes that are not positive and counts below 1."""
    if not sigmas or min(sigmas) <= 0:
        raise ValueError(f"step sizes must be positive, not {sigmas}")
    if steps < 1 or walks < 1:
        raise ValueError(f"steps and walks must be at least 1, not {steps} and {walks}")


def repeat(ensemble: Ensemble, shape: tuple[int, int, int]) -> Ensemble:
    """Every network once per step size and walk, in the order (S, R, W)."""
    index = torch.arange(shape[1]).repeat_interleave(shape[2]).repeat(shape[0])
    return ensemble[index]


def generator(seed: int, purpose: int, *which: int) -> torch.Generator:
    """Return the generator for one purpose and, say, one network and walk; no two share a stream.

    Parameters
    ----------
    seed
        Seed of the run.
    purpose
        `WALKS` or another of the constants above.
    *which
        Further numbers, such as network and walk.

    Raises
    ------
    ValueError
        If the seed is no whole number of at least 0.
    """
    if not isinstance(seed, int | np.integer) or isinstance(seed, bool) or seed < 0:
        raise ValueError(f"seed must be a whole number of at least 0, not {seed!r}")
    state = np.random.SeedSequence(seed, spawn_key=(purpose, *which)).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0] >> 1))


def draw(shape: tuple[int, ...], like: Tensor, generator: torch.Generator) -> Tensor:
    """Draw standard normals on the CPU, so that every device sees the same, in the type of `like`."""
    return torch.randn(shape, generator=generator, dtype=like.dtype).to(like.device)
