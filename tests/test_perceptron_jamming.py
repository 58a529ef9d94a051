"""Jamming of perceptrons and committee machines: derivatives, optimality, and the number of contacts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import brentq, nnls
from scipy.stats import norm

from spinscape.glasses._draws import INPUTS, generator
from spinscape.glasses.perceptron import Patterns, jam, jam_committee, maximise_margin, patterns
from spinscape.glasses.perceptron._compression import Machine, _expand, _retract, minimise
from spinscape.glasses.perceptron.committee import _erf_unit, _inputs


def machine(kind: str) -> tuple[Machine, np.ndarray]:
    """A machine and weights on its spheres."""
    rng = np.random.default_rng(3)
    if kind == "perceptron":
        return Machine.perceptron(rng.standard_normal((30, 8))), _retract(rng.standard_normal((1, 8)))
    inputs = _inputs(kind, 3, 40, 6, 1, 0)
    return Machine(inputs, lambda h: _erf_unit(2 * h, 2.0)), _retract(rng.standard_normal((3, 6)))


@pytest.mark.parametrize("kind", ["perceptron", "full", "tree"])
def test_derivatives_against_differences_along_great_circles(kind: str) -> None:
    what, w = machine(kind)
    units, m = w.shape
    kappa = 0.2

    def energy(point: np.ndarray) -> float:
        return float((np.maximum(kappa - what.values(point), 0) ** 2).sum() / 2)

    value, gradient, hessian, _ = _expand(what, w, kappa)
    assert value == pytest.approx(energy(w))
    rng = np.random.default_rng(4)
    for _ in range(5):
        d = rng.standard_normal(w.shape)
        d -= (d * w).sum(1, keepdims=True) * w / m
        speed = np.linalg.norm(d, axis=1, keepdims=True) / math.sqrt(m)

        def along(t: float, d: np.ndarray = d, speed: np.ndarray = speed) -> float:
            return energy(np.cos(t * speed) * w + np.sin(t * speed) * d / speed)

        t = 1e-4
        assert (along(t) - along(-t)) / (2 * t) == pytest.approx((gradient * d).sum(), rel=1e-5)
        second = (along(t) - 2 * along(0) + along(-t)) / t**2
        assert second == pytest.approx(d.ravel() @ hessian @ d.ravel(), rel=1e-3)
    # Normals carry ones and do not mix with the rest.
    for k in range(units):
        normal = np.zeros_like(w)
        normal[k] = w[k] / math.sqrt(m)
        np.testing.assert_allclose(hessian @ normal.ravel(), normal.ravel(), atol=1e-10)
    assert abs((gradient * w).sum(1)).max() < 1e-10


@pytest.mark.parametrize("kind", ["perceptron", "full", "tree"])
def test_minima_are_minima(kind: str) -> None:
    what, w = machine(kind)
    found, still = minimise(what, w, 0.8)
    assert still
    value, gradient, hessian, _ = _expand(what, found, 0.8)
    assert 0 < value < _expand(what, w, 0.8)[0]
    assert np.linalg.norm(gradient) < 1e-7
    assert np.linalg.eigvalsh(hessian).min() > 0


def test_negative_margins_jam_isostatically() -> None:
    # No statistics: N contacts for N unknowns (N - 1 directions and the margin), in each of ten instances.
    for n in (30, 60):
        found = jam(patterns(5, n, 4.5, 2))
        assert found.finished.all()
        assert (found.margin < -0.2).all()
        assert found.freedom == n - 1
        assert found.contacts.tolist() == [n] * 5
        np.testing.assert_allclose(found.z, n / (n - 1))
        assert ((found.energy > 0) & (found.energy < 1e-16)).all()


def test_jammed_points_are_maxima_of_the_margin() -> None:
    drawn = patterns(4, 40, 4.5, 8)
    found = jam(drawn)
    for xi, w, margin in zip(drawn.xi, found.points[:, 0], found.margin, strict=True):
        h = xi @ w / math.sqrt(40)
        touching = xi[h < margin + 1e-6]
        assert len(touching) == 40
        assert h.min() == pytest.approx(margin, abs=1e-7)
        # Positive forces on the contacts balance along the sphere: sum f xi = kappa w / sqrt(N), sum f = 1.
        system = np.vstack([touching.T, np.ones(40)])
        force, residual = nnls(system, np.append(margin * w / math.sqrt(40), 1.0))
        assert residual < 1e-6
        assert force.min() > 0


def test_positive_margins_are_hypostatic_as_replica_symmetry_says() -> None:
    alpha, n, count = 1.0, 80, 16
    kappa = brentq(lambda k: alpha * ((1 + k**2) * norm.cdf(k) + k * norm.pdf(k)) - 1, 0, 2)
    found = jam(patterns(count, n, alpha, 3))
    assert found.finished.all()
    # Both limits carry corrections of order 1 / n: 1.5 / n is allowed besides four standard errors.
    for seen, theory in ((found.margin, kappa), (found.contacts / n, alpha * norm.cdf(kappa))):
        error = seen.std(ddof=1) / math.sqrt(count)
        assert abs(seen.mean() - theory) < 4 * error + 1.5 / n
    assert found.z.max() < 0.9
    np.testing.assert_allclose(
        found.margin, maximise_margin(patterns(count, n, alpha, 3)).margin[:, 0], atol=1e-7
    )


def test_the_path_ends_at_the_jamming_point() -> None:
    drawn = patterns(3, 30, 4.0, 4)
    found = jam(drawn)
    for i in range(3):
        rounds = np.isfinite(found.path_margin[i]).sum()
        assert np.isfinite(found.path_energy[i]).sum() == rounds
        assert found.path_energy[i, rounds - 1] == found.energy[i]
        assert found.path_z[i, rounds - 1] == found.z[i]
        assert found.path_z[i, 0] > found.z[i]
        # The root of U vanishes linearly at the margin.
        x, y = found.path_margin[i, rounds - 6 : rounds], np.sqrt(found.path_energy[i, rounds - 6 : rounds])
        np.testing.assert_allclose(y / (x - found.margin[i]), (y / (x - found.margin[i]))[0], rtol=1e-3)
    rough = jam(drawn, overlap=1e-5)
    np.testing.assert_allclose(rough.margin, found.margin, atol=1e-6)
    assert (rough.energy > found.energy).all()


def test_starts_and_instances() -> None:
    drawn = patterns(3, 20, 4.5, 5)
    found = jam(drawn)
    np.testing.assert_array_equal(jam(Patterns(drawn.xi[:2], 4.5)).margin, found.margin[:2])
    again = jam(drawn, start=found.points)
    assert (again.margin >= found.margin - 0.3).all()
    # From where U has one minimum all starts jam in one place, and from nearby in different ones.
    np.testing.assert_allclose(jam(drawn, seed=1).margin, found.margin, atol=1e-7)
    near = [jam(drawn, above=-0.2, seed=seed) for seed in (0, 1)]
    assert not np.allclose(near[0].margin, near[1].margin, atol=1e-3)
    for one in near:
        assert (one.contacts == 20).all()
    with pytest.raises(ValueError, match="overlap"):
        jam(drawn, overlap=0.0)
    with pytest.raises(ValueError, match="shape"):
        jam(drawn, start=np.ones((3, 20)))


@pytest.mark.parametrize("kind", ["full", "tree"])
def test_committee_contacts(kind: str) -> None:
    few = jam_committee(4, 18, 0.5, kind=kind)
    many = jam_committee(4, 18, 6.0, kind=kind)
    freedom = 3 * 17 if kind == "full" else 3 * 5
    assert few.freedom == many.freedom == freedom
    assert few.finished.all()
    assert many.finished.all()
    # Positive margins: hypostatic; negative ones: as many contacts as unknowns with the margin.
    assert (few.margin > 0).all()
    assert (few.z < 0.8).all()
    assert (many.margin < 0).all()
    assert (many.contacts == freedom + 1).all()


def test_a_committee_of_one_nearly_linear_unit_is_a_perceptron() -> None:
    found = jam_committee(3, 30, 1.0, units=1, gain=1e-3)
    xi = np.stack([generator(0, INPUTS, 30, i).standard_normal((30, 30)) for i in range(3)])
    alone = maximise_margin(Patterns(xi, 1.0))
    np.testing.assert_allclose(found.margin, 1e-3 * math.sqrt(2 / math.pi) * alone.margin[:, 0], rtol=1e-4)


def test_committee_refuses() -> None:
    with pytest.raises(ValueError, match="kind"):
        jam_committee(1, 9, 1.0, kind="forest")
    with pytest.raises(ValueError, match="tree of 3 units"):
        jam_committee(1, 10, 1.0, kind="tree")
    with pytest.raises(ValueError, match="gain"):
        jam_committee(1, 9, 1.0, gain=0.0)
    with pytest.raises(ValueError, match="no pattern"):
        jam_committee(1, 9, 0.0)
