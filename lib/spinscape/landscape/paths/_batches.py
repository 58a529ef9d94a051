"""Losses and gradients of networks given as rows of numbers, on batches of training samples."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from spinscape.landscape.paths._pairs import Samples
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.forward import Forward
from spinscape.networks.losses import resolve_loss


class Batches:
    """Loss and gradient of networks on batches: one for each pair and call, the same for all its pivots."""

    def __init__(
        self, samples: Samples, like: Ensemble, batch_size: int, sources: list[torch.Generator]
    ) -> None:
        self.samples, self.like, self.sources = samples, like, sources
        self.loss = resolve_loss(samples.loss)
        self.size = min(batch_size, len(samples.x))
        self.per_epoch = -(-len(samples.x) // self.size)
        self.forward = Forward(like.model, like.params, {}, samples.x[: self.size], training=False)
        self.left: Iterator[Tensor] = iter(())

    def __call__(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return losses ``(N,)`` and gradients ``(N, D)`` of networks as rows of numbers ``(N, D)``."""
        index = self._next()
        each = len(rows) // len(index)
        x, y = (
            value[index][:, None].expand(-1, each, *[-1] * value.ndim).flatten(0, 1)
            for value in (self.samples.x, self.samples.y)
        )
        leaf = rows.detach().requires_grad_()
        outputs = self.forward(networks(self.like, leaf).params, {}, x)
        losses = self.loss(outputs, y).mean(1)
        (slope,) = torch.autograd.grad(losses.sum(), leaf)
        return losses, slope

    def _next(self) -> Tensor:
        """Return the samples of the next batch, ``(P, B)``."""
        index = next(self.left, None)
        if index is None:
            count = len(self.samples.x)
            orders = torch.stack([torch.randperm(count, generator=source) for source in self.sources])
            self.left = iter(orders.to(self.samples.x.device).split(self.size, 1))
            index = next(self.left)
        return index


def networks(like: Ensemble, rows: Tensor) -> Ensemble:
    """Return networks from rows that :func:`spinscape.networks.optimisers.as_rows` has filled up."""
    count = sum(value[0].numel() for value in like.params.values())
    return like[:1].unflatten(rows[:, :count])
