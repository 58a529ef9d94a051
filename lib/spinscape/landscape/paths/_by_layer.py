"""Chains of layers run one layer at a time, for all networks at once, with all samples in between.

What comes out of a hidden layer can so be looked at, and changed, before the next layer reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from spinscape.networks._pieces import check_samples
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.forward import ELEMENTWISE, Forward
from spinscape.networks.units import describe, join

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d)

TENSORS = 4
"""Tensors of a layer's size that are alive at once: inputs, outputs, and two in the statistics."""

Act = Callable[[str, Tensor], None]
"""Name of a layer and its preactivations ``(R, N, units, ...)``, which it may change in place."""


@dataclass(frozen=True)
class Segment:
    """A hidden layer, and what lies between it and the one before.

    Attributes
    ----------
    before
        Modules without parameters: activations, poolings, a flattening; dropout is left out.
    name
        Name of the layer in the whole model.
    layer
        The layer.
    """

    before: tuple[nn.Module, ...]
    name: str
    layer: nn.Module

    @property
    def names(self) -> dict[str, str]:
        """Names of its weight and bias in the whole model, by those of a sequence of the layer alone."""
        return {f"0.{tensor}": join(self.name, tensor) for tensor in ("weight", "bias")}

    def read(self, h: Tensor) -> Tensor:
        """Return what the layer reads, ``(R, N, ...)`` from what the layer before put out."""
        for module in self.before:
            h = module(h) if type(module) in ELEMENTWISE else _each(module, h)
        return h


def segments(model: nn.Module) -> list[Segment]:
    """Cut a chain after each of its hidden layers; what follows the last is left out.

    Parameters
    ----------
    model
        Layers, activations and poolings in ``nn.Sequential``, which may hold others.

    Returns
    -------
    list of Segment
        In the order of the forward pass.

    Raises
    ------
    ValueError
        If the model is no such chain, has batch norms, or a hidden layer has no bias.
    """
    hidden = [units.name for units in describe(model).units]
    cut: list[Segment] = []
    before: list[nn.Module] = []
    for name, module in _flattened(model, ""):
        if isinstance(module, _BatchNorm):
            raise ValueError(
                f"{name} is a batch norm, whose own statistics can be reset: use reset_statistics(), "
                "or fold the batch norms first (spinscape.networks.folding.fold)"
            )
        if isinstance(module, LAYERS):
            if len(cut) == len(hidden):
                break
            if module.bias is None:
                raise ValueError(f"{name} has no bias, so that the means of its units cannot be moved")
            cut.append(Segment(tuple(before), name, module))
            before = []
        elif not isinstance(module, _DropoutNd):
            before.append(module)
    if [segment.name for segment in cut] != hidden:
        raise ValueError(f"the hidden units {hidden} are not each written by one layer of a chain")
    return cut


def _each(module: nn.Module, h: Tensor) -> Tensor:
    """Apply a module to every sample of every network."""
    out = module(h.flatten(0, 1))
    return out.unflatten(0, h.shape[:2])


def _flattened(module: nn.Module, name: str) -> Iterator[tuple[str, nn.Module]]:
    if type(module) is nn.Sequential:
        for child, part in module.named_children():
            yield from _flattened(part, f"{name}.{child}" if name else child)
    elif isinstance(module, nn.Sequential) or not name:
        raise ValueError(
            f"{name or 'the model'} ({type(module).__name__}) is no plain nn.Sequential: "
            "only chains of layers can be run layer by layer"
        )
    else:
        yield name, module


class ByLayer:
    """The hidden layers of one model, run one after the other for the same samples.

    Parameters
    ----------
    model
        A chain; see :func:`segments`.
    x
        Inputs ``(N, ...)``.
    like
        Networks of the model: their device and number type are used.

    Raises
    ------
    ValueError
        If the model is no chain, or there are fewer than two samples.
    MemoryError
        If the layers of one network do not fit in memory; it tells how many samples do.
    """

    def __init__(self, model: nn.Module, x: Tensor, like: Ensemble) -> None:
        self.segments = segments(model)
        if len(x) < 2:
            raise ValueError(f"statistics need at least two samples, not {len(x)}")
        x = x.to(like.device, like.dtype if x.is_floating_point() else x.dtype)
        with torch.no_grad():
            first = self.segments[0] if self.segments else None
            # A copy: a module may work in place.
            self.x = first.read(x[None].clone())[0] if first and first.before else x
            self.forwards, largest = self._begin(like)
        self.bytes = TENSORS * like.dtype.itemsize * largest * len(x)
        check_samples(self.bytes, len(x), like.device)

    def _begin(self, like: Ensemble) -> tuple[list[Forward], int]:
        """Return the forward pass of each layer, and the most numbers that a layer holds for a sample."""
        h, largest, forwards = self.x[None, :1], self.x[0].numel(), []
        for k, segment in enumerate(self.segments):
            params = {own: like.params[name][:1] for own, name in segment.names.items()}
            h = segment.read(h) if k else h
            forwards.append(Forward(nn.Sequential(segment.layer), params, {}, h[0], training=False))
            h = forwards[-1](params, {}, h)
            largest = max(largest, h[0, 0].numel())
        return forwards, largest

    def run(self, ensemble: Ensemble, act: Act) -> None:
        """Run networks; `act` sees, and may change, what each hidden layer puts out."""
        h = self.x
        with torch.no_grad():
            for k, (segment, forward) in enumerate(zip(self.segments, self.forwards, strict=True)):
                params = {own: ensemble.params[name] for own, name in segment.names.items()}
                h = forward(params, {}, segment.read(h) if k else h, shared=not k)
                act(segment.name, h)
