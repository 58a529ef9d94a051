"""The main observables of one data set, each with one value per network.

Liao et al. 2024 show MNIST and say that their results on other data sets are similar (A.4.3).
This measures on any data set, with a few small networks, what they look at: the loss along random walks
(Figure 2), on lines to copies with swapped units (Figure 3), the distances between solutions (Figure 4), and
what a small batch gains over a large one (Table A3).
"""

from __future__ import annotations

from dataclasses import dataclass

import diptest
import numpy as np
from numpy.typing import NDArray

from spinscape.landscape import growth
from spinscape.landscape.pairs import Pairs
from spinscape.landscape.swap_lines import barrier, swap_lines
from spinscape.landscape.symmetry.checks import at_least, whole_numbers
from spinscape.landscape.walks import random_walks
from spinscape.networks.datasets import Dataset
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.evaluation import evaluate
from spinscape.networks.models import mlp
from spinscape.networks.training import train

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Trained:
    """How R networks were trained with one size of batch, and how far they came.

    Attributes
    ----------
    batch_size
        Samples per step.
    epochs
        Epochs each network trained for, ``(R,)``.
    loss
        Training loss of the last epoch, running mean, in nats, ``(R,)``.
    train_accuracy, test_accuracy
        Shares of correct answers of the final weights, ``(R,)``.
    """

    batch_size: int
    epochs: NDArray[np.int64]
    loss: Floats
    train_accuracy: Floats
    test_accuracy: Floats


@dataclass(frozen=True)
class Observables:
    """What was measured on one data set, with R networks of one hidden layer.

    Attributes
    ----------
    name
        The data set.
    hidden
        Hidden units.
    sigma
        Step size of the walks.
    rise
        Training loss along the walk minus that at its start, mean over walks, in nats, ``(R, T)`` for steps
        1 to T.
    growth
        Power of the number of steps with which `rise` grows over the whole walk, ``(R,)``; NaN where it is
        not positive throughout.
    initial, final
        Slopes at the start of the walk and in its last quarter over that of the steepest quarter, ``(R,)``: 1
        on a straight line, 0 in a flat region and on a plateau.
    swaps
        Numbers S of swapped pairs, ``(S,)``, increasing.
    barrier
        Height of the training loss on the line to a copy with swapped units above its ends, mean over copies,
        in nats, ``(R, S)``.
    distances
        Distances of all pairs of networks as they are, i < j, ``(R (R - 1) / 2,)``.
    distance
        Mean distance of each network from the others, ``(R,)``.
    spread
        Standard deviation of these distances over their mean, ``(R,)``.
    dip
        Hartigan's dip of all distances.
    dip_pvalue
        That of a uniform sample of as many independent values. Distances that share a network are not
        independent, so it is no more than a first look.
    small, large
        The networks, trained with small batches, and others from the same initial weights with large ones.
        All that is above is measured on the former.
    """

    name: str
    hidden: int
    sigma: float
    rise: Floats
    growth: Floats
    initial: Floats
    final: Floats
    swaps: NDArray[np.int64]
    barrier: Floats
    distances: Floats
    distance: Floats
    spread: Floats
    dip: float
    dip_pvalue: float
    small: Trained
    large: Trained

    @property
    def replicas(self) -> int:
        """Number R of networks."""
        return len(self.distance)

    @property
    def swap_ratio(self) -> Floats:
        """Barrier of the most swaps over that of the fewest, ``(R,)``; above 1 where it grows with swaps."""
        return self.barrier[:, -1] / self.barrier[:, 0]

    @property
    def swap_exponent(self) -> Floats:
        """Power of the number of swaps with which the barrier grows from the fewest to the most, ``(R,)``."""
        return np.log(self.swap_ratio) / np.log(self.swaps[-1] / self.swaps[0])

    @property
    def batch_gain(self) -> Floats:
        """Test accuracy with small batches minus that with large ones from the same start, ``(R,)``."""
        return self.small.test_accuracy - self.large.test_accuracy

    @property
    def rows(self) -> dict[str, Floats]:
        """Every observable that is one number per network, by a name to print, ``(R,)`` each."""
        return {
            "power of the rise": self.growth,
            "initial slope": self.initial,
            "final slope": self.final,
            "rise at the end": self.rise[:, -1],
            "barrier": self.barrier[:, -1],
            "barrier ratio": self.swap_ratio,
            "distance": self.distance,
            "relative spread": self.spread,
            "test accuracy": self.small.test_accuracy,
            "batch gain": self.batch_gain,
        }


def observables(
    data: Dataset,
    *,
    hidden: int = 64,
    networks: int = 8,
    epochs: int = 300,
    images: int = 2000,
    target_loss: float = 0.02,
    small_batch: int | None = None,
    large_batch: int | None = None,
    learning_rate: float = 1e-3,
    optimiser: str = "adam",
    sigma: float = 0.05,
    steps: int = 32,
    walks: int = 4,
    swaps: tuple[int, ...] = (1, 4, 16),
    trials: int = 10,
    points: int = 25,
    seed: int = 0,
    device: str = "auto",
) -> Observables:
    """Train a few networks on a data set, twice, and measure what the source looks at.

    Parameters
    ----------
    data
        Any data set with classes.
    hidden
        Hidden units of the networks, ReLU.
    networks
        Number R of networks, at least 4; network r is the same whatever R.
    epochs
        Passes over the images, at most.
    images
        Training images, drawn once for all networks; at most all of them.
    target_loss
        Training loss (running mean of an epoch) at which a network stops, so that both sizes of batch fit the
        images alike; the source trains to 99.99% correct answers.
    small_batch, large_batch
        Sizes of batch; by default 1/120 and 1/10 of the images, at least 8. The source has 256 and 10% of
        60,000.
    learning_rate, optimiser
        As in :func:`spinscape.networks.training.train`.
    sigma, steps, walks
        As in :func:`spinscape.landscape.walks.random_walks`; at least 8 steps.
    swaps, trials, points
        As in :func:`spinscape.landscape.swap_lines.swap_lines`; two numbers of swaps or more, from 1 on.
    seed
        Seed of images, networks, walks and swaps.
    device
        ``"auto"`` (CUDA, else MPS, else CPU) or a device.

    Returns
    -------
    Observables

    Raises
    ------
    ValueError
        If the data set is a regression, or an argument is out of range.

    Examples
    --------
    >>> from spinscape.networks.datasets import load
    >>> found = observables(load("digits"), hidden=16, networks=4, epochs=2, steps=8)
    >>> found.rise.shape, found.barrier.shape, found.distances.shape, found.batch_gain.shape
    ((4, 8), (4, 3), (6,), (4,))
    """
    if data.task != "classification":
        raise ValueError(f"{data.name} has no classes")
    networks, images = at_least("networks", networks, 4), at_least("images", images, 10)
    counts = sorted(set(whole_numbers("swaps", swaps, 1)))
    if len(counts) < 2:
        raise ValueError(f"swaps must be at least two different numbers, not {counts}")
    if at_least("steps", steps, 1) < 8:
        raise ValueError(f"steps must be at least 8, not {steps}")
    data = data.flat().shortened(images, seed)
    images = len(data.x_train)
    sizes = (small_batch or max(8, images // 120), large_batch or max(8, images // 10))
    if sizes[0] >= sizes[1]:
        raise ValueError(f"small_batch must be below large_batch, not {sizes[0]} and {sizes[1]}")
    trained = []
    for size in sizes:
        nets = train(
            mlp([data.features, hidden, data.targets]),
            data,
            replicas=networks,
            optimiser=optimiser,
            learning_rate=learning_rate,
            batch_size=size,
            epochs=epochs,
            target_loss=target_loss,
            seed=seed,
            device=device,
            evaluate_test=False,
        )
        trained.append((nets, _trained(nets, data, size)))
    (nets, small), (_, large) = trained
    walk = random_walks(
        nets, {"train": (data.x_train, data.y_train)}, sigmas=[sigma], steps=steps, walks=walks, seed=seed
    )
    loss = walk.loss["train"]["cross_entropy"][0].mean(1)
    rise = loss[:, 1:] - loss[:, :1]
    slopes = growth.shape(loss)
    lines = swap_lines(
        nets, data.x_train, data.y_train, swaps=counts, trials=trials, points=points, seed=seed
    )
    pairs = Pairs.from_vectors(nets.flat().double().cpu().numpy())
    others = pairs.distances[~np.eye(networks, dtype=bool)].reshape(networks, networks - 1)
    dip, pvalue = diptest.diptest(pairs.upper_distances)
    return Observables(
        name=data.name,
        hidden=hidden,
        sigma=sigma,
        rise=rise,
        growth=growth.exponent(np.arange(1, steps + 1), rise, start=0),
        initial=slopes.initial,
        final=slopes.final,
        swaps=lines.swaps,
        barrier=barrier(lines).mean(-1),
        distances=pairs.upper_distances,
        distance=others.mean(1),
        spread=others.std(1, ddof=1) / others.mean(1),
        dip=float(dip),
        dip_pvalue=float(pvalue),
        small=small,
        large=large,
    )


def _trained(nets: Ensemble, data: Dataset, batch_size: int) -> Trained:
    assert nets.history is not None
    return Trained(
        batch_size=batch_size,
        epochs=nets.history.epochs_run,
        loss=nets.history.final("train_loss"),
        train_accuracy=evaluate(nets, data.x_train, data.y_train).accuracy,
        test_accuracy=evaluate(nets, data.x_test, data.y_test).accuracy,
    )
