"""How alike networks are: by their weights, by their weights modulo permutations, and by their functions.

No symmetry of the weights changes the functions.
Weights modulo permutations can be compared pair by pair, or after all networks are aligned to one; the latter
keeps the distances to that one and makes the others too large.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spinscape.landscape.functions import finite_outputs
from spinscape.landscape.functions import function_change as function_change
from spinscape.landscape.pairs import Pairs
from spinscape.landscape.symmetry.alignment import align, quotient_distances
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.finite import check_finite
from spinscape.networks.losses import predicted
from spinscape.networks.snapshots import squared_distances
from spinscape.progress import track

ROUNDING = 64 * np.finfo(float).eps
"""Above what rounding leaves of equal outputs after their mean is taken off, as a share of them."""

SAME = 1e-7
"""Distances between equal networks by rounding are below this share of their norm."""


@dataclass(frozen=True)
class Distortion:
    """Distances of networks aligned pair by pair, and of networks aligned to one of them.

    Attributes
    ----------
    raw, aligned, referred
        Pairs of the networks as they are, aligned pair by pair, and all aligned to the reference.
    reference
        Number of the network that all were aligned to.
    excess
        By how much the distances after alignment to the reference exceed those pair by pair, ``(R, R)``;
        0 in the row of the reference.
    lost
        Share of what alignment pair by pair takes off the distances, that alignment to the reference does not
        take off: mean over pairs without the reference; NaN where it takes off no more than rounding.
    triples
        Mean of ``(d3 - d2) / sd`` over all triples of sorted distances ``d1 <= d2 <= d3``, sd that of all
        distances: for raw, aligned and referred, ``(3,)``; 0 for an ultrametric space, NaN where distances
        differ by no more than rounding.
    with_reference, without_reference
        The same over triples that hold the reference, and over the others, ``(3,)``.
    """

    raw: Pairs
    aligned: Pairs
    referred: Pairs
    reference: int
    excess: np.ndarray
    lost: float
    triples: np.ndarray
    with_reference: np.ndarray
    without_reference: np.ndarray


@dataclass(frozen=True)
class FunctionOverlaps:
    """Overlaps between the functions of networks on the same inputs.

    Attributes
    ----------
    agreement
        Share of inputs at which two networks have their largest output in the same place, float64
        ``(R, R')``; NaN where there is one output.
    correlation
        Pearson correlation over inputs and outputs, after the mean over the inputs is taken from each output
        of each network; float64 ``(R, R')``, NaN where the outputs of a network do not vary.
    inputs
        Number of inputs.
    """

    agreement: np.ndarray
    correlation: np.ndarray
    inputs: int


def function_overlaps(
    ensemble: Ensemble, x: Tensor, *, others: Ensemble | None = None, chunk: int | None = None
) -> FunctionOverlaps:
    """Compare the functions of all pairs of networks, in use (evaluation mode).

    Parameters
    ----------
    ensemble
        R networks.
    x
        Inputs ``(N, ...)``, such as held-out ones.
    others
        R' networks with as many outputs; by default `ensemble` itself.
    chunk
        Replicas at once in the forward pass, as in `evaluate`.

    Raises
    ------
    ValueError
        If `x` is empty, or outputs differ in number or are not finite.
    MemoryError
        If the outputs do not fit in memory; it tells for how many inputs they do.

    Examples
    --------
    >>> from spinscape.networks.models import mlp
    >>> nets = Ensemble.from_modules([mlp([3, 8, 4]) for _ in range(2)])
    >>> function_overlaps(nets, torch.randn(50, 3)).agreement.diagonal()
    array([1., 1.])
    """
    f, *rest = finite_outputs(
        {"ensemble": ensemble} | ({} if others is None else {"others": others}), x, chunk
    )
    classes, directions = _classes(f), _directions(f)
    g = rest[0] if rest else None
    other_classes = classes if g is None else _classes(g)
    other_directions = directions if g is None else _directions(g)
    agreement = np.full((len(classes), len(other_classes)), np.nan)
    if f.shape[-1] > 1:
        for r in track(range(len(classes)), "function overlaps"):
            same = (classes[r] == other_classes).sum(1)
            agreement[r] = same.cpu().numpy() / len(x)
    correlation = (directions @ other_directions.T).clamp(-1, 1)
    return FunctionOverlaps(agreement, correlation.cpu().numpy(), len(x))


KINDS = ("raw", "aligned", "reference")


def distances(
    ensemble: Ensemble, kind: str = "raw", *, reference: int | Ensemble | str = 0, **options: Any
) -> Pairs:
    """Return Euclidean distances, norms and cosines of networks over all parameters.

    Parameters
    ----------
    ensemble
        R networks of one model, at least two.
    kind
        ``"raw"``: weights as they are. ``"aligned"``: the hidden units of one network of each pair are
        permuted to bring it close to the other, which for one hidden layer gives the distance between orbits.
        ``"reference"``: all networks are aligned to one, and then compared as they stand.
    reference
        What all are aligned to, as in :func:`spinscape.landscape.symmetry.align`.
    **options
        Those of :func:`spinscape.landscape.symmetry.match`, such as `start`.

    Returns
    -------
    Pairs
        A permutation changes no norm, so the norms are those of the networks as they are.

    Raises
    ------
    ValueError
        If there are fewer than two networks, the kind is unknown, or weights are not finite.
    TypeError
        If there is no such option, or there are any with weights as they are.
    MemoryError
        As in `match`.
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {KINDS}, not {kind!r}")
    if kind == "raw" and options:
        raise TypeError(f"raw distances take no options, not {', '.join(options)}")
    if ensemble.replicas < 2:
        raise ValueError("distances need at least 2 networks, there is 1")
    check_finite(ensemble)
    norms = ensemble.norms.cpu().numpy()
    if kind == "aligned":
        return Pairs.from_distances(quotient_distances(ensemble, **options).matched, norms)
    placed = ensemble if kind == "raw" else align(ensemble, reference, **options).ensemble
    return Pairs.from_distances(np.sqrt(squared_distances(placed.flat().detach())), norms)


def triple_distortion(ensemble: Ensemble, *, reference: int = 0, **options: Any) -> Distortion:
    """Show what alignment to one reference does to distances and triples of networks.

    Parameters
    ----------
    ensemble
        R networks of one model, at least four.
    reference
        Index of the network that all are aligned to.
    **options
        Those of :func:`spinscape.landscape.symmetry.match`, such as `start`.

    Returns
    -------
    Distortion
        Distances to the reference are those pair by pair; for one hidden layer the others are too large.

    Raises
    ------
    ValueError
        If there are fewer than four networks, or as in `distances`.
    TypeError
        If there is no such option.
    IndexError
        If there is no network of this index.
    MemoryError
        As in `match`.
    """
    if ensemble.replicas < 4:
        raise ValueError(f"triples without the reference need at least 4 networks, not {ensemble.replicas}")
    whole = isinstance(reference, int | np.integer) and not isinstance(reference, bool)
    if not whole or not -ensemble.replicas <= reference < ensemble.replicas:
        raise IndexError(f"there is no network {reference!r}: there are {ensemble.replicas}")
    check_finite(ensemble)
    number, norms = int(reference) % ensemble.replicas, ensemble.norms.cpu().numpy()
    found = quotient_distances(ensemble, **options)
    raw, aligned = (Pairs.from_distances(d, norms) for d in (found.raw, found.matched))
    referred = distances(ensemble, "reference", reference=number, **options)
    # To the reference the same permutations serve: what is left is rounding.
    square = referred.distances.copy()
    square[number], square[:, number] = found.matched[number], found.matched[:, number]
    referred = Pairs.from_distances(square, norms)
    excess = referred.distances - aligned.distances
    others = np.delete(np.arange(ensemble.replicas), number)
    upper = others[np.triu_indices(len(others), 1)[0]], others[np.triu_indices(len(others), 1)[1]]
    gained = float((raw.distances - aligned.distances)[upper].sum())
    means = np.array([_mean_gaps(pairs, number) for pairs in (raw, aligned, referred)]).T
    rounding = SAME * float(norms.max()) * len(upper[0])
    lost = float(excess[upper].sum()) / gained if gained > rounding else float("nan")
    return Distortion(raw, aligned, referred, number, excess, lost, *means)


def _mean_gaps(pairs: Pairs, reference: int) -> tuple[float, float, float]:
    """Return the mean of (d3 - d2) / sd over all triples, over those with the reference, and the others."""
    d, count = pairs.distances, pairs.replicas
    total, held, triples, holding = 0.0, 0.0, 0, 0
    for i in range(count - 2):
        j, k = (i + 1 + index for index in np.triu_indices(count - i - 1, 1))
        sides = np.sort(np.stack([d[i, j], d[i, k], d[j, k]]), axis=0)
        gaps = sides[2] - sides[1]
        here = (i == reference) | (j == reference) | (k == reference)
        total, triples = total + float(gaps.sum()), triples + len(gaps)
        held, holding = held + float(gaps[here].sum()), holding + int(here.sum())
    sd = float(pairs.upper_distances.std(ddof=1))
    if sd <= SAME * pairs.norms.max():
        return np.nan, np.nan, np.nan
    return total / triples / sd, held / holding / sd, (total - held) / (triples - holding) / sd


def function_distances(ensemble: Ensemble, x: Tensor, *, chunk: int | None = None) -> Pairs:
    """Return overlaps of the functions of networks, and the distances that belong to them.

    Parameters
    ----------
    ensemble
        R networks, at least two.
    x
        Inputs ``(N, ...)``, such as held-out ones.
    chunk
        Replicas at once in the forward pass, as in `evaluate`.

    Returns
    -------
    Pairs
        Overlaps are the correlations of `function_overlaps`, norms are 1, and distances ``sqrt(2 (1 - q))``.

    Raises
    ------
    ValueError
        As in `function_overlaps`, or if there are fewer than two networks, or outputs do not vary.
    MemoryError
        If the outputs do not fit in memory; it tells for how many inputs they do.
    """
    if ensemble.replicas < 2:
        raise ValueError("distances need at least 2 networks, there is 1")
    values = finite_outputs({"ensemble": ensemble}, x, chunk)[0]
    rows = _directions(values)
    if not bool(rows.isfinite().all()):
        raise ValueError("outputs of a network do not vary with the inputs: it has no direction")
    overlaps = np.eye(len(rows))
    upper = np.triu_indices(len(rows), 1)
    overlaps[upper] = 1 - squared_distances(rows)[upper] / 2
    overlaps.T[upper] = overlaps[upper]
    return Pairs.from_overlaps(overlaps)


def _classes(values: Tensor) -> Tensor:
    """Return the place of the largest output, as short integers that compare fast."""
    return predicted(values).to(torch.int16 if values.shape[-1] < 2**15 else torch.int64)


def _directions(values: Tensor) -> Tensor:
    """Return centred outputs as unit vectors ``(R, N C)``, NaN where they vary by no more than rounding."""
    size = values.abs().amax((1, 2))
    centred = (values - values.mean(1, keepdim=True)).flatten(1)
    length = torch.linalg.vector_norm(centred, dim=1)
    noise = ROUNDING * size * centred.shape[1] ** 0.5
    return centred / length.where(length > noise, torch.nan)[:, None]
