"""Networks at one training loss, by one number each: the scale of their outputs.

Outputs times a positive number change no answer, but the loss: a network that answers all training samples
can be put at any loss above zero.
So networks whose training ended at different losses can be compared at the same one, with their own answers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from spinscape.networks.ensemble import Ensemble
from spinscape.networks.evaluation import outputs
from spinscape.networks.units import describe

STEPS = 80
"""Halvings of the interval of logarithms."""

LARGEST = 1e6
"""Factors between its inverse and this are tried."""


@dataclass(frozen=True)
class MatchedLoss:
    """R networks at one training loss.

    Attributes
    ----------
    networks
        The same networks with scaled outputs.
    factor
        What outputs were multiplied with, ``(R,)``.
    loss
        Mean cross-entropy over the samples in nats, ``(R,)``.
    """

    networks: Ensemble
    factor: np.ndarray
    loss: np.ndarray


def match_loss(
    ensemble: Ensemble, x: Tensor, y: Tensor, loss: float | None = None, *, strict: bool = True
) -> MatchedLoss:
    """Scale the outputs of networks so that their mean cross-entropy is a given one.

    Parameters
    ----------
    ensemble
        R networks whose last layers are linear.
    x, y
        Inputs ``(N, ...)`` and labels ``(N,)``.
    loss
        The cross-entropy to reach, in nats, below that of equal outputs; by default 1% above the largest of
        the networks' own, at most 99% of that of equal outputs.
    strict
        Whether a network that cannot reach it is an error; else it is put as near as it gets.

    Returns
    -------
    MatchedLoss

    Raises
    ------
    ValueError
        If the loss is not positive or not below that of equal outputs, or a network cannot reach it: some of
        its answers are wrong, and the smallest loss over all factors is larger.
    """
    scores = outputs(ensemble, x).double()
    labels = y.to(scores.device)
    chance = float(np.log(scores.shape[-1]))
    if loss is None:
        own = torch.stack([functional.cross_entropy(row, labels) for row in scores])
        loss = min(1.01 * float(own.max()), 0.99 * chance)
    if not 0 < loss < chance:
        raise ValueError(f"the loss must lie between 0 and {chance:.4g}, that of equal outputs, not {loss}")

    def at(logarithms: Tensor) -> Tensor:
        scaled = scores * logarithms.exp()[:, None, None]
        return torch.stack([functional.cross_entropy(row, labels) for row in scaled])

    # The loss is convex in the factor: the smallest one by the slope's sign, then a crossing below it.
    low = torch.full((len(scores),), -float(np.log(LARGEST)), dtype=torch.float64, device=scores.device)
    best = _minimum(at, low, -low)
    least = at(best)
    if strict and (least > loss).any():
        bad = int((least > loss).nonzero()[0])
        raise ValueError(
            f"network {bad} reaches a loss of {float(least[bad]):.4g} at best by scaling its outputs, "
            f"not {loss:g}"
        )
    left, right = low, best
    for _ in range(STEPS):
        middle = (left + right) / 2
        above = at(middle) > loss
        left, right = torch.where(above, middle, left), torch.where(above, right, middle)
    factor = right.exp()
    params = dict(ensemble.params)
    for name in describe(ensemble.model).outputs:
        shape = (-1, *[1] * (params[name].ndim - 1))
        params[name] = params[name].detach() * factor.to(params[name]).view(shape)
    networks = Ensemble(ensemble.model, params, ensemble.buffers)
    return MatchedLoss(networks, factor.cpu().numpy(), at(right).cpu().numpy())


def _minimum(at: Callable[[Tensor], Tensor], low: Tensor, high: Tensor) -> Tensor:
    """Return where a function with one minimum is smallest, by golden sections."""
    ratio = (5**0.5 - 1) / 2
    for _ in range(STEPS):
        first, second = high - ratio * (high - low), low + ratio * (high - low)
        right = at(first) > at(second)
        low, high = torch.where(right, first, low), torch.where(right, high, second)
    return (low + high) / 2
