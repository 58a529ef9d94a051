"""The kinks' share of the growth against quadrature and against walks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from small import dense_hessian
from spinscape.landscape.kinks import kink_rise
from spinscape.landscape.walks import random_walks
from spinscape.networks.ensemble import Ensemble


def test_kinks_close_the_growth_law() -> None:
    # Rise over mirror pairs against trace plus kinks, within four standard errors.
    torch.manual_seed(4)
    net = nn.Sequential(nn.Linear(5, 40), nn.ReLU(), nn.Linear(40, 3)).double()
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(300, 5, generator=g).double(), torch.randint(0, 3, (300,), generator=g)
    with torch.no_grad():
        net[2].weight *= 6
    ensemble = Ensemble.from_modules([net])
    trace = float(dense_hessian(net, x, y).trace())
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
