"""Losses along paths of networks whose first layer is linear, computed once per network.

The output of a linear layer is linear in its weights.
So where every point is a combination of a few bases, with one number per unit, the layer's products are taken
once for each base, and a point costs additions: with 25 points on a line between networks of one hidden layer
that is 2 products of the first layer in place of 25.

Where the activation commutes with positive factors, the numbers of a unit are divided by their sum, which
goes into the next layer, and the sum of terms begins with a base as it is: one pass less over the hidden
layer.

In networks of one hidden layer of ReLU units, in float32 on one core, the hidden layer of a point is not even
written out (`_fused`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from spinscape.landscape.paths.combination import FEW, Path
from spinscape.networks import products
from spinscape.networks.chain import ONEDNN_PRODUCTS, Scores, is_chain, layers, outputs
from spinscape.networks.device import FREE_SHARE
from spinscape.networks.forward import ROWS, is_stackable, stacked_forward
from spinscape.networks.losses import PerSample
from spinscape.networks.mixture import Named, cut

Tensors = dict[str, Tensor]

Run = Callable[[Tensor], Tensor]
"""First layers of the bases for a block of samples, ``(bases, F, B)``, to outputs of the points."""

Begin = Callable[[Tensor, slice, Tensor], None]
"""Fills the hidden layer of some points from that of the bases."""

SAMPLES, MANY_SAMPLES = 768, 1536
"""Samples that go through together on a CPU, at most; products that oneDNN takes over gain from many."""

GPU_SAMPLES = 2**14

CHAIN_BYTES = 2**22
"""Layers of the points that go through a chain together on a CPU."""

UNITS, FUSED_BASES = 4, (2, 3)
"""What the number of units must be a multiple of where the hidden layer is not written out, and the numbers
of bases that there is a sum for."""

STACK_BYTES = 8 * 2**20
"""Likewise through a model with batch norms or shortcuts."""

PIECE_BYTES = 2**28
"""Parameters of the points that are written out at once."""

LARGEST_RATIO = 100.0
"""Of the norms of first layers up to which sums begin with a base as it is."""

LEAST_SUM = 0.1
"""Sums of coefficients from which on one may divide by them."""


@dataclass(frozen=True)
class Parts:
    """A model taken apart around its first linear layer.

    Attributes
    ----------
    before
        The modules before that layer.
    name
        The layer's name.
    after
        The modules after it, with their names.
    reader
        The layer that a positive factor of a unit of the first layer may go into instead; its name, or None.
    """

    before: list[nn.Module]
    name: str
    after: list[Named]
    reader: str | None


def take_apart(path: Path) -> Parts | None:
    """Take the model of a path apart; None where its first layer cannot be computed once per network."""
    first = path.bases[0]
    if not is_stackable(first.model) or first.device.type not in ("cpu", "cuda"):
        return None
    assert isinstance(first.model, nn.Sequential)
    parts = cut(first.model)
    if parts is None or not _by_unit(path, parts[1][0]):
        return None
    before, (name, _), after = parts
    return Parts([module for _, module in before], name, after, _reader(after))


def _by_unit(path: Path, name: str) -> bool:
    """Tell whether the coefficients of a layer are the same for all that enters a unit, its bias included."""
    weights = path.coefficients[f"{name}.weight"]
    if any(c.shape[-1] != 1 for c in weights):
        return False
    biases = path.coefficients.get(f"{name}.bias", ())
    return all(
        (w.data_ptr() == b.data_ptr() and w.shape[:-1] == b.shape) or torch.equal(w[..., 0], b)
        for w, b in zip(weights, biases, strict=False)
    )


def _reader(after: list[Named]) -> str | None:
    """Return the linear layer that reads the first layer through an activation that takes factors along."""
    for name, module in after:
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
        self.rows = x.to(path.bases[0].dtype)
        for module in parts.before:
            self.rows = module(self.rows)
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
        self.factors, self.scale, affine = self._divided()
        self.affine = [affine and alike for alike in self._alike()]
        self.rest = None if is_chain(module for _, module in parts.after) else _rest(path, parts)
        self.fused = self._two_layers()
        first = path.bases[0]
        own = {f"{parts.name}.weight", f"{parts.name}.bias"}
        self.others = [name for name in (*first.params, *first.buffers) if name not in own]
        blocks = -(-len(x) // self._samples())
        self.block = -(-len(x) // (blocks * ROWS)) * ROWS
        self.runs = list(_runs(path))

    def _two_layers(self) -> bool:
        """Tell whether the model is one hidden layer of ReLU units, in float32 on one core."""
        after = [type(module) for _, module in self.parts.after if type(module) is not nn.Identity]
        plain = after == [nn.ReLU, nn.Linear] and self.rows.dtype == torch.float32 and not self.width % UNITS
        return plain and self.cpu and torch.get_num_threads() == 1

    def _samples(self) -> int:
        """Return the largest number of samples at once, from the shapes of one network alone."""
        if not self.cpu:
            return GPU_SAMPLES
        matrices = [p[0] for name, p in self.path.bases[0].params.items() if name in self.others]
        largest = max((matrix.numel() for matrix in matrices if matrix.ndim > 1), default=0)
        return MANY_SAMPLES if largest * MANY_SAMPLES >= ONEDNN_PRODUCTS else SAMPLES

    @torch.no_grad()
    def __call__(self, pair: int) -> tuple[Tensor, Tensor]:
        """Return losses and shares ``(K,)``, float64 on the CPU, of one path."""
        found = [self._run(pair, steps, bases) for steps, bases in self.runs]
        losses, shares = zip(*found, strict=True)
        return torch.cat(losses), torch.cat(shares)

    def _run(self, pair: int, steps: range, bases: list[int]) -> tuple[Tensor, Tensor]:
        """Evaluate consecutive points that are combinations of the same bases."""
        own = pair if self.factors.shape[1] > 1 else 0
        part = slice(steps.start, steps.stop)
        factors = self.factors[bases, own, part]
        points = self.path.parameters(self.others, pair, steps)
        if self.scale is not None:
            name = f"{self.parts.reader}.weight"
            points[name] = points[name] * self.scale[own, part, None]
        weights, shifts = (
            self._of_bases(f"{self.parts.name}.{what}", pair, bases) for what in ("weight", "bias")
        )
        assert weights is not None
        if self.fused and len(bases) in FUSED_BASES:
            run = self._fused(points, factors, affine=self.affine[pair])
        else:
            through = self._through_chain if self.rest is None else self._stacked
            run = through(points, len(steps), _sum_of(factors[..., None], affine=self.affine[pair]))
        found = []
        for start in range(0, len(self.y), self.block):
            z = _products(weights, shifts, self.rows[start : start + self.block])
            found.append(self.scores(run(z), self.y[start : start + self.block]))
        losses, hits = (sum(these[1:], these[0]) for these in zip(*found, strict=True))
        return self.scores.means(losses, hits)

    def _of_bases(self, name: str, pair: int, bases: list[int]) -> Tensor | None:
        """Return a parameter of some bases, ``(bases, ...)``, or what the others are beyond the first."""
        if name not in self.path.bases[0].params:
            return None
        values = [self.path.bases[k].params[name][pair] for k in bases]
        return torch.stack([values[0], *[v - values[0] if self.affine[pair] else v for v in values[1:]]])

    def _alike(self) -> list[bool]:
        """Tell for each pair whether first layers are of one scale, so that differences keep their digits."""
        weights = [base.params[f"{self.parts.name}.weight"] for base in self.path.bases]
        norms = torch.stack([weight.detach().flatten(1).norm(dim=1) for weight in weights])
        return [bool(one) for one in norms.amax(0) <= LARGEST_RATIO * norms.amin(0)]

    def _divided(self) -> tuple[Tensor, Tensor | None, bool]:
        """Return coefficients of units, ``(bases, P or 1, K, F or 1)``, and what they were divided by, if so.

        And whether the first counts as 1, and the others belong to differences from the first base.
        """
        count = len(self.path.t)
        own = [c[..., 0] for c in self.path.coefficients[f"{self.parts.name}.weight"]]
        factors = torch.stack([c if c.shape[1] == count else c.expand(-1, count, -1) for c in own])
        total = factors.sum(0)
        near = 8 * torch.finfo(factors.dtype).eps
        if bool(((total - 1).abs() <= near).all()):
            return factors, None, True
        if self.parts.reader is None or not bool((total >= LEAST_SUM).all()):
            return factors, None, False
        return factors / total, total, True

    def _fused(self, points: Tensors, factors: Tensor, *, affine: bool) -> Run:
        # numba takes a third of a second to import.
        from spinscape.landscape.paths._fused import layers as fused_layers

        full = factors.expand(-1, -1, self.width).clone()
        if affine:
            full[0] = 1
        weight, bias = (points.get(f"{self.parts.reader}.{what}") for what in ("weight", "bias"))
        assert weight is not None
        return fused_layers(full, weight, bias)

    def _through_chain(self, points: Tensors, count: int, begin: Begin) -> Run:
        chain = layers(self.parts.after, points)
        room = float(CHAIN_BYTES) if self.cpu else _free(self.y.device)

        def run(z: Tensor) -> Tensor:
            return outputs(
                chain, partial(begin, z), self.width, count, z,
                size=self.chunk, bytes_at_once=room, onednn=True,
            )  # fmt: skip

        return run

    def _stacked(self, points: Tensors, count: int, begin: Begin) -> Run:
        rest = self.rest
        assert rest is not None
        params = {name: points[name] for name, _ in rest.named_parameters()}
        buffers = {name: points[name] for name, _ in rest.named_buffers()}

        def run(z: Tensor) -> Tensor:
            room = STACK_BYTES if self.cpu else _free(self.y.device)
            size = self.chunk or max(1, int(room // (3 * z.element_size() * self.widest * z.shape[-1])))
            found = []
            for start in range(0, count, size):
                part = slice(start, min(start + size, count))
                h = z.new_empty(part.stop - part.start, *z.shape[1:])
                begin(z, part, h)
                own = ({name: value[part] for name, value in these.items()} for these in (params, buffers))
                found.append(stacked_forward(rest, next(own), h.mT, next(own)).mT)
            return torch.cat(found)

        return run


def _rest(path: Path, parts: Parts) -> nn.Sequential:
    """Return a model with an identity in place of all up to its first linear layer."""
    named = [(parts.name, nn.Identity()), *parts.after]
    return type(path.bases[0].model)(OrderedDict(named))  # type: ignore[arg-type, return-value]


def _sum_of(factors: Tensor, *, affine: bool) -> Begin:
    """Return what sums up outputs of bases ``(bases, F, B)`` with factors ``(bases, K, F or 1, 1)``."""

    def begin(z: Tensor, part: slice, h: Tensor) -> None:
        done = 2
        if not affine:
            torch.mul(factors[0][part], z[0], out=h)
            done = 1
        elif len(z) == 1:
            h.copy_(z[0].expand_as(h))
        else:
            torch.addcmul(z[0], factors[1][part], z[1], out=h)
        for k in range(done, len(z)):
            h.addcmul_(factors[k][part], z[k])

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
    return found.unflatten(0, weights.shape[:2])


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


def _free(device: torch.device) -> float:
    return FREE_SHARE * torch.cuda.mem_get_info(device)[0] / 4
