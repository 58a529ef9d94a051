"""The estimate of local entropy on quadratics, where it is known in closed form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from spinscape.landscape.flatness.local_entropy import local_entropy
from spinscape.networks.ensemble import Ensemble

Floats = NDArray[np.float64]

SAMPLES, BETA = 80, 40.0


@dataclass(frozen=True)
class QuadraticCheck:
    """Estimates and closed forms for D numbers of dimensions, R places and G strengths of the pull.

    Attributes
    ----------
    dimensions
        ``(D,)``.
    gammas
        ``(G,)``.
    exact, value, error
        Closed form, estimate and its standard error in nats, ``(D, R, G)``.
    """

    dimensions: NDArray[np.int64]
    gammas: Floats
    exact: Floats
    value: Floats
    error: Floats

    @property
    def relative(self) -> Floats:
        """Distance of the estimate from the closed form as a share of it."""
        return np.abs(self.value / self.exact - 1)

    @property
    def z(self) -> Floats:
        """The same in units of the standard error, with sign."""
        return (self.value - self.exact) / self.error


def quadratic_check(
    *,
    dimensions: Sequence[int] = (2, 20),
    gammas: Sequence[float] = (0.3, 3.0, 300.0),
    places: int = 2,
    steps: int = 80,
    chains: int = 2,
    intervals: int = 8,
    seed: int = 0,
) -> QuadraticCheck:
    """Estimate local entropies of linear regressions and compare with Gaussian integrals.

    Curvatures span three decades.

    Parameters
    ----------
    dimensions
        Numbers of weights.
    gammas
        Strengths of the pull.
    places
        References w for each.
    steps, chains, intervals, seed
        As for :func:`spinscape.landscape.flatness.local_entropy`.

    Returns
    -------
    QuadraticCheck

    Notes
    -----
    With slope g and Hessian H at w,
    ``Phi = -beta L - ln det(1 + H / gamma) / 2 + beta g (H + gamma)^-1 g / 2``.
    """
    exact, value, error = [], [], []
    for size in dimensions:
        nets, x, y = _regression(size, places, seed)
        found = local_entropy(
            nets,
            x,
            y,
            beta=BETA,
            gammas=gammas,
            steps=steps,
            chains=chains,
            intervals=intervals,
            loss="mse",
            seed=seed,
        )
        exact.append(
            [[_closed_form(w, x, y, gamma) for gamma in gammas] for w in nets.params["weight"][:, 0]]
        )
        value.append(found.value)
        error.append(found.error)
    return QuadraticCheck(
        np.array(dimensions), np.array(gammas, float), np.array(exact), np.array(value), np.array(error)
    )


def _regression(size: int, places: int, seed: int) -> tuple[Ensemble, Tensor, Tensor]:
    """Return places ``(places, 1, size)`` in a linear regression, its inputs and targets."""
    source = torch.Generator().manual_seed(1000 * seed + size)
    x = torch.randn(SAMPLES, size, generator=source, dtype=torch.float64) * torch.logspace(-1, 0.6, size)
    y = torch.randn(SAMPLES, 1, generator=source, dtype=torch.float64)
    weights = torch.randn(places, 1, size, generator=source, dtype=torch.float64) / 10
    return Ensemble(nn.Linear(size, 1, bias=False), {"weight": weights}), x, y


def _closed_form(w: Tensor, x: Tensor, y: Tensor, gamma: float) -> float:
    hessian = 2 * x.T @ x / len(x)
    one = torch.eye(len(hessian), dtype=hessian.dtype)
    left = x @ w - y[:, 0]
    slope = 2 * x.T @ left / len(x)
    gain = slope @ torch.linalg.solve(hessian + gamma * one, slope)
    volume = torch.linalg.slogdet(one + hessian / gamma)[1]
    return float(-BETA * left.square().mean() - volume / 2 + BETA * gain / 2)
