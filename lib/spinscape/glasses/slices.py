"""Two-dimensional slices of the energy: a plane of points around a centre, pushed to the sphere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spinscape.glasses._arguments import whole
from spinscape.glasses._memory import chunk_bytes
from spinscape.glasses.pspin import PSpin, check_points, random_points, to_sphere

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Slice:
    """Energies on a square grid.

    Axes: I instances, a grid of G x G points.

    Attributes
    ----------
    axis
        Coordinate along both directions, in units of the sphere's radius, shape (G,).
    energy
        Energy per spin, shape (I, G, G); the first direction runs along the rows.
    smallest
        Smallest eigenvalue of the Riemannian Hessian, shape (I, G, G).
    negative
        Share of negative Hessian eigenvalues, shape (I, G, G).
    """

    axis: Floats
    energy: Floats
    smallest: Floats
    negative: Floats

    @property
    def negative_fraction(self) -> Floats:
        """Share of grid points with a negative Hessian eigenvalue, shape (I,)."""
        return (self.smallest < 0).mean((1, 2))


def plane_points(center: Tensor, directions: Tensor, extent: float, grid: int) -> Tensor:
    """Points of a plane around a centre, scaled back to the sphere ``|s|^2 = n``.

    The directions are made orthonormal and tangent; at (a, b) the point is that of the sphere above
    ``center / sqrt(n) + a d_1 + b d_2``.

    Parameters
    ----------
    center
        A point on the sphere, shape (n,).
    directions
        Two directions, shape (2, n).
    extent
        Half the side of the plane, in units of the sphere's radius.
    grid
        Points along a side, at least 2.

    Returns
    -------
    Tensor
        Shape (grid * grid, n); the first direction runs slowest.

    Raises
    ------
    ValueError
        If shapes do not fit, n is below 3, the directions are parallel or not tangent at all, or
        `extent` or `grid` is too small.
    """
    n = center.shape[-1]
    if center.dim() != 1 or tuple(directions.shape) != (2, n) or n < 3:
        raise ValueError(
            f"center must be (n,) with n >= 3 and directions (2, n), not {tuple(center.shape)} and "
            f"{tuple(directions.shape)}"
        )
    if not 0 < extent < float("inf"):
        raise ValueError(f"extent must be positive and finite, not {extent}")
    grid = whole(grid, "grid", 2)
    unit = center / torch.linalg.vector_norm(center)
    q, r = torch.linalg.qr(torch.stack([unit, *directions.to(center)], 1))
    size = torch.linalg.vector_norm(directions.to(center), dim=1)
    if bool((r.diagonal()[1:].abs() <= 1e-6 * size).any()):
        raise ValueError("directions must be independent of each other and of the centre")
    first, second = (q[:, 1:] * torch.sign(r.diagonal()[1:])).T
    axis = torch.linspace(-extent, extent, grid).to(center)
    plane = unit + axis[:, None, None] * first + axis[None, :, None] * second
    return to_sphere(plane.reshape(-1, n))


def energy_slice(
    glass: PSpin,
    *,
    centres: Tensor | None = None,
    extent: float = 1.5,
    grid: int = 51,
    seed: int = 0,
) -> Slice:
    """Energy and curvature of every instance on a random plane of its own.

    A plane and the centre of the sphere span three dimensions, so the energy on a slice is that of a glass
    of three spins on half of its sphere, whatever n is.

    Parameters
    ----------
    glass
        I instances of at least 3 spins.
    centres
        Points on the sphere that the planes touch, shape (I, n); random ones by default.
    extent, grid
        As for `plane_points`.
    seed
        Seed of centres and directions; those of instance i depend on the seed, n and i only.

    Raises
    ------
    ValueError
        As `plane_points`.
    """
    # Points of a plane are written out a few times: unit, scaled, contracted.
    check_points(len(glass), whole(grid, "grid", 2) ** 2, glass.n, glass.device, copies=6)
    drawn = random_points(len(glass), 3, glass.n, seed=seed).to(glass.couplings)
    if centres is not None:
        if tuple(centres.shape) != (len(glass), glass.n):
            raise ValueError(f"centres must have shape {(len(glass), glass.n)}, not {tuple(centres.shape)}")
        drawn[:, 0] = glass.on_sphere(centres[:, None])[:, 0]
    points = torch.stack([plane_points(one[0], one[1:], extent, grid) for one in drawn])
    smallest, negative = curvature(glass, points)
    shape = (len(glass), grid, grid)
    return Slice(
        axis=np.linspace(-extent, extent, grid),
        energy=glass.energy_per_spin(points).double().cpu().numpy().reshape(shape),
        smallest=smallest.reshape(shape),
        negative=negative.reshape(shape),
    )


def curvature(glass: PSpin, points: Tensor) -> tuple[Floats, Floats]:
    """Return the smallest Hessian eigenvalue and the share of negative ones at points (I, K, n): both (I, K).

    Raises
    ------
    ValueError
        If a point is off the sphere.
    """
    size = max(1, 4 * chunk_bytes(glass.device) // (len(glass) * glass.n**2 * glass.couplings.element_size()))
    parts = [torch.linalg.eigvalsh(glass.hessian(part)) for part in points.split(size, dim=1)]
    values = torch.cat(parts, 1).double().cpu().numpy()
    return values[..., 0], (values < 0).mean(-1)
