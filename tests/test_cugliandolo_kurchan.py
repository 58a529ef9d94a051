"""The dynamics of infinitely many spins against p = 2 in closed form, and against its limits."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ive

from spinscape.glasses import cugliandolo_kurchan
from spinscape.glasses.cugliandolo_kurchan import descent_curve


def two_spins(times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Energy and overlap with the start at p = 2: integrals over the semicircle on [-sqrt 2, sqrt 2].

    With phi(x) = int rho(l) exp(-l x) dl = 2 I_1(r x) / (r x), e = -phi'(4t) / phi(4t) and
    C(t, 0) = phi(2t) / sqrt(phi(4t)).
    """
    r = 2**0.5
    z = r * np.maximum(4 * times, 1e-8)
    energy = -r * ive(2, z) / ive(1, z)
    overlap = 2 * ive(1, z / 2) / (z / 2) / np.sqrt(2 * ive(1, z) / z)
    return energy, overlap


def test_two_spins_have_a_closed_form() -> None:
    errors = []
    for step in (0.08, 0.04, 0.02):
        seen = descent_curve(2, time=10, step=step)
        energy, overlap = two_spins(seen.times)
        errors.append([abs(seen.energy - energy).max(), abs(seen.overlap - overlap).max()])
    errors = np.array(errors)
    assert errors[-1].max() < 2e-5
    # Third order: half the step, an eighth of the error.
    assert (errors[:-1] / errors[1:] > 6).all()


@pytest.mark.parametrize("p", [3, 4])
@pytest.mark.parametrize("temperature", [0.0, 0.5])
def test_halving_the_step_shows_third_order(p: int, temperature: float) -> None:
    coarse, middle, fine = (
        descent_curve(p, time=4, step=h, temperature=temperature).energy[:: round(0.05 / h)]
        for h in (0.05, 0.025, 0.0125)
    )
    assert abs(coarse - middle).max() / abs(middle - fine).max() > 6
    assert abs(middle - fine).max() < 1e-3


@pytest.mark.parametrize("p", [2, 3, 5])
def test_first_slope_is_minus_p(p: int) -> None:
    # e = -p t + O(t^3): e is odd, as turning the couplings' sign turns time.
    seen = descent_curve(p, time=0.02, step=0.001)
    assert seen.energy[0] == 0
    assert seen.energy[10] / 0.01 == pytest.approx(-p, rel=5e-3)


def test_correlation_stays_one_at_equal_times(monkeypatch) -> None:
    # dC(t,t)/dt = 2 (dC/dt at t' = t+) + 2 T must vanish if the multiplier mu is right.
    for temperature in (0.0, 0.7):
        slopes = []
        plain = cugliandolo_kurchan._slopes

        def seen(c, r, m, *rest, plain=plain, slopes=slopes):
            found = plain(c, r, m, *rest)
            slopes.append(found[0][-1])
            return found

        monkeypatch.setattr(cugliandolo_kurchan, "_slopes", seen)
        descent_curve(3, time=3, step=0.05, temperature=temperature)
        monkeypatch.undo()
        np.testing.assert_allclose(slopes, -temperature, atol=1e-9)


@pytest.mark.parametrize("p", [3, 4])
def test_descent_tends_to_the_threshold(p: int) -> None:
    # A straight line in t^{-2/3} over the last two thirds; it has no better known error than a per cent.
    seen = descent_curve(p, time=30, step=0.05 if p == 3 else 0.04)
    late = seen.times > 10
    _, limit = np.polyfit(seen.times[late] ** (-2 / 3), seen.energy[late], 1)
    threshold = -2 * ((p - 1) / p) ** 0.5
    assert limit == pytest.approx(threshold, rel=0.01)
    assert (np.diff(seen.energy) < 0).all()
    assert seen.energy[-1] > threshold


def test_noise_keeps_the_third_order() -> None:
    # Without the term for the kink of C at equal times the ratio falls to 5 at these steps, and on to 4.
    steps = (1 / 80, 1 / 160, 1 / 320)
    energies = [descent_curve(3, time=1, step=h, temperature=2.0).energy[-1] for h in steps]
    assert (energies[0] - energies[1]) / (energies[1] - energies[2]) > 6.5


@pytest.mark.parametrize(("p", "temperature"), [(2, 2.5), (3, 2.0), (4, 1.5)])
def test_hot_dynamics_reach_equilibrium(p: int, temperature: float) -> None:
    seen = descent_curve(p, time=8, step=0.025, temperature=temperature)
    assert seen.energy[-1] == pytest.approx(-1 / temperature, abs=1e-3)
    assert abs(seen.overlap[-1]) < 1e-2


def test_bad_calls_are_refused() -> None:
    with pytest.raises(ValueError, match="p must be a whole number of at least 2"):
        descent_curve(1, time=1)
    with pytest.raises(ValueError, match="p must be a whole number"):
        descent_curve(2.5, time=1)
    with pytest.raises(ValueError, match="temperature finite"):
        descent_curve(3, time=1, temperature=np.inf)
    for options in ({"time": 0}, {"time": 1, "step": 0}, {"time": 1, "temperature": -1}, {"time": np.inf}):
        with pytest.raises(ValueError, match="positive"):
            descent_curve(3, **options)
    with pytest.raises(ValueError, match="step must be at most"):
        descent_curve(3, time=10, step=0.5)
    with pytest.raises(ValueError, match="time is at most 400"):
        descent_curve(3, time=1000, step=0.05)
