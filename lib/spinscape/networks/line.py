"""Losses of a network at many points of a line, in blocks that stay in a core's own cache.

A few points and a block of samples go through all layers together (`chain`).
For a small network on a CPU that takes about two thirds of the time of the general route (`forward`).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from spinscape.networks.chain import Scores, block, is_chain, layers, outputs
from spinscape.networks.evaluation import BLOCK
from spinscape.networks.forward import ONEDNN_PRODUCTS
from spinscape.networks.losses import PerSample
from spinscape.networks.mixture import Mixture

Tensors = dict[str, Tensor]


def is_lean(model: nn.Module, params: Tensors, samples: int) -> bool:
    """Tell whether a model with a `Mixture` in front is a chain that :class:`Line` knows, on a CPU.

    Layers large enough for oneDNN are left to the general route.

    Parameters
    ----------
    model
        As :func:`spinscape.networks.mixture.split` returns it.
    params
        Parameters of one setting by name, without a leading axis.
    samples
        The number of samples.
    """
    modules = list(model.children())
    linear = [module for module in modules if type(module) is nn.Linear]
    largest = max((module.weight.numel() for module in linear), default=0)
    cpu = all(p.device.type == "cpu" for p in params.values())
    small = largest * min(BLOCK, samples) < ONEDNN_PRODUCTS
    return bool(linear) and is_chain(modules[1:]) and cpu and small


class Line:
    """Loss and accuracy at the K points of lines that share their second direction.

    Parameters
    ----------
    model
        A model for which :func:`is_lean` holds.
    second
        What the `Mixture` adds with weights, features first, ``(F, N)``.
    y
        Labels or targets ``(N, ...)``.
    loss, accuracy
        As in :func:`spinscape.networks.evaluation.evaluate`.
    chunk
        Points at once; by default what fits the cache. It never changes the result.
    """

    def __init__(
        self,
        model: nn.Module,
        second: Tensor,
        y: Tensor,
        *,
        loss: str | PerSample = "cross_entropy",
        chunk: int | None = None,
        accuracy: bool = False,
    ) -> None:
        self.model, self.chunk = model, chunk
        classes = [m for m in model.children() if isinstance(m, nn.Linear)][-1].out_features
        self.scores = Scores(y, classes, loss, accuracy=accuracy)
        starts = range(0, len(y), BLOCK)
        self.blocks = [(block(second, start, BLOCK), y[start : start + BLOCK]) for start in starts]

    @torch.no_grad()
    def __call__(self, params: Tensors, first: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Evaluate one line.

        Parameters
        ----------
        params
            Parameters ``(K, ...)`` by name, those of the `Mixture` ``(K, 1)``.
        first
            What the `Mixture` starts from, ``(F, N)``.

        Returns
        -------
        loss, accuracy
            Mean loss and share of correct answers (NaN where not asked for, of targets, and where the loss is
            NaN), float64 ``(K,)``.
        """
        chain = layers(self.model.named_children(), params)
        factors = next(
            params[f"{name}.weight"] for name, m in self.model.named_children() if isinstance(m, Mixture)
        )[..., None]
        total = torch.zeros(len(factors), dtype=torch.float64)
        hits = torch.zeros(len(factors), dtype=torch.int64)
        for i, (second, y) in enumerate(self.blocks):
            start = block(first, i * BLOCK, BLOCK)

            def begin(part: slice, h: Tensor, start: Tensor = start, second: Tensor = second) -> None:
                torch.addcmul(start, factors[part], second, out=h)

            found = outputs(chain, begin, len(start), len(factors), start, size=self.chunk)
            losses, right = self.scores(found, y)
            total += losses
            hits += right
        means, share = self.scores.means(total, hits)
        return means.numpy(), share.numpy()
