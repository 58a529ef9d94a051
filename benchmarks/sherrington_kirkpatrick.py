"""Spin updates per second of the two kernels of the Sherrington-Kirkpatrick model, and the work of a run.

An update offers one spin of one walker a flip; exchanges and measurements after each sweep are part of it.
Rates are of the process's own time on the CPU, the best of several runs, after compiling.

    OMP_NUM_THREADS=1 python benchmarks/sherrington_kirkpatrick.py
    python benchmarks/sherrington_kirkpatrick.py --device cuda --instances 400
"""

from __future__ import annotations

import argparse
import time

import torch

from spinscape.glasses._sk_chains import Chains, make_keys
from spinscape.glasses._sk_torch import TorchChains
from spinscape.glasses.sherrington_kirkpatrick import ladder, sample_couplings, temper

SIZES = (64, 128, 256)
TEMPERATURES, REPLICAS = 16, 2


def now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def rate(chains: Chains, sweeps: int, device: torch.device, repeats: int = 3) -> float:
    """Millions of updates per second, the best of the repeats."""
    chains.advance(sweeps, count=True)
    instances, replicas, count = chains.shape
    spent = []
    for _ in range(repeats):
        start = now(device)
        chains.advance(sweeps, count=True)
        spent.append(now(device) - start)
    return 1e-6 * sweeps * instances * replicas * count * chains.n / min(spent)


def compile_time() -> None:
    start = time.process_time()
    temper(sample_couplings(8, 1), ladder(0.5, 2, 3), sweeps=2, burn=0, method="numba")
    print(f"import of numba and compiling: {time.process_time() - start:.2f} s\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--instances", type=int, default=40)
    chosen = parser.parse_args()
    device = torch.device(chosen.device)
    if device.type == "cpu":
        compile_time()
    from spinscape.glasses._sk_numba import NumbaChains

    print(
        f"{chosen.instances} instances, {TEMPERATURES} temperatures, {REPLICAS} replicas, torch on {device}"
    )
    print("  n   numba M/s   torch M/s   ratio")
    t = ladder(0.2, 2, TEMPERATURES)
    for n in SIZES:
        j = sample_couplings(n, chosen.instances)
        keys = make_keys(0, n, chosen.instances, REPLICAS, TEMPERATURES)
        compiled = rate(NumbaChains(j, t, keys), 64, torch.device("cpu"))
        batched = rate(TorchChains(j, t, keys, device), 16, device)
        print(f"{n:3d} {compiled:11.1f} {batched:11.1f} {compiled / batched:7.2f}", flush=True)


if __name__ == "__main__":
    main()
