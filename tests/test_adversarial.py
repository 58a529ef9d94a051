from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from spinscape.networks._group import generator_of
from spinscape.networks.adversarial import (
    UnfittedWarning,
    adversarial_start,
    label_accuracy,
    random_labels,
)
from spinscape.networks.datasets import Dataset, load
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.models import initialise, mlp
from spinscape.networks.training import train


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load("digits").flat()


@pytest.fixture(scope="module")
def few(digits) -> Dataset:
    """100 digits in rows."""
    return digits.shortened(100)


SGD = {"optimiser": "sgd", "learning_rate": 0.1, "momentum": 0.9, "batch_size": 50}


def test_random_labels(digits):
    labels = random_labels(digits, 5, seed=3)
    assert labels.shape == (5, len(digits.x_train))
    assert labels.dtype == torch.int64
    assert torch.equal(random_labels(digits, 2, seed=3), labels[:2])
    assert not torch.equal(random_labels(digits, 2, seed=4), labels[:2])
    # Shares of ten classes in 7185 labels: chi squared of 9 degrees passes 33.7 once in ten thousand seeds.
    counts = labels.flatten().bincount(minlength=10).double()
    assert float(((counts - counts.mean()) ** 2 / counts.mean()).sum()) < 33.7
    # Agreement of pairs, and with the right labels, is by chance: 0.1 +- 0.0079.
    for other in (labels[1], digits.y_train):
        assert abs(float((labels[0] == other).double().mean()) - 0.1) < 5 * 0.0079


def test_agrees_with_a_plain_loop(few):
    model = mlp([64, 24, 10])
    epochs = 3
    with pytest.warns(UnfittedWarning):
        made = adversarial_start(model, few, replicas=3, epochs=epochs, seed=6, **SGD)
    labels = random_labels(few, 3, seed=6)
    for r in (0, 2):
        params, _ = initialise(model, generator := generator_of(6, r))
        module = Ensemble(model, {name: value[None] for name, value in params.items()}).module(0)
        rule = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9, foreach=False)
        for epoch in range(epochs):
            order = torch.randperm(100, generator=generator)
            torch.randint(2**48, (), generator=generator)
            total = 0.0
            for rows in order.split(50):
                rule.zero_grad()
                value = F.cross_entropy(module(few.x_train[rows]), labels[r, rows])
                value.backward()
                rule.step()
                total += value.item() / 2
            assert made.history.train_loss[epoch, r] == pytest.approx(total, abs=1e-4)
        for p, q in zip(made.module(r).parameters(), module.parameters(), strict=True):
            assert torch.allclose(p, q, atol=1e-4)


def test_networks_fit_labels_of_their_own(few):
    model = mlp([64, 64, 10])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = adversarial_start(model, few, replicas=4, epochs=200, seed=1, **SGD)
    share = label_accuracy(made, few, seed=1)
    assert (share >= 0.99).all()
    labels = random_labels(few, 4, seed=1)
    for r in range(4):
        answers = made.module(r)(few.x_train).argmax(1)
        assert float((answers == labels[r]).double().mean()) == pytest.approx(share[r])
        assert float((answers == labels[(r + 1) % 4]).double().mean()) < 0.35
    # Each stops when it has got there, and not before.
    run = made.history.epochs_run
    assert len(set(run)) > 1
    assert (run < 200).all()
    last = made.history.train_accuracy[run - 1, np.arange(4)]
    assert (last >= 0.99).all()
    assert np.isnan(made.history.test_loss).all()
    for r in range(4):
        with pytest.warns(UnfittedWarning):
            before = adversarial_start(
                model, few, replicas=4, epochs=int(run[r]) - 1, target_accuracy=1.0, seed=1, **SGD
            )
        assert before.history.epochs_run[r] == run[r] - 1
        assert np.array_equal(before.history.train_loss[:, r], made.history.train_loss[: run[r] - 1, r])
        assert min(before.history.train_accuracy[-1, r], label_accuracy(before, few, seed=1)[r]) < 0.99


def test_replicas_do_not_depend_on_the_others(few):
    model = mlp([64, 33, 10])
    options = {"epochs": 60, "target_accuracy": 0.7, "seed": 2, **SGD}
    four = adversarial_start(model, few, replicas=4, **options)
    assert len(set(four.history.epochs_run)) > 1
    for replicas, chunk in ((7, 7), (4, 1), (5, 2)):
        more = adversarial_start(model, few, replicas=replicas, chunk=chunk, **options)
        assert torch.equal(more.flat()[:4], four.flat())
        assert np.array_equal(more.history.epochs_run[:4], four.history.epochs_run)


def test_memory_that_runs_out_changes_nothing(few, monkeypatch):
    model = mlp([64, 33, 10])
    options = {"replicas": 6, "epochs": 60, "target_accuracy": 0.6, **SGD}
    whole = adversarial_start(model, few, **options)
    original, failures = torch.autograd.grad, []

    def grad(outputs, inputs, *args, **kwargs):
        if len(inputs[0]) > 2:
            failures.append(1)
            raise torch.OutOfMemoryError("out of memory")
        return original(outputs, inputs, *args, **kwargs)

    monkeypatch.setattr(torch.autograd, "grad", grad)
    halved = adversarial_start(model, few, chunk=6, **options)
    assert failures
    assert torch.equal(halved.flat(), whole.flat())


class Noisy(nn.Module):
    """A network that answers better in evaluation, without dropout, or worse."""

    def __init__(self):
        super().__init__()
        self.first, self.drop, self.last = nn.Linear(64, 64), nn.Dropout(0.2), nn.Linear(64, 10)

    def forward(self, x):
        return self.last(self.drop(torch.relu(self.first(x))))


def test_what_counts_is_the_network_as_it_is(few):
    made = adversarial_start(Noisy(), few, replicas=2, epochs=300, target_accuracy=0.95, **SGD)
    assert (label_accuracy(made, few) >= 0.95).all()


def test_says_which_networks_did_not_get_there(few):
    with pytest.warns(
        UnfittedWarning, match=r"2 of 2 networks do not answer 0\.99 .* after 2 epochs \(0: 0\."
    ):
        adversarial_start(mlp([64, 8, 10]), few, replicas=2, epochs=2)


def test_goes_on_with_the_right_labels_from_there(few):
    model = mlp([64, 64, 10])
    start = adversarial_start(model, few, replicas=2, epochs=200, **SGD)
    made = train(model, few, start=start, epochs=60, **SGD)
    assert (made.history.train_accuracy[0] < 0.6).all()
    assert (made.history.train_accuracy[-1] == 1).all()
    assert (label_accuracy(made, few) < 0.5).all()


def test_ends_in_networks_that_generalise_worse(digits):
    """On a part of the digits; the difference is paired: same first weights, same orders of samples."""
    part, model = digits.shortened(400), mlp([64, 128, 10])
    start = adversarial_start(model, part, replicas=8, epochs=400, **SGD)
    assert (label_accuracy(start, part) >= 0.99).all()
    after = train(model, part, start=start, epochs=40, **SGD)
    scratch = train(model, part, replicas=8, epochs=40, **SGD)
    for made in (after, scratch):
        assert (made.history.train_accuracy[-1] > 0.995).all()
    worse = scratch.history.test_accuracy[-1] - after.history.test_accuracy[-1]
    error = worse.std(ddof=1) / np.sqrt(len(worse))
    assert worse.mean() > 3 * error


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"replicas": 0}, "replicas must be an integer"),
        ({"target_accuracy": 0}, r"target_accuracy must lie in \(0, 1\]"),
        ({"target_accuracy": 1.1}, r"target_accuracy must lie in \(0, 1\]"),
        ({"epochs": 0}, "epochs must be an integer"),
        ({"seed": -1}, "seed must not be negative"),
        ({"annealing": "step"}, "annealing must be one of"),
    ],
)
def test_refuses(few, options, message):
    with pytest.raises(ValueError, match=message):
        adversarial_start(mlp([64, 8, 10]), few, **options)


def test_refuses_a_regression():
    with pytest.raises(ValueError, match="need a classification, which linnerud is not"):
        adversarial_start(mlp([3, 8, 3]), load("linnerud"))
    with pytest.raises(ValueError, match="need a classification"):
        random_labels(load("linnerud"), 2)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_on_a_gpu(few):
    options = {"replicas": 2, "epochs": 4, "dtype": torch.float64, "target_accuracy": 0.01, **SGD}
    one, other = (adversarial_start(mlp([64, 16, 10]), few, device=d, **options) for d in ("cpu", "cuda"))
    np.testing.assert_allclose(other.history.train_loss, one.history.train_loss, rtol=1e-6)
