"""Typical solutions from two kinds of starts: whose numbers they are, and what is left out."""

from __future__ import annotations

from dataclasses import fields
from itertools import combinations

import numpy as np
import pytest

from spinscape.glasses.perceptron import Patterns, interior_starts, patterns
from spinscape.glasses.perceptron.equilibrium import Equilibrium, equilibrate
from spinscape.glasses.perceptron.starts import KINDS

SHORT = {"chains": 2, "steps": 40, "keep": 4}
"""Chains that are long enough to tell whose they are."""

NEAR_CAPACITY = (12, 3.0, -0.3)
"""Weights, density and margin at which about a third of the instances have no start."""


def direct(points: np.ndarray) -> float:
    """Return the mean overlap of states of different chains (C, K, N), pair by pair."""
    pairs = [
        (points[a] @ points[b].T / points.shape[2]).mean() for a, b in combinations(range(len(points)), 2)
    ]
    return float(np.mean(pairs))


def same(one: Equilibrium, other: Equilibrium) -> None:
    """Check that all that both have of their first instances is the same, to the last bit."""
    count = min(len(one.found), len(other.found))
    for field in fields(Equilibrium):
        a, b = (getattr(x, field.name) for x in (one, other))
        a, b = (x.xi if isinstance(x, Patterns) else x for x in (a, b))
        np.testing.assert_array_equal(a[:count], b[:count], err_msg=field.name)


def test_states_are_solutions_and_overlaps_are_those_of_points() -> None:
    found = equilibrate(3, 16, 1.5, -0.4, chains=3, steps=60, keep=6, seed=2)
    assert found.points.shape == (3, 6, 6, 16)
    np.testing.assert_allclose((found.points**2).sum(-1), 16)
    h = found.drawn.stabilities(found.points)
    assert h.min() >= -0.4 - 1e-12
    assert (found.least <= h.min((2, 3)) + 1e-12).all()
    assert (found.least >= -0.4 - 1e-12).all()
    for i in range(3):
        assert found.overlap[i] == pytest.approx(direct(found.points[i]))
        assert found.overlap_core[i] == pytest.approx(direct(found.points[i, :3]))
        assert found.overlap_other[i] == pytest.approx(direct(found.points[i, 3:]))
    np.testing.assert_array_equal(found.found, np.arange(3))
    np.testing.assert_array_equal(found.drawn.xi, patterns(3, 16, 1.5, 2).xi)
    assert found.r_hat.shape == found.effective.shape == (3,)


def test_first_chains_come_from_the_core() -> None:
    found = equilibrate(6, 20, 2.0, -0.5, chains=2, steps=4, keep=4)
    margin = found.drawn.stabilities(found.points[:, :, 0]).min(-1)
    # After one sweep or two they have not forgotten where they began.
    assert found.overlap_core.mean() > found.overlap_other.mean() + 0.1
    assert margin.shape == (6, 4)


def test_an_instance_is_the_same_whatever_their_number() -> None:
    one = equilibrate(2, 14, 1.0, -0.3, **SHORT, seed=1)
    same(one, equilibrate(4, 14, 1.0, -0.3, **SHORT, seed=1))
    other = equilibrate(2, 14, 1.0, -0.3, **SHORT, seed=2)
    assert not np.isclose(one.points, other.points).any()


def test_one_chain_has_no_overlap_within_its_kind() -> None:
    found = equilibrate(2, 12, 1.0, -0.3, chains=1, steps=40, keep=4)
    assert np.isnan(found.overlap_core).all()
    assert np.isnan(found.overlap_other).all()
    np.testing.assert_allclose(found.overlap, [direct(w) for w in found.points])


def test_instances_without_a_start_are_left_out_and_told() -> None:
    with pytest.raises(RuntimeError, match=r"instance \d+ reached margin -\d\.\d+ .* N = 12"):
        equilibrate(8, *NEAR_CAPACITY, **SHORT)
    found = equilibrate(8, *NEAR_CAPACITY, **SHORT, drop=True)
    assert 2 < len(found.found) < 8
    assert found.drawn.instances == len(found.found)
    assert (np.diff(found.found) > 0).all()
    np.testing.assert_array_equal(found.drawn.xi, patterns(8, *NEAR_CAPACITY[:2]).xi[found.found])
    assert found.drawn.stabilities(found.points).min() >= -0.3 - 1e-12
    for i in np.setdiff1d(np.arange(8), found.found):
        alone = Patterns(patterns(8, *NEAR_CAPACITY[:2]).xi[i : i + 1], 3.0)
        with pytest.raises(RuntimeError, match=f"of instance {i} reached"):
            [interior_starts(alone, -0.3, chains=2, kind=kind, offset=int(i)) for kind in KINDS]


def test_what_is_left_out_changes_no_other_instance() -> None:
    many = equilibrate(8, *NEAR_CAPACITY, **SHORT, drop=True)
    before = int(np.flatnonzero(many.found != np.arange(len(many.found)))[0])
    assert before > 1
    same(many, equilibrate(before, *NEAR_CAPACITY, **SHORT))
    some = equilibrate(int(many.found[-2]) + 1, *NEAR_CAPACITY, **SHORT, drop=True)
    np.testing.assert_array_equal(some.found, many.found[:-1])
    same(many, some)
    # The option by itself changes nothing.
    same(equilibrate(before, *NEAR_CAPACITY, **SHORT, drop=True), many)


def test_instances_of_which_none_has_starts_are_none() -> None:
    above_capacity = (12, 4.0, 0.2)
    found = equilibrate(4, *above_capacity, **SHORT, drop=True)
    assert found.drawn.xi.shape == (0, 48, 12)
    assert found.drawn.alpha == 4
    assert found.points.shape == (0, 4, 4, 12)
    assert found.least.shape == (0, 4)
    for name in ("found", "overlap", "overlap_core", "overlap_other", "r_hat", "effective"):
        assert getattr(found, name).shape == (0,), name
    assert found.found.dtype == equilibrate(2, 12, 1.0, -0.3, **SHORT).found.dtype
    with pytest.raises(RuntimeError, match=r"instance \d+ reached margin .* N = 12"):
        equilibrate(4, *above_capacity, **SHORT)


def test_one_instance_is_enough() -> None:
    many = equilibrate(8, *NEAR_CAPACITY, **SHORT, drop=True)
    assert many.found[0] == 0
    found = equilibrate(1, *NEAR_CAPACITY, **SHORT, drop=True)
    assert len(found.found) == 1
    same(found, many)


def test_a_quantity_that_never_changes_says_nothing() -> None:
    # No pattern ever comes near a margin so low.
    found = equilibrate(2, 12, 0.5, -5.0, chains=2, steps=80, keep=8)
    assert ((found.r_hat > 0.9) & (found.r_hat < 3)).all()
    assert (found.effective > 1).all()


def test_wrong_arguments_are_told_before_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spinscape.glasses.perceptron.equilibrium.interior_starts", None)
    with pytest.raises(ValueError, match="chains"):
        equilibrate(2, 12, 1.0, -0.3, chains=0, steps=10)
    with pytest.raises(ValueError, match="keep"):
        equilibrate(2, 12, 1.0, -0.3, steps=10, keep=3)
