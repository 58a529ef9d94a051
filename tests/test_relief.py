"""Measures of surfaces against surfaces whose relief is known."""

from __future__ import annotations

import numpy as np
import pytest

from spinscape.landscape.relief import (
    basin_depth,
    basin_width,
    laplacian,
    local_minima,
    negative_share,
    roughness,
)

AXIS = np.linspace(-1, 1, 41)
A, B = np.meshgrid(AXIS, AXIS, indexing="ij")


def test_laplacian_of_polynomials() -> None:
    surfaces = np.stack([A**2 + 3 * B**2, 5 + A - B, A * B, A**3])
    found = laplacian(surfaces, AXIS)
    for values, exact in zip(found, (8 + 0 * A, 0 * A, 0 * A, 6 * A), strict=True):
        np.testing.assert_allclose(values, exact[1:-1, 1:-1], atol=1e-9)


def test_roughness_and_what_it_does_not_depend_on() -> None:
    bowl = A**2 + B**2
    wavy = bowl + 0.05 * np.sin(12 * A) * np.sin(12 * B)
    found = roughness(np.stack([bowl, wavy, 1000 * wavy + 7]), AXIS)
    assert found.laplacian[0] == pytest.approx(16, rel=1e-9)
    assert found.relative[0] == pytest.approx(4, rel=1e-9)
    assert found.uneven[0] == pytest.approx(0, abs=1e-12)
    assert found.relative[1] == pytest.approx(found.relative[2], rel=1e-9)
    assert found.uneven[1] == pytest.approx(found.uneven[2], rel=1e-9)
    assert found.laplacian[2] == pytest.approx(1e6 * found.laplacian[1], rel=1e-9)
    assert found.uneven[1] > 1
    np.testing.assert_array_equal(found.minima, local_minima(np.stack([bowl, wavy, wavy])))
    flat = roughness(np.ones((5, 5)), np.arange(5.0))
    assert (flat.laplacian, flat.relative, flat.uneven, flat.minima) == (0, 0, 0, 0)


def test_minima_are_counted_strictly_inside() -> None:
    found = local_minima(np.stack([np.cos(2 * np.pi * A) + np.cos(2 * np.pi * B), A + B, 0 * A, A**2 + B**2]))
    assert found.tolist() == [4, 0, 0, 1]
    assert local_minima(-(A**2) - B**2) == 0
    dent = np.zeros((5, 5))
    dent[2, 2] = -1e-9
    assert local_minima(dent) == 1
    assert local_minima(dent, margin=1e-8) == 0
    dent[1, 1] = -1e-9
    assert local_minima(dent) == 0


def test_width_of_a_cone_and_of_an_ellipse() -> None:
    cone = np.hypot(A, B)
    width = basin_width(np.stack([cone, 2 * cone, 0.1 * cone]), AXIS, 0.5)
    np.testing.assert_allclose(width.radius, [0.5, 0.25, 1.0], rtol=5e-3)
    assert width.censored.tolist() == [0, 0, 1]
    scaled = basin_width(np.stack([cone, 2 * cone]), 3 * AXIS, [0.5, 1.0])
    np.testing.assert_allclose(scaled.radius, 1.5, rtol=5e-3)
    angle = 2 * np.pi * np.arange(4096) / 4096
    exact = np.sqrt(0.2 / (np.cos(angle) ** 2 + 4 * np.sin(angle) ** 2)).mean()
    assert basin_width(A**2 + 4 * B**2, AXIS, 0.2).radius == pytest.approx(exact, rel=1e-2)
    trough = basin_width(B**2, AXIS, 0.01)
    assert 0 < trough.censored < 0.2
    assert 0.1 < trough.radius < 1
    # A second valley beyond the first wall does not count.
    ring = np.where(np.abs(np.hypot(A, B) - 0.5) < 0.1, 1.0, 0.0)
    assert basin_width(ring, AXIS, 0.5).radius == pytest.approx(0.4, abs=0.05)


def test_width_where_the_surface_is_not_finite() -> None:
    values = A**2 + B**2
    values[np.hypot(A, B) > 0.6] = np.inf
    found = basin_width(values, AXIS, 10.0)
    assert found.radius == pytest.approx(0.6, abs=0.06)
    assert found.censored == 0


def test_width_of_a_surface_that_is_none() -> None:
    nothing = np.full_like(A, np.nan)
    centre, corner, below = A**2 + B**2, A**2 + B**2, A**2 + B**2
    centre[20, 20], corner[0, 0], below[3, 3] = np.inf, np.nan, -np.inf
    found = basin_width(np.stack([nothing, centre, corner, below, A**2 + B**2]), AXIS, 0.5)
    assert np.isnan(found.radius).tolist() == [True, True, True, True, False]
    assert np.isnan(found.censored).tolist() == [True, True, True, True, False]


def test_minima_and_shares_of_a_surface_that_is_none() -> None:
    broken = np.cos(2 * np.pi * A) + np.cos(2 * np.pi * B)
    whole = broken.copy()
    broken[0, 0] = np.nan
    assert np.isnan(local_minima(np.stack([broken, np.full_like(A, np.inf), whole]))).tolist() == [1, 1, 0]
    assert np.isnan(roughness(np.stack([broken, whole]), AXIS).minima).tolist() == [True, False]
    assert np.isnan(negative_share(np.stack([broken, whole]))).tolist() == [True, False]


def test_depth() -> None:
    bowl = np.minimum(A**2 + B**2, 0.5)
    assert basin_depth(np.stack([bowl, 3 * bowl + 1])).tolist() == pytest.approx([0.5, 1.5])
    assert basin_depth(A) == pytest.approx(1)


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (lambda: laplacian(np.ones((4, 5)), np.arange(5.0)), r"shape \(\.\.\., G, G\)"),
        (lambda: laplacian(np.ones((2, 2)), np.arange(2.0)), "at least 3"),
        (lambda: roughness(np.ones((3, 3)), [0, 1, 3]), "equally spaced"),
        (lambda: roughness(np.ones((3, 3)), [2, 1, 0]), "increasing"),
        (lambda: basin_width(A, AXIS, 0.0), "threshold must be positive"),
        (lambda: basin_width(A, AXIS + 1, 0.1), "0 in its middle"),
        (lambda: basin_width(A[:40, :40], AXIS[:40], 0.1), "symmetric"),
        (lambda: local_minima(np.ones(3)), "at least 3"),
        (lambda: local_minima(A, margin=-1), "margin"),
        (lambda: local_minima(A, margin=np.nan), "margin"),
        (lambda: negative_share(AXIS), r"shape \(\.\.\., G, G\)"),
        (lambda: negative_share(A, tolerance=-1), "tolerance"),
        (lambda: basin_depth(np.ones((3, 4))), "at least 3"),
    ],
)
def test_bad_input_is_refused(action, message) -> None:
    with pytest.raises(ValueError, match=message):
        action()


def test_negative_share_takes_rounding_for_zero() -> None:
    bends = np.array([[[-1.0, 1e-9], [-1e-9, 0.5]], [[0.0, 0.0], [0.0, 0.0]]])
    assert negative_share(bends).tolist() == [0.25, 0.0]
