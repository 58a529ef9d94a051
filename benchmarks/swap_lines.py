"""Lines to swapped copies against the general evaluator, and against the losses of all points alone.

The grid is that of Liao et al. 2024, Figure 3, for one width.
It has 15 numbers of swaps, 50 lines for each and 25 points of a line, at MNIST's size.
The general evaluator writes out and evaluates the parameters of every point.
It is timed on a few lines and its time multiplied; so is the evaluator that takes the first layer once.
The floor is the log-softmax of outputs of all points, in blocks that stay in the cache, without the network.
Weights are random: times do not depend on them.

    OMP_NUM_THREADS=1 python benchmarks/swap_lines.py
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

import torch
from torch import Tensor

from spinscape.landscape.swap_law import shrunk_loss
from spinscape.landscape.swap_lines import deep_swap_lines, swap_lines
from spinscape.landscape.symmetry import swap
from spinscape.networks.device import keep_heap
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.evaluation import evaluate
from spinscape.networks.models import mlp

SWAPS = [*range(11), 15, 20, 25, 30]
NETWORKS, TRIALS, POINTS, SAMPLES, CLASSES = 5, 10, 25, 2000, 10


def seconds(work: Callable[[], object], repeats: int) -> float:
    """Return the least time of some calls."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def by_evaluator(ensemble: Ensemble, x: Tensor, y: Tensor, lines: int) -> None:
    """Evaluate the points of lines to copies with 10 swapped pairs, all parameters written out."""
    for trial in range(lines):
        copy = swap(ensemble[0], 10, seed=trial).ensemble
        along = torch.linspace(0, 1, POINTS)
        params = {
            name: torch.lerp(p, copy.params[name], along.reshape(-1, *[1] * (p.ndim - 1)))
            for name, p in ensemble[0].params.items()
        }
        evaluate(Ensemble(ensemble.model, params), x, y)


def floor(points: int) -> None:
    """Take the log-softmax of the outputs of so many points."""
    block = torch.randn(POINTS, CLASSES, 256)
    for _ in range(points * SAMPLES // (POINTS * 256)):
        block.log_softmax(1)


def main() -> None:
    """Print one line of JSON per width."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 128, 256, 512, 1024])
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    keep_heap()
    torch.manual_seed(0)
    x, y = torch.rand(SAMPLES, 784), torch.randint(0, CLASSES, (SAMPLES,))
    count = len(SWAPS) * NETWORKS * TRIALS
    for width in arguments.widths:
        ensemble = Ensemble.from_modules([mlp([784, width, CLASSES]) for _ in range(NETWORKS)])
        repeats = arguments.repeats
        ours = seconds(lambda e=ensemble: swap_lines(e, x, y, swaps=SWAPS, trials=TRIALS), repeats)
        general = seconds(lambda e=ensemble: by_evaluator(e, x, y, 2), repeats) * count / 2
        once = seconds(lambda e=ensemble: deep_swap_lines(e[0], x, y, swaps=[10], trials=2), repeats)
        least = seconds(lambda: floor(count * POINTS), repeats)
        law = seconds(lambda e=ensemble: shrunk_loss(e[0], x, y, [0.1, 0.5]), 1)
        row = {"grid": ours, "evaluator": general, "first layer once": once * count / 2, "floor": least}
        row |= {"evaluator / grid": general / ours, "grid / floor": ours / least, "law of one network": law}
        print(json.dumps({"width": width, **{name: round(value, 2) for name, value in row.items()}}))


if __name__ == "__main__":
    main()
