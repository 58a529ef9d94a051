"""Gaussian random walks from trained networks (Liao et al. 2024, Algorithm 1).

A walk adds ``sigma * z`` with ``z ~ N(0, 1)`` to every parameter at every step and looks at the loss.
No step is refused, so this is diffusion and not Markov chain Monte Carlo, whatever the source calls it.
All step sizes, networks and walks are settings of one `Ensemble` and are evaluated in one call.

Walks come in mirror pairs: walk ``2j + 1`` takes the steps of walk ``2j`` with the opposite sign.
Each is by itself a walk of Algorithm 1; in the mean over a pair the slope of the loss cancels.
The noise of a pair depends on the seed, the network and ``j`` only.
It is shared by all step sizes (common random numbers), so that a comparison between step sizes is
paired, and a walk is the same whatever other walks are run beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spinscape.landscape.steps import WALKS, check, draw, generator, repeat
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.evaluation import evaluate
from spinscape.progress import track

Floats = NDArray[np.float64]
Loss = str | Callable[[Tensor, Tensor], Tensor]
Data = Mapping[str, tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Walks:
    """Losses along random walks.

    Axes: S step sizes, R networks, W walks from each network, T + 1 times (0 is the trained network).

    Attributes
    ----------
    sigmas
        Step sizes, shape (S,).
    loss
        Data set part -> loss name -> nats, shape (S, R, W, T + 1).
    accuracy
        Data set part -> share of correct answers, shape (S, R, W, T + 1).
    displacement
        Euclidean distance from the trained parameters, shape (S, R, W, T + 1).
    dimension
        Number of parameters of one network.
    """

    sigmas: Floats
    loss: dict[str, dict[str, Floats]]
    accuracy: dict[str, Floats]
    displacement: Floats
    dimension: int

    @property
    def steps(self) -> int:
        """Number of steps T."""
        return self.displacement.shape[-1] - 1


def random_walks(
    ensemble: Ensemble,
    data: Data,
    *,
    sigmas: list[float],
    steps: int,
    walks: int = 1,
    loss: Mapping[str, Loss] | None = None,
    seed: int = 0,
) -> Walks:
    """Walk at random from every network of an ensemble, at every step size.

    Parameters
    ----------
    ensemble
        R trained networks.
    data
        Name -> (inputs, targets); losses are measured on each at every step.
    sigmas
        Standard deviations of a step in every parameter, positive.
    steps
        Number of steps T.
    walks
        Independent walks from each network.
    loss
        Name -> per-sample loss; the cross-entropy alone by default.
    seed
        Seed of the noise.

    Returns
    -------
    Walks

    Raises
    ------
    ValueError
        If a step size is not positive, or `steps` or `walks` is below 1.

    Notes
    -----
    Liao et al. 2024, Algorithm 1 and equation 1.
    """
    check(sigmas, steps, walks)
    losses = dict(loss or {"cross_entropy": "cross_entropy"})
    data = {part: (x.to(ensemble.device), y.to(ensemble.device)) for part, (x, y) in data.items()}
    shape = (len(sigmas), ensemble.replicas, walks)
    start = repeat(ensemble, shape)
    here = Ensemble(ensemble.model, {name: p.clone() for name, p in start.params.items()}, start.buffers)
    scale = torch.tensor(sigmas, dtype=torch.float64)
    noise = _noise(ensemble, walks, seed)
    rows = [_look(here, start, data, losses)]
    for _ in track(range(steps), "random walks"):
        _step(here.params, next(noise), scale, shape)
        rows.append(_look(here, start, data, losses))
    stacked = {
        key: np.stack([row[key] for row in rows], axis=-1).reshape(*shape, steps + 1) for key in rows[0]
    }
    return Walks(
        sigmas=np.asarray(sigmas, float),
        loss={part: {name: stacked[part, name] for name in losses} for part in data},
        accuracy={part: stacked[part, "accuracy"] for part in data},
        displacement=stacked["", "displacement"],
        dimension=sum(p[0].numel() for p in ensemble.params.values()),
    )


def _noise(ensemble: Ensemble, walks: int, seed: int) -> Iterator[Iterator[tuple[int, str, Tensor]]]:
    """For each step, standard normal draws per walker (network by network) and parameter."""
    pairs = [
        (r * walks + w, walks - w, generator(seed, WALKS, r, w // 2))
        for r in range(ensemble.replicas)
        for w in range(0, walks, 2)
    ]
    while True:
        yield _mirrored(ensemble, pairs)


def _mirrored(
    ensemble: Ensemble, pairs: list[tuple[int, int, torch.Generator]]
) -> Iterator[tuple[int, str, Tensor]]:
    """Draw one step of each pair: ``z`` for its first walker, ``-z`` for its second, if it has one."""
    for walker, left, source in pairs:
        for name, p in ensemble.params.items():
            z = draw(tuple(p.shape[1:]), p, source)
            yield walker, name, z
            if left > 1:
                yield walker + 1, name, -z


def _step(
    params: dict[str, Tensor],
    noise: Iterator[tuple[int, str, Tensor]],
    scale: Tensor,
    shape: tuple[int, int, int],
) -> None:
    """Add ``sigma * z`` in place; one draw serves every step size."""
    for walker, name, z in noise:
        view = params[name].unflatten(0, (shape[0], shape[1] * shape[2]))
        for row, sigma in enumerate(scale.tolist()):
            view[row, walker].add_(z, alpha=sigma)


def _look(
    here: Ensemble, start: Ensemble, data: Data, losses: dict[str, Loss]
) -> dict[tuple[str, str], Floats]:
    """Losses, accuracies and displacement of all walkers, each of shape (S R W,)."""
    row: dict[tuple[str, str], Floats] = {}
    for part, (x, y) in data.items():
        seen = evaluate(here, x, y, loss=losses)
        row.update({(part, name): seen.loss[name] for name in losses})
        row[part, "accuracy"] = seen.accuracy
    norms = [
        torch.linalg.vector_norm((p - start.params[name]).flatten(1), dim=1)
        for name, p in here.params.items()
    ]
    row["", "displacement"] = torch.stack(norms).cpu().double().square().sum(0).sqrt().numpy()
    return row
