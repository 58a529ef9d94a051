"""Networks with symmetries, as tests of them need: random, trained for a moment, with dead units."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from spinscape.networks.convolutional import convnet, vgg16
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.models import mlp
from spinscape.networks.residual_net import ResNet, resnet18
from spinscape.networks.units import describe

ARCHITECTURES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "one layer": (lambda: mlp([6, 7, 3]), (6,)),
    "two layers": (lambda: mlp([6, 7, 5, 3]), (6,)),
    "three layers, no bias": (lambda: mlp([6, 7, 5, 4, 3], bias=False), (6,)),
    "four layers": (lambda: mlp([6, 9, 8, 7, 8, 3]), (6,)),
    "batch norm": (lambda: mlp([6, 7, 5, 3], batch_norm=True), (6,)),
    "batch norm, no bias": (lambda: mlp([6, 7, 5, 3], batch_norm=True, bias=False), (6,)),
    "skip": (lambda: mlp([6, 7, 7, 7, 5, 5, 3], skip=True), (6,)),
    "skip, batch norm": (lambda: mlp([6, 7, 7, 7, 3], skip=True, batch_norm=True), (6,)),
    "linear": (lambda: mlp([6, 7, 5, 3], activation="identity"), (6,)),
    "convnet": (lambda: convnet(1, 3, hidden=(6,)), (1, 8, 8)),
    "convnet, average": (lambda: convnet(1, 3, pool="average", batch_norm=True), (1, 8, 8)),
    "vgg16": (lambda: vgg16(1, 3, size=8, width=10), (1, 8, 8)),
    "vgg16, no norm": (lambda: vgg16(1, 3, size=8, width=10, batch_norm=False), (1, 8, 8)),
    "resnet18": (lambda: resnet18(1, 3, width=5), (1, 8, 8)),
    "resnet18, no norm": (lambda: resnet18(1, 3, width=5, batch_norm=False), (1, 8, 8)),
    "resnet, long stages": (lambda: ResNet(1, 3, blocks=(3, 2), width=5), (1, 8, 8)),
}
"""A constructor and the shape of an input, by name."""


def networks(name: str, count: int = 2, *, trained: bool = False) -> Ensemble:
    """Networks in double precision with random statistics, or trained for a few steps."""
    build, shape = ARCHITECTURES[name]
    nets = []
    for seed in range(count):
        torch.manual_seed(seed)
        net = build()
        _start(net)
        if trained:
            _train(net, torch.randn(64, *shape), torch.randint(0, 3, (64,)))
        else:
            _shake(net, torch.randn(64, *shape))
        nets.append(net.double())
    return Ensemble.from_modules(nets)


def inputs(name: str, count: int = 40) -> torch.Tensor:
    """Random inputs for networks of this name."""
    return torch.randn(count, *ARCHITECTURES[name][1], generator=torch.Generator().manual_seed(9)).double()


def with_dead_units(ensemble: Ensemble) -> Ensemble:
    """In each set: unit 0 without incoming weights, unit 1 without bias too, unit 2 with gamma = 0."""
    tensors = {name: value.clone() for name, value in (ensemble.params | ensemble.buffers).items()}
    for units in describe(ensemble.model).units:
        for axis in units.incoming:
            if tensors[axis.name].ndim > 2:
                tensors[axis.name][:, : 2 * axis.repeat] = 0
            else:
                tensors[axis.name][:, axis.repeat : 2 * axis.repeat] = 0
        for axis in units.norms:
            if axis.name.endswith(("running_mean", "bias")):
                tensors[axis.name][:, 1] = 0
            if axis.name.endswith("weight"):
                tensors[axis.name][:, 2] = 0
    return Ensemble(
        ensemble.model,
        {name: tensors[name] for name in ensemble.params},
        {name: tensors[name] for name in ensemble.buffers},
    )


def _start(net: nn.Module) -> None:
    """Keep signals alive in depth, and let statistics follow the data at once."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight)
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.momentum = 0.9


def _shake(net: nn.Module, x: torch.Tensor) -> None:
    """Give batch norms scales of both signs, shifts, and statistics of data."""
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5).mul_(torch.randn(len(module.weight)).sign())
                module.bias.normal_(0, 0.3)
        net.train()(x)


def _train(net: nn.Module, x: torch.Tensor, y: torch.Tensor) -> None:
    optimiser = torch.optim.Adam(net.parameters(), 3e-3)
    for _ in range(5):
        optimiser.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimiser.step()
