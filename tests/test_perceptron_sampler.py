"""Solutions of the perceptron: angles, the uniform law where it is known, starts, and whose chain is whose.

False-alarm rates are those of one test; seeds are fixed.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import nnls
from scipy.stats import chisquare, ks_2samp, kstest, norm

from spinscape.glasses.perceptron import (
    Patterns,
    allowed_arcs,
    chain_overlaps,
    geodesic_energies,
    interior_starts,
    patterns,
    sample_solutions,
)
from spinscape.glasses.perceptron._kernel import draw_angle
from spinscape.glasses.perceptron._random import HEIGHT, TAIL, WIDTH, fill_normal, uniform

MOVES = ("great-circle", "pairs")
RATE = 1e-4
"""False-alarm rate of a test of a distribution."""


def ends(given: Patterns, kappa: float, start: np.ndarray, chains: int, steps: int, moves: str) -> np.ndarray:
    """Return the last states of independent chains of one instance, (chains, N)."""
    starts = np.broadcast_to(start, (1, chains, given.n))
    options = {"chains": chains, "start": starts, "moves": moves, "seed": 3}
    return sample_solutions(given, kappa, steps=steps, burn=0, keep=1, **options).points[0, :, 0]


@pytest.mark.parametrize("kappa", [-0.5, 0.4])
@pytest.mark.parametrize("offset", [0.0, 0.2])
def test_arcs_are_where_all_stabilities_reach_the_margin(kappa: float, offset: float) -> None:
    rng = np.random.default_rng(1)
    t = np.linspace(0, 2 * np.pi, 20_001)
    for _ in range(20):
        a, b = rng.standard_normal((2, 5))
        c = offset * rng.standard_normal(5)
        low, high = allowed_arcs(a, b, kappa, c)
        allowed = (c[:, None] + a[:, None] * np.cos(t) + b[:, None] * np.sin(t)).min(0) >= kappa
        inside = ((t >= low[:, None]) & (t <= high[:, None])).any(0)
        borders = np.abs(t[:, None] - np.concatenate([low, high])).min(1, initial=9) < 1e-9
        np.testing.assert_array_equal(inside[~borders], allowed[~borders])


def test_no_pattern_at_work_leaves_the_circle_and_a_pattern_far_below_leaves_nothing() -> None:
    low, high = allowed_arcs([0.3], [0.2], -0.5)
    np.testing.assert_array_equal([*low, *high], [0, 2 * np.pi])
    assert allowed_arcs([0.3], [0.2], 0.5)[0].size == 0


def circle(kind: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray, float, int]:
    """Return offset, cosine, sine and margin of patterns on a circle, and how many arcs there are to be."""
    c, (a, b) = np.zeros(300), rng.standard_normal((2, 300))
    if kind == "few wide":
        # Hundreds of patterns of which six are strong.
        a[6:], b[6:] = 0.05 * a[6:], 0.05 * b[6:]
        return 0.1 * rng.standard_normal(300), a, b, -0.8, 4
    if kind == "margin above 0":
        a[6:], b[6:] = 0.05 * a[6:], 0.05 * b[6:]
        c[6:] = 0.3
        return c, a, b, 0.1, 1
    # Each forbids 0.006 to both sides of its trough.
    radius = np.hypot(a, b) / 1.00002
    return c, a / radius, b / radius, -1.0, 90


@pytest.mark.parametrize("kind", ["few wide", "margin above 0", "many narrow"])
def test_angles_are_uniform_on_the_arcs(kind: str) -> None:
    rng = np.random.default_rng(4)
    while True:
        c, a, b, kappa, arcs = circle(kind, rng)
        low, high = allowed_arcs(a, b, kappa, c)
        if (c + a).min() >= kappa and len(low) >= arcs:
            break
    room, stream, out = np.empty((2, 602)), np.array([7, 0], np.uint64), np.empty(300)
    drawn = np.empty(5000)
    for k in range(drawn.size):
        drawn[k], least, tries = draw_angle(c, a, b, kappa, *room, out, stream)
        assert tries >= 1
        assert least == out.min() >= kappa
    arc = np.searchsorted(low, drawn) - 1
    assert (drawn <= high[arc] + 1e-12).all()
    before = np.r_[0, np.cumsum(high - low)]
    assert kstest((before[arc] + drawn - low[arc]) / before[-1], "uniform").pvalue > RATE


def test_layers_of_the_ziggurat_have_one_area_and_end_at_the_top() -> None:
    areas = WIDTH[1:-1] * np.diff(HEIGHT[1:])
    np.testing.assert_allclose(areas, areas[0], rtol=1e-10)
    assert areas[0] == pytest.approx(TAIL * HEIGHT[1] + math.sqrt(2 * math.pi) * norm.sf(TAIL), rel=1e-12)
    assert HEIGHT[-1] == 1


def test_normal_and_uniform_numbers() -> None:
    x, rng = np.empty((500, 2000)), np.array([5, 0], np.uint64)
    fill_normal(rng, x)
    counts = np.histogram(x, norm.ppf(np.linspace(0, 1, 1001)))[0]
    assert chisquare(counts).pvalue > RATE
    beyond = x.size * 2 * norm.sf(TAIL)
    assert abs((np.abs(x) > TAIL).sum() - beyond) < 4 * math.sqrt(beyond)
    # Sums of squares of rows, and products of neighbours, as of independent numbers.
    assert kstest((x**2).sum(1), "chi2", args=(2000,)).pvalue > RATE
    assert abs((x[:, 1:] * x[:, :-1]).mean()) < 4 / math.sqrt(x.size)
    assert kstest([uniform.py_func(rng) for _ in range(5000)], "uniform").pvalue > RATE


def solid_angle(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> float:
    """Area of a spherical triangle of unit vectors (van Oosterom & Strackee 1983)."""
    return 2 * math.atan2(abs(np.dot(a, np.cross(b, c))), 1 + a @ b + b @ c + c @ a)


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x)


@pytest.mark.parametrize("moves", MOVES)
def test_cells_of_a_spherical_triangle_fill_by_their_areas(moves: str) -> None:
    xi = np.array([[1.0, 0.1, 0.0], [-0.3, 1.0, 0.2], [0.1, -0.2, 0.7]])
    # Corners lie on two of the borders and inside of the third.
    corners = [unit(np.cross(xi[k - 2], xi[k - 1])) for k in range(3)]
    corners = [v * np.sign(v @ xi[k]) for k, v in enumerate(corners)]
    a, b, c = corners
    centre = unit(a + b + c)
    w = ends(Patterns(xi[None], 1.0), 0.0, centre, 3000, 40, moves)
    points = [a, unit(a + b), b, unit(b + c), c, unit(c + a)]
    areas, counts = [], []
    for left, right in zip(points, [*points[1:], a], strict=True):
        areas.append(solid_angle(centre, left, right))
        sides = [np.cross(centre, left), np.cross(left, right), np.cross(right, centre)]
        signs = np.sign([sides[0] @ right, sides[1] @ centre, sides[2] @ left])
        counts.append((w @ np.transpose(sides) * signs > 0).all(1).sum())
    assert sum(areas) == pytest.approx(solid_angle(a, b, c))
    assert sum(counts) == len(w)
    assert chisquare(counts, np.array(areas) / sum(areas) * len(w)).pvalue > RATE


@pytest.mark.parametrize("moves", MOVES)
@pytest.mark.parametrize("both", [False, True])
def test_outside_of_caps_stabilities_are_uniform(moves: str, both: bool) -> None:
    # On the sphere in three dimensions the share of a zone is its height (Archimedes).
    axis = np.array([0.9, -0.5, 0.4])
    xi = np.stack([axis, -axis]) if both else axis[None]
    radius, kappa = np.linalg.norm(axis), -0.4
    sideways = np.cross(axis, [1.0, 0.0, 0.0])
    w = ends(Patterns(xi[None], len(xi) / 3), kappa, sideways, 3000, 40, moves)
    top = -kappa if both else radius
    assert kstest(w @ axis / math.sqrt(3), "uniform", args=(kappa, top - kappa)).pvalue > RATE
    angle = np.arctan2(w @ np.cross(unit(axis), unit(sideways)), w @ unit(sideways))
    assert kstest(angle, "uniform", args=(-np.pi, 2 * np.pi)).pvalue > RATE


@pytest.mark.parametrize("moves", MOVES)
def test_law_is_that_of_rejected_random_points(moves: str) -> None:
    n, kappa = 5, -0.6
    given = patterns(1, n, 1.4, seed=5)
    w = np.random.default_rng(0).standard_normal((400_000, n))
    w *= math.sqrt(n) / np.linalg.norm(w, axis=1, keepdims=True)
    w = w[(w @ given.xi[0].T / math.sqrt(n)).min(1) >= kappa]
    assert len(w) > 5000
    found = ends(given, kappa, w[0], 3000, 100, moves)
    direction = np.random.default_rng(1).standard_normal(n)
    for quantity in (
        lambda x: x @ direction,
        lambda x: (x @ given.xi[0].T).min(1),
        lambda x: (x @ given.xi[0].T).mean(1),
        lambda x: x @ w.mean(0),
    ):
        assert ks_2samp(quantity(w), quantity(found)).pvalue > RATE


@pytest.mark.parametrize("moves", MOVES)
@pytest.mark.parametrize(("alpha", "kappa"), [(2.0, -0.5), (6.0, -1.0), (0.5, 0.3)])
def test_no_stability_is_below_the_margin(moves: str, alpha: float, kappa: float) -> None:
    given = patterns(2, 40, alpha, seed=1)
    found = sample_solutions(given, kappa, chains=2, steps=600, keep=60, moves=moves)
    assert found.points.shape == (2, 2, 60, 40)
    np.testing.assert_allclose((found.points**2).sum(-1), 40, rtol=1e-10)
    assert (found.least >= kappa - 1e-9).all()
    assert (given.stabilities(found.points) >= kappa - 1e-9).all()
    assert (given.stabilities(found.points).min((2, 3)) >= found.least - 1e-9).all()
    assert (np.abs(found.points[:, :, 1:] - found.points[:, :, :-1]).max(-1) > 0).all()
    assert (found.turn > 0).all()
    assert (found.tries >= 1).all()


@pytest.mark.parametrize("moves", MOVES)
def test_a_chain_is_the_same_beside_others(moves: str) -> None:
    options = {"steps": 300, "keep": 3, "moves": moves, "seed": 2}
    few, many = patterns(1, 30, 2.0, seed=1), patterns(3, 30, 2.0, seed=1)
    np.testing.assert_array_equal(few.xi[0], many.xi[0])
    one = sample_solutions(few, -0.5, chains=1, **options)
    other = sample_solutions(many, -0.5, chains=9, **options)
    for name in ("points", "least", "turn", "tries"):
        np.testing.assert_array_equal(getattr(one, name)[0, 0], getattr(other, name)[0, 0], err_msg=name)
    assert np.unique(other.points.reshape(-1, 30), axis=0).shape[0] == 3 * 9 * 3


def test_states_are_those_of_a_longer_run_that_keeps_more() -> None:
    given = patterns(1, 20, 1.0)
    start = interior_starts(given, -0.5, chains=1)
    long = sample_solutions(given, -0.5, chains=1, steps=400, burn=100, keep=40, start=start)
    short = sample_solutions(given, -0.5, chains=1, steps=200, burn=100, keep=5, start=start)
    np.testing.assert_array_equal(short.points[0, 0], long.points[0, 0, 3:20:4])
    assert (short.steps, short.burn) == (40, 100)


def largest_margin(xi: np.ndarray) -> float:
    """Largest margin of patterns (P, N), where it is positive: the point of their hull next to the origin."""
    # Weights lambda >= 0 of sum 1 that make |xi^T lambda| smallest; the sum by a heavy row.
    heavy = 1e4
    system = np.vstack([xi.T, np.full(len(xi), heavy)])
    weights, _ = nnls(system, np.r_[np.zeros(xi.shape[1]), heavy])
    return float(np.linalg.norm(xi.T @ weights) / weights.sum())


def test_core_starts_are_near_the_largest_margin_and_random_ones_below() -> None:
    given = patterns(3, 30, 1.0, seed=2)
    core = given.stabilities(interior_starts(given, -0.5, chains=4)).min(-1)
    random = given.stabilities(interior_starts(given, -0.5, chains=4, kind="random")).min(-1)
    best = np.array([largest_margin(xi) for xi in given.xi])
    assert (core <= best[:, None] + 1e-9).all()
    assert (core > best[:, None] - 0.02).all()
    assert (random > -0.5).all()
    assert (random < core.min(1, keepdims=True)).all()
    assert len(np.unique(random)) == random.size


def test_starts_differ_and_their_overlaps_too() -> None:
    given = patterns(2, 60, 1.0, seed=2)
    core = interior_starts(given, -0.5, chains=4)[:, :, None]
    random = interior_starts(given, -0.5, chains=4, kind="random")[:, :, None]
    assert (chain_overlaps(core) > chain_overlaps(random) + 0.1).all()


def test_no_start_is_an_error_with_the_numbers() -> None:
    with pytest.raises(RuntimeError, match=r"kappa = 0.5.*reached margin -.*budget of 50.*alpha = 9"):
        interior_starts(patterns(2, 20, 9.0), 0.5, chains=3, budget=50)
    with pytest.raises(RuntimeError, match="no start above"):
        sample_solutions(patterns(1, 20, 9.0), 0.5, chains=1, steps=10, keep=1)


def test_overlap_and_barriers_without_bound_on_n() -> None:
    """Linear extrapolation in 1 / N; 4 standard errors, false-alarm rate 6e-5 each."""
    sizes, found, errors = (24, 48, 96), [], []
    for n, instances in zip(sizes, (100, 50, 25), strict=True):
        given = patterns(instances, n, 1.0, seed=4)
        states = sample_solutions(
            given, -0.5, chains=4, steps=6 * n, burn=4 * n, keep=24, moves="pairs", seed=4
        ).points
        energies = geodesic_energies(given, states, [[0.5, 0.5], [0.25, 0.75]], -0.5)
        rows = np.column_stack([chain_overlaps(states), energies])
        found.append(rows.mean(0))
        errors.append(rows.std(0, ddof=1) / math.sqrt(instances))
    design = np.column_stack([np.ones(3), 1 / np.array(sizes)])
    for k, theory in enumerate((0.25952, 0.010030, 0.007059)):
        weights = 1 / np.array(errors)[:, k] ** 2
        covariance = np.linalg.inv(design.T * weights @ design)
        limit = (covariance @ design.T * weights @ np.array(found)[:, k])[0]
        assert abs(limit - theory) < 4 * math.sqrt(covariance[0, 0])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"steps": 0}, "steps"),
        ({"keep": 20}, "20 states cannot be kept of 10 steps"),
        ({"burn": -1}, "burn"),
        ({"chains": 0}, "chains"),
        ({"seed": -1}, "seed"),
        ({"moves": "lines"}, "moves must be one of"),
        ({"kappa": math.nan}, "kappa"),
        ({"start": np.ones((1, 2, 9))}, "start must have shape"),
        ({"start": np.zeros((1, 2, 20))}, "not zero"),
        ({"start": np.ones((1, 2, 20))}, "below kappa = -0.1"),
        ({"chains": 10**9, "keep": 10}, "GiB"),
    ],
)
def test_bad_arguments(changes: dict[str, object], words: str) -> None:
    options = {"kappa": -0.1, "chains": 2, "steps": 10, "keep": 1} | changes
    with pytest.raises(ValueError, match=words):
        sample_solutions(patterns(1, 20, 2.0), **options)  # type: ignore[arg-type]


def test_patterns_and_their_checks() -> None:
    given = patterns(2, 10, 1.5, seed=3)
    assert (given.instances, given.count, given.n, given.alpha) == (2, 15, 10, 1.5)
    np.testing.assert_array_equal(patterns(1, 10, 2.5, seed=3).xi[0, :15], given.xi[0])
    many = patterns(2000, 10, 1.5).common
    assert abs(many.mean()) < 4 * math.sqrt(2 / 10 / 2000)
    assert many.var() == pytest.approx(2 / 10, rel=0.2)
    assert given.common[1] == pytest.approx(sum(given.xi[1].sum(0) ** 2) / 150 - 1)
    w = np.random.default_rng(0).standard_normal((2, 3, 4, 10))
    np.testing.assert_allclose(
        given.stabilities(w), np.einsum("icka,ipa->ickp", w, given.xi) / math.sqrt(10), atol=1e-12
    )
    with pytest.raises(ValueError, match="points must be"):
        given.stabilities(w[:, :, :, :9])
    for alpha in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="alpha"):
            patterns(1, 10, alpha)
    with pytest.raises(ValueError, match="no pattern"):
        patterns(1, 10, 0.01)
    with pytest.raises(ValueError, match="kind"):
        interior_starts(given, -0.5, chains=1, kind="plain")
    with pytest.raises(ValueError, match="kappa"):
        interior_starts(given, math.nan, chains=1)
