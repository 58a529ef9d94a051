"""Trends of barriers: planted laws, and what must not count as one."""

from __future__ import annotations

import numpy as np
import pytest

from spinscape.landscape import swap_trends

WIDTHS, SWAPS = [64, 128, 256], [0, 1, 2, 4, 5, 10]


def law(a: float, b: float, networks: int = 3) -> np.ndarray:
    """Barriers that are a power of S and of M, ``(W, R, S)``."""
    height = np.arange(1.0, networks + 1)[None, :, None]
    widths, swaps = np.array(WIDTHS, float), np.array(SWAPS, float)
    return height * swaps**a * widths[:, None, None] ** -b


def test_exponents_of_a_planted_law() -> None:
    found = swap_trends.exponents(law(1.4, 0.9), WIDTHS, SWAPS)
    assert np.allclose(found, [1.4, 0.9])
    broken = law(1.4, 0.9)
    broken[0, 1, 2] = -1.0
    assert np.isnan(swap_trends.exponents(broken, WIDTHS, SWAPS)).any(1).tolist() == [False, True, False]


def test_a_function_of_the_share_collapses_and_another_does_not() -> None:
    assert np.allclose(swap_trends.log_collapse_ratio(law(1.5, 1.5), WIDTHS, SWAPS), 0)
    # B ~ S^1.5 / M: at twice the width and twice the swaps the barrier grows by the root of 2.
    assert np.allclose(swap_trends.log_collapse_ratio(law(1.5, 1.0), WIDTHS, SWAPS), -0.5 * np.log(2))
    assert np.isnan(swap_trends.log_collapse_ratio(law(1.0, 1.0), [64, 100, 130], SWAPS)).all()


def test_change_from_the_first_condition_to_the_last() -> None:
    assert np.allclose(swap_trends.log_change(law(1.5, 2.0)), -2 * np.log(4))
    assert np.isneginf(swap_trends.log_change([[[1.0, 1.0]], [[0.0, 0.0]]])).all()


def test_falling_steps_are_counted_and_noise_is_not() -> None:
    generator = np.random.default_rng(0)
    curve = np.array([0.0, 1.0, 2.0, 1.0, 3.0])
    rising = np.sort(generator.normal(size=(6, 5)))
    noisy = curve + 0.01 * generator.normal(size=(6, 5))
    assert swap_trends.falling_steps([noisy, rising]) == [1, 0]
    assert swap_trends.falling_steps(np.tile(curve, (2, 4, 1))) == [1, 1]
    alarms = sum(sum(swap_trends.falling_steps(generator.normal(size=(2, 6, 5)))) > 0 for _ in range(300))
    # At most 5% by Holm: 15 expected, standard deviation 3.8.
    assert alarms <= 27
    with pytest.raises(ValueError, match="barriers must have shape"):
        swap_trends.falling_steps([1.0, 2.0])


def test_peak_of_the_mean_curve() -> None:
    alphas = np.linspace(0, 1, 5)
    loss = np.stack([[[0, 1, 3, 1, 0], [0, 1, 2, 1, 0]], [[0, 4, 3, 1, 0], [0, 1, 1, 1, 0]]])
    assert swap_trends.peak_position(alphas, loss).tolist() == [0.5, 0.25]
    assert np.isnan(swap_trends.peak_position(alphas, np.full((2, 1, 5), np.nan))).all()


@pytest.mark.parametrize("trend", [swap_trends.log_collapse_ratio, swap_trends.exponents])
def test_shapes_and_widths_are_checked(trend) -> None:
    barriers = law(1.0, 1.0)
    with pytest.raises(ValueError, match=r"barriers must have shape \(W, R, S\), not \(3, 6\)"):
        trend(barriers[:, 0], WIDTHS, SWAPS)
    for widths, swaps in ((WIDTHS[:2], SWAPS), (WIDTHS, SWAPS[1:])):
        with pytest.raises(ValueError, match="need W widths and S swaps"):
            trend(barriers, widths, swaps)
    with pytest.raises(ValueError, match="widths must be positive and increase"):
        trend(barriers, WIDTHS[::-1], SWAPS)
    with pytest.raises(ValueError, match="swaps must be at least 0"):
        trend(barriers, WIDTHS, [-1, *SWAPS[1:]])


def test_too_little_for_a_trend() -> None:
    with pytest.raises(ValueError, match="at least two widths"):
        swap_trends.exponents(law(1.0, 1.0)[:1], WIDTHS[:1], SWAPS)
    with pytest.raises(ValueError, match="two positive numbers of swaps"):
        swap_trends.exponents(law(1.0, 1.0)[..., :2], WIDTHS, SWAPS[:2])
    with pytest.raises(ValueError, match="barriers must have shape"):
        swap_trends.log_change([1.0, 2.0])
    with pytest.raises(ValueError, match="loss must have shape"):
        swap_trends.peak_position([0, 1], np.ones((2, 3, 3)))
