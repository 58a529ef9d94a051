"""What a course of training is made of, and how it is gone through, chunk by chunk."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import cos, pi

import numpy as np
import torch
from torch import Tensor, nn

from spinscape import progress
from spinscape.networks import optimisers
from spinscape.networks._group import Begin, Group, Labels, Origin, Plan, Shown
from spinscape.networks._run import Callback, Run, Stop
from spinscape.networks.datasets import Dataset
from spinscape.networks.device import FEW, chunk_size, keep_heap, resolve_device
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.losses import PerSample, resolve_loss

ANNEALINGS = ("cosine",)


class DivergenceWarning(UserWarning):
    """Some replicas' loss or parameters became infinite or NaN."""


@dataclass(frozen=True)
class Course:
    """What is trained, how, and on what; :meth:`go` trains."""

    plan: Plan
    loss: str | PerSample
    test: tuple[Tensor, Tensor] | None
    epochs: int
    seed: int
    initialisation: str | Callable[[nn.Module], None]
    dtype: torch.dtype
    origin: Origin | None

    def coupled(self, copies: int, begin: Begin) -> Course:
        """Return the course in which so many networks in a row stay together and pull at each other."""
        return replace(self, plan=replace(self.plan, together=copies, begin=begin))

    def nested(self, rule: optimisers.Factory, begin: Begin, shown: Shown, tensors: int) -> Course:
        """Return the course in which steps are those of a loop inside another, of which networks are `shown`.

        A step works on so many `tensors` of the parameters' size.
        """
        return replace(self, plan=replace(self.plan, rule=rule, begin=begin, shown=shown, tensors=tensors))

    def labelled(self, labels: Labels) -> Course:
        """Return the course in which every network has labels of its own."""
        return replace(self, plan=replace(self.plan, labels=labels))

    def go(
        self,
        replicas: int,
        *,
        target_loss: float | None = None,
        stop: Stop | None = None,
        callback: Callback | None = None,
        chunk: int | None = None,
        stacklevel: int = 3,
    ) -> Ensemble:
        """Train `replicas` networks, `chunk` groups of those that stay together at once."""
        plan, together = self.plan, self.plan.together
        run = Run(plan, replicas, self.epochs, target_loss, self.loss, self.test, callback, stop)
        place = plan.x.device
        size = chunk or chunk_size(
            together * bytes_of(plan, self.dtype), place, replicas // together, few=-(-FEW // together)
        )
        with progress.bar("training", replicas * self.epochs) as bar:
            for first in range(0, replicas, size * together):
                numbers = np.arange(first, min(first + size * together, replicas))
                run.work(numbers, self._start, bar)
        _warn(run.history.diverged, stacklevel)
        return run.result()

    def _start(self, rows: np.ndarray) -> Group:
        if self.origin is None:
            return Group.start(self.plan, rows, self.seed, self.initialisation, self.dtype)
        return Group.resume(self.plan, rows, self.seed, self.origin, self.dtype)


def prepare(
    model: nn.Module,
    dataset: Dataset,
    *,
    optimiser: str | Callable[..., torch.optim.Optimizer],
    learning_rate: float,
    momentum: float,
    nesterov: bool,
    weight_decay: float,
    annealing: str | None,
    batch_size: int,
    epochs: int,
    loss: str | PerSample | None,
    initialisation: str | Callable[[nn.Module], None],
    seed: int,
    device: str | torch.device,
    dtype: torch.dtype,
    evaluate_test: bool,
    origin: Origin | None,
) -> Course:
    """Check the arguments of :func:`spinscape.networks.training.train` and put data where they are used.

    Raises
    ------
    ValueError
        If an argument is out of range.
    """
    _check(dataset, batch_size, epochs, seed, dtype)
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
        resumed=origin is not None,
        by_rows=optimisers.fills_vectors(optimiser, place),
        rates=None if annealing is None else rates(annealing, epochs),
    )
    if not plan.trainable:
        raise ValueError("the model has no parameter that requires a gradient")
    test = None
    if evaluate_test:
        test = (dataset.x_test.to(place, dtype), _targets(dataset.y_test, place, dtype))
    return Course(plan, task_loss, test, epochs, seed, initialisation, dtype, origin)


def rates(annealing: str | None, epochs: int) -> tuple[float, ...]:
    """Return what the learning rate is multiplied by in each epoch.

    Raises
    ------
    ValueError
        If there is no such annealing.
    """
    if annealing is None:
        return (1.0,) * epochs
    if annealing not in ANNEALINGS:
        raise ValueError(f"annealing must be one of {ANNEALINGS} or None, not {annealing!r}")
    return tuple((1 + cos(pi * epoch / epochs)) / 2 for epoch in range(epochs))


def origin_of(
    model: nn.Module,
    start: Ensemble | None,
    masks: Mapping[str, Tensor] | None = None,
    streams: Sequence[int] | None = None,
) -> Origin | None:
    """Check where networks shall start; None stands for initial parameters.

    Raises
    ------
    ValueError
        If networks, masks or streams do not fit each other.
    """
    if start is None:
        if masks is not None or streams is not None:
            raise ValueError("masks and streams belong to start, the networks to go on from")
        return None
    count = start.replicas
    Ensemble(model, start.params, start.buffers)
    for name, mask in (masks or {}).items():
        if name not in start.params:
            raise ValueError(f"there is no parameter {name!r} to mask; known: {', '.join(start.params)}")
        shape = tuple(start.params[name].shape)
        if mask.dtype != torch.bool or tuple(mask.shape) != shape:
            raise ValueError(
                f"the mask of {name} must be bool of shape {shape}, not {mask.dtype} of {tuple(mask.shape)}"
            )
    numbers = list(range(count)) if streams is None else [int(number) for number in streams]
    if len(numbers) != count or min(numbers) < 0:
        raise ValueError(f"streams must be {count} non-negative numbers, one per network")
    return Origin(start.params, start.buffers, dict(masks or {}), numbers)


def check_counts(**counts: int | None) -> None:
    """Refuse counts that are no integers of at least 1; None stands for a choice of the library.

    Raises
    ------
    ValueError
        It names the count.
    """
    for what, value in counts.items():
        if value is not None and (int(value) != value or value < 1):
            raise ValueError(f"{what} must be an integer of at least 1, not {value}")


def check_batch(batch_size: int, dataset: Dataset) -> None:
    """Refuse batches that are larger than the training samples.

    Raises
    ------
    ValueError
        It tells how many samples there are.
    """
    samples = len(dataset.x_train)
    if batch_size > samples:
        raise ValueError(f"batch_size must be at most the {samples} training samples, not {batch_size}")


def bytes_of(plan: Plan, dtype: torch.dtype) -> float:
    """Estimate what one replica works on: tensors of its parameters' size, a batch, its layers."""
    shapes = [value.shape for value in plan.model.parameters()]
    count = sum(shape.numel() for shape in shapes)
    units = plan.x[0].numel() + 3 * sum(shape[0] for shape in shapes if len(shape) > 1)
    return torch.empty((), dtype=dtype).element_size() * (plan.tensors * count + plan.batch_size * units)


def _warn(diverged: np.ndarray, stacklevel: int) -> None:
    lost = np.flatnonzero(diverged)
    if len(lost):
        warnings.warn(
            f"{len(lost)} of {len(diverged)} replicas diverged "
            "(loss or parameters not finite, or the loss a thousand times the first): "
            f"{', '.join(map(str, lost[:20]))}{', ...' if len(lost) > 20 else ''}",
            DivergenceWarning,
            stacklevel=stacklevel + 1,
        )


def _targets(y: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    return y.to(device, dtype if y.is_floating_point() else torch.int64).contiguous()


def _check(dataset: Dataset, batch_size: int, epochs: int, seed: int, dtype: torch.dtype) -> None:
    check_counts(batch_size=batch_size, epochs=epochs)
    if seed < 0:
        raise ValueError(f"seed must not be negative, not {seed}")
    if not dtype.is_floating_point:
        raise ValueError(f"dtype must be a floating-point type, not {dtype}")
    if not len(dataset.x_train):
        raise ValueError(f"the data set {dataset.name} has no training sample")
