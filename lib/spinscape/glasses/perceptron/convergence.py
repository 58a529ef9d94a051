"""Have Markov chains converged: split R-hat and effective sample size after ranks are made normal.

Vehtari, Gelman, Simpson, Carpenter & Buerkner, Bayesian Analysis 16, 667 (2021), arXiv:1903.08008.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri
from scipy.stats import rankdata

from spinscape.glasses._draws import PROBES, generator
from spinscape.glasses.perceptron.patterns import Patterns
from spinscape.glasses.perceptron.sampler import Solutions

Floats = NDArray[np.float64]

QUANTITIES = ("overlap with another chain", "mean stability", "share near the margin", "fixed direction")
"""What `converged` looks at."""

NEAR = 0.1
"""Stabilities so close to the margin are near it."""


@dataclass(frozen=True)
class Convergence:
    """R-hat and effective sample sizes of the chains of each instance.

    Attributes
    ----------
    quantities
        Names of the Q quantities.
    r_hat
        Of all chains together, and so between kinds of starts where runs were several, shape (I, Q).
    r_hat_runs
        Of the chains of each run alone, shape (R, I, Q).
    effective
        Effective sample size (bulk) of all kept states of all chains together, shape (I, Q).
    means
        Mean of a quantity over each run, shape (R, I, Q).
    """

    quantities: tuple[str, ...]
    r_hat: Floats
    r_hat_runs: Floats
    effective: Floats
    means: Floats


def split_r_hat(draws: ArrayLike) -> Floats:
    """Return the rank-normalised split R-hat, the larger of bulk and tails.

    Parameters
    ----------
    draws
        Chains of at least 4 draws, shape (..., C, K).

    Returns
    -------
    r_hat
        Shape (...); 1 in the limit of long chains.
        NaN where all draws are equal, infinite where chains stand still at different values.
    """
    x = _split(_checked(draws))
    folded = np.abs(x - np.median(x, axis=(-2, -1), keepdims=True))
    return np.fmax(_ratio(_normal_ranks(x)), _ratio(_normal_ranks(folded)))


def effective_sample_size(draws: ArrayLike) -> Floats:
    """Return the effective sample size in the bulk of all chains together.

    Autocorrelations of rank-normalised, split chains are summed while the sums of pairs of lags are positive,
    and made monotone (Geyer 1992).

    Parameters
    ----------
    draws
        Chains of at least 4 draws, shape (..., C, K).

    Returns
    -------
    size
        Shape (...), at most ``C K log10(C K)``; NaN where all draws are equal.
    """
    z = _normal_ranks(_split(_checked(draws)))
    chains, length = z.shape[-2:]
    mean = z.mean(-1, keepdims=True)
    spectrum = np.fft.rfft(z - mean, 2 * length, axis=-1)
    covariance = np.fft.irfft(np.abs(spectrum) ** 2, 2 * length, axis=-1)[..., :length].mean(-2) / length
    within = covariance[..., 0] * length / (length - 1)
    total = within * (length - 1) / length + mean[..., 0].var(-1, ddof=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        rho = 1 - (within[..., None] - covariance * length / (length - 1)) / total[..., None]
        rho[..., 0] = 1
        even = length // 2 * 2
        pairs = rho[..., 0:even:2] + rho[..., 1:even:2]
        positive = np.logical_and.accumulate(pairs > 0, axis=-1)
        pairs = np.minimum.accumulate(np.where(positive, pairs, 0), axis=-1)
        time = np.maximum(2 * pairs.sum(-1) - 1, 1 / np.log10(chains * length))
        return np.where(total > 0, chains * length / time, np.nan)


def converged(patterns: Patterns, *runs: Solutions, seed: int = 0) -> Convergence:
    """Compare the chains of one or several runs of the same margin, say from two kinds of starts.

    The quantities are those of `QUANTITIES`; chains 0 and 1, 2 and 3, ... of a run make its overlaps.

    Raises
    ------
    ValueError
        If there is no run, margins or kept states differ in number, or a run has fewer than two chains or
        four kept states.
    """
    if not runs:
        raise ValueError("converged needs a run at least")
    if len({(run.kappa, run.points.shape[2]) for run in runs}) > 1:
        raise ValueError("runs must have one margin and as many kept states")
    if min(run.points.shape[1] for run in runs) < 2 or runs[0].points.shape[2] < 4:
        raise ValueError("runs need two chains and four kept states at least")
    traces = [_traces(patterns, run, seed) for run in runs]
    together = [np.concatenate(parts, 1) for parts in zip(*traces, strict=True)]
    return Convergence(
        QUANTITIES,
        np.stack([split_r_hat(x) for x in together], -1),
        np.stack([np.stack([split_r_hat(x) for x in run], -1) for run in traces]),
        np.stack([effective_sample_size(x) for x in together], -1),
        np.stack([np.stack([x.mean((1, 2)) for x in run], -1) for run in traces]),
    )


def _traces(patterns: Patterns, run: Solutions, seed: int) -> list[Floats]:
    """Return each quantity along the chains, (I, C', K)."""
    w, n = run.points, patterns.n
    instances, chains, keep, _ = w.shape
    last = chains // 2 * 2
    overlap = (w[:, 0:last:2] * w[:, 1:last:2]).sum(-1) / n
    level, near = np.empty((2, instances, chains, keep))
    direction = np.empty((instances, chains, keep))
    for i in range(instances):
        fixed = generator(seed, PROBES, n, i).standard_normal(n)
        direction[i] = w[i] @ fixed / np.sqrt(n)
        for c in range(chains):
            h = w[i, c] @ patterns.xi[i].T / np.sqrt(n)
            level[i, c], near[i, c] = h.mean(-1), (np.abs(h - run.kappa) < NEAR).mean(-1)
    return [overlap, level, near, direction]


def _checked(draws: ArrayLike) -> Floats:
    x = np.asarray(draws, float)
    if x.ndim < 2 or x.shape[-1] < 4 or x.shape[-2] < 1:
        raise ValueError(f"draws must be (..., chains, draws) with at least 4 draws, not {x.shape}")
    if not np.isfinite(x).all():
        raise ValueError("draws must be finite")
    return x


def _split(x: Floats) -> Floats:
    """Return each chain as two halves, without the middle draw of an odd number."""
    half = x.shape[-1] // 2
    return np.concatenate([x[..., :half], x[..., -half:]], -2)


def _normal_ranks(x: Floats) -> Floats:
    flat = x.reshape(*x.shape[:-2], -1)
    ranks = rankdata(flat, axis=-1)
    return ndtri((ranks - 3 / 8) / (flat.shape[-1] + 1 / 4)).reshape(x.shape)


def _ratio(z: Floats) -> Floats:
    length = z.shape[-1]
    within = z.var(-1, ddof=1).mean(-1)
    between = length * z.mean(-1).var(-1, ddof=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.sqrt((length - 1) / length + between / within / length)
