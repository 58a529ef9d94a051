"""Local energy against draws made by hand, closed forms, and the symmetries of networks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call

import gauge
from small import network
from spinscape.landscape.flatness import hessian_trace, local_energy
from spinscape.landscape.steps import SHAKES, generator
from spinscape.landscape.symmetry import permute, random_permutations, random_rescale
from spinscape.networks.ensemble import Ensemble

SIGMAS = [0.0, 0.1, 0.5, 1.5]


@pytest.fixture
def nets() -> Ensemble:
    return Ensemble.from_modules([network(s).double() for s in range(3)])


@pytest.mark.parametrize("kind", ["multiplicative", "additive"])
@pytest.mark.parametrize("common", [False, True])
def test_draws_by_hand(nets, data, kind: str, common: bool) -> None:
    x, y = data[0].double(), data[1]
    found = local_energy(nets, x, y, SIGMAS, draws=5, kind=kind, common=common, seed=3)
    for r in range(3):
        module = nets.module(r)
        weights = dict(module.named_parameters())
        centre = float(nn.functional.cross_entropy(module(x), y))
        wrong = float((module(x).argmax(1) != y).double().mean())
        assert found.reference_loss[r] == pytest.approx(centre, rel=1e-12)
        assert found.reference_error[r] == pytest.approx(wrong)
        for k in range(5):
            source = generator(3, SHAKES, k) if common else generator(3, SHAKES, k, r)
            count = sum(w.numel() for w in weights.values())
            z = torch.randn(count, generator=source, dtype=torch.float64)
            parts = dict(zip(weights, z.split([w.numel() for w in weights.values()]), strict=True))
            for s, sigma in enumerate(SIGMAS):
                moved = {
                    name: w + sigma * parts[name].view_as(w) * (w if kind == "multiplicative" else 1)
                    for name, w in weights.items()
                }
                outputs = functional_call(module, moved, (x,))
                rise = float(nn.functional.cross_entropy(outputs, y)) - centre
                assert found.loss_draws[r, s, k] == pytest.approx(rise, abs=1e-12)
                errors = float((outputs.argmax(1) != y).double().mean()) - wrong
                assert found.error_draws[r, s, k] == pytest.approx(errors, abs=1e-12)
    assert (found.loss[:, 0] == 0).all()
    assert (found.error[:, 0] == 0).all()
    assert found.loss == pytest.approx(found.loss_draws.mean(-1))
    assert found.loss_error == pytest.approx(found.loss_draws.std(-1, ddof=1) / 5**0.5)
    assert found.error_error == pytest.approx(found.error_draws.std(-1, ddof=1) / 5**0.5)


def test_linear_regression_in_closed_form() -> None:
    g = torch.Generator().manual_seed(0)
    x, y = (torch.randn(50, size, generator=g, dtype=torch.float64) for size in (4, 1))
    weights = torch.randn(2, 1, 4, generator=g, dtype=torch.float64)
    nets = Ensemble(nn.Linear(4, 1, bias=False), {"weight": weights})
    curvature = 2 * (x**2).mean(0).numpy()
    for kind, share in (("additive", np.ones((2, 4))), ("multiplicative", weights[:, 0].numpy() ** 2)):
        found = local_energy(nets, x, y, [0.3, 2.0], draws=400, kind=kind, loss="mse")
        exact = np.array([0.3, 2.0]) ** 2 / 2 * (share @ curvature)[:, None]
        assert (np.abs(found.loss - exact) < 4 * found.loss_error).all()
        assert (found.loss_error < 0.3 * exact).all()
        assert np.isnan(found.error).all()


@pytest.mark.parametrize("name", ["two layers", "skip", "batch norm", "convnet", "resnet18, no norm"])
def test_rescaling_changes_the_hessian_and_not_the_local_energy(name: str) -> None:
    plain = random_rescale(gauge.networks(name), 0.0)
    moved = random_rescale(plain, 1.0, seed=4)
    x = gauge.inputs(name)
    y = torch.arange(len(x)) % 3
    options = {"draws": 4, "seed": 2}
    before, after = (local_energy(nets, x, y, [0.1, 0.4], **options) for nets in (plain, moved))
    assert after.loss_draws == pytest.approx(before.loss_draws, rel=1e-7, abs=1e-9)
    assert (after.error_draws == before.error_draws).all()
    shaken = [local_energy(nets, x, y, [0.1], kind="additive", **options).loss for nets in (plain, moved)]
    assert not np.allclose(*shaken, rtol=0.2)
    traces = [hessian_trace(nets, x, y, probes=8).trace for nets in (plain, moved)]
    assert not np.allclose(*traces, rtol=0.2)


@pytest.mark.parametrize("name", ["two layers", "batch norm", "convnet", "resnet18"])
@pytest.mark.parametrize("common", [False, True])
def test_noise_is_carried_along_by_permutations(name: str, common: bool) -> None:
    nets = gauge.networks(name)
    x = gauge.inputs(name)
    y = torch.arange(len(x)) % 3
    orders = random_permutations(nets, replicas=2, seed=1)
    options = {"draws": 3, "common": common}
    before = local_energy(nets, x, y, [0.3], **options)
    permuted = permute(nets, orders)
    after = local_energy(permuted, x, y, [0.3], carried=orders, **options)
    assert after.loss_draws == pytest.approx(before.loss_draws, rel=1e-9)
    plain = local_energy(permuted, x, y, [0.3], **options)
    assert not np.allclose(plain.loss_draws, before.loss_draws, rtol=1e-3)


def test_without_being_carried_along_noise_is_another_draw_of_the_same_law() -> None:
    nets, x = gauge.networks("two layers"), gauge.inputs("two layers")
    y = torch.arange(len(x)) % 3
    permuted = permute(nets, random_permutations(nets, replicas=2, seed=1))
    many = [local_energy(some, x, y, [0.1], draws=150, seed=s) for s, some in enumerate((nets, permuted))]
    gap = np.abs(many[0].loss - many[1].loss)
    assert (gap < 4 * np.hypot(many[0].loss_error, many[1].loss_error)).all()


def test_common_draws_compare_networks_with_less_noise(nets, data) -> None:
    x, y = data[0].double(), data[1]
    rows = nets.flat()
    close = nets.unflatten(torch.cat([rows[:1], rows[:1] * 1.01, rows[:1]]))
    apart, common = (local_energy(close, x, y, [0.3], draws=30, common=c) for c in (False, True))
    assert (common.loss_draws[0] == common.loss_draws[2]).all()
    assert (apart.loss_draws[0] != apart.loss_draws[2]).all()
    between, error = common.difference([1, 2], 0)
    assert between.shape == error.shape == (2, 1)
    assert between[1, 0] == error[1, 0] == 0
    assert between[0, 0] == pytest.approx(common.loss[1, 0] - common.loss[0, 0])
    assert error[0, 0] < 0.2 * apart.difference(1, 0)[1][0, 0]
    assert apart.difference(1, 0, "error")[1][0, 0] == pytest.approx(np.hypot(*apart.error_error[:2, 0]))
    with pytest.raises(ValueError, match="measure"):
        common.difference(0, 1, "accuracy")


def test_neither_neighbours_nor_chunks_nor_the_number_of_draws_change_a_draw(nets, data) -> None:
    x, y = data[0].double(), data[1]
    whole = local_energy(nets, x, y, [0.2, 0.7], draws=7)
    parts = local_energy(nets, x, y, [0.2, 0.7], draws=7, chunk=3)
    assert (parts.loss_draws == whole.loss_draws).all()
    first = local_energy(nets[:2], x, y, [0.7], draws=4)
    assert first.loss_draws[:, 0] == pytest.approx(whole.loss_draws[:2, 1, :4], rel=1e-12)


def test_single_precision_agrees_within_its_noise(nets, data) -> None:
    x, y = data[0].double(), data[1]
    double = local_energy(nets, x, y, [0.2], draws=200)
    single = local_energy(nets.to(torch.float32), x, y, [0.2], draws=200)
    assert single.loss.dtype == np.float64
    assert (np.abs(single.loss - double.loss) < 4 * np.hypot(single.loss_error, double.loss_error)).all()


def test_bad_input_is_refused(ensemble, data) -> None:
    for sigmas in ([-0.1], [np.nan], [], [[0.1]]):
        with pytest.raises(ValueError, match="sigmas"):
            local_energy(ensemble, *data, sigmas)
    with pytest.raises(ValueError, match="draws"):
        local_energy(ensemble, *data, [0.1], draws=1)
    with pytest.raises(ValueError, match="kind"):
        local_energy(ensemble, *data, [0.1], kind="uniform")
    with pytest.raises(ValueError, match="seed"):
        local_energy(ensemble, *data, [0.1], seed=-1)
    with pytest.raises(ValueError, match="labels"):
        local_energy(ensemble, data[0], data[1] + 5, [0.1])
    broken = ensemble.flat()
    broken[1, 3] = np.nan
    with pytest.raises(ValueError, match="finite"):
        local_energy(ensemble.unflatten(broken), *data, [0.1])
    with pytest.raises(MemoryError, match="draws must be at most"):
        local_energy(ensemble, *data, [0.1], draws=10**12)
