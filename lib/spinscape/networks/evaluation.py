"""The one evaluator of loss and accuracy over the replica axis.

Samples go through in blocks of a fixed size and replicas in chunks; per-sample losses are kept and
each replica's are reduced once, in float64. So the result depends neither on the chunk nor on the
memory there is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from torch import Tensor

from spinscape.networks.device import chunk_size, is_out_of_memory, keep_heap, release
from spinscape.networks.forward import Forward
from spinscape.networks.losses import PerSample, correct, predicted, resolve_loss, row_means

if TYPE_CHECKING:
    from spinscape.networks.ensemble import Ensemble

BLOCK = 512
"""Samples per block; a multiple of 32, fixed so that sums are the same on every machine."""

CHUNK_BYTES = 4 * 2**20
"""Working set of a chunk on a CPU; less than in training, as a layer is read again at once. At
64-512-10 a chunk of 16 MiB takes 1.4 times as long per sample."""

T = TypeVar("T")


@dataclass(frozen=True)
class Evaluation:
    """Loss and accuracy of each replica.

    Attributes
    ----------
    loss
        Mean loss per sample, float64 ``(R,)``; one such array per name where several losses were
        asked for.
    accuracy
        Share of samples whose largest output is at the label, float64 ``(R,)``; NaN for regression and where
        the loss is NaN.
    predictions
        Index of the largest output, int64 ``(R, N)``, or None if not asked for.
    """

    loss: np.ndarray | dict[str, np.ndarray]
    accuracy: np.ndarray
    predictions: np.ndarray | None = None


def evaluate(
    ensemble: Ensemble,
    x: Tensor,
    y: Tensor,
    *,
    loss: str | PerSample | Mapping[str, str | PerSample] = "cross_entropy",
    chunk: int | None = None,
    accuracy: bool = True,
    predictions: bool = False,
) -> Evaluation:
    """Evaluate every replica on the same samples, in evaluation mode and without gradients.

    Parameters
    ----------
    ensemble
        The parameter settings.
    x, y
        Inputs ``(N, ...)`` and labels ``(N,)`` (int64) or targets ``(N, K)``; moved to the
        ensemble's device.
    loss
        ``"cross_entropy"``, ``"mse"`` or a function of outputs ``(M, C)`` and ``y`` ``(M, ...)``
        that gives one loss per sample ``(M,)``; or several of them by name, computed from one
        forward pass.
    chunk
        Replicas at once; by default what fits the cache or the GPU. Halved when memory runs out.
    accuracy
        Whether to count correct answers; NaN where not, and a fifth less time for small networks.
    predictions
        Whether to return the predicted classes too.

    Returns
    -------
    Evaluation

    Raises
    ------
    ValueError
        If `x` and `y` differ in length or are empty, or an argument is out of range.
    MemoryError
        If one replica does not fit into memory.
    """
    if len(x) != len(y) or not len(x):
        raise ValueError(f"x and y must have the same positive length, not {len(x)} and {len(y)}")
    several = isinstance(loss, Mapping)
    losses = {
        name: resolve_loss(function)
        for name, function in (loss.items() if isinstance(loss, Mapping) else [("loss", loss)])
    }
    if not losses:
        raise ValueError("loss must name at least one loss")
    y = y.to(ensemble.device)
    labels = accuracy and not y.is_floating_point()

    def work(part: Ensemble, blocks: Iterator[tuple[slice, Tensor]]) -> list[Tensor]:
        shape = (part.replicas, len(y))
        kept = [torch.empty(shape, dtype=part.dtype, device=y.device) for _ in losses]
        hits = torch.zeros(shape, dtype=torch.bool, device=y.device)
        best = torch.empty(shape if predictions else (0,), dtype=torch.int64, device=y.device)
        for rows, outputs in blocks:
            targets = y[rows].expand(part.replicas, *y[rows].shape)
            for values, function in zip(kept, losses.values(), strict=True):
                values[:, rows] = function(outputs, targets)
            if labels:
                hits[:, rows] = correct(outputs, targets)
            if predictions:
                best[:, rows] = predicted(outputs)
        means = [row_means(values) for values in kept]
        share = hits.sum(1).cpu().double() / len(y)
        told = labels & ~torch.stack(means).isnan().any(0)
        return [*means, share.where(told, torch.nan), best.cpu()]

    pieces = zip(*_in_chunks(ensemble, x, chunk, work), strict=True)
    *values, shares, best = [torch.cat(piece).numpy() for piece in pieces]
    by_name = dict(zip(losses, values, strict=True))
    return Evaluation(
        by_name if several else by_name["loss"],
        shares.astype(np.float64),
        best if predictions else None,
    )


def outputs(ensemble: Ensemble, x: Tensor, *, chunk: int | None = None) -> Tensor:
    """Return the outputs of every replica for the same inputs, without gradients.

    Parameters
    ----------
    ensemble
        The parameter settings.
    x
        Inputs ``(N, ...)``.
    chunk
        Replicas at once, as in :func:`evaluate`.

    Returns
    -------
    Tensor
        ``(R, N, C)`` on the ensemble's device.
    """
    if not len(x):
        raise ValueError("x is empty")

    def work(part: Ensemble, blocks: Iterator[tuple[slice, Tensor]]) -> Tensor:
        return torch.cat([block for _, block in blocks], dim=1)

    return torch.cat(list(_in_chunks(ensemble, x, chunk, work)))


def _in_chunks(
    ensemble: Ensemble,
    x: Tensor,
    chunk: int | None,
    work: Callable[[Ensemble, Iterator[tuple[slice, Tensor]]], T],
) -> list[T]:
    """Call `work` for one chunk after the other, with half the chunk after memory ran out."""
    if chunk is not None and chunk < 1:
        raise ValueError(f"chunk must be at least 1, not {chunk}")
    keep_heap()
    device = ensemble.device
    x = x.to(device, ensemble.dtype if x.is_floating_point() else x.dtype)
    size = chunk or chunk_size(_bytes(ensemble, x), device, ensemble.replicas, cache_bytes=CHUNK_BYTES, few=1)
    results: list[T] = []
    start = 0
    with torch.no_grad():
        forward = Forward(ensemble.model, ensemble.params, ensemble.buffers, x[:BLOCK], training=False)
        while start < ensemble.replicas:
            part = ensemble[start : start + size]
            try:
                results.append(work(part, _blocks(forward, part, x)))
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if size == 1:
                    raise MemoryError(
                        f"one replica and a block of {min(BLOCK, len(x))} samples do not fit into "
                        f"the memory of {device}: {error}"
                    ) from error
                size = -(-min(size, part.replicas) // 2)
            else:
                start += part.replicas
                continue
            release(device)
    return results


def _blocks(forward: Forward, part: Ensemble, x: Tensor) -> Iterator[tuple[slice, Tensor]]:
    for start in range(0, len(x), BLOCK):
        rows = slice(start, min(start + BLOCK, len(x)))
        yield rows, forward(part.params, part.buffers, x[rows], shared=True)


def _bytes(ensemble: Ensemble, x: Tensor) -> float:
    """Estimate what one replica works on: parameters, two of its widest layers for a block."""
    widest = max((p.shape[1] for p in ensemble.params.values() if p.ndim > 1), default=1)
    item = next(iter(ensemble.params.values())).element_size()
    count = sum(p[0].numel() for p in ensemble.params.values())
    return item * (count + 2 * min(BLOCK, len(x)) * widest)
