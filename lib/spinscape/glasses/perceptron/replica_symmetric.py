"""Replica-symmetric theory of the spherical perceptron with margin kappa, of either sign.

Patterns are normal, alpha per weight; solutions w on the sphere |w|^2 = N have stabilities
``h = w . xi / sqrt(N) >= kappa`` at all patterns.
With ``A(x) = G(x) / Hc(x)``, normal density over upper tail, and ``x = (kappa - sqrt(q) z) / sqrt(1 - q)``
for a normal z, the overlap q of two solutions drawn independently solves

    q / (1 - q) = alpha E[A(x)^2].

It is solved in ``log(q / (1 - q))``, so that q near 0 and near 1 are exact to rounding.

Sources: Gardner, J. Phys. A 21, 257 (1988); Franz and Parisi, J. Phys. A 49, 145001 (2016) and Franz et al.,
SciPost Phys. 2, 019 (2017) for negative margins.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, log_ndtr

from spinscape.glasses.perceptron._quadrature import (
    REACH,
    chunked,
    find_root,
    mills,
    mills_slope,
    normal_nodes,
    tail_share,
)
from spinscape.glasses.perceptron.limits import capacity, densities, margins

Floats = NDArray[np.float64]

_SINGLE = 34.0
"""Logit of an overlap that is 1 to rounding."""


class Overlap(NamedTuple):
    """An overlap and what it leaves to 1, each to full relative precision; shapes (...)."""

    q: Floats
    rest: Floats


def replica_symmetric_overlap(alpha: ArrayLike, kappa: ArrayLike, *, unstable: bool = False) -> Floats:
    """Return the overlap q of two solutions drawn independently from the uniform measure.

    Parameters
    ----------
    alpha, kappa
        Patterns per weight and margin; they broadcast to shape (...).
    unstable
        Whether points above the de Almeida-Thouless line are allowed, where the formula is not the answer.

    Raises
    ------
    ValueError
        If alpha is not positive, not below the capacity, or above the line (see `check_valid`).

    Examples
    --------
    >>> round(float(replica_symmetric_overlap(1.0, -0.5)), 5)
    0.25952
    """
    check_valid(alpha, kappa, unstable=unstable)
    return saddle(alpha, kappa).q


def entropy(alpha: ArrayLike, kappa: ArrayLike, *, unstable: bool = False) -> Floats:
    """Return the log of the solutions' share of the sphere, per weight: 0 at alpha = 0, else negative.

    ``1/2 log(1 - q) + q / (2 (1 - q)) + alpha E[log Hc(x)]``; arguments and errors as in
    `replica_symmetric_overlap`.
    """
    check_valid(alpha, kappa, unstable=unstable)
    pair = saddle(alpha, kappa)
    tails = _mean(lambda x: log_ndtr(-x), pair, margins(kappa), refine=1)
    return np.log(pair.rest) / 2 + pair.q / pair.rest / 2 + np.asarray(alpha, float) * tails


def stability(alpha: ArrayLike, kappa: ArrayLike, *, refine: int = 1) -> Floats:
    """Return alpha E[A'(x)^2]; replica symmetry is stable where this is below 1.

    ``A' = A (A - x)``; the de Almeida-Thouless condition.
    For kappa >= 0 it is below 1 up to the capacity: the problem is convex.

    Raises
    ------
    ValueError
        If alpha is not positive, or not below the capacity.
    """
    check_valid(alpha, kappa, unstable=True)
    pair = saddle(alpha, kappa, refine=refine)
    return np.asarray(alpha, float) * _mean(_square_slope, pair, margins(kappa), refine=refine)


def almeida_thouless(kappa: ArrayLike, *, refine: int = 1) -> Floats:
    """Return alpha on the de Almeida-Thouless line: replica symmetry is stable below it.

    For kappa >= 0 the problem is convex, replica symmetry never breaks, and the line is the capacity.

    Examples
    --------
    >>> round(float(almeida_thouless(-0.5)), 3)
    3.951
    """
    k = margins(kappa)
    line = np.array(capacity(k))
    broken = k < 0
    if broken.any():
        below = k[broken]

        def loads(u: Floats) -> tuple[Floats, Floats]:
            pair = Overlap(expit(u), expit(-u))
            alpha = np.exp(u) / _mean(_square, pair, below, refine=refine)
            return alpha, alpha * _mean(_square_slope, pair, below, refine=refine)

        found = find_root(lambda u: np.log(loads(u)[1]), np.full(below.shape, -30.0), _SINGLE)
        line[broken] = loads(found)[0]
    return line[()]


def stability_density(
    h: ArrayLike, alpha: ArrayLike, kappa: ArrayLike, *, unstable: bool = False, refine: int = 1
) -> Floats:
    """Return the density P(h) of a solution's stabilities; 0 below kappa.

    ``P(h) = G(h) E[1 / Hc(x)]`` with z normal around ``sqrt(q) h`` of variance ``1 - q``.
    The three arguments broadcast; errors as in `replica_symmetric_overlap`.
    """
    check_valid(alpha, kappa, unstable=unstable)
    pair, k, h = _at(h, alpha, kappa, refine)

    def some(q: Floats, rest: Floats, k: Floats, h: Floats) -> Floats:
        inside, left, root = h[:, None], np.sqrt(rest)[:, None], np.sqrt(q)[:, None]
        y, slopes = _one_sided(rest, refine)
        x = (k[:, None] - root * (root * inside + left * y)) / left
        logs = -(y**2 + inside**2) / 2 - log_ndtr(-x) - math.log(2 * math.pi)
        return np.sum(slopes * np.exp(logs), -1)

    return np.where(h >= k, chunked(some, pair.q, pair.rest, k, np.clip(h, k, 40.0)), 0.0)


def stability_distribution(
    h: ArrayLike, alpha: ArrayLike, kappa: ArrayLike, *, unstable: bool = False, refine: int = 1
) -> Floats:
    """Return the share of a solution's stabilities below h, the integral of `stability_density`."""
    check_valid(alpha, kappa, unstable=unstable)
    pair, k, h = _at(h, alpha, kappa, refine)
    step = np.clip(h - k, 0.0, 2 * REACH) / np.sqrt(pair.rest)
    farthest = float(np.max(step, initial=0.0))
    return _mean(tail_share, pair, k, step, refine=refine, second=farthest)


def saddle(alpha: ArrayLike, kappa: ArrayLike, *, refine: int = 1) -> Overlap:
    """Return the replica-symmetric overlap of checked arguments; those at the capacity get 1 to rounding."""
    alpha, kappa = np.broadcast_arrays(np.asarray(alpha, float), np.asarray(kappa, float))

    def excess(u: Floats) -> Floats:
        return u - np.log(alpha) - np.log(_mean(_square, Overlap(expit(u), expit(-u)), kappa, refine=refine))

    low = np.log(alpha) + 2 * np.log(mills(kappa)) - 1.0
    u = find_root(excess, np.minimum(low, _SINGLE - 1), np.full(alpha.shape, _SINGLE))
    return Overlap(expit(u), expit(-u))


def check_valid(alpha: ArrayLike, kappa: ArrayLike, *, unstable: bool = False) -> None:
    """Raise ValueError, with the numbers, where the replica-symmetric theory does not hold.

    Parameters
    ----------
    alpha, kappa
        Patterns per weight and margin; they broadcast.
    unstable
        Whether points above the de Almeida-Thouless line are allowed.

    Raises
    ------
    ValueError
        If alpha is not positive and finite; if it is not below the capacity, where no solution is left; or
        if it is above the de Almeida-Thouless line, where replica symmetry is broken.
    """
    loads, k = np.broadcast_arrays(densities(alpha), margins(kappa))
    most = capacity(k)
    over = loads >= most * (1 - 1e-12)
    if over.any():
        i = int(np.argmax(over))
        raise ValueError(
            f"alpha {loads.flat[i]:.6g} is not below {most.flat[i]:.6g}, the replica-symmetric capacity at "
            f"margin {k.flat[i]:.6g}: no solutions"
        )
    if unstable or not (k < 0).any():
        return
    line = almeida_thouless(np.unique(k))[np.unique(k, return_inverse=True)[1].reshape(k.shape)]
    above = (loads > line) & (k < 0)
    if above.any():
        i = int(np.argmax(above))
        raise ValueError(
            f"alpha {loads.flat[i]:.6g} is above {line.flat[i]:.6g}, the de Almeida-Thouless line at margin "
            f"{k.flat[i]:.6g}: replica symmetry is broken there; unstable=True gives its values all the same"
        )


def feature(pair: Overlap, kappa: Floats) -> tuple[Floats, Floats]:
    """Return the z around which x changes sign, and the width in z of one unit of x; shapes (...)."""
    root = np.sqrt(np.maximum(pair.q, 1e-30))
    return kappa / root, np.sqrt(pair.rest) / root


def _at(h: ArrayLike, alpha: ArrayLike, kappa: ArrayLike, refine: int) -> tuple[Overlap, Floats, Floats]:
    """Return the saddle points, margins and stabilities of three arguments that broadcast."""
    pair = saddle(alpha, kappa, refine=refine)
    found = np.asarray(h, float)
    if np.isnan(found).any():
        raise ValueError("a stability is not a number")
    q, rest, k, found = np.broadcast_arrays(pair.q, pair.rest, margins(kappa), found)
    return Overlap(q, rest), k, found


def _mean(
    function: Callable[..., Floats],
    pair: Overlap,
    kappa: Floats,
    *others: Floats,
    refine: int,
    second: float = 0.0,
) -> Floats:
    """Return the mean over z of a function of x, shape (n, M), and other arrays, (n, 1); shape (...)."""

    def some(q: Floats, rest: Floats, k: Floats, *more: Floats) -> Floats:
        z, weights = normal_nodes(*feature(Overlap(q, rest), k), refine=refine, second=second)
        x = (k[:, None] - np.sqrt(q)[:, None] * z) / np.sqrt(rest)[:, None]
        return np.sum(weights * function(x, *(m[:, None] for m in more)), -1)

    return chunked(some, pair.q, pair.rest, kappa, *others)


def _one_sided(rest: Floats, refine: int) -> tuple[Floats, Floats]:
    """Return y and dy for integrands that fall like a normal above and no faster than its root below."""
    low = np.arcsinh(-2 * REACH / np.sqrt(rest))[..., None]
    high = math.asinh(REACH)
    count = 2 + math.ceil((high - float(np.min(low))) / 0.06 * refine)
    u = low + (high - low) * np.linspace(0.0, 1.0, count)
    return np.sinh(u), np.cosh(u) * (high - low) / (count - 1)


def _square(x: Floats) -> Floats:
    return mills(x) ** 2


def _square_slope(x: Floats) -> Floats:
    return mills_slope(x) ** 2
