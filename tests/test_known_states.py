"""The controls have the structure that their names say."""

from __future__ import annotations

import numpy as np
import pytest

from spinscape.glasses import sherrington_kirkpatrick as sk
from spinscape.landscape.known_states import (
    COLD,
    DIMENSION,
    GATES,
    HOT,
    INDEPENDENT,
    KNOWN,
    ONE,
    PLANTED,
    STRENGTH,
    STRUCTURED,
    TWO,
    KnownStates,
    glass_states,
    known_states,
)

SMALL = {"replicas": 12, "instances": 2, "sweeps": 20}


def glasses(spins: int, replicas: int, instances: int, sweeps: int, seed: int = 0) -> sk.Tempering:
    """A run that keeps states far below and far above the transition."""
    temperatures = sk.ladder(0.25, 3.0, 10)
    return sk.temper(
        sk.sample_couplings(spins, instances, seed=seed), temperatures, replicas=2, sweeps=sweeps,
        keep=[temperatures[0], temperatures[-1]], samples=replicas, seed=seed,
    )  # fmt: skip


@pytest.mark.parametrize("kind", [kind for kind in KNOWN if kind not in (COLD, HOT)])
def test_every_kind_is_a_stack_of_overlaps_and_depends_on_its_seed(kind: str) -> None:
    one, other = known_states(kind, seed=1, **SMALL), known_states(kind, seed=2, **SMALL)
    q = one.overlaps
    assert q.shape == (2, 12, 12)
    assert (q == q.swapaxes(1, 2)).all()
    assert (np.diagonal(q, axis1=1, axis2=2) == 1).all()
    assert np.abs(q).max() <= 1
    assert not np.array_equal(q, other.overlaps)
    assert np.array_equal(known_states(kind, seed=1, **SMALL | {"instances": 1}).overlaps[0], q[0])
    assert (one.pairs(1).overlaps == q[1]).all()


def test_glasses_are_those_of_the_run() -> None:
    run = glasses(16, 12, 2, 60)
    cold, hot = glass_states(run, 0), glass_states(run, -1)
    assert (cold.kind, hot.kind) == (COLD, HOT)
    for found, which in ((cold, 0), (hot, 1)):
        q = found.overlaps
        assert q.shape == (2, 12, 12)
        assert (q == q.swapaxes(1, 2)).all()
        assert (np.diagonal(q, axis1=1, axis2=2) == 1).all()
        spins = sk.oriented(run.spins[0, which]).astype(float)
        # Spread over the steps between two values, and no further.
        off = np.abs(q[0] - spins @ spins.T / 16)[np.triu_indices(12, 1)]
        assert 0 < off.max() <= 1 / 16
    assert np.array_equal(glass_states(run, 0, instances=1).overlaps[0], cold.overlaps[0])
    assert not np.array_equal(glass_states(run, 0, seed=1).overlaps, cold.overlaps)
    with pytest.raises(ValueError, match="kept at 2 temperatures"):
        glass_states(run, 2)


def test_names() -> None:
    assert set(GATES) < set(KNOWN)
    assert set(STRUCTURED) == set(KNOWN) - {INDEPENDENT, HOT}
    with pytest.raises(ValueError, match="kind must be one of"):
        known_states(COLD)


def test_scales_of_the_controls() -> None:
    def upper(states: KnownStates) -> np.ndarray:
        return states.overlaps[:, *np.triu_indices(30, 1)]

    independent = upper(known_states(INDEPENDENT, replicas=30, instances=8))
    assert independent.std() == pytest.approx(DIMENSION**-0.5, rel=0.1)
    run = glasses(64, 30, 8, 300)
    hot, cold = upper(glass_states(run, 1)), upper(glass_states(run, 0))
    # Above the transition n q^2 tends to 1 / (1 - 1 / T^2); turned over, so that means are not zero.
    assert (64 * hot**2).mean() == pytest.approx(1 / (1 - 1 / 9), rel=0.2)
    assert (cold**2).mean() > 0.2
    assert cold.mean() > 0.3  # all turned the same way
    near = np.arange(30) // 10
    same = (near[:, None] == near)[np.triu_indices(30, 1)]
    planted = upper(known_states(PLANTED, replicas=30, instances=8))
    gap = planted[:, same].mean() - planted[:, ~same].mean()
    assert gap * np.sqrt(DIMENSION) == pytest.approx(STRENGTH, abs=0.4)


def test_levels_of_the_random_energy_models() -> None:
    one, two = (known_states(kind, replicas=30, instances=6).overlaps for kind in (ONE, TWO))
    levels = [
        {round(2.5 * float(value)) / 2.5 for value in q[:, *np.triu_indices(30, 1)].ravel()}
        for q in (one, two)
    ]
    assert levels == [{0.0, 0.8}, {0.0, 0.4, 0.8}]
