"""Energies of mixtures of solutions, compiled by numba."""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(nogil=True, fastmath=True, error_model="numpy")
def shares_below(h, overlaps, gamma, kappa, total):
    """Add to `total` (G,) the share of patterns below kappa at each mixture of the corners.

    `h` (y, P) are stabilities of the corners, `overlaps` (y, y) theirs with each other, `gamma` (G, y).
    """
    corners, count = h.shape
    level = np.empty(count)
    for g in range(gamma.shape[0]):
        square = 0.0
        for r in range(corners):
            for s in range(corners):
                square += gamma[g, r] * gamma[g, s] * overlaps[r, s]
        border = kappa * np.sqrt(square)
        level[:] = 0.0
        for r in range(corners):
            weight = gamma[g, r]
            for k in range(count):
                level[k] += weight * h[r, k]
        below = 0
        for k in range(count):
            below += level[k] < border
        total[g] += below / count
