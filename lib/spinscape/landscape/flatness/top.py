"""The largest or smallest eigenvalues of the Hessian of the loss."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spinscape.landscape.flatness._groups import in_groups
from spinscape.landscape.flatness._lanczos import Lanczos
from spinscape.landscape.steps import LANCZOS, generator
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.losses import PerSample
from spinscape.progress import bar

Floats = NDArray[np.float64]

EVERY = 5
"""Steps from one look at the residuals to the next."""

FLOOR = 100
"""Residuals below so many roundings of the largest eigenvalue cannot be asked for."""


@dataclass(frozen=True)
class TopEigenvalues:
    """Eigenvalues at one end of the spectra of R Hessians.

    Attributes
    ----------
    values
        ``(R, count)``, from the end of the spectrum inwards, loss per squared parameter unit.
    residuals
        ``|H v - value v|`` of the unit vector v behind each value, likewise: some eigenvalue lies within it.
    steps
        Products that each network took, int64 ``(R,)``.
    converged
        Whether residuals fell below the tolerance, bool ``(R, count)``.
    """

    values: Floats
    residuals: Floats
    steps: NDArray[np.int64]
    converged: NDArray[np.bool_]


def top_eigenvalues(
    ensemble: Ensemble,
    x: Tensor,
    y: Tensor,
    count: int = 10,
    *,
    which: str = "largest",
    tolerance: float = 1e-3,
    most_steps: int | None = None,
    seed: int = 0,
    loss: str | PerSample = "cross_entropy",
    chunk: int | None = None,
) -> TopEigenvalues:
    """Return the largest or smallest eigenvalues of the Hessian of the mean loss, by Lanczos' iteration.

    Every vector is made orthogonal to all before it; a network stops when the residuals of all its values are
    below the tolerance.
    The error of a value is of the order of its residual squared over the gap to its neighbours.

    Parameters
    ----------
    ensemble
        R networks of D parameters, evaluated as they are in use.
    x, y
        Inputs ``(N, ...)`` and labels or targets ``(N, ...)``.
    count
        Eigenvalues, D at most.
    which
        ``"largest"`` or ``"smallest"``, with sign.
    tolerance
        Largest residual as a share of the absolute value.
        Where a value is so small that rounding hides it, a hundred roundings of the largest will do.
    most_steps
        Hessian products at most; by default ``20 * count``, at least 200.
    seed
        Seed of the first vector; that of network r depends on the seed and r only.
    loss
        As in :func:`spinscape.networks.evaluation.evaluate`.
    chunk
        Networks at once in a product.

    Returns
    -------
    TopEigenvalues
        For piecewise linear networks without the kinks' contribution.
        Equal eigenvalues are found once, until the space of one vector is exhausted.

    Raises
    ------
    ValueError
        If an argument is out of range or samples do not fit the networks.
    MemoryError
        If the vectors of one network do not fit; it says how many do.

    Examples
    --------
    >>> import torch
    >>> from spinscape.networks.ensemble import Ensemble
    >>> net = torch.nn.Linear(2, 1, bias=False)
    >>> x, y = torch.tensor([[3.0, 0.0], [0.0, 1.0]]), torch.zeros(2, 1)
    >>> top_eigenvalues(Ensemble.from_modules([net]), x, y, 2, loss="mse").values.round(3).tolist()
    [[9.0, 1.0]]
    """
    size = sum(value[0].numel() for value in ensemble.params.values())
    if which not in ("largest", "smallest"):
        raise ValueError(f"which must be 'largest' or 'smallest', not {which!r}")
    if not 1 <= count <= size:
        raise ValueError(f"count must lie between 1 and the {size} parameters, not {count}")
    if not tolerance > 0:
        raise ValueError(f"tolerance must be positive, not {tolerance}")
    most = min(size, max(200, 20 * count) if most_steps is None else most_steps)
    if most < count:
        raise ValueError(f"most_steps must be at least count = {count}, not {most_steps}")
    parts = []
    with bar("top eigenvalues", ensemble.replicas) as moved:
        for rows, product in in_groups(ensemble, x, y, loss, chunk, vectors=most + 4):

            def fresh(r: int, _: int, step: int, rows: np.ndarray = rows) -> Tensor:
                source = generator(seed, LANCZOS, int(rows[r]), 0, step)
                return torch.randn(size, generator=source, dtype=ensemble.dtype)

            start = torch.stack([fresh(r, 0, 0) for r in range(len(rows))])[:, None].to(ensemble.device)
            space = Lanczos(product, start, most, fresh)
            parts.append(_converge(space, count, which, tolerance))
            moved.update(len(rows))
    return TopEigenvalues(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _converge(
    space: Lanczos, count: int, which: str, tolerance: float
) -> tuple[Floats, Floats, NDArray[np.int64], NDArray[np.bool_]]:
    """Enlarge the spaces until every network's values are exact enough; each keeps what it had then."""
    networks = len(space.basis)
    values, residuals = np.empty((networks, count)), np.empty((networks, count))
    steps, converged = np.zeros(networks, int), np.zeros((networks, count), bool)
    left = np.ones(networks, bool)
    while left.any():
        space.step()
        j = space.done
        if j < count or ((j - count) % EVERY and j < space.steps):
            continue
        found, columns = torch.linalg.eigh(space.tridiagonal()[:, 0])
        last = space.beside[:, 0, j - 1].cpu().double()
        off = (last[:, None] * columns[:, -1].abs()).numpy()
        ritz = found.numpy()
        chosen = slice(None, -count - 1, -1) if which == "largest" else slice(None, count)
        own, far = ritz[:, chosen], off[:, chosen]
        scale = np.abs(ritz).max(1, keepdims=True)
        good = far <= np.maximum(tolerance * np.abs(own), FLOOR * space.eps * scale)
        ends = left & (good.all(1) | (j == space.steps))
        values[ends], residuals[ends], steps[ends], converged[ends] = own[ends], far[ends], j, good[ends]
        left &= ~ends
    return values, residuals, steps, converged
