"""Sets of points of projective space: which of them are the same, the complex conjugate, or real."""

from __future__ import annotations

import torch
from torch import Tensor

SAME = 1e-6
"""Classes at a smaller distance, the sine of the angle between them, count as one."""

PAIRS = 2**22
"""Pairs whose overlaps are computed at once."""


def gaps(x: Tensor, y: Tensor) -> Tensor:
    """Return squared sines of the angles between unit vectors x (I, A, n) and y (I, B, n): (I, A, B)."""
    overlap = torch.view_as_real(torch.bmm(x.conj(), y.mT).contiguous()) if x.is_complex() else None
    if overlap is None:
        return 1 - torch.bmm(x, y.mT).square()
    return 1 - overlap.square().sum(-1)


def nearest(x: Tensor, valid: Tensor, y: Tensor, y_valid: Tensor, *, earlier: bool = False) -> Tensor:
    """Return the squared distance of each x (I, A, n) to the nearest valid y (I, B, n), shape (I, A).

    Parameters
    ----------
    x, valid, y, y_valid
        Unit vectors, and which of them count.
    earlier
        Whether y is x, and each point is compared with those before it only.
    """
    i, a, _ = x.shape
    rows = max(1, PAIRS // max(1, i * y.shape[1]))
    out = torch.full((i, a), torch.inf, dtype=torch.float64, device=x.device)
    for start in range(0, a, rows):
        part = slice(start, start + rows)
        gap = gaps(x[:, part], y).masked_fill_(~y_valid[:, None, :], torch.inf)
        if earlier:
            later = torch.ones(gap.shape[1:], dtype=torch.bool, device=x.device).triu(start)
            gap.masked_fill_(later, torch.inf)
        out[:, part] = gap.amin(2)
    return out.masked_fill_(~valid, torch.inf)


def distinct(x: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Find which valid points (I, A, n) are new, each compared with the earlier ones.

    Returns
    -------
    tuple of Tensor
        Which points are valid and new (I, A), and the smallest distance of two of them (I,).
    """
    squared = nearest(x, valid, x, valid, earlier=True)
    new = valid & (squared > SAME**2)
    kept = torch.where(new, squared, torch.inf)
    return new, kept.amin(1).clamp_min(0).sqrt()


def imaginary(x: Tensor) -> tuple[Tensor, Tensor]:
    """Turn unit vectors (..., n) so that their real part is largest.

    Returns
    -------
    tuple of Tensor
        The turned real parts, as unit vectors (..., n), and twice the length of the imaginary
        part (...), which is the distance of the class to its complex conjugate to first order.
    """
    square = (x * x).sum(-1, keepdim=True)
    size = square.abs()
    phase = torch.where(size > 0, square / size.clamp_min(torch.finfo(size.dtype).tiny), 1).sqrt()
    turned = x * phase.conj()
    real = turned.real
    return real / real.norm(dim=-1, keepdim=True), 2 * turned.imag.norm(dim=-1)
