from __future__ import annotations

import math

import numpy as np
import pytest

from spinscape.glasses.complexity import threshold_energy
from spinscape.glasses.minima import tradeoff


def test_planted_spread_and_slope_are_found() -> None:
    rng = np.random.default_rng(0)
    instances, each, p = 60, 5, 3
    depth = rng.normal(-1, 0.1, instances * each)
    width = 0.2 - 0.5 * depth + 0.01 * rng.normal(size=depth.size)
    found = tradeoff(
        p,
        np.repeat(np.arange(instances), each),
        depth * threshold_energy(p),
        width * 2 * math.sqrt(p * (p - 1)),
        instances=instances,
    )
    assert found.spread.low < 0.1 < found.spread.high
    assert found.slope.low < -0.5 < found.slope.high
    assert float(found.minima) == each


def test_minima_of_one_instance_are_not_independent() -> None:
    # All minima of an instance alike: the interval has to be that of 20 seeds, not of 2,000.
    rng = np.random.default_rng(1)
    depth = np.repeat(rng.normal(size=20), 100)
    instance = np.repeat(np.arange(20), 100)
    found = tradeoff(3, instance, depth, depth**2 + 1, instances=20)
    assert found.spread.high - found.spread.low > 0.1


def test_too_few_minima_have_no_spread() -> None:
    for count in (0, 1):
        found = tradeoff(3, np.zeros(count, int), -np.ones(count), np.ones(count), instances=2)
        assert np.isnan([float(found.spread), float(found.slope)]).all()
        assert float(found.minima) == count / 2
    same = tradeoff(3, np.zeros(4, int), -np.ones(4), np.arange(1.0, 5), instances=2)
    assert float(same.spread) == 0
    assert np.isnan(float(same.slope))


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="must be finite"):
        tradeoff(3, np.zeros(2, int), np.array([0, np.nan]), np.ones(2), instances=1)
    with pytest.raises(ValueError, match="one entry per minimum"):
        tradeoff(3, np.zeros(2, int), np.zeros(3), np.zeros(3), instances=1)
    with pytest.raises(ValueError, match="numbered 0 to 1"):
        tradeoff(3, np.array([2]), np.zeros(1), np.ones(1), instances=2)
