"""The smallest curvature of the loss of small networks, from the dense Hessian."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spinscape.landscape.flatness.dense import dense_hessians, eigenvalues
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.losses import PerSample

LARGEST = 1500
"""Parameters of a network up to which its dense Hessian is taken."""


def negative_curvature(
    ensemble: Ensemble,
    x: Tensor,
    y: Tensor,
    *,
    loss: str | PerSample = "cross_entropy",
    chunk: int | None = None,
) -> NDArray[np.float64]:
    """Return the smallest eigenvalue of the Hessian of the mean loss; negative where the loss bends down.

    Parameters
    ----------
    ensemble
        R networks of at most `LARGEST` parameters, evaluated as they are in use.
    x, y
        Inputs ``(N, ...)`` and labels or targets ``(N, ...)``.
    loss
        As in :func:`spinscape.networks.evaluation.evaluate`.
    chunk
        Networks at once.

    Returns
    -------
    ndarray
        ``(R,)``, loss per squared parameter unit.
        For piecewise linear networks without the kinks' contribution.

    Raises
    ------
    MemoryError
        If a network has more than `LARGEST` parameters.
    """
    count = sum(value[0].numel() for value in ensemble.params.values())
    if count > LARGEST:
        raise MemoryError(
            f"the dense Hessian of {count} parameters is not taken; {LARGEST} parameters are allowed"
        )
    smallest = [
        eigenvalues(matrices)[:, 0] for matrices in dense_hessians(ensemble, x, y, loss=loss, chunk=chunk)
    ]
    return torch.cat(smallest).numpy()
