"""Norms and distances of wide networks on MNIST at the source's size: what loss spikes of Adam do to them.

Networks 784-1024-10 (Liao et al. 2024, Figure 4) from Glorot-uniform weights, Adam with its usual step size
and batches of 256 on all 60,000 images.
Weights are kept after some epochs; norms, training losses and overlaps of all pairs go into one JSON file,
which the chapter on clustering shows.
A network takes about three seconds per epoch on one core.
Groups of networks are kept aside as they are done, so that an interrupted run goes on.

    OMP_NUM_THREADS=1 python benchmarks/spikes.py --networks 24 --folder spikes --json spikes.json
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from spinscape.landscape.pairs import Pairs
from spinscape.networks.datasets import load
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.models import mlp
from spinscape.networks.training import train

WIDTH, BATCH, EPOCHS = 1024, 256, 25
KEPT = (2, 10, 15, 20, 25)
GROUP = 4


def run(number: int) -> dict[str, np.ndarray]:
    """Train one group of networks; return losses, norms and weights after the kept epochs."""
    data = load("mnist").flat()
    norms = np.zeros((EPOCHS, GROUP))
    kept: dict[str, np.ndarray] = {}

    def look(epoch: int, replicas: np.ndarray, ensemble: Ensemble) -> None:
        norms[epoch - 1, replicas] = ensemble.norms.cpu().numpy()
        if epoch in KEPT:
            rows = kept.setdefault(
                f"weights_{epoch}", np.zeros((GROUP, ensemble.flat().shape[1]), np.float32)
            )
            rows[replicas] = ensemble.flat().cpu().numpy()

    found = train(
        mlp([data.features, WIDTH, data.targets]), data, replicas=GROUP, epochs=EPOCHS, batch_size=BATCH,
        initialisation="glorot", seed=1000 + number, evaluate_test=False, callback=look,
    )  # fmt: skip
    assert found.history is not None
    return kept | {"norms": norms, "loss": found.history.train_loss}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", type=int, default=24, help=f"a multiple of {GROUP}")
    parser.add_argument("--folder", type=Path, required=True, help="where groups are kept")
    parser.add_argument("--json", type=Path, help="where the summary goes")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    groups = []
    for number in range(given.networks // GROUP):
        path = given.folder / f"group_{number}.npz"
        if not path.exists():
            part = path.with_suffix(".part.npz")
            np.savez(part, **run(number))
            part.rename(path)
        groups.append(dict(np.load(path)))
        print(number, groups[-1]["norms"][-1].round(2), flush=True)
    whole = {name: np.concatenate([group[name] for group in groups], -1) for name in ("norms", "loss")}
    summary = {
        "width": WIDTH, "batch": BATCH, "images": 60000, "optimiser": "adam", "learning_rate": 1e-3,
        "norms": whole["norms"].round(4).tolist(),
        "loss": [[float(f"{x:.4g}") for x in row] for row in whole["loss"]],
        "overlaps": {},
    }  # fmt: skip
    for epoch in KEPT:
        rows = np.concatenate([group[f"weights_{epoch}"] for group in groups])
        pairs = Pairs.from_vectors(rows)
        summary["overlaps"][str(epoch)] = pairs.overlaps.round(6).tolist()
        print(epoch, pairs.upper_distances.mean().round(2), pairs.upper_distances.std(ddof=1).round(3))
    if given.json:
        given.json.write_text(json.dumps(summary))


if __name__ == "__main__":
    main()
