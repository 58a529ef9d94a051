"""Parallel tempering of the Sherrington-Kirkpatrick model, batched over instances and replicas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from spinscape.glasses._arguments import whole
from spinscape.glasses._sk_chains import Chains, Sums, make_keys
from spinscape.glasses._sk_checks import check_fits, checked_couplings, checked_temperatures
from spinscape.progress import bar

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

METHODS = ("auto", "numba", "torch")
BINS = 20
"""Parts into which the measured sweeps are cut."""


@dataclass(frozen=True)
class Tempering:
    """Thermal averages, how they settled, and states.

    Attributes
    ----------
    temperatures
        (T,), increasing.
    n, replicas, burn, sweeps
        Spins, replicas of each instance, sweeps before measuring, sweeps measured.
    strength
        ``(2 / (n - 1)) sum_{i<j} J_ij^2``, 1 in the mean over instances, (I,).
    energy, energy_error
        Mean energy per spin and its standard error from the bins, (I, T).
    heat
        Specific heat per spin, ``n (<u^2> - <u>^2) / T^2``, (I, T).
    q2, q2_error
        Mean square of the overlap of two replicas and its standard error from the bins, (I, T).
    support
        Values that the overlap can have, ``-1, -1 + 2 / n, ..., 1``, (n + 1,).
    distribution
        Share of the measured pairs of replicas that had them, P(q), (I, T, n + 1).
    energy_bins, q2_bins
        Means over B equal parts of the measured sweeps, (I, T, B); B is even.
    stages
        Ends of stages of the run, 0, 1, 2, 4, 8, ... sweeps from the start, burn included, (L + 1,).
    energy_stages, q2_stages
        Means over the stages, (I, T, L).
    flips
        Share of offered spin flips that were taken, (I, T).
    acceptance
        Share of offered exchanges that were taken between neighbours in temperature, (T - 1,).
    round_trips
        Ways of walkers from the lowest temperature to the highest and back, in the whole run, (I, R).
    kept
        Temperatures at which states were kept, (T',).
    spins
        States, int8 (I, T', K, n); of state k the replica is ``replica[k]``, the sweep ``sweep[k]``.
    replica, sweep
        (K,).
    walker
        Which walker of the replica a state belonged to, (I, T', K).
    """

    temperatures: Floats
    n: int
    replicas: int
    burn: int
    sweeps: int
    strength: Floats
    energy: Floats
    energy_error: Floats
    heat: Floats
    q2: Floats
    q2_error: Floats
    support: Floats
    distribution: Floats
    energy_bins: Floats
    q2_bins: Floats
    stages: Ints
    energy_stages: Floats
    q2_stages: Floats
    flips: Floats
    acceptance: Floats
    round_trips: Ints
    kept: Floats
    spins: NDArray[np.int8]
    replica: Ints
    sweep: Ints
    walker: Ints

    def density(self, bins: int = 25) -> tuple[Floats, Floats]:
        """Return P(q) as a density over equal bins of q: edges (bins + 1,) and heights (I, T, bins).

        The share of each value of q is spread evenly over the values nearer to it than to others.
        """
        cells = np.clip(self.support[0] + (2 * np.arange(self.n + 2) - 1) / self.n, -1, 1)
        below = np.concatenate(
            [np.zeros((*self.distribution.shape[:-1], 1)), self.distribution.cumsum(-1)], -1
        )
        edges = np.linspace(-1, 1, whole(bins, "bins", 1) + 1)
        cell = np.clip(np.searchsorted(cells, edges, side="right") - 1, 0, self.n)
        share = (edges - cells[cell]) / (cells[cell + 1] - cells[cell])
        at_edges = below[..., cell] * (1 - share) + below[..., cell + 1] * share
        return edges, np.diff(at_edges, axis=-1) * bins / 2


def ladder(low: float, high: float, count: int) -> Floats:
    """Return temperatures in geometric progression, (count,).

    Raises
    ------
    ValueError
        If not ``0 < low < high``, or `count` is below 2.
    """
    count = whole(count, "count", 2)
    if not 0 < low < high < np.inf:
        raise ValueError(f"low and high must be positive and increasing, not {low} and {high}")
    t = np.geomspace(low, high, count)
    t[0], t[-1] = low, high
    return t


def temper(
    couplings: ArrayLike,
    temperatures: ArrayLike,
    *,
    replicas: int = 2,
    sweeps: int = 2000,
    burn: int | None = None,
    keep: Sequence[float] = (),
    samples: int = 60,
    method: str = "auto",
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> Tempering:
    """Sample by parallel tempering (Hukushima & Nemoto 1996).

    Each replica of an instance is one walker per temperature.
    A sweep offers every spin of every walker a flip; then neighbours in temperature are offered an exchange.
    Energy and overlaps are measured after every sweep.
    What instance i gives depends on its couplings, the seed, i and the other arguments, not on the number of
    instances; in torch up to rounding, since its matrix products may round otherwise when there are more: the
    last bits of energies may differ, and with them, rarely, a flip.

    Parameters
    ----------
    couplings
        (I, n, n), symmetric, zero on the diagonal.
    temperatures
        Positive and increasing, (T,); see `ladder`.
    replicas
        Independent runs R of each instance, at least 2.
    sweeps
        Measured sweeps, at least 2.
    burn
        Sweeps before measuring; by default as many as measured.
    keep
        Temperatures at which states are kept, some of `temperatures`.
    samples
        States K kept at each of them: R at a time (one of each replica), at times equally spaced over the
        measured sweeps.
    method
        ``"numba"`` (CPU), ``"torch"``, or ``"auto"``: numba on the CPU, where it is the faster one.
    seed
        Seed of the chains.
    device
        Where torch computes.

    Raises
    ------
    ValueError
        If an argument is not as described, or the chains do not fit in memory.
    """
    j, t = checked_couplings(couplings), checked_temperatures(temperatures)
    replicas, sweeps = whole(replicas, "replicas", 2), whole(sweeps, "sweeps", 2)
    burn = sweeps if burn is None else whole(burn, "burn", 0)
    seed = whole(seed, "seed", 0)
    place = torch.device(device)
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, not {method!r}")
    if method == "numba" and place.type != "cpu":
        raise ValueError(f"method 'numba' computes on the CPU, not on {place}")
    levels = [_position(temperature, t) for temperature in keep]
    samples = whole(samples, "samples", 1) if levels else 0
    moments = -(-samples // replicas)
    if moments > sweeps:
        raise ValueError(f"{samples} samples of {replicas} replicas need at least {moments} sweeps")
    compiled = method == "numba" or (method == "auto" and place.type == "cpu")
    n, count = j.shape[1], len(t)
    each = _bytes(n, replicas, count, len(levels) * samples, compiled)
    check_fits(n, len(j), each, "chains", place)
    keys = make_keys(seed, n, len(j), replicas, count)
    chains = _chains(j, t, keys, compiled, place)
    return _run(chains, j, t, burn, sweeps, levels, samples)


def _position(temperature: float, temperatures: Floats) -> int:
    nearest = int(np.abs(temperatures - temperature).argmin())
    if not np.isclose(temperatures[nearest], temperature, rtol=1e-9, atol=0):
        raise ValueError(f"keep must be some of the temperatures; {temperature} is not among them")
    return nearest


def _bytes(n: int, replicas: int, count: int, kept: int, compiled: bool) -> float:
    walkers = replicas * count
    chains = 4 * n**2 + (8 if compiled else 60) * walkers * n
    return chains + 16.0 * count * (n + 1) + kept * n + 100 * walkers + 1000 * count


def _chains(j: Floats, t: Floats, keys: NDArray[np.uint64], compiled: bool, place: torch.device) -> Chains:
    if compiled:
        # numba takes a third of a second to import.
        from spinscape.glasses._sk_numba import NumbaChains

        return NumbaChains(j, t, keys)
    from spinscape.glasses._sk_torch import TorchChains

    return TorchChains(j, t, keys, place)


def _run(
    chains: Chains, j: Floats, t: Floats, burn: int, sweeps: int, levels: list[int], samples: int
) -> Tempering:
    instances, replicas, count = chains.shape
    n, total = chains.n, burn + sweeps
    bins = burn + np.linspace(0, sweeps, 2 * min(BINS // 2, sweeps // 2) + 1).round().astype(np.int64)
    stages = np.array([0, *(2**k for k in range(total.bit_length()) if 2**k < total), total])
    moments = -(-samples // replicas)
    keeping = burn + (np.arange(1, moments + 1) * sweeps) // max(1, moments)
    ends = np.unique(np.concatenate([bins, stages, keeping]))
    parts: list[Sums] = []
    spins = np.empty((instances, len(levels), moments * replicas, n), np.int8)
    walker = np.empty(spins.shape[:3], np.int64)
    with bar("parallel tempering", total) as progress:
        for begin, end in pairwise(ends):
            parts.append(chains.advance(int(end - begin), count=bool(begin >= burn)))
            for when in np.flatnonzero(keeping == end):
                these = slice(when * replicas, (when + 1) * replicas)
                for place, level in enumerate(levels):
                    spins[:, place, these], walker[:, place, these] = chains.states(level)
            progress.update(int(end - begin))
    energy, square, q2 = (np.stack([getattr(part, name) for part in parts], -1)
                          for name in ("energy", "square", "q2"))  # fmt: skip
    energy_bins, square_bins, q2_bins = (_means(x, ends, bins) for x in (energy, square, q2))
    weights = np.diff(bins) / sweeps
    mean, mean_q2 = energy_bins @ weights, q2_bins @ weights
    pairs = sweeps * replicas * (replicas - 1) // 2
    # Even pairs of temperatures are offered at even sweeps.
    offered = np.array([(total + 1 - k % 2) // 2 for k in range(count - 1)]) * replicas * instances
    return Tempering(
        temperatures=t, n=n, replicas=replicas, burn=burn, sweeps=sweeps,
        strength=(j**2).sum((1, 2)) / (n - 1),
        energy=mean, energy_error=_error(energy_bins),
        heat=n * (square_bins @ weights - mean**2) / t**2,
        q2=mean_q2, q2_error=_error(q2_bins),
        support=np.linspace(-1, 1, n + 1), distribution=chains.counts / pairs,
        energy_bins=energy_bins, q2_bins=q2_bins,
        stages=stages, energy_stages=_means(energy, ends, stages), q2_stages=_means(q2, ends, stages),
        flips=chains.flips / (total * replicas * n), acceptance=chains.swaps.sum(0) / offered,
        round_trips=chains.round_trips,
        kept=t[levels], spins=spins[:, :, :samples],
        replica=np.arange(samples) % replicas,
        sweep=np.repeat(keeping, replicas)[:samples], walker=walker[:, :, :samples],
    )  # fmt: skip


def _means(sums: Floats, ends: Ints, edges: Ints) -> Floats:
    """Return means over the sweeps between edges, from sums over the shorter parts between ends."""
    running = np.concatenate([np.zeros((*sums.shape[:-1], 1)), sums.cumsum(-1)], -1)
    places = np.searchsorted(ends, edges)
    return np.diff(running[..., places], axis=-1) / np.diff(edges)


def _error(bins: Floats) -> Floats:
    """Return the standard error of the mean over bins, which takes them for independent."""
    return bins.std(-1, ddof=1) / np.sqrt(bins.shape[-1])
