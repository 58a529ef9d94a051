"""Steps per second of the perceptron's sampler on one core against a plain loop of numpy.

The plain loop takes chain by chain one step after the other: a direction, its image, the union of all arcs,
an angle drawn from it.
Both start inside, from the same states; a step is one move on a great circle.
Times are of the process on the CPU, the best of several runs, without compiling.
Ends with exit code 1 if the ratio is below what is asked for.

    OMP_NUM_THREADS=1 python benchmarks/perceptron_sampler.py
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable

import numpy as np

from spinscape.glasses.perceptron import Patterns, allowed_arcs, interior_starts, patterns, sample_solutions


def plain(
    given: Patterns, kappa: float, start: np.ndarray, steps: int, rng: np.random.Generator
) -> np.ndarray:
    """Hit-and-run on great circles, one chain and one step after the other."""
    ends = start[0].copy()
    xi, n = given.xi[0], given.n
    for w in ends:
        for _ in range(steps):
            d = rng.standard_normal(n)
            d -= w * (d @ w) / n
            d *= math.sqrt(n) / np.linalg.norm(d)
            low, high = allowed_arcs(xi @ w / math.sqrt(n), xi @ d / math.sqrt(n), kappa)
            length = np.cumsum(high - low)
            x = rng.random() * length[-1]
            arc = int(np.searchsorted(length, x))
            t = high[arc] - (length[arc] - x)
            w[:] = math.cos(t) * w + math.sin(t) * d
    return ends


def seconds(action: Callable[[], object], repeats: int) -> float:
    spent = []
    for _ in range(repeats):
        start = time.process_time()
        action()
        spent.append(time.process_time() - start)
    return min(spent)


def product_rate(n: int, count: int) -> float:
    """Multiplications and additions per second of a product as the sampler takes them."""
    rng = np.random.default_rng(0)
    left, right = rng.standard_normal((128, n)), rng.standard_normal((n, count))
    out = np.empty((128, count))

    def many() -> None:
        for _ in range(50):
            np.matmul(left, right, out=out)

    many()
    return 50 * 2 * 128 * n * count / seconds(many, 5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--n", type=int, default=200)
    parser.add_argument("--chains", type=int, default=64)
    parser.add_argument("--alpha", type=float, default=2.0)
    parser.add_argument("--kappa", type=float, default=-0.5)
    parser.add_argument("--steps", type=int, default=1024)
    parser.add_argument("--plain-steps", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--least", type=float, default=10.0, help="ratio asked for")
    o = parser.parse_args()
    given = patterns(1, o.n, o.alpha, seed=0)
    start = interior_starts(given, o.kappa, chains=o.chains, kind="random")

    def run(moves: str, steps: int) -> Callable[[], object]:
        return lambda: sample_solutions(
            given, o.kappa, chains=o.chains, steps=steps, burn=0, keep=1, start=start, moves=moves
        )

    for moves in ("great-circle", "pairs"):
        run(moves, 16)()
    slow = seconds(lambda: plain(given, o.kappa, start, o.plain_steps, np.random.default_rng(0)), o.repeats)
    slow /= o.chains * o.plain_steps
    fast = seconds(run("great-circle", o.steps), o.repeats) / (o.chains * o.steps)
    sweep = seconds(run("pairs", 16), o.repeats) / (o.chains * 16)
    count, rate = given.count, product_rate(o.n, given.count)
    flops = 2 * o.n * count
    moved = 8 * (o.n + count + (o.n * count) / 128)
    print(f"N = {o.n}, P = {count}, kappa = {o.kappa:g}, {o.chains} chains of one instance, one core")
    print(f"plain loop    {1e6 * slow:8.2f} us a step {1 / slow:10.0f} steps/s of a chain")
    print(f"great circles {1e6 * fast:8.2f} us a step {1 / fast:10.0f} steps/s of a chain")
    print(f"pairs         {1e6 * sweep:8.2f} us a sweep, {1e6 * sweep / (o.n // 2):.2f} us a move")
    print(
        f"a step's product: {flops / 1e3:.0f} kflop, {moved / 1e3:.1f} kB read and written, at "
        f"{rate / 1e9:.1f} Gflop/s {1e6 * flops / rate:.2f} us: {100 * flops / rate / fast:.0f}% of the step"
    )
    ratio = slow / fast
    print(f"ratio {ratio:.1f}, asked for {o.least:g}")
    sys.exit(ratio < o.least)


if __name__ == "__main__":
    main()
