"""Chains that sample a Gaussian weighed by the loss, robust in many dimensions.

In whitened coordinates u the law is ``exp(-|u|^2 / 2 - U(u))``, where U is the loss times its strength.
Without U, the flow of ``|u|^2 / 2 + |p|^2 / 2`` is a rotation of u and p, which is done exactly.
So the number of dimensions costs no acceptance, only what the loss adds does: Hamiltonian Monte Carlo on
Hilbert spaces (Beskos, Pinski, Sanz-Serna and Stuart 2011).
With one leap it is the preconditioned Crank-Nicolson Langevin algorithm (Cotter et al. 2013), up to the form
of its step.
Every proposal is accepted or refused by Metropolis' rule, so the steps' sizes leave no bias.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import log, pi

import torch
from torch import Tensor

from spinscape.landscape.steps import draw

Energy = Callable[[Tensor], tuple[Tensor, Tensor]]
"""From u ``(C, D)`` to the loss, float64 ``(C,)`` on the CPU, and the gradient of U with respect to u."""

AIM = 0.8
"""Share of accepted proposals that steps are fitted to while chains settle."""


@dataclass(frozen=True)
class Run:
    """What chains saw after they had settled.

    Attributes
    ----------
    loss
        ``(C, T)``, float64 on the CPU.
    distance
        Norm of u, ``(C, T)``.
    acceptance
        Share of proposals that were accepted, ``(C,)``.
    step
        Angle of a leap, ``(C,)``.
    """

    loss: Tensor
    distance: Tensor
    acceptance: Tensor
    step: Tensor


@torch.no_grad()
def run(
    energy: Energy,
    strength: Tensor,
    start: Tensor,
    generators: list[torch.Generator],
    *,
    steps: int,
    settle: int,
    leaps: int,
    tick: Callable[[int], object] = lambda count: None,
) -> Run:
    """Run chains side by side; none depends on its neighbours.

    Parameters
    ----------
    energy
        The loss and the gradient of U.
    strength
        U divided by the loss, float64 ``(C,)``.
    start
        Where chains begin, ``(C, D)``.
    generators
        One for each chain, on the CPU.
    steps, settle
        Proposals that are recorded, and before them those that fit the step and are not.
    leaps
        Leaps of a proposal.
    tick
        Called with the number of gradients after every proposal.
    """
    u = start
    loss, slope = energy(u)
    chains = len(u)
    widest = log(pi / (2 * leaps))
    width = torch.full((chains,), widest, dtype=torch.float64)
    settled = torch.zeros_like(width)
    later = settle // 2
    losses, distances = torch.empty(2, chains, steps, dtype=torch.float64)
    accepted = torch.zeros_like(width)
    for t in range(settle + steps):
        if settle and t == settle:
            width = settled / (settle - later)
        uniform = torch.stack([torch.rand(2, generator=g, dtype=torch.float64) for g in generators])
        p = torch.stack([draw(u.shape[1:], u, g) for g in generators])
        # Lengths vary, so that no chain swings to and fro.
        angle = width.exp() * (0.75 + 0.5 * uniform[:, 0])
        v, new, bend, kicks = _leap(energy, u, p, slope, angle, leaps)
        change = strength * (new - loss) + kicks
        chance = (-change).clamp(max=0).exp().nan_to_num(0.0)
        yes = uniform[:, 1] < chance
        keep = yes.to(u.device)[:, None]
        u, slope = torch.where(keep, v, u), torch.where(keep, bend, slope)
        loss = torch.where(yes, new, loss)
        if t < settle:
            width = (width + (chance - AIM) / (1 + t / 5) ** 0.6).clamp(max=widest)
            settled += width if t >= later else 0.0
        else:
            losses[:, t - settle], distances[:, t - settle] = loss, _sums(u.square()).sqrt()
            accepted += chance
        tick(chains * leaps)
    return Run(losses, distances, accepted / steps, width.exp())


def _leap(
    energy: Energy, u: Tensor, p: Tensor, slope: Tensor, angle: Tensor, leaps: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Follow the flow: half a kick by the loss, a rotation, half a kick, and so on.

    Rotations leave ``|u|^2 + |p|^2``, so only what kicks change is counted, ``(C,)``: the sums themselves are
    as large as the number of parameters, and their rounding would be too.
    """
    half, cosine, sine = (value.to(u)[:, None] for value in (angle / 2, angle.cos(), angle.sin()))
    change = torch.zeros(len(u), dtype=torch.float64)
    for leap in range(leaps + 1):
        size = half if leap in (0, leaps) else 2 * half
        kicked = p - size * slope
        change -= _sums(size * (p + kicked) * slope) / 2
        p = kicked
        if leap < leaps:
            u, p = cosine * u + sine * p, cosine * p - sine * u
            loss, slope = energy(u)
    return u, loss, slope, change


def _sums(rows: Tensor) -> Tensor:
    """Return sums of rows, float64 ``(C,)`` on the CPU."""
    rows = rows.cpu() if rows.device.type == "mps" else rows
    return rows.sum(1, dtype=torch.float64).cpu()


def autocorrelation_time(series: Tensor) -> Tensor:
    """Return the integrated autocorrelation time in steps, ``(...)``, of chains ``(..., C, T)``.

    Deviations are from the mean over all chains, so chains that stay apart have a long time.
    The sum ``1 + 2 sum_k rho_k`` ends at the first lag of at least five times itself (Sokal 1997), or at half
    the length; it is at least 1.
    """
    count = series.shape[-1]
    away = series - series.mean((-2, -1), keepdim=True)
    variance = away.square().mean((-2, -1))
    total = torch.ones_like(variance)
    running = torch.ones_like(variance, dtype=torch.bool)
    for lag in range(1, count // 2 + 1):
        covariance = (away[..., lag:] * away[..., :-lag]).mean((-2, -1))
        total = torch.where(running, total + 2 * covariance / variance.clamp_min(1e-300), total)
        running &= lag < 5 * total
        if not running.any():
            break
    return total.clamp_min(1.0)
