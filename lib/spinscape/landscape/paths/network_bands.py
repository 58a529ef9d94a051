"""Nudged elastic bands between trained networks (Draxler et al. 2018).

All pivots of all pairs are one ensemble: a step takes one batch per pair, shared by its pivots.
Pivots are put back to their distances after every step, and between rounds of training each band gets more of
them where the loss between pivots is highest above theirs.
What is reported is the loss on the whole broken line, finely sampled, and not that of its pivots.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spinscape.landscape.paths._pairs import Samples, check_ends, in_parts
from spinscape.landscape.paths.combination import broken
from spinscape.landscape.paths.elastic_band import settle
from spinscape.landscape.steps import BANDS, generator
from spinscape.landscape.symmetry.checks import at_least
from spinscape.networks import optimisers
from spinscape.networks.datasets import Dataset
from spinscape.networks.device import chunk_size, keep_heap, resolve_device
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.forward import Forward
from spinscape.networks.losses import PerSample, resolve_loss
from spinscape.progress import bar

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class NetworkBand:
    """Broken lines of low loss between P pairs of networks, of M pivots, looked at in K points.

    Attributes
    ----------
    pivots
        The pivots, ends among them, P times M networks, the pivots of one pair after the other.
    energies
        Mean loss of the pivots over the training samples, ``(P, M)``.
    t
        The points, the same number on every segment: pivot m is at ``m / (M - 1)``, ``(K,)``.
    line, curve
        Mean loss on the straight line and on the broken line, ``(P, K)``.
    line_error, curve_error
        Share of wrong answers there, ``(P, K)``; NaN for regression.
    highest
        Highest loss on the broken line after each round of training, first that on the straight one,
        ``(C + 1, P)``.
    kept
        The round whose band was kept, ``(P,)``; 0 where none was lower than the straight line.
    length
        Length of the broken line over that of the straight one, ``(P,)``.
    """

    pivots: Ensemble
    energies: Floats
    t: Floats
    line: Floats
    curve: Floats
    line_error: Floats
    curve_error: Floats
    highest: Floats
    kept: Ints
    length: Floats


def band(
    a: Ensemble,
    b: Ensemble,
    dataset: Dataset,
    *,
    pivots: int = 7,
    rounds: int = 3,
    added: int = 2,
    epochs: int = 5,
    optimiser: str | Callable[..., torch.optim.Optimizer] = "sgd",
    learning_rate: float = 0.1,
    momentum: float = 0.9,
    batch_size: int = 128,
    between: int = 3,
    loss: str | PerSample | None = None,
    seed: int = 0,
    device: str | torch.device = "auto",
    chunk: int | None = None,
) -> NetworkBand:
    """Relax an elastic band between the networks of each pair.

    The band with the lowest highest loss on the sampled broken line is kept, and the straight line is one of
    them: on the training samples and the points given, no band rises above the line that it starts from.

    Parameters
    ----------
    a, b
        P networks each, of one model without buffers (fold batch norms first).
    dataset
        Its training samples are trained on and looked at.
    pivots
        Pivots of a band at the start, its ends among them.
    rounds, added
        Rounds of training, and pivots that each band gets between them.
    epochs
        Passes over the training samples in a round.
    optimiser, learning_rate, momentum, batch_size, loss
        As in :func:`spinscape.networks.training.train`.
        From round to round the learning rate falls towards zero as half a cosine.
    between
        Points inside every segment that are looked at.
    seed
        Pair p draws its batches from the seed and p only.
    device
        ``"auto"`` (CUDA, else MPS, else CPU) or a device.
    chunk
        Pairs that are relaxed at once; by default what fits the cache (CPU) or the memory (GPU).

    Returns
    -------
    NetworkBand

    Raises
    ------
    ValueError
        If the networks do not fit each other or have buffers, or an argument is out of range.
    MemoryError
        If one pair does not fit into memory.

    Notes
    -----
    Draxler et al. 2018, Essentially no barriers in neural network energy landscape.
    """
    check_ends(a, b)
    least = {"pivots": 3, "rounds": 1, "added": 0, "epochs": 1, "batch_size": 1, "between": 1}
    given = {"pivots": pivots, "rounds": rounds, "added": added}
    given |= {"epochs": epochs, "batch_size": batch_size, "between": between}
    for name, value in given.items():
        at_least(name, value, least[name])
    if added > pivots - 1:
        raise ValueError(f"added must be at most the {pivots - 1} segments of the first bands, not {added}")
    place = resolve_device(device)
    keep_heap()
    a = a.to(place)
    b = b.to(place).to(a.dtype)
    samples = Samples.of(dataset, a, loss)
    final = pivots + added * (rounds - 1)
    size = chunk or chunk_size(
        6 * final * sum(p[0].numel() for p in a.params.values()) * samples.x.element_size(), place, a.replicas
    )
    with bar("elastic bands", a.replicas * rounds) as progress:

        def work(rows: Ints) -> NetworkBand:
            ends = a[torch.from_numpy(rows)], b[torch.from_numpy(rows)]
            batches = _Batches(samples, ends[0], batch_size, [generator(seed, BANDS, int(p)) for p in rows])
            bands = _Bands(samples, *ends, pivots, between)
            for r in range(rounds):
                rate = learning_rate * (1 + np.cos(np.pi * r / rounds)) / 2
                rule = {"optimiser": optimiser, "learning_rate": rate, "momentum": momentum}
                bands.relax(batches, epochs * batches.per_epoch, rule)
                if r < rounds - 1:
                    bands.insert(added)
                progress.update(len(rows))
            return bands.result(final)

        return _joined(in_parts(work, a.replicas, size, place))


class _Batches:
    """Loss and gradient of networks on batches: one for each pair and call, the same for all its pivots."""

    def __init__(
        self, samples: Samples, like: Ensemble, batch_size: int, sources: list[torch.Generator]
    ) -> None:
        self.samples, self.like, self.sources = samples, like, sources
        self.loss = resolve_loss(samples.loss)
        self.size = min(batch_size, len(samples.x))
        self.per_epoch = -(-len(samples.x) // self.size)
        self.forward = Forward(like.model, like.params, {}, samples.x[: self.size], training=False)
        self.left: Iterator[Tensor] = iter(())

    def __call__(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return losses ``(N,)`` and gradients ``(N, D)`` of networks as rows of numbers ``(N, D)``."""
        index = self._next()
        each = len(rows) // len(index)
        x, y = (
            value[index][:, None].expand(-1, each, *[-1] * value.ndim).flatten(0, 1)
            for value in (self.samples.x, self.samples.y)
        )
        leaf = rows.detach().requires_grad_()
        outputs = self.forward(_networks(self.like, leaf).params, {}, x)
        losses = self.loss(outputs, y).mean(1)
        (slope,) = torch.autograd.grad(losses.sum(), leaf)
        return losses, slope

    def _next(self) -> Tensor:
        """Return the samples of the next batch, ``(P, B)``."""
        index = next(self.left, None)
        if index is None:
            count = len(self.samples.x)
            orders = torch.stack([torch.randperm(count, generator=source) for source in self.sources])
            self.left = iter(orders.to(self.samples.x.device).split(self.size, 1))
            index = next(self.left)
        return index


class _Bands:
    """The bands of P pairs in training, and the best of them so far."""

    def __init__(self, samples: Samples, a: Ensemble, b: Ensemble, pivots: int, between: int) -> None:
        self.samples, self.like, self.inside = samples, a, between
        self.ends = torch.stack([optimisers.as_rows(end.flat()) for end in (a, b)], 1)
        self.pivots, self.shares = self._straight(pivots)
        self.loss, _ = self._look(self.pivots)
        self.best = [(self.pivots[p], self.shares[p]) for p in range(a.replicas)]
        self.scores = self._scores(self.loss)
        self.kept = np.zeros(a.replicas, np.int64)
        self.highest = [self.loss.max(1)]

    def relax(self, batches: _Batches, steps: int, rule: dict[str, Any]) -> None:
        """Relax the bands, look at them, and keep those that are better than before."""
        self.pivots = settle(self.pivots, batches, self.shares, steps=steps, rule=rule).pivots
        self.loss, _ = self._look(self.pivots)
        self.highest.append(self.loss.max(1))
        for p, score in enumerate(self._scores(self.loss)):
            if score < self.scores[p]:
                self.best[p], self.scores[p] = (self.pivots[p], self.shares[p]), score
                self.kept[p] = len(self.highest) - 1

    def insert(self, count: int) -> None:
        """Give each band pivots where the loss rises most above the line between two pivots' losses."""
        if not count:
            return
        step = self.inside + 1
        fractions = np.arange(1, step) / step
        new = []
        for p, loss in enumerate(self.loss):
            first, last = loss[:-1:step, None], loss[step::step, None]
            inside = loss[:-1].reshape(-1, step)[:, 1:]
            excess = np.nan_to_num(inside - (1 - fractions) * first - fractions * last, nan=-np.inf)
            segments = np.sort(np.argsort(-excess.max(1), kind="stable")[:count])
            places = segments + fractions[excess[segments].argmax(1)]
            new.append(_split(self.pivots[p], self.shares[p], places))
        self.pivots, self.shares = (torch.stack(each) for each in zip(*new, strict=True))

    def result(self, pivots: int) -> NetworkBand:
        """Return the best bands, all of them with so many pivots."""
        straight, _ = self._straight(pivots)
        line, line_error = self._look(straight)
        found = torch.stack([_refined(*best, pivots) for best in self.best])
        curve, error = self._look(found)
        above = ~(curve.max(1) <= line.max(1)) | (self.kept == 0)
        found[torch.from_numpy(above).to(found.device)] = straight[torch.from_numpy(above).to(found.device)]
        curve[above], error[above], self.kept[above] = line[above], line_error[above], 0
        lengths = torch.linalg.vector_norm(found.diff(dim=1), dim=-1).double().sum(1)
        apart = torch.linalg.vector_norm(self.ends.diff(dim=1)[:, 0], dim=-1).double()
        return NetworkBand(
            pivots=_networks(self.like, found.flatten(0, 1)),
            energies=curve[:, :: self.inside + 1],
            t=np.linspace(0, 1, curve.shape[1]),
            line=line,
            curve=curve,
            line_error=line_error,
            curve_error=error,
            highest=np.stack(self.highest),
            kept=self.kept,
            length=(lengths / apart).cpu().numpy(),
        )

    def _straight(self, pivots: int) -> tuple[Tensor, Tensor]:
        """Return evenly spaced pivots of the straight lines, ``(P, M, D)``, and their shares."""
        t = torch.linspace(0, 1, pivots, dtype=torch.float64).to(self.ends)[:, None]
        shares = self.ends.new_full((len(self.ends), pivots - 1), 1 / (pivots - 1))
        return torch.lerp(self.ends[:, :1], self.ends[:, 1:], t), shares

    def _look(self, pivots: Tensor) -> tuple[Floats, Floats]:
        """Return loss and error on broken lines, ``(P, K)``."""
        points = (pivots.shape[1] - 1) * (self.inside + 1) + 1
        networks = _networks(self.like, pivots.flatten(0, 1))
        return self.samples.look(broken(networks, points, pairs=len(pivots)))

    @staticmethod
    def _scores(loss: Floats) -> list[tuple[float, float]]:
        """Return what bands are compared by: the highest loss, then the mean."""
        return list(zip(loss.max(1).tolist(), loss.mean(1).tolist(), strict=True))


def _networks(like: Ensemble, rows: Tensor) -> Ensemble:
    """Return networks from rows that :func:`spinscape.networks.optimisers.as_rows` has filled up."""
    count = sum(value[0].numel() for value in like.params.values())
    return like[:1].unflatten(rows[:, :count])


def _split(pivots: Tensor, shares: Tensor, places: Floats) -> tuple[Tensor, Tensor]:
    """Put new pivots on a broken line.

    Parameters
    ----------
    pivots, shares
        ``(M, D)`` and ``(M - 1,)``.
    places
        Where, as number of the segment plus a fraction of it, ``(n,)``.

    Returns
    -------
    tuple
        Pivots ``(M + n, D)`` and shares ``(M + n - 1,)``.
    """
    whole = np.concatenate([np.arange(len(pivots)), places])
    ends = np.concatenate([[0], shares.cpu().double().cumsum(0).numpy()])
    at = np.interp(whole, np.arange(len(pivots)), ends)
    order = np.argsort(whole, kind="stable")
    segment = torch.from_numpy(places.astype(np.int64)).to(pivots.device)
    part = torch.from_numpy(places % 1).to(pivots)[:, None]
    new = torch.lerp(pivots[segment], pivots[segment + 1], part)
    index = torch.from_numpy(order).to(pivots.device)
    return torch.cat([pivots, new])[index], torch.from_numpy(np.diff(at[order])).to(shares)


def _refined(pivots: Tensor, shares: Tensor, count: int) -> Tensor:
    """Return the same broken line with `count` pivots: its longest segments are halved."""
    while len(pivots) < count:
        longest = np.argsort(-shares.cpu().double().numpy(), kind="stable")[: count - len(pivots)]
        pivots, shares = _split(pivots, shares, np.add(longest, 0.5, dtype=np.float64))
    return pivots


def _joined(parts: list[NetworkBand]) -> NetworkBand:
    """Join bands with the same number of pivots."""
    axes = dict.fromkeys(("energies", "line", "curve", "line_error", "curve_error", "kept", "length"), 0)
    by_pair = {
        name: np.concatenate([getattr(part, name) for part in parts], axis=axis)
        for name, axis in (axes | {"highest": 1}).items()
    }
    return NetworkBand(pivots=Ensemble.concatenate([part.pivots for part in parts]), t=parts[0].t, **by_pair)
