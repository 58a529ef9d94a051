"""Where the basin of a minimum is certain, and the last digits of the minimum."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from spinscape.glasses._memory import chunk_bytes
from spinscape.glasses.pspin import PSpin, from_tangent, to_sphere, to_tangent

NEWTON_STEPS = 8
"""From a certified point Newton's method needs about five."""


def third_derivative_bound(glass: PSpin) -> Tensor:
    """Bound on the derivative of the Riemannian Hessian along unit geodesics, per instance, shape (I,).

    With ``M >= max |H| / n`` every derivative of H is bounded (Banach 1938), and the third one together
    with the sphere's own terms by ``p^3 M / sqrt(n)``; M is the largest singular value of the couplings
    as an n x n^{p-1} matrix, over sqrt(n).
    """
    flat = glass.couplings.flatten(2)
    largest = torch.stack([torch.linalg.eigvalsh(one @ one.mT)[-1] for one in flat]).sqrt()
    return glass.p**3 * largest / glass.n


def certified(glass: PSpin, points: Tensor, near: Tensor, norm: Tensor, third: Tensor) -> Tensor:
    """Tell which of the points marked `near` (I, K) surely lie in the basin of a minimum close by.

    With a Hessian above m and a derivative of it below K, the energy is convex, above m/2, within
    ``r = m/(2K)``; where ``|grad| < m r / 4`` it is higher all around at that distance, so descent stays.
    """
    proven = torch.zeros_like(near)
    for columns, part in _parts(glass, points, first_columns(near)):
        allowed = (8 * third * norm.gather(1, columns)).sqrt()
        hessian = glass.hessian(part)
        hessian.diagonal(dim1=-2, dim2=-1).sub_(allowed[..., None])
        found = torch.linalg.cholesky_ex(hessian).info == 0
        proven.scatter_(1, columns, found)
    return proven & near


def polish(glass: PSpin, points: Tensor, safe: Tensor) -> tuple[Tensor, Tensor]:
    """Newton's method from the points marked `safe` (I, K); also the smallest eigenvalue at all points."""
    points, smallest = points.clone(), torch.empty(points.shape[:2]).to(points)
    everything = torch.arange(points.shape[1], device=points.device).expand(len(points), -1)
    for columns, part in _parts(glass, points, everything):
        move = safe.gather(1, columns)[..., None]
        for _ in range(NEWTON_STEPS):
            gradient = glass.energy_and_gradient(part, checked=True)[1]
            solved, _ = torch.linalg.solve_ex(glass.hessian(part), to_tangent(gradient, part)[..., None])
            new = to_sphere(part - from_tangent(solved[..., 0], part))
            change = (new - part).abs().amax(-1, keepdim=True)
            part = torch.where(move, new, part)
            if not bool((move & (change > 4 * torch.finfo(part.dtype).eps ** 0.75)).any()):
                break
        points[:, columns[0]] = part
        smallest[:, columns[0]] = torch.linalg.eigvalsh(glass.hessian(part))[..., 0]
    return points, smallest


def first_columns(marked: Tensor) -> Tensor:
    """Columns of the marked entries of each row, padded with others where a row has fewer of them."""
    most = int(marked.sum(1).max())
    return torch.argsort(marked.int(), dim=1, descending=True, stable=True)[:, :most]


def _parts(glass: PSpin, points: Tensor, index: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield columns and the points there, as many at a time as their Hessians may take."""
    size = max(1, 4 * chunk_bytes(glass.device) // (len(points) * glass.n**2 * points.element_size()))
    for first in range(0, index.shape[1], size):
        columns = index[:, first : first + size]
        yield columns, points.gather(1, columns[..., None].expand(-1, -1, glass.n))
