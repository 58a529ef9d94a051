"""Curvature of the loss at trained networks.

Hessian products are forward-over-reverse derivatives (``jvp`` of ``grad``) of the functional model,
batched over probes, one network after the other where one fills the device.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call, grad, jvp
from torch.nn import functional

from spinscape.landscape.steps import PROBES, generator
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.forward import training_mode
from spinscape.progress import track


@dataclass(frozen=True)
class TraceEstimate:
    """Hutchinson's estimate of the trace of the Hessian.

    Attributes
    ----------
    trace
        Mean over probes, nats per squared parameter unit, shape (R,).
    standard_error
        Monte Carlo error of that mean, shape (R,).
    gradient_norm
        Euclidean norm of the gradient, shape (R,).
    probes
        Number of probes.
    """

    trace: np.ndarray
    standard_error: np.ndarray
    gradient_norm: np.ndarray
    probes: int


def hessian_trace(
    ensemble: Ensemble, x: Tensor, y: Tensor, *, probes: int = 32, seed: int = 0
) -> TraceEstimate:
    """Estimate the trace of the Hessian of the mean cross-entropy.

    Parameters
    ----------
    ensemble
        R networks, evaluated as they are in use (no dropout, stored batch-norm statistics).
    x, y
        Inputs (N, ...) and class labels (N,).
    probes
        Rademacher vectors per network, at least 2.
    seed
        Seed of the probes; probe k of network r depends on the seed, r and k only.

    Raises
    ------
    ValueError
        If `probes` is below 2.

    Notes
    -----
    ``Tr H = E v^T H v`` for ``v`` of independent signs (Hutchinson 1990).
    Where the network is piecewise linear this is the trace without the kinks' contribution.

    Examples
    --------
    >>> import torch
    >>> from spinscape.networks.ensemble import Ensemble
    >>> net = torch.nn.Linear(3, 2)
    >>> x, y = torch.randn(5, 3), torch.tensor([0, 1, 0, 1, 1])
    >>> hessian_trace(Ensemble.from_modules([net]), x, y, probes=4).trace.shape
    (1,)
    """
    if probes < 2:
        raise ValueError(f"probes must be at least 2, not {probes}")
    x, y = x.to(ensemble.device), y.to(ensemble.device)
    with training_mode(ensemble.model, False):
        rows = [
            _one(ensemble, r, x, y, probes, seed) for r in track(range(ensemble.replicas), "Hessian trace")
        ]
    samples = np.array([row[0] for row in rows])
    return TraceEstimate(
        trace=samples.mean(1),
        standard_error=samples.std(1, ddof=1) / np.sqrt(probes),
        gradient_norm=np.array([row[1] for row in rows]),
        probes=probes,
    )


def _one(
    ensemble: Ensemble, r: int, x: Tensor, y: Tensor, probes: int, seed: int
) -> tuple[list[float], float]:
    params = {name: p[r] for name, p in ensemble.params.items()}
    buffers = {name: b[r] for name, b in ensemble.buffers.items()}

    def loss(weights: dict[str, Tensor]) -> Tensor:
        return functional.cross_entropy(functional_call(ensemble.model, (weights, buffers), (x,)), y)

    def curvature(v: dict[str, Tensor]) -> float:
        product = jvp(grad(loss), (params,), (v,))[1]
        return float(sum((v[name] * product[name]).sum() for name in v))

    source = generator(seed, PROBES, r)
    samples = [curvature(_signs(params, source)) for _ in range(probes)]
    slope = grad(loss)(params)
    norm = sum((g**2).sum() for g in slope.values())
    return samples, float(torch.as_tensor(norm).sqrt())


def _signs(params: dict[str, Tensor], source: torch.Generator) -> dict[str, Tensor]:
    return {
        name: (torch.randint(0, 2, p.shape, generator=source) * 2 - 1).to(p) for name, p in params.items()
    }
