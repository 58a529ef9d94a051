"""Downhill walks: never above, at rest in a minimum, first fraction as expected."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn
from torch.nn import functional

from small import network
from spinscape.landscape.downhill import downhill_walks, expected_fraction
from spinscape.landscape.flatness import hessian_trace
from spinscape.landscape.steps import DOWNHILL, generator
from spinscape.networks.ensemble import Ensemble

SIGMAS = [0.01, 0.1]


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
    net = network(3)
    g = torch.Generator().manual_seed(2)
    x, y = torch.rand(80, 6, generator=g), torch.randint(0, 3, (80,), generator=g)
    ensemble = Ensemble.from_modules([net])
    curvature = hessian_trace(ensemble, x, y, probes=400)
    expected = expected_fraction([0.02], curvature.trace, curvature.gradient_norm)[0, 0]
    found = downhill_walks(ensemble, x, y, sigmas=[0.02], steps=1, trials=4000).fraction.item()
    assert 0.05 < expected < 0.5
    assert abs(found - expected) < 0.02 + 4 * np.sqrt(expected * (1 - expected) / 4000)


def test_bad_input_is_refused(ensemble, data) -> None:
    with pytest.raises(ValueError, match="trials"):
        downhill_walks(ensemble, *data, sigmas=[0.1], steps=1, trials=0)
    with pytest.raises(ValueError, match="positive"):
        downhill_walks(ensemble, *data, sigmas=[-0.1], steps=1)


def test_the_walk_moves_to_the_first_trial_below(ensemble, data) -> None:
    x, y = data
    found = downhill_walks(ensemble, x, y, sigmas=[0.05], steps=1, trials=9, seed=3)
    checked = 0
    for r in range(3):
        net = ensemble.module(r)
        with torch.no_grad():
            trained = functional.cross_entropy(net(x), y)
            source = generator(3, DOWNHILL, r, 0)
            noise = [torch.randn((9, *p.shape), generator=source) for p in net.parameters()]
            losses = []
            for k in range(9):
                moved = ensemble.module(r)
                for p, z in zip(moved.parameters(), noise, strict=True):
                    p += 0.05 * z[k]
                losses.append(float(functional.cross_entropy(moved(x), y)))
        below = [value for value in losses if value < trained]
        assert found.fraction[0, r, 0, 0] == pytest.approx(len(below) / 9)
        if below:
            assert found.loss[0, r, 0, 1] == pytest.approx(below[0], rel=1e-5)
            checked += below[0] > min(below) * (1 + 1e-4)
    assert checked, "in one case at least the first trial below is not the lowest"


def test_expected_fraction_by_hand() -> None:
    found = expected_fraction([1.0, 2.0], np.array([2.0]), np.array([1.0]))
    assert found[:, 0] == pytest.approx([stats.norm.cdf(-1.0), stats.norm.cdf(-2.0)])


def test_a_network_that_is_not_finite_has_no_fraction(ensemble, data) -> None:
    params = {name: p.clone() for name, p in ensemble.params.items()}
    for p in params.values():
        p[1] = torch.nan
    spoilt = Ensemble(ensemble.model, params, ensemble.buffers)
    found = downhill_walks(spoilt, *data, sigmas=[0.01], steps=2, trials=5)
    assert np.isnan(found.fraction[:, 1]).all()
    assert np.isfinite(found.fraction[:, [0, 2]]).all()
