"""Distances in an ensemble whose second half are copies of its first, in the same order."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def of_copies(distances: ArrayLike, order: ArrayLike | None = None) -> Floats:
    """Return the distance between each network and its copy, ``(R,)``.

    Parameters
    ----------
    distances
        ``(2R, 2R)``.
    order
        Which network each row and column is, ``(2R,)``; by default they stand in their order.

    Raises
    ------
    ValueError
        If the matrix is not square with an even number of rows, or the order is no permutation of them.
    """
    matrix, at = _placed(distances, order)
    half = len(at) // 2
    return matrix[at[:half], at[half:]]


def of_solutions(distances: ArrayLike, order: ArrayLike | None = None) -> Floats:
    """Return the mean distance of each network to the other networks, copies left out, ``(R,)``.

    Parameters
    ----------
    distances, order
        As in :func:`of_copies`; at least two networks.
    """
    matrix, at = _placed(distances, order)
    half = len(at) // 2
    if half < 2:
        raise ValueError("there is one network, and no other to measure a distance to")
    own = matrix[np.ix_(at[:half], at[:half])]
    return (own.sum(1) - np.diag(own)) / (half - 1)


def _placed(distances: ArrayLike, order: ArrayLike | None) -> tuple[Floats, NDArray[np.int64]]:
    """Return the matrix, and the row at which each network stands."""
    matrix = np.asarray(distances, float)
    count = len(matrix)
    if matrix.shape != (count, count) or count % 2 or not count:
        raise ValueError(f"distances must have shape (2R, 2R), not {matrix.shape}")
    rows = np.arange(count) if order is None else np.asarray(order)
    if not np.array_equal(np.sort(rows), np.arange(count)):
        raise ValueError(f"order must hold each of 0 to {count - 1} once")
    return matrix, np.argsort(rows).astype(np.int64)
