"""Copies of a network that are pulled to their centre, and how strongly they can be."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

import numpy as np
import torch
from torch import Tensor

from spinscape.networks._group import Group, Pull
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.evaluation import evaluate
from spinscape.networks.history import History
from spinscape.networks.losses import PerSample
from spinscape.networks.running_statistics import with_statistics

CLIP = 0.5
"""Share of the stability limit that a schedule's strength is clipped to: the curvature of the loss adds to
the coupling's, and at the limit itself copies would swing about their centre for ever."""


def stability_limit(momentum: float = 0.0, nesterov: bool = False, interval: int = 1) -> float:
    """Return the largest ``K eta gamma`` at which SGD pulls copies to their centre and not away from it.

    A copy's distance d to the centre and its velocity change linearly: K - 1 steps in which the velocity
    carries d on, and one with the slope ``K gamma d``.
    With momentum b, and ``s = b`` (``b^2`` with Nesterov's), ``a = 1`` (``1 + b``), the map of such a period
    has determinant ``b^K`` (``b^K (1 - K eta gamma)``) and loses stability where an eigenvalue passes -1, at
    ``2 (1 + b^K) / (a + s (1 - b^{K-1}) / (1 - b) + [b^K with Nesterov's])``.
    It is 2 without momentum, ``2 (1 + b)`` with it at K = 1, and ``2 (1 + b) / (1 + 2 b)`` with Nesterov's.

    Parameters
    ----------
    momentum, nesterov
        As in ``torch.optim.SGD``.
    interval
        Steps K from one pull to the next.

    Examples
    --------
    >>> stability_limit(), round(stability_limit(0.9, nesterov=True), 3), round(stability_limit(0.9), 3)
    (2.0, 1.357, 3.8)
    """
    decay = momentum**interval
    carried = (momentum - decay) / (1 - momentum)  # b + b^2 + ... + b^{K-1}
    if nesterov:
        return 2 * (1 + decay) / (1 + momentum + momentum * carried + decay)
    return 2 * (1 + decay) / (1 + carried)


def centre_of(copies: Ensemble, count: int) -> Ensemble:
    """Return the mean of every `count` networks in a row.

    Parameters
    ----------
    copies
        ``R * count`` networks.
    count
        Copies of each.

    Returns
    -------
    Ensemble
        R networks. Buffers are averaged too, which is not what a batch norm would measure
        (:func:`spinscape.networks.running_statistics.with_statistics` does); counts are those of the first
        copy.

    Raises
    ------
    ValueError
        If the networks are no multiple of `count`.
    """
    if count < 1 or copies.replicas % count:
        raise ValueError(f"{copies.replicas} networks are no groups of {count}")

    def mean(value: Tensor) -> Tensor:
        groups = value.detach().unflatten(0, (-1, count))
        return groups[:, 0].clone() if not value.is_floating_point() else _mean(groups)[:, 0]

    return Ensemble(
        copies.model,
        {name: mean(value) for name, value in copies.params.items()},
        {name: mean(value) for name, value in copies.buffers.items()},
    )


def squared_distance(copies: Ensemble, centre: Ensemble) -> np.ndarray:
    """Return the mean over copies of their squared distance to the centre, float64 ``(R,)``."""
    total = torch.zeros(copies.replicas, dtype=torch.float64)
    for name, middle in centre.params.items():
        pairs = [
            value.cpu() if value.device.type == "mps" else value for value in (copies.params[name], middle)
        ]
        value, middle = (one.detach().double() for one in pairs)
        apart = value.unflatten(0, (len(middle), -1)) - middle[:, None]
        total += apart.flatten(0, 1).flatten(1).square().sum(1).cpu()
    return total.view(centre.replicas, -1).mean(1).numpy()


def _mean(groups: Tensor) -> Tensor:
    """Return the mean of ``(G, y, ...)`` over copies, ``(G, 1, ...)``, of the same bits for every G."""
    total = groups[:, :1].clone()
    for copy in range(1, groups.shape[1]):
        total += groups[:, copy : copy + 1]
    return total.div_(groups.shape[1])


class Coupling:
    """What pulls the copies of R groups together, and what comes of it, epoch by epoch.

    Attributes
    ----------
    gamma, wanted
        Strengths that were used, and those asked for before they were clipped, ``(E, R)``; NaN where not yet.
    distance
        Mean squared distance of the copies to their centre at the epochs' ends, ``(E, R)``.
    centre
        What the centres answer, a history of R networks.
    """

    def __init__(
        self,
        *,
        groups: int,
        copies: int,
        interval: int,
        given: Sequence[float] | None,
        growth: float,
        balance: int,
        rates: np.ndarray,
        limit: float,
        train: tuple[Tensor, Tensor],
        test: tuple[Tensor, Tensor] | None,
        loss: str | PerSample,
        batch_size: int,
        answers: bool,
    ) -> None:
        epochs = len(rates)
        self.copies, self.interval = copies, interval
        self.given, self.growth, self.balance = given, growth, balance
        self.rates, self.limit = rates, limit
        self.train, self.test, self.loss, self.batch_size = train, test, loss, batch_size
        self.answers = answers
        self.first = np.full(groups, np.nan)
        self.gamma, self.wanted, self.distance = (np.full((epochs, groups), np.nan) for _ in range(3))
        self.centre = History.empty(epochs, groups)

    def begin(self, group: Group) -> Pull | None:
        """Return the pull of the group's epoch."""
        epoch, numbers = group.epoch, self._groups(group.replicas)
        if self.given is None and self.balance == epoch == 0:
            now = Ensemble(group.plan.model, group.detached(), group.buffers)
            loss = evaluate(now, *self.train, loss=self.loss, accuracy=False).loss
            self._balance(numbers, np.asarray(loss), now)
        self.wanted[epoch, numbers] = wanted = self._wanted(epoch, numbers)
        most = self.limit / (self.interval * self.rates[epoch])
        if self.given is None:
            wanted = np.where(wanted > CLIP * most, CLIP * most, wanted)
        self.gamma[epoch, numbers] = wanted
        if not wanted.any():
            return None
        one = next(iter(group.params.values()))
        strength = torch.from_numpy(self.interval * wanted).to(one.dtype).to(one.device)
        before = epoch * -(-len(self.train[0]) // group.plan.batch_size)

        def pull(step: int, params: list[Tensor], slopes: Sequence[Tensor]) -> Sequence[Tensor]:
            if (before + step + 1) % self.interval:
                return slopes
            with torch.no_grad():
                return [self._pulled(*pair, strength) for pair in zip(params, slopes, strict=True)]

        return pull

    def _pulled(self, value: Tensor, slope: Tensor, strength: Tensor) -> Tensor:
        groups = value.unflatten(0, (-1, self.copies))
        # One operation after the other: a fused one would round what does not fill a vector in another way.
        apart = groups - _mean(groups)
        apart *= strength.view(-1, *[1] * (apart.ndim - 1))
        return apart.flatten(0, 1).add_(slope)

    def middle(self, now: Ensemble) -> Ensemble:
        """Return the centres, with statistics of batch norms that are their own."""
        return with_statistics(centre_of(now, self.copies), self.train[0], batch_size=self.batch_size)

    def record(self, epoch: int, replicas: np.ndarray, now: Ensemble) -> None:
        """Record what the epoch has come to; `epoch` is from 1, `now` has the copies' history."""
        numbers, row = self._groups(replicas), epoch - 1
        curves, last = self.centre, epoch == len(self.rates)
        train = self.train if self.answers or last else None
        middle = self.middle(now) if train or self.test else centre_of(now, self.copies)
        self.distance[row, numbers] = squared_distance(now, middle)
        for name, samples in (("train", train), ("test", self.test)):
            if samples is not None:
                found = evaluate(middle, *samples, loss=self.loss)
                getattr(curves, f"{name}_loss")[row, numbers] = found.loss
                getattr(curves, f"{name}_accuracy")[row, numbers] = found.accuracy
        assert now.history is not None
        for name in ("epochs_run", "diverged", "diverged_epoch"):
            getattr(curves, name)[numbers] = getattr(now.history, name)[:: self.copies]
        if self.given is None and epoch == self.balance:
            self._balance(numbers, now.history.train_loss[row], now)

    def _balance(self, numbers: np.ndarray, losses: np.ndarray, now: Ensemble) -> None:
        """Choose strengths at which coupling and loss weigh the same."""
        middle = centre_of(now, self.copies)
        distance = squared_distance(now, middle)
        rounding = (8 * torch.finfo(now.dtype).eps * middle.to("cpu").norms.numpy()) ** 2
        one_point = distance <= rounding
        if one_point.any():
            raise ValueError(
                f"the copies of group {numbers[one_point][0]} are all at one point, where no strength "
                "makes the coupling weigh what the loss does; start them apart, or balance after an epoch"
            )
        self.first[numbers] = 2 * losses.reshape(-1, self.copies).mean(1) / distance

    def _wanted(self, epoch: int, numbers: np.ndarray) -> np.ndarray:
        if self.given is not None:
            return np.full(len(numbers), self.given[epoch])
        if epoch < self.balance:
            return np.zeros(len(numbers))
        return self.first[numbers] * self.growth ** ((epoch - self.balance) / len(self.rates))

    def _groups(self, replicas: np.ndarray) -> np.ndarray:
        return replicas[:: self.copies] // self.copies


def check_stable(gamma: Sequence[float], interval: int, rates: np.ndarray, limit: float) -> None:
    """Refuse strengths at which copies are driven apart.

    Raises
    ------
    ValueError
        It tells the largest strength that is stable.
    """
    for epoch, (value, rate) in enumerate(zip(gamma, rates, strict=True), 1):
        most = limit / (interval * rate) if rate else inf
        if value > most:
            raise ValueError(
                f"gamma {value:g} drives the copies apart: in epoch {epoch} it must be at most {most:.6g}, "
                f"where interval * learning_rate * gamma is {limit:.4g}"
            )
