"""States of models whose structure is known, as controls of every statistic that is used on networks.

Cold and hot glasses, random-energy models of one and of two levels, planted clusters and independent vectors:
each one set of R states per instance, in the form that networks have.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spinscape.glasses import overlap_models, random_energy, spherical_tempering
from spinscape.glasses import sherrington_kirkpatrick as sk
from spinscape.glasses.pspin import PSpin
from spinscape.landscape.pairs import Pairs

INDEPENDENT = "independent vectors"
HOT, COLD = "hot SK glass", "cold SK glass"
SPHERICAL = "cold p = 3 glass"
ONE, TWO = "one level", "two levels"
PLANTED = "planted clusters"

KNOWN = (INDEPENDENT, HOT, PLANTED, SPHERICAL, ONE, TWO, COLD)
"""Names of the models, from no structure to many levels."""

STRUCTURED = (PLANTED, SPHERICAL, ONE, TWO, COLD)
"""Those with clusters."""

GATES = {
    COLD: "seen_cold_glass",
    ONE: "seen_one_level",
    TWO: "seen_two_levels",
    PLANTED: "seen_planted_clusters",
    HOT: "silent_hot_glass",
    INDEPENDENT: "silent_independent_vectors",
}
"""Models in which the test of hierarchy has to find something, or nothing, and the names of that share.

The cold glass with p = 3 has a single state in many instances as small as these, and is shown beside.
"""

DIMENSION = 512
"""Of the vectors of independent, planted and random-energy states."""

STRENGTH = 3.0
"""Of the planted clusters, in standard deviations of an overlap between clusters."""

SPHERICAL_SPINS = 24
"""Of the spherical glass."""

SPHERICAL_COLD = 0.45
"""Temperature of the spherical glass, whose static transition is at 0.829."""


@dataclass(frozen=True)
class KnownStates:
    """States of I instances of a model whose structure is known.

    Attributes
    ----------
    kind
        One of `KNOWN`.
    overlaps
        Cosines of all pairs of states, ``(I, R, R)``, ones on the diagonal.
    """

    kind: str
    overlaps: NDArray[np.float64]

    @property
    def spreads(self) -> NDArray[np.float64]:
        """Standard deviation of the overlaps of each instance, ``(I,)``."""
        upper = np.triu_indices(self.overlaps.shape[1], 1)
        return self.overlaps[:, *upper].std(1, ddof=1)

    def pairs(self, instance: int = 0) -> Pairs:
        """Return the pairs of one instance."""
        return Pairs.from_overlaps(self.overlaps[instance])


def known_states(
    kind: str, *, replicas: int = 60, instances: int = 10, sweeps: int = 200, seed: int = 0
) -> KnownStates:
    """Draw states of a model whose structure is known.

    Parameters
    ----------
    kind
        One of `KNOWN` but the Sherrington-Kirkpatrick glasses, see `glass_states`.
    replicas
        States R of each instance.
    instances
        Number of instances.
    sweeps
        Measured sweeps of the spherical glass, after as many to reach equilibrium.
    seed
        Seed of everything.

    Raises
    ------
    ValueError
        If there is no such kind, or a number is out of range.
    """
    makers: dict[str, Callable[[], np.ndarray]] = {
        INDEPENDENT: lambda: overlap_models.replica_symmetric(
            replicas, dimension=DIMENSION, draws=instances, seed=seed
        ),
        SPHERICAL: lambda: _spherical(replicas, instances, SPHERICAL_SPINS, sweeps, seed),
        ONE: lambda: (
            random_energy.states(
                "one", replicas=replicas, dimension=DIMENSION, instances=instances, seed=seed
            ).overlaps
        ),
        TWO: lambda: (
            random_energy.states(
                "two", replicas=replicas, dimension=DIMENSION, instances=instances, seed=seed
            ).overlaps
        ),
        PLANTED: lambda: (
            overlap_models.planted(
                replicas=replicas, strength=STRENGTH, dimension=DIMENSION, draws=instances, seed=seed
            ).overlaps
        ),
    }
    if kind not in makers:
        raise ValueError(f"kind must be one of {', '.join(makers)}, not {kind!r}")
    return KnownStates(kind, np.asarray(makers[kind](), float))


def glass_states(
    found: sk.Tempering, which: int, *, instances: int | None = None, seed: int = 0
) -> KnownStates:
    """Return the states that a run of parallel tempering kept of Sherrington-Kirkpatrick glasses.

    Spins are turned over so that those of one instance point the same way, since a glass without a field has
    every state and its reverse.
    Their overlaps are spread evenly over the step between two values that an overlap of spins can have, which
    would look like modes.

    Parameters
    ----------
    found
        A run with kept states.
    which
        Which of the kept temperatures.
    instances
        The first so many; all by default.
    seed
        Of the spreading.

    Raises
    ------
    ValueError
        If no states were kept at so many temperatures.
    """
    if not -len(found.kept) <= which < len(found.kept):
        raise ValueError(f"states were kept at {len(found.kept)} temperatures: there is no number {which}")
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(which % len(found.kept),)))
    spins = found.spins[:instances, which]
    kind = COLD if found.kept[which] < 1 else HOT
    return KnownStates(
        kind, np.stack([_spread(sk.overlaps(sk.oriented(one)), found.n, rng) for one in spins])
    )


def _spread(overlaps: np.ndarray, spins: int, rng: np.random.Generator) -> np.ndarray:
    """Spread overlaps over the steps of 2 / n between the values that they can have."""
    noise = np.triu(rng.uniform(-1, 1, overlaps.shape) / spins, 1)
    spread = np.clip(overlaps + noise + noise.T, -1, 1)
    np.fill_diagonal(spread, 1)
    return spread


def _spherical(replicas: int, instances: int, n: int, sweeps: int, seed: int) -> np.ndarray:
    temperatures = spherical_tempering.ladder(SPHERICAL_COLD, 1.6, 8)
    copies = max(2, replicas // 6)
    run = spherical_tempering.temper(
        PSpin.sample(3, n, instances=instances, seed=seed),
        temperatures,
        copies=copies,
        sweeps=2 * sweeps,
        burn=sweeps,
        keep=[temperatures[0]],
        snapshots=-(-replicas // copies),
        seed=seed,
    )
    return run.overlaps[:, 0, :replicas, :replicas]
