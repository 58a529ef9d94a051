"""Losses between a network with one hidden layer and its permuted copies, by displaced units alone.

On the line from a network to a copy whose hidden unit k is unit p(k) of the network, the pre-activations of
unit k are ``(1 - a) z_k + a z_p(k)``: they follow from those of the network.
Where p(k) = k nothing changes.
So the outputs of a point are those of the network plus one term for every link k -> p(k) between different
units, and a permutation that shares links with the one before needs only the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from spinscape.landscape.symmetry.checks import as_tensor, check_finite, check_samples
from spinscape.networks.device import keep_heap
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.forward import ELEMENTWISE
from spinscape.networks.losses import PerSample, correct, resolve_loss

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

ACTIVATIONS = (*ELEMENTWISE, nn.LeakyReLU)

SILENT = (nn.Flatten, nn.Identity, nn.Dropout)
"""Modules that change no number of a row of inputs or of hidden units in a network in use."""

LEAST = 32
"""Samples in a block, at least; blocks hold multiples of it."""

BLOCK_BYTES = 2**20
"""Outputs of the points of a line for a block of samples, and likewise hidden units, on a CPU."""

DEVICE_BYTES = 2**27
"""Likewise on an accelerator."""


@dataclass(frozen=True)
class OneHidden:
    """One network with one hidden layer.

    Attributes
    ----------
    weight, bias
        Of the hidden layer, ``(M, F)`` and ``(M,)``.
    readout, offset
        Weights and biases of the outputs, ``(C, M)`` and ``(C,)``.
    activation
        An elementwise module.
    """

    weight: Tensor
    bias: Tensor
    readout: Tensor
    offset: Tensor
    activation: nn.Module

    def hidden(self, x: Tensor) -> Tensor:
        """Return the pre-activations of inputs ``(B, ...)``, units first, ``(M, B)``."""
        return torch.addmm(self.bias[:, None], self.weight, x.flatten(1).T)

    def vectors(self) -> Tensor:
        """Return incoming weights, bias and outgoing weights of each hidden unit, ``(M, F + 1 + C)``."""
        return torch.cat([self.weight, self.bias[:, None], self.readout.T], 1)

    def phi(self, z: Tensor) -> Tensor:
        """Apply the activation, in place where it can."""
        return z.relu_() if isinstance(self.activation, nn.ReLU) else self.activation(z)


def one_hidden(model: nn.Module, params: dict[str, Tensor], replica: int) -> OneHidden:
    """Return one network of an ensemble whose model has one hidden layer.

    Parameters
    ----------
    model
        The model.
    params
        Parameters ``(R, ...)`` by name.
    replica
        Which network.

    Raises
    ------
    ValueError
        If the model is not a chain of a linear layer, an elementwise activation and a linear layer.
    """
    named = [(name, m) for name, m in model.named_children() if type(m) not in SILENT]
    kinds = [type(module) for _, module in named]
    plain = isinstance(model, nn.Sequential) and len(kinds) in (2, 3)
    if not (plain and kinds[0] is kinds[-1] is nn.Linear and all(k in ACTIVATIONS for k in kinds[1:-1])):
        raise ValueError(
            "a network with one hidden layer is needed: linear, elementwise activation, linear; "
            f"not {type(model).__name__} of {[kind.__name__ for kind in kinds]}; "
            "for other models there is spinscape.landscape.swap_lines.deep_swap_lines"
        )
    (first, _), (last, _) = named[0], named[-1]
    weight, readout = (params[f"{name}.weight"][replica].detach() for name in (first, last))

    def bias(name: str, size: int) -> Tensor:
        own = params.get(f"{name}.bias")
        return weight.new_zeros(size) if own is None else own[replica].detach()

    activation = named[1][1] if len(named) == 3 else nn.Identity()
    return OneHidden(weight, bias(first, len(weight)), readout, bias(last, len(readout)), activation)


def check_rows(
    ensemble: Ensemble, x: Tensor | ArrayLike, y: Tensor | ArrayLike, loss: str | PerSample
) -> tuple[Tensor, Tensor]:
    """Return inputs ``(N, F)`` and labels or targets that networks with one hidden layer read.

    Parameters
    ----------
    ensemble
        R networks.
    x, y
        Inputs ``(N, ...)``, which are flattened, and labels or targets ``(N, ...)``.
    loss
        As in :func:`spinscape.networks.evaluation.evaluate`.

    Raises
    ------
    ValueError
        If the model has more layers, weights are not finite, or samples do not fit.
    """
    features = one_hidden(ensemble.model, ensemble.params, 0).weight.shape[1]
    check_finite(ensemble)
    rows = as_tensor("x", x).to(ensemble.dtype)
    rows = rows.flatten(1) if rows.ndim > 1 else rows
    if rows.ndim == 2 and rows.shape[1] != features:
        raise ValueError(f"x has {rows.shape[1]} features, and the networks read {features}")
    return check_samples(ensemble, rows, y, loss)


class Links(NamedTuple):
    """Terms that come (+1) and go (-1) from one permutation to the next: units, partners p(k), signs."""

    units: Tensor
    partners: Tensor
    signs: Tensor


def links(before: Ints, after: Ints, like: Tensor) -> Links:
    """Return what changes from one permutation ``(M,)`` to the next."""
    changed = np.flatnonzero(before != after)
    units = torch.from_numpy(np.concatenate([changed, changed]))
    partners = torch.from_numpy(np.concatenate([after[changed], before[changed]]))
    signs = torch.from_numpy(np.repeat([1.0, -1.0], len(changed)))
    return Links(units.to(like.device), partners.to(like.device), signs.to(like))


class Part(NamedTuple):
    """Some points ``(A, 1, 1)`` of lines: steps by trial and permutation, and sums ``(2, T, S, A)``."""

    chains: list[list[tuple[int, Links]]]
    weights: Tensor
    totals: Tensor


class Lines:
    """Losses of one network on the lines to its permuted copies.

    Parameters
    ----------
    network
        The network.
    x, y
        Inputs ``(N, ...)`` and labels or targets ``(N, ...)``.
    alphas
        Points of a line, ``(A,)``, symmetric about 1/2: where a permutation undoes itself, the loss is too.
    loss
        As in :func:`spinscape.networks.evaluation.evaluate`.
    """

    def __init__(
        self,
        network: OneHidden,
        x: Tensor,
        y: Tensor,
        alphas: NDArray[np.float64],
        *,
        loss: str | PerSample = "cross_entropy",
    ) -> None:
        keep_heap()
        self.network, self.x, self.y, self.alphas = network, x, y, alphas
        self.rows = network.readout.T.contiguous()
        self.loss = resolve_loss(loss)
        self.labels = not y.is_floating_point()
        self.plain = loss == "cross_entropy" and y.ndim == 1 and self.labels
        if self.plain and not 0 <= int(y.min()) <= int(y.max()) < len(network.offset):
            raise ValueError(
                f"labels must lie in 0..{len(network.offset) - 1}, not {int(y.min())}..{int(y.max())}"
            )
        self.budget = (BLOCK_BYTES if x.device.type == "cpu" else DEVICE_BYTES) // x.element_size()

    @torch.no_grad()
    def __call__(self, permutations: Ints) -> tuple[Floats, Floats]:
        """Return loss and accuracy, each ``(T, S, A)``.

        Parameters
        ----------
        permutations
            ``(T, S, M)``; the S of one trial are followed one after the other.
        """
        trials, steps, width = permutations.shape
        half = -(-len(self.alphas) // 2)
        twice = np.take_along_axis(permutations, permutations, axis=2)
        mirrored = (twice == np.arange(width)).all(2)
        first, second = self.alphas[:half], self.alphas[half:]
        parts = [self._part(permutations, np.ones_like(mirrored), first)]
        if len(second) and not mirrored.all():
            parts.append(self._part(permutations, ~mirrored, second))
        size = max(LEAST, self.budget // (half * len(self.network.offset)) // LEAST * LEAST)
        for start in range(0, len(self.x), size):
            self._block(slice(start, start + size), parts)
        found = np.empty((2, trials, steps, len(self.alphas)))
        found[..., :half] = parts[0].totals.cpu().numpy() / len(self.x)
        found[..., half:] = found[..., : len(second)][..., ::-1]
        if len(parts) > 1:
            found[..., half:][:, ~mirrored] = parts[1].totals.cpu().numpy()[:, ~mirrored] / len(self.x)
        loss, hits = found
        return loss, np.where(self.labels & ~np.isnan(loss), hits, np.nan)

    def _part(self, permutations: Ints, chosen: NDArray[np.bool_], alphas: Floats) -> Part:
        """Prepare the chosen permutations ``(T, S)`` at some of the points."""
        chains = []
        for table, own in zip(permutations, chosen, strict=True):
            chain = [np.arange(table.shape[1]), *table[own]]
            steps = [links(before, after, self.x) for before, after in pairwise(chain)]
            chains.append(list(zip(np.flatnonzero(own).tolist(), steps, strict=True)))
        shape = (2, *chosen.shape, len(alphas))
        totals = torch.zeros(shape, dtype=torch.float64, device=self.x.device)
        return Part(chains, torch.from_numpy(alphas).to(self.x)[:, None, None], totals)

    def _block(self, rows: slice, parts: list[Part]) -> None:
        """Add what a block of samples contributes."""
        network, y = self.network, self.y[rows]
        z = network.hidden(self.x[rows])
        base = torch.addmm(network.offset[:, None], network.readout, network.phi(z.clone()))
        for chains, weights, totals in parts:
            outputs = base.new_empty(len(weights), *base.shape)
            for t, chain in enumerate(chains):
                outputs.copy_(base.expand_as(outputs))
                for s, step in chain:
                    self._add(outputs, z, step, weights)
                    values, hits = self._losses(outputs, y)
                    totals[0, t, s] += values.sum(1, dtype=torch.float64)
                    if hits is not None:
                        totals[1, t, s] += hits.sum(1)

    def _add(self, outputs: Tensor, z: Tensor, step: Links, weights: Tensor) -> None:
        """Add the terms of links to outputs ``(A, C, B)``."""
        size = max(1, self.budget // (len(weights) * z.shape[1]))
        for start in range(0, len(step.units), size):
            k, q, sign = (part[start : start + size] for part in step)
            h = torch.lerp(z.index_select(0, k), z.index_select(0, q), weights)
            mine, theirs = (self.rows.index_select(0, of) * sign[:, None] for of in (k, q))
            outputs.baddbmm_(torch.lerp(mine, theirs, weights).mT, self.network.phi(h))

    def _losses(self, outputs: Tensor, y: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return losses and correct answers, each ``(A, B)``, of outputs ``(A, C, B)``."""
        if not self.plain:
            targets = y.expand(len(outputs), *y.shape)
            return self.loss(outputs.mT, targets), correct(outputs.mT, targets) if self.labels else None
        logarithms = outputs.log_softmax(1)
        own = logarithms.flatten(1).index_select(1, y * len(y) + torch.arange(len(y), device=y.device))
        hits = own == logarithms.amax(1)
        # Only where no class has more than half the probability can two be the largest.
        at, sample = (hits & (own < -0.69)).nonzero(as_tuple=True)
        if len(at):
            hits[at, sample] = outputs[at, :, sample].max(1).indices == y[sample]
        return own.neg_(), hits
