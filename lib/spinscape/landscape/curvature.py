"""The smallest curvature of the loss of small networks, from the dense Hessian."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import functional_call, hessian, vmap

from spinscape.networks.ensemble import Ensemble
from spinscape.networks.forward import training_mode
from spinscape.networks.losses import PerSample, resolve_loss

LARGEST = 1500
"""Parameters of a network up to which its dense Hessian is taken."""

CHUNK_BYTES = 2**26
"""Forward derivatives of the activations and Hessians that are held at once."""


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
    rows = ensemble.flat()
    count = rows.shape[1]
    if count > LARGEST:
        raise MemoryError(
            f"the dense Hessian of {count} parameters is not taken; {LARGEST} parameters are allowed"
        )
    x, y = x.to(ensemble.device), y.to(ensemble.device)
    x = x.to(ensemble.dtype) if x.is_floating_point() else x
    function = resolve_loss(loss)
    names = list(ensemble.params)
    shapes = [ensemble.params[name].shape[1:] for name in names]
    sizes = [shape.numel() for shape in shapes]

    def mean_loss(row: Tensor, buffers: dict[str, Tensor]) -> Tensor:
        parts = zip(names, row.split(sizes), shapes, strict=True)
        params = {name: part.view(shape) for name, part, shape in parts}
        outputs = functional_call(ensemble.model, (params, buffers), (x,))
        return function(outputs[None], y[None]).mean()

    units = sum(shape[0] for shape in shapes if len(shape) > 1)
    bytes_each = rows.element_size() * count * (count + 4 * len(x) * units)
    size = chunk or max(1, CHUNK_BYTES // bytes_each)
    smallest = []
    with training_mode(ensemble.model, False):
        for start in range(0, len(rows), size):
            part = slice(start, start + size)
            buffers = {name: value[part] for name, value in ensemble.buffers.items()}
            bends = vmap(hessian(mean_loss))(rows[part], buffers)
            smallest.append(torch.linalg.eigvalsh(bends)[:, 0].double().cpu())
    return torch.cat(smallest).numpy()
