"""Downhill walks: never above, at rest in a minimum, first fraction as expected."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from small import network
from spinscape.landscape.downhill import downhill_walks, expected_fraction
from spinscape.landscape.flatness import hessian_trace
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
