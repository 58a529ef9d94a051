"""Rise of the loss at a given distance from a network, in random directions.

A control for every path: how much of its barrier is owed to the distance alone.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from spinscape.landscape.steps import RISES, draw, generator
from spinscape.landscape.symmetry.checks import (
    as_numbers,
    at_least,
    check_finite,
    check_memory,
    check_samples,
)
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.evaluation import evaluate
from spinscape.networks.losses import PerSample
from spinscape.progress import track

PIECE_BYTES = 64 * 2**20
"""Parameters of points that are written out at once."""


def random_rise(
    ensemble: Ensemble,
    x: Tensor,
    y: Tensor,
    distances: ArrayLike,
    *,
    directions: int = 4,
    loss: str | PerSample = "cross_entropy",
    seed: int = 0,
) -> NDArray[np.float64]:
    """Return the loss at random points around each network, minus the loss at the network.

    Parameters
    ----------
    ensemble
        R networks.
    x, y
        Inputs ``(N, ...)`` and labels ``(N,)`` or targets.
    distances
        Euclidean distances in the space of all parameters ``(R, K)`` or ``(K,)``, at least 0.
    directions
        Isotropic directions per network, the same for all its distances.
    loss
        As in :func:`spinscape.networks.evaluation.evaluate`.
    seed
        Seed of the directions; direction d of network r depends on the seed, r and d only.

    Returns
    -------
    ndarray
        Shape ``(R, K, directions)``, in the unit of the loss.

    Raises
    ------
    ValueError
        If distances are negative or not finite, their shape does not fit, `directions` is below 1, weights
        are not finite, or samples do not fit the model.
    MemoryError
        If the losses do not fit in memory; it tells for how many distances or directions they do.
    """
    replicas = ensemble.replicas
    radii = as_numbers("distances", distances)
    radii = np.tile(radii, (replicas, 1)) if radii.ndim == 1 else radii
    if radii.ndim != 2 or len(radii) != replicas or not (np.isfinite(radii) & (radii >= 0)).all():
        raise ValueError(f"distances must be at least 0, finite and of shape ({replicas}, K) or (K,)")
    directions = at_least("directions", directions, 1)
    check_memory("distances", radii.shape[1], 16 * replicas)
    check_memory("directions", directions, 8 * radii.size)
    check_finite(ensemble)
    x, y = check_samples(ensemble, x, y, loss)
    rises = np.empty((*radii.shape, directions))
    for r in track(range(replicas), "random directions"):
        start = ensemble[r].flat()
        centre = evaluate(ensemble[r], x, y, loss=loss, accuracy=False).loss
        for d in range(directions):
            z = draw((start.shape[1],), start, generator(seed, RISES, r, d))
            direction = z / z.norm()
            size = max(1, PIECE_BYTES // (start.numel() * start.element_size()))
            for k in range(0, radii.shape[1], size):
                steps = torch.as_tensor(radii[r, k : k + size], dtype=start.dtype, device=start.device)
                moved = ensemble[r].unflatten(start + steps[:, None] * direction)
                found = evaluate(moved, x, y, loss=loss, accuracy=False).loss
                rises[r, k : k + size, d] = np.asarray(found) - centre
    return rises
