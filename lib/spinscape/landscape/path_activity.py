"""Whether the paths of a trained network are active independently of each other and of the inputs.

The comparison with a spin glass lets every path be active with one probability rho, independently of all
others and of the input that it carries (Choromanska et al. 2015; Liao et al. 2024, eqs 9 and 10).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import prod

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from spinscape.landscape.network_paths import activations
from spinscape.landscape.steps import PATHS
from spinscape.networks.ensemble import Ensemble
from spinscape.progress import track

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PathActivity:
    """Activity of paths over N samples, for R networks of L hidden layers.

    Attributes
    ----------
    rho
        Mean activity over all paths and samples, ``(R,)``.
    unit_rates
        Share of samples at which each hidden unit is active, ``(R, U)``.
    unit_layer
        Hidden layer of each unit, from 1, ``(U,)``.
    rates
        The same for K paths drawn at random, ``(R, K)``.
    rate_spread
        Standard deviation of `rates`, ``(R,)``.
    rate_spread_null
        What it were if every path were active with probability rho, from the finite N alone, ``(R,)``.
    active_share
        Share of all paths that are active at each sample, ``(R, N)``; independent paths in their large number
        would make it rho at every sample.
    shared
        Numbers of hidden units that two paths have in common, 0 .. L.
    share_of_pairs
        Probability that two paths drawn at random have so many in common, ``(L + 1,)``.
    correlation
        Correlation over samples of the activities of K pairs of paths, ``(R, L + 1, K)``; NaN where a path is
        always or never active.
    null_correlation
        The same after the second path's activities were permuted over the samples.
    mean, null_mean
        Mean of both, with sign, ``(R, L + 1)``.
    rms, null_rms
        Root mean square of both, ``(R, L + 1)``; permuted ones have ``1 / sqrt(N - 1)`` on average.
    random_rms, null_random_rms
        Root mean square for two paths drawn at random, whatever they have in common, ``(R,)``.
    constant
        Share of pairs without a correlation, ``(R, L + 1)``.
    input_correlation, null_input_correlation
        Correlation of a path's activity with the input that it begins at, and after a permutation of the
        samples, ``(R, K)``; NaN where one of both is constant.
    samples
        N.
    """

    rho: Floats
    unit_rates: Floats
    unit_layer: NDArray[np.int64]
    rates: Floats
    rate_spread: Floats
    rate_spread_null: Floats
    active_share: Floats
    shared: NDArray[np.int64]
    share_of_pairs: Floats
    correlation: Floats
    null_correlation: Floats
    mean: Floats
    null_mean: Floats
    rms: Floats
    null_rms: Floats
    random_rms: Floats
    null_random_rms: Floats
    constant: Floats
    input_correlation: Floats
    null_input_correlation: Floats
    samples: int

    @property
    def excess(self) -> Floats:
        """Root mean square of the correlations with what chance gives taken out, ``(R, L + 1)``."""
        return np.sqrt(np.maximum(self.rms**2 - self.null_rms**2, 0))


@dataclass(frozen=True)
class InputCorrelations:
    """Correlations between inputs, which the comparison takes as independent.

    Attributes
    ----------
    correlation
        Of all pairs of inputs that vary, ``(pairs,)``.
    rms
        Their root mean square.
    null_rms
        ``1 / sqrt(N - 1)``, what independent inputs would give on average.
    constant
        Share of inputs that never vary.
    """

    correlation: Floats
    rms: float
    null_rms: float
    constant: float


def path_activity(ensemble: Ensemble, x: Tensor, *, pairs: int = 400, seed: int = 0) -> PathActivity:
    """Measure how paths are active over samples.

    Parameters
    ----------
    ensemble
        R fully connected ReLU networks.
    x
        Inputs ``(N, ...)``, at least three.
    pairs
        K, pairs of paths for each number of shared units, and single paths.
    seed
        Seed of the paths that are drawn; those of a network do not depend on the others.

    Raises
    ------
    ValueError
        If the networks are of another kind or have no hidden layer, or `pairs` or N is too small.
    """
    if pairs < 2 or len(x) < 3:
        raise ValueError(f"at least 2 pairs and 3 samples are needed, not {pairs} and {len(x)}")
    inputs = x.detach().cpu().flatten(1).double().numpy()
    rows = []
    for r in track(range(ensemble.replicas), "activity of paths"):
        active = [mask[0].cpu().numpy() for mask in activations(ensemble[r], x)]
        if not active:
            raise ValueError("a network without hidden layers has no activities")
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(PATHS, r)))
        rows.append(_one(active, inputs, pairs, rng))
    columns = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    widths = [mask.shape[1] for mask in active]
    odds = np.array([sum(_odds(widths, m)[1]) for m in range(len(widths) + 1)])
    found, null = columns["correlation"], columns["null_correlation"]
    return PathActivity(
        **columns,
        rate_spread=columns["rates"].std(1, ddof=1),
        rate_spread_null=np.sqrt(columns["rho"] * (1 - columns["rho"]) / len(x)),
        unit_layer=np.repeat(np.arange(1, len(widths) + 1), widths),
        shared=np.arange(len(widths) + 1),
        share_of_pairs=odds,
        mean=_mean(found),
        null_mean=_mean(null),
        rms=np.sqrt(_mean(found**2)),
        null_rms=np.sqrt(_mean(null**2)),
        random_rms=_pooled(_mean(found**2), odds),
        null_random_rms=_pooled(_mean(null**2), odds),
        constant=np.isnan(found).mean(-1),
        samples=len(x),
    )


def input_correlations(x: Tensor) -> InputCorrelations:
    """Return the correlations between all pairs of inputs ``(N, ...)``."""
    rows = x.detach().cpu().flatten(1).double().numpy()
    varying = rows[:, np.ptp(rows, axis=0) > 0]
    if varying.shape[1] < 2 or len(rows) < 3:
        raise ValueError("at least two inputs that vary, and three samples, are needed")
    table = np.corrcoef(varying.T)
    found = table[np.triu_indices(len(table), 1)]
    return InputCorrelations(
        found,
        float(np.sqrt((found**2).mean())),
        float(1 / np.sqrt(len(rows) - 1)),
        1 - varying.shape[1] / rows.shape[1],
    )


def _one(
    active: Sequence[NDArray[np.bool_]], inputs: Floats, pairs: int, rng: np.random.Generator
) -> dict[str, Floats]:
    """Measure one network."""
    widths = [mask.shape[1] for mask in active]
    samples = len(inputs)
    share = np.prod([mask.mean(1) for mask in active], axis=0)
    single = _along(active, rng.integers(widths, size=(pairs, len(widths))))
    carried = inputs[:, rng.integers(inputs.shape[1], size=pairs)].T
    correlation, null = (np.full((len(widths) + 1, pairs), np.nan) for _ in range(2))
    for m in range(len(widths) + 1):
        if (drawn := _draw_pairs(widths, m, pairs, rng)) is None:
            continue
        one, other = (_along(active, units) for units in drawn)
        a, b = one.sum(1), other.sum(1)
        correlation[m] = _phi((one & other).sum(1), a, b, samples)
        # A permutation of one path's activities leaves both counts and draws what they have in common.
        null[m] = _phi(rng.hypergeometric(a, samples - a, b), a, b, samples)
    return {
        "rho": share.mean(),
        "unit_rates": np.concatenate([mask.mean(0) for mask in active]),
        "rates": single.mean(1),
        "active_share": share,
        "correlation": correlation,
        "null_correlation": null,
        "input_correlation": _correlation(single, carried),
        "null_input_correlation": _correlation(single[:, rng.permutation(samples)], carried),
    }


def _along(active: Sequence[NDArray[np.bool_]], units: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return the activity ``(K, N)`` of the paths through the given hidden units ``(K, L)``."""
    found = active[0].T[units[:, 0]].copy()
    for mask, column in zip(active[1:], units.T[1:], strict=True):
        found &= mask.T[column]
    return found


def _odds(widths: Sequence[int], shared: int) -> tuple[list[tuple[int, ...]], list[float]]:
    """Return the sets of layers that two random paths may share, and their probabilities."""
    sets = list(combinations(range(len(widths)), shared))
    odds = [prod(1 / n if k in chosen else 1 - 1 / n for k, n in enumerate(widths)) for chosen in sets]
    return sets, odds


def _draw_pairs(
    widths: Sequence[int], shared: int, count: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """Draw pairs of hidden paths with exactly so many units in common; None where there are none."""
    sets, odds = _odds(widths, shared)
    if not sum(odds):
        return None
    chosen = rng.choice(len(sets), size=count, p=np.array(odds) / sum(odds))
    same = np.array([[k in one for k in range(len(widths))] for one in sets])[chosen]
    first = rng.integers(widths, size=(count, len(widths)))
    step = rng.integers(1, np.maximum(widths, 2), size=(count, len(widths)))
    return first, np.where(same, first, (first + step) % widths)


def _phi(both: NDArray, a: NDArray, b: NDArray, samples: int) -> Floats:
    """Correlation of two binary series from the counts of ones; NaN where one is constant."""
    spread = a * (samples - a.astype(float)) * b * (samples - b.astype(float))
    with np.errstate(invalid="ignore", divide="ignore"):
        found = (samples * both.astype(float) - a.astype(float) * b) / np.sqrt(spread)
    return np.where(spread > 0, found, np.nan)


def _correlation(series: NDArray, others: NDArray) -> Floats:
    """Correlation along the last axis, ``(K, N)`` twice to ``(K,)``; NaN where one is constant."""
    a, b = (part - part.mean(1, keepdims=True) for part in (series.astype(float), others))
    norm = np.sqrt((a**2).sum(1) * (b**2).sum(1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(norm > 1e-12, (a * b).sum(1) / norm, np.nan)


def _mean(values: Floats) -> Floats:
    """Mean along the last axis without what is not finite; NaN where nothing is left."""
    told = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.where(told, values, 0).sum(-1) / told.sum(-1)


def _pooled(squares: Floats, odds: Floats) -> Floats:
    """Root of the mean of squares ``(R, L + 1)`` weighed by the odds of their kinds."""
    told = np.isfinite(squares)
    with np.errstate(invalid="ignore"):
        return np.sqrt((np.where(told, squares, 0) * odds).sum(-1) / (told * odds).sum(-1))
