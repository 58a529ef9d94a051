"""Local entropy against closed forms, a second estimator, and the laws that its chains must have."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import gauge
from small import network
from spinscape.landscape.flatness import local_entropy
from spinscape.landscape.flatness._chains import autocorrelation_time, run
from spinscape.landscape.flatness._potential import Potential
from spinscape.landscape.flatness._quadrature import rule
from spinscape.landscape.symmetry import permute, random_permutations
from spinscape.networks.ensemble import Ensemble


def quadratic(size: int, replicas: int = 2) -> tuple[Ensemble, torch.Tensor, torch.Tensor]:
    """Linear regression: the loss is quadratic, stiff in some directions and soft in others."""
    g = torch.Generator().manual_seed(size)
    x = torch.randn(80, size, generator=g, dtype=torch.float64) * torch.logspace(-1, 0.6, size)
    y = torch.randn(80, 1, generator=g, dtype=torch.float64)
    weights = torch.randn(replicas, 1, size, generator=g, dtype=torch.float64) / 10
    return Ensemble(nn.Linear(size, 1, bias=False), {"weight": weights}), x, y


def closed_form(nets: Ensemble, x: torch.Tensor, y: torch.Tensor, beta: float, gamma: float) -> np.ndarray:
    """``-beta L - log det(1 + H / gamma) / 2 + beta g (H + gamma)^-1 g / 2`` with slope g and Hessian H."""
    hessian = 2 * x.T @ x / len(x)
    one = torch.eye(len(hessian), dtype=hessian.dtype)
    found = []
    for w in nets.params["weight"][:, 0]:
        left = x @ w - y[:, 0]
        slope = 2 * x.T @ left / len(x)
        gain = slope @ torch.linalg.solve(hessian + gamma * one, slope)
        volume = torch.linalg.slogdet(one + hessian / gamma)[1]
        found.append(float(-beta * left.square().mean() - volume / 2 + beta * gain / 2))
    return np.array(found)


@pytest.mark.parametrize(("size", "steps"), [(2, 30), (50, 40)])
def test_quadratic_loss_in_closed_form(size: int, steps: int) -> None:
    nets, x, y = quadratic(size)
    beta, gammas = 40.0, [0.3, 3.0, 300.0]
    found = local_entropy(nets, x, y, beta=beta, gammas=gammas, steps=steps, chains=2, loss="mse")
    exact = np.stack([closed_form(nets, x, y, beta, gamma) for gamma in gammas], 1)
    assert (np.abs(found.value - exact) < 3 * found.error).all(), (found.value - exact, found.error)
    relative = np.abs(exact + beta * found.reference_loss[:, None])
    assert (found.error < 0.15 * relative + 0.3).all(), (found.error, relative)
    assert (found.acceptance[..., 1:] > 0.5).all()
    assert np.isnan(found.acceptance[..., 0]).all()
    assert (found.statistical >= np.abs(found.start_gap) / 2).all()
    assert found.relative == pytest.approx(found.value + beta * found.reference_loss[:, None])
    # Under the Gaussian times exp(-beta L) the precision is beta (H + gamma).
    hessian = 2 * x.T @ x / len(x)
    one = torch.eye(size, dtype=torch.float64)
    for r, w in enumerate(nets.params["weight"][:, 0]):
        slope = 2 * x.T @ (x @ w - y[:, 0]) / len(x)
        cover = torch.linalg.inv(hessian + 300 * one)
        square = float(cover.trace() / beta + (cover @ slope).square().sum())
        assert found.mean_distance[r, 2] == pytest.approx(square**0.5, rel=0.15)


def test_direct_estimate_agrees_where_the_pull_is_strong(data) -> None:
    nets = Ensemble.from_modules([network(s).double() for s in range(2)])
    x, y = data[0].double(), data[1]
    found = local_entropy(nets, x, y, beta=60.0, gammas=[5.0, 50.0], steps=30, chains=2, draws=600)
    assert (found.direct_count > 30).all()
    gap = np.abs(found.value - found.direct)
    assert (gap < 3.5 * np.hypot(found.error, found.direct_error)).all(), (gap, found.error)
    assert found.error.max() < 0.3
    # The loss falls as its strength grows.
    assert (found.energy[..., -1] < found.energy[..., 0]).all()
    assert found.strengths[0] == 0
    assert found.strengths[-1] == 1
    # Between the loss at the network, which the average rises above here, and none at all.
    assert (found.value < 0).all()


def test_chains_that_have_not_settled_are_seen() -> None:
    nets, x, y = quadratic(50, replicas=1)
    options = {"beta": 40.0, "gammas": [0.01], "chains": 2, "leaps": 1, "loss": "mse"}
    hasty = local_entropy(nets, x, y, steps=4, settle=0, **options)
    exact = closed_form(nets, x, y, 40.0, 0.01)
    assert hasty.start_gap[0, 0] > 20
    assert abs(hasty.value[0, 0] - exact[0]) > 5
    assert abs(hasty.value[0, 0] - exact[0]) < 4 * hasty.error[0, 0]


def test_permuted_networks_have_the_same_local_entropy(data) -> None:
    nets = Ensemble.from_modules([network(1).double()])
    x, y = data[0].double(), data[1]
    other = permute(nets, random_permutations(nets, replicas=1))
    options = {"beta": 60.0, "gammas": [5.0], "steps": 30, "chains": 2}
    first, second = (local_entropy(n, x, y, **options, seed=s) for s, n in enumerate((nets, other)))
    assert abs(first.value - second.value)[0, 0] < 3.5 * np.hypot(first.error, second.error)[0, 0]
    assert (first.value != second.value).all()


def test_neither_neighbours_nor_chunks_change_a_chain(data) -> None:
    nets = Ensemble.from_modules([network(s).double() for s in range(2)])
    x, y = data[0].double(), data[1]
    options = {"beta": 20.0, "gammas": [1.0, 4.0], "steps": 4, "chains": 2, "intervals": 4, "leaps": 2}
    whole = local_entropy(nets, x, y, **options)
    parts = local_entropy(nets, x, y, **options, chunk=3)
    assert parts.energy == pytest.approx(whole.energy, rel=1e-9)
    alone = local_entropy(nets[:1], x, y, **options)
    assert alone.energy == pytest.approx(whole.energy[:1], rel=1e-9)


@pytest.mark.parametrize("name", ["batch norm", "convnet", "resnet18"])
def test_potential_of_other_models(name: str) -> None:
    nets, x = gauge.networks(name), gauge.inputs(name, 12)
    y = torch.arange(12) % 3
    potential = Potential(nets, x, y, "cross_entropy")
    loss, slope = potential(nets.flat()[[1, 0, 1]], torch.tensor([1, 0, 1]))
    for row, r in enumerate((1, 0, 1)):
        net = nets.module(r).eval()
        value = nn.functional.cross_entropy(net(x), y)
        expected = torch.autograd.grad(value, list(net.parameters()))
        assert float(loss[row]) == pytest.approx(float(value), rel=1e-10)
        flat = torch.cat([g.flatten() for g in expected])
        assert torch.allclose(slope[row], flat, rtol=1e-7, atol=1e-12)


def test_potential_in_blocks_of_samples(monkeypatch, ensemble, data) -> None:
    rows = ensemble.flat()
    whole = Potential(ensemble, *data, "cross_entropy")(rows, torch.arange(3))
    monkeypatch.setattr("spinscape.landscape.flatness._potential.BLOCK", 16)
    parts = Potential(ensemble, *data, "cross_entropy")(rows, torch.arange(3))
    assert torch.allclose(parts[0], whole[0], rtol=1e-5)
    assert torch.allclose(parts[1], whole[1], rtol=1e-4, atol=1e-6)


def test_chains_have_the_law_they_should() -> None:
    """A double well in one direction of three, against quadrature; a wrong rule of acceptance is seen."""
    chains, strength = 64, torch.full((64,), 2.0, dtype=torch.float64)

    def energy(u: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        v = u[:, 0]
        slope = torch.zeros_like(u)
        slope[:, 0] = 2.0 * (v**2 - 1) * v
        return ((v**2 - 1) ** 2 / 4), slope

    generators = [torch.Generator().manual_seed(c) for c in range(chains)]
    start = torch.zeros(chains, 3, dtype=torch.float64)
    found = run(energy, strength, start, generators, steps=150, settle=50, leaps=2)
    v = np.linspace(-6, 6, 4001)
    weight = np.exp(-(v**2) / 2 - 2.0 * (v**2 - 1) ** 2 / 4)
    weight /= weight.sum()
    loss = weight @ ((v**2 - 1) ** 2 / 4)
    error = float(found.loss.mean(1).std()) / chains**0.5
    assert abs(float(found.loss.mean()) - loss) < 4 * error
    assert error < 0.05 * loss
    square = float(found.distance.square().mean())
    assert square == pytest.approx(weight @ v**2 + 2, rel=0.05)
    assert 0.7 < float(found.acceptance.mean()) <= 1


def test_without_a_loss_a_proposal_is_always_accepted() -> None:
    def energy(u: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.zeros(len(u), dtype=torch.float64), torch.zeros_like(u)

    generators = [torch.Generator().manual_seed(c) for c in range(2)]
    found = run(energy, torch.ones(2), torch.zeros(2, 10**5), generators, steps=5, settle=5, leaps=1)
    assert found.acceptance.min() == 1
    assert found.distance[:, -1].numpy() == pytest.approx([10**2.5] * 2, rel=0.02)


def test_autocorrelation_time_of_a_known_chain() -> None:
    rng = np.random.default_rng(0)
    for memory in (0.0, 0.8):
        noise = rng.normal(size=(3, 4, 4000))
        series = np.zeros_like(noise)
        for t in range(1, 4000):
            series[..., t] = memory * series[..., t - 1] + noise[..., t]
        found = autocorrelation_time(torch.from_numpy(series)).numpy()
        assert found == pytest.approx(np.full(3, (1 + memory) / (1 - memory)), rel=0.25)
    apart = torch.from_numpy(rng.normal(size=(4, 100)) + 10 * np.arange(4)[:, None])
    assert float(autocorrelation_time(apart)) > 20


def test_rule_integrates_polynomials_and_its_coarse_half_less_well() -> None:
    strengths, weights, coarse = rule(8, 2.0)
    for degree in range(4):
        assert weights @ strengths**degree == pytest.approx(1 / (degree + 1), rel=1e-12)
    assert weights @ np.exp(strengths) == pytest.approx(np.e - 1, rel=1e-5)
    fine, rough = (abs(w @ (1 / (1 + 50 * strengths)) - np.log(51) / 50) for w in (weights, coarse))
    assert fine < rough
    assert coarse[1::2] == pytest.approx(np.zeros(4))


def test_bad_input_is_refused(ensemble, data) -> None:
    good = {"beta": 10.0, "gammas": [1.0]}
    for options, words in (
        ({"gammas": [0.0]}, "gammas"),
        ({"gammas": []}, "gammas"),
        ({"beta": 0.0}, "beta"),
        ({"beta": np.inf}, "beta"),
        ({"steps": 1}, "steps"),
        ({"settle": -1}, "settle"),
        ({"leaps": 0}, "leaps"),
        ({"chains": 3}, "even"),
        ({"intervals": 6}, "multiple of 4"),
        ({"power": 1.0}, "power"),
        ({"draws": 1}, "draws"),
        ({"seed": -1}, "seed"),
    ):
        with pytest.raises(ValueError, match=words):
            local_entropy(ensemble, *data, **(good | options))
    with pytest.raises(MemoryError, match="steps must be at most"):
        local_entropy(ensemble, *data, **good, steps=10**12)
