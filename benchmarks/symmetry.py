"""Matching of networks modulo permutations: against the package rebasin 0.0.47, and planted permutations.

The objective, evaluated here on the results of both sides in double precision, is the inner product of the
two networks over all parameters: weights, biases and the last layer.

What the peer maximises differs: it visits the sets of units in random order from the identity, adds the
products of incoming weights four times for each time it adds those of outgoing weights, and adds to each
entry of a cost matrix the same number for the biases, which therefore do not count.
Its tracing of the networks is not in its time.

The peer imports graphviz and torchview; all three go into a folder of their own, without dependencies, so
that the book's environment stays as it is:

    pip install --no-deps --target build/peer rebasin==0.0.47 graphviz torchview
    OMP_NUM_THREADS=1 python benchmarks/symmetry.py peer --peer build/peer
    OMP_NUM_THREADS=1 python benchmarks/symmetry.py planted
    OMP_NUM_THREADS=1 python benchmarks/symmetry.py stream
    OMP_NUM_THREADS=1 python benchmarks/symmetry.py noise
    OMP_NUM_THREADS=1 python benchmarks/symmetry.py many
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from spinscape.landscape.symmetry.alignment import align
from spinscape.landscape.symmetry.matching import inner_product, match
from spinscape.landscape.symmetry.recovery import METHODS, recovery
from spinscape.networks.convolutional import vgg16
from spinscape.networks.datasets import load
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.models import initialise, mlp
from spinscape.networks.residual_net import resnet18
from spinscape.networks.training import train
from spinscape.networks.units import Axis, Description, Units

VERSION = "0.0.47"


def drawn(model: nn.Module, replicas: int, seed: int = 0) -> Ensemble:
    """Networks with PyTorch's initial parameters; network r depends on the seed and r only."""
    states = [initialise(model, torch.Generator().manual_seed(2**20 * seed + r)) for r in range(replicas)]
    params, buffers = (
        {name: torch.stack([state[k][name] for state in states]) for name in states[0][k]} for k in (0, 1)
    )
    return Ensemble(model, params, buffers)


def timed(action: Callable[[], Any]) -> tuple[Any, float, float]:
    """Result, wall time and processor time in seconds."""
    wall, processor = time.perf_counter(), time.process_time()
    result = action()
    return result, time.perf_counter() - wall, time.process_time() - processor


def against_peer(folder: str, pairs: int) -> list[dict]:
    sys.path.append(folder)
    peer = importlib.import_module("rebasin").PermutationCoordinateDescent
    digits, found = load("digits").flat(), []
    for label in ("random", "random", "digits, 20 epochs of Adam", "digits, 60 epochs, decay 1e-3"):
        inputs = 784 if label == "random" and not found else 64
        model = mlp([inputs, 512, 512, 512, 10])
        if label == "random":
            ensemble = drawn(model, 2 * pairs)
        elif "decay" in label:
            ensemble = train(model, digits, replicas=2 * pairs, epochs=60, weight_decay=1e-3, device="cpu")
        else:
            ensemble = train(model, digits, replicas=2 * pairs, epochs=20, device="cpu")
        rows = [one_pair(peer, ensemble, 2 * k) for k in range(pairs)]
        found.append({"networks": label, "inputs": inputs, **summary(rows)})
        print(json.dumps(found[-1]), flush=True)
    return found


def one_pair(peer: Any, ensemble: Ensemble, k: int) -> dict[str, float]:
    a, b = ensemble[k], ensemble[k + 1]
    ours, *our_time = timed(lambda: match(a, b))
    left, right = a.module(0), b.module(0)
    torch.manual_seed(k)
    search = peer(left, right, torch.zeros(2, a.params["layer1.weight"].shape[2]))
    _, *their_time = timed(search.rebasin)
    theirs = float(inner_product(a, Ensemble.from_modules([right]))[0])
    x = torch.randn(64, a.params["layer1.weight"].shape[2])
    with torch.no_grad():
        changed = float((right(x) - b.module(0)(x)).abs().max())
    return {
        "ours": float(ours.objective[0]),
        "theirs": theirs,
        "seconds": our_time[0],
        "their_seconds": their_time[0],
        "processor": our_time[1],
        "their_processor": their_time[1],
        "their_function_change": changed,
    }


def summary(rows: list[dict[str, float]]) -> dict:
    def middle(key: str) -> float:
        return round(statistics.median(row[key] for row in rows), 3)

    gaps = [row["ours"] - row["theirs"] for row in rows]
    ratios = [row["their_processor"] / row["processor"] for row in rows]
    return {
        "pairs": len(rows),
        "below": sum(gap < 0 for gap in gaps),
        "smallest_gap": round(min(gaps), 3),
        "median_ours": middle("ours"),
        "median_theirs": middle("theirs"),
        "median_seconds": [middle("seconds"), middle("their_seconds")],
        "median_processor_seconds": [middle("processor"), middle("their_processor")],
        "processor_ratio_least_median": [round(min(ratios), 2), round(statistics.median(ratios), 2)],
        "faster_on": sum(ratio > 1 for ratio in ratios),
        "their_function_change": max(row["their_function_change"] for row in rows),
    }


def planted(trials: int) -> list[dict]:
    """A fresh random network per trial, a fresh permutation per network, all methods on the same."""
    models = {f"mlp, {h} hidden": mlp([64, *[128] * h, 10]) for h in (1, 2, 3, 4)}
    models |= {"VGG16": vgg16(), "ResNet-18": resnet18()}
    found = []
    for name, model in models.items():
        exact = dict.fromkeys(METHODS, 0)
        start = time.process_time()
        for t in range(trials):
            one = recovery(drawn(model, 1, seed=t), trials=1, seed=t)
            for method, right in zip(one.methods, one.exact[:, 0, 0], strict=True):
                exact[method] += int(right)
        found.append({"model": name, "trials": trials, "exact": exact})
        found[-1]["processor_seconds"] = round(time.process_time() - start, 1)
        print(json.dumps(found[-1]), flush=True)
    return found


class Stream(nn.Module):
    """A residual stream that nothing but its biases ties to inputs and outputs.

    After the example of a user in issue 8 of samuela/git-re-basin, who counts 10 of 100 at these sizes and 80
    of 100 at 3 and 5: two blocks of 50 hidden units on a stream of 30, normal weights and biases, the ends of
    the stream permuted too, ones before and after it.
    """

    def __init__(self, stream: int = 30, hidden: int = 50) -> None:
        super().__init__()
        self.before = nn.Linear(stream, stream, bias=False)
        self.fc1, self.fc3 = nn.Linear(stream, hidden), nn.Linear(stream, hidden)
        self.fc2, self.fc4 = nn.Linear(hidden, stream), nn.Linear(hidden, stream)
        self.after = nn.Linear(stream, stream, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.before(x)
        x = x + self.fc2(self.fc1(x).relu())
        return self.after(x + self.fc4(self.fc3(x).relu()))

    def hidden_units(self) -> Description:
        stream = self.fc2.out_features
        opening = (Axis("before.weight", 0),)
        writes = tuple(Axis(f"fc{k}.{part}", 0) for k in (2, 4) for part in ("weight", "bias"))
        reads = (Axis("fc1.weight", 1), Axis("fc3.weight", 1), Axis("after.weight", 1))
        sets = [Units("stream", stream, (*opening, *writes), reads, opening, kind="homogeneous")]
        for k in (1, 3):
            own = (Axis(f"fc{k}.weight", 0), Axis(f"fc{k}.bias", 0))
            sets.append(
                Units(
                    f"fc{k}",
                    self.fc1.out_features,
                    own,
                    (Axis(f"fc{k + 1}.weight", 1),),
                    own,
                    kind="homogeneous",
                )
            )
        return Description(tuple(sets), ("after.weight",))


def normal(model: nn.Module) -> None:
    for name, parameter in model.named_parameters():
        nn.init.ones_(parameter) if name in ("before.weight", "after.weight") else nn.init.normal_(parameter)


def stream(trials: int) -> list[dict]:
    methods = METHODS | {
        f"descent, random order, {k} restarts": {"start": "identity", "sequence": "random", "restarts": k}
        for k in (10, 50)
    }
    found = []
    for sizes in ((3, 5), (30, 50)):
        model = Stream(*sizes)
        exact = dict.fromkeys(methods, 0)
        for t in range(trials):
            params, _ = initialise(model, torch.Generator().manual_seed(t), normal)
            one = Ensemble(model, {name: value[None] for name, value in params.items()})
            result = recovery(one, trials=1, seed=t, methods=methods)
            for method, right in zip(result.methods, result.exact[:, 0, 0], strict=True):
                exact[method] += int(right)
        found.append({"stream, hidden": sizes, "trials": trials, "exact": exact})
        print(json.dumps(found[-1]), flush=True)
    return found


def noise(trials: int) -> list[dict]:
    levels = [0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]
    digits, found = load("digits").flat(), []
    for hidden in (1, 3):
        model = mlp([64, *[64] * hidden, 10])
        trained = train(model, digits, replicas=10, epochs=30, device="cpu")
        for label, ensemble in (("random", drawn(model, 10)), ("trained on digits", trained)):
            result = recovery(ensemble, noise=levels, trials=trials)
            found.append(
                {
                    "networks": label,
                    "hidden_layers": hidden,
                    "noise": levels,
                    "exact": dict(zip(result.methods, result.exact.mean(-1).tolist(), strict=True)),
                    "right": dict(zip(result.methods, result.right.mean(-1).round(3).tolist(), strict=True)),
                }
            )
            print(json.dumps(found[-1]), flush=True)
    return found


def many(replicas: int) -> list[dict]:
    ensemble = drawn(mlp([784, 1024, 10]), replicas)
    aligned, wall, processor = timed(lambda: align(ensemble, 0))
    row = {
        "networks": f"{replicas} of 784-1024-10, random",
        "seconds": round(wall, 1),
        "processor_seconds": round(processor, 1),
        "mean_distance_before": float(aligned.before[1:].mean()),
        "mean_distance_after": float(aligned.distances[1:].mean()),
        "largest_growth": float(np.max(aligned.distances - aligned.before)),
    }
    print(json.dumps(row), flush=True)
    return [row]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["peer", "planted", "stream", "noise", "many"])
    parser.add_argument("--peer", help=f"folder that rebasin {VERSION} is installed in")
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--replicas", type=int, default=200)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.what == "peer":
        if not given.peer:
            parser.error("peer needs --peer FOLDER")
        rows = against_peer(given.peer, given.pairs)
        return int(any(row["below"] or row["faster_on"] < row["pairs"] for row in rows))
    if given.what == "many":
        many(given.replicas)
    else:
        {"planted": planted, "stream": stream, "noise": noise}[given.what](given.trials)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
