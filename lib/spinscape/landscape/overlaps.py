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
