"""Real eigenvectors of one symmetric tensor by Newton's method from random starts."""

from __future__ import annotations

import torch
from torch import Tensor

from spinscape.glasses import _classes
from spinscape.glasses._draws import NEWTON, generator
from spinscape.glasses._eigenpairs import Tensors, certify, newton_step, norms, unit
from spinscape.glasses._enumeration import CONVERGED, KANTOROVICH

STEPS, LONGEST = 60, 0.5
"""Most Newton steps from a start, and the longest of them as a tangent."""

MEETINGS = 3
"""How often every point must have been met before a search may end."""


def search(
    tensors: Tensor, which: int, *, starts: int, patience: float, most: int, seed: int
) -> tuple[Tensor, int]:
    """Return real classes as unit vectors (R, n), and how many starts it took to trust them.

    Parameters
    ----------
    tensors
        One real symmetric tensor, shape (1, n, ..., n).
    which
        Number of the instance, which with the seed gives the starts.
    starts, patience, most, seed
        As in `critical_points.find_by_newton`.
    """
    system, random = Tensors(tensors), generator(seed, NEWTON, which)
    known = tensors.new_empty(0, system.n)
    met = torch.empty(0, dtype=torch.int64, device=tensors.device)
    tried = last = 0
    while tried < most:
        draws = torch.from_numpy(random.standard_normal((starts, system.n)))
        ends = _descend(system, unit(draws.to(tensors.device)))
        tried += starts
        before = len(known)
        known, met = _count(known, met, ends)
        last = tried if len(known) > before else last
        if tried >= (1 + patience) * last and bool((met >= MEETINGS).all()):
            break
    return known, tried


def _descend(system: Tensors, x: Tensor) -> Tensor:
    """Take Newton steps from unit vectors (R, n) and return the proved ends, some of the R."""
    ends = []
    for _ in range(STEPS):
        instance = torch.zeros(len(x), dtype=torch.int64, device=x.device)
        step = newton_step(system, x, instance, [len(x)])
        length = norms(step)
        x = unit(x + step * (LONGEST / length.clamp_min(LONGEST))[:, None])
        there, sound = length <= CONVERGED, torch.isfinite(length)
        ends.append(x[there])
        x = x[sound & ~there]
        if not len(x):
            break
    found = torch.cat([*ends, x])
    instance = torch.zeros(len(found), dtype=torch.int64, device=found.device)
    return found[certify(system, found, instance, [len(found)])[0] <= KANTOROVICH]


def _count(known: Tensor, met: Tensor, ends: Tensor) -> tuple[Tensor, Tensor]:
    """Count how often each known class was met, and append the new ones."""
    every = torch.cat([known, ends])[None]
    yes = torch.ones(every.shape[:2], dtype=torch.bool, device=ends.device)
    new, _ = _classes.distinct(every, yes)
    classes = every[0, new[0]]
    if not len(ends):
        return classes, met
    which = _classes.gaps(ends[None], classes[None])[0].argmin(1)
    counts = torch.bincount(which, minlength=len(classes))
    counts[: len(met)] += met
    return classes, counts
