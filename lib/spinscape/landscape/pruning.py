"""Redundancy of weights: networks with the smallest of them set to zero, before and after retraining.

Weights are the parameters with at least two axes; biases and normalisation parameters are never pruned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from spinscape.landscape.steps import PRUNING, generator
from spinscape.networks.datasets import Dataset
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.evaluation import evaluate
from spinscape.networks.training import train
from spinscape.progress import track

Scope = Literal["global", "layer"]
Criterion = Literal["magnitude", "random"]

COPIES_BYTES = 2**30
"""Parameters of pruned copies that are retrained at once; more of them follow one another."""


@dataclass(frozen=True)
class Pruning:
    """What is left of R networks at F pruned fractions.

    Attributes
    ----------
    fractions
        Share of the weights that was set to zero, ``(F,)``.
    accuracy, loss
        Test accuracy and mean test loss without retraining, ``(F, R)``.
    retrained_accuracy, retrained_loss
        The same after the weights that are left were trained on; NaN if they were not.
    control_accuracy, control_loss
        Whole networks that were trained on for as long, ``(F, R)``, what the retrained ones are to be
        compared with; NaN if there was no retraining.
    dense_accuracy, dense_loss
        The networks as they were given, ``(R,)``.
    left
        Share of weights left by name of parameter, each ``(F, R)``.
    weights
        Weights of one network.
    """

    fractions: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    loss: NDArray[np.float64]
    retrained_accuracy: NDArray[np.float64]
    retrained_loss: NDArray[np.float64]
    control_accuracy: NDArray[np.float64]
    control_loss: NDArray[np.float64]
    dense_accuracy: NDArray[np.float64]
    dense_loss: NDArray[np.float64]
    left: dict[str, NDArray[np.float64]]
    weights: int


def prune(
    ensemble: Ensemble,
    dataset: Dataset,
    fractions: Sequence[float] = (0.5, 0.8, 0.9, 0.95, 0.98, 0.99),
    *,
    scope: Scope = "global",
    criterion: Criterion = "magnitude",
    retraining: Mapping[str, Any] | None = None,
    gradual: bool = False,
    seed: int = 0,
) -> Pruning:
    """Set a share of the weights to zero and evaluate; train on what is left and evaluate again.

    Parameters
    ----------
    ensemble
        R trained networks.
    dataset
        What they were trained on.
    fractions
        Shares of the weights to set to zero, each in [0, 1).
    scope, criterion, seed
        As in :func:`masks`.
    retraining
        Options of :func:`spinscape.networks.training.train`, such as ``{"epochs": 5}``; None for no
        retraining. All copies of a network see the same samples in the same order.
    gradual
        Whether each fraction is pruned from the network as retrained at the fraction before, as is done
        where weights are to be saved, rather than from the given one. Fractions then rise, the training adds
        up, and `accuracy` and `loss` are those right after each step.

    Returns
    -------
    Pruning

    Raises
    ------
    ValueError
        If a fraction, the scope, the criterion or an option of retraining is not of the kind above, or
        gradual pruning has no retraining or no rising fractions.
    """
    shares = np.asarray(fractions, float)
    if shares.ndim != 1 or not len(shares):
        raise ValueError("fractions must be a list of at least one number")
    forbidden = {"start", "masks", "streams", "replicas", "evaluate_test"} & set(retraining or {})
    if forbidden:
        raise ValueError(f"retraining cannot set {', '.join(sorted(forbidden))}")
    if gradual and (retraining is None or (np.diff(shares) <= 0).any()):
        raise ValueError("gradual pruning needs retraining and rising fractions")
    job = _Job(dataset, scope, criterion, retraining, seed, ensemble.replicas)
    found = job.gradually(ensemble, shares) if gradual else job.at_once(ensemble, shares)
    dense = job.evaluate(ensemble)
    kept = {name: value for name, value in ensemble.params.items() if value.ndim > 2}
    return Pruning(
        fractions=shares,
        **{name: np.stack([row[name] for row in found]) for name in found[0] if "." not in name},
        dense_accuracy=dense["accuracy"],
        dense_loss=dense["loss"],
        left={name: np.stack([row[f"left.{name}"] for row in found]) for name in kept},
        weights=sum(value[0].numel() for value in kept.values()),
    )


def masks(
    ensemble: Ensemble,
    fraction: float,
    *,
    scope: Scope = "global",
    criterion: Criterion = "magnitude",
    seed: int = 0,
) -> dict[str, Tensor]:
    """Return which weights are left when a share of them is pruned.

    Parameters
    ----------
    ensemble
        R networks.
    fraction
        Share of the weights to prune, in [0, 1), rounded to a whole number of weights.
    scope
        ``"global"``: the share of all weights of a network; ``"layer"``: the same share of every layer.
    criterion
        ``"magnitude"``: the smallest absolute values go first; ``"random"``: a control that picks them
        without looking.
    seed
        Seed of the random choice; that of a network does not depend on the others.

    Returns
    -------
    dict
        Bool ``(R, ...)`` by name of parameter, for parameters with at least two axes of their own.

    Raises
    ------
    ValueError
        If the fraction, the scope or the criterion is not of the kind above, or there are no weights.
    """
    return _left(_ranks(ensemble, scope, criterion, seed), fraction, ensemble.device)


def harmless(accuracy: ArrayLike, fractions: ArrayLike, reference: ArrayLike, margin: float) -> NDArray:
    """Return the largest fraction up to which every fraction costs at most `margin` of accuracy.

    Parameters
    ----------
    accuracy
        ``(F, R)``.
    fractions
        ``(F,)``, rising.
    reference
        Accuracy to compare with, ``(R,)`` or ``(F, R)``.
    margin
        Accuracy that may be lost.

    Returns
    -------
    ndarray
        ``(R,)``; NaN where already the first fraction costs more.
    """
    shares = np.asarray(fractions, float)
    if (np.diff(shares) <= 0).any():
        raise ValueError("fractions must rise")
    held = np.asarray(accuracy) >= np.asarray(reference) - margin - 1e-12
    count = np.cumprod(held, axis=0).sum(0)
    return np.where(count > 0, shares[np.maximum(count - 1, 0)], np.nan)


def _ranks(ensemble: Ensemble, scope: str, criterion: str, seed: int) -> dict[str, Tensor]:
    """Return for each weight the share of weights, of its network or layer, that goes before it."""
    if scope not in ("global", "layer") or criterion not in ("magnitude", "random"):
        raise ValueError(
            "scope must be 'global' or 'layer' and criterion 'magnitude' or 'random', "
            f"not {scope!r} and {criterion!r}"
        )
    weights = {name: value.detach() for name, value in ensemble.params.items() if value.ndim > 2}
    if not weights:
        raise ValueError("the model has no parameter with two axes or more, so no weights to prune")
    if criterion == "magnitude":
        scores = {name: value.abs() for name, value in weights.items()}
    else:
        sources = [generator(seed, PRUNING, r) for r in range(ensemble.replicas)]
        scores = {
            name: torch.stack([torch.rand(v.shape[1:], generator=g) for g in sources]).to(v.device)
            for name, v in weights.items()
        }
    if scope == "layer":
        return {name: _order(score.flatten(1)).view(score.shape) for name, score in scores.items()}
    order = _order(torch.cat([score.flatten(1) for score in scores.values()], 1))
    parts = order.split([score[0].numel() for score in scores.values()], 1)
    return {name: part.view(scores[name].shape) for name, part in zip(scores, parts, strict=True)}


def _order(scores: Tensor) -> Tensor:
    """Return (rank + 1/2) / P along rows, ``(R, P)`` float64 on the CPU; rank < k where it is below k / P."""
    count = scores.shape[1]
    ranks = torch.empty(scores.shape, dtype=torch.float64)
    places = torch.arange(count, dtype=torch.float64).expand(scores.shape)
    ranks.scatter_(1, scores.cpu().argsort(dim=1, stable=True), (places + 0.5) / count)
    return ranks


def _left(ranks: Mapping[str, Tensor], fraction: float, device: torch.device) -> dict[str, Tensor]:
    if not 0 <= fraction < 1:
        raise ValueError(f"a pruned fraction must lie in [0, 1), not {fraction}")
    return {name: (rank >= fraction).to(device) for name, rank in ranks.items()}


@dataclass(frozen=True)
class _Job:
    """Pruning of R networks with everything that stays the same; results by name, ``(R,)`` each."""

    dataset: Dataset
    scope: str
    criterion: str
    retraining: Mapping[str, Any] | None
    seed: int
    count: int

    def at_once(self, ensemble: Ensemble, shares: NDArray[np.float64]) -> list[dict[str, NDArray]]:
        """Prune the given networks at every share."""
        ranks = _ranks(ensemble, self.scope, self.criterion, self.seed)
        step = max(1, COPIES_BYTES // (4 * ensemble.replicas * ensemble.flat().shape[1]))
        rows = []
        for first in track(range(0, len(shares), step), "pruning"):
            some = shares[first : first + step]
            kept = [_left(ranks, float(share), ensemble.device) for share in some]
            joined = {name: torch.cat([mask[name] for mask in kept]) for name in ranks}
            pruned = _masked(ensemble[np.tile(np.arange(self.count), len(some))], joined)
            again = None if self.retraining is None else self.retrain(pruned, joined, 0)
            rows += [
                self.row(pruned[own], None if again is None else again[own], mask)
                for own, mask in zip(self.slices(len(some)), kept, strict=True)
            ]
        control = {}
        if self.retraining is not None:
            control = self.evaluate(self.retrain(ensemble, {}, 0))
        return [row | self.named(control, "control") for row in rows]

    def gradually(self, ensemble: Ensemble, shares: NDArray[np.float64]) -> list[dict[str, NDArray]]:
        """Prune at one share after the other, with retraining in between."""
        now = control = ensemble
        rows = []
        for stage, share in enumerate(track(shares, "pruning", total=len(shares))):
            ranks = _ranks(now, self.scope, self.criterion, self.seed)
            kept = _left(ranks, float(share), ensemble.device)
            pruned = _masked(now, kept)
            whole = {name: torch.cat([mask, torch.ones_like(mask)]) for name, mask in kept.items()}
            both = self.retrain(Ensemble.concatenate([_bare(pruned), _bare(control)]), whole, stage)
            now, control = both[: self.count], both[self.count :]
            rows.append(self.row(pruned, now, kept) | self.named(self.evaluate(control), "control"))
        return rows

    def slices(self, copies: int) -> list[slice]:
        """Return where each copy of the networks lies."""
        return [slice(k * self.count, (k + 1) * self.count) for k in range(copies)]

    def retrain(self, start: Ensemble, kept: dict[str, Tensor], stage: int) -> Ensemble:
        """Train networks on, all copies of one with the same samples."""
        # The orders of the first training, drawn from the same seed, shall not come again.
        orders = int(np.random.SeedSequence(self.seed, spawn_key=(PRUNING, stage)).generate_state(1)[0])
        options: dict[str, Any] = {"seed": orders, "device": start.device, "dtype": start.dtype}
        streams = np.tile(np.arange(self.count), start.replicas // self.count).tolist()
        return train(
            start.model, self.dataset, start=start, masks=kept, streams=streams, evaluate_test=False,
            **options | dict(self.retraining or {}),
        )  # fmt: skip

    def row(self, pruned: Ensemble, again: Ensemble | None, kept: Mapping[str, Tensor]) -> dict[str, NDArray]:
        """Return the results at one share."""
        row = self.evaluate(pruned) | self.named({} if again is None else self.evaluate(again), "retrained")
        left = {f"left.{name}": mask.flatten(1).double().mean(1) for name, mask in kept.items()}
        return row | {name: share.cpu().numpy() for name, share in left.items()}

    def named(self, result: Mapping[str, NDArray], what: str) -> dict[str, NDArray]:
        """Return results under other names; NaN where there are none."""
        none = np.full(self.count, np.nan)
        return {f"{what}_{name}": result.get(name, none) for name in ("accuracy", "loss")}

    def evaluate(self, ensemble: Ensemble) -> dict[str, NDArray]:
        """Return accuracy and loss on the test samples."""
        loss = "cross_entropy" if self.dataset.task == "classification" else "mse"
        found = evaluate(ensemble, self.dataset.x_test, self.dataset.y_test, loss=loss)
        return {"accuracy": found.accuracy, "loss": np.asarray(found.loss)}


def _masked(ensemble: Ensemble, kept: Mapping[str, Tensor]) -> Ensemble:
    """Set the weights that are not left to zero."""
    params = {name: value * kept[name] if name in kept else value for name, value in ensemble.params.items()}
    return Ensemble(ensemble.model, params, ensemble.buffers)


def _bare(ensemble: Ensemble) -> Ensemble:
    return Ensemble(ensemble.model, ensemble.params, ensemble.buffers)
