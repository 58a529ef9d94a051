"""The source's clustering algorithm beside scipy's, and what blocks say about a matrix.

Liao et al. 2024, Algorithm 2 and equation 5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import cophenet

from spinscape.landscape.hierarchy import blockiness, clusters, tree, typeset, ward
from spinscape.landscape.pairs import Pairs

BLOCKS = 5
"""Blocks on the diagonal that are looked for."""


@dataclass(frozen=True)
class WardCheck:
    """Algorithm 2 with Ward's update against scipy's linkage, worst over K sets of states.

    Attributes
    ----------
    heights, cophenetic
        Largest relative difference of a height, and of a cophenetic distance; those below a millionth of the
        highest are compared in units of it, since squares of distances round.
    alike
        Share of merges that are the same; where distances are equal, it is open which come first.
    typeset
        Share of the clusters of Ward's tree that the tree by equation 5 as printed has not.
    trees
        K.
    """

    heights: float
    cophenetic: float
    alike: float
    typeset: float
    trees: int


@dataclass(frozen=True)
class BlockShares:
    """Share of the variance of matrices that `BLOCKS` blocks on the diagonal explain.

    Attributes
    ----------
    euclidean, cophenetic
        Of distances and of cophenetic distances, ``(K,)``.
    """

    euclidean: NDArray[np.float64]
    cophenetic: NDArray[np.float64]


def against_scipy(sets: Sequence[Pairs]) -> WardCheck:
    """Compare the source's algorithm with scipy's on distances between states.

    Parameters
    ----------
    sets
        Sets of at least 4 states each, at least one.

    Raises
    ------
    ValueError
        If there is no set, or as `typeset`.
    """
    if not sets:
        raise ValueError("there are no states to make a tree of")
    heights, deep, alike, printed = [], [], [], []
    for pairs in sets:
        ours, theirs = ward(pairs), tree(pairs).linkage
        heights.append(_apart(ours[:, 2], theirs[:, 2]))
        deep.append(_apart(cophenet(ours), cophenet(theirs)))
        alike.append((ours[:, [0, 1, 3]] == theirs[:, [0, 1, 3]]).all(1).mean())
        printed.append(1 - typeset(pairs, [1.0]).shared[0])
    return WardCheck(float(max(heights)), float(max(deep)), float(min(alike)), float(max(printed)), len(sets))


def block_shares(sets: Sequence[Pairs], blocks: int = BLOCKS) -> BlockShares:
    """Return how much of each matrix, in the order of its tree, blocks on the diagonal explain.

    The blocks are the clusters into which the tree falls, so they explain some of any matrix.

    Parameters
    ----------
    sets
        Sets of states, each of more than `blocks`.
    blocks
        Number of blocks.

    Raises
    ------
    ValueError
        If there is no set, or one has too few states.
    """
    if not sets:
        raise ValueError("there are no states to make a tree of")
    rows = []
    for pairs in sets:
        found = tree(pairs)
        cut = clusters(found, blocks)
        rows.append([float(blockiness(m, cut)) for m in (pairs.distances, found.cophenetic)])
    shares = np.array(rows)
    return BlockShares(shares[:, 0], shares[:, 1])


def _apart(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> float:
    return float((np.abs(ours - theirs) / np.maximum(theirs, 1e-6 * theirs.max())).max())
