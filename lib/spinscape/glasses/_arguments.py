"""Checks of the arguments that the theory of the spherical p-spin glass shares."""

from __future__ import annotations

import operator

import numpy as np
from numpy.typing import ArrayLike, NDArray


def whole(value: int, name: str, least: int, most: int | None = None) -> int:
    """Return the value as an int; ValueError if it is no whole number from `least` to `most`."""
    allowed = f"a whole number of at least {least}" if most is None else f"a whole number, {least} to {most}"
    try:
        found = operator.index(value)
    except TypeError:
        raise ValueError(f"{name} must be {allowed}, not {value!r}") from None
    if isinstance(value, bool | np.bool_) or found < least or (most is not None and found > most):
        raise ValueError(f"{name} must be {allowed}, not {value!r}")
    return found


def energies(value: ArrayLike, name: str = "u") -> NDArray[np.float64]:
    """Return the energies per spin as floats; ValueError if one is not a number (infinities are allowed)."""
    found = np.asarray(value)
    if found.dtype.kind not in "iuf" or np.isnan(found).any():
        raise ValueError(f"{name} must be a real energy per spin or an array of them, without NaN")
    return found.astype(float)
