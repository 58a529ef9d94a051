"""What local energy does not see, what the Hessian does, and whether the stated Monte Carlo error holds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from spinscape.landscape.flatness.local_energy import local_energy
from spinscape.landscape.flatness.trace import hessian_trace
from spinscape.landscape.symmetry import permute, random_permutations, random_rescale
from spinscape.networks.ensemble import Ensemble

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class InvarianceCheck:
    """R networks under random rescalings and permutations of their hidden units, and under repetition.

    Attributes
    ----------
    rescaled, permuted
        Largest change of local energy: that of the loss relative to itself, that of the error as it is.
    trace_ratio
        Trace of the Hessian after rescaling over that before, ``(R,)``.
    error_ratio
        Standard deviation of repeated local energies of the loss over the Monte Carlo error that they state,
        ``(R,)``.
    repeats
        Their number.
    """

    rescaled: float
    permuted: float
    trace_ratio: Floats
    error_ratio: Floats
    repeats: int


def check_invariance(
    ensemble: Ensemble,
    x: Tensor,
    y: Tensor,
    sigmas: ArrayLike,
    *,
    spread: float = 1.0,
    draws: int = 10,
    repeats: int = 40,
    probes: int = 8,
    seed: int = 0,
) -> InvarianceCheck:
    """Rescale, permute and repeat.

    Parameters
    ----------
    ensemble
        R networks with homogeneous activations; what is compared is computed in double precision.
    x, y
        Inputs and labels.
    sigmas
        Sizes of the multiplicative noise ``(S,)``, positive; repetitions are at the middle one.
    spread
        Standard deviation of the logarithm of the random factors.
    draws, repeats
        Draws of the noise in one local energy; number of repetitions, at least 3.
    probes
        Random vectors of a trace.
    seed
        Seed of everything that is drawn.

    Returns
    -------
    InvarianceCheck

    Raises
    ------
    ValueError
        If an argument is out of range.
    """
    if repeats < 3:
        raise ValueError(f"repeats must be at least 3, not {repeats}")
    nets, inputs = ensemble.to(torch.float64), x.double()
    scaled = random_rescale(nets, spread, seed)
    orders = random_permutations(nets, replicas=nets.replicas, seed=seed)
    right, other, renamed = (
        local_energy(one, inputs, y, sigmas, draws=draws, seed=seed, carried=carried)
        for one, carried in ((nets, None), (scaled, None), (permute(nets, orders), orders))
    )
    changes = [
        max(float(np.abs(one.loss / right.loss - 1).max()), float(np.abs(one.error - right.error).max()))
        for one in (other, renamed)
    ]
    before, after = (hessian_trace(one, inputs, y, probes=probes, seed=seed).trace for one in (nets, scaled))
    middle = [float(np.median(np.asarray(sigmas, float)))]
    again = [local_energy(ensemble, x, y, middle, draws=draws, seed=seed + 1 + k) for k in range(repeats)]
    spreads = np.std([one.loss[:, 0] for one in again], axis=0, ddof=1)
    stated = np.sqrt(np.mean([one.loss_error[:, 0] ** 2 for one in again], axis=0))
    return InvarianceCheck(changes[0], changes[1], after / before, spreads / stated, repeats)
