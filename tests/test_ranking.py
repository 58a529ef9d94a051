"""Rank correlations on planted data: partial correlations, Simpson's paradox, coverage under the null."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from spinscape.landscape.flatness import rank
from spinscape.landscape.flatness.ranking import KINDS


def test_pool_against_scipy_and_partial_against_residuals() -> None:
    rng = np.random.default_rng(1)
    loss, sharp, other = rng.normal(size=(3, 80))
    sharp = sharp + loss
    error = np.round(sharp + 2 * loss + rng.normal(size=80), 1)
    found = rank({"sharp": sharp, "other": other}, error, loss, np.zeros(80), draws=50)
    assert found.names == ("sharp", "other")
    for m, measure in enumerate((sharp, other)):
        assert found.value[0, m] == pytest.approx(stats.spearmanr(measure, error).statistic, abs=1e-12)
        ranks = [stats.rankdata(row) for row in (measure, error, loss)]
        design = np.stack([np.ones(80), ranks[2]], 1)
        left = [row - design @ np.linalg.lstsq(design, row, rcond=None)[0] for row in ranks[:2]]
        assert found.value[1, m] == pytest.approx(np.corrcoef(*left)[0, 1], abs=1e-10)
    assert found.training_loss == pytest.approx(stats.spearmanr(loss, error).statistic)
    assert found.value[2:] == pytest.approx(found.value[:2])


def test_a_confounded_measure_loses_its_correlation() -> None:
    rng = np.random.default_rng(2)
    loss = rng.normal(size=400)
    measure, error = loss + rng.normal(size=400) / 2, loss + rng.normal(size=400) / 2
    found = rank({"follows the loss": measure}, error, loss, np.zeros(400), draws=300)
    assert found.low[0, 0] > 0.5
    assert found.low[1, 0] < 0.1
    assert abs(found.value[1, 0]) < 0.2


def test_simpsons_paradox_is_seen() -> None:
    rng = np.random.default_rng(3)
    groups = np.repeat(["sgd", "rsgd", "esgd"], 30)
    centre = np.repeat([0.0, 4.0, 8.0], 30)
    within = rng.normal(size=90)
    measure, error = centre + within, centre - within + rng.normal(size=90) / 5
    shuffled = rng.permutation(90)
    found = rank({"m": measure[shuffled]}, error[shuffled], rng.normal(size=90), groups[shuffled], draws=200)
    pool, _, inside, inside_partial = found.value[:, 0]
    assert pool > 0.7
    assert inside < -0.9
    assert inside_partial < -0.9
    assert found.high[2, 0] < 0 < found.low[0, 0]
    assert found.groups == ("esgd", "rsgd", "sgd")
    for g, name in enumerate(found.groups):
        own = groups == name
        assert found.by_group[0, g, 0] == pytest.approx(stats.spearmanr(measure[own], error[own]).statistic)


def test_intervals_cover_nothing_under_the_null() -> None:
    trials, missed = 200, np.zeros(4)
    rng = np.random.default_rng(4)
    groups = np.repeat([0, 1, 2], 10)
    for _ in range(trials):
        loss, measure, error = rng.normal(size=(3, 30))
        found = rank({"m": measure}, error, loss, groups, draws=120)
        missed += (found.low[:, 0] > 0) | (found.high[:, 0] < 0)
    # At 5% each, more than 10% of 200 trials has a chance of 0.3%; in groups of ten intervals are rougher.
    assert (missed[:2] <= 20).all(), missed
    assert (missed[2:] <= 28).all(), missed
    assert missed.sum() > 4


def test_the_best_measure_and_its_share() -> None:
    rng = np.random.default_rng(5)
    good, loss = rng.normal(size=(2, 60))
    error = good + rng.normal(size=60)
    twin = good + rng.normal(size=60) / 20
    found = rank({"noise": rng.normal(size=60), "good": -good, "twin": twin}, error, loss, ["a"] * 60)
    assert found.best_share.sum(1) == pytest.approx(np.ones(4))
    assert found.best_share[:, 0] == pytest.approx(np.zeros(4), abs=1e-3)
    assert found.best("pool")[0] in ("good", "twin")
    assert 0.02 < found.best_share[0, 1] < 0.98
    assert found.value[0, 1] < 0


def test_small_groups_are_left_out_of_the_means_only() -> None:
    rng = np.random.default_rng(6)
    measure, error, loss = rng.normal(size=(3, 23))
    groups = ["big"] * 20 + ["small"] * 3
    found = rank({"m": measure}, error, loss, groups, draws=20)
    assert np.isnan(found.by_group[:, 1]).all()
    assert found.value[2, 0] == pytest.approx(stats.spearmanr(measure[:20], error[:20]).statistic)
    assert found.networks == 23


def test_networks_without_numbers_are_counted_out() -> None:
    rng = np.random.default_rng(7)
    measure, error, loss = rng.normal(size=(3, 20))
    measure[3] = np.nan
    error[5] = np.inf
    found = rank({"m": measure}, error, loss, [0] * 20, draws=20)
    keep = np.setdiff1d(np.arange(20), [3, 5])
    assert (found.networks, found.left_out) == (18, 2)
    assert found.value[0, 0] == pytest.approx(stats.spearmanr(measure[keep], error[keep]).statistic)


def test_a_constant_measure_has_no_number_and_a_constant_loss_explains_nothing() -> None:
    rng = np.random.default_rng(8)
    measure, error = rng.normal(size=(2, 12))
    found = rank({"m": measure, "flat": np.ones(12)}, error, np.zeros(12), [0] * 12, draws=30)
    assert np.isnan(found.value[:, 1]).all()
    assert np.isnan(found.low[:, 1]).all()
    assert found.value[1, 0] == found.value[0, 0]
    assert found.best("partial")[0] == "m"


def test_seeds_repeat() -> None:
    rng = np.random.default_rng(9)
    args = {"m": rng.normal(size=15)}, rng.normal(size=15), rng.normal(size=15), [0] * 15
    first, second = rank(*args, draws=50, seed=3), rank(*args, draws=50, seed=3)
    assert (first.low == second.low).all()
    assert (first.low != rank(*args, draws=50, seed=4).low).all()


def test_bad_input_is_refused() -> None:
    ones = np.arange(6.0)
    for args, words in (
        (({}, ones, ones, ones), "at least one measure"),
        (({"m": ones[:5]}, ones, ones, ones), "m must have one entry"),
        (({"m": ones}, ones, ones, ones[:2]), "groups must have"),
        (({"m": ones * np.nan}, ones, ones, ones), "finite numbers"),
    ):
        with pytest.raises(ValueError, match=words):
            rank(*args)
    with pytest.raises(ValueError, match="level"):
        rank({"m": ones}, ones, ones, ones, level=1.0)
    with pytest.raises(ValueError, match="draws"):
        rank({"m": ones}, ones, ones, ones, draws=1)
    with pytest.raises(ValueError, match="seed"):
        rank({"m": ones}, ones, ones, ones, seed=-1)
    with pytest.raises(ValueError, match="kind"):
        rank({"m": ones}, ones, ones, ones, draws=5).best("all")
    assert KINDS == ("pool", "partial", "within", "partial within")
