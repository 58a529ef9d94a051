"""Trace, top eigenvalues and spectral density of the Hessian against PyPI's pyhessian.

Both sides get the same networks, samples, number type and number of Hessian products; pyhessian takes the
networks one after the other, as it must. They alternate in one process, set-up is part of the time, and the
table gives medians per network and product: of the processor's time on a CPU, of the clock's on a GPU.
The exit code is 1 where spinscape is the slower one.
pyhessian is no dependency of the project. It needs torch and numpy alone, so a folder of its own will do:

    pip install --no-deps --target=peers pyhessian
    OMP_NUM_THREADS=1 PYTHONPATH=peers python benchmarks/hessian.py
    OMP_NUM_THREADS=1 PYTHONPATH=peers python benchmarks/hessian.py --case convnet --random

Its version 0.1 calls ``torch.eig``, which torch no longer computes: ``eigh`` of its small matrix serves here.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from spinscape.landscape.flatness import hessian_trace, lanczos_density, top_eigenvalues
from spinscape.networks.convolutional import convnet
from spinscape.networks.datasets import load
from spinscape.networks.device import resolve_device
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.models import mlp
from spinscape.networks.residual_net import resnet18

EQUAL = 0.97
"""A single network counts as equally fast from this ratio on: clocks are not better than that."""


@dataclass(frozen=True)
class Case:
    data: str
    model: Callable[[], nn.Module]
    samples: int
    many: int
    flat: bool = True
    share: float = 1.0


CASES = {
    "digits-64": Case("digits", lambda: mlp([64, 64, 10]), 1437, 16),
    "mnist-512": Case("mnist", lambda: mlp([784, 512, 10]), 2000, 4),
    "convnet": Case("mnist", lambda: convnet(1, 10, size=28, widths=(8, 16)), 1000, 2, False, 0.25),
    "resnet18": Case("mnist", lambda: resnet18(1, 10, width=8), 100, 2, False, 0.25),
}


def samples(case: Case, random: bool) -> tuple[Tensor, Tensor]:
    """Return the first training samples; random pixels if asked for or where data are missing."""
    shape = (64,) if case.data == "digits" else (784,)
    try:
        if random:
            raise RuntimeError("asked for")
        data = load(case.data, download=False).flat()
        x, y = data.x_train[: case.samples], data.y_train[: case.samples]
    except RuntimeError as error:
        print(f"{case.data}: random pixels serve ({str(error).splitlines()[0]})")
        source = torch.Generator().manual_seed(0)
        x = torch.rand(case.samples, *shape, generator=source)
        y = torch.randint(10, (case.samples,), generator=source)
    return (x if case.flat else x.unflatten(1, (1, 28, 28))), y


def networks(case: Case, count: int) -> Ensemble:
    """Return networks as PyTorch initialises them."""
    modules = []
    for seed in range(count):
        torch.manual_seed(seed)
        modules.append(case.model())
    return Ensemble.from_modules(modules)


def median_times(sides: list[Callable[[], int]], repeats: int, device: torch.device) -> list[float]:
    """Return seconds per product of functions that return how many they took; they take turns."""
    times: list[list[float]] = [[] for _ in sides]
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    for _ in range(repeats):
        for side, kept in zip(sides, times, strict=True):
            start = clock()
            count = side()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            kept.append((clock() - start) / count)
    return [float(np.median(kept)) for kept in times]


def tasks(
    ensemble: Ensemble, x: Tensor, y: Tensor, given: argparse.Namespace, share: float, peer: type
) -> dict[str, list[Callable[[], int]]]:
    """Return what is timed by name: ours, and the peer's."""
    cuda = ensemble.device.type == "cuda"
    count = ensemble.replicas
    probes, steps, top = (max(2, int(share * number)) for number in (given.probes, given.steps, given.top))
    taken = top_eigenvalues(ensemble, x, y, top).steps
    each = -(-int(taken.mean()) // top)

    def theirs(run: Callable[[object], object], products: int) -> Callable[[], int]:
        def work() -> int:
            for r in range(count):
                module = ensemble.module(r)
                run(peer(module, nn.CrossEntropyLoss(), data=(x, y), cuda=cuda))
                for parameter in module.parameters():
                    parameter.grad = None
            return count * products

        return work

    def ours(run: Callable[[], object], products: int) -> Callable[[], int]:
        def work() -> int:
            run()
            return products

        return work

    return {
        "trace": [
            ours(lambda: hessian_trace(ensemble, x, y, probes=probes), count * probes),
            theirs(lambda h: h.trace(maxIter=probes, tol=0.0), probes),
        ],
        "top": [
            ours(lambda: top_eigenvalues(ensemble, x, y, top), int(taken.sum())),
            theirs(lambda h: h.eigenvalues(maxIter=each, tol=0.0, top_n=top), each * top),
        ],
        "density": [
            ours(lambda: lanczos_density(ensemble, x, y, steps=steps, probes=2), 2 * steps * count),
            theirs(lambda h: h.density(iter=steps, n_v=2), 2 * steps),
        ],
    }


def old_eig(matrix: Tensor, eigenvectors: bool = True) -> tuple[Tensor, Tensor]:
    """Answer as ``torch.eig`` did, for symmetric matrices."""
    values, vectors = torch.linalg.eigh(matrix)
    return torch.stack([values, torch.zeros_like(values)], 1), vectors


def main() -> int:
    """Print one row per case, number of networks and task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--case", choices=CASES, action="append")
    parser.add_argument("--random", action="store_true", help="random pixels, none of them always zero")
    parser.add_argument("--many", type=int, help="networks in place of the case's own number")
    parser.add_argument("--probes", type=int, default=16)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--top", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=["float32", "float64"])
    parser.add_argument("--json", help="file for the rows")
    given = parser.parse_args()
    try:
        from pyhessian import hessian as peer
    except ImportError:
        print("pyhessian is not here: pip install --no-deps --target=peers pyhessian, then PYTHONPATH=peers")
        return 2
    torch.eig = old_eig
    device = resolve_device(given.device)
    dtype = getattr(torch, given.dtype)
    rows = []
    print(f"{'case':>10} {'nets':>4} {'task':>8} {'ours ms':>9} {'pyhessian ms':>13} {'ratio':>6}")
    for name in given.case or ("digits-64", "mnist-512", "convnet"):
        case = CASES[name]
        x, y = samples(case, given.random)
        x, y = x.to(device, dtype), y.to(device)
        for count in (1, given.many or case.many):
            ensemble = networks(case, count).to(dtype).to(device)
            for task, sides in tasks(ensemble, x, y, given, case.share, peer).items():
                ours, theirs = median_times(sides, given.repeats, device)
                ratio = theirs / ours
                passes = ratio >= (EQUAL if count == 1 else 1.0)
                rows.append({"case": name, "networks": count, "task": task, "ours": ours, "pyhessian": theirs,
                             "ratio": ratio, "passes": passes})  # fmt: skip
                told = f"{1e3 * ours:9.3f} {1e3 * theirs:13.3f} {ratio:6.2f} {'pass' if passes else 'FAIL'}"
                print(f"{name:>10} {count:4} {task:>8} {told}", flush=True)
    if given.json:
        with open(given.json, "w", encoding="utf-8") as file:
            json.dump(rows, file, indent=1)
    return 0 if all(row["passes"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
