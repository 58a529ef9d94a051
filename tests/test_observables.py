"""Observables of a data set are what the probes give on the networks that were trained."""

from __future__ import annotations

import numpy as np
import pytest

from spinscape.companion import memo
from spinscape.landscape import growth
from spinscape.landscape.observables import observables
from spinscape.landscape.swap_lines import barrier, swap_lines
from spinscape.landscape.walks import random_walks
from spinscape.networks.datasets import load
from spinscape.networks.evaluation import evaluate
from spinscape.networks.models import mlp
from spinscape.networks.training import train

OPTIONS = {
    "hidden": 12, "epochs": 40, "images": 300, "target_loss": 0.1, "learning_rate": 1e-2, "sigma": 0.03,
    "steps": 8, "walks": 2, "trials": 3, "points": 5, "seed": 2, "device": "cpu",
}  # fmt: skip


@pytest.fixture(scope="module")
def digits():
    return load("digits")


@pytest.fixture(scope="module")
def found(digits):
    return observables(digits, networks=5, swaps=(4, 1), **OPTIONS)


def test_what_the_probes_give(digits, found) -> None:
    data = digits.flat().shortened(300, 2)
    x, y = data.x_train, data.y_train
    options = {"replicas": 5, "epochs": 40, "target_loss": 0.1, "learning_rate": 1e-2, "seed": 2}
    small, large = (
        train(mlp([64, 12, 10]), data, batch_size=size, device="cpu", **options) for size in (8, 30)
    )
    assert (found.small.batch_size, found.large.batch_size) == (8, 30)
    for nets, kept in ((small, found.small), (large, found.large)):
        assert np.array_equal(kept.epochs, nets.history.epochs_run)
        assert np.array_equal(kept.loss, nets.history.final("train_loss"))
        assert np.array_equal(kept.train_accuracy, evaluate(nets, x, y).accuracy)
        assert np.array_equal(kept.test_accuracy, evaluate(nets, data.x_test, data.y_test).accuracy)
    assert (found.small.epochs < found.large.epochs).all()
    walk = random_walks(small, {"train": (x, y)}, sigmas=[0.03], steps=8, walks=2, seed=2)
    loss = walk.loss["train"]["cross_entropy"][0].mean(1)
    assert np.array_equal(found.rise, loss[:, 1:] - loss[:, :1])
    assert np.allclose(
        found.growth, [np.polyfit(np.log(np.arange(1, 9)), np.log(r), 1)[0] for r in found.rise]
    )
    assert np.array_equal(found.initial, growth.shape(loss).initial)
    assert np.array_equal(found.final, growth.shape(loss).final)
    lines = swap_lines(small, x, y, swaps=[1, 4], trials=3, points=5, seed=2)
    assert np.array_equal(found.barrier, barrier(lines).mean(2))
    assert found.swaps.tolist() == [1, 4]
    rows = small.flat().double().numpy()
    apart = np.linalg.norm(rows[:, None] - rows, axis=-1)
    assert np.allclose(found.distances, apart[np.triu_indices(5, 1)])
    assert np.allclose(found.distance, apart.sum(1) / 4)
    assert np.allclose(found.spread[0], np.std(apart[0, 1:], ddof=1) / apart[0, 1:].mean())


def test_one_number_per_network(found) -> None:
    assert found.replicas == 5
    assert all(row.shape == (5,) and np.isfinite(row).all() for row in found.rows.values())
    assert (found.swap_ratio > 1).all()
    assert np.array_equal(found.rows["barrier ratio"], found.barrier[:, 1] / found.barrier[:, 0])
    assert np.array_equal(found.batch_gain, found.small.test_accuracy - found.large.test_accuracy)
    assert 0 < found.dip <= 0.25
    assert 0 <= found.dip_pvalue <= 1


def test_a_network_is_the_same_beside_fewer_others_and_is_remembered(digits, found, tmp_path, monkeypatch):
    monkeypatch.setenv("SPINSCAPE_MEMO", str(tmp_path))
    for _ in range(2):
        fewer = memo.remember(observables, digits, networks=4, swaps=(1, 4), **OPTIONS)
        for name in ("growth", "final", "barrier", "batch_gain"):
            assert np.array_equal(getattr(fewer, name), getattr(found, name)[:4]), name
    assert len(list(tmp_path.rglob("*.safetensors"))) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"networks": 3}, "networks must be a whole number of at least 4"),
        ({"images": 5}, "images must be"),
        ({"swaps": (3, 3)}, "swaps must be at least two different numbers"),
        ({"swaps": (0, 3)}, "swaps must be a list"),
        ({"steps": 7}, "steps must be at least 8"),
        ({"small_batch": 20, "large_batch": 20}, "small_batch must be below large_batch"),
    ],
)
def test_refuses_before_it_trains(digits, options, message) -> None:
    with pytest.raises(ValueError, match=message):
        observables(digits, **options)


def test_refuses_a_regression() -> None:
    with pytest.raises(ValueError, match="linnerud has no classes"):
        observables(load("linnerud"))
