"""Random-energy models with any number of levels: states in clusters, with thermodynamics that are known.

A state of n bits is a path down a tree; level l branches into ``2^{n_l}`` nodes, and every node of it has an
independent Gaussian energy of variance ``n a_l``, with shares a that add up to 1 (Derrida 1985).
One level is the random-energy model (Derrida 1981), the limit p -> infinity of the p-spin glass with
covariance ``n q^p``: its critical temperature is ``1 / sqrt(2 log 2)``.
Level l freezes at ``T_l = sqrt(a_l n / (2 n_l log 2))`` where these fall from level to level.
Below it a few nodes carry the Boltzmann weight, and two states share one with probability
``1 - T / T_l`` at n = infinity.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spinscape.glasses._arguments import whole
from spinscape.glasses._draws import LEVELS, STATES, generator
from spinscape.glasses.overlap_models import hierarchical

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MOST_BITS = 24
"""Most bits: 2^24 energies are 128 MiB."""


@dataclass(frozen=True)
class RandomEnergy:
    """States drawn from random-energy models with explicit energies.

    Axes: I instances, R states of each, L levels from the coarsest to the finest.

    Attributes
    ----------
    temperature
        Temperature T.
    transitions
        Temperature at which each level freezes at n = infinity, shape (L,).
    shares
        Share of the variance of each level, shape (L,).
    labels
        Node of each state at each level, numbered within the node above, shape (I, R, L).
    participation
        Sum of squares of the Boltzmann weights of a level's nodes: the probability that two states share
        one, shape (I, L).
    energy
        Thermal mean of the energy per bit that a level contributes, shape (I, L).
    """

    temperature: float
    transitions: Floats
    shares: Floats
    labels: Ints
    participation: Floats
    energy: Floats

    @property
    def identity_gap(self) -> Floats:
        """What is left of ``u_l + (a_l / T) (1 - Y_l)``, shape (I, L).

        Its mean over instances is zero at every size (Gaussian integration by parts).
        """
        return self.energy + self.shares / self.temperature * (1 - self.participation)


@dataclass(frozen=True)
class Reference:
    """Disorder averages of a random-energy model at its size, by quadrature.

    Attributes
    ----------
    participation
        Mean probability that two states share a node of each level, shape (L,).
    energy
        Mean energy per bit that each level contributes, shape (L,).
    """

    participation: Floats
    energy: Floats


@dataclass(frozen=True)
class States:
    """Overlaps of states of random-energy models.

    Attributes
    ----------
    overlaps
        Shape (I, R, R), ones on the diagonal.
    labels
        Node of each state at each level, shape (I, R, L).
    temperature
        Temperature of the states.
    transitions
        Temperature at which each level freezes, shape (L,).
    """

    overlaps: Floats
    labels: Ints
    temperature: float
    transitions: Floats


def transitions(bits: Sequence[int], shares: ArrayLike | None = None) -> Floats:
    """Temperature at which each level freezes at n = infinity.

    Where a level would freeze before the one above it, both freeze together.

    Parameters
    ----------
    bits
        Bits of each level, shape (L,).
    shares
        Share of the variance of each level, positive, adding up to 1; by default those of `grem`.

    Returns
    -------
    ndarray
        Shape (L,), not rising.

    Raises
    ------
    ValueError
        If the arguments are out of range.
    """
    counts, parts = _levels(bits, shares)
    groups: list[list[float]] = []
    for count, part in zip(counts, parts, strict=True):
        groups.append([float(part), float(count), 1])
        while len(groups) > 1 and groups[-1][0] / groups[-1][1] >= groups[-2][0] / groups[-2][1]:
            last = groups.pop()
            groups[-1] = [a + b for a, b in zip(groups[-1], last, strict=True)]
    ratio = np.concatenate([np.full(int(size), part / count) for part, count, size in groups])
    return np.sqrt(sum(counts) * ratio / (2 * math.log(2)))


def rem(
    bits: int = 16, temperature: float = 0.5, *, replicas: int = 60, instances: int = 1, seed: int = 0
) -> RandomEnergy:
    """Draw states of random-energy models with one level; see `grem`."""
    return grem((bits,), temperature, replicas=replicas, instances=instances, seed=seed)


def grem(
    bits: Sequence[int] = (8, 8),
    temperature: float = 0.5,
    *,
    shares: ArrayLike | None = None,
    replicas: int = 60,
    instances: int = 1,
    seed: int = 0,
) -> RandomEnergy:
    """Draw states of generalised random-energy models by their Boltzmann weights.

    Instance i depends on the arguments and i only.

    Parameters
    ----------
    bits
        Bits of each level, shape (L,), 24 together at most.
    temperature
        Temperature, positive.
    shares
        Share of the variance of each level; by default such that with equal bits the squares of the
        transition temperatures fall by the same factor 7/3 from level to level.
    replicas
        Number R of states, at least 2.
    instances
        Number I of instances.
    seed
        Seed of energies and states.

    Raises
    ------
    ValueError
        If the arguments are out of range.

    Examples
    --------
    >>> grem((8, 8), 0.5, instances=3, seed=1).labels.shape
    (3, 60, 2)
    """
    counts, parts = _levels(bits, shares)
    replicas, instances = whole(replicas, "replicas", 2), whole(instances, "instances", 1)
    beta = 1 / _temperature(temperature)
    total, levels = sum(counts), len(counts)
    if total > MOST_BITS:
        raise ValueError(
            f"{total} bits are 2^{total} energies of each instance: at most {MOST_BITS} are allowed"
        )
    nodes = [2 ** int(count) for count in np.cumsum(counts)]
    labels = np.empty((instances, replicas, levels), np.int64)
    participation, energy = np.empty((instances, levels)), np.empty((instances, levels))
    for i in range(instances):
        rng = generator(seed, LEVELS, *counts, i)
        drawn = [rng.standard_normal(count) * math.sqrt(total * part)
                 for count, part in zip(nodes, parts, strict=True)]  # fmt: skip
        sums = drawn[0]
        for own in drawn[1:]:
            sums = np.repeat(sums, len(own) // len(sums)) + own
        weights = np.exp(-beta * (sums - sums.min()))
        weights /= weights.sum()
        for level, (count, own) in enumerate(zip(nodes, drawn, strict=True)):
            of_node = weights.reshape(count, -1).sum(1)
            participation[i, level] = of_node @ of_node
            energy[i, level] = of_node @ own / total
        cumulative = np.cumsum(weights)
        u = generator(seed, STATES, *counts, i).random(replicas) * cumulative[-1]
        leaf = np.searchsorted(cumulative, u, side="right").clip(max=nodes[-1] - 1)
        labels[i] = np.stack(np.unravel_index(leaf, [2**count for count in counts]), axis=1)
    return RandomEnergy(1 / beta, transitions(counts, parts), parts, labels, participation, energy)


def reference(bits: Sequence[int], temperature: float, *, shares: ArrayLike | None = None) -> Reference:
    """Disorder averages at finite size, exact up to the rounding of a quadrature.

    With ``1 / Z^2 = Int_0^inf t exp(-t Z) dt`` the mean of a sum of squared weights is one integral over
    products of independent terms; those are integrals over Gaussian energies, level by level from the
    leaves up, on one grid of ``log t``.

    Parameters
    ----------
    bits, temperature, shares
        As in `grem`, but with up to 400 bits.

    Raises
    ------
    ValueError
        If the arguments are out of range.

    Examples
    --------
    >>> round(float(reference((16,), 0.5).participation[0]), 4)  # 1 - 0.5 / 0.8493 = 0.4113 at infinity
    0.4761
    """
    counts, parts = _levels(bits, shares)
    beta = 1 / _temperature(temperature)
    total = sum(counts)
    if total > 400:
        raise ValueError(f"bits must be 400 together at most, not {total}")
    widths = beta * np.sqrt(total * parts)
    # The lowest of 2^total normals lies at -far, and the weight of a level within some widths of it.
    far = 9 + math.sqrt(2 * total * math.log(2))
    step = min(0.2, float(widths.min()) / 1.5)
    reach = 40 + total * math.log(2) + far * float(widths.sum())
    if reach / step > 1e5:
        raise ValueError(f"temperature {temperature} is too far from the transitions for the quadrature")
    y = np.arange(-math.ceil(reach / step), math.ceil(reach / step) + 1) * np.float64(step)
    with np.errstate(over="ignore", under="ignore"):
        s = np.exp(y)
        below = -np.expm1(-s), _damped(y, 1), _damped(y, 2)
    pairs: list[Floats] = []
    for count, width in zip(counts[::-1], widths[::-1], strict=True):
        gone, first, second = (_smooth(part, width, far, step, edge)
                               for part, edge in zip(below, (1.0, 0.0, 0.0), strict=True))  # fmt: skip
        many = 2.0**count
        with np.errstate(divide="ignore", under="ignore"):
            log_left = np.log1p(-np.minimum(gone, 1.0))
            others = np.exp((many - 1) * log_left)
            others_but_one = np.exp((many - 2) * log_left) if many > 2 else np.ones_like(y)
            whole_gone = -np.expm1(many * log_left)
        own = many * second * others
        pairs = [many * _smooth(one, width, far, step, 0.0) * others for one in pairs] + [own]
        below = whole_gone, many * first * others, own + many * (many - 1) * first**2 * others_but_one
    found = np.array([step * float(one.sum()) for one in pairs])[::-1]
    return Reference(found, -beta * parts * (1 - found))


def states(
    kind: str,
    *,
    replicas: int = 60,
    dimension: float = math.inf,
    temperature: float | None = None,
    overlaps: Sequence[float] | None = None,
    instances: int = 1,
    seed: int = 0,
) -> States:
    """Overlaps of states without, with one, and with two levels of replica-symmetry breaking.

    Parameters
    ----------
    kind
        ``"symmetric"``: 16 bits in one level, by default at twice its critical temperature;
        ``"one"``: the same at 0.6 of it; ``"two"``: two levels of 8 bits at three quarters of the lower
        transition.
    replicas, instances, seed
        As in `grem`.
    dimension
        Dimension of the vectors that the states are given, see `hierarchical`; at infinity overlaps take the
        values of the levels alone.
    temperature
        Another temperature.
    overlaps
        Overlap of states that share no node, a node of the first level, and so on, shape (L + 1,); by default
        0 and 0.8, or 0, 0.4 and 0.8.

    Raises
    ------
    ValueError
        If the kind is unknown, or an argument is out of range.
    """
    known = {"symmetric": ((16,), 2.0), "one": ((16,), 0.6), "two": ((8, 8), 0.75)}
    if kind not in known:
        raise ValueError(f"kind must be one of {', '.join(known)}, not {kind!r}")
    bits, factor = known[kind]
    if temperature is None:
        temperature = factor * float(transitions(bits)[-1])
    levels = np.linspace(0, 0.8, len(bits) + 1) if overlaps is None else np.asarray(overlaps, float)
    drawn = grem(bits, temperature, replicas=replicas, instances=instances, seed=seed)
    q = hierarchical(levels, drawn.labels, dimension=dimension, seed=seed)
    return States(q, drawn.labels, drawn.temperature, drawn.transitions)


def _damped(y: Floats, power: int) -> Floats:
    """``s^power exp(-s)`` at ``s = e^y``, without overflow."""
    return np.exp(power * y - np.exp(np.minimum(y, 700.0)))


def _smooth(values: Floats, width: float, far: float, step: float, edge: float) -> Floats:
    """Convolve with a normal density cut `far` widths out; beyond the grid are zeros and `edge`."""
    half = math.ceil(far * width / step)
    kernel = np.exp(-0.5 * (step / width * np.arange(-half, half + 1)) ** 2)
    kernel /= kernel.sum()
    return np.convolve(np.pad(values, half, constant_values=(0.0, edge)), kernel, mode="valid")


def _levels(bits: Sequence[int], shares: ArrayLike | None) -> tuple[list[int], Floats]:
    """Check bits and shares, and fill in the default."""
    counts = [whole(count, "bits", 1) for count in bits]
    if not counts:
        raise ValueError("bits must have one number for each level, and at least one")
    if shares is None:
        parts = np.array([count * (3 / 7) ** level for level, count in enumerate(counts)], float)
        return counts, parts / parts.sum()
    parts = np.asarray(shares, float)
    if parts.shape != (len(counts),) or not (parts > 0).all() or abs(parts.sum() - 1) > 1e-9:
        raise ValueError(f"shares must be {len(counts)} positive numbers that add up to 1, not {shares!r}")
    return counts, parts


def _temperature(temperature: float) -> float:
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature must be positive and finite, not {temperature}")
    return float(temperature)
