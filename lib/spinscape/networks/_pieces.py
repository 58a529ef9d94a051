"""Networks worked on a few at a time, and whether what one of them takes fits in memory."""

from __future__ import annotations

from collections.abc import Callable

import torch

from spinscape.memory import available_bytes
from spinscape.networks.device import chunk_size, is_out_of_memory, keep_heap, release
from spinscape.networks.ensemble import Ensemble


def check_samples(each: float, samples: int, device: torch.device) -> None:
    """Refuse so many samples that the layers of one network, of `each` bytes, do not fit in memory.

    Raises
    ------
    MemoryError
        It tells how many samples do.
    """
    there = available_bytes(device)
    if each > there:
        raise MemoryError(
            f"layers for {samples} samples take {each / 2**30:.3g} GiB, more than there is: "
            f"at most {int(there / each * samples)} samples are allowed"
        )


def in_chunks(
    ensemble: Ensemble, each: float, work: Callable[[Ensemble, slice], None], chunk: int | None
) -> None:
    """Call `work` for one chunk of networks after the other, with half the chunk after memory ran out.

    Parameters
    ----------
    ensemble
        R networks.
    each
        Bytes that are worked on for each.
    work
        Called with a chunk and its rows; what it did for a chunk that failed is done again.
    chunk
        Networks at once; by default what fits the cache or the GPU.
    """
    if chunk is not None and chunk < 1:
        raise ValueError(f"chunk must be at least 1, not {chunk}")
    keep_heap()
    size = chunk or chunk_size(each, ensemble.device, ensemble.replicas, few=1)
    start = 0
    while start < ensemble.replicas:
        rows = slice(start, min(start + size, ensemble.replicas))
        try:
            work(ensemble[rows], rows)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or size == 1:
                raise
            size = -(-size // 2)
            release(ensemble.device)
        else:
            start = rows.stop
