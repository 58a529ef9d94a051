"""Certified enumeration of critical points: time, certificates and counts against exact means.

One row per order and size: wall and processor time per instance, batched; on how many every complex class
was found; the mean number of real critical points beside the exact mean at that size; its variance;
and in how many of a few instances a Newton search from random starts finds the same set.

    OMP_NUM_THREADS=1 python benchmarks/critical_points.py
    python benchmarks/critical_points.py --device cuda --times 10 --json points.json
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass

import numpy as np
import torch

from spinscape.glasses.complexity import mean_critical_points
from spinscape.glasses.critical_points import CriticalPoints, find, find_by_newton
from spinscape.glasses.pspin import PSpin

CASES = (
    (3, 4, 200, 50, 0.05), (3, 6, 200, 50, 0.10), (3, 8, 200, 50, 0.5), (3, 10, 30, 0, 2.8),
    (3, 2, 200, 0, None), (3, 3, 200, 0, None), (3, 5, 200, 0, None), (4, 3, 200, 0, None),
    (4, 4, 200, 50, None), (5, 3, 200, 0, None),
)  # fmt: skip
"""Order, size, instances, instances of the Newton search, seconds of a plain NumPy homotopy."""

HEADER = (
    " p  n instances certified classes  wall ms   cpu ms x plain    mean   (se)    exact     z "
    "variance  Newton same  wall ms"
)


@dataclass(frozen=True)
class Row:
    p: int
    n: int
    instances: int
    classes: int
    certified: int
    seconds: float
    cpu_seconds: float
    plain_seconds: float | None
    mean: float
    standard_error: float
    exact: float
    variance: float
    by_index: list[float]
    by_index_error: list[float]
    by_index_exact: list[float | None]
    newton_instances: int
    newton_same: int
    newton_seconds: float
    kantorovich: float
    separation: float
    most_rounds: int


def same_points(a: CriticalPoints, b: CriticalPoints, i: int) -> bool:
    """Tell whether two searches found the same points in instance i."""
    x, y = a[i].points, b[i].points
    return len(x) == len(y) and bool(((x @ y.T / a.n > 1 - 1e-9).sum(1) == 1).all())


def exact_by_index(p: int, n: int) -> list[float | None]:
    """Return exact mean counts of every index, as far as there is a formula for this size."""
    try:
        return [float(mean_critical_points(p, n, index=k)) for k in range(n)]
    except ValueError:
        return [None] * n


def measure(p: int, n: int, instances: int, newton: int, plain: float | None, device: str, seed: int) -> Row:
    glass = PSpin.sample(p, n, instances=instances, seed=seed, device=device)
    begin, begin_cpu = time.perf_counter(), time.process_time()
    found = find(glass, seed=seed)
    seconds = (time.perf_counter() - begin) / instances
    cpu_seconds = (time.process_time() - begin_cpu) / instances
    begin = time.perf_counter()
    other = find_by_newton(glass[:newton], seed=seed + 1) if newton else None
    newton_seconds = (time.perf_counter() - begin) / max(1, newton)
    same = sum(same_points(found, other, i) for i in range(newton)) if other else 0
    counts, by_index = found.counts, found.counts_by_index
    return Row(
        p, n, instances, found.expected, int(found.complete.sum()), seconds, cpu_seconds, plain,
        float(counts.mean()), float(counts.std(ddof=1) / instances**0.5), float(mean_critical_points(p, n)),
        float(counts.var(ddof=1)), by_index.mean(0).tolist(),
        (by_index.std(0, ddof=1) / instances**0.5).tolist(), exact_by_index(p, n),
        newton, same, newton_seconds, float(found.kantorovich.max()), float(found.separation.min()),
        int(found.rounds.max()),
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--times", type=int, default=1, help="multiplies the instances")
    parser.add_argument("--no-newton", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", help="where to write all numbers")
    args = parser.parse_args()
    find(PSpin.sample(3, 3, device=args.device))
    rows = []
    print(HEADER)
    for p, n, instances, newton, plain in CASES:
        row = measure(
            p, n, instances * args.times, 0 if args.no_newton else newton, plain, args.device, args.seed
        )
        rows.append(row)
        z = (row.mean - row.exact) / row.standard_error
        faster = f"{plain / row.seconds:7.1f}" if plain else "      -"
        print(
            f"{p:2} {n:2} {row.instances:9} {row.certified:9} {row.classes:7} {1e3 * row.seconds:8.2f} "
            f"{1e3 * row.cpu_seconds:8.2f} {faster} {row.mean:7.2f} ({row.standard_error:5.2f}) "
            f"{row.exact:8.3f} {z:5.2f} {row.variance:8.1f} "
            f"{row.newton_same:8}/{row.newton_instances:<4} {1e3 * row.newton_seconds:7.1f}",
            flush=True,
        )
        scores = [
            (m - e) / s
            for m, s, e in zip(row.by_index, row.by_index_error, row.by_index_exact, strict=True)
            if e is not None and s > 0
        ]
        print("       by index, (mean - exact) / se:", np.array2string(np.array(scores), precision=2))
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump({"torch": torch.__version__, "rows": [asdict(row) for row in rows]}, file, indent=1)


if __name__ == "__main__":
    main()
