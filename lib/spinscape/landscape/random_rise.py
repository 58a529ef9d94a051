"""Rise of the loss at a given distance from a network, in random directions.

A control for every path: how much of its barrier is owed to the distance alone.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from spinscape.landscape.steps import RISES, draw, generator
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.evaluation import evaluate
from spinscape.networks.losses import PerSample
from spinscape.progress import track


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
        If distances are negative or not finite, their shape does not fit, or `directions` is below 1.
    """
    replicas = ensemble.replicas
    radii = np.asarray(distances, float)
    radii = np.tile(radii, (replicas, 1)) if radii.ndim == 1 else radii
    if radii.ndim != 2 or len(radii) != replicas or not (np.isfinite(radii) & (radii >= 0)).all():
        raise ValueError(f"distances must be at least 0, finite and of shape ({replicas}, K) or (K,)")
    if directions < 1:
        raise ValueError(f"directions must be at least 1, not {directions}")
    rises = np.empty((*radii.shape, directions))
    for r in track(range(replicas), "random directions"):
        start = ensemble[r].flat()
        centre = evaluate(ensemble[r], x, y, loss=loss, accuracy=False).loss
        for d in range(directions):
            z = draw((start.shape[1],), start, generator(seed, RISES, r, d))
            steps = torch.as_tensor(radii[r], dtype=start.dtype, device=start.device)
            moved = ensemble[r].unflatten(start + steps[:, None] * (z / z.norm()))
            rises[r, :, d] = np.asarray(evaluate(moved, x, y, loss=loss, accuracy=False).loss) - centre
    return rises
