from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from symmetric import change, permuted, randomised
from torch import nn

from spinscape.networks.evaluation import outputs
from spinscape.networks.models import mlp
from spinscape.networks.units import Axis, Units, describe


def inputs(*shape: int, seed: int = 3) -> torch.Tensor:
    return torch.randn(32, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


IMAGES = {
    "pools": (
        (2, 9, 9),
        lambda: [
            nn.Conv2d(2, 5, 3, padding=1),
            nn.BatchNorm2d(5),
            nn.LeakyReLU(),
            nn.MaxPool2d(2),
            nn.Sequential(nn.Conv2d(5, 4, 2, bias=False), nn.ReLU(), nn.AvgPool2d(2)),
            nn.Flatten(),
            nn.Dropout(),
            nn.Linear(4, 3),
        ],
    ),
    "flattened": (
        (1, 5, 5),
        lambda: [
            nn.BatchNorm2d(1),
            nn.Conv2d(1, 6, 3, stride=2),
            nn.Tanh(),
            nn.Flatten(),
            nn.BatchNorm1d(24),
            nn.Linear(24, 7),
            nn.Identity(),
            nn.Linear(7, 2),
        ],
    ),
    "one dimension": (
        (2, 12),
        lambda: [
            nn.Conv1d(2, 4, 3),
            nn.GELU(),
            nn.MaxPool1d(2),
            nn.BatchNorm1d(4),
            nn.Conv1d(4, 6, 2),
            nn.Tanh(),
            nn.AdaptiveAvgPool1d(1),
            nn.Flatten(),
            nn.Linear(6, 3),
        ],
    ),
    "convolutions to the end": (
        (1, 6, 6),
        lambda: [nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()],
    ),
}
PERCEPTRONS = {
    "one hidden layer": ([7, 9, 3], {}),
    "four, without biases": ([7, 9, 8, 5, 6, 3], {"bias": False}),
    "norms": ([7, 9, 8, 3], {"batch_norm": True}),
    "tanh": ([7, 9, 8, 3], {"activation": "tanh", "batch_norm": True, "bias": False}),
    "gelu": ([7, 9, 8, 3], {"activation": "gelu"}),
    "shortcuts": ([7, 9, 9, 9, 3], {"skip": True}),
    "two streams with norms": ([7, 9, 9, 5, 5, 5, 4, 3], {"skip": True, "batch_norm": True}),
}


def chain(name: str) -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    if name in IMAGES:
        shape, layers = IMAGES[name]
        return nn.Sequential(*layers()), inputs(*shape)
    widths, options = PERCEPTRONS[name]
    return mlp(widths, **options), inputs(widths[0])


@pytest.mark.parametrize("name", [*PERCEPTRONS, *IMAGES])
def test_units_can_be_permuted_and_every_axis_counts(name):
    model, x = chain(name)
    ensemble, description = randomised(model), describe(model)
    before = outputs(ensemble, x)
    assert change(before, outputs(permuted(ensemble, description), x)) < 1e-10
    for k, units in enumerate(description.units):
        for axis in units.axes:
            wrong = {
                field: tuple(a for a in getattr(units, field) if a != axis)
                for field in ("incoming", "norms", "outgoing")
            }
            sets = (*description.units[:k], replace(units, **wrong), *description.units[k + 1 :])
            after = outputs(permuted(ensemble, replace(description, units=sets)), x)
            assert change(before, after) > 1e-4, axis


def test_sets_of_a_perceptron():
    found = describe(mlp([7, 9, 8, 3], batch_norm=True))
    assert [units.name for units in found.units] == ["layer1", "layer2"]
    assert found["layer2"] == Units(
        "layer2",
        8,
        (Axis("layer2.weight", 0), Axis("layer2.bias", 0)),
        (Axis("layer3.weight", 1),),
        (Axis("layer2.weight", 0), Axis("layer2.bias", 0)),
        tuple(Axis(f"norm2.{part}") for part in ("weight", "bias", "running_mean", "running_var")),
        "homogeneous",
    )
    assert found.outputs == ("layer3.weight", "layer3.bias")
    assert found.norms == (("layer1", "norm1"), ("layer2", "norm2"))
    assert describe(mlp([4, 3])).units == ()


def test_a_stream_is_one_set_that_its_first_layer_opens():
    found = describe(mlp([7, 9, 9, 9, 5, 5, 3], skip=True))
    assert [units.name for units in found.units] == ["layer1", "layer4"]
    stream = found["layer1"]
    assert [axis.name for axis in stream.opening] == ["layer1.weight", "layer1.bias"]
    assert [axis.name for axis in stream.incoming] == [
        f"layer{i}.{p}" for i in (1, 2, 3) for p in ("weight", "bias")
    ]
    assert stream.outgoing == tuple(Axis(f"layer{i}.weight", 1) for i in (2, 3, 4))
