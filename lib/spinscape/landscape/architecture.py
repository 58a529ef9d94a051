"""What depth and other choices of architecture do to the landscape: train, look at planes, measure.

All networks of a study are trained alike, from the same seeds, and looked at on the same training samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spinscape.landscape.relief import basin_depth, basin_width, roughness
from spinscape.landscape.surfaces import coordinates, surfaces
from spinscape.networks._group import generator_of
from spinscape.networks.datasets import Dataset
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.evaluation import evaluate
from spinscape.networks.models import (
    ACTIVATIONS,
    check_widths,
    equal_width,
    initialise,
    mlp,
    parameter_count,
)
from spinscape.networks.training import train

Floats = NDArray[np.float64]

LOSSES = ("cross_entropy", "one_hot_mse")
"""What networks of a study can be trained on."""


@dataclass(frozen=True)
class Design:
    """One architecture with its loss.

    Attributes
    ----------
    hidden_layers, width
        Hidden layers and units in each of them.
    activation, batch_norm, skip
        As in :func:`spinscape.networks.models.mlp`.
    loss
        What it is trained on and looked at with: ``"cross_entropy"`` or ``"one_hot_mse"``.

    Raises
    ------
    ValueError
        If a number is no integer of at least 1, a name is not known, or `skip` has no two hidden layers.
    """

    hidden_layers: int
    width: int
    activation: str = "relu"
    loss: str = "cross_entropy"
    batch_norm: bool = False
    skip: bool = False

    def __post_init__(self) -> None:
        for name, value in (("hidden_layers", self.hidden_layers), ("width", self.width)):
            if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{name} must be an integer of at least 1, not {value!r}")
        for what, chosen, known in (
            ("activation", self.activation, sorted(ACTIVATIONS)),
            ("loss", self.loss, list(LOSSES)),
        ):
            if chosen not in known:
                raise ValueError(f"{what} must be one of {known}, not {chosen!r}")
        if self.skip and self.hidden_layers < 2:
            raise ValueError("skip connections stand around hidden layers 2, 3, ...; there is only one")

    def widths(self, dataset: Dataset) -> list[int]:
        """Return the numbers of units from the data set's inputs to its outputs."""
        return [dataset.features, *[self.width] * self.hidden_layers, dataset.targets]


@dataclass(frozen=True)
class Study:
    """What D designs came to, with R networks each and P planes through each network.

    Attributes
    ----------
    designs
        The designs, in the order of the first axis of all arrays.
    parameters
        Number of parameters of one network, ``(D,)``.
    values
        Loss surfaces on the training samples looked at, ``(D, R, P, G, G)``.
    axis
        Their coordinates, ``(G,)``.
    laplacian, relative, uneven, minima
        As in :class:`spinscape.landscape.relief.Roughness`, ``(D, R, P)``.
    width, width_censored
        Radius at which the loss exceeds that of the network by `rise`, and the share of rays that do not get
        there, ``(D, R, P)``.
    half_width, half_width_censored
        The same for half of the rise from the network to the rim, which has no unit; NaN where the rim is not
        above the network.
    depth
        Mean loss on the rim minus the lowest value, ``(D, R, P)``.
    train_loss
        Loss of the trained networks on the training samples looked at, ``(D, R)``.
    test_accuracy, test_loss
        Of the trained networks on the whole test set, ``(D, R)``; NaN where training diverged.
    curve
        Loss on the training samples looked at before training and after each epoch, ``(D, R, E + 1)``.
    curve_steps
        Steps taken by then, ``(E + 1,)``.
    steps
        Steps to the target loss, ``(D, R)``: between ends of epochs the logarithm of the loss is interpolated
        linearly; infinite where the target was not reached.
    diverged
        Whether training diverged, ``(D, R)``.
    rise, target_loss
        The thresholds of `width` and `steps`.
    """

    designs: tuple[Design, ...]
    parameters: NDArray[np.int64]
    values: Floats
    axis: Floats
    laplacian: Floats
    relative: Floats
    uneven: Floats
    minima: Floats
    width: Floats
    width_censored: Floats
    half_width: Floats
    half_width_censored: Floats
    depth: Floats
    train_loss: Floats
    test_accuracy: Floats
    test_loss: Floats
    curve: Floats
    curve_steps: NDArray[np.int64]
    steps: Floats
    diverged: NDArray[np.bool_]
    rise: float
    target_loss: float


def depth_study(
    dataset: Dataset,
    *,
    hidden_layers: Sequence[int] = (1, 5, 10),
    parameters: int = 10_000,
    activation: str = "relu",
    batch_norm: bool = False,
    skip: bool = False,
    **options: Any,
) -> Study:
    """Study networks of several depths at one number of parameters.

    Parameters
    ----------
    dataset
        A classification data set.
    hidden_layers
        Numbers of hidden layers, all of one width within a network.
    parameters
        The budget; the width nearest to it is taken, see `models.equal_width`.
    activation, batch_norm, skip
        As in :func:`spinscape.networks.models.mlp`.
    **options
        As in :func:`study`.

    Returns
    -------
    Study
        One design per number of hidden layers.

    Raises
    ------
    ValueError
        As `study`; with `skip` also if a depth is 1, where there is nothing to skip.
    """
    designs = []
    for count in hidden_layers:
        width = equal_width(dataset.features, dataset.targets, count, parameters, batch_norm=batch_norm)
        designs.append(Design(count, width, activation, batch_norm=batch_norm, skip=skip))
    return study(dataset, designs, **options)


def factorial_study(
    dataset: Dataset,
    *,
    hidden_layers: int = 3,
    width: int = 32,
    activations: Sequence[str] = ("relu", "tanh"),
    losses: Sequence[str] = ("cross_entropy", "one_hot_mse"),
    batch_norms: Sequence[bool] = (False, True),
    skips: Sequence[bool] = (False, True),
    **options: Any,
) -> Study:
    """Study every combination of activation, loss, batch norm and skip connections.

    Parameters
    ----------
    dataset
        A classification data set.
    hidden_layers, width
        The same for all.
    activations, losses, batch_norms, skips
        The levels of the four factors; the last varies fastest.
    **options
        As in :func:`study`.

    Returns
    -------
    Study
        Losses of different kinds have different units: compare `relative`, `uneven`, `minima` and
        `half_width`, which have none.
    """
    levels = product(activations, losses, batch_norms, skips)
    return study(dataset, [Design(hidden_layers, width, *level) for level in levels], **options)


def study(
    dataset: Dataset,
    designs: Sequence[Design],
    *,
    replicas: int = 8,
    epochs: int = 20,
    batch_size: int = 64,
    learning_rate: float = 3e-3,
    optimiser: str = "adam",
    initialisation: str = "glorot",
    planes: int = 2,
    grid: int = 31,
    extent: float = 1.0,
    samples: int | None = None,
    rise: float = 0.5,
    target_loss: float = 0.1,
    seed: int = 0,
    device: str | torch.device = "auto",
) -> Study:
    """Train networks of several designs and measure the planes through them.

    Parameters
    ----------
    dataset
        A classification data set.
    designs
        What to train.
    replicas
        Networks R per design; network r has the same seed in every design.
    epochs, batch_size, learning_rate, optimiser, initialisation
        As in :func:`spinscape.networks.training.train`.
    planes, grid, extent
        As in :func:`spinscape.landscape.surfaces.surfaces`, filter-normalised.
    samples
        Training samples on which loss and surfaces are looked at, drawn once; all by default.
    rise
        Rise of the loss that ends a basin, in the loss's unit.
    target_loss
        Loss to which steps are counted, in the loss's unit.
    seed
        Seed of everything.
    device
        Where to run.

    Returns
    -------
    Study

    Raises
    ------
    ValueError
        If there is no design, the data set is none of classification, or an argument is out of range.
    MemoryError
        If networks or surfaces are too large.

    Notes
    -----
    Designs and planes are checked before anything is trained.
    """
    if not designs:
        raise ValueError("there is no design to study")
    if not all(isinstance(design, Design) for design in designs):
        raise TypeError("designs must be a list of Design")
    if dataset.task != "classification":
        raise ValueError(f"a study needs a classification data set, not {dataset.name}")
    if not (rise > 0 and target_loss > 0):
        raise ValueError(f"rise and target_loss must be positive, not {rise} and {target_loss}")
    for design in designs:
        check_widths(design.widths(dataset), batch_norm=design.batch_norm, networks=replicas)
    coordinates(len(designs) * replicas, planes=planes, grid=grid, extent=extent)
    flat = dataset.flat()
    x, y = (flat.x_train, flat.y_train) if samples is None else flat.subset("train", samples, seed)
    shared: dict[str, Any] = {
        "replicas": replicas, "epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate,
        "optimiser": optimiser, "initialisation": initialisation, "seed": seed, "device": device,
    }  # fmt: skip
    plane = {"planes": planes, "grid": grid, "extent": extent, "seed": seed}
    rows = [_one(flat, design, x, y, shared, plane, rise, target_loss) for design in designs]
    stacked = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    axis, curve_steps = stacked.pop("axis")[0], stacked.pop("curve_steps")[0]
    return Study(
        designs=tuple(designs),
        axis=axis,
        curve_steps=curve_steps,
        rise=float(rise),
        target_loss=float(target_loss),
        **stacked,
    )


def _one(
    flat: Dataset,
    design: Design,
    x: Tensor,
    y: Tensor,
    training: dict[str, Any],
    plane: dict[str, Any],
    rise: float,
    target_loss: float,
) -> dict[str, np.ndarray]:
    """Train and measure one design; arrays by the names of `Study` without the axis of designs."""
    widths = design.widths(flat)
    model = mlp(widths, activation=design.activation, batch_norm=design.batch_norm, skip=design.skip)
    curve = np.full((training["replicas"], training["epochs"] + 1), np.nan)

    def look(epoch: int, numbers: np.ndarray, now: Ensemble) -> None:
        curve[numbers, epoch] = evaluate(now, x, y, loss=design.loss, accuracy=False).loss

    trained = train(model, flat, loss=design.loss, callback=look, **training)
    look(0, np.arange(len(curve)), _start(model, training).to(trained.device))
    history = trained.history
    assert history is not None
    seen = surfaces(trained, x, y, loss=design.loss, **plane)
    steps = np.arange(curve.shape[1]) * -(-len(flat.x_train) // training["batch_size"])
    rough = roughness(seen.values, seen.axis)
    depth = basin_depth(seen.values)
    middle = seen.values[..., len(seen.axis) // 2, len(seen.axis) // 2]
    wide = basin_width(seen.values, seen.axis, rise)
    half = (depth + seen.values.min((-2, -1)) - middle) / 2
    # Where the rim is not above the network there is no half of the rise.
    hollow = half > 0
    half_wide = basin_width(seen.values, seen.axis, np.where(hollow, half, 1.0))
    return {
        "parameters": np.array(parameter_count(widths, batch_norm=design.batch_norm)),
        "values": seen.values, "axis": seen.axis, "laplacian": rough.laplacian, "relative": rough.relative,
        "uneven": rough.uneven, "minima": rough.minima, "width": wide.radius, "width_censored": wide.censored,
        "half_width": np.where(hollow, half_wide.radius, np.nan),
        "half_width_censored": np.where(hollow, half_wide.censored, np.nan),
        "depth": depth, "train_loss": middle[:, 0], "curve": curve, "curve_steps": steps,
        "test_accuracy": history.final("test_accuracy"), "test_loss": history.final("test_loss"),
        "steps": steps_to(curve, steps, target_loss), "diverged": history.diverged,
    }  # fmt: skip


def _start(model: torch.nn.Module, training: dict[str, Any]) -> Ensemble:
    """Return the networks that training starts from."""
    sources = [generator_of(training["seed"], r) for r in range(training["replicas"])]
    drawn = [initialise(model, source, training["initialisation"]) for source in sources]
    params, buffers = (
        {name: torch.stack([pair[k][name] for pair in drawn]) for name in drawn[0][k]} for k in (0, 1)
    )
    return Ensemble(model, params, buffers)


def steps_to(curve: Floats, steps: NDArray[np.int64], target: float) -> Floats:
    """Return the steps at which curves first fall to a target.

    Parameters
    ----------
    curve
        Positive values, ``(..., T)``.
    steps
        When they were taken, ``(T,)``.
    target
        The value to reach.

    Returns
    -------
    ndarray
        ``(...)``, between two values by linear interpolation of their logarithms; infinite where the target
        is not reached.
    """
    values = np.asarray(curve, float)
    there = values <= target
    k = there.argmax(-1)
    late = np.maximum(k, 1)[..., None]
    low, high = (np.take_along_axis(np.log(np.maximum(values, 1e-300)), late - d, -1)[..., 0] for d in (0, 1))
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.clip((high - np.log(target)) / (high - low), 0, 1)
    when = np.asarray(steps, float)
    found = when[late[..., 0] - 1] + share * (when[late[..., 0]] - when[late[..., 0] - 1])
    return np.where(there.any(-1), np.where(k == 0, when[0], found), np.inf)
