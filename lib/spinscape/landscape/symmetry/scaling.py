"""Positive factors and signs of hidden units.

A unit's incoming weights and bias times a positive number, its outgoing weights divided by it: where the
activation is positively homogeneous (ReLU) the function stays.
So does it with -1 where the activation is odd (tanh).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from spinscape.landscape.steps import SCALES, SIGNS, generator
from spinscape.landscape.symmetry.checks import at_least, check_copies, check_finite, check_memory
from spinscape.landscape.symmetry.permutations import ROW_BYTES, description_of, fitting
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.folding import fold
from spinscape.networks.units import Axis, Description, Units

Tensors = dict[str, Tensor]

POSITIVE, SIGNED = ("homogeneous", "linear"), ("odd", "linear")
"""Kinds of units that positive factors, and signs, leave the function of."""


def random_scales(
    of: nn.Module | Ensemble | Description, *, replicas: int, spread: float = 1.0, seed: int = 0
) -> Tensors:
    """Draw positive factors ``exp(spread * standard normal)`` for the units that may be rescaled.

    Parameters
    ----------
    of
        A model, an ensemble or a description.
    replicas
        Number R of draws; draw r depends on the seed and r only.
    spread
        Standard deviation of the logarithm.
    seed
        Seed of the draws.

    Returns
    -------
    dict
        float64 ``(R, size)`` by set, on the CPU.

    Raises
    ------
    ValueError
        If `replicas` is below 1, `spread` or `seed` below 0, or `spread` not finite.
    MemoryError
        If the draws do not fit in memory; it tells how many do.
    """
    if not isinstance(spread, int | float | np.number) or not 0 <= spread < np.inf:
        raise ValueError(f"spread must be a finite number of at least 0, not {spread!r}")
    replicas, sets = _drawn(of, replicas, POSITIVE)
    found: dict[str, list[Tensor]] = {units.name: [] for units in sets}
    for r in range(replicas):
        source = generator(seed, SCALES, r)
        for units in sets:
            normal = torch.randn(units.size, generator=source, dtype=torch.float64)
            found[units.name].append((spread * normal).exp())
    return {name: torch.stack(rows) for name, rows in found.items()}


def random_signs(of: nn.Module | Ensemble | Description, *, replicas: int, seed: int = 0) -> Tensors:
    """Draw signs +1 or -1 for the units that may be flipped.

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
        float64 ``(R, size)`` by set, on the CPU.

    Raises
    ------
    ValueError
        If `replicas` is below 1, or `seed` below 0.
    MemoryError
        If the draws do not fit in memory; it tells how many do.
    """
    replicas, sets = _drawn(of, replicas, SIGNED)
    found: dict[str, list[Tensor]] = {units.name: [] for units in sets}
    for r in range(replicas):
        source = generator(seed, SIGNS, r)
        for units in sets:
            found[units.name].append(torch.randint(0, 2, (units.size,), generator=source).double() * 2 - 1)
    return {name: torch.stack(rows) for name, rows in found.items()}


def _drawn(
    of: nn.Module | Ensemble | Description, replicas: int, kinds: tuple[str, ...]
) -> tuple[int, list[Units]]:
    """Return the number of draws and the sets of units of some kinds, if the draws fit in memory."""
    sets = [units for units in description_of(of).units if units.kind in kinds]
    replicas = at_least("replicas", replicas, 1)
    check_memory("replicas", replicas, ROW_BYTES * sum(units.size for units in sets))
    return replicas, sets


def rescale(
    ensemble: Ensemble, scales: Mapping[str, ArrayLike], description: Description | None = None
) -> Ensemble:
    """Multiply incoming weights and biases of hidden units by positive numbers, divide the outgoing ones.

    Parameters
    ----------
    ensemble
        R networks; batch norms are folded first.
    scales
        By set, ``(R, size)``, or ``(size,)`` for all networks alike; sets that are not named stay.
        One network takes any number R' of rows and gives R' networks.
    description
        The hidden units, for a model without batch norm; by default those of the model.

    Returns
    -------
    Ensemble
        Networks of the same functions.

    Raises
    ------
    ValueError
        If a set is unknown or its activation is not homogeneous, or scales or weights are not finite,
        scales are not positive, or their shape is wrong.
    MemoryError
        If the copies of one network do not fit in memory; it tells how many do.
    """
    return _multiply(ensemble, "scales", scales, description)


def random_rescale(
    ensemble: Ensemble, spread: float = 1.0, seed: int = 0, *, description: Description | None = None
) -> Ensemble:
    """Rescale every hidden unit by a random factor ``exp(spread * standard normal)``.

    Parameters
    ----------
    ensemble
        R networks; batch norms are folded first.
    spread
        Standard deviation of the logarithm of the factors; at 0 weights stay.
    seed
        Seed of the factors; those of network r depend on the seed and r only.
    description
        As in :func:`rescale`.

    Returns
    -------
    Ensemble
        Networks of the same functions whose Hessians differ.

    Raises
    ------
    ValueError
        As :func:`random_scales` and :func:`rescale`.
    """
    ensemble, known = folded(ensemble, description)
    factors = random_scales(known, replicas=ensemble.replicas, spread=spread, seed=seed)
    return rescale(ensemble, factors, description)


def flip_signs(
    ensemble: Ensemble, signs: Mapping[str, ArrayLike], description: Description | None = None
) -> Ensemble:
    """Multiply incoming and outgoing weights of hidden units by +1 or -1.

    Parameters
    ----------
    ensemble, description
        As in :func:`rescale`.
    signs
        By set, ``(R, size)``, or ``(size,)`` for all networks alike; sets that are not named stay.

    Returns
    -------
    Ensemble
        Networks of the same functions.

    Raises
    ------
    ValueError
        If a set is unknown or its activation is not odd (as tanh is), weights are not finite, signs are not
        +1 or -1, or their shape is wrong.
    MemoryError
        If the copies of one network do not fit in memory; it tells how many do.
    """
    return _multiply(ensemble, "signs", signs, description)


def _multiply(
    ensemble: Ensemble, what: str, given: Mapping[str, ArrayLike], description: Description | None
) -> Ensemble:
    """Apply positive factors ("scales") or signs ("signs")."""
    ensemble, description = folded(ensemble, description)
    sizes = {units.name: units.size for units in description.units}
    rows = ensemble.replicas
    factors = {}
    for name, value in given.items():
        if name not in sizes:
            known = ", ".join(repr(one) for one in sizes)
            raise ValueError(f"{what} name hidden units {name!r}; known sets: {known}")
        kinds = POSITIVE if what == "scales" else SIGNED
        check_kind(description[name], kinds, f"{what} change the function")
        try:
            factor = torch.as_tensor(value, dtype=ensemble.dtype, device=ensemble.device)
        except (TypeError, ValueError, RuntimeError) as error:
            raise ValueError(f"{what} of {name!r} must be numbers: {error}") from None
        if factor.ndim not in (1, 2) or factor.shape[-1] != sizes[name]:
            raise ValueError(
                f"{what} of {name!r} must have {sizes[name]} entries, not shape {tuple(factor.shape)}"
            )
        factor = factor.reshape(-1, sizes[name])
        if what == "scales" and not bool(((factor > 0) & factor.isfinite()).all()):
            raise ValueError(f"scales of {name!r} must be positive and finite in {ensemble.dtype}")
        if what == "signs" and not bool((factor.abs() == 1).all()):
            raise ValueError(f"signs of {name!r} must be +1 or -1")
        rows = len(factor) if rows == 1 else rows
        if len(factor) not in (1, rows):
            raise ValueError(f"{what} of {name!r} must have 1 or {rows} rows, not {len(factor)}")
        factors[name] = factor
    if rows != ensemble.replicas:
        check_copies(ensemble, what, rows)
        ensemble = ensemble[[0] * rows]
    params = dict(ensemble.params)
    for name, factor in factors.items():
        scale(params, description[name], factor)
    check_finite(params, f"{what} make weights overflow:")
    return Ensemble(ensemble.model, params, ensemble.buffers, ensemble.history)


def folded(ensemble: Ensemble, description: Description | None) -> tuple[Ensemble, Description]:
    """Return finite networks without batch norm, and their hidden units."""
    known = fitting(ensemble, description)
    check_finite(ensemble)
    if not known.norms and not any(units.norms for units in known.units):
        return ensemble, known
    if description is not None:
        raise ValueError("description lists batch norms: fold them first (spinscape.networks.folding)")
    plain = fold(ensemble)
    return plain, fitting(plain, None)


def scale(params: Tensors, units: Units, factor: Tensor) -> None:
    """Multiply what writes the units by a factor ``(R, size)`` and divide what reads them, in a dict."""
    for axis in units.incoming:
        params[axis.name] = params[axis.name] * along(params[axis.name], axis, factor)
    for axis in units.outgoing:
        params[axis.name] = params[axis.name] / along(params[axis.name], axis, factor)


def along(value: Tensor, axis: Axis, factor: Tensor) -> Tensor:
    """Return factors ``(R, size)`` in a shape that multiplies `value` along an axis."""
    wide = factor.repeat_interleave(axis.repeat, 1) if axis.repeat > 1 else factor
    return wide.reshape(len(wide), *[1] * axis.axis, -1, *[1] * (value.ndim - axis.axis - 2))


def check_kind(units: Units, kinds: tuple[str, ...], what: str) -> None:
    """Refuse units whose activation is not of one of the kinds."""
    if units.kind not in kinds:
        raise ValueError(f"{what}: the activation of {units.name!r} is of kind {units.kind!r}, not {kinds}")
