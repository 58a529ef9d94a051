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
    dense_accuracy: NDArray[np.float64]
    dense_loss: NDArray[np.float64]
    left: dict[str, NDArray[np.float64]]
    weights: int


def prune(
    ensemble: Ensemble,
    dataset: Dataset,
    fractions: Sequence[float] = (0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99),
    *,
    scope: Scope = "global",
    criterion: Criterion = "magnitude",
    retraining: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Pruning:
    """Set a share of the weights to zero, in one step, and evaluate; train on what is left, and evaluate.

    Parameters
    ----------
    ensemble
        R trained networks.
    dataset
        What they were trained on.
    fractions
        Shares of the weights to set to zero, each in [0, 1).
        Zero among them gives the control: the whole network, trained on for as long as the pruned ones.
    scope, criterion, seed
        As in :func:`masks`.
    retraining
        Options of :func:`spinscape.networks.training.train`, such as ``{"epochs": 5}``; None for no
        retraining. All copies of a network see the same samples in the same order.

    Returns
    -------
    Pruning

    Raises
    ------
    ValueError
        If a fraction, the scope, the criterion or an option of retraining is not of the kind above.
    """
    shares = np.asarray(fractions, float)
    if shares.ndim != 1 or not len(shares):
        raise ValueError("fractions must be a list of at least one number")
    forbidden = {"start", "masks", "streams", "replicas", "evaluate_test"} & set(retraining or {})
    if forbidden:
        raise ValueError(f"retraining cannot set {', '.join(sorted(forbidden))}")
    ranks = _ranks(ensemble, scope, criterion, seed)
    loss = "cross_entropy" if dataset.task == "classification" else "mse"
    dense = evaluate(ensemble, dataset.x_test, dataset.y_test, loss=loss)
    size = ensemble.flat()[0].numel() * ensemble.replicas * 4
    step = max(1, COPIES_BYTES // size)
    parts = [
        _some(ensemble, dataset, ranks, shares[first : first + step], loss, retraining, seed)
        for first in track(range(0, len(shares), step), "pruning")
    ]
    accuracy, test_loss, again, again_loss = (
        np.concatenate(column) for column in list(zip(*parts, strict=True))[:4]
    )
    return Pruning(
        fractions=shares,
        accuracy=accuracy,
        loss=test_loss,
        retrained_accuracy=again,
        retrained_loss=again_loss,
        dense_accuracy=np.asarray(dense.accuracy),
        dense_loss=np.asarray(dense.loss),
        left={name: np.concatenate([part[4][name] for part in parts]) for name in ranks},
        weights=sum(rank[0].numel() for rank in ranks.values()),
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
        Accuracy to compare with, ``(R,)``.
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


def _some(
    ensemble: Ensemble,
    dataset: Dataset,
    ranks: Mapping[str, Tensor],
    shares: NDArray[np.float64],
    loss: str,
    retraining: Mapping[str, Any] | None,
    seed: int,
) -> tuple[Any, ...]:
    """Prune at some of the fractions: accuracy, loss, both after retraining, share left by name."""
    count = ensemble.replicas
    kept = [_left(ranks, float(share), ensemble.device) for share in shares]
    joined = {name: torch.cat([mask[name] for mask in kept]) for name in ranks}
    copies = ensemble[np.tile(np.arange(count), len(shares))]
    params = {
        name: value * joined[name] if name in joined else value for name, value in copies.params.items()
    }
    pruned = Ensemble(ensemble.model, params, copies.buffers)
    found = [evaluate(pruned, dataset.x_test, dataset.y_test, loss=loss)]
    if retraining is not None:
        # The orders of the first training, drawn from the same seed, shall not come again.
        orders = int(np.random.SeedSequence(seed, spawn_key=(PRUNING,)).generate_state(1)[0])
        options: dict[str, Any] = {"seed": orders, "device": ensemble.device, "dtype": ensemble.dtype} | dict(
            retraining
        )
        streams = np.tile(np.arange(count), len(shares)).tolist()
        again = train(
            ensemble.model,
            dataset,
            start=pruned,
            masks=joined,
            streams=streams,
            evaluate_test=False,
            **options,
        )
        found.append(evaluate(again, dataset.x_test, dataset.y_test, loss=loss))
    shape = (len(shares), count)
    columns = [np.asarray(values).reshape(shape) for one in found for values in (one.accuracy, one.loss)]
    columns += [np.full(shape, np.nan)] * (4 - len(columns))
    left = {
        name: mask.flatten(1).double().mean(1).cpu().numpy().reshape(shape) for name, mask in joined.items()
    }
    return *columns, left
