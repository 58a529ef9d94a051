"""Nudged elastic bands: paths of lowest energy between two points of any potential.

A band is a broken line of pivots whose ends stay.
Across the band every pivot goes down the gradient.
Along it the gradient is left out, and springs keep the pivots apart, or they are put back to given distances
after every step.
So the band settles on a path that is a minimum across itself, and its highest point is a saddle.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from spinscape.landscape.paths._broken_lines import spread
from spinscape.landscape.symmetry.checks import at_least
from spinscape.networks import optimisers

Floats = NDArray[np.float64]

Potential = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Positions ``(N, D)`` to energies ``(N,)`` and gradients ``(N, D)``."""


@dataclass(frozen=True)
class Band:
    """P bands of M pivots in D dimensions, after relaxation.

    Attributes
    ----------
    pivots
        Positions, ``(P, M, D)``; the first and the last are the ends.
    energies
        Energies of the pivots, ``(P, M)``.
    force
        Largest force on an inner pivot, springs included, ``(P,)``.
    steps
        Steps taken, ``(P,)``.
    """

    pivots: Floats
    energies: Floats
    force: Floats
    steps: NDArray[np.int64]

    @property
    def highest(self) -> Floats:
        """The highest energy of a pivot, ``(P,)``; without `climb` the saddle may be higher."""
        return self.energies.max(1)

    @property
    def saddle(self) -> Floats:
        """The position of the highest pivot, ``(P, D)``; without `climb` only near the saddle."""
        return self.pivots[np.arange(len(self.pivots)), self.energies.argmax(1)]


def relax(
    start: ArrayLike | Tensor,
    potential: Potential,
    *,
    steps: int,
    learning_rate: float,
    optimiser: str | Callable[..., torch.optim.Optimizer] = "sgd",
    momentum: float = 0.0,
    spring: float | None = None,
    shares: ArrayLike | Tensor | None = None,
    climb: bool = False,
    tolerance: float | None = None,
) -> Band:
    """Relax bands in a potential.

    Parameters
    ----------
    start
        Pivots ``(P, M, D)``, the ends of each band among them; a tensor is worked on in its type and where it
        is, anything else in float64 on the CPU.
    potential
        Energies and gradients of positions ``(N, D)``, the inner pivots of one band after the other.
        The ends are asked for once, in the very first call, with all the others.
    steps
        Steps, at most.
    learning_rate, optimiser, momentum
        As in :func:`spinscape.networks.training.train`; a step of plain descent moves a pivot by the learning
        rate times the force.
    spring
        Spring constant.
        Without one, pivots are put at given distances along the broken line after every step.
    shares
        Lengths that the segments shall have, as shares of a band's length, ``(P, M - 1)``; by default equal.
    climb
        Whether the highest inner pivot of a band feels no spring, and the gradient along the band in reverse,
        so that it climbs to the saddle; needs springs.
    tolerance
        A band is done when no force on its pivots is larger.

    Returns
    -------
    Band

    Raises
    ------
    ValueError
        If an argument is out of range, or a position or the energy of one is not finite at the start.

    Notes
    -----
    Henkelman and Jonsson 2000 (tangents), Henkelman, Uberuaga and Jonsson 2000 (climbing pivot).
    Pivots put back to their distances are the limit of stiff springs (Draxler et al. 2018), or a string
    (E, Ren and Vanden-Eijnden 2007).

    Examples
    --------
    A saddle of height 1 at (0, 1) between minima at (-1, 0) and (1, 0):

    >>> def potential(r):
    ...     x, y = r.unbind(1)
    ...     w, v = 1 - x**2, y + x**2 - 1
    ...     return w**2 + v**2, torch.stack([4 * x * (v - w), 2 * v], 1)
    >>> line = torch.linspace(-1, 1, 7, dtype=torch.float64)
    >>> start = torch.stack([line, 0 * line], 1)[None]
    >>> found = relax(start, potential, steps=2000, learning_rate=0.05, spring=1.0, climb=True)
    >>> bool(np.abs(found.highest - 1).max() < 1e-9)
    True
    """
    at_least("steps", steps, 0)
    pivots = start.detach().clone() if isinstance(start, Tensor) else torch.as_tensor(np.array(start, float))
    if pivots.ndim != 3 or pivots.shape[1] < 3 or not len(pivots) or not pivots.is_floating_point():
        raise ValueError(f"start must be numbers (P, M, D) with M at least 3, not {tuple(pivots.shape)}")
    if not pivots.isfinite().all():
        raise ValueError("start has positions that are not finite")
    if climb and spring is None:
        raise ValueError("a pivot that climbs needs springs between the others: give spring")
    if spring is not None and not spring >= 0:
        raise ValueError(f"spring must not be negative, not {spring}")
    rule = optimisers.factory(optimiser, pivots.device, learning_rate=learning_rate, momentum=momentum)
    wanted = _shares(shares, pivots)
    settled = settle(
        pivots, potential, wanted, steps=steps, spring=spring, climb=climb, tolerance=tolerance, rule=rule
    )
    if not settled.start.isfinite().all():
        raise ValueError("start has energies that are not finite")
    positions, energies, force = (value.cpu().double().numpy() for value in settled[:3])
    return Band(positions, energies, force, settled.steps.numpy())


class Settled(NamedTuple):
    """What a `Band` holds, as tensors, and the energies at the start."""

    pivots: Tensor
    energies: Tensor
    force: Tensor
    steps: Tensor
    start: Tensor


def settle(
    pivots: Tensor,
    potential: Potential,
    shares: Tensor,
    *,
    steps: int,
    rule: optimisers.Factory,
    spring: float | None = None,
    climb: bool = False,
    tolerance: float | None = None,
) -> Settled:
    """Relax bands ``(P, M, D)`` with segments ``(P, M - 1)``, all of them tensors on one device.

    The options are those of :func:`relax`; `rule` makes the optimiser.
    """
    rows = optimisers.as_rows(pivots.clone())
    pivots = optimisers.as_stacked(rows, pivots.shape[1:])
    stepper = rule([rows])
    energies, _ = _asked(potential, pivots)
    start, done = energies.clone(), torch.zeros(len(pivots), dtype=torch.bool)
    kept = Settled(pivots.clone(), energies.clone(), done.double(), done.long(), start)
    slopes = torch.zeros_like(pivots)
    for step in range(steps + 1):
        energies[:, 1:-1], gradients = _asked(potential, pivots[:, 1:-1])
        slopes[:, 1:-1] = _slopes(pivots, energies, gradients, shares, spring, climb)
        last = step == steps
        if last or tolerance is not None:
            force = torch.linalg.vector_norm(slopes, dim=-1).amax(1).cpu().double()
            new = ~done & (last | (force <= (tolerance or 0.0)))
            if bool(new.any()):
                there = new.to(pivots.device)
                kept.pivots[there], kept.energies[there] = pivots[there], energies[there]
                kept.force[new], kept.steps[new] = force[new], step
            done |= new
        if bool(done.all()):
            break
        rows.grad = optimisers.as_rows(slopes)
        stepper.step()
        if spring is None:
            pivots[:, 1:-1] = spread(pivots, shares)
    return kept


def tangents(pivots: Tensor, energies: Tensor) -> Tensor:
    """Return the unit tangents at the inner pivots, towards the neighbour of higher energy.

    At an extremum along the band both neighbours count, by how much their energies differ.

    Parameters
    ----------
    pivots, energies
        ``(P, M, D)`` and ``(P, M)``.

    Returns
    -------
    Tensor
        ``(P, M - 2, D)``; zero where both neighbours are at the same place.
    """
    segments = pivots.diff(dim=1)
    rise = energies.diff(dim=1)
    before, after = rise[:, :-1], rise[:, 1:]
    larger, smaller = (f(before.abs(), after.abs()) for f in (torch.maximum, torch.minimum))
    flat = larger == 0
    ratio = torch.where(flat, 1, smaller / torch.where(flat, 1, larger))
    uphill = before + after > 0
    monotone = before.sign() * after.sign() > 0
    one, other = torch.ones_like(ratio), torch.where(monotone, 0, ratio)
    weight_after = torch.where(uphill, one, other)[..., None]
    weight_before = torch.where(uphill, other, one)[..., None]
    direction = weight_before * segments[:, :-1] + weight_after * segments[:, 1:]
    length = torch.linalg.vector_norm(direction, dim=-1, keepdim=True)
    return direction / torch.where(length == 0, 1, length)


def _slopes(
    pivots: Tensor,
    energies: Tensor,
    gradients: Tensor,
    shares: Tensor,
    spring: float | None,
    climb: bool,
) -> Tensor:
    """Return minus the forces on the inner pivots, ``(P, M - 2, D)``."""
    along = tangents(pivots, energies)
    rate = (gradients * along).sum(-1)
    pull = rate
    if spring is not None:
        lengths = torch.linalg.vector_norm(pivots.diff(dim=1), dim=-1) / (shares * shares.shape[1])
        pull = rate + spring * lengths.diff(dim=1)
    if climb:
        top = energies[:, 1:-1].argmax(1, keepdim=True)
        pull = pull.scatter(1, top, 2 * rate.gather(1, top))
    return torch.addcmul(gradients, pull[..., None], along, value=-1)


def _asked(potential: Potential, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Ask a potential for energies ``(P, m)`` and gradients ``(P, m, D)`` of positions ``(P, m, D)``."""
    energies, gradients = potential(positions.flatten(0, 1))
    count = positions.shape[0] * positions.shape[1]
    if energies.shape != (count,) or gradients.shape != (count, positions.shape[2]):
        raise ValueError(
            f"a potential must return energies {(count,)} and gradients {(count, positions.shape[2])}, "
            f"not {tuple(energies.shape)} and {tuple(gradients.shape)}"
        )
    return energies.detach().view(positions.shape[:2]), gradients.detach().view(positions.shape)


def _shares(shares: ArrayLike | Tensor | None, pivots: Tensor) -> Tensor:
    """Return the shares of the segments, ``(P, M - 1)``, of sum 1."""
    shape = (len(pivots), pivots.shape[1] - 1)
    if shares is None:
        return pivots.new_full(shape, 1 / shape[1])
    given = torch.as_tensor(shares).to(pivots)
    if tuple(given.shape) != shape or not (given > 0).all() or not given.isfinite().all():
        raise ValueError(f"shares must be positive numbers of shape {shape}")
    return given / given.sum(1, keepdim=True)
