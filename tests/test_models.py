from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from spinscape.networks.models import ACTIVATIONS, initialise, mlp


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
