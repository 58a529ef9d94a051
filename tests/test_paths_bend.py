"""Bezier curves between networks: their gradient, their points, and that none rises above its line."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional

from spinscape.companion import memo
from spinscape.landscape.paths import Bent, bend
from spinscape.landscape.paths._pairs import in_parts
from spinscape.landscape.steps import BENDS, generator
from spinscape.networks.datasets import Dataset, load
from spinscape.networks.ensemble import Ensemble, evaluate
from spinscape.networks.models import mlp
from spinscape.networks.training import train


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load("digits").flat().shortened(500)


@pytest.fixture(scope="module")
def pairs(digits) -> tuple[Ensemble, Ensemble]:
    """Three pairs of networks, trained to a loss that the straight lines leave."""
    made = train(mlp([64, 16, 10]), digits, replicas=6, epochs=60, batch_size=32, evaluate_test=False)
    return made[:3], made[3:]


@pytest.fixture(scope="module")
def bent(pairs, digits) -> Bent:
    return bend(*pairs, digits, epochs=20, looks=4)


def on_curve(a: Ensemble, control: Ensemble, b: Ensemble, t: float) -> Ensemble:
    params = {
        name: (1 - t) ** 2 * p.double()
        + 2 * t * (1 - t) * control.params[name].double()
        + t**2 * b.params[name].double()
        for name, p in a.params.items()
    }
    return Ensemble(a.model, params)


def test_losses_are_those_of_the_points_of_the_curve(pairs, digits, bent) -> None:
    a, b = pairs
    middle = a.unflatten((a.flat() + b.flat()) / 2)
    x, y = digits.x_train.double(), digits.y_train
    for control, loss, error in (
        (bent.control, bent.curve, bent.curve_error),
        (middle, bent.line, bent.line_error),
    ):
        found = [evaluate(on_curve(a, control, b, float(t)), x, y) for t in bent.t]
        np.testing.assert_allclose(loss, np.stack([f.loss for f in found], 1), rtol=2e-5)
        np.testing.assert_allclose(error, np.stack([1 - f.accuracy for f in found], 1), atol=0.0021)
    for t, straight in zip(bent.t, bent.line.T, strict=True):
        point = a.unflatten((1 - t) * a.flat().double() + t * b.flat().double())
        np.testing.assert_allclose(straight, evaluate(point, x, y).loss, rtol=2e-5)


def test_a_curve_is_far_below_its_line_and_never_above_it(bent) -> None:
    tops, lines = bent.curve.max(1), bent.line.max(1)
    ends = np.maximum(bent.line[:, 0], bent.line[:, -1])
    assert (bent.kept > 0).all()
    assert (tops - ends < 0.5 * (lines - ends)).all()
    np.testing.assert_array_equal(bent.curve[:, [0, -1]], bent.line[:, [0, -1]])
    assert bent.highest.shape == (5, 3)
    np.testing.assert_array_equal(bent.looked, [0, 5, 10, 15, 20])
    np.testing.assert_array_equal(bent.highest[0], lines)
    np.testing.assert_array_equal(bent.highest.min(0), tops)
    assert bent.train_loss.shape == (20, 3)
    assert (bent.train_loss[-1] < bent.train_loss[0]).all()


@pytest.mark.parametrize("rate", [50.0, 1e30])
def test_training_that_fails_leaves_the_straight_line(pairs, digits, rate: float) -> None:
    a, b = pairs
    bent = bend(a, b, digits, epochs=2, looks=2, optimiser="sgd", learning_rate=rate)
    assert not (bent.highest[1:] <= bent.highest[0]).any()
    np.testing.assert_array_equal(bent.kept, 0)
    np.testing.assert_array_equal(bent.curve, bent.line)
    np.testing.assert_array_equal(bent.curve_error, bent.line_error)
    torch.testing.assert_close(bent.control.flat(), (a.flat() + b.flat()) / 2, rtol=1e-6, atol=1e-7)


def test_of_equal_highest_losses_the_lower_mean_is_kept(digits) -> None:
    made = train(mlp([64, 16, 10]), digits, replicas=2, epochs=6, batch_size=32, evaluate_test=False)
    first = bend(made[:1], made[1:], digits, epochs=12, looks=12)
    ends = max(first.line[0, 0], first.line[0, -1])
    assert first.curve.max() == ends < first.line.max()
    assert first.kept[0] > np.argmax(first.highest[:, 0] == ends)


def test_one_step_is_the_chain_rule_through_the_curve(digits) -> None:
    torch.manual_seed(5)
    made = Ensemble.from_modules([mlp([64, 8, 10]) for _ in range(4)]).to(torch.float64)
    a, b = made[:2], made[2:]
    bent = bend(a, b, digits, epochs=1, looks=1, batch_size=500, optimiser="sgd", learning_rate=0.05, seed=3)
    np.testing.assert_array_equal(bent.kept, 1)
    x, y = digits.x_train.double(), digits.y_train
    for p in range(2):
        t = float(torch.rand(1, generator=generator(3, BENDS, p, 1), dtype=torch.float64))
        middle = (a[p].flat() + b[p].flat()) / 2
        point = on_curve(a[p], a.unflatten(middle), b[p], t)
        leaves = {name: value[0].clone().requires_grad_() for name, value in point.params.items()}
        loss = functional.cross_entropy(functional_call(a.model, leaves, (x,)), y)
        slope = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(leaves.values()))])
        torch.testing.assert_close(
            bent.control[p].flat()[0], middle[0] - 0.05 * 2 * t * (1 - t) * slope, rtol=1e-9, atol=1e-12
        )
        assert bent.train_loss[0, p] == pytest.approx(float(loss.detach()), rel=1e-9)


def test_a_pair_is_the_same_beside_any_number_of_others(pairs, digits, bent) -> None:
    a, b = pairs
    alone = bend(a[:1], b[:1], digits, epochs=20, looks=4)
    apart = bend(a, b, digits, epochs=20, looks=4, chunk=2)
    for entry in dataclasses.fields(Bent):
        whole, one, split = (getattr(each, entry.name) for each in (bent, alone, apart))
        if entry.name == "control":
            torch.testing.assert_close(one.flat(), whole[:1].flat(), rtol=0, atol=0)
            torch.testing.assert_close(split.flat(), whole.flat(), rtol=0, atol=0)
            continue
        np.testing.assert_array_equal(split, whole)
        shared = entry.name in ("t", "looked")
        first = whole if shared else whole[:, :1] if entry.name in ("highest", "train_loss") else whole[:1]
        np.testing.assert_array_equal(one, first)
    other = bend(a[:1], b[:1], digits, epochs=20, looks=4, seed=1)
    assert not torch.equal(other.control.flat(), alone.control.flat())


def test_halves_follow_where_memory_runs_out() -> None:
    asked = []

    def work(rows: np.ndarray) -> list[int]:
        asked.append(len(rows))
        if len(rows) > 2:
            raise MemoryError("too much")
        return rows.tolist()

    cpu = torch.device("cpu")
    assert [p for part in in_parts(work, 7, 6, cpu) for p in part] == list(range(7))
    assert asked == [6, 3, 1, 2, 3, 1, 2, 1]
    with pytest.raises(MemoryError, match="one pair does not fit"):
        in_parts(lambda rows: (_ for _ in ()).throw(MemoryError()), 2, 2, cpu)
    with pytest.raises(RuntimeError, match="something else"):
        in_parts(lambda rows: (_ for _ in ()).throw(RuntimeError("something else")), 2, 2, cpu)


def test_any_model_and_regression() -> None:
    images = load("digits").shortened(60)
    torch.manual_seed(0)
    made = [
        nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5), nn.Linear(144, 10))
        for _ in range(4)
    ]
    nets = Ensemble.from_modules(made)
    bent = bend(nets[:2], nets[2:], images, epochs=2, points=5)
    assert (bent.curve.max(1) <= bent.line.max(1)).all()
    assert (bent.curve.mean(1) < bent.line.mean(1)).all()
    numbers = load("linnerud").standardised()
    torch.manual_seed(0)
    nets = Ensemble.from_modules([mlp([3, 6, 3]) for _ in range(4)])
    bent = bend(nets[:2], nets[2:], numbers, epochs=5, points=5)
    assert np.isnan(bent.curve_error).all()
    expected = evaluate(nets[:2], numbers.x_train, numbers.y_train, loss="mse").loss
    np.testing.assert_allclose(bent.line[:, 0], expected, rtol=1e-5)


def test_parameters_that_are_not_trained_stay_on_the_line(digits) -> None:
    torch.manual_seed(0)
    made = [mlp([64, 8, 10]) for _ in range(2)]
    for module in made:
        next(module.parameters()).requires_grad_(False)
    nets = Ensemble.from_modules(made)
    name = next(iter(nets.params))
    bent = bend(nets[:1], nets[1:], digits, epochs=2)
    assert bent.kept[0] > 0
    torch.testing.assert_close(bent.control.params[name], nets.params[name].mean(0, keepdim=True))


def test_curves_can_be_stored(pairs, digits, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv(memo.ENVIRONMENT, str(tmp_path))
    made, read = (memo.remember(bend, *pairs, digits, epochs=1) for _ in range(2))
    assert len(list(tmp_path.glob("*.safetensors"))) == 1
    assert torch.equal(read.control.flat(), made.control.flat())
    np.testing.assert_array_equal(read.curve, made.curve)


def test_what_cannot_be_bent_is_refused(pairs, digits) -> None:
    a, b = pairs
    for options in (
        {"epochs": 0},
        {"points": 2},
        {"looks": 0},
        {"batch_size": 0},
        {"learning_rate": 0.0},
        {"seed": -1},
    ):
        with pytest.raises(ValueError, match=next(iter(options))):
            bend(a, b, digits, **options)
    with pytest.raises(ValueError, match="as many networks, not 2 and 3"):
        bend(a[:2], b, digits)
    with pytest.raises(ValueError, match="one model"):
        bend(a[:1], Ensemble.from_modules([mlp([64, 17, 10])]), digits)
    broken = b.unflatten(b.flat().clone().index_fill_(1, torch.tensor([3]), torch.nan))
    with pytest.raises(ValueError, match="finite"):
        bend(a, broken, digits)
    normed = Ensemble.from_modules([nn.Sequential(nn.Linear(64, 8), nn.BatchNorm1d(8), nn.Linear(8, 10))])
    with pytest.raises(ValueError, match="fold them first"):
        bend(normed, normed, digits)
