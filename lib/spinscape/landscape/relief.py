"""How rough a surface is, and how wide and deep its basin: measures of values on a square grid.

All functions take ``(..., G, G)`` values, of a loss or of any energy, and return one number per surface.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import map_coordinates

Floats = NDArray[np.float64]

RAYS = 64
"""Directions in which the width of a basin is measured."""


@dataclass(frozen=True)
class Roughness:
    """Mean squared Laplacians of surfaces.

    Attributes
    ----------
    laplacian
        Mean over inner points of the squared Laplacian, value^2 / coordinate^4, ``(...)``.
    relative
        The same of the values divided by their range on the grid, so that the unit of the loss drops out.
    uneven
        Variance over inner points of the Laplacian of the values divided by their range: zero for a
        paraboloid, whatever its curvature.
    minima
        Number of inner points below all eight neighbours, ``(...)``; whole numbers, or NaN.
    """

    laplacian: Floats
    relative: Floats
    uneven: Floats
    minima: Floats


@dataclass(frozen=True)
class Width:
    """Widths of basins.

    Attributes
    ----------
    radius
        Mean over rays from the centre of the distance at which the surface first exceeds its centre by the
        threshold, in units of the coordinate, ``(...)``.
    censored
        Share of rays that do not reach the threshold within the grid's inscribed circle; they count with its
        radius, so where this is above zero `radius` is a lower bound.
    """

    radius: Floats
    censored: Floats


def laplacian(values: ArrayLike, axis: ArrayLike) -> Floats:
    """Return the five-point Laplacian at inner points, ``(..., G, G)`` to ``(..., G - 2, G - 2)``."""
    surface, spacing = _checked(values, axis)
    inner = surface[..., 1:-1, 1:-1]
    around = (
        surface[..., 2:, 1:-1] + surface[..., :-2, 1:-1] + surface[..., 1:-1, 2:] + surface[..., 1:-1, :-2]
    )
    return (around - 4 * inner) / spacing**2


def roughness(values: ArrayLike, axis: ArrayLike) -> Roughness:
    """Measure how rough surfaces are.

    Parameters
    ----------
    values
        Surfaces ``(..., G, G)``, G at least 3.
    axis
        Equally spaced coordinates of both directions, ``(G,)``.

    Returns
    -------
    Roughness
        NaN where a surface has values that are not finite; relative measures of a constant surface are zero.

    Raises
    ------
    ValueError
        If the shapes do not fit or the axis is not equally spaced.
    """
    bends = laplacian(values, axis)
    surface = np.asarray(values, float)
    spread = surface.max((-2, -1)) - surface.min((-2, -1))
    squares = (bends**2).mean((-2, -1))
    scale = np.where(spread > 0, spread, 1.0) ** 2
    return Roughness(squares, squares / scale, bends.var((-2, -1)) / scale, local_minima(surface))


def local_minima(values: ArrayLike, *, margin: float = 0.0) -> Floats:
    """Count inner local minima, ``(..., G, G)`` to ``(...)``; NaN where a value is not finite.

    Minima on the rim are not counted: what lies beyond it is not known.
    See `minima_mask` for the parameters and errors.
    """
    count = minima_mask(values, margin=margin).sum((-2, -1))
    return np.where(np.isfinite(np.asarray(values, float)).all((-2, -1)), count, np.nan)


def minima_mask(values: ArrayLike, *, margin: float = 0.0) -> NDArray[np.bool_]:
    """Mark inner points that lie below all eight neighbours by more than a margin.

    Parameters
    ----------
    values
        Surfaces ``(..., G, G)``.
    margin
        Differences up to this do not count, such as rounding.

    Returns
    -------
    ndarray
        Bool ``(..., G, G)``, False on the rim.

    Raises
    ------
    ValueError
        If the shape does not fit or the margin is negative.
    """
    surface = np.asarray(values, float)
    if surface.ndim < 2 or min(surface.shape[-2:]) < 3:
        raise ValueError(f"values must have shape (..., G, G) with G at least 3, not {surface.shape}")
    if not margin >= 0:
        raise ValueError(f"margin must not be negative, not {margin}")
    rows, columns = surface.shape[-2:]
    marked = np.zeros(surface.shape, bool)
    inner, lowest = surface[..., 1:-1, 1:-1], marked[..., 1:-1, 1:-1]
    lowest[...] = True
    for i in range(3):
        for j in range(3):
            if (i, j) != (1, 1):
                lowest &= inner + margin < surface[..., i : rows - 2 + i, j : columns - 2 + j]
    return marked


def negative_share(curvature: ArrayLike, *, tolerance: float = 1e-4) -> Floats:
    """Return the share of a slice's points whose smallest Hessian eigenvalue is negative.

    Parameters
    ----------
    curvature
        Smallest eigenvalues ``(..., G, G)``.
    tolerance
        What is below zero by less than this share of the largest magnitude on the slice counts as zero: a
        network has directions in which its loss does not change.

    Returns
    -------
    ndarray
        ``(...)``; NaN where a value is not finite.

    Raises
    ------
    ValueError
        If there are no two axes or the tolerance is negative.
    """
    smallest = np.asarray(curvature, float)
    if smallest.ndim < 2 or not tolerance >= 0:
        raise ValueError(
            f"curvature must have shape (..., G, G) and tolerance not be negative, not {smallest.shape} "
            f"and {tolerance}"
        )
    scale = np.abs(smallest).max((-2, -1), keepdims=True)
    share = (smallest < -tolerance * scale).mean((-2, -1))
    return np.where(np.isfinite(scale[..., 0, 0]), share, np.nan)


def basin_width(values: ArrayLike, axis: ArrayLike, threshold: ArrayLike) -> Width:
    """Measure how far from the centre a surface stays below its value there plus a threshold.

    Parameters
    ----------
    values
        Surfaces ``(..., G, G)``, G odd; the centre is the middle point.
    axis
        Equally spaced coordinates, ``(G,)``, 0 in the middle.
    threshold
        Positive rise, in the unit of the values; a number or ``(...)``.

    Returns
    -------
    Width
        Along `RAYS` rays with bilinear interpolation between grid points (which makes a paraboloid of six
        spacings' radius half a percent narrower).
        NaN where the value at the centre is not finite or another one is NaN or minus infinity; plus
        infinity exceeds every threshold.

    Raises
    ------
    ValueError
        If the shapes do not fit, the axis is not symmetric or a threshold is not positive.
    """
    surface, spacing = _checked(values, axis)
    coordinates = np.asarray(axis, float)
    half = len(coordinates) // 2
    if len(coordinates) % 2 == 0 or abs(coordinates[half]) > 1e-9 * spacing:
        raise ValueError("the axis must be symmetric with 0 in its middle")
    rise = np.broadcast_to(np.asarray(threshold, float), surface.shape[:-2])
    if not (rise > 0).all():
        raise ValueError("threshold must be positive")
    steps = np.linspace(0, half, 4 * half + 1)
    angles = 2 * np.pi * np.arange(RAYS) / RAYS
    places = half + steps * np.stack([np.cos(angles), np.sin(angles)])[..., None]
    reach = np.empty((*surface.shape[:-2], RAYS))
    censored = np.empty(reach.shape, bool)
    for index in np.ndindex(surface.shape[:-2]):
        along = map_coordinates(surface[index], places, order=1, mode="nearest")
        with np.errstate(invalid="ignore"):
            heights = along - surface[index][half, half]
        reach[index], censored[index] = _first_above(heights, float(rise[index]), steps)
    sound = np.isfinite(surface[..., half, half]) & (surface > -np.inf).all((-2, -1))
    radius, share = reach.mean(-1) * spacing, censored.mean(-1)
    return Width(np.where(sound, radius, np.nan), np.where(sound, share, np.nan))


def _first_above(heights: Floats, rise: float, steps: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Return where rays ``(K, S)`` first exceed a rise, and whether they never do."""
    above = ~(heights <= rise)
    never = np.asarray(~above.any(axis=1))
    k = np.where(never, heights.shape[1] - 1, above.argmax(1)).clip(1)
    rows = np.arange(len(heights))
    low, high = heights[rows, k - 1], heights[rows, k]
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.clip(np.nan_to_num((rise - low) / (high - low), nan=0.0), 0, 1)
    reached = np.where(never, steps[-1], steps[k - 1] + share * (steps[k] - steps[k - 1]))
    return reached, never


def basin_depth(values: ArrayLike) -> Floats:
    """Return the mean over the rim of the grid minus the lowest value on the grid, ``(...)``."""
    surface = np.asarray(values, float)
    if surface.ndim < 2 or surface.shape[-1] != surface.shape[-2] or surface.shape[-1] < 3:
        raise ValueError(f"values must have shape (..., G, G) with G at least 3, not {surface.shape}")
    rim = [surface[..., 0, :], surface[..., -1, :], surface[..., 1:-1, 0], surface[..., 1:-1, -1]]
    return np.concatenate(rim, axis=-1).mean(-1) - surface.min((-2, -1))


def _checked(values: ArrayLike, axis: ArrayLike) -> tuple[Floats, float]:
    """Return the values and the spacing of the axis."""
    surface, coordinates = np.asarray(values, float), np.asarray(axis, float)
    size = len(coordinates) if coordinates.ndim == 1 else 0
    if size < 3 or surface.shape[-2:] != (size, size):
        raise ValueError(
            f"values must have shape (..., G, G) and the axis (G,) with G at least 3, not {surface.shape} "
            f"and {coordinates.shape}"
        )
    gaps = np.diff(coordinates)
    if not gaps[0] > 0 or not np.allclose(gaps, gaps[0], rtol=1e-6):
        raise ValueError("the axis must be equally spaced and increasing")
    return surface, float((coordinates[-1] - coordinates[0]) / (size - 1))
