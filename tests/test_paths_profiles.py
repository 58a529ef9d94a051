"""Losses and errors along paths against ordinary modules, point by point."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from spinscape.landscape.paths import (
    Path,
    _first_layer,
    _fused,
    bezier,
    broken,
    combination,
    geodesic,
    linear,
    profile,
    profiles,
    triangle,
)
from spinscape.landscape.symmetry import normalize
from spinscape.networks.chain import Scores
from spinscape.networks.convolutional import convnet
from spinscape.networks.ensemble import Ensemble, evaluate
from spinscape.networks.forward import is_stackable
from spinscape.networks.models import mlp
from symmetric import randomised

RELU = {
    "plain": lambda: mlp([6, 8, 3]),
    "no bias": lambda: mlp([6, 7, 3], bias=False),
    "one layer": lambda: mlp([6, 3]),
    "deep": lambda: mlp([6, 8, 5, 7, 3]),
    "leaky": lambda: nn.Sequential(nn.Linear(6, 5), nn.LeakyReLU(), nn.Linear(5, 3)),
}
OTHERS = {
    "tanh": lambda: mlp([6, 8, 8, 3], activation="tanh"),
    "softplus": lambda: mlp([6, 5, 3], activation="softplus"),
    "norms and shortcuts": lambda: mlp([6, 8, 8, 8, 3], batch_norm=True, skip=True),
    "shortcut at once": lambda: mlp([6, 6, 6, 3], skip=True),
    "activation first": lambda: nn.Sequential(nn.Tanh(), nn.Linear(6, 4), nn.Linear(4, 3)),
    "layer norm": lambda: nn.Sequential(nn.Linear(6, 4), nn.LayerNorm(4), nn.Linear(4, 3)),
}


def explicit(path: Path, x: torch.Tensor, y: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Loss and error of ordinary modules, one point after the other."""
    points = path.points()
    loss, error = np.empty((2, points.replicas))
    for r in range(points.replicas):
        with torch.no_grad():
            out = points.module(r).eval()(x)
        loss[r] = float(functional.cross_entropy(out.double(), y))
        error[r] = float((out.argmax(1) != y).double().mean())
    return loss.reshape(path.size), error.reshape(path.size)


def compare(path: Path, x: torch.Tensor, y: torch.Tensor, rtol: float) -> None:
    found = profile(path, x, y)
    loss, error = explicit(path, x, y)
    np.testing.assert_allclose(found.loss, loss, rtol=rtol)
    np.testing.assert_allclose(found.error, error, atol=1e-12 if rtol < 1e-6 else 1.01 / len(x))
    np.testing.assert_array_equal(found.t, path.t)
    assert np.ptp(found.loss, axis=1).min() > 1e-3


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-12), (torch.float32, 2e-5)])
@pytest.mark.parametrize("kind", sorted(RELU | OTHERS))
def test_every_point_is_that_of_an_ordinary_module(kind, dtype, rtol, data) -> None:
    x, y = data[0].to(dtype), data[1]
    a, c, b = (randomised((RELU | OTHERS)[kind](), 2, seed).to(dtype) for seed in range(3))
    pivots = Ensemble.concatenate([a, c, b, a[::1], b])
    paths = [linear(a, b, 5), bezier(a, c, b, 6), broken(pivots, 11, pairs=2), triangle(a, b, c, 3).path]
    paths.append(triangle(a, b, c, 3, margin=0.5).path if "norms" not in kind else linear(b, c))
    for path in paths:
        compare(path, x, y, rtol)


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-12), (torch.float32, 2e-5)])
@pytest.mark.parametrize("kind", sorted(RELU))
def test_every_point_of_a_geodesic_is_that_of_an_ordinary_module(kind, dtype, rtol, data) -> None:
    x, y = data[0].to(dtype), data[1]
    a, b, c = (normalize(randomised(RELU[kind](), 2, seed).to(dtype)).ensemble for seed in range(3))
    compare(geodesic(a, b, 5), x, y, rtol)
    compare(triangle(a, b, c, 4, "geodesic", margin=0.3).path, x, y, rtol)


def test_convolutions() -> None:
    g = torch.Generator().manual_seed(0)
    x, y = torch.rand(40, 1, 8, 8, generator=g, dtype=torch.float64), torch.randint(0, 3, (40,), generator=g)
    a, b = (randomised(convnet(1, 3, widths=(4, 3), batch_norm=True), 2, seed) for seed in range(2))
    compare(linear(a, b, 5), x, y, 1e-12)
    compare(geodesic(normalize(a).ensemble, normalize(b).ensemble, 5), x, y, 1e-12)


def test_stackable_models_take_the_first_layer_once(monkeypatch, data) -> None:
    """And the count of products: two of the first layer for 25 points."""
    rows = []
    real = _first_layer._products
    monkeypatch.setattr(_first_layer, "_products", lambda w, *rest: rows.append(len(w)) or real(w, *rest))
    monkeypatch.setattr(profiles, "evaluate", lambda *a, **k: pytest.fail("points were written out"))
    x, y = data
    for kind, count in (("plain", 2), ("deep", 2), ("leaky", 0), ("norms and shortcuts", 2)):
        model = (RELU | OTHERS)[kind]()
        if not is_stackable(model):
            assert count == 0
            continue
        rows.clear()
        a, b = (randomised(model, 1, seed).to(torch.float32) for seed in range(2))
        profile(linear(a, b), x, y)
        assert rows == [count]
    rows.clear()
    profile(broken(randomised(mlp([6, 8, 3]), 5).to(torch.float32), 25), x, y)
    assert sum(rows) <= 2 * 4


def test_a_path_does_not_depend_on_its_neighbours_or_on_the_chunk(data) -> None:
    x, y = data[0], data[1]
    for kind in ("plain", "deep", "norms and shortcuts", "layer norm"):
        a, b = (randomised((RELU | OTHERS)[kind](), 5, seed).to(torch.float32) for seed in range(2))
        whole = profile(linear(a, b, 7), x, y)
        for chunk in (1, 3):
            part = profile(linear(a, b, 7), x, y, chunk=chunk)
            np.testing.assert_array_equal(part.loss, whole.loss)
            np.testing.assert_array_equal(part.error, whole.error)
        alone = profile(linear(a[3], b[3], 7), x, y)
        np.testing.assert_array_equal(alone.loss[0], whole.loss[3])


def test_points_in_pieces_are_the_same(monkeypatch, data) -> None:
    x, y = data
    for kind in ("deep", "layer norm"):
        a, b = (randomised((RELU | OTHERS)[kind](), 3, seed).to(torch.float32) for seed in range(2))
        path = linear(a, b, 9)
        whole = profile(path, x, y)
        for many in (2, 4, 20):
            for module in (_first_layer, profiles):
                monkeypatch.setattr(module, "PIECE_BYTES", many * path.point_bytes)
            np.testing.assert_array_equal(profile(path, x, y).loss, whole.loss)


def test_samples_in_blocks_are_the_same(monkeypatch, data) -> None:
    x, y = data[0].double(), data[1]
    a, b = (randomised(mlp([6, 8, 3]), 2, seed) for seed in range(2))
    whole = profile(linear(a, b, 5), x, y)
    for samples in (16, 25, 60):
        monkeypatch.setattr(_first_layer, "SAMPLES", samples)
        assert _first_layer.ONEDNN_PRODUCTS > 24 * _first_layer.MANY_SAMPLES
        part = profile(linear(a, b, 5), x, y)
        np.testing.assert_allclose(part.loss, whole.loss, rtol=1e-14)
        np.testing.assert_array_equal(part.error, whole.error)


def test_large_layers_go_through_onednn_with_the_same_values() -> None:
    """Products above the threshold of `chain`, in float32, against float64."""
    g = torch.Generator().manual_seed(0)
    x, y = torch.rand(1500, 20, generator=g), torch.randint(0, 10, (1500,), generator=g)
    a, b = (randomised(mlp([20, 130, 128, 10]), 1, seed) for seed in range(2))
    exact = profile(linear(a, b, 5), x.double(), y).loss
    single = profile(linear(a.to(torch.float32), b.to(torch.float32), 5), x, y).loss
    np.testing.assert_allclose(single, exact, rtol=1e-5)


@pytest.mark.parametrize("widths", [(20, 64, 10), (20, 12, 3), (20, 4, 1), (20, 10, 4)])
def test_one_hidden_layer_is_fused_with_the_same_values(widths, monkeypatch) -> None:
    """Where it can be; against float64, and against the chain of layers."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    calls = []
    real = _fused.layers
    monkeypatch.setattr(_fused, "layers", lambda *a: calls.append(a) or real(*a))
    g = torch.Generator().manual_seed(0)
    x, y = torch.rand(203, 20, generator=g), torch.zeros(203, widths[-1])
    for bias in (True, False):
        model = mlp(widths, bias=bias)
        a, c, b = (randomised(model, 2, seed).to(torch.float32) for seed in range(3))
        unit = [normalize(e).ensemble for e in (a, c, b)]
        for path in (linear(a, b, 5), bezier(a, c, b, 5), geodesic(unit[0], unit[2], 5)):
            calls.clear()
            found = profile(path, x, y, "mse").loss
            assert len(calls) == (0 if widths[1] % 4 else 2)
            exact = profile(path.points().to(torch.float64), x.double(), y.double(), "mse", pairs=2).loss
            np.testing.assert_allclose(found, exact, rtol=2e-5)
            np.testing.assert_array_equal(profile(path, x, y, "mse", chunk=1).loss, found)
            calls.clear()
            with monkeypatch.context() as patch:
                patch.setattr(torch, "get_num_threads", lambda: 2)
                np.testing.assert_allclose(profile(path, x, y, "mse").loss, found, rtol=2e-5)
            assert not calls


def test_fused_outputs_keep_what_is_no_number() -> None:
    z = torch.randn(2, 4, 32, generator=torch.Generator().manual_seed(0))
    z[1, 2, 5], z[0, 1, 7], z[0, 1, 8] = torch.nan, torch.inf, -torch.inf
    factors, weight = torch.tensor([[[1.0]], [[0.25]]]).expand(2, 1, 4).clone(), torch.ones(1, 3, 4)
    found = _fused.layers(factors, weight, torch.tensor([[0.0, 1.0, 2.0]]))(z)
    expected = (z[0] + 0.25 * z[1]).relu().sum(0)
    assert found.shape == (1, 4, 32)
    for c in range(3):
        torch.testing.assert_close(found[0, c], expected + c, equal_nan=True)
    assert found[0, 0].isnan().sum() == 1
    assert found[0, 0].isinf().sum() == 1


def test_ties_are_counted_for_their_own_network_alone() -> None:
    """Two of three networks have equal outputs somewhere."""
    y = torch.tensor([0, 1, 1])
    outputs = torch.tensor([[[1.0, 2, 2], [1, 2, 2]], [[1, 0, 3], [0, 3, 0]], [[0, 1, 1], [0, 1, 2]]])
    _, hits = Scores(y, 2, "cross_entropy", accuracy=True)(outputs, y)
    assert hits.tolist() == [1, 2, 2]


def test_ties_count_as_the_first_of_equal_outputs(data) -> None:
    """Networks without weights answer class 0 everywhere: they are right where that is the label."""
    x, y = data
    model = mlp([6, 8, 3])
    none = Ensemble(model, {name: p * 0 for name, p in randomised(model, 1).to(torch.float32).params.items()})
    found = profile(linear(none, none, 3), x, y)
    np.testing.assert_allclose(found.error, float((y != 0).double().mean()))
    np.testing.assert_allclose(found.loss, np.log(3), rtol=1e-6)


def test_other_losses_and_targets(data) -> None:
    x = data[0].double()
    a, b = (randomised(mlp([6, 8, 3]), 2, seed) for seed in range(2))
    path = linear(a, b, 4)
    targets = torch.randn(60, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    found = profile(path, x, targets, "mse")
    expected = profile(path.points(), x, targets, "mse", pairs=2)
    np.testing.assert_allclose(found.loss, expected.loss, rtol=1e-12)
    assert np.isnan(found.error).all()
    own = profile(path, x, data[1], lambda outputs, y: outputs.square().sum(1) + y)
    expected = profile(path.points(), x, data[1], lambda outputs, y: outputs.square().sum(1) + y, pairs=2)
    np.testing.assert_allclose(own.loss, expected.loss, rtol=1e-12)
    np.testing.assert_array_equal(own.error, expected.error)


def test_losses_that_are_no_numbers_have_no_error(data) -> None:
    a, b = (randomised(mlp([6, 8, 3]), 2, seed) for seed in range(2))
    b.params["layer2.bias"][1] = torch.inf
    found = profile(linear(a, b, 3), data[0].double(), data[1])
    np.testing.assert_array_equal(np.isnan(found.loss), [[False] * 3, [True, True, True]])
    np.testing.assert_array_equal(np.isnan(found.error), np.isnan(found.loss))


def test_points_of_an_ensemble(data) -> None:
    x, y = data[0].double(), data[1]
    a, b = (randomised(mlp([6, 8, 3]), 3, seed) for seed in range(2))
    path = linear(a, b, [0.0, 0.2, 1.0])
    found = profile(path.points(), x, y, pairs=3, t=path.t)
    np.testing.assert_allclose(found.loss, profile(path, x, y).loss, rtol=1e-12)
    np.testing.assert_array_equal(found.t, path.t)
    np.testing.assert_allclose(profile(path.points(), x, y, pairs=3).t, [0, 0.5, 1])
    assert profile(a[0], x, y).loss.shape == (1, 1)
    for options, what in (
        ({"pairs": 2}, "9 networks are not the points of 2 paths"),
        ({"pairs": 3, "t": [0.0, 1.0]}, "2 positions, but every path has 3 points"),
        ({"chunk": 0}, "chunk must be at least 1"),
    ):
        with pytest.raises(ValueError, match=what):
            profile(path.points(), x, y, **options)


def test_what_does_not_fit_is_refused(data) -> None:
    x, y = data
    a, b = (randomised(mlp([6, 8, 3]), 1, seed).to(torch.float32) for seed in range(2))
    path = linear(a, b, 3)
    for inputs, labels, options, what in (
        (x[:5], y, {}, "same positive length"),
        (x[:0], y[:0], {}, "same positive length"),
        (x[:, :5], y, {}, r"inputs must be \(N, 6\)"),
        (x, y, {"pairs": 1}, "a path has its own"),
        (x, y, {"loss": "hinge"}, "loss must be one of"),
    ):
        with pytest.raises(ValueError, match=what):
            profile(path, inputs, labels, **options)


@pytest.mark.parametrize("widths", [[6, 8, 3], [6, 8, 8, 3]])
def test_ends_of_unlike_scales_are_the_networks_themselves(widths, data) -> None:
    x, y = (part.float() if part.is_floating_point() else part for part in data)
    a, b = (randomised(mlp(widths), seed).to(torch.float32)[:1] for seed in (1, 2))
    first = next(iter(a.params))
    a = Ensemble(a.model, {n: p * 1e7 if n == first else p for n, p in a.params.items()})
    found = profile(linear(a, b, 3), x, y)
    own = evaluate(b, x, y)
    assert found.loss[0, -1] == pytest.approx(own.loss[0], rel=1e-5)
    assert found.error[0, -1] == pytest.approx(1 - own.accuracy[0])


def test_labels_out_of_range_are_refused(data) -> None:
    x, y = data
    nets = Ensemble.from_modules([mlp([6, 8, 3]) for _ in range(2)])
    with pytest.raises(ValueError, match="labels must lie between 0 and 2"):
        profile(linear(nets[:1], nets[1:]), x, torch.full_like(y, 3))


def test_terms_that_cancel_are_summed_in_double_precision() -> None:
    """Unit vectors that nearly cancel: the written-out point keeps norm 1 in float32."""
    model = mlp([40, 6, 3])
    a, b = (normalize(randomised(model, 1, seed)).ensemble for seed in (0, 1))
    for name in ("layer1.weight", "layer1.bias"):
        b.params[name].mul_(1e-3).sub_(a.params[name])
    b = normalize(b).ensemble
    third = normalize(randomised(model, 1, 2)).ensemble
    networks = [normalize(e.to(torch.float32)).ensemble for e in (a, b, third)]
    path = triangle(*networks, 3, "geodesic").path
    assert max(float(c.abs().max()) for c in path.coefficients["layer1.weight"]) > 100 * combination.LARGE
    points = path.points()
    rows = torch.cat([points.params["layer1.weight"], points.params["layer1.bias"][..., None]], -1).double()
    assert float((rows.norm(dim=-1) - 1).abs().max()) < 1e-6
