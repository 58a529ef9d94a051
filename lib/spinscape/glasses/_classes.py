"""Sets of points of projective space: which of them are the same, the complex conjugate, or real."""

from __future__ import annotations

import torch
from torch import Tensor

SAME = 1e-6
"""Classes at a smaller distance, the sine of the angle between them, count as one."""

PAIRS = 2**20
"""Pairs whose overlaps are computed at once."""

BLOCK = 128
"""Rows of the table of overlaps that are compared with those before them at once."""


def overlaps(x: Tensor, y: Tensor) -> Tensor:
    """Return squared moduli of the products of unit vectors x (I, A, n) and y (I, B, n): (I, A, B)."""
    if not x.is_complex():
        return torch.bmm(x, y.mT).square_()
    flat, other = torch.view_as_real(x).flatten(2), torch.view_as_real(y).flatten(2).mT
    turned = torch.view_as_real(1j * y).flatten(2).mT
    across = torch.bmm(flat, turned)
    return torch.bmm(flat, other).square_().addcmul_(across, across)


def nearest(x: Tensor, valid: Tensor, y: Tensor, y_valid: Tensor) -> Tensor:
    """Return the squared distance of each x (I, A, n) to the nearest y (I, B, n), shape (I, A).

    Infinite at places where `valid`, (I, A), is False; places where `y_valid`, (I, B), is False are
    not looked at.
    """
    y = torch.where(y_valid[:, :, None], y, 0)
    rows = max(1, PAIRS // max(1, y.shape[0] * y.shape[1]))
    parts = [1 - overlaps(part, y).amax(2) for part in x.split(rows, dim=1)]
    return torch.cat(parts, 1).masked_fill_(~valid, torch.inf)


def nearest_earlier(x: Tensor, valid: Tensor) -> Tensor:
    """Return the squared distance of each valid x (I, A, n) to the nearest valid one before it, (I, A)."""
    held = torch.where(valid[:, :, None], x, 0)
    rows = max(1, min(BLOCK, PAIRS // max(1, x.shape[0] * x.shape[1])))
    parts = []
    for start in range(0, x.shape[1], rows):
        overlap = overlaps(held[:, start : start + rows], held[:, : start + rows])
        overlap[:, :, start:].tril_(-1)
        parts.append(1 - overlap.amax(2))
    return torch.cat(parts, 1).masked_fill_(~valid, torch.inf)


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
