"""Loss surfaces against the package loss-landscapes 3.0.6, on the same network, plane and grid.

The peer walks over the grid in place, one module and one point after the other.
It walks every other row backwards and steps before it looks.
So its rows 0, 2, 4, ... are one cell further along the second direction than its rows 1, 3, 5, ...:
``theirs[i, j]`` is the loss at ``(i, j + 1)`` cells from the corner for even i and at ``(i, j)`` for odd i.
The two tables are compared with that shift.

The ratio depends on the number of samples: the peer's cost per point is in part independent of it.
On two busy cores (load 4) the median at 51 x 51 was 5.1 to 5.9 with 256 samples and 4.8 to 4.9 with all 1437.
So the target of 5 is met with 256 samples, and not shown with all of them; both are printed.

The peer needs numpy only; it goes into a folder of its own, so that the book's environment stays as it is:

    pip install --no-deps --target build/peer loss-landscapes==3.0.6
    OMP_NUM_THREADS=1 python benchmarks/surfaces.py --peer build/peer
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from spinscape.landscape.surfaces import directions, plane_values
from spinscape.networks.datasets import load
from spinscape.networks.device import keep_heap
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.models import mlp
from spinscape.networks.training import train

VERSION = "3.0.6"
TARGET = 5.0


def peer(folder: str | None) -> tuple | None:
    """Return the peer's package and its metrics, or None where it is not installed."""
    if folder:
        sys.path.append(folder)
    try:
        return importlib.import_module("loss_landscapes"), importlib.import_module("loss_landscapes.metrics")
    except ImportError:
        return None


def corner(network: Ensemble, pair: list[dict], a: float, b: float) -> nn.Module:
    """Return the module at a corner of the plane."""
    params = {name: p + a * pair[0][name] + b * pair[1][name] for name, p in network.params.items()}
    return Ensemble(network.model, params, network.buffers).module(0)


def shifted(ours: np.ndarray) -> np.ndarray:
    """Arrange G + 1 by G + 1 points as the peer arranges G by G."""
    steps = len(ours) - 1
    return np.stack([ours[i, 1:] if i % 2 == 0 else ours[i, :-1] for i in range(steps)])


def timed(action: Callable[[], np.ndarray]) -> tuple[np.ndarray, float]:
    start = time.perf_counter()
    result = action()
    return result, time.perf_counter() - start


def measure(packages: tuple, grid: int, samples: int | None, rounds: int) -> dict:
    package, metrics = packages
    digits = load("digits").flat()
    network = train(mlp([64, 64, 10]), digits, epochs=10, device="cpu")
    x, y = digits.x_train[:samples], digits.y_train[:samples]
    pair = [{name: value[0, 0] for name, value in side.items()} for side in directions(network)]
    corners = [corner(network, pair, a, b) for a, b in ((-1, -1), (1, -1), (-1, 1))]
    loss = metrics.Loss(nn.CrossEntropyLoss(), x, y)

    def theirs() -> np.ndarray:
        return package.planar_interpolation(*corners, loss, steps=grid, deepcopy_model=True)

    def ours(points: int) -> np.ndarray:
        return plane_values(network, pair, x, y, np.linspace(-1, 1, points))["values"]

    reference, _ = timed(theirs)
    difference = np.abs(reference - shifted(ours(grid + 1)))
    times: dict[str, list[float]] = {"ours": [], "theirs": []}
    for _ in range(rounds):
        times["ours"].append(timed(lambda: ours(grid))[1])
        times["theirs"].append(timed(theirs)[1])
    ratios = [b / a for a, b in zip(times["ours"], times["theirs"], strict=True)]
    return {
        "grid": grid,
        "samples": len(x),
        "largest_difference": float(difference.max()),
        "largest_relative_difference": float((difference / np.abs(reference)).max()),
        "ours_s": statistics.median(times["ours"]),
        "theirs_s": statistics.median(times["theirs"]),
        "ratio": statistics.median(ratios),
        "ratio_range": [min(ratios), max(ratios)],
        "ratio_of_best": min(times["theirs"]) / min(times["ours"]),
        "target": TARGET,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--peer", help="folder into which the peer was installed")
    parser.add_argument("--grid", type=int, default=51)
    parser.add_argument(
        "--samples", type=int, action="append", help="training samples; 256 and all 1437 by default"
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", help="write the rows to this file")
    options = parser.parse_args()
    packages = peer(options.peer)
    if packages is None:
        print(
            f"loss-landscapes {VERSION} is not installed, so there is nothing to compare with.\n"
            f"pip install --no-deps --target FOLDER loss-landscapes=={VERSION}, then --peer FOLDER"
        )
        return
    keep_heap()
    print(f"torch {torch.__version__}, cpu, {torch.get_num_threads()} thread(s)")
    print(" grid samples   ours s theirs s  ratio (range)      of best  largest difference")
    rows = []
    for samples in options.samples or [256, None]:
        row = measure(packages, options.grid, samples, options.rounds)
        rows.append(row)
        low, high = row["ratio_range"]
        print(
            f"{row['grid']:5} {row['samples']:7} {row['ours_s']:8.3f} {row['theirs_s']:8.3f} "
            f"{row['ratio']:6.2f} ({low:.2f}-{high:.2f}) {row['ratio_of_best']:7.2f} "
            f"{row['largest_difference']:12.2e}",
            flush=True,
        )
    if options.json:
        with open(options.json, "w", encoding="utf-8") as stream:
            json.dump(rows, stream, indent=1)


if __name__ == "__main__":
    main()
