"""Censuses agree with exact means, with closed forms and with themselves."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spinscape.glasses import census as census_module
from spinscape.glasses.census import CENSUS, census, enumerated
from spinscape.glasses.critical_points import find
from spinscape.glasses.pspin import PSpin


def test_two_spin_glasses_have_as_many_classes_as_spins() -> None:
    found = census(2, [5, 3], instances=4)
    assert found.sizes.tolist() == [3, 5]
    assert (found.real == 2 * found.sizes[:, None]).all()
    assert (found.share == 1).all()
    assert np.isnan(found.deviation()).all(), "nothing varies, so there is no standard error"
    assert (found.by_index.sum(2) == found.real).all()
    assert found.by_index[0, :, 3:].sum() == 0
    assert found.exact == pytest.approx([6, 10])


def test_certified_counts_agree_with_the_formula_and_the_exact_means() -> None:
    found = census(3, [2, 3, 4], instances=150, seed=3)
    assert found.complete.all()
    assert found.formula.tolist() == [3, 7, 15]
    assert (found.complex_count == found.formula[:, None]).all()
    assert (found.share <= 1).all()
    # Three normal deviates beyond 4 by chance: once in 5,000 seeds.
    assert np.abs(found.deviation()).max() < 4
    assert found.exact[0] == pytest.approx(2 * np.sqrt(7))
    assert found.exact_by_index.sum(1) == pytest.approx(found.exact)
    exact = np.polyfit(found.sizes, np.log(found.exact), 1)[0]
    growth = found.growth()
    half = (growth.high - growth.low) / 2
    assert abs(growth.value - exact) < 2.2 * half, "1.1 times four standard errors"


def test_a_wrong_mean_is_seen() -> None:
    found = census(3, [3], instances=150, seed=3)
    off = type(found)(**{**vars(found), "exact": found.exact * 1.2})
    assert abs(off.deviation()[0]) > 4


def test_an_instance_does_not_depend_on_how_many_there_are() -> None:
    few, many = (enumerated(3, 3, instances=count, seed=5) for count in (2, 4))
    assert np.allclose(few.points, many.points[many.instance < 2], atol=1e-10)
    again = census(3, [3, 4], instances=2, seed=5)
    assert np.array_equal(again.real[0], few.counts)


def test_sizes_are_independent_of_each_other() -> None:
    three, four = (enumerated(3, n, instances=1, seed=5).energy for n in (3, 4))
    assert not np.isin(np.round(three, 6), np.round(four, 6)).any()


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="at least one size"):
        census(3, [], instances=2)
    with pytest.raises(ValueError, match="at least two sizes"):
        census(3, [2], instances=2).growth()
    with pytest.raises(ValueError, match="up to 14"):
        census(3, [30], instances=1)
    with pytest.raises(ValueError, match="seed must be a whole number"):
        census(3, [3], instances=1, seed=-1)


def test_all_sizes_are_checked_before_anything_is_enumerated(monkeypatch) -> None:
    def never(*_, **__):
        raise AssertionError("enumeration began")

    monkeypatch.setattr(census_module, "enumerated", never)
    for sizes, message in (([3, 15], "up to 14"), ([3, 14.5], "whole number"), ([1, 3], "at least 2")):
        with pytest.raises(ValueError, match=message):
            census(3, sizes, instances=2)
    with pytest.raises(ValueError, match=r"instances are allowed|largest n allowed"):
        census(3, [3, 12], instances=10**9)


def test_two_classes_that_nearly_meet_are_both_found() -> None:
    # They have two real classes at a distance of 0.0017, to which paths turn sharply at their ends.
    own = np.random.SeedSequence(0, spawn_key=(CENSUS, 3, 8)).generate_state(1)[0]
    stream = np.random.default_rng(np.random.SeedSequence(int(own), spawn_key=(101, 83)))
    glass = PSpin.symmetrised(torch.from_numpy(stream.standard_normal((1, 8, 8, 8))))
    found = find(glass, seed=int(own))
    assert found.complete.all()
    assert found.separation[0] < 0.002
