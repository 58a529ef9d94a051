"""Ensembles with their permutation symmetry removed, and distances between networks modulo permutations."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spinscape import progress
from spinscape.landscape.symmetry._alike import check_pairs
from spinscape.landscape.symmetry._pair import Pair
from spinscape.landscape.symmetry._separate import Networks, chunk_of, is_separate
from spinscape.landscape.symmetry.checks import check_finite
from spinscape.landscape.symmetry.matching import (
    Search,
    descend,
    inner_product,
    look,
    match,
    one_pair,
    stack,
)
from spinscape.landscape.symmetry.permutations import Permutations, compose, fitting, permute
from spinscape.networks.device import keep_heap
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.units import Description

ROUNDS = 50
"""Most rounds of an alignment to the barycentre; about ten are usual."""


@dataclass(frozen=True)
class Aligned:
    """Networks whose hidden units are ordered alike.

    Attributes
    ----------
    ensemble
        The networks, permuted.
    permutations
        What was done to them, int64 ``(R, size)`` by set of units.
    objective
        Inner product of each with the reference, float64 ``(R,)``.
    before
        Euclidean distance of each network to the reference before, ``(R,)``.
    distances
        The same after, ``(R,)``.
    spread
        For the barycentre the mean squared distance of the networks to their mean, before, at the start and
        after each round, ``(rounds + 2,)``; with biases it never rises after the start.
        Else before and after, ``(2,)``.
    rounds
        Rounds until no network moved, the last included; 1 where there is one reference.
    reference
        What they were aligned to: one network, or as many; the mean of the permuted ones for the barycentre.
    """

    ensemble: Ensemble
    permutations: Permutations
    objective: NDArray[np.float64]
    before: NDArray[np.float64]
    distances: NDArray[np.float64]
    spread: NDArray[np.float64]
    rounds: int
    reference: Ensemble


@dataclass(frozen=True)
class Distances:
    """Euclidean distances between networks, over all parameters.

    Attributes
    ----------
    raw
        Of the networks as they are, float64 ``(R, R')``.
    matched
        With the hidden units of the second permuted to bring it close to the first, ``(R, R')``.
        For one hidden layer it is the distance of the two orbits; for more an upper bound of it.
    """

    raw: NDArray[np.float64]
    matched: NDArray[np.float64]


def align(
    ensemble: Ensemble,
    reference: int | str | Ensemble = 0,
    *,
    description: Description | None = None,
    **options: Any,
) -> Aligned:
    """Permute the hidden units of networks so that they stand as in a reference.

    Parameters
    ----------
    ensemble
        R networks of one model.
    reference
        Index of one of the networks; another ensemble, of one network or of R; or ``"barycentre"``: all are
        aligned to network 0, then each in turn to the mean of all others as they stand, until none moves.
        With biases that lowers the sum of all squared distances between the networks at each step.
    description
        The hidden units; by default those of the model.
    **options
        Those of :func:`match`: `method`, `start`, `sequence`, `restarts`, `bias`, `seed`.
        The rounds of the barycentre are always descents from where the networks stand.

    Returns
    -------
    Aligned
        Permuted networks, what was done, and distances.

    Raises
    ------
    ValueError
        As :func:`match`, or if the reference is none of the above.
    TypeError
        If there is no such option.
    IndexError
        If there is no network of this index.
    MemoryError
        As :func:`match`.

    Warns
    -----
    UserWarning
        If networks still moved after `ROUNDS` rounds.
    """
    label = options.pop("label", "aligning")
    options = asdict(Search.of("align", options)) | {"label": label}
    whole = isinstance(reference, int | np.integer) and not isinstance(reference, bool)
    named = isinstance(reference, str) and reference == "barycentre"
    if not (whole or named or isinstance(reference, Ensemble)):
        raise ValueError(f"reference must be an index, an ensemble or 'barycentre', not {reference!r}")
    if not isinstance(reference, int | np.integer | Ensemble):
        return _to_barycentre(ensemble, fitting(ensemble, description), options)
    if not isinstance(reference, Ensemble) and not -ensemble.replicas <= reference < ensemble.replicas:
        raise IndexError(f"there is no network {reference} for a reference: there are {ensemble.replicas}")
    target = reference if isinstance(reference, Ensemble) else ensemble[int(reference)]
    found = match(target, ensemble, description=description, **options)
    permuted = permute(ensemble, found.permutations, description)
    before, after = _distances(target, ensemble), _distances(target, permuted)
    spread = np.array([_spread(ensemble), _spread(permuted)])
    return Aligned(permuted, found.permutations, found.objective, before, after, spread, 1, target)


def barycentre(ensemble: Ensemble) -> Ensemble:
    """Return the means of parameters and of real buffers as one network; other buffers are the first's.

    Parameters
    ----------
    ensemble
        R networks.

    Returns
    -------
    Ensemble
        One network.

    Raises
    ------
    ValueError
        If a weight is not finite.
    """
    check_finite(ensemble)
    return _mean(ensemble)


def _mean(ensemble: Ensemble) -> Ensemble:
    def mean(value: Tensor) -> Tensor:
        return value.detach().mean(0, keepdim=True) if value.is_floating_point() else value[:1].clone()

    return Ensemble(
        ensemble.model,
        {name: mean(value) for name, value in ensemble.params.items()},
        {name: mean(value) for name, value in ensemble.buffers.items()},
    )


def quotient_distances(
    ensemble: Ensemble,
    others: Ensemble | None = None,
    *,
    description: Description | None = None,
    **options: Any,
) -> Distances:
    """Return Euclidean distances between all networks, as they are and modulo permutations.

    Parameters
    ----------
    ensemble
        R networks of one model.
    others
        R' networks of it; by default the same, and each pair is then matched once.
    description
        The hidden units; by default those of the model.
    **options
        Those of :func:`match`: `method`, `start`, `sequence`, `restarts`, `bias`, `seed`.

    Returns
    -------
    Distances
        Raw and matched, ``(R, R')``.

    Raises
    ------
    ValueError
        As :func:`match`.
    TypeError
        If there is no such option.
    MemoryError
        As :func:`match`.
    """
    search = Search.of("quotient_distances", options)
    right = ensemble if others is None else others
    description = check_pairs(ensemble, right, description)
    pairwise = _separately if is_separate(ensemble, description, search) else _one_after_the_other
    raw, matched = pairwise(ensemble, right, description, search, symmetric=others is None)
    if others is None:
        raw, matched = raw + raw.T, matched + matched.T
    return Distances(raw, matched)


def _one_after_the_other(
    ensemble: Ensemble, right: Ensemble, description: Description, search: Search, *, symmetric: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return distances of all pairs as they are and matched; of those above the diagonal if symmetric."""
    shape = (ensemble.replicas, right.replicas)
    pairs = [(i, j) for i, j in np.ndindex(shape) if not symmetric or i < j]
    raw, matched = np.zeros(shape), np.zeros(shape)
    for i, j in progress.track(pairs, "matching pairs"):
        a, b = one_pair(ensemble, right, i, j)
        pair = Pair(a, b, description, bias=search.bias)
        orders = look(pair, search, i, j).orders
        raw[i, j], matched[i, j] = _distance(a, b), _distance(a, pair.ordered(orders))
    return raw, matched


def _separately(
    ensemble: Ensemble, right: Ensemble, description: Description, search: Search, *, symmetric: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the same for sets of units that share no parameter, many pairs at once."""
    raw, matched = np.zeros((2, ensemble.replicas, right.replicas))
    dtype = torch.promote_types(ensemble.dtype, right.dtype)
    keep_heap()
    size = chunk_of(right, description, dtype)
    total = right.replicas * (right.replicas - 1) // 2 if symmetric else raw.size
    with progress.bar("matching pairs", total) as bar:
        for start in range(0, right.replicas, size):
            stop = min(start + size, right.replicas)
            part = Networks(right[start:stop], description, dtype, bias=search.bias)
            for i in range(min(ensemble.replicas, stop - 1) if symmetric else ensemble.replicas):
                first = max(start, i + 1) if symmetric else start
                one = {
                    name: value[i : i + 1].detach().to(part.device, dtype)
                    for name, value in ensemble.params.items()
                }
                raw[i, first:stop], matched[i, first:stop] = part.distances_to(one, first - start)
                bar.update(stop - first)
    return raw, matched


def _to_barycentre(ensemble: Ensemble, description: Description, options: dict[str, Any]) -> Aligned:
    first = match(ensemble[0], ensemble, description=description, **options)
    done = first.permutations
    place = permute(ensemble, done, description)
    spread = [_spread(ensemble), _spread(place)]
    rounds, moving = 0, True
    while moving and rounds < ROUNDS:
        moves = _round(place, description, options["bias"])
        place, done = permute(place, moves, description), compose(done, moves)
        spread.append(_spread(place))
        moving = any(bool((p != torch.arange(p.shape[1])).any()) for p in moves.values())
        rounds += 1
    if moving:
        warnings.warn(f"networks still moved after {ROUNDS} rounds to the barycentre", stacklevel=3)
    mean = _mean(place)
    return Aligned(
        place,
        done,
        inner_product(mean, place),
        _distances(mean, ensemble),
        _distances(mean, place),
        np.array(spread),
        rounds,
        mean,
    )


def _round(place: Ensemble, description: Description, bias: bool) -> Permutations:
    """Let each network in turn descend towards the sum of the others; return what was done to each."""
    total = {name: value.detach().double().sum(0) for name, value in place.params.items()}
    found = []
    for r in progress.track(range(place.replicas), "moving to the barycentre"):
        own = {name: value[r].detach() for name, value in place.params.items()}
        rest = {name: (total[name] - value).to(value.dtype) for name, value in own.items()}
        pair = Pair(rest, own, description, bias=bias)
        orders, _ = descend(pair, pair.identity())
        for name, value in pair.ordered(orders).items():
            total[name] += value.double() - own[name].double()
        found.append(orders)
    return stack(found)


def _spread(ensemble: Ensemble) -> float:
    """Mean squared distance to the mean."""
    return float((_distances(_mean(ensemble), ensemble) ** 2).mean())


def _distances(a: Ensemble, b: Ensemble) -> NDArray[np.float64]:
    return np.array([_distance(*one_pair(a, b, r % a.replicas, r)) for r in range(b.replicas)])


def _distance(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> float:
    norms = [torch.linalg.vector_norm(a[name] - b[name], dtype=torch.float64) for name in b]
    return float(torch.stack(norms).square().sum().sqrt())
