from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from spinscape.companion import memo
from spinscape.networks.binary import (
    GAIN,
    StraightThrough,
    binarised,
    is_binary,
    random_binary,
    signs,
    train_binary,
)
from spinscape.networks.convolutional import convnet
from spinscape.networks.datasets import load
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.evaluation import evaluate
from spinscape.networks.models import mlp
from spinscape.networks.training import train


@pytest.fixture(scope="module")
def digits():
    return load("digits").standardised()


def latent_training(weight: torch.Tensor, slopes: list[torch.Tensor], gain: float, rate: float):
    """Straight-through training by torch's own Adam, one network, with autograd through a detached sign."""
    size = gain / weight[0].numel() ** 0.5
    latent = (weight * weight[0].numel() ** 0.5).clamp(-1, 1).requires_grad_()
    rule = torch.optim.Adam([latent], lr=rate)
    for step, slope in enumerate(slopes):
        rule.param_groups[0]["lr"] = rate * 0.5 * (1 + np.cos(np.pi * step / len(slopes)))
        straight = latent + (torch.where(latent >= 0, 1.0, -1.0) - latent).detach()
        latent.grad = None
        (size * straight * slope).sum().backward()
        rule.step()
        with torch.no_grad():
            latent.clamp_(-1, 1)
    return latent.detach(), size * torch.where(latent.detach() >= 0, 1.0, -1.0).double()


@pytest.mark.parametrize("shape", [(5, 7), (4, 3, 2, 2)])
def test_steps_are_those_of_a_latent_adam_with_autograd_through_the_sign(shape):
    g = torch.Generator().manual_seed(1)
    weight = torch.randn(2, *shape, generator=g, dtype=torch.float64) * 0.3
    slopes = [torch.randn(2, *shape, generator=g, dtype=torch.float64) for _ in range(30)]
    param = weight.clone().requires_grad_()
    rule = StraightThrough([param], gain=1.5, learning_rate=0.3, steps=len(slopes))
    started = param.detach().clone()
    for slope in slopes:
        param.grad = slope
        rule.step()
    assert not torch.equal(started.sign(), param.detach().sign())
    for r in range(2):
        latent, expected = latent_training(weight[r], [slope[r] for slope in slopes], 1.5, 0.3)
        torch.testing.assert_close(rule.state[param]["latent"][r], latent, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(param.detach()[r], expected)


def test_what_comes_out_is_a_plain_binary_network(digits):
    found = train_binary(mlp([64, 24, 10], bias=False), digits, replicas=3, epochs=3)
    assert is_binary(found)
    for name, value in found.params.items():
        torch.testing.assert_close(value.abs(), torch.full_like(value, GAIN / value.shape[2] ** 0.5))
        assert 0.2 < float((value > 0).double().mean()) < 0.8, name
    history = found.history
    assert history.train_loss.shape == (3, 3)
    result = evaluate(found, digits.x_test, digits.y_test)
    np.testing.assert_allclose(history.test_accuracy[-1], result.accuracy)
    np.testing.assert_allclose(history.test_loss[-1], result.loss, rtol=1e-5)


def test_binary_networks_learn_digits_better_than_signs_of_trained_ones(digits):
    model = mlp([64, 64, 10], bias=False)
    found = train_binary(model, digits, replicas=3, epochs=30, evaluate_test=False)
    assert evaluate(found, digits.x_train, digits.y_train).accuracy.min() > 0.99
    accuracy = evaluate(found, digits.x_test, digits.y_test).accuracy
    assert accuracy.min() > 0.94
    real = binarised(train(model, digits, replicas=3, epochs=30, evaluate_test=False))
    assert evaluate(real, digits.x_test, digits.y_test).accuracy.max() < accuracy.min()


def test_a_network_is_the_same_beside_any_others(digits):
    model, options = mlp([64, 20, 10], bias=False), {"epochs": 2, "evaluate_test": False}
    several = train_binary(model, digits, replicas=5, **options)
    alone = train_binary(model, digits, replicas=2, **options)
    chunks = train_binary(model, digits, replicas=5, chunk=2, **options)
    other = train_binary(model, digits, replicas=2, seed=1, **options)
    for name, value in several.params.items():
        assert torch.equal(value[:2], alone.params[name])
        assert torch.equal(value, chunks.params[name])
        assert not torch.equal(other.params[name], alone.params[name])


def test_latent_numbers_survive_when_a_group_is_halved():
    g = torch.Generator().manual_seed(2)
    weight = torch.randn(4, 3, 5, generator=g)
    param = weight.clone().requires_grad_()
    rule = StraightThrough([param], gain=1, learning_rate=0.1, steps=9)
    again = param.detach()[:2].clone().requires_grad_()
    half = StraightThrough([again], gain=1, learning_rate=0.1, steps=9)
    from spinscape.networks import optimisers

    state = optimisers.take(optimisers.snapshot(rule, [param]), torch.tensor([0, 1]), 4)
    optimisers.restore(half, [again], state)
    for step in range(9):
        slope = torch.randn(4, 3, 5, generator=torch.Generator().manual_seed(step))
        param.grad, again.grad = slope, slope[:2].clone()
        rule.step()
        half.step()
    assert torch.equal(param.detach()[:2], again.detach())


def test_convolutions_too():
    model = convnet(widths=(16, 32), bias=False)
    options = {"gain": 1, "learning_rate": 0.1, "epochs": 6, "evaluate_test": False}
    found = train_binary(model, load("digits").standardised(), replicas=2, **options)
    assert is_binary(found)
    assert float(found.params["conv2.weight"].abs().max()) == pytest.approx(1 / 144**0.5)
    assert found.history.train_accuracy[-1].min() > 0.8


def test_signs_and_sizes():
    model = mlp([3, 2, 2], bias=False)
    params = {
        "layer1.weight": torch.tensor([[[0.3, -0.1, 0.0], [-2.0, 5.0, -0.0]]]),
        "layer2.weight": torch.tensor([[[1.0, -1.0], [-0.5, 0.5]]]),
    }
    found = binarised(Ensemble(model, params), gain=3)
    expected = torch.tensor([[[1.0, -1, 1], [-1, 1, 1]]])
    torch.testing.assert_close(found.params["layer1.weight"], 3 / 3**0.5 * expected)
    assert torch.equal(signs(found).params["layer1.weight"], expected)
    assert is_binary(found)
    assert not is_binary(Ensemble(model, params))
    zero = {name: torch.zeros_like(value) for name, value in params.items()}
    assert not is_binary(Ensemble(model, zero))


def test_random_networks_have_fair_independent_signs():
    model = mlp([40, 30, 10], bias=False)
    found = random_binary(model, replicas=6, seed=3)
    assert is_binary(found)
    flat = signs(found).flat().double()
    # Means and overlaps of 1500 fair signs: five standard deviations.
    overlaps = flat @ flat.T / flat.shape[1] - torch.eye(6)
    assert float(flat.mean(1).abs().max()) < 5 / flat.shape[1] ** 0.5
    assert float(overlaps.abs().max()) < 5 / flat.shape[1] ** 0.5
    assert torch.equal(random_binary(model, replicas=2, seed=3).flat(), found.flat()[:2])
    assert not torch.equal(random_binary(model, replicas=2, seed=4).flat(), found.flat()[:2])


def test_results_can_be_kept(digits, tmp_path, monkeypatch):
    monkeypatch.setenv(memo.ENVIRONMENT, str(tmp_path))
    call = (train_binary, mlp([64, 8, 10], bias=False), digits.shortened(64))
    first = memo.remember(*call, replicas=2, epochs=1)
    again = memo.remember(*call, replicas=2, epochs=1)
    assert len(list(tmp_path.glob("*.safetensors"))) == 1
    assert torch.equal(first.flat(), again.flat())


def test_what_is_refused(digits):
    for model in (mlp([64, 8, 10]), mlp([64, 8, 10], bias=False, batch_norm=True)):
        with pytest.raises(ValueError, match="no weight of a linear layer or convolution"):
            train_binary(model, digits)
        with pytest.raises(ValueError, match="no weight of a linear layer or convolution"):
            binarised(Ensemble.from_modules([model]))
    plain = mlp([64, 8, 10], bias=False)
    for bad, match in (
        ({"gain": 0.0}, "gain must be positive"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"epochs": 0}, "epochs"),
        ({"batch_size": 0}, "batch_size"),
        ({"replicas": 0}, "replicas"),
    ):
        with pytest.raises(ValueError, match=match):
            train_binary(plain, digits, **bad)
    with pytest.raises(ValueError, match="replicas"):
        random_binary(plain, replicas=0)
    with pytest.raises(ValueError, match="no weight"):
        random_binary(nn.Sequential(nn.Linear(3, 2)), replicas=1)
