"""Checks of the arguments that functions of the Sherrington-Kirkpatrick model share."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from spinscape.glasses._arguments import whole
from spinscape.memory import available_bytes

Floats = NDArray[np.float64]


def checked_couplings(couplings: ArrayLike) -> Floats:
    """Return couplings (I, n, n) as floats.

    Raises
    ------
    ValueError
        If they are not real, finite, symmetric and zero on the diagonal, or n is below 2, or I is 0.
    """
    found = np.asarray(couplings)
    if found.ndim != 3 or found.shape[1] != found.shape[2] or found.shape[1] < 2 or not len(found):
        raise ValueError(f"couplings must have shape (I, n, n) with n at least 2, not {found.shape}")
    if found.dtype.kind not in "iuf":
        raise ValueError(f"couplings must be real numbers, not {found.dtype}")
    j = found.astype(float, copy=False)
    for one in j:
        if not np.isfinite(one).all():
            raise ValueError("couplings must be finite")
        if (one != one.T).any() or one.diagonal().any():
            raise ValueError("couplings must be symmetric with zeros on the diagonal")
    return j


def checked_temperatures(temperatures: ArrayLike) -> Floats:
    """Return temperatures (T,) as floats; ValueError if they are not positive, finite and increasing."""
    found = np.asarray(temperatures)
    if found.ndim != 1 or not found.size or found.dtype.kind not in "iuf":
        raise ValueError(f"temperatures must be a list of numbers, not {temperatures!r}")
    t = found.astype(float)
    if not (np.isfinite(t).all() and t[0] > 0 and (np.diff(t) > 0).all()):
        raise ValueError(f"temperatures must be positive, finite and increasing, not {t.tolist()}")
    return t


def checked_spins(spins: ArrayLike, axes: int) -> NDArray[np.int8]:
    """Return spins of at least so many axes as int8; ValueError if one of them is not +1 or -1."""
    found = np.asarray(spins)
    if found.ndim < axes or found.dtype.kind not in "iuf" or not found.size:
        raise ValueError(f"spins must be an array of {axes} or more axes, not of shape {found.shape}")
    if not np.isin(found, (-1, 1)).all():
        raise ValueError("spins must be +1 or -1")
    return found.astype(np.int8)


def checked_size(n: int, most: int | None = None) -> int:
    """Return the number of spins; ValueError below 2 or above `most`."""
    return whole(n, "n", 2, most)


def check_fits(n: int, instances: int, each: float, what: str, device: torch.device) -> None:
    """Raise ValueError where I instances that take so many bytes each do not fit in memory."""
    there = available_bytes(device)
    if instances * each > there:
        most = int(there / each)
        allowed = f"{most} such instances fit" if most else "not even one such instance fits"
        raise ValueError(
            f"{what} of {instances} instances of {n} spins take {instances * each / 2**30:.3g} GiB, more "
            f"than there is: {allowed}"
        )
