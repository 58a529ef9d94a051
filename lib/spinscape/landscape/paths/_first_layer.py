"""Losses along paths of networks whose first layer is linear, computed once per network.

The output of a linear layer is linear in its weights.
So where every point is a combination of a few bases, with one number per unit, the layer's products are taken
once for each base, and a point costs additions: with 25 points on a line between networks of one hidden layer
that is 2 products of the first layer in place of 25.

Where the activation commutes with positive factors, the numbers of a unit are divided by their sum, which
goes into the next layer, and the sum of terms begins with a base as it is: one pass less over the hidden
layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from spinscape.landscape.paths.combination import FEW, Path
from spinscape.networks import products
from spinscape.networks.chain import Scores, is_chain, layers, outputs
from spinscape.networks.device import FREE_SHARE
from spinscape.networks.forward import ROWS, is_stackable, stacked_forward
from spinscape.networks.losses import PerSample
from spinscape.networks.mixture import with_first

Tensors = dict[str, Tensor]

SAMPLES = 1536
"""Samples that go through together on a CPU, at most; products gain from more of them, sums lose."""

GPU_SAMPLES = 2**14

CHAIN_BYTES = 2**21
"""Layers of the points that go through a chain together on a CPU."""

STACK_BYTES = 8 * 2**20
"""Likewise through a model with batch norms or shortcuts."""

PIECE_BYTES = 2**28
"""Parameters of the points that are written out at once."""

LEAST_SUM = 0.1
"""Sums of coefficients from which on one may divide by them."""


@dataclass(frozen=True)
class Parts:
    """A model taken apart around its first linear layer.

    Attributes
    ----------
    before
        What comes before that layer.
    name
        The layer's name.
    rest
        The model with an identity in place of all these.
    chain
        Whether the rest consists of linear and elementwise layers only.
    homogeneous
        Whether a positive factor of a unit of the first layer may go into the next layer instead; its name.
    """

    before: nn.Sequential
    name: str
    rest: nn.Sequential
    chain: bool
    homogeneous: str | None


def take_apart(path: Path) -> Parts | None:
    """Take the model of a path apart; None where its first layer cannot be computed once per network."""
    first = path.bases[0]
    if not is_stackable(first.model) or first.device.type not in ("cpu", "cuda"):
        return None
    parts = with_first(first.model, nn.Identity)
    if parts is None or not _by_unit(path, parts[1]):
        return None
    before, name, rest = parts
    return Parts(before, name, rest, is_chain(list(rest)), _reader(rest))


def _by_unit(path: Path, name: str) -> bool:
    """Tell whether the coefficients of a layer are the same for all that enters a unit, its bias included."""
    weights = path.coefficients[f"{name}.weight"]
    if any(c.shape[-1] != 1 for c in weights):
        return False
    biases = path.coefficients.get(f"{name}.bias", ())
    return all(torch.equal(w[..., 0], b) for w, b in zip(weights, biases, strict=False))


def _reader(rest: nn.Sequential) -> str | None:
    """Return the linear layer that reads the first layer through an activation that takes factors along."""
    for name, module in rest.named_children():
        if isinstance(module, nn.Linear):
            return name
        if type(module) not in (nn.Identity, nn.ReLU):
            return None
    return None


class Evaluator:
    """Mean loss and share of right answers at the points of paths.

    Parameters
    ----------
    path
        P paths of K points.
    parts
        As :func:`take_apart` returns them.
    x, y
        Inputs ``(N, ...)`` and labels or targets, on the device of the path.
    loss
        As in :func:`spinscape.networks.evaluation.evaluate`.
    chunk
        Points at once; by default what fits the cache or the GPU. It never changes the result.
    """

    def __init__(
        self, path: Path, parts: Parts, x: Tensor, y: Tensor, loss: str | PerSample, chunk: int | None
    ) -> None:
        self.path, self.parts, self.y, self.chunk = path, parts, y, chunk
        self.rows = parts.before(x.to(path.bases[0].dtype))
        features = path.bases[0].params[f"{parts.name}.weight"].shape[-1]
        if self.rows.ndim != 2 or self.rows.shape[1] != features:
            raise ValueError(
                f"inputs must be (N, {features}) or flattened to that, not {tuple(x.shape)}: "
                f"{parts.name}.weight reads them"
            )
        linear = [m for m in path.bases[0].model.children() if isinstance(m, nn.Linear)]
        self.scores = Scores(y, linear[-1].out_features, loss, accuracy=True)
        self.width = linear[0].out_features
        self.widest = max(m.out_features for m in linear)
        self.cpu = x.device.type == "cpu"
        blocks = -(-len(x) // (SAMPLES if self.cpu else GPU_SAMPLES))
        self.block = -(-len(x) // (blocks * ROWS)) * ROWS
        self.runs = list(_runs(path))

    @torch.no_grad()
    def __call__(self, pair: int) -> tuple[Tensor, Tensor]:
        """Return losses and shares ``(K,)``, float64 on the CPU, of one path."""
        found = [self._run(pair, steps, bases) for steps, bases in self.runs]
        losses, shares = zip(*found, strict=True)
        return torch.cat(losses), torch.cat(shares)

    def _run(self, pair: int, steps: range, bases: list[int]) -> tuple[Tensor, Tensor]:
        """Evaluate consecutive points that are combinations of the same bases."""
        weight, bias = f"{self.parts.name}.weight", f"{self.parts.name}.bias"
        factors = torch.stack([_at(self.path.coefficients[weight][k], pair, steps)[..., 0] for k in bases])
        own = [self.path.bases[k].params for k in bases]
        weights = torch.stack([params[weight][pair] for params in own])
        shifts = torch.stack([params[bias][pair] for params in own]) if bias in own[0] else None
        points = self.path.parameters([n for n in self._names() if n not in (weight, bias)], [pair], steps)
        factors, scale = self._divided(factors)
        if scale is not None:
            weights = torch.cat([weights[:1], weights[1:] - weights[:1]])
            shifts = None if shifts is None else torch.cat([shifts[:1], shifts[1:] - shifts[:1]])
            if self.parts.homogeneous:
                name = f"{self.parts.homogeneous}.weight"
                points[name] = points[name] * scale[:, None, :]
        begin = _sum_of(factors, affine=scale is not None)
        run = (
            self._through_chain(points, len(steps)) if self.parts.chain else self._stacked(points, len(steps))
        )
        total = torch.zeros(len(steps), dtype=torch.float64, device=self.y.device)
        hits = torch.zeros(len(steps), dtype=torch.int64, device=self.y.device)
        for start in range(0, len(self.y), self.block):
            z = _products(weights, shifts, self.rows[start : start + self.block])
            losses, right = self.scores(run(z, begin), self.y[start : start + self.block])
            total += losses
            hits += right
        return self.scores.means(total, hits)

    def _names(self) -> list[str]:
        first = self.path.bases[0]
        return [*first.params, *first.buffers]

    def _divided(self, factors: Tensor) -> tuple[Tensor, Tensor | None]:
        """Divide coefficients (bases, k, F or 1) by their sums, where that is allowed; the sums, or None."""
        total = factors.sum(0)
        near = 8 * torch.finfo(factors.dtype).eps
        if bool(((total - 1).abs() <= near).all()):
            return factors, torch.ones_like(total)
        if self.parts.homogeneous is None or not bool((total >= LEAST_SUM).all()):
            return factors, None
        return factors / total, total

    def _through_chain(self, points: Tensors, count: int) -> Callable[[Tensor, Begin], Tensor]:
        chain = layers(self.parts.rest, points)
        room = float(CHAIN_BYTES) if self.cpu else _free(self.y.device)

        def run(z: Tensor, begin: Begin) -> Tensor:
            return outputs(
                chain, lambda part, h: begin(z, part, h), self.width, count, z,
                size=self.chunk, bytes_at_once=room, onednn=True,
            )  # fmt: skip

        return run

    def _stacked(self, points: Tensors, count: int) -> Callable[[Tensor, Begin], Tensor]:
        params = {name: points[name] for name, _ in self.parts.rest.named_parameters()}
        buffers = {name: points[name] for name, _ in self.parts.rest.named_buffers()}

        def run(z: Tensor, begin: Begin) -> Tensor:
            room = STACK_BYTES if self.cpu else _free(self.y.device)
            size = self.chunk or max(1, int(room // (3 * z.element_size() * self.widest * z.shape[-1])))
            found = []
            for start in range(0, count, size):
                part = slice(start, min(start + size, count))
                h = z.new_empty(part.stop - part.start, self.width, z.shape[-1])
                begin(z, part, h)
                own = ({name: value[part] for name, value in these.items()} for these in (params, buffers))
                found.append(stacked_forward(self.parts.rest, next(own), h.mT, next(own)).mT)
            return torch.cat(found)

        return run


Begin = Callable[[Tensor, slice, Tensor], None]
"""Fills the hidden layer of some points from that of the bases."""


def _sum_of(factors: Tensor, *, affine: bool) -> Begin:
    """Return what sums up outputs of bases ``(bases, F, B)`` with factors ``(bases, k, F or 1)``."""
    columns = factors[..., None]

    def begin(z: Tensor, part: slice, h: Tensor) -> None:
        own = columns[:, part]
        done = 1
        if not affine:
            torch.mul(own[0], z[0], out=h)
        elif len(z) == 1:
            h.copy_(z[0].expand_as(h))
        else:
            torch.addcmul(z[0], own[1], z[1], out=h)
            done = 2
        for factor, term in zip(own[done:], z[done:], strict=True):
            h.addcmul_(factor, term)

    return begin


def _products(weights: Tensor, shifts: Tensor | None, rows: Tensor) -> Tensor:
    """Return the first layer's outputs of all bases for a block, ``(bases, F, B)``, padded to whole lines."""
    if extra := -len(rows) % ROWS:
        rows = F.pad(rows, (0, 0, 0, extra))
    flat = weights.flatten(0, 1)
    bias = None if shifts is None else shifts.flatten()[:, None]
    if products.usable(flat, rows):
        found = products.linear(flat, rows)
        found = found if bias is None else found.add_(bias)
    else:
        found = flat @ rows.mT if bias is None else torch.addmm(bias, flat, rows.mT)
    return found.reshape(*weights.shape[:2], -1)


def _runs(path: Path) -> Iterator[tuple[range, list[int]]]:
    """Yield runs of points, and the bases they are combinations of."""
    count = len(path.t)
    pieces = max(1, PIECE_BYTES // path.point_bytes)
    if len(path.bases) <= FEW:
        for start in range(0, count, pieces):
            yield range(start, min(start + pieces, count)), list(range(len(path.bases)))
        return
    used = torch.zeros(len(path.bases), count, dtype=torch.bool)
    for coefficients in path.coefficients.values():
        for k, c in enumerate(coefficients):
            used[k] |= (c != 0).transpose(0, 1).flatten(1).any(1).cpu()
    most = max(1, int(used.sum(0).max()))
    start, bases = 0, used[:, 0]
    for step in range(1, count + 1):
        wider = bases | used[:, step] if step < count else bases
        if step == count or int(wider.sum()) > most or step - start >= pieces:
            yield range(start, step), bases.nonzero()[:, 0].tolist() or [0]
            bases = used[:, step] if step < count else bases
            start = step
        else:
            bases = wider


def _at(coefficient: Tensor, pair: int, steps: range) -> Tensor:
    """Return the coefficients of some points of a path, ``(k, ...)``."""
    own = coefficient[pair if len(coefficient) > 1 else 0]
    part = own[steps.start : steps.stop] if len(own) > 1 else own
    return part.expand(len(steps), *part.shape[1:])


def _free(device: torch.device) -> float:
    return FREE_SHARE * torch.cuda.mem_get_info(device)[0] / 4
