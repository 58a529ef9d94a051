from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from small import slopes_of
from spinscape.companion import memo
from spinscape.landscape.steps import generator
from spinscape.networks import entropic, replicated
from spinscape.networks._group import generator_of
from spinscape.networks._langevin import STARTS, Noise
from spinscape.networks.convolutional import convnet
from spinscape.networks.datasets import Dataset, load
from spinscape.networks.ensemble import Ensemble, evaluate
from spinscape.networks.entropic import equal_epochs, evaluations, train_entropy
from spinscape.networks.models import initialise, mlp
from spinscape.networks.residual_net import resnet18
from spinscape.networks.running_statistics import reset_statistics
from spinscape.networks.training import DivergenceWarning, train

AUTHORS = {"inner_momentum": 0.9, "inner_decay": 1e-3}
BARE = {"momentum": 0.0, "nesterov": False, "weight_decay": 0.0, "annealing": None}


def shortened(data: Dataset) -> Dataset:
    """200 digits: 4 batches of 48 and a rest of 8."""
    x, y = data.subset("train", 200)
    return Dataset("few", x, y, *data.subset("test", 90), data.classes)


@pytest.fixture(scope="module")
def few() -> Dataset:
    return shortened(load("digits").flat())


@pytest.fixture(scope="module")
def images() -> Dataset:
    return shortened(load("digits"))


def same(a, b) -> bool:
    one, other = a.networks, b.networks
    tensors = [
        *zip(one.params.values(), other.params.values(), strict=True),
        *zip(one.buffers.values(), other.buffers.values(), strict=True),
    ]
    arrays = [*zip(one.history.arrays().values(), other.history.arrays().values(), strict=True)]
    names = ("gamma", "distance", "inner_loss", "inner_accuracy", "evaluations")
    arrays += [(getattr(a, name), getattr(b, name)) for name in names]
    return all(torch.equal(p, q) for p, q in tensors) and all(
        np.array_equal(p, q, equal_nan=True) for p, q in arrays
    )


def oracle(data, seed, replica, *, model, inner, rate, gamma, scoping, noise, average, scaled, eta, epochs,
           batch=48, momentum=0.0, decay=0.0, inner_momentum=0.0, inner_decay=0.0):  # fmt: skip
    """Algorithm 1 for one network in numpy; momenta are Nesterov's. Returns x, and |x - mu|^2 per turn."""
    stream = generator_of(seed, replica)
    x = [v.double().numpy().copy() for v in initialise(model, stream)[0].values()]
    sizes = [v.size for v in x]
    table = torch.randn(sum(sizes) + STARTS, generator=generator(seed, 91), dtype=torch.float64).numpy()
    data_x, data_y = data.x_train.double().numpy(), data.y_train.numpy()
    walker, mean = [v.copy() for v in x], [v.copy() for v in x]
    slow, fast = [np.zeros_like(v) for v in x], [np.zeros_like(v) for v in x]
    apart, step = [], 0
    batches = range(0, len(data_x), batch)
    for epoch in range(epochs):
        order = torch.randperm(len(data_x), generator=stream).numpy()
        torch.randint(2**48, (), generator=stream)
        drawn = generator(seed, 92, replica, epoch)
        places = torch.randint(2 * STARTS, (len(batches),), generator=drawn).numpy()
        for place, first in zip(places, batches, strict=True):
            strength = gamma * (1 + scoping) ** (step // inner)
            rows = order[first : first + batch]
            begin = place // 2
            slopes = slopes_of(walker, data_x[rows], data_y[rows])
            for i, slope in enumerate(slopes):
                normal = table[begin : begin + sizes[i]].reshape(x[i].shape) * (-1 if place % 2 else 1)
                begin += sizes[i]
                slope = slope + inner_decay * walker[i]
                fast[i] = inner_momentum * fast[i] + slope
                slope = slope + inner_momentum * fast[i]
                walker[i] = walker[i] - rate * (slope - strength * (x[i] - walker[i]))
                walker[i] = walker[i] + np.sqrt(rate) * noise * normal
                mean[i] = average * mean[i] + (1 - average) * walker[i]
            step += 1
            if step % inner:
                continue
            apart.append(sum(((a - b) ** 2).sum() for a, b in zip(x, mean, strict=True)))
            for i in range(len(x)):
                slope = (1.0 if scaled else strength) * (x[i] - mean[i]) + decay * x[i]
                slow[i] = momentum * slow[i] + slope
                x[i] = x[i] - eta * (slope + momentum * slow[i])
                walker[i], mean[i], fast[i] = x[i].copy(), x[i].copy(), np.zeros_like(x[i])
    return x, apart


@pytest.mark.parametrize("noise", [0.0, 0.02])
@pytest.mark.parametrize("scaled", [True, False])
@pytest.mark.parametrize("way", [{}, AUTHORS | {"momentum": 0.9, "weight_decay": 0.01}])
def test_float64_oracle(few, noise, scaled, way):
    """Three turns of three steps, and one step that is lost, for the second of two networks."""
    model, seed = mlp([64, 12, 10], activation="tanh"), 7
    shared = {"inner": 3, "gamma": 0.5, "scoping": 0.1, "noise": noise, "average": 0.6, "scaled": scaled}
    nesterov = {"nesterov": True} if way else {}
    made = train_entropy(
        model, few, replicas=2, inner_rate=0.2, learning_rate=0.7, batch_size=48, epochs=2,
        dtype=torch.float64, seed=seed, device="cpu", **(shared | BARE | way | nesterov),
    )  # fmt: skip
    inner = {key: value for key, value in way.items() if key.startswith("inner")}
    outer = {"momentum": way.get("momentum", 0.0), "decay": way.get("weight_decay", 0.0)}
    x, apart = oracle(few, seed, 1, model=model, rate=0.2, eta=0.7, epochs=2, **shared, **inner, **outer)
    for value, wanted in zip(made.networks.params.values(), x, strict=True):
        assert np.abs(value[1].numpy() - wanted).max() < 1e-12
    # One turn ended in the first epoch of five steps, two in the second.
    assert made.distance[:, 1] == pytest.approx([apart[0], apart[2]], rel=1e-10)
    assert np.allclose(made.gamma, 0.5 * 1.1 ** np.arange(3), rtol=1e-12)
    assert made.evaluations.tolist() == [400, 400]


def test_a_loop_of_one_step_is_plain_sgd(few):
    model, options = mlp([64, 16, 10]), {"epochs": 3, "batch_size": 48, "seed": 2, "dtype": torch.float64}
    plain = train(model, few, replicas=2, optimiser="sgd", learning_rate=0.1, **options)
    made = train_entropy(
        model, few, replicas=2, inner=1, inner_rate=0.1, gamma=0, noise=0, average=0, learning_rate=1.0,
        **options, **BARE,
    )  # fmt: skip
    assert torch.allclose(made.networks.flat(), plain.flat(), atol=1e-12)
    assert np.allclose(made.inner_loss, plain.history.train_loss, atol=1e-12)
    assert np.allclose(made.history.test_loss, plain.history.test_loss, atol=1e-12)


@pytest.mark.parametrize("way", [AUTHORS, {"optimiser": "adam", "learning_rate": 1e-2}], ids=["sgd", "adam"])
@pytest.mark.parametrize("widths", [[64, 33, 10], [64, 16, 7, 10]], ids=str)
def test_networks_do_not_depend_on_chunks_nor_on_each_other(few, monkeypatch, way, widths):
    options = {"inner": 3, "epochs": 3, "batch_size": 64, "seed": 2, "noise": 1e-2, "device": "cpu"} | way
    model = mlp(widths)
    whole = train_entropy(model, few, replicas=5, chunk=5, **options)
    two = train_entropy(model, few, replicas=2, **options)
    assert torch.equal(two.networks.flat(), whole.networks.flat()[:2])
    assert np.array_equal(two.distance, whole.distance[:, :2])
    for chunk in (1, 2, 3):
        assert same(train_entropy(model, few, replicas=5, chunk=chunk, **options), whole)
    original, calls = torch.autograd.grad, []

    def grad(outputs, inputs, *args, **kwargs):
        calls.append(len(inputs[0]))
        if len(inputs[0]) > 2 and len(calls) % 6 == 0:
            raise torch.OutOfMemoryError("out of memory")
        return original(outputs, inputs, *args, **kwargs)

    monkeypatch.setattr(torch.autograd, "grad", grad)
    assert same(train_entropy(model, few, replicas=5, chunk=5, **options), whole)
    assert {5, 3, 2} <= set(calls)


def test_noise_is_normal_and_differs_between_steps_and_networks():
    noise = Noise(3, 2.0)
    places, signs = noise.places(np.array([0, 4]), 1, 500)
    again, _ = noise.places(np.array([4]), 1, 500)
    assert torch.equal(places[:, 1:], again)
    assert places.shape == signs.shape == (500, 2)
    assert int(places.min()) >= 0
    assert int(places.max()) < STARTS
    assert len(places.unique()) > 980
    assert abs(float(signs.double().mean())) < 0.13  # 4 standard deviations
    table = noise.table(1000, torch.zeros(1)).double() / 2
    assert len(table) == STARTS + 1000
    assert abs(float(table.mean())) < 4 * len(table) ** -0.5
    assert abs(float(table.var()) - 1) < 4 * (2 / len(table)) ** 0.5
    drawn = torch.stack([table[p : p + 1000] * s for p, s in zip(places[:, 0], signs[:, 0], strict=True)])
    steps = torch.corrcoef(drawn[:50]) - torch.eye(50)
    assert float(steps.abs().max()) < 0.17  # of 1225 pairs, with 1000 numbers each
    assert abs(float(drawn.mean())) < 4 * drawn.numel() ** -0.5


def test_it_learns_and_scoping_is_clipped():
    digits = load("digits").flat()
    options = {"replicas": 2, "epochs": 10, "inner": 5, "batch_size": 64, "device": "cpu"}
    made = train_entropy(mlp([64, 32, 10]), digits, **AUTHORS, **options)
    assert made.history.test_accuracy[-1].min() > 0.9
    assert (made.history.train_loss[-1] < 0.3 * made.history.train_loss[0]).all()
    assert (made.distance[-1] < made.distance[0]).all()
    assert np.array_equal(made.wanted, made.gamma)
    # Noise that is large against the slopes is seen in what comes out.
    loud = train_entropy(mlp([64, 32, 10]), digits, noise=0.3, **AUTHORS, **options)
    assert (loud.history.train_loss[-1] > 2 * made.history.train_loss[-1]).all()
    held = train_entropy(mlp([64, 32, 10]), digits, scoping=0.3, **AUTHORS, **options)
    assert (held.distance[-1] < 0.5 * made.distance[-1]).all()
    made = held
    assert made.limit == 2
    assert 0.1 * made.gamma.max() == pytest.approx(1)
    assert (made.wanted >= made.gamma).all()
    assert (made.wanted > made.gamma).any()
    assert made.learning_rate[0] == 1
    assert (np.diff(made.learning_rate) < 0).all()


def test_the_history_is_that_of_the_networks(few):
    options = {"replicas": 2, "epochs": 4, "inner": 3, "batch_size": 48, "seed": 1}
    made = train_entropy(mlp([64, 16, 10]), few, **options)
    for kind, x, y in (("train", few.x_train, few.y_train), ("test", few.x_test, few.y_test)):
        found = evaluate(made.networks, x, y)
        assert np.array_equal(made.history.final(f"{kind}_loss"), found.loss)
        assert np.array_equal(made.history.final(f"{kind}_accuracy"), found.accuracy)
    assert np.isfinite(made.history.train_loss).all()
    assert np.isfinite(made.inner_loss).all()
    last = train_entropy(mlp([64, 16, 10]), few, evaluate_train=False, **options)
    assert np.isnan(last.history.train_loss[:-1]).all()
    assert np.array_equal(last.history.train_loss[-1], made.history.train_loss[-1])
    assert torch.equal(last.networks.flat(), made.networks.flat())
    silent = train_entropy(mlp([64, 16, 10]), few, evaluate_test=False, **options)
    assert np.isnan(silent.history.test_loss).all()
    again = train_entropy(mlp([64, 16, 10]), few, start=made.networks, epochs=1, inner=2, batch_size=100)
    assert again.networks.replicas == 2
    assert again.history.train_loss[0].max() < 2.5


def test_one_diverging_network_stops_alone(few):
    model = mlp([64, 16, 10])
    start = train(model, few, replicas=3, epochs=1)
    start.params["layer1.weight"][1, 0, 0] = torch.nan
    options = {"epochs": 3, "batch_size": 64, "inner": 3}
    with pytest.warns(DivergenceWarning, match=r"1 of 3 replicas diverged .*: 1"):
        made = train_entropy(model, few, start=start, **options)
    assert made.history.diverged.tolist() == [False, True, False]
    assert made.history.epochs_run.tolist() == [3, 1, 3]
    assert made.evaluations.tolist() == [600, 200, 600]
    assert np.isnan(made.distance[1:, 1]).all()
    assert np.isfinite(made.distance[:, [0, 2]]).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        alone = train_entropy(model, few, start=start[:1], **options)
    assert torch.equal(alone.networks.flat(), made.networks[:1].flat())


@pytest.mark.parametrize(
    "model",
    [mlp([64, 9, 10], batch_norm=True), convnet(widths=(3, 4), batch_norm=True), resnet18(1, width=2)],
)
def test_batch_norms_are_those_of_the_networks(images, model):
    options = {"replicas": 2, "epochs": 2, "inner": 3, "batch_size": 50, "seed": 1, "evaluate_train": False}
    made = train_entropy(model, images, **options)
    wanted = reset_statistics(made.networks, images.x_train, batch_size=50)
    assert all(torch.equal(made.networks.buffers[name], value) for name, value in wanted.buffers.items())
    found = evaluate(made.networks, images.x_train, images.y_train)
    assert np.array_equal(made.history.final("train_loss"), found.loss)
    assert same(train_entropy(model, images, chunk=1, **options), made)
    blind = train_entropy(model, images, evaluate_test=False, **options)
    assert all(torch.equal(blind.networks.buffers[name], value) for name, value in wanted.buffers.items())


def test_regression_and_frozen_parameters():
    data = load("linnerud").standardised()
    model = mlp([3, 8, 3])
    model.layer1.bias.requires_grad_(False)
    made = train_entropy(model, data, replicas=2, epochs=20, batch_size=5, inner=4, optimiser="adam")
    assert np.isnan(made.history.train_accuracy).all()
    start = [initialise(model, generator_of(0, r))[0]["layer1.bias"] for r in range(2)]
    assert torch.equal(made.networks.params["layer1.bias"], torch.stack(start))


def test_costs():
    assert [evaluations(12), evaluations(4, copies=3)] == [12, 12]
    assert [equal_epochs(12, 3), equal_epochs(13, 3), equal_epochs(3, 3)] == [4, 4, 1]
    for epochs, copies in ((2, 3), (0, 1), (5, 0)):
        with pytest.raises(ValueError, match="at least"):
            equal_epochs(epochs, copies)


def test_both_algorithms_are_in_one_place():
    for name in ("train_replicated", "Replicated", "stability_limit"):
        assert getattr(entropic, name) is getattr(replicated, name)


def test_results_are_kept_on_disk(few, tmp_path, monkeypatch):
    monkeypatch.setenv(memo.ENVIRONMENT, str(tmp_path))
    model, options = mlp([64, 8, 10]), {"replicas": 2, "epochs": 2, "inner": 2}
    first = memo.remember(train_entropy, model, few, **options)
    monkeypatch.setattr("spinscape.networks._course.Course.go", None)
    assert same(memo.remember(train_entropy, model, few, **options), first)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 201}, "batch_size must be at most the 200 training samples, not 201"),
        ({"batch_size": 0}, "batch_size must be an integer"),
        ({"replicas": 0}, "replicas must be an integer of at least 1"),
        ({"inner": 0}, "inner must be an integer"),
        ({"inner": 5}, "inner must be at most the 4 steps of all epochs, not 5"),
        ({"inner_rate": 0}, "inner_rate must be a positive number"),
        ({"gamma": -1}, "gamma must be a finite number of at least 0"),
        ({"gamma": float("inf")}, "gamma must be a finite number"),
        ({"gamma": 20.1}, "gamma 20.1 drives walkers from their centres: it must be at most 20"),
        ({"scoping": -0.1}, "scoping must be a finite number"),
        ({"noise": -1e-4}, "noise must be a finite number of at least 0"),
        ({"inner_decay": -1}, "inner_decay must be a finite number"),
        ({"average": 1}, r"average must lie in \[0, 1\)"),
        ({"inner_momentum": 1}, r"inner_momentum must lie in \[0, 1\)"),
        ({"learning_rate": 0}, "learning_rate must be positive"),
        ({"start": 3, "replicas": 2}, "replicas must be those of start, 3, not 2"),
        ({"chunk": 0}, "chunk must be an integer"),
    ],
)
def test_refuses(few, options, message):
    model = mlp([64, 8, 10])
    if "start" in options:
        options = options | {"start": Ensemble.from_modules([model] * options["start"])}
    with pytest.raises(ValueError, match=message):
        train_entropy(model, few, **({"epochs": 2, "batch_size": 128, "inner": 2} | options))


def test_what_is_refused_would_diverge(few, monkeypatch):
    monkeypatch.setattr(entropic, "check_loop", lambda *_: None)
    with pytest.warns(DivergenceWarning):
        train_entropy(mlp([64, 8, 10]), few, gamma=30, batch_size=2, inner=90, epochs=1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_on_a_gpu(few):
    options = {"replicas": 2, "epochs": 3, "inner": 3, "batch_size": 64, "noise": 1e-2} | AUTHORS
    one, other = (
        train_entropy(mlp([64, 16, 10]), few, device=d, dtype=torch.float64, **options)
        for d in ("cpu", "cuda")
    )
    np.testing.assert_allclose(other.distance, one.distance, rtol=1e-6)
    np.testing.assert_allclose(other.history.train_loss, one.history.train_loss, rtol=1e-6)
