"""Thresholds, complexities and exact mean counts against closed forms, quadrature and random matrices."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from scipy import integrate
from scipy.linalg import eigvalsh_tridiagonal
from scipy.optimize import brentq
from scipy.stats import norm

from spinscape.glasses import _goe_index
from spinscape.glasses._counts import panels, scale
from spinscape.glasses._goe import log_density
from spinscape.glasses._goe_index import shares
from spinscape.glasses.complexity import (
    complexity,
    complexity_density,
    layer_energy,
    log_complex_count,
    log_mean_critical_density,
    log_mean_critical_points,
    mean_critical_density,
    mean_critical_points,
    rate,
    threshold_energy,
)

LAYERS = {
    (3, 0): 1.656998,
    (3, 1): 1.652873,
    (3, 2): 1.650253,
    (4, 0): 1.794085,
    (4, 1): 1.783300,
    (10, 0): 2.135364,
}


def as_printed(u: float, p: int, k: int) -> float:
    """The complexity of Auffinger, Ben Arous and Cerny below the threshold, as they print it."""
    edge = 2 * np.sqrt((p - 1) / p)
    root = np.sqrt(u * u - edge * edge)
    cost = -u * root / edge**2 - np.log(-u + root) + np.log(edge)
    return 0.5 * np.log(p - 1) - (p - 2) / (4 * (p - 1)) * u * u - (k + 1) * cost


def test_thresholds() -> None:
    assert threshold_energy(3) == pytest.approx(1.632993, abs=1e-6)
    assert threshold_energy(2) == pytest.approx(np.sqrt(2), rel=1e-15)


@pytest.mark.parametrize(("p", "k"), LAYERS)
def test_layers_of_the_literature(p: int, k: int) -> None:
    assert layer_energy(p, k) == pytest.approx(LAYERS[p, k], abs=1e-6)


def test_layers_are_roots_and_ordered() -> None:
    for p in range(3, 21):
        found = [layer_energy(p, k) for k in range(6)]
        for k, energy in enumerate(found):
            printed = brentq(
                lambda e, p=p, k=k: as_printed(-e, p, k), threshold_energy(p) + 1e-9, 9, xtol=1e-14
            )
            assert energy == pytest.approx(printed, abs=1e-12)
        assert (np.diff(found) < 0).all()
        assert found[-1] > threshold_energy(p)
    assert [layer_energy(2, k) for k in range(3)] == [threshold_energy(2)] * 3


def test_complexities_of_both_kinds() -> None:
    p, edge = 4, threshold_energy(4)
    u = np.array([-2.1, -1.9, -1.75])
    for k in range(3):
        assert complexity(u, p, k) == pytest.approx([as_printed(v, p, k) for v in u], abs=1e-13)
        assert complexity_density(u, p, k) == pytest.approx(complexity(u, p, k))
        assert complexity([-1.7, 0, 3], p, k) == pytest.approx(np.log(3) / 2 - 2 / 4)
        assert (complexity_density([-1.7, 0, 3], p, k) == -np.inf).all()
    assert complexity(u, p) == pytest.approx(complexity(u, p, 0))
    assert complexity([-edge, -0.6, 0, 0.6, np.inf], p) == pytest.approx(
        np.log(3) / 2 - np.array([2 / 4, 0.06, 0, 0, 0])
    )
    assert complexity_density([0.6, 1.9], p) == pytest.approx(complexity_density([-0.6, -1.9], p))
    assert complexity_density(0.6, p) == pytest.approx(np.log(3) / 2 - 0.06)
    assert complexity(-np.inf, p, 0) == -np.inf
    assert complexity([-2.0, 0.0], 2) == pytest.approx([-float(rate(-2.0, 2)), 0])


def test_all_fixed_indices_coincide_at_the_threshold_only() -> None:
    for p in range(3, 21):
        edge = threshold_energy(p)
        at = [float(complexity(-edge, p, k)) for k in range(4)]
        assert np.ptp(at) == 0
        assert (np.diff([float(complexity(-edge - 1e-3, p, k)) for k in range(4)]) < 0).all()


def test_rate_is_smooth_through_its_series() -> None:
    edge = threshold_energy(3)
    u = -edge * np.array([1, 1.001, 1.03, 1.0314, 1.0315, 1.2, 5])
    ratio = -u.astype(np.longdouble) / edge
    root = np.sqrt(ratio**2 - 1)
    assert rate(u, 3) == pytest.approx((ratio * root - np.log(ratio + root)).astype(float), rel=3e-13, abs=0)


@pytest.mark.parametrize("n", [2, 3, 10, 101, 1000])
def test_two_spin_glass_has_its_eigenvectors(n: int) -> None:
    assert mean_critical_points(2, n) == pytest.approx(2 * n, rel=1e-8)


@pytest.mark.parametrize("p", range(2, 21))
def test_two_spins(p: int) -> None:
    assert mean_critical_points(p, 2) == pytest.approx(2 * np.sqrt(3 * p - 2), rel=1e-8)


@pytest.mark.parametrize(("n", "value", "error"), [(4, 18.79, 0.02), (6, 50.81, 0.04), (10, 287.2, 0.2)])
def test_counts_found_by_monte_carlo(n: int, value: float, error: float) -> None:
    assert abs(mean_critical_points(3, n) - value) < 3 * error


def test_log_count_grows_to_a_thousand_spins() -> None:
    sizes = [*range(2, 120), *range(120, 1000, 80), 999, 1000]
    for p in (3, 6):
        found = np.array([log_mean_critical_points(p, n) for n in sizes])
        assert np.isfinite(found).all()
        assert (np.diff(found) > 0).all()
        assert found[-1] - found[-2] == pytest.approx(np.log(p - 1) / 2, abs=1e-3)


def test_counts_tend_to_the_complexities() -> None:
    u = np.array([-1.75, -1.64, -1.0, -0.3, 0.3])
    for n, margin in ((100, 0.05), (1000, 0.008)):
        assert log_mean_critical_points(3, n, below=u) / n == pytest.approx(complexity(u, 3), abs=margin)
        assert log_mean_critical_density(u, 3, n) / n == pytest.approx(complexity_density(u, 3), abs=margin)
    assert log_mean_critical_density(-1.75, 3, 180, 1) / 180 == pytest.approx(
        float(complexity(-1.75, 3, 1)), abs=0.05
    )


def test_real_points_are_at_most_twice_the_complex_ones() -> None:
    for p in (2, 3, 4, 7):
        for n in (2, 3, 8, 200):
            assert log_mean_critical_points(p, n) <= np.log(2) + log_complex_count(p, n) + 1e-12


@pytest.mark.parametrize("n", [2, 3, 10, 11, 40])
def test_indices_sum_to_the_total(n: int) -> None:
    u = np.linspace(-2, 1.5, 7)
    parts = sum(np.asarray(mean_critical_points(3, n, k, u)) for k in range(n))
    assert parts == pytest.approx(mean_critical_points(3, n, below=u), rel=1e-9)
    densities = sum(mean_critical_density(u, 3, n, k) for k in range(n))
    assert densities == pytest.approx(mean_critical_density(u, 3, n), rel=1e-9)
    # At p = 2 there are two points of every index, in every instance.
    assert [mean_critical_points(2, n, k) for k in range(n)] == pytest.approx([2.0] * n, rel=1e-10)


def test_indices_of_a_hundred_spins() -> None:
    for k in (0, 1, 4, 99):
        assert mean_critical_points(2, 100, k) == pytest.approx(2, rel=1e-10)


def test_index_shares_of_two_and_three_eigenvalues() -> None:
    x = np.array([-3.0, -0.9, 0.0, 0.4, 2.0])
    above, below = norm.pdf(x) - x * norm.sf(x), norm.pdf(x) + x * norm.cdf(x)
    assert shares(2, x)[:, 0] == pytest.approx(above / (above + below), rel=1e-12)
    assert np.exp(log_density(2, x)) == pytest.approx(
        norm.pdf(x) * (above + below) * np.sqrt(np.pi), rel=1e-12
    )

    def weight(z: float, y: float, at: float) -> float:
        return float(abs(at - y) * abs(at - z) * (z - y) * np.exp(-(y * y + z * z) / 2))

    for at in x:
        regions = [
            ((at, 9.0), (lambda y: y, lambda y: 9.0)),
            ((-9.0, at), (lambda y, at=at: at, lambda y: 9.0)),
            ((-9.0, at), (lambda y: y, lambda y, at=at: at)),
        ]
        parts = np.array(
            [
                integrate.dblquad(weight, *outer, *inner, args=(at,), epsabs=1e-11)[0]
                for outer, inner in regions
            ]
        )
        assert shares(3, np.array([at]))[0] == pytest.approx(parts / parts.sum(), rel=1e-6, abs=1e-11)


def test_shares_are_probabilities_and_mirror() -> None:
    for n in (1, 7, 30):
        x = np.linspace(-1.4, 1.4, 29) * np.sqrt(2 * n)
        found = shares(n, x)
        assert (found >= 0).all()
        assert found.sum(1) == pytest.approx(np.ones(29), rel=1e-13)
        assert found[::-1, ::-1] == pytest.approx(found, abs=1e-12)


def test_sketched_pencils_equal_full_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    # From far left, where the range of `left` is small, to where the sketch cannot hold it.
    for n in (80, 81):
        x = np.linspace(-1.2, -0.3, 31) * np.sqrt(2 * n)
        sketched = _goe_index._shares_left(n, x)
        monkeypatch.setattr(_goe_index, "SKETCH", n)
        whole = _goe_index._shares_left(n, x)
        monkeypatch.undo()
        assert sketched == pytest.approx(whole, abs=1e-11)
        assert np.abs(sketched - whole).max() > 0, "the sketch was not used"


def goe_low_eigenvalues(n: int, draws: int, most: int, seed: int) -> np.ndarray:
    """Lowest eigenvalues of the tridiagonal model of Dumitriu and Edelman, shape (draws, most)."""
    rng = np.random.default_rng(seed)
    diagonal = rng.standard_normal((draws, n))
    beside = np.sqrt(rng.chisquare(np.arange(n - 1, 0, -1), (draws, n - 1)) / 2)
    rows = zip(diagonal, beside, strict=True)
    return np.array([eigvalsh_tridiagonal(d, e, select="i", select_range=(0, most - 1)) for d, e in rows])


@pytest.mark.parametrize(("p", "n"), [(3, 25), (5, 12)])
def test_index_counts_against_tridiagonal_matrices(p: int, n: int) -> None:
    # Twelve comparisons here at four standard errors: a false alarm in about 1,300 seeds.
    low = goe_low_eigenvalues(n, 8000, 3, seed=5)
    constant = 2 * np.sqrt(2 / p) * (p - 1) ** (n / 2)
    weights = constant * np.exp(-(p - 2) / (2 * p) * low**2)
    u = low / np.sqrt(n * p / (2 * (p - 1)))
    for k in range(3):
        for below in (-threshold_energy(p) + 0.15, np.inf):
            drawn = weights[:, k] * (u[:, k] < below)
            error = drawn.std(ddof=1) / np.sqrt(len(drawn))
            assert abs(drawn.mean() - mean_critical_points(p, n, k, below)) < 4 * error


def test_total_against_full_matrices() -> None:
    # Theorem 2.2 as stated: entries of variance (1 + delta_ij) / (2 n), eigenvalues unscaled.
    p, n, draws = 4, 7, 40_000
    rng = np.random.default_rng(3)
    a = rng.standard_normal((draws, n, n)) / np.sqrt(n) / 2
    values = np.linalg.eigvalsh(a + a.transpose(0, 2, 1))
    weights = 2 * np.sqrt(2 / p) * (p - 1) ** (n / 2) * np.exp(-n * (p - 2) / (2 * p) * values**2)
    for below in (-1.2, 0.1, np.inf):
        drawn = (weights * (values < np.sqrt(p / (2 * (p - 1))) * below)).sum(1)
        error = drawn.std(ddof=1) / np.sqrt(draws)
        assert abs(drawn.mean() - mean_critical_points(p, n, below=below)) < 4 * error


def test_densities_integrate_to_the_counts() -> None:
    for k, n in ((None, 9), (0, 9), (2, 30)):
        found, _ = integrate.quad(
            lambda v, k=k, n=n: mean_critical_density(v, 3, n, k), -3.5, -1.3, epsrel=1e-9
        )
        assert found == pytest.approx(mean_critical_points(3, n, k, -1.3), rel=1e-8)


def test_energy_is_antisymmetric_between_indices() -> None:
    n, u = 9, np.array([-1.6, -0.4, 0.2])
    for k in (0, 2, 4):
        mirrored = mean_critical_points(3, n, n - 1 - k) - np.asarray(
            mean_critical_points(3, n, n - 1 - k, -u)
        )
        assert np.asarray(mean_critical_points(3, n, k, u)) == pytest.approx(mirrored, rel=1e-9, abs=1e-12)


def test_below_at_the_ends_and_far_outside() -> None:
    assert isinstance(mean_critical_points(3, 10, below=-1.0), float)
    found = np.asarray(log_mean_critical_points(3, 10, below=[-np.inf, -30, -4.0, -3.3, -3.2, 0, 50, np.inf]))
    assert found[0] == -np.inf
    assert (np.diff(found) >= 0).all()
    assert np.isfinite(found[1:]).all()
    assert found[-1] == found[-2] == log_mean_critical_points(3, 10)
    assert found[5] == pytest.approx(found[-1] - np.log(2), rel=1e-12)
    # Quadrature of the density on both sides of the end of the panels.
    start = panels(10).start / scale(3, 10)
    for end in start + np.array([-0.05, 0.001, 0.3, 0.7, 1.1]):
        value, _ = integrate.quad(
            lambda v: mean_critical_density(v, 3, 10), end - 2, end, epsabs=0, epsrel=1e-11
        )
        assert log_mean_critical_points(3, 10, below=end) == pytest.approx(np.log(value), abs=1e-7)
        assert log_mean_critical_points(3, 10, 0, end) == pytest.approx(np.log(value), abs=1e-7)
    assert np.shape(mean_critical_points(3, 5, 1, np.zeros((2, 3)))) == (2, 3)
    assert np.shape(mean_critical_points(3, 5, 1, [])) == (0,)
    assert mean_critical_points(10, 1000) == np.inf
    assert mean_critical_density([-np.inf, np.inf], 3, 5).tolist() == [0, 0]


def test_share_of_minima_in_the_band() -> None:
    edge = -threshold_energy(3)
    for n, about, exact in ((10, 0.025, 0.024589), (30, 0.010, 0.010409), (100, 0.002, 0.0020026)):
        found = mean_critical_points(3, n, 0, edge) / mean_critical_points(3, n, 0)
        assert found == pytest.approx(exact, rel=1e-4)
        assert found == pytest.approx(about, abs=5e-4)


def test_complex_counts() -> None:
    for order, size in ((3, 1), (3, 10), (4, 6), (7, 40)):
        exact = ((order - 1) ** size - 1) // (order - 2)
        assert log_complex_count(order, size) == pytest.approx(np.log(float(exact)), rel=1e-14, abs=1e-14)
    assert log_complex_count(2, 37) == pytest.approx(np.log(37), rel=1e-15)
    assert log_complex_count(2 + 1e-9, 37) == pytest.approx(np.log(37), abs=1e-7)
    assert log_complex_count(3, 1e6) == pytest.approx(1e6 * np.log(2), rel=1e-14)
    assert log_complex_count([2, 3], [[5.0], [2.5]]).shape == (2, 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: threshold_energy(1), "p must be a whole number of at least 2"),
        (lambda: threshold_energy(2.5), "p must be a whole number"),
        (lambda: threshold_energy(True), "p must be a whole number"),
        (lambda: layer_energy(3, -1), "k must be"),
        (lambda: rate([-2.0, -1.0], 3), "holds for u <= -E_inf = -1.632993"),
        (lambda: complexity(np.nan, 3), "without NaN"),
        (lambda: complexity("low", 3), "real energy"),
        (lambda: complexity(-1.0, 3, 0.5), "index must be"),
        (lambda: mean_critical_points(3, 1), "n must be a whole number, 2 to 10000"),
        (lambda: mean_critical_points(3, 20_000), "2 to 10000"),
        (lambda: mean_critical_points(3, 300, 0), "n .for one index. must be a whole number, 2 to 200"),
        (lambda: mean_critical_points(3, 10, 10), "index must be a whole number, 0 to 9"),
        (lambda: mean_critical_points(3, 10, below=np.nan), "below must be"),
        (lambda: mean_critical_density(0.0, 1, 10), "p must be"),
        (lambda: log_complex_count(1.9, 4), "order must be at least 2"),
        (lambda: log_complex_count(3, 0), "size must be at least 1"),
        (lambda: log_complex_count(3, np.inf), "size must be at least 1 and finite"),
    ],
)
def test_bad_arguments_say_what_is_allowed(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_theory_needs_no_torch() -> None:
    code = (
        "import sys; from spinscape.glasses import band, complexity, depth; "
        "sys.exit(any(m in sys.modules for m in ('torch', 'sklearn', 'matplotlib')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
