"""Mean loss and its gradient at many settings of the parameters, each given as one row."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from spinscape.networks.device import chunk_size, keep_heap
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.forward import Forward, is_stackable
from spinscape.networks.losses import PerSample, resolve_loss, row_means

BLOCK = 1024
"""Samples that go through at once."""

ROWS_HELD = 8
"""Rows of the size of the parameters that a chain holds: where it is, where it goes, slopes, momenta."""


class Potential:
    """Mean loss over fixed samples, in evaluation mode.

    Parameters
    ----------
    ensemble
        R networks, which buffers are taken from.
    x, y
        Inputs ``(N, ...)`` and labels or targets, on the networks' device.
    loss
        As in :func:`spinscape.networks.evaluation.evaluate`.
    """

    def __init__(self, ensemble: Ensemble, x: Tensor, y: Tensor, loss: str | PerSample) -> None:
        keep_heap()
        self.ensemble, self.x, self.y = ensemble, x, y
        self.loss = resolve_loss(loss)
        norms = any(isinstance(module, _BatchNorm) for module in ensemble.model.modules())
        # Without batch norms a stackable model does the same in training, where large products are faster.
        fast = is_stackable(ensemble.model) and not norms
        self.forward = Forward(ensemble.model, ensemble.params, ensemble.buffers, x[:BLOCK], training=fast)
        self.shapes = {name: value.shape[1:] for name, value in ensemble.params.items()}
        self.sizes = [shape.numel() for shape in self.shapes.values()]

    @property
    def count(self) -> int:
        """The number of parameters."""
        return sum(self.sizes)

    def rows_at_once(self, rows: int) -> int:
        """Return how many rows are worked on at once."""
        widest = sum(shape[0] for shape in self.shapes.values() if len(shape) > 1)
        item = self.ensemble.dtype.itemsize
        each = item * (ROWS_HELD * self.count + 4 * widest * min(BLOCK, len(self.x)))
        return chunk_size(each, self.ensemble.device, rows)

    def __call__(self, rows: Tensor, networks: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean losses, float64 ``(C,)`` on the CPU, and their gradients ``(C, D)``.

        Parameters
        ----------
        rows
            Parameters ``(C, D)`` in the order of :meth:`Ensemble.flat`.
        networks
            Whose buffers each row has, ``(C,)``.
        """
        leaf = rows.detach().requires_grad_()
        buffers = {name: value[networks] for name, value in self.ensemble.buffers.items()}
        slope = torch.zeros_like(rows)
        values = []
        for part in self._blocks():
            with torch.enable_grad():
                pieces = leaf.split(self.sizes, dim=1)
                params = {
                    name: piece.reshape(len(rows), *shape)
                    for (name, shape), piece in zip(self.shapes.items(), pieces, strict=True)
                }
                outputs = self.forward(params, buffers, self.x[part], shared=True)
                y = self.y[part]
                losses = self.loss(outputs, y.expand(len(rows), *y.shape))
                slope += torch.autograd.grad(losses.sum(), leaf)[0]
            values.append(losses.detach())
        return row_means(torch.cat(values, dim=1)), slope.div_(len(self.x))

    def _blocks(self) -> Iterator[slice]:
        for start in range(0, len(self.x), BLOCK):
            yield slice(start, min(start + BLOCK, len(self.x)))
