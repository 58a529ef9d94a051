from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from spinscape.networks import optimisers
from spinscape.networks._group import Group, generator_of
from spinscape.networks.datasets import Dataset, load
from spinscape.networks.ensemble import Ensemble, evaluate
from spinscape.networks.models import initialise, mlp
from spinscape.networks.training import DivergenceWarning, train


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load("digits")


@pytest.fixture(scope="module")
def few(digits) -> Dataset:
    """200 digits in rows: 3 full batches of 64 and a rest of 8."""
    x, y = digits.flat().subset("train", 200)
    xt, yt = digits.flat().subset("test", 90)
    return Dataset("few", x, y, xt, yt, digits.classes)


def same_bits(a: Ensemble, b: Ensemble) -> bool:
    tensors = [
        *zip(a.params.values(), b.params.values(), strict=True),
        *zip(a.buffers.values(), b.buffers.values(), strict=True),
    ]
    curves = zip(a.history.arrays().values(), b.history.arrays().values(), strict=True)
    return all(torch.equal(p, q) for p, q in tensors) and all(
        np.array_equal(p, q, equal_nan=True) for p, q in curves
    )


class Norm(nn.Module):
    def __init__(self, width: int = 32, drop: float = 0.0):
        super().__init__()
        self.first = nn.Linear(64, width)
        self.norm = nn.BatchNorm1d(width)
        self.drop = nn.Dropout(drop)
        self.last = nn.Linear(width, 10)

    def forward(self, x):
        return self.last(self.drop(torch.relu(self.norm(self.first(x)))))


OPTIMISERS = {
    "adam": {"optimiser": "adam", "learning_rate": 1e-2, "weight_decay": 1e-3},
    "sgd": {"optimiser": "sgd", "learning_rate": 0.1, "momentum": 0.9, "nesterov": True},
}


def plain_loop(model, data, replica, *, seed, batch, epochs, make, loss=F.cross_entropy):
    """Ordinary PyTorch training with the draws of one replica."""
    generator = generator_of(seed, replica)
    params, buffers = initialise(model, generator)
    module = Ensemble(
        model,
        {name: value[None] for name, value in params.items()},
        {name: value[None] for name, value in buffers.items()},
    ).module(0)
    module.train()
    rule = make(list(module.parameters()))
    curve = []
    for _ in range(epochs):
        order = torch.randperm(len(data.x_train), generator=generator)
        noise = int(torch.randint(2**48, (), generator=generator))
        total = 0.0
        for step, start in enumerate(range(0, len(order), batch)):
            rows = order[start : start + batch]
            torch.manual_seed(noise + step)
            rule.zero_grad()
            value = loss(module(data.x_train[rows]), data.y_train[rows])
            value.backward()
            rule.step()
            total += float(value.detach()) * len(rows)
        curve.append(total / len(order))
    return module, curve


@pytest.mark.parametrize("rule", OPTIMISERS)
@pytest.mark.parametrize(
    "maker",
    [lambda: mlp([64, 24, 10]), Norm, lambda: Norm(33, 0.4), lambda: mlp([64, 9, 10], bias=False)],
    ids=["mlp", "batch norm", "dropout", "no bias"],
)
def test_agrees_with_a_plain_loop(few, rule, maker):
    options = OPTIMISERS[rule]
    model = maker()
    made = train(model, few, replicas=3, seed=5, batch_size=64, epochs=2, **options)
    kwargs = {"lr": options["learning_rate"], "foreach": False}
    if rule == "adam":
        kwargs |= {"weight_decay": options["weight_decay"]}
    else:
        kwargs |= {"momentum": 0.9, "nesterov": True}
    make = getattr(torch.optim, "Adam" if rule == "adam" else "SGD")
    for r in (0, 2):
        module, curve = plain_loop(
            model, few, r, seed=5, batch=64, epochs=2, make=lambda p: make(p, **kwargs)
        )
        ours = made.module(r)
        for (name, p), q in zip(ours.named_parameters(), module.parameters(), strict=True):
            assert torch.allclose(p, q, atol=2e-4), name
        for p, q in zip(ours.buffers(), module.buffers(), strict=True):
            assert torch.allclose(p, q, atol=1e-4)
        assert np.allclose(made.history.train_loss[:, r], curve, atol=1e-4)


def test_float64_oracle(few):
    """Two epochs of gradient descent, with the back-propagation written out in numpy."""
    model = mlp([64, 12, 10], activation="tanh")
    options = {"optimiser": "sgd", "learning_rate": 0.3, "weight_decay": 0.01}
    made = train(model, few, replicas=2, batch_size=48, epochs=2, dtype=torch.float64, seed=1, **options)
    generator = generator_of(1, 1)
    start, _ = initialise(model, generator)
    w1, b1, w2, b2 = (value.double().numpy().copy() for value in start.values())
    x, y = few.x_train.double().numpy(), few.y_train.numpy()
    for _ in range(2):
        order = torch.randperm(200, generator=generator).numpy()
        torch.randint(2**48, (), generator=generator)
        for first in range(0, 200, 48):
            rows = order[first : first + 48]
            h = np.tanh(x[rows] @ w1.T + b1)
            z = h @ w2.T + b2
            delta = np.exp(z - z.max(1, keepdims=True))
            delta /= delta.sum(1, keepdims=True)
            delta[np.arange(len(rows)), y[rows]] -= 1
            delta /= len(rows)
            inner = (delta @ w2) * (1 - h**2)
            slopes = (inner.T @ x[rows], inner.sum(0), delta.T @ h, delta.sum(0))
            for value, slope in zip((w1, b1, w2, b2), slopes, strict=True):
                value -= 0.3 * (slope + 0.01 * value)
    for value, expected in zip(made.params.values(), (w1, b1, w2, b2), strict=True):
        assert np.abs(value[1].numpy() - expected).max() < 1e-12


@pytest.mark.parametrize("rule", OPTIMISERS)
def test_cosine_annealing_is_that_of_torch(few, rule):
    model = mlp([64, 24, 10])
    options, epochs = OPTIMISERS[rule], 5
    made = train(model, few, replicas=2, seed=5, batch_size=64, epochs=epochs, annealing="cosine", **options)
    params, _ = initialise(model, generator := generator_of(5, 1))
    module = Ensemble(model, {name: value[None] for name, value in params.items()}).module(0)
    own = {key: value for key, value in options.items() if key not in ("optimiser", "learning_rate")}
    kind = torch.optim.Adam if rule == "adam" else torch.optim.SGD
    stepper = kind(module.parameters(), lr=options["learning_rate"], foreach=False, **own)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(stepper, T_max=epochs)
    for _ in range(epochs):
        order = torch.randperm(200, generator=generator)
        torch.randint(2**48, (), generator=generator)
        for first in range(0, 200, 64):
            rows = order[first : first + 64]
            stepper.zero_grad()
            F.cross_entropy(module(few.x_train[rows]), few.y_train[rows]).backward()
            stepper.step()
        schedule.step()
    for p, q in zip(made.module(1).parameters(), module.parameters(), strict=True):
        assert torch.allclose(p, q, atol=2e-4)
    plain = train(model, few, replicas=2, seed=5, batch_size=64, epochs=epochs, **options)
    assert (plain[1].flat() - made[1].flat()).abs().max() > 5e-3
    assert np.array_equal(plain.history.train_loss[0], made.history.train_loss[0])


@pytest.mark.parametrize("rule", OPTIMISERS)
def test_annealing_leaves_bits_alone(few, monkeypatch, rule):
    options = {"batch_size": 64, "epochs": 4, "seed": 2, "annealing": "cosine", **OPTIMISERS[rule]}
    model = mlp([64, 24, 10])
    four = train(model, few, replicas=4, **options)
    assert same_bits(train(model, few, replicas=9, chunk=5, **options)[3], four[3])
    target = float(np.median(four.history.train_loss[2]))
    stopped = train(model, few, replicas=4, target_loss=target, **options)
    going = stopped.history.epochs_run == 4
    assert 0 < going.sum() < 4
    assert torch.equal(stopped.flat()[going], four.flat()[going])
    short = Short(monkeypatch, room=2)
    assert same_bits(train(model, few, replicas=4, chunk=4, **options), four)
    assert short.failures


class Short:
    """Stands in for a machine on which an epoch of more than `room` replicas runs out of memory."""

    def __init__(self, monkeypatch, room: int, at_step: int = 2):
        self.failures = 0
        original = torch.autograd.grad
        self.calls = 0

        def grad(outputs, inputs, *args, **kwargs):
            self.calls += 1
            if len(inputs[0]) > room and self.calls % 4 == at_step:
                self.failures += 1
                raise torch.OutOfMemoryError("out of memory")
            return original(outputs, inputs, *args, **kwargs)

        monkeypatch.setattr(torch.autograd, "grad", grad)


@pytest.mark.parametrize("rule", OPTIMISERS)
@pytest.mark.parametrize("widths", [[64, 64, 10], [64, 512, 10], [64, 33, 7, 10]], ids=str)
def test_replica_three_has_the_same_bits_in_every_run(few, monkeypatch, rule, widths):
    options = {"batch_size": 64, "epochs": 2, "seed": 2, **OPTIMISERS[rule]}
    model = mlp(widths)
    four = train(model, few, replicas=4, **options)
    assert four.history.train_loss[-1].max() < four.history.train_loss[0].min()
    for replicas in (16, 64):
        assert same_bits(train(model, few, replicas=replicas, **options)[3], four[3])
    for chunk in (1, 3, 4):
        assert same_bits(train(model, few, replicas=4, chunk=chunk, **options), four)
    short = Short(monkeypatch, room=2)
    assert same_bits(train(model, few, replicas=16, chunk=16, **options)[3], four[3])
    assert short.failures >= 3


@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "softplus", "gelu"])
def test_other_activations_keep_their_bits(few, activation):
    model = mlp([64, 13, 10], activation=activation)
    four = train(model, few, replicas=4, batch_size=50, epochs=1)
    for replicas, chunk in ((5, 5), (9, 4), (4, 1)):
        many = train(model, few, replicas=replicas, chunk=chunk, batch_size=50, epochs=1)
        assert same_bits(many[:4], four)


@pytest.mark.parametrize(
    "maker", [Norm, lambda: Norm(32, 0.5), lambda: Norm(17, 0.5)], ids=["norm", "drop", "odd"]
)
def test_own_modules_keep_their_bits(few, monkeypatch, maker):
    model = maker()
    four = train(model, few, replicas=4, batch_size=64, epochs=2)
    assert same_bits(train(model, few, replicas=9, batch_size=64, epochs=2)[3], four[3])
    assert same_bits(train(model, few, replicas=4, chunk=1, batch_size=64, epochs=2), four)
    Short(monkeypatch, room=2)
    assert same_bits(train(model, few, replicas=4, chunk=4, batch_size=64, epochs=2), four)
    assert not torch.equal(four[0].flat(), four[1].flat())


def test_memory_for_not_even_one_replica(few, monkeypatch):
    Short(monkeypatch, room=0)
    with pytest.raises(MemoryError, match="one replica with batches of 64"):
        train(mlp([64, 8, 10]), few, replicas=4, batch_size=64, epochs=1)


def test_other_errors_pass_through(few, monkeypatch):
    def broken(self, forward):
        raise RuntimeError("something else")

    monkeypatch.setattr(Group, "run_epoch", broken)
    with pytest.raises(RuntimeError, match="something else"):
        train(mlp([64, 8, 10]), few, epochs=1)


def test_learns_digits(digits):
    made = train(mlp([64, 64, 10]), digits, replicas=8, batch_size=64, epochs=12, learning_rate=5e-3)
    history = made.history
    assert history.test_accuracy[-1].min() > 0.93
    found = evaluate(made, digits.x_test, digits.y_test)
    assert np.array_equal(found.loss, history.test_loss[-1])
    assert np.array_equal(found.accuracy, history.final("test_accuracy"))
    assert history.epochs_run.tolist() == [12] * 8
    assert not history.diverged.any()


def test_stops_at_a_training_loss(few):
    options = {"replicas": 6, "batch_size": 32, "learning_rate": 1e-2, "seed": 3}
    model = mlp([64, 32, 10])
    free = train(model, few, epochs=12, **options)
    target = float(np.median(free.history.train_loss[7]))
    made = train(model, few, epochs=12, target_loss=target, **options)
    run = made.history.epochs_run
    assert len(set(run)) > 1
    for r in range(6):
        curve = made.history.train_loss[:, r]
        below = np.flatnonzero(free.history.train_loss[:, r] <= target)
        assert run[r] == below[0] + 1
        assert np.array_equal(curve[: run[r]], free.history.train_loss[: run[r], r])
        assert np.isnan(curve[run[r] :]).all()
        alone = train(model, few, epochs=int(run[r]), **options)
        assert torch.equal(alone[r].flat(), made[r].flat())


def test_diverged_replicas_are_named_and_not_averaged(few):
    with pytest.warns(DivergenceWarning, match="5 of 5 replicas diverged"):
        made = train(mlp([64, 16, 16, 10]), few, replicas=5, epochs=4, optimiser="sgd", learning_rate=1e12)
    assert made.history.diverged.all()
    assert (made.history.diverged_epoch == made.history.epochs_run).all()
    assert np.isnan(made.history.final("train_loss")).all()


def test_one_diverging_replica_leaves_the_others_alone(few):
    def spoil(model):
        model.layer1.reset_parameters()
        model.layer2.reset_parameters()
        if torch.rand(()) < 0.4:
            model.layer1.weight.fill_(torch.nan)

    options = {"replicas": 8, "epochs": 3, "batch_size": 64, "initialisation": spoil, "seed": 4}
    model = mlp([64, 16, 10])
    with pytest.warns(DivergenceWarning, match="of 8 replicas"):
        made = train(model, few, **options)
    bad = made.history.diverged
    assert 0 < bad.sum() < 8
    assert (made.history.diverged_epoch[bad] == 1).all()
    assert (made.history.diverged_epoch[~bad] == 0).all()
    assert (made.history.epochs_run[~bad] == 3).all()
    good = int(np.flatnonzero(~bad)[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DivergenceWarning)
        alone = train(model, few, **(options | {"chunk": 1}))
    assert same_bits(alone[good], made[good])


def test_regression():
    data = load("linnerud")
    scale = data.x_train.std(0), data.y_train.mean(0), data.y_train.std(0)
    scaled = Dataset(
        "linnerud",
        data.x_train / scale[0],
        (data.y_train - scale[1]) / scale[2],
        data.x_test / scale[0],
        (data.y_test - scale[1]) / scale[2],
        data.classes,
        task="regression",
    )
    made = train(mlp([3, 8, 3]), scaled, replicas=3, epochs=60, batch_size=5, learning_rate=1e-2)
    assert (made.history.train_loss[-1] < made.history.train_loss[0]).all()
    assert np.isnan(made.history.train_accuracy).all()
    module, _ = plain_loop(
        made.model, scaled, 1, seed=0, batch=5, epochs=60,
        make=lambda p: torch.optim.Adam(p, lr=1e-2, foreach=False), loss=F.mse_loss,
    )  # fmt: skip
    assert torch.allclose(made.module(1)(scaled.x_test), module(scaled.x_test), atol=1e-2)


@pytest.mark.parametrize("name", ["AdamW", "RMSprop", "NAdam", "Adagrad"])
def test_other_elementwise_optimisers(few, name):
    rule = getattr(torch.optim, name)
    model = mlp([64, 16, 10])
    four = train(model, few, replicas=4, epochs=2, optimiser=rule, learning_rate=1e-2)
    one = train(model, few, replicas=4, epochs=2, optimiser=rule, learning_rate=1e-2, chunk=1)
    assert torch.allclose(four.flat(), one.flat(), atol=1e-5)


def test_state_follows_the_replicas():
    stacked = torch.rand(5, 3).requires_grad_()
    rule = torch.optim.Adam([stacked], foreach=False)
    stacked.grad = torch.rand(5, 3)
    rule.step()
    kept = optimisers.snapshot(rule, [stacked])
    part = optimisers.take(kept, torch.tensor([4, 1]), 5)[0]
    assert torch.equal(part["exp_avg"], rule.state[stacked]["exp_avg"][[4, 1]])
    assert float(part["step"]) == 1
    part["step"] += 1
    assert float(rule.state[stacked]["step"]) == 1


def test_frozen_parameters_stay(few):
    model = mlp([64, 16, 10])
    model.layer1.weight.requires_grad_(False)
    start, _ = initialise(model, generator_of(0, 1))
    made = train(model, few, replicas=2, epochs=1)
    assert torch.equal(made.params["layer1.weight"][1], start["layer1.weight"])
    assert not torch.equal(made.params["layer1.bias"][1], start["layer1.bias"])


class Scaled(nn.Module):
    """A linear model whose outputs are multiplied by one number, a parameter without an axis."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(64, 10)
        self.scale = nn.Parameter(torch.tensor(2.0))

    def reset_parameters(self):
        nn.init.constant_(self.scale, 2.0)

    def forward(self, x):
        return self.scale * self.layer(x)


@pytest.mark.parametrize("rule", OPTIMISERS)
def test_a_parameter_without_an_axis_is_trained(few, rule):
    made = train(Scaled(), few, replicas=3, batch_size=64, epochs=3, **OPTIMISERS[rule])
    assert made.params["scale"].shape == (3,)
    assert (made.params["scale"] != 2).all()
    assert (made.history.train_loss[-1] < made.history.train_loss[0]).all()
    assert not made.history.diverged.any()
    assert made.flat().shape == (3, 651)
    assert torch.allclose(made.flat().double().norm(dim=1), made.norms)


def test_callback_sees_every_epoch(few):
    seen = []
    train(
        mlp([64, 8, 10]), few, replicas=5, epochs=2, chunk=2, evaluate_test=False,
        callback=lambda epoch, replicas, now: seen.append((epoch, *replicas, now.replicas)),
    )  # fmt: skip
    assert [entry[0] for entry in seen] == [1, 2] * 3
    assert [r for entry in seen[1::2] for r in entry[1:-1]] == [0, 1, 2, 3, 4]


def test_glorot_and_seeds(few):
    model = mlp([64, 8, 10])
    options = {"epochs": 1, "evaluate_test": False, "initialisation": "glorot"}
    one = train(model, few, seed=1, **options)
    assert torch.equal(train(model, few, seed=1, **options).flat(), one.flat())
    assert not torch.equal(train(model, few, seed=2, **options).flat(), one.flat())
    assert np.isnan(one.history.test_loss).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"replicas": 0}, "replicas must be an integer of at least 1"),
        ({"epochs": 1.5}, "epochs must be an integer"),
        ({"batch_size": 0}, "batch_size must be"),
        ({"seed": -1}, "seed must not be negative"),
        ({"chunk": 0}, "chunk must be an integer of at least 1"),
        ({"learning_rate": 0}, "learning_rate must be positive"),
        ({"learning_rate": float("nan")}, "learning_rate must be positive"),
        ({"momentum": 0.9}, "belong to optimiser 'sgd'"),
        ({"optimiser": "sgd", "nesterov": True}, "nesterov needs a positive momentum"),
        ({"optimiser": "lbfgs"}, "optimiser must be one of"),
        ({"optimiser": torch.optim.LBFGS}, "the optimiser"),
        ({"optimiser": torch.optim.Adafactor}, "would mix the replicas"),
        ({"initialisation": "he"}, "initialisation must be one of"),
        ({"device": "tpu"}, "device must be"),
        ({"dtype": torch.int32}, "dtype must be a floating-point"),
        ({"annealing": "linear"}, "annealing must be one of"),
        ({"loss": "hinge"}, "loss must be one of"),
        ({"weight_decay": -1}, "weight_decay must not be negative"),
    ],
)
def test_refuses(few, options, message):
    with pytest.raises(ValueError, match=message):
        train(mlp([64, 8, 10]), few, **options)


def test_the_template_is_left_alone(few):
    model = Norm().eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    train(model, few, replicas=2, epochs=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert not model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_real_mnist(real_data):
    data = load("mnist", root=real_data, download=False)
    x, y = data.subset("train", 6000)
    part = Dataset("mnist", x, y, *data.subset("test", 2000), data.classes)
    made = train(mlp([784, 64, 10]), part, replicas=2, epochs=3, batch_size=64)
    assert made.history.test_accuracy[-1].min() > 0.88


@pytest.mark.parametrize("place", ["run_epoch", "finite", "draw", "start", "forward"])
def test_memory_that_runs_out_anywhere_changes_nothing(few, monkeypatch, place):
    from spinscape.networks import _group, _run

    options = {"replicas": 6, "epochs": 3, "batch_size": 64, "seed": 3, "optimiser": "adam"}
    whole = train(mlp([64, 12, 10]), few, **options)
    failures = []

    def failing(function, count, after):
        def wrapped(*args, **kwargs):
            result = function(*args, **kwargs) if after else None
            if len(failures) < 2 and count(*args) > 2:
                failures.append(place)
                raise torch.OutOfMemoryError("out of memory")
            return result if after else function(*args, **kwargs)

        return wrapped

    group = _group.Group
    if place == "start":
        monkeypatch.setattr(
            group, "start", staticmethod(failing(group.start, lambda p, rows, *_: len(rows), False))
        )
    elif place == "forward":
        monkeypatch.setattr(
            _run.Run, "_forward", failing(_run.Run._forward, lambda _, g: len(g.replicas), False)
        )
    else:
        size = lambda g, *_: len(g.replicas)  # noqa: E731
        monkeypatch.setattr(group, place, failing(getattr(group, place), size, after=True))
    halved = train(mlp([64, 12, 10]), few, chunk=6, **options)
    assert len(failures) == 2
    for r in range(6):
        assert same_bits(whole[r], halved[r])


def test_a_huge_finite_loss_is_a_divergence(few):
    with pytest.warns(DivergenceWarning, match="a thousand times the first"):
        made = train(mlp([64, 16, 10]), few, replicas=3, epochs=3, optimiser="sgd", learning_rate=1e6)
    assert made.history.diverged.all()
    assert np.isfinite(made.history.train_loss[0]).any()


def at_start(model, replicas, seed):
    """The networks that a run with this seed begins with."""
    drawn = [initialise(model, generator_of(seed, r)) for r in range(replicas)]
    params, buffers = (
        {name: torch.stack([pair[which][name] for pair in drawn]) for name in drawn[0][which]}
        for which in (0, 1)
    )
    return Ensemble(model, params, buffers)


def masks_of(ensemble, share=0.4):
    g = torch.Generator().manual_seed(8)
    return {
        name: torch.rand(value.shape, generator=g) < share
        for name, value in ensemble.params.items()
        if value.ndim > 2
    }


@pytest.mark.parametrize("rule", OPTIMISERS)
@pytest.mark.parametrize("maker", [lambda: mlp([64, 24, 10]), lambda: Norm(33, 0.4)], ids=["mlp", "own"])
def test_start_at_the_initial_networks_is_plain_training(few, rule, maker):
    options = {"batch_size": 64, "epochs": 2, "seed": 5, **OPTIMISERS[rule]}
    model = maker()
    plain = train(model, few, replicas=3, **options)
    start = at_start(model, 3, 5)
    before = start.flat().clone()
    assert same_bits(train(model, few, start=start, **options), plain)
    assert torch.equal(start.flat(), before)
    ones = {name: torch.ones_like(value, dtype=torch.bool) for name, value in start.params.items()}
    assert same_bits(train(model, few, start=start, masks=ones, **options), plain)


def test_goes_on_from_given_weights(few):
    model = mlp([64, 16, 10])
    first = train(model, few, replicas=3, epochs=3, learning_rate=1e-2)
    tiny = train(model, few, start=first, epochs=1, learning_rate=1e-9)
    assert (tiny.flat() - first.flat()).abs().max() < 1e-6
    more = train(model, few, start=first, epochs=6, learning_rate=1e-2)
    assert (more.history.train_loss[0] < first.history.train_loss[0]).all()
    assert (more.history.train_loss[-1] < first.history.train_loss[-1]).all()


@pytest.mark.parametrize(
    "options",
    [
        {"optimiser": "adam", "learning_rate": 1e-2, "weight_decay": 1e-2},
        {"optimiser": "sgd", "learning_rate": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-2},
    ],
    ids=["adam", "sgd"],
)
def test_masked_weights_stay_zero(few, options):
    model = mlp([64, 16, 10])
    start = at_start(model, 3, 1)
    masks = masks_of(start)
    seen = []

    def look(epoch, replicas, now):
        seen.extend(now.params[name][~masks[name][replicas]].abs().max().item() for name in masks)

    made = train(model, few, start=start, masks=masks, epochs=3, batch_size=64, callback=look, **options)
    assert seen == [0] * 6
    for name, mask in masks.items():
        assert not made.params[name][~mask].any()
        assert (made.params[name][mask] != start.params[name][mask]).double().mean() > 0.9
    assert (made.history.train_loss[-1] < made.history.train_loss[0]).all()


@pytest.mark.parametrize("rule", OPTIMISERS)
def test_masked_training_agrees_with_a_network_without_these_weights(few, rule):
    """A unit whose outgoing weights are held at zero is a unit that is not there."""
    model, small = mlp([64, 16, 10]), mlp([64, 12, 10])
    start = at_start(model, 2, 3)
    masks = {"layer2.weight": torch.ones(2, 10, 16, dtype=torch.bool)}
    masks["layer2.weight"][:, :, 12:] = False
    params = {name: value.clone() for name, value in start.params.items()}
    params["layer1.weight"], params["layer1.bias"] = (
        params["layer1.weight"][:, :12],
        params["layer1.bias"][:, :12],
    )
    params["layer2.weight"] = params["layer2.weight"][:, :, :12]
    options = {"batch_size": 64, "epochs": 2, "dtype": torch.float64, **OPTIMISERS[rule]}
    whole = train(model, few, start=start, masks=masks, **options)
    part = train(small, few, start=Ensemble(small, params), **options)
    assert np.allclose(whole.history.train_loss, part.history.train_loss, rtol=1e-9)
    assert torch.allclose(whole.params["layer2.weight"][:, :, :12], part.params["layer2.weight"], atol=1e-9)


def test_masked_replicas_do_not_depend_on_the_others(few, monkeypatch):
    model = mlp([64, 16, 10])
    start = at_start(model, 8, 1)
    masks = masks_of(start)
    target = float(np.median(train(model, few, start=start, masks=masks, epochs=3).history.train_loss[1]))
    options = {"epochs": 4, "batch_size": 64, "target_loss": target}
    whole = train(model, few, start=start, masks=masks, **options)
    assert len(set(whole.history.epochs_run)) > 1
    three = {name: mask[3:4] for name, mask in masks.items()}
    assert same_bits(train(model, few, start=start[3], masks=three, streams=[3], **options), whole[3])
    assert same_bits(train(model, few, start=start, masks=masks, chunk=3, **options), whole)
    short = Short(monkeypatch, room=2)
    halved = train(model, few, start=start, masks=masks, chunk=8, **options)
    assert short.failures
    assert same_bits(halved, whole)
    assert all(not halved.params[name][~mask].any() for name, mask in masks.items())


def generator_order(seed):
    generator = generator_of(seed, 0)
    torch.randint(2**62, (), generator=generator)
    return torch.randperm(200, generator=generator)


def test_a_loss_that_begins_at_zero_may_rise(few):
    """A network that fits its samples is not lost because one sample has a thousand times their loss."""
    model = mlp([64, 32, 10])
    fitted = train(model, few, epochs=150, learning_rate=1e-2, evaluate_test=False)
    params = fitted.params | {name: 20 * fitted.params[name] for name in ("layer2.weight", "layer2.bias")}
    labels = few.y_train.clone()
    labels[0] = (labels[0] + 1) % 10
    odd = Dataset("odd", few.x_train, labels, few.x_test, few.y_test, few.classes)
    options = {"start": Ensemble(model, params), "optimiser": "sgd", "epochs": 2, "batch_size": 8, "seed": 1}
    assert int((generator_order(1) == 0).nonzero()) >= 8  # the odd sample is not in the first batch
    made = train(model, odd, learning_rate=1e-9, **options)
    assert made.history.train_loss[0, 0] > 0.05
    assert evaluate(options["start"], few.x_train, few.y_train).loss[0] < 1e-6
    assert made.history.epochs_run.tolist() == [2]
    assert not made.history.diverged.any()
    with pytest.warns(DivergenceWarning):
        train(model, odd, learning_rate=1e9, **options)


def test_networks_of_one_stream_see_the_same_samples(few):
    model = mlp([64, 16, 10])
    start = at_start(model, 2, 1)[[1, 1, 1]]
    made = train(model, few, start=start, streams=[4, 4, 2], epochs=1)
    assert torch.equal(made[0].flat(), made[1].flat())
    assert not torch.equal(made[0].flat(), made[2].flat())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"masks": {}}, "belong to start"),
        ({"streams": [0]}, "belong to start"),
        ({"start": mlp([64, 8, 10]), "replicas": 2}, "replicas must be those of start, 1"),
        ({"start": mlp([64, 9, 10])}, "must have shape"),
        ({"start": mlp([64, 8, 10]), "streams": [0, 1]}, "1 non-negative numbers"),
        ({"start": mlp([64, 8, 10]), "streams": [-1]}, "1 non-negative numbers"),
        ({"start": mlp([64, 8, 10]), "masks": {"layer3": torch.ones(1)}}, "no parameter 'layer3'"),
        ({"start": mlp([64, 8, 10]), "masks": {"layer1.bias": torch.ones(1, 8)}}, "must be bool of shape"),
        (
            {"start": mlp([64, 8, 10]), "masks": {"layer1.bias": torch.ones(8, dtype=torch.bool)}},
            "must be bool of shape",
        ),
    ],
)
def test_refuses_starts_that_do_not_fit(few, options, message):
    if "start" in options:
        options = options | {"start": Ensemble.from_modules([options["start"]])}
    with pytest.raises(ValueError, match=message):
        train(mlp([64, 8, 10]), few, **options)


def test_refuses_inputs_of_another_number_of_features(digits):
    with pytest.raises(ValueError, match=r"x has 64 features, layer1\.weight reads 16"):
        train(mlp([16, 8, 10]), digits.flat(), replicas=2, epochs=1, device="cpu")
