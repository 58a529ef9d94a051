"""Barriers of loss or error along paths, by the definitions in use."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Barriers:
    """How far values along paths rise above those at the ends.

    Attributes
    ----------
    over_mean
        The highest value less the mean of the two ends, ``(...,)`` (Ainsworth et al. 2023).
        Never below half the difference of the ends.
    over_line
        The highest of what a value lies above the straight line between the ends, ``(...,)`` (Entezari et al.
        2022, equation 1).
        Never negative: it is 0 at the ends.
    midpoint
        The value at t = 1/2 less the mean of the ends, ``(...,)``; of either sign, NaN where no point lies
        there.
    position
        Where `over_line` is reached, the first of equal ones, ``(...,)``.
    """

    over_mean: Floats
    over_line: Floats
    midpoint: Floats
    position: Floats


def barriers(values: ArrayLike, t: ArrayLike | None = None) -> Barriers:
    """Measure barriers.

    Parameters
    ----------
    values
        Loss or error along paths, ``(..., K)``.
    t
        Positions from 0 to 1, ``(K,)``; equidistant by default.

    Returns
    -------
    Barriers
        NaN where a value is.

    Raises
    ------
    ValueError
        If there are fewer than two points, or `t` does not increase from 0 to 1 in as many steps.

    Examples
    --------
    >>> found = barriers([1.0, 4.0, 3.0])
    >>> float(found.over_mean), float(found.over_line), float(found.midpoint), float(found.position)
    (2.0, 2.0, 2.0, 0.5)
    """
    table = np.asarray(values, dtype=np.float64)
    if table.ndim < 1 or table.shape[-1] < 2:
        raise ValueError(f"a barrier needs two or more points on the last axis, not shape {table.shape}")
    count = table.shape[-1]
    along = np.linspace(0.0, 1.0, count) if t is None else np.asarray(t, dtype=np.float64)
    good = along.shape == (count,) and along[0] == 0 and along[-1] == 1 and bool((np.diff(along) > 0).all())
    if not good:
        raise ValueError(f"t must increase from 0 to 1 in {count} positions, not {along.tolist()}")
    first, last = table[..., :1], table[..., -1:]
    above = table - ((1 - along) * first + along * last)
    # The ends lie on the line, whatever rounding says.
    above[..., [0, -1]] -= above[..., [0, -1]]
    mean = (first + last)[..., 0] / 2
    middle = np.flatnonzero(np.abs(along - 0.5) < 1e-12)
    at_middle = table[..., middle[0]] if len(middle) else np.full(mean.shape, np.nan)
    return Barriers(
        over_mean=table.max(-1) - mean,
        over_line=above.max(-1),
        midpoint=at_middle - mean,
        position=along[above.argmax(-1)],
    )
