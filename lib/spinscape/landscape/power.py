"""How often the verdicts of `structure` are wrong: false alarms on the null, and power on planted clusters.

Everything is measured at the size of the data: as many states, with the data's norms, mean overlap, effects
of single states and size of fluctuations.
The strength of planted clusters is by how many standard deviations of an overlap the overlap of two states
of one cluster is larger; every further level adds as much.

Measured with ``benchmarks/power.py`` at a nominal level of 0.02, dimension 4000 or three times R.

False alarms, 400 sets of each of five nulls: with and without norms in three groups, effects of states and a
mean overlap, in high and low dimension; the highest of the five rates.

=====  ==================  ==================  ==================  ==================
R      modality            blocks              structure           hierarchy
=====  ==================  ==================  ==================  ==================
30     4.8% (2.9 to 7.3)   2.5% (1.2 to 4.5)   2.0% (0.9 to 3.9)   2.8% (1.4 to 4.9)
60     2.8% (1.4 to 4.9)   4.3% (2.5 to 6.7)   2.2% (1.0 to 4.2)   2.8% (1.4 to 4.9)
200    3.0% (1.6 to 5.2)   not measured        1.8% (0.7 to 3.6)   2.5% (1.2 to 4.5)
=====  ==================  ==================  ==================  ==================

The row of R = 200, the two sentences that follow and the rows of R = 200 in the next table are older than the
code: with one draw from each set, which makes the intervals too short (see `SHARED`), and without
`MOST_PRODUCT`.
Where each of 200 sets has a fit and 149 draws of its own (R = 60, three of the nulls), at most 3.5% (1.4 to
7.1), 3.0% and 2.5% for modality, structure and hierarchy.
On Gaussian networks 64-32-10 (R = 30, 120 sets): 1.7%, 4.2% (1.4 to 9.5) and 0.8% aligned pair by pair, 0%,
3.3% and 0.8% as they are.

Least measured strength from which on the whole 95% interval of power is above 80%: 100 sets of equal clusters
for each of the strengths 0.5, 0.75, 1, 1.25, 1.5, 2, 3, 4, 5, 6, 8 and 10.
At R = 200 (20 sets a strength) where power is 80%, interpolated between strengths, uncertain in its second
digit.

=====  ========  =========  =========  =========  =========
R      clusters  modality   blocks     structure  hierarchy
=====  ========  =========  =========  =========  =========
30     2         4          1.25       1          1.25
30     3         5          1.5        1.25       2
30     4         6          1.5        1.5        3
30     5         8          2          3          3
30     3 x 3     6          1.25       1          2
60     2         4          0.75       0.5        1
60     3         5          1          0.75       1.25
60     4         5          1.25       1          1.5
60     5         5          1.5        1.25       2
60     3 x 3     5          0.75       0.75       1
200    3         3.8                   0.35       0.48
200    5         5.6                   0.46       0.71
200    3 x 3     3.9                   0.35       0.44
=====  ========  =========  =========  =========  =========

Of unequal sizes the test of hierarchy sees less (R = 60, 100 sets):

=================  =========  =========  =========  =========
clusters           modality   blocks     structure  hierarchy
=================  =========  =========  =========  =========
10 and 50          5          1.25       1.5        8
20 among singles   none       none       4          none
10 among singles   none       none       2          none
=================  =========  =========  =========  =========

None up to 10; a cluster among single states raises the alarm for a hierarchy in at most 4% of sets at any
strength.
Blocks see 10 among singles in all sets at strengths of 3 to 6, and less often above.
Norms in groups hide clusters from blocks where norms are the data's own.

Groups of norms: modality of distances with smooth norms, where norms vary by a percent within each of three
equal groups whose centres are so many standard deviations of a norm within its group apart, and overlaps are
those of the null (``--what norms``, 200 sets, each with its own fit and 199 draws).
Norms and overlaps give about the same share of the variance of distances within groups at dimension 4000;
at 10^6, as for wide networks, norms give nearly all of it.

=====  =========  ====  ====  ====  ====  ====  ====  ====  ====
R      dimension  2     3     4     5     6     7     8     10
=====  =========  ====  ====  ====  ====  ====  ====  ====  ====
30     4000       2%    2%    2%    2%    15%   58%   93%   100%
30     10^6       2%    3%    16%   55%   90%   98%   100%  100%
60     4000       5%    1%    1%    1%    45%   97%   100%  100%
60     10^6       3%    5%    44%   94%   100%  100%  100%  100%
=====  =========  ====  ====  ====  ====  ====  ====  ====  ====

The whole 95% interval is above 80% from 6 (R = 30) or 5 (R = 60) on where norms dominate, and from 8 or 7
where overlaps fluctuate as much; groups at 3 or less are not seen.
Norms of one group with heavy tails (degrees of freedom of Student's t) raise false alarms only where they are
very heavy and dominate, the more often the more states there are (1000 sets; at R = 200 150, 150 and 200):

=====  =========  ==================  ==================  ====================
R      dimension  normal              Student t, 5        Student t, 3
=====  =========  ==================  ==================  ====================
30     4000       2.3% (1.5 to 3.4)   2.3% (1.5 to 3.4)   2.8% (1.9 to 4.0)
30     10^6       1.6% (0.9 to 2.6)   1.2% (0.6 to 2.1)   3.0% (2.0 to 4.3)
60     4000       2.1% (1.3 to 3.2)   1.6% (0.9 to 2.6)   3.1% (2.1 to 4.4)
60     10^6       1.9% (1.1 to 3.0)   2.3% (1.5 to 3.4)   5.5% (4.2 to 7.1)
200    10^6       2.0% (0.4 to 5.7)   1.3% (0.2 to 4.7)   15.0% (10.4 to 20.7)
=====  =========  ==================  ==================  ====================

States that are no clusters but are not all alike (R = 60, 400 sets): a long Gaussian axis, three of them, a
power-law spectrum, a common direction that three epochs of training have more or less of (of three sizes) or
that lengths vary along, states of different noise, an axis with the tails of Student's t with 5 degrees of
freedom, and two outliers raise the alarm for a hierarchy in at most 3.3% (1.7 to 5.5) of sets.
With states spread uniformly along one axis the rate rises with its length, which is the deviation of its part
of an overlap over that of the fluctuations: 5.2% (3.3 to 7.9) at 5, 9.5% (6.8 to 12.8) at 10, 12.0% (9.0 to
15.6) at 14 and 22.5% (18.5 to 26.9) at 20, in 4000 dimensions; in 2000 dimensions 30% of 200 sets at 14.
Axes raise the alarm for structure, as they should; three of them or a power-law spectrum also for blocks.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats

from spinscape.glasses.overlap_models import planted
from spinscape.landscape.null_overlaps import KINDS, Draws, Null, draw, fit
from spinscape.landscape.pairs import Pairs
from spinscape.landscape.steps import GAUSSIANS, PLANTS, generator
from spinscape.landscape.structure import (
    BLOCKS,
    HIERARCHY,
    LEVEL,
    MODALITY,
    PIECE,
    STRUCTURE,
    check,
    pvalue,
    statistics,
)
from spinscape.landscape.symmetry import quotient_distances
from spinscape.networks.ensemble import Ensemble
from spinscape.progress import track
from spinscape.statistics import Estimate, holm

Floats = NDArray[np.float64]

VERDICTS = ("modality", "blocks", "structure", "hierarchy")
GROUPS = {"modality": MODALITY, "blocks": BLOCKS, "structure": STRUCTURE, "hierarchy": HIERARCHY}
ENOUGH = 0.8
"""Power that is asked for."""


SHARED = 5
"""Draws that every set gives at least where sets share draws.

Alarms are not independent then. Of exact 95% intervals for independent alarms 87% to 94% hold a true rate of
2% with as many draws as sets, 95% to 98% with five times as many (1500 simulations, 100 to 400 sets).
At a true rate of 4% it is 76% to 81%, and 91% to 93%.
"""


@dataclass(frozen=True)
class Calibration:
    """Measured rates of alarm.

    Attributes
    ----------
    verdicts
        V names, see `structure`.
    false_alarms
        Share of M null draws with an alarm ``(V,)``.
    false_alarms_interval
        Clopper and Pearson's 95% intervals ``(V, 2)``.
    branching
        Planted clusters, K kinds: (3,) is three clusters, (3, 3) three of three each.
    strengths
        ``(S,)``.
    power
        Share of M planted draws with an alarm ``(K, S, V)``; NaN where vectors cannot be that close.
    power_interval
        ``(K, S, V, 2)``.
    enough
        Least measured strength from which on the whole interval of the power is above 80%, ``(K, V)``; NaN
        where none is.
    draws
        M.
    level
        Nominal level of each ``(V,)``.
    replicas
        R.
    """

    verdicts: tuple[str, ...]
    false_alarms: Floats
    false_alarms_interval: Floats
    branching: tuple[tuple[int, ...], ...]
    strengths: Floats
    power: Floats
    power_interval: Floats
    enough: Floats
    draws: int
    level: Floats
    replicas: int

    def measurements(self, *verdicts: str, kind: int = 0) -> dict[str, Estimate | float]:
        """Return rates, named ``alarms_``, ``power_``, ``strength_`` or ``unplanted_`` and the verdict.

        Parameters
        ----------
        *verdicts
            Some of `verdicts`.
        kind
            Which of the planted kinds.

        Returns
        -------
        dict
            The strength is `enough` and the power that at it; without one, those of the largest strength that
            vectors can have, at which the interval of the power begins below 80%; NaN if they can have none.
            Unplanted are as many of the strengths as vectors cannot have.
        """
        found: dict[str, Estimate | float] = {}
        for verdict in verdicts:
            v = self.verdicts.index(verdict)
            known = np.isfinite(self.power[kind, :, v])
            strength = self.enough[kind, v]
            if np.isnan(strength) and known.any():
                strength = self.strengths[known].max()
            # Where no strength was possible, power is NaN at all of them.
            s = int(np.argmax(self.strengths == strength))
            found[f"alarms_{verdict}"] = _estimate(
                self.false_alarms[v], self.false_alarms_interval[v], 5 * self.draws
            )
            found[f"power_{verdict}"] = _estimate(
                self.power[kind, s, v], self.power_interval[kind, s, v], self.draws
            )
            found[f"strength_{verdict}"] = float(strength)
            found[f"unplanted_{verdict}"] = float(np.sum(~known))
        return found

    def detected(self, verdict: str, *, kind: int = 0) -> str:
        """Say from which strength on a verdict has its power, or that it has it at none.

        Parameters
        ----------
        verdict
            One of `verdicts`.
        kind
            Which of the planted kinds.

        Returns
        -------
        str
            The strength with the power at it, and the strengths that could not be planted.
        """
        rates = self.measurements(verdict, kind=kind)
        planted = np.isfinite(self.power[kind, :, self.verdicts.index(verdict)])
        none = np.isnan(self.enough[kind, self.verdicts.index(verdict)])
        said = f"{'not up to ' if none else ''}{float(rates[f'strength_{verdict}']):.2g} "
        said += f"(power {float(rates[f'power_{verdict}']):.0%})"
        if planted.all():
            return said
        away = ", ".join(f"{strength:.2g}" for strength in np.sort(self.strengths[~planted]))
        return f"{said if planted.any() else 'none'}; {away} could not be planted"


def calibrate(
    data: Pairs | Null,
    *,
    strengths: Sequence[float] = (0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0),
    branching: Sequence[Sequence[int]] = ((3,), (3, 3)),
    draws: int = 60,
    null_draws: int = 199,
    norms: str = "same",
    of: str = "distances",
    sizes: str | Sequence[int] = "equal",
    pooled: bool = True,
    verdicts: Sequence[str] = VERDICTS,
    level: float | Mapping[str, float] = LEVEL,
    seed: int = 0,
) -> Calibration:
    """Measure false alarms and power of the verdicts at the size of the data.

    Parameters
    ----------
    data
        States, or the null that was fitted to them.
    strengths
        Of planted clusters, positive.
    branching
        Clusters per level.
    draws
        Planted sets M per kind and strength; false alarms are counted on 5 M null sets.
    null_draws
        Draws of the null for one p value, at least.
    norms, of
        As in `structure`.
    sizes
        Of the clusters, as in `planted`.
    pooled
        Whether the sets of one kind and strength share null draws, each giving some of them; if not, each set
        has its own fit and draws as in `structure`, which takes `null_draws` times as long.
    verdicts
        Those to be measured, some of `VERDICTS`.
    level
        Nominal level, or one for each verdict, such as what is left after correction for several sets.
    seed
        Seed of all draws.
    """
    null = data if isinstance(data, Null) else fit(data)
    rises = np.asarray(strengths, float)
    if rises.ndim != 1 or not len(rises) or not (rises > 0).all():
        raise ValueError(f"strengths must be positive, not {strengths}")
    if draws < 10 or null_draws < 49:
        raise ValueError(f"draws must be at least 10 and null_draws 49, not {draws} and {null_draws}")
    names = tuple(verdicts)
    levels = np.array([level[v] if isinstance(level, Mapping) else level for v in names])
    kinds = tuple(tuple(int(k) for k in kind) for kind in branching)

    def alarms(kind: tuple[int, ...], strength: float, count: int) -> NDArray[np.bool_]:
        how = sizes if strength else "equal"
        sets = planted_sets(null, kind, strength, count, sizes=how, seed=seed)
        ps = pvalues(sets, null_draws, verdicts=names, pooled=pooled, norms=norms, of=of, seed=seed)
        return np.stack([ps[verdict] for verdict in names], 1) <= levels

    false = alarms((1,), 0.0, 5 * draws)
    shape = len(kinds), len(rises), len(names)
    power, interval = np.full(shape, np.nan), np.full((*shape, 2), np.nan)
    cells = [(k, s) for k in range(shape[0]) for s in range(shape[1])]
    for k, s in track(cells, "power"):
        if rises[s] * len(kinds[k]) < 0.95 * np.sqrt(_dimension(null)):
            found = alarms(kinds[k], float(rises[s]), draws)
            power[k, s], interval[k, s] = found.mean(0), clopper_pearson(found.sum(0), draws)
    enough = np.array(
        [[_enough(rises, interval[k, :, v, 0]) for v in range(shape[2])] for k in range(shape[0])]
    )
    return Calibration(
        names,
        false.mean(0),
        clopper_pearson(false.sum(0), 5 * draws),
        kinds,
        rises,
        power,
        interval,
        enough,
        draws,
        levels,
        null.replicas,
    )


def _dimension(null: Null) -> float:
    return null.dimension if null.dimension >= null.replicas else float(np.ceil(null.dimension))


def planted_sets(
    null: Null,
    branching: Sequence[int],
    strength: float,
    draws: int,
    *,
    sizes: str | Sequence[int] = "equal",
    seed: int = 0,
) -> Draws:
    """Draw sets of states with the data's norms, mean and effects, and clusters of a stated strength.

    Clusters fall on states in an order of their own, so that they have nothing to do with norms and effects.
    """
    kind = tuple(branching)
    q = planted(
        len(kind), replicas=null.replicas, strength=strength, dimension=_dimension(null), branching=kind,
        sizes=sizes, draws=draws, seed=_seed(seed, kind, strength),
    ).overlaps  # fmt: skip
    a, r = null.effects, null.replicas
    base = null.overlap + a[:, None] + a + null.product * np.outer(a, a)
    size = null.sigma * np.sqrt(_dimension(null)) * np.outer(null.scale, null.scale)
    for b in range(draws):
        order = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(PLANTS, b))).permutation(r)
        q[b] = base + size * q[b][np.ix_(order, order)]
    q = np.clip(q, -1, 1)
    q[:, range(r), range(r)] = 1
    return Draws(q, np.tile(null.norms, (draws, 1)))


def _seed(seed: int, kind: tuple[int, ...], strength: float) -> int:
    """Seed of one kind and strength."""
    key = (PLANTS, *kind, round(1e6 * strength))
    return int(np.random.SeedSequence(seed, spawn_key=key).generate_state(1)[0])


def pvalues(
    sets: Draws,
    null_draws: int = 199,
    *,
    verdicts: Sequence[str] = VERDICTS,
    pooled: bool = False,
    norms: str = "same",
    of: str = "distances",
    seed: int = 0,
) -> dict[str, Floats]:
    """P values ``(M,)`` of every verdict for M sets of states, as `structure` has them.

    Parameters
    ----------
    sets
        Overlaps and norms.
    null_draws
        Draws of the null for one p value.
    verdicts
        Which ones.
    pooled
        Whether sets that are alike share draws, each giving at least `SHARED`; if not, each has draws of its
        own fit.
    norms, of
        As in `structure`.
    seed
        Seed of the draws.
    """
    if pooled:
        each = max(SHARED, -(-null_draws // len(sets.norms)))
        return _verdicts(_with_nulls(sets, each, verdicts, norms, of, seed, 0), verdicts)
    parts = [
        _verdicts(
            _with_nulls(Draws(q[None], n[None]), null_draws, verdicts, norms, of, seed, m * null_draws),
            verdicts,
        )
        for m, (q, n) in enumerate(zip(sets.overlaps, sets.norms, strict=True))
    ]
    return {verdict: np.concatenate([part[verdict] for part in parts]) for verdict in verdicts}


def verdict_p(
    pairs: Pairs,
    *verdicts: str,
    draws: int = 499,
    norms: str = "same",
    of: str = "distances",
    seed: int = 0,
) -> dict[str, float]:
    """P values of some verdicts on one set of states, as `structure` has them, and nothing beside.

    Parameters
    ----------
    pairs
        R states, at least 12.
    *verdicts
        Some of `VERDICTS`.
    draws, norms, of, seed
        As in `structure`.

    Raises
    ------
    ValueError
        If there is no such verdict, or as in `structure`.
    """
    for verdict in verdicts:
        if verdict not in VERDICTS:
            raise ValueError(f"a verdict must be one of {', '.join(VERDICTS)}, not {verdict!r}")
    check(pairs, draws, of)
    null, own = fit(pairs), Draws(pairs.overlaps[None], pairs.norms[None])
    found = {}
    for kind in ("symmetric", "rotated"):
        asked = [v for v in verdicts if (v == "hierarchy") == (kind == "rotated")]
        names = tuple(name for v in asked for name in GROUPS[v])
        if names:
            some = draw(null, draws, norms=norms, kind=kind, seed=seed)
            value, drawn = (statistics(sets, of=of, names=names)[0] for sets in (own, some))
            p = {name: float(pvalue(value[name], drawn[name])[0]) for name in names}
            found.update({v: float(holm([p[name] for name in GROUPS[v]]).min()) for v in asked})
    return {verdict: found[verdict] for verdict in verdicts}


@dataclass(frozen=True)
class _Compared:
    """Statistics of some sets, and of the draws of the nulls they are compared with."""

    value: dict[str, Floats]
    symmetric: dict[str, Floats]
    rotated: dict[str, Floats]


def _with_nulls(
    sets: Draws, each: int, verdicts: Sequence[str], norms: str, of: str, seed: int, first: int
) -> _Compared:
    names = {
        kind: tuple(name for v in verdicts if (v == "hierarchy") == (kind == "rotated") for name in GROUPS[v])
        for kind in KINDS
    }
    value = statistics(sets, of=of, names=names["symmetric"] + names["rotated"])[0]
    nulls = [fit(pairs) for pairs in sets.pairs()]
    joined = []
    for kind in KINDS:
        drawn = (
            draw(null, each, norms=norms, kind=kind, seed=seed, start=first + m * each)
            for m, null in enumerate(nulls)
        )
        joined.append(_of_sets(drawn, of, names[kind]) if names[kind] else {})
    return _Compared(value, *joined)


def _of_sets(drawn: Iterable[Draws], of: str, names: Sequence[str]) -> dict[str, Floats]:
    """Statistics of all draws of many sets; small sets of draws are worked on together."""
    parts: list[dict[str, Floats]] = []
    waiting: list[Draws] = []
    for some in drawn:
        waiting.append(some)
        if sum(one.overlaps.size for one in waiting) >= PIECE:
            parts.append(statistics(_joined(waiting), of=of, names=names)[0])
            waiting = []
    if waiting:
        parts.append(statistics(_joined(waiting), of=of, names=names)[0])
    return {name: np.concatenate([part[name] for part in parts]) for name in names}


def _joined(some: Sequence[Draws]) -> Draws:
    return Draws(*(np.concatenate([getattr(one, name) for one in some]) for name in ("overlaps", "norms")))


def _verdicts(part: _Compared, verdicts: Sequence[str]) -> dict[str, Floats]:
    """P value of each verdict, ``(M,)``."""
    found = {}
    for verdict in verdicts:
        null = part.rotated if verdict == "hierarchy" else part.symmetric
        ps = np.stack([pvalue(part.value[name], null[name]) for name in GROUPS[verdict]], 1)
        found[verdict] = np.array([holm(row).min() for row in ps])
    return found


@dataclass(frozen=True)
class NetworkAlarms:
    """Alarms on networks with Gaussian weights, which have nothing to group.

    Attributes
    ----------
    verdicts
        V names.
    pvalues
        Of M sets of networks ``(M, V)``.
    alarms
        Share at the nominal level ``(V,)``.
    interval
        Clopper and Pearson's 95% intervals ``(V, 2)``.
    overlap, sigma, effect, dimension
        Of the null that was fitted to each set, ``(M,)``.
    """

    verdicts: tuple[str, ...]
    pvalues: Floats
    alarms: Floats
    interval: Floats
    overlap: Floats
    sigma: Floats
    effect: Floats
    dimension: Floats


def network_false_alarms(
    ensemble: Ensemble,
    *,
    aligned: bool = True,
    sets: int = 100,
    null_draws: int = 199,
    pooled: bool = True,
    norms: str = "same",
    of: str = "distances",
    level: float = LEVEL,
    seed: int = 0,
) -> NetworkAlarms:
    """Count alarms on Gaussian networks treated as the data are.

    Overlaps of networks that were aligned pair by pair are largest values of many, and no inner products of
    any vectors: whether the nulls hold for them is measured here.

    Parameters
    ----------
    ensemble
        R networks; each parameter keeps its norm in each network, and is Gaussian otherwise.
    aligned
        Whether distances are those after matching hidden units, pair by pair.
    sets
        M. The R (R - 1) / 2 pairs of each are matched.
    null_draws, pooled, norms, of
        As in `pvalues`.
    level, seed
        As in `calibrate`.
    """
    found = []
    for m in track(range(sets), "Gaussian networks"):
        nets = gaussian_networks(ensemble, seed=seed, which=m)
        flat = nets.norms.cpu().numpy()
        if aligned:
            found.append(Pairs.from_distances(quotient_distances(nets).matched, flat))
        else:
            found.append(Pairs.from_vectors(nets.flat().double().cpu().numpy()))
    drawn = Draws(np.stack([p.overlaps for p in found]), np.stack([p.norms for p in found]))
    ps = pvalues(drawn, null_draws, pooled=pooled, norms=norms, of=of, seed=seed)
    table = np.stack([ps[verdict] for verdict in VERDICTS], 1)
    hits = (table <= level).sum(0)
    nulls = [fit(one) for one in found]
    return NetworkAlarms(
        VERDICTS,
        table,
        hits / sets,
        clopper_pearson(hits, sets),
        *(
            np.array([getattr(n, name) for n in nulls])
            for name in ("overlap", "sigma", "effect", "dimension")
        ),
    )


def gaussian_networks(ensemble: Ensemble, *, seed: int = 0, which: int = 0) -> Ensemble:
    """Return networks with independent Gaussian parameters, each of the norm it has in the same network."""
    params = {}
    for name, value in ensemble.params.items():
        rows = []
        for r in range(ensemble.replicas):
            g = generator(seed, GAUSSIANS, which, r, zlib.crc32(name.encode()))
            x = torch.randn(value.shape[1:], generator=g, dtype=torch.float64)
            x *= torch.linalg.vector_norm(value[r].double().cpu()) / torch.linalg.vector_norm(x)
            rows.append(x.to(value))
        params[name] = torch.stack(rows)
    return Ensemble(ensemble.model, params, ensemble.buffers)


def _estimate(value: float, ends: Floats, count: int) -> Estimate:
    return Estimate(np.array(value), np.array(ends[0]), np.array(ends[1]), np.array(count), 0.95)


def clopper_pearson(hits: Floats | int, trials: int, level: float = 0.95) -> Floats:
    """Exact interval of a share, ``(..., 2)``."""
    k = np.asarray(hits, float)
    tail = (1 - level) / 2
    low = np.where(k > 0, stats.beta.ppf(tail, np.maximum(k, 1), trials - k + 1), 0)
    high = np.where(k < trials, stats.beta.ppf(1 - tail, k + 1, np.maximum(trials - k, 1)), 1)
    return np.stack([low, high], -1)


def _enough(strengths: Floats, low: Floats) -> float:
    """Return the least strength from which on the lower end of power is as wanted, NaN where none is."""
    order = np.argsort(strengths)
    x, y = strengths[order], low[order]
    x, y = x[np.isfinite(y)], y[np.isfinite(y)]
    below = np.flatnonzero(y < ENOUGH)
    first = below[-1] + 1 if len(below) else 0
    return float(x[first]) if first < len(x) else float("nan")
