"""Adversarial initialisation: networks that have learnt random labels by heart, to go on from.

Liu, Papailiopoulos and Achlioptas (NeurIPS 2020) fit random labels first and then go on with the right ones;
SGD without regularisation then ends in minima that generalise worse.
Here every network has random labels of its own.

>>> from spinscape.networks.datasets import load
>>> from spinscape.networks.models import mlp
>>> from spinscape.networks.training import train
>>> model, digits = mlp([64, 64, 10]), load("digits").shortened(100)
>>> start = adversarial_start(model, digits, replicas=2, epochs=200, learning_rate=5e-3)
>>> bool((label_accuracy(start, digits) >= 0.99).all())
True
>>> train(model, digits, start=start, epochs=10).replicas
2
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from spinscape.networks._course import check_counts, prepare
from spinscape.networks._group import Labels
from spinscape.networks.datasets import Dataset
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.evaluation import evaluate

__all__ = ["UnfittedWarning", "adversarial_start", "label_accuracy", "random_labels"]

_LABELS = 84
"""What random labels are drawn for, among the numbers in `spinscape.landscape.steps`."""

_FEW = 64
"""Networks whose answers are held at once."""


class UnfittedWarning(UserWarning):
    """Some networks did not fit their random labels as well as was asked for."""


def random_labels(dataset: Dataset, replicas: int, seed: int = 0) -> Tensor:
    """Draw labels for the training samples, each class with the same probability.

    Parameters
    ----------
    dataset
        Its number of training samples N, and classes.
    replicas
        The number R of networks; labels r depend on the seed and r alone.
    seed
        Non-negative seed.

    Returns
    -------
    Tensor
        int64 ``(R, N)``.

    Raises
    ------
    ValueError
        If the data set is no classification, or a number is out of range.
    """
    check_counts(replicas=replicas)
    _check(dataset, seed)
    return _labels_of(dataset, seed)(np.arange(replicas))


def _labels_of(dataset: Dataset, seed: int) -> Labels:
    """Return what draws the labels of networks by their numbers, each from a generator of its own."""

    def draw(replicas: np.ndarray) -> Tensor:
        labels = []
        for replica in replicas:
            entropy = np.random.SeedSequence(seed, spawn_key=(_LABELS, int(replica)))
            generator = torch.Generator().manual_seed(int(entropy.generate_state(1, np.uint64)[0] >> 1))
            labels.append(torch.randint(dataset.targets, (len(dataset.x_train),), generator=generator))
        return torch.stack(labels)

    return draw


def label_accuracy(ensemble: Ensemble, dataset: Dataset, seed: int = 0) -> np.ndarray:
    """Return the share of its random training labels that each network answers.

    Parameters
    ----------
    ensemble
        R networks.
    dataset, seed
        As in :func:`random_labels`.

    Returns
    -------
    numpy.ndarray
        float64 ``(R,)``.
    """
    _check(dataset, seed)
    draw = _labels_of(dataset, seed)
    shares = []
    for rows in np.array_split(np.arange(ensemble.replicas), -(-ensemble.replicas // _FEW)):
        shares.append(_share(ensemble[rows], dataset.x_train, dataset.y_train, draw(rows)))
    return np.concatenate(shares)


def _share(ensemble: Ensemble, x: Tensor, y: Tensor, labels: Tensor) -> np.ndarray:
    """Return the share of its own labels ``(R, N)`` that each network answers; `y` serves as a stand-in."""
    found = evaluate(ensemble, x, y, predictions=True).predictions
    assert found is not None
    return np.asarray(np.mean(found == labels.numpy(), axis=1))


def _check(dataset: Dataset, seed: int) -> None:
    if dataset.task != "classification":
        raise ValueError(f"random labels need a classification, which {dataset.name} is not")
    if seed < 0:
        raise ValueError(f"seed must not be negative, not {seed}")


def adversarial_start(
    model: nn.Module,
    dataset: Dataset,
    *,
    replicas: int = 1,
    epochs: int = 500,
    target_accuracy: float = 0.99,
    optimiser: str | Callable[..., torch.optim.Optimizer] = "adam",
    learning_rate: float = 1e-3,
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    annealing: str | None = None,
    batch_size: int = 128,
    initialisation: str | Callable[[nn.Module], None] = "pytorch",
    seed: int = 0,
    device: str | torch.device = "auto",
    dtype: torch.dtype = torch.float32,
    chunk: int | None = None,
) -> Ensemble:
    """Train networks on random labels, each on its own, until they know them.

    Give the result to :func:`spinscape.networks.training.train` as `start` to go on with the right labels.
    With the same seed, network r begins here with the initial parameters of network r trained from scratch,
    and both are then fed the right samples in the same orders.

    Parameters
    ----------
    model, dataset
        As in `train`; the labels are those of :func:`random_labels`.
    replicas
        The number R of networks.
    epochs
        Passes over the training samples, at most.
    target_accuracy
        A network stops at the end of the first epoch in which it answered this share of its labels and, as
        it then is, still does; see :func:`label_accuracy`.
    optimiser, learning_rate, momentum, nesterov, weight_decay, annealing, batch_size, initialisation, seed,
    device, dtype, chunk
        As in `train`.

    Returns
    -------
    Ensemble
        The networks, with their history; there, training loss and accuracy are those of the random labels,
        and test samples are not looked at.

    Raises
    ------
    ValueError
        If the data set is no classification or an argument is out of range.

    Warns
    -----
    UnfittedWarning
        With the numbers of networks that have not got there in `epochs`.
    """
    check_counts(replicas=replicas, chunk=chunk)
    if not 0 < target_accuracy <= 1:
        raise ValueError(f"target_accuracy must lie in (0, 1], not {target_accuracy}")
    _check(dataset, seed)
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
        loss=None,
        initialisation=initialisation,
        seed=seed,
        device=device,
        dtype=dtype,
        evaluate_test=False,
        origin=None,
    )
    draw, data = _labels_of(dataset, seed), (course.plan.x, course.plan.y)

    def stop(numbers: np.ndarray, seen: np.ndarray, now: Ensemble) -> np.ndarray:
        done = seen >= target_accuracy
        if done.any():
            done[done] = _share(now[np.flatnonzero(done)], *data, draw(numbers[done])) >= target_accuracy
        return done

    made = course.labelled(draw).go(replicas, stop=stop, chunk=chunk)
    reached = label_accuracy(made, dataset, seed)
    short = np.flatnonzero(~(reached >= target_accuracy))
    if len(short):
        worst = ", ".join(f"{r}: {reached[r]:.3f}" for r in short[:10])
        warnings.warn(
            f"{len(short)} of {replicas} networks do not answer {target_accuracy:g} of their random labels "
            f"after {epochs} epochs ({worst}{', ...' if len(short) > 10 else ''}); give them more epochs, "
            "more units or another learning rate",
            UnfittedWarning,
            stacklevel=2,
        )
    return made
