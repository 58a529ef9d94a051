"""Test errors at a given training loss."""

from __future__ import annotations

import numpy as np
import pytest

from spinscape.landscape.stopped import error_at_loss, interpolate
from spinscape.networks.datasets import load
from spinscape.networks.models import mlp


def test_lines_are_followed_a_little_beyond_their_ends() -> None:
    at = np.array([[0.0, 0.0, 0.0, 1.0], [1.0, 1.0, 1.0, 1.0]])
    values = np.array([[2.0, 2.0, 2.0, 2.0], [4.0, 4.0, 4.0, 4.0]])
    np.testing.assert_allclose(interpolate(at[:, :1], values[:, :1], 0.25), [2.5])
    np.testing.assert_allclose(interpolate(at[:, :1], values[:, :1], 1.2), [4.4])
    assert np.isnan(interpolate(at[:, :1], values[:, :1], 1.3)).all()
    assert np.isnan(interpolate(at[:, 3:], values[:, 3:], 0.5)).all()


def test_stops_bracket_the_loss_and_the_error_lies_between() -> None:
    options = {"optimiser": "sgd", "learning_rate": 0.05, "momentum": 0.9, "epochs": 200, "batch_size": 16}
    dataset = load("digits").flat().shortened(200)
    found = error_at_loss(mlp([64, 16, 10]), dataset, 0.1, replicas=3, seed=0, **options)
    assert (found.loss[0] <= 0.1).all()
    assert (found.loss[1] > found.loss[0]).all()
    known = np.isfinite(found.at_level)
    assert known.any()
    low, high = found.error.min(0), found.error.max(0)
    reach = 0.25 * (high - low) + 1e-12
    assert ((found.at_level >= low - reach) & (found.at_level <= high + reach))[known].all()


@pytest.mark.parametrize(("level", "above"), [(0.0, 2.0), (-1.0, 2.0), (np.nan, 2.0), (0.1, 1.0)])
def test_levels_out_of_range_are_refused(level: float, above: float) -> None:
    with pytest.raises(ValueError, match="level must be positive"):
        error_at_loss(mlp([64, 4, 10]), load("digits").flat(), level, above=above, epochs=1)


def test_a_target_of_its_own_is_refused() -> None:
    with pytest.raises(ValueError, match="target_loss follows"):
        error_at_loss(mlp([64, 4, 10]), load("digits").flat(), 0.1, target_loss=0.1, epochs=1)
