"""Eigenpairs of symmetric tensors: evaluation, Newton's method and a certificate.

An eigenpair of a symmetric tensor T of order p is ``T x^{p-1} = lambda x``, and with x its multiples
c x are one class, a point of projective space.
A class is held as a unit vector; lambda is ``x^H T x^{p-1}``.
Every function works on a flat batch of R vectors, of which `instance` names the tensor.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

MANY = 24
"""Vectors per tensor from which one matrix product per tensor is faster than one per vector."""


class Tensors:
    """I symmetric tensors of order p >= 2, stored for products with p - 2 equal factors.

    Parameters
    ----------
    tensors
        Shape (I, n, ..., n), symmetric in its p axes.
    """

    def __init__(self, tensors: Tensor) -> None:
        self.count, self.n, self.p = tensors.shape[0], tensors.shape[-1], tensors.dim() - 1
        rows = list(itertools.combinations_with_replacement(range(self.n), self.p - 2))
        repeats = [_arrangements(row) for row in rows]
        self.rows = torch.tensor(rows, device=tensors.device).mT.contiguous()
        chosen = tensors[(slice(None), *self.rows)]
        factor = torch.tensor(repeats, dtype=tensors.dtype, device=tensors.device)
        self.weights = (chosen * factor[:, None, None]).reshape(self.count, len(rows), self.n**2)
        self.norm = tensors.flatten(1).norm(dim=1)

    def to(self, dtype: torch.dtype) -> Tensors:
        """Return the same tensors in another type."""
        other = object.__new__(Tensors)
        other.__dict__.update(self.__dict__)
        other.weights = self.weights.to(dtype)
        return other

    def slopes(self, x: Tensor, instance: Tensor, sizes: list[int]) -> Tensor:
        """Return ``T x^{p-2}``, shape (R, n, n), at vectors (R, n) sorted by instance.

        Parameters
        ----------
        x
            Shape (R, n).
        instance
            Number of each vector's tensor, shape (R,), ascending.
        sizes
            How many vectors each of the I tensors has.
        """
        products = x if self.p == 3 else x.new_ones(len(x), 1)
        if self.p > 3:
            products = x[:, self.rows[0]]
            for row in self.rows[1:]:
                products = products * x[:, row]
        if self.count == 1:
            out = products @ self.weights[0]
        elif x.is_cuda or len(x) < MANY * self.count:
            out = torch.bmm(products[:, None], self.weights[instance])
        else:
            out = x.new_empty(len(x), self.n**2)
            for part, into, weights in zip(
                products.split(sizes), out.split(sizes), self.weights, strict=True
            ):
                torch.mm(part, weights, out=into)
        return out.view(len(x), self.n, self.n)


def _arrangements(row: tuple[int, ...]) -> int:
    """Count the orders in which a sorted tuple of axes can be written."""
    return math.factorial(len(row)) // math.prod(math.factorial(row.count(i)) for i in set(row))


def norms(x: Tensor) -> Tensor:
    """Return Euclidean norms (R,) of real or complex vectors (R, n)."""
    flat = torch.view_as_real(x.contiguous()).flatten(1) if x.is_complex() else x
    return flat.square().sum(1).sqrt()


def unit(x: Tensor) -> Tensor:
    """Return vectors (R, n) divided by their norms."""
    return x / norms(x)[:, None]


def conj(x: Tensor) -> Tensor:
    """Return the complex conjugate as numbers in memory, which most operations are faster on."""
    return x.conj().resolve_conj()


def eigenvalues(x: Tensor, slopes: Tensor) -> tuple[Tensor, Tensor]:
    """Return lambda (R,) and ``T x^{p-1} - lambda x`` (R, n) at unit vectors with ``T x^{p-2}``."""
    values = torch.bmm(slopes, x[:, :, None])[:, :, 0]
    eigenvalue = (conj(x) * values).sum(1)
    return eigenvalue, values - eigenvalue[:, None] * x


def jacobian(p: int, x: Tensor, slopes: Tensor, eigenvalue: Tensor) -> Tensor:
    """Turn ``(p-1) T x^{p-2}`` into Newton's matrix, in place.

    It is ``(p-1) T x^{p-2} - lambda - ((p-2) lambda - 1) x x^H``.
    At an eigenpair it maps x to x, and P times its inverse, P = 1 - x x^H, solves the equations
    bordered by lambda and by the gauge ``x^H dx = 0``.
    """
    slopes.diagonal(dim1=1, dim2=2).sub_(eigenvalue[:, None])
    pull = conj(x) * (1 - (p - 2) * eigenvalue)[:, None]
    return slopes.addcmul_(x[:, :, None], pull[:, None, :])


def newton_step(tensors: Tensors, x: Tensor, instance: Tensor, sizes: list[int]) -> Tensor:
    """Return Newton's correction dx (R, n), with ``x^H dx = 0``, at unit vectors; not finite if singular."""
    slopes = tensors.slopes(x, instance, sizes)
    eigenvalue, residual = eigenvalues(x, slopes)
    matrix = jacobian(tensors.p, x, slopes.mul_(tensors.p - 1), eigenvalue)
    step = torch.linalg.solve_ex(matrix, residual[:, :, None])[0][:, :, 0]
    return x * (conj(x) * step).sum(1, keepdim=True) - step


def certify(tensors: Tensors, x: Tensor, instance: Tensor, sizes: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Bound how far a true eigenpair can be (Newton-Kantorovich), in floating-point arithmetic.

    With kappa a bound of the inverse Jacobian of the bordered equations, L a Lipschitz constant of
    the Jacobian in the unit ball about x and eps the residual with what rounding may add, Newton's
    method from x converges to a solution when ``kappa^2 L eps <= 1/2``, and then exactly one solution
    is nearer than ``1 / (kappa L)``.

    Returns
    -------
    tuple of Tensor
        The Kantorovich number ``kappa^2 L eps``, the radius ``2 kappa eps`` about x that holds the
        solution, and the radius ``1 / (kappa L)`` in which it is the only one; each (R,).
    """
    p, n = tensors.p, tensors.n
    slopes = tensors.slopes(x, instance, sizes)
    eigenvalue, residual = eigenvalues(x, slopes)
    inverse, singular = torch.linalg.inv_ex(jacobian(p, x, slopes.mul_(p - 1), eigenvalue))
    size = torch.where(singular == 0, norms(inverse.flatten(1)), torch.inf)
    kappa = (size.square() + 1 + ((p - 2) * eigenvalue.abs()).square()).sqrt()
    norm = tensors.norm[instance]
    lipschitz = (p - 1) * (p - 2) * 2 ** (p - 3) * norm + 1
    eps = norms(residual) + n * torch.finfo(x.real.dtype).eps * (norm + 1)
    return kappa.square() * lipschitz * eps, 2 * kappa * eps, 1 / (kappa * lipschitz)
