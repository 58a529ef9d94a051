"""Lines through pairs of networks against evaluation by hand, the dense Hessian, and a parabola."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import gauge
from small import dense_hessian, network
from spinscape.landscape.flatness import along
from spinscape.landscape.functions import function_change
from spinscape.landscape.symmetry import align, normalize, random_rescale
from spinscape.networks.ensemble import Ensemble

ALPHAS = np.linspace(-1, 2, 31)


@pytest.fixture
def pairs() -> tuple[Ensemble, Ensemble]:
    first, second = ([network(s).double() for s in seeds] for seeds in (range(2), range(2, 4)))
    return Ensemble.from_modules(first), Ensemble.from_modules(second)


@pytest.fixture
def samples(data) -> tuple:
    x, y = data[0].double(), data[1]
    return (x[:40], y[:40]), (x[40:], y[40:])


def test_values_and_curvatures_by_hand(pairs, samples) -> None:
    a, b = pairs
    train, test = samples
    found = along(a, b, ALPHAS, train, test, ways=["none"], step=0.01)
    rows = a.flat(), b.flat()
    assert found.loss.shape == found.test_error.shape == (1, 2, 31)
    for p in range(2):
        for k, alpha in enumerate(ALPHAS):
            net = a.unflatten((1 - alpha) * rows[0][p : p + 1] + alpha * rows[1][p : p + 1]).module(0)
            for (x, y), loss, error in (
                (train, found.loss, found.error),
                (test, found.test_loss, found.test_error),
            ):
                outputs = net(x)
                assert loss[0, p, k] == pytest.approx(float(functional.cross_entropy(outputs, y)), rel=1e-10)
                assert error[0, p, k] == pytest.approx(float((outputs.argmax(1) != y).double().mean()))
        away = rows[1][p] - rows[0][p]
        assert found.distance[0, p] == pytest.approx(float(away.norm()))
        u = away / away.norm()
        for end, nets in enumerate((a, b)):
            exact = float(u @ dense_hessian(nets.module(p), *train) @ u)
            assert found.curvature[0, p, end] == pytest.approx(exact, rel=1e-8)
            assert found.norms[0, p, end] == pytest.approx(float(rows[end][p].norm()))
    for end in range(2):
        k = int(np.flatnonzero(np.isclose(ALPHAS, end))[0])
        assert found.end_loss[..., end] == pytest.approx(found.loss[..., k], rel=1e-12)
        assert found.end_test_error[..., end] == pytest.approx(found.test_error[..., k])


def test_a_parabola_in_closed_form() -> None:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(40, 3, generator=g, dtype=torch.float64)
    y = torch.zeros(40, 1, dtype=torch.float64)
    model = nn.Linear(3, 1, bias=False)
    first = torch.zeros(1, 1, 3, dtype=torch.float64)
    second = torch.randn(1, 1, 3, generator=g, dtype=torch.float64)
    a, b = (Ensemble(model, {"weight": w}) for w in (first, second))
    found = along(a, b, np.linspace(-1, 2, 3001), (x, y), (x, y), ways=["none"], loss="mse")
    u = second[0, 0] / second.norm()
    curvature = float(2 * (x @ u).square().mean())
    assert found.curvature[0, 0] == pytest.approx([curvature] * 2)
    assert found.second_difference[0, 0] == pytest.approx([curvature] * 2)
    distance = float(second.norm())
    rise = curvature / 2 * (distance / 3) ** 2
    reach = found.reach(rise)
    assert reach[0, 0, 0] == pytest.approx([distance / 3] * 2, rel=1e-3)
    # From the second network it is uphill away from the first, and down and up again towards it.
    assert reach[0, 0, 1, 0] == pytest.approx(distance * ((1 + 1 / 9) ** 0.5 - 1), rel=1e-3)
    assert np.isnan(reach[0, 0, 1, 1])
    assert np.isnan(found.error).all()


def test_symmetries_are_removed_and_functions_stay(pairs, samples) -> None:
    a, b = pairs
    ways = ("none", "scales", "order", "both")
    found = along(a, b, ALPHAS, *samples, ways=ways)
    assert found.ways == ways
    for name in ("end_loss", "end_error", "end_test_loss", "end_test_error"):
        values = getattr(found, name)
        assert values == pytest.approx(np.broadcast_to(values[:1], values.shape), rel=1e-9)
    assert (found.distance[2] <= found.distance[0] + 1e-12).all()
    moved = along(random_rescale(a, 1.0), random_rescale(b, 1.0, seed=5), ALPHAS, *samples, ways=ways)
    assert not np.allclose(moved.curvature[0], found.curvature[0], rtol=0.2)
    for w in (1, 3):
        assert moved.curvature[w] == pytest.approx(found.curvature[w], rel=1e-8)
        assert moved.loss[w] == pytest.approx(found.loss[w], rel=1e-8)
        assert moved.distance[w] == pytest.approx(found.distance[w], rel=1e-8)
    bare = [normalize(nets, output="keep").ensemble for nets in (a, b)]
    second = align(bare[1], bare[0]).ensemble
    gap = (second.flat() - bare[0].flat()).norm(dim=1)
    assert found.distance[3] == pytest.approx(gap.numpy())
    assert (function_change(b, second, samples[0][0]) < 1e-9).all()


@pytest.mark.parametrize("name", ["batch norm", "convnet", "resnet18"])
def test_other_models(name: str) -> None:
    nets, x = gauge.networks(name), gauge.inputs(name, 12)
    y = torch.arange(12) % 3
    found = along(nets[0], nets[1], [-0.5, 0.0, 0.5, 1.0], (x, y), (x, y), step=1e-4)
    assert np.isfinite(found.loss).all()
    assert found.end_loss[1] == pytest.approx(found.end_loss[0], rel=1e-8)
    assert found.loss[:, :, 1] == pytest.approx(found.end_loss[..., 0], rel=1e-9)
    assert np.isfinite(found.curvature).all()


def test_second_difference_tends_to_the_curvature_of_a_smooth_network(data) -> None:
    torch.manual_seed(0)
    nets = [nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)).double() for _ in range(2)]
    a, b = (Ensemble.from_modules([net]) for net in nets)
    samples = data[0].double(), data[1]
    found = along(a, b, [0.0, 1.0], samples, samples, ways=["none", "order"], step=1e-3)
    assert found.second_difference == pytest.approx(found.curvature, rel=1e-4)
    with pytest.raises(ValueError, match="positive factors"):
        along(a, b, [0.0, 1.0], samples, samples)


def test_bad_input_is_refused(pairs, samples) -> None:
    a, b = pairs
    for alphas in ([], [0.0, 0.0], [np.inf], [[0.0]]):
        with pytest.raises(ValueError, match="alphas"):
            along(a, b, alphas, *samples)
    with pytest.raises(ValueError, match="step"):
        along(a, b, ALPHAS, *samples, step=0.0)
    with pytest.raises(ValueError, match="ways"):
        along(a, b, ALPHAS, *samples, ways=["all"])
    with pytest.raises(ValueError, match="coincide"):
        along(a, a, ALPHAS, *samples)
    found = along(a, b, ALPHAS, *samples, ways=["none"])
    with pytest.raises(ValueError, match="rise"):
        found.reach(0.0)
    with pytest.raises(ValueError, match="measure"):
        found.reach(0.1, "accuracy")
