r"""Entropic algorithms: entropy-SGD, and replicated SGD from the module beside.

Entropy-SGD (Chaudhari et al., ICLR 2017, Algorithm 1) descends on the local entropy of a network x.
Its slope is ``gamma (x - <x'>)``, the mean being over a Gibbs measure around x, which L steps of Langevin
dynamics stand in for. One turn of the outer loop is

1. ``x' = mu = x``;
2. L times, each with a minibatch: ``x' <- x' - eta' [grad f(x') - gamma (x - x')] + sqrt(eta') eps N(0, 1)``,
   then ``mu <- alpha mu + (1 - alpha) x'``;
3. ``x <- x - eta gamma (x - mu)``; gamma grows by the factor ``1 + scoping``.

The paper's text writes ``mu <- (1 - alpha) mu + alpha x'``; alpha = 0.75 is the weight of the old mean in the
authors' code, and so here.

>>> from spinscape.networks.datasets import load
>>> from spinscape.networks.models import mlp
>>> made = train_entropy(mlp([64, 16, 10]), load("digits"), replicas=2, epochs=4)
>>> made.networks.replicas, made.gamma.shape, made.distance.shape
(2, (2,), (4, 2))
>>> equal_epochs(12, copies=3), evaluations(12), evaluations(4, copies=3)
(4, 12, 12)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from spinscape.networks._coupling import CLIP
from spinscape.networks._course import check_batch, check_counts, origin_of, prepare, rates
from spinscape.networks._langevin import InnerLoop, Loop, Noise, amplitude
from spinscape.networks._nested import Record, check_loop, strengths
from spinscape.networks.datasets import Dataset
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.history import History
from spinscape.networks.losses import PerSample
from spinscape.networks.replicated import Replicated, stability_limit, train_replicated

__all__ = [
    "Entropic",
    "Replicated",
    "equal_epochs",
    "evaluations",
    "stability_limit",
    "train_entropy",
    "train_replicated",
]

LIMIT = stability_limit()
"""The value of ``inner_rate * gamma`` above which a walker is driven from its centre."""

TENSORS = 9
"""Tensors of the parameters' size in a step: walkers, slopes, centres, means, velocities, noise, copies."""


@dataclass(frozen=True)
class Entropic:
    """R networks trained by entropy-SGD for E epochs, with T turns of the outer loop.

    Attributes
    ----------
    networks
        The networks x. Their history is theirs at the epochs' ends, in evaluation mode; training curves are
        NaN where they were not evaluated.
    gamma
        Strength of the coupling in each turn, float64 ``(T,)``.
    wanted
        What scoping asked for, ``(T,)``; where it is larger, `gamma` was clipped.
    distance
        Squared Euclidean distance from a network to the mean mu, at the end of the last loop that had ended
        by the epoch's end, float64 ``(E, R)``; NaN before the first, and after a network has stopped.
    inner_loss, inner_accuracy
        Of the walkers x', running means over the batches of the epoch, ``(E, R)``.
    evaluations
        Gradients of single samples that each network took, int64 ``(R,)``.
    learning_rate
        Of the outer loop in each epoch, ``(E,)``.
    limit
        The value of ``inner_rate * gamma`` above which a walker is driven from its centre.
    """

    networks: Ensemble
    gamma: np.ndarray
    wanted: np.ndarray
    distance: np.ndarray
    inner_loss: np.ndarray
    inner_accuracy: np.ndarray
    evaluations: np.ndarray
    learning_rate: np.ndarray
    limit: float

    @property
    def history(self) -> History:
        """The history of the networks."""
        assert self.networks.history is not None
        return self.networks.history


def evaluations(epochs: int, copies: int = 1) -> int:
    """Return how many gradients of each training sample a result costs.

    Parameters
    ----------
    epochs
        Passes over the training samples: of each copy in replicated SGD, of the inner loop in entropy-SGD.
    copies
        Copies y of replicated SGD; 1 for SGD and for entropy-SGD, whatever its inner loop.

    Returns
    -------
    int
        ``epochs * copies``.
    """
    check_counts(epochs=epochs, copies=copies)
    return epochs * copies


def equal_epochs(epochs: int, copies: int) -> int:
    """Return for how many epochs y copies can train on the gradients of one network's `epochs`.

    The slides' "rSGD" trains for these, their "rSGD x y" for `epochs`; SGD and entropy-SGD for `epochs` too.

    Parameters
    ----------
    epochs, copies
        Of the baseline, and copies y.

    Returns
    -------
    int
        ``epochs / copies``, rounded down.

    Raises
    ------
    ValueError
        If that is less than one epoch.
    """
    check_counts(epochs=epochs, copies=copies)
    if epochs < copies:
        raise ValueError(f"{copies} copies need at least {copies} epochs of one network, not {epochs}")
    return epochs // copies


def train_entropy(
    model: nn.Module,
    dataset: Dataset,
    *,
    replicas: int | None = None,
    inner: int = 20,
    inner_rate: float = 0.1,
    inner_momentum: float = 0.0,
    inner_decay: float = 0.0,
    gamma: float = 1e-4,
    scoping: float = 1e-3,
    noise: float = 1e-4,
    average: float = 0.75,
    scaled: bool = True,
    optimiser: str | Callable[..., torch.optim.Optimizer] = "sgd",
    learning_rate: float = 1.0,
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
) -> Entropic:
    """Train R networks by entropy-SGD, all as one batched run.

    Network r begins as network r of :func:`spinscape.networks.training.train` with this seed does, and its
    walker is fed the same samples in the same order. It does not depend on the networks beside it.

    Parameters
    ----------
    model, dataset, replicas
        As in `train`.
    inner
        Steps L of the inner loop.
    inner_rate
        Its learning rate eta'; it is not annealed.
    inner_momentum, inner_decay
        Momentum of the slopes in the inner loop (of Nesterov's kind if `nesterov`), at rest where a loop
        begins, and the weight decay in them. Algorithm 1 has neither; the authors' code has the momentum and
        weight decay of the outer loop there too. Without them the networks go a few times slower, and are
        regularised less, than by SGD with momentum and weight decay on the same gradients.
    gamma
        Strength of the coupling in the first turn; 0 for none.
    scoping
        It grows by the factor ``1 + scoping`` a turn, up to half of what is stable.
    noise
        The amplitude eps; 0 for none. The authors' code, but not Algorithm 1, has sqrt(2) times as much.
    average
        Weight alpha of the old mean in the new one, in [0, 1).
    scaled
        Whether the outer slope is ``x - mu``, as in the authors' code, and not ``gamma (x - mu)``, as in
        Algorithm 1. There the steps would be ten thousand times smaller at the gamma of 1e-4 that is in
        use, and would grow with it: scaling is to take a learning rate of ``eta / gamma``.
    optimiser, learning_rate, momentum, nesterov, weight_decay, annealing
        As in `train`, for the outer loop's slope. With a learning rate of 1, no momentum and `scaled`, x goes
        to mu. The authors' code takes 0.1 and momentum 0.9, but an epoch of theirs is L passes over the data.
    batch_size
        Samples per step of the inner loop, at most all.
    epochs
        Passes over the training samples by the inner loop, so that an epoch costs the gradients of one of
        `train`. Loops go on from one epoch into the next; of one that is unfinished at the end of training
        nothing remains.
    loss, initialisation, seed, device, dtype, chunk, start
        As in `train`.
    evaluate_train
        Whether to evaluate the networks on the training samples after every epoch, and not the last alone.
        That is a forward pass, a sixth of an epoch's time for dense layers and up to half for convolutions.
    evaluate_test
        As in `train`.

    Returns
    -------
    Entropic
        A network that diverged is marked in the history and stops. Batch norms have their statistics
        measured anew on the training samples, in batches of `batch_size`, since those of training are the
        walkers' (:func:`spinscape.networks.running_statistics.reset_statistics`).

    Raises
    ------
    ValueError
        If an argument is out of range, or `gamma` is past stability.
    MemoryError
        If one network does not fit into memory.

    Warns
    -----
    DivergenceWarning
        Once, with the numbers of the networks that diverged.
    """
    check_counts(epochs=epochs, replicas=replicas, inner=inner, chunk=chunk, batch_size=batch_size)
    check_loop(inner_rate, inner_momentum, inner_decay, gamma, scoping, noise, average, LIMIT)
    check_batch(batch_size, dataset)
    steps = -(-len(dataset.x_train) // batch_size)
    if inner > epochs * steps:
        raise ValueError(f"inner must be at most the {epochs * steps} steps of all epochs, not {inner}")
    if replicas is None:
        replicas = 1 if start is None else start.replicas
    if start is not None and replicas != start.replicas:
        raise ValueError(f"replicas must be those of start, {start.replicas}, not {replicas}")
    plain = optimiser == "sgd"
    course = prepare(
        model,
        dataset,
        optimiser=optimiser,
        learning_rate=learning_rate,
        momentum=momentum if plain else 0.0,
        nesterov=nesterov and plain,
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
    wanted = strengths(gamma, scoping, -(-epochs * steps // inner))
    used = np.minimum(wanted, max(gamma, CLIP * LIMIT / inner_rate))
    numbers = (inner, inner_rate, noise, average, inner_momentum, nesterov, inner_decay, scaled)
    loop = Loop(*numbers, used.tolist())
    shared, outer = Noise(seed, amplitude(inner_rate, noise)) if noise else None, course.plan.rule
    data, asked = (course.plan.x, course.plan.y), evaluate_train or evaluate_test
    record = Record(epochs, replicas, data, course.loss, evaluate_train, asked)
    made = course.nested(
        lambda params: InnerLoop(params, loop, outer, shared), record.begin, record.shown, TENSORS
    ).go(replicas, callback=record.record, chunk=chunk)
    assert made.history is not None
    history = replace(made.history, train_loss=record.loss, train_accuracy=record.accuracy)
    turns = slice(epochs * steps // inner)
    return Entropic(
        Ensemble(model, made.params, made.buffers, history),
        used[turns],
        wanted[turns],
        record.distance,
        made.history.train_loss,
        made.history.train_accuracy,
        made.history.epochs_run * len(dataset.x_train),
        learning_rate * np.array(rates(annealing, epochs)),
        LIMIT,
    )
