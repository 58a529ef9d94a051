"""How much of the spread of distances is the spread of norms.

Networks that stopped at different epochs have different norms, and then a histogram of distances has several
peaks without any cluster: k norms in equal steps give 2 k - 1 peaks of ``n_i^2 + n_j^2``.
Here distances are predicted from norms and the mean overlap alone,

    ``D_ij^2 = n_i^2 + n_j^2 - 2 n_i n_j q``,

and from the groups of the two networks, such as their stopping epochs.
Intervals resample networks, not pairs: pairs that share a network are not independent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks
from scipy.special import ndtr

from spinscape import progress
from spinscape.landscape.pairs import Pairs
from spinscape.landscape.steps import BOOTSTRAP
from spinscape.landscape.symmetry.checks import at_least

Floats = NDArray[np.float64]

GRID = 4096
"""Points of the grid on which densities are compared."""

MARGIN = 6.0
"""Standard deviations of a distance beyond the extreme ones that the grid covers."""


@dataclass(frozen=True)
class Share:
    """A share of the variance of distances.

    Attributes
    ----------
    value
        The share.
    low, high
        Ends of the percentile bootstrap interval over networks; NaN without draws.
    """

    value: float
    low: float
    high: float

    @property
    def interval(self) -> tuple[float, float]:
        """Both ends."""
        return self.low, self.high

    def __float__(self) -> float:
        return self.value


@dataclass(frozen=True)
class NormMixture:
    """What norms, and groups, say about P = R (R - 1) / 2 distances.

    Attributes
    ----------
    overlap
        Mean overlap of the pairs.
    predicted
        Distances from the norms and the mean overlap alone, ``(P,)``, in the order of
        ``Pairs.upper_distances``.
    by_norms
        Share of the variance of distances that the prediction explains, ``1 - sum (D - predicted)^2 /
        sum (D - mean D)^2``; nothing is fitted but the mean overlap, so it may be negative.
    by_groups
        Share that the means over unordered pairs of groups explain, corrected for their number; NaN without
        groups, or with one.
    by_both
        Share that the prediction and the mean of what it leaves in each pair of groups explain, likewise.
    residual_sd
        Standard deviation of what the prediction leaves.
    levels
        The k groups, in increasing order, ``(k,)``.
    sizes, group_norms
        Networks of each, and their mean norm, ``(k,)``.
    group_means
        Mean distance by pair of groups, ``(k, k)``; NaN where there is no pair.
    group_residuals
        Mean of what the prediction leaves, likewise.
    far_from_mixture
        Wasserstein distance between the distances and the mixture: the prediction with a normal error of
        standard deviation `residual_sd`; in units of the standard deviation of the distances.
    far_from_gaussian
        That to the normal of the same mean and standard deviation.
    edges
        Of the bins of the histograms, ``(H + 1,)``.
    measured, mixture, gaussian
        Densities in these bins, ``(H,)``.
    peaks
        Number of peaks of the mixture, as `peaks` counts them; with its default spread where norms explain
        the distances to within a bin of the grid.
    """

    overlap: float
    predicted: Floats
    by_norms: Share
    by_groups: Share
    by_both: Share
    residual_sd: float
    levels: Floats
    sizes: NDArray[np.int64]
    group_norms: Floats
    group_means: Floats
    group_residuals: Floats
    far_from_mixture: float
    far_from_gaussian: float
    edges: Floats
    measured: Floats
    mixture: Floats
    gaussian: Floats
    peaks: int


@dataclass(frozen=True)
class Peaks:
    """Peaks of the distances that norms alone predict.

    Attributes
    ----------
    count
        How many there are.
    positions, heights
        Where they stand, and the density there, ``(count,)``.
    grid, density
        The whole density, ``(GRID,)`` each.
    """

    count: int
    positions: Floats
    heights: Floats
    grid: Floats
    density: Floats


def explain(
    pairs: Pairs,
    groups: ArrayLike | None = None,
    *,
    bins: int = 60,
    draws: int = 200,
    level: float = 0.95,
    seed: int = 0,
) -> NormMixture:
    """Say how much of the distances the norms explain, and how much groups of networks do.

    Parameters
    ----------
    pairs
        R states, at least three.
    groups
        A number for each state, ``(R,)``, such as its stopping epoch; states of one number are a group.
    bins
        Bins of the histograms.
    draws
        Bootstrap draws of networks; 0 for no intervals.
    level
        Nominal coverage of the intervals.
    seed
        Of the draws.

    Raises
    ------
    ValueError
        If there are fewer than three states, all distances are equal, or an argument is out of range.
    """
    if pairs.replicas < 3:
        raise ValueError(f"pairs must be of at least 3 states, not {pairs.replicas}")
    bins, draws = at_least("bins", bins, 1), at_least("draws", draws, 0)
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, not {level}")
    kinds = _Groups(groups, pairs.replicas)
    d, i, j = pairs.upper_distances, *np.triu_indices(pairs.replicas, 1)
    if not np.ptp(d) > 0:
        raise ValueError("all distances are equal: there is nothing to explain")
    fit, ones = _Fit(pairs, kinds), np.ones(len(d))
    source = np.random.default_rng(np.random.SeedSequence(at_least("seed", seed, 0), spawn_key=(BOOTSTRAP,)))
    rows = []
    for _ in progress.track(range(draws), "drawing networks anew"):
        times = np.bincount(source.integers(pairs.replicas, size=pairs.replicas), minlength=pairs.replicas)
        weights = (times[i] * times[j]).astype(float)
        if np.count_nonzero(weights) > 2:
            rows.append(fit.shares(weights))
    shares = {
        name: _share(value, [row[name] for row in rows], level) for name, value in fit.shares(ones).items()
    }
    overlap, predicted = fit.predict(ones)
    left = d - predicted
    edges = np.linspace(d.min(), d.max(), bins + 1)
    sd = float(left.std())
    mixture = _binned(fit.grid, _smooth(fit.grid, predicted, sd), edges)
    return NormMixture(
        overlap,
        predicted,
        shares["by_norms"],
        shares["by_groups"],
        shares["by_both"],
        sd,
        kinds.levels,
        kinds.sizes,
        kinds.means_of_states(pairs.norms),
        kinds.table(d, i, j),
        kinds.table(left, i, j),
        fit.far(d, np.cumsum(_smooth(fit.grid, predicted + left.mean(), sd)) * fit.step),
        fit.far(d, ndtr((fit.grid - d.mean()) / d.std())),
        edges,
        np.histogram(d, edges, density=True)[0],
        mixture,
        np.diff(ndtr((edges - d.mean()) / d.std())) / np.diff(edges),
        peaks(pairs.norms, overlap=overlap, spread=sd if sd > np.ptp(d) / GRID else None).count,
    )


def peaks(
    norms: ArrayLike, *, overlap: float = 0.0, spread: float | None = None, prominence: float = 0.05
) -> Peaks:
    """Return the peaks of the distances between states of given norms and one overlap.

    Parameters
    ----------
    norms
        ``(R,)``, positive.
    overlap
        The overlap of all pairs.
    spread
        Standard deviation of a distance of given norms; by default a hundredth of the range of distances.
    prominence
        How far a peak must rise above the higher of the lows beside it, as a share of the highest peak.

    Raises
    ------
    ValueError
        If there are fewer than two norms, one is not positive, the overlap is 1 or more in absolute value, or
        `spread` or `prominence` are not positive.

    Examples
    --------
    Three groups in equal steps of the squared norm show five peaks.

    >>> peaks(np.repeat([10.0, 11.0, 12.0], 20) ** 0.5).count
    5
    """
    n = np.asarray(norms, float)
    if n.ndim != 1 or len(n) < 2 or not (np.isfinite(n).all() and (n > 0).all()):
        raise ValueError("norms must be at least 2 positive numbers")
    if not -1 < overlap < 1:
        raise ValueError(f"overlap must lie between -1 and 1, not {overlap}")
    i, j = np.triu_indices(len(n), 1)
    d = np.sqrt(n[i] ** 2 + n[j] ** 2 - 2 * overlap * n[i] * n[j])
    sd = (np.ptp(d) or d.mean()) / 100 if spread is None else float(spread)
    if not sd > 0 or not prominence > 0:
        raise ValueError(f"spread and prominence must be positive, not {spread} and {prominence}")
    grid = _grid(d, sd)
    density = _smooth(grid, d, sd)
    found = _maxima(density, prominence * density.max())
    return Peaks(len(found), grid[found], density[found], grid, density)


class _Groups:
    """States in groups, and what pairs of groups there are."""

    def __init__(self, groups: ArrayLike | None, count: int) -> None:
        given = np.zeros(count) if groups is None else np.asarray(groups, float)
        if given.shape != (count,) or not np.isfinite(given).all():
            raise ValueError(f"groups must be {count} numbers, one per state")
        self.levels, self.which, sizes = np.unique(given, return_inverse=True, return_counts=True)
        self.sizes = sizes.astype(np.int64)
        self.count = len(self.levels)

    def kinds(self, i: NDArray[np.int64], j: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return a number for the unordered pair of groups of each pair."""
        low, high = np.minimum(self.which[i], self.which[j]), np.maximum(self.which[i], self.which[j])
        return low * self.count + high

    def means_of_states(self, values: Floats) -> Floats:
        return np.bincount(self.which, values, self.count) / self.sizes

    def table(self, values: Floats, i: NDArray[np.int64], j: NDArray[np.int64]) -> Floats:
        """Return the mean over the pairs of each two groups, ``(k, k)``."""
        kind, k = self.kinds(i, j), self.count
        with np.errstate(invalid="ignore"):
            mean = np.bincount(kind, values, k * k) / np.bincount(kind, minlength=k * k)
        upper = mean.reshape(k, k)
        return np.where(np.isnan(upper), upper.T, upper)


class _Fit:
    """The numbers of `explain` for any weights of the pairs."""

    def __init__(self, pairs: Pairs, groups: _Groups) -> None:
        i, j = np.triu_indices(pairs.replicas, 1)
        self.d, self.q = pairs.upper_distances, pairs.upper_overlaps
        self.squares = pairs.norms[i] ** 2 + pairs.norms[j] ** 2
        self.product = 2 * pairs.norms[i] * pairs.norms[j]
        self.grouped = groups.count > 1
        self.kind = np.unique(groups.kinds(i, j), return_inverse=True)[1]
        predicted = self.predict(np.ones(len(self.d)))[1]
        self.grid = _grid(np.concatenate([self.d, predicted]), self.d.std())
        self.step = self.grid[1] - self.grid[0]

    def predict(self, weights: Floats) -> tuple[float, Floats]:
        """Return the mean overlap and the distances that follow from it and the norms."""
        overlap = float(np.average(self.q, weights=weights))
        return overlap, np.sqrt((self.squares - self.product * overlap).clip(0))

    def shares(self, weights: Floats) -> dict[str, float]:
        """Return the shares of the variance; `weights` are how often each pair was drawn."""
        left = self.d - self.predict(weights)[1]
        total = float(weights @ (self.d - np.average(self.d, weights=weights)) ** 2)
        return {
            "by_norms": 1 - float(weights @ left**2) / total,
            "by_groups": self._explained(self.d, weights, total),
            "by_both": self._explained(left, weights, total),
        }

    def far(self, values: Floats, cumulative: Floats) -> float:
        """Return the Wasserstein distance of values to a distribution, in standard deviations of `d`."""
        counts = np.bincount(np.searchsorted(self.grid, values).clip(0, GRID - 1), minlength=GRID)
        measured = np.cumsum(counts) / len(values)
        return float(np.abs(measured - cumulative).sum() * self.step / self.d.std())

    def _explained(self, values: Floats, weights: Floats, total: float) -> float:
        """Share of the variance that is not left within pairs of groups, corrected for their number."""
        if not self.grouped:
            return float("nan")
        count = np.bincount(self.kind, weights)
        means = np.bincount(self.kind, weights * values) / np.where(count > 0, count, 1)
        within = float(weights @ (values - means[self.kind]) ** 2)
        pairs, kinds = np.count_nonzero(weights), np.count_nonzero(count)
        return 1 - (within / (pairs - kinds)) / (total / (pairs - 1)) if pairs > kinds else float("nan")


def _share(value: float, draws: list[float], level: float) -> Share:
    finite = np.array(draws)[np.isfinite(draws)] if draws else np.zeros(0)
    if len(finite) < 2:
        return Share(float(value), float("nan"), float("nan"))
    low, high = np.quantile(finite, [(1 - level) / 2, (1 + level) / 2])
    return Share(float(value), float(low), float(high))


def _grid(values: Floats, sd: float) -> Floats:
    return np.linspace(values.min() - MARGIN * sd, values.max() + MARGIN * sd, GRID)


def _smooth(grid: Floats, centres: Floats, sd: float) -> Floats:
    """Return the density of normals of one standard deviation around centres, on the grid."""
    step = grid[1] - grid[0]
    place = ((centres - grid[0]) / step).clip(0, len(grid) - 2)
    left = np.floor(place).astype(int)
    right = place - left
    mass = np.bincount(left, 1 - right, len(grid)) + np.bincount(left + 1, right, len(grid))
    width = max(sd / step, 1e-3)  # a spread of 0 leaves the mass where it is
    return gaussian_filter1d(mass / (len(centres) * step), width, mode="constant", truncate=MARGIN)


def _binned(grid: Floats, density: Floats, edges: Floats) -> Floats:
    """Return the mean density in bins."""
    step = grid[1] - grid[0]
    cumulative = np.concatenate([[0.0], np.cumsum(density) * step])
    places = np.concatenate([grid - step / 2, [grid[-1] + step / 2]])
    return np.diff(np.interp(edges, places, cumulative)) / np.diff(edges)


def _maxima(density: Floats, prominence: float) -> NDArray[np.int64]:
    """Return where peaks stand that rise by `prominence` above the higher of the lows beside them."""
    return find_peaks(density, prominence=prominence)[0]
