"""Entropy-SGD and replicated SGD against plain SGD, per gradient of a sample.

All sides train as many networks on as many random images; a group of replicated SGD counts as its copies.
``steps`` are further epochs without what evaluates networks after them: the time of three epochs less that
of one. ``calls`` are the public functions as they are, with as many test images as training images: there
entropy-SGD and replicated SGD evaluate networks and centres on the training images too, which plain training
does not. With max pooling that pass takes half the time of a training pass on a CPU.
Sides take turns, and the time is that of the processor, which other processes change less.
The target is that of `steps`; the exit code is 1 where a ratio is above it.

    OMP_NUM_THREADS=1 python benchmarks/entropic.py
    OMP_NUM_THREADS=1 python benchmarks/entropic.py --case mlp --rounds 9 --json entropic.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from spinscape.networks.convolutional import convnet
from spinscape.networks.datasets import Dataset
from spinscape.networks.device import resolve_device
from spinscape.networks.entropic import train_entropy, train_replicated
from spinscape.networks.models import mlp
from spinscape.networks.training import train

TARGET = 1.3
IMAGES, EPOCHS, COPIES = 2000, 2, 3
DESCENT = {"optimiser": "sgd", "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}
AUTHORS = {"inner_momentum": 0.9, "inner_decay": 5e-4}

CASES: dict[str, Callable[[], nn.Module]] = {
    "mlp": lambda: mlp([784, 256, 10]),
    "convnet": lambda: convnet(1, 10, size=28, widths=(8, 16)),
    "convnet-norm": lambda: convnet(1, 10, size=28, widths=(8, 16), batch_norm=True),
}


def images(side: tuple[int, ...]) -> Dataset:
    """Return random pixels and labels."""
    generator = torch.Generator().manual_seed(0)
    x, xt = (torch.rand(IMAGES, *side, generator=generator) for _ in range(2))
    y, yt = (torch.randint(10, (IMAGES,), generator=generator) for _ in range(2))
    return Dataset("random", x, y, xt, yt, tuple(map(str, range(10))))


def sides(case: str, replicas: int, device: torch.device) -> dict[str, Callable[[], float]]:
    """Return runs that take processor seconds per gradient of a sample."""
    model, data = CASES[case](), images((784,) if case == "mlp" else (1, 28, 28))
    shared = {"replicas": replicas, "learning_rate": 0.02, "device": device, **DESCENT}
    bare: dict[str, Any] = {"evaluate_test": False, "apart": True}
    blind = bare | {"evaluate_train": False}

    def seconds(call: Callable[..., object], epochs: int, options: dict[str, Any]) -> float:
        clock = time.process_time if device.type == "cpu" else time.perf_counter
        begun = clock()
        call(model, data, epochs=epochs, **{**shared, **options})
        return clock() - begun

    def timed(call: Callable[..., object], *, apart: bool = False, **options: Any) -> Callable[[], float]:
        def run() -> float:
            took = seconds(call, EPOCHS + apart, options) - (seconds(call, 1, options) if apart else 0)
            return took / (replicas * options.get("copies", 1) * EPOCHS * IMAGES)

        return run

    return {
        "steps: plain": timed(train, **bare),
        "steps: entropy": timed(train_entropy, inner=16, **blind),
        "steps: entropy, authors": timed(train_entropy, inner=16, **blind, **AUTHORS),
        "steps: replicated": timed(train_replicated, copies=COPIES, gamma=0.1, **blind),
        "calls: plain": timed(train),
        "calls: entropy": timed(train_entropy),
        "calls: replicated": timed(train_replicated, copies=COPIES),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--case", action="append", choices=list(CASES))
    parser.add_argument("--replicas", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", help="write the rows to this file")
    options = parser.parse_args()
    device = resolve_device(options.device)
    print(f"torch {torch.__version__}, {device}, {torch.get_num_threads()} thread(s)")
    print(f"{'case':13} {'side':24} us per gradient  ratio (least, most)")
    rows, above = [], False
    for case in options.case or list(CASES):
        runs = sides(case, options.replicas, device)
        times: dict[str, list[float]] = {side: [] for side in runs}
        for turn in range(options.rounds + 1):
            for side, run in runs.items():
                took = run()
                if turn:
                    times[side].append(1e6 * took)
        for side, values in times.items():
            kind = side.split(":")[0]
            ratios = [a / b for a, b in zip(values, times[f"{kind}: plain"], strict=True)]
            ratio = statistics.median(ratios)
            above |= kind == "steps" and ratio > TARGET
            rows.append({"case": case, "side": side, "us": statistics.median(values), "ratio": ratio})
            spread = f"({min(ratios):.2f}, {max(ratios):.2f})"
            print(f"{case:13} {side:24} {rows[-1]['us']:15.2f}  {ratio:5.2f} {spread}", flush=True)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as stream:
            json.dump(rows, stream, indent=1)
    print(f"target {TARGET} for steps: {'missed' if above else 'met'}")
    sys.exit(above)


if __name__ == "__main__":
    main()
