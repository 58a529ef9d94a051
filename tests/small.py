"""Small networks and exact answers that tests of the probes share."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional


def network(seed: int) -> nn.Module:
    """A network of 6, 8 and 3 units with PyTorch's initialisation."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


def dense_hessian(net: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The whole Hessian of the mean cross-entropy, by torch's own reverse-over-reverse."""
    names, values = zip(*net.named_parameters(), strict=True)
    sizes = [v.numel() for v in values]

    def loss(flat: torch.Tensor) -> torch.Tensor:
        parts = flat.split(sizes)
        weights = {n: p.view_as(v) for n, p, v in zip(names, parts, values, strict=True)}
        return functional.cross_entropy(torch.func.functional_call(net, weights, (x,)), y)

    flat = torch.cat([v.detach().flatten() for v in values])
    return torch.autograd.functional.hessian(loss, flat)


def slopes_of(weights: list[np.ndarray], x: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
    """Back-propagation of the mean cross-entropy through one tanh layer, written out."""
    w1, b1, w2, b2 = weights
    h = np.tanh(x @ w1.T + b1)
    z = h @ w2.T + b2
    delta = np.exp(z - z.max(1, keepdims=True))
    delta /= delta.sum(1, keepdims=True)
    delta[np.arange(len(y)), y] -= 1
    delta /= len(y)
    inner = (delta @ w2) * (1 - h**2)
    return [inner.T @ x, inner.sum(0), delta.T @ h, delta.sum(0)]
