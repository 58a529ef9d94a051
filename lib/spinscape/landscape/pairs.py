"""Pairs of states: distances, overlaps and norms, whatever the states are.

Networks as they are, networks aligned pair by pair, functions, spin configurations and vectors of a model all
come down to this, so that every statistic treats them alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

NEAR = 1e-3
"""Vectors that are closer than this share of the longer one nearly agree."""


@dataclass(frozen=True)
class Pairs:
    """All pairs of R states, with ``D_ij^2 = n_i^2 + n_j^2 - 2 n_i n_j q_ij``.

    Attributes
    ----------
    distances
        Euclidean distances D, float64 ``(R, R)``, symmetric, zero on the diagonal.
    overlaps
        Cosines q, ``(R, R)``, symmetric, one on the diagonal.
    norms
        Norms n, ``(R,)``, positive.
    """

    distances: Floats
    overlaps: Floats
    norms: Floats

    @property
    def replicas(self) -> int:
        """Number R of states."""
        return len(self.norms)

    @property
    def upper_distances(self) -> Floats:
        """Distances of the pairs i < j, row by row, ``(R (R - 1) / 2,)``."""
        return self.distances[np.triu_indices(self.replicas, 1)]

    @property
    def upper_overlaps(self) -> Floats:
        """Overlaps of the pairs i < j, row by row, ``(R (R - 1) / 2,)``."""
        return self.overlaps[np.triu_indices(self.replicas, 1)]

    @classmethod
    def from_overlaps(cls, overlaps: ArrayLike, norms: ArrayLike | None = None) -> Pairs:
        """Make pairs of overlaps, and of norms that are 1 by default.

        Raises
        ------
        ValueError
            If overlaps are not a symmetric matrix with ones on its diagonal, or norms are not R positive
            numbers.
        """
        q = np.array(overlaps, float)
        n = np.ones(len(q)) if norms is None else np.array(norms, float)
        _check(q, n, 1.0, "overlaps")
        squares = n[:, None] ** 2 + n**2 - 2 * n[:, None] * n * q
        np.fill_diagonal(squares, 0)
        return cls(np.sqrt(squares.clip(0)), q, n)

    @classmethod
    def from_distances(cls, distances: ArrayLike, norms: ArrayLike) -> Pairs:
        """Make pairs of distances and norms.

        Raises
        ------
        ValueError
            If distances are not a symmetric matrix with zeros on its diagonal, or norms are not R positive
            numbers.
        """
        d, n = np.array(distances, float), np.array(norms, float)
        _check(d, n, 0.0, "distances")
        q = (n[:, None] ** 2 + n**2 - d**2) / (2 * n[:, None] * n)
        np.fill_diagonal(q, 1)
        return cls(d, q, n)

    @classmethod
    def from_vectors(cls, rows: ArrayLike) -> Pairs:
        """Make pairs of vectors ``(R, d)``.

        Distances of vectors that nearly agree come from their differences, since norms and overlaps would
        cancel.

        Raises
        ------
        ValueError
            If a vector is zero or not finite.
        """
        x = np.asarray(rows, float)
        if x.ndim != 2:
            raise ValueError(f"rows must be vectors (R, d), not of shape {x.shape}")
        n = np.linalg.norm(x, axis=1)
        if not (np.isfinite(n).all() and (n > 0).all()):
            raise ValueError("rows must be finite and not zero")
        q = np.clip(x @ x.T / np.outer(n, n), -1, 1)
        np.fill_diagonal(q, 1)
        found = cls.from_overlaps((q + q.T) / 2, n)
        near = found.distances < NEAR * np.maximum(n[:, None], n)
        for i, j in np.argwhere(np.triu(near, 1)):
            d = float(np.linalg.norm(x[i] - x[j]))
            found.distances[i, j] = found.distances[j, i] = d
            cosine = 1 - max(0.0, d**2 - (n[i] - n[j]) ** 2) / (2 * n[i] * n[j])
            found.overlaps[i, j] = found.overlaps[j, i] = cosine
        return found


def _check(matrix: Floats, norms: Floats, diagonal: float, name: str) -> None:
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or len(matrix) < 2:
        raise ValueError(f"{name} must be a square matrix of at least 2 states, not {matrix.shape}")
    if not np.isfinite(matrix).all():
        raise ValueError(f"{name} must be finite")
    scale = max(1.0, float(np.abs(matrix).max()))
    if (
        np.abs(matrix - matrix.T).max() > 1e-9 * scale
        or np.abs(matrix.diagonal() - diagonal).max() > 1e-9 * scale
    ):
        raise ValueError(f"{name} must be symmetric with {diagonal:g} on the diagonal")
    if norms.shape != (len(matrix),) or not (np.isfinite(norms).all() and (norms > 0).all()):
        raise ValueError(f"norms must be {len(matrix)} positive numbers")
