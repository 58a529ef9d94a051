"""All pairs of networks matched at once, where no two sets of hidden units share a parameter.

One hidden layer is the common case.
The gains of a set then depend on no other order: one assignment per pair and set is exact, and the gains of
many pairs are one batched matrix product.
The orders are those that a descent finds for one pair after the other.
"""

from __future__ import annotations

import torch
from torch import Tensor

from spinscape.landscape.symmetry._pair import Pair, assignments, power_of_two, rows
from spinscape.landscape.symmetry.matching import ROUNDING, Search, one_pair
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.units import Axis, Description, Units

CHUNK_BYTES = {"cpu": 2**23, "cuda": 2**31}
"""What gains and weights of the pairs of a chunk may each take: on a CPU about what its cache holds."""


def is_separate(ensemble: Ensemble, description: Description, search: Search) -> bool:
    """Tell whether one assignment per set of units is all that the search would find."""
    if search.method != "descent" or search.restarts:
        return False
    pair = Pair(*one_pair(ensemble, ensemble, 0, 0), description, bias=search.bias)
    return not any(pair.neighbours(units) for units in pair.units)


class Networks:
    """Networks `b` of one description, of which each is brought close to one network `a` after the other.

    Parameters
    ----------
    b
        R networks.
    description
        Sets of units that share no parameter.
    dtype
        The number type to compute in.
    bias
        Whether biases of layers that write the units count in the choice of orders.
    """

    def __init__(self, b: Ensemble, description: Description, dtype: torch.dtype, *, bias: bool) -> None:
        template = Pair(*one_pair(b, b, 0, 0), description, bias=bias)
        self.units = template.units
        self.axes: dict[str, list[Axis]] = {
            units.name: [template.touches[name][k].axis for name, k in template.terms[units.name]]
            for units in self.units
        }
        self.touches = {name: several[0] for name, several in template.touches.items()}
        self.b = {name: value.detach().to(dtype) for name, value in b.params.items()}
        self.replicas, self.device, self.dtype = b.replicas, b.device, dtype
        self.right = {units.name: self._rows(self.b, units) for units in self.units}

    def _rows(self, networks: dict[str, Tensor], units: Units) -> Tensor:
        """Return all weights of each unit as one row, ``(R, size, entries)``."""
        axes = self.axes[units.name]
        parts = [torch.stack([rows(one, axis, units.size) for one in networks[axis.name]]) for axis in axes]
        up = [power_of_two([value[r] for value in networks.values()]) for r in range(len(parts[0]))]
        whole = torch.cat(parts, 2)
        # Powers of 2 change no digit; products of tiny weights would vanish.
        return (
            whole if set(up) == {1.0} else whole * torch.tensor(up, dtype=self.dtype)[:, None, None].to(whole)
        )

    def distances_to(self, a: dict[str, Tensor], first: int = 0) -> tuple[Tensor, Tensor]:
        """Return the distances of the networks from number `first` on to one, as they are and matched.

        Parameters
        ----------
        a
            Parameters ``(1, ...)`` by name.

        Returns
        -------
        raw, matched : Tensor
            float64 ``(R - first,)``, on the CPU.
        """
        orders = {}
        for units in self.units:
            right = self.right[units.name][first:]
            left = self._rows(a, units).expand(len(right), -1, -1)
            orders[units.name] = _better(torch.bmm(left, right.mT))
        raw, matched = [], []
        for name, value in self.b.items():
            raw.append(_norms(a[name] - value[first:]))
            touch = self.touches.get(name)
            if touch is None:
                matched.append(raw[-1])
            else:
                placed = _reordered(value[first:], touch.axis, orders[touch.units])
                matched.append(_norms(a[name] - placed))
        ours, theirs = (torch.stack(norms, 1).square().sum(1).sqrt().cpu() for norms in (raw, matched))
        return ours, theirs


def chunk_of(ensemble: Ensemble, description: Description, dtype: torch.dtype) -> int:
    """Return how many pairs of networks are worked on at once; it follows from shapes and device alone."""
    largest = max((units.size for units in description.units), default=1)
    weights = sum(value[0].numel() for value in ensemble.params.values())
    room = CHUNK_BYTES["cuda" if ensemble.device.type == "cuda" else "cpu"]
    return max(1, room // (dtype.itemsize * max(largest**2, weights)))


def _better(gains: Tensor) -> Tensor:
    """Return the best orders ``(B, size)``, or the identity where they gain no more than rounding."""
    old = torch.arange(gains.shape[1], device=gains.device).expand(gains.shape[:2])
    new = assignments(gains)
    after, before = (gains.gather(2, order[..., None])[..., 0].double() for order in (new, old))
    after, before = (values.where(new != old, 0.0) for values in (after, before))
    gain, scale = (after - before).sum(1), after.abs().sum(1) + before.abs().sum(1)
    return torch.where((gain > ROUNDING * torch.finfo(gains.dtype).eps * scale)[:, None], new, old)


def _reordered(values: Tensor, axis: Axis, orders: Tensor) -> Tensor:
    """Put unit ``orders[b, i]`` of parameters ``(B, ...)`` in place i."""
    if axis.repeat > 1:
        within = torch.arange(axis.repeat, device=orders.device)
        orders = (orders[..., None] * axis.repeat + within).flatten(1)
    count, size = orders.shape
    if axis.axis == 0:
        start = size * torch.arange(count, device=orders.device)[:, None]
        return values.flatten(0, 1).index_select(0, (orders + start).flatten()).view(values.shape)
    shape = [count, *[1] * (values.ndim - 1)]
    shape[axis.axis + 1] = size
    return values.gather(axis.axis + 1, orders.view(shape).expand(values.shape))


def _norms(differences: Tensor) -> Tensor:
    return torch.linalg.vector_norm(differences.flatten(1), dim=1, dtype=torch.float64)
