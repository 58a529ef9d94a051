"""Networks at a target loss and at the end of a run of fixed length, against runs of their own."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spinscape.companion import memo
from spinscape.networks import snapshots
from spinscape.networks.datasets import Dataset, load
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.history import History
from spinscape.networks.models import mlp
from spinscape.networks.snapshots import Course, fluctuation, near_best, squared_distances, train_until
from spinscape.networks.training import DivergenceWarning, train

OPTIONS = {"replicas": 5, "learning_rate": 0.01, "batch_size": 32, "seed": 3, "device": "cpu"}
MODEL = mlp([64, 12, 10])


@pytest.fixture(scope="module")
def few() -> Dataset:
    digits = load("digits").flat()
    return Dataset("few", *digits.subset("train", 200), *digits.subset("test", 60), digits.classes)


@pytest.fixture(scope="module")
def course(few: Dataset) -> Course:
    return train_until(MODEL, few, target_loss=0.9, epochs=8, **OPTIONS)


def same(a: Ensemble, b: Ensemble) -> bool:
    return all(torch.equal(a.params[name], b.params[name]) for name in b.params)


def test_networks_are_those_of_runs_that_stop_and_of_one_that_does_not(few: Dataset, course: Course) -> None:
    stopped = train(MODEL, few, target_loss=0.9, epochs=8, **OPTIONS)
    whole = train(MODEL, few, epochs=8, **OPTIONS)
    assert same(course.at_target, stopped)
    assert same(course.at_end, whole)
    assert not same(course.at_target, course.at_end)
    for name, curve in stopped.history.arrays().items():
        assert np.array_equal(getattr(course.at_target.history, name), curve, equal_nan=True), name
    for name, curve in whole.history.arrays().items():
        assert np.array_equal(getattr(course.history, name), curve, equal_nan=True), name
    reached = stopped.history.final("train_loss") <= 0.9
    assert reached.any()
    assert course.stop_epoch.tolist() == np.where(reached, stopped.history.epochs_run, 0).tolist()
    assert (course.reached == reached).all()


def test_norms_and_distances_after_every_epoch(few: Dataset, course: Course) -> None:
    assert course.measured.tolist() == list(range(1, 9))
    for epoch in (1, 4, 8):
        rows = train(MODEL, few, epochs=epoch, **OPTIONS).flat().double()
        assert course.norms[epoch - 1] == pytest.approx(rows.norm(dim=1).numpy(), rel=1e-12)
        d = torch.pdist(rows).numpy()
        assert course.distance_mean[epoch - 1] == pytest.approx(d.mean(), rel=1e-12)
        assert course.distance_sd[epoch - 1] == pytest.approx(d.std(ddof=1), rel=1e-9)


def test_chunks_change_nothing(few: Dataset, course: Course) -> None:
    again = train_until(MODEL, few, target_loss=0.9, epochs=8, chunk=2, **OPTIONS)
    assert same(again.at_target, course.at_target)
    assert same(again.at_end, course.at_end)
    for name in ("stop_epoch", "norms", "distance_mean", "distance_sd"):
        assert np.array_equal(getattr(again, name), getattr(course, name)), name


def test_networks_that_never_get_there_are_as_at_the_end(few: Dataset) -> None:
    never = train_until(MODEL, few, target_loss=1e-9, epochs=3, measure=[2], **OPTIONS)
    assert (never.stop_epoch == 0).all()
    assert same(never.at_target, never.at_end)
    assert np.array_equal(never.at_target.history.train_loss, never.history.train_loss)
    assert np.isfinite(never.distance_mean).tolist() == [False, True, False]
    none = train_until(MODEL, few, target_loss=1e-9, epochs=1, measure=[], **OPTIONS)
    assert np.isnan(none.distance_mean).all()
    assert none.measured.tolist() == []


def test_networks_that_diverge_are_left_out(few: Dataset) -> None:
    start = {"optimiser": "sgd", "learning_rate": 3e3, "replicas": 3, "device": "cpu"}
    with pytest.warns(DivergenceWarning):
        lost = train_until(MODEL, few, target_loss=1e-9, epochs=3, **start)
    assert lost.history.diverged.all()
    assert np.isnan(lost.norms[-1]).all()
    assert np.isnan(lost.distance_mean[-1])
    assert (lost.stop_epoch == 0).all()


def test_epochs_are_thinned_out_where_weights_would_fill_the_memory(
    few: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 4 * OPTIONS["replicas"] * sum(p.numel() for p in MODEL.parameters())
    monkeypatch.setattr(snapshots, "KEPT_BYTES", 3 * count)
    whole = train_until(MODEL, few, target_loss=0.5, epochs=8, **OPTIONS)
    assert whole.measured.tolist() == list(range(1, 9))  # nothing has to be kept
    thin = train_until(MODEL, few, target_loss=0.5, epochs=8, chunk=3, **OPTIONS)
    assert thin.measured.tolist() == [1, 3, 8]
    assert np.isfinite(thin.distance_mean).nonzero()[0].tolist() == [0, 2, 7]
    assert np.array_equal(thin.distance_mean[[0, 2, 7]], whole.distance_mean[[0, 2, 7]])
    monkeypatch.setattr(snapshots, "KEPT_BYTES", 1)
    thin = train_until(MODEL, few, target_loss=0.5, epochs=2, chunk=3, **OPTIONS)
    assert thin.measured.tolist() == [2]


def test_networks_that_diverged_do_not_thin_out_the_others(
    few: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "KEPT_BYTES", 1)
    start = {"optimiser": "sgd", "learning_rate": 100.0, "replicas": 8, "device": "cpu", "batch_size": 32}
    with pytest.warns(DivergenceWarning):
        lost = train_until(MODEL, few, target_loss=1e-9, epochs=4, **start)
    assert 0 < lost.history.diverged.sum() < 7
    assert lost.measured.tolist() == [1, 2, 3, 4]
    assert np.isfinite(lost.distance_mean).all()


def test_a_course_is_kept_on_disk(few: Dataset, course: Course, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("SPINSCAPE_MEMO", str(tmp_path))
    call = {"target_loss": 0.9, "epochs": 8, **OPTIONS}
    first = memo.remember(train_until, MODEL, few, **call)
    monkeypatch.setattr(snapshots, "train", None)
    again = memo.remember(train_until, MODEL, few, **call)
    for one in (first, again):
        assert isinstance(one, Course)
        assert same(one.at_target, course.at_target)
        assert same(one.at_end, course.at_end)
        assert np.array_equal(one.norms, course.norms)
        assert np.array_equal(one.history.train_loss, course.history.train_loss)


def test_bad_arguments(few: Dataset) -> None:
    with pytest.raises(ValueError, match="target_loss must be positive"):
        train_until(MODEL, few, target_loss=0, epochs=1, replicas=1)
    with pytest.raises(TypeError, match="takes no callback"):
        train_until(MODEL, few, target_loss=1, epochs=1, replicas=1, callback=print)
    with pytest.raises(ValueError, match="epochs to measure must lie in 1 to 2"):
        train_until(MODEL, few, target_loss=1, epochs=2, replicas=1, measure=[3])
    with pytest.raises(ValueError, match="at least 1"):
        train_until(MODEL, few, target_loss=1, epochs=0, replicas=1)
    with pytest.raises(TypeError, match="rate"):
        train_until(MODEL, few, target_loss=1, epochs=1, replicas=1, rate=1)


def test_squared_distances_of_networks_that_nearly_agree() -> None:
    g = torch.Generator().manual_seed(0)
    middle = 1e3 * torch.randn(1, 200_000, generator=g)
    rows = middle + 1e-2 * torch.randn(4, 200_000, generator=g)
    exact = (rows.double()[:, None] - rows.double()).square().sum(2).numpy()
    assert squared_distances(rows) == pytest.approx(exact, rel=1e-9)
    assert (squared_distances(rows[:1].expand(3, -1)) < 1e-12 * float(rows[0].double().square().sum())).all()


def history(test_accuracy: list[list[float]]) -> History:
    curves = np.array(test_accuracy).T
    empty = History.empty(*curves.shape)
    empty.test_accuracy[:] = curves
    return empty


def test_epochs_near_the_best() -> None:
    nan = np.nan
    curves = history(
        [[0.5, 0.8, 0.9, 0.91], [0.91, 0.8, 0.9, 0.7], [nan, nan, nan, nan], [0.6, 0.7, nan, nan]]
    )
    assert near_best(curves, 0.0101)[[0, 1, 3]].tolist() == [3, 1, 2]
    assert near_best(curves, 0.2)[[0, 1, 3]].tolist() == [2, 1, 1]
    assert np.isnan(near_best(curves)[2])
    with pytest.raises(ValueError, match="margin"):
        near_best(curves, -1)


def test_fluctuations_late_in_training() -> None:
    g = np.random.default_rng(0)
    steps = g.normal(size=(3, 40))
    curves = history((0.5 + np.cumsum(0.01 * steps, axis=1)).tolist())
    assert fluctuation(curves, 1) == pytest.approx(0.01 * steps[:, 1:].std(axis=1, ddof=1))
    assert fluctuation(curves, 10, until=20) == pytest.approx(0.01 * steps[:, 10:20].std(axis=1, ddof=1))
    curves.test_accuracy[5:, 0] = np.nan
    assert np.isnan(fluctuation(curves, 10)[0])
    with pytest.raises(ValueError, match="must leave three of 40 epochs"):
        fluctuation(curves, 39)
    with pytest.raises(ValueError, match="curve must be"):
        fluctuation(curves, 1, curve="norms")
