"""Algorithms of the perceptron: they reach solutions, the largest margin is that of a quadratic programme."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy.optimize import nnls

from spinscape.glasses.perceptron import (
    Patterns,
    Run,
    barriers_along,
    connections,
    gradient_descent,
    maximise_margin,
    patterns,
    perceptron_rule,
    replicated,
)
from spinscape.glasses.perceptron._descent import Descent, Loss, centres, on_sphere

ALGORITHMS: dict[str, Callable[..., Run]] = {
    "rule": perceptron_rule,
    "hinge": gradient_descent,
    "cross-entropy": lambda *a, **k: gradient_descent(*a, loss="cross-entropy", **k),
    "replicated": replicated,
}


@pytest.mark.parametrize("name", ALGORITHMS)
def test_solutions_are_solutions(name: str) -> None:
    drawn = patterns(3, 40, 2.0, 1)
    found = ALGORITHMS[name](drawn, -0.5, starts=2, seed=4)
    h = np.einsum("ipn,isn->isp", drawn.xi, found.points) / math.sqrt(40)
    assert found.solved.all()
    assert found.points.shape == (3, 2, 40)
    np.testing.assert_allclose(found.margin, h.min(2), atol=1e-12)
    np.testing.assert_allclose((found.points**2).sum(2), 40)
    assert (found.margin >= -0.5).all()
    assert (found.steps >= 1).all()
    # Starts end in different places.
    assert (np.einsum("in,in->i", found.points[:, 0], found.points[:, 1]) / 40 < 0.99).all()


@pytest.mark.parametrize("name", ALGORITHMS)
def test_nothing_depends_on_how_many(name: str) -> None:
    drawn = patterns(3, 20, 1.5, 1)
    few = ALGORITHMS[name](Patterns(drawn.xi[:2], 1.5), -0.3, starts=2, passes=60, seed=4)
    many = ALGORITHMS[name](drawn, -0.3, starts=3, passes=60, seed=4)
    np.testing.assert_allclose(few.points, many.points[:2, :2], atol=1e-9)
    np.testing.assert_array_equal(few.steps, many.steps[:2, :2])
    other = ALGORITHMS[name](drawn, -0.3, starts=3, passes=60, seed=5)
    assert not np.allclose(other.points, many.points, atol=1e-3)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_no_solution_is_an_error_with_numbers(name: str) -> None:
    words = r"margin 0\.5 at alpha = 5, N = 20 within 4 passes from 4 starts; .*reached"
    with pytest.raises(RuntimeError, match=words):
        ALGORITHMS[name](patterns(2, 20, 5.0, 1), 0.5, starts=2, passes=4)


def test_one_start_without_a_solution_is_no_error() -> None:
    # In two dimensions with one pattern each: instance 0 is easy; margin 3 of instance 1 cannot be had.
    xi = np.array([[[5.0, 0.0]], [[0.1, 0.0]]])
    found = gradient_descent(Patterns(xi, 0.5), 3.0, batch=None, passes=200, rate=0.5)
    assert found.solved.tolist() == [[True], [False]]
    assert found.steps[1, 0] == 200
    assert found.margin[1, 0] == pytest.approx(0.1, abs=1e-3)


def test_a_start_that_is_solved_stays() -> None:
    drawn = patterns(2, 30, 1.0, 2)
    first = perceptron_rule(drawn, -0.5, starts=2)
    again = perceptron_rule(drawn, -0.5, start=first.points)
    np.testing.assert_array_equal(again.points, first.points)
    assert not again.steps.any()
    on = gradient_descent(drawn, -0.5, start=first.points, loss="cross-entropy", stop=False, passes=30)
    assert (on.margin > first.margin).all()
    assert not on.steps.any()


@pytest.mark.parametrize("kind", ["hinge", "cross-entropy"])
def test_a_step_is_downhill_in_the_loss(kind: str) -> None:
    loss = Loss(kind, 0.3, 4.0)

    def value(h: np.ndarray) -> np.ndarray:
        return np.maximum(0.3 - h, 0) if kind == "hinge" else np.log1p(np.exp(-4 * (h - 0.3))) / 4

    h = np.array([-2.0, -0.1, 0.29, 0.31, 1.0])
    slope = (value(h + 1e-6) - value(h - 1e-6)) / 2e-6
    np.testing.assert_allclose(loss.push(h), -slope, atol=1e-8)
    drawn = patterns(1, 10, 0.7, 3)
    w = on_sphere(np.random.default_rng(1).standard_normal((1, 2, 10)))
    step = Descent(drawn, loss, rate=1e-6, batch=None, seed=0).one_pass(w, np.arange(1)) - w
    gradient = -loss.push(w @ drawn.xi[0].T / math.sqrt(10)) @ drawn.xi[0] / math.sqrt(10)
    gradient -= (gradient * w).sum(2, keepdims=True) * w / 10
    np.testing.assert_allclose(step, -1e-6 * gradient, atol=1e-10)


def test_every_pattern_is_seen_once_per_pass() -> None:
    drawn = patterns(2, 10, 2.3, 3)
    descent = Descent(drawn, Loss("hinge", 0.0), rate=1.0, batch=5, seed=0)
    batches = list(descent._batches(np.arange(2)))
    assert [b.shape[1] for b in batches] == [5, 5, 5, 5, 3]
    seen = np.concatenate(batches, 1)
    for i in range(2):
        assert not np.array_equal(seen[i], drawn.xi[i])
        np.testing.assert_array_equal(np.sort(seen[i, :, 0]), np.sort(drawn.xi[i, :, 0]))


def test_replicas_end_in_their_centre_deep_inside() -> None:
    drawn = patterns(6, 50, 2.0, 1)
    flat = replicated(drawn, -0.5, starts=2, seed=3)
    plain = gradient_descent(drawn, -0.5, starts=2, loss="cross-entropy", seed=3)
    # Plain descent stops at the border; centres are inside by more than it at each of the twelve.
    assert (flat.margin > plain.margin).all()
    two = np.array([[[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]]]) * math.sqrt(2)
    np.testing.assert_allclose(centres(two, 2), [[[1.0, 1.0], [-1.0, -1.0]]])


@pytest.mark.parametrize("alpha", [0.4, 1.0, 1.6])
def test_largest_margin_is_that_of_the_quadratic_programme(alpha: float) -> None:
    drawn = patterns(4, 40, alpha, 5)
    rough = maximise_margin(drawn, polish=False)
    found = maximise_margin(drawn)
    for i, xi in enumerate(drawn.xi):
        # Dual: the largest margin is the distance of the patterns' convex hull from the origin.
        system = np.vstack([xi.T, np.ones(len(xi))])
        weights, _ = nnls(system, np.append(np.zeros(40), 1.0), maxiter=10**4)
        nearest = xi.T @ (weights / weights.sum())
        distance = np.linalg.norm(nearest)
        assert found.margin[i, 0] == pytest.approx(distance, rel=1e-7)
        np.testing.assert_allclose(found.points[i, 0], nearest * math.sqrt(40) / distance, atol=1e-5)
        assert distance - 0.05 < rough.margin[i, 0] <= distance


def test_largest_margin_of_a_negative_one_is_a_maximum() -> None:
    drawn = patterns(3, 30, 4.5, 6)
    rough, found = maximise_margin(drawn, starts=2, polish=False), maximise_margin(drawn, starts=2)
    assert (found.margin > rough.margin).all()
    assert (found.margin < 0).all()
    rng = np.random.default_rng(1)
    for size in (1e-5, 1e-3, 1e-2):
        near = on_sphere(found.points[:, :, None] + size * rng.standard_normal((3, 2, 50, 30)))
        h = np.einsum("ipn,iskn->iskp", drawn.xi, near) / math.sqrt(30)
        assert (h.min(3) < found.margin[:, :, None]).all()
    with pytest.raises(RuntimeError, match="largest margin reached"):
        maximise_margin(drawn, kappa=0.5)


def test_bad_arguments() -> None:
    drawn = patterns(1, 10, 1.0, 1)
    with pytest.raises(ValueError, match="loss must be one of"):
        gradient_descent(drawn, -0.5, loss="square")
    with pytest.raises(ValueError, match="rate"):
        gradient_descent(drawn, -0.5, rate=0.0)
    with pytest.raises(ValueError, match="batch must be a whole number, 1 to 10"):
        gradient_descent(drawn, -0.5, batch=11)
    with pytest.raises(ValueError, match="sharpness"):
        gradient_descent(drawn, -0.5, loss="cross-entropy", sharpness=-1.0)
    with pytest.raises(ValueError, match="margin of the loss"):
        perceptron_rule(drawn, math.nan)
    with pytest.raises(ValueError, match="pull"):
        replicated(drawn, -0.5, pull=(0.5, 0.1))
    with pytest.raises(ValueError, match="copies"):
        replicated(drawn, -0.5, copies=1)
    with pytest.raises(ValueError, match="passes"):
        perceptron_rule(drawn, -0.5, passes=0)
    with pytest.raises(ValueError, match="shape"):
        perceptron_rule(drawn, -0.5, start=np.ones((1, 10)))
    with pytest.raises(ValueError, match="sharpness"):
        maximise_margin(drawn, sharpness=(2.0, 1.0))


def test_barriers_along_descent() -> None:
    drawn = patterns(4, 40, 1.5, 7)
    start = perceptron_rule(drawn, -0.5, starts=2, seed=1).points
    reference = perceptron_rule(drawn, -0.5, starts=5, seed=2).points
    found = barriers_along(drawn, start, reference, -0.5, steps=42, every=10)
    assert found.times.tolist() == [0, 10, 20, 30, 40]
    assert found.barrier.shape == found.share_free.shape == (4, 2, 5)
    for t, points in ((0, start), (-1, found.points)):
        to = connections(drawn, points, reference, -0.5)
        np.testing.assert_allclose(found.barrier[:, :, t], to.height.max(2))
        np.testing.assert_allclose(found.mean_barrier[:, :, t], to.height.mean(2))
        np.testing.assert_allclose(found.share_free[:, :, t], to.free.mean(2))
        np.testing.assert_allclose(found.margin[:, :, t], to.margin_start)
    np.testing.assert_allclose(found.moved[:, :, 0], 1)
    # Eight starts, each towards larger margins and lower barriers.
    assert (found.margin[:, :, -1] > found.margin[:, :, 0]).all()
    assert (found.mean_barrier[:, :, -1] < found.mean_barrier[:, :, 0]).all()
    with pytest.raises(ValueError, match="moves none of the starts"):
        barriers_along(drawn, start, reference, -0.5, loss="hinge", steps=5, every=5)
    with pytest.raises(ValueError, match="every"):
        barriers_along(drawn, start, reference, -0.5, steps=5, every=6)
