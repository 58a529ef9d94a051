"""Hessian products of any model: the gradient is recorded once and differentiated for every vector."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from spinscape.networks.forward import Forward
from spinscape.networks.losses import PerSample

Tensors = dict[str, Tensor]


class GraphProducts:
    """Hessian products of R networks on some samples.

    Parameters
    ----------
    model
        Any model, as it is in use.
    params, buffers
        ``(R, ...)`` by name.
    x, y
        Inputs ``(B, ...)`` and labels or targets ``(B, ...)``.
    loss
        As `losses.resolve_loss` returns it.
    total
        Samples that the mean loss is over.
    """

    @torch.enable_grad()
    def __init__(
        self,
        model: nn.Module,
        params: Tensors,
        buffers: Tensors,
        x: Tensor,
        y: Tensor,
        loss: PerSample,
        total: int,
    ) -> None:
        self.leaves = {name: value.detach().clone().requires_grad_() for name, value in params.items()}
        forward = Forward(model, params, buffers, x[:2], training=False)
        outputs = forward(self.leaves, buffers, x, shared=True)
        values = loss(outputs, y.expand(len(outputs), *y.shape)).sum() / total
        self.slopes = torch.autograd.grad(
            values, list(self.leaves.values()), create_graph=True, materialize_grads=True
        )

    def __call__(self, v: Tensors) -> Tensors:
        """Return products with k vectors for each network, ``(R, k, ...)`` by name."""
        names = list(self.leaves)
        bent = [i for i, slope in enumerate(self.slopes) if slope.requires_grad]
        found = []
        for k in range(v[names[0]].shape[1]):
            found.append(
                torch.autograd.grad(
                    [self.slopes[i] for i in bent],
                    list(self.leaves.values()),
                    [v[names[i]][:, k] for i in bent],
                    retain_graph=True,
                    materialize_grads=True,
                )
            )
        return {name: torch.stack([one[i] for one in found], 1) for i, name in enumerate(names)}

    def gradient(self) -> Tensors:
        """Return the gradient of the mean loss, as far as these samples contribute, ``(R, ...)`` by name."""
        return {name: slope.detach() for name, slope in zip(self.leaves, self.slopes, strict=True)}


def saved_bytes(
    model: nn.Module, params: Tensors, buffers: Tensors, x: Tensor, y: Tensor, loss: PerSample
) -> float:
    """Return the bytes per sample and network that a recorded gradient keeps, from a few samples."""
    seen: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    one = ({n: p[:1] for n, p in params.items()}, {n: b[:1] for n, b in buffers.items()})
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        GraphProducts(model, *one, x[:8], y[:8], loss, len(x))
    own = sum(p[0].numel() * p.element_size() for p in params.values())
    return max(sum(seen.values()) - own, 1.0) / len(x[:8])
