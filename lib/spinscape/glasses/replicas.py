"""Many descents of one instance beside each other: how often they agree, and how often they win.

Functions of arrays that descents return; instances are the independent seeds.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from spinscape.glasses.pspin import PSpin
from spinscape.glasses.slices import curvature

Floats = NDArray[np.float64]


def overlaps(points: ArrayLike) -> Floats:
    """Return the overlaps of all pairs of an instance's points.

    Parameters
    ----------
    points
        Shape (I, K, n) with ``|s|^2 = n``.

    Returns
    -------
    ndarray
        ``q = s.s' / n``, shape (I, K (K - 1) / 2).

    Raises
    ------
    ValueError
        If the shape is another, or there are fewer than two points.
    """
    rows = np.asarray(points, float)
    if rows.ndim != 3 or rows.shape[1] < 2:
        raise ValueError(f"points must have shape (I, K, n) with at least two points, not {rows.shape}")
    upper = np.triu_indices(rows.shape[1], 1)
    return (rows @ rows.swapaxes(1, 2) / rows.shape[2])[:, *upper]


def restarts(energies: ArrayLike, *, within: float) -> Floats:
    """Return how many descents it takes, in the mean, to come close to the lowest energy seen.

    Where the true ground state was not among the descents the number is too small, so it bounds the true
    one from below.

    Parameters
    ----------
    energies
        Energy per spin at the end of each descent, shape (I, K).
    within
        How close counts, in energy per spin; positive.

    Returns
    -------
    ndarray
        One over the share of descents within that distance of the instance's lowest, shape (I,); at
        most K.

    Raises
    ------
    ValueError
        If the shape is another, an energy is not finite, or `within` is not positive.
    """
    rows = np.asarray(energies, float)
    if rows.ndim != 2 or not rows.size or not np.isfinite(rows).all():
        raise ValueError(f"energies must be finite and of shape (I, K), not {rows.shape}")
    if not within > 0:
        raise ValueError(f"within must be positive, not {within}")
    return 1 / (rows <= rows.min(1, keepdims=True) + within).mean(1)


def hessian_edge(glass: PSpin, points: torch.Tensor) -> Floats:
    """Estimate the energy at which the spectrum of an instance's Hessians loses its lower edge.

    At any point the Riemannian Hessian is a random matrix minus p u times the identity.
    The edge of its semicircle is twice the root of the mean square of the centred eigenvalues, and p u
    has to reach minus that edge for the spectrum to touch zero (Auffinger, Ben Arous and Cerny 2013).

    Parameters
    ----------
    glass
        I instances.
    points
        Points on the sphere, shape (I, K, n).

    Returns
    -------
    ndarray
        The edge divided by p, an estimate of E_inf, shape (I,).
    """
    dimension = glass.n - 1
    shift = glass.p * glass.energy_per_spin(points)
    squares = _sum_of_squares(glass.hessian(points), shift) / dimension
    return 2 * squares.mean(1).sqrt().double().numpy(force=True) / glass.p


def _sum_of_squares(hessian: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """Sum of the squared eigenvalues of ``hessian + shift``, (I, K)."""
    return (
        hessian.square().sum((-2, -1))
        + 2 * shift * hessian.diagonal(dim1=-2, dim2=-1).sum(-1)
        + hessian.shape[-1] * shift.square()
    )


def negative_share(glass: PSpin, points: torch.Tensor) -> Floats:
    """Return the share of points (I, K, n) with a direction of negative curvature, shape (I,)."""
    return (curvature(glass, points)[0] < 0).mean(1)
