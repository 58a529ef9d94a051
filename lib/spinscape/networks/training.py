"""Training of many replicas of one model at once.

Replica r draws its initial parameters and its sample orders from its own generator, seeded by
``(seed, r)``. Its forward pass, gradient
and optimiser step do not depend on which replicas run beside it, so on a CPU it has the same bits
for every number of replicas
and every chunk.

>>> from spinscape.networks.datasets import load
>>> from spinscape.networks.models import mlp
>>> ensemble = train(mlp([64, 16, 10]), load("digits"), replicas=4, epochs=2)
>>> ensemble.replicas, ensemble.history.train_loss.shape
(4, (2, 4))
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from spinscape import progress
from spinscape.networks import optimisers
from spinscape.networks._group import Group, Plan
from spinscape.networks.datasets import Dataset
from spinscape.networks.device import (
    chunk_size,
    is_out_of_memory,
    keep_heap,
    release,
    resolve_device,
)
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.evaluation import evaluate
from spinscape.networks.forward import Forward
from spinscape.networks.history import History
from spinscape.networks.losses import PerSample, resolve_loss

__all__ = ["DivergenceWarning", "train"]

Callback = Callable[[int, np.ndarray, Ensemble], None]


class DivergenceWarning(UserWarning):
    """Some replicas' loss or parameters became infinite or NaN."""


def train(
    model: nn.Module,
    dataset: Dataset,
    *,
    replicas: int = 1,
    optimiser: str | Callable[..., torch.optim.Optimizer] = "adam",
    learning_rate: float = 1e-3,
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    batch_size: int = 128,
    epochs: int = 10,
    target_loss: float | None = None,
    loss: str | PerSample | None = None,
    initialisation: str | Callable[[nn.Module], None] = "pytorch",
    seed: int = 0,
    device: str | torch.device = "auto",
    dtype: torch.dtype = torch.float32,
    chunk: int | None = None,
    evaluate_test: bool = True,
    callback: Callback | None = None,
) -> Ensemble:
    """Train `replicas` networks from independent initial parameters.

    Parameters
    ----------
    model
        Any module; it serves as a template and stays as it is.
    dataset
        Training and test samples; a model that wants rows ``(B, d)`` gets them from
        ``dataset.flat()``.
    replicas
        The number R of networks.
    optimiser
        ``"adam"``, ``"sgd"``, a class of ``torch.optim`` or a function of the list of parameters;
        its arithmetic must be elementwise.
    learning_rate, momentum, nesterov, weight_decay
        As in ``torch.optim``; ignored by a function given as `optimiser`.
    batch_size
        Samples per step. The last batch of an epoch holds what is left.
    epochs
        Passes over the training samples, at most.
    target_loss
        Stop a replica at the end of the first epoch whose training loss is at most this.
    loss
        By default ``"cross_entropy"`` for classification and ``"mse"`` for regression; or a
        per-sample loss as in
        :func:`spinscape.networks.evaluation.evaluate`.
    initialisation
        See :func:`spinscape.networks.models.initialise`.
    seed
        Non-negative seed of the run.
    device
        ``"auto"`` (CUDA, else MPS, else CPU) or a device.
    dtype
        Floating-point type of parameters and inputs.
    chunk
        Replicas that are worked on at once; by default what fits the cache (CPU) or the memory
        (GPU). When memory runs out the
        chunk halves and goes on from the start of the epoch. It never changes the result.
    evaluate_test
        Whether to evaluate on the test samples after every epoch.
    callback
        Called after every epoch of every chunk with the epoch (from 1), the numbers of the chunk's
        replicas and their ensemble
        (its tensors are those in training: copy what is to be kept).

    Returns
    -------
    Ensemble
        The networks after their last epoch, with ``history``. A replica that diverged is marked
        there and stops.

    Raises
    ------
    ValueError
        If an argument is out of range.
    MemoryError
        If one replica does not fit into memory.

    Warns
    -----
    DivergenceWarning
        Once, naming the replicas that diverged.
    """
    _check(dataset, replicas, batch_size, epochs, seed, dtype, chunk)
    place = resolve_device(device)
    keep_heap()
    rule = optimisers.factory(
        optimiser,
        place,
        learning_rate=learning_rate,
        momentum=momentum,
        nesterov=nesterov,
        weight_decay=weight_decay,
    )
    task_loss = loss or ("cross_entropy" if dataset.task == "classification" else "mse")
    plan = Plan(
        model,
        dataset.x_train.to(place, dtype).contiguous(),
        _targets(dataset.y_train, place, dtype),
        resolve_loss(task_loss),
        min(batch_size, len(dataset.x_train)),
        rule,
        frozenset(name for name, value in model.named_parameters() if value.requires_grad),
    )
    if not plan.trainable:
        raise ValueError("the model has no parameter that requires a gradient")
    test = None
    if evaluate_test:
        test = (dataset.x_test.to(place, dtype), _targets(dataset.y_test, place, dtype))
    run = _Run(plan, replicas, epochs, target_loss, task_loss, test, callback)
    size = chunk or chunk_size(_bytes(plan, dtype), place, replicas)
    with progress.bar("training", replicas * epochs) as bar:
        for first in range(0, replicas, size):
            numbers = np.arange(first, min(first + size, replicas))
            run.work(Group.start(plan, numbers, seed, initialisation, dtype), bar)
    diverged = np.flatnonzero(run.history.diverged)
    if len(diverged):
        warnings.warn(
            f"{len(diverged)} of {replicas} replicas diverged (loss or parameters not finite): "
            f"{', '.join(map(str, diverged[:20]))}{', ...' if len(diverged) > 20 else ''}",
            DivergenceWarning,
            stacklevel=2,
        )
    return run.result()


class _Run:
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

    def _epoch(self, group: Group, forward: Forward) -> tuple[Any, BaseException] | None:
        """Run one epoch and record it; return the backup and the error if memory ran out."""
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
            return backup, error
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


def _halves(group: Group, backup: Any, error: BaseException) -> list[Group]:
    """Return the halves of a group as they were when the epoch began, the later half first."""
    count = len(group.replicas)
    device = group.plan.x.device
    if count == 1:
        raise MemoryError(
            f"one replica with batches of {group.plan.batch_size} does not fit into the memory of "
            f"{device}: {error}"
        ) from error
    group.rule.zero_grad(set_to_none=True)
    release(device)
    middle = count // 2
    return [
        group.take(rows, backup) for rows in (torch.arange(middle, count), torch.arange(0, middle))
    ]


def _targets(y: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    return y.to(device, dtype if y.is_floating_point() else torch.int64).contiguous()


def _bytes(plan: Plan, dtype: torch.dtype) -> float:
    """Estimate what one replica works on: parameters, gradient, two moments, a temporary; a batch and its layers."""
    shapes = [value.shape for value in plan.model.parameters()]
    count = sum(shape.numel() for shape in shapes)
    units = plan.x[0].numel() + 3 * sum(shape[0] for shape in shapes if len(shape) > 1)
    return torch.empty((), dtype=dtype).element_size() * (5 * count + plan.batch_size * units)


def _check(
    dataset: Dataset,
    replicas: int,
    batch_size: int,
    epochs: int,
    seed: int,
    dtype: torch.dtype,
    chunk: int | None,
) -> None:
    for what, value in (("replicas", replicas), ("batch_size", batch_size), ("epochs", epochs)):
        if int(value) != value or value < 1:
            raise ValueError(f"{what} must be an integer of at least 1, not {value}")
    if chunk is not None and chunk < 1:
        raise ValueError(f"chunk must be at least 1, not {chunk}")
    if seed < 0:
        raise ValueError(f"seed must not be negative, not {seed}")
    if not dtype.is_floating_point:
        raise ValueError(f"dtype must be a floating-point type, not {dtype}")
    if not len(dataset.x_train):
        raise ValueError(f"the data set {dataset.name} has no training sample")
