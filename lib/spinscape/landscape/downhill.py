"""Random walks that only pass through points below the trained loss (Liao et al. 2024, Section A.4.1)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from spinscape.landscape.steps import DOWNHILL, check, draw, generator, repeat
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.evaluation import evaluate
from spinscape.progress import track

Floats = NDArray[np.float64]

TRIAL_BYTES = 256 * 2**20
"""Memory that the trial points of a downhill walk may take at once."""


@dataclass(frozen=True)
class DownhillWalks:
    """Walks that only pass through points whose loss is below the trained one.

    Attributes
    ----------
    sigmas
        Step sizes, shape (S,).
    fraction
        Share of the trials at each step whose loss is below the trained loss, shape (S, R, W, T); NaN for
        networks whose loss is not finite.
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
    check(sigmas, steps, walks)
    if trials < 1:
        raise ValueError(f"trials must be at least 1, not {trials}")
    shape = (len(sigmas), ensemble.replicas, walks)
    here = repeat(ensemble, shape)
    x, y = x.to(ensemble.device), y.to(ensemble.device)
    trained = torch.from_numpy(evaluate(here, x, y).loss)
    sizes = torch.tensor(sigmas, dtype=torch.float64)
    generators = [generator(seed, DOWNHILL, r, w) for r in range(shape[1]) for w in range(walks)]
    fractions, losses, moved = [], [trained], []
    for _ in track(range(steps), "downhill walks"):
        fraction, here, current = _step(here, x, y, sizes, generators, trained, losses[-1], trials)
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


def _step(
    here: Ensemble,
    x: Tensor,
    y: Tensor,
    sizes: Tensor,
    generators: list[torch.Generator],
    trained: Tensor,
    current: Tensor,
    trials: int,
) -> tuple[Tensor, Ensemble, Tensor]:
    """Draw, look and move for all walkers, in the order (S, R W); one draw serves every step size."""
    params = {name: p.clone() for name, p in here.params.items()}
    now, fraction = current.clone(), torch.zeros(len(current), dtype=torch.float64)
    bytes_each = trials * sum(p[0].numel() * p.element_size() for p in params.values())
    at_once = max(1, TRIAL_BYTES // bytes_each)
    for walker, source in enumerate(generators):
        noise = {name: draw((trials, *p.shape[1:]), p, source) for name, p in params.items()}
        for sigma in torch.arange(len(sizes)).split(at_once):
            group = sigma * len(generators) + walker
            points = {
                name: (p[group, None] + _column(sizes[sigma], p) * noise[name]).flatten(0, 1)
                for name, p in params.items()
            }
            buffers = {name: b[group].repeat_interleave(trials, 0) for name, b in here.buffers.items()}
            found = torch.from_numpy(evaluate(Ensemble(here.model, points, buffers), x, y).loss)
            below = found.reshape(len(group), trials) < trained[group, None]
            fraction[group] = below.double().mean(1).where(trained[group].isfinite(), torch.nan)
            for row in below.any(1).nonzero().flatten().tolist():
                chosen = row * trials + int(below[row].int().argmax())
                now[group[row]] = found[chosen]
                for name, p in params.items():
                    p[group[row]] = points[name][chosen]
    return fraction, Ensemble(here.model, params, here.buffers), now


def _column(sizes: Tensor, like: Tensor) -> Tensor:
    """Shape step sizes (S,) so that they multiply ``(S, trials, ...)``."""
    return sizes.to(like).view(-1, *[1] * like.ndim)


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
