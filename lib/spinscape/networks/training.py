"""Training of many replicas of one model at once.

Replica r draws its initial parameters and its sample orders from its own generator, seeded by
``(seed, r)``. Its forward pass, gradient and optimiser step do not depend on which replicas run
beside it, so on a CPU with one thread (as chapters run) it has the same bits for every number of
replicas and every chunk. With several threads the BLAS library splits a chunk of one replica in
other ways than larger ones, so there chunks of one replica agree to rounding only.

>>> from spinscape.networks.datasets import load
>>> from spinscape.networks.models import mlp
>>> ensemble = train(mlp([64, 16, 10]), load("digits"), replicas=4, epochs=2)
>>> ensemble.replicas, ensemble.history.train_loss.shape
(4, (2, 4))
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from spinscape import progress
from spinscape.networks import optimisers
from spinscape.networks._group import Group, Origin, Plan
from spinscape.networks._run import Callback, Run
from spinscape.networks.datasets import Dataset
from spinscape.networks.device import (
    chunk_size,
    keep_heap,
    resolve_device,
)
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.losses import PerSample, resolve_loss

__all__ = ["DivergenceWarning", "train"]


class DivergenceWarning(UserWarning):
    """Some replicas' loss or parameters became infinite or NaN."""


def train(
    model: nn.Module,
    dataset: Dataset,
    *,
    replicas: int | None = None,
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
    start: Ensemble | None = None,
    masks: Mapping[str, Tensor] | None = None,
    streams: Sequence[int] | None = None,
) -> Ensemble:
    """Train `replicas` networks from independent initial parameters, or from those of an ensemble.

    Parameters
    ----------
    model
        Any module; it serves as a template and stays as it is.
    dataset
        Training and test samples; a model that wants rows ``(B, d)`` gets them from
        ``dataset.flat()``.
    replicas
        The number R of networks; by default those of `start`, else 1.
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
        Stop a replica at the end of the first epoch whose training loss is at most this. That is the running
        mean over the epoch's batches, as Keras reports it; the loss of the final weights is mostly lower.
    loss
        By default ``"cross_entropy"`` for classification and ``"mse"`` for regression; or a
        per-sample loss as in :func:`spinscape.networks.evaluation.evaluate`.
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
        (GPU). When memory runs out the chunk halves and goes on from the start of the epoch. It
        never changes the result.
    evaluate_test
        Whether to evaluate on the test samples after every epoch.
    callback
        Called after every epoch of every chunk with the epoch (from 1), the numbers of the chunk's
        replicas and their ensemble, with the history so far (its tensors are those in training: copy what
        is to be kept).
    start
        Networks of this model to go on from, instead of initial parameters; their history is not carried on
        and the optimiser begins anew.
    masks
        With `start`: bool ``(R, ...)`` by name of parameter. Where it is false, a parameter is set to zero
        and held there; parameters without a mask are all trained.
    streams
        With `start`: the number whose generator each network draws its sample orders from, by default 0 to
        R - 1. Networks of one number see the same samples in the same order.

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
    origin = _origin(model, start, masks, streams)
    if replicas is None:
        replicas = 1 if start is None else start.replicas
    _check(dataset, replicas, batch_size, epochs, seed, dtype, chunk)
    if start is not None and replicas != start.replicas:
        raise ValueError(f"replicas must be those of start, {start.replicas}, not {replicas}")
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
    )
    if not plan.trainable:
        raise ValueError("the model has no parameter that requires a gradient")
    test = None
    if evaluate_test:
        test = (dataset.x_test.to(place, dtype), _targets(dataset.y_test, place, dtype))
    run = Run(plan, replicas, epochs, target_loss, task_loss, test, callback)
    size = chunk or chunk_size(_bytes(plan, dtype), place, replicas)

    def begin(rows: np.ndarray) -> Group:
        if origin is None:
            return Group.start(plan, rows, seed, initialisation, dtype)
        return Group.resume(plan, rows, seed, origin, dtype)

    with progress.bar("training", replicas * epochs) as bar:
        for first in range(0, replicas, size):
            numbers = np.arange(first, min(first + size, replicas))
            run.work(numbers, begin, bar)
    diverged = np.flatnonzero(run.history.diverged)
    if len(diverged):
        warnings.warn(
            f"{len(diverged)} of {replicas} replicas diverged "
            "(loss or parameters not finite, or the loss a thousand times the first): "
            f"{', '.join(map(str, diverged[:20]))}{', ...' if len(diverged) > 20 else ''}",
            DivergenceWarning,
            stacklevel=2,
        )
    return run.result()


def _origin(
    model: nn.Module,
    start: Ensemble | None,
    masks: Mapping[str, Tensor] | None,
    streams: Sequence[int] | None,
) -> Origin | None:
    """Check where networks shall start; None stands for initial parameters."""
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


def _targets(y: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    return y.to(device, dtype if y.is_floating_point() else torch.int64).contiguous()


def _bytes(plan: Plan, dtype: torch.dtype) -> float:
    """Estimate what one replica works on: five tensors of its parameters, a batch, its layers."""
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
