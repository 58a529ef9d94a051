"""False alarms and power of the verdicts on distances between states, at the sizes of the book.

    OMP_NUM_THREADS=1 python benchmarks/power.py                  # tables at R = 30, 60, 200
    OMP_NUM_THREADS=1 python benchmarks/power.py --sizes 60 --draws 400 --what false

`false`: shares of alarms on states without clusters, each set with its own fit and draws.
`pooled`: the same where sets share the draws, as a chapter does.
`power`: shares of alarms on planted clusters of rising strength, equal, of random and of given sizes.
`confounds`: states that are no clusters but are not all alike either; sets share the draws.
`norms`: alarms of the test of modes on distances, norms of the null smooth, where norms are in three equal
groups or have the heavy tails of Student's t; overlaps are the null's, each set has its own fit and draws.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from spinscape.glasses.overlap_models import replica_symmetric
from spinscape.landscape.null_overlaps import Draws, fit
from spinscape.landscape.pairs import Pairs
from spinscape.landscape.power import VERDICTS, calibrate, clopper_pearson, pvalues
from spinscape.landscape.structure import LEVEL

DIMENSION = 4000
STRENGTHS = (0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)


def norms(replicas: int, groups: int = 1) -> np.ndarray:
    """Norms of networks that stopped at one or at several epochs."""
    rng = np.random.default_rng(1)
    return 10 + np.arange(replicas) % groups + 0.1 * rng.standard_normal(replicas)


def cloud(replicas: int, draws: int, seed: int, *, kind: str) -> np.ndarray:
    """Overlaps of vectors of a stated kind, (B, R, R)."""
    q = np.empty((draws, replicas, replicas))
    for b in range(draws):
        rng = np.random.default_rng([seed, b])
        x = rng.standard_normal((replicas, DIMENSION))
        index = np.arange(replicas)
        if kind == "one Gaussian axis":
            x[:, 0] += 25 * rng.standard_normal(replicas)
        elif kind == "three Gaussian axes":
            x[:, :3] += 20 * rng.standard_normal((replicas, 3))
        elif kind == "power-law spectrum":
            x *= np.arange(1, DIMENSION + 1) ** -0.3
        elif kind.startswith("one uniform axis"):
            x[:, 0] += AXES[kind] * np.sqrt(12) * (rng.random(replicas) - 0.5)
        elif kind == "one axis, Student t 5":
            x[:, 0] += 25 * rng.standard_t(5, replicas)
        elif kind.startswith("common direction, three epochs"):
            x[:, 0] += EPOCHS[kind] * (1 + index % 3)
        elif kind == "common direction, lengths vary":
            x[:, 0] += 30 + 8 * rng.standard_normal(replicas)
        elif kind == "noise varies by state":
            x *= 1 + 0.5 * (index % 3)[:, None]
        elif kind == "two outliers":
            x[:2, 0] += 20
        else:
            raise ValueError(kind)
        x /= np.linalg.norm(x, axis=1, keepdims=True)
        q[b] = x @ x.T
        np.fill_diagonal(q[b], 1)
    return q


AXES = {f"one uniform axis, {sigmas} sigma": (sigmas * DIMENSION**0.5) ** 0.5 for sigmas in (5, 10, 14, 20)}
"""Standard deviation along the axis, where that of the noise is 1.

Named after the deviation of its part of an overlap over that of the fluctuations.
"""

EPOCHS = {f"common direction, three epochs, {step}": step for step in (5.0, 10.0, 20.0)}
"""What of the common direction each epoch adds."""

CONFOUNDS = (
    "one Gaussian axis", "three Gaussian axes", "power-law spectrum", *EPOCHS,
    "common direction, lengths vary", "noise varies by state", *AXES, "one axis, Student t 5", "two outliers",
)  # fmt: skip


def unequal(replicas: int) -> dict[str, list[int]]:
    """Clusters of stated sizes: a sixth against the rest, and a third or a sixth among single states."""
    sixth, third = replicas // 6, replicas // 3
    return {
        f"{sixth} + {replicas - sixth}": [sixth, replicas - sixth],
        f"{third} among singles": [third] + [1] * (replicas - third),
        f"{sixth} among singles": [sixth] + [1] * (replicas - sixth),
    }


SEPARATIONS = (2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0)
"""Of neighbouring groups of norms, in standard deviations of a norm within its group."""

WIDE = 10**6
"""Dimension of overlaps whose fluctuations are small against norms that vary by a percent."""


def drawn_norms(replicas: int, draws: int, *, separation: float = 0.0, tails: float = np.inf) -> np.ndarray:
    """Norms that vary by a percent around 10, three equal groups of them or one, (B, R).

    `tails` are the degrees of freedom of Student's t; infinitely many are normal.
    """
    group = np.arange(replicas) % 3 - 1
    found = np.empty((draws, replicas))
    for b in range(draws):
        rng = np.random.default_rng([13, b])
        spread = rng.standard_normal(replicas) if np.isinf(tails) else rng.standard_t(tails, replicas)
        found[b] = 10 + 0.1 * (separation * group + spread)
    return np.maximum(found, 0.5)


def norm_groups(replicas: int, draws: int, null_draws: int) -> None:
    """Print shares of alarms for groups of norms, and on five times as many sets without groups."""
    cases = [(f"{s:g} sd apart", {"separation": s}, draws) for s in SEPARATIONS]
    cases += [("one group", {}, 5 * draws)]
    cases += [(f"Student t {df:g}", {"tails": df}, 5 * draws) for df in (5.0, 3.0)]
    for dimension in (DIMENSION, WIDE):
        q = replica_symmetric(replicas, dimension=dimension, draws=5 * draws, seed=7)
        for name, how, count in cases:
            sets = Draws(q[:count], drawn_norms(replicas, count, **how))
            p = pvalues(sets, null_draws, verdicts=("modality",), norms="smooth")["modality"]
            hits = int((p <= LEVEL).sum())
            low, high = clopper_pearson(hits, count)
            share = f"{hits / count:.3f} ({low:.3f}-{high:.3f})"
            print(f"  norms, d {dimension}, {name:12}: {share} of {count}", flush=True)


def rates(sets: Draws, null_draws: int, *, pooled: bool, how: str, of: str = "distances") -> str:
    """One line of shares of alarms with their intervals."""
    found = pvalues(sets, null_draws, pooled=pooled, norms=how, of=of)
    cells = []
    for verdict in VERDICTS:
        hits = int((found[verdict] <= LEVEL).sum())
        low, high = clopper_pearson(hits, len(sets.norms))
        cells.append(f"{hits / len(sets.norms):.3f} ({low:.3f}-{high:.3f})")
    return "  ".join(cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[30, 60, 200])
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--nulls", type=int, default=199)
    parser.add_argument("--planted", type=int, default=100, help="planted sets of each kind and strength")
    parser.add_argument("--what", nargs="+", default=["false", "pooled", "power", "confounds", "norms"])
    given = parser.parse_args()
    for r in given.sizes:
        print(f"R = {r}: shares of alarms of {VERDICTS}", flush=True)
        for what in [w for w in given.what if w in ("false", "pooled")]:
            for overlap, effect, groups, dimension in (
                (0.0, 0.0, 1, DIMENSION), (0.3, 0.01, 3, DIMENSION), (0.0, 0.0, 1, 3 * r),
            ):  # fmt: skip
                q = replica_symmetric(
                    r, dimension=dimension, overlap=overlap, effect=effect, draws=given.draws, seed=7
                )
                sets = Draws(q, np.tile(norms(r, groups), (given.draws, 1)))
                for how in ("same", "smooth") if groups == 1 else ("same",):
                    start = time.process_time()
                    line = rates(sets, given.nulls, pooled=what == "pooled", how=how)
                    took = time.process_time() - start
                    print(f"  {what:8} q {overlap} a {effect} d {dimension} {groups} norms, {how:6}: {line}"
                          f"  {took:.0f} s", flush=True)  # fmt: skip
        if "power" in given.what:
            data = Pairs.from_overlaps(replica_symmetric(r, dimension=DIMENSION, seed=3)[0], norms(r))
            kinds = ((2,), (3,), (4,), (5,), (3, 3))
            cases = [("equal", "equal", kinds), ("random", "random", kinds)]
            cases += [(name, sizes, ((len(sizes),),)) for name, sizes in unequal(r).items()]
            for name, sizes, branching in cases:
                start = time.process_time()
                table = calibrate(
                    fit(data), strengths=STRENGTHS, branching=branching, draws=given.planted, sizes=sizes
                )
                took = time.process_time() - start
                print(f"  power, {name}, {took:.0f} s; strengths {table.strengths}; interval above 80% from")
                for kind, power, enough in zip(table.branching, table.power, table.enough, strict=True):
                    for v, verdict in enumerate(VERDICTS):
                        shares = " ".join(f"{share:4.2f}" for share in power[:, v])
                        print(f"    {kind!s:7} {verdict:10} {shares}  {enough[v]:.2f}", flush=True)
        if "norms" in given.what:
            norm_groups(r, given.draws, given.nulls)
        if "confounds" in given.what:
            for kind in CONFOUNDS:
                q = cloud(r, given.draws, 11, kind=kind)
                line = rates(
                    Draws(q, np.tile(norms(r), (given.draws, 1))), given.nulls, pooled=True, how="same"
                )
                print(f"  {kind:32}: {line}", flush=True)


if __name__ == "__main__":
    main()
