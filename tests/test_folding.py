from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from spinscape.networks.convolutional import convnet, vgg16
from spinscape.networks.datasets import load
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.evaluation import outputs
from spinscape.networks.folding import fold
from spinscape.networks.models import mlp
from spinscape.networks.residual_net import ResNet, resnet18
from spinscape.networks.training import train
from spinscape.networks.units import Axis, Description, Units, describe
from symmetric import change, check_axes, randomised, scaled


def inputs(*shape: int) -> torch.Tensor:
    return torch.randn(8, *shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


NETS = {
    "mlp": (lambda: mlp([7, 9, 8, 3], batch_norm=True), (7,)),
    "mlp without biases": (lambda: mlp([7, 9, 8, 3], batch_norm=True, bias=False), (7,)),
    "shortcuts": (lambda: mlp([7, 9, 9, 9, 3], batch_norm=True, skip=True), (7,)),
    "convnet": (lambda: convnet(hidden=(6,), batch_norm=True, bias=False), (1, 8, 8)),
    "vgg16": (lambda: vgg16(width=3), (3, 32, 32)),
    "resnet18": (lambda: resnet18(width=3), (3, 16, 16)),
    "other blocks": (lambda: ResNet(1, 4, blocks=(1, 3), width=4), (1, 8, 8)),
    "norm of the outputs": (
        lambda: nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5, affine=False), nn.ReLU(),
                              nn.Linear(5, 3, bias=False), nn.BatchNorm1d(3)),
        (4,),
    ),
    "two norms in a row": (
        lambda: nn.Sequential(nn.Conv1d(2, 5, 2), nn.BatchNorm1d(5), nn.BatchNorm1d(5), nn.ReLU(),
                              nn.Conv1d(5, 2, 3), nn.Flatten()),
        (2, 4),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NETS)
def test_outputs_stay_and_units_can_be_permuted_and_scaled(name):
    build, shape = NETS[name]
    ensemble, x = randomised(build(), 3), inputs(*shape)
    kept = {key: value.clone() for key, value in (ensemble.params | ensemble.buffers).items()}
    found = fold(ensemble)
    before = outputs(ensemble, x)
    assert change(before, outputs(found, x)) < 1e-12
    assert not any(isinstance(module, _BatchNorm) for module in found.model.modules())
    assert all(torch.equal(kept[key], value) for key, value in (ensemble.params | ensemble.buffers).items())
    assert any(isinstance(module, _BatchNorm) for module in ensemble.model.modules())

    description = describe(found.model)
    assert description.norms == ()
    assert not any(units.norms for units in description.units)
    assert [u.name for u in description.units] == [u.name for u in describe(ensemble.model).units]
    assert change(before, outputs(scaled(found, description), x)) < 1e-10
    if description.outputs:
        tripled = {n: 3 * v if n in description.outputs else v for n, v in found.params.items()}
        assert change(3 * before, outputs(Ensemble(found.model, tripled, found.buffers), x)) < 1e-12


@pytest.mark.parametrize("name", ["shortcuts", "convnet", "resnet18"])
def test_every_axis_of_the_folded_description_counts(name):
    build, shape = NETS[name]
    found = fold(randomised(build(), 1))
    check_axes(found, describe(found.model), inputs(*shape))


def test_against_the_formula():
    ensemble = randomised(mlp([4, 6, 3], batch_norm=True))
    found = fold(ensemble)
    p, b = ensemble.params, ensemble.buffers
    scale = p["norm1.weight"] / (b["norm1.running_var"] + 1e-5).sqrt()
    assert (p["norm1.weight"] < 0).any()
    assert torch.allclose(found.params["layer1.weight"], p["layer1.weight"] * scale[..., None], rtol=1e-13)
    shift = (p["layer1.bias"] - b["norm1.running_mean"]) * scale + p["norm1.bias"]
    assert torch.allclose(found.params["layer1.bias"], shift, rtol=1e-13)
    assert torch.equal(found.params["layer2.weight"], p["layer2.weight"])
    assert found.buffers == {}


def test_a_scale_of_zero_leaves_a_dead_unit_with_a_bias():
    ensemble = randomised(vgg16(width=4))
    dead = ensemble.params["norm3.weight"] == 0
    assert dead.any()
    found = fold(ensemble)
    assert not found.params["conv3.weight"][dead].any()
    assert torch.equal(found.params["conv3.bias"][dead], ensemble.params["norm3.bias"][dead])


def test_trained_networks():
    data = load("digits")
    model = convnet(widths=(4, 6), hidden=(16,), batch_norm=True)
    ensemble = train(model, data, replicas=2, epochs=1, device="cpu", evaluate_test=False)
    x = data.x_test.double()
    double = ensemble.to(torch.float64)
    assert change(outputs(double, x), outputs(fold(double), x)) < 1e-12
    single = fold(ensemble)
    assert single.dtype == torch.float32
    assert single.history is ensemble.history
    assert change(outputs(ensemble, x), outputs(single, x)) < 1e-5


def test_without_norms_nothing_changes():
    for model in (mlp([4, 5, 3]), resnet18(width=2, batch_norm=False)):
        ensemble = randomised(model)
        assert fold(ensemble) is ensemble


def test_a_folded_residual_net_is_one_without_norms():
    found = fold(randomised(resnet18(width=2)))
    plain = resnet18(width=2, batch_norm=False)
    assert describe(found.model) == plain.hidden_units()
    again = Ensemble(plain, found.params, found.buffers)
    assert list(found.params) == [name for name, _ in plain.named_parameters()]
    x = inputs(3, 8, 8)
    assert torch.equal(outputs(found, x), outputs(again, x))
    assert fold(found) is found
    assert describe(deepcopy(found.model)) == plain.hidden_units()


class Own(nn.Module):
    """A model whose description names its norm, whether it has one or not."""

    def __init__(self, pairs: tuple[tuple[str, str], ...] = (("low", "norm"),), **options: bool):
        super().__init__()
        self.low, self.top = nn.Linear(4, 6, bias=False), nn.Linear(6, 3)
        self.norm = nn.BatchNorm1d(6, **options)
        self.pairs = pairs

    def hidden_units(self) -> Description:
        written = (Axis("low.weight"),)
        names = [*dict(self.norm.named_parameters()), *dict(self.norm.named_buffers())]
        norms = tuple(Axis(f"norm.{name}") for name in names if name != "num_batches_tracked")
        units = Units("low", 6, written, (Axis("top.weight", 1),), written, norms, kind="homogeneous")
        return Description((units,), ("top.weight", "top.bias"), self.pairs)

    def forward(self, x):
        return self.top(self.norm(self.low(x)).relu())


@pytest.mark.parametrize("affine", [True, False])
def test_a_model_that_states_its_units(affine):
    ensemble, x = randomised(Own(affine=affine)), inputs(4)
    found = fold(ensemble)
    assert change(outputs(ensemble, x), outputs(found, x)) < 1e-12
    units = describe(found.model)["low"]
    assert units.incoming == units.opening == (Axis("low.weight"), Axis("low.bias"))
    assert units == replace(
        Own().hidden_units()["low"], incoming=units.incoming, opening=units.opening, norms=()
    )
    check_axes(found, describe(found.model), x)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.BatchNorm1d(5), nn.Linear(5, 2)),
            "batch norm 2 cannot be folded: it does not directly follow a layer",
        ),
        (nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 2)), "batch norm 0 cannot .* directly follow"),
        (
            nn.Sequential(nn.Conv2d(1, 2, 2), nn.AvgPool2d(2), nn.BatchNorm2d(2), nn.Conv2d(2, 2, 1)),
            "batch norm 2 cannot .* directly follow",
        ),
        (
            nn.Sequential(nn.Conv2d(1, 2, 2), nn.Flatten(), nn.BatchNorm1d(8), nn.Linear(8, 2)),
            "batch norm 2 cannot .* directly follow",
        ),
        (
            nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5, track_running_stats=False), nn.Linear(5, 2)),
            "batch norm 1 cannot be folded: it keeps no running statistics",
        ),
        (Own(()), "batch norm norm cannot .* directly follow"),
        (Own((("top", "norm"),)), "norm cannot be folded into top, which is no .* with 6 units"),
        (nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.LayerNorm(5)), "LayerNorm"),
    ],
)
def test_norms_that_cannot_be_folded(model, message):
    with pytest.raises(ValueError, match=message):
        fold(Ensemble.from_modules([model]))


@pytest.mark.parametrize("name", ["layer1.weight", "norm1.running_var"])
def test_what_is_not_finite_is_refused_by_name(name):
    ensemble = randomised(mlp([4, 5, 3], batch_norm=True))
    (ensemble.params | ensemble.buffers)[name][1, 0] = torch.nan
    with pytest.raises(ValueError, match=f"must be finite, not those of '{name}' of network 1"):
        fold(ensemble)
