"""Batch norms in use are affine, so they can be folded into the layers before them."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from spinscape.networks.ensemble import Ensemble
from spinscape.networks.finite import check_finite
from spinscape.networks.units import Axis, Description, Units, describe, join

_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d)


def fold(ensemble: Ensemble) -> Ensemble:
    """Fold every batch norm into the layer before it; outputs in evaluation mode stay as they are.

    With scale g, shift h, running mean m and variance v of a norm, the weight W and bias b of its layer
    become ``W g / sqrt(v + eps)`` and ``(b - m) g / sqrt(v + eps) + h``, computed in double precision.

    Parameters
    ----------
    ensemble
        R networks of a model that `units.describe` understands.

    Returns
    -------
    Ensemble
        Of a model in which ``nn.Identity`` stands for each norm and the layers before have biases; it can be
        described too.
        The same ensemble if there are no norms.

    Raises
    ------
    ValueError
        If a batch norm cannot be folded, because it keeps no running statistics or because it does not
        directly follow a layer, or if a weight or a statistic is not finite; it is named.
    """
    modules = dict(ensemble.model.named_modules())
    norms = [name for name, module in modules.items() if isinstance(module, _BatchNorm)]
    if not norms:
        return ensemble
    description = describe(ensemble.model)
    _check(modules, norms, description.norms)
    check_finite(ensemble)
    tensors = dict(ensemble.params | ensemble.buffers)
    for layer, norm in description.norms:
        _fold_one(tensors, layer, norm, modules[norm].eps)
    model = _without(ensemble.model, description)
    return Ensemble(
        model,
        {name: tensors[name] for name, _ in model.named_parameters()},
        {name: tensors[name] for name, _ in model.named_buffers()},
        ensemble.history,
    )


@dataclass(frozen=True)
class Stated:
    """The description of a model whose own was written with its norms."""

    description: Description

    def __call__(self) -> Description:
        """Return it."""
        return self.description


def _check(modules: dict[str, nn.Module], norms: list[str], pairs: tuple[tuple[str, str], ...]) -> None:
    follows = {norm: layer for layer, norm in pairs}
    for name in norms:
        norm = modules[name]
        if name not in follows:
            raise ValueError(f"batch norm {name} cannot be folded: it does not directly follow a layer")
        if norm.running_mean is None or norm.running_var is None:
            raise ValueError(f"batch norm {name} cannot be folded: it keeps no running statistics")
        layer = modules[follows[name]]
        if not isinstance(layer, _LAYERS) or len(layer.weight) != norm.num_features:
            raise ValueError(
                f"batch norm {name} cannot be folded into {follows[name]}, "
                f"which is no linear layer or convolution with {norm.num_features} units"
            )


def _fold_one(tensors: dict[str, Tensor], layer: str, norm: str, eps: float) -> None:
    """Fold one norm, in a dict of tensors ``(R, ...)`` by name."""
    mean, variance = tensors[join(norm, "running_mean")], tensors[join(norm, "running_var")]
    scale = (variance.double() + eps).rsqrt()
    if (factor := tensors.get(join(norm, "weight"))) is not None:
        scale = scale * factor
    weight, bias = join(layer, "weight"), join(layer, "bias")
    kind, before = tensors[weight].dtype, tensors.get(bias, torch.zeros_like(mean)).double()
    shift = (before - mean) * scale
    if (added := tensors.get(join(norm, "bias"))) is not None:
        shift = shift + added
    wide = scale.view(*scale.shape, *[1] * (tensors[weight].ndim - 2))
    tensors[weight] = (tensors[weight] * wide).to(kind)
    tensors[bias] = shift.to(kind)


def _without(model: nn.Module, description: Description) -> nn.Module:
    """Copy a model without its norms, and with biases in the layers before them."""
    folded = deepcopy(model)
    for layer, norm in description.norms:
        module = folded.get_submodule(layer)
        if module.bias is None:
            weight = module.weight
            module.bias = nn.Parameter(torch.zeros(len(weight), dtype=weight.dtype, device=weight.device))
        folded.set_submodule(norm, nn.Identity())
    if callable(getattr(model, "hidden_units", None)):
        folded.hidden_units = Stated(_folded(description))  # type: ignore[assignment]
    return folded


def _folded(description: Description) -> Description:
    """Take the folded norms out of a description, and list the biases their layers now have."""
    layers = {join(layer, "weight"): join(layer, "bias") for layer, _ in description.norms}
    gone = tuple(join(norm, "") for _, norm in description.norms)

    def with_biases(axes: tuple[Axis, ...]) -> tuple[Axis, ...]:
        listed = {axis.name for axis in axes}
        found: list[Axis] = []
        for axis in axes:
            found.append(axis)
            bias = layers.get(axis.name)
            if bias is not None and bias not in listed and axis.axis == 0:
                found.append(Axis(bias, 0, axis.repeat))
        return tuple(found)

    def clean(units: Units) -> Units:
        return replace(
            units,
            incoming=with_biases(units.incoming),
            opening=with_biases(units.opening),
            norms=tuple(axis for axis in units.norms if not axis.name.startswith(gone)),
        )

    outputs = description.outputs
    extra = tuple(layers[name] for name in outputs if name in layers and layers[name] not in outputs)
    return Description(tuple(clean(units) for units in description.units), (*outputs, *extra))
