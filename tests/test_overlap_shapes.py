"""P(q) as it is, and standardised beside the null."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from spinscape.glasses.overlap_models import planted, replica_symmetric
from spinscape.landscape.overlap_shapes import LEAST_DRAWS, OverlapShape, envelope, overlap_shape
from spinscape.landscape.printed_distances import printed


def _outside(one: OverlapShape) -> float:
    """Area of what leaves the band of the null."""
    low, high = one.null
    beyond = np.maximum(one.standard - high, 0) + np.maximum(low - one.standard, 0)
    return float(beyond.sum() * np.diff(one.x)[0])


def test_densities_have_the_moments_of_the_overlaps() -> None:
    q = replica_symmetric(40, dimension=100, overlap=0.3, draws=2)
    one = overlap_shape(q, draws=40)
    step = np.diff(one.q)[0]
    values = q[:, *np.triu_indices(40, 1)]
    assert_allclose(one.density.sum(1) * step, 1, atol=1e-6)
    means = one.density @ one.q * step
    assert_allclose(means, values.mean(1), atol=2 * step)
    spread = np.sqrt([row @ (one.q - mean) ** 2 * step for row, mean in zip(one.density, means, strict=True)])
    assert_allclose(spread, values.std(1, ddof=1) * np.sqrt(1 + 0.2**2), rtol=0.02)
    assert np.sum(one.standard) * np.diff(one.x)[0] == pytest.approx(1, abs=0.01)
    assert one.counted == 2


def test_no_structure_stays_in_the_band_and_groups_leave_it() -> None:
    alike = overlap_shape(replica_symmetric(40, dimension=1000, draws=6, seed=3))
    groups = planted(1, replicas=40, strength=6, dimension=1000, branching=(3,), draws=6).overlaps
    assert _outside(alike) == 0
    assert not alike.leaves
    found = overlap_shape(groups)
    assert _outside(found) > 0.1
    assert found.leaves
    assert found.p == 1 / 200


@pytest.mark.parametrize("instances", [1, 4])
def test_the_null_itself_leaves_the_band_as_often_as_is_said(instances: int) -> None:
    """Of 100 sets of independent vectors five should; 0 or more than 11 have a chance of 1 in 100."""
    left, narrower = 0, 0
    for k in range(100):
        q = replica_symmetric(16, dimension=200, draws=instances, seed=1000 + k)
        one = overlap_shape(q, draws=99, seed=50 * k)
        assert one.leaves == (_outside(one) > 0)
        left += one.leaves
        low, high = one.null
        narrower += bool((one.standard > (high + low) / 2 + (high - low) / 4).any())
    assert 1 <= left <= 11
    assert narrower > 40, "a band half as wide is left by many"


def test_the_band_is_that_of_the_rank() -> None:
    rng = np.random.default_rng(3)
    inside = 0
    for _ in range(400):
        curves = 50 + rng.standard_normal((40, 30)) * np.linspace(0.1, 2, 30)
        (low, high), p = envelope(curves)
        out = bool(((curves[0] < low) | (curves[0] > high)).any())
        assert out == (p <= 0.05)
        inside += not out
    assert 365 <= inside <= 393


def test_a_place_where_the_null_never_is_counts_in_units_of_one_pair() -> None:
    curves = np.zeros((40, 3))
    curves[1:, 1] = np.arange(39)
    assert envelope(curves, least=0.1)[1] > 0.05
    curves[0, 2] = 5.0
    (_, high), p = envelope(curves, least=0.1)
    assert p == 1 / 40
    assert curves[0, 2] > high[2]


def test_instances_without_spread_are_left_out_on_the_right_alone() -> None:
    q = replica_symmetric(20, dimension=50, draws=2)
    q[1] = 1.0
    one = overlap_shape(q, draws=40)
    assert one.counted == 1
    assert_allclose(one.standard, overlap_shape(q[:1], draws=40).standard)
    assert one.q[one.density[1].argmax()] == pytest.approx(1, abs=1e-3)
    with pytest.raises(ValueError, match="vary in no instance"):
        overlap_shape(np.ones((1, 20, 20)))


def test_far_overlaps_are_not_moved_to_the_edge() -> None:
    q = replica_symmetric(40, dimension=10**6, draws=1)
    q[0, 0, 1] = q[0, 1, 0] = 0.9
    one = overlap_shape(q, draws=40)
    assert one.standard[-1] == 0
    assert one.standard.sum() * np.diff(one.x)[0] < 1 - 0.5 / 780


@pytest.mark.parametrize("shape", [(20, 20), (2, 20, 19), (2, 7, 7), (0, 20, 20)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="at least 8 states"):
        overlap_shape(np.ones(shape))


def test_a_band_needs_draws() -> None:
    with pytest.raises(ValueError, match="at least 39, not 38"):
        overlap_shape(replica_symmetric(20, dimension=50), draws=LEAST_DRAWS - 1)


def test_printed_numbers_belong_to_the_source_s_size_alone() -> None:
    assert printed(256, 784) == {"4": (75.59, 1.27)}
    assert printed(1024, 784) == {"4": (86.26, 2.26), "A2": (51.44, 0.07)}
    assert printed(64, 784) == printed(512, 64) == {}
