"""Planes through networks against closed forms, plain loops and each other."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from small import dense_hessian
from spinscape.landscape.curvature import negative_curvature
from spinscape.landscape.relief import basin_width, laplacian
from spinscape.landscape.surfaces import directions, plane_values, surfaces
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.models import mlp


def at(ensemble: Ensemble, first: dict, second: dict, r: int, p: int, a: float, b: float) -> nn.Module:
    """The module at one point of plane p through network r."""
    net = ensemble.module(r)
    with torch.no_grad():
        for name, value in net.named_parameters():
            value += a * first[name][r, p] + b * second[name][r, p]
    return net.eval()


def many(maker, count: int = 3) -> Ensemble:
    torch.manual_seed(0)
    return Ensemble.from_modules([maker() for _ in range(count)])


KINDS = {
    "plain": lambda: mlp([6, 8, 3]),
    "linear": lambda: mlp([6, 3]),
    "no bias": lambda: mlp([6, 5, 5, 3], bias=False, activation="tanh"),
    "norms and shortcuts": lambda: mlp([6, 8, 8, 8, 3], batch_norm=True, skip=True),
    "unnamed": lambda: nn.Sequential(nn.ReLU(), nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 3)),
    "other": lambda: nn.Sequential(nn.Linear(6, 4), nn.LayerNorm(4), nn.Linear(4, 3)),
}


@pytest.mark.parametrize("biases", [False, True])
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_point_is_that_of_an_ordinary_module(kind, biases, data) -> None:
    x, y = data[0].double(), data[1]
    ensemble = many(KINDS[kind]).to(torch.float64)
    for name, value in ensemble.buffers.items():
        if value.is_floating_point():
            value.add_(torch.rand(value.shape, generator=torch.Generator().manual_seed(len(name))))
    found = surfaces(ensemble, x, y, grid=5, extent=0.7, planes=2, biases=biases, accuracy=True, seed=3)
    first, second = directions(ensemble, planes=2, biases=biases, seed=3)
    np.testing.assert_allclose(found.axis, [-0.7, -0.35, 0, 0.35, 0.7], rtol=1e-12)
    assert found.values.shape == found.accuracy.shape == (3, 2, 5, 5)
    for r, p, i, j in ((0, 0, 2, 2), (0, 1, 0, 4), (1, 0, 3, 1), (2, 1, 4, 4)):
        net = at(ensemble, first, second, r, p, found.axis[i], found.axis[j])
        with torch.no_grad():
            out = net(x)
            assert found.values[r, p, i, j] == pytest.approx(
                float(functional.cross_entropy(out, y)), rel=1e-9
            )
            share = float((out.argmax(1) == y).double().mean())
        assert found.accuracy[r, p, i, j] == pytest.approx(share)
    assert np.ptp(found.values) > 1e-3


def test_linear_model_with_squared_error_is_a_paraboloid() -> None:
    """Loss and its Laplacian in closed form: L = |a X d + b X e|^2 / N around the optimum, K = 1 target."""
    net = nn.Linear(4, 1, bias=False).double()
    x = torch.randn(50, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = net(x).detach()
    ensemble = Ensemble.from_modules([net])
    found = surfaces(ensemble, x, y, grid=21, extent=2.0, loss="mse")
    first, second = (side["weight"][0, 0] for side in directions(ensemble))
    d, e = (x @ v[0] for v in (first, second))
    aa, ab, bb = (float((u * v).mean()) for u, v in ((d, d), (d, e), (e, e)))
    a, b = np.meshgrid(found.axis, found.axis, indexing="ij")
    np.testing.assert_allclose(found.values[0, 0], aa * a**2 + 2 * ab * a * b + bb * b**2, atol=1e-10)
    np.testing.assert_allclose(laplacian(found.values, found.axis), 2 * (aa + bb), rtol=1e-8)
    angle = np.linspace(0, 2 * np.pi, 4096, endpoint=False)
    bend = aa * np.cos(angle) ** 2 + 2 * ab * np.cos(angle) * np.sin(angle) + bb * np.sin(angle) ** 2
    rise = 0.5 * 2.0**2 * bend.min()
    width = basin_width(found.values, found.axis, rise)
    assert width.radius[0, 0] == pytest.approx(np.sqrt(rise / bend).mean(), rel=1e-2)
    assert width.censored[0, 0] == 0


def test_filters_have_the_norms_of_the_network() -> None:
    ensemble = many(KINDS["norms and shortcuts"])
    with torch.no_grad():
        ensemble.params["layer2.weight"][1, 3] = 0
    for pair in (directions(ensemble, planes=2), directions(ensemble, planes=2, biases=True)):
        for side in pair:
            for r in range(3):
                for p in range(2):
                    for name, value in ensemble.params.items():
                        if value.ndim > 2:
                            torch.testing.assert_close(side[name][r, p].norm(dim=1), value[r].norm(dim=1))
    still, moving = directions(ensemble)[0], directions(ensemble, biases=True)[0]
    assert not still["layer1.bias"].any()
    assert not still["norm1.weight"].any()
    torch.testing.assert_close(
        moving["layer1.bias"][:, 0].norm(dim=1), ensemble.params["layer1.bias"].norm(dim=1)
    )
    layer = directions(ensemble, normalise="layer")[1]
    whole = ensemble.params["layer3.weight"].flatten(1).norm(dim=1)
    torch.testing.assert_close(layer["layer3.weight"][:, 0].flatten(1).norm(dim=1), whole)
    assert not torch.allclose(
        layer["layer3.weight"][0, 0].norm(dim=1), ensemble.params["layer3.weight"][0].norm(dim=1)
    )
    raw = directions(many(lambda: mlp([200, 300, 3])), normalise="none")[0]["layer1.weight"]
    assert float(raw.std()) == pytest.approx(1, abs=0.02)
    found = surfaces(ensemble, torch.rand(4, 6), torch.zeros(4, dtype=torch.int64), grid=3)
    square = sum(value[:, 0].flatten(1).double().square().sum(1) for value in still.values())
    np.testing.assert_allclose(found.lengths[:, 0, 0], square.sqrt().numpy(), rtol=1e-6)


def test_a_plane_is_the_same_beside_any_others(data) -> None:
    ensemble = many(KINDS["plain"])
    options = {"grid": 7, "seed": 5}
    whole = surfaces(ensemble, *data, planes=3, **options)
    few = surfaces(ensemble[:2], *data, planes=1, **options)
    np.testing.assert_array_equal(whole.values[:2, :1], few.values)
    assert len({float(v) for v in whole.values[:, :, 0, 0].flat}) == 9
    other = surfaces(ensemble[:1], *data, grid=7, seed=6)
    assert not np.allclose(other.values[0, 0, 0], whole.values[0, 0, 0])


@pytest.mark.parametrize("kind", ["plain", "norms and shortcuts", "other"])
def test_chunks_and_routes_agree(kind, data) -> None:
    ensemble = many(KINDS[kind], 1)
    x = torch.rand(613, 6, generator=torch.Generator().manual_seed(0))
    y = torch.arange(613) % 3
    pair = [{name: value[0, 0] for name, value in side.items()} for side in directions(ensemble)]
    axis = np.linspace(-1, 1, 9)
    whole = plane_values(ensemble, pair, x, y, axis)["values"]
    for chunk in (1, 2, 7):
        np.testing.assert_array_equal(plane_values(ensemble, pair, x, y, axis, chunk=chunk)["values"], whole)
    written = plane_values(ensemble, pair, x, y, axis, affine=False)["values"]
    np.testing.assert_allclose(written, whole, rtol=3e-6)


@pytest.mark.parametrize("loss", ["cross_entropy", "one_hot_mse", "function"])
@pytest.mark.parametrize("kind", ["plain", "no bias", "unnamed"])
def test_chains_agree_with_the_written_out_route(kind, loss) -> None:
    """Losses and accuracy of the route in small blocks against parameters written out."""
    ensemble = many(KINDS[kind], 1).to(torch.float64)
    x = torch.randn(613, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = torch.arange(613) % 3
    used = {"function": lambda out, labels: functional.multi_margin_loss(out, labels, reduction="none")}
    pair = [{n: v[0, 0] for n, v in side.items()} for side in directions(ensemble, biases=True)]
    fast, written = (
        plane_values(ensemble, pair, x, y, np.linspace(-1, 1, 5), loss=used.get(loss, loss), accuracy=True,
                     affine=affine)
        for affine in (True, False)
    )  # fmt: skip
    for name in ("values", "accuracy"):
        np.testing.assert_allclose(fast[name], written[name], rtol=1e-12)
    assert np.ptp(fast["accuracy"]) > 0


def test_labels_that_no_output_stands_for_are_refused(data) -> None:
    with pytest.raises(ValueError, match="labels must lie between 0 and 2"):
        surfaces(many(KINDS["plain"], 1), data[0], data[1] + 3, grid=3)


def test_large_layers_agree_with_the_plain_route() -> None:
    """The route through oneDNN, which large products take."""
    ensemble = many(lambda: mlp([20, 150, 150, 3], batch_norm=True, skip=True), 1)
    x = torch.rand(512, 20, generator=torch.Generator().manual_seed(0))
    y = torch.arange(512) % 3
    pair = [{name: value[0, 0] for name, value in side.items()} for side in directions(ensemble)]
    axis = np.linspace(-1, 1, 3)
    fast = plane_values(ensemble, pair, x, y, axis)["values"]
    exact = plane_values(ensemble.to(torch.float64), [{n: v.double() for n, v in s.items()} for s in pair],
                         x.double(), y, axis, affine=False)["values"]  # fmt: skip
    np.testing.assert_allclose(fast, exact, rtol=1e-5)


def test_smallest_curvature_against_the_dense_hessian(data) -> None:
    x, y = data[0].double(), data[1]
    ensemble = many(lambda: mlp([6, 4, 3], activation="tanh")).to(torch.float64)
    found = surfaces(ensemble, x, y, grid=3, curvature=True)
    first, second = directions(ensemble)
    for r, i, j in ((0, 1, 1), (1, 0, 2), (2, 2, 0)):
        net = at(ensemble, first, second, r, 0, found.axis[i], found.axis[j])
        exact = torch.linalg.eigvalsh(dense_hessian(net, x, y))[0]
        assert found.curvature[r, 0, i, j] == pytest.approx(float(exact), rel=1e-7)
    here = negative_curvature(ensemble, x, y)
    np.testing.assert_array_equal(negative_curvature(ensemble, x, y, chunk=1).round(12), here.round(12))
    np.testing.assert_allclose(here, found.curvature[:, 0, 1, 1], rtol=1e-9)
    with pytest.raises(MemoryError, match="1500 parameters are allowed"):
        negative_curvature(many(lambda: mlp([100, 20, 2])), torch.rand(3, 100), y[:3])


def test_curvature_of_a_quadratic_and_of_norms() -> None:
    net = nn.Linear(3, 1, bias=False).double()
    x = torch.randn(20, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = negative_curvature(Ensemble.from_modules([net]), x, net(x).detach(), loss="mse")
    assert found[0] == pytest.approx(2 * float(torch.linalg.eigvalsh(x.T @ x / 20)[0]), rel=1e-10)
    norms = many(lambda: mlp([3, 4, 2], batch_norm=True))
    assert np.isfinite(negative_curvature(norms, x.float(), torch.zeros(20, dtype=torch.int64))).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"grid": 4}, "odd integer"),
        ({"grid": 1}, "at least 3"),
        ({"extent": 0.0}, "positive and finite"),
        ({"extent": float("inf")}, "positive and finite"),
        ({"planes": 0}, "planes must be"),
        ({"normalise": "model"}, "normalise must be one of"),
        ({"seed": -1}, "seed must not"),
        ({"loss": "nll"}, "loss must be one of"),
    ],
)
def test_bad_input_is_refused(ensemble, data, options, message) -> None:
    with pytest.raises(ValueError, match=message):
        surfaces(ensemble, *data, **options)


def test_networks_that_cannot_move_are_refused(data) -> None:
    still = Ensemble.from_modules([mlp([6, 3])]).to(torch.float64)
    still.params["layer1.weight"].zero_()
    with pytest.raises(ValueError, match="no parameter would move"):
        surfaces(still, *data)
    with pytest.raises(ValueError, match="must be \\(N, d\\)"):
        surfaces(
            Ensemble.from_modules([nn.Sequential(nn.Linear(6, 3))]),
            torch.rand(4, 2, 6),
            torch.zeros(4).long(),
        )
    with pytest.raises(MemoryError, match="more points"):
        surfaces(Ensemble.from_modules([mlp([6, 3])]), *data, grid=20001)
    with pytest.raises(ValueError, match="one network"):
        plane_values(many(KINDS["plain"]), [], *data, np.linspace(-1, 1, 3))
