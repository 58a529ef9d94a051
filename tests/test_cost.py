from __future__ import annotations

import pytest
import torch
from torch import nn

from spinscape.networks.convolutional import convnet, vgg16
from spinscape.networks.cost import hours, training_flops
from spinscape.networks.models import mlp
from spinscape.networks.residual_net import ResNet, resnet18


def multiplications(model: nn.Module, shape: tuple[int, ...]) -> list[int]:
    """Multiplications of every layer's forward pass for one input, in its order, from the shapes met."""
    found: list[int] = []

    def count(module, inputs, output):
        found.append(module.weight[0].numel() * output[0].numel())

    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            module.register_forward_hook(count)
    model.eval()(torch.zeros(1, *shape))
    return found


@pytest.mark.parametrize(
    ("build", "shape"),
    [
        (lambda: mlp([20, 16, 12, 5]), (20,)),
        (lambda: convnet(2, 4, size=9, widths=(3, 5), hidden=(7,), batch_norm=True), (2, 9, 9)),
        (lambda: vgg16(width=2), (3, 32, 32)),
        (lambda: ResNet(1, blocks=(1, 2), width=4), (1, 8, 8)),
    ],
)
def test_six_operations_per_multiplication_and_four_in_the_first_layer(build, shape):
    first, *others = multiplications(build(), shape)
    assert training_flops(build(), shape, samples=7, epochs=3) == 21 * (4 * first + 6 * sum(others))


def test_published_sizes():
    # 0.31 and 0.56 billion multiplications per image of 32 x 32, as quoted for these two networks.
    assert training_flops(vgg16(), (3, 32, 32), 1, 1) / 6e9 == pytest.approx(0.313, abs=1e-3)
    assert training_flops(resnet18(), (3, 32, 32), 1, 1) / 6e9 == pytest.approx(0.555, abs=2e-3)


def test_the_model_is_left_as_it_is():
    model = vgg16(width=2).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    training_flops(model, (3, 32, 32), 1, 1)
    assert not model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_networks_without_numbers():
    with torch.device("meta"):
        large = mlp([20_000, 30_000, 40_000])
    expected = 4 * 20_000 * 30_000 + 6 * 30_000 * 40_000
    assert training_flops(large, (20_000,), 1, 1) == expected


def test_hours():
    assert hours(7.2e15, 1e12) == pytest.approx(2.0)


def test_what_is_out_of_range():
    for bad in ({"samples": 0}, {"epochs": -1}, {"shape": (0,)}):
        with pytest.raises(ValueError, match="positive integer"):
            training_flops(mlp([4, 2]), **{"shape": (4,), "samples": 1, "epochs": 1} | bad)
    for flops, throughput in ((-1, 1), (1, 0), (1, float("nan"))):
        with pytest.raises(ValueError, match="throughput"):
            hours(flops, throughput)
