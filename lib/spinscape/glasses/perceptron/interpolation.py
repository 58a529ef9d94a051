"""Energy on the geodesic simplex between solutions, in the replica-symmetric theory.

The point ``w = sum_r gamma_r w_r``, put back on the sphere, has stability ``sum_r gamma_r h_r / c`` with
``c^2 = sum_rs gamma_r gamma_s q_rs`` (q_rr = 1); its energy is the share of patterns where this is below
kappa_E.
The h_r are at least k_r, so the violated patterns are a simplex of stabilities: the last one is integrated
in closed form, the others by Gauss-Legendre between their ends, over a table of their joint law.

Source: Annesi, Lauditi, Lucibello, Malatesta, Perugini, Pittorino and Saglietti, arXiv:2305.10623.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spinscape.glasses.perceptron._quadrature import legendre_nodes
from spinscape.glasses.perceptron._stability_table import Groups, Table, groups, table
from spinscape.glasses.perceptron.limits import densities, margins
from spinscape.glasses.perceptron.replica_symmetric import (
    check_valid,
    stability,
    stability_distribution,
)

Floats = NDArray[np.float64]

FARTHEST = 7.5
"""Larger stabilities are left out: their share is below 1e-13."""

LARGEST_OVERLAP = 0.995
"""Overlaps within a group up to which the energies are converged."""

_ENTRIES = 1 << 22
"""Numbers in one array of the last step."""


@dataclass(frozen=True)
class Curves:
    """Overlaps and interpolation energies on a grid of alpha and kappa.

    Axes: A values of alpha, K margins, G mixtures.

    Attributes
    ----------
    alpha, kappa, gamma
        The grid, shapes (A,), (K,) and (G, y).
    overlap
        Shape (A, K), NaN where there is no solution.
    stability
        Replica symmetry is stable where this is below 1, shape (A, K), NaN likewise.
    energies
        Shape (A, K, G), NaN where there is no solution, or replica symmetry is broken.
    """

    alpha: Floats
    kappa: Floats
    gamma: Floats
    overlap: Floats
    stability: Floats
    energies: Floats


def interpolation_energy(
    alpha: float,
    kappa: ArrayLike,
    gamma: ArrayLike,
    *,
    kappa_energy: float | None = None,
    unstable: bool = False,
    refine: int = 1,
) -> Floats:
    """Return the share of violated patterns on the geodesic simplex between solutions.

    Parameters
    ----------
    alpha
        Patterns per weight.
    kappa
        Margin at which the corners are drawn, or one for each of the y corners, of which two may differ.
    gamma
        Mixtures, shape (..., y) with y = 2 or 3; not negative, with sum 1.
    kappa_energy
        Margin of the energy; by default the smallest of the margins.
    unstable
        Whether points above the de Almeida-Thouless line are allowed.
    refine
        Multiplies the number of nodes of all integrals.

    Returns
    -------
    ndarray
        Shape (...), from 0 to 1.

    Raises
    ------
    ValueError
        If a mixture is not one, there are three different margins, or a group is outside the range of the
        theory or has an overlap above `LARGEST_OVERLAP`.

    Examples
    --------
    >>> interpolation_energy(1.0, -0.5, [[0.5, 0.5], [0.25, 0.75]]).round(6)
    array([0.010029, 0.00706 ])
    """
    mixtures = _mixtures(gamma)
    y = mixtures.shape[-1]
    given = margins(kappa)
    if given.shape not in ((), (1,), (y,)):
        raise ValueError(f"kappa must be one margin or one for each of {y} corners, not {kappa!r}")
    each = tuple(float(k) for k in np.broadcast_to(given, (y,)))
    if np.ndim(alpha) != 0:
        raise ValueError(f"alpha must be one number, not of shape {np.shape(alpha)}")
    check_valid(alpha, np.array(each), unstable=unstable)
    level = min(each) if kappa_energy is None else float(margins(kappa_energy))
    if len(set(each)) > 2:
        raise ValueError(f"at most two different margins are served, not {each}")
    group = groups(float(alpha), each, refine=refine)
    _resolved(group, float(alpha))
    rows = _at_all(group, float(alpha), mixtures.reshape(-1, y), level, refine)
    return rows.reshape(mixtures.shape[:-1])


def interpolation_curves(
    alpha: ArrayLike, kappa: ArrayLike, gamma: ArrayLike, *, unstable: bool = False, refine: int = 1
) -> Curves:
    """Return overlaps and energies between solutions of one margin on a grid, kappa_E = kappa.

    Parameters
    ----------
    alpha, kappa
        Grids, shapes (A,) and (K,).
    gamma
        Mixtures, shape (G, y), or (G,) for the first of two corners.
    unstable, refine
        As in `interpolation_energy`; without `unstable` energies above the de Almeida-Thouless line are NaN.

    Raises
    ------
    ValueError
        If a grid is empty or not one-dimensional, an alpha is not positive, or a mixture is not one.
    """
    loads, ks = densities(alpha), margins(kappa)
    if loads.ndim != 1 or ks.ndim != 1 or not (loads.size and ks.size):
        raise ValueError(f"alpha and kappa must be one-dimensional, not {loads.shape} and {ks.shape}")
    mixtures = np.asarray(gamma, float)
    if mixtures.ndim == 1:
        mixtures = np.stack([mixtures, 1 - mixtures], -1)
    mixtures = _mixtures(mixtures)
    if mixtures.ndim != 2:
        raise ValueError(f"gamma must have shape (G,) or (G, y), not {np.shape(gamma)}")
    shape = (len(loads), len(ks))
    overlap, stable = np.full(shape, np.nan), np.full(shape, np.nan)
    energies = np.full((*shape, len(mixtures)), np.nan)
    for a, k in np.ndindex(shape):
        try:
            stable[a, k] = stability(loads[a], ks[k], refine=refine)
        except ValueError:
            continue
        level = float(ks[k])
        group = groups(float(loads[a]), (level,) * mixtures.shape[1], refine=refine)
        overlap[a, k] = group.pairs[0].q
        if (stable[a, k] < 1 or unstable) and overlap[a, k] <= LARGEST_OVERLAP:
            energies[a, k] = _at_all(group, float(loads[a]), mixtures, level, refine)
    return Curves(loads, ks, mixtures, overlap, stable, energies)


def _at_all(group: Groups, alpha: float, gamma: Floats, level: float, refine: int) -> Floats:
    """Return the energies at mixtures (G, y), corners and faces of the simplex among them."""
    out = np.zeros(len(gamma))
    kinds = [tuple(np.flatnonzero(row)) for row in gamma]
    for kind in sorted(set(kinds)):
        chosen = np.array([k == kind for k in kinds])
        which = [int(i) for i in kind]
        if len(which) > 1:
            out[chosen] = _energies(group.part(which), gamma[chosen][:, which], level, refine)
        elif level > group.kappas[which[0]]:
            own = group.kappas[which[0]]
            out[chosen] = stability_distribution(level, alpha, own, unstable=True, refine=refine)
    return out


def _energies(group: Groups, gamma: Floats, level: float, refine: int) -> Floats:
    """Return the energies at mixtures (G, y) of which no weight is 0; y = 2 or 3."""
    y = gamma.shape[1]
    kappas = np.array(group.kappas)
    norm = np.sqrt(np.einsum("gi,ij,gj->g", gamma, group.overlaps, gamma))
    slack = level * norm - gamma @ kappas
    ends = np.minimum(kappas + np.maximum(slack, 0.0)[:, None] / gamma, FARTHEST)
    inside = slack > 0
    out = np.zeros(len(gamma))
    if not inside.any():
        return out
    box = table(group, np.maximum(ends.max(0), kappas + 1e-9), refine=refine)
    last = gamma.argmax(1)
    for r in range(y):
        order = [i for i in range(y) if i != r] + [r]
        chosen = np.flatnonzero(inside & (last == r))
        if not len(chosen):
            continue
        joint = _joint(box, order)
        size = max(joint.shape)
        several = max(1, _ENTRIES // size**y)
        for start in range(0, len(chosen), several):
            some = chosen[start : start + several]
            out[some] = _simplex(box, joint, order, gamma[some], level * norm[some])
    return out


def _joint(box: Table, order: list[int]) -> Floats:
    """Return coefficients of the first corners' density times the share below the last, shape (J, ...)."""
    factors = [box.density[r] for r in order[:-1]] + [box.share[order[-1]]]
    if len(factors) == 2:
        return (factors[0] * box.weights) @ factors[1].T
    first = factors[0] * box.weights
    return np.stack([(row * factors[1]) @ factors[2].T for row in first])


def _simplex(box: Table, joint: Floats, order: list[int], gamma: Floats, bound: Floats) -> Floats:
    """Integrate the joint law where ``sum_r gamma_r h_r < bound``; gamma (G, y), bound (G,)."""
    first, last = order[0], order[-1]
    x, w = legendre_nodes(max(joint.shape))
    slack = bound - gamma @ box.low
    length = np.minimum(slack / gamma[:, first], FARTHEST - box.low[first])
    h = box.low[first] + length[:, None] * x
    left = slack[:, None] - gamma[:, first, None] * (h - box.low[first])
    one = box.powers(first, h)
    if len(order) == 2:
        top = np.minimum(box.low[last] + left / gamma[:, last, None], FARTHEST)
        values = np.einsum("gnj,gnj->gn", one @ joint, box.powers(last, top))
        return length * (values @ w)
    middle = order[1]
    span = np.minimum(left / gamma[:, middle, None], FARTHEST - box.low[middle])
    second = box.low[middle] + span[..., None] * x
    used = gamma[:, middle, None, None] * (second - box.low[middle])
    top = np.minimum(box.low[last] + (left[..., None] - used) / gamma[:, last, None, None], FARTHEST)
    slices = np.tensordot(one, joint, axes=1)
    values = np.einsum("gnmj,gnmj->gnm", np.matmul(box.powers(middle, second), slices), box.powers(last, top))
    return length * np.einsum("gn,gnm,n,m->g", span, values, w, w)


def _mixtures(gamma: ArrayLike) -> Floats:
    found = np.asarray(gamma, float)
    if found.ndim == 0 or found.shape[-1] not in (2, 3):
        raise ValueError(f"gamma must have 2 or 3 weights in its last axis, not shape {found.shape}")
    if not (np.all(found >= 0) and np.allclose(found.sum(-1), 1.0, atol=1e-9, rtol=0)):
        raise ValueError("weights of a mixture must be at least 0 and have sum 1")
    return found


def _resolved(group: Groups, alpha: float) -> None:
    for kappa, pair in zip(group.kappas, group.pairs, strict=True):
        if pair.q > LARGEST_OVERLAP:
            raise ValueError(
                f"at alpha {alpha:.6g} and margin {kappa:.6g} the overlap is {float(pair.q):.6g}: energies "
                f"are converged up to {LARGEST_OVERLAP:g} only"
            )
