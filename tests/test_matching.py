"""Permutations that bring one network close to another."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from spinscape.landscape.symmetry import matching
from spinscape.landscape.symmetry._pair import LARGE, Pair, assignment, directions
from spinscape.landscape.symmetry.alignment import align, quotient_distances
from spinscape.landscape.symmetry.matching import descend, inner_product, layerwise, match
from spinscape.landscape.symmetry.permutations import permute, random_permutations
from spinscape.landscape.symmetry.recovery import recovery
from spinscape.networks.convolutional import convnet, vgg16
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.models import mlp
from spinscape.networks.residual_net import resnet18
from spinscape.networks.units import Axis, Description, Units, describe
from symmetric import randomised

MODELS = {
    "one hidden layer": lambda: mlp([6, 7, 3]),
    "two": lambda: mlp([6, 7, 5, 3]),
    "three, batch norm": lambda: mlp([6, 7, 5, 6, 3], batch_norm=True),
    "four": lambda: mlp([6, 7, 5, 6, 8, 3], bias=False),
    "skips": lambda: mlp([6, 7, 7, 7, 3], skip=True),
    "convnet": lambda: convnet(),
    "VGG16": lambda: vgg16(width=4),
    "ResNet-18": lambda: resnet18(width=4),
}


def networks(model: nn.Module, count: int = 2, seed: int = 0, dtype: torch.dtype = torch.float64) -> Ensemble:
    return randomised(model, count, seed).to(dtype)


def same(a: Ensemble, b: Ensemble) -> bool:
    pairs = [(a.params, b.params), (a.buffers, b.buffers)]
    return all(torch.equal(one[name], two[name]) for one, two in pairs for name in one)


def pair_of(a: Ensemble, b: Ensemble, **options: bool) -> Pair:
    sides = ({name: value[0] for name, value in side.params.items()} for side in (a, b))
    return Pair(*sides, describe(a.model), **options)


def orders(pair: Pair, seed: int) -> dict[str, Tensor]:
    source = torch.Generator().manual_seed(seed)
    return {units.name: torch.randperm(units.size, generator=source) for units in pair.units}


# --- the assignment ------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 5, LARGE - 1, LARGE, 300])
@pytest.mark.parametrize("kind", ["independent", "common", "copies", "constant", "spread", "two values"])
def test_assignment_has_the_value_of_a_second_solver_on_the_plain_matrix(size: int, kind: str) -> None:
    g = torch.Generator().manual_seed(size)
    a, b = torch.randn(2, size, 20, generator=g)
    if kind == "common":
        shared = torch.randn(3, 20, generator=g)
        a, b = (side + 4 * torch.randn(size, 3, generator=g) @ shared for side in (a, b))
    if kind == "copies":
        b = a[torch.randperm(size, generator=g)] + 0.5 * b
    gains = a @ b.T
    if kind == "constant":
        gains = torch.full((size, size), -3.0)
    if kind == "spread":
        gains = gains * torch.exp(6 * torch.randn(size, 1, generator=g))
    if kind == "two values":
        gains = (gains > 3).float()
    p = assignment(gains)
    assert torch.equal(p.sort().values, torch.arange(size))
    best = gains.double().numpy()[linear_sum_assignment(gains.double().numpy(), maximize=True)].sum()
    assert float(gains.double()[torch.arange(size), p].sum()) == pytest.approx(best, rel=1e-12, abs=1e-12)


def test_assignment_in_double_precision_sees_what_single_does_not() -> None:
    gains = torch.ones(300, 300, dtype=torch.float64) + 1e-12 * torch.rand(
        300, 300, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )
    p = assignment(gains)
    best = linear_sum_assignment(gains.numpy() - 1, maximize=True)[1]
    assert torch.equal(p, torch.from_numpy(best))


def test_gains_that_overflow_are_an_error() -> None:
    a = networks(mlp([4, 5, 3, 2]), 1, dtype=torch.float32)
    huge = Ensemble(a.model, {name: 1e25 * value for name, value in a.params.items()})
    with pytest.raises(ValueError, match=r"overflow: convert both ensembles to torch\.float64"):
        match(huge, huge)
    b = permute(huge.to(torch.float64), random_permutations(a, replicas=1))
    found = match(huge.to(torch.float64), b)
    assert same(permute(b, found.permutations), huge.to(torch.float64))


def test_directions_of_huge_tiny_and_zero_rows() -> None:
    rows = torch.tensor([[3.0, 4.0], [3e30, 4e30], [3e-38, 4e-38], [0.0, 0.0]])
    expected = torch.tensor([[0.6, 0.8], [0.6, 0.8], [0.6, 0.8], [0.0, 0.0]])
    assert torch.allclose(directions(rows), expected, rtol=1e-5)


# --- the gains ------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_gains_are_differences_of_the_objective(name: str) -> None:
    a, b = (networks(MODELS[name](), 1, seed) for seed in (1, 2))
    pair = pair_of(a, b)
    now = orders(pair, 3)
    for units in pair.units:
        if units.name in pair.neighbours(units):
            continue
        gains, other = pair.gains(units, now), orders(pair, 4)[units.name]
        first, second = (float(gains[torch.arange(units.size), p].sum()) for p in (now[units.name], other))
        difference = pair.objective(now | {units.name: other}) - pair.objective(now)
        assert second - first == pytest.approx(difference, rel=1e-9, abs=1e-9)


def test_gains_of_a_set_twice_on_a_parameter_are_the_gradient() -> None:
    a, b = (networks(mlp([6, 7, 7, 3], skip=True), 1, seed) for seed in (1, 2))
    pair = pair_of(a, b)
    (units,) = pair.units
    now = orders(pair, 3)
    matrix = torch.eye(7, dtype=torch.float64)[now[units.name]].requires_grad_()
    total = torch.zeros((), dtype=torch.float64)
    for name, value in pair.b.items():
        for touch in pair.touches.get(name, []):
            value = torch.tensordot(matrix, value, ([1], [touch.axis.axis])).movedim(0, touch.axis.axis)
        total = total + (pair.a[name] * value).sum()
    (gradient,) = torch.autograd.grad(total, matrix)
    assert torch.allclose(pair.gains(units, now), gradient, atol=1e-12)


@pytest.mark.parametrize("name", MODELS)
def test_objective_is_the_inner_product_with_the_permuted_network(name: str) -> None:
    a, b = (networks(MODELS[name](), 2, seed) for seed in (1, 2))
    found = match(a, b, start="identity")
    permuted = permute(b, found.permutations)
    assert found.objective == pytest.approx(inner_product(a, permuted), rel=1e-12)
    assert found.before == pytest.approx((a.flat() * b.flat()).sum(1).numpy(), rel=1e-12)
    distances = (a.flat() - permuted.flat()).square().sum(1).numpy()
    expected = a.norms.numpy() ** 2 + b.norms.numpy() ** 2 - 2 * found.objective
    assert distances == pytest.approx(expected, rel=1e-9)


# --- what is found ------------------------------------------------------------


def test_one_hidden_layer_is_solved_exactly() -> None:
    a, b = (networks(mlp([3, 5, 2]), 4, seed) for seed in (1, 2))
    every = torch.tensor(list(itertools.permutations(range(5))))
    found = match(a, b)
    for r in range(4):
        objectives = inner_product(a[r], permute(b[r], {"layer1": every}))
        assert found.objective[r] == pytest.approx(objectives.max(), rel=1e-12)
        assert torch.equal(found.permutations["layer1"][r], every[objectives.argmax()])


@pytest.mark.parametrize("start", ["layerwise", "identity"])
@pytest.mark.parametrize("name", ["two", "three, batch norm", "four", "ResNet-18"])
def test_descent_ends_where_no_single_set_gains(name: str, start: str) -> None:
    a, b = (networks(MODELS[name](), 1, seed) for seed in (1, 2))
    found = match(a, b, start=start)
    pair = pair_of(a, b)
    now = {key: p[0] for key, p in found.permutations.items()}
    for units in pair.units:
        if units.name in pair.neighbours(units):
            continue
        gains = pair.gains(units, now).numpy()
        best = gains[linear_sum_assignment(gains, maximize=True)].sum()
        assert gains[np.arange(units.size), now[units.name]].sum() == pytest.approx(best, rel=1e-9)


def test_descent_of_a_quadratic_set_never_falls() -> None:
    a, b = (networks(mlp([3, 8, 8, 8, 2], skip=True), 100, seed) for seed in (1, 2))
    moved = 0
    for r in range(100):
        pair = pair_of(a[r], b[r])
        start = orders(pair, r)
        end, _ = descend(pair, start)
        assert pair.objective(end) >= pair.objective(start)
        moved += pair.objective(end) > pair.objective(start)
    assert moved > 50


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("options", [{}, {"start": "identity"}, {"sequence": "random"}], ids=str)
def test_distance_never_grows(name: str, options: dict) -> None:
    model = MODELS[name]()
    a = networks(model, 6, 1)
    g = torch.Generator().manual_seed(1)
    # Near the original in outgoing weights, far in incoming ones: there the layerwise start misleads.
    b = {
        key: value + (2 if key.endswith("1.weight") else 0.3) * torch.randn(value.shape, generator=g).double()
        for key, value in a.params.items()
    }
    found = match(a, Ensemble(model, b, a.buffers), **options)
    assert (found.objective >= found.before).all()


def test_identity_is_tried_where_the_layerwise_start_ends_below_it() -> None:
    model = mlp([6, 8, 8, 3])
    a = networks(model, 200, 1)
    g = torch.Generator().manual_seed(1)
    b = {
        name: value
        + (2 if name.startswith("layer1") else 0.3) * value.std() * torch.randn(value.shape, generator=g)
        for name, value in a.params.items()
    }
    found = match(a, Ensemble(model, b))
    assert (found.objective >= found.before).all()
    (chosen,) = np.nonzero(found.kept == -1)
    assert len(chosen)
    for r in chosen.tolist():
        pair = pair_of(a[r], Ensemble(model, b)[r])
        assert pair.objective(descend(pair, layerwise(pair))[0]) < found.before[r]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("options", [{}, {"method": "layerwise"}], ids=str)
def test_planted_permutations_are_found(name: str, options: dict) -> None:
    a = networks(MODELS[name](), 2, dtype=torch.float32)
    b = permute(a, random_permutations(a, replicas=2, seed=3))
    assert not same(a, b)
    found = match(a, b, **options)
    assert same(permute(b, found.permutations), a)


def test_one_reference_for_all() -> None:
    a = networks(MODELS["two"](), 1)
    b = permute(a, random_permutations(a, replicas=5, seed=3))
    found = match(a, b)
    assert found.objective.shape == (5,)
    assert all(same(permute(b, found.permutations)[r], a) for r in range(5))


def test_layerwise_does_not_see_the_scales_of_units() -> None:
    a = networks(mlp([6, 7, 3]), 1)
    scale = torch.logspace(-3, 3, 7, dtype=torch.float64)
    params = dict(a.params)
    params["layer1.weight"] = params["layer1.weight"] * scale[:, None]
    params["layer1.bias"] = params["layer1.bias"] * scale
    params["layer2.weight"] = params["layer2.weight"] / scale
    p = random_permutations(a, replicas=1, seed=1)
    found = match(a, permute(Ensemble(a.model, params), p), method="layerwise")
    assert torch.equal(p["layer1"][0][found.permutations["layer1"][0]], torch.arange(7))


def test_equal_units_may_be_exchanged_and_parameters_are_equal_still() -> None:
    a = networks(MODELS["three, batch norm"](), 1)
    for units in describe(a.model).units:
        for axis in units.axes:
            tensor = (a.params | a.buffers)[axis.name].movedim(axis.axis + 1, 1)
            tensor[:, 0:2] = 0
            tensor[:, 2] = tensor[:, 3]
    b = permute(a, random_permutations(a, replicas=3, seed=2))
    found = match(a, b)
    assert all(same(permute(b, found.permutations)[r], a) for r in range(3))


def test_biases_count_unless_left_out() -> None:
    model = mlp([2, 4, 2])
    a = Ensemble(model, {name: torch.ones(1, *p.shape) for name, p in model.named_parameters()})
    a.params["layer1.bias"][0] = torch.arange(4.0)
    p = torch.tensor([2, 0, 3, 1])
    b = permute(a, {"layer1": p})
    for method in ("descent", "layerwise"):
        found = match(a, b, method=method)
        assert torch.equal(p[found.permutations["layer1"][0]], torch.arange(4))
    left_out = match(a, b, bias=False)
    assert torch.equal(left_out.permutations["layer1"][0], torch.arange(4))
    assert left_out.objective == pytest.approx(inner_product(a, b))


class Stream(nn.Module):
    """A residual stream that nothing but one bias ties to inputs and outputs."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.before = nn.Linear(2, size, bias=False)
        self.inner, self.outer = nn.Linear(size, size + 2), nn.Linear(size + 2, size)
        self.after = nn.Linear(size, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.before(x)
        return self.after(x + self.outer(self.inner(x).relu()))

    def hidden_units(self) -> Description:
        opening, own = (Axis("before.weight"),), (Axis("inner.weight"), Axis("inner.bias"))
        writes = (*opening, Axis("outer.weight"), Axis("outer.bias"))
        size = self.after.in_features
        return Description(
            (
                Units(
                    "stream",
                    size,
                    writes,
                    (Axis("inner.weight", 1), Axis("after.weight", 1)),
                    opening,
                    kind="homogeneous",
                ),
                Units("inner", size + 2, own, (Axis("outer.weight", 1),), own, kind="homogeneous"),
            ),
            ("after.weight", "after.bias"),
        )


def test_restarts_find_what_one_descent_misses() -> None:
    a = networks(Stream(20), 10)
    a.params["before.weight"][:] = 1
    a.params["after.weight"][:] = 1
    b = permute(a, random_permutations(a, replicas=10, seed=5))
    share, objectives = [], []
    for restarts in (0, 3, 30):
        found = match(a, b, start="identity", restarts=restarts, seed=1)
        again = permute(b, found.permutations)
        share.append(sum(same(again[r], a[r]) for r in range(10)))
        objectives.append(found.objective)
        assert (found.kept <= restarts).all()
    assert share[0] < share[2]
    assert (objectives[0] <= objectives[1]).all()
    assert (objectives[1] <= objectives[2]).all()


def test_a_network_does_not_depend_on_those_beside_it() -> None:
    a, b = (networks(MODELS["four"](), 5, seed) for seed in (1, 2))
    options = {"sequence": "random", "restarts": 2, "seed": 3}
    whole, part = match(a, b, **options), match(a[:2], b[:2], **options)
    assert all(torch.equal(whole.permutations[name][:2], p) for name, p in part.permutations.items())
    assert (whole.objective[:2] == part.objective).all()
    again = match(a, b, **options)
    assert (whole.objective == again.objective).all()


def test_bars_are_labelled(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPINSCAPE_PROGRESS", raising=False)
    a = networks(MODELS["two"](), 2)
    match(a, a, label="matched by hand")
    assert "matched by hand" in capsys.readouterr().err


# --- what is refused ------------------------------------------------------------


def test_other_networks_are_refused_by_name() -> None:
    a = networks(mlp([6, 7, 5, 3]), 1)
    with pytest.raises(ValueError, match=r"layer1\.weight has shape \(7, 6\) in a and \(8, 6\) in b"):
        match(a, networks(mlp([6, 8, 5, 3]), 1))
    with pytest.raises(
        ValueError, match=r"layer3\.weight has shape \(3, 5\) in a and \(4, 5\) in b.* classes"
    ):
        match(a, networks(mlp([6, 7, 5, 4]), 1))
    with pytest.raises(ValueError, match=r"only a has a parameter layer3\.weight"):
        match(a, networks(mlp([6, 7, 5]), 1))
    with pytest.raises(ValueError, match=r"only b has a parameter layer3\.weight"):
        match(networks(mlp([6, 7, 5]), 1), a)
    with pytest.raises(ValueError, match="a must have 1 or 1 networks, as b has, not 2"):
        match(networks(mlp([6, 7, 5, 3]), 2), a)
    with pytest.raises(ValueError, match="a has 2 networks and b 3"):
        inner_product(networks(mlp([6, 7, 5, 3]), 2), networks(mlp([6, 7, 5, 3]), 3))


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_weights_that_are_not_finite_are_refused_by_name(value: float) -> None:
    a = networks(mlp([6, 7, 5, 3]), 3)
    b = networks(mlp([6, 7, 5, 3]), 3)
    b.params["layer2.weight"][1, 2, 3] = value
    for call in (match, inner_product):
        with pytest.raises(
            ValueError, match=r"weights of b must be finite, not those of 'layer2\.weight' of network 1"
        ):
            call(a, b)
        with pytest.raises(ValueError, match=r"weights of a must .*'layer2\.weight' of network 1"):
            call(b, a)


def test_a_model_without_a_description_is_refused() -> None:
    model = nn.Sequential(nn.Linear(4, 5), nn.LayerNorm(5), nn.Linear(5, 2))
    a = Ensemble.from_modules([model])
    with pytest.raises(ValueError, match=r"hidden_units"):
        match(a, a)


def test_a_set_without_parameters_that_count_is_refused() -> None:
    model = mlp([2, 3, 2])
    a = networks(model, 1)
    units = Units("only", 3, (Axis("layer1.bias"),), (), (Axis("layer1.bias"),), kind="homogeneous")
    description = Description((units,), ("layer2.weight", "layer2.bias"))
    assert match(a, a, description=description).objective.shape == (1,)
    with pytest.raises(ValueError, match="no parameter to tell the units of 'only' apart"):
        match(a, a, description=description, bias=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "best"}, "method must be one of"),
        ({"start": "random"}, "start must be one of"),
        ({"sequence": "backward"}, "sequence must be one of"),
        ({"restarts": -1}, "restarts must be a whole number of at least 0"),
        ({"seed": -1}, "seed must be a whole number"),
    ],
    ids=str,
)
def test_options_are_checked(options: dict, message: str) -> None:
    a = networks(mlp([2, 3, 2]), 1)
    with pytest.raises(ValueError, match=message):
        match(a, a, **options)


def test_other_kinds_and_other_sets_are_refused() -> None:
    a, b = (networks(mlp([6, 7, 7, 3], activation=kind), 1) for kind in ("relu", "tanh"))
    for call in (match, quotient_distances, align):
        with pytest.raises(
            ValueError, match=r"'layer1' are of kind '(homogeneous|odd)' in a and '(odd|homogeneous)' in b"
        ):
            call(a, b)
    with pytest.raises(ValueError, match="'layer1' are not written and read by the same weights"):
        match(a, networks(mlp([6, 7, 7, 3], skip=True), 1))
    twin = networks(mlp([6, 7, 7, 3]), 1, seed=1)
    assert match(a, twin).objective.shape == (1,)


def test_tables_that_cannot_fit_are_refused() -> None:
    a = Ensemble.from_modules([mlp([2, 300_000, 2])])
    message = r"300,000 units of 'layer1' with their gains take .* units of 'layer1' must be at most"
    for call in (match, quotient_distances):
        for method in ("descent", "layerwise"):
            with pytest.raises(MemoryError, match=message):
                call(a, a, method=method)
    with pytest.raises(MemoryError, match=message):
        recovery(a, trials=1)


@pytest.mark.parametrize(("steps", "moves"), [(8, False), (32, True)])
def test_a_gain_of_a_few_roundings_moves_nothing(steps: int, moves: bool) -> None:
    model = mlp([2, 2, 1], bias=False)
    a, b = (
        Ensemble(model, {"layer1.weight": torch.tensor([rows]), "layer2.weight": torch.zeros(1, 1, 2)})
        for rows in (
            [[1.0, 0.0], [0.0, 1.0]],
            [[1.0, 1 + steps * torch.finfo(torch.float32).eps], [1.0, 1.0]],
        )
    )
    assert bool(match(a, b).permutations["layer1"][0, 0] == 1) == moves


@pytest.mark.parametrize("factor", [2.0**-80, 2.0**-110])
def test_tiny_weights_are_matched_like_others(factor: float) -> None:
    a, b = (networks(MODELS["two"](), 3, seed, torch.float32) for seed in (1, 2))
    tiny = [Ensemble(e.model, {name: factor * value for name, value in e.params.items()}) for e in (a, b)]
    for left, right in ((tiny[0], tiny[1]), (a, tiny[1]), (tiny[0], b)):
        found = match(left, right)
        assert all(torch.equal(found.permutations[name], p) for name, p in match(a, b).permutations.items())


def test_a_descent_that_is_stopped_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = (networks(MODELS["four"](), 1, seed) for seed in (1, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        match(a, b)
    monkeypatch.setattr(matching, "SWEEPS", 1)
    with pytest.warns(UserWarning, match="stopped after 1 passes"):
        match(a, b)
