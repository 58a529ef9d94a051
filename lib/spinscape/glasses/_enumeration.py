"""All complex eigenpair classes of a batch of symmetric tensors, with a certificate for each tensor."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from spinscape.glasses import _classes
from spinscape.glasses._draws import HOMOTOPY, generator
from spinscape.glasses._eigenpairs import Tensors, certify, newton_step, norms, unit
from spinscape.glasses._homotopy import start_points, track

_Sets = tuple[Tensor, Tensor, Tensor, Tensor]

KANTOROVICH = 0.25
"""Kantorovich number up to which a solution counts as proved; 1/2 is what the theorem needs."""

ROUNDS = ((1.0, 0), (0.25, 0), (0.1, 1), (0.03, 2))
"""Tolerance and number of the random factor, round by round, while an instance is not complete."""

POLISH, CONVERGED = 8, 1e-13
"""Most Newton steps after tracking, and the step at which they end."""


@dataclass
class Classes:
    """Distinct eigenpair classes of I tensors, padded: A places for each.

    Attributes
    ----------
    x
        Unit vectors, shape (I, A, n).
    valid
        Which places hold a class, (I, A).
    kantorovich, uniqueness
        See `certify`; (I, A).
    separation
        Smallest distance between two classes, (I,).
    rounds
        How many rounds of tracking each instance took, (I,).
    """

    x: Tensor
    valid: Tensor
    kantorovich: Tensor
    uniqueness: Tensor
    separation: Tensor
    rounds: Tensor


def expected_classes(p: int, n: int) -> int:
    """Return the number of eigenpair classes of a generic symmetric tensor: ((p-1)^n - 1)/(p-2)."""
    return n if p == 2 else ((p - 1) ** n - 1) // (p - 2)


def enumerate_classes(tensors: Tensor, first: int, seed: int) -> Classes:
    """Track all paths of tensors (I, n, ..., n) of order p >= 3 until each is complete or rounds run out.

    Parameters
    ----------
    tensors
        Real and symmetric, scaled so that eigenvalues are of order 1.
    first
        Number of the first instance, which with the seed gives the random factors.
    seed
        Seed of the run.
    """
    real = Tensors(tensors)
    system = real.to(torch.complex128)
    i, n, p = system.count, system.n, system.p
    starts = torch.from_numpy(start_points(p, n)).to(tensors.device)
    k = len(starts)
    found = _nothing(i, k, n, tensors.device)
    pending = torch.ones(i, k, dtype=torch.bool, device=tensors.device)
    last = 0
    for tolerance, number in ROUNDS:
        todo = (found.valid.sum(1) < k).nonzero()[:, 0]
        if not len(todo):
            break
        found.rounds[todo] += 1
        if number != last:
            pending[todo] = True
        last = number
        part = system if len(todo) == i else Tensors(tensors[todo]).to(torch.complex128)
        factors = _factors(first + todo.cpu().numpy(), number, seed).to(tensors.device)
        paths = pending[todo].nonzero()
        ends, arrived = track(part, factors, starts[paths[:, 1]], paths[:, 0], tolerance=tolerance)
        ends, arrived = _polish(part, ends, arrived, paths[:, 0])
        x = starts.new_zeros(len(todo), k, n)
        good = torch.zeros(len(todo), k, dtype=torch.bool, device=x.device)
        x[paths[:, 0], paths[:, 1]] = ends
        good[paths[:, 0], paths[:, 1]] = arrived
        pending[todo] &= _add(found, part, todo, x, good)
    return found


def _nothing(i: int, k: int, n: int, device: torch.device) -> Classes:
    return Classes(
        x=torch.zeros(i, k, n, dtype=torch.complex128, device=device),
        valid=torch.zeros(i, k, dtype=torch.bool, device=device),
        kantorovich=torch.full((i, k), torch.inf, dtype=torch.float64, device=device),
        uniqueness=torch.zeros(i, k, dtype=torch.float64, device=device),
        separation=torch.full((i,), torch.inf, dtype=torch.float64, device=device),
        rounds=torch.zeros(i, dtype=torch.int64, device=device),
    )


def _factors(instances: np.ndarray, number: int, seed: int) -> Tensor:
    """Draw the random factor of modulus 1 of each instance."""
    turns = [generator(seed, HOMOTOPY, int(i), number).random() for i in instances]
    return torch.from_numpy(np.exp(2j * np.pi * np.array(turns)))


def _sizes(tensors: Tensors, instance: Tensor) -> list[int]:
    return torch.bincount(instance, minlength=tensors.count).tolist()


def _polish(tensors: Tensors, x: Tensor, arrived: Tensor, instance: Tensor) -> tuple[Tensor, Tensor]:
    """Take Newton steps until they are of the order of rounding; return points, and which are finite."""
    moving = arrived.nonzero()[:, 0]
    for _ in range(POLISH):
        if not len(moving):
            break
        step = newton_step(tensors, x[moving], instance[moving], _sizes(tensors, instance[moving]))
        x[moving] = unit(x[moving] + step)
        # Comparisons with what is not finite are false, so such points stop here.
        moving = moving[norms(step) > CONVERGED]
    finite = arrived & torch.isfinite(torch.view_as_real(x)).flatten(1).all(1)
    return torch.where(finite[:, None], x, 0), finite


def _add(found: Classes, tensors: Tensors, which: Tensor, x: Tensor, good: Tensor) -> Tensor:
    """Add new classes to the instances `which`, their complex conjugates included.

    Parameters
    ----------
    found
        What is known, changed in place.
    tensors
        The tensors of the instances `which`.
    which
        Numbers of m instances, (m,).
    x, good
        End points of paths, (m, A, n), and which of them to look at, (m, A).

    Returns
    -------
    Tensor
        Which paths to track again if their instance is not complete, (m, A).
    """
    at = good.nonzero()
    number, radius, alone = certify(tensors, x[good], at[:, 0], _sizes(tensors, at[:, 0]))
    kantorovich = torch.full(good.shape, torch.inf, dtype=torch.float64, device=x.device)
    uniqueness = torch.zeros_like(kantorovich)
    kantorovich[good], uniqueness[good] = number, alone
    good = good & (kantorovich <= KANTOROVICH)
    good[at[:, 0], at[:, 1]] &= radius < _classes.SAME / 2
    new, separation = _classes.distinct(x, good)
    twice = good & ~new
    again = ~good
    if bool(twice.any()):
        again |= _classes.nearest(x, good, x, twice) <= _classes.SAME**2
    sets = (x, new, kantorovich, uniqueness)
    if bool(found.valid[which].any()):
        known = (found.x[which], found.valid[which], found.kantorovich[which], found.uniqueness[which])
        sets, separation = _join(known, sets)
    lonely = sets[1] & (_classes.nearest(sets[0].conj(), sets[1], *sets[:2]) > _classes.SAME**2)
    if bool(lonely.any()):
        sets, separation = _join(sets, (sets[0].conj().resolve_conj(), lonely, *sets[2:]))
    order = torch.argsort((~sets[1]).to(torch.int8), dim=1, stable=True)[:, : found.x.shape[1]]
    rows = torch.arange(len(which), device=x.device)[:, None]
    found.x[which], found.valid[which] = sets[0][rows, order], sets[1][rows, order]
    found.kantorovich[which], found.uniqueness[which] = sets[2][rows, order], sets[3][rows, order]
    found.separation[which] = separation
    return again


def _join(first: _Sets, second: _Sets) -> tuple[_Sets, Tensor]:
    """Put two padded sets of classes side by side and keep those of the second that are new."""
    x, valid, kantorovich, uniqueness = (
        torch.cat([a, b], 1) for a, b in zip(first, second, strict=True)
    )
    new, separation = _classes.distinct(x, valid)
    return (x, new, kantorovich, uniqueness), separation
