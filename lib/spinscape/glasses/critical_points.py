"""Every critical point of a spherical p-spin glass, certified.

Critical points of ``H`` on the sphere ``|s|^2 = n`` are the real eigenvectors of the symmetric tensor S
of the couplings, ``S s^{p-1} = lambda s``.
A generic S has exactly ``((p-1)^n - 1) / (p-2)`` classes of complex eigenvectors (n of them at p = 2), so
finding that many distinct ones proves that none is missing, the real ones included.
`find` reaches all of them by a homotopy; `find_by_newton` searches the real ones from random starts, and
knows no completeness.
Each real class is two antipodal points.
For odd p the point -s has energy -u and index n-1-k where s has u and k; for even p both agree.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from spinscape import progress
from spinscape.glasses import _classes
from spinscape.glasses._arguments import whole
from spinscape.glasses._eigenpairs import Tensors
from spinscape.glasses._enumeration import enumerate_classes, expected_classes
from spinscape.glasses._newton_search import search
from spinscape.glasses._real_points import landscape
from spinscape.glasses.pspin import PSpin, check_points
from spinscape.memory import available_bytes

MOST_CLASSES = 20_000
"""Complex classes per instance up to which `find` starts; p = 3 to n = 14, p = 4 to 9, p = 5 to 7."""

PATHS = {"cpu": 4096, "cuda": 2**17}
"""Paths that are followed at once, unless one instance has more."""

HELD = 2**18
"""Complex classes that are kept at once, about 40 MiB."""

DEGENERATE = 1e-10
"""Gap of two eigenvalues, relative to the largest, below which an instance at p = 2 is not generic."""


@dataclass(frozen=True)
class Found:
    """The critical points of one instance, sorted by energy.

    Attributes
    ----------
    points
        Shape (K, n), on the sphere ``|s|^2 = n``; with s also -s.
    energy
        Energy per spin, (K,).
    index
        Number of negative eigenvalues of the Riemannian Hessian, (K,).
    smallest
        Smallest of its eigenvalues, in the units of `PSpin.hessian`, (K,).
    residual
        Length of the Riemannian gradient over the square root of n, (K,).
    complete
        Whether the points are proved to be all.
    """

    points: np.ndarray
    energy: np.ndarray
    index: np.ndarray
    smallest: np.ndarray
    residual: np.ndarray
    complete: bool


@dataclass(frozen=True)
class CriticalPoints:
    """Critical points of I instances, one after the other: M points in all.

    Attributes
    ----------
    p, n
        Order and number of spins.
    expected
        Number of complex classes of a generic instance.
    instance
        Which instance each point belongs to, ascending, (M,).
    points, energy, index, smallest, residual
        As in `Found`, shapes (M, n) and (M,); within an instance sorted by energy.
    complex_count
        Distinct complex classes found, (I,); -1 where they were not looked for.
    complete
        Whether they are as many as expected, (I,).
    separation
        Smallest distance of two classes, the sine of the angle between them, (I,).
    kantorovich
        Largest Kantorovich number of a class: below 1/2 Newton's method converges from it, (I,).
    euler
        ``sum over points of (-1)^index``; equals ``1 + (-1)^(n-1)`` for a complete set, (I,).
        For odd p and even n every set of antipodal pairs passes, so there it proves nothing.
    rounds
        How often paths were followed before the instance was complete or given up, (I,).
    starts
        Random starts of `find_by_newton`, (I,); 0 after `find`.
    """

    p: int
    n: int
    expected: int
    instance: np.ndarray
    points: np.ndarray
    energy: np.ndarray
    index: np.ndarray
    smallest: np.ndarray
    residual: np.ndarray
    complex_count: np.ndarray
    complete: np.ndarray
    separation: np.ndarray
    kantorovich: np.ndarray
    euler: np.ndarray
    rounds: np.ndarray
    starts: np.ndarray

    def __len__(self) -> int:
        """Return the number of instances."""
        return len(self.complete)

    def __getitem__(self, i: int) -> Found:
        """Return the points of one instance."""
        if not -len(self) <= i < len(self):
            raise IndexError(f"there are {len(self)} instances, no number {i}")
        i %= len(self)
        part = slice(*np.searchsorted(self.instance, [i, i + 1]))
        return Found(
            self.points[part], self.energy[part], self.index[part], self.smallest[part],
            self.residual[part], bool(self.complete[i]),
        )  # fmt: skip

    def __iter__(self) -> Iterator[Found]:
        """Go through the instances."""
        return (self[i] for i in range(len(self)))

    def of(self, i: int) -> Found:
        """Return the points of one instance; the same as ``self[i]``."""
        return self[i]

    @property
    def counts(self) -> np.ndarray:
        """Number of critical points of each instance, (I,)."""
        return np.bincount(self.instance, minlength=len(self))

    @property
    def counts_by_index(self) -> np.ndarray:
        """Number of critical points of each instance and index, shape (I, n)."""
        flat = np.bincount(self.instance * self.n + self.index, minlength=len(self) * self.n)
        return flat.reshape(len(self), self.n)

    @property
    def missing(self) -> np.ndarray:
        """Complex classes that were not found, (I,)."""
        return self.expected - self.complex_count

    def statement(self) -> str:
        """Say in one line how many instances are certified, and what is missing where they are not."""
        total, done = len(self), int(self.complete.sum())
        if (self.complex_count < 0).all():
            return f"{total} instances searched from random starts; completeness is not known"
        text = f"{done} of {total} instances have all {self.expected} complex classes"
        if done < total:
            short = np.flatnonzero(~self.complete)
            listed = ", ".join(f"{i} ({self.complex_count[i]} found)" for i in short[:5])
            text += f"; not certified, as their couplings may not be generic: {listed}"
            text += ", ..." if len(short) > 5 else ""
        return text


def find(glass: PSpin, *, seed: int = 0) -> CriticalPoints:
    """Find every critical point of each instance, and certify that none is missing.

    For p >= 3 all complex eigenvectors of the couplings are reached by paths from those of a
    diagonal tensor.
    An end point counts when Newton's method provably converges from it (Kantorovich number at
    most 1/4, in floating-point arithmetic), and a class counts when it is farther than 1e-6 from
    every other.
    With a class its complex conjugate is one.
    A class is real when its conjugate lies in the ball in which it is the only solution.
    Paths that fail, or that end where another did, are followed again with smaller steps and then
    all of them from another random factor; what is still short comes back with `complete` False.
    For p = 2 the points are the eigenvectors of a symmetric matrix.

    Parameters
    ----------
    glass
        The instances.
    seed
        Seed of the random factors; instance i has its own, whatever the number of instances.

    Raises
    ------
    ValueError
        If an instance has too many complex classes (`MOST_CLASSES`), eigenvectors at p = 2 do not fit in
        memory, or the seed is negative.

    Examples
    --------
    >>> found = find(PSpin.sample(3, 4, instances=2, seed=1))
    >>> found.complex_count, bool(found.complete.all())
    (array([15, 15]), True)
    """
    expected = _check(glass, seed)
    if glass.p == 2:
        _check_matrices(glass)
    at_once = max(1, HELD // expected)
    parts = []
    with progress.bar("critical points", len(glass)) as bar:
        for first in range(0, len(glass), at_once):
            tensors = _scaled(glass[first : first + at_once])
            parts.append(_tensors(tensors, first, seed, bar.update) if glass.p > 2 else _matrices(tensors))
    return _joined(glass, parts)


def find_by_newton(
    glass: PSpin,
    *,
    starts: int = 1024,
    patience: float = 3.0,
    most: int = 2**17,
    seed: int = 0,
) -> CriticalPoints:
    """Search critical points by Newton's method from random starts: independent of `find`.

    The starts are uniform on the sphere; half of them take full steps, half short ones.
    Points are told apart as in `find`, s and -s being one.
    An instance is done when the last ``patience / (1 + patience)`` of its starts gave nothing new and
    every point was met at least five times, or after `most` starts.
    Such a search proves nothing: `complete` is False throughout.

    Parameters
    ----------
    glass
        The instances.
    starts
        Random starts of each instance between two looks at what is new.
    patience
        Starts without a new point, as a multiple of those up to the last new one.
    most
        Starts of an instance at which the search ends in any case.
    seed
        Seed of the starts; instance i has its own, whatever the number of instances.

    Raises
    ------
    ValueError
        If an instance has too many complex classes (`MOST_CLASSES`), the seed is negative, or
        `starts`, `patience` or `most` is not positive.
    """
    _check(glass, seed)
    starts, most = whole(starts, "starts", 1), whole(most, "most", 1)
    if not patience > 0:
        raise ValueError(f"patience must be positive, not {patience}")
    check_points(1, starts, glass.n, glass.device, copies=8)
    parts = []
    with progress.bar("Newton searches", len(glass)) as bar:
        for i in range(len(glass)):
            tensors = _scaled(glass[i])
            x, tried = search(_normalised(tensors), i, starts=starts, patience=patience, most=most, seed=seed)
            parts.append(_part(tensors, x, torch.zeros_like(x[:, 0], dtype=torch.int64), starts=[tried]))
            bar.update(1)
    return _joined(glass, parts)


def _check(glass: PSpin, seed: int) -> int:
    """Refuse what would take too long and return the number of complex classes."""
    if not isinstance(glass, PSpin):
        raise TypeError(f"critical points are those of a PSpin, not of a {type(glass).__name__}")
    whole(seed, "seed", 0)
    return check_size(glass.p, glass.n)


def check_size(p: int, n: int) -> int:
    """Refuse an order and a size whose critical points are too many, and return the number of classes.

    Raises
    ------
    ValueError
        It names the largest n allowed for this p.
    """
    p, n = whole(p, "p", 2), whole(n, "n", 2)
    allowed = MOST_CLASSES if p == 2 else int(math.log(MOST_CLASSES * (p - 2) + 1, p - 1) + 1e-9)
    if n > allowed:
        known = f"{expected_classes(p, n)}" if n * math.log(p) < 50 else "very many"
        raise ValueError(
            f"at p = {p} and n = {n} an instance has {known} complex critical points; "
            f"at most {MOST_CLASSES} can be enumerated, which at this p allows n up to {allowed}"
        )
    return expected_classes(p, n)


def _check_matrices(glass: PSpin) -> None:
    """Refuse matrices whose eigenvectors do not fit in memory."""

    def needed(n: int) -> float:
        # Twelve matrices for each instance worked on at once, four of what is returned for all.
        return 8.0 * n**2 * (12 * min(len(glass), max(1, HELD // n)) + 4 * len(glass))

    there = available_bytes(torch.device("cpu"))
    if needed(glass.n) > there:
        allowed = bisect_right(range(glass.n), there, key=needed) - 1
        raise ValueError(
            f"eigenvectors of {len(glass)} matrices of {glass.n} spins take {needed(glass.n) / 2**30:.3g} "
            f"GiB, more than there is: n up to {allowed} is allowed for so many"
        )


def _scaled(glass: PSpin) -> Tensor:
    """Return couplings over ``sqrt(n)``, whose eigenvalue at a unit vector is the energy per spin."""
    return glass.couplings.to(torch.float64) / glass.n**0.5


def _normalised(tensors: Tensor) -> Tensor:
    """Return tensors with the norm of a typical instance; zeros stay zeros."""
    norm = tensors.flatten(1).norm(dim=1)
    n, p = tensors.shape[-1], tensors.dim() - 1
    factor = torch.where(norm > 0, math.sqrt(math.comb(n + p - 1, p) / n) / norm, 1)
    return tensors * factor.reshape(-1, *p * (1,))


def _tensors(tensors: Tensor, first: int, seed: int, done: Callable[[int], object]) -> dict[str, np.ndarray]:
    """Enumerate a chunk of instances of order 3 and more."""
    paths = PATHS.get(tensors.device.type, PATHS["cpu"])
    classes = enumerate_classes(_normalised(tensors), first, seed, paths=paths, done=done)
    real, away = _classes.imaginary(classes.x)
    chosen = classes.valid & (away < classes.uniqueness)
    at = chosen.nonzero()
    count = classes.valid.sum(1)
    return _part(
        tensors,
        real[chosen],
        at[:, 0],
        complex_count=count,
        complete=count == classes.valid.shape[1],
        separation=classes.separation,
        kantorovich=torch.where(classes.valid, classes.kantorovich, 0).amax(1),
        rounds=classes.rounds,
    )


def _matrices(tensors: Tensor) -> dict[str, np.ndarray]:
    """Find the eigenvectors of a chunk of symmetric matrices, complete where eigenvalues are distinct."""
    values, vectors = torch.linalg.eigh(tensors)
    i, n = values.shape
    largest = values.abs().amax(1)
    simple = values.diff(dim=1) > DEGENERATE * largest[:, None]
    count = 1 + simple.sum(1)
    return _part(
        tensors,
        vectors.mT.reshape(i * n, n),
        torch.arange(i, device=values.device).repeat_interleave(n),
        complex_count=count,
        complete=count == n,
        separation=torch.ones_like(largest),
    )


def _part(tensors: Tensor, x: Tensor, instance: Tensor, **about: Tensor | list[int]) -> dict[str, np.ndarray]:
    """Turn real classes of a chunk into critical points, with all that is known of the instances.

    Parameters
    ----------
    tensors
        Couplings over ``sqrt(n)``, shape (I, n, ..., n).
    x
        One unit vector of each real class, (R, n), sorted by instance.
    instance
        Number of its instance in the chunk, (R,).
    **about
        Arrays (I,) for fields of `CriticalPoints`.
    """
    system = Tensors(tensors)
    p, n, size = system.p, system.n, system.count
    found = landscape(system, x, instance)
    sign, parity = (1 if p % 2 == 0 else -1), np.repeat([0, 1], len(x))
    values = found.eigenvalues
    index = (values < 0).sum(1)
    energy = torch.cat([found.energy, sign * found.energy])
    both = torch.cat([index, index if sign == 1 else (values > 0).sum(1)])
    smallest = torch.cat([values[:, 0], values[:, 0] if sign == 1 else -values[:, -1]])
    where = np.tile(instance.cpu().numpy(), 2)
    arrays = {
        "instance": where,
        "points": n**0.5 * torch.cat([x, -x]).cpu().numpy(),
        "energy": energy.cpu().numpy(),
        "index": both.cpu().numpy(),
        "smallest": smallest.cpu().numpy(),
        "residual": found.residual.repeat(2).cpu().numpy(),
    }
    order = np.lexsort((parity, arrays["energy"], where))
    arrays = {name: value[order] for name, value in arrays.items()}
    signs = 1.0 - 2.0 * (arrays["index"] % 2)
    arrays["euler"] = np.bincount(arrays["instance"], signs, size).astype(np.int64)
    defaults = {
        "complex_count": np.full(size, -1), "complete": np.zeros(size, bool),
        "separation": np.full(size, np.nan), "kantorovich": np.zeros(size),
        "rounds": np.zeros(size, int), "starts": np.zeros(size, int),
    }  # fmt: skip
    given = {name: torch.as_tensor(value).cpu().numpy() for name, value in about.items()}
    return {**arrays, **defaults, **given}


def _joined(glass: PSpin, parts: list[dict[str, np.ndarray]]) -> CriticalPoints:
    """Put the chunks one after the other."""
    first = 0
    for part in parts:
        part["instance"] = part["instance"] + first
        first += len(part["complete"])
    arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return CriticalPoints(p=glass.p, n=glass.n, expected=expected_classes(glass.p, glass.n), **arrays)
