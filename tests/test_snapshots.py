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


def curves(loss: list[list[float]], accuracy: list[list[float]] | None = None) -> History:
    """A history with the training losses and test accuracies ``(E, R)`` that are given."""
    rows = np.array(loss, float)
    found = History.empty(*rows.shape)
    found.train_loss[:] = rows
    if accuracy is not None:
        found.test_accuracy[:] = accuracy
    return found


def test_spikes_are_counted_once_each_and_only_from_below() -> None:
    nan = float("nan")
    columns = {
        (1.0, 0.5, 0.2, 0.1): [0, 0, 0, 0],  # falls
        (1.0, 3.1, 9.9, 1.0): [0, 1, 1, 1],  # one that lasts two epochs
        (1.0, 3.0, 3.1, 3.0): [0, 0, 1, 1],  # exactly three times is none
        (1.0, 4.0, 1.0, 4.0): [0, 1, 1, 2],  # two
        (4.0, 1.0, 0.1, 0.4): [0, 0, 0, 1],  # over the lowest before, not over the first
        (1.0, 0.1, nan, nan): [0, 0, 0, 0],  # stopped
        (1.0, 5.0, nan, nan): [0, 1, 1, 1],
    }
    found = snapshots.spikes(curves(np.array(list(columns)).T.tolist()))
    assert found.T.tolist() == list(columns.values())
    assert snapshots.spikes(curves([[1.0], [1.6], [1.0]]), 1.5).ravel().tolist() == [0, 1, 1]
    for factor in (1.0, float("nan")):
        with pytest.raises(ValueError, match="above 1"):
            snapshots.spikes(curves([[1.0], [2.0]]), factor)


def test_gap_to_the_best_of_the_whole_run() -> None:
    nan = float("nan")
    history = curves([[1.0] * 3] * 3, [[0.5, 0.9, nan], [0.7, 0.8, nan], [0.9, 0.7, nan]])
    assert snapshots.gap_to_best(history, 1) == pytest.approx([0.4, 0.0, nan], nan_ok=True)
    assert snapshots.gap_to_best(history, 2) == pytest.approx([0.2, 0.1, nan], nan_ok=True)
    for epoch in (0, 4):
        with pytest.raises(ValueError, match="1 to 3"):
            snapshots.gap_to_best(history, epoch)


def test_loss_at_a_distance(course: Course) -> None:
    mean, loss = course.distance_mean, course.history.train_loss
    assert (np.diff(mean) > 0).all()
    assert snapshots.loss_at_distance(course, 0.0).tolist() == loss[0].tolist()
    assert snapshots.loss_at_distance(course, mean[3]).tolist() == loss[3].tolist()
    assert snapshots.loss_at_distance(course, (mean[3] + mean[4]) / 2).tolist() == loss[4].tolist()
    assert np.isnan(snapshots.loss_at_distance(course, 2 * mean[-1])).all()


def test_a_crossing_is_not_told_across_epochs_that_were_thinned_out(
    few: Dataset, course: Course, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = sum(value.numel() for value in MODEL.parameters())
    monkeypatch.setattr(snapshots, "KEPT_BYTES", 3 * 4 * count * OPTIONS["replicas"])
    wanted = course.distance_mean[3]
    whole = train_until(MODEL, few, target_loss=0.9, epochs=8, **OPTIONS)
    found = snapshots.loss_at_distance(whole, wanted)
    assert found.tolist() == snapshots.loss_at_distance(course, wanted).tolist()
    thin = train_until(MODEL, few, target_loss=0.9, epochs=8, chunk=3, **OPTIONS)
    assert thin.measured.tolist() == [1, 3, 8]
    assert np.isnan(snapshots.loss_at_distance(thin, wanted)).all()
    assert np.isnan(snapshots.loss_at_distance(thin, course.distance_mean[2])).all()
    first = snapshots.loss_at_distance(thin, course.distance_mean[0])
    assert first.tolist() == course.history.train_loss[0].tolist()


def test_distance_of_glorot_uniform_networks() -> None:
    rng = np.random.default_rng(0)

    def network() -> np.ndarray:
        shapes = [(30, 20), (20, 10)]
        return np.concatenate([
            rng.uniform(-1, 1, a * b) * np.sqrt(6 / (a + b)) for a, b in shapes
        ])  # fmt: skip

    squares = [((network() - network()) ** 2).sum() for _ in range(400)]
    assert snapshots.glorot_distance([30, 20, 10]) == pytest.approx(np.mean(squares) ** 0.5, rel=0.01)
    # Liao et al.'s smaller scale at 512 units lies above that of the start.
    assert snapshots.glorot_distance([784, 512, 10]) < 45.86


def test_networks_that_reached_the_target(course: Course) -> None:
    assert snapshots.usable(course, 1).tolist() == np.flatnonzero(course.stop_epoch > 0).tolist()
    assert (~course.reached).sum() == 1
    with pytest.warns(UserWarning, match="4 of 5 networks reached the training loss in 8 epochs"):
        assert snapshots.usable(course, 5).tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="5 of 5 networks did not diverge, 12 are needed"):
        snapshots.usable(course)


def test_no_network_reached_the_target(few: Dataset) -> None:
    never = train_until(MODEL, few, target_loss=1e-9, epochs=2, **OPTIONS)
    assert not never.reached.any()
    assert same(never.at_target, never.at_end)
    with pytest.warns(UserWarning, match="0 of 5 networks"):
        assert snapshots.usable(never, 2).tolist() == [0, 1, 2, 3, 4]
