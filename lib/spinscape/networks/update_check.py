"""Replicated SGD against the printed update, written out by hand, and against independent runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from spinscape.networks._group import generator_of
from spinscape.networks.datasets import Dataset
from spinscape.networks.models import initialise
from spinscape.networks.replicated import train_replicated
from spinscape.networks.training import train

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class UpdateCheck:
    """What the library's replicated SGD differs by.

    Attributes
    ----------
    by_hand
        Largest difference of a parameter, in double precision, from the printed lines carried out one copy
        after the other.
    free
        Largest difference of a parameter, in single precision, between copies without coupling and networks
        that are trained alone.
    control
        As `by_hand`, where the hand computation leaves the coupling out.
    steps
        Steps that were compared.
    """

    by_hand: float
    free: float
    control: float
    steps: int


def check_update(
    model: nn.Module,
    dataset: Dataset,
    *,
    copies: int = 3,
    gamma: float = 0.5,
    interval: int = 2,
    learning_rate: float = 0.1,
    batch_size: int = 64,
    epochs: int = 2,
    seed: int = 0,
) -> UpdateCheck:
    """Carry out Algorithm 2 of the slides by hand and compare.

    Parameters
    ----------
    model, dataset
        A classification.
    copies, gamma, interval, learning_rate
        y, gamma, K and eta of the algorithm, without momentum.
    batch_size, epochs, seed
        As in :func:`spinscape.networks.replicated.train_replicated`.

    Returns
    -------
    UpdateCheck

    Raises
    ------
    ValueError
        If an argument is out of range; see `train_replicated`.
    """
    plain: dict[str, Any] = {
        "optimiser": "sgd", "learning_rate": learning_rate, "momentum": 0.0, "nesterov": False,
        "weight_decay": 0.0, "annealing": None, "batch_size": batch_size, "epochs": epochs, "seed": seed,
        "device": "cpu", "evaluate_test": False,
    }  # fmt: skip
    found = train_replicated(
        model, dataset, copies=copies, gamma=gamma, interval=interval, dtype=torch.float64, **plain
    ).copies
    hand = {
        strength: _by_hand(
            model, dataset, copies, strength, interval, learning_rate, batch_size, epochs, seed
        )
        for strength in (gamma, 0.0)
    }
    free = train_replicated(model, dataset, copies=copies, gamma=0.0, **plain).copies
    alone = train(model, dataset, replicas=copies, **plain)
    return UpdateCheck(
        _apart(found.params, hand[gamma]),
        _apart(free.params, alone.params),
        _apart(found.params, hand[0.0]),
        epochs * -(-len(dataset.x_train) // batch_size),
    )


def _by_hand(
    model: nn.Module,
    dataset: Dataset,
    count: int,
    gamma: float,
    interval: int,
    rate: float,
    batch_size: int,
    epochs: int,
    seed: int,
) -> Tensors:
    """Return the copies' parameters ``(y, ...)`` after the lines of the algorithm, one copy at a time."""
    sources = [generator_of(seed, a) for a in range(count)]
    copies = [
        {name: value.double() for name, value in initialise(model, source)[0].items()} for source in sources
    ]
    x, y, step = dataset.x_train.double(), dataset.y_train, 0
    for _ in range(epochs):
        orders = []
        for source in sources:
            orders.append(torch.randperm(len(x), generator=source).split(batch_size))
            torch.randint(2**48, (), generator=source)  # the seed of random layers, of which there are none
        for batches in zip(*orders, strict=True):
            step += 1
            centre = {name: sum(w[name] for w in copies) / len(copies) for name in copies[0]}
            for w, batch in zip(copies, batches, strict=True):
                slopes = _slope(model, w, x[batch], y[batch])
                for name, slope in slopes.items():
                    pull = interval * gamma * (w[name] - centre[name]) if step % interval == 0 else 0.0
                    w[name] = w[name] - rate * (slope + pull)
    return {name: torch.stack([w[name] for w in copies]) for name in copies[0]}


def _slope(model: nn.Module, params: Tensors, x: Tensor, y: Tensor) -> Tensors:
    """Return the gradient of the mean cross-entropy over a batch."""
    leaves = {name: value.detach().requires_grad_() for name, value in params.items()}
    loss = functional.cross_entropy(functional_call(model, leaves, (x,)), y)
    return dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))


def _apart(first: Tensors, second: Tensors) -> float:
    """Return the largest difference of two sets of parameters."""
    return max(float((first[name].detach() - second[name].detach()).abs().max()) for name in first)
