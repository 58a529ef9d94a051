"""What entropy-SGD arrives at, and the numbers of its inner loop."""

from __future__ import annotations

from math import inf, isfinite

import numpy as np
from torch import Tensor

from spinscape.networks._group import Group
from spinscape.networks._langevin import InnerLoop
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.evaluation import evaluate
from spinscape.networks.forward import Tensors
from spinscape.networks.losses import PerSample
from spinscape.networks.optimisers import as_stacked
from spinscape.networks.running_statistics import with_statistics


class Record:
    """What comes of the networks, epoch by epoch.

    Attributes
    ----------
    loss, accuracy
        On the training samples, ``(E, R)``; after the last epoch only, if `answers` is false.
    distance
        To the last mean, squared, ``(E, R)``.
    asked
        Whether networks are asked anything before the last epoch's end, so that their batch norms matter.
    """

    def __init__(
        self,
        epochs: int,
        replicas: int,
        train: tuple[Tensor, Tensor],
        task: str | PerSample,
        answers: bool,
        asked: bool,
    ) -> None:
        self.train, self.task, self.answers, self.asked = train, task, answers, asked
        self.loss, self.accuracy, self.distance = (np.full((epochs, replicas), np.nan) for _ in range(3))

    def begin(self, group: Group) -> None:
        """Tell the inner loop that an epoch begins."""
        rule = _inner(group)
        steps = -(-len(group.plan.x) // group.plan.batch_size)
        rule.begin(group.replicas, group.epoch, steps, [leaf[0].numel() for leaf in group.leaves])

    def shown(self, group: Group) -> tuple[Tensors, Tensors]:
        """Return the networks of a group, which are not its walkers, and take down the distances."""
        states = [_inner(group).state[param] for param in group.stepped]
        self.distance[group.epoch, group.replicas] = sum(state["apart"] for state in states).numpy()
        left, params = iter(states), {}
        for name, value in group.params.items():
            if not value.requires_grad:
                params[name] = value.detach()
                continue
            centre = next(left)["centre"]
            params[name] = as_stacked(centre, value.shape[1:]) if group.plan.by_rows else centre
        now = Ensemble(group.plan.model, params, group.buffers)
        if self.asked or group.epoch + 1 == len(self.loss):
            now = with_statistics(now, self.train[0], batch_size=group.plan.batch_size)
        return now.params, now.buffers

    def record(self, epoch: int, replicas: np.ndarray, now: Ensemble) -> None:
        """Record what the networks answer on the training samples; `epoch` is from 1."""
        if self.answers or epoch == len(self.loss):
            found = evaluate(now, *self.train, loss=self.task)
            self.loss[epoch - 1, replicas] = found.loss
            self.accuracy[epoch - 1, replicas] = found.accuracy


def _inner(group: Group) -> InnerLoop:
    assert isinstance(group.rule, InnerLoop)
    return group.rule


def strengths(gamma: float, scoping: float, turns: int) -> np.ndarray:
    """Return ``gamma (1 + scoping)^t`` for so many turns; zeros if it begins at zero."""
    if not gamma:
        return np.zeros(turns)
    with np.errstate(over="ignore"):
        return np.asarray(gamma * (1.0 + scoping) ** np.arange(turns))


def check_loop(
    rate: float,
    momentum: float,
    decay: float,
    gamma: float,
    scoping: float,
    noise: float,
    average: float,
    limit: float,
) -> None:
    """Refuse numbers of an inner loop that are out of range, or past the limit of ``rate * gamma``.

    Raises
    ------
    ValueError
        It names the number.
    """
    if not 0 < rate < inf:
        raise ValueError(f"inner_rate must be a positive number, not {rate}")
    for name, value in (
        ("gamma", gamma),
        ("scoping", scoping),
        ("noise", noise),
        ("inner_decay", decay),
    ):
        if not (isfinite(value) and value >= 0):
            raise ValueError(f"{name} must be a finite number of at least 0, not {value}")
    for name, value in (("average", average), ("inner_momentum", momentum)):
        if not 0 <= value < 1:
            raise ValueError(f"{name} must lie in [0, 1), not {value}")
    if rate * gamma > limit:
        raise ValueError(
            f"gamma {gamma:g} drives walkers from their centres: it must be at most {limit / rate:.6g}, "
            f"where inner_rate * gamma is {limit:g}"
        )
