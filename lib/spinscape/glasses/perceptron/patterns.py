"""Random patterns of the spherical perceptron, and stabilities of weights on them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spinscape.glasses._arguments import whole
from spinscape.glasses._draws import PATTERNS, generator

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Patterns:
    """Patterns of several instances.

    Attributes
    ----------
    xi
        Patterns, shape (I, P, N).
    alpha
        Patterns per weight that were asked for; ``P = round(alpha N)``.
    """

    xi: Floats
    alpha: float

    @property
    def instances(self) -> int:
        """Number of instances I."""
        return self.xi.shape[0]

    @property
    def count(self) -> int:
        """Number of patterns P of an instance."""
        return self.xi.shape[1]

    @property
    def n(self) -> int:
        """Number of weights N."""
        return self.xi.shape[2]

    @property
    def common(self) -> Floats:
        """``|sum_mu xi_mu|^2 / (P N) - 1``, shape (I,): what the patterns of an instance have in common.

        Its mean over instances is exactly 0, and much of the scatter of overlaps and energies between them
        goes along with it: a control variate.
        """
        return (self.xi.sum(1) ** 2).sum(1) / (self.count * self.n) - 1

    def stabilities(self, points: ArrayLike) -> Floats:
        """Return ``xi w / sqrt(N)`` for points (I, ..., N), shape (I, ..., P)."""
        w = np.asarray(points, float)
        if w.ndim < 2 or w.shape[0] != self.instances or w.shape[-1] != self.n:
            raise ValueError(f"points must be ({self.instances}, ..., {self.n}), not {w.shape}")
        flat = w.reshape(self.instances, -1, self.n)
        h = flat @ self.xi.swapaxes(1, 2) / np.sqrt(self.n)
        return h.reshape(*w.shape[:-1], self.count)


def patterns(instances: int, n: int, alpha: float, seed: int = 0) -> Patterns:
    """Draw standard normal patterns, ``round(alpha n)`` for each instance.

    Instance i is the same whatever the number of instances; a larger alpha adds patterns to the same ones.

    Raises
    ------
    ValueError
        If a number is out of range, or alpha is so small that there is no pattern.
    """
    instances, n = whole(instances, "instances", 1), whole(n, "n", 3)
    if not 0 < alpha < np.inf:
        raise ValueError(f"alpha must be positive and finite, not {alpha}")
    count = round(alpha * n)
    if count < 1:
        raise ValueError(f"alpha = {alpha:g} gives no pattern at n = {n}; the least is {0.5 / n:g}")
    xi = np.stack([generator(seed, PATTERNS, n, i).standard_normal((count, n)) for i in range(instances)])
    return Patterns(xi, float(alpha))
