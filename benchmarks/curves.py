"""Bezier curves and elastic bands between trained networks: seconds of one core per pair, and highest losses.

OMP_NUM_THREADS=1 python benchmarks/curves.py digits --epochs 150
OMP_NUM_THREADS=1 python benchmarks/curves.py mnist --epochs 30 --samples 10000
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
import torch

from spinscape.landscape.paths import band, bend
from spinscape.networks.datasets import load
from spinscape.networks.models import mlp
from spinscape.networks.training import train

PROBES = {"curve": bend, "band": band}


def main() -> None:
    """Train networks with 64 hidden units and join them, one line of JSON per way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=30, help="of the networks")
    parser.add_argument("--samples", type=int, default=10_000)
    given = parser.parse_args()
    torch.set_num_threads(1)
    data = load(given.data).flat().shortened(given.samples)
    model = mlp([data.features, 64, data.targets])
    nets = train(
        model, data, replicas=2 * given.pairs, epochs=given.epochs, batch_size=64, evaluate_test=False
    )
    for name, probe in PROBES.items():
        start = time.process_time()
        found = probe(nets[: given.pairs], nets[given.pairs :], data, device="cpu")
        seconds = time.process_time() - start
        ends = found.line[:, [0, -1]].max(1)
        told = {
            "seconds per pair": seconds / given.pairs,
            "higher end": ends.mean(),
            "line": found.line.max(1).mean(),
            "joined": found.curve.max(1).mean(),
            "largest rise above the ends": (found.curve.max(1) - ends).max(),
            "error on the line": found.line_error.max(1).mean(),
            "error joined": found.curve_error.max(1).mean(),
            "above the line": int(np.sum(found.curve.max(1) > found.line.max(1))),
        }
        print(json.dumps({"joined by": name} | {key: round(float(v), 4) for key, v in told.items()}))


if __name__ == "__main__":
    main()
