"""Where algorithms end, and what they see of typical solutions."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest

from spinscape.glasses.perceptron import (
    Patterns,
    gradient_descent,
    landing,
    maximise_margin,
    patterns,
    perceptron_rule,
    replicated,
    sample_solutions,
)
from spinscape.glasses.perceptron.algorithms import Run
from spinscape.glasses.perceptron.geodesics import connections
from spinscape.glasses.perceptron.landing import Landing

KAPPA = -0.4
PASSES = 20


@pytest.fixture(scope="module")
def case() -> tuple[Patterns, np.ndarray, Landing]:
    """Three instances with four typical solutions each, and where algorithms end."""
    drawn = patterns(3, 16, 2.0, 1)
    typical = sample_solutions(drawn, KAPPA, chains=4, steps=60, keep=1, moves="pairs").points[:, :, 0]
    return drawn, typical, landing(drawn, typical, KAPPA, passes=PASSES)


def runs(drawn: Patterns) -> list[Run]:
    """Return the five runs of the table, asked for by themselves."""
    options = {"starts": 2, "seed": 0}
    return [
        perceptron_rule(drawn, KAPPA, passes=5 * PASSES, **options),
        gradient_descent(drawn, KAPPA, loss="hinge", passes=5 * PASSES, **options),
        gradient_descent(drawn, KAPPA, loss="cross-entropy", passes=PASSES, stop=False, **options),
        replicated(drawn, KAPPA, passes=PASSES, **options),
        maximise_margin(drawn, kappa=KAPPA, **options),
    ]


def test_rows_are_means_over_the_solved_starts(case) -> None:
    drawn, typical, found = case
    assert len(found.names) == 6
    assert found.margin.shape == (6, 3)
    for k, run in enumerate(runs(drawn)):
        np.testing.assert_array_equal(found.solved[k], run.solved.mean(1), err_msg=found.names[k])
        seen = connections(drawn, run.points, typical, KAPPA)
        for i in range(3):
            kept = run.solved[i]
            for table, values in (
                (found.margin, run.margin[i]),
                (found.share, seen.free[i].mean(1)),
                (found.height, seen.height[i].mean(1)),
                (found.overlap, seen.overlap[i].mean(1)),
            ):
                expected = values[kept].mean() if kept.any() else np.nan
                assert table[k, i] == pytest.approx(expected, nan_ok=True)


def test_typical_solutions_are_the_last_row(case) -> None:
    drawn, typical, found = case
    seen = connections(drawn, typical, typical, KAPPA)
    upper = np.triu_indices(4, 1)
    assert found.names[-1] == "typical"
    np.testing.assert_array_equal(found.solved[-1], 1)
    np.testing.assert_allclose(found.margin[-1], drawn.stabilities(typical).min(2).mean(1))
    for table, values in (
        (found.share, seen.free),
        (found.height, seen.height),
        (found.overlap, seen.overlap),
    ):
        np.testing.assert_allclose(table[-1], [one[upper].mean() for one in values])
    assert (found.overlap[-1] < 0.99).all()


def test_solutions_have_the_margin_and_the_last_algorithm_the_largest(case) -> None:
    _, _, found = case
    known = np.isfinite(found.margin)
    np.testing.assert_array_equal(known, found.solved > 0)
    assert (found.margin[known] >= KAPPA).all()
    largest = found.names.index("largest margin")
    np.testing.assert_array_equal(np.nanmax(found.margin, 0), found.margin[largest])
    assert found.share[largest].mean() > found.share[-1].mean()


def test_where_nothing_is_solved_there_is_no_number(case, monkeypatch) -> None:
    drawn, typical, whole = case

    def rule(*arguments, **options) -> Run:
        run = perceptron_rule(*arguments, **options)
        run.solved[0] = False
        run.solved[1] = [True, False]
        run.points[1, 1] = -run.points[1, 0]
        return run

    monkeypatch.setattr(import_module("spinscape.glasses.perceptron.landing"), "perceptron_rule", rule)
    found = landing(drawn, typical, KAPPA, passes=PASSES)
    np.testing.assert_array_equal(found.solved[0], [0, 0.5, 1])
    for name in ("margin", "share", "height", "overlap"):
        table, before = getattr(found, name), getattr(whole, name)
        assert np.isnan(table[0, 0])
        assert np.isfinite(table[0, 1:]).all()
        np.testing.assert_array_equal(table[1:], before[1:])
        assert table[0, 2] == before[0, 2]
    first = perceptron_rule(drawn, KAPPA, starts=2, passes=5 * PASSES)
    assert found.margin[0, 1] == first.margin[1, 0]


def test_an_algorithm_that_finds_nothing_has_solved_none(case, monkeypatch) -> None:
    drawn, typical, whole = case

    def descent(*arguments, loss: str, **options) -> Run:
        # Within a single pass, at such a margin, nothing is found.
        if loss == "hinge":
            arguments, options = (drawn, 2.0), options | {"passes": 1}
        return gradient_descent(*arguments, loss=loss, **options)

    monkeypatch.setattr(import_module("spinscape.glasses.perceptron.landing"), "gradient_descent", descent)
    found = landing(drawn, typical, KAPPA, passes=PASSES)
    assert found.names == whole.names
    lost = found.names.index("SGD, hinge")
    assert (whole.solved[lost] > 0).any()
    np.testing.assert_array_equal(found.solved[lost], 0)
    for name in ("solved", "margin", "share", "height", "overlap"):
        table, before = getattr(found, name), getattr(whole, name)
        assert table.shape == (6, 3)
        if name != "solved":
            assert np.isnan(table[lost]).all()
        np.testing.assert_array_equal(np.delete(table, lost, 0), np.delete(before, lost, 0), err_msg=name)


def test_where_no_algorithm_finds_anything_typical_solutions_are_left(case) -> None:
    drawn, typical, _ = case
    found = landing(drawn, typical, 2.0, passes=1)
    np.testing.assert_array_equal(found.solved[:-1], 0)
    assert np.isnan(found.margin[:-1]).all()
    np.testing.assert_array_equal(found.solved[-1], 1)
    assert np.isfinite(found.margin[-1]).all()


def test_an_instance_is_the_same_whatever_their_number(case) -> None:
    drawn, typical, found = case
    some = landing(Patterns(drawn.xi[:2], drawn.alpha), typical[:2], KAPPA, passes=PASSES)
    for name in ("solved", "margin", "share", "height", "overlap"):
        np.testing.assert_allclose(getattr(some, name), getattr(found, name)[:, :2], err_msg=name)
    other = landing(drawn, typical, KAPPA, passes=PASSES, seed=1)
    assert (other.overlap[:4] != found.overlap[:4]).all()
    np.testing.assert_array_equal(other.overlap[5], found.overlap[5])


def test_few_patterns_make_one_batch() -> None:
    drawn = patterns(2, 12, 0.5, 0)
    assert drawn.count == 6
    typical = sample_solutions(drawn, KAPPA, chains=2, steps=20, keep=1, moves="pairs").points[:, :, 0]
    found = landing(drawn, typical, KAPPA, starts=1, passes=20)
    assert found.solved.shape == (6, 2)


def test_errors_say_what_is_wrong(case) -> None:
    drawn, typical, _ = case
    with pytest.raises(ValueError, match="two solutions"):
        landing(drawn, typical[:, :1], KAPPA)
    with pytest.raises(ValueError, match="starts"):
        landing(drawn, typical, KAPPA, starts=0)
