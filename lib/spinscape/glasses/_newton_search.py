"""Real eigenvectors of one symmetric tensor by Newton's method from random starts."""

from __future__ import annotations

import torch
from torch import Tensor

from spinscape.glasses import _classes
from spinscape.glasses._draws import NEWTON, generator
from spinscape.glasses._eigenpairs import Tensors, certify, newton_step, norms, unit
from spinscape.glasses._enumeration import CONVERGED, KANTOROVICH

STEPS = 60
"""Most Newton steps from a start."""

LONGEST = (float("inf"), 0.35)
"""The longest step, as a tangent, for each half of the starts.

Measured share of the starts that meet the least met point: at p = 3, n = 8 full steps give .0017 and
steps of .35 give .0004; at p = 4, n = 4 they give .0003 and .0017.
"""

HELD_BYTES = 2**26
"""Memory that the Jacobians of the starts followed at once may take."""

MEETINGS = 5
"""How often every point must have been met before a search may end."""


def search(
    tensors: Tensor, which: int, *, starts: int, patience: float, most: int, seed: int
) -> tuple[Tensor, int]:
    """Return real classes as unit vectors (R, n), and how many starts were made.

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
    at_once = max(1, HELD_BYTES // (8 * max(system.n**2, system.weights.shape[1])))
    tried = last = 0
    while tried < most:
        draws = torch.from_numpy(random.standard_normal((starts, system.n)))
        halves = unit(draws.to(tensors.device)).tensor_split(len(LONGEST))
        ends = torch.cat(
            [
                _descend(system, part, step)
                for x, step in zip(halves, LONGEST, strict=True)
                for part in x.split(at_once)
            ]
        )
        tried += starts
        if not len(ends):
            break
        before = len(known)
        known, met = _count(known, met, ends)
        last = tried if len(known) > before else last
        if tried >= (1 + patience) * last and bool((met >= MEETINGS).all()):
            break
    return known, tried


def _descend(system: Tensors, x: Tensor, longest: float) -> Tensor:
    """Take Newton steps, none above `longest`, from unit vectors (R, n); return proved ends, at most R."""
    ends = []
    for _ in range(STEPS):
        instance = torch.zeros(len(x), dtype=torch.int64, device=x.device)
        step = newton_step(system, x, instance, [len(x)])
        length = norms(step)
        x = unit(x + step * (longest / length).clamp_max(1)[:, None])
        there, sound = length <= CONVERGED, torch.isfinite(length)
        ends.append(x[there])
        x = x[sound & ~there]
        if not len(x):
            break
    found = torch.cat(ends)
    instance = torch.zeros(len(found), dtype=torch.int64, device=found.device)
    number, radius, _ = certify(system, found, instance, [len(found)])
    return found[(number <= KANTOROVICH) & (radius < _classes.SAME / 2)]


def _count(known: Tensor, met: Tensor, ends: Tensor) -> tuple[Tensor, Tensor]:
    """Count how often each known class was met, and append the new ones."""
    every = torch.cat([known, ends])[None]
    yes = torch.ones(every.shape[:2], dtype=torch.bool, device=ends.device)
    classes = every[0, _classes.nearest_earlier(every, yes)[0] > _classes.SAME**2]
    which = _classes.overlaps(ends[None], classes[None])[0].argmax(1)
    counts = torch.bincount(which, minlength=len(classes))
    counts[: len(met)] += met
    return classes, counts
