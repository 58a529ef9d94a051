"""Is there structure in pairwise distances beyond what the same procedure shows on a null.

Three questions, each with a verdict of its own, decided on planted states before any network was looked at:

`MODALITY`
    Is the histogram of distances (or overlaps) more multi-modal than that of states that are all alike?
    By the dip, against the symmetric null. With ``norms="same"`` the null has the data's own norms, and only
    what norms do not explain counts.
`BLOCKS`
    Does the tree of the distances as they are look grouped? By its cophenetic correlation, the largest fall
    of its heights and the ultrametricity of triples, against the symmetric null.
    With smooth norms it also sees groups of norms; continuous directions it sees in any case.
`STRUCTURE`
    Are states anything but all alike? By the largest eigenvalue of the residual overlaps against the
    symmetric null, which also sees continuous directions.
`HIERARCHY`
    Are there groups of comparable size? By gaps between branches of a Ward tree of the residual overlaps,
    against rotations of the data, which keep its spectrum, so that a long Gaussian axis is no cluster.
    Rotations are a null of Gaussian clouds only: on an axis along which states are spread uniformly the alarm
    rises with its length (:mod:`spinscape.landscape.power` has the rates).

Residual overlaps are overlaps without their mean and without the effects of single states, so that norms and
the time of training of single states are no clusters.
What single states have of a common direction goes with them, and with it what cannot be told from it: a
cluster among single states. `HIERARCHY` is blind to it up to the strength of 10 that was measured, and to a
sixth of the states against the rest below a strength of 8; `STRUCTURE` sees both.

The nulls hold where overlaps fluctuate as those of Gaussian vectors.
In few effective dimensions, five or so, or with a spectrum of a few long axes, `STRUCTURE` raises the alarm
more often than it should if it is read as a test for clusters: axes are what it sees.
With ``norms="smooth"`` norms are drawn from a normal distribution, and norms with heavy tails raise the alarm
of `BLOCKS` by themselves; compare with ``norms="same"``.
The other statistics are reported beside.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb
from typing import TYPE_CHECKING

import diptest
import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import linkage
from scipy.linalg import eigh

from spinscape.landscape.hierarchy import jump, trees, within
from spinscape.landscape.modality import Mixture, mixtures
from spinscape.landscape.null_overlaps import Draws, Null, draw, fit, split
from spinscape.landscape.pairs import Pairs
from spinscape.landscape.triples import mean_k, triples
from spinscape.progress import track
from spinscape.statistics import holm

if TYPE_CHECKING:
    from collections.abc import Sequence

Floats = NDArray[np.float64]

LEVEL = 0.02
"""Nominal level of every verdict, so that the measured rate of false alarms is at most 5%."""

PLAIN = ("dip", "gain", "cophenetic", "jump", "triples")
"""Statistics of the distances as they are; triples count by minus the mean of K."""

RESIDUAL = ("eigenvalue", "split", "tree", "gap", "index", "residual triples")
"""Statistics of the residual overlaps.

The largest eigenvalue; the largest dip between two branches of a tree, see `_split`; the cophenetic
correlation of Ward's tree; the most that 2 to `MOST` clusters explain of all residuals (gap) and of their
leading eigenvectors (index), in standard deviations of the null; and minus the mean K of triples.
"""

BLOCKS = ("cophenetic", "jump", "triples")
MODALITY = ("dip",)
STRUCTURE = ("eigenvalue",)
HIERARCHY = ("split",)
"""What carries each verdict.

The split was chosen on planted and on confounding states (``benchmarks/power.py``, R = 60).
Tree and index see clusters at strengths of 0.9 already, but together they also raise an alarm in 63% and 32%
of 60 sets with a single long axis whose loadings are uniform or have the tails of Student's t with 5 degrees
of freedom; the split in 9.5% and 2.0% of 400.
"""

MOST = 9
"""Largest number of clusters that split, gap and index look at."""

SMALL = 3
"""Least number of states of a branch."""

AXES = 6
"""Leading eigenvectors that split and index look at."""

TRIPLES = 40_000
"""Largest number of triples whose mean K is taken."""

PIECE = 2**21
"""Entries of all matrices that are worked on at once."""


@dataclass(frozen=True)
class Structure:
    """Statistics of one set of states, beside those of its nulls.

    Attributes
    ----------
    names
        Of the statistics, S of them; large values speak against the null.
    values
        ``(S,)``.
    symmetric, rotated
        The same of B draws of either null, ``(S, B)``; NaN where the statistic is not compared with it.
    symmetric_p, rotated_p
        One-sided p values ``(1 + # >= value) / (1 + B)``, ``(S,)``; NaN likewise.
    modality_p, blocks_p, structure_p, hierarchy_p
        P value of each verdict, the least of its statistics by Holm.
    mixture
        Of the distances or overlaps.
    components
        Number of components that the best mixture has in draws of the symmetric null; ``(B',)``.
    null
        The fitted null.
    of, norms
        As called.
    """

    names: tuple[str, ...]
    values: Floats
    symmetric: Floats
    rotated: Floats
    symmetric_p: Floats
    rotated_p: Floats
    modality_p: float
    blocks_p: float
    structure_p: float
    hierarchy_p: float
    mixture: Mixture
    components: NDArray[np.int64]
    null: Null
    of: str
    norms: str

    @property
    def multimodal(self) -> bool:
        """The verdict `MODALITY` at the nominal `LEVEL`."""
        return self.modality_p <= LEVEL

    @property
    def structured(self) -> bool:
        """The verdict `STRUCTURE` at the nominal `LEVEL`."""
        return self.structure_p <= LEVEL

    @property
    def clustered(self) -> bool:
        """The verdict `HIERARCHY` at the nominal `LEVEL`."""
        return self.hierarchy_p <= LEVEL

    def row(self, name: str) -> tuple[float, Floats, Floats]:
        """Return value, symmetric and rotated draws ``(B,)`` of one statistic."""
        s = self.names.index(name)
        return float(self.values[s]), self.symmetric[s], self.rotated[s]


def structure(
    pairs: Pairs,
    *,
    norms: str = "same",
    of: str = "distances",
    factors: int = 0,
    draws: int = 499,
    mixture_draws: int = 40,
    seed: int = 0,
) -> Structure:
    """Compare one set of states with its nulls.

    Parameters
    ----------
    pairs
        At least 12 states.
    norms
        ``"same"`` or ``"smooth"``, as in `null_overlaps.draw`.
    of
        ``"distances"`` or ``"overlaps"``: what the plain statistics are taken of. The residual ones are
        taken of overlaps either way.
    factors
        Continuous directions of the symmetric null.
    draws
        B, at least 99, for each null.
    mixture_draws
        Draws whose mixtures are fitted, at most B; the gain of others is NaN.
    seed
        Seed of the draws.

    Raises
    ------
    ValueError
        If an argument is none of these, or there are too few states or draws.
    """
    check(pairs, draws, of)
    null = fit(pairs, factors)
    own = Draws(pairs.overlaps[None], pairs.norms[None])
    value, ladders = statistics(own, of=of)
    symmetric, ladders_s = _of_draws(null, draws, "symmetric", norms, of, seed, PLAIN + RESIDUAL)
    rotated, ladders_r = _of_draws(null, draws, "rotated", norms, of, seed, RESIDUAL)
    names = PLAIN + RESIDUAL
    some = min(mixture_draws, draws)
    rows = [_upper(own, of)]
    if some:
        rows.append(_upper(draw(null, some, norms=norms, seed=seed), of))
    # One call with one set of options, so that the data's gain is comparable with those of the draws.
    mixed, *fits = mixtures(np.concatenate(rows), bins=200, steps=100)
    components = np.array([one.best for one in fits], np.int64)
    value["gain"], symmetric["gain"] = np.array([mixed.gain]), np.full(draws, np.nan)
    symmetric["gain"][:some] = [one.gain for one in fits]
    tables, ps = [], []
    for table, ladder in ((symmetric, ladders_s), (rotated, ladders_r)):
        observed = value | ladder_maxima(ladders, ladder)
        table |= ladder_maxima(ladder, ladder)
        tables.append(np.stack([table.get(name, np.full(draws, np.nan)) for name in names]))
        ps.append(np.array([pvalue(observed[n], table[n])[0] if n in table else np.nan for n in names]))
        if ladder is ladders_s:
            shown = observed
    ps[1][names.index("eigenvalue")] = np.nan
    at = {name: i for i, name in enumerate(names)}
    modality, blocks, beyond, hierarchy = (
        float(holm([p[at[name]] for name in group]).min())
        for p, group in ((ps[0], MODALITY), (ps[0], BLOCKS), (ps[0], STRUCTURE), (ps[1], HIERARCHY))
    )
    return Structure(
        names=names,
        values=np.array([float(shown[name][0]) for name in names]),
        symmetric=tables[0],
        rotated=tables[1],
        symmetric_p=ps[0],
        rotated_p=ps[1],
        modality_p=modality,
        blocks_p=blocks,
        structure_p=beyond,
        hierarchy_p=hierarchy,
        mixture=mixed,
        components=components,
        null=null,
        of=of,
        norms=norms,
    )


def check(pairs: Pairs, draws: int, of: str) -> None:
    """Refuse too few states or draws, and what statistics cannot be taken of."""
    if of not in ("distances", "overlaps"):
        raise ValueError(f'of must be "distances" or "overlaps", not {of!r}')
    if pairs.replicas < 12:
        raise ValueError(f"structure needs at least 12 states, not {pairs.replicas}")
    if draws < 99:
        raise ValueError(f"draws must be at least 99, not {draws}: no p value could be below the level")


def pvalue(values: Floats, null: Floats) -> Floats:
    """One-sided p values of values ``(M,)`` against finite null draws ``(B,)``; NaN for NaN."""
    drawn = np.sort(null[np.isfinite(null)])
    above = len(drawn) - np.searchsorted(drawn, values, side="left")
    return np.where(np.isnan(values), np.nan, (1 + above) / (1 + len(drawn)))


def _of_draws(
    null: Null, draws: int, kind: str, norms: str, of: str, seed: int, names: Sequence[str]
) -> tuple[dict[str, Floats], Floats]:
    """Statistics of draws, some at a time."""
    step = max(1, PIECE // null.replicas**2)
    parts, ladders = [], []
    for start in track(range(0, draws, step), f"{kind} null"):
        some = draw(null, min(step, draws - start), norms=norms, kind=kind, seed=seed, start=start)
        part, ladder = statistics(some, of=of, names=names)
        parts.append(part)
        ladders.append(ladder)
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return joined, np.concatenate(ladders)


def _upper(some: Draws, of: str) -> Floats:
    i, j = np.triu_indices(some.norms.shape[1], 1)
    return (some.distances if of == "distances" else some.overlaps)[:, i, j]


def statistics(
    some: Draws, *, of: str = "distances", names: Sequence[str] = PLAIN + RESIDUAL
) -> tuple[dict[str, Floats], Floats]:
    """Compute statistics of B sets of states; all but the gain of a mixture.

    Returns
    -------
    tuple
        Each statistic's values ``(B,)`` by its name, and the ladders ``(B, 2, MOST - 1)`` of which
        `ladder_maxima` makes gap and index: what 2 to MOST clusters explain of the residuals, and of their
        leading eigenvectors.
    """
    found: dict[str, Floats] = {}
    if "dip" in names:
        found["dip"] = np.array([diptest.dipstat(row) for row in _upper(some, of)])
    if {"cophenetic", "jump"} & set(names):
        plain = trees(_distances(some, of))
        found["cophenetic"] = plain.cophenetic_correlation
        found["jump"] = jump(plain.linkages, min(10, some.norms.shape[1] - 1))[0]
    if "triples" in names:
        found["triples"] = -_mean_k(some.distances if of == "distances" else 1 - some.overlaps)
    ladders = np.full((len(some.norms), 2, MOST - 1), np.nan)
    if set(RESIDUAL) & set(names):
        more, ladders = _of_residuals(standardised(some.overlaps), names)
        found |= more
    return found, ladders


def _mean_k(sides: Floats) -> Floats:
    """Mean K of triples ``(B,)``: of all where they are few, else of the same ones in every set."""
    r = sides.shape[-1]
    if comb(r, 3) <= TRIPLES:
        return mean_k(sides)
    which = triples(sides[0], sample=TRIPLES).states.T
    out = np.empty(len(sides))
    for b, m in enumerate(sides):
        x, y, z = m[which[0], which[1]], m[which[0], which[2]], m[which[1], which[2]]
        high = np.maximum(x, y)
        out[b] = np.mean(np.maximum(high, z) - np.maximum(np.minimum(x, y), np.minimum(high, z)))
    return out / sides[:, *np.triu_indices(r, 1)].std(1)


def _distances(some: Draws, of: str) -> Floats:
    return some.distances if of == "distances" else Draws(some.overlaps, np.ones_like(some.norms)).distances


def standardised(overlaps: Floats) -> Floats:
    """Residual overlaps in units of their standard deviation, ``(B, R, R)`` with zero diagonal."""
    z = split(overlaps).residual
    r = z.shape[-1]
    return z / np.sqrt((z**2).sum((1, 2), keepdims=True) / (r * (r - 3)))


def _of_residuals(z: Floats, names: Sequence[str]) -> tuple[dict[str, Floats], Floats]:
    r = z.shape[-1]
    ladders = np.full((len(z), 2, MOST - 1), np.nan)
    if not {"split", "index"} & set(names):
        found = {"eigenvalue": np.linalg.eigvalsh(z)[:, -1] / np.sqrt(r)}
    else:
        eigenvalues, vectors = _leading(z, min(AXES, r - 2))
        found = {"eigenvalue": eigenvalues[:, -1] / np.sqrt(r)}
        # Coordinates of the states on the leading axes, of squared length their eigenvalues.
        places = vectors * np.sqrt(eigenvalues[:, None].clip(0))
        merges = np.stack([linkage(x, "ward") for x in places])
        found["split"] = np.array([_split(x, m) for x, m in zip(places, merges, strict=True)])
        inside = within(merges, MOST)
        ladders[:, 1] = 1 - inside[:, 1:] / inside[:, :1]
    if {"tree", "gap", "residual triples"} & set(names):
        # Ward's merges are the same whatever is added to all squared distances; none may be negative.
        far = 100.0 + 4 * r
        squares = far - z
        squares[:, range(r), range(r)] = 0
        grown = trees(np.sqrt(squares))
        found["tree"] = grown.cophenetic_correlation
        dispersion = within(grown.linkages, MOST)
        ladders[:, 0] = dispersion[:, :1] - dispersion[:, 1:] - far / 2 * np.arange(1, MOST)
        if "residual triples" in names:
            found["residual triples"] = -_mean_k(squares)
    return found, ladders


def _split(places: Floats, merges: Floats) -> float:
    """Return the largest dip between two branches that a tree's last merges join.

    The states of both, n of them, are projected on the line through the means of the branches, and their dip
    is taken times the root of n. Branches of fewer than `SMALL` states count for nothing.

    Parameters
    ----------
    places
        Coordinates ``(R, AXES)``.
    merges
        Linkage ``(R - 1, 4)``.
    """
    states = len(places)
    pairs, sizes = merges[:, :2].astype(int).tolist(), [1] * states + merges[:, 3].astype(int).tolist()
    members = [[i] for i in range(states)]
    for a, b in pairs:
        members.append(members[a] + members[b])
    # In the order of the leaves the states of every branch stand side by side.
    leaves = places[members[-1]]
    first, largest = {2 * states - 2: 0}, 0.0
    for node in range(2 * states - 2, max(2 * states - 1 - MOST, states - 1), -1):
        a, b = pairs[node - states]
        start, n = first[node], sizes[node]
        middle = start + sizes[a]
        first[a], first[b] = start, middle
        if min(sizes[a], sizes[b]) >= SMALL:
            one, other = leaves[start:middle], leaves[middle : start + n]
            along = leaves[start : start + n] @ (one.sum(0) / sizes[a] - other.sum(0) / sizes[b])
            largest = max(largest, diptest.dipstat(along) * np.sqrt(n))
    return largest


def _leading(z: Floats, count: int) -> tuple[Floats, Floats]:
    """Largest eigenvalues ``(B, count)``, rising, and their vectors ``(B, R, count)``."""
    r = z.shape[-1]
    found = [eigh(one, subset_by_index=(r - count, r - 1), check_finite=False) for one in z]
    return np.stack([values for values, _ in found]), np.stack([vectors for _, vectors in found])


def ladder_maxima(ladders: Floats, reference: Floats) -> dict[str, Floats]:
    """Gap and index: how far 2 to MOST clusters explain more than in a reference, at the best number.

    Parameters
    ----------
    ladders
        ``(M, 2, MOST - 1)`` of `statistics`.
    reference
        The same of draws of a null, whose mean and deviation at each number of clusters are the unit.
    """
    spread = reference.std(0)
    z = (ladders - reference.mean(0)) / np.where(spread > 0, spread, 1)
    return {"gap": z[:, 0].max(-1), "index": z[:, 1].max(-1)}
