"""Norms and distances of wide networks on MNIST at the source's size: what loss spikes of Adam do to them.

Networks 784-1024-10 (Liao et al. 2024, Figure 4) from Glorot-uniform weights, Adam with its usual step size
and batches of 256 on all 60,000 images.
Some of them are trained a second time, from the same weights on the same batches, with a larger epsilon: Adam
divides by the root of a mean squared gradient plus epsilon, so that its steps stay small where gradients are
small, and there are no spikes.
Weights are kept after some epochs; norms, training losses and overlaps of all pairs go into one JSON file,
which the chapter on clustering shows.
A network takes about three seconds per epoch on one core.
Groups of networks are kept aside as they are done, so that an interrupted run goes on.

    OMP_NUM_THREADS=1 python benchmarks/spikes.py --folder spikes --json spikes.json
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from spinscape.landscape.pairs import Pairs
from spinscape.networks.datasets import load
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.models import mlp
from spinscape.networks.training import train

WIDTH, BATCH, RATE, GROUP = 1024, 256, 1e-3, 4
USUAL, QUIET = 1e-8, 1e-4
RUNS = {"usual": (USUAL, 25, (2, 10, 15, 20, 25)), "quiet": (QUIET, 20, (20,))}
"""Epsilon, epochs, and after which epochs overlaps are kept."""


def run(number: int, epsilon: float, epochs: int, kept: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Train one group of networks; return losses, norms and weights after the kept epochs."""
    data = load("mnist").flat()
    norms = np.zeros((epochs, GROUP))
    weights: dict[str, np.ndarray] = {}

    def look(epoch: int, replicas: np.ndarray, ensemble: Ensemble) -> None:
        norms[epoch - 1, replicas] = ensemble.norms.cpu().numpy()
        if epoch in kept:
            rows = ensemble.flat().cpu().numpy()
            weights.setdefault(f"weights_{epoch}", np.zeros((GROUP, rows.shape[1]), np.float32))[replicas] = (
                rows
            )

    def adam(params: list[torch.Tensor]) -> torch.optim.Optimizer:
        return torch.optim.Adam(params, lr=RATE, eps=epsilon, foreach=True)

    found = train(
        mlp([data.features, WIDTH, data.targets]),
        data,
        replicas=GROUP,
        epochs=epochs,
        batch_size=BATCH,
        initialisation="glorot",
        seed=1000 + number,
        evaluate_test=False,
        callback=look,
        optimiser=adam,
    )
    assert found.history is not None
    return weights | {"norms": norms, "loss": found.history.train_loss}


def summary(groups: list[dict[str, np.ndarray]], epsilon: float, kept: tuple[int, ...]) -> dict[str, Any]:
    """Return what the chapter shows of some groups, and print distances."""
    whole = {name: np.concatenate([group[name] for group in groups], -1) for name in ("norms", "loss")}
    overlaps = {}
    for epoch in kept:
        pairs = Pairs.from_vectors(np.concatenate([group[f"weights_{epoch}"] for group in groups]))
        overlaps[str(epoch)] = pairs.overlaps.round(6).tolist()
        values = pairs.upper_distances
        print(f"epsilon {epsilon:g}, epoch {epoch}: {values.mean():.2f}, sd {values.std(ddof=1):.3f}")
    loss = [[float(f"{value:.4g}") for value in row] for row in whole["loss"]]
    return {"epsilon": epsilon, "norms": whole["norms"].round(4).tolist(), "loss": loss, "overlaps": overlaps}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", type=int, default=24, help=f"a multiple of {GROUP}")
    parser.add_argument("--quiet", type=int, default=12, help="how many of them train without spikes too")
    parser.add_argument("--folder", type=Path, required=True, help="where groups are kept")
    parser.add_argument("--json", type=Path, help="where the summary goes")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    runs = {}
    for (name, (epsilon, epochs, kept)), count in zip(
        RUNS.items(), (given.networks, given.quiet), strict=True
    ):
        groups = []
        for number in range(count // GROUP):
            path = given.folder / f"{name}_{number}.npz"
            if not path.exists():
                part = path.with_suffix(".part.npz")
                np.savez(part, **run(number, epsilon, epochs, kept))
                part.rename(path)
            groups.append(dict(np.load(path)))
        runs[name] = summary(groups, epsilon, kept)
    facts = {"width": WIDTH, "batch": BATCH, "images": 60000, "learning_rate": RATE}
    if given.json:
        given.json.write_text(json.dumps(facts | {"runs": runs}) + "\n")


if __name__ == "__main__":
    main()
