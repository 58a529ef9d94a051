"""Replica-symmetric theory of the negative perceptron against closed forms, quadrature and Monte Carlo."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import ndtr, ndtri
from scipy.stats import kstest, norm

from spinscape.glasses import perceptron as theory
from spinscape.glasses.perceptron._quadrature import find_root, mills, mills_slope, tail_density, tail_share

PAIR = np.array([[0.5, 0.5], [0.25, 0.75]])


@pytest.mark.parametrize(
    ("alpha", "overlap", "energies"),
    [(1.0, 0.25952, [0.010030, 0.007059]), (3.0, 0.72704, [0.007073, 0.005216])],
)
def test_known_values(alpha: float, overlap: float, energies: list[float]) -> None:
    assert theory.replica_symmetric_overlap(alpha, -0.5) == pytest.approx(overlap, rel=1e-4)
    found = theory.interpolation_energy(alpha, -0.5, PAIR)
    assert found == pytest.approx(energies, rel=1e-4 if alpha == 1 else 4e-4)


def test_overlap_at_alpha_2() -> None:
    assert theory.replica_symmetric_overlap(2.0, -0.5) == pytest.approx(0.507650, abs=1e-6)


@pytest.mark.parametrize("overlap", [0.1, 0.5, 0.9, 0.99])
def test_gardner_at_margin_0(overlap: float) -> None:
    ratio = np.sqrt(overlap / (1 - overlap))
    square, _ = quad(
        lambda z: norm.pdf(z) * np.exp(2 * (norm.logpdf(ratio * z) - norm.logcdf(ratio * z))),
        -12,
        12,
        points=[0],
        limit=300,
    )
    alpha = overlap / (1 - overlap) / square
    assert theory.replica_symmetric_overlap(alpha, 0.0) == pytest.approx(overlap, rel=1e-8)


@pytest.mark.parametrize("kappa", [-3.0, -1.0, -0.5, 0.0, 0.7])
def test_capacity_and_its_inverse(kappa: float) -> None:
    square, _ = quad(lambda t: norm.pdf(t) * (t + kappa) ** 2, -kappa, 12, epsabs=0)
    assert theory.capacity(kappa) == pytest.approx(1 / square, rel=1e-9)
    assert theory.largest_margin(theory.capacity(kappa)) == pytest.approx(kappa, abs=1e-10)


def test_capacity_values() -> None:
    assert theory.capacity([0.0, -0.5, -1.0]) == pytest.approx([2.0, 4.770, 13.273], abs=6e-4)


def test_line_of_stability() -> None:
    kappas = np.array([-1.0, -0.5, -0.05])
    line = theory.almeida_thouless(kappas)
    assert theory.almeida_thouless(-0.5) == pytest.approx(line[1], rel=1e-14)
    assert line[:2] == pytest.approx([7.874, 3.951], abs=6e-4)
    assert theory.stability(line, kappas) == pytest.approx(1.0, abs=1e-9)
    assert np.all(line < theory.capacity(kappas))
    assert theory.almeida_thouless([0.0, 0.4]) == pytest.approx(theory.capacity([0.0, 0.4]))
    assert np.all(theory.stability(0.999 * theory.capacity([0.0, 0.4]), [0.0, 0.4]) < 1)


@pytest.mark.parametrize("kappa", [-0.5, 0.0, 0.5])
def test_contacts_are_the_stability_at_capacity(kappa: float) -> None:
    near = theory.stability(theory.capacity(kappa) * (1 - 1e-8), kappa)
    assert near == pytest.approx(theory.contacts(kappa), rel=1e-3)
    assert np.sign(theory.contacts(kappa) - 1) == -np.sign(kappa)


def test_entropy_falls_with_the_margin_as_patterns_at_it() -> None:
    alpha, kappa, step = 2.0, -0.5, 1e-4
    ends = theory.entropy(alpha, [kappa - step, kappa + step])
    slope = -alpha * theory.stability_density(kappa, alpha, kappa)
    assert (ends[1] - ends[0]) / (2 * step) == pytest.approx(slope, rel=1e-6)


def test_entropy_of_few_patterns() -> None:
    assert theory.entropy(1e-7, -0.5) / 1e-7 == pytest.approx(np.log(norm.sf(-0.5)), rel=1e-6)


@pytest.mark.parametrize(("alpha", "kappa"), [(1.0, -0.5), (3.9, -0.5), (7.0, -1.0), (0.5, 0.9), (1.9, 0.0)])
def test_law_of_stabilities(alpha: float, kappa: float) -> None:
    def density(h: float) -> float:
        return float(theory.stability_density(h, alpha, kappa))

    near, _ = quad(density, kappa, kappa + 0.1, epsabs=1e-12)
    far, _ = quad(density, kappa + 0.1, kappa + 9, epsabs=1e-12, limit=200)
    assert near + far == pytest.approx(1.0, abs=1e-9)
    found = theory.stability_distribution([kappa - 1, kappa, kappa + 0.1, np.inf], alpha, kappa)
    assert found == pytest.approx([0, 0, near, 1], abs=1e-9)
    assert density(kappa - 1e-9) == 0
    assert theory.stability_density(np.inf, alpha, kappa) == 0


def _stabilities(kappa: float, q: float, z: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    x = (kappa - np.sqrt(q) * z) / np.sqrt(1 - q)
    return np.sqrt(q) * z - np.sqrt(1 - q) * ndtri(ndtr(-x) * rng.random(z.shape))


def test_law_of_stabilities_by_monte_carlo() -> None:
    rng = np.random.default_rng(3)
    q = float(theory.replica_symmetric_overlap(3.0, -0.5))
    h = _stabilities(-0.5, q, rng.standard_normal(200_000), rng)
    law: Callable[[np.ndarray], np.ndarray] = lambda h: theory.stability_distribution(h, 3.0, -0.5)  # noqa: E731
    assert kstest(h[:4000], law).pvalue > 1e-5
    shares = theory.stability_distribution([-0.4, 0.5], 3.0, -0.5)
    for level, share in zip([-0.4, 0.5], shares, strict=True):
        assert abs(np.mean(h < level) - share) < 4.5 * np.sqrt(share * (1 - share) / len(h))


@pytest.mark.parametrize(
    ("alpha", "kappas", "gamma", "level"),
    [
        (2.0, (-0.5, -0.5), (0.3, 0.7), -0.5),
        (1.0, (-0.5, -0.3), (0.7, 0.3), -0.5),
        (1.0, (-1.0, -0.6), (0.4, 0.6), -0.2),
        (1.0, (-0.5, -0.5, -0.5), (0.2, 0.3, 0.5), -0.5),
        (1.0, (-0.5, -0.3, -0.5), (0.3, 0.3, 0.4), -0.45),
        (3.0, (-0.4, -0.5, -0.4), (0.3, 0.5, 0.2), -0.35),
    ],
)
def test_energy_by_monte_carlo(
    alpha: float, kappas: tuple[float, ...], gamma: tuple[float, ...], level: float
) -> None:
    """False alarms at 4.5 standard errors: 7e-6 each."""
    rng = np.random.default_rng(11)
    kinds = sorted(set(kappas))
    own = [float(theory.replica_symmetric_overlap(alpha, k)) for k in kinds]
    between = float(theory.mutual_overlap(alpha, kinds[0], kinds[-1]))
    c = between / np.sqrt(own[0] * own[-1])
    z = rng.standard_normal((2, 400_000))
    fields = [z[0], c * z[0] + np.sqrt(max(1 - c * c, 0)) * z[1]]
    which = [kinds.index(k) for k in kappas]
    overlaps = np.where(np.equal.outer(which, which), np.take(own, which)[:, None], between)
    np.fill_diagonal(overlaps, 1.0)
    mixed = sum(
        g * _stabilities(k, own[i], fields[i], rng) for g, k, i in zip(gamma, kappas, which, strict=True)
    )
    hits = mixed < level * np.sqrt(np.array(gamma) @ overlaps @ gamma)
    found = theory.interpolation_energy(alpha, kappas, gamma, kappa_energy=level)
    assert 0 < found < 1
    assert abs(hits.mean() - found) < 4.5 * np.sqrt(found / hits.size)


def test_energy_by_adaptive_quadrature() -> None:
    alpha, kappa, gamma = 3.0, -0.5, 0.25
    q = float(theory.replica_symmetric_overlap(alpha, kappa))
    root, left = np.sqrt(q), np.sqrt(1 - q)
    bound = kappa * np.sqrt(gamma**2 + (1 - gamma) ** 2 + 2 * gamma * (1 - gamma) * q)
    nodes, weights = np.polynomial.legendre.leggauss(12)
    top = (bound - (1 - gamma) * kappa) / gamma
    h = kappa + (top - kappa) * (nodes + 1) / 2

    def at(z: float) -> float:
        inside = ndtr(-(kappa - root * z) / left)
        others = inside - ndtr(-((bound - gamma * h) / (1 - gamma) - root * z) / left)
        inner = weights @ (norm.pdf((h - root * z) / left) / left * others) * (top - kappa) / 2
        return norm.pdf(z) * inner / inside**2

    value = sum(quad(at, a, a + 1, epsabs=1e-14, epsrel=1e-10)[0] for a in range(-8, 8))
    found = theory.interpolation_energy(alpha, kappa, [gamma, 1 - gamma])
    assert found == pytest.approx(value, rel=1e-8)


REFINED: list[Callable[[int], np.ndarray]] = [
    lambda n: theory.stability([1.0, 3.9, 4.76], -0.5, refine=n),
    lambda n: theory.almeida_thouless([-3.0, -0.5], refine=n),
    lambda n: theory.stability_density([-0.49, 0.0, 3.0], 4.76, -0.5, unstable=True, refine=n),
    lambda n: theory.stability_distribution([-0.49, 0.0, 3.0], 4.76, -0.5, unstable=True, refine=n),
    lambda n: theory.mutual_overlap([1.0, 3.0], -0.5, [0.3, -0.3], refine=n),
    lambda n: theory.interpolation_energy(1.0, -0.5, PAIR, refine=n),
    lambda n: theory.interpolation_energy(4.6, -0.5, PAIR, unstable=True, refine=n),
    lambda n: theory.interpolation_energy(2.0, (-0.7, -0.5), PAIR, kappa_energy=-0.3, refine=n),
    lambda n: theory.interpolation_energy(
        3.0, (-0.5, -0.5, -0.4), [[0.4, 0.5, 0.1], [0.3, 0.5, 0.2]], refine=n
    ),
    lambda n: theory.interpolation_energy(
        1.5, (-0.8, -0.8, -0.6), [[0.4, 0.3, 0.3]], kappa_energy=-0.5, refine=n
    ),
]


@pytest.mark.parametrize("case", range(len(REFINED)))
def test_twice_the_nodes(case: int) -> None:
    once, twice = REFINED[case](1), REFINED[case](2)
    assert np.all(once != 0)
    np.testing.assert_allclose(once, twice, rtol=1e-8, atol=1e-12)


def test_corners_are_alike() -> None:
    corners = [0.2, 0.3, 0.5]
    kappas = [-0.5, -0.5, -0.4]
    one = theory.interpolation_energy(1.0, kappas, corners)
    for order in ([1, 2, 0], [2, 1, 0], [0, 2, 1]):
        other = theory.interpolation_energy(1.0, np.take(kappas, order), np.take(corners, order))
        assert other == pytest.approx(float(one), rel=1e-9)


def test_faces_of_the_simplex() -> None:
    triple = theory.interpolation_energy(1.0, -0.7, [[0.3, 0.0, 0.7], [0, 1, 0]], kappa_energy=-0.5)
    pair = theory.interpolation_energy(1.0, -0.7, [[0.7, 0.3], [1, 0]], kappa_energy=-0.5)
    assert triple == pytest.approx(pair, rel=1e-9)
    assert pair[1] == pytest.approx(float(theory.stability_distribution(-0.5, 1.0, -0.7)), rel=1e-9)
    near = theory.interpolation_energy(1.0, -0.7, [1 - 1e-7, 1e-7], kappa_energy=-0.5)
    assert near == pytest.approx(pair[1], rel=1e-5)


def test_nearly_equal_margins() -> None:
    equal = theory.interpolation_energy(2.0, -0.5, PAIR)
    near = theory.interpolation_energy(2.0, (-0.5, -0.5 + 1e-8), PAIR, kappa_energy=-0.5)
    assert near == pytest.approx(equal, rel=1e-5)
    assert theory.mutual_overlap(2.0, -0.5, -0.5 + 1e-8) == pytest.approx(
        float(theory.replica_symmetric_overlap(2.0, -0.5)), rel=1e-6
    )


def test_mutual_overlap_by_hermite_nodes() -> None:
    alpha, k1, k2 = 1.0, -0.5, -0.1
    p = float(theory.mutual_overlap(alpha, k1, k2))
    q1, q2 = (float(theory.replica_symmetric_overlap(alpha, k)) for k in (k1, k2))
    x, w = np.polynomial.hermite_e.hermegauss(120)
    w = w / w.sum()
    c = p / np.sqrt(q1 * q2)
    z2 = c * x[:, None] + np.sqrt(1 - c * c) * x
    first = mills((k1 - np.sqrt(q1) * x) / np.sqrt(1 - q1))
    second = mills((k2 - np.sqrt(q2) * z2) / np.sqrt(1 - q2))
    side = alpha * np.sqrt((1 - q1) * (1 - q2)) * ((w * first) @ second @ w)
    assert p == pytest.approx(side, rel=1e-9)
    assert theory.mutual_overlap(alpha, k2, k1) == pytest.approx(p, rel=1e-10)
    assert q1 < p < q2


def test_star_threshold() -> None:
    alphas = [0.5, 1.0, 2.0, 3.0]
    found = theory.star_threshold(alphas, -0.5)
    assert found.margin == pytest.approx([-0.0928, -0.1711, -0.2957, -0.3883], abs=1e-4)
    assert found.margin == pytest.approx(-0.5 * found.overlap, abs=1e-9)
    assert found.stable.all()
    assert theory.star_threshold(1.0, -0.5).margin == pytest.approx(found.margin[1])
    grid = np.stack([np.linspace(0.002, 0.998, 250), 1 - np.linspace(0.002, 0.998, 250)], -1)
    for shift, free in ((1e-3, True), (-1e-3, False)):
        energies = theory.interpolation_energy(1.0, (found.margin[1] + shift, -0.5), grid)
        assert (energies.max() == 0) == free


def test_convex_threshold() -> None:
    found = theory.convex_threshold([0.5, 1.0, 2.0, 3.0], -0.5)
    assert found.margin == pytest.approx([-0.3813, -0.4046, -0.4416, -0.4692], abs=1e-4)
    for shift, free in ((1e-4, True), (-1e-4, False)):
        middle = theory.interpolation_energy(1.0, found.margin[1] + shift, [0.5, 0.5], kappa_energy=-0.5)
        assert (middle == 0) == free


def test_core_vanishes() -> None:
    found = theory.core_vanishes(-0.5)
    assert found.alpha == pytest.approx(float(theory.capacity(found.margin)))
    assert not found.stable
    assert found.stability_typical < 1 < found.stability_core
    for alpha, free in ((found.alpha - 0.02, True), (found.alpha + 0.02, False)):
        margin = float(theory.largest_margin(alpha)) - 1e-7
        overlap = theory.mutual_overlap(alpha, margin, -0.5, unstable=True)
        assert (margin >= -0.5 * overlap) == free
    inside, outside = theory.star_threshold(found.stable_below + np.array([-1e-3, 1e-3]), -0.5).stable
    assert inside
    assert not outside


def test_curves_are_the_energies() -> None:
    found = theory.interpolation_curves([1.0, 3.0, 4.5, 6.0], [-0.5, -0.2], [0.5, 0.25])
    assert found.energies.shape == (4, 2, 2)
    assert found.energies[0, 0] == pytest.approx(theory.interpolation_energy(1.0, -0.5, PAIR), rel=1e-12)
    assert found.overlap[1, 0] == theory.replica_symmetric_overlap(3.0, -0.5)
    assert np.isfinite(found.overlap[2, 0])
    assert found.stability[2, 0] > 1
    assert np.isnan(found.energies[2]).all()
    assert np.isnan(found.overlap[3]).all()


def test_many_points_are_each_alone() -> None:
    alphas = np.linspace(0.1, 1.9, 5000)
    found = theory.replica_symmetric_overlap(alphas, 0.0)
    some = [0, 4095, 4096, 4999]
    assert found[some] == pytest.approx(
        [float(theory.replica_symmetric_overlap(alphas[i], 0.0)) for i in some]
    )
    assert np.all(np.diff(found) > 0)


def test_tails() -> None:
    x = np.array([-50.0, -8.0, -0.5, 0.0, 3.0, 7.99, 8.01])
    assert mills(x[1:]) == pytest.approx(norm.pdf(x[1:]) / norm.sf(x[1:]), rel=1e-10)
    assert mills(-50.0) == 0
    assert mills_slope(x[1:5]) == pytest.approx(mills(x[1:5]) * (mills(x[1:5]) - x[1:5]), rel=1e-10)
    assert mills_slope(7.999999) == pytest.approx(mills_slope(8.000001), rel=1e-6)
    assert mills_slope(1e8) == pytest.approx(1.0)
    for start in (-3.0, 2.0, 40.0):
        share = quad(lambda s, x=start: float(tail_density(x, s)), 0, 0.7, epsabs=0)[0]
        assert tail_share(start, 0.7) == pytest.approx(share, rel=1e-9)


def test_roots() -> None:
    shift = np.array([0.1, 2.0, 30.0])
    assert find_root(lambda x: x**3 - shift, 0.0 * shift, 1 + shift) == pytest.approx(
        np.cbrt(shift), rel=1e-12
    )
    with pytest.raises(ValueError, match="sign"):
        find_root(lambda x: x**2 + 1, np.array(0.0), np.array(1.0))


BAD: list[tuple[Callable[[], object], str]] = [
    (lambda: theory.replica_symmetric_overlap(0.0, -0.5), "alpha must be positive"),
    (lambda: theory.replica_symmetric_overlap([1.0, np.nan], -0.5), "alpha must be positive"),
    (lambda: theory.replica_symmetric_overlap(5.0, -0.5), r"alpha 5 is not below 4\.7701"),
    (lambda: theory.replica_symmetric_overlap(4.5, -0.5), r"alpha 4\.5 is above 3\.9507"),
    (lambda: theory.entropy(4.5, -0.5), "de Almeida-Thouless"),
    (lambda: theory.stability(2.0, 0.0), "no solutions"),
    (lambda: theory.replica_symmetric_overlap(1.0, -7.0), "margins must be finite and at least -6"),
    (lambda: theory.stability_density(np.nan, 1.0, -0.5), "not a number"),
    (lambda: theory.mutual_overlap(1.0, -0.5, 0.8), "at margin 0.8"),
    (lambda: theory.interpolation_energy(1.0, -0.5, [0.5, 0.6]), "sum 1"),
    (lambda: theory.interpolation_energy(1.0, -0.5, [-0.5, 1.5]), "at least 0"),
    (lambda: theory.interpolation_energy(1.0, -0.5, [0.25] * 4), "2 or 3 weights"),
    (lambda: theory.interpolation_energy(1.0, [-0.5] * 3, PAIR), "each of 2 corners"),
    (lambda: theory.interpolation_energy(1.0, [-0.5, -0.4, -0.3], [0.2, 0.3, 0.5]), "two different"),
    (lambda: theory.interpolation_energy(4.5, -0.5, PAIR), "de Almeida-Thouless"),
    (lambda: theory.interpolation_energy(4.765, -0.5, PAIR, unstable=True), "converged up to"),
    (
        lambda: theory.interpolation_energy(4.6, -0.5, [0.2, 0.3, 0.5], kappa_energy=-0.1, unstable=True),
        "at most 100",
    ),
    (lambda: theory.interpolation_curves(1.0, [-0.5], PAIR), "one-dimensional"),
    (lambda: theory.star_threshold(1.0, 0.1), "must be negative, not 0.1"),
    (lambda: theory.convex_threshold(1.0, 0.0), "must be negative"),
    (lambda: theory.core_vanishes(0.2), "must be negative, not 0.2"),
    (lambda: theory.star_threshold(4.5, -0.5), "de Almeida-Thouless"),
    (lambda: theory.largest_margin(1e12), "not served"),
]


@pytest.mark.parametrize("case", range(len(BAD)))
def test_bad_input(case: int) -> None:
    call, words = BAD[case]
    with pytest.raises(ValueError, match=words):
        call()


def test_broken_symmetry_on_request() -> None:
    assert 0.9 < theory.replica_symmetric_overlap(4.5, -0.5, unstable=True) < 1


def test_theory_needs_numpy_and_scipy_only() -> None:
    code = (
        "import sys; from spinscape.glasses.perceptron import interpolation, thresholds; "
        "sys.exit(any(m in sys.modules for m in ('torch', 'numba', 'sklearn', 'matplotlib')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
