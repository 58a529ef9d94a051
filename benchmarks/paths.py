"""A path of 25 points in one call against a loop that loads a state dict per point.

The loop interpolates state dicts, loads each into an ordinary module, runs it on all samples at once, and
takes the mean cross-entropy and the share of wrong answers; of geodesics it is given the points.
Both sides run on one core, and the time is that of the processor, which other processes change less.
``alone`` compares the best of runs that follow runs of the same side; ``in turn`` alternates, so that each
finds the caches cold.
Operations are multiplications of matrices, in millions, for all points: the first layer of a combination
needs one product per network, not per point.
Weights and inputs are random: times do not depend on them.
The target of digits networks with one hidden layer is 5 times as fast as the loop, of all others not slower.
At the end every row is told to pass or fail by ``alone``, and the exit code is 1 if one fails.

    OMP_NUM_THREADS=1 python benchmarks/paths.py
    OMP_NUM_THREADS=1 python benchmarks/paths.py --cases 64-64-10 --pairs 10 --json paths.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from spinscape.landscape.paths import Path, bezier, geodesic, linear, profile
from spinscape.landscape.symmetry import normalize
from spinscape.networks.convolutional import convnet
from spinscape.networks.device import keep_heap
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.models import mlp

POINTS, TARGET = 25, 5.0

CASES = {
    "64-64-10": (1437, 30), "64-128-10": (1437, 30), "64-256-10": (1437, 30), "64-64-64-10": (1437, 20),
    "64-128-128-128-10": (1437, 10), "784-512-10": (10_000, 2), "784-512-512-512-10": (10_000, 1),
    "conv 8-16": (1437, 3),
}  # fmt: skip
"""Samples and rounds."""


def networks(case: str, count: int) -> Ensemble:
    torch.manual_seed(0)
    if case.startswith("conv"):
        return Ensemble.from_modules([convnet() for _ in range(count)])
    return Ensemble.from_modules([mlp([int(n) for n in case.split("-")]) for _ in range(count)])


def states(kind: str, ends: list[dict[str, Tensor]], path: Path, pair: int) -> Iterator[dict[str, Tensor]]:
    """Yield the state dicts of a path: lines and curves by their formulas, points of geodesics as given."""
    if kind == "geodesic":
        points = path.points(pair)
        for k in range(POINTS):
            yield {name: value[k] for name, value in points.params.items()}
        return
    for t in path.t.tolist():
        weights = [1 - t, t] if kind == "linear" else [(1 - t) ** 2, 2 * t * (1 - t), t**2]
        yield {
            name: sum(w * end[name] for w, end in zip(weights[1:], ends[1:], strict=True))
            + weights[0] * value
            for name, value in ends[0].items()
        }


def loop(module: nn.Module, dicts: Iterator[dict[str, Tensor]], x: Tensor, y: Tensor) -> np.ndarray:
    """Return loss and error ``(2, K)``, one state dict after the other."""
    found = []
    with torch.no_grad():
        for state in dicts:
            module.load_state_dict(state)
            outputs = module(x)
            loss = functional.cross_entropy(outputs, y).item()
            found.append((loss, (outputs.argmax(1) != y).double().mean().item()))
    return np.array(found).T


def timed(action: Callable[[], object]) -> float:
    start = time.process_time()
    action()
    return time.process_time() - start


def products(case: str, samples: int, bases: int) -> tuple[float, float]:
    """Return millions of multiplications of the loop and of one call, for one path of a chain."""
    widths = [int(n) for n in case.split("-")]
    layers = [a * b * samples / 1e6 for a, b in pairwise(widths)]
    return POINTS * sum(layers), bases * layers[0] + POINTS * sum(layers[1:])


def measure(case: str, kind: str, pairs: int) -> dict[str, object]:
    samples, rounds = CASES[case]
    nets = networks(case, 3 * pairs)
    nets = normalize(nets).ensemble if kind == "geodesic" else nets
    a, b, c = nets[:pairs], nets[pairs : 2 * pairs], nets[2 * pairs :]
    shape = (1, 8, 8) if case.startswith("conv") else (int(case.split("-")[0]),)
    x, y = torch.rand(samples, *shape), torch.randint(0, 10, (samples,))
    module = nets.module(0).eval()
    groups = [a, c, b] if kind == "bezier" else [a, b]
    ends = [[group.module(p).state_dict() for group in groups] for p in range(pairs)]

    path = {"linear": linear, "geodesic": geodesic, "bezier": bezier}[kind](*groups, POINTS)

    def theirs() -> np.ndarray:
        return np.stack([loop(module, states(kind, ends[p], path, p), x, y) for p in range(pairs)])

    def ours() -> np.ndarray:
        found = profile(path, x, y)
        return np.stack([found.loss, found.error], 1)

    reference, found = theirs(), ours()
    blocks = [
        [[timed(side) for _ in range(min(5, rounds))] for side in (ours, theirs)]
        for _ in range(rounds // 2 + 1)
    ]
    alone = [min(min(runs[k]) for runs in blocks) for k in (0, 1)]
    turns = [(timed(ours), timed(theirs)) for _ in range(rounds)]
    row: dict[str, object] = {"case": case, "kind": kind, "pairs": pairs, "samples": samples}
    if not case.startswith("conv"):
        row["loop_M"], row["ours_M"] = products(case, samples, len(groups))
    return row | {
        "loop_ms": 1e3 * alone[1] / pairs,
        "ours_ms": 1e3 * alone[0] / pairs,
        "alone": alone[1] / alone[0],
        "in_turn": min(t for _, t in turns) / min(o for o, _ in turns),
        "in_turn_median": statistics.median(t / o for o, t in turns),
        "relative_difference": float(np.abs(found[:, 0] / reference[:, 0] - 1).max()),
        "error_difference": float(np.abs(found[:, 1] - reference[:, 1]).max()),
        "target": TARGET if case.count("-") == 2 and samples < 2000 else 1.0,
    }


def verdict(rows: list[dict[str, object]]) -> bool:
    """Print whether each row reaches its target; tell whether all do."""
    passed = []
    for row in rows:
        passed.append(row["alone"] >= row["target"])
        print(
            f"{'pass' if passed[-1] else 'FAIL'}  {row['case']:19} {row['kind']:9} {row['pairs']:4}  "
            f"{row['alone']:6.2f}, target {row['target']:g}"
        )
    return all(passed)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--kinds", nargs="+", default=["linear", "geodesic", "bezier"])
    parser.add_argument("--pairs", type=int, nargs="+", default=[1, 10], help="10 for digits only")
    parser.add_argument("--json", help="write the rows to this file")
    options = parser.parse_args()
    keep_heap()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, cpu, {torch.get_num_threads()} thread(s)")
    print(
        "network             path     pairs  products loop/ours M   loop ms  ours ms  alone  in turn (median)"
        "  difference: loss   error"
    )
    rows = []
    for case in options.cases:
        for kind in options.kinds:
            for pairs in options.pairs:
                if pairs > 1 and CASES[case][1] < 30:
                    continue
                row = measure(case, kind, pairs)
                rows.append(row)
                counts = f"{row['loop_M']:9.0f} /{row['ours_M']:8.0f}" if "loop_M" in row else " " * 19
                print(
                    f"{case:19} {kind:9} {pairs:4}   {counts}  {row['loop_ms']:9.2f} {row['ours_ms']:8.2f} "
                    f"{row['alone']:6.2f}  {row['in_turn']:7.2f} ({row['in_turn_median']:.2f}) "
                    f"{row['relative_difference']:12.1e} {row['error_difference']:12.1e}",
                    flush=True,
                )
    if options.json:
        with open(options.json, "w", encoding="utf-8") as stream:
            json.dump(rows, stream, indent=1)
    return 0 if verdict(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
