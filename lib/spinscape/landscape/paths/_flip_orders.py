"""Orders in which the differing signs of two binary networks are flipped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from spinscape.landscape.steps import generator
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.forward import Forward
from spinscape.networks.losses import PerSample, resolve_loss
from spinscape.networks.units import describe

ORDERS = ("random", "forward", "backward", "unit", "greedy")
"""At random; by layer from the inputs, or from the outputs; by hidden unit; those first that cost least."""

FLIPS = 88
"""What random numbers are drawn for."""


@dataclass(frozen=True)
class Drawing:
    """What orders are wanted: names, trials of each, turns and samples of the greedy one, loss, seed."""

    orders: Sequence[str]
    trials: int
    turns: int
    batch: int
    loss: str | PerSample
    seed: int


def ranks(a: Ensemble, b: Ensemble, x: Tensor, y: Tensor, drawing: Drawing, pair: int) -> Tensor:
    """Return the place of each weight in each order.

    Parameters
    ----------
    a, b
        One network each.
    x, y
        Samples for the greedy order.
    drawing
        What is wanted.
    pair
        Number of the pair: its draws depend on the seed, this number, the trial and the kind of order only.

    Returns
    -------
    Tensor
        int64 ``(orders * trials, n)`` on the device of `a`; weights that do not differ come last.
    """
    different = (a.flat()[0] != b.flat()[0]).cpu()
    found = torch.empty(len(drawing.orders), drawing.trials, len(different), dtype=torch.int64)
    for o, name in enumerate(drawing.orders):
        group = None if name == "greedy" else _groups(a, name)
        for trial in range(drawing.trials):
            source = generator(drawing.seed, FLIPS, pair, trial, ORDERS.index(name))
            if group is None:
                rows = torch.randperm(len(x), generator=source)[: drawing.batch].to(x.device)
                greedy = greedy_ranks(a, b, x[rows], y[rows], turns=drawing.turns, loss=drawing.loss)
                found[o, trial] = greedy.cpu()
                continue
            keys = torch.rand(len(different), generator=source, dtype=torch.float64)
            if name == "unit":
                units = torch.randperm(int(group.max()) + 1, generator=source)
                keys += units[group]
            else:
                keys += group
            found[o, trial] = ranked(keys, different)
    return found.flatten(0, 1).to(a.device)


def ranked(keys: Tensor, chosen: Tensor) -> Tensor:
    """Return the places ``(n,)`` of the chosen entries in the order of their keys; others come last."""
    order = keys.masked_fill(~chosen, torch.inf).argsort(stable=True)
    places = torch.empty_like(order)
    places[order] = torch.arange(len(order), device=order.device)
    return places


def _groups(ensemble: Ensemble, order: str) -> Tensor:
    """Return the number of the group that each weight belongs to, int64 ``(n,)`` on the CPU."""
    shapes = {name: value.shape[1:] for name, value in ensemble.params.items()}
    if order == "random":
        return torch.zeros(sum(shape.numel() for shape in shapes.values()), dtype=torch.int64)
    if order != "unit":
        step = 1 if order == "forward" else -1
        layers = [torch.full((shape.numel(),), step * k) for k, shape in enumerate(shapes.values())]
        return torch.cat(layers)
    # A weight belongs to the unit that it writes; those of the last layer to the unit that they read.
    found: dict[str, Tensor] = {}
    first = 0
    for units in describe(ensemble.model).units:
        for axis in (*units.outgoing, *units.incoming):
            shape = shapes[axis.name]
            numbers = first + torch.arange(units.size).repeat_interleave(axis.repeat)
            numbers = numbers.reshape([-1 if k == axis.axis else 1 for k in range(len(shape))])
            if axis in units.incoming or axis.name not in found:
                found[axis.name] = numbers.expand(shape).flatten()
        first += units.size
    return torch.cat([found[name] for name in shapes])


def greedy_ranks(
    a: Ensemble, b: Ensemble, x: Tensor, y: Tensor, *, turns: int, loss: str | PerSample = "cross_entropy"
) -> Tensor:
    """Return the place of each differing weight in the greedy order.

    Two networks walk towards each other, `a` and `b` at the start.
    In turn each takes over a share of the differing weights from the other: those for which the gradient of
    its own loss, times the change of the weight, is least.
    What the first takes over stands first in the order, what the second does last, in the reverse order.

    Parameters
    ----------
    a, b
        One network each.
    x, y
        Inputs ``(B, ...)`` and labels or targets.
    turns
        Number of turns.
    loss
        As in :func:`spinscape.networks.evaluation.evaluate`.

    Returns
    -------
    Tensor
        int64 ``(n,)``; the number of differing weights where weights do not differ.
    """
    ends = [one.flat()[0].detach() for one in (a, b)]
    here, there = [end.clone() for end in ends], ends[::-1]
    left = ends[0] != ends[1]
    total = int(left.sum())
    shares = torch.linspace(0, total, turns + 1).round().long().diff().tolist()
    places = torch.full_like(left, total, dtype=torch.int64)
    taken = [0, 0]
    forward = Forward(a.model, a.params, a.buffers, x, training=False)
    for turn, share in enumerate(shares):
        side = turn % 2
        slope = _slope(a, forward, here[side], x, y, loss)
        cost = (slope * (there[side] - here[side])).masked_fill(~left, torch.inf)
        chosen = cost.argsort(stable=True)[:share]
        numbers = taken[side] + torch.arange(share, device=places.device)
        places[chosen] = total - 1 - numbers if side else numbers
        here[side][chosen] = there[side][chosen]
        left[chosen] = False
        taken[side] += share
    return places


def _slope(
    like: Ensemble, forward: Forward, row: Tensor, x: Tensor, y: Tensor, loss: str | PerSample
) -> Tensor:
    """Return the gradient of the mean loss of one network whose weights are given, ``(n,)``."""
    with torch.enable_grad():
        row = row.detach()[None].requires_grad_()
        outputs = forward(like.unflatten(row).params, like.buffers, x, shared=True)
        value = resolve_loss(loss)(outputs, y[None]).mean()
        (slope,) = torch.autograd.grad(value, row)
    return slope[0]
