"""Nudged elastic bands between trained networks (Draxler et al. 2018).

All pivots of all pairs are one batched run: a step takes one batch per pair, shared by its pivots.
Pivots are put back to their distances after every step, and between rounds of training each band gets more of
them where the loss between pivots is highest above theirs.
What is reported is the loss on the whole broken line, finely sampled, and not that of its pivots.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spinscape.landscape.paths._batches import Batches, networks
from spinscape.landscape.paths._broken_lines import refined, split
from spinscape.landscape.paths._pairs import Samples, check_ends, in_parts
from spinscape.landscape.paths.combination import broken
from spinscape.landscape.paths.relaxation import Band, relax, settle
from spinscape.landscape.steps import BANDS, generator
from spinscape.landscape.symmetry.checks import at_least, check_memory
from spinscape.networks import optimisers
from spinscape.networks.datasets import Dataset
from spinscape.networks.device import chunk_size, keep_heap, resolve_device
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.losses import PerSample
from spinscape.progress import bar

__all__ = ["Band", "NetworkBand", "band", "relax"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class NetworkBand:
    """Broken lines of low loss between P pairs of networks, of M pivots, looked at in K points.

    Attributes
    ----------
    pivots
        The pivots, ends among them, P times M networks, the pivots of one pair after the other;
        `combination.broken` makes paths of them.
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
    momentum: float | None = None,
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
        As in :func:`spinscape.networks.training.train`; by default SGD has a momentum of 0.9.
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
    momentum = (0.9 if optimiser == "sgd" else 0.0) if momentum is None else momentum
    place = resolve_device(device)
    keep_heap()
    a = a.to(place)
    b = b.to(place).to(a.dtype)
    samples = Samples.of(dataset, a, loss)
    final = pivots + added * (rounds - 1)
    each = sum(p[0].numel() for p in a.params.values()) * samples.x.element_size()
    check_memory("pivots", final, 2 * a.replicas * each, what=f"of {a.replicas} bands", device=place)
    size = chunk or chunk_size(6 * final * each, place, a.replicas)
    with bar("elastic bands", a.replicas * rounds) as progress:

        def work(rows: Ints) -> NetworkBand:
            ends = a[torch.from_numpy(rows)], b[torch.from_numpy(rows)]
            batches = Batches(samples, ends[0], batch_size, [generator(seed, BANDS, int(p)) for p in rows])
            bands = _Bands(samples, *ends, pivots, between)
            for r in range(rounds):
                rate = learning_rate * (1 + np.cos(np.pi * r / rounds)) / 2
                rule = optimisers.factory(optimiser, place, learning_rate=rate, momentum=momentum)
                bands.relax(batches, epochs * batches.per_epoch, rule)
                if r < rounds - 1:
                    bands.insert(added)
                progress.update(len(rows))
            return bands.result(final)

        return _joined(in_parts(work, a.replicas, size, place))


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

    def relax(self, batches: Batches, steps: int, rule: optimisers.Factory) -> None:
        """Relax the bands, look at them, and keep those that are better than before."""
        self.pivots = settle(self.pivots, batches, self.shares, steps=steps, rule=rule).pivots
        self.loss, _ = self._look(self.pivots)
        self.highest.append(self.loss.max(1))
        for p, score in enumerate(self._scores(self.loss)):
            if score < self.scores[p]:
                self.best[p], self.scores[p] = (self.pivots[p].clone(), self.shares[p]), score
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
            new.append(split(self.pivots[p], self.shares[p], places))
        self.pivots, self.shares = (torch.stack(each) for each in zip(*new, strict=True))

    def result(self, pivots: int) -> NetworkBand:
        """Return the best bands, all of them with so many pivots."""
        straight, _ = self._straight(pivots)
        line, line_error = self._look(straight)
        found = torch.stack([refined(*best, pivots) for best in self.best])
        curve, error = self._look(found)
        above = ~(curve.max(1) <= line.max(1)) | (self.kept == 0)
        there = torch.from_numpy(above).to(found.device)
        found[there] = straight[there]
        curve[above], error[above], self.kept[above] = line[above], line_error[above], 0
        lengths = torch.linalg.vector_norm(found.diff(dim=1), dim=-1).cpu().double().sum(1)
        apart = torch.linalg.vector_norm(self.ends.diff(dim=1)[:, 0], dim=-1).cpu().double()
        return NetworkBand(
            pivots=networks(self.like, found.flatten(0, 1)),
            energies=curve[:, :: self.inside + 1],
            t=np.linspace(0, 1, curve.shape[1]),
            line=line,
            curve=curve,
            line_error=line_error,
            curve_error=error,
            highest=np.stack(self.highest),
            kept=self.kept,
            length=(lengths / apart).numpy(),
        )

    def _straight(self, pivots: int) -> tuple[Tensor, Tensor]:
        """Return evenly spaced pivots of the straight lines, ``(P, M, D)``, and their shares."""
        t = torch.linspace(0, 1, pivots, dtype=torch.float64).to(self.ends)[:, None]
        shares = self.ends.new_full((len(self.ends), pivots - 1), 1 / (pivots - 1))
        return torch.lerp(self.ends[:, :1], self.ends[:, 1:], t), shares

    def _look(self, pivots: Tensor) -> tuple[Floats, Floats]:
        """Return loss and error on broken lines, ``(P, K)``."""
        points = (pivots.shape[1] - 1) * (self.inside + 1) + 1
        found = networks(self.like, pivots.flatten(0, 1))
        return self.samples.look(broken(found, points, pairs=len(pivots)))

    @staticmethod
    def _scores(loss: Floats) -> list[tuple[float, float]]:
        """Return what bands are compared by: the highest loss, then the mean."""
        return list(zip(loss.max(1).tolist(), loss.mean(1).tolist(), strict=True))


def _joined(parts: list[NetworkBand]) -> NetworkBand:
    """Join bands with the same number of pivots."""
    axes = dict.fromkeys(("energies", "line", "curve", "line_error", "curve_error", "kept", "length"), 0)
    by_pair = {
        name: np.concatenate([getattr(part, name) for part in parts], axis=axis)
        for name, axis in (axes | {"highest": 1}).items()
    }
    return NetworkBand(pivots=Ensemble.concatenate([part.pivots for part in parts]), t=parts[0].t, **by_pair)
