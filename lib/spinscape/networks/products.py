"""Products of float32 matrices on a CPU, by the faster of two libraries.

``bmm`` takes the kernels of the BLAS library that torch was built with, which on some processors do not use
all of their vector width; oneDNN does.
On one Zen 5 core, for 30 networks with 784 inputs, 256 hidden units and batches of 256, oneDNN reaches
188 GFLOP/s where ``bmm`` reaches 83; for products below about 2 million multiplications its overhead per call
makes it the slower one.
The choice depends on the shape of one network's product alone, so that with one thread a network has the same
bits beside any number of others.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["TRAINED_PRODUCTS", "linear", "product", "usable", "worth"]

TRAINED_PRODUCTS = 3_000_000
"""Multiplications in a product of two matrices from which on oneDNN is the faster library."""

_LINEAR = getattr(getattr(getattr(torch.ops, "mkldnn", None), "_linear_pointwise", None), "default", None)


def usable(*tensors: Tensor) -> bool:
    """Tell whether oneDNN is there and all tensors are float32 on the CPU."""
    return (
        _LINEAR is not None
        and bool(torch.backends.mkldnn.enabled)
        and all(tensor.device.type == "cpu" and tensor.dtype == torch.float32 for tensor in tensors)
    )


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return ``x @ weight.T + bias`` by oneDNN, ``(n, k)`` by ``(m, k)``; no gradients."""
    assert _LINEAR is not None
    result: Tensor = _LINEAR(x, weight, bias, "none", [], "")
    return result


def product(a: Tensor, b: Tensor) -> Tensor:
    """Return ``a @ b`` for every network, with gradients of every order by autograd.

    Not under ``torch.func``, whose transforms refuse it where oneDNN is taken.

    Parameters
    ----------
    a, b
        ``(R, m, k)`` and ``(R, k, n)``.

    Returns
    -------
    Tensor
        ``(R, m, n)``: by oneDNN, one network after the other, where that is faster, else by ``bmm``.
    """
    if not worth(a, b):
        return torch.bmm(a, b)
    result: Tensor = _Product.apply(a, b)
    return result


def worth(a: Tensor, b: Tensor) -> bool:
    """Tell, from the shapes of one network alone, whether oneDNN multiplies ``a @ b`` faster."""
    return a.shape[1] * a.shape[2] * b.shape[2] >= TRAINED_PRODUCTS and usable(a, b)


class _Product(torch.autograd.Function):
    """A product by oneDNN; its gradients are products again, each by the library that its shape asks for."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(a, b)
        result = a.new_empty(len(a), a.shape[1], b.shape[2])
        for out, left, right in zip(result, a, b.mT, strict=True):
            out.copy_(linear(left, right))
        return result

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, Tensor | None]:
        a, b = ctx.saved_tensors
        (slope,) = slopes
        first, second = ctx.needs_input_grad
        return (
            product(slope, b.mT) if first else None,
            product(a.mT, slope) if second else None,
        )
