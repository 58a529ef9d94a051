"""Hessian products of chains of linear layers and elementwise activations, for many networks at once.

The R-operator (Pearlmutter 1994) by hand: a change of the parameters is carried forwards through the layers
and the change of the slopes backwards, with features first, ``(R, k, features, B)`` for k changes of each of
R networks.
What does not depend on the change is computed once; all first layers read the same inputs in one product.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from spinscape.landscape.flatness._outputs import OutputCurvature
from spinscape.networks import products
from spinscape.networks.forward import ELEMENTWISE, is_stackable
from spinscape.networks.losses import PerSample
from spinscape.networks.models import Residual

Tensors = dict[str, Tensor]

USED = 0.95
"""Share of inputs that are ever nonzero below which the others are left out."""


def is_plain(model: nn.Module) -> bool:
    """Tell whether `model` is a chain of linear layers and elementwise activations, and nothing else."""
    plain = (nn.Flatten, nn.Linear, *ELEMENTWISE)
    return (
        is_stackable(model)
        and not isinstance(model, Residual)
        and all(type(module) in plain for module in model.children())
    )


def hidden_units(model: nn.Module) -> int:
    """Return the number of hidden units and outputs of a plain chain."""
    return sum(module.out_features for module in model.children() if isinstance(module, nn.Linear))


@dataclass
class _Layer:
    """A linear layer and the activations behind it.

    Attributes
    ----------
    name
        Of the layer; its parameters are ``name.weight`` and ``name.bias``.
    weight
        ``(R, m, n)``.
    slope, bend
        First and second derivative of the activations ``(R, m, B)``; None where they are one, or zero.
    value
        What comes out, ``(R, m, B)``.
    above
        Slope of the loss in what comes out, ``(R, m, B)``.
    """

    name: str
    weight: Tensor
    slope: Tensor | None
    bend: Tensor | None
    value: Tensor
    above: Tensor

    @property
    def below(self) -> Tensor:
        """Slope of the loss in what the activations read."""
        return self.above if self.slope is None else self.above * self.slope


class ChainProducts:
    """Hessian products of R networks on some samples.

    Parameters
    ----------
    model
        A model for which :func:`is_plain` holds.
    params
        ``(R, ...)`` by name.
    x, y
        Inputs ``(B, ...)`` and labels or targets ``(B, ...)``.
    loss
        As `losses.resolve_loss` returns it.
    total
        Samples that the mean loss is over.
    """

    def __init__(
        self, model: nn.Module, params: Tensors, x: Tensor, y: Tensor, loss: PerSample, total: int
    ) -> None:
        self.params = params
        groups = _groups(model)
        for module in groups[0][1]:
            x = module(x)
        x = x.flatten(1)
        used = x.ne(0).any(0)
        self.columns = used.nonzero()[:, 0] if used.double().mean() < USED else None
        if self.columns is not None:
            x = x[:, self.columns]
        self.x, self.features = x.contiguous(), x.T.contiguous()
        self.layers: list[_Layer] = []
        for name, activations in groups[1:]:
            self._add(name, activations)
        self.curvature = OutputCurvature(loss, self.layers[-1].value, y, total)
        above = self.curvature.slope
        for layer in reversed(self.layers):
            layer.above = above
            if layer is not self.layers[0]:
                above = products.product(layer.weight.mT, layer.below)

    def _add(self, name: str, activations: list[nn.Module]) -> None:
        """Run one more layer."""
        weight, bias = self.params[f"{name}.weight"], self.params.get(f"{name}.bias")
        if self.layers:
            h = products.product(weight, self.layers[-1].value)
        else:
            h = self._read(weight[:, None])[:, 0]
        if bias is not None:
            h += bias[..., None]
        value, slope, bend = derivatives(activations, h)
        self.layers.append(_Layer(name, weight, slope, bend, value, value))

    def _read(self, weight: Tensor) -> Tensor:
        """Return what first layers ``(R, k, m, n)`` make of the inputs, ``(R, k, m, B)``."""
        rows = weight if self.columns is None else weight[..., self.columns]
        return _matrix(rows.flatten(0, 2), self.x, self.features).view(*weight.shape[:3], -1)

    def __call__(self, v: Tensors) -> Tensors:
        """Return products with k vectors for each network, ``(R, k, ...)`` by name."""
        tangents: list[Tensor] = []
        inner: list[Tensor] = []
        for i, layer in enumerate(self.layers):
            weight, bias = v[f"{layer.name}.weight"], v.get(f"{layer.name}.bias")
            if i:
                change = _each_probe(weight, self.layers[i - 1].value)
                _add_product(change, layer.weight, tangents[-1])
            else:
                change = self._read(weight)
            if bias is not None:
                change += bias[..., None]
            inner.append(change)
            if layer.slope is not None:
                # Behind a ReLU nobody asks for the change before it.
                slope = layer.slope[:, None]
                change = change.mul_(slope) if layer.bend is None else change * slope
            tangents.append(change)
        found: Tensors = {}
        above = self.curvature(tangents[-1])
        for i, layer in reversed(list(enumerate(self.layers))):
            if layer.slope is not None:
                above = above.mul_(layer.slope[:, None])
            if layer.bend is not None:
                above.addcmul_(inner[i], (layer.bend * layer.above)[:, None])
            if f"{layer.name}.bias" in v:
                found[f"{layer.name}.bias"] = above.sum(3)
            if not i:
                found[f"{layer.name}.weight"] = self._write(above)
                continue
            weight, before, below = v[f"{layer.name}.weight"], self.layers[i - 1], layer.below
            slope = _each_probe(above, before.value.mT)
            _add_product(slope, below, tangents[i - 1].mT)
            found[f"{layer.name}.weight"] = slope
            change = _each_probe(weight.mT, below)
            above = _add_product(change, layer.weight.mT, above)
        return found

    def _write(self, below: Tensor) -> Tensor:
        """Return slopes of first layers' weights ``(R, k, m, n)`` from those of what they put out."""
        rows = _matrix(below.flatten(0, 2), self.features, self.x).view(*below.shape[:3], -1)
        if self.columns is None:
            return rows
        whole = rows.new_zeros(*rows.shape[:3], self.layers[0].weight.shape[2])
        whole[..., self.columns] = rows
        return whole

    def gradient(self) -> Tensors:
        """Return the gradient of the mean loss, as far as these samples contribute, ``(R, ...)`` by name."""
        found: Tensors = {}
        for i, layer in enumerate(self.layers):
            below = layer.below
            if f"{layer.name}.bias" in self.params:
                found[f"{layer.name}.bias"] = below.sum(2)
            if i:
                found[f"{layer.name}.weight"] = products.product(below, self.layers[i - 1].value.mT)
            else:
                found[f"{layer.name}.weight"] = self._write(below[:, None])[:, 0]
        return found


def _groups(model: nn.Module) -> list[tuple[str, list[nn.Module]]]:
    """Return layers by name, each with the activations behind it; first what stands before all layers."""
    groups: list[tuple[str, list[nn.Module]]] = [("", [])]
    for name, module in model._modules.items():
        assert module is not None
        if isinstance(module, nn.Linear):
            groups.append((name, []))
        elif type(module) not in (nn.Flatten, nn.Identity):
            groups[-1][1].append(module)
    return groups


def derivatives(activations: list[nn.Module], h: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Return value, first and second derivative of activations, ``(R, m, B)`` each."""
    if not activations:
        return h, None, None
    if all(type(module) is nn.ReLU for module in activations):
        return h.clamp(min=0), (h > 0).to(h), None
    with torch.enable_grad():
        leaf = h.detach().requires_grad_()
        value = leaf.clone()
        for module in activations:
            value = module(value)
        (slope,) = torch.autograd.grad(value.sum(), leaf, create_graph=True)
        bend = None
        if slope.requires_grad:
            (bend,) = torch.autograd.grad(slope.sum(), leaf, allow_unused=True)
    return value.detach(), slope.detach(), bend


def _matrix(a: Tensor, b: Tensor, transposed: Tensor) -> Tensor:
    """Return ``a @ b.T``, ``(M, n)`` by ``(N, n)``, by the faster library; `transposed` is ``b.T``."""
    if products.worth(a[None], transposed[None]):
        return products.linear(a, b)
    return a @ transposed


def _each_probe(a: Tensor, b: Tensor) -> Tensor:
    """Return ``(R, k, m, n) @ (R, n, p)``."""
    return products.product(a.flatten(1, 2), b).unflatten(1, a.shape[1:3])


def _add_product(out: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Add ``(R, m, n) @ (R, k, n, p)`` to ``(R, k, m, p)`` in place."""
    a = a[:, None].expand(*b.shape[:2], -1, -1).flatten(0, 1)
    b = b.flatten(0, 1)
    flat = out.flatten(0, 1)
    if products.worth(a, b):
        flat += products.product(a, b)
    else:
        flat.baddbmm_(a, b)
    return out
