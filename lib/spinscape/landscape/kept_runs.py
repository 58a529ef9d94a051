"""A run that is too long for a chapter on a CPU, kept with what made it.

`benchmarks/spikes.py` trained the networks and wrote the file; the chapter on clustering shows it, and says
so.
No verdict rests on it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spinscape.landscape.pairs import Pairs
from spinscape.networks.history import History

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class KeptRun:
    """Networks with one hidden layer on all of MNIST, after some epochs.

    Attributes
    ----------
    width, batch, images
        Hidden units, images in a minibatch, training images.
    learning_rate, epsilon
        Adam's.
    norms, loss
        Norm of all weights after each epoch, and the running training loss of it, ``(E, R)``.
    epochs
        After which overlaps were kept, ``(K,)``.
    overlaps
        Cosines between the weights of all pairs, ``(K, R, R)``.
    quiet
        The first of these networks, from the same weights and with the same batches, trained with an epsilon
        that keeps the steps small where gradients are small; None for that run itself.
    """

    width: int
    batch: int
    images: int
    learning_rate: float
    epsilon: float
    norms: Floats
    loss: Floats
    epochs: NDArray[np.int64]
    overlaps: Floats
    quiet: KeptRun | None = None

    @property
    def replicas(self) -> int:
        """Number R of networks."""
        return self.norms.shape[1]

    @property
    def history(self) -> History:
        """Training losses in the form that :mod:`spinscape.networks.snapshots` takes."""
        empty = History.empty(*self.loss.shape)
        return History(**(empty.arrays() | {"train_loss": self.loss}))

    def pairs(self, epoch: int) -> Pairs:
        """Return the pairs after an epoch.

        Raises
        ------
        ValueError
            If overlaps were not kept then.
        """
        if epoch not in self.epochs:
            raise ValueError(f"overlaps were kept after epochs {self.epochs.tolist()}, not after {epoch}")
        at = int(np.flatnonzero(self.epochs == epoch)[0])
        return Pairs.from_overlaps(self.overlaps[at], self.norms[epoch - 1])


def spikes() -> KeptRun:
    """Return the run of wide networks whose loss has spikes."""
    text = resources.files("spinscape.landscape").joinpath("kept", "spikes.json").read_text()
    kept = json.loads(text)
    return _run(kept, kept["runs"]["usual"], _run(kept, kept["runs"]["quiet"], None))


def _run(kept: dict[str, Any], run: dict[str, Any], quiet: KeptRun | None) -> KeptRun:
    return KeptRun(
        kept["width"],
        kept["batch"],
        kept["images"],
        kept["learning_rate"],
        run["epsilon"],
        np.array(run["norms"], float),
        np.array(run["loss"], float),
        np.array([int(epoch) for epoch in run["overlaps"]]),
        np.array(list(run["overlaps"].values()), float),
        quiet,
    )
