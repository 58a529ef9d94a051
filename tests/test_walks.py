"""Random walks against closed forms and a plain loop."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn
from torch.nn import functional

from small import network
from spinscape.landscape.flatness import hessian_trace
from spinscape.landscape.steps import DOWNHILL, PROBES, WALKS, generator
from spinscape.landscape.walks import random_walks
from spinscape.networks._group import generator_of
from spinscape.networks.ensemble import Ensemble

SIGMAS = [0.01, 0.1]


def test_walk_starts_at_thenetwork(ensemble, data) -> None:
    found = random_walks(ensemble, {"all": data}, sigmas=SIGMAS, steps=4, walks=2)
    x, y = data
    for r in range(3):
        with torch.no_grad():
            expected = functional.cross_entropy(ensemble.module(r)(x), y)
        assert found.loss["all"]["cross_entropy"][:, r, :, 0] == pytest.approx(float(expected), rel=1e-6)
    assert found.displacement[..., 0].max() == 0
    assert found.loss["all"]["cross_entropy"].shape == (2, 3, 2, 5)


def test_one_walk_equals_a_plain_loop(ensemble, data) -> None:
    found = random_walks(ensemble, {"all": data}, sigmas=[0.1], steps=3, walks=2, seed=5)
    g = generator(5, WALKS, 1, 0)
    net, start = ensemble.module(1), ensemble.module(1)
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
    ensemble = Ensemble.from_modules([network(0)])
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


def test_no_two_purposes_share_a_stream() -> None:
    keys = [(p, r, w) for p in (WALKS, DOWNHILL) for r in range(3) for w in range(3)]
    keys += [(PROBES, r) for r in range(3)]
    first = [torch.rand(2, generator=generator(0, *key)).sum().item() for key in keys]
    first += [torch.rand(2, generator=generator_of(0, r)).sum().item() for r in range(3)]
    assert len(set(first)) == len(first)
