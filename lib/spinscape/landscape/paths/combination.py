"""Paths between networks: every point is a combination of a few networks.

A straight line takes two of them with one number each per point, a geodesic on the product of spheres takes
two with one number per unit, a quadratic Bezier curve three.
The points are written out only where they are needed: what is linear in the weights, such as a first layer,
can be computed once per network (`profiles`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from spinscape.landscape.symmetry.scaling import Tensors
from spinscape.memory import available_bytes
from spinscape.networks.ensemble import Ensemble

Floats = NDArray[np.float64]
Coefficients = dict[str, tuple[Tensor, ...]]
Rows = slice | Tensor
Which = int | range | slice | Sequence[int] | NDArray[np.int64]

POINTS = 25
"""Points of a path where nothing else is said."""

FEW = 3
"""Bases up to which none is left out where its coefficients are zero."""

LARGE = 4.0
"""Coefficients above which points are summed in double precision: the terms cancel."""


@dataclass(frozen=True)
class Path:
    """K points on each of P paths between networks.

    Attributes
    ----------
    t
        Positions in [0, 1], ``(K,)``; of a map, the number of the point.
    bases
        Ensembles of P networks each, that points are combinations of.
    coefficients
        By name of a parameter one tensor per base, which broadcasts to ``(P, K, *shape of the parameter)``.
        Floating-point buffers are combined likewise; others, such as counts, are those of the first base.
    """

    t: Floats
    bases: tuple[Ensemble, ...] = field(repr=False)
    coefficients: Coefficients = field(repr=False)

    @property
    def pairs(self) -> int:
        """The number P of paths."""
        return self.bases[0].replicas

    @property
    def size(self) -> tuple[int, int]:
        """The numbers of paths and of points, (P, K)."""
        return self.pairs, len(self.t)

    @property
    def point_bytes(self) -> int:
        """Memory of the parameters and buffers of one point."""
        tensors = [*self.bases[0].params.values(), *self.bases[0].buffers.values()]
        return sum(value[0].numel() * value.element_size() for value in tensors)

    def points(self, pairs: Which | None = None, steps: Which | None = None) -> Ensemble:
        """Write out points.

        Parameters
        ----------
        pairs, steps
            Which paths and which of their points, by number; all by default.

        Returns
        -------
        Ensemble
            Path after path, the points of each in turn.

        Raises
        ------
        IndexError
            If a number is out of range or none is chosen.
        MemoryError
            If the points do not fit in memory; it tells how many do.
        """
        rows, columns = self._numbers(pairs, steps)
        count = _length(rows, self.pairs) * _length(columns, len(self.t))
        there = available_bytes(self.bases[0].device)
        # A sum has at most two terms in memory, and they may be in double precision.
        if 2 * count * self.point_bytes > there:
            raise MemoryError(
                f"{count} points take {2 * count * self.point_bytes / 2**30:.3g} GiB, more than there is: "
                f"at most {int(there / (2 * self.point_bytes))} fit; take some of the paths or steps"
            )
        first = self.bases[0]
        params = {name: self._combined(name, rows, columns) for name in first.params}
        buffers = {name: self._combined(name, rows, columns) for name in first.buffers}
        return Ensemble(first.model, params, buffers)

    def parameters(
        self, names: Sequence[str], pairs: Which | None = None, steps: Which | None = None
    ) -> Tensors:
        """Write out some parameters and buffers at points, ``(points, ...)`` by name; see :meth:`points`."""
        rows, columns = self._numbers(pairs, steps)
        return {name: self._combined(name, rows, columns) for name in names}

    def _numbers(self, pairs: Which | None, steps: Which | None) -> tuple[Rows, Rows]:
        return _chosen("path", pairs, self.pairs), _chosen("point", steps, len(self.t))

    def _combined(self, name: str, rows: Rows, columns: Rows) -> Tensor:
        """Return one parameter or buffer at the chosen points, ``(points, ...)``."""
        values = [
            (base.params[name] if name in base.params else base.buffers[name])[rows][:, None]
            for base in self.bases
        ]
        shape = (len(values[0]), _length(columns, len(self.t)), *values[0].shape[2:])
        if name not in self.coefficients:
            return values[0].expand(shape).flatten(0, 1)
        factors = [_part(c, rows, columns) for c in self.coefficients[name]]
        used = list(range(len(factors)))
        if len(factors) > FEW:
            used = [k for k, c in enumerate(factors) if bool(c.any())] or [0]
        dtype = values[0].dtype
        if name in self._cancelling:
            values, factors = ([v.double() for v in these] for these in (values, factors))
        total = (factors[used[0]] * values[used[0]]).expand(shape)
        for i, k in enumerate(used[1:]):
            term = total.addcmul_ if i or total.is_contiguous() else total.addcmul
            total = term(factors[k], values[k])
        return total.to(dtype).flatten(0, 1)

    @cached_property
    def _cancelling(self) -> frozenset[str]:
        """Names of parameters with numbers per unit whose terms may be much larger than their sum."""
        seen: dict[tuple[int, int], bool] = {}
        found = set()
        for name, factors in self.coefficients.items():
            for c in factors:
                if c.shape[2:].numel() == 1:
                    continue
                key = c.data_ptr(), c.numel()
                if key not in seen:
                    seen[key] = bool((c.abs() > LARGE).any())
                if seen[key] and c.device.type != "mps":
                    found.add(name)
        return frozenset(found)


def linear(a: Ensemble, b: Ensemble, t: int | ArrayLike = POINTS) -> Path:
    """Return the straight lines from networks to networks, ``(1 - t) a + t b``.

    Parameters
    ----------
    a, b
        P networks each, or one for all.
    t
        A number of equidistant points (at least 2), or positions in [0, 1] in increasing order.

    Raises
    ------
    ValueError
        If the ensembles do not fit, or `t` is neither.

    Examples
    --------
    >>> net = torch.nn.Linear(1, 1)
    >>> a, b = (Ensemble.from_modules([net]).unflatten(torch.tensor([w])) for w in ([0.0, 1.0], [2.0, 3.0]))
    >>> linear(a, b, 3).points().flat()
    tensor([[0., 1.],
            [1., 2.],
            [2., 3.]])
    """
    positions = as_positions(t)
    return euclidean(positions, same_size((a, b)), np.stack([1 - positions, positions]))


def bezier(a: Ensemble, control: Ensemble, b: Ensemble, t: int | ArrayLike = POINTS) -> Path:
    """Return quadratic Bezier curves, ``(1 - t)^2 a + 2 t (1 - t) control + t^2 b``.

    Parameters
    ----------
    a, b
        The ends, P networks each, or one for all.
    control
        The points that pull the curves, P networks.
    t
        As for :func:`linear`.

    Raises
    ------
    ValueError
        If the ensembles do not fit, or `t` is no number of points and no positions.

    Notes
    -----
    Garipov et al. 2018, Loss surfaces, mode connectivity, and fast ensembling of DNNs, equation 3.
    """
    s = as_positions(t)
    weights = np.stack([(1 - s) ** 2, 2 * s * (1 - s), s**2])
    return euclidean(s, same_size((a, control, b)), weights)


def broken(pivots: Ensemble, t: int | ArrayLike = POINTS, *, pairs: int = 1) -> Path:
    """Return the paths of straight pieces through given points, which lie at equal distances in t.

    Parameters
    ----------
    pivots
        M points of each of P paths, path after path.
    t
        As for :func:`linear`.
    pairs
        The number P of paths.

    Raises
    ------
    ValueError
        If there are not at least two pivots for every path, or `t` is no number of points and no positions.
    """
    if pairs < 1 or pivots.replicas % pairs or pivots.replicas < 2 * pairs:
        raise ValueError(f"{pivots.replicas} pivots are not two or more for each of {pairs} paths")
    count = pivots.replicas // pairs
    positions = as_positions(t)
    weights = np.clip(1 - np.abs(positions * (count - 1) - np.arange(count)[:, None]), 0, None)
    return euclidean(positions, tuple(pivots[m::count] for m in range(count)), weights)


def euclidean(t: Floats, bases: tuple[Ensemble, ...], weights: Floats) -> Path:
    """Return combinations with one number per point and base, the same for all parameters.

    Parameters
    ----------
    t
        Positions ``(K,)``.
    bases
        Ensembles of P networks.
    weights
        ``(bases, K)`` or ``(bases, P, K)``.
    """
    return Path(t, bases, weights_of(bases[0], weights, list(bases[0].params)))


def weights_of(like: Ensemble, weights: Floats, names: Sequence[str]) -> Coefficients:
    """Return coefficients of some parameters, and of all floating-point buffers, from numbers per point.

    Parameters
    ----------
    like
        The networks.
    weights
        ``(bases, K)`` or ``(bases, P, K)``.
    names
        The parameters.
    """
    table = torch.from_numpy(np.ascontiguousarray(weights))
    table = table[:, None] if table.ndim == 2 else table
    # A variance must not turn negative where points lie beyond the networks.
    kept = table.clamp_min(0)
    kept = kept / kept.sum(0)
    found = {}
    converted: dict[tuple[bool, torch.dtype], tuple[Tensor, ...]] = {}
    for tensors, numbers in (({n: like.params[n] for n in names}, table), (like.buffers, kept)):
        for name, value in tensors.items():
            if not value.is_floating_point():
                continue
            key = numbers is kept, value.dtype
            if key not in converted:
                converted[key] = numbers.to(value.dtype).to(value.device).unbind()
            shape = (*numbers.shape[1:], *[1] * (value.ndim - 1))
            found[name] = tuple(c.reshape(shape) for c in converted[key])
    return found


def as_positions(t: int | ArrayLike) -> Floats:
    """Return positions on a path, ``(K,)``, from their number or from themselves.

    Raises
    ------
    ValueError
        If there are fewer than two equidistant points, or positions are not in [0, 1] and increasing.
    """
    if isinstance(t, int | np.integer) and not isinstance(t, bool):
        if t < 2:
            raise ValueError(f"a path needs at least 2 points, not {t}")
        return np.linspace(0.0, 1.0, int(t))
    positions = np.array(t, dtype=np.float64)
    good = positions.ndim == 1 and positions.size and positions.min() >= 0 and positions.max() <= 1
    if not good or not bool((np.diff(positions) > 0).all()):
        raise ValueError(f"t must be a number of points, or positions from 0 to 1 that increase, not {t}")
    return positions


def same_size(ensembles: Sequence[Ensemble]) -> tuple[Ensemble, ...]:
    """Return ensembles of the same number of networks of one model; one network serves for all.

    Raises
    ------
    ValueError
        If numbers, modules, names, shapes, types or devices differ.
    """
    count = max(ensemble.replicas for ensemble in ensembles)
    first = _signature(ensembles[0])
    for ensemble in ensembles:
        if ensemble.replicas not in (1, count):
            raise ValueError(f"{ensemble.replicas} networks cannot be paired with {count}")
        if _signature(ensemble) != first:
            raise ValueError(
                "networks of a path must have the same parameters, modules, number type and device"
            )
    return tuple(e if e.replicas == count else _expanded(e, count) for e in ensembles)


def _signature(ensemble: Ensemble) -> object:
    tensors = ensemble.params | ensemble.buffers
    shapes = {name: (value.shape[1:], value.dtype, value.device) for name, value in tensors.items()}
    return repr(ensemble.model), shapes


def _expanded(ensemble: Ensemble, count: int) -> Ensemble:
    def expand(tensors: Mapping[str, Tensor]) -> Tensors:
        return {name: value.expand(count, *value.shape[1:]) for name, value in tensors.items()}

    return Ensemble(ensemble.model, expand(ensemble.params), expand(ensemble.buffers))


def _part(coefficient: Tensor, rows: Rows, columns: Rows) -> Tensor:
    """Return the coefficients of some paths and points; axes of length 1 stay."""
    if len(coefficient) > 1:
        coefficient = coefficient[rows]
    return coefficient[:, columns] if coefficient.shape[1] > 1 else coefficient


def _chosen(what: str, which: Which | None, count: int) -> Rows:
    """Return numbers of paths or points, checked; slices where that is enough."""
    if which is None:
        return slice(0, count)
    try:
        if isinstance(which, int | np.integer):
            which = range(count)[int(which)]
            return slice(which, which + 1)
        if isinstance(which, range) and which and which.step == 1 and 0 <= which[0] <= which[-1] < count:
            return slice(which.start, which.stop)
        found = np.arange(count)[which]
    except IndexError:
        raise IndexError(f"there are {count} {what}s, and {which} is none of them") from None
    if not found.size:
        raise IndexError(f"no {what} was chosen")
    return torch.from_numpy(found.copy())


def _length(rows: Rows, count: int) -> int:
    return len(range(*rows.indices(count))) if isinstance(rows, slice) else len(rows)
