"""Flat regions and plateaus: closed forms, and false alarms on noisy straight lines."""

from __future__ import annotations

import numpy as np
import pytest

from spinscape import statistics
from spinscape.companion.predicates.random_walks import FLAT, PLATEAU
from spinscape.landscape import growth

T = np.arange(81)


def test_a_straight_line_has_neither() -> None:
    found = growth.shape(3.0 + 0.5 * T)
    assert found.initial == pytest.approx(1)
    assert found.final == pytest.approx(1)
    assert found.steepest == pytest.approx(0.5)


def test_a_sigmoid_has_both() -> None:
    found = growth.shape(1 / (1 + np.exp(-(T - 40) / 4)))
    assert found.initial < 0.01
    assert found.final < 0.02


def test_false_alarms_on_noisy_lines() -> None:
    # 500 runs of 8 networks whose loss grows linearly with noise as large as ten steps' growth.
    rng = np.random.default_rng(0)
    curves = T + 10 * rng.normal(size=(500, 8, 81))
    shape = growth.shape(curves)
    flat = [statistics.mean(rows).high <= FLAT for rows in shape.initial]
    plateau = [statistics.mean(rows).high <= PLATEAU for rows in shape.final]
    assert np.mean(flat) <= 0.05
    assert np.mean(plateau) <= 0.05


def test_power_on_noisy_plateaus() -> None:
    rng = np.random.default_rng(1)
    curve = 40 * (1 - np.exp(-T / 8))
    shape = growth.shape(curve + 0.5 * rng.normal(size=(200, 8, 81)))
    assert np.mean([statistics.mean(rows).high <= PLATEAU for rows in shape.final]) >= 0.8


def test_flat_length_by_hand() -> None:
    curve = np.array([[1.0, 1.05, 1.2, 1.1], [1.0, 1.0, 1.0, 1.0], [1.0, 2.0, 2.0, 2.0]])
    assert growth.flat_length(curve, 0.1).tolist() == [1, 3, 0]


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_exponent_of_a_power(power: float) -> None:
    assert growth.exponent(T, 3.0 * T.astype(float) ** power) == pytest.approx(power)


def test_growth_law_of_a_quadratic() -> None:
    # The mean of w^T A w / 2 under displacements of variance s is s Tr A / 2.
    spread = np.array([[0.1, 0.2]])
    rise = spread[:, None, :] * np.array([3.0, 5.0])[None, :, None] / 2
    assert growth.taylor_ratio(rise, spread, [3.0, 5.0]) == pytest.approx(1)


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 8 steps"):
        growth.shape(np.arange(5))
    with pytest.raises(ValueError, match="first quarter"):
        growth.shape(T, first=40)
    with pytest.raises(ValueError, match="positive"):
        growth.flat_length(T, 0)
