"""The trace of the Hessian of the loss at trained networks, by random probes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from spinscape.landscape.flatness._groups import in_groups
from spinscape.landscape.steps import PROBES, generator
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.losses import PerSample
from spinscape.progress import bar

PROBE_BYTES = 2**27
"""Probes that are held at once, and as much for their products."""


@dataclass(frozen=True)
class TraceEstimate:
    """Hutchinson's estimate of the trace of the Hessian.

    Attributes
    ----------
    trace
        Mean over probes, loss per squared parameter unit, shape (R,).
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
    ensemble: Ensemble,
    x: Tensor,
    y: Tensor,
    *,
    probes: int = 32,
    seed: int = 0,
    loss: str | PerSample = "cross_entropy",
    chunk: int | None = None,
) -> TraceEstimate:
    """Estimate the trace of the Hessian of the mean loss.

    Parameters
    ----------
    ensemble
        R networks, evaluated as they are in use (no dropout, stored batch-norm statistics).
    x, y
        Inputs (N, ...) and class labels (N,) or targets (N, ...).
    probes
        Rademacher vectors per network, at least 2.
    seed
        Seed of the probes; probe k of network r depends on the seed, r and k only.
    loss
        As in :func:`spinscape.networks.evaluation.evaluate`.
    chunk
        Networks at once; by default what fits the cache or the GPU.

    Raises
    ------
    ValueError
        If `probes` is below 2, or samples do not fit the networks.

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
    samples, norms = [], []
    with bar("Hessian trace", ensemble.replicas * probes) as moved:
        for rows, product in in_groups(ensemble, x, y, loss, chunk, vectors=4):
            sources = [generator(seed, PROBES, r) for r in rows]
            columns = []
            held = product.count * ensemble.dtype.itemsize * len(rows)
            size = max(1, min(probes, PROBE_BYTES // held))
            for first in range(0, probes, size):
                count = min(size, probes - first)
                v = torch.stack([signs(product.ensemble, source, count) for source in sources])
                columns.append((v * product(v)).sum(-1).cpu().double())
                moved.update(count * len(rows))
            samples.append(torch.cat(columns, 1))
            norms.append(product.gradient().norm(dim=1).cpu().double())
    values = torch.cat(samples).numpy()
    return TraceEstimate(
        trace=values.mean(1),
        standard_error=values.std(1, ddof=1) / np.sqrt(probes),
        gradient_norm=torch.cat(norms).numpy(),
        probes=probes,
    )


def signs(ensemble: Ensemble, source: torch.Generator, count: int) -> Tensor:
    """Draw `count` vectors of signs ``(count, D)``, parameter by parameter."""
    sizes = [value[0].numel() for value in ensemble.params.values()]
    found = torch.empty(count, sum(sizes), dtype=ensemble.dtype)
    for row in found:
        parts = row.split(sizes)
        for part, value in zip(parts, ensemble.params.values(), strict=True):
            part.copy_(torch.randint(0, 2, value.shape[1:], generator=source).flatten())
    return found.mul_(2).sub_(1).to(ensemble.device)
