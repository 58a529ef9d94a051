"""Permutations of hidden units, which change the weights of a network and not its function.

Unit i of the result is unit ``p[i]`` of the input.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from spinscape.landscape.steps import PERMUTATIONS, generator
from spinscape.landscape.symmetry.checks import at_least, check_copies, check_memory
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.units import Axis, Description, check, describe

Permutations = dict[str, Tensor]
"""By the name of a set of units: int64 ``(R, size)``, or ``(size,)`` for all replicas alike."""


ROW_BYTES = 16
"""What an entry of drawn rows takes, and of the table they are stacked to."""


def description_of(of: nn.Module | Ensemble | Description) -> Description:
    """Return the hidden units of a model, of an ensemble's model, or the description itself."""
    if isinstance(of, Description):
        return of
    return describe(of.model if isinstance(of, Ensemble) else of)


def fitting(ensemble: Ensemble, description: Description | None) -> Description:
    """Return the hidden units of an ensemble's model: those given, checked, or its own."""
    if description is None:
        return describe(ensemble.model)
    check(ensemble.model, description)
    return description


def identity(of: nn.Module | Ensemble | Description) -> Permutations:
    """Return the permutation that leaves every hidden unit where it is, ``(size,)`` by set.

    Parameters
    ----------
    of
        A model, an ensemble or a description.
    """
    return {units.name: torch.arange(units.size) for units in description_of(of).units}


def random_permutations(
    of: nn.Module | Ensemble | Description, *, replicas: int, seed: int = 0
) -> Permutations:
    """Draw uniform permutations of all sets of hidden units.

    Parameters
    ----------
    of
        A model, an ensemble or a description.
    replicas
        Number R of draws; draw r depends on the seed and r only.
    seed
        Seed of the draws.

    Returns
    -------
    dict
        int64 ``(R, size)`` by set, on the CPU.

    Raises
    ------
    ValueError
        If `replicas` is below 1, or `seed` below 0.
    MemoryError
        If the draws do not fit in memory; it tells how many do.
    """
    description = description_of(of)
    replicas = at_least("replicas", replicas, 1)
    check_memory("replicas", replicas, ROW_BYTES * sum(units.size for units in description.units))
    rows = []
    for r in range(replicas):
        source = generator(seed, PERMUTATIONS, r)
        rows.append([torch.randperm(units.size, generator=source) for units in description.units])
    columns = zip(*rows, strict=True)
    return {units.name: torch.stack(column) for units, column in zip(description.units, columns, strict=True)}


def compose(first: Mapping[str, ArrayLike], second: Mapping[str, ArrayLike]) -> Permutations:
    """Return the permutations that do `first`, then `second`.

    Parameters
    ----------
    first, second
        By set, ``(R, size)``, or ``(size,)`` for all replicas alike.

    Returns
    -------
    dict
        Of the sets that either names; one that only one of them names is permuted by that one.

    Raises
    ------
    ValueError
        If something is not a permutation, or sizes or numbers of replicas differ.
    """
    composed = {}
    for name in [*first, *(name for name in second if name not in first)]:
        if name not in first or name not in second:
            composed[name] = _permutation(name, first[name] if name in first else second[name]).clone()
            continue
        p, q = _permutation(name, first[name]), _permutation(name, second[name])
        if p.shape[-1] != q.shape[-1] or (p.ndim == q.ndim == 2 and 1 != len(p) != len(q) != 1):
            raise ValueError(f"permutations of {name!r} differ in shape: {tuple(p.shape)}, {tuple(q.shape)}")
        composed[name] = _compose(p, q)
    return composed


def _compose(p: Tensor, q: Tensor) -> Tensor:
    if p.ndim == 1:
        return p[q]
    rows = max(len(p), len(q) if q.ndim == 2 else 1)
    return p.expand(rows, -1).gather(1, q.expand(rows, -1))


def inverse(permutations: Mapping[str, ArrayLike]) -> Permutations:
    """Return the permutations that undo the given ones.

    Parameters
    ----------
    permutations
        By set, ``(R, size)`` or ``(size,)``.

    Raises
    ------
    ValueError
        If something is not a permutation.
    """
    return {name: _permutation(name, p).argsort(-1) for name, p in permutations.items()}


def permute(
    ensemble: Ensemble, permutations: Mapping[str, ArrayLike], description: Description | None = None
) -> Ensemble:
    """Permute hidden units: weights, biases, batch norms and their statistics.

    Numbers are moved as they are, finite or not.

    Parameters
    ----------
    ensemble
        R networks.
    permutations
        By set, ``(R, size)``, or ``(size,)`` for all networks alike; sets that are not named stay.
        One network takes any number R' of permutations and gives R' networks.
    description
        The hidden units; by default those of the model.

    Returns
    -------
    Ensemble
        Networks of the same functions, up to the order in which sums are rounded.

    Raises
    ------
    ValueError
        If a set is unknown, or something is not a permutation or has the wrong shape.
    MemoryError
        If the permuted copies of one network do not fit in memory; it tells how many do.

    Examples
    --------
    >>> from spinscape.networks.models import mlp
    >>> ensemble = Ensemble.from_modules([mlp([2, 3, 1])])
    >>> permuted = permute(ensemble, {"layer1": [2, 0, 1]})
    >>> bool((permuted.params["layer1.bias"] == ensemble.params["layer1.bias"][:, [2, 0, 1]]).all())
    True
    """
    description = fitting(ensemble, description)
    given = check_permutations(permutations, description, ensemble.replicas)
    rows = max([ensemble.replicas, *(len(p) for p in given.values())])
    if rows > ensemble.replicas:
        check_copies(ensemble, "permutations", rows)
    wanted: dict[str, list[tuple[Axis, Tensor]]] = {}
    for units in description.units:
        if units.name in given:
            for axis in units.axes:
                wanted.setdefault(axis.name, []).append((axis, given[units.name].to(ensemble.device)))

    def moved(name: str, value: Tensor) -> Tensor:
        for axis, p in wanted.get(name, []):
            value = _select(value, axis, p)
        return value if len(value) == rows else value.expand(rows, *value.shape[1:]).contiguous()

    return Ensemble(
        ensemble.model,
        {name: moved(name, value) for name, value in ensemble.params.items()},
        {name: moved(name, value) for name, value in ensemble.buffers.items()},
        ensemble.history if rows == ensemble.replicas else None,
    )


def check_permutations(
    permutations: Mapping[str, ArrayLike], description: Description, replicas: int
) -> Permutations:
    """Return permutations as int64 ``(R', size)``, R' being 1 where all replicas share one.

    Raises
    ------
    ValueError
        If a set is unknown, or something is not a permutation or has the wrong shape.
    """
    sizes = {units.name: units.size for units in description.units}
    unknown = [name for name in permutations if name not in sizes]
    if unknown:
        known = ", ".join(repr(name) for name in sizes)
        raise ValueError(f"permutations name hidden units {unknown[0]!r}; known sets: {known}")
    rows = replicas
    checked = {}
    for name, given in permutations.items():
        p = _permutation(name, given, sizes[name]).reshape(-1, sizes[name])
        if len(p) != 1 and rows == 1:
            rows = len(p)
        if len(p) not in (1, rows):
            raise ValueError(f"permutations of {name!r} must have 1 or {rows} rows, not {len(p)}")
        checked[name] = p
    return checked


def _select(value: Tensor, axis: Axis, p: Tensor) -> Tensor:
    """Reorder `value` ``(R or 1, ...)`` along an axis by `p` ``(R or 1, size)``."""
    if axis.repeat > 1:
        within = torch.arange(axis.repeat, device=p.device)
        p = (p[:, :, None] * axis.repeat + within).flatten(1)
    dim = axis.axis + 1
    if len(p) == 1:
        return value.index_select(dim, p[0])
    if dim == 1:
        starts = torch.arange(len(p), device=p.device)[:, None] * p.shape[1] * (len(value) > 1)
        return value.flatten(0, 1).index_select(0, (p + starts).flatten()).unflatten(0, tuple(p.shape))
    shape = [len(p), *value.shape[1:]]
    index = p.reshape(len(p), *[1] * (dim - 1), -1, *[1] * (value.ndim - dim - 1))
    return value.expand(shape).gather(dim, index.expand(shape))


def _permutation(name: str, given: ArrayLike, size: int | None = None) -> Tensor:
    """Return permutations as int64 of the shape given; of this size, if it is known."""
    try:
        p = torch.as_tensor(given).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"permutations of {name!r} must be arrays of whole numbers: {error}") from None
    if p.is_floating_point() or p.is_complex() or p.dtype == torch.bool or p.ndim not in (1, 2):
        raise ValueError(
            f"permutations of {name!r} must be whole numbers of shape (size,) or (R, size), "
            f"not {p.dtype} of shape {tuple(p.shape)}"
        )
    size = p.shape[-1] if size is None else size
    if p.shape[-1] != size or not p.numel():
        raise ValueError(f"permutations of {name!r} must have {size} entries, not shape {tuple(p.shape)}")
    if not torch.equal(p.long().sort(-1).values, torch.arange(size).expand_as(p)):
        raise ValueError(f"permutations of {name!r} must list each of 0..{size - 1} once in every row")
    return p.long()
