"""How much memory a chunk of points or Hessians may take."""

from __future__ import annotations

import torch

CHUNK_BYTES = {"cpu": 8 * 2**20, "cuda": 2**28}
"""Working memory of one chunk: what the cache of a core holds, or what fills a GPU."""


def chunk_bytes(device: torch.device) -> int:
    """Return how much memory a chunk may take for its temporaries."""
    return CHUNK_BYTES.get(device.type, CHUNK_BYTES["cpu"])
