"""Steps of gradient flow and of Brownian motion on the sphere ``|s|^2 = n``."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from spinscape.glasses._draws import THERMAL, generator
from spinscape.glasses._pairs import Pairs
from spinscape.glasses.pspin import PSpin, to_sphere

NOISE_BYTES = 2**25
"""Memory that normals drawn ahead may take."""


NORM_SPARE = 6.0
"""By how much the norm of standard couplings may exceed its typical value: once in 10^8 instances."""


def largest_curvature(p: int) -> float:
    """Return a bound on the Riemannian Hessian's eigenvalues where a descent can come, for large n.

    The spectrum lies within ``-p u +- 2 sqrt(p(p-1))``, and u above minus the ground state, which the
    annealed count without its rate function bounds in closed form.
    """
    ground = math.sqrt(2 * (p - 1) * math.log(p - 1) / (p - 2)) if p > 2 else math.sqrt(2)
    return p * ground + 2 * math.sqrt(p * (p - 1))


def excess(glass: PSpin) -> float:
    """Return how many times larger than standard couplings those of an instance are at most, at least 1.

    The squared norm of standard couplings is chi-squared with as many degrees of freedom as there are
    different couplings, so that a norm `NORM_SPARE` above the root of that number is as good as excluded;
    below it the answer is 1 exactly, and an instance's step does not depend on those beside it.
    """
    standard = math.sqrt(math.comb(glass.n + glass.p - 1, glass.p))
    norm = float(torch.linalg.vector_norm(glass.couplings.flatten(1), dim=1).max())
    return max(1.0, (norm - NORM_SPARE) / standard)


def stable_step(glass: PSpin, step: float | None, default: float) -> float:
    """Return `step`, or `default` over the largest curvature, and check it.

    Raises
    ------
    ValueError
        If the step is not positive or above one over the largest curvature, or the couplings are so large
        that their squares are not finite.
    """
    largest = 1 / (largest_curvature(glass.p) * excess(glass))
    if not largest > 0:
        raise ValueError("couplings are too large for a descent: the sum of their squares must be finite")
    if step is None:
        return default * largest
    if not 0 < step <= largest:
        raise ValueError(
            f"at p = {glass.p} and with these couplings the step must be positive and at most {largest:.3g}, "
            f"not {step}"
        )
    return step


def flow(pairs: Pairs, points: Tensor, step: float) -> tuple[Tensor, Tensor]:
    """Take one step of Heun's method for ``ds/dt = -grad H``, then go back to the sphere.

    Returns
    -------
    tuple of Tensor
        The points after it, (I, K, n), and their energies before it, (I, K).
    """
    energy, first = pairs.energy_and_gradient(points)
    second = pairs.energy_and_gradient(to_sphere(points - step * first))[1]
    return to_sphere(points - step / 2 * (first + second)), energy


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
