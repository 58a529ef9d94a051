"""Gaussian random walks from trained networks (Liao et al. 2024, Algorithm 1 and Section A.4.1).

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
from scipy import stats
from torch import Tensor

from spinscape.networks.ensemble import Ensemble
from spinscape.networks.evaluation import evaluate
from spinscape.progress import track

Floats = NDArray[np.float64]
Loss = str | Callable[[Tensor, Tensor], Tensor]
Data = Mapping[str, tuple[Tensor, Tensor]]

TRIAL_BYTES = 256 * 2**20
"""Memory that the trial points of a downhill walk may take at once."""


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


@dataclass(frozen=True)
class DownhillWalks:
    """Walks that only pass through points whose loss is below the trained one.

    Attributes
    ----------
    sigmas
        Step sizes, shape (S,).
    fraction
        Share of the trials at each step whose loss is below the trained loss, shape (S, R, W, T).
    loss
        Loss where the walk stands after each step, in nats, shape (S, R, W, T + 1).
    moved
        Whether the walk found a point to move to, shape (S, R, W, T).
    trials
        Trials drawn at each step.
    """

    sigmas: Floats
    fraction: Floats
    loss: Floats
    moved: NDArray[np.bool_]
    trials: int


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
    _check(sigmas, steps, walks)
    losses = dict(loss or {"cross_entropy": "cross_entropy"})
    data = {part: (x.to(ensemble.device), y.to(ensemble.device)) for part, (x, y) in data.items()}
    shape = (len(sigmas), ensemble.replicas, walks)
    start = _repeat(ensemble, shape)
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


def downhill_walks(
    ensemble: Ensemble,
    x: Tensor,
    y: Tensor,
    *,
    sigmas: list[float],
    steps: int,
    walks: int = 1,
    trials: int = 40,
    seed: int = 0,
) -> DownhillWalks:
    """Walk from every network through points with a loss below the trained one.

    At each step `trials` points are drawn around the current one.
    The share of them with a loss below the trained loss is recorded, and the walk moves to the
    first of these; where there is none it stays.

    Parameters
    ----------
    ensemble
        R trained networks.
    x, y
        Inputs and targets on which the loss is measured.
    sigmas
        Standard deviations of a step, positive.
    steps, walks, trials
        Steps of a walk, walks from each network, trials at each step.
    seed
        Seed of the noise.

    Returns
    -------
    DownhillWalks

    Raises
    ------
    ValueError
        If a step size is not positive, or a count is below 1.

    Notes
    -----
    Liao et al. 2024, Figure A1 and Section A.4.1, with 40 trials.
    """
    _check(sigmas, steps, walks)
    if trials < 1:
        raise ValueError(f"trials must be at least 1, not {trials}")
    shape = (len(sigmas), ensemble.replicas, walks)
    here = _repeat(ensemble, shape)
    x, y = x.to(ensemble.device), y.to(ensemble.device)
    trained = torch.from_numpy(evaluate(here, x, y).loss)
    sizes = torch.tensor(sigmas, dtype=torch.float64).repeat_interleave(shape[1] * walks)
    generators = [_generator(seed, r, w) for _ in sigmas for r in range(shape[1])
                  for w in range(walks)]  # fmt: skip
    fractions, losses, moved = [], [trained], []
    for _ in track(range(steps), "downhill walks"):
        fraction, here, current = _downhill_step(here, x, y, sizes, generators, trained, losses[-1], trials)
        fractions.append(fraction)
        moved.append(fraction > 0)
        losses.append(current)
    return DownhillWalks(
        sigmas=np.asarray(sigmas, float),
        fraction=torch.stack(fractions, -1).reshape(*shape, steps).numpy(),
        loss=torch.stack(losses, -1).reshape(*shape, steps + 1).numpy(),
        moved=torch.stack(moved, -1).reshape(*shape, steps).numpy(),
        trials=trials,
    )


def _downhill_step(
    here: Ensemble,
    x: Tensor,
    y: Tensor,
    sizes: Tensor,
    generators: list[torch.Generator],
    trained: Tensor,
    current: Tensor,
    trials: int,
) -> tuple[Tensor, Ensemble, Tensor]:
    """Draw, look and move for all walkers; as many walkers at once as the trials' memory allows."""
    params = {name: p.clone() for name, p in here.params.items()}
    now, fraction = current.clone(), torch.zeros(len(sizes), dtype=torch.float64)
    bytes_each = trials * sum(p[0].numel() * p.element_size() for p in params.values())
    for group in torch.arange(len(sizes)).split(max(1, TRIAL_BYTES // bytes_each)):
        points = {
            name: torch.stack(
                [p[i] + sizes[i].to(p.dtype).to(p.device) * _draw((trials, *p.shape[1:]), p, generators[i])
                 for i in group]
            ).flatten(0, 1)
            for name, p in params.items()
        }  # fmt: skip
        buffers = {name: b[group].repeat_interleave(trials, 0) for name, b in here.buffers.items()}
        found = torch.from_numpy(evaluate(Ensemble(here.model, points, buffers), x, y).loss)
        below = found.reshape(len(group), trials) < trained[group, None]
        fraction[group] = below.double().mean(1)
        for row, walker in enumerate(group.tolist()):
            if below[row].any():
                chosen = row * trials + int(below[row].int().argmax())
                now[walker] = found[chosen]
                for name, p in params.items():
                    p[walker] = points[name][chosen]
    return fraction, Ensemble(here.model, params, here.buffers), now


def _check(sigmas: list[float], steps: int, walks: int) -> None:
    if not sigmas or min(sigmas) <= 0:
        raise ValueError(f"step sizes must be positive, not {sigmas}")
    if steps < 1 or walks < 1:
        raise ValueError(f"steps and walks must be at least 1, not {steps} and {walks}")


def _repeat(ensemble: Ensemble, shape: tuple[int, int, int]) -> Ensemble:
    """Every network once per step size and walk, in the order (S, R, W)."""
    index = torch.arange(shape[1]).repeat_interleave(shape[2]).repeat(shape[0])
    return ensemble[index]


def _generator(seed: int, network: int, walk: int) -> torch.Generator:
    state = np.random.SeedSequence([seed, network, walk]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0] >> 1))


def _draw(shape: tuple[int, ...], like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=like.dtype).to(like.device)


def _noise(ensemble: Ensemble, walks: int, seed: int) -> Iterator[Iterator[tuple[int, str, Tensor]]]:
    """For each step, standard normal draws per walker (network by network) and parameter."""
    pairs = [
        (r * walks + w, walks - w, _generator(seed, r, w // 2))
        for r in range(ensemble.replicas)
        for w in range(0, walks, 2)
    ]
    while True:
        yield _mirrored(ensemble, pairs)


def _mirrored(
    ensemble: Ensemble, pairs: list[tuple[int, int, torch.Generator]]
) -> Iterator[tuple[int, str, Tensor]]:
    """Draw one step of each pair: ``z`` for its first walker, ``-z`` for its second, if it has one."""
    for walker, left, generator in pairs:
        for name, p in ensemble.params.items():
            z = _draw(tuple(p.shape[1:]), p, generator)
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
    square = sum(
        ((p - start.params[name]).flatten(1).double() ** 2).sum(1) for name, p in here.params.items()
    )
    row["", "displacement"] = torch.as_tensor(square).sqrt().cpu().numpy()
    return row


def expected_fraction(
    sigmas: list[float], trace: NDArray[np.float64], gradient_norm: NDArray[np.float64]
) -> Floats:
    """Share of first trials below the trained loss, to leading order in the step size.

    A step changes the loss by a Gaussian of mean ``sigma^2 Tr H / 2`` and standard deviation ``sigma |g|``.

    Parameters
    ----------
    sigmas
        Step sizes, S of them.
    trace, gradient_norm
        Trace of the Hessian and norm of the gradient at the start, shape (R,).

    Returns
    -------
    ndarray
        Shape (S, R).
    """
    sizes = np.asarray(sigmas, float)[:, None]
    return stats.norm.cdf(-sizes * np.asarray(trace) / (2 * np.asarray(gradient_norm)))
