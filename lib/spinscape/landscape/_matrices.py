"""Square matrices of pairs as statistics take them: checked, and stacked along one leading axis."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spinscape.landscape.pairs import Pairs

Floats = NDArray[np.float64]

KINDS = ("distances", "overlaps")

ROUNDING = 1e-9
"""Matrices may be this far from symmetric, as a share of their largest entry."""


def matrix(values: Pairs | ArrayLike, kind: str = "distances", *, states: int = 2) -> Floats:
    """Return one checked matrix ``(R, R)``, of `Pairs` the one that `kind` names.

    Raises
    ------
    ValueError
        As `stack`, and if there is more than one.
    """
    found = stack(values, kind, states=states)
    if not isinstance(values, Pairs) and np.ndim(values) != 2:
        raise ValueError(f"{kind} must be one matrix (R, R), not {found.shape}")
    return found[0]


def stack(values: Pairs | ArrayLike, kind: str = "distances", *, states: int = 2) -> Floats:
    """Return checked matrices ``(B, R, R)``, made of one ``(R, R)`` or of many.

    Parameters
    ----------
    values
        `Pairs`, or matrices ``(R, R)`` or ``(B, R, R)``.
    kind
        ``"distances"`` (not negative, zero on the diagonal) or ``"overlaps"`` (one on the diagonal).
    states
        Least number R of states.

    Raises
    ------
    ValueError
        If the kind is unknown, or matrices are not square, not symmetric, not finite, too small, or have the
        wrong diagonal or sign.
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, not {kind!r}")
    m = np.asarray(getattr(values, kind) if isinstance(values, Pairs) else values, float)
    if m.ndim not in (2, 3) or m.shape[-1] != m.shape[-2] or not len(m):
        raise ValueError(f"{kind} must be matrices (R, R) or (B, R, R), not {m.shape}")
    if m.shape[-1] < states:
        raise ValueError(f"{kind} must be of at least {states} states, not {m.shape[-1]}")
    m = m.reshape(-1, *m.shape[-2:])
    size = max(float(m.max()), -float(m.min()))
    if not np.isfinite(size):
        raise ValueError(f"{kind} must be finite")
    for one in m:
        if (np.abs(one - one.T) > ROUNDING * size).any():
            raise ValueError(f"{kind} must be symmetric")
    on = 0.0 if kind == "distances" else 1.0
    if np.abs(np.diagonal(m, axis1=1, axis2=2) - on).max() > ROUNDING * max(size, on):
        raise ValueError(f"{kind} must have {on:g} on the diagonal")
    if kind == "distances" and m.min() < 0:
        raise ValueError("distances must not be negative")
    return m
