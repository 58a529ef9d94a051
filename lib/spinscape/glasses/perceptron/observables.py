"""Overlaps, stabilities and energies on geodesics of sampled solutions, instance by instance.

Different chains of an instance are independent solutions; all means are over those, not along a chain.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spinscape.glasses._arguments import whole
from spinscape.glasses.perceptron.patterns import Patterns

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Stabilities:
    """Distribution of stabilities of all patterns and solutions.

    Attributes
    ----------
    edges
        Edges of bins, shape (B + 1,).
    density
        Density in the bins, shape (I, B); stabilities beyond the edges count in the norm.
    cumulative
        Share of stabilities below each edge, shape (I, B + 1).
    """

    edges: Floats
    density: Floats
    cumulative: Floats


def chain_overlaps(points: ArrayLike, others: ArrayLike | None = None) -> Floats:
    """Return the mean overlap of independent solutions, shape (I,).

    Parameters
    ----------
    points
        States, shape (I, C, K, N), of squared length N; at least two chains, unless `others` is given.
        All pairs of states of different chains count.
    others
        States of a second group, (I, C', K', N), independent of the first: then all pairs across.
    """
    w = _states(points)
    n = w.shape[-1]
    mean = w.mean(2)
    if others is not None:
        return (mean.mean(1) * _states(others).mean((1, 2))).sum(-1) / n
    chains = w.shape[1]
    if chains < 2:
        raise ValueError("overlaps of one group need two chains at least")
    return ((mean.sum(1) ** 2).sum(-1) - (mean**2).sum((1, 2))) / (chains * (chains - 1) * n)


def stability_histogram(patterns: Patterns, points: ArrayLike, edges: ArrayLike) -> Stabilities:
    """Return the distribution of stabilities over patterns, chains and states.

    Parameters
    ----------
    points
        States, shape (I, C, K, N).
    edges
        Increasing, shape (B + 1,).
    """
    w, at = _states(points), np.asarray(edges, float)
    if at.ndim != 1 or at.size < 2 or not (np.diff(at) > 0).all():
        raise ValueError("edges must be two increasing numbers at least")
    below = np.zeros((patterns.instances, at.size))
    for i in range(patterns.instances):
        for c in range(w.shape[1]):
            h = np.sort((w[i, c] @ patterns.xi[i].T / np.sqrt(patterns.n)).ravel())
            below[i] += np.searchsorted(h, at, side="left") / (h.size * w.shape[1])
    return Stabilities(at, np.diff(below, axis=1) / np.diff(at), below)


def geodesic_energies(
    patterns: Patterns,
    groups: ArrayLike | tuple[ArrayLike, ...],
    gamma: ArrayLike,
    kappa_energy: float,
    *,
    most: int = 56,
) -> Floats:
    """Return the mean energy of ``sum_r gamma_r w_r``, brought back to the sphere, shape (I, G).

    The energy of a point is the share of patterns with stability below `kappa_energy`.

    Parameters
    ----------
    groups
        States of one group, shape (I, C, K, N), whose chains give all y corners; or a tuple of y such groups
        of as many states, (I, C_r, K, N), which give one corner each and are independent of each other.
    gamma
        Weights of the corners, shape (G, y), not negative, each row of sum 1; y is 2 or 3.
    most
        Most choices of y chains, spread evenly over all of them; each choice is taken at all K states.
    """
    weights = np.ascontiguousarray(gamma, float)
    if weights.ndim != 2 or weights.shape[1] not in (2, 3):
        raise ValueError(f"gamma must be (G, 2) or (G, 3), not {weights.shape}")
    if (weights < 0).any() or not np.allclose(weights.sum(1), 1, rtol=0, atol=1e-9):
        raise ValueError("rows of gamma must not be negative and must have the sum 1")
    y = weights.shape[1]
    if isinstance(groups, tuple):
        parts = [_states(group) for group in groups]
        if len(parts) != y or len({part.shape[2] for part in parts}) > 1:
            raise ValueError(f"gamma of {y} columns needs {y} groups of as many states")
        chosen = list(np.ndindex(*(part.shape[1] for part in parts)))
    else:
        parts = [_states(groups)] * y
        chosen = list(combinations(range(parts[0].shape[1]), y))
        if not chosen:
            raise ValueError(f"geodesics of {y} solutions need {y} chains at least")
    count = min(whole(most, "most", 1), len(chosen))
    picked = np.array(chosen)[np.linspace(0, len(chosen) - 1, count).round().astype(int)]
    # numba takes a third of a second to import.
    from spinscape.glasses.perceptron._mixtures import shares_below

    found = np.empty((patterns.instances, len(weights)))
    for i in range(patterns.instances):
        total = np.zeros(len(weights))
        for k in range(parts[0].shape[2]):
            corners = [np.ascontiguousarray(part[i, :, k]) for part in parts]
            h = [w @ patterns.xi[i].T / np.sqrt(patterns.n) for w in corners]
            for choice in picked:
                w = np.stack([corner[c] for corner, c in zip(corners, choice, strict=True)])
                here = np.stack([level[c] for level, c in zip(h, choice, strict=True)])
                shares_below(here, w @ w.T / patterns.n, weights, kappa_energy, total)
        found[i] = total / (len(picked) * parts[0].shape[2])
    return found


def _states(points: ArrayLike) -> Floats:
    w = np.asarray(points, float)
    if w.ndim != 4:
        raise ValueError(f"states must be (instances, chains, states, weights), not {w.shape}")
    return w
