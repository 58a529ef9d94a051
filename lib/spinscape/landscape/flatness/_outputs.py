"""How the slope of a loss at the outputs changes with the outputs."""

from __future__ import annotations

import torch
from torch import Tensor

from spinscape.networks.losses import PerSample, cross_entropy


class OutputCurvature:
    """First and second derivatives of the mean loss in the outputs of R networks.

    Parameters
    ----------
    loss
        Of outputs ``(R, B, C)`` and ``y`` ``(R, B, ...)``, as `losses.resolve_loss` returns it.
    outputs
        ``(R, C, B)``.
    y
        Labels or targets ``(B, ...)``.
    total
        Samples that the mean is over.

    Attributes
    ----------
    slope
        ``(R, C, B)``.
    """

    def __init__(self, loss: PerSample, outputs: Tensor, y: Tensor, total: int) -> None:
        self.loss, self.outputs, self.y, self.total = loss, outputs.detach(), y, total
        self.shares: Tensor | None = None
        if loss is cross_entropy and y.ndim == 1 and not y.is_floating_point():
            self.shares = self.outputs.softmax(1)
            own = torch.ones_like(self.outputs[:, :1])
            hit = torch.zeros_like(self.outputs).scatter_(1, y.expand(len(own), 1, -1), own)
            self.slope = (self.shares - hit) / total
        else:
            self.slope = self._graph(1)[0].detach()
            self.graphs: dict[int, tuple[Tensor, Tensor]] = {}

    def __call__(self, tangent: Tensor) -> Tensor:
        """Return the change of the slope with the outputs, ``(R, k, C, B)`` for as many changes of these."""
        if self.shares is not None:
            shares = self.shares[:, None]
            moved = shares * tangent
            return moved.addcmul_(shares, moved.sum(2, keepdim=True), value=-1).div_(self.total)
        probes = tangent.shape[1]
        if probes not in self.graphs:
            self.graphs = {probes: self._graph(probes)}
        slope, leaf = self.graphs[probes]
        if not slope.requires_grad:
            return torch.zeros_like(tangent)
        (found,) = torch.autograd.grad(
            slope, leaf, tangent.flatten(0, 1), retain_graph=True, materialize_grads=True
        )
        return found.view_as(tangent)

    @torch.enable_grad()
    def _graph(self, probes: int) -> tuple[Tensor, Tensor]:
        """Return the slopes ``(R k, C, B)`` of every network `probes` times, and the outputs they are of."""
        leaf = self.outputs.repeat_interleave(probes, 0).requires_grad_()
        values = self.loss(leaf.mT, self.y.expand(len(leaf), *self.y.shape))
        (slope,) = torch.autograd.grad(values.sum() / self.total, leaf, create_graph=True)
        return slope, leaf
