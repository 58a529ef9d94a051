r"""Replicated SGD: copies of a network that are trained apart and pulled to their centre.

Of y copies ``w^a``, in every step (Pittorino et al., ICLR 2021, and the slides' Algorithm 2):

1. the centre, ``wbar = (1/y) sum_a w^a``;
2. every copy draws a batch of its own, and takes the slope ``dw^a`` of the mean loss over it;
3. in every K-th step, ``dw^a += K gamma (w^a - wbar)``;
4. ``w^a -= eta dw^a``.

All copies move at the same time: the centre is that of line 2, taken before the loop over copies, and does
not follow them while they move one after the other, as it would if it were averaged inside the loop.
Line 8, which the text prints outside the loop, moves every copy.
With momentum and weight decay, the slope with the coupling in it is what ``torch.optim.SGD`` is given.

The authors' code averages the loss over copies, adds ``g mean_a |w^a - wbar|^2``, and multiplies the learning
rate by y. That is the update above with ``gamma = 2 g``, but a weight decay of y times the one stated.

>>> from spinscape.networks.datasets import load
>>> from spinscape.networks.models import mlp
>>> made = train_replicated(mlp([64, 16, 10]), load("digits"), replicas=2, copies=3, epochs=4)
>>> made.copies.replicas, made.centre.replicas, made.distance.shape
(6, 2, (4, 2))
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf

import numpy as np
import torch
from torch import nn

from spinscape.networks._coupling import Coupling, centre_of, check_stable, stability_limit
from spinscape.networks._course import check_batch, check_counts, origin_of, prepare, rates
from spinscape.networks.datasets import Dataset
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.history import History
from spinscape.networks.losses import PerSample

__all__ = ["Replicated", "centre_of", "stability_limit", "train_replicated"]


@dataclass(frozen=True)
class Replicated:
    """R centres, and the y copies that each of them is the mean of, over E epochs.

    Attributes
    ----------
    copies
        ``R * y`` networks: copy a of centre r is number ``r * y + a``. With their history.
    centre
        R networks, the means of the copies. Their history is that of networks of their own: all four curves
        are of the centre at the epoch's end, in evaluation mode. Batch norms have their statistics measured
        anew on the training samples, in batches of the batch size, since no mean of the copies' is what a
        centre sees (:func:`spinscape.networks.running_statistics.reset_statistics`).
    distance
        Mean over copies of the squared Euclidean distance to their centre, at the epoch's end,
        float64 ``(E, R)``; NaN after a group has stopped.
    gamma
        Strength of the coupling in each epoch, float64 ``(E, R)``.
    wanted
        What the schedule asked for, ``(E, R)``; where it is larger, `gamma` was clipped.
    learning_rate
        Of each epoch, ``(E,)``.
    limit
        The value of ``interval * learning_rate * gamma`` above which copies are driven apart.
    """

    copies: Ensemble
    centre: Ensemble
    distance: np.ndarray
    gamma: np.ndarray
    wanted: np.ndarray
    learning_rate: np.ndarray
    limit: float

    @property
    def history(self) -> History:
        """The history of the copies."""
        assert self.copies.history is not None
        return self.copies.history

    @property
    def clipped(self) -> np.ndarray:
        """Where the schedule asked for more than is stable, bool ``(E, R)``."""
        return self.wanted > self.gamma


def train_replicated(
    model: nn.Module,
    dataset: Dataset,
    *,
    replicas: int | None = None,
    copies: int = 3,
    gamma: float | Sequence[float] | None = None,
    growth: float = 1e4,
    balance: int = 1,
    interval: int = 1,
    optimiser: str | Callable[..., torch.optim.Optimizer] = "sgd",
    learning_rate: float = 0.1,
    momentum: float = 0.9,
    nesterov: bool = True,
    weight_decay: float = 5e-4,
    annealing: str | None = "cosine",
    batch_size: int = 128,
    epochs: int = 10,
    loss: str | PerSample | None = None,
    initialisation: str | Callable[[nn.Module], None] = "pytorch",
    seed: int = 0,
    device: str | torch.device = "auto",
    dtype: torch.dtype = torch.float32,
    chunk: int | None = None,
    evaluate_train: bool = True,
    evaluate_test: bool = True,
    start: Ensemble | None = None,
) -> Replicated:
    """Train R groups of y coupled copies, all as one batched run.

    Copy a of group r is fed as network ``r * y + a`` of :func:`spinscape.networks.training.train` with this
    seed is: the same initial parameters, the same orders of samples. With `gamma` 0 it is that network, bit
    for bit. A group does not depend on the groups beside it.

    Parameters
    ----------
    model, dataset
        As in `train`.
    replicas
        The number R of groups; by default those of `start`, else 1.
    copies
        The number y of copies in a group, at least 2. Each is trained for all epochs, so that this takes y
        times as long as plain SGD.
    gamma
        Strength of the coupling, or one for every epoch; None for the authors' schedule.
    growth, balance
        Of the schedule. After `balance` epochs without coupling, gamma is chosen for each group so that
        coupling and loss weigh the same: ``2 x mean training loss / mean squared distance``, of the epoch
        that has passed. It then grows by ``growth^(1/epochs)`` an epoch. With `balance` 0 the loss is that of
        the initial networks, and epochs without coupling there are none.
    interval
        Steps K from one pull to the next, which is K times as strong; counted through all epochs.
    optimiser, learning_rate, momentum, nesterov, weight_decay, annealing
        As in `train`, for each copy. The coupling is part of the slope that the optimiser is given. Momentum
        and the limit of stability belong to ``"sgd"``; for others they are ignored and nothing is enforced.
    batch_size
        Samples per step of a copy, at most all.
    epochs, loss, initialisation, seed, device, dtype, evaluate_test
        As in `train`.
    chunk
        Groups that are worked on at once; by default as many as fit. Copies of one group are never split.
    evaluate_train
        Whether to evaluate the centres on the training samples after every epoch, and not the last alone,
        which is a forward pass for each centre.
    start
        R networks, each of which all copies of a group start from, or ``R * y`` for one each; instead of
        initial parameters.

    Returns
    -------
    Replicated
        If one copy diverges, its group is marked as diverged and stops.

    Raises
    ------
    ValueError
        If an argument is out of range, or a strength is given that drives the copies apart. Strengths of the
        schedule are clipped at half the limit; the result has both.
    MemoryError
        If one group does not fit into memory.

    Warns
    -----
    DivergenceWarning
        Once, with the numbers of the copies of groups that diverged.
    """
    check_counts(
        epochs=epochs, copies=copies, replicas=replicas, interval=interval, chunk=chunk, batch_size=batch_size
    )
    if copies < 2:
        raise ValueError("copies must be at least 2: one alone is its own centre")
    check_batch(batch_size, dataset)
    replicas = _groups(start, replicas, copies)
    if start is not None and start.replicas == replicas:
        start = start[np.repeat(np.arange(replicas), copies)]
    course = prepare(
        model,
        dataset,
        optimiser=optimiser,
        learning_rate=learning_rate,
        momentum=momentum if optimiser == "sgd" else 0.0,
        nesterov=nesterov and optimiser == "sgd",
        weight_decay=weight_decay,
        annealing=annealing,
        batch_size=batch_size,
        epochs=epochs,
        loss=loss,
        initialisation=initialisation,
        seed=seed,
        device=device,
        dtype=dtype,
        evaluate_test=evaluate_test,
        origin=origin_of(model, start),
    )
    eta = learning_rate * np.array(rates(annealing, epochs))
    limit = stability_limit(momentum, nesterov, interval) if optimiser == "sgd" else inf
    coupling = Coupling(
        groups=replicas,
        copies=copies,
        interval=interval,
        given=_given(gamma, growth, balance, epochs),
        growth=growth,
        balance=balance,
        rates=eta,
        limit=limit,
        train=(course.plan.x, course.plan.y),
        test=course.test,
        loss=course.loss,
        batch_size=batch_size,
        answers=evaluate_train,
    )
    if coupling.given is not None:
        check_stable(coupling.given, interval, eta, limit)
    made = course.coupled(copies, coupling.begin).go(replicas * copies, callback=coupling.record, chunk=chunk)
    middle = coupling.middle(made)
    return Replicated(
        made,
        Ensemble(model, middle.params, middle.buffers, coupling.centre),
        coupling.distance,
        coupling.gamma,
        coupling.wanted,
        eta,
        limit,
    )


def _groups(start: Ensemble | None, replicas: int | None, copies: int) -> int:
    """Return the number of groups, which that of the networks to start from has to fit."""
    if start is None:
        return replicas or 1
    count = start.replicas
    if replicas is None:
        return count
    if count not in (replicas, replicas * copies):
        raise ValueError(f"start must have {replicas} or {replicas * copies} networks, not {count}")
    return replicas


def _given(
    gamma: float | Sequence[float] | None, growth: float, balance: int, epochs: int
) -> list[float] | None:
    """Return one strength for every epoch, or None for the schedule."""
    if gamma is None:
        if int(balance) != balance or not 0 <= balance < epochs:
            raise ValueError(f"balance must be an integer in [0, {epochs}), the epochs, not {balance}")
        if not 1 <= growth < inf:
            raise ValueError(f"growth must be a finite number of at least 1, not {growth}")
        return None
    values = (
        np.broadcast_to(np.asarray(gamma, float), (epochs,)) if np.ndim(gamma) == 0 else np.asarray(gamma)
    )
    if values.shape != (epochs,) or not (np.isfinite(values) & (values >= 0)).all():
        raise ValueError(f"gamma must be a number of at least 0, or one for each of {epochs} epochs")
    return [float(value) for value in values]
