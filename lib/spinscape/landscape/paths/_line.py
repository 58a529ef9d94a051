"""Straight lines between pairs of networks: loss and error along them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from spinscape import progress
from spinscape.networks.ensemble import Ensemble, evaluate
from spinscape.networks.losses import PerSample

POINT_BYTES = {"cpu": 2**27, "cuda": 2**33}
"""What the networks at the points of a chunk of pairs may take."""

Floats = NDArray[np.float64]
Ends = Callable[[slice], tuple[Ensemble, Ensemble]]
"""Rows of pairs to the networks at both their ends."""

Change = Callable[[Ensemble, Ensemble, Ensemble, Floats], Ensemble]
"""Points, both ends and positions to other points."""


def on_lines(
    ends: Ends,
    pairs: int,
    t: Floats,
    x: Tensor,
    y: Tensor,
    *,
    loss: str | PerSample = "cross_entropy",
    change: Change | None = None,
    label: str = "lines",
) -> tuple[Floats, Floats]:
    """Return loss and error at the points ``(1 - t) a + t b`` of lines, ``(P, K)`` each."""
    one, _ = ends(slice(0, 1))
    each = len(t) * one.dtype.itemsize * sum(value[0].numel() for value in one.params.values())
    step = max(1, POINT_BYTES["cuda" if one.device.type == "cuda" else "cpu"] // each)
    values, errors = np.empty((2, pairs, len(t)))
    for start in progress.track(range(0, pairs, step), label):
        rows = slice(start, min(start + step, pairs))
        a, b = ends(rows)
        points = between(a, b, t)
        if change is not None:
            points = change(points, a, b, t)
        found = evaluate(points, x, y, loss=loss)
        values[rows] = np.asarray(found.loss).reshape(-1, len(t))
        errors[rows] = 1 - found.accuracy.reshape(-1, len(t))
    return values, errors


def between(a: Ensemble, b: Ensemble, t: ArrayLike) -> Ensemble:
    """Return the points of straight lines, pair by pair; the ends are the networks to the last bit."""
    at = torch.as_tensor(np.asarray(t, float))

    def mixed(one: Tensor, two: Tensor) -> Tensor:
        if not one.is_floating_point():
            return one.repeat_interleave(len(at), 0)
        share = at.to(one).view(1, -1, *[1] * (one.ndim - 1))
        return ((1 - share) * one[:, None] + share * two[:, None]).flatten(0, 1)

    return Ensemble(
        a.model,
        {name: mixed(value, b.params[name]) for name, value in a.params.items()},
        {name: mixed(value, b.buffers[name]) for name, value in a.buffers.items()},
    )
