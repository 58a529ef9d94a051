"""The controls have the structure that their names say."""

from __future__ import annotations

import numpy as np
import pytest

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
    known_states,
)

SMALL = {"replicas": 12, "instances": 2, "spins": 16, "sweeps": 20}


@pytest.mark.parametrize("kind", KNOWN)
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


def test_names() -> None:
    assert set(GATES) < set(KNOWN)
    assert set(STRUCTURED) == set(KNOWN) - {INDEPENDENT, HOT}
    with pytest.raises(ValueError, match="kind must be one of"):
        known_states("glass")


def test_scales_of_the_controls() -> None:
    def upper(kind: str) -> np.ndarray:
        q = known_states(kind, replicas=30, instances=8, spins=64, sweeps=100).overlaps
        return q[:, *np.triu_indices(30, 1)]

    assert upper(INDEPENDENT).std() == pytest.approx(DIMENSION**-0.5, rel=0.1)
    hot, cold = upper(HOT), upper(COLD)
    # Above the transition n q^2 tends to 1 / (1 - 1 / T^2); turned over, so that means are not zero.
    assert (64 * hot**2).mean() == pytest.approx(1 / (1 - 1 / 9), rel=0.2)
    assert (cold**2).mean() > 0.2
    assert cold.mean() > 0.3  # all turned the same way
    near = np.arange(30) // 10
    same = (near[:, None] == near)[np.triu_indices(30, 1)]
    planted = upper(PLANTED)
    gap = planted[:, same].mean() - planted[:, ~same].mean()
    assert gap * np.sqrt(DIMENSION) == pytest.approx(STRENGTH, abs=0.4)


def test_levels_of_the_random_energy_models() -> None:
    one, two = (known_states(kind, replicas=30, instances=6).overlaps for kind in (ONE, TWO))
    levels = [
        {round(2.5 * float(value)) / 2.5 for value in q[:, *np.triu_indices(30, 1)].ravel()}
        for q in (one, two)
    ]
    assert levels == [{0.0, 0.8}, {0.0, 0.4, 0.8}]
