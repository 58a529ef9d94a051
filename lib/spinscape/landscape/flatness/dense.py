"""The whole Hessian of small networks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spinscape.landscape.flatness.hessian import HessianProducts
from spinscape.memory import available_bytes
from spinscape.networks.device import chunk_size
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.losses import PerSample
from spinscape.progress import bar

COPIES = 4
"""Matrices of D x D doubles per network that are alive at once, in the decomposition too."""

CHUNK_BYTES = 2**26
"""Hessians that are held at once on a CPU."""


def dense_hessians(
    ensemble: Ensemble,
    x: Tensor,
    y: Tensor,
    *,
    loss: str | PerSample = "cross_entropy",
    chunk: int | None = None,
) -> Iterator[Tensor]:
    """Yield the Hessians of the mean loss of some networks, ``(r, D, D)``, in order.

    Parameters
    ----------
    ensemble
        R networks of D parameters, evaluated as they are in use.
    x, y
        Inputs ``(N, ...)`` and labels or targets ``(N, ...)``.
    loss
        As in :func:`spinscape.networks.evaluation.evaluate`.
    chunk
        Networks at once; by default what fits the memory.

    Raises
    ------
    MemoryError
        If the matrix of one network does not fit; it says how many parameters are allowed.
    """
    count = sum(value[0].numel() for value in ensemble.params.values())
    each, there = 8.0 * COPIES * count**2, available_bytes(ensemble.device)
    if each > there:
        raise MemoryError(
            f"the dense Hessian of {count:,} parameters takes {each / 2**30:.3g} GiB, more than there is; "
            f"{int((there / (8 * COPIES)) ** 0.5):,} parameters are allowed"
        )
    size = chunk or chunk_size(each, ensemble.device, ensemble.replicas, cache_bytes=CHUNK_BYTES, few=1)
    for first in range(0, ensemble.replicas, size):
        part = ensemble[first : first + size]
        product = HessianProducts(part, x, y, loss)
        unit = torch.eye(count, dtype=ensemble.dtype, device=ensemble.device)
        found = product(unit.expand(part.replicas, -1, -1))
        yield (found + found.mT) / 2


def exact_spectrum(
    ensemble: Ensemble,
    x: Tensor,
    y: Tensor,
    *,
    loss: str | PerSample = "cross_entropy",
    chunk: int | None = None,
) -> NDArray[np.float64]:
    """Return all eigenvalues of the Hessian of the mean loss, from the dense matrix.

    Parameters
    ----------
    ensemble, x, y, loss, chunk
        As in :func:`dense_hessians`; in float64 eigenvalues near zero are more exact.

    Returns
    -------
    ndarray
        ``(R, D)``, ascending, loss per squared parameter unit.
        For piecewise linear networks without the kinks' contribution.

    Raises
    ------
    MemoryError
        If the matrix of one network does not fit; it says how many parameters are allowed.
    """
    found = []
    with bar("spectrum", ensemble.replicas) as moved:
        for matrices in dense_hessians(ensemble, x, y, loss=loss, chunk=chunk):
            found.append(eigenvalues(matrices))
            moved.update(len(matrices))
    return torch.cat(found).numpy()


def eigenvalues(matrices: Tensor) -> Tensor:
    """Return the eigenvalues of symmetric matrices, ascending, float64 ``(r, D)`` on the CPU.

    They are decomposed in float64: in float32 the LAPACK that torch comes with answers NaN for some singular
    ones.
    """
    whole = matrices.cpu() if matrices.device.type == "mps" else matrices
    return torch.linalg.eigvalsh(whole.double()).cpu()
