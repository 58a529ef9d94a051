"""The loss over random planes through trained networks, with filter normalisation (Li et al. 2018).

A plane is spanned by two Gaussian directions.
Each filter of a direction (the weights into one unit) is scaled to the norm of that filter of the network, so
that a step of one along a coordinate changes every unit by as much as it weighs.
Networks, planes and grid points are settings of one `Ensemble` and go through the one evaluator.
What a surface looks like is measured in `landscape.relief`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from spinscape.landscape.curvature import negative_curvature
from spinscape.landscape.steps import PLANES, draw, generator
from spinscape.networks.device import chunk_size
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.evaluation import BLOCK, evaluate
from spinscape.networks.forward import is_stackable
from spinscape.networks.line import Line, is_lean
from spinscape.networks.losses import PerSample
from spinscape.networks.mixture import first_outputs, split
from spinscape.progress import bar

Floats = NDArray[np.float64]
Tensors = dict[str, Tensor]

NORMALISATIONS = ("filter", "layer", "none")

PIECE_BYTES = 64 * 2**20
"""Parameters of the points of a row that are written out at once."""

CHUNK_BYTES = 9 * 2**20
"""Working set of the points of a row on a CPU: the time per point is least from 3 to 10 MiB at 1 to 10 hidden
layers, and below 2 MiB what goes on around the arithmetic costs up to half as much again."""

LARGEST = 2**27
"""Points of all surfaces together, one gigabyte of values."""


@dataclass(frozen=True)
class Surfaces:
    """Losses over planes through R networks, P planes each, on G x G points.

    Attributes
    ----------
    values
        Mean loss at ``axis[i]`` along the first and ``axis[j]`` along the second direction, ``(R, P, G, G)``.
    accuracy
        Share of correct answers there, ``(R, P, G, G)``; NaN where not asked for.
    axis
        Coordinates, from minus to plus the extent, 0 in the middle, ``(G,)``.
    lengths
        Euclidean norms of the two directions, ``(R, P, 2)``.
    curvature
        Smallest eigenvalue of the Hessian at the points, ``(R, P, G, G)``; NaN where not asked for.
    """

    values: Floats
    accuracy: Floats
    axis: Floats
    lengths: Floats
    curvature: Floats


def surfaces(
    ensemble: Ensemble,
    x: Tensor,
    y: Tensor,
    *,
    grid: int = 51,
    extent: float = 1.0,
    planes: int = 1,
    normalise: str = "filter",
    loss: str | PerSample = "cross_entropy",
    biases: bool = False,
    accuracy: bool = False,
    curvature: bool = False,
    seed: int = 0,
) -> Surfaces:
    """Evaluate the loss on random planes through every network.

    Parameters
    ----------
    ensemble
        R networks, evaluated as they are in use (stored batch-norm statistics, which stay).
    x, y
        Inputs ``(N, ...)`` and labels or targets ``(N, ...)``.
    grid
        Points G along each direction, odd, so that the network itself is one of them.
    extent
        Coordinates run from ``-extent`` to ``extent``.
    planes
        Planes P per network; plane p of network r depends on the seed, r and p only.
    normalise
        ``"filter"``: the weights into each unit are scaled to the norm of the network's, ``"layer"``: each
        tensor is, ``"none"``: directions stay standard Gaussian.
    loss
        As in :func:`spinscape.networks.evaluation.evaluate`.
    biases
        Whether biases, and scales and shifts of norms, are moved too, each vector as one filter; Li et al.
        leave them where they are.
    accuracy
        Whether to count correct answers too.
    curvature
        Whether to compute the smallest Hessian eigenvalue at every point; for networks of some hundred
        parameters, see :func:`spinscape.landscape.curvature.negative_curvature`.
    seed
        Seed of the directions.

    Returns
    -------
    Surfaces

    Raises
    ------
    ValueError
        If an argument is out of range, or no parameter would move.
    MemoryError
        If one network does not fit into memory, or there are more than `LARGEST` points.

    Notes
    -----
    Li et al. 2018, Visualizing the loss landscape of neural nets, section 4.

    Examples
    --------
    >>> net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    >>> x, y = torch.randn(5, 3), torch.tensor([0, 1, 0, 1, 1])
    >>> surfaces(Ensemble.from_modules([net]), x, y, grid=5, planes=2).values.shape
    (1, 2, 5, 5)
    """
    _check(planes, normalise, seed)
    axis = coordinates(ensemble.replicas, planes=planes, grid=grid, extent=extent)
    shape = (ensemble.replicas, planes, len(axis), len(axis))
    found = {name: np.full(shape, np.nan) for name in ("values", "accuracy", "curvature")}
    lengths = np.empty((ensemble.replicas, planes, 2))
    x, y = x.to(ensemble.device), y.to(ensemble.device)
    with bar("loss surfaces", ensemble.replicas * planes) as progress:
        for r in range(ensemble.replicas):
            for p in range(planes):
                source = generator(seed, PLANES, r, p)
                pair = [_direction(ensemble, r, normalise, biases, source) for _ in range(2)]
                lengths[r, p] = [_norm(direction) for direction in pair]
                whole = plane_values(
                    ensemble[r], pair, x, y, axis, loss=loss, accuracy=accuracy, curvature=curvature
                )
                for name, values in whole.items():
                    found[name][r, p] = values
                progress.update()
    return Surfaces(axis=axis, lengths=lengths, **found)


def coordinates(replicas: int, *, planes: int, grid: int, extent: float) -> Floats:
    """Return the coordinates of a surface, ``(G,)``, after a check that so many surfaces are allowed.

    Raises
    ------
    ValueError
        If `planes`, `grid` or `extent` is not as in :func:`surfaces`.
    MemoryError
        If there are more than `LARGEST` points.
    """
    _check(planes, "none", 0)
    if int(grid) != grid or grid < 3 or grid % 2 == 0:
        raise ValueError(f"grid must be an odd integer of at least 3, not {grid}")
    if not (extent > 0 and np.isfinite(extent)):
        raise ValueError(f"extent must be positive and finite, not {extent}")
    shape = (replicas, planes, int(grid), int(grid))
    if np.prod(shape, dtype=float) > LARGEST:
        raise MemoryError(f"surfaces of shape {shape} have more points than the {LARGEST} that are allowed")
    half = int(grid) // 2
    return float(extent) * np.arange(-half, half + 1) / half


def directions(
    ensemble: Ensemble,
    *,
    planes: int = 1,
    normalise: str = "filter",
    biases: bool = False,
    seed: int = 0,
) -> tuple[Tensors, Tensors]:
    """Return the two directions of every plane of :func:`surfaces`, each ``(R, P, ...)`` by name."""
    _check(planes, normalise, seed)
    drawn = []
    for r in range(ensemble.replicas):
        for p in range(planes):
            source = generator(seed, PLANES, r, p)
            drawn.append([_direction(ensemble, r, normalise, biases, source) for _ in range(2)])
    shape = (ensemble.replicas, planes)
    first, second = (
        {name: torch.stack([pair[k][name] for pair in drawn]).unflatten(0, shape) for name in ensemble.params}
        for k in (0, 1)
    )
    return first, second


def plane_values(
    network: Ensemble,
    pair: list[Tensors],
    x: Tensor,
    y: Tensor,
    axis: Floats,
    *,
    loss: str | PerSample = "cross_entropy",
    accuracy: bool = False,
    curvature: bool = False,
    affine: bool = True,
    chunk: int | None = None,
) -> dict[str, Floats]:
    """Evaluate one network over one plane with given directions.

    Parameters
    ----------
    network
        An ensemble of one.
    pair
        The two directions, parameters by name; every parameter of the network.
    x, y
        Samples on the network's device.
    axis
        Coordinates along both directions, ``(G,)``.
    loss, accuracy, curvature
        As in :func:`surfaces`.
    affine
        Whether the products of a linear first layer may be taken once for the whole plane (the same values to
        rounding).
    chunk
        Points at once; by default what fits the cache or the GPU. It never changes the result.

    Returns
    -------
    dict
        ``values`` and, if asked for, ``accuracy`` and ``curvature``, each ``(G, G)``.
    """
    if network.replicas != 1:
        raise ValueError(f"one network is looked at, not {network.replicas}")
    settings = [{name: p[0] for name, p in network.params.items()}, *pair]
    size = chunk or chunk_size(
        _bytes(network, len(x)), network.device, len(axis), cache_bytes=CHUNK_BYTES, few=1
    )
    parts = split(network.model) if affine and is_stackable(network.model) else None
    rows = _apart(parts, settings, x.to(network.dtype)) if parts else _whole(network.model, settings, x)
    lean = None
    if parts and len(x) == len(y) > 0 and is_lean(parts[2], settings[0], len(x)):
        _, _, seen = rows(0.0, torch.empty(0))
        lean = Line(parts[2], seen[:, 1].mT, y, loss=loss, chunk=chunk, accuracy=accuracy)
    found: dict[str, list[Floats]] = {"values": [], "accuracy": [], "curvature": []}
    along = torch.as_tensor(axis, device=network.device).to(network.dtype)
    count = sum(p.numel() for p in network.params.values()) * along.element_size()
    pieces = along.split(max(1, PIECE_BYTES // count))
    for coordinate in axis.tolist():
        for piece in pieces:
            model, params, seen = rows(coordinate, piece)
            if lean:
                values, share = lean(params, seen[:, 0].mT)
            else:
                here = Ensemble(model, params, _repeated(network.buffers, len(piece)))
                result = evaluate(here, seen, y, loss=loss, chunk=size, accuracy=accuracy)
                assert isinstance(result.loss, np.ndarray)
                values, share = result.loss, result.accuracy
            found["values"].append(values)
            found["accuracy"].append(share)
            if curvature:
                buffers = _repeated(network.buffers, len(piece))
                here = Ensemble(network.model, _line(settings, coordinate, piece), buffers)
                found["curvature"].append(negative_curvature(here, x, y, loss=loss))
    shape = (len(axis), len(axis))
    return {name: np.concatenate(parts).reshape(shape) for name, parts in found.items() if parts}


Rows = Callable[[float, Tensor], tuple[nn.Module, Tensors, Tensor]]
"""A first and all second coordinates to a model, its parameters and inputs."""


def _whole(model: nn.Module, settings: list[Tensors], x: Tensor) -> Rows:
    """Write out all parameters of the points of a row."""
    return lambda a, along: (model, _line(settings, a, along), x)


def _apart(parts: tuple[nn.Sequential, str, nn.Sequential], settings: list[Tensors], x: Tensor) -> Rows:
    """Take the first layer's products once; a row of points starts from two of them."""
    before, name, model = parts
    start, first, second = first_outputs(before, name, settings, x)
    own = {f"{name}.weight", f"{name}.bias"}
    others = [{n: p for n, p in tensors.items() if n not in own} for tensors in settings]
    seen = torch.stack([start, second])

    def row(a: float, along: Tensor) -> tuple[nn.Module, Tensors, Tensor]:
        torch.add(start, first, alpha=a, out=seen[0])
        params = {f"{name}.weight": along[:, None], **_line(others, a, along)}
        return model, params, seen.permute(2, 0, 1)

    return row


def _line(settings: list[Tensors], a: float, along: Tensor) -> Tensors:
    """Return ``theta + a d + b e`` for all K values of b, ``(K, ...)`` by name."""
    start, first, second = settings
    params = {}
    for name, value in start.items():
        factor = along.reshape(-1, *[1] * value.ndim)
        params[name] = torch.addcmul(torch.add(value, first[name], alpha=a), factor, second[name])
    return params


def _repeated(buffers: Tensors, count: int) -> Tensors:
    return {name: value.expand(count, *value.shape[1:]) for name, value in buffers.items()}


def _bytes(network: Ensemble, samples: int) -> float:
    """Estimate what one point works on: parameters, a block before and after its largest layer."""
    matrices = [p for p in network.params.values() if p.ndim == 3]
    inner = [sum(p.shape[1:]) for p in matrices[1:]] or [p.shape[1] for p in matrices]
    count = sum(p.numel() for p in network.params.values())
    item = next(iter(network.params.values())).element_size()
    return item * (count + min(BLOCK, samples) * max(inner, default=1))


def _direction(ensemble: Ensemble, r: int, normalise: str, biases: bool, source: torch.Generator) -> Tensors:
    """Draw one direction at network r, every parameter in turn whether it moves or not."""
    direction = {}
    for name, p in ensemble.params.items():
        z = draw(tuple(p.shape[1:]), p, source)
        if p.ndim <= 2 and not biases:
            direction[name] = torch.zeros_like(z)
            continue
        direction[name] = _scaled(z, p[r], normalise)
    if not any(bool(value.any()) for value in direction.values()):
        raise ValueError(
            "no parameter would move: the network has no weights with two axes, or they are zero"
        )
    return direction


def _scaled(z: Tensor, weights: Tensor, normalise: str) -> Tensor:
    """Scale a direction to the norms of the weights: per filter, for the whole tensor, or not."""
    if normalise == "none":
        return z
    rows = (len(z), -1) if normalise == "filter" and z.ndim > 1 else (1, -1)
    ours, theirs = (torch.linalg.vector_norm(t.reshape(rows), dim=1, keepdim=True) for t in (z, weights))
    return (z.reshape(rows) * (theirs / ours.clamp_min(torch.finfo(z.dtype).tiny))).reshape(z.shape)


def _norm(direction: Tensors) -> float:
    squares = [value.double().square().sum().cpu() for value in direction.values()]
    return float(torch.stack(squares).sum().sqrt())


def _check(planes: int, normalise: str, seed: int) -> None:
    if int(planes) != planes or planes < 1:
        raise ValueError(f"planes must be a positive integer, not {planes}")
    if normalise not in NORMALISATIONS:
        raise ValueError(f"normalise must be one of {NORMALISATIONS}, not {normalise!r}")
    if seed < 0:
        raise ValueError(f"seed must not be negative, not {seed}")
