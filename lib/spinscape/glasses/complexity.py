"""Critical points of the spherical p-spin glass: thresholds, annealed complexities, exact mean counts.

The Hamiltonian is ``H(s) = n^{-(p-1)/2} sum J_{i1..ip} s_i1 ... s_ip`` on ``|s|^2 = n`` with independent
standard normal couplings, and energies are per spin, ``u = H / n``, so that the covariance of H is
``n (s.s'/n)^p``.
Formulas of Auffinger, Ben Arous and Cerny, Communications on Pure and Applied Mathematics 66 (2013).
The module needs numpy and scipy only.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq

from spinscape.glasses._arguments import energies, whole
from spinscape.glasses._counts import (
    log_mean_critical_density,
    log_mean_critical_points,
    mean_critical_density,
    mean_critical_points,
)

__all__ = [
    "complexity",
    "complexity_density",
    "layer_energy",
    "log_complex_count",
    "log_mean_critical_density",
    "log_mean_critical_points",
    "mean_critical_density",
    "mean_critical_points",
    "rate",
    "threshold_energy",
]


def threshold_energy(p: int) -> float:
    """Threshold ``E_inf(p) = 2 sqrt((p - 1) / p)``, a positive number: the band ends at energy -E_inf.

    Parameters
    ----------
    p
        Interaction order, at least 2.

    Raises
    ------
    ValueError
        If p is no whole number of at least 2.
    """
    p = whole(p, "p", 2)
    return float(2 * np.sqrt((p - 1) / p))


def rate(u: ArrayLike, p: int) -> NDArray[np.float64]:
    """Rate ``I(u)`` of the smallest eigenvalue: what each unit of index costs below the threshold.

    With ``cosh c = -u / E_inf`` it is ``(sinh 2c - 2c) / 2``, zero at the threshold.

    Parameters
    ----------
    u
        Energies per spin, at most ``-E_inf(p)``, any shape.
    p
        Interaction order, at least 2.

    Raises
    ------
    ValueError
        If p is bad, or an energy lies above ``-E_inf(p)``, where the formula does not hold.
    """
    edge = threshold_energy(p)
    values = energies(u)
    if (values > -edge).any():
        raise ValueError(
            f"the rate holds for u <= -E_inf = {-edge:.6f} at p = {p}, not for {values.max():.6f}"
        )
    return _rate(-values / edge)


def _rate(ratio: NDArray[np.float64]) -> NDArray[np.float64]:
    """`rate` for energies in units of the threshold, at least 1."""
    y = 4 * np.arcsinh(np.sqrt(np.maximum(ratio - 1, 0) / 2))
    small, large = np.minimum(y, 0.5), np.minimum(y, 700.0)
    series = np.ones_like(small)
    for divisor in (210, 156, 110, 72, 42, 20):
        series = 1 + small**2 / divisor * series
    series *= small**3 / 6
    return np.asarray(np.where(y < 0.5, series, np.where(y > 700, np.inf, np.sinh(large) - large)) / 2)


def complexity(u: ArrayLike, p: int, index: int | None = None) -> NDArray[np.float64]:
    """CUMULATIVE annealed complexity: ``lim (1/n) log E #{points of this index with energy below u}``.

    Below the threshold it is ``(1/2) log(p-1) - (p-2)/(4(p-1)) u^2 - (k+1) I(u)``.
    Above it a fixed index k stays at ``(1/2) log(p-1) - (p-2)/p``; the total grows on, without the rate,
    up to ``(1/2) log(p-1)`` at u = 0, and stays there.

    Parameters
    ----------
    u
        Energies per spin, any shape, infinities included.
    p
        Interaction order, at least 2.
    index
        Number of negative directions k, fixed as n grows; None counts every index.

    Returns
    -------
    ndarray
        Nats per spin, the shape of u.

    Raises
    ------
    ValueError
        If p or the index is bad, or an energy is NaN.
    """
    edge = threshold_energy(p)
    k = 0 if index is None else whole(index, "index", 0)
    values = np.minimum(energies(u), 0.0 if index is None else -edge)
    return _gaussian_part(values, p) - (k + 1) * _rate(np.maximum(-values / edge, 1))


def complexity_density(u: ArrayLike, p: int, index: int | None = None) -> NDArray[np.float64]:
    """DENSITY version of the annealed complexity: the same limit for points with energy near u.

    At and below the threshold it equals `complexity`.
    Above, a fixed index is rarer than any exponential (-inf), and the total is
    ``(1/2) log(p-1) - (p-2)/(4(p-1)) u^2`` up to ``+E_inf``, even in u.

    Parameters
    ----------
    u
        Energies per spin, any shape.
    p
        Interaction order, at least 2.
    index
        Number of negative directions k, fixed as n grows; None counts every index.

    Returns
    -------
    ndarray
        Nats per spin, the shape of u.

    Raises
    ------
    ValueError
        If p or the index is bad, or an energy is NaN.
    """
    edge = threshold_energy(p)
    values = energies(u)
    if index is not None:
        return np.asarray(np.where(values <= -edge, complexity(values, p, index), -np.inf))
    return complexity(-np.abs(values), p)


def _gaussian_part(u: NDArray[np.float64], p: int) -> NDArray[np.float64]:
    if p == 2:
        return np.zeros_like(u)
    with np.errstate(over="ignore"):
        return np.asarray(np.log(p - 1) / 2 - (p - 2) / (4 * (p - 1)) * u**2)


def layer_energy(p: int, k: int = 0) -> float:
    """Energy ``E_k(p)`` at which the annealed complexity of index k vanishes: no such points below ``-E_k``.

    ``E_0`` is the ground state of p >= 3; at p = 2 every ``E_k`` is the threshold, sqrt 2.

    Parameters
    ----------
    p
        Interaction order, at least 2.
    k
        Index, at least 0.

    Raises
    ------
    ValueError
        If p or k is bad.
    """
    edge = threshold_energy(p)
    k = whole(k, "k", 0)
    if p == 2:
        return edge

    def height(energy: float) -> float:
        return float(complexity(-energy, p, k))

    top = 2 * edge
    while height(top) > 0:
        top *= 2
    return float(brentq(height, edge, top, xtol=1e-15, rtol=1e-15))


def log_complex_count(order: ArrayLike, size: ArrayLike) -> NDArray[np.float64]:
    """Log of ``((H-1)^L - 1) / (H-2)``, the number of complex critical points of a generic instance.

    Cartwright and Sturmfels (2013) count classes of eigenpairs of a symmetric tensor; each real class is a
    pair of antipodal points of the sphere.
    Becker, Zhang and Lee (2018), equation 5, read the number as critical points of a network.
    At H = 2 the limit is L.

    Parameters
    ----------
    order
        Interaction order H, at least 2, whole or not, any shape.
    size
        Number of spins L, at least 1, whole or not (networks have ``L = Psi^{1/H}``); broadcasts.

    Returns
    -------
    ndarray
        Nats.

    Raises
    ------
    ValueError
        If an order is below 2, a size below 1, or one is not finite.
    """
    h, size = np.broadcast_arrays(np.asarray(order, float), np.asarray(size, float))
    if not (np.isfinite(h).all() and (h >= 2).all()):
        raise ValueError("order must be at least 2 and finite")
    if not (np.isfinite(size).all() and (size >= 1).all()):
        raise ValueError("size must be at least 1 and finite")
    # (exp(L y) - 1) / (exp(y) - 1) with y = log(H - 1); both parts by expm1, the large one factored out.
    y = np.where(h > 2, np.log1p(h - 2), 1.0)
    many = size * y + np.log(-np.expm1(-size * y)) - np.log(np.expm1(y))
    return np.asarray(np.where(h > 2, many, np.log(size)))
