"""Paths between binary networks: one sign that differs after the other is flipped.

Between two networks with binary weights there is no straight line.
A path is an order of the D weights whose signs differ; at position t the first ``round(t D)`` of them have
the sign of the second network.
Every point of it is a binary network.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from spinscape import progress
from spinscape.landscape.paths._flip_orders import ORDERS, Drawing, ranks
from spinscape.landscape.symmetry import match, permute
from spinscape.landscape.symmetry._alike import check_models
from spinscape.landscape.symmetry.checks import at_least, check_memory, check_samples
from spinscape.landscape.symmetry.signs import match_signs
from spinscape.networks.binary import is_binary, random_binary, signs
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.evaluation import evaluate
from spinscape.networks.losses import PerSample

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BLOCK = 2**24
"""Numbers of the networks that are evaluated at once, 64 MiB in single precision."""


@dataclass(frozen=True)
class Flips:
    """Loss and error along paths of flips between P pairs of networks, O orders, T trials of each.

    Attributes
    ----------
    t
        Share of the differing signs that were flipped, ``(K,)``; 0 at the first network, 1 at the second.
    orders
        Names of the orders, ``(O,)``.
    loss
        Mean loss over the samples, float64 ``(P, O, T, K)``.
    error
        Share of wrong answers, ``(P, O, T, K)``; NaN for regression.
    layers
        Names of the weights, ``(L,)``.
    differing
        Signs that differ in each, int64 ``(P, L)``.
    sizes
        Number of weights of each, ``(L,)``.
    """

    t: Floats
    orders: tuple[str, ...]
    loss: Floats
    error: Floats
    layers: tuple[str, ...]
    differing: Ints
    sizes: Ints

    @property
    def hamming(self) -> Floats:
        """Share of all signs that differ, ``(P,)``."""
        return self.differing.sum(1) / self.sizes.sum()


@dataclass(frozen=True)
class Compared:
    """Paths before and after the hidden units of the second networks were matched to the first.

    Attributes
    ----------
    before, after
        Paths to the networks as they are, and to the permuted ones.
    flipped
        Whether signs of units were matched too, where activations are odd.
    by_chance
        Share of signs that differ between as many pairs of random networks, matched likewise, ``(P,)``.
    """

    before: Flips
    after: Flips
    flipped: bool
    by_chance: Floats


def hamming(a: Ensemble, b: Ensemble) -> Floats:
    """Return the share of weights whose signs differ, float64 ``(P,)``; P networks each, or one in `a`."""
    check_models(a, b)
    if a.replicas not in (1, b.replicas):
        raise ValueError(f"a must have 1 or {b.replicas} networks, as b has, not {a.replicas}")
    different = signs(a).flat().to(b.device) != signs(b).flat()
    return different.double().mean(1).cpu().numpy()


def flips(
    a: Ensemble,
    b: Ensemble,
    x: Tensor | ArrayLike,
    y: Tensor | ArrayLike,
    *,
    points: int = 25,
    orders: Sequence[str] = ORDERS,
    trials: int = 3,
    turns: int = 100,
    batch: int = 512,
    loss: str | PerSample = "cross_entropy",
    seed: int = 0,
) -> Flips:
    """Follow loss and error from binary networks to others, flipping one group of signs after the other.

    Parameters
    ----------
    a, b
        P binary networks each, of one model and of weights of one size.
    x, y
        Inputs ``(N, ...)`` and labels or targets ``(N, ...)``.
    points
        Points K of a path, its ends among them.
    orders
        Some of `ORDERS`: ``"random"``; ``"forward"`` and ``"backward"``, layer after layer from the inputs
        or from the outputs; ``"unit"``, hidden unit after hidden unit, the weights that write it and, in the
        last layer, those that read it; within a layer or unit the order is random. ``"greedy"`` builds the
        path from both ends: of the signs that are left it takes those whose flips lower the loss of the
        network reached most, or raise it least, to first order.
    trials
        Random orders T of each kind; those of trial t of pair p depend on the seed, p and t only.
    turns
        Shares of the signs that the greedy order takes one after the other, each by a gradient of its own.
        What is true to first order for one flip is not for many at once: with too few turns the greedy path
        is higher than a random one.
    batch
        Samples that the greedy order takes its gradients of, drawn anew for each trial.
    loss
        As in :func:`spinscape.networks.evaluation.evaluate`.
    seed
        Seed of the orders.

    Returns
    -------
    Flips

    Raises
    ------
    ValueError
        If the networks are not binary, differ in model, number or size of weights, or an argument is out of
        range.
    MemoryError
        If the orders of one pair do not fit in memory.

    Notes
    -----
    A maximum over a path that includes its ends is never below the mean of the ends.

    Examples
    --------
    >>> from spinscape.networks.binary import random_binary
    >>> from spinscape.networks.models import mlp
    >>> nets = random_binary(mlp([6, 8, 3], bias=False), replicas=4)
    >>> x, y = torch.randn(20, 6), torch.randint(3, (20,))
    >>> flips(nets[:2], nets[2:], x, y, orders=["random", "greedy"]).loss.shape
    (2, 2, 3, 25)
    """
    points, trials = at_least("points", points, 2), at_least("trials", trials, 1)
    turns, batch = at_least("turns", turns, 1), at_least("batch", batch, 1)
    _check_orders(orders)
    _check_networks(a, b)
    x, y = check_samples(a, x, y, loss)
    b = b.to(a.device).to(a.dtype)
    left, right = a.flat().detach(), b.flat().detach()
    different = left != right
    # Ranks and keys of one pair's orders, in double and single precision.
    check_memory("trials", trials, 24.0 * len(orders) * left.shape[1], what="of all orders", device=a.device)
    t = np.linspace(0, 1, points)
    shape = (a.replicas, len(orders), trials, points)
    found = {"loss": np.empty(shape), "error": np.empty(shape)}
    drawing = Drawing(tuple(orders), trials, turns, batch, loss, seed)
    with progress.bar("flipping signs", int(np.prod(shape))) as bar:
        for p in range(a.replicas):
            places = ranks(a[p], b[p], x, y, drawing, p)
            counts = torch.from_numpy(np.rint(t * int(different[p].sum())).astype(np.int64)).to(left.device)
            own = {name: values[p].reshape(-1) for name, values in found.items()}
            for which, part in _points(places, counts, left[p], right[p]):
                result = evaluate(a.unflatten(part), x, y, loss=loss)
                own["loss"][which], own["error"][which] = result.loss, 1 - result.accuracy
                bar.update(len(part))
    widths = [value[0].numel() for value in a.params.values()]
    per_layer = torch.stack([part.sum(1) for part in different.split(widths, 1)], 1).cpu().numpy()
    return Flips(
        t, tuple(orders), found["loss"], found["error"], tuple(a.params), per_layer, np.array(widths)
    )


def compare_flips(
    a: Ensemble,
    b: Ensemble,
    x: Tensor | ArrayLike,
    y: Tensor | ArrayLike,
    *,
    flip_units: bool = True,
    seed: int = 0,
    **options: object,
) -> Compared:
    """Follow paths of flips before and after the hidden units of `b` are matched to those of `a`.

    Matching is by the number of equal signs: exact for one hidden layer, by descent for several.

    Parameters
    ----------
    a, b, x, y, seed
        As in :func:`flips`.
    flip_units
        Whether the signs of hidden units are matched with their places where the activation is odd (tanh).
        Units of ReLU have no such symmetry: a binary network has permutations only, as its weights' sizes
        leave no scales.
    **options
        Those of :func:`flips`.

    Returns
    -------
    Compared

    Raises
    ------
    ValueError, MemoryError
        As :func:`flips` and :func:`spinscape.landscape.symmetry.match`.
    """
    before = flips(a, b, x, y, seed=seed, **options)  # type: ignore[arg-type]
    matched, flipped = matched_signs(a, b, flip_units=flip_units)
    after = flips(a, matched, x, y, seed=seed, **options)  # type: ignore[arg-type]
    null = random_binary(a.model, replicas=2 * a.replicas, seed=seed)
    first, second = null[: a.replicas], null[a.replicas :]
    by_chance = hamming(first, matched_signs(first, second, flip_units=flip_units)[0])
    return Compared(before, after, flipped, by_chance)


def matched_signs(a: Ensemble, b: Ensemble, *, flip_units: bool = True) -> tuple[Ensemble, bool]:
    """Permute the hidden units of binary networks so that as many signs as found equal those of others.

    Parameters
    ----------
    a, b
        P networks each.
    flip_units
        Whether units of odd activations are multiplied by -1 where that gains.

    Returns
    -------
    b : Ensemble
        The networks, of the same functions.
    flipped : bool
        Whether there were signs of units to choose.
    """
    ours, theirs = signs(a), signs(b)
    if flip_units:
        found = match_signs(ours, theirs)
        return found.apply(b), bool(found.signs)
    return permute(b, match(ours, theirs).permutations), False


def _points(places: Tensor, counts: Tensor, left: Tensor, right: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yield weights ``(B, n)`` of the points of all paths, path by path, in blocks, and which they are."""
    total, size = len(places) * len(counts), max(1, BLOCK // len(left))
    for start in range(0, total, size):
        which = torch.arange(start, min(start + size, total), device=left.device)
        flipped = places[which // len(counts)] < counts[which % len(counts), None]
        yield slice(start, start + len(which)), torch.where(flipped, right, left)


def _check_orders(orders: Sequence[str]) -> None:
    if isinstance(orders, str) or not len(orders) or any(name not in ORDERS for name in orders):
        raise ValueError(f"orders must be a list of some of {ORDERS}, not {orders!r}")


def _check_networks(a: Ensemble, b: Ensemble) -> None:
    """Refuse networks that are not binary, or not of one model and one size of weights."""
    check_models(a, b)
    if a.replicas != b.replicas:
        raise ValueError(f"a and b must have as many networks, not {a.replicas} and {b.replicas}")
    for name, one in (("a", a), ("b", b)):
        if not is_binary(one):
            raise ValueError(f"{name} is not binary: see spinscape.networks.binary.binarised")
    for name, value in a.params.items():
        own, other = float(value.abs().max()), float(b.params[name].abs().max())
        if abs(own - other) > 1e-5 * own:
            raise ValueError(f"weights {name} have size {own:.6g} in a and {other:.6g} in b")
