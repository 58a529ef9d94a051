"""Which measure of flatness predicts the test error, over a whole pool of networks.

A rank correlation over networks of several algorithms can come from the algorithms alone, or from the
training loss, which both a measure and the test error may follow.
So each measure has four numbers: Spearman's correlation over the pool, the partial one given the training
loss, and the means of both within the groups (Simpson's paradox is a pool and its groups that disagree).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from spinscape.landscape.symmetry.checks import as_numbers, at_least, check_memory

Floats = NDArray[np.float64]
Kind = Literal["pool", "partial", "within", "partial within"]

KINDS: tuple[str, ...] = get_args(Kind)

LEAST = 4
"""Networks of a group from which on it counts in the means over groups."""

LARGEST = 1 - 1e-12
"""Magnitude that correlations are clipped to before Fisher's transform."""

AT_ONCE = 2**22
"""Ranks that are held at once."""


@dataclass(frozen=True)
class Ranking:
    """Rank correlations of M measures with the test error.

    Attributes
    ----------
    names
        Of the measures.
    value
        ``(4, M)`` for the kinds ``"pool"``, ``"partial"``, ``"within"``, ``"partial within"``: Spearman's
        correlation over all networks; the partial one given the training loss; the means over groups of
        either, weighed by their networks. NaN where a measure does not vary.
    low, high
        Ends of their intervals, ``(4, M)``.
    best_share
        Share of draws in which a measure has the largest magnitude, ``(4, M)``.
    groups
        Names of the groups.
    by_group
        Correlation and partial correlation in each group, ``(2, groups, M)``; NaN in groups of fewer than
        `LEAST` networks.
    training_loss
        Spearman's correlation of the training loss itself with the test error.
    networks, left_out
        Networks counted, and those left out because a number of theirs is not finite.
    level
        Nominal coverage of the intervals.
    """

    names: tuple[str, ...]
    value: Floats
    low: Floats
    high: Floats
    best_share: Floats
    groups: tuple[str, ...]
    by_group: Floats
    training_loss: float
    networks: int
    left_out: int
    level: float

    def best(self, kind: Kind = "partial") -> tuple[str, float]:
        """Return the measure of the largest magnitude, and the share of draws in which it has that."""
        if kind not in KINDS:
            raise ValueError(f"kind must be one of {KINDS}, not {kind!r}")
        row = KINDS.index(kind)
        if np.isnan(self.value[row]).all():
            return "", float("nan")
        m = int(np.nanargmax(np.abs(self.value[row])))
        return self.names[m], float(self.best_share[row, m])


def rank(
    measures: Mapping[str, ArrayLike],
    test_error: ArrayLike,
    training_loss: ArrayLike,
    groups: ArrayLike,
    *,
    draws: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Ranking:
    """Rank measures by how well they predict the test error.

    Parameters
    ----------
    measures
        By name, one number per network, ``(N,)``.
    test_error, training_loss
        ``(N,)``.
    groups
        Labels ``(N,)``, such as the names of algorithms.
    draws
        Bootstrap draws: networks are drawn anew within each group, which keep their sizes.
    level
        Nominal coverage of the intervals.
    seed
        Seed of the bootstrap.

    Returns
    -------
    Ranking

    Raises
    ------
    ValueError
        If there is no measure, lengths differ, fewer than `LEAST` networks have finite numbers, or a number
        is out of range.

    Notes
    -----
    Intervals are ``tanh(atanh(r) -+ z s)``, s the standard deviation of ``atanh(r*)`` over the draws: the
    percentiles of a rank correlation are biased by the ties that drawing anew makes.
    Pool and groups of partial correlations use ranks of networks drawn together.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> loss, sharp = rng.normal(size=(2, 60))
    >>> error = sharp + loss + rng.normal(size=60) / 4
    >>> found = rank({"sharp": sharp, "noise": rng.normal(size=60)}, error, loss, ["a", "b"] * 30, draws=200)
    >>> found.best("partial")
    ('sharp', 1.0)
    """
    table, labels, names, left_out = _checked(measures, test_error, training_loss, groups)
    draws = at_least("draws", draws, 2)
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, not {level}")
    if not isinstance(seed, int | np.integer) or seed < 0:
        raise ValueError(f"seed must be a whole number of at least 0, not {seed!r}")
    count = table.shape[1]
    known, sizes = np.unique(labels, return_counts=True)
    parts = np.split(np.arange(count), np.cumsum(sizes)[:-1])
    table = table[:, np.argsort(labels, kind="stable")]
    check_memory("draws", draws, 64.0 * len(names))
    whole, each = _numbers(table[:, None], parts)
    value, by_group = whole[:, 0], each[:, :, 0]
    rng = np.random.default_rng(seed)
    step = max(1, AT_ONCE // table.size)
    rows = []
    for start in range(0, draws, step):
        some = min(step, draws - start)
        drawn = [part[rng.integers(len(part), size=(some, len(part)))] for part in parts]
        rows.append(_numbers(table[:, np.concatenate(drawn, 1)], parts)[0])
    low, high, share = _intervals(value, np.concatenate(rows, 1), level)
    pool = _correlation(_ranks(table[0]), _ranks(table[1]))
    return Ranking(
        names,
        value,
        low,
        high,
        share,
        tuple(str(k) for k in known),
        by_group,
        float(pool),
        count,
        left_out,
        level,
    )


def _checked(
    measures: Mapping[str, ArrayLike], test_error: ArrayLike, training_loss: ArrayLike, groups: ArrayLike
) -> tuple[Floats, NDArray[np.str_], tuple[str, ...], int]:
    """Return test error, training loss and measures as rows of finite numbers ``(2 + M, N)``, and labels."""
    if not measures:
        raise ValueError("rank needs at least one measure")
    columns = {"test_error": test_error, "training_loss": training_loss, **measures}
    rows = {name: as_numbers(name, values) for name, values in columns.items()}
    labels = np.asarray(groups).astype(str)
    count = rows["test_error"].size
    for name, row in [*rows.items(), ("groups", labels)]:
        if row.shape != (count,):
            raise ValueError(f"{name} must have one entry for each of {count} networks, not {row.shape}")
    table = np.stack(list(rows.values()))
    good = np.isfinite(table).all(0)
    if good.sum() < LEAST:
        raise ValueError(f"a ranking needs {LEAST} networks with finite numbers, not {int(good.sum())}")
    return table[:, good], labels[good], tuple(measures), int((~good).sum())


def _ranks(values: Floats) -> Floats:
    """Return ranks along the last axis, centred and of norm 1; NaN where all are equal."""
    ranks = stats.rankdata(values, axis=-1)
    ranks -= ranks.mean(-1, keepdims=True)
    norm = np.sqrt((ranks**2).sum(-1, keepdims=True))
    found: Floats = np.where(norm > 0, ranks / np.where(norm > 0, norm, 1), np.nan)
    return found


def _correlation(a: Floats, b: Floats) -> Floats:
    found: Floats = (a * b).sum(-1)
    return found


def _pair(table: Floats) -> Floats:
    """Return correlations of measures with the test error, plain and given the loss, ``(2, M, B)``."""
    ranks = _ranks(table)
    error, loss, own = ranks[0], ranks[1], ranks[2:]
    plain, with_loss = _correlation(own, error), _correlation(own, loss)
    between = _correlation(error, loss)
    left = (1 - with_loss**2) * (1 - between**2)
    with np.errstate(invalid="ignore", divide="ignore"):
        given = np.where(left > 1e-12, (plain - with_loss * between) / np.sqrt(np.maximum(left, 0)), np.nan)
    # A training loss that does not vary explains nothing.
    given = np.where(np.isnan(loss[..., 0]), plain, given)
    found: Floats = np.clip(np.stack([plain, given]), -1, 1)
    return found


def _numbers(table: Floats, parts: list[NDArray[np.int64]]) -> tuple[Floats, Floats]:
    """Return the four numbers ``(4, B, M)`` of tables ``(2 + M, B, N)``, and those of groups."""
    whole = _pair(table).swapaxes(1, 2)
    nothing = np.full_like(whole, np.nan)
    each = np.stack([_pair(table[..., p]).swapaxes(1, 2) if len(p) >= LEAST else nothing for p in parts], 1)
    weights = np.array([len(p) for p in parts], float)[None, :, None, None] * ~np.isnan(each)
    total = weights.sum(1)
    within = np.where(total > 0, np.nansum(weights * each, 1) / np.where(total > 0, total, 1), np.nan)
    return np.stack([whole[0], whole[1], within[0], within[1]]), each


def _intervals(value: Floats, drawn: Floats, level: float) -> tuple[Floats, Floats, Floats]:
    """Return ends of intervals and shares of being best, ``(4, M)``, from draws ``(4, B, M)``."""
    finite = np.isfinite(drawn)
    counts = finite.sum(1)
    turned = np.where(finite, np.arctanh(np.clip(drawn, -LARGEST, LARGEST)), 0.0)
    mean = turned.sum(1) / np.maximum(counts, 1)
    squares = np.where(finite, (turned - mean[:, None]) ** 2, 0.0).sum(1)
    spread = np.sqrt(squares / np.maximum(counts - 1, 1))
    reach = stats.norm.ppf((1 + level) / 2) * spread
    centre = np.arctanh(np.clip(value, -LARGEST, LARGEST))
    known = 2 * counts >= drawn.shape[1]
    low, high = (np.where(known, np.tanh(centre + sign * reach), np.nan) for sign in (-1, 1))
    size = np.where(finite, np.abs(drawn), -1.0)
    best = size.argmax(2)
    some: NDArray[np.bool_] = np.asarray(finite.any(2))
    share = np.stack(
        [
            np.bincount(row[use], minlength=value.shape[1]) / max(1, use.sum())
            for row, use in zip(best, some, strict=True)
        ]
    )
    return low, high, share
