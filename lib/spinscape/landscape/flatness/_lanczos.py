"""Lanczos' iteration with full reorthogonalisation, for many networks and start vectors at once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

KAPPA = 0.5
"""A vector that shrinks below this share when made orthogonal to the others is made so once more."""

Draw = Callable[[int, int, int], Tensor]
"""Network, start and step to a new direction ``(D,)``."""


class Lanczos:
    """Krylov spaces of symmetric matrices.

    Parameters
    ----------
    product
        ``(R, k, D)`` to ``(R, k, D)``.
    start
        ``(R, k, D)``, of any length but zero.
    steps
        Largest dimension of the spaces.
    fresh
        Draws a direction where a space is exhausted; without it the space ends there, with zeros behind.

    Attributes
    ----------
    diagonal, beside
        Of the tridiagonal matrices, ``(R, k, steps)``; ``beside[..., j]`` joins j and j + 1.
    basis
        ``(R, k, steps, D)``.
    done
        Steps that were made.
    """

    def __init__(
        self, product: Callable[[Tensor], Tensor], start: Tensor, steps: int, fresh: Draw | None = None
    ) -> None:
        self.product, self.steps, self.fresh, self.done = product, steps, fresh, 0
        self.basis = start.new_empty(*start.shape[:2], steps, start.shape[2])
        self.basis[:, :, 0] = start / start.norm(dim=2, keepdim=True)
        self.diagonal = start.new_zeros(*start.shape[:2], steps)
        self.beside = start.new_zeros(*start.shape[:2], steps)
        self.size = start.new_zeros(start.shape[:2])
        self.eps = torch.finfo(start.dtype).eps

    def step(self) -> None:
        """Add one vector to every space."""
        j = self.done
        w = self.product(self.basis[:, :, j])
        before = w.norm(dim=2)
        along = self._orthogonalise(w, j + 1)
        self.diagonal[:, :, j] = along[..., j]
        norm = w.norm(dim=2)
        again = norm < KAPPA * before
        if again.any():
            self.diagonal[:, :, j] += self._again(w, again, j)
            norm = w.norm(dim=2)
        self.size = torch.maximum(self.size, before)
        self.done = j + 1
        if self.done == self.steps:
            self.beside[:, :, j] = norm
            return
        ended = norm <= 10 * self.eps * self.size
        self.beside[:, :, j] = norm.masked_fill(ended, 0)
        self.basis[:, :, j + 1] = (w / norm.clamp(min=torch.finfo(w.dtype).tiny)[..., None]).masked_fill(
            ended[..., None], 0
        )
        if ended.any() and self.fresh is not None:
            for r, k in ended.nonzero().tolist():
                self._restart(r, k, j + 1)

    def _orthogonalise(self, w: Tensor, count: int) -> Tensor:
        """Take from ``w`` what lies in the spaces so far, in place; return how much, ``(R, k, count)``."""
        flat, basis = w.flatten(0, 1), self.basis.flatten(0, 1)[:, :count]
        along = torch.bmm(basis, flat[..., None])
        flat -= torch.bmm(along.mT, basis)[:, 0]
        return along[..., 0].unflatten(0, w.shape[:2])

    def _again(self, w: Tensor, which: Tensor, j: int) -> Tensor:
        """Orthogonalise the chosen ``(R, k)`` once more; return what it adds to the diagonal."""
        added = torch.zeros_like(self.diagonal[:, :, j])
        for r, k in which.nonzero().tolist():
            basis = self.basis[r, k, : j + 1]
            along = basis @ w[r, k]
            w[r, k] -= along @ basis
            added[r, k] = along[j]
        return added

    def _restart(self, r: int, k: int, j: int) -> None:
        """Begin anew in a direction outside the space."""
        assert self.fresh is not None
        w = self.fresh(r, k, j).to(self.basis)
        basis = self.basis[r, k, :j]
        for _ in range(2):
            w = w - (basis @ w) @ basis
        self.basis[r, k, j] = w / w.norm()

    def tridiagonal(self) -> Tensor:
        """Return the matrices, float64 on the CPU, ``(R, k, done, done)``."""
        diagonal = self.diagonal[..., : self.done].cpu().double()
        beside = self.beside[..., : self.done - 1].cpu().double()
        return torch.diag_embed(diagonal) + torch.diag_embed(beside, 1) + torch.diag_embed(beside, -1)
