"""Where things run, how much of it a chunk may fill, and what running out of memory looks like."""

from __future__ import annotations

from functools import cache

import torch

CACHE_BYTES = 16 * 2**20
"""Working set of one chunk on a CPU. Measured on one core with a 32 MiB last-level cache: the time
per network is least from 4 to 16 MiB at 64-64-10 and at 64-512-10, and up to 30% longer above."""

FEW, FEW_BYTES = 4, 2**28
"""Networks too large for the cache go in chunks of four (10% faster at 784-512-10 than one by one),
as long as those stay below 256 MiB."""

FREE_SHARE = 0.4
"""Share of a GPU's free memory that one chunk may plan for; the rest is for temporaries."""


def resolve_device(device: str | torch.device = "auto") -> torch.device:
    """Turn ``"auto"`` into CUDA, else MPS, else the CPU, and check any other choice.

    Raises
    ------
    ValueError
        If the name is no device, or the device is not there.
    """
    if isinstance(device, str) and device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise ValueError(f"device must be 'auto', 'cpu', 'cuda', 'cuda:N' or 'mps', not {device!r}") from None
    absent = (chosen.type == "cuda" and not torch.cuda.is_available()) or (
        chosen.type == "mps" and not torch.backends.mps.is_available()
    )
    if absent:
        raise ValueError(f"device {device!r} was asked for, but this machine has none")
    return chosen


def chunk_size(
    bytes_per_replica: float,
    device: torch.device,
    replicas: int,
    *,
    cache_bytes: int = CACHE_BYTES,
    few: int = FEW,
) -> int:
    """Choose how many replicas to work on at once: what fits the cache (CPU) or memory (GPU)."""
    size = max(1.0, bytes_per_replica)
    if device.type == "cpu":
        fits = max(cache_bytes // size, min(few, FEW_BYTES // size))
    elif device.type == "cuda":
        fits = FREE_SHARE * torch.cuda.mem_get_info(device)[0] // size
    else:
        fits = 2**31 // size
    chunks = -(-replicas // max(1, int(fits)))
    return -(-replicas // chunks)


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an exception means that memory ran out, on any device."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and any(
        sign in text for sign in ("not enough memory", "DefaultCPUAllocator", "out of memory")
    )


def release(device: torch.device) -> None:
    """Give cached blocks back to the device after memory ran out."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


@cache
def keep_heap() -> None:
    """Make the C library keep freed blocks of up to 31 MiB for reuse.

    By default glibc maps every block above 128 KiB afresh and the page faults cost more than the
    arithmetic. Its threshold rises to the size of the largest mapped block that was freed, up to 32
    MiB, so freeing one untouched block is enough; elsewhere the call does nothing.
    """
    torch.empty(31 * 2**20, dtype=torch.uint8)
