"""How alike the functions of networks are, which no symmetry of their weights changes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from spinscape.memory import available_bytes
from spinscape.networks.ensemble import Ensemble, outputs
from spinscape.networks.finite import check_finite
from spinscape.networks.losses import predicted
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
    f, *rest = _outputs({"ensemble": ensemble} | ({} if others is None else {"others": others}), x, chunk)
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


def function_change(first: Ensemble, second: Ensemble, x: Tensor, *, chunk: int | None = None) -> np.ndarray:
    """Return how far the functions f and g of networks differ, ``max |f - g| / max |f|``.

    Parameters
    ----------
    first, second
        R networks each, or one; any models with the same inputs and outputs.
    x
        Inputs ``(N, ...)``; the maxima run over inputs and outputs.
    chunk
        Replicas at once in the forward pass, as in `evaluate`.

    Returns
    -------
    ndarray
        float64 ``(R,)``; where f is 0 everywhere, 0 if g is too, else infinite.

    Raises
    ------
    ValueError
        If numbers of networks or outputs differ, `x` is empty, or outputs are not finite.
    MemoryError
        If the outputs do not fit in memory; it tells for how many inputs they do.
    """
    if first.replicas != second.replicas and 1 not in (first.replicas, second.replicas):
        raise ValueError(f"second must have 1 or {first.replicas} networks, not {second.replicas}")
    f, g = _outputs({"first": first, "second": second}, x, chunk)
    change = (f - g).abs().amax((1, 2))
    return (change / f.abs().amax((1, 2))).where(change > 0, 0).cpu().numpy()


def _outputs(ensembles: dict[str, Ensemble], x: Tensor, chunk: int | None) -> list[Tensor]:
    """Return finite outputs ``(R, N, C)`` in double precision, of the same C."""
    if not len(x):
        raise ValueError("x is empty")
    first, *rest = ensembles
    for name, one in ensembles.items():
        check_finite(one, f"weights of {name} must be finite, not those of")
    try:
        counts = {name: outputs(one[0], x[:1]).shape[-1] for name, one in ensembles.items()}
    except (RuntimeError, IndexError) as error:
        raise ValueError(f"x of shape {tuple(x.shape)} is not what the networks read: {error}") from None
    for name in rest:
        if counts[name] != counts[first]:
            raise ValueError(f"{name} must have {counts[first]} outputs like {first}, not {counts[name]}")
    # Outputs in double precision, and what is computed from them beside them.
    each = 24 * sum(one.replicas for one in ensembles.values()) * counts[first]
    there = available_bytes(ensembles[first].device)
    if each * len(x) > there:
        raise MemoryError(
            f"outputs for {len(x)} inputs take {each * len(x) / 2**30:.3g} GiB, more than there is: "
            f"x must hold at most {int(there / each)} inputs"
        )
    found: list[Tensor] = []
    for name, one in ensembles.items():
        values = outputs(one, x, chunk=chunk)
        # Not every device knows double precision.
        values = (values.cpu() if values.device.type == "mps" else values).double()
        if not bool(values.isfinite().all()):
            raise ValueError(f"outputs of {name} are not finite")
        found.append(values.to(found[0].device) if found else values)
    return found


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
