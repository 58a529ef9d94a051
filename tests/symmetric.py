"""Descriptions of hidden units, tried out by hand: what `landscape.symmetry` does, in a few plain lines."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import torch
from torch import Tensor, nn

from spinscape.networks.ensemble import Ensemble
from spinscape.networks.evaluation import outputs
from spinscape.networks.units import Axis, Description


def randomised(model: nn.Module, replicas: int = 2, seed: int = 0) -> Ensemble:
    """Float64 replicas with random parameters, of the scale of PyTorch's law, and random statistics.

    Scales of batch norms have either sign; a quarter of them, and at least one, is zero.
    """
    g = torch.Generator().manual_seed(seed)

    def normal(shape: Iterable[int]) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    params, buffers = {}, {}
    for name, own in model.named_parameters():
        shape = (replicas, *own.shape)
        if own.ndim > 1:
            params[name] = normal(shape) * (2 / own[0].numel()) ** 0.5
        elif name.endswith("weight"):
            alive = torch.rand(shape, generator=g).argsort(1) >= max(1, shape[1] // 4)
            params[name] = normal(shape) * alive
        else:
            params[name] = normal(shape) / 3
    for name, own in model.named_buffers():
        shape = (replicas, *own.shape)
        if name.endswith("running_var"):
            buffers[name] = normal(shape).abs() + 0.3
        elif name.endswith("running_mean"):
            buffers[name] = normal(shape) / 2
        else:
            buffers[name] = torch.ones(shape, dtype=own.dtype)
    return Ensemble(model, params, buffers)


def along(ensemble: Ensemble, axes: Iterable[Axis], change: Callable[[Tensor], Tensor]) -> Ensemble:
    """Change tensors ``(R, units, entries per unit, ...)`` along each axis."""
    tensors = dict(ensemble.params | ensemble.buffers)
    for axis in axes:
        value = tensors[axis.name].movedim(axis.axis + 1, 1)
        entries = value.reshape(len(value), -1, axis.repeat, *value.shape[2:])
        moved = change(entries).reshape(value.shape).movedim(1, axis.axis + 1)
        tensors[axis.name] = moved.contiguous()
    return Ensemble(
        ensemble.model,
        {name: tensors[name] for name in ensemble.params},
        {name: tensors[name] for name in ensemble.buffers},
    )


def permuted(ensemble: Ensemble, description: Description, seed: int = 1) -> Ensemble:
    """Permute the units of every set at random, such that no unit stays."""
    g = torch.Generator().manual_seed(seed)
    for units in description.units:
        order = torch.arange(units.size)
        while (order == torch.arange(units.size)).any():
            order = torch.randperm(units.size, generator=g)
        ensemble = along(ensemble, units.axes, lambda value, order=order: value[:, order])
    return ensemble


def scaled(ensemble: Ensemble, description: Description, seed: int = 2, *, signs: bool = False) -> Ensemble:
    """Scale every unit by a factor between 1/2 and 3/2, or by a sign, and what reads it by the inverse."""
    g = torch.Generator().manual_seed(seed)
    for units in description.units:
        factor = torch.rand(units.size, generator=g, dtype=ensemble.dtype) + 0.5
        if signs:
            factor = (factor - 1).sign()

        def times(value: Tensor, factor: Tensor = factor) -> Tensor:
            return value * factor.view(-1, *[1] * (value.ndim - 2))

        def over(value: Tensor, factor: Tensor = factor) -> Tensor:
            return value / factor.view(-1, *[1] * (value.ndim - 2))

        ensemble = along(along(ensemble, units.incoming, times), units.outgoing, over)
    return ensemble


def change(first: Tensor, second: Tensor) -> float:
    """Largest difference of outputs, relative to the largest output."""
    return float((first - second).detach().abs().max() / first.detach().abs().max())


def without(description: Description, k: int, axis: Axis) -> Description:
    """Leave one axis out of what set `k` lists."""
    units = description.units[k]
    fewer = {
        field: tuple(a for a in getattr(units, field) if a != axis)
        for field in ("incoming", "norms", "outgoing")
    }
    sets = (*description.units[:k], replace(units, **fewer), *description.units[k + 1 :])
    return replace(description, units=sets)


def check_axes(ensemble: Ensemble, description: Description, x: Tensor) -> None:
    """Assert that permutations keep the outputs, and that they do not if any axis is left out."""
    before = outputs(ensemble, x)
    assert change(before, outputs(permuted(ensemble, description), x)) < 1e-10
    for k, units in enumerate(description.units):
        for axis in units.axes:
            wrong = permuted(ensemble, without(description, k, axis))
            assert change(before, outputs(wrong, x)) > 1e-7, axis
