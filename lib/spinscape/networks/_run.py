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

Callback = Callable[[int, np.ndarray, Ensemble], None]


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
    ) -> None:
        self.plan = plan
        self.replicas = replicas
        self.epochs = epochs
        self.target = -np.inf if target is None else target
        self.loss = loss
        self.test = test
        self.callback = callback
        self.history = History.empty(epochs, replicas)
        self.tensors: tuple[dict[str, Tensor], dict[str, Tensor]] = ({}, {})

    def work(self, group: Group, bar: Any) -> None:
        """Train a group to its end; where memory runs out, its halves one after the other."""
        forward = Forward(
            self.plan.model,
            group.detached(),
            group.buffers,
            self.plan.x[: self.plan.batch_size],
            training=True,
        )
        waiting = [group]
        while waiting:
            group = waiting.pop()
            while True:
                failed = self._epoch(group, forward)
                if failed is not None:
                    waiting += _halves(group, *failed)
                    break
                bar.update(len(group.replicas))
                rest = self._keep_stopped(group, bar)
                if rest is None:
                    break
                group = rest

    def _epoch(self, group: Group, forward: Forward) -> tuple[Any, str] | None:
        """Run one epoch and record it; return a backup and the message if memory ran out."""
        epoch = group.epoch
        backup = None
        try:
            group.draw()
            backup = group.backup() if len(group.replicas) > 1 else None
            loss, accuracy = group.run_epoch(forward)
            now = Ensemble(self.plan.model, group.detached(), group.buffers)
            finite = group.finite().cpu().numpy()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            group.epoch = epoch
            return backup, str(error)
        history, columns = self.history, group.replicas
        train_loss = loss.cpu().numpy()
        history.train_loss[epoch, columns] = train_loss
        history.train_accuracy[epoch, columns] = accuracy.cpu().numpy()
        history.epochs_run[columns] = group.epoch
        lost = columns[~(finite & np.isfinite(train_loss))]
        history.diverged[lost] = True
        history.diverged_epoch[lost] = group.epoch
        if self.test is not None:
            result = evaluate(now, *self.test, loss=self.loss)
            history.test_loss[epoch, columns] = result.loss
            history.test_accuracy[epoch, columns] = result.accuracy
        if self.callback is not None:
            self.callback(group.epoch, columns.copy(), now)
        return None

    def _keep_stopped(self, group: Group, bar: Any) -> Group | None:
        """Store the replicas that are done; return those that go on, or None."""
        columns = group.replicas
        done = self.history.diverged[columns] | (
            self.history.train_loss[group.epoch - 1, columns] <= self.target
        )
        if group.epoch == self.epochs:
            done[:] = True
        elif not done.any():
            return group
        rows = torch.from_numpy(np.flatnonzero(done))
        for kept, now in zip(self.tensors, (group.detached(), group.buffers), strict=True):
            for name, value in now.items():
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


def _halves(group: Group, backup: Any, message: str) -> list[Group]:
    """Return the halves of a group as they were when the epoch began, the later half first."""
    count = len(group.replicas)
    device = group.plan.x.device
    if count == 1:
        raise MemoryError(
            f"one replica with batches of {group.plan.batch_size} does not fit into the memory of "
            f"{device}: {message}"
        )
    group.rule.zero_grad(set_to_none=True)
    release(device)
    middle = count // 2
    return [group.take(rows, backup) for rows in (torch.arange(middle, count), torch.arange(0, middle))]
