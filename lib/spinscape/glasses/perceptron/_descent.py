"""Batched stochastic gradient descent of perceptrons on the sphere.

The losses are sums over patterns of ``l(h)``, h the stability; a step of rate r on a batch is

    w <- w + r sum_mu -l'(h_mu) xi_mu / sqrt(N),    then back to |w|^2 = N,

so that a violated pattern gains r times its slope whatever N.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from spinscape.glasses._arguments import whole
from spinscape.glasses._draws import ORDERS, generator
from spinscape.glasses.perceptron.patterns import Patterns

Floats = NDArray[np.float64]

LOSSES = ("hinge", "cross-entropy")


@dataclass(frozen=True)
class Loss:
    """A loss of the stability h.

    Attributes
    ----------
    kind
        ``"hinge"``: ``max(0, margin - h)``; ``"cross-entropy"``:
        ``log(1 + exp(-sharpness (h - margin))) / sharpness``, the hinge at infinite sharpness.
    margin
        Where the loss bends.
    sharpness
        Of the cross-entropy.
    """

    kind: str
    margin: float
    sharpness: float = 10.0

    def __post_init__(self) -> None:
        if self.kind not in LOSSES:
            raise ValueError(f"loss must be one of {LOSSES}, not {self.kind!r}")
        if not math.isfinite(self.margin):
            raise ValueError(f"the margin of the loss must be finite, not {self.margin!r}")
        if not self.sharpness > 0:
            raise ValueError(f"sharpness must be positive, not {self.sharpness!r}")

    def push(self, h: Floats) -> Floats:
        """Return ``-l'(h)``, from 0 to 1."""
        if self.kind == "hinge":
            return (h < self.margin).astype(float)
        return expit(self.sharpness * (self.margin - h))


class Descent:
    """Passes of gradient descent over shuffled batches, for all points of all instances at once.

    The points of an instance see the same batches, which depend on the seed, the instance and the pass.

    Parameters
    ----------
    patterns
        Patterns (I, P, N).
    loss
        The loss.
    rate
        Step size.
    batch
        Patterns per step; None takes all of them in one step.
    seed
        Seed of the orders of patterns.
    """

    def __init__(self, patterns: Patterns, loss: Loss, *, rate: float, batch: int | None, seed: int) -> None:
        if not (math.isfinite(rate) and rate > 0):
            raise ValueError(f"rate must be a positive number, not {rate!r}")
        self.xi, self.loss, self.rate = patterns.xi, loss, rate
        count = patterns.xi.shape[1]
        self.batch = count if batch is None else whole(batch, "batch", 1, count)
        self._draws = [generator(seed, ORDERS, i) for i in range(len(patterns.xi))]

    def one_pass(
        self, points: Floats, which: NDArray[np.int64], copies: int = 1, pull: float = 0.0
    ) -> Floats:
        """Return the points (A, S, N) of instances `which` (A,) after a pass.

        Parameters
        ----------
        points
            Points on the sphere; `copies` in a row are replicas of one another.
        which
            Instances they belong to.
        copies
            Replicas coupled to their centre.
        pull
            Share of the way to the centre that each step goes, before the sphere is restored.
        """
        root = math.sqrt(points.shape[2])
        for xi in self._batches(which):
            push = self.loss.push(points @ xi.transpose(0, 2, 1) / root)
            points = points + (self.rate / root) * (push @ xi)
            if pull:
                points += pull * (np.repeat(centres(points, copies), copies, 1) - points)
            points = on_sphere(points)
        return points

    def _batches(self, which: NDArray[np.int64]) -> Iterator[Floats]:
        count = self.xi.shape[1]
        if self.batch == count:
            yield self.xi if len(which) == len(self.xi) else self.xi[which]
            return
        orders = [self._draws[i].permutation(count) for i in which]
        for first in range(0, count, self.batch):
            part = slice(first, first + self.batch)
            yield np.stack([self.xi[i, order[part]] for i, order in zip(which, orders, strict=True)])


def on_sphere(points: Floats) -> Floats:
    """Return the points scaled to ``|w|^2 = N``; shape (..., N)."""
    return points * (math.sqrt(points.shape[-1]) / np.linalg.norm(points, axis=-1, keepdims=True))


def centres(points: Floats, copies: int) -> Floats:
    """Return the mean of every `copies` points in a row, on the sphere; (A, S copies, N) to (A, S, N)."""
    mean = points.reshape(points.shape[0], -1, copies, points.shape[2]).mean(2)
    return on_sphere(mean)


def random_points(instances: int, count: int, n: int, seed: int, purpose: int) -> Floats:
    """Return uniform points on the sphere (instances, count, n), each from a generator of its own."""
    found = np.empty((instances, count, n))
    for i in range(instances):
        for s in range(count):
            generator(seed, purpose, i, s).standard_normal(out=found[i, s])
    return on_sphere(found)
