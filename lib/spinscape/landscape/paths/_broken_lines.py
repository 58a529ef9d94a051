"""Pivots of broken lines: put at given distances, added in between."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float64]


def spread(pivots: Tensor, shares: Tensor) -> Tensor:
    """Return the inner pivots put at given distances along their broken line.

    Parameters
    ----------
    pivots
        ``(P, M, D)``.
    shares
        Lengths of the segments, as shares of the whole, ``(P, K)``.

    Returns
    -------
    Tensor
        ``(P, K - 1, D)``.
    """
    lengths = torch.linalg.vector_norm(pivots.diff(dim=1), dim=-1)
    ends = lengths.cumsum(1)
    target = shares.cumsum(1)[:, :-1] * ends[:, -1:]
    segment = torch.searchsorted(ends[:, :-1].contiguous(), target.contiguous(), right=True)
    band = torch.arange(len(pivots), device=pivots.device)[:, None]
    length, end = lengths[band, segment], ends[band, segment]
    weight = 1 - (end - target) / torch.where(length == 0, 1, length)
    return torch.lerp(pivots[band, segment], pivots[band, segment + 1], weight.clamp(0, 1)[..., None])


def split(pivots: Tensor, shares: Tensor, places: Floats) -> tuple[Tensor, Tensor]:
    """Put new pivots on a broken line.

    Parameters
    ----------
    pivots, shares
        ``(M, D)`` and ``(M - 1,)``.
    places
        Where, as number of the segment plus a fraction of it, ``(n,)``.

    Returns
    -------
    tuple
        Pivots ``(M + n, D)`` and shares ``(M + n - 1,)``.
    """
    whole = np.concatenate([np.arange(len(pivots)), places])
    ends = np.concatenate([[0], shares.cpu().double().cumsum(0).numpy()])
    at = np.interp(whole, np.arange(len(pivots)), ends)
    order = np.argsort(whole, kind="stable")
    segment = torch.from_numpy(places.astype(np.int64)).to(pivots.device)
    part = torch.from_numpy(places % 1).to(pivots)[:, None]
    new = torch.lerp(pivots[segment], pivots[segment + 1], part)
    index = torch.from_numpy(order).to(pivots.device)
    return torch.cat([pivots, new])[index], torch.from_numpy(np.diff(at[order])).to(shares)


def refined(pivots: Tensor, shares: Tensor, count: int) -> Tensor:
    """Return the same broken line with `count` pivots: its longest segments are halved."""
    while len(pivots) < count:
        longest = np.argsort(-shares.cpu().double().numpy(), kind="stable")[: count - len(pivots)]
        pivots, shares = split(pivots, shares, np.add(longest, 0.5, dtype=np.float64))
    return pivots
