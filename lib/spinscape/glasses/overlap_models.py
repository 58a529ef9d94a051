"""Overlaps of states by construction: replica symmetric, or grouped with a known strength.

A set of R states is its matrix of overlaps (cosines), with ones on the diagonal.
The overlaps of states without any structure are

    q_ij = overlap + a_i + a_j + sum_k f_ik f_jk + sigma omega_ij,

with effects ``a`` of single states, loadings ``f`` on k continuous directions, and ``omega`` the fluctuation
that R independent Gaussian vectors in `dimension` dimensions have: their cosines times the root of the
dimension, which have mean 0 and standard deviation 1 exactly.
Planted states are the same with vectors around common centres.
Gram matrices come from Bartlett's decomposition of a Wishart matrix, R x R numbers whatever the dimension.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from spinscape.glasses._arguments import whole
from spinscape.glasses._draws import HIERARCHY, LABELS, PLANTED, SYMMETRIC, generator
from spinscape.memory import available_bytes

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Planted:
    """Overlaps of states in clusters that are known.

    Axes: B draws, R states, levels from the coarsest to the finest.

    Attributes
    ----------
    overlaps
        Shape (B, R, R), ones on the diagonal.
    labels
        Number of each state's cluster at each level, counted within the cluster of the level above, shape
        (B, R, levels); sorted, so that clusters are blocks.
    """

    overlaps: Floats
    labels: Ints


def replica_symmetric(
    replicas: int,
    *,
    dimension: float,
    overlap: float = 0.0,
    sigma: float | None = None,
    effect: float = 0.0,
    factors: Sequence[float] = (),
    draws: int = 1,
    seed: int = 0,
) -> Floats:
    """Draw overlaps of states of which every pair is alike, up to fluctuations of finite size.

    Draw b depends on the arguments and b only, whatever the number of draws.
    An overlap beyond 1 in magnitude, possible where the standard deviations are not small against
    ``1 - |overlap|``, is set to 1.

    Parameters
    ----------
    replicas
        Number R of states, at least 2.
    dimension
        Dimension of the vectors: a whole number, any real number of at least R, or infinity.
    overlap
        Mean overlap, above -1 and below 1.
    sigma
        Standard deviation of an overlap at given effects and loadings; by default
        ``(1 - overlap) / sqrt(dimension)``, that of Gaussian vectors around a common one.
    effect
        Standard deviation of the effect of a state.
    factors
        Variance of the loadings on each continuous direction; the standard deviation of its part of an
        overlap.
    draws
        Number B of draws.
    seed
        Seed of the draws.

    Returns
    -------
    ndarray
        Shape (B, R, R), symmetric, ones on the diagonal.

    Raises
    ------
    ValueError
        If an argument is out of range, or the draws do not fit in memory.

    Examples
    --------
    >>> replica_symmetric(60, dimension=2410, draws=100, seed=1).shape
    (100, 60, 60)
    """
    replicas, draws = _counts(replicas, draws)
    dimension = _dimension(dimension, replicas)
    sigma = _spread(overlap, sigma, effect, dimension)
    variances = np.asarray(factors, float)
    if variances.ndim != 1 or not (np.isfinite(variances).all() and (variances >= 0).all()):
        raise ValueError(f"factors must be variances of at least 0, not {factors!r}")
    out = np.empty((draws, replicas, replicas))
    for b, q in enumerate(out):
        rng = generator(seed, SYMMETRIC, b)
        effects = effect * rng.standard_normal(replicas)
        loadings = np.sqrt(variances) * rng.standard_normal((replicas, len(variances)))
        q[:] = _assemble(overlap, sigma, effects, _fluctuation(rng, replicas, dimension))
        if len(variances):
            q += loadings @ loadings.T
        _finish(q)
    return out


def planted(
    levels: int = 1,
    *,
    replicas: int,
    strength: float,
    dimension: float,
    overlap: float = 0.0,
    sigma: float | None = None,
    effect: float = 0.0,
    branching: Sequence[int] = (3,),
    sizes: str | Sequence[int] = "equal",
    draws: int = 1,
    seed: int = 0,
) -> Planted:
    """Draw overlaps of states in clusters, and clusters of clusters, of a stated strength.

    States are Gaussian vectors around the centres of their clusters, which are Gaussian vectors themselves.
    The mean overlap of two states rises by ``strength * sigma`` with every level that they share, sigma
    being the standard deviation of an overlap between clusters; at strength 0 the law is that of
    `replica_symmetric`.

    Parameters
    ----------
    levels
        Number of levels.
    replicas, dimension, overlap, sigma, effect, draws, seed
        As in `replica_symmetric`; in infinite dimension sigma must be given, and a dimension that is no whole
        number is rounded where states and centres together are more.
    strength
        Excess overlap per level in units of sigma, from 0 to below ``sqrt(dimension) / levels``.
    branching
        Number of clusters at each level within one of the level above, shape (levels,).
    sizes
        ``"equal"``, as nearly as can be; ``"random"``: every state chooses its cluster at every level; or, at
        one level, the number of states of each cluster.

    Raises
    ------
    ValueError
        If an argument is out of range, the strength is more than vectors of that dimension can have, there
        are more clusters than states, or the draws do not fit in memory.

    Examples
    --------
    >>> planted(2, replicas=60, strength=4.0, dimension=2410, branching=(3, 2)).labels.shape
    (1, 60, 2)
    """
    replicas, draws = _counts(replicas, draws)
    levels = whole(levels, "levels", 1)
    counts = [whole(k, "branching", 1) for k in branching]
    if len(counts) != levels:
        raise ValueError(f"branching must have one number for each of {levels} levels, not {branching!r}")
    if math.prod(counts) > replicas:
        raise ValueError(f"{replicas} states do not fill {math.prod(counts)} clusters")
    given = None if isinstance(sizes, str) else [whole(k, "sizes", 1) for k in sizes]
    if given is None and sizes not in ("equal", "random"):
        raise ValueError(f'sizes must be "equal", "random" or numbers of states, not {sizes!r}')
    if given is not None and (levels != 1 or len(given) != counts[0] or sum(given) != replicas):
        raise ValueError(
            f"sizes must be of {counts[0]} clusters at one level, {replicas} states in all, not {sizes!r}"
        )
    dimension = _dimension(dimension, replicas)
    if math.isinf(dimension) and sigma is None:
        raise ValueError("sigma must be given in infinite dimension, clusters are measured in units of it")
    sigma = _spread(overlap, sigma, effect, dimension)
    most = math.sqrt(dimension) / levels
    if not (0 <= strength < most and math.isfinite(strength)):
        raise ValueError(
            f"strength must be at least 0 and below {most:.4g} in {dimension:g} dimensions with {levels} "
            f"levels, not {strength}"
        )
    out = np.empty((draws, replicas, replicas))
    labels = np.empty((draws, replicas, levels), np.int64)
    for b, q in enumerate(out):
        rng = generator(seed, PLANTED, b)
        if given is not None:
            labels[b, :, 0] = np.repeat(np.arange(len(given)), given)
        else:
            labels[b] = _labels(counts, replicas, None if sizes == "equal" else generator(seed, LABELS, b))
        effects = effect * rng.standard_normal(replicas)
        if math.isinf(dimension):
            noise = _fluctuation(rng, replicas, dimension) + strength * _shared(labels[b])
        else:
            added = np.full(levels, strength / math.sqrt(dimension))
            noise = _fluctuation(rng, replicas, dimension, labels[b], added)
        q[:] = _assemble(overlap, sigma, effects, noise)
        _finish(q)
    return Planted(out, labels)


def hierarchical(
    overlap_levels: ArrayLike, labels: ArrayLike, *, dimension: float = math.inf, seed: int = 0
) -> Floats:
    """Overlaps of states whose clusters are given, with the fluctuations of a finite dimension.

    Two states that share their first l labels have overlap ``overlap_levels[l]`` in the mean.

    Parameters
    ----------
    overlap_levels
        Overlaps ``q_0 <= q_1 <= ... <= q_levels``, from above -1 to 1, shape (levels + 1,).
    labels
        Cluster at each level, shape (R, levels) or (B, R, levels); clusters of different coarser clusters
        are different whatever their numbers.
    dimension
        As in `replica_symmetric`; infinity gives the overlaps of the levels themselves.
    seed
        Seed of the fluctuations; those of draw b depend on it, its labels and b only.

    Returns
    -------
    ndarray
        Shape (R, R) or (B, R, R); the mean of an overlap between states that share l labels is
        ``overlap_levels[l]``, its standard deviation about ``(1 - q_0) / sqrt(dimension)`` or less.

    Raises
    ------
    ValueError
        If an argument is out of range or of another shape, or the overlaps do not fit in memory.

    Examples
    --------
    >>> hierarchical((0.0, 0.5), [[0], [0], [1]])
    array([[1. , 0.5, 0. ],
           [0.5, 1. , 0. ],
           [0. , 0. , 1. ]])
    """
    given = np.asarray(labels)
    if given.ndim not in (2, 3) or given.dtype.kind not in "iu" or not given.size:
        raise ValueError(f"labels must be whole numbers of shape (R, levels), not {labels!r}")
    several = given.reshape((-1, *given.shape[-2:])).astype(np.int64)
    replicas, draws = _counts(several.shape[1], len(several))
    q = np.asarray(overlap_levels, float)
    if q.shape != (several.shape[2] + 1,) or not (np.diff(q) >= 0).all() or not -1 < q[0] < 1 or q[-1] > 1:
        raise ValueError(
            f"overlap_levels must be {several.shape[2] + 1} numbers that do not fall, from above -1 to 1, "
            f"the first below 1, not {overlap_levels!r}"
        )
    dimension = _dimension(dimension, replicas)
    out = np.empty((draws, replicas, replicas))
    for b, (one, clusters) in enumerate(zip(out, several, strict=True)):
        if math.isinf(dimension):
            one[:] = q[_shared(clusters)]
        else:
            noise = _fluctuation(
                generator(seed, HIERARCHY, b), replicas, dimension, clusters, np.diff(q) / (1 - q[0])
            )
            one[:] = q[0] + (1 - q[0]) / math.sqrt(dimension) * noise
        _finish(one)
    return out.reshape((*given.shape[:-1], replicas))


def gram(rng: np.random.Generator, vectors: int, dimension: float) -> Floats:
    """Draw the root of a Wishart matrix: ``A A^T`` is the Gram matrix of independent normal vectors.

    Bartlett's decomposition: A is lower triangular with standard normals below its diagonal and on it the
    root of a chi-squared number of ``dimension - i`` degrees of freedom.

    Parameters
    ----------
    rng
        Source of the draw.
    vectors
        Number R of vectors.
    dimension
        A whole number, or a real one above ``R - 1``.

    Returns
    -------
    ndarray
        A, shape (R, min(R, dimension)).
    """
    columns = min(vectors, math.ceil(dimension))
    root = np.tril(rng.standard_normal((vectors, columns)), -1)
    np.fill_diagonal(root, np.sqrt(rng.chisquare(dimension - np.arange(columns))))
    return root


def _fluctuation(
    rng: np.random.Generator,
    replicas: int,
    dimension: float,
    labels: Ints | None = None,
    added: Floats | None = None,
) -> Floats:
    """Cosines times the root of the dimension; around centres that add some correlation at each level."""
    if math.isinf(dimension):
        noise = np.tril(rng.standard_normal((replicas, replicas)), -1)
        return noise + noise.T
    if labels is None or added is None:
        rows = gram(rng, replicas, dimension)
    else:
        rows = _around_centres(rng, dimension, labels, added)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return math.sqrt(dimension) * (rows @ rows.T)


def _around_centres(rng: np.random.Generator, dimension: float, labels: Ints, added: Floats) -> Floats:
    """Rows whose inner products are those of Gaussian vectors around Gaussian centres."""
    replicas, levels = labels.shape
    which = [np.unique(labels[:, : level + 1], axis=0, return_inverse=True)[1] for level in range(levels)]
    sizes = [int(numbers.max()) + 1 for numbers in which]
    total = sum(sizes) + replicas
    root = gram(rng, total, dimension if dimension >= total else round(dimension))
    rows = math.sqrt(max(0.0, 1 - added.sum())) * root[total - replicas :]
    first = 0
    for numbers, size, share in zip(which, sizes, added, strict=True):
        rows += math.sqrt(share) * root[first + numbers.reshape(-1)]
        first += size
    return rows


def _assemble(overlap: float, sigma: float, effects: Floats, noise: Floats) -> Floats:
    return overlap + effects[:, None] + effects + sigma * noise


def _finish(q: Floats) -> None:
    """Ones on the diagonal, symmetric to the last bit, none beyond 1; in place."""
    q += q.T.copy()
    q /= 2
    np.clip(q, -1, 1, out=q)
    np.fill_diagonal(q, 1)


def _labels(counts: list[int], replicas: int, rng: np.random.Generator | None) -> Ints:
    """Cluster of each state at each level, sorted; equal sizes as nearly as can be without a generator."""
    if rng is None:
        leaf = np.arange(replicas) * math.prod(counts) // replicas
    else:
        leaf = np.sort(rng.integers(math.prod(counts), size=replicas))
    return np.stack(np.unravel_index(leaf, counts), axis=1).astype(np.int64)


def _shared(labels: Ints) -> Ints:
    """Count the first labels that two states share, (R, R)."""
    same = labels[:, None, :] == labels[None, :, :]
    return np.cumprod(same, axis=2).sum(2)


def _counts(replicas: int, draws: int) -> tuple[int, int]:
    """Check counts, and that so many matrices fit."""
    replicas, draws = whole(replicas, "replicas", 2), whole(draws, "draws", 1)
    room = available_bytes(torch.device("cpu"))
    each = 8.0 * replicas**2
    if each * (draws + 6) > room:
        most = int(room / each) - 6
        allowed = (
            f"at most {most} draws are allowed here"
            if most > 0
            else f"at most {int(math.sqrt(room / 56))} replicas are allowed here"
        )
        raise ValueError(
            f"{draws} draws of {replicas} x {replicas} overlaps take {each * draws / 2**30:.3g} GiB and some "
            f"room to draw them, more than there is: {allowed}"
        )
    return replicas, draws


def _dimension(dimension: float, replicas: int) -> float:
    value = float(dimension)
    if not value >= 1 or (value < replicas and value != math.floor(value)):
        raise ValueError(
            f"dimension must be a whole number of at least 1 or a real one of at least {replicas} (the "
            f"replicas), not {dimension!r}"
        )
    return value


def _spread(overlap: float, sigma: float | None, effect: float, dimension: float) -> float:
    """Check the mean and the standard deviations, and fill in the default."""
    if not -1 < overlap < 1:
        raise ValueError(f"overlap must be above -1 and below 1, not {overlap}")
    if not 0 <= effect < 1:
        raise ValueError(f"effect must be at least 0 and below 1, not {effect}")
    value = (1 - overlap) / math.sqrt(dimension) if sigma is None else float(sigma)
    if not 0 <= value <= 1:
        raise ValueError(f"sigma must be from 0 to 1, not {sigma}")
    return value
