"""Magnitudes of weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from spinscape.landscape.weights import magnitudes
from spinscape.networks.ensemble import Ensemble


def test_magnitudes_by_hand() -> None:
    net = nn.Linear(2, 2)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[3.0, -4.0], [0.0, 0.0]]))
        net.bias.copy_(torch.tensor([1.0, -2.0]))
    found = magnitudes(Ensemble.from_modules([net]))
    assert found["rms_layer1"][0] == pytest.approx(2.5)
    assert found["mean_abs_all"][0] == pytest.approx(10 / 6)
