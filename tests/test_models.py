from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from spinscape import memory
from spinscape.networks import models
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.evaluation import outputs
from spinscape.networks.forward import Forward, is_stackable, one_by_one_forward, stacked_forward
from spinscape.networks.models import ACTIVATIONS, equal_width, initialise, mlp, parameter_count


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_mlp_has_named_layers_and_takes_any_input_shape():
    model = mlp([12, 7, 5, 3], activation="tanh")
    names = [name for name, _ in model.named_parameters()]
    assert names == [f"layer{i}.{part}" for i in (1, 2, 3) for part in ("weight", "bias")]
    images = torch.rand(4, 3, 2, 2)
    assert torch.equal(model(images), model(images.flatten(1)))
    assert model(images).shape == (4, 3)
    assert "layer1.bias" not in dict(mlp([4, 2], bias=False).named_parameters())


def test_mlp_agrees_with_scikit_learn():
    from sklearn.datasets import load_digits
    from sklearn.neural_network import MLPClassifier

    x, y = load_digits(return_X_y=True)
    x = x / 16
    other = MLPClassifier((32, 16), max_iter=5, random_state=0)
    with pytest.warns(UserWarning, match="Maximum iterations"):
        other.fit(x, y)
    model = mlp([64, 32, 16, 10]).double()
    with torch.no_grad():
        for i, (weight, bias) in enumerate(zip(other.coefs_, other.intercepts_, strict=True), 1):
            layer = model.get_submodule(f"layer{i}")
            layer.weight.copy_(torch.from_numpy(weight.T))
            layer.bias.copy_(torch.from_numpy(bias))
        ours = model(torch.from_numpy(x)).softmax(1).numpy()
    assert np.allclose(ours, other.predict_proba(x), atol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"widths": [3]}, "at least two positive"),
        ({"widths": [3, 0]}, "positive integers"),
        ({"widths": [3, 2.5, 1]}, "positive integers"),
        ({"widths": [3, float("nan"), 1]}, "positive integers"),
        ({"widths": None}, "positive integers"),
        ({"widths": [3, 4, 2], "skip": True}, "two hidden layers of one width in a row"),
        ({"widths": [4, 4, 3, 3], "skip": True}, "two hidden layers of one width in a row"),
        ({"widths": [3, 2], "activation": "rulu"}, "activation must be one of"),
        ({"widths": [3, 2], "initialisation": "he"}, "initialisation must be one of"),
    ],
)
def test_mlp_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        mlp(**arguments)


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_every_activation(activation):
    assert mlp([3, 4, 2], activation=activation)(torch.ones(1, 3)).isfinite().all()


def test_pytorch_law_is_reset_parameters():
    model = mlp([20, 30, 10])
    params, _ = initialise(model, generator(7))
    seed = int(torch.randint(2**62, (), generator=generator(7)))
    torch.manual_seed(seed)
    for module in model:
        if isinstance(module, nn.Linear):
            module.reset_parameters()
    for name, value in model.named_parameters():
        assert torch.equal(params[name], value)


def test_initialise_leaves_the_model_and_the_global_generator_alone():
    model = mlp([5, 4, 3])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    first, _ = initialise(model, generator(1))
    again, _ = initialise(model, generator(1))
    other, _ = initialise(model, generator(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["layer1.weight"], other["layer1.weight"])


def test_glorot_law():
    """Kolmogorov-Smirnov of 60,000 weights against the uniform law; false alarm in 1 of 1,000."""
    from scipy.stats import kstest

    params, _ = initialise(mlp([200, 300, 10]), generator(3), "glorot")
    bound = math.sqrt(6 / 500)
    weights = params["layer1.weight"].flatten().numpy()
    assert np.abs(weights).max() <= bound
    assert kstest(weights, "uniform", args=(-bound, 2 * bound)).pvalue > 1e-3
    assert not params["layer1.bias"].any()
    model = mlp([200, 300, 10], initialisation="glorot")
    assert model.layer1.weight.abs().max() <= bound
    assert not model.layer2.bias.any()


def test_other_layers_keep_their_law_and_buffers_are_fresh():
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 2))
    model(torch.rand(5, 1, 4, 4))
    params, buffers = initialise(model, generator(), "glorot")
    assert torch.equal(params["1.weight"], torch.ones(3))
    assert torch.equal(buffers["1.running_mean"], torch.zeros(3))
    assert int(buffers["1.num_batches_tracked"]) == 0
    assert params["0.weight"].abs().max() <= math.sqrt(6 / (9 + 27))
    assert not params["0.bias"].any()


def test_own_parameters_need_a_law():
    class Scale(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(2))

        def forward(self, x):
            return x * self.scale

    with pytest.raises(ValueError, match=r"Scale .*reset_parameters"):
        initialise(Scale(), generator())
    params, _ = initialise(Scale(), generator(), lambda model: nn.init.normal_(model.scale))
    assert params["scale"].std() > 0


KINDS = [{"batch_norm": True}, {"skip": True}, {"batch_norm": True, "skip": True}]


def test_names_of_norms_and_shortcuts():
    model = mlp([4, 6, 6, 5, 5, 3], batch_norm=True, skip=True)
    names = [name for name, _ in model.named_children()]
    assert names == [
        "flatten", "layer1", "norm1", "activation1", "layer2", "norm2", "activation2", "skip2",
        "layer3", "norm3", "activation3", "layer4", "norm4", "activation4", "skip4", "layer5",
    ]  # fmt: skip
    assert all(f"layer{i}.weight" in dict(model.named_parameters()) for i in range(1, 6))
    assert type(mlp([4, 6, 3])) is nn.Sequential


def by_hand(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """The formula of a network of three hidden layers of one width, from its weights."""
    h = x
    for i in (1, 2, 3):
        layer, norm = model.get_submodule(f"layer{i}"), getattr(model, f"norm{i}", None)
        z = h @ layer.weight.T + layer.bias
        if norm is not None:
            mean, var = z.mean(0), z.var(0, unbiased=False)
            z = (z - mean) / (var + 1e-5).sqrt() * norm.weight + norm.bias
        z = torch.tanh(z)
        h = h + z if i > 1 and hasattr(model, f"skip{i}") else z
    return h @ model.layer4.weight.T + model.layer4.bias


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("width", [5, 16])
def test_norms_and_shortcuts_batched_and_one_by_one(kind, width):
    """Outputs, gradients and statistics of the batched path, against modules and the formula."""
    torch.manual_seed(0)
    modules = [mlp([7, width, width, width, 3], activation="tanh", **kind).double() for _ in range(3)]
    with torch.no_grad():
        for p in (p for m in modules for p in m.parameters()):
            p.add_(0.1 * torch.randn_like(p))
    many = Ensemble.from_modules(modules)
    assert is_stackable(modules[0])
    params = {name: value.clone().requires_grad_() for name, value in many.params.items()}
    buffers = {name: value.clone() for name, value in many.buffers.items()}
    x = torch.rand(3, 19, 7, dtype=torch.float64)
    found = stacked_forward(modules[0], params, x, buffers, training=True)
    found.square().sum().backward()
    for r, module in enumerate(modules):
        out = module(x[r])
        assert torch.allclose(out, by_hand(module, x[r]), atol=1e-12)
        assert torch.allclose(found[r], out, atol=1e-12)
        out.square().sum().backward()
        for name, value in module.named_parameters():
            assert torch.allclose(params[name].grad[r], value.grad, atol=1e-10)
        for name, value in module.named_buffers():
            assert torch.allclose(buffers[name][r].double(), value.double(), atol=1e-12)
    now = Ensemble.from_modules(modules)
    fixed = outputs(now, x[0])
    again = one_by_one_forward(
        modules[0], now.to(torch.float32).params, x[0].float(), now.to(torch.float32).buffers
    )
    for r, module in enumerate(modules):
        module.eval()
        assert torch.allclose(fixed[r], module(x[0]), atol=1e-12)
        assert torch.allclose(again[r].double(), module(x[0]), atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_norms_and_shortcuts_keep_their_bits(kind):
    from spinscape.networks.datasets import load
    from spinscape.networks.training import train

    digits = load("digits").flat()
    options = {"epochs": 1, "batch_size": 60, "seed": 3, "device": "cpu"}
    many = train(mlp([64, 13, 13, 10], **kind), digits, replicas=4, **options)
    apart = train(mlp([64, 13, 13, 10], **kind), digits, replicas=4, chunk=1, **options)
    few = train(mlp([64, 13, 13, 10], **kind), digits, replicas=2, **options)
    for name, value in {**many.params, **many.buffers}.items():
        assert torch.equal(value, {**apart.params, **apart.buffers}[name])
        assert torch.equal(value[:2], {**few.params, **few.buffers}[name])
    assert many.history.train_loss[0].max() < 2.5


def test_one_sample_has_no_statistics():
    model = mlp([4, 3, 2], batch_norm=True)
    one = Ensemble.from_modules([model])
    forward = Forward(model, one.params, one.buffers, torch.rand(1, 4), training=True)
    with pytest.raises(ValueError, match="more than one sample"):
        forward(one.params, one.buffers, torch.rand(1, 1, 4))


def test_other_norms_are_not_stacked():
    assert not is_stackable(nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2, affine=False)))
    assert not is_stackable(nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2, momentum=None)))
    assert not is_stackable(nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2)))
    assert is_stackable(nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)))


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_parameters_are_counted(bias, batch_norm):
    widths = [5, 4, 6, 3]
    model = mlp(widths, bias=bias, batch_norm=batch_norm)
    assert parameter_count(widths, bias=bias, batch_norm=batch_norm) == sum(
        p.numel() for p in model.parameters()
    )


def test_equal_width_is_the_nearest():
    assert equal_width(784, 10, 1, 407_050) == 512
    for features, classes, layers in ((64, 10, 1), (64, 10, 5), (3, 2, 10), (784, 10, 3)):
        for budget in (500, 5_000, 12_345):
            counts = {w: parameter_count([features, *[w] * layers, classes]) for w in range(1, 2000)}
            if counts[1] > budget:
                with pytest.raises(ValueError, match=f"at least {counts[1]} parameters"):
                    equal_width(features, classes, layers, budget)
                continue
            best = min(counts, key=lambda w: abs(counts[w] - budget))
            assert equal_width(features, classes, layers, budget) == best
    with pytest.raises(ValueError, match="hidden_layers must be a positive"):
        equal_width(4, 2, 0, 100)


def test_networks_that_do_not_fit_are_refused_before_they_are_made(monkeypatch):
    with pytest.raises(MemoryError, match="more than there is"):
        mlp([10**9, 10**9])
    monkeypatch.setattr(memory, "_machine", lambda: 8.0 * 3 * 100)
    models.check_widths([9, 10], networks=3)
    with pytest.raises(MemoryError, match=r"their 110 parameters must be at most 100$"):
        models.check_widths([10, 10], networks=3)
