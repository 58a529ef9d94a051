"""Outputs of networks in double precision, and how far functions differ."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from spinscape.memory import available_bytes
from spinscape.networks.ensemble import Ensemble, outputs
from spinscape.networks.finite import check_finite


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
    f, g = finite_outputs({"first": first, "second": second}, x, chunk)
    change = (f - g).abs().amax((1, 2))
    return (change / f.abs().amax((1, 2))).where(change > 0, 0).cpu().numpy()


def finite_outputs(ensembles: dict[str, Ensemble], x: Tensor, chunk: int | None) -> list[Tensor]:
    """Return finite outputs ``(R, N, C)`` in double precision, of the same C.

    Parameters
    ----------
    ensembles
        Networks by the name that messages give them.
    x
        Inputs ``(N, ...)``.
    chunk
        Replicas at once in the forward pass, as in `evaluate`.

    Raises
    ------
    ValueError
        If `x` is empty, or outputs differ in number or are not finite.
    MemoryError
        If the outputs do not fit in memory; it tells for how many inputs they do.
    """
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
