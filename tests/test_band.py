"""The band of minima at finite size: laws of energies, ratios and mean index."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate

from spinscape.glasses.band import (
    band_ratio,
    crossing_energy,
    energy_law,
    falling_rate,
    leading_gap,
    limiting_index,
    mean_index,
    meeting_energy,
    saddle_ratio,
)
from spinscape.glasses.complexity import (
    mean_critical_density,
    mean_critical_points,
    rate,
    threshold_energy,
)


def test_law_against_quadrature_of_the_density() -> None:
    law = energy_law(3, [8, 13], 1, levels=[0.1, 0.5], margins=[0, 0.2])
    for i, n in enumerate([8, 13]):

        def moment(m: int, n: int = n, top: float = 1.0) -> float:
            def f(u: float) -> float:
                return u**m * mean_critical_density(u, 3, n, 1).item()

            return integrate.quad(f, -3, top, epsrel=1e-8, limit=200)[0]

        count = moment(0)
        mean = moment(1) / count
        assert np.exp(law.log_count[i]) == pytest.approx(count, rel=1e-7)
        assert law.mean[i] == pytest.approx(mean, rel=1e-7)
        assert law.gap[i] == pytest.approx(mean + threshold_energy(3), rel=1e-6)
        assert law.sd[i] == pytest.approx(np.sqrt(moment(2) / count - mean**2), rel=1e-6)
        for level, quantile in zip(law.levels, law.quantiles[i], strict=True):
            assert moment(0, top=quantile) / count == pytest.approx(level, rel=1e-6)
        below = [moment(0, top=m - threshold_energy(3)) / count for m in law.margins]
        assert law.below[i] == pytest.approx(below, rel=1e-6)


def test_gap_closes_as_the_square_root() -> None:
    sizes = [20, 40, 80, 120]
    law = energy_law(3, sizes)
    power = law.local_power()
    assert (power[:-1] < power[1:]).all()
    assert power[-1] == pytest.approx(-0.5, abs=0.01)
    for p in (3, 5, 20):
        law = energy_law(p, sizes)
        assert (law.gap > 0).all(), "the mean minimum lies above the threshold"
        assert law.gap == pytest.approx(leading_gap(p, sizes), rel=0.15)


def test_share_near_the_threshold_grows_to_one() -> None:
    law = energy_law(3, [10, 40, 120], margins=[0, 0.1])
    assert (np.diff(law.below[:, 0]) < 0).all()
    assert (np.diff(law.below[:, 1]) > 0).all()


def test_saddles_vanish_at_fixed_energy_and_not_in_the_band() -> None:
    u, sizes = [-1.9, -2.2], [20, 40, 80, 160]
    found = saddle_ratio(u, 3, sizes)
    assert found.shape == (4, 2)
    assert (np.diff(found, axis=0) < 0).all()
    # log ratio = a - b log n - n I(u): on doubling, second differences are free of a and b.
    slope = (found[3] - 2 * found[2] + found[1]) / 40
    assert -slope == pytest.approx(rate(u, 3), rel=0.05)
    whole = band_ratio(3, sizes)
    assert (np.diff(whole) > 0).all()
    direct = mean_critical_points(3, 20, 1, -threshold_energy(3)) / mean_critical_points(
        3, 20, 0, -threshold_energy(3)
    )
    assert whole[0] == pytest.approx(direct, rel=1e-12)


def test_mean_index() -> None:
    u = np.linspace(-1.8, 1.8, 13)
    n = 20
    weighted = sum(k * mean_critical_density(u, 4, n, k) for k in range(n)) / n
    assert mean_index(u, 4, n) == pytest.approx(
        weighted / mean_critical_density(u, 4, n), rel=1e-8, abs=1e-12
    )
    far = [np.abs(mean_index(u, 4, m) - limiting_index(u, 4)).max() for m in (10, 40, 100)]
    assert far[0] > far[1] > far[2]
    assert far[2] < 0.02
    edge = threshold_energy(4)
    assert limiting_index([-9, -edge, 0, edge, 9], 4) == pytest.approx([0, 0, 0.5, 1, 1])
    inside, _ = integrate.quad(lambda v: 2 * np.sqrt(1 - v * v) / np.pi, -1, -0.3)
    assert limiting_index(-0.3 * edge, 4) == pytest.approx(inside)


def test_crossings_close_in_on_the_threshold() -> None:
    sizes = np.array([20, 50, 100, 200])
    found = crossing_energy(3, sizes)
    assert found == pytest.approx([-1.3511, -1.4845, -1.5409, -1.5757], abs=5e-5)
    slope, limit = np.polyfit(sizes[2:] ** (-2 / 3), found[2:], 1)
    assert slope > 0
    assert limit == pytest.approx(-threshold_energy(3), rel=0.002)


def test_there_is_a_crossing_at_every_size() -> None:
    sizes = [*range(3, 31), 77, 141, 199, 200]
    found = crossing_energy(3, sizes)
    assert (np.diff(found) < 0).all()
    assert ((found > -threshold_energy(3)) & (found < 0)).all()
    # The weight of an energy is the same for every index, so only the scale depends on p.
    for p in (4, 20):
        assert crossing_energy(p, [3, 60, 200]) / threshold_energy(p) == pytest.approx(
            crossing_energy(3, [3, 60, 200]) / threshold_energy(3), rel=1e-8
        )


@pytest.mark.parametrize(("p", "n"), [(3, 3), (3, 40), (5, 12)])
def test_densities_are_equal_at_the_crossing(p: int, n: int) -> None:
    (at,) = crossing_energy(p, [n])
    one, none = (mean_critical_density(at, p, n, index) for index in (1, 0))
    assert one == pytest.approx(none, rel=1e-6)
    ratio = saddle_ratio([at - 0.01, at + 0.01], p, [n])[0]
    assert ratio[0] < 0 < ratio[1]


@pytest.mark.parametrize("p", [2, 3, 4, 20])
def test_complexities_meet_at_the_threshold(p: int) -> None:
    assert meeting_energy(p) == pytest.approx(-threshold_energy(p), abs=1e-8)
    # They part as the power 3/2, so the error is the tolerance to the power 2/3.
    coarse = -threshold_energy(p) - meeting_energy(p, tolerance=1e-8)
    assert 1e-6 < coarse < 2e-5


def test_saddles_fall_at_the_rate_of_large_deviations() -> None:
    for index in (1, 2):
        assert falling_rate(-2.2, 3, 200, index) == pytest.approx(index * rate(-2.2, 3), rel=0.005)
    errors = [abs(falling_rate(-2.2, 3, n) / rate(-2.2, 3) - 1) for n in (24, 60, 160)]
    assert errors[0] > errors[1] > errors[2]
    # With log ratio = a - b log n - n I, slopes between n / 4, n / 2 and n have the parts 4 b log(2) / n
    # and 2 b log(2) / n beyond I.
    found = saddle_ratio(-2.0, 4, [20, 40, 80])[:, 0]
    assert falling_rate(-2.0, 4, 80) == pytest.approx(
        2 * (found[1] - found[2]) / 40 - (found[0] - found[1]) / 20
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: energy_law(3, []), "at least one size"),
        (lambda: energy_law(3, [10, 201]), "every size must be a whole number, 2 to 200"),
        (lambda: energy_law(3, [4], 4), "every size must be a whole number, 5 to 200"),
        (lambda: energy_law(3, [4], levels=[1.0]), "strictly between 0 and 1"),
        (lambda: energy_law(1, [4]), "p must be"),
        (lambda: leading_gap(2, 10), "p must be a whole number of at least 3"),
        (lambda: saddle_ratio(-1.7, 3, [10], 0), "index must be"),
        (lambda: band_ratio(3, [1]), "2 to 200"),
        (lambda: crossing_energy(2, [10]), "p must be a whole number of at least 3"),
        (lambda: crossing_energy(3, [2, 10]), "every size must be a whole number, 3 to 200"),
        (lambda: crossing_energy(3, [201]), "every size must be a whole number, 3 to 200"),
        (lambda: meeting_energy(1), "p must be"),
        (lambda: falling_rate(-2.0, 3, 11), "n must be a whole number, 12 to 200"),
        (lambda: mean_index(np.inf, 3, 10), "finite"),
    ],
)
def test_bad_arguments(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
