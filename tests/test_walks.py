"""Random walks, downhill walks and curvature against closed forms, loops and a second library."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn
from torch.nn import functional

from spinscape.landscape.downhill import downhill_walks, expected_fraction
from spinscape.landscape.flatness import hessian_trace
from spinscape.landscape.kinks import kink_rise
from spinscape.landscape.walks import random_walks
from spinscape.landscape.weights import magnitudes
from spinscape.networks.ensemble import Ensemble

SIGMAS = [0.01, 0.1]


@pytest.fixture
def data() -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(1)
    return torch.rand(60, 6, generator=g), torch.randint(0, 3, (60,), generator=g)


def _network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


@pytest.fixture
def ensemble() -> Ensemble:
    return Ensemble.from_modules([_network(s) for s in range(3)])


def _module(ensemble: Ensemble, r: int) -> nn.Module:
    return ensemble.module(r)


def test_walk_starts_at_the_network(ensemble, data) -> None:
    found = random_walks(ensemble, {"all": data}, sigmas=SIGMAS, steps=4, walks=2)
    x, y = data
    for r in range(3):
        with torch.no_grad():
            expected = functional.cross_entropy(_module(ensemble, r)(x), y)
        assert found.loss["all"]["cross_entropy"][:, r, :, 0] == pytest.approx(float(expected), rel=1e-6)
    assert found.displacement[..., 0].max() == 0
    assert found.loss["all"]["cross_entropy"].shape == (2, 3, 2, 5)


def test_one_walk_equals_a_plain_loop(ensemble, data) -> None:
    found = random_walks(ensemble, {"all": data}, sigmas=[0.1], steps=3, walks=2, seed=5)
    state = np.random.SeedSequence([5, 1, 0]).generate_state(1, np.uint64)
    g = torch.Generator().manual_seed(int(state[0] >> 1))
    net, start = _module(ensemble, 1), _module(ensemble, 1)
    x, y = data
    with torch.no_grad():
        for t in range(1, 4):
            for p in net.parameters():
                p -= 0.1 * torch.randn(p.shape, generator=g)
            loss = functional.cross_entropy(net(x), y)
            away = sum(
                float(((a - b) ** 2).sum()) for a, b in zip(net.parameters(), start.parameters(), strict=True)
            )
            assert found.loss["all"]["cross_entropy"][0, 1, 1, t] == pytest.approx(float(loss), rel=1e-5)
            assert found.displacement[0, 1, 1, t] == pytest.approx(away**0.5, rel=1e-5)


def test_walks_come_in_mirror_pairs(ensemble, data) -> None:
    found = random_walks(ensemble, {"all": data}, sigmas=[0.1], steps=3, walks=3)
    np.testing.assert_allclose(found.displacement[..., 0, :], found.displacement[..., 1, :], rtol=1e-5)
    assert not np.allclose(found.displacement[..., 2, 1:], found.displacement[..., 0, 1:], rtol=1e-3)


def test_a_walk_is_the_same_beside_any_others(ensemble, data) -> None:
    many = random_walks(ensemble, {"all": data}, sigmas=SIGMAS, steps=3, walks=4, seed=2)
    few = random_walks(ensemble, {"all": data}, sigmas=SIGMAS[1:], steps=3, walks=1, seed=2)
    np.testing.assert_array_equal(
        many.loss["all"]["cross_entropy"][1:, :, :1], few.loss["all"]["cross_entropy"]
    )


def test_displacement_has_the_law_of_chi(data) -> None:
    # 200 pairs of walks in q dimensions: |w(t) - w(0)|^2 / (sigma^2 t) is chi-squared with q degrees of
    # freedom at every t; Kolmogorov-Smirnov at 0.1% false alarms.
    ensemble = Ensemble.from_modules([_network(0)])
    found = random_walks(ensemble, {"all": data}, sigmas=[0.05], steps=5, walks=400)
    scaled = found.displacement[0, 0, ::2, 5] ** 2 / (0.05**2 * 5)
    assert stats.kstest(scaled, stats.chi2(found.dimension).cdf).pvalue > 1e-3


def test_growth_of_a_quadratic_loss() -> None:
    # Linear model with squared error: the loss is quadratic, so the mean rise is exactly s Tr H / 2.
    net = nn.Linear(4, 1, bias=False)
    x = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    ensemble = Ensemble.from_modules([net])
    target = net(x).detach()

    def squared(outputs: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return ((outputs - y) ** 2).flatten(1).sum(1)

    found = random_walks(
        ensemble, {"all": (x, target)}, sigmas=[0.1], steps=6, walks=1000, loss={"squared": squared}
    )
    trace = 2 * float((x**2).sum(1).mean())
    rise = found.loss["all"]["squared"][0, 0, :, 6].reshape(500, 2).mean(1)
    expected = 0.1**2 * 6 * trace / 2
    error = rise.std(ddof=1) / np.sqrt(500)
    assert abs(rise.mean() - expected) < 4 * error


def test_downhill_walk_never_goes_above(ensemble, data) -> None:
    found = downhill_walks(ensemble, *data, sigmas=SIGMAS, steps=6, walks=2, trials=7)
    assert found.fraction.shape == (2, 3, 2, 6)
    assert (found.loss[..., 1:] <= found.loss[..., :1]).all()
    assert (np.diff(found.loss, axis=-1)[~found.moved] == 0).all()
    assert np.round(found.fraction * 7) == pytest.approx(found.fraction * 7)
    assert found.moved.any()


def test_downhill_walk_at_a_minimum_stays() -> None:
    net = nn.Linear(3, 3)
    x, y = torch.eye(3), torch.arange(3)
    with torch.no_grad():
        net.weight.copy_(40 * torch.eye(3))
        net.bias.zero_()
    found = downhill_walks(Ensemble.from_modules([net]), x, y, sigmas=[0.5], steps=3, trials=5)
    assert found.fraction.max() == 0
    assert not found.moved.any()


def test_downhill_fraction_matches_expectation() -> None:
    # Small steps at a point with a gradient: share of 4,000 trials within 4 binomial errors.
    net = _network(3)
    g = torch.Generator().manual_seed(2)
    x, y = torch.rand(80, 6, generator=g), torch.randint(0, 3, (80,), generator=g)
    ensemble = Ensemble.from_modules([net])
    curvature = hessian_trace(ensemble, x, y, probes=400)
    expected = expected_fraction([0.02], curvature.trace, curvature.gradient_norm)[0, 0]
    found = downhill_walks(ensemble, x, y, sigmas=[0.02], steps=1, trials=4000).fraction.item()
    assert 0.05 < expected < 0.5
    assert abs(found - expected) < 0.02 + 4 * np.sqrt(expected * (1 - expected) / 4000)


def _dense_hessian(net: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    names, values = zip(*net.named_parameters(), strict=True)
    sizes = [v.numel() for v in values]

    def loss(flat: torch.Tensor) -> torch.Tensor:
        parts = flat.split(sizes)
        weights = {n: p.view_as(v) for n, p, v in zip(names, parts, values, strict=True)}
        return functional.cross_entropy(torch.func.functional_call(net, weights, (x,)), y)

    flat = torch.cat([v.detach().flatten() for v in values])
    return torch.autograd.functional.hessian(loss, flat)


def test_trace_against_the_dense_hessian(data) -> None:
    x, y = data[0].double(), data[1]
    nets = [_network(s).double() for s in range(3)]
    found = hessian_trace(Ensemble.from_modules(nets), x, y, probes=600)
    for r, net in enumerate(nets):
        exact = float(_dense_hessian(net, x, y).trace())
        assert abs(found.trace[r] - exact) < 4 * found.standard_error[r]
        net.zero_grad()
        functional.cross_entropy(net(x), y).backward()
        norm = sum(float((p.grad**2).sum()) for p in net.parameters()) ** 0.5
        assert found.gradient_norm[r] == pytest.approx(norm, rel=1e-10)


def test_trace_against_pyhessian(data) -> None:
    pyhessian = pytest.importorskip("pyhessian")
    x, y = data
    net = _network(1)
    torch.manual_seed(0)
    other = pyhessian.hessian(net, nn.CrossEntropyLoss(), data=(x, y), cuda=False)
    samples = np.array(other.trace(maxIter=400, tol=0.0))
    found = hessian_trace(Ensemble.from_modules([net]), x, y, probes=400)
    error = np.hypot(found.standard_error[0], samples.std(ddof=1) / np.sqrt(len(samples)))
    assert abs(found.trace[0] - samples.mean()) < 4 * error


def test_dropout_is_off_and_batch_norm_uses_its_statistics(data) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))
    net(data[0])
    ensemble = Ensemble.from_modules([net])
    found = random_walks(ensemble, {"all": data}, sigmas=[0.01], steps=1)
    net.eval()
    with torch.no_grad():
        expected = float(functional.cross_entropy(net(data[0]), data[1]))
    assert found.loss["all"]["cross_entropy"][0, 0, 0, 0] == pytest.approx(expected, rel=1e-6)
    assert np.isfinite(hessian_trace(ensemble, *data, probes=2).trace).all()


def test_magnitudes_by_hand() -> None:
    net = nn.Linear(2, 2)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[3.0, -4.0], [0.0, 0.0]]))
        net.bias.copy_(torch.tensor([1.0, -2.0]))
    found = magnitudes(Ensemble.from_modules([net]))
    assert found["rms_layer1"][0] == pytest.approx(2.5)
    assert found["mean_abs_all"][0] == pytest.approx(10 / 6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sigmas": [0.0], "steps": 1}, "positive"),
        ({"sigmas": [], "steps": 1}, "positive"),
        ({"sigmas": [0.1], "steps": 0}, "at least 1"),
        ({"sigmas": [0.1], "steps": 1, "walks": 0}, "at least 1"),
    ],
)
def test_bad_input_is_refused(ensemble, data, options, message) -> None:
    with pytest.raises(ValueError, match=message):
        random_walks(ensemble, {"all": data}, **options)
    with pytest.raises(ValueError, match="at least 2"):
        hessian_trace(ensemble, *data, probes=1)
    with pytest.raises(ValueError, match="trials"):
        downhill_walks(ensemble, *data, sigmas=[0.1], steps=1, trials=0)


def test_kinks_close_the_growth_law() -> None:
    # Rise over mirror pairs against trace plus kinks, within four standard errors.
    torch.manual_seed(4)
    net = nn.Sequential(nn.Linear(5, 40), nn.ReLU(), nn.Linear(40, 3)).double()
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(300, 5, generator=g).double(), torch.randint(0, 3, (300,), generator=g)
    with torch.no_grad():
        net[2].weight *= 6
    ensemble = Ensemble.from_modules([net])
    trace = float(_dense_hessian(net, x, y).trace())
    spread = 1e-6
    found = random_walks(ensemble, {"all": (x, y)}, sigmas=[spread**0.5], steps=1, walks=20_000)
    loss = found.loss["all"]["cross_entropy"][0, 0]
    rise = (loss[:, 1] - loss[:, 0]).reshape(10_000, 2).mean(1)
    kinks = kink_rise(ensemble, x, y, [spread])[0, 0]
    error = rise.std(ddof=1) / np.sqrt(10_000)
    assert abs(rise.mean() - spread / 2 * trace - kinks) < 4 * error
    assert abs(kinks) > 5 * error, "without the kinks the law would fail this test"


def test_lift_of_one_unit_by_quadrature() -> None:
    net = nn.Sequential(nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 2)).double()
    with torch.no_grad():
        for p, v in zip(net.parameters(), ([[0.3]], [-0.2], [[1.0], [-1.0]], [0.0, 0.0]), strict=True):
            p.copy_(torch.tensor(v))
    x, y = torch.tensor([[2.0]]).double(), torch.tensor([1])
    a, width = 0.4, (0.5 * 5.0) ** 0.5
    grid = np.linspace(-40, 40, 400_001)
    mean = np.trapezoid(np.maximum(0, a + width * grid) * stats.norm.pdf(grid), grid)
    slope = 2 * float(torch.sigmoid(torch.tensor(2 * a)))
    found = kink_rise(Ensemble.from_modules([net]), x, y, [0.5])[0, 0]
    assert found == pytest.approx(slope * (mean - a), rel=1e-7)


def test_kinks_of_another_architecture_are_refused(data) -> None:
    net = nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 3))
    with pytest.raises(ValueError, match="one ReLU"):
        kink_rise(Ensemble.from_modules([net]), *data, [0.1])
    net = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))
    with pytest.raises(ValueError, match="positive"):
        kink_rise(Ensemble.from_modules([net]), *data, [0.0])
