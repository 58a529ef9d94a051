"""Loss and error at all points of many paths, in one call."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from spinscape.landscape.paths._first_layer import Evaluator, take_apart
from spinscape.landscape.paths.combination import Floats, Path, as_positions
from spinscape.memory import available_bytes
from spinscape.networks.device import keep_heap
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.evaluation import evaluate
from spinscape.networks.losses import PerSample
from spinscape.progress import track

PIECE_BYTES = 64 * 2**20
"""Parameters of points that are written out at once, on a CPU."""


@dataclass(frozen=True)
class Profile:
    """Loss and error along P paths.

    Attributes
    ----------
    t
        Positions of the points, ``(K,)``.
    loss
        Mean loss per sample, ``(P, K)``.
    error
        Share of wrong answers, ``(P, K)``; NaN for regression and where the loss is NaN.
    """

    t: Floats
    loss: Floats
    error: Floats


def profile(
    path: Path | Ensemble,
    x: Tensor,
    y: Tensor,
    loss: str | PerSample = "cross_entropy",
    *,
    chunk: int | None = None,
    pairs: int | None = None,
    t: ArrayLike | None = None,
) -> Profile:
    """Evaluate all points of many paths on the same samples.

    Where the model is a chain of linear layers, the first one is computed once for every network that the
    points are combinations of.
    Other models are evaluated with all parameters written out, a part of the points at a time.

    Parameters
    ----------
    path
        P paths; or their points as an ensemble, path after path.
    x, y
        Inputs ``(N, ...)`` and labels ``(N,)`` or targets ``(N, C)``; moved to the device of the path.
    loss
        As in :func:`spinscape.networks.evaluation.evaluate`.
    chunk
        Points at once; by default what fits the cache or the GPU. It never changes the result.
    pairs, t
        For an ensemble: the number P of paths (1 by default) and the positions ``(K,)`` (equidistant by
        default).

    Returns
    -------
    Profile

    Raises
    ------
    ValueError
        If `x` and `y` differ in length or are empty, or another argument does not fit.
    MemoryError
        If one point does not fit into memory.
    """
    if len(x) != len(y) or not len(x):
        raise ValueError(f"x and y must have the same positive length, not {len(x)} and {len(y)}")
    if chunk is not None and chunk < 1:
        raise ValueError(f"chunk must be at least 1, not {chunk}")
    if isinstance(path, Ensemble):
        return _of_ensemble(path, x, y, loss, chunk, 1 if pairs is None else pairs, t)
    if pairs is not None or t is not None:
        raise ValueError("pairs and t go with an ensemble; a path has its own")
    keep_heap()
    device = path.bases[0].device
    x, y = x.to(device), y.to(device)
    parts = take_apart(path)
    if parts is None:
        values = _written_out(path, x, y, loss, chunk)
    else:
        evaluator = Evaluator(path, parts, x, y, loss, chunk)
        # A bar alone takes as long as the path between two small networks.
        rows = track(range(path.pairs), "paths") if path.pairs > 1 else range(path.pairs)
        values = np.stack([torch.stack(evaluator(pair)).numpy() for pair in rows])
    return Profile(path.t, values[:, 0], 1 - values[:, 1])


def _written_out(path: Path, x: Tensor, y: Tensor, loss: str | PerSample, chunk: int | None) -> Floats:
    """Return loss and accuracy ``(P, 2, K)``, all parameters of the points written out, a part at a time."""
    (pairs, count), device = path.size, path.bases[0].device
    room = PIECE_BYTES if device.type == "cpu" else available_bytes(device) / 8
    at_once = max(1, int(room // path.point_bytes))
    rows = max(1, at_once // count)
    windows = [
        (range(p, min(p + rows, pairs)), range(k, min(k + at_once, count)))
        for p in range(0, pairs, rows)
        for k in range(0, count, at_once)
    ]
    values = np.empty((pairs, 2, count))
    for some, steps in track(windows, "paths"):
        result = evaluate(path.points(some, steps), x, y, loss=loss, chunk=chunk)
        assert isinstance(result.loss, np.ndarray)
        for k, found in enumerate((result.loss, result.accuracy)):
            values[some.start : some.stop, k, steps.start : steps.stop] = found.reshape(len(some), len(steps))
    return values


def _of_ensemble(
    points: Ensemble,
    x: Tensor,
    y: Tensor,
    loss: str | PerSample,
    chunk: int | None,
    pairs: int,
    t: ArrayLike | None,
) -> Profile:
    if pairs < 1 or points.replicas % pairs:
        raise ValueError(f"{points.replicas} networks are not the points of {pairs} paths")
    count = points.replicas // pairs
    along = (as_positions(count) if count > 1 else np.zeros(1)) if t is None else as_positions(t)
    if len(along) != count:
        raise ValueError(f"t has {len(along)} positions, but every path has {count} points")
    result = evaluate(points, x, y, loss=loss, chunk=chunk)
    assert isinstance(result.loss, np.ndarray)
    shape = (pairs, count)
    return Profile(along, result.loss.reshape(shape), 1 - result.accuracy.reshape(shape))
