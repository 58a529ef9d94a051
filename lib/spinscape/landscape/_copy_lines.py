"""Losses on the lines from one network of any depth to its permuted copies, by the general evaluator.

Where the first layer is linear, its outputs at the copy are those of the network in another order, and along
the line they lie between the two: they are computed once, whatever the number of copies and points.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spinscape.networks.ensemble import Ensemble
from spinscape.networks.evaluation import evaluate
from spinscape.networks.forward import is_stackable
from spinscape.networks.line import Line, is_lean
from spinscape.networks.losses import PerSample
from spinscape.networks.mixture import first_outputs, split
from spinscape.networks.units import Description

Floats = NDArray[np.float64]
Tensors = dict[str, Tensor]

PIECE_BYTES = 64 * 2**20
"""Parameters of points of a line that are written out at once."""


class CopyLines:
    """Losses of one network on the lines to its permuted copies.

    Parameters
    ----------
    network
        An ensemble of one.
    description
        Its hidden units.
    x, y
        Inputs ``(N, ...)`` of the network's type and labels or targets ``(N, ...)``, on its device.
    alphas
        Points of a line, ``(A,)``.
    loss
        As in :func:`spinscape.networks.evaluation.evaluate`.
    """

    def __init__(
        self,
        network: Ensemble,
        description: Description,
        x: Tensor,
        y: Tensor,
        alphas: Floats,
        *,
        loss: str | PerSample = "cross_entropy",
    ) -> None:
        self.network, self.x, self.y, self.loss = network, x, y, loss
        size = sum(p.numel() * p.element_size() for p in network.params.values())
        along = torch.from_numpy(alphas).to(network.device, network.dtype)
        self.pieces = along.split(max(1, PIECE_BYTES // size))
        parts = split(network.model) if is_stackable(network.model) else None
        self.model = parts[2] if parts else network.model
        self.lean = False
        if parts:
            before, self.first, model = parts
            one = {name: p[0] for name, p in network.params.items()}
            self.start = first_outputs(before, self.first, [one], x)[0]
            self.units = next(
                (u.name for u in description.units if f"{self.first}.weight" in [a.name for a in u.incoming]),
                None,
            )
            self.lean = is_lean(model, one, len(x))
        self.parts = parts is not None

    def __call__(self, copy: Ensemble, permutations: Mapping[str, Tensor]) -> tuple[Floats, Floats]:
        """Return loss and accuracy ``(A,)`` on the line to a copy, which these permutations made."""
        own: set[str] = set()
        seen, line = self.x, None
        if self.parts:
            own = {f"{self.first}.weight", f"{self.first}.bias"}
            away = torch.zeros_like(self.start)
            if self.units is not None:
                away = self.start[permutations[self.units].to(self.start.device)] - self.start
            if self.lean:
                line = Line(self.model, away, self.y, loss=self.loss, accuracy=True)
            else:
                seen = torch.stack([self.start, away]).permute(2, 0, 1)
        values, shares = [], []
        for weights in self.pieces:
            params, buffers = (
                {name: between(p, q[name], weights) for name, p in these.items() if name not in own}
                for these, q in (
                    (self.network.params, copy.params),
                    (self.network.buffers, copy.buffers),
                )
            )
            if self.parts:
                params = {f"{self.first}.weight": weights[:, None], **params}
            if line is not None:
                loss, share = line(params, self.start)
            else:
                found = evaluate(Ensemble(self.model, params, buffers), seen, self.y, loss=self.loss)
                assert isinstance(found.loss, np.ndarray)
                loss, share = found.loss, found.accuracy
            values.append(loss)
            shares.append(share)
        return np.concatenate(values), np.concatenate(shares)


def between(first: Tensor, second: Tensor, weights: Tensor) -> Tensor:
    """Return ``(1 - w) first + w second`` for each weight, ``(A, ...)``; counts stay those of the first."""
    if not first.is_floating_point():
        return first.expand(len(weights), *first.shape[1:])
    return torch.lerp(first, second, weights.reshape(-1, *[1] * (first.ndim - 1)))
