"""All complex eigenpairs of symmetric tensors, by following paths from a tensor whose pairs are known.

The path is ``A(t) = (1 - t) g D + t T`` with D the diagonal tensor and g a random complex number of
modulus 1; for almost every g the ((p-1)^n - 1) / (p-2) classes of eigenpairs of A(t) stay distinct for
t < 1 and reach all classes of a generic T (Cartwright and Sturmfels 2013).
Those of D are the vectors whose entries are 0 or (p-2)-th roots of unity, up to a common factor.
A class is a point of projective space, so no path runs to infinity.

A step predicts by the cubic through the last two points and their tangents and corrects by one
Newton step, whose factorised matrix gives the next tangent too: one linear system a step.
The length of the correction sets the next step.
Every path has its own t; those that have arrived leave the batch.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from spinscape.glasses._eigenpairs import Tensors, conj, jacobian, norms, unit

FIRST_STEP, SHORTEST_STEP = 0.05, 1e-8
"""The first step in t, and the step below which a path is given up, both at tolerance 1.

Paths that turn sharply near t = 1 need short steps: at p = 3, n = 8, 1e-4 leaves one of 2400 instances short.
"""

CORRECTION, AIM = 0.1, 0.02
"""The longest correction that is accepted and the one aimed at, as angles times (1 + |dx/dt|)."""

GROWTH, SHRINKAGE = 3.0, 0.25
"""How much a step can change the next."""

MOST_STEPS = 1000
"""Steps after which every path that has not arrived is given up."""


@dataclass
class _State:
    """The paths under way, sorted by instance: what is known of each at its present t."""

    path: Tensor
    instance: Tensor
    factor: Tensor
    t: Tensor
    step: Tensor
    x: Tensor
    tangent: Tensor
    before: Tensor
    before_tangent: Tensor
    taken: Tensor

    def keep(self, which: Tensor) -> _State:
        return _State(*(value[which] for value in vars(self).values()))


def start_points(p: int, n: int) -> np.ndarray:
    """Return the eigenvectors of the diagonal tensor, one of each class: (((p-1)^n - 1)/(p-2), n), unit."""
    roots = np.exp(2j * np.pi * np.arange(p - 2) / (p - 2))
    blocks = []
    for first in range(n):
        rest = np.array(list(itertools.product([0, *roots], repeat=n - first - 1)), dtype=complex)
        block = np.zeros((len(rest), n), dtype=complex)
        block[:, first] = 1
        block[:, first + 1 :] = rest.reshape(len(rest), n - first - 1)
        blocks.append(block)
    points = np.concatenate(blocks)
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def track(
    tensors: Tensors, factors: Tensor, starts: Tensor, instance: Tensor, *, tolerance: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Follow paths from the diagonal tensor to each of the tensors.

    Parameters
    ----------
    tensors
        The I tensors, complex.
    factors
        The random factor g of each, shape (I,).
    starts
        Unit eigenvectors of the diagonal tensor, shape (R, n).
    instance
        Number of the tensor that each path leads to, shape (R,), ascending.
    tolerance
        Scales the corrections that are accepted; smaller is slower and safer.

    Returns
    -------
    tuple of Tensor
        End points (R, n), unit vectors near eigenvectors, and which paths arrived (R,).
    """
    ends, arrived = starts.clone(), torch.zeros(len(starts), dtype=torch.bool, device=starts.device)
    state = _begin(tensors, factors, starts, instance, tolerance)
    sizes = _sizes(tensors, instance)
    for _ in range(MOST_STEPS):
        if not len(state.path):
            break
        lost = _advance(state, tensors, sizes, tolerance)
        there = state.t >= 1
        leaving = there | lost
        if bool(leaving.any()):
            ends[state.path[there]] = state.x[there]
            arrived[state.path[there]] = True
            state = state.keep(~leaving)
            sizes = _sizes(tensors, state.instance)
    return ends, arrived


def _sizes(tensors: Tensors, instance: Tensor) -> list[int]:
    return torch.bincount(instance, minlength=tensors.count).tolist()


def _begin(tensors: Tensors, factors: Tensor, starts: Tensor, instance: Tensor, tolerance: float) -> _State:
    t = torch.zeros(len(starts), dtype=torch.float64, device=starts.device)
    factor = factors[instance][:, None]
    _, tangent = _correct(tensors, factor, starts, t, instance, _sizes(tensors, instance))
    path = torch.arange(len(starts), device=starts.device)
    step = torch.full_like(t, FIRST_STEP * tolerance)
    none = torch.full_like(t, torch.inf)
    return _State(path, instance, factor, t, step, starts, tangent, starts, tangent, none)


def _advance(state: _State, tensors: Tensors, sizes: list[int], tolerance: float) -> Tensor:
    """Try one step on every path and return which ones are lost, (R,)."""
    s = state
    step = torch.minimum(s.step, 1 - s.t)
    guess = unit(_predict(s, step))
    t = s.t + step
    correction, tangent = _correct(tensors, s.factor, guess, t, s.instance, sizes)
    x = guess + correction
    length = norms(x)[:, None]
    x, tangent = x / length, tangent / length
    tangent = tangent - x * (conj(x) * tangent).sum(1, keepdim=True)
    error = norms(correction) * (1 + norms(tangent))
    good = error < CORRECTION * tolerance
    order = torch.where(s.taken.isinf(), 0.5, 0.25)
    change = (AIM * tolerance / error.clamp_min(1e-12)).pow(order).nan_to_num(SHRINKAGE)
    wide = good[:, None]
    s.before = torch.where(wide, s.x, s.before)
    s.before_tangent = torch.where(wide, s.tangent, s.before_tangent)
    s.x, s.tangent = torch.where(wide, x, s.x), torch.where(wide, tangent, s.tangent)
    s.taken, s.t = torch.where(good, step, s.taken), torch.where(good, t, s.t)
    s.step = step * change.clamp(SHRINKAGE, GROWTH)
    return ~good & (s.step < SHORTEST_STEP * tolerance)


def _predict(s: _State, step: Tensor) -> Tensor:
    """Extrapolate by the cubic through two points and tangents, both in the gauge ``x^H y = 1``."""
    pull = conj(s.x)
    inner = (pull * s.before).sum(1, keepdim=True)
    y = s.before / inner
    slope = (s.before_tangent - y * (pull * s.before_tangent).sum(1, keepdim=True)) / inner
    taken, ahead = s.taken[:, None], step[:, None]
    ratio, chord = ahead / taken, (s.x - y) / taken
    bend, twist = s.tangent - chord, s.tangent - 2 * chord + slope
    return s.x + ahead * (s.tangent + ratio * (bend + (1 + ratio) * twist))


def _correct(
    tensors: Tensors, factor: Tensor, x: Tensor, t: Tensor, instance: Tensor, sizes: list[int]
) -> tuple[Tensor, Tensor]:
    """Return Newton's correction and dx/dt, both (R, n) and orthogonal to x, at unit vectors."""
    p = tensors.p
    slopes = tensors.slopes(x, instance, sizes)
    target = torch.bmm(slopes, x[:, :, None])[:, :, 0]
    diagonal = factor * (x if p == 3 else x.pow(p - 2))
    change = target - diagonal * x
    values = diagonal * x + t[:, None] * change
    eigenvalue = (conj(x) * values).sum(1)
    slopes.mul_(((p - 1) * t)[:, None, None])
    slopes.diagonal(dim1=1, dim2=2).add_(((p - 1) * (1 - t))[:, None] * diagonal)
    sides = torch.stack([eigenvalue[:, None] * x - values, -change], 2)
    out = torch.linalg.solve_ex(jacobian(p, x, slopes, eigenvalue), sides)[0]
    out = out - x[:, :, None] * torch.bmm(conj(x)[:, None], out)
    return out[:, :, 0], out[:, :, 1]
