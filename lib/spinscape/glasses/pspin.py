"""The spherical p-spin glass: couplings, energy, and its derivatives on the sphere.

With couplings ``J`` i.i.d. N(0, 1) over all ordered tuples and points ``s`` on the sphere ``|s|^2 = n``,

    H(s) = n^{-(p-1)/2} sum_{i1..ip} J_{i1..ip} s_i1 ... s_ip,    E[H(s) H(s')] = n (s.s'/n)^p.

Only the symmetric part S of J enters, and it is what a `PSpin` holds.
Everything works on I instances and K points of each at once.
One product of S with p - 2 factors s, a matrix product, gives the Hessian, and with one and two
further factors the gradient and the energy.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from spinscape.glasses._arguments import whole
from spinscape.glasses._draws import COUPLINGS, POINTS, generator
from spinscape.glasses._memory import chunk_bytes
from spinscape.memory import available_bytes


@dataclass(frozen=True, eq=False)
class PSpin:
    """I instances of a spherical p-spin glass of n spins.

    Attributes
    ----------
    couplings
        Symmetric couplings S, shape (I, n, ..., n) with p axes of n; real, finite.

    Raises
    ------
    TypeError
        If the couplings are no tensor of real floating-point numbers.
    ValueError
        If p or n is below 2, the axes differ in length, there is no instance, a coupling is not
        finite, or the couplings are not symmetric (see `PSpin.symmetrised`).

    Examples
    --------
    >>> glass = PSpin.sample(3, 20, instances=4, seed=1)
    >>> points = random_points(4, 10, 20, seed=2)
    >>> glass.energy_per_spin(points).shape
    torch.Size([4, 10])
    """

    couplings: Tensor

    def __post_init__(self) -> None:
        _check_shape(self.couplings)
        _check_values(self.couplings)

    @classmethod
    def sample(
        cls,
        p: int,
        n: int,
        *,
        instances: int = 1,
        seed: int = 0,
        dtype: torch.dtype = torch.float64,
        device: str | torch.device = "cpu",
    ) -> PSpin:
        """Draw instances: the symmetric part of i.i.d. standard normals over ordered tuples.

        Instance i depends on the seed, p, n, the type and i only; another p, n or i is independent of it.

        Parameters
        ----------
        p
            Number of spins that a coupling couples, at least 2.
        n
            Number of spins, at least 2.
        instances
            Number of instances I.
        seed
            Seed of the couplings.
        dtype
            ``torch.float64`` or ``torch.float32``.
        device
            Where the couplings live; they are drawn on the CPU.

        Raises
        ------
        ValueError
            If p, n, `instances` or the seed is no whole number or too small, or the couplings do not fit
            in memory.
        """
        p, n, instances = whole(p, "p", 2), whole(n, "n", 2), whole(instances, "instances", 1)
        if dtype not in (torch.float32, torch.float64):
            raise ValueError(f"dtype must be torch.float32 or torch.float64, not {dtype}")
        place = torch.device(device)
        check_fits(p, n, instances, dtype, place)
        couplings = torch.empty(instances, *p * (n,), dtype=dtype, device=place)
        spare = torch.empty(p * (n,), dtype=dtype)
        for i, one in enumerate(couplings):
            drawn = one if place.type == "cpu" else torch.empty_like(spare)
            source = generator(seed, COUPLINGS, p, n, i)
            source.standard_normal(dtype=drawn.numpy().dtype, out=drawn.numpy())
            one.copy_(_symmetrise(drawn, spare))
        return cls._trusted(couplings)

    @classmethod
    def symmetrised(cls, couplings: Tensor) -> PSpin:
        """Take the symmetric part of any real couplings (I, n, ..., n), which has the same energy."""
        _check_shape(couplings)
        if not bool(torch.isfinite(couplings).all()):
            raise ValueError("couplings must be finite")
        out = torch.empty_like(couplings)
        for i, one in enumerate(couplings):
            out[i] = _symmetrise(one.clone(), torch.empty_like(one))
        return cls._trusted(out)

    @classmethod
    def _trusted(cls, couplings: Tensor) -> PSpin:
        """Make an instance of couplings that are known to be valid."""
        glass = object.__new__(cls)
        object.__setattr__(glass, "couplings", couplings)
        return glass

    @property
    def p(self) -> int:
        """Number of spins that a coupling couples."""
        return self.couplings.dim() - 1

    @property
    def n(self) -> int:
        """Number of spins."""
        return self.couplings.shape[-1]

    @property
    def instances(self) -> int:
        """Number of instances I."""
        return self.couplings.shape[0]

    @property
    def device(self) -> torch.device:
        """Where the couplings live."""
        return self.couplings.device

    @property
    def dtype(self) -> torch.dtype:
        """Type of the couplings, and of all results."""
        return self.couplings.dtype

    @property
    def scale(self) -> float:
        """The factor ``n^{-(p-1)/2}`` of the energy."""
        return self.n ** (-(self.p - 1) / 2)

    def __len__(self) -> int:
        return self.instances

    def __getitem__(self, which: int | slice | Tensor) -> PSpin:
        """Return some of the instances; a number keeps the axis, with length 1."""
        if isinstance(which, int):
            if not -len(self) <= which < len(self):
                raise IndexError(f"there are {len(self)} instances, no number {which}")
            which = slice(which % len(self), which % len(self) + 1)
        chosen = self.couplings[which]
        if len(chosen) == 0:
            raise IndexError("no instance is left")
        return self._trusted(chosen)

    def __iter__(self) -> Iterator[PSpin]:
        return (self[i] for i in range(len(self)))

    def to(self, where: str | torch.device | torch.dtype) -> PSpin:
        """Return the same instances on another device or in another type."""
        return self._trusted(self.couplings.to(where))

    def contract(self, points: Tensor, times: int) -> Tensor:
        """Contract the couplings `times` times with each point: ``S.s^times``, without the factor.

        Parameters
        ----------
        points
            Shape (I, K, n).
        times
            Number of factors, 1 to p.

        Returns
        -------
        Tensor
            Shape (I, K, n, ..., n) with p - times axes of n.
        """
        points = self._points(points)
        if not 1 <= times <= self.p:
            raise ValueError(f"times must be from 1 to {self.p}, not {times}")
        i, k, n = points.shape
        first = min(times, (self.p + 1) // 2)
        wide = max(first, self.p - first)
        size = self.chunk(2.0 * n**wide)
        rows, columns = max(1, size // k), min(size, k)
        out = points.new_empty(i, k, *(self.p - times) * (n,))
        for a in range(0, i, rows):
            for b in range(0, k, columns):
                part = slice(a, a + rows), slice(b, b + columns)
                out[part] = _contract(self.couplings[part[0]], points[part], times, first)
        return out

    def energy(self, points: Tensor) -> Tensor:
        """Return H, extensive, shape (I, K), at points (I, K, n); homogeneous of degree p off the sphere."""
        return self.scale * self.contract(points, self.p)

    def energy_per_spin(self, points: Tensor) -> Tensor:
        """Return H / n, shape (I, K), at points (I, K, n)."""
        return self.energy(points) / self.n

    def euclidean_gradient(self, points: Tensor) -> Tensor:
        """Return the gradient of H in R^n, shape (I, K, n), at points (I, K, n)."""
        return self.p * self.scale * self.contract(points, self.p - 1)

    def gradient(self, points: Tensor) -> Tensor:
        """Return the Riemannian gradient of H on the sphere ``|s|^2 = n``: tangent, shape (I, K, n).

        Raises
        ------
        ValueError
            If a point is off the sphere.
        """
        return self.energy_and_gradient(points)[1]

    def energy_and_gradient(self, points: Tensor, *, checked: bool = False) -> tuple[Tensor, Tensor]:
        """Return H (I, K) and its Riemannian gradient (I, K, n) for the price of the gradient.

        Parameters
        ----------
        points
            Points on the sphere, shape (I, K, n).
        checked
            Whether the points are known to lie on the sphere.

        Raises
        ------
        ValueError
            If a point is off the sphere.
        """
        points = points if checked else self.on_sphere(points)
        full = self.euclidean_gradient(points)
        radial = (full * points).sum(-1)
        return radial / self.p, full.sub_((radial / self.n)[..., None] * points)

    def hessian(self, points: Tensor) -> Tensor:
        """Return the Riemannian Hessian of H in the basis `tangent_basis`, shape (I, K, n-1, n-1).

        It is ``B^T (d2H - (s.dH / n) 1) B`` with an orthonormal basis B of the tangent space.
        At a critical point of energy per spin u its spectrum tends to the semicircle of radius
        ``2 sqrt(p (p-1))`` about ``-p u``.

        Raises
        ------
        ValueError
            If a point is off the sphere, or the Hessians do not fit in memory.
        """
        points = self.on_sphere(points)
        i, k, n = points.shape
        needed = 3.0 * i * k * n * n * points.element_size()
        if needed > available_bytes(self.device):
            raise ValueError(
                f"{i * k} Hessians of {n} spins take {needed / 2**30:.1f} GiB, more than there is: ask for "
                f"at most {int(i * k * available_bytes(self.device) / needed)} at a time"
            )
        second = self._second(points)
        radial = (second @ points[..., None])[..., 0].mul(points).sum(-1) / (self.p - 1)
        out = _matrix_to_tangent(second, points)
        out = (out + out.mT) / 2
        out.diagonal(dim1=-2, dim2=-1).sub_(radial[..., None] / n)
        return out

    def on_sphere(self, points: Tensor) -> Tensor:
        """Return points (I, K, n) in the type of the couplings, after a check that they are on the sphere."""
        points = self._points(points)
        off = (points.square().sum(-1) / self.n - 1).abs()
        if off.numel() and not float(off.max()) <= math.sqrt(torch.finfo(self.dtype).eps):
            raise ValueError(f"points must lie on the sphere |s|^2 = {self.n}; see to_sphere")
        return points

    def _second(self, points: Tensor) -> Tensor:
        """Second derivatives of H in R^n, shape (I, K, n, n)."""
        if self.p == 2:
            i, k, n = points.shape
            return (2 * self.scale * self.couplings)[:, None].expand(i, k, n, n)
        return self.p * (self.p - 1) * self.scale * self.contract(points, self.p - 2)

    def chunk(self, numbers: float) -> int:
        """Return how many points to work on at once if each takes that many numbers."""
        size = self.couplings.element_size()
        # Each chunk reads all couplings of an instance: where they are large, so is the chunk.
        instance = float(self.n) ** self.p * size
        return max(1, int(max(chunk_bytes(self.device), instance / 4) / (numbers * size)))

    def _points(self, points: Tensor) -> Tensor:
        if points.dim() != 3 or points.shape[0] != self.instances or points.shape[2] != self.n:
            raise ValueError(
                f"points must have shape ({self.instances}, K, {self.n}), not {tuple(points.shape)}"
            )
        return points.to(self.couplings)


def random_points(
    instances: int,
    k: int,
    n: int,
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
    device: str | torch.device = "cpu",
) -> Tensor:
    """Draw points uniformly on the sphere ``|s|^2 = n``, shape (instances, k, n).

    Point j of instance i depends on the seed, n, i and j only; another n, i or j is independent of it.

    Raises
    ------
    ValueError
        If a number is too small or no whole number, or the points do not fit in memory.
    """
    instances, k, n = whole(instances, "instances", 1), whole(k, "k", 1), whole(n, "n", 2)
    check_points(instances, k, n, torch.device(device))
    draws = np.stack([generator(seed, POINTS, n, i).standard_normal((k, n)) for i in range(instances)])
    return to_sphere(torch.from_numpy(draws)).to(dtype=dtype, device=device)


def to_sphere(points: Tensor) -> Tensor:
    """Scale points (..., n) to ``|s|^2 = n``."""
    return points * (math.sqrt(points.shape[-1]) / torch.linalg.vector_norm(points, dim=-1, keepdim=True))


def tangent_basis(points: Tensor) -> Tensor:
    """Return an orthonormal basis of the tangent space at points (..., n): columns of (..., n, n-1).

    They are the last columns of the Householder reflection that takes the first axis to the point.
    """
    w = _reflection(points)
    return torch.eye(points.shape[-1]).to(points)[:, 1:] - w[..., :, None] * w[..., None, 1:]


def to_tangent(vectors: Tensor, points: Tensor) -> Tensor:
    """Return coordinates (..., n-1) of vectors (..., n) in the `tangent_basis` at points (..., n)."""
    w = _reflection(points)
    return vectors[..., 1:] - (w * vectors).sum(-1, keepdim=True) * w[..., 1:]


def from_tangent(coordinates: Tensor, points: Tensor) -> Tensor:
    """Return the tangent vectors (..., n) with given coordinates (..., n-1) in the `tangent_basis`."""
    w = _reflection(points)
    inner = (w[..., 1:] * coordinates).sum(-1, keepdim=True)
    return torch.nn.functional.pad(coordinates, (1, 0)) - inner * w


def check_fits(p: int, n: int, instances: int, dtype: torch.dtype, device: torch.device) -> None:
    """Refuse couplings that do not fit in memory, a spare instance for the drawing included.

    Raises
    ------
    ValueError
        It names the largest n allowed for this p, or where there is none the most instances or largest p.
    """
    size = torch.finfo(dtype).bits // 8
    here, there = available_bytes(torch.device("cpu")), available_bytes(device)

    def room(count: int) -> float:
        """Log of the couplings of an instance that fit if there are so many instances."""
        most = here / (count + 1) if device.type == "cpu" else min(here / 2, there / count)
        return math.log(most / size) if most > 0 else -math.inf

    fits = room(instances)
    if p * math.log(n) <= fits:
        return
    if p * math.log(2) <= fits:
        allowed = f"at p = {p} the largest n allowed here is {int(math.exp(fits / p) + 1e-9)}"
    elif p * math.log(n) <= room(1):
        each = size * float(n) ** p
        most = int(here / each) - 1 if device.type == "cpu" else int(there / each)
        allowed = f"at p = {p} and n = {n} at most {most} instances are allowed here"
    else:
        allowed = f"at n = {n} the largest p allowed here is {int(room(1) / math.log(n))}"
    digits = math.log10(instances * size) + p * math.log10(n) - 30 * math.log10(2)
    needed = f"{10**digits:.3g}" if digits < 6 else f"10^{digits:.0f}"
    raise ValueError(
        f"{instances} instances of {n}^{p} couplings take {needed} GiB and some room to draw them, "
        f"more than there is: {allowed}"
    )


def check_points(instances: int, k: int, n: int, device: torch.device, *, copies: int = 3) -> None:
    """Refuse so many points that not even a few copies of them fit in memory.

    Raises
    ------
    ValueError
        It names how many points of each instance are allowed.
    """
    each = 8.0 * copies * instances * n
    most = min(available_bytes(torch.device("cpu")), available_bytes(device))
    if k > most / each:
        raise ValueError(
            f"{k} points of {n} spins for each of {instances} instances take {each * k / 2**30:.3g} GiB, "
            f"more than there is: at most {int(most / each)} are allowed here"
        )


def _check_shape(couplings: Tensor) -> None:
    if not isinstance(couplings, Tensor) or not couplings.dtype.is_floating_point:
        raise TypeError("couplings must be a tensor of real floating-point numbers")
    shape = tuple(couplings.shape)
    if len(shape) < 3 or len(set(shape[1:])) != 1 or shape[1] < 2 or shape[0] < 1:
        raise ValueError(
            f"couplings must have shape (instances, n, ..., n) with p >= 2 axes of n >= 2, not {shape}"
        )


def _check_values(couplings: Tensor) -> None:
    """Refuse couplings that are not finite or not symmetric, one slab at a time."""
    for one in couplings:
        largest = max(float(-one.min()), float(one.max()))
        if not math.isfinite(largest):
            raise ValueError("couplings must be finite")
        allowed = 4 * one.dim() * torch.finfo(one.dtype).eps * largest
        for axis in range(one.dim() - 1):
            swapped = one.transpose(axis, axis + 1)
            if any(float((a - b).abs().max()) > allowed for a, b in zip(one, swapped, strict=True)):
                raise ValueError(
                    f"couplings must be symmetric, but change when spin axes {axis} and {axis + 1} are "
                    "swapped; PSpin.symmetrised takes their symmetric part"
                )


def _symmetrise(held: Tensor, spare: Tensor) -> Tensor:
    """Mean over all orders of the axes; both tensors are overwritten and one of them is returned.

    A tensor symmetric in its first m axes becomes so in m + 1 by the mean over itself and the m swaps
    of one of them with the next.
    """
    for m in range(1, held.dim()):
        spare.copy_(held)
        for axis in range(m):
            spare.add_(held.transpose(axis, m))
        spare.div_(m + 1)
        held, spare = spare, held
    return held


def _contract(couplings: Tensor, points: Tensor, times: int, first: int) -> Tensor:
    """``S.s^times``: the first factors at once as one matrix product, the others one by one."""
    i, k, n = points.shape
    rank = couplings.dim() - 1
    powers = points
    for _ in range(first - 1):
        powers = (powers[..., None] * points[:, :, None, :]).flatten(2)
    left = powers @ couplings.reshape(i, n**first, n ** (rank - first))
    for done in range(first, times):
        left = (left.view(i, k, n ** (rank - done - 1), n) @ points[..., None])[..., 0]
    return left.reshape(i, k, *(rank - times) * (n,))


def _reflection(points: Tensor) -> Tensor:
    """Return w with ``|w|^2 = 2``: ``1 - w w^T`` takes the first axis to the line of the point."""
    w = torch.nn.functional.normalize(points, dim=-1).clone()
    w[..., 0] += torch.where(w[..., 0] < 0, -1.0, 1.0)
    return w * (math.sqrt(2) / torch.linalg.vector_norm(w, dim=-1, keepdim=True))


def _matrix_to_tangent(matrices: Tensor, points: Tensor) -> Tensor:
    """``B^T M B`` for symmetric M (..., n, n) and the tangent basis B, by two rank-one updates."""
    w = _reflection(points)
    mw = (matrices @ w[..., None])[..., 0]
    v = mw - (w * mw).sum(-1, keepdim=True) / 2 * w
    a, b = w[..., 1:], v[..., 1:]
    out = matrices[..., 1:, 1:] - a[..., :, None] * b[..., None, :]
    return out.sub_(b[..., :, None] * a[..., None, :])
