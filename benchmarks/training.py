"""Batched training against training one network after the other, in plain PyTorch.

Both sides take the same steps with the same optimiser implementation (``foreach=False``; on a GPU
``fused=True``), on the same batches; data and sample orders are on the device beforehand. They
alternate in one process and the table gives medians per network and step. The batched side also
keeps each sample's loss and whether it was classified correctly.

    OMP_NUM_THREADS=1 python benchmarks/training.py
    python benchmarks/training.py --case gpu --device cuda --json gpu.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812

from spinscape.networks import optimisers
from spinscape.networks._course import bytes_of
from spinscape.networks._group import Draws, Group, Plan
from spinscape.networks.datasets import load
from spinscape.networks.device import chunk_size, keep_heap, resolve_device
from spinscape.networks.forward import Forward
from spinscape.networks.losses import resolve_loss
from spinscape.networks.models import mlp


@dataclass(frozen=True)
class Case:
    data: str
    widths: tuple[int, ...]
    batch: int
    replicas: int
    steps: int
    target: float | None


CASES = {
    "digits-64": Case("digits", (64, 64, 10), 64, 64, 22, 5.0),
    "digits-512": Case("digits", (64, 512, 10), 64, 16, 22, 1.3),
    "mnist-512": Case("mnist", (784, 512, 10), 256, 4, 10, 0.9),
    "gpu": Case("mnist", (784, 1024, 10), 256, 200, 20, None),
}


FLOOR_KEYS = ("bandwidth_GB_s", "matrix_TFLOP_s", "matrix_precision", "floor_us", "over_floor")


def images(case: Case, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return all training samples; random pixels where MNIST is missing."""
    try:
        data = load(case.data, download=False).flat()
        x, y = data.x_train, data.y_train
    except RuntimeError:
        print(f"{case.data} is not on this machine: random pixels serve")
        generator = torch.Generator().manual_seed(0)
        x = torch.rand(60_000, case.widths[0], generator=generator)
        y = torch.randint(case.widths[-1], (60_000,), generator=generator)
    return x.to(device), y.to(device)


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def batched(case: Case, optimiser: str, device: torch.device) -> Callable[[], float]:
    """Return a run of all networks at once, which gives seconds per network and step."""
    x, y = images(case, device)
    rule = optimisers.factory(optimiser, device, learning_rate=1e-3)
    model = mlp(case.widths)
    names = frozenset(dict(model.named_parameters()))
    plan = Plan(model, x, y, resolve_loss("cross_entropy"), case.batch, rule, names)
    size = chunk_size(bytes_of(plan, torch.float32), device, case.replicas)
    orders = sample_orders(case, len(x)).to(device)
    groups = []
    for first in range(0, case.replicas, size):
        numbers = np.arange(first, min(first + size, case.replicas))
        groups.append(Group.start(plan, numbers, 0, "pytorch", torch.float32))
    forward = Forward(model, groups[0].detached(), {}, x[: case.batch], training=True)

    def run() -> float:
        for group in groups:
            group.draws = Draws(orders[group.replicas], [0] * len(group.replicas))
        wait(device)
        start = time.perf_counter()
        for group in groups:
            group.run_epoch(forward)
        wait(device)
        return (time.perf_counter() - start) / case.replicas / case.steps

    return run


def one_by_one(case: Case, optimiser: str, device: torch.device) -> Callable[[], float]:
    """Return a run of ordinary modules in turn, which gives seconds per network and step."""
    x, y = images(case, device)
    count = case.replicas if device.type == "cpu" else min(case.replicas, 8)
    models = [plain(case.widths).to(device) for _ in range(count)]
    rule = optimisers.factory(optimiser, device, learning_rate=1e-3)
    rules = [rule(list(model.parameters())) for model in models]
    orders = sample_orders(case, len(x)).to(device)

    def run() -> float:
        wait(device)
        start = time.perf_counter()
        for model, optimizer, order in zip(models, rules, orders, strict=False):
            for first in range(0, case.batch * case.steps, case.batch):
                index = order[first : first + case.batch]
                optimizer.zero_grad()
                F.cross_entropy(model(x[index]), y[index]).backward()
                optimizer.step()
        wait(device)
        return (time.perf_counter() - start) / count / case.steps

    return run


def plain(widths: tuple[int, ...]) -> torch.nn.Sequential:
    """Return the layers of the network without the flattening, which rows do not need."""
    return torch.nn.Sequential(*list(mlp(widths))[1:])


def sample_orders(case: Case, count: int) -> torch.Tensor:
    """Return the samples of the steps of each network, the start of a random order of all."""
    generator = torch.Generator().manual_seed(1)
    used = case.batch * case.steps
    orders = [torch.randperm(count, generator=generator)[:used] for _ in range(case.replicas)]
    return torch.stack(orders)


def floor(case: Case, optimiser: str, device: torch.device) -> dict[str, float | str]:
    """Measure bandwidth and matrix rate in place, and return the least time per network and step.

    Bytes: a fused step reads parameter, gradient and state and writes parameter and state (Adam 7
    passes, SGD without momentum 3); the gradient is written and the weights are read once forward
    (2 passes), those after the first layer once backward; inputs and activations are written and
    read once. Operations: 2 per weight and sample forward, the same for the gradient of the
    weights, and for the inputs of all layers but the first.
    """
    pairs = list(zip(case.widths[:-1], case.widths[1:], strict=True))
    weights = sum(m * n for m, n in pairs)
    inner = sum(m * n for m, n in pairs[1:])
    units = sum(case.widths)
    passes = (7 if optimiser == "adam" else 3) + 2
    moved = 4 * (passes * weights + inner + 2 * case.batch * units)
    operations = 2 * case.batch * (2 * weights + inner)
    bandwidth, rate = copy_bandwidth(device), matrix_rate(case, device)
    return {
        "bytes_per_step": moved,
        "operations_per_step": operations,
        "bandwidth_GB_s": bandwidth / 1e9,
        "matrix_TFLOP_s": rate / 1e12,
        "matrix_precision": "TF32" if torch.backends.cuda.matmul.allow_tf32 else "float32",
        "floor_us": 1e6 * (moved / bandwidth + operations / rate),
    }


def best_time(action: Callable[[], object], device: torch.device, repeats: int = 10) -> float:
    times = []
    for _ in range(repeats + 2):
        wait(device)
        start = time.perf_counter()
        action()
        wait(device)
        times.append(time.perf_counter() - start)
    return min(times[2:])


def copy_bandwidth(device: torch.device) -> float:
    source = torch.ones(2**28 if device.type == "cuda" else 2**25, device=device)
    target = torch.empty_like(source)
    return 2 * 4 * source.numel() / best_time(lambda: target.copy_(source), device)


def matrix_rate(case: Case, device: torch.device) -> float:
    replicas = min(case.replicas, 64)
    a = torch.rand(replicas, case.widths[1], case.widths[0], device=device)
    b = torch.rand(replicas, case.widths[0], case.batch, device=device)
    operations = 2 * a.numel() * case.batch
    return operations / best_time(lambda: torch.bmm(a, b), device)


def measure(name: str, optimiser: str, device: torch.device, rounds: int) -> dict:
    case = CASES[name]
    sides = {
        "batched": batched(case, optimiser, device),
        "loop": one_by_one(case, optimiser, device),
    }
    times: dict[str, list[float]] = {side: [] for side in sides}
    for side in sides.values():
        side()
    for _ in range(rounds):
        for label, side in sides.items():
            times[label].append(1e6 * side())
    medians = {label: statistics.median(values) for label, values in times.items()}
    ratios = [a / b for a, b in zip(times["loop"], times["batched"], strict=True)]
    row = {
        "case": name,
        "optimiser": optimiser,
        "replicas": case.replicas,
        "batched_us": medians["batched"],
        "loop_us": medians["loop"],
        "ratio": statistics.median(ratios),
        "ratio_range": [min(ratios), max(ratios)],
        "target": case.target,
    }
    if device.type == "cuda":
        row |= floor(case, optimiser, device)
        row["over_floor"] = row["batched_us"] / row["floor_us"]
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--case", action="append", choices=list(CASES))
    parser.add_argument("--optimiser", action="append", choices=optimisers.NAMES)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--tf32", action="store_true", help="let products use TF32")
    parser.add_argument("--json", help="write the rows to this file")
    options = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = options.tf32
    device = resolve_device(options.device)
    keep_heap()
    default = ["gpu"] if device.type == "cuda" else [name for name in CASES if name != "gpu"]
    print(f"torch {torch.__version__}, {device}, {torch.get_num_threads()} thread(s)")
    print("case         optimiser    R  batched us   loop us  ratio target")
    rows = []
    for name in options.case or default:
        for optimiser in options.optimiser or ["adam"]:
            row = measure(name, optimiser, device, options.rounds)
            rows.append(row)
            print(
                f"{name:12} {optimiser:9} {row['replicas']:4} {row['batched_us']:11.1f} "
                f"{row['loop_us']:9.1f} {row['ratio']:6.2f} {row['target'] or '-'}",
                flush=True,
            )
            for key in (
                "bandwidth_GB_s",
                "matrix_TFLOP_s",
                "matrix_precision",
                "floor_us",
                "over_floor",
            ):
                if key in row:
                    print(f"    {key}: {row[key]}")
    if options.json:
        with open(options.json, "w", encoding="utf-8") as stream:
            json.dump(rows, stream, indent=1)


if __name__ == "__main__":
    main()
