"""How the losses of many networks from independent starts spread, and how the spread shrinks with size.

Choromanska et al. (2015, figure 3) train a thousand networks of one hidden layer at each of several widths,
and compare the distributions of their test losses with those of energies that descent reaches in spin
glasses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spinscape.landscape.network_paths import glass_sizes
from spinscape.landscape.steps import SPREAD
from spinscape.networks.datasets import Dataset
from spinscape.networks.evaluation import evaluate
from spinscape.networks.models import check_widths, mlp
from spinscape.networks.training import train

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LossSpread:
    """Losses of R networks at each of S sizes.

    Attributes
    ----------
    hidden
        Hidden units, ``(S,)``.
    parameters
        Weights and biases of a network, ``(S,)``.
    glass_size
        Lambda = Psi^(1/H) of a network, ``(S,)``.
    train_loss, test_loss
        Mean loss per sample of the trained networks, ``(S, R)``; NaN where training diverged.
    train_accuracy, test_accuracy
        ``(S, R)``, likewise; NaN for regression.
    """

    hidden: NDArray[np.int64]
    parameters: NDArray[np.int64]
    glass_size: Floats
    train_loss: Floats
    test_loss: Floats
    train_accuracy: Floats
    test_accuracy: Floats


def loss_spread(
    dataset: Dataset, hidden: Sequence[int], *, networks: int = 100, seed: int = 0, **training: Any
) -> LossSpread:
    """Train many networks of one hidden layer at each size, all of a size at once.

    Parameters
    ----------
    dataset
        Training and test samples.
    hidden
        Hidden units, rising.
    networks
        R, networks at each size, at least 2.
    seed
        Seed; network r of a size does not depend on the other sizes and networks.
    **training
        Options of :func:`spinscape.networks.training.train`, such as ``epochs``.

    Raises
    ------
    ValueError
        If sizes do not rise, there are fewer than two networks, or an option is not known.
    MemoryError
        If the networks of a size do not fit in memory; told before anything is trained.
    """
    widths = np.asarray(hidden)
    if widths.ndim != 1 or not len(widths) or widths.dtype.kind not in "iu" or (np.diff(widths) <= 0).any():
        raise ValueError(f"hidden must be rising numbers of units, not {list(hidden)}")
    if networks < 2:
        raise ValueError(f"at least 2 networks are needed at each size, not {networks}")
    for units in widths.tolist():
        check_widths([dataset.features, units, dataset.targets], networks=networks)
    loss = training.get("loss") or ("cross_entropy" if dataset.task == "classification" else "mse")
    found: dict[str, list[Floats]] = {}
    sizes, parameters = [], []
    for units in widths.tolist():
        layers = [dataset.features, units, dataset.targets]
        own = int(np.random.SeedSequence(seed, spawn_key=(SPREAD, units)).generate_state(1)[0])
        trained = train(mlp(layers), dataset, replicas=networks, seed=own, evaluate_test=False, **training)
        assert trained.history is not None
        sizes.append(glass_sizes(layers).size)
        parameters.append(trained.flat().shape[1])
        for split, x, y in (
            ("train", dataset.x_train, dataset.y_train),
            ("test", dataset.x_test, dataset.y_test),
        ):
            result = evaluate(trained, x, y, loss=loss)
            for name, values in (("loss", result.loss), ("accuracy", result.accuracy)):
                kept = np.where(trained.history.diverged, np.nan, np.asarray(values))
                found.setdefault(f"{split}_{name}", []).append(kept)
    return LossSpread(
        widths.astype(np.int64),
        np.array(parameters),
        np.array(sizes),
        **{name: np.stack(rows) for name, rows in found.items()},
    )
