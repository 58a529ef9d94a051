"""How much memory there is, so that sizes that cannot fit are refused before anything is allocated."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import torch


def available_bytes(device: torch.device) -> float:
    """Return the memory that can still be had: a GPU's own, else the machine's or the container's.

    Infinite where the system does not tell.
    """
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    return min(_machine(), _container())


def _machine() -> float:
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return 1024.0 * int(line.split()[1])
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return float("inf")


def _container() -> float:
    folder = Path("/sys/fs/cgroup")
    with contextlib.suppress(OSError, ValueError):
        limit, used = (int((folder / f"memory.{name}").read_text()) for name in ("max", "current"))
        return float(limit - used)
    return float("inf")
