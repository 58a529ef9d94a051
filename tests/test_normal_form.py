"""The normal form: function preserved, and the same for all rescaled copies."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from gauge import ARCHITECTURES, inputs, networks, with_dead_units
from spinscape.landscape.overlaps import function_change
from spinscape.landscape.symmetry import (
    normalize,
    permute,
    random_permutations,
    random_scales,
    rescale,
    stream_gain,
)
from spinscape.networks.ensemble import Ensemble, outputs
from spinscape.networks.folding import fold
from spinscape.networks.models import mlp
from spinscape.networks.residual_net import resnet18
from spinscape.networks.units import Axis, Description, Units, describe

STREAMS = [name for name in ARCHITECTURES if "skip" in name or "resnet" in name]
OPTIONS = [{}, {"bias": False}, {"output": "keep"}]


def multiplied(form, x: torch.Tensor) -> torch.Tensor:
    return form.output_scale[:, None, None] * outputs(form.ensemble, x)


def largest_difference(a: Ensemble, b: Ensemble) -> float:
    """Relative to the largest entry of each tensor of each replica."""
    assert a.params.keys() == b.params.keys()
    found = 0.0
    for name, value in a.params.items():
        size = value.flatten(1).abs().amax(1)
        change = (value - b.params[name]).flatten(1).abs().amax(1)
        found = max(found, float((change / size.where(change > 0, 1)).max()))
    return found


def row_norms(ensemble: Ensemble, units: Units, bias: bool) -> torch.Tensor:
    """Norms of the opening vectors, by a loop of the plainest kind."""
    rows = torch.zeros(ensemble.replicas, units.size)
    for r in range(ensemble.replicas):
        for i in range(units.size):
            entries = [
                ensemble.params[axis.name][r][i].flatten()
                for axis in units.opening
                if bias or ensemble.params[axis.name].ndim > 2
            ]
            rows[r, i] = torch.cat(entries).norm()
    return rows


@pytest.mark.parametrize("dead", [False, True], ids=["alive", "dead"])
@pytest.mark.parametrize("trained", [False, True], ids=["random", "trained"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_function_stays(name: str, trained: bool, dead: bool) -> None:
    ensemble, x = networks(name, trained=trained), inputs(name)
    if dead:
        ensemble = with_dead_units(ensemble)
    f = outputs(ensemble, x)
    assert (f.std(1).amax(1) > 1e-4 * f.abs().amax((1, 2))).all()
    permuted = permute(ensemble, random_permutations(ensemble, replicas=2))
    assert function_change(ensemble, permuted, x).max() < 1e-10
    for options in OPTIONS:
        form = normalize(ensemble, **options)
        change = (multiplied(form, x) - f).abs().amax((1, 2)) / f.abs().amax((1, 2))
        assert float(change.max()) < 1e-10
        assert describe(form.ensemble.model).norms == ()
        if "output" in options:
            assert torch.equal(form.output_scale, torch.ones(2).double())
        else:
            classes = outputs(form.ensemble, x).argmax(-1)
            assert torch.equal(classes, f.argmax(-1))


@pytest.mark.parametrize("dead", [False, True], ids=["alive", "dead"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_units_lie_on_spheres(name: str, bias: bool, dead: bool) -> None:
    ensemble = with_dead_units(networks(name)) if dead else networks(name)
    form = normalize(ensemble, bias=bias)
    description = describe(form.ensemble.model)
    for units in description.units:
        norms = row_norms(form.ensemble, units, bias)
        # Unit 0 has a bias only, unit 1 nothing, unit 2 what a batch norm with gamma = 0 leaves.
        assert np.allclose(norms[:, 3 * dead :], 1, rtol=1e-5)
        if dead:
            assert (norms[:, 1] == 0).all()
            assert (form.norms[units.name][:, 1] == 1).all()
    last = [form.ensemble.params[n] for n in description.outputs if bias or "weight" in n]
    total = torch.cat([value.flatten(1) for value in last], dim=1).norm(dim=1)
    assert torch.allclose(total, torch.ones(2).double())


@pytest.mark.parametrize("dead", [False, True], ids=["alive", "dead"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_rescaled_and_permuted_copies_share_the_form(name: str, bias: bool, dead: bool) -> None:
    ensemble = fold(with_dead_units(networks(name)) if dead else networks(name))
    p = random_permutations(ensemble, replicas=2, seed=1)
    moved = permute(rescale(ensemble, random_scales(ensemble, replicas=2, spread=2, seed=3)), p)
    assert largest_difference(moved, permute(ensemble, p)) > 0.1
    one, two = normalize(ensemble, bias=bias), normalize(moved, bias=bias)
    assert largest_difference(permute(one.ensemble, p), two.ensemble) < 1e-10
    assert torch.allclose(one.output_scale, two.output_scale, rtol=1e-10)
    again = normalize(one.ensemble, bias=bias)
    assert largest_difference(one.ensemble, again.ensemble) < 1e-12
    assert torch.allclose(again.output_scale, torch.ones(2).double(), rtol=1e-12)


@pytest.mark.parametrize("name", ["one layer", "four layers", "skip", "vgg16", "resnet18"])
def test_extreme_scales(name: str) -> None:
    ensemble, x = fold(networks(name)), inputs(name)
    scales = {
        units.name: 10 ** torch.linspace(-12, 12, units.size).double()
        for units in describe(ensemble.model).units
    }
    moved = rescale(ensemble, scales)
    assert function_change(ensemble, moved, x).max() < 1e-10
    form = normalize(moved)
    assert largest_difference(form.ensemble, normalize(ensemble).ensemble) < 1e-10
    f = outputs(ensemble, x)
    assert float((multiplied(form, x) - f).abs().max() / f.abs().max()) < 1e-10


@settings(deadline=None, max_examples=25)
@given(
    widths=st.lists(st.integers(1, 5), min_size=3, max_size=6),
    skip=st.booleans(),
    bias=st.booleans(),
    spread=st.floats(0, 5),
    seed=st.integers(0, 10**6),
)
def test_any_mlp(widths: list[int], skip: bool, bias: bool, spread: float, seed: int) -> None:
    skip = skip and any(a == b for a, b in pairwise(widths[1:-1]))
    torch.manual_seed(seed)
    ensemble = Ensemble.from_modules([mlp(widths, skip=skip).double()])
    moved = rescale(ensemble, random_scales(ensemble, replicas=1, spread=spread, seed=seed))
    one, two = normalize(ensemble, bias=bias), normalize(moved, bias=bias)
    assert largest_difference(one.ensemble, two.ensemble) < 1e-9
    x = torch.randn(5, widths[0]).double()
    f = outputs(ensemble, x)
    assert torch.allclose(multiplied(two, x), f, rtol=1e-9, atol=1e-9 * float(f.abs().max()))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", STREAMS)
def test_channels_that_the_opening_leaves_dead_have_a_scale_too(name: str, bias: bool) -> None:
    ensemble = fold(networks(name))
    params = {key: value.clone() for key, value in ensemble.params.items()}
    for units in describe(ensemble.model).units:
        if units.opening != units.incoming:
            for axis in units.opening:
                params[axis.name][:, :2] = 0
    ensemble = Ensemble(ensemble.model, params)
    moved = rescale(ensemble, random_scales(ensemble, replicas=2, spread=2))
    one, two = normalize(ensemble, bias=bias), normalize(moved, bias=bias)
    assert largest_difference(one.ensemble, two.ensemble) < 1e-9
    assert largest_difference(one.ensemble, normalize(one.ensemble, bias=bias).ensemble) < 1e-9
    x = inputs(name)
    f = outputs(ensemble, x)
    assert float((multiplied(two, x) - f).abs().max() / f.abs().max()) < 1e-10


def test_by_hand() -> None:
    net = mlp([2, 2, 1]).double()
    with torch.no_grad():
        net.layer1.weight.copy_(torch.tensor([[2.0, 0.0], [0.0, 0.0]]))
        net.layer1.bias.copy_(torch.tensor([1.5, 0.0]))
        net.layer2.weight.copy_(torch.tensor([[4.0, 7.0]]))
        net.layer2.bias.copy_(torch.tensor([-3.0]))
    ensemble = Ensemble.from_modules([net])
    form = normalize(ensemble, output="keep")
    assert form.norms["layer1"].tolist() == [[2.5, 1.0]]
    assert torch.allclose(form.ensemble.params["layer1.weight"][0, 0], torch.tensor([0.8, 0.0]).double())
    assert form.ensemble.params["layer1.weight"][0, 1].tolist() == [0, 0]
    assert form.ensemble.params["layer2.weight"].tolist() == [[[10.0, 0.0]]]
    assert form.ensemble.params["layer2.bias"].tolist() == [[-3.0]]
    without = normalize(ensemble, bias=False)
    assert without.norms["layer1"].tolist() == [[2.0, 1.0]]
    assert without.ensemble.params["layer1.bias"].tolist() == [[0.75, 0.0]]
    assert without.output_scale.item() == 8
    assert without.ensemble.params["layer2.bias"].item() == pytest.approx(-3 / 8)


def test_numbers_whose_squares_are_no_numbers() -> None:
    ensemble = networks("one layer")
    tiny, huge = ([[1e-200] * 7] * 2, [[1e200] * 7] * 2)
    for scales in (tiny, huge):
        form = normalize(rescale(ensemble, {"layer1": scales}))
        assert largest_difference(form.ensemble, normalize(ensemble).ensemble) < 1e-12


def test_single_precision_and_outputs_that_are_zero() -> None:
    torch.manual_seed(0)
    net = mlp([5, 6, 4, 2])
    with torch.no_grad():
        net.layer3.weight.zero_()
        net.layer3.bias.zero_()
    form = normalize(Ensemble.from_modules([net, mlp([5, 6, 4, 2])]))
    assert form.ensemble.dtype == form.output_scale.dtype == torch.float32
    assert form.output_scale[0] == 1
    assert form.ensemble.flat().isfinite().all()


def test_gain_is_the_spectral_radius_of_the_feedback() -> None:
    ensemble = networks("skip")
    squares = [ensemble.params[f"layer{i}.weight"].square() for i in (2, 3, 5)]
    expected = {
        "layer1": [np.abs(np.linalg.eigvals(m.numpy())).max() for m in squares[0] + squares[1]],
        "layer4": [np.abs(np.linalg.eigvals(m.numpy())).max() for m in squares[2]],
    }
    found = stream_gain(ensemble)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert np.allclose(found[name], values)


@pytest.mark.parametrize("name", ["skip", "resnet, long stages"])
def test_gain_tells_whether_all_writers_can_share_a_norm(name: str) -> None:
    """The iteration that norms streams by all that writes them, on a network scaled to both sides of 1."""
    ensemble = fold(networks(name, 1))
    gain = stream_gain(ensemble)
    moved = rescale(ensemble, random_scales(ensemble, replicas=1, seed=2))
    moved = permute(moved, random_permutations(ensemble, replicas=1, seed=2))
    for stream, value in stream_gain(moved).items():
        assert np.allclose(value, gain[stream], rtol=1e-9)
    description = describe(ensemble.model)
    for stream in gain:
        units = description[stream]
        inner = {axis.name for axis in units.incoming if axis not in units.opening}
        for target in (0.5, 2.0):
            # K is quadratic in the weights of the layers that write, biases take no part in it.
            factor = (target / gain[stream][0]) ** 0.5
            params = {
                key: value * factor if key in inner and value.ndim > 2 else value
                for key, value in ensemble.params.items()
            }
            scaled = Ensemble(ensemble.model, params)
            assert stream_gain(scaled)[stream][0] == pytest.approx(target)
            assert _all_writers(scaled, description, units) is (target < 1)


def _all_writers(ensemble: Ensemble, description: Description, units: Units) -> bool:
    """Tell whether norming inner units and the stream in turn comes to rest."""
    inner = [
        one
        for one in description.units
        if one is not units
        and {a.name for a in one.outgoing}
        & {a.name for a in units.incoming} - {a.name for a in units.opening}
    ]
    whole = Units(units.name, units.size, units.incoming, units.outgoing, units.incoming, kind=units.kind)
    for _ in range(120):
        for one in inner:
            ensemble = rescale(ensemble, {one.name: 1 / row_norms(ensemble, one, True).double()})
        norms = row_norms(ensemble, whole, True).double()
        ensemble = rescale(ensemble, {units.name: 1 / norms})
    return bool(((norms - 1).abs() < 1e-2).all())


def test_gain_at_initialisation() -> None:
    """Squares of 3 x 3 kernels sum to 1/3 and 2 on average over what they read, twice per later block."""
    torch.manual_seed(0)
    nets = [resnet18(3, 10, width=24) for _ in range(2)]
    for module in nets[1].modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    for stream, gain in stream_gain(Ensemble.from_modules(nets)).items():
        blocks = 2 if stream == "stage1" else 1
        assert gain == pytest.approx([blocks / 9, 4 * blocks], rel=0.1)


def test_weights_that_ask_for_gradients_have_the_same_gain() -> None:
    ensemble = networks("resnet18")
    expected = stream_gain(ensemble)
    asking = Ensemble(
        ensemble.model,
        {name: value.clone().requires_grad_() for name, value in ensemble.params.items()},
        ensemble.buffers,
    )
    found = stream_gain(asking)
    assert all((found[name] == gain).all() for name, gain in expected.items())


def test_chains_have_no_streams() -> None:
    assert stream_gain(networks("batch norm")) == {}


def test_what_has_no_normal_form_is_refused() -> None:
    with pytest.raises(ValueError, match="'layer1' is of kind 'odd'"):
        normalize(Ensemble.from_modules([mlp([2, 3, 1], activation="tanh")]))
    bad = networks("two layers")
    bad.params["layer2.weight"][1, 0, 0] = torch.inf
    with pytest.raises(ValueError, match=r"weights must be finite, not those of 'layer2\.weight'"):
        normalize(bad)
    with pytest.raises(ValueError, match="output must be"):
        normalize(networks("one layer"), output="none")
    with pytest.raises(ValueError, match='output must be "keep"'):
        normalize(
            Ensemble.from_modules([nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1), nn.Sigmoid())])
        )
    norm = networks("batch norm")
    with pytest.raises(ValueError, match="description lists batch norms"):
        normalize(norm, description=describe(norm.model))
    with pytest.raises(ValueError, match=r"hidden_units\(\)"):
        normalize(Ensemble.from_modules([nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3), nn.Linear(3, 1))]))


def test_sets_in_any_order_and_circles() -> None:
    ensemble = networks("two layers")
    description = describe(ensemble.model)
    backwards = Description(description.units[::-1], description.outputs)
    form = normalize(ensemble, description=backwards)
    assert largest_difference(form.ensemble, normalize(ensemble).ensemble) == 0
    net = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 5), nn.Linear(5, 3))
    axes = (Axis("2.weight", 0), Axis("2.bias", 0))
    circle = Units("a", 5, axes, (Axis("2.weight", 1),), axes, kind="homogeneous")
    with pytest.raises(ValueError, match="opening layers of hidden units depend"):
        normalize(Ensemble.from_modules([net]), description=Description((circle,), ("3.weight",)))


def test_norms_of_single_precision_are_taken_in_double() -> None:
    """Squares of weights near 1e-20 have few digits in single precision, or none."""
    ensemble = networks("two layers").to(torch.float32)
    small = {
        name: 1e-20 * value if name.startswith("layer1") else value for name, value in ensemble.params.items()
    }
    scaled = normalize(Ensemble(ensemble.model, small))
    wide = small["layer1.weight"].double().square().sum(2) + small["layer1.bias"].double().square()
    assert torch.allclose(scaled.norms["layer1"].double(), wide.sqrt(), rtol=1e-6, atol=0)
