from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from spinscape.networks import models
from spinscape.networks.datasets import load
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.evaluation import evaluate, outputs
from spinscape.networks.forward import Forward
from spinscape.networks.models import initialise
from spinscape.networks.residual_net import ResNet, _weights, resnet18
from spinscape.networks.training import train
from spinscape.networks.units import Axis, describe
from symmetric import change, check_axes, randomised, scaled


def images(channels: int = 3, size: int = 8, count: int = 6) -> torch.Tensor:
    g = torch.Generator().manual_seed(5)
    return torch.randn(count, channels, size, size, generator=g, dtype=torch.float64)


def test_resnet18_has_the_known_number_of_parameters():
    assert sum(p.numel() for p in resnet18().parameters()) == 11_173_962
    convolutions = [p for p in resnet18(width=2).parameters() if p.ndim == 4]
    assert len(convolutions) == 17 + 3


def by_hand(ensemble: Ensemble, x: torch.Tensor) -> torch.Tensor:
    """The formula of ResNet-18, from the weights of its one replica."""
    values = {name: value[0] for name, value in (ensemble.params | ensemble.buffers).items()}

    def conv(h, layer, norm, stride=1):
        weight = values[f"{layer}.weight"]
        z = F.conv2d(h, weight, values.get(f"{layer}.bias"), stride, weight.shape[-1] // 2)
        if f"{norm}.weight" not in values:
            return z
        parts = [values[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        mean, variance, scale, shift = (part[:, None, None] for part in parts)
        return (z - mean) / (variance + 1e-5).sqrt() * scale + shift

    h = conv(x, "stem", "stem_norm").relu()
    for k in (1, 2, 3, 4):
        for b in (0, 1):
            name, stride = f"stage{k}.{b}", 2 if k > 1 and b == 0 else 1
            z = conv(h, f"{name}.conv1", f"{name}.norm1", stride).relu()
            z = conv(z, f"{name}.conv2", f"{name}.norm2")
            h = (z + (conv(h, f"{name}.shortcut", f"{name}.shortcut_norm", 2) if stride == 2 else h)).relu()
    return h.mean((2, 3)) @ values["output.weight"].T + values["output.bias"]


@pytest.mark.parametrize("batch_norm", [True, False])
def test_forward_is_the_formula(batch_norm):
    ensemble = randomised(resnet18(width=3, batch_norm=batch_norm), 1)
    for size in (9, 16):
        x = images(size=size)
        assert change(by_hand(ensemble, x), outputs(ensemble, x)[0]) < 1e-12


NETS = {
    "resnet18": lambda: resnet18(width=3),
    "without norms": lambda: resnet18(width=3, batch_norm=False),
    "other blocks": lambda: ResNet(1, 4, blocks=(1, 3), width=4),
    "one stage": lambda: ResNet(2, 4, blocks=(2,), width=5),
}


@pytest.mark.parametrize("name", NETS)
def test_channels_can_be_permuted_and_every_axis_counts(name):
    model = NETS[name]()
    check_axes(randomised(model), describe(model), images(model.stem.in_channels, count=3))


@pytest.mark.parametrize("blocks", [(2, 2, 2, 2), (1, 3)])
def test_streams_share_one_scale(blocks):
    model = ResNet(blocks=blocks, width=3, batch_norm=False)
    ensemble, x = randomised(model), images()
    before = outputs(ensemble, x)
    assert change(before, outputs(scaled(ensemble, describe(model)), x)) < 1e-10
    assert change(before, outputs(scaled(ensemble, describe(model), signs=True), x)) > 1e-3


def test_sets_of_resnet18():
    found = describe(resnet18(width=2))
    assert [units.name for units in found.units] == [
        "stage1", "stage1.0.conv1", "stage1.1.conv1",
        "stage2.0.conv1", "stage2", "stage2.1.conv1",
        "stage3.0.conv1", "stage3", "stage3.1.conv1",
        "stage4.0.conv1", "stage4", "stage4.1.conv1",
    ]  # fmt: skip
    assert [units.size for units in found.units] == [2] * 3 + [4] * 3 + [8] * 3 + [16] * 3
    assert found["stage1"].opening == (Axis("stem.weight"),)
    assert set(found["stage3"].opening) == {Axis("stage3.0.conv2.weight"), Axis("stage3.0.shortcut.weight")}
    assert set(found["stage3"].incoming) - set(found["stage3"].opening) == {Axis("stage3.1.conv2.weight")}
    assert {axis.name for axis in found["stage1"].outgoing} == {
        f"{name}.weight"
        for name in ("stage1.0.conv1", "stage1.1.conv1", "stage2.0.conv1", "stage2.0.shortcut")
    }
    assert len(found.norms) == 20
    assert describe(resnet18(width=2, batch_norm=False)).norms == ()


def test_every_set_comes_after_those_its_opening_layers_read():
    for blocks in ((2, 2, 2, 2), (3, 1, 2)):
        found = describe(ResNet(blocks=blocks, width=2))
        writes: set[str] = set()
        for units in found.units:
            for axis in units.opening:
                read = [u.name for u in found.units if Axis(axis.name, 1) in u.outgoing]
                assert set(read) <= writes
            writes.add(units.name)


def test_replicas_in_one_call_and_one_after_the_other():
    ensemble, x = randomised(resnet18(width=3), 3), images()
    forward = Forward(ensemble.model, ensemble.params, ensemble.buffers, x, training=False)
    assert forward._vmap_works
    ensemble.model.eval()
    together = forward._vmap(True)(ensemble.params, ensemble.buffers, x)
    alone = torch.stack([ensemble.module(r).eval()(x) for r in range(3)])
    assert change(alone, together) < 1e-12
    assert change(alone, outputs(ensemble, x)) < 1e-12


def test_training():
    data = load("digits")
    ensemble = train(
        resnet18(1, width=4), data, replicas=3, epochs=1, learning_rate=1e-2, batch_size=32, device="cpu"
    )
    found = evaluate(ensemble, data.x_test, data.y_test)
    assert found.accuracy.max() > 0.5
    assert evaluate(ensemble[1], data.x_test, data.y_test).loss[0] == found.loss[1]
    assert len(np.unique(found.loss)) == 3


def test_initial_parameters_come_from_the_generator():
    model = resnet18(width=2)
    first, buffers = initialise(model, torch.Generator().manual_seed(1))
    again, _ = initialise(model, torch.Generator().manual_seed(1))
    other, _ = initialise(model, torch.Generator().manual_seed(2), "glorot")
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["stage2.0.shortcut.weight"], other["stage2.0.shortcut.weight"])
    assert torch.equal(buffers["stem_norm.running_var"], torch.ones(2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0}, "width must be a positive integer, not 0"),
        ({"channels": 1.5}, "channels must be a positive integer"),
        ({"classes": 0}, "classes must be"),
        ({"blocks": 3}, "blocks must be a sequence of positive integers, not 3"),
        ({"blocks": ()}, "stages must be a positive integer, not 0"),
        ({"blocks": (2, 0)}, "blocks must be a positive integer, not 0"),
    ],
)
def test_refusals(options, message):
    with pytest.raises(ValueError, match=message):
        ResNet(**options)


def test_a_network_that_does_not_fit(monkeypatch):
    monkeypatch.setattr(models, "available_bytes", lambda device: 10**6)
    with pytest.raises(MemoryError, match="its parameters must be at most 125,000"):
        resnet18()
    resnet18(width=1)


@pytest.mark.parametrize("options", [{"channels": 10**12}, {"classes": 10**12}, {"width": 10**7}], ids=str)
def test_sizes_that_cannot_fit(options):
    with pytest.raises(MemoryError, match=r"a network of [\d,]* parameters takes .* must be at most"):
        ResNet(**options)


@pytest.mark.parametrize("blocks", [(2, 2, 2, 2), (3,), (1, 3, 1)])
def test_the_number_of_weights_is_known_before_they_are_made(blocks):
    model = ResNet(2, 5, blocks=blocks, width=3)
    expected = sum(p.numel() for p in model.parameters() if p.ndim > 1)
    assert _weights(2, 5, blocks, 3) == expected
