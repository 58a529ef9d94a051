"""Overlap of solutions of one instance that were drawn at different margins.

Group r is the uniform measure over solutions of margin kappa_r, with overlap q_r inside the group.
The groups are independent given the patterns, so the overlap of a solution of one with a solution of the
other is that of the two means ``m_r = <w>_r``: ``p = m_1 . m_2 / N``.
The volume of n_1 copies of the first and n_2 of the second group is stationary in p; its derivative is of
order n_1 n_2 for small numbers of copies, which do not change q_1 and q_2, and vanishes where

    p / ((1 - q_1) (1 - q_2)) = alpha E[A(x_1) A(x_2)] / sqrt((1 - q_1) (1 - q_2)),

``x_r = (kappa_r - sqrt(q_r) z_r) / sqrt(1 - q_r)``, with (z_1, z_2) normal of correlation
``p / sqrt(q_1 q_2)``.
The left side comes from ``1/2 log det`` of the matrix of overlaps, whose inverse has the elements
``-p / ((1 - q_1) (1 - q_2))`` between the groups; the right side from the constraints on stabilities whose
covariance is that matrix.
At equal margins it is the equation of q, with p = q.

With ``c = p / sqrt(q_1 q_2)`` the two sides' difference is negative at c = 0, and at c = 1 not negative
(Cauchy and the two equations of q), so a root lies between.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spinscape.glasses.perceptron._quadrature import find_root, mills, normal_nodes
from spinscape.glasses.perceptron.limits import margins
from spinscape.glasses.perceptron.replica_symmetric import Overlap, check_valid, feature, saddle

Floats = NDArray[np.float64]


def mutual_overlap(
    alpha: ArrayLike, kappa_1: ArrayLike, kappa_2: ArrayLike, *, unstable: bool = False, refine: int = 1
) -> Floats:
    """Return the overlap of a solution of margin kappa_1 with one of margin kappa_2 of the same instance.

    Parameters
    ----------
    alpha, kappa_1, kappa_2
        Patterns per weight and the two margins; they broadcast to shape (...).
    unstable
        Whether points above the de Almeida-Thouless line are allowed; there p jumps down from q as soon as
        the margins differ, and neither is the answer.
    refine
        Multiplies the number of nodes of all integrals.

    Raises
    ------
    ValueError
        If a group is outside the range of the theory (see `check_valid`).

    Examples
    --------
    >>> round(float(mutual_overlap(1.0, -0.5, -0.3)), 5)
    0.30966
    """
    check_valid(alpha, kappa_1, unstable=unstable)
    check_valid(alpha, kappa_2, unstable=unstable)
    loads, first, second = np.broadcast_arrays(np.asarray(alpha, float), margins(kappa_1), margins(kappa_2))
    groups = saddle(loads, first, refine=refine), saddle(loads, second, refine=refine)
    found = np.empty(loads.shape)
    for i in np.ndindex(loads.shape):
        pairs = [Overlap(g.q[i], g.rest[i]) for g in groups]
        kappas = float(first[i]), float(second[i])
        found[i] = mutual(float(loads[i]), kappas, pairs, refine=refine)
    return found


def mutual(
    alpha: float,
    kappas: tuple[float, float],
    pairs: list[Overlap],
    *,
    refine: int = 1,
) -> float:
    """Return the mutual overlap of two groups whose own overlaps are known; scalars, nothing checked."""
    if kappas[0] == kappas[1]:
        return float(pairs[0].q)
    size = np.sqrt(pairs[0].q * pairs[1].q)
    centre, scale = feature(pairs[0], np.asarray(kappas[0]))
    z, weights = normal_nodes(centre, scale, refine=refine)
    first = weights * _scaled(kappas[0], pairs[0], z)

    def excess(c: Floats) -> Floats:
        values, inner = conditional_nodes(kappas[1], pairs[1], z, c, np.sqrt((1 - c) * (1 + c)), refine)
        second = np.sum(inner * _scaled(kappas[1], pairs[1], values), -1)
        return c - alpha * (first @ second) / size

    top = np.asarray(1.0)
    if excess(top) <= 0:
        return float(size)
    return float(size * find_root(excess, np.asarray(0.0), top))


def conditional_nodes(
    kappa: float, pair: Overlap, z: Floats, c: Floats | float, left: Floats | float, refine: int = 1
) -> tuple[Floats, Floats]:
    """Return nodes and weights, shape (Z, M), of a normal variable of mean c z and deviation `left`.

    `kappa` and `pair` say where the integrand changes; z has shape (Z,).
    """
    if left < 1e-12:
        return c * z[:, None], np.ones((len(z), 1))
    centre, scale = feature(pair, np.asarray(kappa))
    y, weights = normal_nodes((centre - c * z) / left, np.full(z.shape, scale / left), refine=refine)
    return c * z[:, None] + left * y, weights


def _scaled(kappa: float, pair: Overlap, z: Floats) -> Floats:
    """Return sqrt(1 - q) A(x), which stays finite as q goes to 1."""
    left = np.sqrt(pair.rest)
    return left * mills((kappa - np.sqrt(pair.q) * z) / left)
