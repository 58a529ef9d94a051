"""Many settings of a chain of linear and elementwise layers, in buffers that are used again and again.

The general route (`forward`) writes out a layer of all settings before it goes on.
Here a few settings and a block of samples go through all layers, features first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from spinscape.networks import products
from spinscape.networks.forward import ELEMENTWISE, ROWS, row_step
from spinscape.networks.losses import PerSample, correct, resolve_loss
from spinscape.networks.mixture import Mixture

Tensors = dict[str, Tensor]

LINE_BYTES = 2**19
"""Layers of the settings that go through together."""

ONEDNN_PRODUCTS = 1_500_000
"""Multiplications from which on oneDNN is the faster library for outputs with features first.
Measured on one core at 10 x H by H x 1440: 1.06 times the time of ``bmm`` at H = 64, 0.75 at 128, 0.6 at
256."""

Layer = tuple[nn.Module, Tensor | None, Tensor | None]
"""A module; weights and biases of a linear one, ``(K, m, k)`` and ``(K, m, 1)`` or None."""


def is_chain(modules: Iterable[nn.Module]) -> bool:
    """Tell whether all modules are linear or elementwise."""
    return all(type(module) in (nn.Linear, *ELEMENTWISE) for module in modules)


def layers(modules: Iterable[tuple[str, nn.Module]], params: Tensors) -> list[Layer]:
    """Return all layers but a `Mixture`; zero rows fill whole cache lines, as in `forward`.

    Parameters
    ----------
    modules
        Linear and elementwise layers with their names, maybe a `Mixture` too.
    params
        Parameters ``(K, ...)`` by name.
    """
    return list(_layers(modules, params))


def _layers(modules: Iterable[tuple[str, nn.Module]], params: Tensors) -> Iterator[Layer]:
    for name, module in modules:
        if isinstance(module, nn.Linear):
            weight, bias = params[f"{name}.weight"], params.get(f"{name}.bias")
            if rows := -weight.shape[1] % row_step(weight):
                weight = F.pad(weight, (0, 0, 0, rows))
                bias = None if bias is None else F.pad(bias, (0, rows))
            yield module, weight, None if bias is None else bias[..., None]
        elif not isinstance(module, Mixture):
            yield module, None, None


def block(values: Tensor, start: int, count: int) -> Tensor:
    """Return a block of columns, with zero columns up to whole cache lines."""
    part = values[:, start : start + count]
    return F.pad(part, (0, -part.shape[1] % ROWS)).contiguous()


def outputs(
    chain: list[Layer],
    begin: Callable[[slice, Tensor], object],
    features: int,
    count: int,
    like: Tensor,
    *,
    size: int | None = None,
    bytes_at_once: float = LINE_BYTES,
    onednn: bool = False,
) -> Tensor:
    """Return the outputs of K settings for a block of samples, ``(K, C, B)``.

    Parameters
    ----------
    chain
        What :func:`layers` returned.
    begin
        Fills ``(k, features, B)`` with what the chain begins from, for the settings of a slice.
    features
        Their number of features F.
    count
        The number K of settings.
    like
        A tensor ``(..., B)`` of the type and device of the samples.
    size
        Settings at once; by default as many as take `bytes_at_once`. It never changes the result.
    bytes_at_once
        Memory of the layers that are kept.
    onednn
        Whether large products are left to oneDNN.
    """
    samples = like.shape[-1]
    widths = [features, *[weight.shape[1] for _, weight, _ in chain if weight is not None]]
    fits = int(bytes_at_once // (like.element_size() * samples * sum(widths[:-1]) or 1))
    size = -(-count // -(-count // max(1, size or fits)))
    hidden = [like.new_empty(size, width, samples) for width in widths[:-1]]
    found = like.new_empty(count, widths[-1], samples)
    for start in range(0, count, size):
        part = slice(start, min(start + size, count))
        result = found[part]
        buffers = iter([*[buffer[: len(result)] for buffer in hidden], result])
        h = next(buffers)
        begin(part, h)
        for module, weight, bias in chain:
            if weight is None:
                h = h.relu_() if isinstance(module, nn.ReLU) else module(h)
                continue
            h = h if h.shape[1] == weight.shape[2] else h[:, : weight.shape[2]]
            h = _linear(weight[part], None if bias is None else bias[part], h, next(buffers), onednn)
        if h is not result:
            result.copy_(h)
    return found


def _linear(weight: Tensor, bias: Tensor | None, h: Tensor, out: Tensor, onednn: bool) -> Tensor:
    """Return ``weight @ h + bias`` in a buffer."""
    large = weight.shape[1] * weight.shape[2] * h.shape[2] >= ONEDNN_PRODUCTS
    if not (onednn and large and products.usable(weight, h)):
        torch.bmm(weight, h, out=out)
        return out if bias is None else out.add_(bias)
    for i, (own, inputs) in enumerate(zip(weight, h.mT, strict=True)):
        product = products.linear(own, inputs)
        if bias is None:
            out[i].copy_(product)
        else:
            torch.add(product, bias[i], out=out[i])
    return out


class Scores:
    """Sums of losses, and numbers of right answers, of many settings for a block of samples.

    Parameters
    ----------
    y
        All labels or targets ``(N, ...)``.
    classes
        The number C of outputs.
    loss, accuracy
        As in :func:`spinscape.networks.evaluation.evaluate`.

    Raises
    ------
    ValueError
        If labels are not those of the classes.
    """

    def __init__(self, y: Tensor, classes: int, loss: str | PerSample, *, accuracy: bool) -> None:
        self.samples, self.classes = len(y), classes
        self.labels = accuracy and not y.is_floating_point()
        self.loss = resolve_loss(loss)
        self.plain = loss == "cross_entropy" and y.dtype == torch.int64 and y.ndim == 1
        if self.plain:
            lowest, highest = (int(end) for end in y.aminmax())
            if lowest < 0 or highest >= classes:
                raise ValueError(f"labels must lie between 0 and {classes - 1}, not {lowest} to {highest}")

    def __call__(self, found: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return sums of losses, float64 ``(K,)``, and numbers of right answers, int64 ``(K,)``.

        Parameters
        ----------
        found
            Outputs ``(K, >= C, >= B)``.
        y
            Labels or targets of the block, ``(B, ...)``.

        Returns
        -------
        losses, hits
            The numbers are zeros where not asked for.
        """
        own = found[:, : self.classes, : len(y)]
        hits = torch.zeros(len(own), dtype=torch.int64, device=own.device)
        if not self.plain:
            values = self.loss(own.mT, y.expand(len(own), *y.shape))
            hits = correct(own.mT, y).sum(1) if self.labels else hits
            return values.sum(1, dtype=torch.float64), hits
        # All columns, as copies of a part take longer than its logarithms.
        logarithms = found[:, : self.classes].log_softmax(1)
        rows = logarithms.flatten(1)
        at = y * found.shape[2] + torch.arange(len(y), device=y.device)
        chosen = rows.index_select(1, at)
        if self.labels:
            # The index of a maximum takes ten times as long as the maximum.
            rows.index_fill_(1, at, -torch.inf)
            others = logarithms.amax(1)[:, : len(y)]
            hits = (chosen > others).sum(1)
            tied = (chosen == others).any(1).nonzero()[:, 0]
            if len(tied):
                hits[tied] = correct(own[tied].mT, y).sum(1)
        return chosen.sum(1, dtype=torch.float64).neg_(), hits

    def means(self, total: Tensor, hits: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean losses and shares of right answers, float64 ``(K,)`` on the CPU.

        The shares are NaN where not asked for, of targets, and where the loss is NaN.
        """
        mean, share = total.cpu() / self.samples, hits.cpu().double() / self.samples
        return mean, share.where(self.labels & ~mean.isnan(), torch.nan)
