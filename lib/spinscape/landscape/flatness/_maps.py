"""Hessian products of chains with convolutions and poolings on a CPU, one network and vector after the other.

The R-operator of `_chain`, layer by layer: recorded gradients take about twice as long, as autograd forms
the slopes of slopes of a convolution by convolutions with images as large as the kernels.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.ops import aten

from spinscape.landscape.flatness._chain import derivatives
from spinscape.landscape.flatness._outputs import OutputCurvature
from spinscape.networks.forward import ELEMENTWISE
from spinscape.networks.losses import PerSample
from spinscape.networks.models import MaxPool
from spinscape.networks.units import join

Tensors = dict[str, Tensor]

_SILENT = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d)


def is_chain_of_maps(model: nn.Module) -> bool:
    """Tell whether `model` is a chain of the layers known here, without hooks and shared parts."""
    if any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in model.modules()):
        return False
    named = list(_leaves(model, ""))
    distinct = len({id(p) for p in model.parameters()}) == sum(1 for _ in model.named_parameters())
    own = {join(name, n) for name, module in named for n, _ in module.named_parameters()}
    return (
        distinct
        and {n for n, _ in model.named_parameters()} == own
        and all(_known(module) for _, module in named)
        and any(isinstance(module, nn.Conv2d) for _, module in named)
    )


def _leaves(module: nn.Module, name: str) -> Iterator[tuple[str, nn.Module]]:
    """Yield the parts of nested sequences by name, in order and as often as they run."""
    if type(module) is not nn.Sequential:
        yield name, module
        return
    for child, part in module._modules.items():
        assert part is not None
        yield from _leaves(part, join(name, child))


def _known(module: nn.Module) -> bool:
    if type(module) is nn.Conv2d:
        return module.groups == 1 and module.padding_mode == "zeros" and not isinstance(module.padding, str)
    if type(module) in (MaxPool, nn.MaxPool2d):
        return not module.return_indices
    if type(module) is nn.Flatten:
        return (module.start_dim, module.end_dim) == (1, -1)
    return type(module) in (nn.Linear, nn.AvgPool2d, *ELEMENTWISE, *_SILENT)


class _Map:
    """One step of a chain, as it is at given parameters and inputs.

    ``push`` carries a change of the inputs forwards (None stands for none), ``pull`` a slope backwards;
    ``turn`` adds what the change of the step itself does to the slope, and keeps that of its parameters.
    """

    def push(self, change: Tensor | None, v: Tensors) -> Tensor | None:
        raise NotImplementedError

    def pull(self, slope: Tensor) -> Tensor:
        raise NotImplementedError

    def turn(self, moved: Tensor, v: Tensors, found: Tensors, *, last: bool) -> Tensor:
        return moved if last else self.pull(moved)


class _Layer(_Map):
    """A convolution or a linear layer."""

    def __init__(self, name: str, module: nn.Module, params: Tensors, h: Tensor) -> None:
        self.name, self.module, self.h = name, module, h
        self.weight, self.bias = params[f"{name}.weight"], params.get(f"{name}.bias")
        self.value = self._apply(h, self.weight, self.bias)
        self.slope: Tensor = h
        self.change: Tensor | None = None

    def _apply(self, h: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        m: Any = self.module
        if isinstance(m, nn.Linear):
            return F.linear(h, weight, bias)
        return F.conv2d(h, weight, bias, m.stride, m.padding, m.dilation)

    def _back(self, slope: Tensor, h: Tensor, weight: Tensor, *, inputs: bool) -> Tensor:
        """Return the slope in the inputs, or in the weight."""
        m: Any = self.module
        if isinstance(m, nn.Linear):
            return slope @ weight if inputs else slope.mT @ h
        mask = [inputs, not inputs, False]
        fixed = (None, m.stride, m.padding, m.dilation, False, [0, 0], 1, mask)
        return aten.convolution_backward(slope, h, weight, *fixed)[0 if inputs else 1]

    def push(self, change: Tensor | None, v: Tensors) -> Tensor:
        self.change = change
        moved = self._apply(self.h, v[f"{self.name}.weight"], v.get(f"{self.name}.bias"))
        return moved if change is None else moved.add_(self._apply(change, self.weight))

    def pull(self, slope: Tensor) -> Tensor:
        self.slope = slope
        return self._back(slope, self.h, self.weight, inputs=True)

    def turn(self, moved: Tensor, v: Tensors, found: Tensors, *, last: bool) -> Tensor:
        weight = self._back(moved, self.h, self.weight, inputs=False)
        if self.change is not None:
            weight = weight + self._back(self.slope, self.change, self.weight, inputs=False)
        found[f"{self.name}.weight"] = weight
        if self.bias is not None:
            found[f"{self.name}.bias"] = moved.sum((0, *range(2, moved.ndim)))
        if last:
            return moved
        changed = v[f"{self.name}.weight"]
        back = self._back(moved, self.h, self.weight, inputs=True)
        return back.add_(self._back(self.slope, self.h, changed, inputs=True))


class _Activation(_Map):
    """An elementwise function."""

    def __init__(self, module: nn.Module, h: Tensor) -> None:
        self.value, self.first, self.second = derivatives([module], h)
        self.slope: Tensor | None = None
        self.change: Tensor | None = None

    def push(self, change: Tensor | None, v: Tensors) -> Tensor | None:
        self.change = change
        return change if change is None or self.first is None else change * self.first

    def pull(self, slope: Tensor) -> Tensor:
        if self.second is not None and self.slope is None:
            self.slope = slope
        return slope if self.first is None else slope * self.first

    def turn(self, moved: Tensor, v: Tensors, found: Tensors, *, last: bool) -> Tensor:
        back = moved if self.first is None else moved * self.first
        if self.second is not None and self.slope is not None and self.change is not None:
            back = back.addcmul(self.second * self.slope, self.change)
        return back


class _Maximum(_Map):
    """A maximum over windows: a choice of inputs."""

    def __init__(self, module: nn.MaxPool2d, h: Tensor) -> None:
        fixed = (module.kernel_size, module.stride, module.padding, module.dilation, module.ceil_mode)
        self.value, self.chosen = F.max_pool2d(h, *fixed, return_indices=True)
        self.shape = h.shape

    def push(self, change: Tensor | None, v: Tensors) -> Tensor | None:
        if change is None:
            return None
        return change.flatten(2).gather(2, self.chosen.flatten(2)).view_as(self.value)

    def pull(self, slope: Tensor) -> Tensor:
        back = slope.new_zeros(self.shape)
        back.flatten(2).scatter_add_(2, self.chosen.flatten(2), slope.flatten(2))
        return back


class _Linear(_Map):
    """A step without parameters that is linear: a mean over windows, or another shape."""

    def __init__(self, module: nn.Module, h: Tensor) -> None:
        self.module, self.h = module, h
        self.value = module(h)

    def push(self, change: Tensor | None, v: Tensors) -> Tensor | None:
        return None if change is None else self.module(change)

    def pull(self, slope: Tensor) -> Tensor:
        m: Any = self.module
        if isinstance(m, nn.Flatten):
            return slope.reshape(self.h.shape)
        pair = [m.kernel_size] * 2 if isinstance(m.kernel_size, int) else m.kernel_size
        stride = [m.stride] * 2 if isinstance(m.stride, int) else m.stride
        padding = [m.padding] * 2 if isinstance(m.padding, int) else m.padding
        fixed = (pair, stride, padding, m.ceil_mode, m.count_include_pad, m.divisor_override)
        return aten.avg_pool2d_backward(slope.contiguous(), self.h, *fixed)


class MapProducts:
    """Hessian products of R networks on some samples; see `_graph.GraphProducts` for the arguments."""

    def __init__(
        self,
        model: nn.Module,
        params: Tensors,
        buffers: Tensors,
        x: Tensor,
        y: Tensor,
        loss: PerSample,
        total: int,
    ) -> None:
        self.params = params
        self.networks = []
        for r in range(len(next(iter(params.values())))):
            own = {name: value[r] for name, value in params.items()}
            maps: list[Any] = []
            h = x
            for name, module in _leaves(model, ""):
                if type(module) not in _SILENT:
                    maps.append(_step(name, module, own, h))
                    h = maps[-1].value
            curvature = OutputCurvature(loss, h.mT[None], y, total)
            slope = curvature.slope[0].mT
            first = next(i for i, step in enumerate(maps) if isinstance(step, _Layer))
            for step in reversed(maps[first + 1 :]):
                slope = step.pull(slope)
            maps[first].slope = slope
            self.networks.append((maps[first:], curvature))

    def __call__(self, v: Tensors) -> Tensors:
        """Return products with k vectors for each network, ``(R, k, ...)`` by name."""
        out = {name: torch.empty_like(value) for name, value in v.items()}
        for r, (maps, curvature) in enumerate(self.networks):
            for k in range(next(iter(v.values())).shape[1]):
                own = {name: value[r, k] for name, value in v.items()}
                found: Tensors = {}
                change: Tensor | None = None
                for step in maps:
                    change = step.push(change, own)
                assert change is not None
                moved = curvature(change.mT[None, None])[0, 0].mT
                for i, step in reversed(list(enumerate(maps))):
                    moved = step.turn(moved, own, found, last=i == 0)
                for name, value in found.items():
                    out[name][r, k] = value
        return out

    def gradient(self) -> Tensors:
        """Return the gradient of the mean loss, as far as these samples contribute, ``(R, ...)`` by name."""
        out = {name: torch.empty_like(value) for name, value in self.params.items()}
        for r, (maps, _) in enumerate(self.networks):
            for step in maps:
                if isinstance(step, _Layer):
                    found = step._back(step.slope, step.h, step.weight, inputs=False)
                    out[f"{step.name}.weight"][r] = found
                    if step.bias is not None:
                        axes = (0, *range(2, step.slope.ndim))
                        out[f"{step.name}.bias"][r] = step.slope.sum(axes)
        return out


def _step(name: str, module: nn.Module, params: Tensors, h: Tensor) -> _Map:
    if isinstance(module, nn.Linear | nn.Conv2d):
        return _Layer(name, module, params, h)
    if isinstance(module, nn.MaxPool2d):
        return _Maximum(module, h)
    if isinstance(module, nn.AvgPool2d | nn.Flatten):
        return _Linear(module, h)
    return _Activation(module, h)
