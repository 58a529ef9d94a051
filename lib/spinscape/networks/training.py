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

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from spinscape.networks._course import DivergenceWarning, check_counts, origin_of, prepare
from spinscape.networks._run import Callback
from spinscape.networks.datasets import Dataset
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.losses import PerSample

__all__ = ["DivergenceWarning", "train"]


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
    annealing: str | None = None,
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
    annealing
        ``"cosine"``: in epoch e of E, from 1, the learning rate is multiplied by
        ``(1 + cos(pi (e - 1) / E)) / 2``, as by ``torch.optim``'s ``CosineAnnealingLR`` with one step an
        epoch; None leaves it as it is. E is `epochs`, also for replicas that stop earlier.
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
    origin = origin_of(model, start, masks, streams)
    if replicas is None:
        replicas = 1 if start is None else start.replicas
    check_counts(replicas=replicas, chunk=chunk)
    if start is not None and replicas != start.replicas:
        raise ValueError(f"replicas must be those of start, {start.replicas}, not {replicas}")
    course = prepare(
        model,
        dataset,
        optimiser=optimiser,
        learning_rate=learning_rate,
        momentum=momentum,
        nesterov=nesterov,
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
        origin=origin,
    )
    return course.go(replicas, target_loss=target_loss, callback=callback, chunk=chunk)
