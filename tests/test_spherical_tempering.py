"""The spherical p-spin glass in equilibrium: integrals over small spheres, the identity, and the limit."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from spinscape.glasses.complexity import layer_energy
from spinscape.glasses.pspin import PSpin
from spinscape.glasses.spherical_tempering import BINS, ladder, one_step, temper


def free_energy(p: int, temperature: float, q: float, m: float) -> float:
    """The variational ``-log Z / n`` of one step, up to a constant."""
    beta = 1 / temperature
    return -(
        beta**2 / 2 * (1 - (1 - m) * q**p)
        + ((1 - 1 / m) * math.log(1 - q) + math.log(1 - (1 - m) * q) / m) / 2
    )


@pytest.mark.parametrize("p", [3, 4, 7])
def test_one_step_is_stationary_and_its_energy_is_the_slope(p: int) -> None:
    temperatures = np.array([0.3, 0.55])
    found = one_step(p, temperatures)
    step = 1e-5
    for t, q, m, u in zip(temperatures, found.overlap, found.breaking, found.energy, strict=True):
        assert 0 < m < 1
        for dq, dm in ((step, 0), (0, step)):
            slope = free_energy(p, t, q + dq, m + dm) - free_energy(p, t, q - dq, m - dm)
            assert abs(slope) / (2 * step) < 1e-5
        betas = 1 / t + np.array([-1e-4, 1e-4])
        ends = one_step(p, 1 / betas)
        low, high = (free_energy(p, 1 / b, ends.overlap[i], ends.breaking[i]) for i, b in enumerate(betas))
        assert (high - low) / 2e-4 == pytest.approx(u, rel=1e-5)


def test_one_step_against_published_temperatures() -> None:
    found = one_step(3, [0.8287, 0.829, 1.0])
    # Crisanti & Sommers 1992: 0.586 and 0.612 in units in which energies are sqrt(2) times smaller.
    assert found.static == pytest.approx(0.586 * math.sqrt(2), abs=5e-4)
    assert found.dynamic == pytest.approx(math.sqrt(3 / 4))
    assert found.breaking[0] == pytest.approx(1, abs=1e-3)
    assert found.overlap[0] == pytest.approx(0.645, abs=1e-3)
    assert found.overlap[1:].tolist() == [0, 0]
    assert found.energy[1:] == pytest.approx([-1 / 0.829, -1.0])


@pytest.mark.parametrize("p", [3, 4, 10])
def test_one_step_ends_in_the_ground_state(p: int) -> None:
    # At temperature 0 the energy is where the annealed count of minima ends: 1.656998 for p = 3.
    found = one_step(p, [1e-4, 2e-4]).energy
    assert 2 * found[0] - found[1] == pytest.approx(-layer_energy(p), abs=1e-6)


def sphere(points: int) -> tuple[np.ndarray, np.ndarray]:
    """Points of the sphere ``|s|^2 = 3`` and weights, exact for polynomials of degree 2 points - 1."""
    z, weights = np.polynomial.legendre.leggauss(points)
    angle = 2 * np.pi * np.arange(2 * points) / (2 * points)
    r = np.sqrt(1 - z**2)[:, None]
    grid = np.stack(
        [r * np.cos(angle), r * np.sin(angle), np.broadcast_to(z[:, None], (points, 2 * points))], -1
    )
    return math.sqrt(3) * grid.reshape(-1, 3), np.repeat(weights, 2 * points)


@pytest.mark.parametrize("p", [2, 3])
def test_three_spins_against_quadrature(p: int) -> None:
    glass = PSpin.sample(p, 3, instances=6, seed=3)
    temperatures = np.array([0.4, 0.8, 1.6])
    grid, weights = sphere(20)
    energy = glass.energy(torch.from_numpy(grid).expand(6, -1, -1)).numpy()
    law = weights * np.exp(-(energy - energy.min(1, keepdims=True))[:, None] / temperatures[:, None])
    law /= law.sum(2, keepdims=True)
    power = (grid @ grid.T / 3) ** p
    u = (law * energy[:, None]).sum(2) / 3
    moment = ((law @ power) * law).sum(2)
    found = temper(glass, temperatures, copies=8, sweeps=500, burn=50, seed=4)
    # 18 differences over errors of 7 degrees of freedom; their squares average 1.4.
    for value, error, exact in (
        (found.energy, found.energy_error, u),
        (found.moment, found.moment_error, moment),
    ):
        off = (value - exact) / error
        assert np.abs(off).max() < 6.5
        assert (off**2).mean() < 3
        assert error.max() < 0.05
    assert found.histogram.sum(2) * (2 / BINS) == pytest.approx(np.ones((6, 3)))


@pytest.fixture(scope="module")
def run():
    glass = PSpin.sample(3, 20, instances=40, seed=1)
    return temper(
        glass, ladder(0.5, 1.6, 6), copies=4, sweeps=200, burn=60, keep=[0.5, 1.6], snapshots=5, seed=2
    )


def test_the_identity_holds_and_chains_have_forgotten_their_starts(run) -> None:
    gap = run.identity_gap
    assert (np.abs(gap.mean(0)) < 3.5 * gap.std(0, ddof=1) / math.sqrt(40)).all()
    # At the lowest temperature it would not hold for states of the first sweeps.
    early = run.history[:, 0, 1] + (1 - run.moment[:, 0]) / run.temperatures[0]
    assert early.mean() > 5 * early.std(ddof=1) / math.sqrt(40)
    late = run.history[:, :, -1] - run.history[:, :, -2]
    assert (np.abs(late.mean(0)) < 4 * late.std(0, ddof=1) / math.sqrt(40)).all()
    assert run.blocks[-1] == 200
    assert (np.diff(run.blocks) > 0).all()
    assert run.acceptance.min() > 0.8
    assert run.exchange.min() > 0.4
    assert run.round_trips.sum(1).min() > 0


def test_overlaps_part_below_the_transition_only(run) -> None:
    middle = (run.edges[1:] + run.edges[:-1]) / 2
    cold, hot = run.histogram[:, 0].mean(0), run.histogram[:, -1].mean(0)
    expected = one_step(3, [0.5]).overlap[0]
    above = middle > 0.5
    peak = middle[above][np.argmax(cold[above])]
    assert peak == pytest.approx(expected, abs=0.08)
    # Two peaks with a valley between them, against one peak about 0.
    valley = cold[(middle > 0.3) & (middle < 0.6)].mean()
    assert cold[np.abs(middle - peak) < 0.05].mean() > 3 * valley
    assert cold[np.abs(middle) < 0.1].mean() > 1.5 * valley
    assert hot[middle > 0.6].sum() < 0.05 * hot.sum()


def test_kept_states_are_those_of_their_temperature(run) -> None:
    assert run.kept == pytest.approx([0.5, 1.6])
    assert run.states.shape == (40, 2, 20, 20)
    assert (run.states**2).sum(-1) == pytest.approx(np.full((40, 2, 20), 20.0))
    glass = PSpin.sample(3, 20, instances=40, seed=1)
    for index, place in ((0, 0), (1, -1)):
        kept = glass.energy_per_spin(torch.from_numpy(run.states[:, index])).numpy().mean(1)
        off = kept - run.energy[:, place]
        assert abs(off.mean()) < 4 * off.std(ddof=1) / math.sqrt(40)
    assert run.overlaps.shape == (40, 2, 20, 20)
    assert (run.overlaps[..., range(20), range(20)] == 1).all()


def test_an_instance_depends_on_its_number_only() -> None:
    one, several = (
        temper(
            PSpin.sample(3, 12, instances=i, seed=1), [0.5, 0.8, 1.2], copies=3, sweeps=30, burn=5, keep=[0.5]
        )
        for i in (1, 4)
    )
    assert np.array_equal(one.states[0], several.states[0])
    assert np.array_equal(one.energy[0], several.energy[0])
    assert np.array_equal(one.round_trips[0], several.round_trips[0])


def test_single_precision_and_two_copies() -> None:
    glass = PSpin.sample(3, 8, instances=3, seed=1, dtype=torch.float32)
    found = temper(glass, [0.8, 1.2], copies=2, sweeps=40, burn=10)
    assert np.isfinite(found.energy).all()
    assert found.energy.dtype == np.float64
    assert np.isnan(found.moment_error).all()
    assert found.states.shape == (3, 0, 2, 8)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"temperatures": [0.5]}, "rise"),
        ({"temperatures": [0.8, 0.5]}, "rise"),
        ({"temperatures": [0.0, 0.5]}, "positive"),
        ({"temperatures": [0.5, math.nan]}, "positive"),
        ({"copies": 1}, "copies"),
        ({"sweeps": 0}, "sweeps"),
        ({"burn": 40}, "burn"),
        ({"snapshots": 31}, "snapshots"),
        ({"keep": [0.6]}, "0.6 is not one"),
        ({"seed": -1}, "seed"),
        ({"copies": 10**10}, "more than there is"),
        ({"keep": [0.5], "copies": 10**5, "snapshots": 30}, "keep fewer"),
    ],
)
def test_bad_arguments(changes: dict, message: str) -> None:
    glass = PSpin.sample(3, 4, instances=1)
    options = {"temperatures": [0.5, 1.0], "copies": 2, "sweeps": 40, "burn": 10, **changes}
    with pytest.raises(ValueError, match=message):
        temper(glass, options.pop("temperatures"), **options)


def test_bad_arguments_of_the_theory() -> None:
    with pytest.raises(ValueError, match="p must"):
        one_step(2, [0.5])
    with pytest.raises(ValueError, match="temperatures"):
        one_step(3, [-0.5])
    with pytest.raises(ValueError, match="rise"):
        ladder(1.0, 0.5, 4)
    with pytest.raises(ValueError, match="count"):
        ladder(0.5, 1.0, 1)
