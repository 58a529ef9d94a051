"""What putting solutions, or the hidden units of each, into an order does to distances between networks.

Liao et al. 2024 (sections 4.4 and A.4.2) reorder trained networks by hierarchical clustering to mitigate the
permutation symmetry of hidden units.
An order of the networks only relabels them: the distances are the same numbers.
An order of the units of each network, by a rule that sees the units alone, brings exact copies together, and
independent networks only as far as the rule happens to match their units.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.cluster import hierarchy
from scipy.spatial.distance import squareform
from torch import Tensor

from spinscape.landscape.symmetry.checks import check_finite, check_memory
from spinscape.landscape.symmetry.permutations import Permutations, fitting, permute
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.units import Description, Units
from spinscape.progress import track

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PIECE = 2**22
"""Parameters of all networks that are multiplied at once, in float64."""

NEAR = 1e-6
"""Squared distances below this share of the largest squared norm are taken again by subtraction."""

RULES = ("ward", "norm")

PAIR_BYTES = 8
"""What a pair of units takes in a Ward tree, counted twice: distances of all pairs, and a copy."""


class UnitsSorted(NamedTuple):
    """Networks whose own units are sorted.

    Attributes
    ----------
    ensemble
        R networks.
    permutations
        What was done to them, ``(R, size)`` by set.
    """

    ensemble: Ensemble
    permutations: Permutations


class SolutionsSorted(NamedTuple):
    """Networks in the order of the leaves of their Ward tree.

    Attributes
    ----------
    ensemble
        The R networks in that order.
    order
        Which they were, ``(R,)``.
    linkage
        The tree as scipy's linkage, ``(R - 1, 4)``.
    """

    ensemble: Ensemble
    order: Ints
    linkage: Floats


@dataclass(frozen=True)
class Reordering:
    """Euclidean distances between R networks under different orders.

    Attributes
    ----------
    raw
        As they are, ``(R, R)``.
    order
        Leaves of their Ward tree, ``(R,)``.
    linkage
        The tree as scipy's linkage, ``(R - 1, 4)``.
    reordered
        Networks put in that order, and their distances computed anew, ``(R, R)``.
    ward, norm
        Units of each network sorted by their own Ward tree, and by norm, ``(R, R)``; networks as they were.
    """

    raw: Floats
    order: Ints
    linkage: Floats
    reordered: Floats
    ward: Floats
    norm: Floats

    @property
    def multiset_change(self) -> float:
        """Largest difference between sorted distances, raw and reordered, over the largest distance."""
        before, after = (np.sort(squareform(d, checks=False)) for d in (self.raw, self.reordered))
        return float(np.abs(before - after).max() / max(before.max(), np.finfo(float).tiny))


def compare(ensemble: Ensemble, *, description: Description | None = None) -> Reordering:
    """Return distances between networks as they are, reordered, and with their units sorted.

    Parameters
    ----------
    ensemble
        R networks, at least two.
    description
        The hidden units; by default those of the model.

    Returns
    -------
    Reordering

    Raises
    ------
    ValueError
        If there is one network, its hidden units are not described, or parameters are not finite.
    MemoryError
        If a set has more units than fit in a tree; it tells how many do.

    Notes
    -----
    Distances modulo permutations are :func:`spinscape.landscape.symmetry.quotient_distances`.
    """
    description = fitting(ensemble, description)
    check_finite(ensemble.params)
    _check_widths(description)
    solutions = by_solutions(ensemble)
    return Reordering(
        raw=raw_distances(ensemble),
        order=solutions.order,
        linkage=solutions.linkage,
        reordered=raw_distances(solutions.ensemble),
        ward=raw_distances(by_units(ensemble, by="ward", description=description).ensemble),
        norm=raw_distances(by_units(ensemble, by="norm", description=description).ensemble),
    )


def raw_distances(ensemble: Ensemble) -> Floats:
    """Return Euclidean distances between the parameters of all pairs of networks, float64 ``(R, R)``.

    Products of all pairs are taken at once, in blocks; nearly equal networks are subtracted, so that equal
    ones are at distance zero.

    Parameters
    ----------
    ensemble
        R networks.

    Raises
    ------
    ValueError
        If a parameter is not finite; it is named.
    """
    count = ensemble.replicas
    gram = np.zeros((count, count))
    check_finite(ensemble.params)
    for value in ensemble.params.values():
        for block in value.detach().flatten(1).split(max(1, PIECE // count), dim=1):
            rows = block.double()
            rows = rows - rows.mean(0)
            gram += (rows @ rows.T).cpu().numpy()
    norms = np.diag(gram)
    squares = np.maximum(norms[:, None] + norms - 2 * gram, 0)
    for i, j in zip(*np.nonzero(np.triu(squares <= NEAR * norms.max(), 1)), strict=True):
        away = [(p[i] - p[j].double()).detach().square().sum() for p in ensemble.params.values()]
        squares[i, j] = float(torch.stack(away).sum())
    squares = np.triu(squares, 1)
    return np.sqrt(squares + squares.T)


def by_solutions(ensemble: Ensemble) -> SolutionsSorted:
    """Put networks in the order of the leaves of their Ward tree, as the source does.

    Parameters
    ----------
    ensemble
        R networks, at least two.

    Returns
    -------
    SolutionsSorted

    Raises
    ------
    ValueError
        If there is one network, or parameters are not finite.
    """
    if ensemble.replicas < 2:
        raise ValueError("an order of solutions needs at least two networks")
    tree = hierarchy.linkage(squareform(raw_distances(ensemble), checks=False), "ward")
    order = hierarchy.leaves_list(tree).astype(np.int64)
    return SolutionsSorted(ensemble[order], order, tree)


def by_units(ensemble: Ensemble, *, by: str = "ward", description: Description | None = None) -> UnitsSorted:
    """Sort the hidden units of each network by a rule that sees its own weights alone.

    Parameters
    ----------
    ensemble
        R networks.
    by
        ``"ward"``: leaves of the Ward tree of the units' weights (incoming, bias, batch norm, outgoing), at
        each branching the side of the smaller mean norm first; ``"norm"``: norms of these weights, rising.
    description
        The hidden units; by default those of the model.

    Returns
    -------
    UnitsSorted
        Copies of one network that differ by a permutation become equal, whatever their depth: both rules
        depend on lengths and distances of units' weights, which permutations of other sets leave alone.

    Raises
    ------
    ValueError
        If the rule is unknown, the hidden units are not described, or weights are not finite.
    MemoryError
        If a set has more units than fit in a Ward tree; it tells how many do.
    """
    if by not in RULES:
        raise ValueError(f"by must be one of {RULES}, not {by!r}")
    description = fitting(ensemble, description)
    check_finite(ensemble.params)
    if by == "ward":
        _check_widths(description)
    permutations = {}
    for units in description.units:
        rows = []
        for r in track(range(ensemble.replicas), f"sorting {units.name}"):
            vectors = unit_vectors(ensemble, units, r)
            rows.append(np.argsort(_norms(vectors), kind="stable") if by == "norm" else _ward_order(vectors))
        permutations[units.name] = torch.from_numpy(np.stack(rows))
    return UnitsSorted(permute(ensemble, permutations, description), permutations)


def unit_vectors(ensemble: Ensemble, units: Units, replica: int) -> Floats:
    """Return every parameter that belongs to each unit of a network, float64 ``(size, D)``.

    Parameters
    ----------
    ensemble
        R networks.
    units
        A set of hidden units of their model.
    replica
        Which network.
    """
    parts = []
    for axis in units.axes:
        if axis.name not in ensemble.params:
            continue
        value: Tensor = ensemble.params[axis.name][replica].detach().double()
        parts.append(value.movedim(axis.axis, 0).reshape(units.size, -1))
    return torch.cat(parts, 1).cpu().numpy()


def _check_widths(description: Description) -> None:
    """Refuse sets of so many units that a Ward tree of them does not fit in memory."""
    for units in description.units:
        check_memory(f"units of {units.name!r}", units.size, PAIR_BYTES, power=2)


def _norms(vectors: Floats) -> Floats:
    return np.sqrt(np.square(vectors).sum(1))


def _ward_order(vectors: Floats) -> Ints:
    """Return the leaves of the Ward tree of rows, turned so that it does not depend on their order."""
    count = len(vectors)
    if count < 2:
        return np.arange(count)
    tree = hierarchy.linkage(vectors, "ward")
    total = np.concatenate([_norms(vectors), np.empty(count - 1)])
    leaves = [[i] for i in range(count)]
    for node, (left, right, _, _) in enumerate(tree, start=count):
        sides = sorted((int(left), int(right)), key=lambda side: total[side] / len(leaves[side]))
        leaves.append([leaf for side in sides for leaf in leaves[side]])
        total[node] = total[sides[0]] + total[sides[1]]
    return np.array(leaves[-1], np.int64)
