from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from spinscape import memory
from spinscape.networks import models
from spinscape.networks.convolutional import convnet, vgg16
from spinscape.networks.datasets import load
from spinscape.networks.evaluation import evaluate, outputs
from spinscape.networks.forward import Forward
from spinscape.networks.models import MaxPool
from spinscape.networks.training import train
from spinscape.networks.units import describe
from symmetric import change, check_axes, randomised


def images(channels: int, size: int, count: int = 16) -> torch.Tensor:
    g = torch.Generator().manual_seed(5)
    return torch.randn(count, channels, size, size, generator=g, dtype=torch.float64)


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def test_vgg16_has_the_known_number_of_parameters():
    assert parameters(vgg16()) == 14_728_266
    # Simonyan and Zisserman's convolutions, with biases, and one linear layer.
    assert parameters(vgg16(batch_norm=False)) == 14_714_688 + 5_130
    convolutions = [m for m in vgg16(width=2).modules() if isinstance(m, nn.Conv2d)]
    assert [m.out_channels // 2 for m in convolutions] == [1, 1, 2, 2, 4, 4, 4, 8, 8, 8, 8, 8, 8]


NETS = {
    "plain": (lambda: convnet(), 1, 8),
    "deep": (
        lambda: convnet(2, 3, size=9, widths=(4, 5, 6), hidden=(7, 5), batch_norm=True, bias=False),
        2,
        9,
    ),
    "average": (lambda: convnet(pool="average", activation="tanh", widths=(4,), hidden=(6,)), 1, 8),
    "vgg": (lambda: vgg16(width=2, size=10), 3, 10),
    "vgg without norms": (lambda: vgg16(1, 4, width=2, size=8, batch_norm=False), 1, 8),
}


@pytest.mark.parametrize("name", NETS)
def test_channels_can_be_permuted_and_every_axis_counts(name):
    build, channels, size = NETS[name]
    model = build()
    description = describe(model)
    assert [units.name for units in description.units] == [
        name for name, m in model.named_children() if isinstance(m, nn.Conv2d | nn.Linear)
    ][:-1]
    assert {units.kind for units in description.units} == {"odd" if name == "average" else "homogeneous"}
    check_axes(randomised(model), description, images(channels, size, 4))


def test_names_and_flattened_maps():
    model = convnet(widths=(4, 6), hidden=(5,), batch_norm=True)
    assert [name for name, _ in model.named_children()] == [
        "conv1", "norm1", "activation1", "pool1", "conv2", "norm2", "activation2", "pool2", "flatten",
        "layer3", "norm3", "activation3", "layer4",
    ]  # fmt: skip
    assert describe(model)["conv2"].outgoing[0].repeat == 4


@pytest.mark.parametrize("size", [1, 8, 28, 33])
def test_any_size_of_image(size):
    for model in (vgg16(1, 4, size=size, width=1), convnet(1, 4, size=size)):
        assert model(torch.zeros(3, 1, size, size)).shape == (3, 4)


@pytest.mark.parametrize("name", NETS)
def test_replicas_in_one_call_and_one_after_the_other(name):
    build, channels, size = NETS[name]
    ensemble, x = randomised(build(), 3), images(channels, size)
    forward = Forward(ensemble.model, ensemble.params, ensemble.buffers, x, training=False)
    assert forward._vmap_works
    ensemble.model.eval()
    together = forward._vmap(True)(ensemble.params, ensemble.buffers, x)
    alone = torch.stack([ensemble.module(r).eval()(x) for r in range(3)])
    assert change(alone, together) < 1e-12
    assert change(alone, outputs(ensemble, x)) < 1e-12


@pytest.mark.parametrize(("widths", "batch_norm"), [((4, 6), False), ((16, 16), False), ((16, 16), True)])
def test_training(widths, batch_norm):
    """Far better than chance on real digits, and each replica evaluated as if it were alone."""
    data = load("digits")
    model = convnet(widths=widths, batch_norm=batch_norm)
    options = {"learning_rate": 1e-2, "batch_size": 32, "device": "cpu", "evaluate_test": False}
    several = train(model, data, replicas=2, epochs=1, **options)
    found = evaluate(several, data.x_test, data.y_test)
    assert found.accuracy.shape == (2,)
    assert found.accuracy.max() > 0.6
    for r in (0, 1):
        alone = evaluate(several[r], data.x_test, data.y_test)
        assert alone.loss[0] == found.loss[r]


@pytest.mark.parametrize("widths", [(4, 6), (16, 16)])
def test_a_replica_trains_to_the_same_bits_beside_others(widths):
    whole = load("digits")
    data = replace(whole, x_train=whole.x_train[:96], y_train=whole.y_train[:96])
    model = convnet(widths=widths, batch_norm=True)
    options = {"epochs": 2, "batch_size": 32, "device": "cpu", "evaluate_test": False}
    several, alone = (train(model, data, replicas=n, **options) for n in (3, 1))
    for name, value in (alone.params | alone.buffers).items():
        assert torch.equal(value, (several.params | several.buffers)[name][:1]), name


def test_vgg16_trains():
    data = load("digits")
    ensemble = train(vgg16(1, size=8, width=4), data, replicas=2, epochs=2, learning_rate=1e-2, device="cpu")
    assert (ensemble.history.train_loss[-1] < ensemble.history.train_loss[0]).all()
    assert int(ensemble.buffers["norm13.num_batches_tracked"][1]) == 2 * -(-len(data.x_train) // 128)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: convnet(widths=3), "widths must be a sequence of positive integers, not 3"),
        (lambda: convnet(hidden=3), "hidden must be a sequence of positive integers, not 3"),
        (lambda: convnet(widths=()), "at least one convolution"),
        (lambda: convnet(widths=(4, 0)), "width must be a positive integer, not 0"),
        (lambda: convnet(hidden=(2.5,)), "width must be a positive integer, not 2.5"),
        (lambda: convnet(0), "channels must be a positive integer"),
        (lambda: convnet(pool="min"), "pool must be 'max' or 'average', not 'min'"),
        (lambda: convnet(activation="rulu"), "activation must be one of"),
        (lambda: vgg16(size=0), "size must be a positive integer"),
        (lambda: vgg16(classes=True), "classes must be a positive integer"),
        (lambda: vgg16(width=-1), "width must be a positive integer"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_network_that_does_not_fit(monkeypatch):
    monkeypatch.setattr(models, "available_bytes", lambda device: 8 * 14_728_265)
    with pytest.raises(MemoryError, match=r"14,728,266 parameters .* at most 14,728,265"):
        vgg16()
    monkeypatch.setattr(models, "available_bytes", memory.available_bytes)
    with pytest.raises(MemoryError, match="its parameters must be at most"):
        vgg16(width=10**6)


@pytest.mark.parametrize("size", [1, 2, 5, 8, 28])
def test_maxima_are_those_of_pytorch_with_and_without_slopes(size) -> None:
    """Bit for bit, odd sizes and values that are no numbers too."""
    h = torch.randn(3, 2, size, size)
    h[0, 0, 0, 0] = math.nan
    usual = nn.MaxPool2d(2, ceil_mode=True)(h)
    with torch.no_grad():
        torch.testing.assert_close(MaxPool()(h), usual, rtol=0, atol=0, equal_nan=True)
        batched = torch.func.vmap(MaxPool())(h[None].expand(4, *h.shape))
        torch.testing.assert_close(batched[2], usual, rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(MaxPool()(h), usual, rtol=0, atol=0, equal_nan=True)
