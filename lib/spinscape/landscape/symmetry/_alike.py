"""Whether networks can be matched: one model, finite weights, tables that fit in memory."""

from __future__ import annotations

from dataclasses import replace
from itertools import zip_longest

from spinscape.landscape.symmetry.checks import check_finite, check_memory
from spinscape.landscape.symmetry.permutations import fitting
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.units import Description, Units, describe


def check_models(a: Ensemble, b: Ensemble) -> None:
    """Refuse ensembles of different models, and parameters that are not finite.

    Raises
    ------
    ValueError
        It names the parameter.
    """
    odd = [*(name for name in a.params if name not in b.params), *(n for n in b.params if n not in a.params)]
    if odd:
        whose = "a" if odd[0] in a.params else "b"
        raise ValueError(f"only {whose} has a parameter {odd[0]}: the networks must be of one model")
    for name, value in a.params.items():
        shapes = tuple(value.shape[1:]), tuple(b.params[name].shape[1:])
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"{name} has shape {shapes[0]} in a and {shapes[1]} in b: "
                "widths, inputs and classes of the networks must be equal"
            )
    for whose, ensemble in (("a", a), ("b", b)):
        check_finite(ensemble.params, f"weights of {whose} must be finite, not those of")


def check_pairs(a: Ensemble, b: Ensemble, description: Description | None) -> Description:
    """Return the hidden units of networks that can be matched: those given, or those of both models.

    Raises
    ------
    ValueError
        If the networks are not of one model, or a parameter is not finite.
    MemoryError
        If the gains of a set do not fit in memory.
    """
    check_models(a, b)
    known = fitting(b, description)
    if description is None and a.model is not b.model:
        for ours, theirs in zip_longest(describe(a.model).units, known.units):
            _check_units(ours, theirs)
    check_gains(b, known)
    return known


def _check_units(ours: Units | None, theirs: Units | None) -> None:
    """Refuse sets of units of two models that differ."""
    if ours == theirs:
        return
    name = (ours or theirs).name  # type: ignore[union-attr]
    if ours and theirs and replace(ours, kind=theirs.kind) == theirs:
        told = f"are of kind {ours.kind!r} in a and {theirs.kind!r} in b"
    else:
        told = "are not written and read by the same weights in a and in b"
    raise ValueError(f"hidden units {name!r} {told}: the networks must be of one model")


def check_gains(ensemble: Ensemble, description: Description) -> None:
    """Refuse sets of units whose gains do not fit in memory.

    Raises
    ------
    MemoryError
        It names the set, and tells how many units would fit.
    """
    for units in description.units:
        terms = sum(axis.name in ensemble.params for axis in units.axes)
        # Products are kept and stacked, then summed; the assignment has three tables in double precision.
        each = ensemble.dtype.itemsize * (2 * terms + 2) + 3 * 8
        name = f"units of {units.name!r}"
        check_memory(name, units.size, each, what="with their gains", device=ensemble.device, power=2)
