"""Curves of low loss between trained networks: quadratic Bezier curves trained end to end.

The curve ``(1 - t)^2 a + 2 t (1 - t) c + t^2 b`` joins the networks a and b.
Its control point c starts in the middle of the line, where the curve is that line.
Every step takes one t, uniform in [0, 1], and moves c down the gradient of the loss at that point.
So a curve is trained like one network, and the curves of all pairs are one batched run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spinscape.landscape.paths._pairs import Samples, check_ends, in_parts
from spinscape.landscape.paths.combination import bezier
from spinscape.landscape.steps import BENDS, generator
from spinscape.landscape.symmetry.checks import at_least
from spinscape.networks import optimisers
from spinscape.networks._group import Group, Plan
from spinscape.networks.datasets import Dataset
from spinscape.networks.device import chunk_size, keep_heap, resolve_device
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.forward import Forward, Tensors
from spinscape.networks.losses import PerSample, resolve_loss
from spinscape.progress import bar

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Bent:
    """Bezier curves between P pairs of networks, and the loss at K points of them.

    Attributes
    ----------
    control
        The control points, P networks; `combination.bezier` makes paths of them.
    t
        The points, evenly spaced from 0 to 1, ``(K,)``.
    line, curve
        Mean loss over the training samples on the straight line and on the curve, ``(P, K)``.
    line_error, curve_error
        Share of wrong answers there, ``(P, K)``; NaN for regression.
    train_loss
        Mean loss of an epoch's batches, each at its own point of the curve, ``(E, P)``.
    looked
        Epochs after which the curves were looked at, ``(C,)``; after none they are the straight lines.
    highest
        Highest loss at the points of the curves then, ``(C, P)``.
    kept
        The epoch whose control point was kept, ``(P,)``; 0 where no curve was lower than the line.
    """

    control: Ensemble
    t: Floats
    line: Floats
    curve: Floats
    line_error: Floats
    curve_error: Floats
    train_loss: Floats
    looked: Ints
    highest: Floats
    kept: Ints


def bend(
    a: Ensemble,
    b: Ensemble,
    dataset: Dataset,
    *,
    epochs: int = 30,
    optimiser: str | Callable[..., torch.optim.Optimizer] = "adam",
    learning_rate: float = 1e-2,
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    batch_size: int = 128,
    points: int = 25,
    looks: int = 6,
    loss: str | PerSample | None = None,
    seed: int = 0,
    device: str | torch.device = "auto",
    chunk: int | None = None,
) -> Bent:
    """Train a quadratic Bezier curve between the networks of each pair.

    Among the control points looked at, the one is kept whose curve has the lowest highest loss.
    Of equal ones, where that is the loss of an end, it is the one with the lowest mean.
    The middle of the line is one of them: on the training samples and the points given, no curve rises above
    the straight line that it starts from.

    Parameters
    ----------
    a, b
        P networks each, of one model without buffers (fold batch norms first).
    dataset
        Its training samples are trained on and looked at.
    epochs
        Passes over the training samples.
    optimiser, learning_rate, momentum, nesterov, weight_decay, batch_size, loss
        As in :func:`spinscape.networks.training.train`.
        From epoch to epoch the learning rate falls to zero as half a cosine.
    points
        Points K of a curve that are looked at, its ends among them.
    looks
        How often curves are looked at in training, its end included.
    seed
        Pair p draws its batches and points from the seed and p only.
    device
        ``"auto"`` (CUDA, else MPS, else CPU) or a device.
    chunk
        Pairs that are trained at once; by default what fits the cache (CPU) or the memory (GPU).

    Returns
    -------
    Bent

    Raises
    ------
    ValueError
        If the networks do not fit each other or have buffers, or an argument is out of range.
    MemoryError
        If one pair does not fit into memory.

    Notes
    -----
    Garipov et al. 2018, Loss surfaces, mode connectivity, and fast ensembling of DNNs.

    Examples
    --------
    >>> from spinscape.networks.datasets import load
    >>> from spinscape.networks.models import mlp
    >>> from spinscape.networks.training import train
    >>> digits = load("digits").flat()
    >>> nets = train(mlp([64, 16, 10]), digits, replicas=4, epochs=2)
    >>> bent = bend(nets[:2], nets[2:], digits, epochs=2)
    >>> bool((bent.curve.max(1) <= bent.line.max(1)).all())
    True
    """
    check_ends(a, b)
    for name, value, least in (("epochs", epochs, 1), ("batch_size", batch_size, 1), ("looks", looks, 1)):
        at_least(name, value, least)
    at_least("points", points, 3)
    place = resolve_device(device)
    keep_heap()
    a = a.to(place)
    b = b.to(place).to(a.dtype)
    samples = Samples.of(dataset, a, loss)
    plan = Plan(
        a.model,
        samples.x,
        samples.y,
        resolve_loss(samples.loss),
        min(batch_size, len(samples.x)),
        optimisers.factory(
            optimiser,
            place,
            learning_rate=learning_rate,
            momentum=momentum,
            nesterov=nesterov,
            weight_decay=weight_decay,
        ),
        frozenset(name for name, value in a.model.named_parameters() if value.requires_grad),
        resumed=True,
        by_rows=optimisers.fills_vectors(optimiser, place),
    )
    t = np.linspace(0, 1, points)
    looked = np.unique(np.linspace(0, epochs, looks + 1).round().astype(np.int64))
    count = sum(p[0].numel() for p in a.params.values())
    size = chunk or chunk_size(8 * count * samples.x.element_size(), place, a.replicas)
    with bar("bending", a.replicas) as progress:

        def work(rows: Ints) -> Bent:
            ends = a[torch.from_numpy(rows)], b[torch.from_numpy(rows)]
            found = _train(plan, samples, ends, rows, t, looked, learning_rate, seed)
            progress.update(len(rows))
            return found

        return _joined(in_parts(work, a.replicas, size, place))


def _train(
    plan: Plan,
    samples: Samples,
    ends: tuple[Ensemble, Ensemble],
    rows: Ints,
    t: Floats,
    looked: Ints,
    learning_rate: float,
    seed: int,
) -> Bent:
    """Train and look at the curves of the pairs with these numbers, whose networks are given."""
    a, b = ends
    middle = {name: (p + b.params[name]) / 2 for name, p in a.params.items()}
    orders, places = ([generator(seed, BENDS, int(p), k) for p in rows] for k in (0, 1))
    group = Group(plan, rows, orders, middle, {})
    curve = _Curve(plan, a, b)
    line, line_error = samples.look(bezier(a, Ensemble(plan.model, middle), b, t))
    best, error, kept = line.copy(), line_error.copy(), np.zeros(len(rows), np.int64)
    control = {name: value.clone() for name, value in middle.items()}
    highest, epochs = [line.max(1)], int(looked[-1])
    train_loss = np.empty((epochs, len(rows)))
    steps = -(-len(plan.x) // plan.batch_size)
    for epoch in range(epochs):
        for options in group.rule.param_groups:
            options["lr"] = learning_rate * (1 + np.cos(np.pi * epoch / epochs)) / 2
        curve.go_to(torch.stack([torch.rand(steps, generator=g, dtype=torch.float64) for g in places]))
        train_loss[epoch] = group.run_epoch(curve)[0].numpy()
        group.advance()
        if epoch + 1 in looked:
            now = group.detached()
            values, wrong = samples.look(bezier(a, Ensemble(plan.model, now), b, t))
            highest.append(values.max(1))
            lower = _lower(values, best)
            best[lower], error[lower], kept[lower] = values[lower], wrong[lower], epoch + 1
            there = torch.from_numpy(lower).to(a.device)
            for name, value in now.items():
                control[name][there] = value[there]
    return Bent(
        control=Ensemble(plan.model, control),
        t=t,
        line=line,
        curve=best,
        line_error=line_error,
        curve_error=error,
        train_loss=train_loss,
        looked=looked,
        highest=np.stack(highest),
        kept=kept,
    )


def _lower(values: Floats, best: Floats) -> NDArray[np.bool_]:
    """Tell which curves have a lower highest loss, or the same and a lower mean, ``(P, K)`` to ``(P,)``."""
    tops, before = values.max(1), best.max(1)
    return (tops < before) | ((tops == before) & (values.mean(1) < best.mean(1)))


class _Curve(Forward):
    """The forward pass at one point of each curve, as a function of the control points."""

    def __init__(self, plan: Plan, a: Ensemble, b: Ensemble) -> None:
        super().__init__(plan.model, a.params, {}, plan.x[: plan.batch_size], training=False)
        self.a, self.b = a.params, b.params
        self.places: Iterator[Tensor] = iter(())

    def go_to(self, t: Tensor) -> None:
        """Set the points of the steps to come, ``(P, S)``."""
        self.places = iter(t.unbind(1))

    def __call__(
        self,
        params: Tensors,
        buffers: Tensors,
        x: Tensor,
        *,
        shared: bool = False,
        seeds: Sequence[int] | None = None,
    ) -> Tensor:
        """Run the networks at the next points; `params` are the control points."""
        points = _at(self.a, params, self.b, next(self.places))
        return super().__call__(points, buffers, x, shared=shared, seeds=seeds)


def _at(a: Tensors, control: Tensors, b: Tensors, t: Tensor) -> Tensors:
    """Return the points ``t`` ``(P,)`` of the curves, by name of parameter."""
    weights = [(1 - t) ** 2, 2 * t * (1 - t), t**2]
    params = {}
    for name, value in control.items():
        first, second, third = (w.to(value).view(-1, *[1] * (value.ndim - 1)) for w in weights)
        params[name] = (first * a[name] + third * b[name]) + second * value
    return params


def _joined(parts: list[Bent]) -> Bent:
    """Join curves of the same points and epochs."""
    by_pair = {
        name: np.concatenate([getattr(part, name) for part in parts], axis=axis)
        for name, axis in [("train_loss", 1), ("highest", 1), ("kept", 0)]
        + [(name, 0) for name in ("line", "curve", "line_error", "curve_error")]
    }
    control = Ensemble.concatenate([part.control for part in parts])
    return Bent(control=control, t=parts[0].t, looked=parts[0].looked, **by_pair)
