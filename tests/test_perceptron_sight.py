"""What robust solutions see of typical ones."""

from __future__ import annotations

from dataclasses import fields, replace
from importlib import import_module
from typing import Any

import numpy as np
import pytest

from spinscape.glasses.perceptron import Patterns, maximise_margin, patterns, sample_solutions
from spinscape.glasses.perceptron import sight as look
from spinscape.glasses.perceptron.geodesics import barrier_free, connections
from spinscape.glasses.perceptron.sight import Sight

# The package has a function of the same name.
MODULE = import_module("spinscape.glasses.perceptron.sight")

KAPPA = -0.4
QUICK: dict[str, Any] = {"robust": 3, "stride": 4}


@pytest.fixture(scope="module")
def case() -> tuple[Patterns, np.ndarray]:
    """Three instances with four typical solutions each."""
    drawn = patterns(3, 16, 2.0, 1)
    return drawn, sample_solutions(drawn, KAPPA, chains=4, steps=60, keep=1, moves="pairs").points[:, :, 0]


@pytest.fixture
def robust(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """List what geodesics start from, as they are followed."""
    seen: list[np.ndarray] = []

    def followed(drawn: Patterns, start: np.ndarray, end: np.ndarray, kappa: float):
        seen.append(start.copy())
        return connections(drawn, start, end, kappa)

    monkeypatch.setattr(MODULE, "connections", followed)
    return seen


def free(drawn: Patterns, i: int, a: np.ndarray, b: np.ndarray) -> bool:
    """Whether the great circle between two points of instance i has no pattern below the margin."""
    h = [drawn.xi[i] @ w / np.sqrt(drawn.n) for w in (a, b)]
    return bool(barrier_free(*h, a @ b / drawn.n, KAPPA))


def made(share: list[list[float]], best_share: list[float], mutual: list[list[float]] | None = None) -> Sight:
    """Return hand-made shares at margins 0, 0.1, 0.2, ... and at best margins of 1."""
    table, last = np.array(share), np.array(best_share)
    pairs = np.full(table.shape, np.nan) if mutual is None else np.array(mutual)
    at = np.tile(np.arange(table.shape[1]) / 10, (len(table), 1))
    empty = np.full(table.shape, np.nan)
    zero, one = np.zeros(len(table)), np.ones(len(table))
    return Sight(at, table, empty, empty, pairs, one, last, zero, zero)


def test_shares_are_counts_of_great_circles_without_a_barrier(case, robust) -> None:
    drawn, typical = case
    found = look(drawn, typical, KAPPA, margins=[-0.3, -0.2], **QUICK)
    best = maximise_margin(drawn, kappa=KAPPA)
    assert (best.margin > -0.2).all()
    np.testing.assert_array_equal(found.best, best.margin[:, 0])
    # From robust to typical ones and from chain to chain, margin by margin; then from the best solution.
    assert len(robust) == 6
    np.testing.assert_array_equal(robust[4], best.points)
    for i in range(3):
        for k in range(2):
            points = robust[2 * k][i]
            # Three, rounded up to two of each chain.
            assert points.shape == (4, 16)
            counts = [free(drawn, i, w, v) for w in points for v in typical[i]]
            assert found.share[i, k] == pytest.approx(np.mean(counts))
            assert found.overlap[i, k] == pytest.approx((points @ typical[i].T / 16).mean())
        assert found.best_share[i] == np.mean([free(drawn, i, best.points[i, 0], v) for v in typical[i]])
        pairs = [free(drawn, i, v, w) for a, v in enumerate(typical[i]) for w in typical[i][a + 1 :]]
        assert found.typical[i] == pytest.approx(np.mean(pairs))
    np.testing.assert_array_equal(found.height == 0, found.share == 1)
    assert 0 < found.typical.min() < 1
    assert found.share.mean() > found.typical.mean()


def test_solutions_of_a_margin_see_those_of_the_other_chain(case, robust) -> None:
    drawn, typical = case
    found = look(drawn, typical, KAPPA, levels=[0.0, 0.8], robust=6, stride=60)
    for k in range(2):
        for i in range(3):
            points = robust[2 * k][i]
            counts = [free(drawn, i, w, v) for w in points[:3] for v in points[3:]]
            assert found.mutual[i, k] == pytest.approx(np.mean(counts))
    # Barely inside they see some of one another, as typical solutions do; far inside all.
    assert 0 < found.mutual[:, 0].mean() < 1
    np.testing.assert_array_equal(found.mutual[:, 1], 1)


def test_robust_solutions_have_the_margin_and_move(case, robust) -> None:
    drawn, typical = case
    found = look(drawn, typical, KAPPA, levels=[0.0, 0.5, 0.9], **QUICK)
    assert len(robust) == 8
    kept = robust[:6:2]
    for k, points in enumerate(kept):
        assert points.shape == (3, 4, 16)
        margin = drawn.stabilities(points).min(-1)
        assert (margin >= found.margins[:, k, None] - 1e-12).all()
        assert (margin < found.best[:, None]).all()
        np.testing.assert_allclose((points**2).sum(-1), 16)
        # States follow one another within a chain, and the chains are two.
        apart = np.abs(points[:, :, None] - points[:, None]).max(-1)
        assert (apart[:, ~np.eye(4, dtype=bool)] > 1e-3).all()
        np.testing.assert_array_equal(robust[2 * k + 1], points[:, :2])
    np.testing.assert_allclose(found.margins[:, 0], KAPPA)
    np.testing.assert_allclose(found.margins[:, 1], (KAPPA + found.best) / 2)
    # Smaller margins leave more room to wander.
    start = maximise_margin(drawn, kappa=KAPPA).points
    distance = [np.linalg.norm(points - start, axis=-1).mean() for points in kept]
    assert distance[0] > distance[1] > distance[2]


def test_margins_that_an_instance_lacks_are_nan(case) -> None:
    drawn, typical = case
    best = np.sort(maximise_margin(drawn, kappa=KAPPA).margin[:, 0])
    between = [KAPPA + 0.1, (best[0] + best[1]) / 2, best[2] + 0.01]
    found = look(drawn, typical, KAPPA, margins=between, **QUICK)
    np.testing.assert_array_equal(np.isfinite(found.share), found.margins < found.best[:, None])
    assert np.isfinite(found.share).sum(0).tolist() == [3, 2, 0]
    for table in (found.height, found.overlap, found.mutual):
        np.testing.assert_array_equal(np.isnan(table), np.isnan(found.share))
    assert np.isnan(look(drawn, typical, KAPPA, levels=[1.0, 1.5], **QUICK).share).all()


def test_levels_are_margins_of_each_instance(case) -> None:
    drawn, typical = case
    by_level = look(drawn, typical, KAPPA, levels=[0.6], **QUICK)
    np.testing.assert_allclose(by_level.margins[:, 0], KAPPA + 0.6 * (by_level.best - KAPPA))
    first = Patterns(drawn.xi[:1], drawn.alpha)
    by_margin = look(first, typical[:1], KAPPA, margins=by_level.margins[0], **QUICK)
    for name in ("margins", "share", "height", "overlap", "mutual"):
        np.testing.assert_array_equal(getattr(by_margin, name), getattr(by_level, name)[:1])


def test_an_instance_is_the_same_whatever_their_number(case) -> None:
    drawn, typical = case
    every = look(drawn, typical, KAPPA, margins=[-0.3, 0.0], **QUICK)
    some = look(Patterns(drawn.xi[:2], drawn.alpha), typical[:2], KAPPA, margins=[-0.3, 0.0], **QUICK)
    for field in fields(Sight):
        name = field.name
        np.testing.assert_array_equal(getattr(every, name)[:2], getattr(some, name), err_msg=name)
    other = look(drawn, typical, KAPPA, margins=[-0.3, 0.0], **QUICK, seed=1)
    assert (other.overlap != every.overlap).all()


def test_solutions_of_positive_margins_see_all(case) -> None:
    # They are convex: a geodesic between two leaves neither's margin.
    drawn = patterns(2, 16, 0.5, 3)
    typical = sample_solutions(drawn, 0.1, chains=3, steps=40, keep=1, moves="pairs").points[:, :, 0]
    found = look(drawn, typical, 0.1, levels=[0.3], **QUICK)
    for share in (found.share, found.mutual, found.best_share, found.typical):
        np.testing.assert_array_equal(share, 1)


def test_smallest_margin_that_sees_a_share() -> None:
    nan = np.nan
    found = made(
        [
            [0.2, 0.4, 0.8],
            [0.7, 0.8, 0.9],
            [0.1, 0.2, 0.3],
            [0.0, 0.1, 0.2],
            [0.1, nan, nan],
            [0.2, 0.5, 0.4],
        ],
        [1.0, 1.0, 0.4, 0.7, 0.1, 1.0],
    )
    # Interpolated; the first; none; up to the best margin, 1; nothing beyond; exactly at a margin.
    np.testing.assert_allclose(found.smallest(), [0.125, 0.0, nan, 0.2 + 0.8 * 0.6, nan, 0.1])
    np.testing.assert_allclose(found.smallest(0.85)[:2], [0.2 + 0.8 * 0.25, 0.15])
    alone = made([[nan, nan], [nan, nan]], [0.6, 0.3])
    np.testing.assert_array_equal(alone.smallest(), [1.0, nan])


def test_smallest_margin_whose_solutions_see_one_another() -> None:
    nan = np.nan
    found = made(
        [[0.9, 0.9, 0.9], [0.0, 0.0, 0.0], [0.6, nan, nan], [0.9, 0.9, 0.9]],
        [0.9, 0.0, 0.0, 0.9],
        [[0.2, 0.4, 0.8], [0.7, 0.2, 0.9], [0.1, nan, nan], [0.0, 0.1, 0.2]],
    )
    # Interpolated; the first; up to the best margin, 1, which sees itself whatever else it sees.
    expected = [0.1 + 0.1 * 0.1 / 0.4, 0.0, 0.4 / 0.9, 0.2 + 0.8 * 0.3 / 0.8]
    np.testing.assert_allclose(found.smallest(mutual=True), expected)
    np.testing.assert_allclose(found.smallest(0.8, mutual=True)[:2], [0.2, 0.1 + 0.1 * 0.6 / 0.7])
    # What they see of typical ones is another matter.
    np.testing.assert_array_equal(found.smallest(), [0, nan, 0, 0])
    # An instance without any such solution is left with the best.
    np.testing.assert_array_equal(made([[nan]], [0.0], [[nan]]).smallest(mutual=True), [1])


def test_two_chains_are_run_whatever_the_number_of_solutions(case, robust) -> None:
    drawn, typical = case
    for asked, got in ((1, 2), (2, 2), (5, 6)):
        robust.clear()
        found = look(drawn, typical, KAPPA, margins=[-0.3], robust=asked, stride=4)
        assert robust[0].shape == (3, got, 16)
        assert np.isfinite(found.mutual).all()


def test_the_share_first_reached_counts() -> None:
    assert made([[0.2, 0.6, 0.3]], [1.0]).smallest() == pytest.approx(0.075)
    lost = replace(made([[0.6, 0.3, 0.2]], [0.0]), best=np.array([0.9]))
    assert lost.smallest() == 0


def test_wrong_arguments_are_told_before_the_work(case, monkeypatch) -> None:
    monkeypatch.setattr(MODULE, "maximise_margin", None)
    drawn, typical = case
    for both in ({}, {"margins": [0.0], "levels": [0.5]}):
        with pytest.raises(ValueError, match="one of them"):
            look(drawn, typical, KAPPA, **both)
    for wrong in ([0.1, 0.0], [0.1, 0.1], [np.nan], [[0.0, 0.1]]):
        with pytest.raises(ValueError, match="increase"):
            look(drawn, typical, KAPPA, margins=wrong)
    with pytest.raises(ValueError, match="sphere"):
        look(drawn, 2 * typical, KAPPA, margins=[0.0])
    with pytest.raises(ValueError, match="two solutions"):
        look(drawn, typical[:, :1], KAPPA, margins=[0.0])
    with pytest.raises(ValueError, match="robust"):
        look(drawn, typical, KAPPA, margins=[0.0], robust=0)


def test_no_solution_at_all_is_an_error(case) -> None:
    drawn, typical = case
    with pytest.raises(RuntimeError, match="no solution of margin 3"):
        look(drawn, typical, 3.0, margins=[3.5])
