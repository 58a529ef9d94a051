"""What the ensembles of the chapter on clustering cost: training, distances, matching.

Training and gains of matching are counted in operations (2 per weight and sample forward, the same for the
gradient of the weights, and for the inputs of all layers but the first; 2 per product of weights in the
gains), assignments in time.
The last table projects 200 networks per width, Adam and SGD, from these counts and rates that are given.

    OMP_NUM_THREADS=1 python benchmarks/clustering.py
    python benchmarks/clustering.py --device cuda --networks 200 --json clustering.json
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

import torch

from spinscape.landscape.overlaps import distances, function_distances
from spinscape.landscape.symmetry import quotient_distances
from spinscape.landscape.symmetry._pair import assignments
from spinscape.networks.datasets import Dataset, load
from spinscape.networks.device import keep_heap, resolve_device
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.models import mlp
from spinscape.networks.training import train

WIDTHS = (64, 128, 256, 512, 1024)


def training_operations(inputs: int, width: int, samples: int) -> float:
    """Return operations per network and epoch."""
    return 2 * samples * (2 * inputs * width + 3 * width * 10)


def gain_operations(inputs: int, width: int) -> float:
    """Return operations per pair."""
    return 2 * width**2 * (inputs + 1 + 10)


def seconds(action: Callable[[], object], device: torch.device, *, processor: bool) -> float:
    """Return the wall time of an action, or the time of the processor, which other processes change less."""
    clock = time.process_time if processor and device.type == "cpu" else time.perf_counter
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = clock()
    action()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return clock() - start


def part_of(data: Dataset, count: int) -> Dataset:
    x, y = data.subset("train", min(count, len(data.x_train)))
    return Dataset(data.name, x, y, data.x_test, data.y_test, data.classes)


def training_row(
    data: Dataset, width: int, optimiser: str, batch: int, options: argparse.Namespace
) -> dict[str, object]:
    device, count = resolve_device(options.device), options.networks
    inputs, samples = data.x_train[0].numel(), len(data.x_train)
    model = mlp([inputs, width, 10])
    rate = 1e-3 if optimiser == "adam" else 0.1

    def run() -> Ensemble:
        return train(
            model, data, replicas=count, epochs=1, optimiser=optimiser, learning_rate=rate, batch_size=batch,
            evaluate_test=options.evaluate, device=device,
        )  # fmt: skip

    run()
    taken = min(seconds(run, device, processor=options.processor) for _ in range(options.rounds))
    operations = training_operations(inputs, width, samples)
    return {
        "data": data.name,
        "samples": samples,
        "width": width,
        "optimiser": optimiser,
        "batch": batch,
        "networks": count,
        "seconds_per_network_and_epoch": taken / count,
        "GFLOP_s": operations * count / taken / 1e9,
    }


def matching_row(inputs: int, width: int, options: argparse.Namespace) -> dict[str, object]:
    """Time all pairs of networks as PyTorch starts them, which are as hard to match as trained ones."""
    device, count = resolve_device(options.device), options.matched
    torch.manual_seed(0)
    nets = Ensemble.from_modules([mlp([inputs, width, 10]) for _ in range(count)]).to(device)
    pairs = count * (count - 1) // 2
    x = torch.rand(200, inputs)
    generator = torch.Generator().manual_seed(1)
    some = min(pairs, 20)
    left = torch.randn(some, width, inputs + 11, generator=generator).to(device)
    gains = torch.bmm(left, left.flip(0).mT)
    clock = {"processor": options.processor}
    return {
        "inputs": inputs,
        "width": width,
        "networks": count,
        "ms_per_pair": 1e3 * seconds(lambda: quotient_distances(nets), device, **clock) / pairs,
        "gains_ms": 1e3 * seconds(lambda: torch.bmm(left, left.flip(0).mT), device, **clock) / some,
        "assignment_ms": 1e3 * seconds(lambda: assignments(gains), device, **clock) / some,
        "raw_seconds": seconds(lambda: distances(nets), device, **clock),
        "function_seconds": seconds(lambda: function_distances(nets, x), device, **clock),
        "gain_MFLOP": gain_operations(inputs, width) / 1e6,
    }


def projection(options: argparse.Namespace, assignment_ms: dict[int, float]) -> list[dict[str, object]]:
    """Project a run of the sources' size from operations, bytes, rates, and the measured assignments.

    Bytes per step are those of `benchmarks/training.py`: 9 passes over the weights with Adam, 5 with SGD.
    """
    rows: list[dict[str, object]] = []
    count, pairs, batch = 200, 200 * 199 // 2, 128
    for width in WIDTHS:
        weights, steps = 794 * width, options.epochs * -(-60_000 // batch)
        training = count * options.epochs * training_operations(784, width, 60_000) / 1e12
        moved = {
            name: 4e-12 * count * steps * (passes * weights + 2 * batch * (width + 794))
            for name, passes in (("adam", 9), ("sgd", 5))
        }
        gains = pairs * gain_operations(784, width) / 1e12
        rows.append(
            {
                "width": width,
                "training_TFLOP": training,
                "adam_TB": moved["adam"],
                "adam_seconds": training / options.rate + moved["adam"] / options.bandwidth,
                "sgd_seconds": training / options.rate + moved["sgd"] / options.bandwidth,
                "gains_TFLOP": gains,
                "gains_seconds": gains / options.rate,
                "assignment_seconds": pairs * assignment_ms[width] / 1e3 if width in assignment_ms else None,
            }
        )
    return rows


def show(rows: list[dict[str, object]]) -> None:
    """Print rows as a table."""
    print("  ".join(rows[0]))
    for row in rows:
        cells = (f"{value:.4g}" if isinstance(value, float) else str(value) for value in row.values())
        print("  ".join(cell.rjust(len(name)) for name, cell in zip(row, cells, strict=True)), flush=True)
    print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--networks", type=int, default=4, help="networks trained together")
    parser.add_argument("--matched", type=int, default=6, help="networks matched in pairs")
    parser.add_argument("--samples", type=int, default=5000, help="MNIST images of the timed epoch")
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--batches", type=int, nargs="+", default=[128, 256])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=15, help="epochs of the projected run")
    parser.add_argument("--rate", type=float, default=30.0, help="TFLOP/s assumed of the projected run")
    parser.add_argument("--bandwidth", type=float, default=4.0, help="TB/s assumed of the projected run")
    parser.add_argument("--evaluate", action="store_true", help="evaluate on the test images each epoch")
    parser.add_argument("--processor", action="store_true", help="count time of the processor, not wall time")
    parser.add_argument("--json", help="write the rows to this file")
    options = parser.parse_args()
    keep_heap()
    print(f"torch {torch.__version__}, {options.device}, {torch.get_num_threads()} thread(s)\n")
    digits, mnist = load("digits").flat(), part_of(load("mnist").flat(), options.samples)
    cases = [(digits, (64,)), (mnist, tuple(options.batches))]
    training = [
        training_row(data, width, optimiser, batch, options)
        for data, batches in cases
        for width in options.widths
        for optimiser in ("adam", "sgd")
        for batch in batches
    ]
    show(training)
    matching = [matching_row(inputs, width, options) for inputs in (64, 784) for width in options.widths]
    show(matching)
    known = {int(row["width"]): float(row["assignment_ms"]) for row in matching if row["inputs"] == 784}  # type: ignore[call-overload, arg-type]
    projected = projection(options, known)
    print(
        f"200 networks, {options.epochs} epochs of MNIST, all pairs, if products run at {options.rate:g} "
        f"TFLOP/s and memory at {options.bandwidth:g} TB/s; assignments as on this processor:"
    )
    show(projected)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as stream:
            json.dump({"training": training, "matching": matching, "projected": projected}, stream, indent=1)


if __name__ == "__main__":
    main()
