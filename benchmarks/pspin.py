"""Energy and gradient of the p-spin glass against matrix products and memory, and what n = 500 takes.

A gradient of K points costs K n^p operations and reads n^p / 2 couplings (pairs are kept once).
Few points are bound by memory, many by arithmetic.
The bounds are measured in the same process: a plain matrix product and a plain sum.
The last part runs p = 3 at n = 500 in a process of its own and prints its largest memory after each step.

    OMP_NUM_THREADS=1 python benchmarks/pspin.py
    OMP_NUM_THREADS=1 python benchmarks/pspin.py --large
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch

from spinscape.glasses._pairs import Pairs
from spinscape.glasses.descent import gradient_descent, relax
from spinscape.glasses.pspin import PSpin, random_points

CASES = [(3, 20, 20, 100), (3, 40, 20, 100), (4, 20, 10, 50), (3, 200, 1, 1), (3, 200, 1, 64), (3, 300, 1, 1)]
RELAX = [(3, 10, 20, 100), (3, 20, 20, 100), (3, 40, 20, 100), (4, 14, 20, 100)]


def seconds(call: Callable[[], object], repeats: int = 5) -> float:
    call()
    spent = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        spent.append(time.perf_counter() - start)
    return statistics.median(spent)


def gradients() -> None:
    square = torch.randn(1000, 1000, dtype=torch.float64)
    peak = 2e9 / seconds(lambda: square @ square) / 1e9
    stream = torch.ones(2**25, dtype=torch.float64)
    band = 8 * 2**25 / seconds(stream.sum) / 1e9
    print(f"bounds: {peak:.1f} GFLOP/s, {band:.1f} GB/s\n")
    print("  p    n    I    K    us/point  GFLOP/s    GB/s  of the bound")
    for p, n, instances, k in CASES:
        glass, points = PSpin.sample(p, n, instances=instances), random_points(instances, k, n)
        pairs = Pairs(glass)
        spent = seconds(lambda pairs=pairs, points=points: pairs.energy_and_gradient(points))
        work, moved = 1e-9 * instances * k * n**p, 4e-9 * instances * n**p
        share = max(work / peak, moved / band) / spent
        print(f"{p:3d} {n:4d} {instances:4d} {k:4d} {1e6 * spent / instances / k:11.2f} "
              f"{work / spent:8.1f} {moved / spent:7.1f} {share:8.2f}")  # fmt: skip


def relaxation() -> None:
    print("\n  p    n    I    K    us/start  converged  median steps")
    for p, n, instances, k in RELAX:
        glass, points = PSpin.sample(p, n, instances=instances), random_points(instances, k, n)
        start = time.perf_counter()
        found = relax(glass, points)
        spent = 1e6 * (time.perf_counter() - start) / instances / k
        print(f"{p:3d} {n:4d} {instances:4d} {k:4d} {spent:11.0f} {found.converged.mean():9.4f} "
              f"{statistics.median(found.steps.ravel().tolist()):11.0f}")  # fmt: skip


def large(n: int) -> None:
    def say(what: str, start: float) -> None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"{what:28s} {time.perf_counter() - start:7.1f} s   peak {peak:.2f} GiB", flush=True)

    start = time.perf_counter()
    glass = PSpin.sample(3, n)
    say(f"sample, n = {n}", start)
    points = random_points(1, 4, n)
    start = time.perf_counter()
    PSpin(glass.couplings)
    say("check of the couplings", start)
    for name in ("energy", "gradient", "hessian"):
        start = time.perf_counter()
        getattr(glass, name)(points)
        say(f"{name} of 4 points", start)
    start = time.perf_counter()
    seen = gradient_descent(glass, points, times=[0.0, 1.0, 4.0])
    say("descent of 4 points to t = 4", start)
    print("energies per spin", seen.energy.mean((0, 1)).round(4).tolist())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--large", action="store_true", help="only p = 3, n = 500")
    parser.add_argument("--spins", type=int, default=500, help="n of the large case")
    chosen = parser.parse_args()
    if chosen.large:
        large(chosen.spins)
    else:
        gradients()
        relaxation()
        sys.stdout.flush()
        subprocess.run([sys.executable, __file__, "--large", "--spins", str(chosen.spins)], check=True)
