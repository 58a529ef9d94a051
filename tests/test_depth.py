"""Counts against depth at a fixed budget: the numbers of the ledger, and limits."""

from __future__ import annotations

import numpy as np
import pytest

from spinscape.glasses._counts import log_total
from spinscape.glasses.complexity import log_complex_count
from spinscape.glasses.depth import depth_curve, log_real_asymptotic, log_real_count, parameter_count


def test_numbers_at_407050_weights() -> None:
    # Ten outputs, weights alone: the convention that gives the ledger's 8, 677 and 562.
    found = depth_curve(407_050, [1, 5, 10])
    assert np.round(found.log_complex, 0).tolist() == [8, 677, 561]
    assert found.log_complex == pytest.approx([7.6033, 676.822, 561.470], abs=1e-3)
    assert found.order.tolist() == [2, 6, 11]
    assert found.size[0] == pytest.approx(np.sqrt(784 * 10 * found.width[0]))
    assert found.log_complex[0] == pytest.approx(np.log(found.size[0]))
    assert found.log_real[0] == pytest.approx(np.log(2 * found.size[0]))


@pytest.mark.parametrize("biases", [False, True])
def test_budget_is_spent(biases: bool) -> None:
    found = depth_curve(50_000, range(1, 30), inputs=64, outputs=10, biases=biases)
    assert found.used == pytest.approx(np.full(29, 50_000.0), rel=1e-12)
    whole = depth_curve(50_000, range(1, 30), inputs=64, outputs=10, biases=biases, whole_widths=True)
    assert (whole.width == np.floor(whole.width)).all()
    assert (whole.used <= 50_000).all()
    above = parameter_count(whole.width + 1, whole.hidden, 64, 10, biases=biases)
    assert (above > 50_000).all()


def test_parameters_of_a_built_network() -> None:
    assert parameter_count(512, 1, 784, 10, biases=True) == 407_050
    assert parameter_count(30, 3, 64, 10) == 64 * 30 + 30 * 30 * 2 + 30 * 10
    whole = depth_curve(407_050, [1], biases=True, whole_widths=True)
    assert whole.width[0] == 512


def test_paths_by_multiplication() -> None:
    found = depth_curve(10_000, [1, 2, 6], inputs=20, outputs=3)
    for i, h in enumerate([1, 2, 6]):
        assert np.exp(found.log_paths[i]) == pytest.approx(20 * 3 * found.width[i] ** h)
        assert found.size[i] ** (h + 1) == pytest.approx(20 * 3 * found.width[i] ** h)


def test_counts_rise_and_fall_with_depth() -> None:
    found = depth_curve(407_050, range(1, 25))
    for counts, best in (
        (found.log_complex, found.hidden_of_most_complex),
        (found.log_real, found.hidden_of_most_real),
    ):
        top = int(np.argmax(counts))
        assert found.hidden[top] == best == 3
        assert (np.diff(counts[: top + 1]) > 0).all()
        assert (np.diff(counts[top:]) < 0).all()
        assert np.argmin(counts) == 0, "one hidden layer has the fewest points"
    ratio = found.log_real / found.log_complex
    assert ratio[1:] == pytest.approx(np.full(23, 0.5), abs=0.03)


def test_real_counts_between_whole_sizes() -> None:
    exact = [log_total(5, n) for n in (7, 8)]
    assert log_real_count(5, 7.0) == exact[0]
    assert log_real_count(5, 7.25) == pytest.approx(0.75 * exact[0] + 0.25 * exact[1])
    assert log_real_count(2, 7.25) == pytest.approx(np.log(14.5))
    assert log_real_count(9, 1.0) == pytest.approx(np.log(2))
    assert log_real_count(6, 500.5) < np.log(2) + log_complex_count(6, 500.5)


@pytest.mark.parametrize("p", [3, 4, 10, 40])
def test_expansion_for_many_spins(p: int) -> None:
    sizes = np.array([50, 100, 200, 400, 1000])
    error = np.array([log_total(p, n) - log_real_asymptotic(p, n) for n in sizes])
    # The next term is of order 1/n^2: the error times n^2 settles.
    scaled = error * sizes**2
    assert np.abs(np.diff(scaled)).max() < 0.1 * np.abs(scaled).max()
    assert abs(error[-1]) < 2e-6
    assert log_real_count(p, 1000.0001) == pytest.approx(log_real_count(p, 1000.0), abs=1e-3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: depth_curve(0, [1]), "parameters must be"),
        (lambda: depth_curve(1000.5, [1]), "parameters must be"),
        (lambda: depth_curve(1000, []), "at least one number of hidden layers"),
        (lambda: depth_curve(1000, [0, 1]), "every number of hidden layers"),
        (lambda: depth_curve(800, [1, 7, 10, 9]), "at 9 hidden layers, where at least 802 are needed"),
        (lambda: depth_curve(5, [1], biases=True, outputs=10), "at least 805 are needed"),
        (lambda: depth_curve(800, [1], inputs=0), "inputs must be"),
        (lambda: log_real_count(3, 0.5), "size must be at least 1"),
        (lambda: log_real_count(1, 5), "order must be"),
        (lambda: log_real_asymptotic(2, 5), "order must be"),
    ],
)
def test_bad_arguments(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
