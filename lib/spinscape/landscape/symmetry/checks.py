"""Checks at the door: whole numbers, finite weights, samples that fit, sizes that fit in memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from spinscape.memory import available_bytes
from spinscape.networks.ensemble import Ensemble, outputs
from spinscape.networks.finite import check_finite as check_finite
from spinscape.networks.losses import PerSample

CPU = torch.device("cpu")

CLASSIFYING = ("cross_entropy", "one_hot_mse")
"""Losses whose targets are labels."""


def at_least(name: str, value: object, least: int) -> int:
    """Return a whole number of at least `least`, numpy's among them, as an int.

    Raises
    ------
    ValueError
        If `value` is anything else; it names the argument.
    """
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, not {value!r}")
    return int(value)


def whole_numbers(name: str, values: Sequence[int] | np.ndarray, least: int) -> list[int]:
    """Return a list of at least one whole number, each at least `least`.

    Raises
    ------
    ValueError
        If `values` is anything else; it names the argument.
    """
    wanted = f"{name} must be a list of whole numbers of at least {least}"
    try:
        listed = None if isinstance(values, str | bytes) else list(values)
    except TypeError:
        listed = None
    if not listed:
        raise ValueError(f"{wanted}, not {values!r}")
    try:
        return [at_least(name, value, least) for value in listed]
    except ValueError:
        raise ValueError(f"{wanted}, not {listed}") from None


def check_memory(
    name: str, count: int, each: float, *, what: str = "", device: torch.device = CPU, power: int = 1
) -> None:
    """Refuse a size that cannot fit in memory, before anything is allocated.

    Parameters
    ----------
    name, count
        The argument, and its value.
    each
        Bytes that one of it takes.
    what
        Said after the argument, such as ``"of 3 networks"``.
    device
        Where they are taken.
    power
        Bytes grow as this power of `count`: 2 for tables of all pairs.

    Raises
    ------
    MemoryError
        It names the argument, says how much would be taken, and how many are allowed.
    """
    there = available_bytes(device)
    need = each * float(count) ** power
    if need > there:
        told = f" {what}" if what else ""
        raise MemoryError(
            f"{count:,} {name}{told} take {need / 2**30:.3g} GiB, more than the {there / 2**30:.3g} GiB "
            f"there are: {name} must be at most {int((there / each) ** (1 / power)):,}"
        )


def check_copies(ensemble: Ensemble, name: str, count: int) -> None:
    """Refuse copies of networks that do not fit in memory.

    Parameters
    ----------
    ensemble
        R networks.
    name, count
        The argument, and its value: the number of copies of each network.

    Raises
    ------
    MemoryError
        It says how many are allowed.
    """
    tensors = [*ensemble.params.values(), *ensemble.buffers.values()]
    # What is copied, and a reordered copy beside it.
    size = 2 * sum(value.numel() * value.element_size() for value in tensors)
    check_memory(name, count, size, what=f"of {ensemble.replicas} networks", device=ensemble.device)


def as_tensor(name: str, value: Tensor | ArrayLike) -> Tensor:
    """Return numbers, such as an array of numpy's, as a tensor.

    Raises
    ------
    ValueError
        If they are none; it names the argument.
    """
    try:
        return torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{name} must be a tensor or an array of numbers: {error}") from None


def as_numbers(name: str, value: ArrayLike) -> NDArray[np.float64]:
    """Return numbers as a float64 array.

    Raises
    ------
    ValueError
        If they are none; it names the argument.
    """
    try:
        return np.asarray(value, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be numbers: {error}") from None


def check_samples(
    ensemble: Ensemble, x: Tensor | ArrayLike, y: Tensor | ArrayLike, loss: str | PerSample
) -> tuple[Tensor, Tensor]:
    """Return inputs and labels or targets as tensors on the networks' device, real inputs of their type.

    Parameters
    ----------
    ensemble
        R networks.
    x, y
        Inputs ``(N, ...)`` and labels or targets ``(N, ...)``.
    loss
        As in :func:`spinscape.networks.evaluation.evaluate`.

    Raises
    ------
    ValueError
        If lengths differ or are 0, `x` is not what the networks read, or `y` holds no labels of theirs.
    """
    x, y = as_tensor("x", x), as_tensor("y", y)
    if not x.ndim or not y.ndim or len(x) != len(y) or not len(x):
        lengths = [len(part) if part.ndim else "none" for part in (x, y)]
        raise ValueError(f"x and y must have the same positive length, not {lengths[0]} and {lengths[1]}")
    x = x.to(ensemble.device, ensemble.dtype if x.is_floating_point() else x.dtype)
    y = y.to(ensemble.device)
    try:
        classes = outputs(ensemble[0], x[:1]).shape[-1]
    except (RuntimeError, IndexError) as error:
        raise ValueError(f"x of shape {tuple(x.shape)} is not what the networks read: {error}") from None
    if loss in CLASSIFYING:
        if y.ndim != 1 or y.is_floating_point():
            if loss == "cross_entropy" and y.shape == (len(x), classes):
                return x, y
            raise ValueError(f"y must hold labels of shape (N,), not {y.dtype} of shape {tuple(y.shape)}")
        if not 0 <= int(y.min()) <= int(y.max()) < classes:
            raise ValueError(f"labels y must lie in 0..{classes - 1}, not {int(y.min())}..{int(y.max())}")
    if loss == "mse" and y.shape != (len(x), classes):
        raise ValueError(f"targets y must have shape {(len(x), classes)}, not {tuple(y.shape)}")
    return x, y
