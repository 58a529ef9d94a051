"""The replica identities in one dimension, against closed forms, and with a coupling that is wrong."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad

from spinscape.landscape.flatness import replica_identity
from spinscape.landscape.flatness.replica_identity import ENERGIES


@pytest.mark.parametrize("energy", ["quadratic", "double well"])
@pytest.mark.parametrize("copies", [2, 3])
def test_identities_hold_and_a_wrong_coupling_is_seen(energy: str, copies: int) -> None:
    found = replica_identity(energy, copies=copies)
    assert found.marginal < 1e-9
    assert found.replicas < 1e-9
    assert found.wrong_marginal > 0.1
    assert found.wrong_replicas > 0.1
    assert found.measures == pytest.approx(found.system, rel=1e-9)
    assert (found.density * np.gradient(found.grid)).sum() == pytest.approx(1)


@pytest.mark.parametrize(("beta", "gamma"), [(2.0, 1.0), (0.5, 3.0), (4.0, 0.4)])
@pytest.mark.parametrize("copies", [2, 3])
def test_quadratic_in_closed_form(copies: int, beta: float, gamma: float) -> None:
    found = replica_identity("quadratic", copies=copies, beta=beta, gamma=gamma)
    assert found.system == pytest.approx(found.closed, rel=1e-8)
    assert found.measures == pytest.approx(found.closed, rel=1e-8)
    # The copies alone, by the inverse of their precision.
    precision = beta * ((1 + gamma) * np.eye(copies) - gamma / copies)
    covariance = np.linalg.inv(precision)
    assert found.closed[1:] == pytest.approx(covariance[0, :2], rel=1e-12)


def test_entropic_density_by_adaptive_quadrature() -> None:
    beta, gamma, copies = 2.0, 1.0, 2
    found = replica_identity("double well", copies=copies, beta=beta, gamma=gamma)
    energy = ENERGIES["double well"]

    def weight(w: float) -> float:
        inner = quad(lambda v: np.exp(-beta * (energy(v) + gamma * (w - v) ** 2 / 2)), -4, 4, epsabs=1e-13)
        return inner[0] ** copies

    middle = np.argmin(np.abs(found.grid))
    away = middle + 9
    ratio = weight(float(found.grid[away])) / weight(float(found.grid[middle]))
    assert found.density[away] / found.density[middle] == pytest.approx(ratio, rel=1e-9)


def test_an_energy_of_ones_own() -> None:
    found = replica_identity(lambda w: w**4 / 4 + np.cos(3 * w), copies=2)
    assert max(found.marginal, found.replicas) < 1e-8
    assert np.isnan(found.closed).all()


def test_a_grid_too_coarse_is_seen() -> None:
    assert replica_identity("quadratic", copies=2, beta=40.0, points=13).marginal > 1e-6


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"copies": 1}, "at least 2"),
        ({"beta": 0.0}, "beta"),
        ({"gamma": -1.0}, "gamma"),
        ({"energy": "cubic"}, "double well"),
        ({"energy": lambda w: w}, "both sides"),
        ({"points": 3}, "points"),
    ],
)
def test_bad_input_is_refused(options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        replica_identity(**options)


def test_a_grid_that_cannot_fit_is_refused() -> None:
    with pytest.raises(MemoryError, match="points must be at most"):
        replica_identity(copies=9)
