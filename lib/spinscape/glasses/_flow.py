"""Steps of gradient flow and of Brownian motion on the sphere ``|s|^2 = n``."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from spinscape.glasses._draws import THERMAL, generator
from spinscape.glasses._pairs import Pairs
from spinscape.glasses.pspin import to_sphere

NOISE_BYTES = 2**25
"""Memory that normals drawn ahead may take."""


def largest_curvature(p: int) -> float:
    """Return a bound on the Riemannian Hessian's eigenvalues where a descent can come, for large n.

    The spectrum lies within ``-p u +- 2 sqrt(p(p-1))``, and u above minus the ground state, which the
    annealed count without its rate function bounds in closed form.
    """
    ground = math.sqrt(2 * (p - 1) * math.log(p - 1) / (p - 2)) if p > 2 else math.sqrt(2)
    return p * ground + 2 * math.sqrt(p * (p - 1))


def stable_step(p: int, step: float | None, default: float) -> float:
    """Return `step`, or `default` over the largest curvature, and check it.

    Raises
    ------
    ValueError
        If the step is not positive or above one over the largest curvature.
    """
    largest = 1 / largest_curvature(p)
    if step is None:
        return default * largest
    if not 0 < step <= largest:
        raise ValueError(f"at p = {p} the step must be positive and at most {largest:.3g}, not {step}")
    return step


def flow(pairs: Pairs, points: Tensor, step: float) -> Tensor:
    """One step of Heun's method for ``ds/dt = -grad H``, then back to the sphere; points on the sphere."""
    first = pairs.energy_and_gradient(points)[1]
    second = pairs.energy_and_gradient(to_sphere(points - step * first))[1]
    return to_sphere(points - step / 2 * (first + second))


def diffuse(points: Tensor, temperature: float, time: float, noise: Tensor) -> Tensor:
    """Move by Brownian motion on the sphere, whose generator is `temperature` times the Laplacian.

    The mean of s decays as it must, by ``exp(-temperature time (n-1)/n)``.
    """
    n = points.shape[-1]
    tangent = noise - (noise * points).sum(-1, keepdim=True) / n * points
    kept = math.exp(-temperature * time * (n - 1) / n)
    return to_sphere(kept * points + math.sqrt((1 - kept**2) * n / (n - 1)) * tangent)


def thermal_noise(like: Tensor, p: int, seed: int) -> Iterator[Tensor]:
    """Yield normals of the shape of `like`, (I, K, n), again and again.

    What start k of instance i is fed depends on the seed, the order p, n, i and k only.
    """
    i, k, n = like.shape
    sources = [[generator(seed, THERMAL, p, n, a, b) for b in range(k)] for a in range(i)]
    ahead = int(max(1, min(64, NOISE_BYTES // (8 * i * k * n))))
    held = np.empty((i, k, ahead, n))
    while True:
        for a, row in enumerate(sources):
            for b, source in enumerate(row):
                source.standard_normal(out=held[a, b])
        block = torch.from_numpy(held).to(like)
        yield from (block[:, :, t] for t in range(ahead))
