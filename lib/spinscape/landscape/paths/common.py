"""One basin or many: all networks aligned to ONE reference, against alignment pair by pair.

A network can be permuted so that it lies close to another one; whether a single permutation of each lets all
pairs be joined by straight lines without a barrier is a stronger question (Entezari et al., arXiv:2110.06296,
conjecture 1).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from spinscape import progress
from spinscape.landscape.pair_moments import pair_mean
from spinscape.landscape.paths.barriers import barriers
from spinscape.landscape.paths.combination import POINTS, as_positions, linear
from spinscape.landscape.paths.profiles import profile
from spinscape.landscape.paths.repair import repair_path
from spinscape.landscape.symmetry._alike import check_pairs
from spinscape.landscape.symmetry._pair import Pair
from spinscape.landscape.symmetry.alignment import align
from spinscape.landscape.symmetry.matching import Search, look, one_pair, stack
from spinscape.landscape.symmetry.permutations import Permutations, permute
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.losses import PerSample
from spinscape.networks.running_statistics import reset_statistics
from spinscape.statistics import Estimate

Kind = Literal["raw", "common", "pairs", "raw+repair", "common+repair", "pairs+repair"]
"""Networks as they are, aligned to one reference or pair by pair; with activation statistics reset or not."""

Ends = Callable[[slice], tuple[Ensemble, Ensemble]]
"""Rows of pairs to the networks at both their ends."""

POINT_BYTES = {"cpu": 2**27, "cuda": 2**33}
"""What the networks at the points of a chunk of pairs may take."""

Floats = NDArray[np.float64]
Measure = Literal["loss", "error"]
Definition = Literal["over_mean", "over_line", "midpoint"]


@dataclass(frozen=True)
class Comparison:
    """Loss and error on the lines between all pairs of networks.

    Attributes
    ----------
    kinds
        What was done to the networks first, names of `Kind` ``(A,)``.
    first, second
        Numbers of the two networks of each pair, int64 ``(P,)``, first < second.
    t
        Positions on the line ``(K,)``.
    loss, error
        float64 ``(A, P, K)``.
    reference
        Number of the network that all were aligned to; -1 if that is none of them.
        Its own pairs are aligned to each other under either alignment, so they do not tell the two apart.
        Intervals of networks aligned to it leave them out, and hold for this reference.
    """

    kinds: tuple[str, ...]
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    t: Floats
    loss: Floats
    error: Floats
    reference: int

    def barriers(self, measure: Measure = "loss", definition: Definition = "over_line") -> Floats:
        """Return the barrier of each pair, ``(A, P)``.

        ``"over_mean"``: largest value minus the mean of the ends.
        ``"over_line"``: largest excess over the straight line between the values at the ends.
        ``"midpoint"``: value at t = 1/2 minus the mean of the ends; NaN where there is no such point.
        """
        if measure not in get_args(Measure) or definition not in get_args(Definition):
            raise ValueError(f"there is no barrier of {measure!r} by {definition!r}")
        values = {"loss": self.loss, "error": self.error}[measure]
        found: Floats = getattr(barriers(values, self.t), definition)
        return found

    def without_reference(self) -> NDArray[np.bool_]:
        """Tell which pairs do not hold the reference, ``(P,)``."""
        return (self.first != self.reference) & (self.second != self.reference)

    def estimate(self, values: ArrayLike, *, leave_out: bool = True, level: float = 0.95) -> Estimate:
        """Return the mean over pairs, with an interval over networks.

        Parameters
        ----------
        values
            A number for each pair on the last axis, ``(..., P)``, such as :meth:`barriers` or their
            differences.
        leave_out
            Whether to leave out the pairs that hold the reference; for numbers of networks as they are or
            aligned pair by pair there is nothing special about it.
        level
            Nominal coverage.

        Returns
        -------
        Estimate
            ``(...)``.
        """
        numbers = np.moveaxis(np.asarray(values, float), -1, 0)
        if len(numbers) != len(self.first):
            raise ValueError(f"values must have {len(self.first)} pairs on the last axis, not {len(numbers)}")
        count = int(self.second.max()) + 1
        table = np.zeros((count, count, *numbers.shape[1:]))
        table[self.first, self.second] = table[self.second, self.first] = numbers
        kept = (np.arange(count) != self.reference) | (not leave_out)
        return pair_mean(table[kept][:, kept], level=level)

    def by_kind(
        self, measure: Measure = "loss", definition: Definition = "over_line", *, level: float = 0.95
    ) -> dict[str, Estimate]:
        """Return the mean barrier of each kind, with an interval over networks.

        Pairs that hold the reference are left out where networks were aligned to it, and only there.
        Ends of intervals are not below zero where barriers cannot be, which is all but ``"midpoint"``.
        """
        lowest = -np.inf if definition == "midpoint" else 0.0
        return {
            kind: self.estimate(row, leave_out=kind.startswith("common"), level=level).clipped(lowest, np.inf)
            for kind, row in zip(self.kinds, self.barriers(measure, definition), strict=True)
        }


def to_one_reference(
    ensemble: Ensemble,
    x: Tensor,
    y: Tensor,
    *,
    reference: int | str | Ensemble = 0,
    t: int | ArrayLike = POINTS,
    kinds: Sequence[Kind] = ("raw", "common", "pairs"),
    samples: Tensor | None = None,
    loss: str | PerSample = "cross_entropy",
    **options: Any,
) -> Comparison:
    """Compare lines between all pairs of networks, aligned to one reference and pair by pair.

    Parameters
    ----------
    ensemble
        R networks of one model, at least two.
    x, y
        Samples to evaluate on, as in `evaluate`.
    reference
        What all are aligned to, as in `symmetry.align`: the number of one, another network, or
        ``"barycentre"``.
    t
        A number of equidistant points (at least two), or positions from 0 to 1.
    kinds
        What is done to the networks first: of ``"raw"``, ``"common"``, ``"pairs"``, and each of these with
        ``"+repair"``, which resets activation statistics on the line, or those of batch norms.
    samples
        Inputs for ``"+repair"``; by default `x`.
    loss
        As in `evaluate`.
    **options
        Those of `symmetry.match`, such as `method`, for either alignment.

    Returns
    -------
    Comparison

    Raises
    ------
    ValueError
        If there are fewer than two networks, a kind is unknown, or positions are not from 0 to 1.
    """
    unknown = [kind for kind in kinds if kind not in get_args(Kind)]
    if unknown or not kinds:
        raise ValueError(f"kinds must be of {get_args(Kind)}, not {list(kinds)}")
    if ensemble.replicas < 2:
        raise ValueError("pairs need at least two networks")
    at = as_positions(t)
    if at[0] != 0 or at[-1] != 1:
        raise ValueError(f"t must run from 0 to 1, not from {at[0]} to {at[-1]}")
    first, second = np.triu_indices(ensemble.replicas, 1)
    reset = x if samples is None else samples
    found: dict[str, tuple[Floats, Floats]] = {}
    for way in dict.fromkeys(kind.removesuffix("+repair") for kind in kinds):
        ends = _ends(ensemble, first, second, way, reference, options)
        for kind in (way, f"{way}+repair"):
            if kind in kinds:
                over = None if kind == way else reset
                found[kind] = _on_lines(ends, len(first), at, x, y, loss, over, kind)
    values, errors = (np.stack([found[kind][k] for kind in kinds]) for k in (0, 1))
    number = -1
    if isinstance(reference, int | np.integer) and any(kind.startswith("common") for kind in kinds):
        number = int(reference) % ensemble.replicas
    return Comparison(tuple(kinds), first, second, at, values, errors, number)


def _ends(
    ensemble: Ensemble,
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    way: str,
    reference: int | str | Ensemble,
    options: dict[str, Any],
) -> Ends:
    """Return a function of rows that gives the networks at both ends of these lines."""
    orders: Permutations = {}
    if way == "common":
        ensemble = align(ensemble, reference, **options).ensemble
    elif way == "pairs":
        orders = match_pairs(ensemble, first, second, **options)

    def ends(rows: slice) -> tuple[Ensemble, Ensemble]:
        left, right = ensemble[first[rows]], ensemble[second[rows]]
        return left, permute(right, {name: p[rows] for name, p in orders.items()}) if orders else right

    return ends


def match_pairs(
    ensemble: Ensemble, first: NDArray[np.int64], second: NDArray[np.int64], **options: Any
) -> Permutations:
    """Return permutations that bring network ``second[p]`` close to ``first[p]``, ``(P, size)`` by set.

    Random draws depend on the two numbers; `options` are those of `symmetry.match`.
    """
    search = Search.of("match_pairs", options)
    description = check_pairs(ensemble, ensemble, None)
    found = []
    for i, j in progress.track(list(zip(first, second, strict=True)), "matching pairs"):
        a, b = one_pair(ensemble, ensemble, int(i), int(j))
        found.append(look(Pair(a, b, description, bias=search.bias), search, int(i), int(j)).orders)
    return stack(found)


def _on_lines(
    ends: Ends,
    pairs: int,
    t: Floats,
    x: Tensor,
    y: Tensor,
    loss: str | PerSample,
    samples: Tensor | None,
    label: str,
) -> tuple[Floats, Floats]:
    """Return loss and error on lines ``(P, K)``; with `samples`, of networks whose statistics are reset."""
    one, _ = ends(slice(0, 1))
    norms = any(isinstance(module, _BatchNorm) for module in one.model.modules())
    each = len(t) * sum(value.nbytes for value in (one.params | one.buffers).values())
    step = max(1, POINT_BYTES["cuda" if one.device.type == "cuda" else "cpu"] // each)
    values, errors = np.empty((2, pairs, len(t)))
    for start in progress.track(range(0, pairs, step), label):
        rows = slice(start, min(start + step, pairs))
        path = linear(*ends(rows), t)
        if samples is None:
            found = profile(path, x, y, loss)
        else:
            points = reset_statistics(path.points(), samples) if norms else repair_path(path, samples)
            found = profile(points, x, y, loss, pairs=path.pairs, t=t)
        values[rows], errors[rows] = found.loss, found.error
    return values, errors
