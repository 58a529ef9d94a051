"""Null models of pairwise overlaps: states that are all alike, with nothing to group them.

Three clouds without clusters, each fitted to the data and of its size:

``"symmetric"``
    Replica symmetric: every pair of states alike, up to an effect of each state and the fluctuations of
    independent Gaussian vectors,
    ``q_ij = overlap + a_i + a_j + product a_i a_j + sum_k f_ik f_jk + sigma omega_ij``.
``"rotated"``
    One Gaussian cloud with any axes whatever, long ones included. The centred Gram matrix of independent
    Gaussian vectors of one mean and one covariance has eigenvectors that are uniformly distributed given its
    eigenvalues, so that a rotation of the data's own matrix is a draw given its spectrum, and a test by
    rotations is exact (Langsrud 2005). Nothing is fitted, and no factor has to be guessed.
    SigClust tests against the same null with an estimated spectrum (Liu, Hayes, Nobel and Marron 2008).

Per-state effects, such as those of norms or of the time of training, are the data's own in every draw, or
normal ones of the same size.
A term ``product a_i a_j`` with ``product = 1 / overlap`` turns the sum of two effects into their product
``c_i c_j``, as of unit vectors ``c_i m + sqrt(1 - c_i^2) v_i`` around a common direction m.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from spinscape.glasses.overlap_models import gram
from spinscape.landscape.pairs import Pairs
from spinscape.landscape.steps import NULLS
from spinscape.memory import available_bytes

Floats = NDArray[np.float64]

KINDS = ("symmetric", "rotated")
NORMS = ("same", "smooth")

MOST_PRODUCT = 2.0
"""Largest estimate of the product of two effects that passes for one, in units of ``1 / overlap``."""


@dataclass(frozen=True)
class Null:
    """Replica-symmetric model of R states, and what of the data its draws keep.

    Attributes
    ----------
    overlap
        Mean overlap of two states.
    effect
        Standard deviation of per-state effects, freed of the noise of their estimates.
    product
        Coefficient of the product of two effects, between 0 and ``1 / overlap``.
    sigma
        Standard deviation of an overlap, given effects and factors.
    dimension
        Dimension of Gaussian vectors whose overlaps fluctuate by `sigma`, ``((1 - overlap) / sigma)^2``.
    factors
        Variances of the loadings f of continuous directions, decreasing, ``(k,)``.
    effects
        The data's own effects a, ``(R,)``.
    scale
        Relative size s of the fluctuations of each state, ``(R,)``; see `split`.
    norms
        The data's own norms, ``(R,)``.
    residual
        Overlaps without mean and effects and at one scale, ``(R, R)``; zero diagonal, rows that sum to zero.
    """

    overlap: float
    effect: float
    product: float
    sigma: float
    dimension: float
    factors: Floats
    effects: Floats
    scale: Floats
    norms: Floats
    residual: Floats

    @property
    def replicas(self) -> int:
        """Number R of states."""
        return len(self.norms)


@dataclass(frozen=True)
class Draws:
    """B sets of R states drawn from a null.

    Attributes
    ----------
    overlaps
        ``(B, R, R)``, unit diagonal.
    norms
        ``(B, R)``.
    """

    overlaps: Floats
    norms: Floats

    @property
    def distances(self) -> Floats:
        """Euclidean distances ``(B, R, R)``."""
        n = self.norms
        squares = n[:, :, None] ** 2 + n[:, None] ** 2 - 2 * n[:, :, None] * n[:, None] * self.overlaps
        squares[:, range(n.shape[1]), range(n.shape[1])] = 0
        return np.sqrt(squares.clip(0))

    def pairs(self) -> Iterator[Pairs]:
        """Go through the draws, one after the other, as `Pairs`."""
        for q, n in zip(self.overlaps, self.norms, strict=True):
            yield Pairs.from_overlaps(q, n)


def fit(pairs: Pairs, factors: int = 0) -> Null:
    """Fit the replica-symmetric model to one set of states.

    Parameters
    ----------
    pairs
        At least 8 states.
    factors
        Number of continuous directions. Their variances come from the largest eigenvalues of the residual
        overlaps, freed of what noise adds to them.

    Raises
    ------
    ValueError
        If there are fewer than 8 states, overlaps do not vary, or factors do not number 0 to R / 4.
    """
    r = pairs.replicas
    if r < 8:
        raise ValueError(f"a null needs at least 8 states, not {r}")
    if not 0 <= factors <= r // 4:
        raise ValueError(f"factors must be 0 to {r // 4} for {r} states, not {factors}")
    parts = split(pairs.overlaps[None])
    mean, effects, residual = float(parts.mean[0]), parts.effects[0], parts.residual[0]
    degrees = r * (r - 3) / 2
    total = float((residual**2).sum() / 2)
    if total <= degrees * (64 * np.finfo(float).eps) ** 2:
        raise ValueError("overlaps do not vary beyond effects of single states: there is nothing to test")
    sigma = np.sqrt(total / degrees)
    effect = np.sqrt(max(0.0, float(effects.var(ddof=1)) - sigma**2 / (r - 2)))
    variances = np.zeros(0)
    if factors:
        variances, sigma = _factors(residual, factors, sigma)
    return Null(
        mean,
        float(effect),
        float(parts.product[0]),
        float(sigma),
        max(2.0, ((1 - mean) / sigma) ** 2),
        variances,
        effects,
        parts.scale[0],
        pairs.norms,
        residual,
    )


def two_way(overlaps: Floats) -> tuple[Floats, Floats, Floats]:
    """Split off-diagonal overlaps ``(B, R, R)`` into mean, effects of states, and the rest.

    Least squares of ``q_ij = mean + a_i + a_j``, effects summing to zero.

    Returns
    -------
    tuple
        Means ``(B,)``, effects ``(B, R)``, and residuals ``(B, R, R)`` with zero diagonal and zero row sums.
    """
    r = overlaps.shape[-1]
    rows = (overlaps.sum(-1) - np.diagonal(overlaps, axis1=1, axis2=2)) / (r - 1)
    mean = rows.mean(-1)
    effects = (r - 1) / (r - 2) * (rows - mean[:, None])
    residual = overlaps - mean[:, None, None] - effects[:, :, None] - effects[:, None]
    residual[:, range(r), range(r)] = 0
    return mean, effects, residual


@dataclass(frozen=True)
class Split:
    """Overlaps of B sets, ``q_ij = mean + a_i + a_j + product a_i a_j + s_i s_j e_ij``.

    Attributes
    ----------
    mean, product
        ``(B,)``.
    effects
        The a, which sum to zero, ``(B, R)``.
    scale
        The s, of mean square 1, ``(B, R)``.
    residual
        The e, ``(B, R, R)``, with zero diagonal and zero row sums.
    """

    mean: Floats
    product: Floats
    effects: Floats
    scale: Floats
    residual: Floats


def split(overlaps: Floats) -> Split:
    """Split off-diagonal overlaps ``(B, R, R)`` into mean, effects of states, and the rest.

    The product is Tukey's one degree of freedom: least squares at the effects of `two_way`, kept between that
    of a sum, 0, and of a product, ``1 / mean``.
    An estimate above `MOST_PRODUCT` times that of a product comes from no product, but for instance from two
    clusters of different size, and is set to 0.
    One cluster of s states among single ones has the overlaps of a common direction that s states share and
    the others do not: it is a product to the last digit, and nothing of it is left in the residuals.
    What is left of a unit vector beside a common direction is shorter the more it has of it,
    ``s_i^2 = 1 - (mean + 2 a_i + product a_i^2)``, and so are the fluctuations of its overlaps.
    """
    mean, effects, rest = two_way(overlaps)
    outer = effects[:, :, None] * effects[:, None]
    beyond = two_way(outer)[2]
    size = (beyond**2).sum((1, 2))
    best = np.where(size > 0, (beyond * rest).sum((1, 2)) / np.where(size > 0, size, 1), 0)
    most = np.where(mean > 0, 1 / np.where(mean > 0, mean, 1), 0)
    product = np.where(best > MOST_PRODUCT * most, 0, np.clip(best, 0, most))
    mean, effects, rest = two_way(overlaps - product[:, None, None] * outer)
    own = mean[:, None] + 2 * effects + product[:, None] * effects**2
    scale = np.sqrt((1 - own).clip(0.02))
    scale /= np.sqrt((scale**2).mean(1, keepdims=True))
    residual = two_way(rest / (scale[:, :, None] * scale[:, None]))[2]
    return Split(mean, product, effects, scale, residual)


def _factors(residual: Floats, factors: int, sigma: float) -> tuple[Floats, float]:
    """Variances of k directions, and the noise that is left.

    Principal factors: the diagonal, which the residuals lack, is filled in turn with what the directions make
    of it. The eigenvalues are freed of what noise adds to them; those that noise alone has count as 0.
    """
    r = len(residual)
    own = np.zeros(r)
    for _ in range(30):
        values, vectors = np.linalg.eigh(residual + np.diag(own))
        values, vectors = values[::-1][:factors].clip(0), vectors[:, ::-1][:, :factors]
        own = vectors**2 @ values
    rest = residual - (vectors * values) @ vectors.T
    np.fill_diagonal(rest, 0)
    sigma = min(sigma, float(np.sqrt((rest**2).sum() / (r * (r - 3 - 2 * factors)))))
    inside = values**2 - 4 * r * sigma**2
    strength = np.where(inside > 0, (values + np.sqrt(inside.clip(0))) / 2, 0)
    return strength / r, sigma


def draw(
    null: Null,
    draws: int,
    *,
    norms: str = "same",
    kind: str = "symmetric",
    seed: int = 0,
    start: int = 0,
    purpose: int = NULLS,
) -> Draws:
    """Draw sets of states from a null; draw b is the same whatever their number.

    Parameters
    ----------
    null
        Fitted to the data.
    draws
        Number B of sets.
    norms
        ``"same"``: the data's norms and effects of states in every draw, so that what is tested is given
        them; ``"smooth"``: both drawn from normal distributions of the data's means and deviations.
    kind
        ``"symmetric"`` or ``"rotated"``.
    seed, start
        Seed, and number of the first draw.
    purpose
        Stream of random numbers.

    Raises
    ------
    ValueError
        If norms or kind are unknown, or draws are fewer than 1.
    MemoryError
        If the draws do not fit in memory; it tells how many do.
    """
    if norms not in NORMS or kind not in KINDS:
        raise ValueError(f"norms are one of {NORMS} and kinds one of {KINDS}, not {norms!r} and {kind!r}")
    if draws < 1:
        raise ValueError(f"draws must be at least 1, not {draws}")
    r = null.replicas
    each, there = 48 * r**2, available_bytes(torch.device("cpu"))
    if each * draws > there:
        raise MemoryError(
            f"{draws} draws of {r} states take {each * draws / 2**30:.3g} GiB, more than there is: "
            f"draws must be at most {int(there / each)}"
        )
    length = 1 - null.overlap
    spectrum = _unnormalised(null.residual / length, seed, purpose) if kind == "rotated" else np.zeros(0)
    noise, a, n = np.empty((draws, r, r)), np.empty((draws, r)), np.empty((draws, r))
    for b in range(draws):
        rng = generator(seed, purpose, start + b)
        if kind == "rotated":
            noise[b] = _rotated(spectrum, rng)
        else:
            noise[b] = null.sigma * wishart(r, null.dimension, rng)
            f = rng.standard_normal((r, len(null.factors))) * np.sqrt(null.factors)
            noise[b] += f @ f.T
        a[b], n[b] = null.effects, null.norms
        if norms == "smooth":
            a[b] = null.effect * rng.standard_normal(r)
            n[b] = _smooth(null.norms, rng)
    noise = two_way(noise)[2]
    noise *= np.sqrt((null.residual**2).sum() / (noise**2).sum((1, 2), keepdims=True))
    if norms == "same":
        noise *= np.outer(null.scale, null.scale)
    pair = a[:, :, None] + a[:, None] + null.product * a[:, :, None] * a[:, None]
    q = np.clip(null.overlap + pair + noise, -1, 1)
    q[:, range(r), range(r)] = 1
    return Draws(q, n)


def wishart(replicas: int, dimension: float, rng: np.random.Generator) -> Floats:
    """Overlaps of independent Gaussian vectors, of unit deviation, ``(R, R)``.

    By Bartlett's decomposition, which takes R^2 numbers whatever the dimension and any real dimension of at
    least R; below that from the vectors, of the next whole dimension.
    """
    t = gram(rng, replicas, dimension if dimension >= replicas else np.ceil(dimension))
    t /= np.sqrt((t**2).sum(1, keepdims=True))
    return float(np.sqrt(dimension)) * (t @ t.T)


def _spectrum(residual: Floats) -> Floats:
    """Eigenvalues of a matrix with zero row sums, without the one of the constant vector, ``(R - 1,)``."""
    basis = _contrasts(len(residual))
    return np.asarray(np.linalg.eigvalsh(basis.T @ residual @ basis), np.float64)


@functools.lru_cache(maxsize=8)
def _contrasts(replicas: int) -> Floats:
    """Orthonormal vectors that sum to zero, ``(R, R - 1)``; not to be written to."""
    whole = np.eye(replicas)
    whole[:, 0] = 1
    basis = np.linalg.qr(whole)[0][:, 1:]
    basis.flags.writeable = False
    return basis


def _rotated(spectrum: Floats, rng: np.random.Generator) -> Floats:
    """Cosines of a Gaussian cloud around its mean, from its eigenvalues less one; uniform eigenvectors."""
    r = len(spectrum) + 1
    columns = rng.standard_normal((r, r - 1))
    columns -= columns.mean(0)
    # QR of Gaussian columns is uniform; the signs of columns do not matter to the product.
    axes = np.linalg.qr(columns)[0]
    gram = (axes * spectrum) @ axes.T
    lengths = np.sqrt((1 + gram.diagonal()).clip(0.1))
    return gram / np.outer(lengths, lengths)


def _unnormalised(residual: Floats, seed: int, purpose: int) -> Floats:
    """Eigenvalues of a cloud whose cosines have those of the data, ``(R - 1,)``.

    Vectors of one length lose more on a long axis the further out they are, so that the long axes of the
    cloud were longer; those of the data are met by iteration over a few rotations.
    """
    wanted = _spectrum(residual)
    found, leading = wanted.copy(), slice(-6, None)
    if wanted[-1] < 0.05 * len(residual):
        return found
    for step in range(6):
        rotated = [_rotated(found, generator(seed, purpose, 10**9, step, k)) for k in range(8)]
        means = np.mean([_spectrum(two_way(one[None])[2][0])[leading] for one in rotated], 0)
        found[leading] *= np.clip(wanted[leading] / np.maximum(means, 1e-12), 0.5, 2)
        found.sort()
    return found


def _smooth(norms: Floats, rng: np.random.Generator) -> Floats:
    """Draw normal norms of the data's mean and deviation, kept positive."""
    drawn = norms.mean() + norms.std(ddof=1) * rng.standard_normal(len(norms))
    return np.maximum(drawn, 0.05 * norms.mean())


def generator(seed: int, purpose: int, *which: int) -> np.random.Generator:
    """Return the generator of one draw; no two share a stream.

    Raises
    ------
    ValueError
        If the seed is no whole number of at least 0.
    """
    if not isinstance(seed, int | np.integer) or isinstance(seed, bool) or seed < 0:
        raise ValueError(f"seed must be a whole number of at least 0, not {seed!r}")
    return np.random.default_rng(np.random.SeedSequence(int(seed), spawn_key=(purpose, *which)))
