"""Maps through three networks: the points of a triangle between them, and beyond its sides."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spinscape.landscape.paths.combination import Floats, Path, euclidean, same_size, weights_of
from spinscape.landscape.paths.sphere import (
    VANISHING,
    Sphere,
    angles,
    by_parameter,
    check_memory,
    combined,
    spheres,
    unit_norms,
)
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.units import Description

KINDS = ("linear", "geodesic")


@dataclass(frozen=True)
class Triangle:
    """K points of each of P triangles, and where to draw them.

    Attributes
    ----------
    path
        The points; its positions t are their numbers.
    weights
        Barycentric coordinates of the points, ``(K, 3)``; negative beyond a side.
    x, y
        Coordinates in the plane, ``(P, K)``: sides are as long as the networks are apart, along the straight
        line or the geodesic; the first network is at the origin, the second on the x axis.
    corners
        Where the networks are, ``(P, 3, 2)``.
    at_corners
        The numbers of the points that are the networks themselves, ``(3,)``.
    cells
        Numbers of the points at the corners of the small triangles of the lattice, ``(T, 3)``.
    """

    path: Path = field(repr=False)
    weights: Floats
    x: Floats
    y: Floats
    corners: Floats
    at_corners: NDArray[np.int64]
    cells: NDArray[np.int64]


def triangle(
    a: Ensemble,
    b: Ensemble,
    c: Ensemble,
    grid: int = 21,
    kind: str = "linear",
    *,
    margin: float = 0.0,
    description: Description | None = None,
) -> Triangle:
    """Return the points of the triangles between networks.

    Parameters
    ----------
    a, b, c
        P networks each, or one for all.
    grid
        Points on a side, at least 2.
    kind
        ``"linear"``: points of the plane, ``w_a a + w_b b + w_c c``.
        ``"geodesic"``: of networks in normal form, that sum of every unit's vectors divided by its norm;
        along the sides these are the geodesics, at another speed.
    margin
        How far the map goes on beyond each side, as a share of the height; rounded up to whole steps.
    description
        The hidden units, for a geodesic map; by default those of the model.

    Returns
    -------
    Triangle

    Raises
    ------
    ValueError
        If an argument is out of range, the ensembles do not fit, or for a geodesic map, if networks are not
        in normal form, or the sum vanishes at a point; the unit is named.
    MemoryError
        If the coefficients of a geodesic map do not fit in memory.
    """
    if int(grid) != grid or grid < 2:
        raise ValueError(f"grid must be a whole number of at least 2, not {grid}")
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {KINDS}, not {kind!r}")
    if not 0 <= margin <= 10:
        raise ValueError(f"margin must be between 0 and 10, not {margin}")
    weights, at_corners, cells = _lattice(int(grid), margin)
    networks = same_size((a, b, c))
    number = np.arange(len(weights), dtype=np.float64)
    if kind == "linear":
        path = euclidean(number, networks, weights.T)
        lengths = [_distance(*two) for two in _sides(networks)]
    else:
        path, lengths = _on_spheres(number, networks, weights, description)
    corners = _corners(*lengths)
    x, y = np.moveaxis(weights @ corners, -1, 0)
    return Triangle(path, weights, x, y, corners, at_corners, cells)


def _lattice(grid: int, margin: float) -> tuple[Floats, NDArray[np.int64], NDArray[np.int64]]:
    """Return weights ``(K, 3)``, the numbers of the corners, and the small triangles ``(T, 3)``."""
    steps = grid - 1
    beyond = ceil(margin * steps - 1e-9)
    total = steps + 3 * beyond
    steps_both_ways = np.add.outer(np.arange(total + 1), np.arange(total + 1))
    j, k = np.nonzero(steps_both_ways <= total)
    counts = np.stack([total - j - k, j, k], -1) - beyond
    number = np.full((total + 2, total + 2), -1)
    number[j, k] = np.arange(len(j))
    up = np.stack([number[j, k], number[j + 1, k], number[j, k + 1]], -1)
    down = np.stack([number[j + 1, k], number[j + 1, k + 1], number[j, k + 1]], -1)
    cells = np.concatenate([up, down])
    at_corners = [
        np.flatnonzero((counts == corner).all(1))[0] for corner in steps * np.eye(3, dtype=np.int64)
    ]
    return counts / steps, np.array(at_corners), cells[(cells >= 0).all(1)]


def _on_spheres(
    t: Floats, networks: tuple[Ensemble, ...], weights: Floats, description: Description | None
) -> tuple[Path, list[Floats]]:
    """Return the points whose units' vectors have norm 1, and the lengths of the three sides."""
    first = networks[0]
    found = spheres(first, description)
    check_memory(found, first.replicas, len(t))
    on_spheres = {axis.name for sphere in found for axis in sphere.axes}
    elsewhere = [name for name in first.params if name not in on_spheres]
    coefficients = weights_of(first, weights.T, list(first.params))
    shares = torch.from_numpy(weights)
    squares = [_distance(*two, elsewhere) ** 2 for two in _sides(networks)]
    for sphere in found:
        norms = torch.stack([unit_norms(sphere, network) for network in networks], -1)
        gram = combined(sphere, networks, _gram)
        for k, two in enumerate(_sides(networks)):
            squares[k] = squares[k] + angles(sphere, *two).square().sum(-1).cpu().numpy()
        factors = _normalised(sphere, shares, norms, gram)
        coefficients |= by_parameter(sphere, first, factors)
    return Path(t, networks, coefficients), [np.sqrt(square) for square in squares]


def _normalised(sphere: Sphere, shares: Tensor, norms: Tensor, gram: Tensor) -> Tensor:
    """Return coefficients ``(3, P, K, size)`` from weights (K, 3), norms (P, size, 3), and Gram matrices."""
    shares = shares.to(gram.device)
    square = torch.einsum("ki,puij,kj->pku", shares, gram, shares)
    length = square.clamp_min(0).sqrt()
    alive = (norms > 0).all(-1)[:, None]
    lost = alive & (length < VANISHING)
    if bool(lost.any()):
        p, k, unit = (int(i) for i in lost.nonzero()[0])
        raise ValueError(
            f"{sphere.called(unit)} has no direction at weights {shares[k].tolist()} of triangle {p}: "
            "its vectors cancel"
        )
    radius = torch.einsum("ki,pui->pku", shares, norms)
    factors = []
    for i in range(3):
        share = shares[:, i, None]
        on_sphere = share * radius / (norms[:, None, :, i] * length)
        factors.append(torch.where(alive, on_sphere, share.expand_as(radius)))
    return torch.stack(factors)


def _gram(*directions: Tensor) -> Tensor:
    """Return inner products of unit vectors ``(p, size, d)``, ``(p, size, 3, 3)``, ones on the diagonal."""
    rows = torch.stack(directions, -2)
    gram = rows @ rows.mT
    return gram + torch.diag_embed(1 - gram.diagonal(dim1=-2, dim2=-1))


def _sides(networks: tuple[Ensemble, ...]) -> list[tuple[Ensemble, Ensemble]]:
    """Return the pairs (b, c), (a, c), (a, b)."""
    a, b, c = networks
    return [(b, c), (a, c), (a, b)]


def _distance(a: Ensemble, b: Ensemble, names: list[str] | None = None) -> Floats:
    """Return Euclidean distances in some or all parameters, ``(P,)``."""
    total = torch.zeros(a.replicas, dtype=torch.float64)
    for name in a.params if names is None else names:
        lengths = torch.linalg.vector_norm((a.params[name] - b.params[name]).flatten(1), dim=1)
        total += lengths.cpu().double().square()
    return total.sqrt().numpy()


def _corners(bc: Floats, ac: Floats, ab: Floats) -> Floats:
    """Return the corners ``(P, 3, 2)`` of triangles with sides of given lengths."""
    base = np.where(ab > 0, ab, 1.0)
    x = np.where(ab > 0, (ab**2 + ac**2 - bc**2) / (2 * base), 0.0)
    y = np.sqrt(np.clip(ac**2 - x**2, 0, None))
    zero = np.zeros_like(ab)
    return np.stack([np.stack(pair, -1) for pair in ((zero, zero), (ab, zero), (x, y))], 1)
