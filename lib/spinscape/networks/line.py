"""Losses of a network at many points of a line, in blocks that stay in a core's own cache.

The general route (`forward`) writes out a layer of all points before it goes on.
Here a few points and a block of samples go through all layers in buffers that are used again and again.
For a small network on a CPU that takes about two thirds of the time.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from spinscape.networks.evaluation import BLOCK
from spinscape.networks.forward import ELEMENTWISE, ONEDNN_PRODUCTS, ROWS, row_step
from spinscape.networks.losses import PerSample, correct, resolve_loss
from spinscape.networks.mixture import Mixture

Tensors = dict[str, Tensor]

LINE_BYTES = 2**19
"""Layers of the points that go through together."""


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
    known = all(type(module) in (nn.Linear, *ELEMENTWISE) for module in modules[1:])
    linear = [module for module in modules if type(module) is nn.Linear]
    largest = max((module.weight.numel() for module in linear), default=0)
    cpu = all(p.device.type == "cpu" for p in params.values())
    return bool(linear) and known and cpu and largest * min(BLOCK, samples) < ONEDNN_PRODUCTS


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
        self.samples = len(y)
        self.labels = accuracy and not y.is_floating_point()
        self.classes = [m for m in model.children() if isinstance(m, nn.Linear)][-1].out_features
        self.loss = resolve_loss(loss)
        plain = loss == "cross_entropy" and y.dtype == torch.int64 and y.ndim == 1
        self.plain = plain and int(y.min()) >= 0 and int(y.max()) < self.classes
        starts = range(0, len(y), BLOCK)
        self.blocks = [(_block(second, start), y[start : start + BLOCK]) for start in starts]

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
        layers = list(_layers(self.model, params))
        factors = next(params[f"{name}.weight"] for name, m in self.model.named_children() if _mixes(m))
        total = torch.zeros(len(factors), dtype=torch.float64)
        hits = torch.zeros(len(factors), dtype=torch.int64)
        for i, (second, y) in enumerate(self.blocks):
            block = _block(first, i * BLOCK)
            outputs = _outputs(layers, factors[..., None], block, second, self.chunk)
            outputs = outputs[:, : self.classes, : len(y)]
            total += self._losses(outputs, y).sum(1, dtype=torch.float64)
            if self.labels:
                hits += correct(outputs.mT, y).sum(1)
        means = total / self.samples
        share = (hits.double() / self.samples).where(self.labels & ~means.isnan(), torch.nan)
        return means.numpy(), share.numpy()

    def _losses(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return losses ``(K, B)`` of outputs ``(K, C, B)``."""
        if not self.plain:
            return self.loss(outputs.mT, y.expand(len(outputs), *y.shape))
        logarithms = outputs.log_softmax(1).flatten(1)
        return logarithms.index_select(1, y * len(y) + torch.arange(len(y))).neg_()


Layer = tuple[nn.Module, Tensor | None, Tensor | None]
"""A module; weights and biases of a linear one, ``(K, m, k)`` and ``(K, m, 1)`` or None."""


def _mixes(module: nn.Module) -> bool:
    return isinstance(module, Mixture)


def _block(values: Tensor, start: int) -> Tensor:
    """Return a block of columns, with zero columns up to whole cache lines."""
    block = values[:, start : start + BLOCK]
    return F.pad(block, (0, -block.shape[1] % ROWS)).contiguous()


def _layers(model: nn.Module, params: Tensors) -> Iterator[Layer]:
    """Yield all layers but the `Mixture`; zero rows fill whole cache lines, as in `forward`."""
    for name, module in model.named_children():
        if isinstance(module, nn.Linear):
            weight, bias = params[f"{name}.weight"], params.get(f"{name}.bias")
            if rows := -weight.shape[1] % row_step(weight):
                weight = F.pad(weight, (0, 0, 0, rows))
                bias = None if bias is None else F.pad(bias, (0, rows))
            yield module, weight, None if bias is None else bias[..., None]
        elif not _mixes(module):
            yield module, None, None


def _outputs(
    layers: list[Layer], factors: Tensor, first: Tensor, second: Tensor, chunk: int | None
) -> Tensor:
    """Return the outputs ``(K, C, B)`` for a block of samples ``(F, B)``."""
    count, samples = len(factors), first.shape[-1]
    widths = [len(first), *[weight.shape[1] for _, weight, _ in layers if weight is not None]]
    fits = LINE_BYTES // (first.element_size() * samples * sum(widths[:-1]))
    size = -(-count // -(-count // max(1, chunk or fits)))
    hidden = [first.new_empty(size, width, samples) for width in widths[:-1]]
    outputs = first.new_empty(count, widths[-1], samples)
    parts = [tensor.split(size) for tensor in (factors, outputs)]
    weights = [[(None, None)] * len(parts[0]) if w is None else _split(w, b, size) for _, w, b in layers]
    for i, (factor, result) in enumerate(zip(*parts, strict=True)):
        buffers = iter([*[buffer[: len(factor)] for buffer in hidden], result])
        h = torch.addcmul(first, factor, second, out=next(buffers))
        for (module, _, _), own in zip(layers, weights, strict=True):
            weight, bias = own[i]
            if weight is None:
                h = h.relu_() if isinstance(module, nn.ReLU) else module(h)
                continue
            h = h if h.shape[1] == weight.shape[2] else h[:, : weight.shape[2]]
            h = torch.bmm(weight, h, out=next(buffers))
            if bias is not None:
                h.add_(bias)
        if h is not result:
            result.copy_(h)
    return outputs


def _split(weight: Tensor, bias: Tensor | None, size: int) -> list[tuple[Tensor | None, Tensor | None]]:
    parts = weight.split(size)
    return list(zip(parts, [None] * len(parts) if bias is None else bias.split(size), strict=True))
