"""Energies and Hessians at real eigenvectors, and the flat arrays that hold them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from spinscape.glasses._eigenpairs import Tensors, eigenvalues, norms
from spinscape.glasses.pspin import tangent_basis


@dataclass
class Landscape:
    """What is known at R real unit eigenvectors: see `critical_points.Found`."""

    energy: Tensor
    eigenvalues: Tensor
    residual: Tensor


def landscape(tensors: Tensors, x: Tensor, instance: Tensor) -> Landscape:
    """Return energies per spin (R,), Hessian eigenvalues (R, n-1) and residuals (R,).

    Parameters
    ----------
    tensors
        The couplings divided by ``sqrt(n)``, real.
    x
        Real unit eigenvectors, shape (R, n), sorted by instance.
    instance
        Number of each one's tensor, (R,).
    """
    if tensors.p == 2:
        return _matrices(tensors, x, instance)
    p, n = tensors.p, tensors.n
    sizes = torch.bincount(instance, minlength=tensors.count).tolist()
    slopes = tensors.slopes(x, instance, sizes)
    energy, rest = eigenvalues(x, slopes)
    basis = tangent_basis(n**0.5 * x)
    hessian = torch.bmm(basis.mT, torch.bmm(slopes, basis)).mul_(p * (p - 1))
    hessian.diagonal(dim1=1, dim2=2).sub_(p * energy[:, None])
    return Landscape(energy, torch.linalg.eigvalsh(hessian), p * norms(rest))


def _matrices(tensors: Tensors, x: Tensor, instance: Tensor) -> Landscape:
    """Do the same for matrices: at the eigenvector of l_i the Hessian's eigenvalues are 2 (l_j - l_i)."""
    n = tensors.n
    matrices = tensors.weights.view(tensors.count, n, n)
    sizes = torch.bincount(instance, minlength=tensors.count).tolist()
    values = torch.cat([part @ one for part, one in zip(x.split(sizes), matrices, strict=True)])
    energy = (x * values).sum(1)
    apart = torch.linalg.eigvalsh(matrices)[instance] - energy[:, None]
    others = torch.ones_like(apart, dtype=torch.bool)
    others.scatter_(1, apart.abs().argmin(1, keepdim=True), False)
    rest = norms(values - energy[:, None] * x)
    return Landscape(energy, 2 * apart[others].view(len(x), n - 1), 2 * rest)
