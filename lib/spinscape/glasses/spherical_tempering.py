"""Equilibrium states of the spherical p-spin glass, by parallel tempering, and their law at n = infinity.

Every walker moves on great circles by hybrid Monte Carlo (Byrne & Girolami 2013), which leaves
``exp(-H / T)`` invariant exactly, and walkers exchange temperatures with their neighbours.
Instances, independent copies and temperatures go through one batched gradient.
With covariance ``n q^p`` Gaussian integration by parts gives, in equilibrium and at every n,

    E<u> = -(1 / T) (1 - E<q^p>),

q the overlap of two independent copies.
At n = infinity and p >= 3 one step of replica-symmetry breaking is exact (Crisanti & Sommers 1992).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from torch import Tensor

from spinscape.glasses._arguments import whole
from spinscape.glasses._draws import EXCHANGES, TEMPERING, generator
from spinscape.glasses._pairs import Pairs
from spinscape.glasses.pspin import PSpin, check_points, to_sphere
from spinscape.memory import available_bytes
from spinscape.progress import track

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LEAPS = 5
"""Leapfrog steps of a move."""

BINS = 100
"""Bins of the histogram of overlaps, from -1 to 1."""


@dataclass(frozen=True)
class OneStep:
    """Equilibrium of the spherical p-spin glass at n = infinity, with one step of symmetry breaking.

    Two states have overlap 0 with probability `breaking` and `overlap` otherwise.

    Attributes
    ----------
    static, dynamic
        Temperatures of the static and the dynamic transition.
    temperatures
        Shape (T,).
    overlap
        Self-overlap q_1 of the states, zero above the static transition, shape (T,).
    breaking
        Probability m of different states, 1 above the static transition, shape (T,).
    energy
        Energy per spin, shape (T,).
    """

    static: float
    dynamic: float
    temperatures: Floats
    overlap: Floats
    breaking: Floats
    energy: Floats


@dataclass(frozen=True)
class Tempering:
    """Averages and states from parallel tempering.

    Axes: I instances, T temperatures, K copies that are independent runs, n spins.

    Attributes
    ----------
    p
        Number of spins that a coupling couples.
    temperatures
        Rising, shape (T,).
    energy, energy_error
        Thermal mean of the energy per spin, and its standard error from the copies, shape (I, T).
    moment, moment_error
        Thermal mean of q^p over pairs of copies, and its standard error by jackknife over the copies,
        shape (I, T).
    edges
        Edges of the bins of overlaps, shape (bins + 1,).
    histogram
        Density P(q) of overlaps of two copies, shape (I, T, bins).
    history
        Mean energy per spin in blocks of sweeps that double in length, from the start, shape (I, T, B).
    blocks
        First sweep of every block and the end of the last, shape (B + 1,).
    acceptance
        Share of moves accepted, shape (T,).
    exchange
        Share of exchanges accepted between neighbouring temperatures, shape (T - 1,).
    round_trips
        Trips from the highest to the lowest temperature and back, summed over the walkers of a copy, shape
        (I, K).
    kept
        Temperatures at which states were kept, shape (T',).
    states
        Kept states, snapshots of all copies one after the other, shape (I, T', S K, n).
    """

    p: int
    temperatures: Floats
    energy: Floats
    energy_error: Floats
    moment: Floats
    moment_error: Floats
    edges: Floats
    histogram: Floats
    history: Floats
    blocks: Ints
    acceptance: Floats
    exchange: Floats
    round_trips: Ints
    kept: Floats
    states: Floats

    @property
    def identity_gap(self) -> Floats:
        """What is left of ``u + (1 - <q^p>) / T``, shape (I, T).

        Its mean over instances is zero in equilibrium.
        It is skewed to the left (about -1.4 near the transition, where few instances are frozen already), so
        that fewer than some 100 instances give too small an error.
        """
        return self.energy + (1 - self.moment) / self.temperatures

    @property
    def overlaps(self) -> Floats:
        """Overlaps of the kept states, shape (I, T', S K, S K), ones on the diagonal."""
        q = self.states @ self.states.swapaxes(-1, -2) / self.states.shape[-1]
        q = np.clip((q + q.swapaxes(-1, -2)) / 2, -1, 1)
        q[..., np.arange(q.shape[-1]), np.arange(q.shape[-1])] = 1
        return q


def one_step(p: int, temperatures: ArrayLike) -> OneStep:
    """Solve the saddle-point equations of one step of replica-symmetry breaking.

    Below the static transition ``y = (1 - q) / (1 - (1 - m) q)`` depends on p alone,

        (1 - y)^2 / (p y) + log y + 1 - y = 0,    p q^{p-2} (1 - q)^2 = y T^2,    m = (1 - q) (1 - y) / (y q).

    Parameters
    ----------
    p
        Number of spins that a coupling couples, at least 3.
    temperatures
        Positive, shape (T,); in units in which the energy has covariance ``n q^p``.

    Raises
    ------
    ValueError
        If p is below 3 or a temperature is not positive.

    Examples
    --------
    >>> round(one_step(3, [0.5]).static, 4)
    0.8288
    """
    p = whole(p, "p", 3)
    t = _temperatures(temperatures)

    def rest(y: float) -> float:
        return (1 - y) ** 2 / (p * y) + math.log(y) + 1 - y

    # y = 1 solves it too; the other root is bracketed by the minimum between them, at y = 1 / (p - 1).
    y = float(brentq(rest, 1e-9 / p, 1 / (p - 1) * (1 - 1e-12)))
    static = math.sqrt(p * (1 - y) ** (p - 2) * y)
    dynamic = math.sqrt(p * (p - 2) ** (p - 2) / (p - 1) ** (p - 1))
    overlap, breaking = np.zeros(len(t)), np.ones(len(t))
    for i, one in enumerate(t):
        if one < static:
            # Of the two roots the larger, beyond the maximum at (p - 2) / p, is the state.
            q = brentq(lambda q, one=one: p * q ** (p - 2) * (1 - q) ** 2 - y * one**2, (p - 2) / p, 1.0)
            overlap[i], breaking[i] = q, (1 - q) * (1 - y) / (y * q)
    energy = -(1 - (1 - breaking) * overlap**p) / t
    return OneStep(static, dynamic, t, overlap, breaking, energy)


def ladder(lowest: float, highest: float, count: int) -> Floats:
    """Return `count` temperatures in geometric progression.

    Raises
    ------
    ValueError
        If they are not positive and rising, or fewer than two.
    """
    if not 0 < lowest < highest < math.inf:
        raise ValueError(f"temperatures must be positive and rise, not from {lowest} to {highest}")
    return np.geomspace(lowest, highest, whole(count, "count", 2))


def temper(
    glass: PSpin,
    temperatures: ArrayLike,
    *,
    copies: int = 4,
    sweeps: int = 400,
    burn: int = 100,
    keep: Sequence[float] = (),
    snapshots: int = 1,
    seed: int = 0,
) -> Tempering:
    """Sample equilibrium states of all instances at all temperatures.

    Draws of instance i depend on the seed, i, n, and the numbers of temperatures and copies only.

    Parameters
    ----------
    glass
        I instances; the run is on their device and in their type.
    temperatures
        Rising, at least two, shape (T,).
    copies
        Number K of independent copies, at least 2; each has a walker at every temperature.
    sweeps
        Number of moves of every walker; after each, neighbours may exchange temperatures.
    burn
        How many of them are left out of the averages.
    keep
        Temperatures, out of those given, at which states are kept.
    snapshots
        Number S of snapshots of the kept states, at equal distances after the burn-in.
    seed
        Seed of starts, moves and exchanges.

    Raises
    ------
    ValueError
        If an argument is out of range, or walkers or states do not fit in memory.

    Examples
    --------
    >>> glass = PSpin.sample(3, 16, instances=4, seed=1)
    >>> run = temper(glass, ladder(0.5, 1.5, 6), copies=4, sweeps=40, burn=20, keep=[0.5], snapshots=5)
    >>> run.overlaps.shape
    (4, 1, 20, 20)
    """
    t = _temperatures(temperatures)
    if len(t) < 2 or not (np.diff(t) > 0).all():
        raise ValueError(f"temperatures must rise and be at least two, not {temperatures!r}")
    copies, sweeps = whole(copies, "copies", 2), whole(sweeps, "sweeps", 1)
    burn = whole(burn, "burn", 0, sweeps - 1)
    snapshots = whole(snapshots, "snapshots", 1, sweeps - burn)
    at = [_index(one, t) for one in keep]
    check_points(len(glass), copies * len(t), glass.n, glass.device, copies=12)
    check_states(len(glass), len(at), snapshots * copies, glass.n)
    walkers = _Walkers(glass, t, copies, seed)
    totals = _Totals(walkers, sweeps)
    when = burn + (np.arange(1, snapshots + 1) * (sweeps - burn)) // snapshots - 1
    kept: list[Floats] = []
    for sweep in track(range(sweeps), "parallel tempering"):
        walkers.move()
        walkers.exchange(sweep % 2)
        totals.look(walkers, sweep, measured=sweep >= burn)
        if at and sweep in when:
            kept.append(walkers.ordered()[:, at].double().numpy(force=True))
    shape = (len(glass), len(at), snapshots * copies, glass.n)
    states = np.concatenate(kept, axis=2) if at else np.empty(shape)
    return totals.result(walkers, t[at], states, sweeps - burn)


def check_states(instances: int, temperatures: int, states: int, n: int) -> None:
    """Refuse states whose overlaps would not fit in memory.

    Raises
    ------
    ValueError
        It names how much they take.
    """
    needed = 8.0 * instances * temperatures * states * (2 * n + 3 * states)
    if needed > available_bytes(torch.device("cpu")):
        raise ValueError(
            f"{states} kept states of {instances} instances at {temperatures} temperatures and their "
            f"overlaps take {needed / 2**30:.3g} GiB, more than there is: keep fewer"
        )


class _Walkers:
    """K copies of T walkers in each of I instances, and which temperature each has."""

    def __init__(self, glass: PSpin, temperatures: Floats, copies: int, seed: int) -> None:
        self.pairs, self.glass = Pairs(glass), glass
        self.shape = (len(glass), copies, len(temperatures))
        count, n = copies * len(temperatures), glass.n
        self.rngs = [generator(seed, TEMPERING, n, i) for i in range(len(glass))]
        self.dice = [generator(seed, EXCHANGES, n, i) for i in range(len(glass))]
        self.beta = torch.from_numpy(1 / temperatures).to(glass.couplings)
        # The curvature of H / T is some multiple of beta, that of the sphere and of the momenta 1.
        self.steps = 0.9 / (1 + 3 * glass.p * self.beta).sqrt()
        self.points = to_sphere(self._normals(count, n))
        self.energy, self.gradient = self.pairs.energy_and_gradient(self.points)
        # holder[i, k, t] is the walker of copy k that has temperature t; slot is its inverse.
        self.holder = torch.arange(len(temperatures), device=glass.device).expand(self.shape).clone()
        self.slot = self.holder.clone()
        self.accepted = torch.zeros(len(temperatures), dtype=torch.float64, device=glass.device)
        self.exchanged = torch.zeros(len(temperatures) - 1, dtype=torch.float64, device=glass.device)
        self.tried = np.zeros(len(temperatures) - 1)
        self.upward = torch.zeros(self.shape, dtype=torch.bool, device=glass.device)
        self.trips = torch.zeros(self.shape[:2], dtype=torch.int64, device=glass.device)
        self.started = torch.zeros(self.shape, dtype=torch.bool, device=glass.device)

    def _normals(self, count: int, n: int) -> Tensor:
        drawn = np.stack([rng.standard_normal((count, n)) for rng in self.rngs])
        return torch.from_numpy(drawn).to(self.glass.couplings)

    def _uniforms(self, rngs: list[np.random.Generator], count: int) -> Tensor:
        drawn = np.stack([rng.random(count) for rng in rngs])
        return torch.from_numpy(drawn).to(self.glass.couplings)

    def move(self) -> None:
        """One trajectory on great circles for every walker, accepted by Metropolis' rule."""
        i, k, t = self.shape
        n = self.glass.n
        slot = self.slot.view(i, k * t)
        beta = self.beta[slot][..., None]
        # A step of random length keeps trajectories from closing on themselves.
        step = self.steps[slot][..., None] * (0.6 + 0.4 * self._uniforms(self.rngs, k * t)[..., None])
        momentum = self._normals(k * t, n)
        chance = self._uniforms(self.rngs, k * t)
        x, energy, gradient = self.points, self.energy, self.gradient
        momentum = _tangent(momentum, x)
        before = beta[..., 0] * energy + momentum.square().sum(-1) / 2
        momentum = momentum - step / 2 * beta * gradient
        for leap in range(LEAPS):
            x, momentum = _great_circle(x, momentum, step)
            energy, gradient = self.pairs.energy_and_gradient(x)
            momentum = momentum - (step if leap < LEAPS - 1 else step / 2) * beta * gradient
        after = beta[..., 0] * energy + momentum.square().sum(-1) / 2
        taken = chance.log() < before - after
        self.points = torch.where(taken[..., None], x, self.points)
        self.gradient = torch.where(taken[..., None], gradient, self.gradient)
        self.energy = torch.where(taken, energy, self.energy)
        self.accepted.index_add_(0, slot.reshape(-1), taken.reshape(-1).double())

    def exchange(self, parity: int) -> None:
        """Let neighbours at temperatures (parity, parity + 1), ... exchange them."""
        i, k, t = self.shape
        chance = self._uniforms(self.dice, k * (t // 2)).view(i, k, t // 2)
        energy = self.energy.view(self.shape).gather(2, self.holder)
        low = torch.arange(parity, t - 1, 2, device=energy.device)
        if len(low):
            gain = (self.beta[low] - self.beta[low + 1]) * (energy[..., low] - energy[..., low + 1])
            swap = chance[..., : len(low)].log() < gain
            a, b = self.holder[..., low], self.holder[..., low + 1]
            self.holder[..., low] = torch.where(swap, b, a)
            self.holder[..., low + 1] = torch.where(swap, a, b)
            self.slot.scatter_(2, self.holder, torch.arange(t, device=energy.device).expand(self.shape))
            self.exchanged[low] += swap.double().sum((0, 1))
            self.tried[parity::2] += i * k
        top, bottom = self.slot == t - 1, self.slot == 0
        self.trips += (top & self.upward).sum(2)
        self.upward = (self.upward | (bottom & self.started)) & ~top
        self.started |= top

    def ordered(self) -> Tensor:
        """Points by instance, temperature and copy, (I, T, K, n)."""
        i, k, t = self.shape
        points = self.points.view(i, k, t, self.glass.n)
        return points.gather(2, self.holder[..., None].expand_as(points)).transpose(1, 2)


class _Totals:
    """Sums of what is measured."""

    def __init__(self, walkers: _Walkers, sweeps: int) -> None:
        i, k, t = walkers.shape
        zero = torch.zeros((), dtype=torch.float64, device=walkers.points.device)
        self.energy = zero.new_zeros(i, k, t)
        self.moment = zero.new_zeros(i, t, k * (k - 1) // 2)
        self.counts = zero.new_zeros(i * t * BINS)
        ends = [1]
        while ends[-1] < sweeps:
            ends.append(min(2 * ends[-1], sweeps))
        self.blocks = np.array([0, *ends])
        self.history = zero.new_zeros(len(ends), i, t)
        self.upper = torch.triu_indices(k, k, 1, device=walkers.points.device)
        self.base = BINS * torch.arange(i * t, device=walkers.points.device).view(i, t, 1)

    def look(self, walkers: _Walkers, sweep: int, *, measured: bool) -> None:
        """Add the present state of the walkers."""
        n, p = walkers.glass.n, walkers.glass.p
        energy = walkers.energy.view(walkers.shape).gather(2, walkers.holder).double() / n
        self.history[int(np.searchsorted(self.blocks, sweep, side="right")) - 1] += energy.mean(1)
        if not measured:
            return
        self.energy += energy
        points = walkers.ordered()
        q = (points @ points.mT / n)[:, :, self.upper[0], self.upper[1]].double()
        self.moment += q**p
        bins = ((q + 1) * (BINS / 2)).long().clamp_(0, BINS - 1) + self.base
        self.counts += torch.bincount(bins.reshape(-1), minlength=len(self.counts))

    def result(self, walkers: _Walkers, kept: Floats, states: Floats, measured: int) -> Tempering:
        """Turn sums into means."""
        i, k, t = walkers.shape
        sweeps = int(self.blocks[-1])
        energy = (self.energy / measured).numpy(force=True)
        moment = (self.moment / measured).numpy(force=True)
        counts = self.counts.view(i, t, BINS).numpy(force=True)
        width = np.diff(self.blocks)[:, None, None]
        return Tempering(
            p=walkers.glass.p,
            temperatures=1 / walkers.beta.double().numpy(force=True),
            energy=energy.mean(1),
            energy_error=energy.std(1, ddof=1) / math.sqrt(k),
            moment=moment.mean(2),
            moment_error=_jackknife(moment, k),
            edges=np.linspace(-1, 1, BINS + 1),
            histogram=counts / counts.sum(2, keepdims=True) * (BINS / 2),
            history=np.moveaxis(self.history.numpy(force=True) / width, 0, 2),
            blocks=self.blocks,
            acceptance=walkers.accepted.numpy(force=True) / (i * k * sweeps),
            exchange=walkers.exchanged.numpy(force=True) / np.maximum(walkers.tried, 1),
            round_trips=walkers.trips.numpy(force=True),
            kept=kept,
            states=states,
        )


def _tangent(vectors: Tensor, points: Tensor) -> Tensor:
    radial = (vectors * points).sum(-1, keepdim=True) / points.shape[-1]
    return vectors - radial * points


def _great_circle(points: Tensor, momentum: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
    """Move along great circles for a time; the momentum is carried along and stays tangent."""
    momentum = _tangent(momentum, points)
    rate = torch.linalg.vector_norm(momentum, dim=-1, keepdim=True) / math.sqrt(points.shape[-1])
    angle = rate * time
    cosine, sine = angle.cos(), angle.sin()
    ahead = momentum / rate
    return to_sphere(cosine * points + sine * ahead), rate * (cosine * ahead - sine * points)


def _jackknife(moment: Floats, copies: int) -> Floats:
    """Return standard errors of means over pairs (..., K (K - 1) / 2), one copy left out at a time."""
    if copies == 2:
        return np.full(moment.shape[:-1], np.nan)
    first, second = np.triu_indices(copies, 1)
    without = np.stack([moment[..., (first != k) & (second != k)].mean(-1) for k in range(copies)])
    spread = ((without - without.mean(0)) ** 2).sum(0)
    return np.sqrt((copies - 1) / copies * spread)


def _index(temperature: float, temperatures: Floats) -> int:
    nearest = int(np.argmin(np.abs(temperatures - temperature)))
    if not abs(temperatures[nearest] - temperature) <= 1e-9 * temperatures[nearest]:
        raise ValueError(f"states can be kept at temperatures of the run only, and {temperature} is not one")
    return nearest


def _temperatures(temperatures: ArrayLike) -> Floats:
    t = np.asarray(temperatures, float)
    if t.ndim != 1 or not len(t) or not (np.isfinite(t).all() and (t > 0).all()):
        raise ValueError(f"temperatures must be positive and finite, of shape (T,), not {temperatures!r}")
    return t
