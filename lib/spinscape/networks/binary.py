"""Networks with binary weights, trained by straight-through gradients.

Every weight of a layer with k inputs is ``+-gain / sqrt(k)``, which keeps preactivations of order 1.
Each has a latent number in [-1, 1] whose sign it takes.
A step takes the gradient with respect to the binary weights as that of the latent numbers, as if the sign
were the identity (Courbariaux, Bengio and David, arXiv:1511.00363; Hubara et al., arXiv:1602.02830), moves
these by Adam and clips them.
So a binary network in training is a plain network under another optimiser: `train` runs it as any other, all
replicas in one batch, and what comes out is the plain network with its binary weights.

>>> from spinscape.networks.datasets import load
>>> from spinscape.networks.models import mlp
>>> found = train_binary(mlp([64, 16, 10], bias=False), load("digits"), replicas=2, epochs=2)
>>> is_binary(found)
True
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from spinscape.networks.datasets import Dataset
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.training import train

BINARY = 87
"""What random numbers are drawn for: signs of random networks."""

GAIN = 2.0
"""Size of the binary weights of a layer of k inputs, times ``sqrt(k)``.

Without biases a gain changes no answer of a ReLU network; it sharpens the outputs that the loss sees.
64-64-10 on standardised digits, 60 epochs: 97.9% of training images right at gain 1, all at gain 2.
"""

BETAS, EPS = (0.9, 0.999), 1e-8
"""Adam's own."""


def magnitude(weight: Tensor, gain: float = GAIN) -> float:
    """Return the size ``gain / sqrt(k)`` of the weights of a layer of k inputs, ``(R, out, k, ...)``."""
    return gain / math.sqrt(weight[0, 0].numel())


def signs_of(weight: Tensor) -> Tensor:
    """Return +1 for weights of at least 0 and -1 for others, of the same shape and type."""
    return torch.where(weight >= 0, 1.0, -1.0).to(weight.dtype)


def binarised(ensemble: Ensemble, gain: float = GAIN) -> Ensemble:
    """Keep the sign of every weight only, and give all of a layer one size; zero counts as positive.

    Parameters
    ----------
    ensemble
        R networks of linear layers and convolutions without biases or norms.
    gain
        Weights of a layer of k inputs are ``+-gain / sqrt(k)``.

    Returns
    -------
    Ensemble
        R plain networks of the same model.

    Raises
    ------
    ValueError
        If a parameter is no weight of a layer, or `gain` is not positive.
    """
    check_weights(ensemble.model)
    _check_gain(gain)
    params = {name: signs_of(value) * magnitude(value, gain) for name, value in ensemble.params.items()}
    return Ensemble(ensemble.model, params, ensemble.buffers, ensemble.history)


def signs(ensemble: Ensemble) -> Ensemble:
    """Return the same networks with weights +1 and -1, whose inner products count equal signs."""
    check_weights(ensemble.model)
    params = {name: signs_of(value) for name, value in ensemble.params.items()}
    return Ensemble(ensemble.model, params, ensemble.buffers, ensemble.history)


def is_binary(ensemble: Ensemble) -> bool:
    """Tell whether the weights of each layer have one size, the same in all networks, and it is not zero."""
    sizes = (value.abs() for value in ensemble.params.values())
    return all(bool((size.max() > 0) & (size.max() - size.min() <= 1e-5 * size.max())) for size in sizes)


def random_binary(model: nn.Module, *, replicas: int, gain: float = GAIN, seed: int = 0) -> Ensemble:
    """Draw networks whose signs are independent and fair, a null model of distances and matchings.

    Parameters
    ----------
    model
        Linear layers and convolutions without biases or norms.
    replicas
        Number R of networks; network r depends on the seed and r only.
    gain
        As in :func:`binarised`.
    seed
        Seed of the draws.

    Returns
    -------
    Ensemble
        R networks, float32 on the CPU.

    Raises
    ------
    ValueError
        If a parameter is no weight of a layer, or an argument is out of range.
    """
    check_weights(model)
    if not isinstance(replicas, int | np.integer) or isinstance(replicas, bool) or replicas < 1:
        raise ValueError(f"replicas must be a whole number of at least 1, not {replicas!r}")
    params = {name: torch.empty(replicas, *value.shape) for name, value in model.named_parameters()}
    for r in range(replicas):
        state = np.random.SeedSequence(seed, spawn_key=(BINARY, r)).generate_state(1, np.uint64)
        source = torch.Generator().manual_seed(int(state[0] >> 1))
        for value in params.values():
            value[r] = torch.randint(0, 2, value.shape[1:], generator=source) * 2 - 1
    return binarised(Ensemble(model, params), gain)


class StraightThrough(torch.optim.Optimizer):
    """Adam on latent numbers in [-1, 1]; the parameters are set to their signs, in size `magnitude`.

    Parameters
    ----------
    params
        Stacked weights ``(R, out, in, ...)``; set to binary values at once. What they hold, times the root
        of the number of inputs, is where the latent numbers start.
    gain
        As in :func:`binarised`.
    learning_rate
        Of the first step; it falls as half a cosine to 0 at the last.
    steps
        Number of steps.
    """

    def __init__(self, params: list[Tensor], *, gain: float, learning_rate: float, steps: int) -> None:
        super().__init__(params, {"lr": learning_rate})
        self.gain, self.steps = gain, steps
        with torch.no_grad():
            for param in params:
                latent = (param / magnitude(param, 1)).clamp_(-1, 1)
                self.state[param] = {
                    "step": torch.zeros((), dtype=torch.float64),
                    "latent": latent,
                    "mean": torch.zeros_like(latent),
                    "square": torch.zeros_like(latent),
                }
                param.copy_(signs_of(latent) * magnitude(param, gain))

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Take one step of Adam with the gradients of the binary weights."""
        for group in self.param_groups:
            for param in group["params"]:
                state = self.state[param]
                count = float(state["step"].add_(1))
                share = min(count - 1, self.steps) / self.steps
                rate = group["lr"] * 0.5 * (1 + math.cos(math.pi * share))
                size = magnitude(param, self.gain)
                slope = param.grad * size
                mean, square, latent = state["mean"], state["square"], state["latent"]
                mean.lerp_(slope, 1 - BETAS[0])
                square.mul_(BETAS[1]).addcmul_(slope, slope, value=1 - BETAS[1])
                root = (square / (1 - BETAS[1] ** count)).sqrt_().add_(EPS)
                latent.addcdiv_(mean, root, value=-rate / (1 - BETAS[0] ** count)).clamp_(-1, 1)
                param.copy_(signs_of(latent) * size)


def train_binary(
    model: nn.Module,
    dataset: Dataset,
    *,
    replicas: int = 1,
    gain: float = GAIN,
    learning_rate: float = 0.03,
    batch_size: int = 128,
    epochs: int = 30,
    initialisation: str | Callable[[nn.Module], None] = "pytorch",
    seed: int = 0,
    device: str | torch.device = "auto",
    chunk: int | None = None,
    evaluate_test: bool = True,
) -> Ensemble:
    """Train `replicas` networks of binary weights by straight-through gradients.

    Parameters
    ----------
    model
        Linear layers and convolutions without biases or norms, such as ``mlp(widths, bias=False)``.
    dataset
        Training and test samples; entry by entry of mean 0 and variance 1 they are learnt much better
        (``dataset.standardised()``).
    replicas
        Number R of networks.
    gain
        As in :func:`binarised`.
    learning_rate
        Of Adam on the latent numbers, which lie in [-1, 1]; it falls as half a cosine to 0.
    batch_size, epochs, initialisation, seed, device, chunk, evaluate_test
        As in :func:`spinscape.networks.training.train`.

    Returns
    -------
    Ensemble
        Plain networks whose weights are ``+-gain / sqrt(k)`` in layers of k inputs, with ``history``.

    Raises
    ------
    ValueError
        If a parameter of the model is no weight of a layer, or an argument is out of range.
    MemoryError
        If one replica does not fit into memory.
    """
    check_weights(model)
    _check_gain(gain)
    if not 0 < learning_rate <= 1:
        raise ValueError(f"learning_rate must lie in (0, 1], not {learning_rate}")
    size = min(batch_size, len(dataset.x_train)) if batch_size > 0 else 1
    steps = max(1, epochs * -(-len(dataset.x_train) // size))

    def rule(params: list[Tensor]) -> StraightThrough:
        return StraightThrough(params, gain=gain, learning_rate=learning_rate, steps=steps)

    return train(
        model,
        dataset,
        replicas=replicas,
        optimiser=rule,
        batch_size=batch_size,
        epochs=epochs,
        initialisation=initialisation,
        seed=seed,
        device=device,
        chunk=chunk,
        evaluate_test=evaluate_test,
    )


def _check_gain(gain: float) -> None:
    if not 0 < gain < math.inf:
        raise ValueError(f"gain must be positive and finite, not {gain}")


def check_weights(model: nn.Module) -> None:
    """Refuse models with parameters that are no weights of layers.

    Raises
    ------
    ValueError
        It names the parameter.
    """
    for name, value in model.named_parameters():
        owner = model.get_submodule(name.rpartition(".")[0])
        layer = isinstance(owner, nn.Linear | nn.modules.conv._ConvNd) and name.rpartition(".")[2] == "weight"
        if not layer or value.ndim < 2:
            raise ValueError(
                f"{name} is no weight of a linear layer or convolution: binary networks have no biases, "
                "norms or other parameters; build the model with bias=False"
            )
