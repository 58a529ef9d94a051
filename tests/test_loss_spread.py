from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from spinscape.landscape.best_of import _chances, best_of
from spinscape.landscape.loss_spread import loss_spread
from spinscape.landscape.narrowing import narrowing, scaled
from spinscape.networks.datasets import Dataset, load
from spinscape.networks.ensemble import evaluate
from spinscape.networks.models import mlp
from spinscape.networks.training import DivergenceWarning, train


@pytest.fixture(scope="module")
def few() -> Dataset:
    digits = load("digits").flat()
    return Dataset("few", *digits.subset("train", 300), *digits.subset("test", 100), digits.classes)


def test_losses_are_those_of_the_trained_networks(few) -> None:
    options = {"epochs": 3, "batch_size": 32, "learning_rate": 1e-2}
    found = loss_spread(few, [4, 9], networks=5, seed=2, **options)
    assert found.test_loss.shape == (2, 5)
    assert found.parameters.tolist() == [65 * 4 + 5 * 10, 65 * 9 + 10 * 10]
    assert found.glass_size[1] == pytest.approx(np.sqrt(64 * 9 * 10))
    alone = loss_spread(few, [9], networks=3, seed=2, **options)
    np.testing.assert_array_equal(alone.train_loss[0], found.train_loss[1, :3])
    np.testing.assert_array_equal(alone.test_accuracy[0], found.test_accuracy[1, :3])
    own = int(np.random.SeedSequence(2, spawn_key=(13, 9)).generate_state(1)[0])
    trained = train(mlp([64, 9, 10]), few, replicas=5, seed=own, **options)
    np.testing.assert_array_equal(evaluate(trained, few.x_test, few.y_test).loss, found.test_loss[1])
    assert not np.array_equal(found.test_loss, loss_spread(few, [4, 9], networks=5, **options).test_loss)


def test_diverged_networks_are_left_out(few) -> None:
    with pytest.warns(DivergenceWarning):
        found = loss_spread(few, [4], networks=3, epochs=3, optimiser="sgd", learning_rate=1e12)
    assert np.isnan(found.test_loss).all()
    assert np.isnan(found.test_accuracy).all()


def test_planted_narrowing_is_found() -> None:
    rng = np.random.default_rng(0)
    sizes = np.array([8, 16, 32, 64])
    samples = 1 + rng.standard_normal((4, 400)) / sizes[:, None]
    samples[1, 7] = np.nan
    found = narrowing(samples, sizes)
    # A standard deviation of 400 normals is known to 3.5%: 4.5 errors; the slope to 0.011 of each log 2.
    np.testing.assert_allclose(found.sd * sizes, 1, atol=0.16)
    assert abs(found.exponent + 1) < 0.1
    assert found.exponent_low < -1 < found.exponent_high
    assert ((found.low < found.sd) & (found.sd < found.high)).all()
    assert found.levene < 1e-10
    assert found.trend == pytest.approx(1 / 2001)
    assert found.falls > 0.99
    assert found.n.tolist() == [400, 399, 400, 400]
    assert (np.diff(found.quantiles, axis=1) > 0).all()
    assert narrowing(samples[::-1], sizes).trend > 0.99


def test_equal_spreads_raise_few_false_alarms() -> None:
    """400 tables without a trend, skewed: at 5%, at most 38 alarms (one chance in 1e4 of more)."""
    rng = np.random.default_rng(1)
    sizes = np.array([8.0, 16, 32, 64])
    alarms = np.zeros(3, int)
    for _ in range(400):
        found = narrowing(rng.exponential(size=(4, 60)) + sizes[:, None], sizes, draws=200)
        alarms += [found.levene < 0.05, found.trend < 0.05, found.exponent_high < 0]
    assert alarms[0] <= 38
    assert alarms[1] <= 38
    # The bootstrap of a standard deviation is a little short with heavy tails.
    assert alarms[2] <= 60


def test_samples_without_spread_have_no_trend() -> None:
    found = narrowing(np.ones((3, 5)), [1, 2, 3])
    assert np.isnan([found.trend, found.exponent, found.exponent_low]).all()
    assert found.falls == 0


def test_the_law_of_the_mean_is_found() -> None:
    sizes = np.array([25.0, 50, 100, 250, 500])
    rng = np.random.default_rng(0)
    for alpha, beta in ((-1.3, 0.2), (4.0, -0.7), (-0.01, 0.9)):
        mean = 0.7 * np.exp(alpha * sizes**beta)
        samples = mean[:, None] * (1 + 0.1 * rng.uniform(-1, 1, (5, 50)))
        samples *= (mean / samples.mean(1))[:, None]
        found = scaled(samples, sizes)
        assert found.alpha == pytest.approx(alpha, rel=1e-2)
        assert found.beta == pytest.approx(beta, rel=1e-2)
        np.testing.assert_allclose(found.scaled.mean(1), mean[0], rtol=1e-4)
        assert found.residual < 1e-4
    power = scaled(np.outer(sizes**-0.5, [1.0, 1.1]), sizes)
    assert power.residual < 0.02
    assert scaled(np.outer([1.0, 2, 1, 2, 1], [1.0, 1.1]), sizes).residual > 0.2


def test_chances_are_those_of_all_choices() -> None:
    values = np.array([0.3, 1.0, 2.5, 2.6, 7.0, 8.0])
    chance = _chances(6, np.arange(1, 7))
    np.testing.assert_allclose(chance.sum(1), 1)
    for n in range(1, 7):
        expected = np.mean([min(chosen) for chosen in combinations(values, n)])
        assert chance[n - 1] @ values == pytest.approx(expected)


def test_best_of_follows_the_training_loss() -> None:
    rng = np.random.default_rng(0)
    train_loss = rng.uniform(0.1, 0.2, 80)
    with_it = best_of(train_loss, 2 * train_loss, 1 - train_loss, n=(1, 10, 80))
    assert with_it.rank_correlation == pytest.approx(1)
    np.testing.assert_allclose(with_it.test_loss, 2 * with_it.train_loss)
    np.testing.assert_allclose(with_it.test_accuracy, 1 - with_it.train_loss)
    assert with_it.train_loss[2] == train_loss.min()
    assert with_it.train_loss[0] == pytest.approx(train_loss.mean())
    assert with_it.gain[0] == pytest.approx(0)
    assert (with_it.gain_low[1:] > 0).all()
    assert (with_it.accuracy_gain_low[1:] > 0).all()
    np.testing.assert_allclose(with_it.accuracy_gain, with_it.gain / 2, atol=1e-12)
    np.testing.assert_allclose(with_it.accuracy_gain_high, with_it.gain_high / 2, atol=1e-12)
    against = best_of(train_loss, -train_loss, train_loss, n=(10,))
    assert against.gain_high[0] < 0
    assert against.correlation_high < -0.99
    free = best_of(train_loss, rng.uniform(size=80), train_loss, n=(10,))
    assert free.gain_low[0] < 0 < free.gain_high[0]
    assert free.pvalue > 1e-4
    gap = np.append(train_loss, np.nan)
    np.testing.assert_allclose(best_of(gap, 2 * gap, gap, n=(10,)).gain, with_it.gain[1])


def test_equal_losses_have_no_rank() -> None:
    found = best_of(np.ones(9), np.ones(9), np.ones(9), n=(3,), draws=20)
    assert np.isnan(found.rank_correlation)
    assert found.gain[0] == pytest.approx(0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: loss_spread(load("digits"), [8, 4]), "rising numbers of units"),
        (lambda: loss_spread(load("digits"), []), "rising numbers of units"),
        (lambda: loss_spread(load("digits"), [-3, 2]), "positive integers"),
        (lambda: loss_spread(load("digits"), [2.5, 4]), "rising numbers of units"),
        (lambda: loss_spread(load("digits"), [4], networks=1), "at least 2 networks"),
        (lambda: narrowing(np.ones((2, 5)), [1, 2, 3]), "samples"),
        (lambda: narrowing(np.ones((2, 5)), [2, 1]), "positive and rise"),
        (lambda: narrowing(np.ones((2, 2)), [1, 2]), "three finite samples"),
        (lambda: scaled(np.ones((2, 5)), [1, 2]), "three sizes"),
        (lambda: scaled(-np.ones((3, 5)), [1, 2, 3]), "positive means"),
        (lambda: best_of([1, 2, 3], [1, 2, 3], [1, 2, 3], n=(4,)), "1..3"),
        (lambda: best_of([1, 2], [1, 2], [1, 2], n=(1,)), "at least 3"),
    ],
)
def test_refuses(call, message) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_sizes_that_do_not_fit_are_refused_before_training() -> None:
    with pytest.raises(MemoryError, match="parameters must be at most"):
        loss_spread(load("digits"), [2, 10**9], epochs=10**6)
