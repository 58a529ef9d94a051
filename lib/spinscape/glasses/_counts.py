"""Exact mean numbers of critical points at finite size, as integrals over a GOE eigenvalue.

Auffinger, Ben Arous and Cerny (2013), theorems 2.1 and 2.2: with x_k the k-th smallest eigenvalue in the
scaling of `_goe`, the mean number of points of index k and energy per spin in B is

    2 sqrt(2/p) (p-1)^{n/2} E[ exp(-(p-2)/(2p) x_k^2) ; x_k in sqrt(n p / (2(p-1))) B ].
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import eval_legendre, roots_legendre

from spinscape.glasses._arguments import energies, whole
from spinscape.glasses._goe import log_density
from spinscape.glasses._goe_index import LIMIT, shares

Array = NDArray[np.float64]
POINTS = 16
LARGEST = 10_000
"""Largest n of the total count: 160,000 nodes, 10,000 terms each, some seconds."""
FAINT = -45.0
"""Log density at which the quadrature starts."""
WINDOW = 8
"""Index k is looked for only where the mean number of eigenvalues below is within this of k."""
NODES, WEIGHTS = roots_legendre(POINTS)


@dataclass(frozen=True)
class Panels:
    """Gauss-Legendre panels over the spectrum of the n x n GOE.

    Attributes
    ----------
    n
        Size of the matrix.
    start, width
        Left end of the first panel, and the width of each.
    x, log_density
        Nodes and the log of the one-point density there, shape (P, 16).
    below
        Mean number of eigenvalues below the middle of each panel, shape (P,).
    """

    n: int
    start: float
    width: float
    x: Array
    log_density: Array
    below: Array
    _shares: dict[int, Array] = field(default_factory=dict, repr=False)

    def mass(self, values: Array) -> Array:
        """Integration weight of each node times the exponential of `values`, shape (P, 16)."""
        return np.asarray(self.width / 2 * WEIGHTS * np.exp(values))

    def log_of_index(self, index: int) -> Array:
        """Log density of the eigenvalue with `index` others below it, -inf outside its window."""
        inside = np.flatnonzero(np.abs(self.below - index - 0.5) < WINDOW + 0.5).tolist()
        missing = [i for i in inside if i not in self._shares]
        if missing:
            found = shares(self.n, self.x[missing].ravel()).reshape(len(missing), POINTS, self.n)
            self._shares.update(zip(missing, found, strict=True))
        values = np.full_like(self.x, -np.inf)
        with np.errstate(divide="ignore"):
            for i in inside:
                values[i] = self.log_density[i] + np.log(self._shares[i][:, index])
        return values


@lru_cache(maxsize=64)
def panels(n: int) -> Panels:
    """Lay the panels for size n; the width is two spacings in the middle of the spectrum, at most 1."""
    width = min(1.0, 2 * np.pi / np.sqrt(2 * n))
    # Twelve past the edge every size is fainter: exp(-x^2 / 2) at n = 1, steeper above.
    ends = np.arange(int(np.sqrt(2 * n) / width), (np.sqrt(2 * n) + 12) / width + 1)
    count = int(ends[np.argmax(log_density(n, ends * width) < FAINT)])
    x = (np.arange(-count, count) + 0.5)[:, None] * width + NODES * width / 2
    half = log_density(n, x[:count])
    values = np.concatenate([half, half[::-1, ::-1]])
    mass = width / 2 * np.exp(values) @ WEIGHTS
    return Panels(n, -count * width, width, x, values, np.cumsum(mass) - mass / 2)


def log_constant(p: int, n: int) -> float:
    """Log of ``2 sqrt(2/p) (p-1)^{n/2}``."""
    return float(np.log(2) + np.log(2 / p) / 2 + n / 2 * np.log(p - 1))


def scale(p: int, n: int) -> float:
    """Eigenvalue that belongs to energy 1 per spin: ``sqrt(n p / (2 (p-1)))``."""
    return float(np.sqrt(n * p / (2 * (p - 1))))


def log_weighted(p: int, n: int, index: int | None) -> tuple[Panels, Array]:
    """Return the panels of size n and the log density in x of the mean count at their nodes."""
    grid = panels(n)
    values = grid.log_density if index is None else grid.log_of_index(index)
    return grid, log_constant(p, n) + values - (p - 2) / (2 * p) * grid.x**2


def log_cumulative(grid: Panels, values: Array, x: Array) -> Array:
    """Log of the integral up to x of the exponential of `values`, known at the nodes of the panels.

    Inside a panel the polynomial through its nodes is integrated; points left of the panels get -inf.
    """
    top = values.max(1, keepdims=True)
    top = np.where(np.isfinite(top), top, 0)
    heights = np.exp(values - top)
    with np.errstate(divide="ignore"):
        whole_panels = top[:, 0] + np.log(grid.width / 2 * heights @ WEIGHTS)
        so_far = np.concatenate([[-np.inf], np.logaddexp.accumulate(whole_panels)])
        place = np.clip((x - grid.start) / grid.width, 0, len(top))
        panel = np.minimum(place.astype(int), len(top) - 1)
        t = 2 * (place - panel) - 1
        order = np.arange(POINTS + 1)[:, None]
        legendre = eval_legendre(order, NODES)
        coefficients = heights @ (WEIGHTS * legendre[:POINTS] * (order[:POINTS] + 0.5)).T
        at = eval_legendre(order, t.ravel())
        # The integral of P_l from -1 to t is (P_{l+1} - P_{l-1}) / (2 l + 1), of P_0 it is t + 1.
        parts = (at[2:] - at[:-2]) / (2 * order[1:POINTS] + 1)
        parts = np.concatenate([at[:1] + at[1:2], parts])
        inner = grid.width / 2 * np.einsum("pl,lp->p", coefficients[panel.ravel()], parts).reshape(x.shape)
        inner = np.where(t <= -1, 0, np.maximum(inner, 0))
        return np.asarray(np.logaddexp(so_far[panel], top[panel, 0] + np.log(inner)))


@lru_cache(maxsize=4096)
def log_total(p: int, n: int) -> float:
    """Log of the mean number of all critical points, n from 1 on (2 points at n = 1)."""
    return float(log_cumulative(*log_weighted(p, n, None), np.array(np.inf)))


def _steepness(p: int, n: int, x: Array) -> Array:
    """Slope of the log density of the mean count left of the spectrum, x < -sqrt(2 n)."""
    return np.asarray(np.sqrt(x**2 - 2 * n) - (p - 2) / p * x)


def _log_tail(p: int, n: int, index: int | None, x: Array) -> Array:
    """Log of the integral up to each x (X,) far left, where the density falls steeply."""
    slope = _steepness(p, n, x)
    found = np.empty_like(x)
    for i, (end, steep) in enumerate(zip(x, slope, strict=True)):
        width = 10 / steep
        y = end - (np.arange(4)[:, None] + 0.5) * width + NODES * width / 2
        values = _log_at(p, n, index, y)
        top = values.max()
        if not np.isfinite(top):
            found[i] = -np.inf
            continue
        found[i] = top + np.log((width / 2 * np.exp(values - top) @ WEIGHTS).sum())
    return found


def _log_at(p: int, n: int, index: int | None, x: Array) -> Array:
    """Log density in x of the mean count, anywhere."""
    values = log_constant(p, n) + log_density(n, x) - (p - 2) / (2 * p) * x**2
    if index is None:
        return values
    with np.errstate(divide="ignore"):
        return np.asarray(values + np.log(shares(n, x.ravel())[:, index]).reshape(x.shape))


def _checked(p: int, n: int, index: int | None) -> tuple[int, int, int | None]:
    p = whole(p, "p", 2)
    if index is None:
        return p, whole(n, "n", 2, LARGEST), None
    n = whole(n, "n (for one index)", 2, LIMIT)
    return p, n, whole(index, "index", 0, n - 1)


def log_mean_critical_points(
    p: int, n: int, index: int | None = None, below: ArrayLike | None = None
) -> float | Array:
    """Log of the exact mean number of critical points of an instance of n spins.

    See `mean_critical_points`; the logarithm does not overflow.

    Returns
    -------
    float or ndarray
        Nats, a float for a scalar `below` or none, else the shape of `below`; -inf where the number is 0
        to working precision.
    """
    p, n, index = _checked(p, n, index)
    grid, values = log_weighted(p, n, index)
    x = np.array(np.inf) if below is None else energies(below, "below") * scale(p, n)
    found = log_cumulative(grid, values, x)
    # Near the start of the panels what lies left of them still counts: up to 25 e-folds, the tail's own rule.
    deep = np.isfinite(x) & (x < grid.start + 25 / _steepness(p, n, np.array(grid.start)))
    if deep.any():
        found[deep] = _log_tail(p, n, index, x[deep])
    return found if found.ndim else float(found)


def mean_critical_points(
    p: int, n: int, index: int | None = None, below: ArrayLike | None = None
) -> float | Array:
    """Exact mean number of critical points of an instance of n spins.

    The total from the one-point density of the GOE in closed form (Mehta), a single index from the exact
    share of each eigenvalue in that density; both integrated by Gauss-Legendre panels.
    The relative error is about 1e-13 for the total.
    For one index it is 1e-12 at p = 2 or few spins, and at most 1e-8, reached at n = 200 and large p.
    Far below the band, where `below` leaves less than 1e-8 points of one index, it may reach 1e-5.

    Parameters
    ----------
    p
        Interaction order, at least 2.
    n
        Number of spins, 2 to 10,000 for the total and 2 to 200 for one index.
    index
        Number of negative directions, 0 to n - 1; None counts every point.
    below
        Only points with energy per spin below this, scalar or any shape; None counts all energies.

    Returns
    -------
    float or ndarray
        A float for a scalar `below` or none, else the shape of `below`; inf beyond 1e308, where
        `log_mean_critical_points` serves.

    Raises
    ------
    ValueError
        If p, n or the index is out of range, or `below` holds NaN.
    """
    with np.errstate(over="ignore"):
        found = np.exp(log_mean_critical_points(p, n, index, below))
    return found if np.ndim(found) else float(found)


def log_mean_critical_density(u: ArrayLike, p: int, n: int, index: int | None = None) -> Array:
    """Log of `mean_critical_density`."""
    p, n, index = _checked(p, n, index)
    values = energies(u)
    found = np.full(values.shape, -np.inf)
    inside = np.isfinite(values)
    found[inside] = np.log(scale(p, n)) + _log_at(p, n, index, values[inside] * scale(p, n))
    return found


def mean_critical_density(u: ArrayLike, p: int, n: int, index: int | None = None) -> Array:
    """Exact mean number of critical points per unit of energy per spin, at u.

    Its integral over u is `mean_critical_points`; parameters and errors are the same.

    Parameters
    ----------
    u
        Energies per spin, any shape.
    p, n, index
        As for `mean_critical_points`.

    Returns
    -------
    ndarray
        Shape of u.

    Raises
    ------
    ValueError
        If p, n or the index is out of range, or u holds NaN.
    """
    with np.errstate(over="ignore"):
        return np.asarray(np.exp(log_mean_critical_density(u, p, n, index)))
