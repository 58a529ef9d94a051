"""The loss on the line to a copy of a network in which pairs of hidden units have changed places.

Liao et al. 2024, section 4.3 and Figure 3.
S pairs of units are swapped, so that the network computes what it did before from other weights, and the loss
is followed along the straight line between the two (their equation 2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spinscape.landscape._copy_lines import CopyLines
from spinscape.landscape._displaced import Lines, check_rows, one_hidden
from spinscape.landscape.symmetry.checks import (
    as_tensor,
    at_least,
    check_finite,
    check_samples,
    whole_numbers,
)
from spinscape.landscape.symmetry.permutations import permute
from spinscape.landscape.symmetry.swaps import swap_series
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.losses import PerSample
from spinscape.networks.units import describe
from spinscape.progress import bar

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LARGEST = 2**27
"""Values of the loss on all lines together, one gigabyte."""

BLOCK_BYTES = 2**24
"""Differences between units that are taken at once."""


@dataclass(frozen=True)
class SwapLines:
    """Loss on the lines from R networks to their copies with S numbers of swapped pairs, T copies each.

    Attributes
    ----------
    alphas
        Position on the line, 0 at the network and 1 at the copy, ``(A,)``.
    swaps
        Numbers of swaps, ``(S,)``.
    loss
        Mean loss over the samples, ``(R, S, T, A)``.
    accuracy
        Share of correct answers, ``(R, S, T, A)``; NaN for regression and where the loss is NaN.
    displaced
        Units of the copy that are not in their old place, ``(R, S, T)``.
    paired
        Those of them that have changed places with one other, ``(R, S, T)``.
    distance
        Euclidean distance between the parameters of the two ends, ``(R, S, T)``.
    widths
        Numbers of hidden units by layer, ``(H,)``.
    """

    alphas: Floats
    swaps: Ints
    loss: Floats
    accuracy: Floats
    displaced: Ints
    paired: Ints
    distance: Floats
    widths: Ints

    @property
    def share(self) -> Floats:
        """Displaced units as a share of all hidden units, ``(R, S, T)``."""
        return self.displaced / self.widths.sum()


def barrier(lines: SwapLines, *, of: str = "loss") -> Floats:
    """Return how far the largest value on each line lies above the mean of its ends, ``(R, S, T)``.

    Parameters
    ----------
    lines
        Loss and accuracy along lines.
    of
        ``"loss"``, or ``"error"`` for the share of wrong answers.

    Notes
    -----
    A maximum over a line that includes its ends is never below the mean of the ends, so that no barrier is
    negative and small ones are biased upwards; the value in the middle is not.
    """
    if of not in ("loss", "error"):
        raise ValueError(f"of must be 'loss' or 'error', not {of!r}")
    values = lines.loss if of == "loss" else 1 - lines.accuracy
    return values.max(-1) - (values[..., 0] + values[..., -1]) / 2


def swap_lines(
    ensemble: Ensemble,
    x: Tensor,
    y: Tensor,
    *,
    swaps: Sequence[int],
    trials: int,
    points: int = 25,
    disjoint: bool = False,
    loss: str | PerSample = "cross_entropy",
    seed: int = 0,
) -> SwapLines:
    """Follow the loss of networks with one hidden layer to copies with swapped units.

    Parameters
    ----------
    ensemble
        R networks: a linear layer, an elementwise activation, a linear layer.
    x, y
        Inputs ``(N, ...)`` and labels or targets ``(N, ...)``.
    swaps
        Numbers S of pairs.
    trials
        Copies T of each network for each S.
        The pairs of trial t of network r are those of :func:`spinscape.landscape.symmetry.swap`; a larger S
        goes on where a smaller one ended.
    points
        Points A of a line, its ends among them, evenly spaced; an odd number has one in the middle.
    disjoint
        Whether no unit is in two pairs; otherwise the S transpositions are done in succession, as in the
        source.
    loss
        As in :func:`spinscape.networks.evaluation.evaluate`.
    seed
        Seed of the pairs.

    Returns
    -------
    SwapLines

    Raises
    ------
    ValueError
        If the model has not one hidden layer (then see :func:`deep_swap_lines`), weights are not finite,
        samples do not fit the model, or an argument is out of range.
    MemoryError
        If there are more than `LARGEST` values, or the permutations do not fit in memory.

    Notes
    -----
    Only displaced units are computed: N x displaced x (classes + few) operations for a point.
    See :mod:`spinscape.landscape._displaced`.

    Examples
    --------
    >>> net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    >>> x, y = torch.randn(5, 3), torch.tensor([0, 1, 0, 1, 1])
    >>> swap_lines(Ensemble.from_modules([net]), x, y, swaps=[0, 1], trials=3).loss.shape
    (1, 2, 3, 25)
    """
    replicas = ensemble.replicas
    alphas, counts = _check(replicas, swaps, trials, points)
    x, y = check_rows(ensemble, x, y, loss)
    description = describe(ensemble.model)
    drawn = swap_series(description, counts, replicas=replicas, trials=trials, disjoint=disjoint, seed=seed)
    permutations = drawn[description.units[0].name].numpy()
    away, paired = _moved(permutations)
    rising = np.argsort(counts, kind="stable")
    shape = (replicas, len(counts), trials)
    found = {key: np.empty((*shape, points)) for key in ("loss", "accuracy")}
    distance = np.empty(shape)
    with bar("lines to swapped copies", replicas * trials) as progress:
        for r in range(replicas):
            network = one_hidden(ensemble.model, ensemble.params, r)
            lines = Lines(network, x, y, alphas, loss=loss)
            for values, by_trial in zip(found.values(), lines(permutations[r][:, rising]), strict=True):
                values[r, rising] = by_trial.swapaxes(0, 1)
            distance[r] = _distances(network.vectors(), permutations[r]).T
            progress.update(trials)
    return SwapLines(
        alphas=alphas,
        swaps=np.array(counts),
        displaced=away.swapaxes(1, 2),
        paired=paired.swapaxes(1, 2),
        distance=distance,
        widths=np.array([description.units[0].size]),
        **found,
    )


def deep_swap_lines(
    ensemble: Ensemble,
    x: Tensor,
    y: Tensor,
    *,
    swaps: Sequence[int],
    trials: int,
    points: int = 25,
    where: str = "each",
    loss: str | PerSample = "cross_entropy",
    seed: int = 0,
) -> SwapLines:
    """Follow the loss of networks of any depth to copies with swapped units, by the general evaluator.

    Parameters
    ----------
    ensemble
        R networks of any model whose hidden units are described.
    x, y, swaps, trials, points, loss, seed
        As in :func:`swap_lines`; with one hidden layer the pairs are the same.
    where
        ``"each"``: S swaps in every hidden layer; ``"total"``: S swaps, each in a layer drawn at random.

    Returns
    -------
    SwapLines

    Raises
    ------
    ValueError
        If the model's hidden units are not described, weights are not finite, samples do not fit the model,
        or an argument is out of range.
    MemoryError
        If there are more than `LARGEST` values, or the permutations or one network do not fit.
    """
    replicas = ensemble.replicas
    description = describe(ensemble.model)
    alphas, counts = _check(replicas, swaps, trials, points)
    check_finite(ensemble)
    x, y = check_samples(ensemble, as_tensor("x", x).to(ensemble.dtype), y, loss)
    shape = (replicas, len(counts), trials)
    found = {key: np.empty((*shape, points)) for key in ("loss", "accuracy")}
    distance = np.zeros(shape)
    drawn = swap_series(description, counts, replicas=replicas, trials=trials, where=where, seed=seed)
    moved = [_moved(p.numpy()) for p in drawn.values()]
    with bar("lines to swapped copies", replicas * len(counts) * trials) as progress:
        for r in range(replicas):
            network = ensemble[r]
            lines = CopyLines(network, description, x, y, alphas, loss=loss)
            for s, t in np.ndindex(*shape[1:]):
                own = {name: p[r, t, s] for name, p in drawn.items()}
                copy = permute(network, own, description)
                away = [
                    (copy.params[n] - p).detach().double().square().sum() for n, p in network.params.items()
                ]
                distance[r, s, t] = float(torch.stack(away).sum().sqrt())
                found["loss"][r, s, t], found["accuracy"][r, s, t] = lines(copy, own)
                progress.update()
    return SwapLines(
        alphas=alphas,
        swaps=np.array(counts),
        displaced=np.sum([displaced for displaced, _ in moved], axis=0).swapaxes(1, 2),
        paired=np.sum([paired for _, paired in moved], axis=0).swapaxes(1, 2),
        distance=distance,
        widths=np.array([units.size for units in description.units]),
        **found,
    )


def _moved(permutations: Ints) -> tuple[Ints, Ints]:
    """Count the units ``(...)`` that permutations ``(..., M)`` displace, and those they exchange in pairs."""
    own = np.arange(permutations.shape[-1])
    away = permutations != own
    back = np.take_along_axis(permutations, permutations, axis=-1) == own
    return away.sum(-1), (away & back).sum(-1)


def _distances(vectors: Tensor, permutations: Ints) -> Floats:
    """Return Euclidean distances between units' rows ``(M, D)`` and permuted ones, ``(T, S)``."""
    width = len(vectors)
    away = permutations != np.arange(width)
    # Trials and numbers of swaps share links between units.
    links, which = np.unique((np.arange(width) * width + permutations)[away], return_inverse=True)
    squares = np.empty(len(links))
    size = max(1, BLOCK_BYTES // (8 * vectors.shape[1]))
    for start in range(0, len(links), size):
        block = torch.from_numpy(links[start : start + size]).to(vectors.device)
        apart = vectors[block // width].cpu().double() - vectors[block % width].cpu().double()
        squares[start : start + size] = apart.square().sum(1)
    line = np.flatnonzero(away) // width
    sums = np.bincount(line, weights=squares[which], minlength=away[..., 0].size)
    return np.sqrt(sums).reshape(away.shape[:2])


def _check(replicas: int, swaps: Sequence[int], trials: int, points: int) -> tuple[Floats, list[int]]:
    """Return the points of a line and the numbers of swaps, after a check of the arguments."""
    counts = whole_numbers("swaps", swaps, 0)
    trials, points = at_least("trials", trials, 1), at_least("points", points, 2)
    count = replicas * len(counts) * trials * points
    if count > LARGEST:
        raise MemoryError(
            f"{count:,} values of the loss are more than the {LARGEST:,} that are allowed: trials times "
            f"points must be at most {LARGEST // (replicas * len(counts)):,}"
        )
    return np.linspace(0, 1, points), counts
