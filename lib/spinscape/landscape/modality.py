"""Is a sample of pairwise numbers one bump: Gaussian fit, histogram, mixtures of Gaussians.

The numbers of the R (R - 1) / 2 pairs of R states are not independent, so the p values and penalties that
come with these statistics assume more data than there are: `structure` calibrates them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Floats = NDArray[np.float64]

PRINTED_BINS = 1990
"""Bins of the histograms of Liao et al. 2024: 19,900 distances, ten to a bin."""


@dataclass(frozen=True)
class GaussianFit:
    """Moments of a sample and its distance from the normal distribution of the same mean and deviation.

    Attributes
    ----------
    mu, sigma
        Mean and standard deviation.
    skewness, kurtosis
        Standardised third moment, and fourth moment less 3.
    distance
        Kolmogorov-Smirnov distance to the fitted normal distribution.
    count
        Sample size.
    """

    mu: float
    sigma: float
    skewness: float
    kurtosis: float
    distance: float
    count: int


@dataclass(frozen=True)
class Histogram:
    """A density with its bins.

    Attributes
    ----------
    edges
        ``(B + 1,)``.
    counts
        ``(B,)``.
    density
        ``(B,)``, integral 1.
    """

    edges: Floats
    counts: NDArray[np.int64]
    density: Floats

    @property
    def centres(self) -> Floats:
        """Middles of the bins, ``(B,)``."""
        return (self.edges[1:] + self.edges[:-1]) / 2


@dataclass(frozen=True)
class Mixture:
    """Mixtures of 1 to K Gaussians and the choice by Schwarz's criterion.

    Attributes
    ----------
    bic
        ``-2 log likelihood + (3 k - 1) log n`` for k = 1..K, ``(K,)``; lower is better.
    best
        Number of components with the lowest.
    gain
        By how much the best is below that of one Gaussian, per number; 0 if one is best.
    weights, means, sds
        Of the best, ``(best,)``, by rising mean.
    modes
        Number of maxima of the best mixture's density: components that overlap make no mode of their own.
    """

    bic: Floats
    best: int
    gain: float
    weights: Floats
    means: Floats
    sds: Floats
    modes: int

    def density(self, x: ArrayLike) -> Floats:
        """Density of the best mixture at x, same shape."""
        at = np.asarray(x, float)[..., None]
        return (self.weights * stats.norm.pdf(at, self.means, self.sds)).sum(-1)


def _sample(values: ArrayLike, least: int) -> Floats:
    x = np.asarray(values, float).ravel()
    if len(x) < least or not np.isfinite(x).all():
        raise ValueError(f"values must be at least {least} finite numbers")
    return x


def gaussian_fit(values: ArrayLike) -> GaussianFit:
    """Fit a normal distribution.

    Parameters
    ----------
    values
        At least 3 numbers, any shape.

    Raises
    ------
    ValueError
        If there are fewer, they are not finite, or all are equal.
    """
    x = _sample(values, 3)
    mu, sigma = float(x.mean()), float(x.std(ddof=1))
    if sigma <= 1e-12 * max(abs(mu), np.finfo(float).tiny):
        raise ValueError("values do not vary")
    z = (x - mu) / sigma
    distance = float(stats.kstest(z, "norm").statistic)
    return GaussianFit(mu, sigma, float(stats.skew(x)), float(stats.kurtosis(x)), distance, len(x))


def histogram(values: ArrayLike, bins: int | None = None) -> Histogram:
    """Count values in equal bins.

    Parameters
    ----------
    values
        At least 2 numbers.
    bins
        Their number; by default that of Freedman and Diaconis 1981. `PRINTED_BINS` are the source's.
    """
    x = _sample(values, 2)
    if bins is not None and bins < 1:
        raise ValueError(f"bins must be at least 1, not {bins}")
    counts, edges = np.histogram(x, "fd" if bins is None else bins)
    widths = np.diff(edges)
    return Histogram(edges, counts.astype(np.int64), counts / (counts.sum() * widths))


def mixtures(values: ArrayLike, most: int = 6, *, bins: int = 200, steps: int = 200) -> list[Mixture]:
    """Fit mixtures of 1 to `most` Gaussians to every row by expectation-maximisation and choose by BIC.

    Values are put into bins first, so that the cost does not grow with their number; a component is no
    narrower than a bin, so that none collapses onto one value.
    Each number of components starts from quantiles and from two other spreads of means; the best end counts.

    Parameters
    ----------
    values
        ``(B, P)``, all rows at once.
    most
        Largest number of components.
    bins, steps
        Bins over the range of a row, and steps at most. Gains and numbers of components of different rows
        compare if they are the same.

    Raises
    ------
    ValueError
        If values are no rows of finite numbers that vary, or `most` is below 1.
    """
    if most < 1:
        raise ValueError(f"most must be at least 1, not {most}")
    rows = np.asarray(values, float)
    if rows.ndim != 2 or not np.isfinite(rows).all():
        raise ValueError(f"values must be rows (B, P) of finite numbers, not {rows.shape}")
    low, high = rows.min(1, keepdims=True), rows.max(1, keepdims=True)
    if (high <= low).any():
        raise ValueError("values do not vary")
    number = rows.shape[1]
    place = np.minimum(((rows - low) / (high - low) * bins).astype(int), bins - 1)
    counts = np.stack([np.bincount(row, minlength=bins) for row in place]).astype(float)
    # In units of the range: middles of the bins are the same for every row.
    x = (np.arange(bins) + 0.5) / bins
    fits = [_fit(x, counts, k, steps) for k in range(1, most + 1)]
    scale = (high - low)[:, 0]
    found = []
    for b in range(len(rows)):
        bic = np.array([
            -2 * (fit[3][b] - number * np.log(scale[b])) + (3 * k - 1) * np.log(number)
            for k, fit in enumerate(fits, 1)
        ])  # fmt: skip
        best = int(np.argmin(bic)) + 1
        w, m, s = (part[b] for part in fits[best - 1][:3])
        order = np.argsort(m)
        w, m, s = w[order], low[b, 0] + scale[b] * m[order], scale[b] * s[order]
        found.append(Mixture(bic, best, float(bic[0] - bic[best - 1]) / number, w, m, s, _modes(w, m, s)))
    return found


def _fit(x: Floats, counts: Floats, k: int, steps: int) -> tuple[Floats, Floats, Floats, Floats]:
    """Best of three starts: weights, means, sds ``(B, k)`` and log likelihoods ``(B,)``."""
    number = counts.sum(1, keepdims=True)
    mean = counts @ x / number[:, 0]
    sd = np.sqrt(counts @ x**2 / number[:, 0] - mean**2)
    cumulated = counts.cumsum(1) / number
    shares = (np.arange(k) + 0.5) / k
    quantiles = np.stack([np.interp(shares, row, x) for row in cumulated])
    ranks = stats.norm.ppf(shares)
    starts = [quantiles]
    if k > 1:
        starts += [mean[:, None] + 1.7 * sd[:, None] * ranks, np.tile(shares, (len(counts), 1))]
    ends = [_climb(x, counts, means, sd[:, None] / k, steps) for means in starts]
    likelihood = np.stack([end[3] for end in ends])
    best = likelihood.argmax(0)
    rows = np.arange(len(counts))
    w, m, s = (np.stack([end[i] for end in ends])[best, rows] for i in range(3))
    return w, m, s, likelihood[best, rows]


def _climb(
    x: Floats, counts: Floats, means: Floats, sd: Floats, steps: int
) -> tuple[Floats, Floats, Floats, Floats]:
    """Expectation-maximisation on binned data, until the likelihood of no row rises any more."""
    batch, k = means.shape
    w, m, s = np.full((batch, k), 1 / k), means.copy(), np.broadcast_to(sd, (batch, k)).copy()
    number = counts.sum(1)
    floor = 1 / len(x)
    last = np.full(batch, -np.inf)
    likelihood = last
    for _ in range(steps):
        z = (x - m[..., None]) / s[..., None]
        # Far from all components the density is set to the least that has a logarithm.
        parts = (w / s / np.sqrt(2 * np.pi))[..., None] * np.exp(-0.5 * z * z) + 1e-300
        total = parts.sum(1, keepdims=True)
        likelihood = (counts * np.log(total)[:, 0]).sum(1)
        if (likelihood - last < 1e-6 * number).all():
            break
        last = likelihood
        share = parts / total * counts[:, None]
        size = np.maximum(share.sum(-1), 1e-8)
        w = size / size.sum(1, keepdims=True)
        m = share @ x / size
        s = np.sqrt(np.maximum(share @ x**2 / size - m**2, floor**2))
    return w, m, s, likelihood


def _modes(weights: Floats, means: Floats, sds: Floats) -> int:
    """Count the maxima of a mixture's density on a fine grid."""
    grid = np.unique(
        np.concatenate([m + s * np.linspace(-4, 4, 401) for m, s in zip(means, sds, strict=True)])
    )
    y = (weights * stats.norm.pdf(grid[:, None], means, sds)).sum(1)
    rising = np.diff(y) > 0
    return int((rising[:-1] & ~rising[1:]).sum())
