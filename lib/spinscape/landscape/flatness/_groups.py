"""Groups of networks whose vectors fit in memory together."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch import Tensor

from spinscape.landscape.flatness.hessian import HessianProducts
from spinscape.memory import available_bytes
from spinscape.networks.device import FREE_SHARE
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.losses import PerSample

GROUP_BYTES = 2**29
"""What the vectors of a group of networks may take on a CPU."""


def in_groups(
    ensemble: Ensemble,
    x: Tensor,
    y: Tensor,
    loss: str | PerSample,
    chunk: int | None,
    *,
    vectors: int,
) -> Iterator[tuple[np.ndarray, HessianProducts]]:
    """Yield the numbers of some networks and their Hessian products, group by group.

    Parameters
    ----------
    ensemble, x, y, loss, chunk
        As in `HessianProducts`.
    vectors
        Vectors ``(D,)`` that one network needs at the same time.

    Raises
    ------
    MemoryError
        If those of one network do not fit; it says how many do.
    """
    count = sum(value[0].numel() for value in ensemble.params.values())
    each = float(vectors) * count * ensemble.dtype.itemsize
    there = available_bytes(ensemble.device)
    if each > there:
        fits = int(there / (count * ensemble.dtype.itemsize))
        raise MemoryError(
            f"{vectors} vectors of {count:,} parameters take {each / 2**30:.3g} GiB, more than there is: "
            f"at most {fits} fit"
        )
    budget = FREE_SHARE * there if ensemble.device.type == "cuda" else min(GROUP_BYTES, FREE_SHARE * there)
    size = max(1, int(budget / each))
    for first in range(0, ensemble.replicas, size):
        part = ensemble[first : first + size]
        yield np.arange(first, first + part.replicas), HessianProducts(part, x, y, loss, chunk=chunk)
