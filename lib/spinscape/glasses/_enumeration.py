"""All complex eigenpair classes of a batch of symmetric tensors, with a certificate for each tensor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from spinscape.glasses import _classes
from spinscape.glasses._draws import HOMOTOPY, generator
from spinscape.glasses._eigenpairs import Tensors, certify, newton_step, norms, unit
from spinscape.glasses._homotopy import start_points, track

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


def enumerate_classes(
    tensors: Tensor, first: int, seed: int, *, paths: int, done: Callable[[int], object] = lambda _: None
) -> Classes:
    """Track all paths of tensors (I, n, ..., n) of order p >= 3 until each is complete or rounds run out.

    Parameters
    ----------
    tensors
        Real and symmetric, scaled so that eigenvalues are of order 1.
    first
        Number of the first instance, which with the seed gives the random factors.
    seed
        Seed of the run.
    paths
        How many paths to follow at once, but at least those of one instance.
    done
        Told after each group how many instances went through the first round.
    """
    i, n, p = tensors.shape[0], tensors.shape[-1], tensors.dim() - 1
    starts = torch.from_numpy(start_points(p, n)).to(tensors.device)
    found = _nothing(i, len(starts), n, tensors.device)
    pending = torch.ones(i, len(starts), dtype=torch.bool, device=tensors.device)
    last = 0
    for tolerance, number in ROUNDS:
        todo = (~found.valid).any(1).nonzero()[:, 0]
        if number != last:
            pending[todo] = True
        last = number
        # Where a path had jumped to the end of another, none may be left to follow with this factor.
        todo = todo[pending[todo].any(1)]
        found.rounds[todo] += 1
        for group in _groups(todo, pending, paths):
            system = Tensors(tensors[group])
            factors = _factors(first + group.cpu().numpy(), number, seed).to(tensors.device)
            pending[group] &= _follow(found, system, group, factors, starts, pending[group], tolerance)
            done(len(group) if tolerance == ROUNDS[0][0] else 0)
    return found


def _groups(todo: Tensor, pending: Tensor, paths: int) -> list[Tensor]:
    """Divide instances into groups with at most so many pending paths, or of one instance."""
    groups: list[list[int]] = []
    held = paths
    for instance, count in zip(todo.tolist(), pending[todo].sum(1).tolist(), strict=True):
        if held + count > paths:
            groups.append([])
            held = 0
        groups[-1].append(instance)
        held += count
    return [torch.tensor(group, device=todo.device) for group in groups]


def _follow(
    found: Classes,
    real: Tensors,
    which: Tensor,
    factors: Tensor,
    starts: Tensor,
    pending: Tensor,
    tolerance: float,
) -> Tensor:
    """Follow the pending paths (m, K) of the instances `which`, and add what they reach to `found`.

    Returns
    -------
    Tensor
        Which paths to follow again if their instance is not complete, (m, K).
    """
    system = real.to(torch.complex128)
    at = pending.nonzero()
    ends, arrived = track(system, factors, starts[at[:, 1]], at[:, 0], tolerance=tolerance)
    ends, arrived = _polish(system, ends, arrived, at[:, 0])
    number, radius, alone = certify(system, ends, at[:, 0], _sizes(system, at[:, 0]))
    good = arrived & (number <= KANTOROVICH) & (radius < _classes.SAME / 2)
    x, valid, kantorovich, uniqueness = (_padded(pending, v) for v in (ends, good, number, alone))
    return _add(found, which, x, valid, kantorovich, uniqueness)


def _padded(where: Tensor, values: Tensor) -> Tensor:
    """Put a value per path, (R, ...), at the places that are True, (m, K), into (m, K, ...); else zeros."""
    out = values.new_zeros(*where.shape, *values.shape[1:])
    out[where] = values
    return out


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


def _add(
    found: Classes, which: Tensor, x: Tensor, good: Tensor, kantorovich: Tensor, uniqueness: Tensor
) -> Tensor:
    """Add the new ones among the ends of paths, and their complex conjugates, to what is found.

    Parameters
    ----------
    found
        What is found of all instances; changed in place.
    which
        Numbers of the m instances that the paths lead to, shape (m,).
    x
        Ends of the A paths of each of them, unit vectors, (m, A, n).
    good
        Which ends are proved to be classes, (m, A).
    kantorovich, uniqueness
        Of the ends, as in `Classes`, (m, A).

    Returns
    -------
    Tensor
        Which paths have no good end, or end where another of them does, (m, A); all of those that
        share an end, as any of them may have jumped.
    """
    near = _classes.nearest_earlier(x, good)
    twice = good & (near <= _classes.SAME**2)
    again = ~good
    if bool(twice.any()):
        again |= _classes.nearest(x, good, x, twice) <= _classes.SAME**2
    if bool(found.valid[which].any()):
        near = torch.minimum(near, _classes.nearest(x, good, found.x[which], found.valid[which]))
    _insert(found, which, good & (near > _classes.SAME**2), near, x, kantorovich, uniqueness)
    x, valid = found.x[which].conj().resolve_conj(), found.valid[which]
    near = _classes.nearest(x, valid, found.x[which], valid)
    lonely = valid & (near > _classes.SAME**2)
    _insert(found, which, lonely, near, x, found.kantorovich[which], found.uniqueness[which])
    return again


def _insert(
    found: Classes,
    which: Tensor,
    new: Tensor,
    near: Tensor,
    x: Tensor,
    kantorovich: Tensor,
    uniqueness: Tensor,
) -> None:
    """Put the classes marked `new`, (m, A), into free places, as far as there are any."""
    place = found.valid[which].sum(1, keepdim=True) + new.cumsum(1) - 1
    new = new & (place < found.valid.shape[1])
    at = new.nonzero()
    rows, columns = which[at[:, 0]], place[new]
    found.x[rows, columns], found.valid[rows, columns] = x[new], True
    found.kantorovich[rows, columns] = kantorovich[new]
    found.uniqueness[rows, columns] = uniqueness[new]
    closest = torch.where(new, near, torch.inf).amin(1).clamp_min(0).sqrt()
    found.separation[which] = torch.minimum(found.separation[which], closest)
