"""Products of the Hessian of the mean loss with vectors, for many networks and many vectors at once.

Chains of linear layers and elementwise activations go by an R-operator of their own (`_chain`), and so do on
a CPU chains with convolutions (`_maps`); any other model by differentiating its recorded gradient (`_graph`).
For 784-512-10 on 2000 samples a product takes 3.3 billion operations: the first layer's weights are read and
written once each, forwards and backwards alike, 1.6 billion each way.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from spinscape.landscape.flatness._chain import ChainProducts, hidden_units, is_plain
from spinscape.landscape.flatness._graph import GraphProducts, saved_bytes
from spinscape.landscape.flatness._maps import MapProducts, is_chain_of_maps
from spinscape.landscape.symmetry.checks import check_samples
from spinscape.memory import available_bytes
from spinscape.networks.device import FREE_SHARE, chunk_size, keep_heap
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.losses import PerSample, resolve_loss

BLOCK = 2048
"""Samples of a chain at once, at most."""

WORK_BYTES = 4 * 2**20
"""What a chain's changes may take on a CPU; at 64-64-10 a chunk of 24 MiB takes 1.2 times as long."""

MAPS_BLOCK = 64
"""Samples of a chain with convolutions at once."""

KEPT_BYTES = 2**30
"""What is kept from one product to the next on a CPU; beyond it, it is computed again."""

Products = ChainProducts | MapProducts | GraphProducts


class HessianProducts:
    """Products with the Hessian of the mean loss of R networks.

    Parameters
    ----------
    ensemble
        R networks of D parameters, evaluated as they are in use (no dropout, stored batch-norm statistics).
    x, y
        Inputs ``(N, ...)`` and labels or targets ``(N, ...)``.
    loss
        As in :func:`spinscape.networks.evaluation.evaluate`.
    chunk
        Networks at once; by default what fits the cache or the GPU.

    Attributes
    ----------
    count
        D, in the order of :meth:`spinscape.networks.ensemble.Ensemble.flat`.

    Raises
    ------
    ValueError
        If samples do not fit the networks or each other, or the chunk is below 1.
    MemoryError
        If one network and one sample do not fit in memory.

    Notes
    -----
    Where a network is piecewise linear this is the Hessian without the kinks' contribution.

    Examples
    --------
    >>> import torch
    >>> from spinscape.networks.ensemble import Ensemble
    >>> net = torch.nn.Linear(1, 1, bias=False)
    >>> product = HessianProducts(Ensemble.from_modules([net]), torch.ones(2, 1), torch.ones(2, 1), "mse")
    >>> product(torch.full((1, 1, 1), 3.0)).item()
    6.0
    """

    def __init__(
        self,
        ensemble: Ensemble,
        x: Tensor,
        y: Tensor,
        loss: str | PerSample = "cross_entropy",
        *,
        chunk: int | None = None,
    ) -> None:
        if chunk is not None and chunk < 1:
            raise ValueError(f"chunk must be at least 1, not {chunk}")
        keep_heap()
        self.ensemble = ensemble
        self.x, self.y = check_samples(ensemble, x, y, loss)
        self.loss = resolve_loss(loss)
        self.sizes = [value[0].numel() for value in ensemble.params.values()]
        self.count = sum(self.sizes)
        self.plain = is_plain(ensemble.model)
        self.maps = ensemble.device.type == "cpu" and is_chain_of_maps(ensemble.model)
        self._plan(chunk)
        self.kept: dict[tuple[int, int], Products] = {}

    def _plan(self, chunk: int | None) -> None:
        """Choose networks, probes and samples at once."""
        ensemble, samples = self.ensemble, len(self.x)
        cpu = ensemble.device.type != "cuda"
        free = FREE_SHARE * available_bytes(ensemble.device)
        self.budget = min(KEPT_BYTES, free) if cpu else free
        if self.plain:
            each = 2.0 * hidden_units(ensemble.model) * ensemble.dtype.itemsize
            block = min(samples, BLOCK)
        else:
            each = saved_bytes(ensemble.model, ensemble.params, ensemble.buffers, self.x, self.y, self.loss)
            most = MAPS_BLOCK if self.maps else samples
            block = min(most, samples, max(1, int(self.budget / each)))
        if each > available_bytes(ensemble.device):
            raise MemoryError(f"one network and one sample take {each / 2**30:.3g} GiB, more than there is")
        self.block = -(-samples // -(-samples // block))
        self.each = each * self.block
        fits = chunk_size(self.each, ensemble.device, ensemble.replicas, cache_bytes=WORK_BYTES, few=1)
        self.chunk = chunk or fits
        self.keeps = each * samples * ensemble.replicas <= self.budget

    @torch.no_grad()
    def __call__(self, v: Tensor) -> Tensor:
        """Return the products.

        Parameters
        ----------
        v
            k vectors for each network, ``(R, k, D)``.

        Returns
        -------
        Tensor
            ``(R, k, D)``.

        Raises
        ------
        ValueError
            If `v` is not of that shape.
        """
        shape = (self.ensemble.replicas, v.shape[1] if v.ndim > 1 else 1, self.count)
        if tuple(v.shape) != shape or not shape[1]:
            raise ValueError(
                f"v must have shape (R, k, D) = ({shape[0]}, k, {shape[2]}), not {tuple(v.shape)}"
            )
        out = torch.zeros_like(v, memory_format=torch.contiguous_format)
        probes = v.shape[1]
        if self.plain:
            probes = chunk_size(self.each * self.chunk, v.device, probes, cache_bytes=WORK_BYTES, few=1)
        for rows, state in self._states():
            for start in range(0, v.shape[1], probes):
                part = slice(start, start + probes)
                found = state(self._by_name(v[rows, part]))
                self._add(out[rows, part], found)
        return out

    @torch.no_grad()
    def gradient(self) -> Tensor:
        """Return the gradient of the mean loss, ``(R, D)``."""
        out = next(iter(self.ensemble.params.values())).new_zeros(self.ensemble.replicas, self.count)
        for rows, state in self._states():
            self._add(out[rows], state.gradient())
        return out

    def _states(self) -> Iterator[tuple[slice, Products]]:
        """Yield networks and what is known of them on a block of samples, for all blocks."""
        for first in range(0, self.ensemble.replicas, self.chunk):
            rows = slice(first, first + self.chunk)
            for start in range(0, len(self.x), self.block):
                found = self.kept.get((first, start)) or self._state(rows, slice(start, start + self.block))
                if self.keeps:
                    self.kept[first, start] = found
                yield rows, found

    def _state(self, rows: slice, block: slice) -> Products:
        params = {name: value[rows].detach() for name, value in self.ensemble.params.items()}
        x, y, total = self.x[block], self.y[block], len(self.x)
        if self.plain:
            with torch.no_grad():
                return ChainProducts(self.ensemble.model, params, x, y, self.loss, total)
        buffers = {name: value[rows] for name, value in self.ensemble.buffers.items()}
        if self.maps:
            with torch.no_grad():
                return MapProducts(self.ensemble.model, params, buffers, x, y, self.loss, total)
        return GraphProducts(self.ensemble.model, params, buffers, x, y, self.loss, total)

    def _by_name(self, v: Tensor) -> dict[str, Tensor]:
        """Return ``(R, k, D)`` as ``(R, k, ...)`` by name."""
        parts = zip(self.ensemble.params.items(), v.split(self.sizes, -1), strict=True)
        return {name: part.unflatten(-1, value.shape[1:]) for (name, value), part in parts}

    def _add(self, out: Tensor, found: dict[str, Tensor]) -> None:
        """Add what was found by name to ``(..., D)``."""
        lead = out.ndim - 1
        for name, part in zip(self.ensemble.params, out.split(self.sizes, -1), strict=True):
            part += found[name].flatten(lead)
