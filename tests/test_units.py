from __future__ import annotations

import doctest
from dataclasses import replace

import pytest
import torch
from torch import nn

from spinscape.networks import units as module
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.evaluation import outputs
from spinscape.networks.folding import fold
from spinscape.networks.mixture import Mixture
from spinscape.networks.models import Residual, Shortcut, mlp
from spinscape.networks.units import Axis, Description, Units, check, describe
from symmetric import change, check_axes, randomised, scaled


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
    check_axes(randomised(model), describe(model), x)


@pytest.mark.parametrize("name", [*PERCEPTRONS, *IMAGES])
def test_kind_tells_what_the_units_commute_with(name):
    """Factors and signs keep the outputs of a set exactly when its kind says so."""
    model, x = chain(name)
    ensemble = randomised(model)
    if name not in ("flattened", "one dimension"):
        ensemble = fold(ensemble)
    description = describe(ensemble.model)
    before = outputs(ensemble, x)
    assert description.units
    for units in description.units:
        one = replace(description, units=(units,))
        plain = not units.norms
        factors = outputs(scaled(ensemble, one), x)
        signs = outputs(scaled(ensemble, one, signs=True), x)
        assert (change(before, factors) < 1e-10) == (plain and units.kind in ("homogeneous", "linear"))
        assert (change(before, signs) < 1e-10) == (plain and units.kind in ("odd", "linear"))


def test_kinds_met():
    found = {units.kind for name in IMAGES for units in describe(chain(name)[0]).units}
    assert found == {"homogeneous", "odd", "linear", "other"}
    pooled = describe(nn.Sequential(nn.Conv2d(1, 3, 2), nn.Tanh(), nn.MaxPool2d(2), nn.Conv2d(3, 2, 1)))
    assert pooled["0"].kind == "other"
    pooled = describe(nn.Sequential(nn.Conv2d(1, 3, 2), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(3, 2, 1)))
    assert pooled["0"].kind == "odd"


@pytest.mark.parametrize("name", [*PERCEPTRONS, *IMAGES])
def test_outputs_are_scaled_by_the_last_layer(name):
    model, x = chain(name)
    ensemble = randomised(model)
    names = describe(model).outputs
    params = {n: 3 * value if n in names else value for n, value in ensemble.params.items()}
    after = outputs(Ensemble(model, params, ensemble.buffers), x)
    assert change(3 * outputs(ensemble, x), after) < 1e-12


def test_outputs_that_no_number_scales():
    assert describe(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2), nn.Tanh())).outputs == ()
    layers = [nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 3), nn.ReLU(), Shortcut()]
    assert describe(Residual(*layers)) == Description((), ())


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
        kind="homogeneous",
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


class Own(nn.Module):
    """Two layers side by side that write the same units."""

    def __init__(self, description: object = None):
        super().__init__()
        self.left, self.right, self.top = nn.Linear(4, 6), nn.Linear(4, 6, bias=False), nn.Linear(6, 3)
        self.description = description or Description(
            (Units("both", 6, self.written(), (Axis("top.weight", 1),), self.written(), kind="homogeneous"),),
            ("top.weight", "top.bias"),
        )

    @staticmethod
    def written() -> tuple[Axis, ...]:
        return Axis("left.weight"), Axis("left.bias"), Axis("right.weight")

    def hidden_units(self) -> Description:
        return self.description

    def forward(self, x):
        return self.top((self.left(x) + self.right(x.square())).relu())


def test_a_model_may_state_its_units():
    model = Own()
    description = describe(model)
    assert description is model.description
    check_axes(randomised(model), description, inputs(4))
    with pytest.raises(TypeError, match="Own must return a Description, not dict"):
        describe(Own({"layer": 3}))


def test_names_of_sets():
    description = describe(mlp([7, 9, 8, 3]))
    with pytest.raises(KeyError, match="no hidden units 'layer3'; known sets: 'layer1', 'layer2'"):
        description["layer3"]


GOOD = Own().description.units[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"outgoing": (Axis("top.weigth", 1),)}, "top.weigth, .*'both', is of no parameter"),
        ({"outgoing": (Axis("top.weight", 2),)}, r"axis 2 of top.weight.* does not exist: .*\(3, 6\)"),
        ({"outgoing": (Axis("top.weight", 0),)}, r"axis 0 of top.weight.* must have 6 x 1 entries"),
        ({"outgoing": (Axis("top.weight", 1, 2),)}, r"axis 1 of top.weight.* must have 6 x 2 entries"),
        ({"size": 3}, "left.weight.* must have 3 x 1 entries"),
        ({"incoming": (*GOOD.incoming, GOOD.incoming[0])}, "axis 0 of left.weight.* is listed twice"),
        ({"opening": (Axis("left.weight", 1),)}, "must be part of incoming: left.weight is not"),
        ({"opening": ()}, "must be part of incoming: there is none"),
        ({"kind": "even"}, "'both' have size 6 and kind 'even'"),
        ({"size": 0}, "'both' have size 0"),
    ],
)
def test_descriptions_that_do_not_fit(changes, message):
    wrong = replace(Own().description, units=(replace(GOOD, **changes),))
    with pytest.raises(ValueError, match=message):
        describe(Own(wrong))


def test_other_descriptions_that_do_not_fit():
    good = Own().description
    with pytest.raises(ValueError, match="'both' are described twice"):
        describe(Own(replace(good, units=(GOOD, GOOD))))
    with pytest.raises(ValueError, match=r"left\.weight.*'more', is listed twice"):
        describe(Own(replace(good, units=(GOOD, replace(GOOD, name="more")))))
    with pytest.raises(ValueError, match=r"head\.weight, listed in outputs"):
        describe(Own(replace(good, outputs=("head.weight",))))
    with pytest.raises(ValueError, match="norm7, listed in norms"):
        describe(Own(replace(good, norms=(("left", "norm7"),))))


SHARED = nn.Linear(5, 5)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([nn.Linear(4, 5), nn.LayerNorm(5), nn.Linear(5, 2)], r"1 \(LayerNorm\) is not understood"),
        ([nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.Conv2d(4, 2, 1)], r"1 \(GroupNorm\)"),
        ([nn.Conv2d(2, 4, 3, groups=2), nn.Conv2d(4, 2, 1)], "0 .*2 groups"),
        ([nn.Sequential(nn.Linear(4, 5), nn.PReLU(5)), nn.Linear(5, 2)], r"0\.1 \(PReLU\)"),
        ([nn.Sequential(Own()), nn.Linear(3, 2)], r"0\.0 \(Own\) is not understood"),
        ([Mixture(2), nn.Linear(4, 2)], r"0 \(Mixture\)"),
        (
            [nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Linear(4, 2)],
            r"2 \(Linear\) reads feature maps that nothing flattened",
        ),
        ([nn.Linear(4, 5), nn.Flatten(), nn.Linear(15, 2)], r"2 \(Linear\) reads 15 numbers, not the 5"),
        ([nn.Linear(4, 5), nn.BatchNorm1d(3), nn.Linear(5, 2)], "1 normalises 3 numbers, not the 5"),
        ([nn.Linear(4, 6), nn.MaxPool1d(2), nn.Linear(3, 2)], r"1 \(MaxPool1d\) pools over units"),
        ([nn.Conv2d(1, 4, 3), nn.Flatten(2), nn.Linear(9, 2)], r"1 \(Flatten\)"),
        ([nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(9, 2)], r"2 \(Linear\) reads 9 numbers"),
        ([nn.ReLU()], "the model has no linear layer"),
    ],
)
def test_models_that_are_not_understood(layers, message):
    with pytest.raises(ValueError, match=message) as told:
        describe(nn.Sequential(*layers))
    assert "a method hidden_units() that returns a Description" in str(told.value)
    assert "spinscape.networks.units" in str(told.value)


def test_a_layer_used_twice():
    with pytest.raises(ValueError, match=r"3\.weight.* is one parameter with 1\.weight: tied weights"):
        describe(nn.Sequential(nn.Linear(4, 5), SHARED, nn.ReLU(), SHARED, nn.Linear(5, 2)))


def test_a_shortcut_from_the_inputs():
    with pytest.raises(ValueError, match="1 adds no hidden units"):
        describe(Residual(nn.Linear(4, 4), Shortcut(), nn.Linear(4, 2)))


# --- what is left out of a description ------------------------------------------------------------


class Normed(nn.Module):
    """A model of one's own with norms on inputs and hidden units."""

    def __init__(self, description: Description | None = None):
        super().__init__()
        self.first, self.low, self.norm = nn.BatchNorm1d(4), nn.Linear(4, 6), nn.BatchNorm1d(6)
        self.top = nn.Linear(6, 3)
        self.description = description or complete()

    def hidden_units(self) -> Description:
        return self.description

    def forward(self, x):
        return self.top(self.norm(self.low(self.first(x))).relu())


NORMS = tuple(Axis(f"norm.{part}") for part in ("weight", "bias", "running_mean", "running_var"))


def complete(**changes: object) -> Description:
    written = (Axis("low.weight"), Axis("low.bias"))
    units = Units("low", 6, written, (Axis("top.weight", 1),), written, NORMS, kind="homogeneous")
    whole = Description((units,), ("top.weight", "top.bias"), (("low", "norm"),), ("first",))
    own = {key: changes.pop(key) for key in list(changes) if key == "elsewhere"}
    return replace(whole, units=(replace(units, **changes),), **own)


def test_a_complete_description_keeps_the_function():
    model = Normed()
    check_axes(randomised(model), describe(model), inputs(4))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"norms": ()}, r"norm\.weight is listed for no hidden units"),
        ({"norms": NORMS[:2]}, r"norm\.running_mean is listed for no hidden units"),
        ({"norms": NORMS[:1] + NORMS[2:]}, r"norm\.bias is not listed .*'low', although norm\.weight is"),
        ({"elsewhere": ()}, r"first\.weight is listed for no hidden units"),
        ({"elsewhere": ("first", "second")}, "second, listed in elsewhere, is no module"),
        (
            {"incoming": (Axis("low.weight"),), "opening": (Axis("low.weight"),)},
            r"low\.bias is not listed for hidden units 'low', although low\.weight is: a permutation would",
        ),
    ],
    ids=str,
)
def test_incomplete_descriptions_are_refused(changes, message):
    wrong = complete(**changes)
    with pytest.raises(ValueError, match=message):
        describe(Normed(wrong))


def test_kind_has_to_be_said():
    with pytest.raises(TypeError, match="kind"):
        Units("low", 6, (Axis("low.weight"),), (), (Axis("low.weight"),))


def test_norms_on_inputs_and_outputs_are_elsewhere():
    layers = [nn.BatchNorm1d(4), nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3)]
    model = nn.Sequential(*layers, nn.BatchNorm1d(3), nn.BatchNorm1d(3, affine=False))
    assert describe(model).elsewhere == ("0", "5", "6")
    bare = nn.Sequential(nn.BatchNorm1d(4, affine=False, track_running_stats=False), *layers[1:])
    assert describe(bare).elsewhere == ()


def test_what_is_no_description():
    with pytest.raises(TypeError, match="description must be a Description, not int"):
        check(mlp([4, 5, 3]), 3)


def test_the_worked_example():
    ran = doctest.testmod(module)
    assert ran.attempted > 5
    assert ran.failed == 0
