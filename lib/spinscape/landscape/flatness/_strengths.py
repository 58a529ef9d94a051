"""Chains around networks, at several pulls and several strengths of the loss."""

from __future__ import annotations

from math import ceil, sqrt

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spinscape.landscape.flatness._chains import Energy, Run, run
from spinscape.landscape.flatness._potential import Potential
from spinscape.landscape.steps import CHAINS, draw, generator
from spinscape.landscape.symmetry.checks import at_least
from spinscape.progress import bar

Floats = NDArray[np.float64]


def sample(
    potential: Potential,
    beta: float,
    gammas: Floats,
    strengths: Floats,
    shape: tuple[int, int, int, int],
    *,
    steps: int,
    settle: int,
    leaps: int,
    chunk: int | None,
    seed: int,
) -> Run:
    """Run chains at all strengths; half begin at the network, half at a draw of the Gaussian.

    Frequencies of the flow grow as the root of the strength, and so do the leaps of a proposal.

    Parameters
    ----------
    potential
        Loss and slope of R networks.
    beta, gammas, strengths
        As in `local_entropy`: a number, ``(G,)`` and ``(T,)``.
    shape
        (R, G, T, C) with C chains of each.
    steps, settle, leaps, chunk, seed
        As in `local_entropy`.

    Returns
    -------
    Run
        Of ``R * G * T * C`` chains in that order.
    """
    centres = potential.ensemble.flat()
    which = np.stack(np.unravel_index(np.arange(np.prod(shape)), shape), 1)
    own = np.array([max(1, ceil(leaps * sqrt(strength))) for strength in strengths])[which[:, 2]]
    size = potential.rows_at_once(len(which)) if chunk is None else at_least("chunk", chunk, 1)
    runs, order = [], []
    with bar("local entropy", int(own.sum()) * (steps + settle)) as progress:
        for count in np.unique(own):
            rows = np.flatnonzero(own == count)
            for start in range(0, len(rows), size):
                some = rows[start : start + size]
                streams = [generator(seed, CHAINS, *(int(i) for i in which[row])) for row in some]
                begin = [
                    draw(centres.shape[1:], centres, stream) * (which[row, 3] % 2)
                    for stream, row in zip(streams, some, strict=True)
                ]
                strength = beta * strengths[which[some, 2]]
                energy = _energy(potential, centres, which[some, 0], beta * gammas[which[some, 1]], strength)
                runs.append(
                    run(energy, torch.from_numpy(strength), torch.stack(begin), streams, steps=steps,
                        settle=settle, leaps=int(count), tick=progress.update)
                )  # fmt: skip
                order.append(some)
    back = torch.from_numpy(np.argsort(np.concatenate(order)))
    return Run(*(torch.cat([getattr(one, name) for one in runs])[back] for name in Run.__dataclass_fields__))


def _energy(
    potential: Potential, centres: Tensor, networks: NDArray[np.int64], precision: Floats, strength: Floats
) -> Energy:
    """Return the loss around networks in whitened coordinates, and the slope of `strength` times it."""
    index = torch.from_numpy(networks).to(centres.device)
    middle = centres[index]
    length = torch.from_numpy(1 / np.sqrt(precision)).to(centres)[:, None]
    factor = torch.from_numpy(strength).to(centres)[:, None] * length

    def energy(u: Tensor) -> tuple[Tensor, Tensor]:
        loss, slope = potential(torch.addcmul(middle, length, u), index)
        return loss, slope.mul_(factor)

    return energy
