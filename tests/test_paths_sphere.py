"""Geodesics and maps on the product of spheres: norms, ends, angles, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from spinscape.landscape.paths import Path, geodesic, profile, sphere, triangle
from spinscape.landscape.symmetry import normalize
from spinscape.networks.convolutional import convnet
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.models import mlp
from spinscape.networks.residual_net import resnet18
from symmetric import randomised

MODELS = {
    "one layer": lambda: mlp([6, 8, 3]),
    "two layers": lambda: mlp([6, 8, 5, 3]),
    "no bias": lambda: mlp([6, 8, 3], bias=False),
    "convolutions": lambda: convnet(1, 3, size=6, widths=(4, 3)),
}

NORMS = {torch.float64: 1e-12, torch.float32: 1e-6}


def normal(model: nn.Module, count: int = 2, seed: int = 0, dtype: torch.dtype = torch.float64) -> Ensemble:
    """Networks in normal form."""
    return normalize(randomised(model, count, seed).to(dtype)).ensemble


def plane(*rows: list[float]) -> Ensemble:
    """Networks with two units of two inputs each, whose vectors are given; the last layer is the same."""
    weights = torch.tensor(rows, dtype=torch.float64).reshape(-1, 2, 2)
    last = torch.full((len(rows), 1, 2), 0.5**0.5, dtype=torch.float64)
    return Ensemble(mlp([2, 2, 1], bias=False), {"layer1.weight": weights, "layer2.weight": last})


def vectors(ensemble: Ensemble) -> list[Tensor]:
    """Vectors into the units of every layer but the last (R, size, d), and the last layer (R, 1, d)."""
    found = []
    names = [name for name in ensemble.params if name.endswith("weight")]
    for name in names:
        parts = [ensemble.params[name].double().flatten(2)]
        if (bias := name.replace("weight", "bias")) in ensemble.params:
            parts.append(ensemble.params[bias].double()[..., None])
        whole = torch.cat(parts, -1)
        found.append(whole if name != names[-1] else whole.flatten(1)[:, None])
    return found


def angle(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(-1).clamp(-1, 1).arccos()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", sorted(MODELS))
def test_every_point_is_in_normal_form_and_the_ends_are_the_networks(kind, dtype) -> None:
    model = MODELS[kind]()
    a, b = (normal(model, 3, seed, dtype) for seed in (0, 1))
    path = geodesic(a, b, 25)
    for rows in vectors(path.points()):
        assert float((rows.norm(dim=-1) - 1).abs().max()) < NORMS[dtype]
    for end, network in ((0, a), (24, b)):
        assert torch.equal(path.points(steps=end).flat(), network.flat())


@pytest.mark.parametrize("kind", ["two layers", "convolutions"])
def test_units_turn_at_constant_speed_along_the_shorter_arc(kind) -> None:
    model = MODELS[kind]()
    a, b = (normal(model, 2, seed) for seed in (0, 1))
    found = [rows.unflatten(0, (2, 9)) for rows in vectors(geodesic(a, b, 9).points())]
    for rows, first, last in zip(found, vectors(a), vectors(b), strict=True):
        whole = angle(first, last)
        steps = torch.stack([angle(rows[:, k], rows[:, k + 1]) for k in range(8)])
        # The angle between the ends is at most pi, and the steps add up to it: the shorter arc.
        torch.testing.assert_close(steps, whole.expand(8, *whole.shape) / 8, rtol=1e-6, atol=1e-7)


def test_equal_opposite_and_dead_units() -> None:
    s = 0.5**0.5
    a = plane([1, 0, 0, 1], [1, 0, 1, 0], [1, 0, s, s])
    b = plane([1, 0, 0, -1], [0, 0, 1, 0], [1, 1e-9, -s, -s])
    b.params["layer1.weight"][2, 0] /= b.params["layer1.weight"][2, 0].norm()
    path = geodesic(a, b, 5)
    found = path.points().params["layer1.weight"].unflatten(0, (3, 5))
    # Equal: it stays. Opposite: half a circle. Dead at one end: a straight line.
    torch.testing.assert_close(found[0, :, 0], torch.tensor([1.0, 0.0], dtype=torch.float64).expand(5, 2))
    for p in (0, 2):
        turn = found[p, :, 1]
        torch.testing.assert_close(turn.norm(dim=-1), torch.ones(5, dtype=torch.float64), rtol=1e-12, atol=0)
        cosines = (turn * turn[0]).sum(-1)
        torch.testing.assert_close(cosines, torch.linspace(0, torch.pi, 5, dtype=torch.float64).cos())
    straight = torch.linspace(1, 0, 5, dtype=torch.float64)
    torch.testing.assert_close(found[1, :, 0, 0], straight)
    torch.testing.assert_close(found[1, :, 1], torch.tensor([1.0, 0.0], dtype=torch.float64).expand(5, 2))
    for end, network in ((0, a), (4, b)):
        assert torch.equal(path.points(steps=end).flat(), network.flat())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nearly_opposite_units_keep_norm_one_and_turn_evenly(dtype) -> None:
    for gap in (1e-2, 3e-3, 1e-4, 1e-6, 1e-9):
        turned = [np.cos(np.pi - gap), np.sin(np.pi - gap), 1, 0]
        a, b = plane([1, 0, 1, 0]).to(dtype), plane(turned).to(dtype)
        found = geodesic(a, b, 25).points().params["layer1.weight"][:, 0].double()
        assert float((found.norm(dim=-1) - 1).abs().max()) < NORMS[dtype]
        expected = torch.linspace(0, torch.pi - gap, 25, dtype=torch.float64)
        at = torch.atan2(found[:, 1], found[:, 0]).abs()
        torch.testing.assert_close(at, expected, rtol=0, atol=1e-12 if dtype == torch.float64 else 1e-6)
        # The shorter way: through positive second coordinates.
        assert float(found[12, 1]) > 0.9


def test_losses_on_a_path_with_opposite_units_are_those_of_its_points() -> None:
    a, b = plane([1, 0, 0, 1], [1, 0, 1, 0]), plane([-1, 0, 0, 1], [0, 1, -1, 1e-3])
    b = normalize(b).ensemble
    x = torch.randn(40, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = torch.zeros(40, 1, dtype=torch.float64)
    path = geodesic(a, b, 9)
    assert len(path.bases) == 3
    expected = profile(path.points(), x, y, "mse", pairs=2).loss
    np.testing.assert_allclose(profile(path, x, y, "mse").loss, expected, rtol=1e-12)
    assert np.ptp(expected, axis=1).min() > 1e-3


def test_networks_that_are_not_in_normal_form_are_refused_by_the_unit() -> None:
    model = mlp([6, 8, 5, 3])
    a, b = normal(model, 2, 0), normal(model, 2, 1)
    for name, row, what in (
        ("layer2.weight", 3, r"unit 3 of layer2 of network 1 has norm .*, not 1 to within 1e-12"),
        ("layer1.bias", 5, r"unit 5 of layer1 of network 1 has norm"),
        ("layer3.weight", 0, r"the last layer of network 1 has norm"),
    ):
        changed = {n: p.clone() for n, p in b.params.items()}
        changed[name][1, row] *= 1.01
        with pytest.raises(ValueError, match=what + r".* symmetry\.normalize"):
            geodesic(a, Ensemble(model, changed))
    with pytest.raises(ValueError, match=r"unit 0 of layer1 of network 0 has norm"):
        geodesic(normalize(randomised(model), bias=False).ensemble, b)
    with pytest.raises(ValueError, match="the last layer of network 0 has norm"):
        geodesic(normalize(randomised(model), output="keep").ensemble, b)
    broken = {n: p.clone() for n, p in b.params.items()}
    broken["layer1.weight"][0, 2, 0] = torch.nan
    with pytest.raises(ValueError, match="unit 2 of layer1 of network 0 has norm nan"):
        geodesic(a, Ensemble(model, broken))


def test_models_without_a_normal_form_are_refused() -> None:
    tanh, norms = mlp([6, 8, 3], activation="tanh"), mlp([6, 8, 3], batch_norm=True)
    with pytest.raises(ValueError, match="'layer1' have no normal form: their activation is odd"):
        geodesic(randomised(tanh), randomised(tanh))
    with pytest.raises(ValueError, match=r"norm1 is a batch norm.*normalize"):
        geodesic(randomised(norms), randomised(norms))
    sigmoid = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2), nn.Sigmoid())
    with pytest.raises(ValueError, match="the last layer has no normal form"):
        geodesic(randomised(sigmoid), randomised(sigmoid))


def test_in_residual_streams_only_what_opens_them_is_on_spheres() -> None:
    model = resnet18(1, 3, width=2)
    a, b = (normalize(randomised(model, 1, seed)).ensemble for seed in (0, 1))
    path = geodesic(a, b, 3)
    for end, network in ((0, a), (2, b)):
        assert torch.equal(path.points(steps=end).flat(), network.flat())
    middle = path.points(steps=1)
    on_spheres = sphere.spheres(a)
    names = {axis.name for one in on_spheres for axis in one.axes}
    straight = [name for name in a.params if name not in names]
    assert straight
    for name in straight:
        torch.testing.assert_close(middle.params[name], (a.params[name] + b.params[name]) / 2)
    for one in on_spheres:
        norms = one.vectors(middle.params).norm(dim=-1)
        torch.testing.assert_close(norms, torch.ones_like(norms), rtol=1e-12, atol=0)


def test_coefficients_that_do_not_fit_are_refused(monkeypatch) -> None:
    a, b = (normal(mlp([6, 8, 3]), 2, seed) for seed in (0, 1))
    monkeypatch.setattr(sphere, "available_bytes", lambda device: 64 * 2 * 9 * 10)
    with pytest.raises(MemoryError, match=r"25 points on 2 paths take .* at most 10 points fit"):
        geodesic(a, b, 25)
    assert isinstance(geodesic(a, b, 10), Path)


@pytest.mark.parametrize("kind", ["linear", "geodesic"])
@pytest.mark.parametrize("margin", [0.0, 0.3])
def test_corners_and_sides_of_a_map(kind, margin) -> None:
    model = mlp([6, 8, 5, 3])
    networks = [normal(model, 2, seed) for seed in range(3)]
    found = triangle(*networks, 6, kind, margin=margin)
    np.testing.assert_allclose(found.weights.sum(1), 1, rtol=1e-14)
    assert found.weights.min() == pytest.approx(-0.4 if margin else 0.0)
    steps = 5 + 3 * (2 if margin else 0)
    assert found.path.size == (2, (steps + 1) * (steps + 2) // 2)
    assert len(found.cells) == steps**2
    for network, at, corner in zip(networks, found.at_corners, range(3), strict=True):
        assert torch.equal(found.path.points(steps=int(at)).flat(), network.flat())
        here = np.stack([found.x[:, at], found.y[:, at]], -1)
        np.testing.assert_allclose(here, found.corners[:, corner], atol=1e-12)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        drawn = np.linalg.norm(found.corners[:, i] - found.corners[:, j], axis=-1)
        if kind == "linear":
            apart = (networks[i].flat() - networks[j].flat()).norm(dim=1)
        else:
            squares = [
                angle(u, v).square().sum(-1)
                for u, v in zip(vectors(networks[i]), vectors(networks[j]), strict=True)
            ]
            apart = sum(squares).sqrt()
        np.testing.assert_allclose(drawn, apart, rtol=1e-9)
    # Small triangles are all of one size, and none is turned over.
    corners = np.stack([found.x[0][found.cells], found.y[0][found.cells]], -1)
    u, v = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    areas = u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]
    np.testing.assert_allclose(areas, areas[0], rtol=1e-9)


def test_points_of_maps() -> None:
    model = mlp([6, 8, 5, 3])
    networks = [normal(model, 2, seed) for seed in range(3)]
    flat = triangle(*networks, 4, margin=0.4)
    for k in (0, 7, len(flat.weights) - 1):
        expected = sum(w * network.flat() for w, network in zip(flat.weights[k], networks, strict=True))
        torch.testing.assert_close(flat.path.points(steps=k).flat(), expected)
    round_ = triangle(*networks, 5, "geodesic", margin=0.3)
    for rows, *own in zip(vectors(round_.path.points()), *(vectors(e) for e in networks), strict=True):
        torch.testing.assert_close(rows.norm(dim=-1), torch.ones(rows.shape[:2], dtype=torch.float64))
        sums = torch.einsum("ki,ipud->pkud", torch.from_numpy(round_.weights), torch.stack(own))
        torch.testing.assert_close(rows, nn.functional.normalize(sums, dim=-1).flatten(0, 1))
    # The middle of a side is the middle of the geodesic.
    side = triangle(*networks, 3, "geodesic")
    at = int(np.flatnonzero((side.weights == [0.5, 0.5, 0]).all(1))[0])
    expected = geodesic(*networks[:2], 3).points(steps=1).flat()
    torch.testing.assert_close(side.path.points(steps=at).flat(), expected, rtol=1e-12, atol=1e-14)


def test_maps_are_refused_where_they_make_no_sense() -> None:
    a, b, c = (normal(mlp([6, 8, 3]), 1, seed) for seed in range(3))
    for options, what in (
        ({"grid": 1}, "grid must be"),
        ({"grid": 2.5}, "grid must be"),
        ({"kind": "round"}, "kind must be one of"),
        ({"margin": -0.1}, "margin must be"),
    ):
        with pytest.raises(ValueError, match=what):
            triangle(a, b, c, **options)
    one, other, third = plane([1, 0, 0, 1]), plane([-1, 0, 0, 1]), plane([0, 1, 0, 1])
    with pytest.raises(ValueError, match=r"unit 0 of layer1 has no direction at weights \[0.5, 0.5, 0.0\]"):
        triangle(one, other, third, 3, "geodesic")
    assert triangle(one, other, third, 3).path.size == (1, 6)
