"""Losses of a network at many points of a line, in blocks that stay in a core's own cache.

The general route (`forward`) writes out a layer of all points before it goes on.
Here a few points and a block of samples go through all layers in buffers that are used again and again.
On a CPU that takes about two thirds of the time for a small network.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from spinscape.networks.evaluation import BLOCK
from spinscape.networks.forward import ELEMENTWISE, ONEDNN_PRODUCTS, ROWS, row_step
from spinscape.networks.losses import PerSample, correct, resolve_loss, row_means
from spinscape.networks.mixture import Mixture

Tensors = dict[str, Tensor]

LINE_BYTES = 2**20
"""Layers of the points that go through together."""


def is_lean(model: nn.Module, params: Tensors, samples: int) -> bool:
    """Tell whether a model with a `Mixture` in front is a chain that :func:`line_losses` knows, on a CPU.

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


@torch.no_grad()
def line_losses(
    model: nn.Module,
    params: Tensors,
    mixed: Tensor,
    y: Tensor,
    *,
    loss: str | PerSample = "cross_entropy",
    chunk: int | None = None,
    accuracy: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Evaluate the K points of a line.

    Parameters
    ----------
    model
        A model for which :func:`is_lean` holds.
    params
        Parameters ``(K, ...)`` by name, those of the `Mixture` ``(K, 1)``.
    mixed
        The two outputs that the `Mixture` adds up, features first, ``(2, F, N)``.
    y
        Labels or targets ``(N, ...)``.
    loss, accuracy
        As in :func:`spinscape.networks.evaluation.evaluate`.
    chunk
        Points at once; by default what fits the cache. It never changes the result.

    Returns
    -------
    loss, accuracy
        Mean loss and share of correct answers (NaN where not asked for, of targets, and where the loss is
        NaN), float64 ``(K,)``.
    """
    layers = list(_layers(model, params))
    factors = next(params[f"{name}.weight"] for name, m in model.named_children() if isinstance(m, Mixture))
    factors = factors[..., None]
    count, classes = len(factors), [m for m in model.children() if isinstance(m, nn.Linear)][-1].out_features
    function = resolve_loss(loss)
    plain = loss == "cross_entropy" and y.dtype == torch.int64 and y.ndim == 1
    plain = plain and int(y.min()) >= 0 and int(y.max()) < classes
    values = mixed.new_empty(count, len(y))
    hits = torch.zeros(count, len(y), dtype=torch.bool)
    labels = accuracy and not y.is_floating_point()
    for start in range(0, len(y), BLOCK):
        rows = slice(start, min(start + BLOCK, len(y)))
        targets = y[rows].expand(count, *y[rows].shape)
        block = F.pad(mixed[..., rows], (0, -len(y[rows]) % ROWS)).contiguous()
        outputs = _outputs(layers, factors, block, chunk)[:, :classes, : len(y[rows])]
        if plain:
            chosen = outputs.log_softmax(1).gather(1, targets[:, None])
            torch.neg(chosen[:, 0], out=values[:, rows])
        else:
            values[:, rows] = function(outputs.mT, targets)
        if labels:
            hits[:, rows] = correct(outputs.mT, targets)
    means = row_means(values)
    share = (hits.sum(1).double() / len(y)).where(labels & ~means.isnan(), torch.nan)
    return means.numpy(), share.numpy()


Layer = tuple[nn.Module, Tensor | None, Tensor | None]
"""A module; weights and biases of a linear one, ``(K, m, k)`` and ``(K, m, 1)`` or None."""


def _layers(model: nn.Module, params: Tensors) -> Iterator[Layer]:
    """Yield all layers but the `Mixture`; zero rows fill whole cache lines, as in `forward`."""
    for name, module in model.named_children():
        if isinstance(module, nn.Linear):
            weight, bias = params[f"{name}.weight"], params.get(f"{name}.bias")
            if rows := -weight.shape[1] % row_step(weight):
                weight = F.pad(weight, (0, 0, 0, rows))
                bias = None if bias is None else F.pad(bias, (0, rows))
            yield module, weight, None if bias is None else bias[..., None]
        elif not isinstance(module, Mixture):
            yield module, None, None


def _outputs(layers: list[Layer], factors: Tensor, block: Tensor, chunk: int | None) -> Tensor:
    """Return the outputs ``(K, C, B)`` for a block of samples ``(2, F, B)``."""
    first, second = block
    count, samples = len(factors), block.shape[-1]
    widths = [len(first), *[weight.shape[1] for _, weight, _ in layers if weight is not None]]
    size = chunk or max(1, LINE_BYTES // (first.element_size() * samples * sum(widths[:-1])))
    hidden = [block.new_empty(min(size, count), width, samples) for width in widths[:-1]]
    outputs = block.new_empty(count, widths[-1], samples)
    for start in range(0, count, size):
        points = slice(start, min(start + size, count))
        own = points.stop - start
        buffers = iter([*[buffer[:own] for buffer in hidden], outputs[points]])
        h = torch.addcmul(first, factors[points], second, out=next(buffers))
        for module, weight, bias in layers:
            if weight is not None:
                h, out = h[:, : weight.shape[2]], next(buffers)
                if bias is None:
                    h = torch.bmm(weight[points], h, out=out)
                else:
                    h = torch.baddbmm(bias[points], weight[points], h, out=out)
            else:
                h = h.relu_() if isinstance(module, nn.ReLU) else module(h)
        if h.data_ptr() != outputs[points].data_ptr():
            outputs[points] = h
    return outputs
