"""What curves and bands between pairs of networks share: checks, training samples, looking at them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spinscape.landscape.paths.combination import Path
from spinscape.landscape.paths.profiles import profile
from spinscape.networks.datasets import Dataset
from spinscape.networks.device import is_out_of_memory, release
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.finite import check_finite
from spinscape.networks.losses import PerSample

Floats = NDArray[np.float64]
T = TypeVar("T")


@dataclass(frozen=True)
class Samples:
    """Training samples on a device, and the loss by name or as a function."""

    x: Tensor
    y: Tensor
    loss: str | PerSample

    @classmethod
    def of(cls, dataset: Dataset, like: Ensemble, loss: str | PerSample | None) -> Samples:
        """Take the training samples of a data set, in the type and on the device of an ensemble."""
        if not len(dataset.x_train):
            raise ValueError(f"the data set {dataset.name} has no training sample")
        y = dataset.y_train
        return cls(
            dataset.x_train.to(like.device, like.dtype).contiguous(),
            y.to(like.device, like.dtype if y.is_floating_point() else torch.int64).contiguous(),
            loss or ("cross_entropy" if dataset.task == "classification" else "mse"),
        )

    def look(self, path: Path) -> tuple[Floats, Floats]:
        """Return mean loss and share of wrong answers on paths, each ``(P, K)``."""
        found = profile(path, self.x, self.y, self.loss)
        return found.loss, found.error


def check_ends(a: Ensemble, b: Ensemble) -> None:
    """Refuse ensembles that are no P pairs of networks without buffers, with finite weights."""
    if a.replicas != b.replicas:
        raise ValueError(f"a and b must be as many networks, not {a.replicas} and {b.replicas}")
    same = a.params.keys() == b.params.keys() and all(
        p.shape == b.params[name].shape for name, p in a.params.items()
    )
    if not same:
        raise ValueError("a and b must be networks of one model")
    if a.buffers or b.buffers:
        raise ValueError(
            "networks with buffers are not joined: statistics of batch norms belong to one network; "
            "fold them first (spinscape.networks.folding.fold)"
        )
    check_finite(a)
    check_finite(b)


def in_parts(work: Callable[[NDArray[Any]], T], count: int, size: int, device: torch.device) -> list[T]:
    """Call `work` for chunks of the numbers of pairs, in order, and for halves where memory runs out.

    Raises
    ------
    MemoryError
        If a single pair does not fit.
    """
    waiting = [np.arange(i, min(i + size, count)) for i in range(0, count, size)][::-1]
    results = []
    while waiting:
        rows = waiting.pop()
        try:
            results.append(work(rows))
            continue
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if len(rows) == 1:
                raise MemoryError(f"one pair does not fit into the memory of {device}: {error}") from error
        release(device)
        waiting += [rows[len(rows) // 2 :], rows[: len(rows) // 2]]
    return results
