"""Gradients with half the couplings: of ``S_..ij s_i s_j`` only the pairs i <= j are kept."""

from __future__ import annotations

import torch
from torch import Tensor

from spinscape.glasses.pspin import PSpin

ONE_BY_ONE = 1000
"""From so many numbers on, products of pairs are made spin by spin, in long vectors."""


class Pairs:
    """What a descent needs of a glass: energies and gradients, about twice as fast at p = 3 and 4.

    Parameters
    ----------
    glass
        I instances; other p go through the glass itself.
    folded
        Couplings with the last two axes folded, shape (I, n^{p-2}, n (n+1) / 2); made if not given.
    """

    def __init__(self, glass: PSpin, folded: Tensor | None = None) -> None:
        self.glass = glass
        self.p, self.n = glass.p, glass.n
        self.upper = torch.triu_indices(self.n, self.n, device=glass.device)
        self.folded = folded
        if folded is None and self.p in (3, 4):
            twice = torch.where(self.upper[0] < self.upper[1], 2.0, 1.0).to(glass.dtype)
            flat = glass.couplings.flatten(1, -3).flatten(2)
            self.folded = flat[..., self.upper[0] * self.n + self.upper[1]].mul_(twice)

    def __getitem__(self, which: Tensor) -> Pairs:
        """Return some of the instances."""
        return Pairs(self.glass[which], None if self.folded is None else self.folded[which])

    def energy_and_gradient(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return H (I, K) and its Riemannian gradient (I, K, n) at points (I, K, n) on the sphere."""
        if self.folded is None:
            return self.glass.energy_and_gradient(points, checked=True)
        i, k, n = points.shape
        size = self.glass.chunk(self.folded.shape[2] + self.folded.shape[1])
        rows, columns = max(1, size // k), min(size, k)
        full = torch.empty_like(points)
        for a in range(0, i, rows):
            for b in range(0, k, columns):
                part = slice(a, a + rows), slice(b, b + columns)
                full[part] = self._contract(self.folded[part[0]], points[part].mT.contiguous()).mT
        full *= self.p * self.glass.scale
        radial = (full * points).sum(-1)
        return radial / self.p, full.sub_((radial / n)[..., None] * points)

    def _contract(self, folded: Tensor, columns: Tensor) -> Tensor:
        """``S.s^{p-1}`` for points in columns, (I, n, K)."""
        i, n, k = columns.shape
        if columns.numel() < ONE_BY_ONE:
            products = columns[:, self.upper[0]] * columns[:, self.upper[1]]
        else:
            products = columns.new_empty(i, folded.shape[2], k)
            first = 0
            for spin in range(n):
                there = products[:, first : first + n - spin]
                torch.mul(columns[:, spin : spin + 1], columns[:, spin:], out=there)
                first += n - spin
        left = folded @ products
        if self.p == 3:
            return left
        return (left.view(i, n, n, k) * columns[:, None]).sum(2)
