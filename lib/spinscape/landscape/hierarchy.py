r"""Hierarchical clustering of solutions: Ward's trees, what they keep of distances, and how many clusters.

Liao et al. 2024 (Algorithm 2) merge the two closest clusters s and t into u again and again, with the
distance to every other cluster v (their equation 5, with the root where it belongs)

.. math:: d(u, v)^2 = \frac{(|v| + |s|) d(v, s)^2 + (|v| + |t|) d(v, t)^2 - |v| d(s, t)^2}{|v| + |s| + |t|} .

This is Ward's criterion: half the square of a merge's height is what the merge adds to the dispersion within
clusters. A tree has blocks whatever it is made of, so every number here is to be read beside that of a null.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.cluster import hierarchy
from scipy.spatial.distance import squareform

from spinscape.landscape._matrices import matrix, stack
from spinscape.landscape.pairs import Pairs

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Update = Callable[[Floats, Floats, float, Floats, int, int], Floats]


def ward_update(vs: Floats, vt: Floats, st: float, v: Floats, s: int, t: int) -> Floats:
    """Return the distances ``d(u, v)`` of the union u of s and t to other clusters v.

    Parameters
    ----------
    vs, vt
        Distances ``d(v, s)`` and ``d(v, t)``, any shape.
    st
        Distance ``d(s, t)``.
    v, s, t
        Numbers of states in the clusters.
    """
    total = v + s + t
    return np.sqrt((v + s) / total * vs**2 + (v + t) / total * vt**2 - v / total * st**2)


def as_typeset(vs: Floats, vt: Floats, st: float, v: Floats, s: int, t: int) -> Floats:
    """Return what equation 5 says as it is printed, with the root over its first factor only.

    It is a squared length among lengths, so the tree depends on the unit of length, and it changes where s
    and t change places; `typeset` shows both.
    """
    total = v + s + t
    return np.sqrt((v + s) / total) * vs**2 + (v + t) / total * vt**2 - v / total * st**2


@dataclass(frozen=True)
class Merging:
    """What Algorithm 2 returns.

    Attributes
    ----------
    linkage
        One row per merge, as scipy's: the two clusters (the smaller number first), the height, and the number
        of states; float64 ``(M, 4)``.
    labels
        Cluster of each state at the end, numbered by first appearance; int64 ``(R,)``.
    """

    linkage: Floats
    labels: Ints


def agglomerate(distances: Pairs | ArrayLike, *, clusters: int = 1, update: Update = ward_update) -> Merging:
    """Merge the closest clusters until so many are left: Algorithm 2, of O(R^3) operations.

    Of equally close pairs the first in the order of rows is merged.
    It ends early where no finite distance is left, which only another update than Ward's can bring about.

    Parameters
    ----------
    distances
        `Pairs` or distances ``(R, R)``.
    clusters
        Number k of clusters at the end.
    update
        Distance of a union to other clusters, as `ward_update`.

    Raises
    ------
    ValueError
        If distances are not a matrix of distances, or clusters not from 1 to R.
    """
    d = matrix(distances).copy()
    states = len(d)
    if not 1 <= clusters <= states:
        raise ValueError(f"clusters must be from 1 to {states}, not {clusters}")
    np.fill_diagonal(d, np.inf)
    names, sizes, labels = list(range(states)), np.ones(states), np.arange(states)
    rows: list[tuple[float, ...]] = []
    while len(d) > clusters:
        i, j = sorted(divmod(int(d.argmin()), len(d)))
        height = d[i, j]
        if not np.isfinite(height):
            break
        with np.errstate(over="ignore", invalid="ignore"):
            row = update(d[i], d[j], height, sizes, int(sizes[i]), int(sizes[j]))
        row = np.where(np.isnan(row), np.inf, row)
        row[i] = np.inf
        d[i], d[:, i] = row, row
        sizes[i] += sizes[j]
        rows.append((*sorted((names[i], names[j])), float(height), sizes[i]))
        new = states + len(rows) - 1
        labels[np.isin(labels, (names[i], names[j]))] = new
        names[i] = new
        d = np.delete(np.delete(d, j, 0), j, 1)
        sizes = np.delete(sizes, j)
        del names[j]
    return Merging(np.array(rows, float).reshape(-1, 4), _in_order(labels))


def ward(distances: Pairs | ArrayLike) -> Floats:
    """Return Ward's tree by Algorithm 2, ``(R - 1, 4)`` in scipy's form; `tree` is faster.

    Raises
    ------
    ValueError
        If distances are not a matrix of distances.
    """
    return agglomerate(distances).linkage


@dataclass(frozen=True)
class Tree:
    """Ward's tree of R states.

    Attributes
    ----------
    linkage
        Merges in scipy's form by growing height, float64 ``(R - 1, 4)``.
    order
        States in the order of the tree's leaves, int64 ``(R,)``.
    cophenetic
        Height at which two states come together, float64 ``(R, R)``, zero on the diagonal.
    cophenetic_correlation
        Pearson correlation of distances and cophenetic distances over pairs; NaN where either is constant.
    """

    linkage: Floats
    order: Ints
    cophenetic: Floats
    cophenetic_correlation: float

    @property
    def replicas(self) -> int:
        """Number R of states."""
        return len(self.order)


def tree(distances: Pairs | ArrayLike, *, optimal: bool = False) -> Tree:
    """Make Ward's tree.

    Parameters
    ----------
    distances
        `Pairs` or distances ``(R, R)``.
    optimal
        Whether to turn the branches so that neighbouring leaves are close (Bar-Joseph et al. 2001), rather
        than leave them as merged.

    Raises
    ------
    ValueError
        If distances are not a matrix of distances.
    """
    d = matrix(distances)
    flat = d[np.triu_indices(len(d), 1)]
    linkage = hierarchy.linkage(flat, "ward", optimal_ordering=optimal)
    cophenetic = hierarchy.cophenet(linkage)
    order = hierarchy.leaves_list(linkage).astype(np.int64)
    return Tree(linkage, order, squareform(cophenetic), _correlation(flat, cophenetic))


@dataclass(frozen=True)
class Trees:
    """Ward's trees of B sets of R states.

    Attributes
    ----------
    linkages
        Float64 ``(B, R - 1, 4)``.
    cophenetic_correlation
        ``(B,)``, as in `Tree`.
    """

    linkages: Floats
    cophenetic_correlation: Floats


def trees(distances: ArrayLike) -> Trees:
    """Make Ward's trees of many matrices of distances ``(B, R, R)``, such as draws of a null.

    Raises
    ------
    ValueError
        If distances are not matrices of distances.
    """
    d = stack(distances)
    upper = np.triu_indices(d.shape[1], 1)
    linkages = np.empty((len(d), d.shape[1] - 1, 4))
    correlation = np.empty(len(d))
    for b in range(len(d)):
        flat = d[b][upper]
        linkages[b] = hierarchy.linkage(flat, "ward")
        correlation[b] = _correlation(flat, hierarchy.cophenet(linkages[b]))
    return Trees(linkages, correlation)


def clusters(found: Tree, k: int | Sequence[int]) -> Ints:
    """Cut a tree into k clusters, numbered along its leaves.

    Parameters
    ----------
    found
        A tree of R states.
    k
        Number of clusters, or several numbers.

    Returns
    -------
    ndarray
        Cluster of each state, int64 ``(R,)``, or ``(R, K)`` for several numbers.

    Raises
    ------
    ValueError
        If a number is not from 1 to R.
    """
    wanted = [int(n) for n in np.atleast_1d(k)]
    states = found.replicas
    if not wanted or min(wanted) < 1 or max(wanted) > states:
        raise ValueError(f"numbers of clusters must be from 1 to {states}, not {k}")
    pairs = found.linkage[:, :2].astype(int)
    parent = np.arange(2 * states - 1)
    cuts: dict[int, Ints] = {}
    for merged in range(states):
        if states - merged in wanted:
            roots = np.arange(2 * states - 1)
            for node in range(states + merged - 1, -1, -1):
                roots[node] = roots[parent[node]] if parent[node] != node else node
            cuts[states - merged] = _in_order(roots[:states], found.order)
        if merged < states - 1:
            parent[pairs[merged]] = states + merged
    table = np.stack([cuts[n] for n in wanted], 1)
    return table[:, 0] if np.ndim(k) == 0 else table


def within(linkages: ArrayLike, most: int) -> Floats:
    """Return the dispersion within the clusters of Ward's trees cut into 1, ..., `most` clusters.

    It is ``W_k = sum over clusters of (1 / n) sum over their pairs of D^2``, which the tree knows: every
    merge of height h adds ``h^2 / 2``.

    Parameters
    ----------
    linkages
        ``(..., R - 1, 4)``.
    most
        Largest number of clusters, from 1 to R.

    Returns
    -------
    ndarray
        ``(..., most)``.
    """
    heights = _heights(linkages)
    if not 1 <= most <= heights.shape[-1] + 1:
        raise ValueError(f"most must be from 1 to {heights.shape[-1] + 1}, not {most}")
    sums = np.cumsum(np.concatenate([np.zeros((*heights.shape[:-1], 1)), heights**2 / 2], -1), -1)
    return sums[..., ::-1][..., :most]


def jump(linkages: ArrayLike, most: int = 10) -> tuple[Floats, Ints]:
    """Return the largest relative fall of the merges' heights, and the number of clusters that it speaks for.

    At k clusters it is ``1 - h(k + 1 -> k) / h(k -> k - 1)``, between 0 and 1.

    Parameters
    ----------
    linkages
        ``(..., R - 1, 4)``.
    most
        Largest number of clusters looked at, from 2 to R - 1.

    Returns
    -------
    tuple
        Falls ``(...)`` and numbers k ``(...)``.
    """
    heights = _heights(linkages)[..., ::-1]
    if not 2 <= most <= heights.shape[-1]:
        raise ValueError(f"most must be from 2 to {heights.shape[-1]}, not {most}")
    upper, lower = heights[..., : most - 1], heights[..., 1:most]
    falls = np.where(upper > 0, 1 - lower / np.where(upper > 0, upper, 1), 0.0)
    return falls.max(-1), falls.argmax(-1) + 2


@dataclass(frozen=True)
class Gap:
    """Gap statistic of a tree (Tibshirani, Walther and Hastie 2001).

    Attributes
    ----------
    clusters
        Numbers k, int64 ``(K,)``, from 1 on.
    log_within
        Logarithm of the dispersion within k clusters ``(K,)``; minus infinity where states coincide.
    reference
        The same of the reference draws, ``(B, K)``.
    gap
        Mean of the reference less the data, ``(K,)``.
    error
        Standard deviation of the reference times ``sqrt(1 + 1 / B)``, ``(K,)``.
    best
        Smallest k whose gap is at least the next one less its error; K where there is none.
    """

    clusters: Ints
    log_within: Floats
    reference: Floats
    gap: Floats
    error: Floats
    best: int


def gap(found: Tree, references: Trees, *, most: int = 10) -> Gap:
    """Compare the dispersion within clusters of a tree with that of reference draws treated alike.

    Parameters
    ----------
    found
        The tree of R states.
    references
        Trees of at least 2 draws of R states.
    most
        Largest number of clusters, from 2 to R.

    Raises
    ------
    ValueError
        If sizes differ, there are too few draws, or `most` does not fit.
    """
    if references.linkages.shape[1:] != found.linkage.shape or len(references.linkages) < 2:
        raise ValueError(
            f"references must be at least 2 trees of {found.replicas} states, not "
            f"{len(references.linkages)} of {references.linkages.shape[1] + 1}"
        )
    if not 2 <= most <= found.replicas:
        raise ValueError(f"most must be from 2 to {found.replicas}, not {most}")
    with np.errstate(divide="ignore"):
        own, other = (np.log(within(z, most)) for z in (found.linkage, references.linkages))
    value = other.mean(0) - own
    error = other.std(0) * np.sqrt(1 + 1 / len(other))
    stops = np.flatnonzero(value[:-1] >= value[1:] - error[1:])
    best = int(stops[0]) + 1 if len(stops) else most
    return Gap(np.arange(1, most + 1), own, other, value, error, best)


def blockiness(values: ArrayLike, labels: ArrayLike) -> Floats:
    """Return the share of the variance of a matrix's entries that blocks on its diagonal explain.

    Each block has a mean of its own, all pairs between blocks have one together; the diagonal is left out.
    Blocks that were found in the matrix itself explain some of any matrix.

    Parameters
    ----------
    values
        Symmetric matrix ``(R, R)``.
    labels
        Block of each state ``(R,)``, or several cuts ``(R, K)`` as of `clusters`.

    Returns
    -------
    ndarray
        ``()`` or ``(K,)``; NaN where all entries are equal.

    Raises
    ------
    ValueError
        If shapes do not fit.
    """
    m, cuts = np.asarray(values, float), np.asarray(labels)
    if m.ndim != 2 or m.shape[0] != m.shape[1] or cuts.shape[:1] != m.shape[:1] or cuts.ndim > 2:
        raise ValueError(f"values must be (R, R) and labels (R,) or (R, K), not {m.shape} and {cuts.shape}")
    i, j = np.triu_indices(len(m), 1)
    entries = m[i, j]
    spread = entries.var()
    shares = []
    for cut in cuts.reshape(len(m), -1).T:
        block = np.where(cut[i] == cut[j], np.unique(cut, return_inverse=True)[1][i] + 1, 0)
        counts, sums = np.bincount(block), np.bincount(block, entries)
        means = sums / np.maximum(counts, 1)
        flat = spread <= (1e-12 * np.abs(entries).max()) ** 2
        shares.append(np.nan if flat else 1 - np.mean((entries - means[block]) ** 2) / spread)
    return np.array(shares).reshape(cuts.shape[1:])


@dataclass(frozen=True)
class Typeset:
    """What becomes of trees by equation 5 as printed, when distances are measured in several units.

    Attributes
    ----------
    units
        What distances were multiplied by, ``(U,)``.
    merges
        Merges made before the distances overflowed, of R - 1, int64 ``(U,)``.
    inversions
        Merges lower than the one before them, int64 ``(U,)``; Ward's tree has none.
    shared
        Share of the clusters of Ward's tree (without the states and their whole) that the tree has too,
        ``(U,)``.
    highest
        Largest height over the largest distance ``(U,)``.
    ward_highest
        The same of Ward's tree, whatever the unit.
    swapped
        Largest relative change of a distance ``d(u, v)`` at the first merge when s and t change places.
    """

    units: Floats
    merges: Ints
    inversions: Ints
    shared: Floats
    highest: Floats
    ward_highest: float
    swapped: float


def typeset(distances: Pairs | ArrayLike, units: Sequence[float] = (0.01, 0.1, 1.0, 10.0)) -> Typeset:
    """Make trees by equation 5 as printed and compare them with Ward's.

    Parameters
    ----------
    distances
        `Pairs` or distances ``(R, R)`` of at least 4 states.
    units
        Positive factors of the distances.

    Raises
    ------
    ValueError
        If distances are not a matrix of distances that are not all zero, or a unit is not positive.
    """
    d = matrix(distances, states=4)
    scale = np.asarray(units, float)
    if scale.ndim != 1 or not len(scale) or not (np.isfinite(scale).all() and (scale > 0).all()):
        raise ValueError(f"units must be positive, not {units}")
    if not d.any():
        raise ValueError("distances must not all be zero")
    made = [agglomerate(d * unit, update=as_typeset).linkage for unit in scale]
    right = ward(d)
    ours = _branches(right)
    heights = [z[:, 2] / (unit * d.max()) for z, unit in zip(made, scale, strict=True)]
    s, t = right[0, :2].astype(int)
    others = np.setdiff1d(np.arange(len(d)), (s, t))
    one, two = (
        as_typeset(d[others, a], d[others, b], float(right[0, 2]), np.ones(len(others)), 1, 1)
        for a, b in ((s, t), (t, s))
    )
    return Typeset(
        scale,
        np.array([len(z) for z in made]),
        np.array([int((np.diff(h) < 0).sum()) for h in heights]),
        np.array([len(ours & _branches(z, len(d))) / len(ours) for z in made]),
        np.array([h.max(initial=0.0) for h in heights]),
        float(right[-1, 2] / d.max()),
        float(np.max(np.abs(one - two) / np.maximum(one, two))),
    )


def _branches(linkage: Floats, states: int | None = None) -> set[frozenset[int]]:
    """Return the clusters that merges make, all but the whole."""
    total = len(linkage) + 1 if states is None else states
    members = [frozenset([i]) for i in range(total)]
    for a, b in linkage[:, :2].astype(int):
        members.append(members[a] | members[b])
    return {m for m in members[total:] if len(m) < total}


def _heights(linkages: ArrayLike) -> Floats:
    z = np.asarray(linkages, float)
    if z.ndim < 2 or z.shape[-1] != 4 or not z.shape[-2]:
        raise ValueError(f"linkages must be (..., R - 1, 4), not {z.shape}")
    return z[..., 2]


def _in_order(labels: Ints, order: Ints | None = None) -> Ints:
    """Renumber labels by first appearance, among the states in a given order."""
    along = labels if order is None else labels[order]
    values, first = np.unique(along, return_index=True)
    rank = np.empty(len(values), np.int64)
    rank[np.argsort(first)] = np.arange(len(values))
    return rank[np.searchsorted(values, labels)]


def _correlation(x: Floats, y: Floats) -> float:
    a, b = x - x.mean(), y - y.mean()
    size = np.sqrt((a @ a) * (b @ b))
    tiny = 1e-12 * len(x) * np.abs(x).max(initial=0) * np.abs(y).max(initial=0)
    return float(a @ b / size) if size > tiny else np.nan
