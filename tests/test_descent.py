"""Descent and Langevin dynamics against closed forms at p = 2, plain loops and equilibrium."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import brentq

from spinscape.glasses import _memory
from spinscape.glasses._basins import third_derivative_bound
from spinscape.glasses._flow import excess, largest_curvature
from spinscape.glasses._pairs import Pairs
from spinscape.glasses.cugliandolo_kurchan import descent_curve
from spinscape.glasses.descent import annealed_langevin, gradient_descent, langevin, relax
from spinscape.glasses.pspin import PSpin, from_tangent, random_points, to_sphere

TIMES = [0.0, 0.1, 0.5, 2.0]


def test_two_spin_descent_has_a_closed_form() -> None:
    glass, starts = PSpin.sample(2, 12, instances=3, seed=1), random_points(3, 4, 12, seed=2)
    matrix = glass.couplings / 12**0.5
    exact = np.empty((3, 4, len(TIMES)))
    for j, t in enumerate(TIMES):
        moved = to_sphere(starts @ torch.linalg.matrix_exp(-2 * t * matrix))
        exact[..., j] = glass.energy_per_spin(moved)
    errors = []
    for step in (0.05, 0.025):
        seen = gradient_descent(glass, starts, times=TIMES, step=step)
        errors.append(abs(seen.energy - exact).max())
    assert errors[0] < 0.01
    # Second order: half the step, a quarter of the error.
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.25)
    np.testing.assert_allclose(seen.points, moved, atol=0.02)
    gradient = glass.gradient(torch.from_numpy(seen.points)).norm(dim=-1) / 12**0.5
    np.testing.assert_allclose(seen.gradient_norm[..., -1], gradient, rtol=1e-9)
    np.testing.assert_allclose(seen.energy[..., 0], glass.energy_per_spin(starts))


@pytest.mark.parametrize(("p", "n", "instances", "last"), [(3, 100, 12, 2.0), (4, 30, 12, 0.3)])
def test_large_glasses_follow_the_curve_of_infinitely_many_spins(p, n, instances, last) -> None:
    # Six times within 4.5 standard errors and an allowance of 1/n for finite size; false alarm < 1e-4.
    # At n = 30 the finite glass falls behind from about t = 0.5 on.
    times = last * np.linspace(0, 1, 6)
    glass, starts = PSpin.sample(p, n, instances=instances, seed=3), random_points(instances, 8, n, seed=4)
    energy = gradient_descent(glass, starts, times=times).energy.mean(1)
    curve = descent_curve(p, time=last, step=0.025)
    limit = np.interp(times, curve.times, curve.energy)
    error = energy.std(0, ddof=1) / instances**0.5
    assert (abs(energy.mean(0) - limit) < 4.5 * error + 1 / n).all()
    assert error.max() < 0.03
    assert limit[-1] < -0.75


def test_energy_falls_and_slope_is_minus_p() -> None:
    glass, starts = PSpin.sample(3, 20, instances=50, seed=5), random_points(50, 40, 20, seed=6)
    seen = gradient_descent(glass, starts, times=[0.0, 0.001, 0.5, 1.0, 5.0])
    assert (np.diff(seen.energy, axis=-1) < 0).all()
    # E |grad|^2 / n = p (n-1)/n at a random point, and the energy falls by it.
    squared = (seen.gradient_norm[..., 0] ** 2).mean(1)
    assert squared.mean() == pytest.approx(3 * 19 / 20, abs=4 * squared.std() / 50**0.5)
    slope = (seen.energy[..., 1] - seen.energy[..., 0]) / 0.001
    assert slope == pytest.approx(-(seen.gradient_norm[..., 0] ** 2), rel=0.05)


@pytest.mark.parametrize(("p", "n"), [(2, 6), (3, 2), (3, 5), (3, 14), (4, 7), (5, 5)])
def test_relaxed_points_are_minima_that_plain_descent_reaches(p: int, n: int) -> None:
    glass, starts = PSpin.sample(p, n, instances=4, seed=7), random_points(4, 12, n, seed=8)
    found = relax(glass, starts)
    assert found.converged.all()
    assert found.residual.max() < 1e-12
    assert found.smallest.min() > 0
    points = torch.from_numpy(found.points)
    np.testing.assert_allclose(found.energy, glass.energy_per_spin(points), rtol=1e-12)
    np.testing.assert_allclose(
        found.smallest, torch.linalg.eigvalsh(glass.hessian(points))[..., 0], rtol=1e-6, atol=1e-9
    )
    here = starts
    for _ in range(6000):
        here = to_sphere(here - glass.gradient(here) / largest_curvature(p))
    settled = (glass.gradient(here).norm(dim=-1) < 1e-8).numpy()
    assert settled.mean() > 0.9
    np.testing.assert_allclose(found.points[settled], here.numpy()[settled], atol=1e-5)


def test_two_spins_relax_to_the_lowest_eigenvector() -> None:
    glass = PSpin.sample(2, 10, instances=5, seed=9)
    found = relax(glass, random_points(5, 6, 10, seed=1))
    lowest = torch.linalg.eigvalsh(glass.couplings / 10**0.5)[:, :2].numpy()
    np.testing.assert_allclose(found.energy, np.repeat(lowest[:, :1], 6, 1))
    np.testing.assert_allclose(found.smallest[:, 0], 2 * (lowest[:, 1] - lowest[:, 0]))


@pytest.mark.parametrize(("p", "k"), [(2, 5), (3, 5), (3, 1100), (4, 5), (4, 1100), (5, 5)])
def test_gradients_from_pairs_are_the_same(p: int, k: int, monkeypatch) -> None:
    glass, points = PSpin.sample(p, 5, instances=3, seed=1), random_points(3, k, 5, seed=2)
    wanted = glass.energy_and_gradient(points)
    pairs = Pairs(glass)
    torch.testing.assert_close(pairs.energy_and_gradient(points), wanted)
    chosen = torch.tensor([2, 0])
    torch.testing.assert_close(
        pairs[chosen].energy_and_gradient(points[chosen]), (wanted[0][chosen], wanted[1][chosen])
    )
    monkeypatch.setitem(_memory.CHUNK_BYTES, "cpu", 1)
    torch.testing.assert_close(
        pairs.energy_and_gradient(points[:, :9]), glass.energy_and_gradient(points[:, :9])
    )


def test_starts_and_chunks_do_not_depend_on_company(monkeypatch) -> None:
    glass, starts = PSpin.sample(3, 8, instances=4, seed=2), random_points(4, 10, 8, seed=3)
    found = relax(glass, starts)
    alone = relax(glass[2], starts[2:3, 4:6])
    np.testing.assert_allclose(alone.points[0], found.points[2, 4:6], atol=1e-9)
    np.testing.assert_array_equal(alone.steps[0], found.steps[2, 4:6])
    options = {"times": [0.3, 1.0], "temperature": 1.0, "seed": 5}
    hot, fewer = langevin(glass, starts, **options), langevin(glass[:2], starts[:2, :3], **options)
    np.testing.assert_allclose(fewer.energy, hot.energy[:2, :3], rtol=1e-9)
    monkeypatch.setitem(_memory.CHUNK_BYTES, "cpu", 1)
    np.testing.assert_allclose(relax(glass, starts).points, found.points, atol=1e-9)


def test_bound_on_the_derivative_of_the_hessian_holds() -> None:
    for p, n in ((3, 6), (4, 5), (2, 5)):
        glass, points = PSpin.sample(p, n, instances=3, seed=4), random_points(3, 20, n, seed=5)
        g = torch.Generator().manual_seed(0)
        way = torch.randn(3, 20, n - 1, dtype=torch.float64, generator=g)
        way = from_tangent(way / way.norm(dim=-1, keepdim=True), points)
        # Along the geodesic s cos + v sin, the second derivative has its own derivative below the bound.
        root, h = n**0.5, 1e-2
        values = [
            glass.energy(points * np.cos(k * h / root) + way * root * np.sin(k * h / root))
            for k in (-2, -1, 1, 2)
        ]
        third = (values[3] - 2 * values[2] + 2 * values[1] - values[0]) / (2 * h**3)
        assert (third.abs() <= third_derivative_bound(glass)[:, None]).all()
        assert third.abs().max() > 0.01 * third_derivative_bound(glass).min()


def test_what_does_not_arrive_is_not_called_converged() -> None:
    glass, starts = PSpin.sample(3, 12, instances=2, seed=6), random_points(2, 8, 12, seed=7)
    early = relax(glass, starts, steps=3)
    assert not early.converged.any()
    assert (early.steps == 3).all()
    flat = PSpin(torch.zeros(1, 4, 4, 4, dtype=torch.float64))
    resting = relax(flat, starts[:1, :, :4].new_ones(1, 2, 4))
    assert not resting.converged.any()
    single = relax(glass.to(torch.float32), starts)
    assert single.converged.all()
    np.testing.assert_allclose(single.energy, relax(glass, starts).energy, atol=1e-4)


def equilibrium_energy(matrix: np.ndarray, temperature: float) -> float:
    """Energy per spin of s.M.s on the sphere |s|^2 = n, from the partition function's contour integral."""
    levels, n = np.linalg.eigvalsh(matrix), len(matrix)
    y = np.linspace(-60, 60, 60_001)

    def log_z(beta: float) -> float:
        low = -beta * levels[0]
        z0 = brentq(lambda z: (0.5 / (z + beta * levels)).sum() - n, low + 1e-9, low + 1e3)
        exponent = n * (z0 + 1j * y) - 0.5 * np.log(z0 + 1j * y[:, None] + beta * levels).sum(1)
        top = exponent.real.max()
        return top + np.log(np.exp(exponent - top).real.sum())

    beta, h = 1 / temperature, 1e-4
    return -(log_z(beta + h) - log_z(beta - h)) / (2 * h) / n


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_langevin_reaches_equilibrium_of_two_spins(temperature: float) -> None:
    # Within four standard errors of about 0.002 (24 instances) and a step's error of 0.003.
    glass, starts = PSpin.sample(2, 20, instances=24, seed=9), random_points(24, 50, 20, seed=1)
    seen = langevin(glass, starts, times=np.arange(4, 8, 0.5), temperature=temperature, seed=3)
    exact = [equilibrium_energy(c.numpy() / 20**0.5, temperature) for c in glass.couplings]
    difference = seen.energy.mean((1, 2)) - np.array(exact)
    assert abs(difference.mean()) < 4 * difference.std(ddof=1) / 24**0.5 + 0.003
    assert difference.std(ddof=1) / 24**0.5 < 0.004


def test_langevin_has_the_annealed_energy_above_the_transition() -> None:
    # E <u> = -(1 - E <q^p>) / T exactly, at every n; q the overlap of two independent starts.
    temperature, n = 2.0, 24
    glass, starts = PSpin.sample(3, n, instances=40, seed=9), random_points(40, 20, n, seed=1)
    seen = langevin(glass, starts, times=np.arange(4, 8, 0.5), temperature=temperature, seed=3)
    overlap = np.einsum("ikn,iln->ikl", seen.points, seen.points) / n
    cubes = (overlap**3)[:, ~np.eye(20, dtype=bool)].mean(1)
    gap = seen.energy.mean((1, 2)) + (1 - cubes) / temperature
    error = gap.std(ddof=1) / 40**0.5
    assert abs(gap.mean()) < 4 * error + 0.004
    assert error < 0.006


def test_slow_annealing_goes_below_descent() -> None:
    glass, starts = PSpin.sample(3, 16, instances=6, seed=2), random_points(6, 20, 16, seed=3)
    quick, slow = (annealed_langevin(glass, starts, temperature=1.5, time=t) for t in (0.5, 20.0))
    assert quick.converged.all()
    assert slow.converged.all()
    assert slow.energy.mean() < quick.energy.mean() - 0.01
    again = annealed_langevin(glass, starts, temperature=1.5, time=0.5)
    np.testing.assert_array_equal(again.energy, quick.energy)
    other = annealed_langevin(glass, starts, temperature=1.5, time=0.5, seed=1)
    assert (other.energy != quick.energy).any()


@pytest.mark.parametrize("factor", [5.0, 100.0])
def test_larger_couplings_take_shorter_steps(factor: float) -> None:
    glass, starts = PSpin.sample(3, 12, instances=3, seed=4), random_points(3, 4, 12, seed=5)
    times = np.linspace(0, 3, 31)
    large = PSpin(factor * glass.couplings)
    plain = gradient_descent(glass, starts, times=times)
    seen = gradient_descent(large, starts, times=times / factor)
    assert (np.diff(seen.energy) <= 1e-9).all()
    np.testing.assert_allclose(seen.energy, factor * plain.energy, atol=2e-2 * factor)
    assert relax(large, starts).converged.all()
    with pytest.raises(ValueError, match="step must be positive and at most"):
        gradient_descent(large, starts, times=times, step=0.1)


def test_standard_couplings_keep_their_step() -> None:
    for p, n in ((2, 3), (3, 2), (3, 20), (5, 4)):
        assert excess(PSpin.sample(p, n, instances=200, seed=6)) == 1


def test_an_energy_that_rises_is_told() -> None:
    # All of the norm in one direction: its curvature is far above that of standard couplings.
    axis = torch.nn.functional.normalize(random_points(1, 1, 60, seed=1)[0, 0], dim=0)
    spike = torch.einsum("i,j,k->ijk", axis, axis, axis) * 60**1.5
    glass = PSpin.symmetrised(spike[None])
    starts = to_sphere(60**0.5 * axis + random_points(1, 5, 60, seed=2))
    with pytest.raises(ValueError, match="an energy rose"):
        gradient_descent(glass, -starts, times=[5.0])


def test_bad_calls_are_refused() -> None:
    glass, starts = PSpin.sample(3, 5), random_points(1, 2, 5)
    for times in ([], [1.0, 0.5], [-1.0], [np.inf], [[0.0]], [1.0, 1.0]):
        with pytest.raises(ValueError, match="times"):
            gradient_descent(glass, starts, times=times)
    for step in (0.0, -1.0, 1.0, float("nan")):
        for call in (relax, lambda *a, **k: gradient_descent(*a, times=[1.0], **k)):
            with pytest.raises(ValueError, match="step"):
                call(glass, starts, step=step)
    with pytest.raises(ValueError, match="temperature"):
        langevin(glass, starts, times=[1.0], temperature=-1.0)
    for options in ({"temperature": 0.0, "time": 1.0}, {"temperature": 1.0, "time": 0.0}):
        with pytest.raises(ValueError, match="positive"):
            annealed_langevin(glass, starts, **options)
    for options in ({"tolerance": 0.0}, {"tolerance": np.inf}, {"steps": 0}, {"steps": 1.5}):
        with pytest.raises(ValueError, match=next(iter(options))):
            relax(glass, starts, **options)
    with pytest.raises(ValueError, match="temperature must be finite"):
        langevin(glass, starts, times=[1.0], temperature=np.inf)
    with pytest.raises(ValueError, match="couplings are too large"):
        relax(PSpin(1e300 * glass.couplings), starts)
    for call in (relax, lambda g, s: gradient_descent(g, s, times=[1.0])):
        with pytest.raises(ValueError, match="sphere"):
            call(glass, 2 * starts)
        with pytest.raises(ValueError, match="shape"):
            call(glass, starts[0])
