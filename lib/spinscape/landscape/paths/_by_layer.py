"""Chains of layers run one layer at a time, for all networks at once, with all samples in between.

What comes out of a hidden layer can so be looked at, and changed, before the next layer reads it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from spinscape.memory import available_bytes
from spinscape.networks.device import chunk_size, is_out_of_memory, keep_heap, release
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.forward import Forward
from spinscape.networks.units import describe

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d)

TENSORS = 4
"""Tensors of a layer's size that are alive at once: inputs, outputs, and two in the statistics."""

Act = Callable[[str, Tensor], None]
"""Name of a layer and its preactivations ``(R, N, units, ...)``, which it may change in place."""


@dataclass(frozen=True)
class Segment:
    """What lies between one hidden layer and the next, that layer included.

    Attributes
    ----------
    layer
        Name of the layer in the whole model.
    model
        The modules, of which the layer is the last.
    names
        Names of parameters in the whole model, by those in `model`.
    """

    layer: str
    model: nn.Sequential
    names: dict[str, str]


def segments(model: nn.Module) -> list[Segment]:
    """Cut a chain after each of its hidden layers; what follows the last is left out.

    Parameters
    ----------
    model
        Layers, activations and poolings in ``nn.Sequential``, which may hold others.

    Returns
    -------
    list of Segment
        In the order of the forward pass.

    Raises
    ------
    ValueError
        If the model is no such chain, has batch norms, or a hidden layer has no bias.
    """
    hidden = [units.name for units in describe(model).units]
    cut: list[Segment] = []
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    found: list[str] = []
    for name, module in _flattened(model, ""):
        if isinstance(module, _BatchNorm):
            raise ValueError(
                f"{name} is a batch norm, whose own statistics can be reset: use reset_statistics(), "
                "or fold the batch norms first (spinscape.networks.folding.fold)"
            )
        parts[name.replace(".", "-")] = module
        if not isinstance(module, LAYERS):
            continue
        found.append(name)
        if len(found) > len(hidden):
            break
        if module.bias is None:
            raise ValueError(f"{name} has no bias, so that the means of its units cannot be moved")
        whole = {name.replace(".", "-"): name for name in found[-1:]}
        names = {
            f"{short}.{tensor}": f"{long}.{tensor}"
            for short, long in whole.items()
            for tensor in ("weight", "bias")
        }
        cut.append(Segment(name, nn.Sequential(parts), names))
        parts = OrderedDict()
    if [segment.layer for segment in cut] != hidden:
        raise ValueError(f"the hidden units {hidden} are not each written by one layer of a chain")
    return cut


def _flattened(module: nn.Module, name: str) -> Iterator[tuple[str, nn.Module]]:
    if type(module) is nn.Sequential:
        for child, part in module.named_children():
            yield from _flattened(part, f"{name}.{child}" if name else child)
    elif isinstance(module, nn.Sequential) or not name:
        raise ValueError(
            f"{name or 'the model'} ({type(module).__name__}) is no plain nn.Sequential: "
            "only chains of layers can be run layer by layer"
        )
    else:
        yield name, module


class ByLayer:
    """The hidden layers of one model, run one after the other for the same samples.

    Parameters
    ----------
    model
        A chain; see :func:`segments`.
    x
        Inputs ``(N, ...)``.
    like
        Networks of the model: their device and number type are used.

    Raises
    ------
    ValueError
        If the model is no chain, or there are fewer than two samples.
    MemoryError
        If the layers of one network do not fit in memory; it tells how many samples do.
    """

    def __init__(self, model: nn.Module, x: Tensor, like: Ensemble) -> None:
        self.segments = segments(model)
        if len(x) < 2:
            raise ValueError(f"statistics need at least two samples, not {len(x)}")
        self.x = x.to(like.device, like.dtype if x.is_floating_point() else x.dtype)
        self.forwards: list[Forward] = []
        largest = self._begin(like)
        self.bytes = TENSORS * like.dtype.itemsize * largest * len(x)
        there = available_bytes(like.device)
        if self.bytes > there:
            raise MemoryError(
                f"layers for {len(x)} samples take {self.bytes / 2**30:.3g} GiB, more than there is: "
                f"at most {int(there / self.bytes * len(x))} samples are allowed"
            )

    def _begin(self, like: Ensemble) -> int:
        """Make the forward passes, and return the most numbers that a layer holds for a sample."""
        h, largest = self.x[:1], self.x[0].numel()
        for segment in self.segments:
            params = {own: like.params[name][:1] for own, name in segment.names.items()}
            with torch.no_grad():
                forward = Forward(segment.model, params, {}, h, training=False)
                h = forward(params, {}, h, shared=True)[0]
            self.forwards.append(forward)
            largest = max(largest, h[0].numel())
        return largest

    def run(self, ensemble: Ensemble, act: Act) -> None:
        """Run networks; `act` sees, and may change, what each hidden layer puts out."""
        h, shared = self.x, True
        with torch.no_grad():
            for segment, forward in zip(self.segments, self.forwards, strict=True):
                params = {own: ensemble.params[name] for own, name in segment.names.items()}
                h = forward(params, {}, h, shared=shared)
                act(segment.layer, h)
                shared = False

    def in_chunks(
        self, ensemble: Ensemble, work: Callable[[Ensemble, slice], None], chunk: int | None
    ) -> None:
        """Call `work` for one chunk of networks after the other, with half the chunk after memory ran out.

        Parameters
        ----------
        ensemble
            R networks.
        work
            Called with a chunk and its rows; what it did for a chunk that failed is done again.
        chunk
            Networks at once; by default what fits the cache or the GPU.
        """
        if chunk is not None and chunk < 1:
            raise ValueError(f"chunk must be at least 1, not {chunk}")
        keep_heap()
        size = chunk or chunk_size(self.bytes, ensemble.device, ensemble.replicas, few=1)
        start = 0
        while start < ensemble.replicas:
            rows = slice(start, min(start + size, ensemble.replicas))
            try:
                work(ensemble[rows], rows)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or size == 1:
                    raise
                size = -(-size // 2)
                release(ensemble.device)
            else:
                start = rows.stop
