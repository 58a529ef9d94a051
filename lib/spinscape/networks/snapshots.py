"""Networks when they first reach a training loss, and at the end of a run of fixed length.

One run gives both: every network trains for all epochs, and is copied at the end of the first epoch whose
training loss is at most the target.
What early stopping does to norms and distances can then be told from what training does.

>>> from spinscape.networks.datasets import load
>>> from spinscape.networks.models import mlp
>>> options = {"epochs": 6, "replicas": 3, "learning_rate": 0.01}
>>> course = train_until(mlp([64, 16, 10]), load("digits"), target_loss=0.5, **options)
>>> course.at_target.replicas, course.norms.shape, bool((course.stop_epoch > 0).all())
(3, (6, 3), True)
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from spinscape.networks.datasets import Dataset
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.history import History
from spinscape.networks.training import train

KEPT_BYTES = 2**28
"""Weights kept for distances where networks come chunk by chunk; more epochs than fit are thinned out."""

COLUMNS = 2**16
"""Parameters that enter a product at once."""


@dataclass(frozen=True)
class Course:
    """R networks over E epochs of a run of fixed length.

    Attributes
    ----------
    at_target
        The networks at the end of the first epoch whose training loss is at most the target, with their
        curves up to it; a network that never got there is as it was at the end.
    at_end
        The networks after all epochs, with all curves.
    stop_epoch
        That first epoch, counted from 1; 0 for never; int64 ``(R,)``.
    norms
        Euclidean norms of all parameters after each epoch, float64 ``(E, R)``; NaN once a network diverged.
    measured
        Epochs, counted from 1, after which distances were taken, int64 ``(K,)``; the last is among them.
    distance_mean, distance_sd
        Mean and standard deviation of the Euclidean distances between all pairs of networks after each epoch,
        ``(E,)``; NaN where not measured. Networks that diverged are left out.
    """

    at_target: Ensemble
    at_end: Ensemble
    stop_epoch: NDArray[np.int64]
    norms: NDArray[np.float64]
    measured: NDArray[np.int64]
    distance_mean: NDArray[np.float64]
    distance_sd: NDArray[np.float64]

    @property
    def history(self) -> History:
        """Curves over all epochs."""
        assert self.at_end.history is not None
        return self.at_end.history

    @property
    def reached(self) -> NDArray[np.bool_]:
        """Which networks reached the target, ``(R,)``."""
        return self.stop_epoch > 0


def train_until(
    model: nn.Module,
    dataset: Dataset,
    *,
    target_loss: float,
    epochs: int,
    replicas: int,
    measure: Sequence[int] | None = None,
    **options: Any,
) -> Course:
    """Train networks for a fixed number of epochs, and keep them as they first reach a training loss.

    Parameters
    ----------
    model, dataset, epochs, replicas
        As in :func:`spinscape.networks.training.train`.
    target_loss
        Training loss to be reached: the running mean over the batches of an epoch.
    measure
        Epochs, counted from 1, after which distances are taken; none is taken if it is empty. By default all
        while the networks are trained together; where chunks of them follow one another, as many as weights
        of `KEPT_BYTES` can be kept for, in equal ratios.
    **options
        Others of `train`, but for `target_loss` and `callback`.

    Returns
    -------
    Course
        Networks at the target and at the end, norms and distances after each epoch.

    Raises
    ------
    TypeError
        If an option is not one of `train`.
    ValueError
        If the target is not positive, an epoch to measure is none of the run, or as in `train`.
    """
    if not target_loss > 0:
        raise ValueError(f"target_loss must be positive, not {target_loss}")
    for name in ("callback", "start"):
        if name in options:
            raise TypeError(f"train_until takes no {name}")
    if epochs < 1 or replicas < 1:
        raise ValueError(f"epochs and replicas must be at least 1, not {epochs} and {replicas}")
    count = sum(value.numel() for value in model.parameters())
    apart = _spread(epochs, KEPT_BYTES // (4 * count * replicas)) if measure is None else list(measure)
    if apart and not all(1 <= epoch <= epochs for epoch in apart):
        raise ValueError(f"epochs to measure must lie in 1 to {epochs}, not {apart}")
    together = range(1, epochs + 1) if measure is None else apart
    watch = _Watch(target_loss, epochs, replicas, together, apart)
    at_end = train(model, dataset, epochs=epochs, replicas=replicas, callback=watch, **options)
    mean, sd = watch.distances()
    at_target = watch.at_target(at_end)
    measured = np.array(sorted(watch.measured), np.int64)
    return Course(at_target, at_end, watch.stop, watch.norms, measured, mean, sd)


def usable(course: Course, least: int = 12) -> NDArray[np.int64]:
    """Return which networks reached the target; all that did not diverge, if too few did, with a warning.

    Parameters
    ----------
    course
        Of R networks.
    least
        How many are needed.

    Raises
    ------
    ValueError
        If fewer did not even diverge.

    Warns
    -----
    UserWarning
        If too few reached it: the others are as at the end of the run.
    """
    rows, whole = np.flatnonzero(course.reached), np.flatnonzero(~course.history.diverged)
    if len(rows) >= least:
        return rows
    if len(whole) < least:
        raise ValueError(
            f"{len(whole)} of {len(course.reached)} networks did not diverge, {least} are needed"
        )
    warnings.warn(
        f"{len(rows)} of {len(course.reached)} networks reached the training loss in {len(course.norms)} "
        "epochs: the others are taken as they are at the end",
        stacklevel=2,
    )
    return whole


def near_best(history: History, margin: float = 0.01) -> NDArray[np.float64]:
    """Return the first epoch whose test accuracy is within a margin of the network's own best.

    Parameters
    ----------
    history
        Curves of R networks with test accuracies.
    margin
        The margin, as a share of the test samples.

    Returns
    -------
    ndarray
        Epochs counted from 1, float64 ``(R,)``; NaN for a network without test accuracies.

    Raises
    ------
    ValueError
        If the margin is negative.
    """
    if not margin >= 0:
        raise ValueError(f"margin must not be negative, not {margin}")
    known = np.nan_to_num(history.test_accuracy, nan=-np.inf)
    best = known.max(0)
    first = (known >= best - margin).argmax(0) + 1.0
    return np.where(np.isfinite(best), first, np.nan)


def spikes(history: History, factor: float = 3.0) -> NDArray[np.int64]:
    """Count the sudden rises of the training loss.

    A spike begins with an epoch whose training loss, the mean over its batches, is more than `factor` times
    the lowest before, and lasts until it no longer is.

    Parameters
    ----------
    history
        Curves of R networks over E epochs.
    factor
        Above 1.

    Returns
    -------
    ndarray
        Spikes that began up to and with each epoch, int64 ``(E, R)``; after a network has stopped, as many as
        before.

    Raises
    ------
    ValueError
        If the factor is not above 1.
    """
    if not factor > 1:
        raise ValueError(f"factor must be above 1, not {factor}")
    loss = history.train_loss
    lowest = np.fmin.accumulate(loss, 0)
    high = np.zeros(loss.shape, bool)
    high[1:] = loss[1:] > factor * lowest[:-1]
    begins = high.copy()
    begins[1:] &= ~high[:-1]
    return begins.cumsum(0)


def gap_to_best(history: History, epoch: int) -> NDArray[np.float64]:
    """Return how far the test accuracy after an epoch is below the network's own best of the whole run.

    Parameters
    ----------
    history
        Curves of R networks with test accuracies.
    epoch
        Counted from 1.

    Returns
    -------
    ndarray
        Shares of the test samples, float64 ``(R,)``; NaN for a network without test accuracies or one that
        stopped earlier.

    Raises
    ------
    ValueError
        If the run has no such epoch.
    """
    if not 1 <= epoch <= len(history.test_accuracy):
        raise ValueError(f"epoch must lie in 1 to {len(history.test_accuracy)}, not {epoch}")
    known = np.nan_to_num(history.test_accuracy, nan=-np.inf)
    best = known.max(0)
    return np.where(np.isfinite(best), best - history.test_accuracy[epoch - 1], np.nan)


def loss_at_distance(course: Course, distance: float) -> NDArray[np.float64]:
    """Return each network's training loss in the first epoch at whose end the mean distance is that large.

    Parameters
    ----------
    course
        Of R networks.
    distance
        Mean Euclidean distance between them.

    Returns
    -------
    ndarray
        float64 ``(R,)``; NaN if the mean distance never gets there, or if an epoch before was not measured:
        which one is the first is not known then.
    """
    passed = np.flatnonzero(np.nan_to_num(course.distance_mean, nan=-np.inf) >= distance)
    loss = course.history.train_loss
    if not len(passed) or not np.isin(np.arange(1, passed[0] + 1), course.measured).all():
        return np.full(loss.shape[1], np.nan)
    return loss[passed[0]].copy()


def glorot_distance(widths: Sequence[int]) -> float:
    """Return the root mean square distance of two networks with Glorot-uniform weights and zero biases.

    Parameters
    ----------
    widths
        Units of each layer, inputs and outputs included.
    """
    layers = pairwise(widths)
    return float(np.sqrt(sum(4 * before * after / (before + after) for before, after in layers)))


def fluctuation(
    history: History, after: int, *, until: int | None = None, curve: str = "test_accuracy"
) -> NDArray[np.float64]:
    """Return the standard deviation of the changes of a curve from epoch to epoch, late in training.

    Parameters
    ----------
    history
        Curves of R networks.
    after, until
        The changes are those between epochs `after` to `until`, counted from 1; by default to the end.
    curve
        ``"test_accuracy"``, ``"test_loss"``, ``"train_accuracy"`` or ``"train_loss"``.

    Returns
    -------
    ndarray
        float64 ``(R,)``; NaN where there are fewer than two changes.

    Raises
    ------
    ValueError
        If there is no such curve, or fewer than three epochs are left.
    """
    if curve not in ("test_accuracy", "test_loss", "train_accuracy", "train_loss"):
        raise ValueError(f"curve must be one of those of a history, not {curve!r}")
    values = getattr(history, curve)
    last = len(values) if until is None else until
    if not (after >= 1 and after + 2 <= last <= len(values)):
        raise ValueError(f"after and until must leave three of {len(values)} epochs, not {after} and {until}")
    changes = np.diff(values[after - 1 : last], axis=0)
    told = np.isfinite(changes)
    count = told.sum(0)
    filled = np.where(told, changes, 0.0)
    mean = filled.sum(0) / np.maximum(count, 1)
    squares = (np.where(told, changes - mean, 0.0) ** 2).sum(0)
    return np.where(count > 1, np.sqrt(squares / np.maximum(count - 1, 1)), np.nan)


class _Watch:
    """What is kept of a run, epoch by epoch and chunk by chunk."""

    def __init__(
        self, target: float, epochs: int, replicas: int, together: Sequence[int], apart: Sequence[int]
    ) -> None:
        self.target, self.replicas = target, replicas
        self.together, self.apart = frozenset(together), frozenset(apart)
        self.measured: set[int] = set()
        self.lost = np.zeros(replicas, np.int64)
        self.stop = np.zeros(replicas, np.int64)
        self.norms = np.full((epochs, replicas), np.nan)
        self.rows: dict[int, list[tuple[np.ndarray, Tensor]]] = {}
        self.squares: dict[int, np.ndarray] = {}
        self.kept: dict[str, Tensor] = {}

    def __call__(self, epoch: int, columns: np.ndarray, now: Ensemble) -> None:
        """Note the end of an epoch of the networks of these numbers."""
        assert now.history is not None
        norms = now.norms.cpu().numpy()
        self.norms[epoch - 1, columns] = np.where(now.history.diverged, np.nan, norms)
        here = (
            (self.stop[columns] == 0)
            & ~now.history.diverged
            & (now.history.train_loss[epoch - 1] <= self.target)
        )
        if here.any():
            self.stop[columns[here]] = epoch
            self._keep(now, columns[here], np.flatnonzero(here))
        earlier = (self.lost > 0) & (self.lost < epoch)
        whole = len(columns) + earlier.sum() == self.replicas
        self.lost[columns] = now.history.diverged_epoch
        if epoch not in (self.together if whole else self.apart):
            return
        self.measured.add(epoch)
        sound = ~now.history.diverged
        if sound.any():
            rows = now.flat()[torch.from_numpy(sound).to(now.device)]
            if whole:
                self.squares[epoch] = squared_distances(rows)
            else:
                self.rows.setdefault(epoch, []).append((columns[sound], rows))

    def _keep(self, now: Ensemble, numbers: np.ndarray, rows: np.ndarray) -> None:
        named = [(name, value) for name, value in (now.params | now.buffers).items()]
        for name, value in named:
            if name not in self.kept:
                self.kept[name] = value.new_empty(self.replicas, *value.shape[1:])
            places, chosen = (torch.from_numpy(index).to(value.device) for index in (numbers, rows))
            self.kept[name][places] = value[chosen]

    def distances(self) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard deviation of all distances after each epoch."""
        mean, sd = np.full((2, len(self.norms)), np.nan)
        for epoch in self.measured:
            parts = self.rows.pop(epoch, [])
            if parts:
                # In the order of the networks, so that nothing depends on what was trained together.
                order = torch.from_numpy(np.argsort(np.concatenate([numbers for numbers, _ in parts])))
                rows = torch.cat([part for _, part in parts])
                self.squares[epoch] = squared_distances(rows[order.to(rows.device)])
            square = self.squares.get(epoch, np.zeros((0, 0)))
            values = np.sqrt(square[np.triu_indices(len(square), 1)])
            if len(values):
                mean[epoch - 1] = values.mean()
            if len(values) > 1:
                sd[epoch - 1] = values.std(ddof=1)
        return mean, sd

    def at_target(self, at_end: Ensemble) -> Ensemble:
        """Return the networks as they reached the target; the others as they are at the end."""
        never = torch.from_numpy(np.flatnonzero(self.stop == 0))

        def joined(last: dict[str, Tensor]) -> dict[str, Tensor]:
            whole = {}
            for name, value in last.items():
                kept = self.kept.get(name, value)
                rows = never.to(value.device)
                whole[name] = kept.index_copy(0, rows, value.index_select(0, rows))
            return whole

        assert at_end.history is not None
        curves = _cut(at_end.history, self.stop)
        return Ensemble(at_end.model, joined(at_end.params), joined(at_end.buffers), curves)


def squared_distances(rows: Tensor) -> NDArray[np.float64]:
    """Return the squared Euclidean distances between rows ``(R, P)``, float64 ``(R, R)``.

    Products run in double precision over blocks of parameters, from which the mean of the rows is taken off:
    what all networks share cancels before it is squared.
    """
    # Not every device knows double precision.
    double = torch.float32 if rows.device.type == "mps" else torch.float64
    gram = torch.zeros(len(rows), len(rows), dtype=double, device=rows.device)
    for start in range(0, rows.shape[1], COLUMNS):
        block = rows[:, start : start + COLUMNS].to(double)
        block = block - block.mean(0)
        gram += block @ block.T
    own = gram.diagonal()
    squares = (own[:, None] + own - gram - gram.T).clamp_min(0).double().cpu().numpy()
    np.fill_diagonal(squares, 0.0)
    return squares


def _spread(epochs: int, most: int) -> list[int]:
    """Return at most so many epochs from 1 to the last, all or in equal ratios, the last among them."""
    if most >= epochs:
        return list(range(1, epochs + 1))
    ratios = np.geomspace(1, epochs, max(most, 1)) if most > 1 else [epochs]
    return sorted({round(float(epoch)) for epoch in ratios})


def _cut(history: History, stop: np.ndarray) -> History:
    """Return the curves up to the epoch each network stopped at; whole where it did not."""
    later = np.arange(1, len(history.train_loss) + 1)[:, None] > np.where(
        stop > 0, stop, len(history.train_loss)
    )
    curves = {
        name: np.where(later, np.nan, getattr(history, name))
        for name in ("train_loss", "train_accuracy", "test_loss", "test_accuracy")
    }
    reached = stop > 0
    return replace(
        history,
        **curves,
        epochs_run=np.where(reached, stop, history.epochs_run),
        diverged=history.diverged & ~reached,
        diverged_epoch=np.where(reached, 0, history.diverged_epoch),
    )
