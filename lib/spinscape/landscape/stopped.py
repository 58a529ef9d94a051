"""Test errors of plain training at a given training loss, to compare other algorithms with at equal loss.

Training stops at the end of an epoch, so networks end below the loss that was asked for, by a factor that
differs between networks; two stops, at the loss and above it, bracket it, and errors are interpolated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from spinscape.networks.datasets import Dataset
from spinscape.networks.evaluation import evaluate
from spinscape.networks.training import train

Floats = NDArray[np.float64]

BEYOND = 0.25
"""How far outside of the two stops a level may lie, in units of their distance in log loss."""


@dataclass(frozen=True)
class Stopped:
    """Networks that stopped at two losses.

    Attributes
    ----------
    level
        Training loss that is looked at, in nats.
    loss, error
        Training loss and share of wrong answers on the test samples at the two stops, shape (2, R).
    at_level
        The share of wrong answers at `level`, shape (R,); NaN where the two stops do not bracket it.
    """

    level: float
    loss: Floats
    error: Floats
    at_level: Floats


def error_at_loss(
    model: nn.Module, dataset: Dataset, level: float, *, above: float = 2.5, **options: Any
) -> Stopped:
    """Train networks to a loss and to a larger one, and interpolate the test error between them.

    Parameters
    ----------
    model, dataset
        As in :func:`spinscape.networks.training.train`.
    level
        Training loss in nats, positive.
    above
        The larger loss over the smaller one, above 1.
    **options
        Those of `train`, `target_loss` apart; the same for both stops.

    Raises
    ------
    ValueError
        If `level` or `above` is out of range, or `target_loss` is given.
    """
    if not (0 < level < np.inf and 1 < above < np.inf):
        raise ValueError(f"level must be positive and above larger than 1, not {level} and {above}")
    if "target_loss" in options:
        raise ValueError("target_loss follows from level")
    losses, errors = [], []
    for target in (level, above * level):
        nets = train(model, dataset, target_loss=target, **options)
        losses.append(np.asarray(evaluate(nets, dataset.x_train, dataset.y_train).loss, float))
        errors.append(1 - np.asarray(evaluate(nets, dataset.x_test, dataset.y_test).accuracy, float))
    loss, error = np.stack(losses), np.stack(errors)
    return Stopped(level, loss, error, interpolate(np.log(loss), error, float(np.log(level))))


def interpolate(at: Floats, values: Floats, where: float) -> Floats:
    """Return values (2, R) at abscissas `at` (2, R) where the line through both has the abscissa `where`.

    NaN where that is further outside than `BEYOND` of the distance, or there is none.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        share = (where - at[0]) / (at[1] - at[0])
    inside = (share >= -BEYOND) & (share <= 1 + BEYOND)
    return np.where(inside, values[0] + share * (values[1] - values[0]), np.nan)
