"""The course of a training run: epochs, stopping, and halving chunks when memory runs out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spinscape.networks._group import Group, Plan
from spinscape.networks.device import is_out_of_memory, release
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.evaluation import evaluate
from spinscape.networks.forward import Forward
from spinscape.networks.history import History
from spinscape.networks.losses import PerSample

LOST = 1e3
"""A replica whose training loss is so many times that of its first batch has diverged."""

Callback = Callable[[int, np.ndarray, Ensemble], None]

Stop = Callable[[np.ndarray, np.ndarray, Ensemble], np.ndarray]
"""From numbers, training accuracies and networks after an epoch to which of them are done, each ``(R,)``."""


class Run:
    """Collects what the groups of one run arrive at."""

    def __init__(
        self,
        plan: Plan,
        replicas: int,
        epochs: int,
        target: float | None,
        loss: str | PerSample,
        test: tuple[Tensor, Tensor] | None,
        callback: Callback | None,
        stop: Stop | None = None,
    ) -> None:
        self.plan = plan
        self.replicas = replicas
        self.epochs = epochs
        self.target = -np.inf if target is None else target
        self.stop = stop
        self.loss = loss
        self.test = test
        self.callback = callback
        self.history = History.empty(epochs, replicas)
        self.tensors: tuple[dict[str, Tensor], dict[str, Tensor]] = ({}, {})
        self.first_loss = np.full(replicas, np.nan)
        self.forward: Forward | None = None
        self.now: Ensemble | None = None

    def work(self, numbers: np.ndarray, start: Callable[[np.ndarray], Group], bar: Any) -> None:
        """Train the replicas of these numbers to their end.

        Where memory runs out, the halves follow one after the other: from the start of the epoch that failed,
        or from the very start.
        """
        waiting: list[Group | np.ndarray] = [numbers]
        while waiting:
            item = waiting.pop()
            try:
                group = start(item) if isinstance(item, np.ndarray) else item
                forward = self._forward(group)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                waiting += self._split(item, str(error))
                continue
            while True:
                failed = self._epoch(group, forward)
                if failed is not None:
                    waiting += self._halves(group, *failed)
                    break
                bar.update(len(group.replicas))
                rest = self._keep_stopped(group, bar)
                if rest is None:
                    break
                group = rest

    def _forward(self, group: Group) -> Forward:
        """Make the forward pass, once for all groups."""
        if self.forward is None:
            sample = self.plan.x[: self.plan.batch_size]
            self.forward = Forward(self.plan.model, group.detached(), group.buffers, sample, training=True)
        return self.forward

    def _epoch(self, group: Group, forward: Forward) -> tuple[Any, str] | None:
        """Run one epoch and record it; return a backup and the message if memory ran out."""
        epoch = group.epoch
        backup = None
        try:
            group.draw()
            backup = group.backup() if len(group.replicas) > 1 else None
            loss, accuracy, first = group.run_epoch(forward)
            self.now = now = group.networks()
            finite = group.finite().cpu().numpy()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return backup, str(error)
        group.advance()
        history, columns = self.history, group.replicas
        train_loss = loss.cpu().numpy()
        history.train_loss[epoch, columns] = train_loss
        history.train_accuracy[epoch, columns] = accuracy.cpu().numpy()
        history.epochs_run[columns] = group.epoch
        if epoch == 0:
            self.first_loss[columns] = first.cpu().numpy()
        held = finite & np.isfinite(train_loss) & (train_loss <= LOST * self.first_loss[columns])
        held = held.reshape(-1, self.plan.together).all(1).repeat(self.plan.together)
        lost = columns[~held]
        history.diverged[lost] = True
        history.diverged_epoch[lost] = group.epoch
        if self.test is not None:
            result = evaluate(now, *self.test, loss=self.loss)
            history.test_loss[epoch, columns] = result.loss
            history.test_accuracy[epoch, columns] = result.accuracy
        if self.callback is not None:
            curves = history.take(columns)
            self.callback(group.epoch, columns.copy(), Ensemble(now.model, now.params, now.buffers, curves))
        return None

    def _keep_stopped(self, group: Group, bar: Any) -> Group | None:
        """Store the replicas that are done; return those that go on, or None."""
        columns, now, self.now = group.replicas, self.now, None
        assert now is not None
        done = self.history.diverged[columns] | (
            self.history.train_loss[group.epoch - 1, columns] <= self.target
        )
        if self.stop is not None:
            done |= self.stop(columns, self.history.train_accuracy[group.epoch - 1, columns], now)
        if group.epoch == self.epochs:
            done[:] = True
        elif not done.any():
            return group
        rows = torch.from_numpy(np.flatnonzero(done))
        for kept, last in zip(self.tensors, (now.params, now.buffers), strict=True):
            for name, value in last.items():
                if name not in kept:
                    kept[name] = value.new_empty(self.replicas, *value.shape[1:])
                places = torch.from_numpy(columns[done]).to(value.device)
                kept[name][places] = value[rows.to(value.device)]
        bar.update(int(done.sum()) * (self.epochs - group.epoch))
        on = torch.from_numpy(np.flatnonzero(~done))
        return group.take(on) if len(on) else None

    def result(self) -> Ensemble:
        """Return the trained networks."""
        return Ensemble(self.plan.model, *self.tensors, self.history)

    def _split(self, item: Group | np.ndarray, message: str) -> list[Group | np.ndarray]:
        """Return the halves of what has not begun, the later half first."""
        if isinstance(item, Group):
            return [*self._halves(item, None, message)]
        self._refuse_one(len(item), message)
        release(self.plan.x.device)
        middle = self._middle(len(item))
        return [item[middle:], item[:middle]]

    def _halves(self, group: Group, backup: Any, message: str) -> list[Group]:
        """Return the halves of a group as they were when the epoch began, the later half first."""
        count = len(group.replicas)
        self._refuse_one(count, message)
        group.rule.zero_grad(set_to_none=True)
        release(self.plan.x.device)
        middle = self._middle(count)
        return [group.take(rows, backup) for rows in (torch.arange(middle, count), torch.arange(0, middle))]

    def _middle(self, count: int) -> int:
        """Return where to halve so many replicas: between such as belong together."""
        return count // self.plan.together // 2 * self.plan.together

    def _refuse_one(self, count: int, message: str) -> None:
        if count == self.plan.together:
            what = "one replica" if count == 1 else f"one group of {count} copies"
            raise MemoryError(
                f"{what} with batches of {self.plan.batch_size} does not fit into the memory of "
                f"{self.plan.x.device}: {message}"
            )
