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
    """Estimate the energy at which an instance's Hessians lose their lowest eigenvalue.

    At any point the Riemannian Hessian is a random matrix minus p u times the identity, and its lowest
    eigenvalue is zero where u is that of the random matrix over p.
    The matrix has n - 1 rows and entries of variance p (p - 1) / n; scaled by sqrt(n / (n - 1)) it is a
    Gaussian orthogonal matrix of its dimension, whose lowest eigenvalue approaches the edge of the limiting
    spectrum as ``(n - 1)^(-2/3)``.

    Parameters
    ----------
    glass
        I instances.
    points
        Points on the sphere, shape (I, K, n).

    Returns
    -------
    ndarray
        Mean over the points of minus that energy, which tends to E_inf, shape (I,).
    """
    lowest = torch.linalg.eigvalsh(glass.hessian(points))[..., 0]
    energy = glass.energy_per_spin(points)
    edge = -(lowest / glass.p + energy).mean(1).double().numpy(force=True)
    return edge * np.sqrt(glass.n / (glass.n - 1))


def misfits(sizes: ArrayLike, values: ArrayLike) -> tuple[float, float]:
    """Root mean square of what an exponential and a power of the size leave of the logarithms of values.

    Parameters
    ----------
    sizes
        Shape (S,), at least three, positive.
    values
        Positive, shape (S,).

    Returns
    -------
    tuple
        Of the exponential and of the power; NaN with fewer than three sizes.
    """
    n, logs = np.asarray(sizes, float), np.log(np.asarray(values, float))
    if len(n) < 3:
        return float("nan"), float("nan")
    left = [logs - np.polyval(np.polyfit(x, logs, 1), x) for x in (n, np.log(n))]
    first, second = (float(np.sqrt(np.mean(part**2))) for part in left)
    return first, second


def negative_share(glass: PSpin, points: torch.Tensor) -> Floats:
    """Return the share of points (I, K, n) with a direction of negative curvature, shape (I,)."""
    return (curvature(glass, points)[0] < 0).mean(1)
