from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from small import slopes_of
from spinscape.companion import memo
from spinscape.networks import _run
from spinscape.networks._group import generator_of
from spinscape.networks.convolutional import convnet
from spinscape.networks.datasets import Dataset, load
from spinscape.networks.ensemble import Ensemble, evaluate, outputs
from spinscape.networks.models import initialise, mlp
from spinscape.networks.replicated import centre_of, stability_limit, train_replicated
from spinscape.networks.residual_net import resnet18
from spinscape.networks.running_statistics import reset_statistics
from spinscape.networks.training import DivergenceWarning, train


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load("digits").flat()


@pytest.fixture(scope="module")
def few(digits) -> Dataset:
    """200 digits in rows: 4 batches of 48 and a rest of 8."""
    x, y = digits.subset("train", 200)
    xt, yt = digits.subset("test", 90)
    return Dataset("few", x, y, xt, yt, digits.classes)


PLAIN = {"momentum": 0.0, "nesterov": False, "weight_decay": 0.0, "annealing": None}


def same_tensors(a: Ensemble, b: Ensemble) -> bool:
    return all(
        torch.equal(p, q)
        for one, other in ((a.params, b.params), (a.buffers, b.buffers))
        for p, q in zip(one.values(), other.values(), strict=True)
    )


def same(a: Ensemble, b: Ensemble) -> bool:
    curves = zip(a.history.arrays().values(), b.history.arrays().values(), strict=True)
    return same_tensors(a, b) and all(np.array_equal(p, q, equal_nan=True) for p, q in curves)


@pytest.mark.parametrize(
    ("momentum", "nesterov", "interval"),
    [(0.0, False, 1), (0.0, False, 3), (0.9, True, 1), (0.9, False, 2)],
)
def test_float64_oracle(few, momentum, nesterov, interval):
    """Two epochs of the printed update for the second of two groups, in numpy."""
    model = mlp([64, 12, 10], activation="tanh")
    eta, gamma, decay, copies, seed = 0.2, [0.3, 0.1], 0.01, 3, 7
    made = train_replicated(
        model, few, replicas=2, copies=copies, gamma=gamma, interval=interval, learning_rate=eta,
        momentum=momentum, nesterov=nesterov, weight_decay=decay, annealing=None, batch_size=48,
        epochs=2, dtype=torch.float64, seed=seed, device="cpu",
    )  # fmt: skip
    generators = [generator_of(seed, copies + a) for a in range(copies)]
    weights = [[v.double().numpy().copy() for v in initialise(model, g)[0].values()] for g in generators]
    velocity = [[np.zeros_like(v) for v in one] for one in weights]
    x, y = few.x_train.double().numpy(), few.y_train.numpy()
    t = 0
    for epoch in range(2):
        orders = []
        for g in generators:
            orders.append(torch.randperm(200, generator=g).numpy())
            torch.randint(2**48, (), generator=g)
        for first in range(0, 200, 48):
            t += 1
            centre = [sum(parts) / copies for parts in zip(*weights, strict=True)]
            for a in range(copies):
                rows = orders[a][first : first + 48]
                for i, slope in enumerate(slopes_of(weights[a], x[rows], y[rows])):
                    if t % interval == 0:
                        slope = slope + interval * gamma[epoch] * (weights[a][i] - centre[i])
                    slope = slope + decay * weights[a][i]
                    velocity[a][i] = slope if t == 1 else momentum * velocity[a][i] + slope
                    slope = slope + momentum * velocity[a][i] if nesterov else velocity[a][i]
                    weights[a][i] = weights[a][i] - eta * slope
    for i, value in enumerate(made.copies.params.values()):
        for a in range(copies):
            assert np.abs(value[copies + a].numpy() - weights[a][i]).max() < 1e-12
    for i, value in enumerate(made.centre.params.values()):
        middle = sum(weights[a][i] for a in range(copies)) / copies
        assert np.abs(value[1].numpy() - middle).max() < 1e-12
    apart = sum(
        ((weights[a][i] - sum(weights[b][i] for b in range(copies)) / copies) ** 2).sum()
        for a in range(copies)
        for i in range(4)
    )
    assert made.distance[1, 1] == pytest.approx(apart / copies, rel=1e-12)
    assert made.gamma[:, 1].tolist() == gamma


OPTIMISERS = {
    "sgd": {"optimiser": "sgd", "learning_rate": 0.1, "momentum": 0.9, "nesterov": True},
    "adam": {"optimiser": "adam", "learning_rate": 1e-2},
}


@pytest.mark.parametrize("rule", OPTIMISERS)
@pytest.mark.parametrize("widths", [[64, 33, 10], [64, 16, 7, 10]], ids=str)
def test_without_coupling_copies_are_networks_of_plain_training(few, rule, widths):
    options = {"batch_size": 48, "epochs": 3, "seed": 3, "weight_decay": 1e-3, "annealing": "cosine"}
    options |= OPTIMISERS[rule]
    model = mlp(widths)
    made = train_replicated(model, few, replicas=2, copies=3, gamma=0.0, **options)
    plain = train(model, few, replicas=6, **options)
    assert same(made.copies, plain)
    pulled = train_replicated(model, few, replicas=2, copies=3, gamma=0.01, **options)
    assert not torch.equal(pulled.copies.flat(), plain.flat())
    one = np.array([0.0, 0.0, 0.01])  # the coupling begins in the third epoch
    late = train_replicated(model, few, replicas=2, copies=3, gamma=one, **options)
    assert np.array_equal(late.history.train_loss[:2], plain.history.train_loss[:2])
    assert not np.array_equal(late.history.train_loss[2], plain.history.train_loss[2])


def test_without_coupling_from_given_networks(few):
    model = mlp([64, 16, 10])
    start = train(model, few, replicas=6, epochs=1)
    options = {"epochs": 2, "batch_size": 48, "learning_rate": 0.05, **PLAIN}
    plain = train(model, few, start=start, optimiser="sgd", **options)
    assert same(train_replicated(model, few, start=start, replicas=2, gamma=0, **options).copies, plain)
    two = train_replicated(model, few, start=start[:2], gamma=0, **options)
    repeated = train(model, few, start=start[[0, 0, 0, 1, 1, 1]], optimiser="sgd", **options)
    assert same(two.copies, repeated)
    assert not torch.equal(two.copies.flat()[0], two.copies.flat()[1])


def test_the_schedule_of_the_authors_brings_the_copies_together(digits):
    epochs, growth = 24, 1e4
    made = train_replicated(mlp([64, 64, 10]), digits, replicas=3, copies=3, epochs=epochs, growth=growth)
    length = np.sqrt(made.distance)
    assert (length[-1] < 1e-2 * length.max(0)).all()
    assert (made.distance[-1] < 1e-2 * made.distance.max(0)).all()
    losses = made.history.train_loss[0].reshape(3, 3).mean(1)
    wanted = 2 * losses / made.distance[0] * growth ** (np.arange(epochs - 1)[:, None] / epochs)
    assert (made.wanted[0] == 0).all()
    assert np.allclose(made.wanted[1:], wanted, rtol=1e-12)
    # What would drive the copies apart is clipped, and recorded as it was used.
    assert made.limit == pytest.approx(3.8 / 2.8)
    strength = made.learning_rate[:, None] * made.gamma
    assert made.clipped.any()
    assert np.allclose(strength[made.clipped], made.limit / 2)
    assert (made.gamma[~made.clipped] == made.wanted[~made.clipped]).all()
    assert (strength <= made.limit / 2 * (1 + 1e-12)).all()
    assert not made.history.diverged.any()
    assert made.centre.history.test_accuracy[-1].min() > 0.93
    free = train_replicated(mlp([64, 64, 10]), digits, replicas=3, copies=3, epochs=epochs, gamma=0)
    assert (free.distance[-1] > 100 * made.distance[-1]).all()


def test_four_epochs_of_the_schedule_are_enough(digits):
    made = train_replicated(mlp([64, 64, 10]), digits, replicas=3, epochs=4, seed=1)
    assert (np.sqrt(made.distance[-1]) < 1e-2 * np.sqrt(made.distance.max(0))).all()
    assert (made.distance.argmax(0) == 0).all()


def test_the_schedule_can_begin_at_once(few):
    made = train_replicated(mlp([64, 16, 10]), few, replicas=2, copies=2, epochs=4, balance=0, growth=16)
    loss, distance = [], []
    for r in range(2):
        drawn = [initialise(mlp([64, 16, 10]), generator_of(0, 2 * r + a))[0] for a in range(2)]
        pair = Ensemble(
            mlp([64, 16, 10]), {name: torch.stack([one[name] for one in drawn]) for name in drawn[0]}
        )
        loss.append(evaluate(pair, few.x_train, few.y_train).loss.mean())
        rows = pair.flat().double()
        distance.append(float((rows[0] - rows[1]).square().sum()) / 4)
    assert np.allclose(made.wanted[0], 2 * np.array(loss) / distance, rtol=1e-5)
    assert np.allclose(made.wanted[1:] / made.wanted[:-1], 2)
    one = train(mlp([64, 16, 10]), few, epochs=1)
    with pytest.raises(ValueError, match="all at one point"):
        train_replicated(mlp([64, 16, 10]), few, start=one, balance=0)


def test_the_centre_is_a_network_of_its_own(few):
    made = train_replicated(mlp([64, 16, 10]), few, replicas=2, copies=3, epochs=3, batch_size=48)
    assert (made.copies.replicas, made.centre.replicas) == (6, 2)
    rows = made.copies.flat().double().view(2, 3, -1)
    assert torch.allclose(made.centre.flat().double(), rows.mean(1), atol=1e-7)
    expected = (rows - rows.mean(1, keepdim=True)).square().sum(2).mean(1)
    assert np.allclose(made.distance[-1], expected, rtol=1e-5)
    for kind, x, y in (("train", few.x_train, few.y_train), ("test", few.x_test, few.y_test)):
        found = evaluate(made.centre, x, y)
        assert np.array_equal(made.centre.history.final(f"{kind}_loss"), found.loss)
        assert np.array_equal(made.centre.history.final(f"{kind}_accuracy"), found.accuracy)
    assert made.centre.history.train_loss.shape == made.distance.shape == made.gamma.shape == (3, 2)
    assert made.centre.history.epochs_run.tolist() == [3, 3]
    again = train(made.centre.model, few, start=made.centre, epochs=1)
    assert again.replicas == 2
    silent = train_replicated(
        mlp([64, 16, 10]), few, replicas=2, copies=3, epochs=3, batch_size=48, evaluate_test=False
    )
    assert np.isnan(silent.centre.history.test_loss).all()
    assert np.array_equal(silent.centre.history.train_loss, made.centre.history.train_loss)
    last = train_replicated(
        mlp([64, 16, 10]), few, replicas=2, copies=3, epochs=3, batch_size=48, evaluate_train=False
    )
    assert np.isnan(last.centre.history.train_loss[:-1]).all()
    assert np.array_equal(last.centre.history.train_loss[-1], made.centre.history.train_loss[-1])
    assert np.array_equal(last.centre.history.test_loss, made.centre.history.test_loss)


class Short:
    """Stands in for a machine on which an epoch of more than `room` networks runs out of memory."""

    def __init__(self, monkeypatch, room: int):
        self.sizes, self.calls = [], 0
        original = torch.autograd.grad

        def grad(outputs, inputs, *args, **kwargs):
            self.sizes.append(len(inputs[0]))
            self.calls += 1
            if len(inputs[0]) > room and self.calls % 4 == 2:
                raise torch.OutOfMemoryError("out of memory")
            return original(outputs, inputs, *args, **kwargs)

        monkeypatch.setattr(torch.autograd, "grad", grad)


def alike(a, b) -> bool:
    arrays = ("distance", "gamma", "wanted")
    return (
        same(a.copies, b.copies)
        and same(a.centre, b.centre)
        and all(np.array_equal(getattr(a, name), getattr(b, name)) for name in arrays)
    )


@pytest.mark.parametrize("balance", [0, 1])
def test_groups_do_not_depend_on_chunks_nor_on_each_other(few, monkeypatch, balance):
    options = {"copies": 3, "epochs": 3, "batch_size": 64, "seed": 2, "balance": balance}
    model = mlp([64, 33, 10])
    whole = train_replicated(model, few, replicas=5, chunk=5, **options)
    assert same(train_replicated(model, few, replicas=2, **options).copies, whole.copies[:6])
    for chunk in (1, 2, 3):
        assert alike(train_replicated(model, few, replicas=5, chunk=chunk, **options), whole)
    short = Short(monkeypatch, room=6)
    halved = train_replicated(model, few, replicas=5, chunk=5, **options)
    assert {15, 6, 9, 3} & set(short.sizes) >= {15, 6, 9}
    assert all(size % 3 == 0 for size in short.sizes)
    assert alike(halved, whole)


def test_a_group_that_does_not_fit_is_named(few, monkeypatch):
    Short(monkeypatch, room=2)
    with pytest.raises(MemoryError, match="one group of 3 copies with batches of 64"):
        train_replicated(mlp([64, 8, 10]), few, replicas=2, copies=3, epochs=2, batch_size=64)


def test_memory_that_runs_out_before_the_first_epoch_splits_no_group(few, monkeypatch):
    options = {"replicas": 3, "copies": 2, "epochs": 2, "batch_size": 64}
    whole = train_replicated(mlp([64, 8, 10]), few, **options)
    sizes, original = [], _run.Run._forward

    def forward(run, group):
        sizes.append(len(group.replicas))
        if len(group.replicas) > 4:
            raise torch.OutOfMemoryError("out of memory")
        return original(run, group)

    monkeypatch.setattr(_run.Run, "_forward", forward)
    assert alike(train_replicated(mlp([64, 8, 10]), few, chunk=3, **options), whole)
    assert sizes == [6, 2, 4]


@pytest.mark.parametrize("gamma", [0.0, 0.1])
def test_one_diverging_copy_stops_its_group_alone(few, gamma):
    model = mlp([64, 16, 10])
    start = train(model, few, replicas=6, epochs=1)
    start.params["layer1.weight"][4, 0, 0] = torch.nan
    options = {"epochs": 3, "batch_size": 64, "gamma": gamma}
    with pytest.warns(DivergenceWarning, match=r"3 of 6 replicas diverged .*: 3, 4, 5"):
        made = train_replicated(model, few, start=start, replicas=2, copies=3, **options)
    assert made.history.diverged.tolist() == [False] * 3 + [True] * 3
    assert made.centre.history.diverged.tolist() == [False, True]
    assert made.centre.history.diverged_epoch.tolist() == [0, 1]
    assert made.centre.history.epochs_run.tolist() == [3, 1]
    assert np.isfinite(made.distance[:, 0]).all()
    assert np.isnan(made.distance[1:, 1]).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        alone = train_replicated(model, few, start=start[:3], replicas=1, copies=3, **options)
    assert same(alone.copies, made.copies[:3])


def radius(strength: float, momentum: float, nesterov: bool, interval: int) -> float:
    """Growth of a copy's distance and velocity over one period, by simulating SGD without a loss."""
    columns = []
    for distance, velocity in ((1.0, 0.0), (0.0, 1.0)):
        for step in range(1, interval + 1):
            slope = strength * distance if step == interval else 0.0
            velocity = momentum * velocity + slope
            distance -= slope + momentum * velocity if nesterov else velocity
        columns.append((distance, velocity))
    return float(np.abs(np.linalg.eigvals(np.array(columns).T)).max())


@pytest.mark.parametrize("interval", [1, 2, 3, 10])
@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.5, False), (0.9, False), (0.9, True)])
def test_stability_limit(momentum, nesterov, interval):
    limit = stability_limit(momentum, nesterov, interval)
    for share in (0.05, 0.5, 0.99):
        assert radius(share * limit, momentum, nesterov, interval) < 1
    for share in (1.01, 2):
        assert radius(share * limit, momentum, nesterov, interval) > 1


@pytest.mark.parametrize(
    "options", [PLAIN, PLAIN | {"momentum": 0.9, "nesterov": True}], ids=["plain", "nesterov"]
)
@pytest.mark.parametrize("interval", [1, 4])
def test_what_is_above_the_limit_is_refused_and_what_is_below_contracts(few, options, interval):
    limit = stability_limit(options["momentum"], options["nesterov"], interval)
    eta = 0.05
    most = limit / (interval * eta)
    epochs = 4 * interval
    call = {"replicas": 1, "copies": 2, "epochs": epochs, "batch_size": 50, "learning_rate": eta}
    call["interval"] = interval
    with pytest.raises(ValueError, match="drives the copies apart: in epoch 1 it must be at most"):
        train_replicated(mlp([64, 16, 10]), few, gamma=1.001 * most, **call, **options)
    below = train_replicated(mlp([64, 16, 10]), few, gamma=0.6 * most, **call, **options)
    assert below.distance[-1, 0] < 0.05 * below.distance[0, 0] + 1e-3
    assert below.limit == limit
    cosine = options | {"annealing": "cosine"}
    gamma = 0.6 * most * 2 / (1 + np.cos(np.pi * np.arange(epochs) / epochs))
    train_replicated(mlp([64, 16, 10]), few, gamma=gamma, **call, **cosine)
    gamma[2] *= 2
    with pytest.raises(ValueError, match="in epoch 3"):
        train_replicated(mlp([64, 16, 10]), few, gamma=gamma, **call, **cosine)


def test_above_the_limit_copies_do_part(few, monkeypatch):
    """What the check refuses would diverge, so that the check is none too many."""
    from spinscape.networks import replicated

    monkeypatch.setattr(replicated, "check_stable", lambda *_: None)
    call = {"replicas": 1, "copies": 2, "epochs": 8, "batch_size": 20, "learning_rate": 0.05, **PLAIN}
    with pytest.warns(DivergenceWarning):
        train_replicated(mlp([64, 16, 10]), few, gamma=1.1 * 2 / 0.05, **call)


class Norm(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(64, 32), nn.BatchNorm1d(32), nn.Linear(32, 10)

    def forward(self, x):
        return self.last(torch.relu(self.norm(self.first(x))))


@pytest.mark.parametrize("model", [Norm(), convnet(widths=(3, 4), batch_norm=True), resnet18(1, width=2)])
def test_the_centre_has_batch_norms_of_its_own(model):
    """Its statistics are those of its own activations: in use it does what it does in training."""
    data = load("digits") if not isinstance(model, Norm) else load("digits").flat()
    x, y = data.subset("train", 100)
    data = Dataset("few", x, y, x[:50], y[:50], data.classes)
    options = {"replicas": 2, "copies": 2, "epochs": 2, "batch_size": 50, "seed": 1}
    made = train_replicated(model, data, **options)
    wanted = reset_statistics(centre_of(made.copies, 2), x, batch_size=50)
    assert same_tensors(made.centre, wanted)
    averaged = centre_of(made.copies, 2)
    name = next(name for name in averaged.buffers if name.endswith("running_var"))
    assert not torch.allclose(made.centre.buffers[name], averaged.buffers[name], rtol=1e-2)
    found = evaluate(made.centre, x, y)
    assert np.array_equal(made.centre.history.final("train_loss"), found.loss)
    whole = reset_statistics(made.centre, x)
    trained = whole.module(1).train()(x).detach()
    torch.testing.assert_close(outputs(whole, x)[1], trained, rtol=1e-3, atol=1e-3)
    assert alike(train_replicated(model, data, chunk=1, **options), made)
    blind = train_replicated(model, data, evaluate_train=False, evaluate_test=False, **options)
    assert same_tensors(blind.centre, made.centre)


def test_adam_brings_copies_together_too(digits):
    made = train_replicated(
        mlp([64, 32, 10]), digits, replicas=2, copies=2, epochs=20, optimiser="adam", learning_rate=3e-3
    )
    assert made.limit == np.inf
    assert not made.clipped.any()
    assert (made.distance[-1] < 0.01 * made.distance.max(0)).all()


def test_regression_and_frozen_parameters():
    data = load("linnerud").standardised()
    model = mlp([3, 8, 3])
    model.layer1.bias.requires_grad_(False)
    made = train_replicated(model, data, replicas=2, copies=2, epochs=20, batch_size=5, learning_rate=0.02)
    assert (made.centre.history.train_loss[-1] < made.centre.history.train_loss[0]).all()
    assert np.isnan(made.centre.history.train_accuracy).all()
    start = [initialise(model, generator_of(0, a))[0]["layer1.bias"] for a in range(4)]
    assert torch.equal(made.copies.params["layer1.bias"], torch.stack(start))


def test_centre_of_groups():
    networks = Ensemble.from_modules([mlp([2, 3, 2]) for _ in range(6)])
    pairs, triples = centre_of(networks, 2), centre_of(networks, 3)
    assert torch.allclose(pairs.flat()[1], networks.flat()[2:4].mean(0))
    assert torch.allclose(triples.flat()[1], networks.flat()[3:].mean(0))
    before = networks.flat().clone()
    assert torch.equal(centre_of(networks, 1).flat(), before)
    assert torch.equal(networks.flat(), before)
    with pytest.raises(ValueError, match="6 networks are no groups of 4"):
        centre_of(networks, 4)


def test_results_are_kept_on_disk(few, tmp_path, monkeypatch):
    monkeypatch.setenv(memo.ENVIRONMENT, str(tmp_path))
    model, options = mlp([64, 8, 10]), {"replicas": 2, "copies": 2, "epochs": 2}
    first = memo.remember(train_replicated, model, few, **options)
    monkeypatch.setattr("spinscape.networks._course.Course.go", None)
    second = memo.remember(train_replicated, model, few, **options)
    assert alike(first, second)
    assert second.limit == first.limit


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"copies": 1}, "copies must be at least 2"),
        ({"copies": 2.5}, "copies must be an integer"),
        ({"replicas": 0}, "replicas must be an integer of at least 1"),
        ({"interval": 0}, "interval must be an integer"),
        ({"gamma": -1}, "gamma must be a number of at least 0"),
        ({"gamma": float("nan")}, "gamma must be a number"),
        ({"gamma": [1.0]}, "one for each of 2 epochs"),
        ({"gamma": 1e3}, "drives the copies apart"),
        ({"balance": 2}, r"balance must be an integer in \[0, 2\)"),
        ({"growth": 0.5}, "growth must be a finite number"),
        ({"annealing": "linear"}, "annealing must be one of"),
        ({"learning_rate": 0}, "learning_rate must be positive"),
        ({"start": 3, "replicas": 2}, "start must have 2 or 6 networks, not 3"),
        ({"batch_size": 201}, "batch_size must be at most the 200 training samples, not 201"),
        ({"batch_size": 0}, "batch_size must be an integer"),
        ({"chunk": 0}, "chunk must be an integer"),
    ],
)
def test_refuses(few, options, message):
    model = mlp([64, 8, 10])
    if "start" in options:
        options = options | {"start": Ensemble.from_modules([model] * options["start"])}
    with pytest.raises(ValueError, match=message):
        train_replicated(model, few, **({"epochs": 2} | options))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_on_a_gpu(few):
    options = {"replicas": 2, "copies": 3, "epochs": 3, "batch_size": 64, "dtype": torch.float64}
    one, other = (train_replicated(mlp([64, 16, 10]), few, device=d, **options) for d in ("cpu", "cuda"))
    np.testing.assert_allclose(other.distance, one.distance, rtol=1e-6)
    np.testing.assert_allclose(other.gamma, one.gamma, rtol=1e-6)
    np.testing.assert_allclose(other.centre.history.train_loss, one.centre.history.train_loss, rtol=1e-6)


def test_the_result_can_be_changed_by_nobody(few):
    made = train_replicated(mlp([64, 8, 10]), few, epochs=2)
    with pytest.raises(AttributeError):
        made.limit = 3
    assert replace(made, limit=3.0).limit == 3
