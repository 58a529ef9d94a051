"""Minima of enumerated critical points, against the points themselves and a plain regression."""

import numpy as np
import pytest
import torch

from spinscape.glasses.critical_points import find
from spinscape.glasses.minima import minima, trade_off
from spinscape.glasses.pspin import PSpin


@pytest.mark.parametrize(("p", "n"), [(2, 5), (3, 4), (4, 3)])
def test_minima_are_the_points_of_index_zero(p, n):
    found = find(PSpin.sample(p, n, instances=12, seed=3))
    bottoms = minima(found)
    for i, one in enumerate(found):
        energies = one.energy[one.index == 0][:: 2 - p % 2]
        depth = np.sort(-energies / (2 * np.sqrt((p - 1) / p)))[::-1]
        mine = bottoms.instance == i
        assert bottoms.count[i] == len(energies) == mine.sum()
        assert np.allclose(np.sort(bottoms.depth[mine])[::-1], depth)
        assert np.isclose(bottoms.deepest[i], depth[0])
        if len(depth) > 1:
            assert np.isclose(bottoms.gap[i], depth[0] - depth[1])
            assert np.isclose(bottoms.spread[i], np.std(depth, ddof=1))
        else:
            assert np.isnan([bottoms.gap[i], bottoms.spread[i]]).all()
    assert (bottoms.curvature > 0).all()
    if p == 2:
        assert (bottoms.count == 1).all()


def test_trade_off_is_a_regression_with_an_interval_over_instances():
    bottoms = minima(find(PSpin.sample(3, 4, instances=150, seed=1)))
    told = trade_off(bottoms, resamples=500)
    assert np.isclose(told.slope, np.polyfit(bottoms.depth, bottoms.curvature, 1)[0])
    assert np.isclose(told.correlation, np.corrcoef(bottoms.depth, bottoms.curvature)[0, 1])
    for value, (low, high) in (
        (told.slope, told.slope_interval),
        (told.correlation, told.correlation_interval),
    ):
        assert low < value < high
    assert (told.minima, told.instances) == (len(bottoms.depth), 150)


def test_incomplete_sets_and_too_few_minima_are_refused():
    with pytest.raises(ValueError, match="not certified"):
        minima(find(PSpin(torch.zeros(1, 3, 3, 3, dtype=torch.float64))))
    with pytest.raises(ValueError, match="two instances"):
        trade_off(minima(find(PSpin.sample(3, 4))))
