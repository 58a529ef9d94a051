"""Great circles between points: the exact lowest stabilities and barriers against fine grids and geometry."""

from __future__ import annotations

import math

import numpy as np
import pytest

from spinscape.glasses.perceptron.geodesics import (
    barrier,
    barrier_free,
    connections,
    energies,
    lowest,
    ternary_grid,
)
from spinscape.glasses.perceptron.patterns import patterns


def draw(pairs: int, n: int, count: int, near: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of points of the sphere, (pairs, n) each, and patterns (count, n)."""
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((pairs, n))
    b = near * a + rng.standard_normal((pairs, n))
    xi = rng.standard_normal((count, n))
    a, b = (math.sqrt(n) * x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
    return a, b, xi


def along(ha: np.ndarray, hb: np.ndarray, overlap: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Stabilities at shares (pairs, T) of the arcs, (pairs, T, P)."""
    theta = np.arccos(overlap)[:, None]
    left, right = np.sin((1 - share) * theta) / np.sin(theta), np.sin(share * theta) / np.sin(theta)
    return left[:, :, None] * ha[:, None] + right[:, :, None] * hb[:, None]


CASES = [(n, near, kappa) for n in (2, 3, 30) for near in (0.0, 3.0) for kappa in (-0.6, 0.0, 0.7)]


@pytest.mark.parametrize(("n", "near", "kappa"), CASES)
def test_against_fine_grids(n: int, near: float, kappa: float) -> None:
    a, b, xi = draw(40, n, 25, near, 1)
    ha, hb, overlap = a @ xi.T / math.sqrt(n), b @ xi.T / math.sqrt(n), (a * b).sum(1) / n
    grid = along(ha, hb, overlap, np.linspace(0, 1, 4001)[None].repeat(40, 0))
    low = lowest(ha, hb, overlap)
    assert (low <= grid.min(1) + 1e-9).all()
    np.testing.assert_allclose(low, grid.min(1), atol=1e-5)
    found = barrier(ha, hb, overlap, kappa)
    # No point of the grid is higher, and the place that is told is as high as told.
    assert (found.height >= (grid < kappa).mean(2).max(1) - 1e-12).all()
    there = along(ha, hb, overlap, found.where[:, None])[:, 0]
    np.testing.assert_allclose((there < kappa).mean(1), found.height, atol=1e-12)
    assert np.array_equal(found.height == 0, barrier_free(ha, hb, overlap, kappa))
    assert found.height.any()


def test_solutions_with_and_without_barriers() -> None:
    a, b, xi = draw(4000, 6, 6, 1.0, 2)
    ha, hb, overlap = a @ xi.T / math.sqrt(6), b @ xi.T / math.sqrt(6), (a * b).sum(1) / 6
    both = (np.minimum(ha, hb) >= -0.5).all(1)
    ha, hb, overlap = ha[both], hb[both], overlap[both]
    free = barrier_free(ha, hb, overlap, -0.5)
    grid = along(ha, hb, overlap, np.linspace(0, 1, 301)[None].repeat(len(ha), 0)).min((1, 2))
    clear = np.abs(grid + 0.5) > 1e-3
    assert 0.1 < free.mean() < 0.99
    assert clear.mean() > 0.9
    assert np.array_equal(free[clear], grid[clear] > -0.5)
    # Solutions of a margin of at least zero form a convex set.
    convex = (np.minimum(ha, hb) >= 0).all(1)
    assert convex.any()
    assert barrier_free(ha[convex], hb[convex], overlap[convex], 0.0).all()


def test_a_forbidden_cap_in_two_dimensions() -> None:
    # The pattern (sqrt 2, 0) has h = sqrt(2) cos(phi): below -1 within pi / 4 of phi = pi.
    def at(angle: float) -> float:
        return math.sqrt(2) * math.cos(angle)

    quarter = math.pi / 4
    outside = barrier(
        [at(math.pi - 2 * quarter)], [at(math.pi + 1.5 * quarter)], math.cos(3.5 * quarter), -1.0
    )
    assert outside.height == 1
    # On the arc from pi / 2 to pi + 3 pi / 8, in the middle of the stretch.
    assert outside.where == pytest.approx(2 / 3.5)
    beside = barrier(
        [at(math.pi - 3 * quarter)], [at(math.pi - 1.001 * quarter)], math.cos(1.999 * quarter), -1.0
    )
    assert (beside.height, beside.where) == (0, 0)
    shallow = lowest([at(math.pi - 0.3)], [at(math.pi + 0.4)], math.cos(0.7))
    assert shallow == pytest.approx(-math.sqrt(2), abs=1e-14)
    # A pattern with a radius below the margin never goes below it.
    assert barrier_free([0.99 * math.cos(2.0)], [0.99 * math.cos(4.0)], math.cos(2.0), -1.0)


def test_two_stretches_on_one_arc() -> None:
    # At a positive margin a pattern is below except near its top: above only in the middle of this arc.
    ends = math.cos(1.4)
    middle = barrier([[ends, -1.0]], [[ends, -1.0]], [math.cos(2.8)], 0.5)
    assert middle.height == [1.0]
    second = np.array([[ends, math.cos(2.7)]]), np.array([[ends, math.cos(0.1)]])
    both = barrier(*second, [math.cos(2.8)], 0.5)
    assert both.height == [1.0]
    assert along(second[0], second[1], np.array([math.cos(2.8)]), both.where[:, None])[0, 0].max() < 0.5


def test_reversed_arcs_and_ends() -> None:
    a, b, xi = draw(30, 10, 20, 1.0, 3)
    ha, hb, overlap = a @ xi.T / math.sqrt(10), b @ xi.T / math.sqrt(10), (a * b).sum(1) / 10
    forth, back = barrier(ha, hb, overlap, -0.5), barrier(hb, ha, overlap, -0.5)
    np.testing.assert_array_equal(forth.height, back.height)
    same = barrier(ha, ha, np.ones(30), -0.5)
    np.testing.assert_allclose(same.height, (ha < -0.5).mean(1))
    np.testing.assert_allclose(lowest(ha, ha, np.ones(30)), ha)
    near = barrier(ha, ha, np.full(30, 1 - 1e-15), -0.5)
    np.testing.assert_allclose(near.height, same.height)
    assert barrier_free(np.full((1, 1), -0.5), np.full((1, 1), -0.2), np.zeros(1), -0.5).item() is False
    assert barrier_free(np.full((1, 1), -0.5), np.full((1, 1), -0.5), np.ones(1), -0.5).item() is True
    with pytest.raises(ValueError, match="antipodes"):
        lowest(ha, -ha, -np.ones(30))
    with pytest.raises(ValueError, match="-1 to 1"):
        lowest(ha, hb, np.full(30, 1.5))


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b, xi = draw(30, 10, 20, 1.0, 4)
    ha, hb, overlap = a @ xi.T / math.sqrt(10), b @ xi.T / math.sqrt(10), (a * b).sum(1) / 10
    gamma = ternary_grid(4)[:, :2][:10]
    h, q = np.stack([ha, hb], 1), np.stack([np.ones(30), overlap, overlap, np.ones(30)], 1).reshape(30, 2, 2)
    whole = barrier(ha, hb, overlap, -0.5), energies(h, q, gamma + 0.1, -0.5)
    monkeypatch.setattr("spinscape.glasses.perceptron.geodesics.CHUNK_NUMBERS", 1)
    parts = barrier(ha, hb, overlap, -0.5), energies(h, q, gamma + 0.1, -0.5)
    np.testing.assert_array_equal(whole[0].height, parts[0].height)
    np.testing.assert_array_equal(whole[0].where, parts[0].where)
    np.testing.assert_array_equal(whole[1], parts[1])


def test_energies_are_those_of_points() -> None:
    n, y = 12, 3
    rng = np.random.default_rng(5)
    w = rng.standard_normal((7, y, n)) + 0.5
    w *= math.sqrt(n) / np.linalg.norm(w, axis=2, keepdims=True)
    xi = rng.standard_normal((15, n))
    gamma = ternary_grid(4)
    found = energies(w @ xi.T / math.sqrt(n), w @ w.transpose(0, 2, 1) / n, gamma, -0.3)
    mixed = np.einsum("gr,irn->ign", gamma, w)
    mixed *= math.sqrt(n) / np.linalg.norm(mixed, axis=2, keepdims=True)
    np.testing.assert_allclose(found, (mixed @ xi.T / math.sqrt(n) < -0.3).mean(2), atol=1e-12)
    np.testing.assert_array_equal(energies(w @ xi.T / math.sqrt(n), w @ w.transpose(0, 2, 1) / n,
                                           7 * gamma, -0.3), found)  # fmt: skip
    corner = energies(w @ xi.T / math.sqrt(n), w @ w.transpose(0, 2, 1) / n, np.eye(3), -0.3)
    np.testing.assert_allclose(corner, (w @ xi.T / math.sqrt(n) < -0.3).mean(2))


def test_energies_refuse_what_has_no_meaning() -> None:
    h, q = np.zeros((2, 5)), np.array([[1.0, -1.0], [-1.0, 1.0]])
    with pytest.raises(ValueError, match="no direction"):
        energies(h, q, [[0.5, 0.5]], -0.5)
    with pytest.raises(ValueError, match="not be negative"):
        energies(h, np.eye(2), [[1.5, -0.5]], -0.5)
    with pytest.raises(ValueError, match="shapes"):
        energies(h, np.eye(2), [[0.2, 0.3, 0.5]], -0.5)


def test_ternary_grid() -> None:
    grid = ternary_grid(6)
    assert grid.shape == (28, 3)
    np.testing.assert_allclose(grid.sum(1), 1)
    assert len(np.unique(grid, axis=0)) == 28
    assert grid.min() == 0
    with pytest.raises(ValueError, match="at least 1"):
        ternary_grid(0)


def test_connections_follow_every_pair() -> None:
    drawn = patterns(2, 20, 1.0, 7)
    rng = np.random.default_rng(8)
    a, b = (rng.standard_normal((2, k, 20)) for k in (3, 4))
    a, b = (math.sqrt(20) * x / np.linalg.norm(x, axis=2, keepdims=True) for x in (a, b))
    found = connections(drawn, a, b, -0.5)
    assert found.free.shape == found.height.shape == (2, 3, 4)
    for i, s, c in np.ndindex(2, 3, 4):
        h = drawn.xi[i] @ np.stack([a[i, s], b[i, c]], 1) / math.sqrt(20)
        one = barrier(h[:, 0], h[:, 1], a[i, s] @ b[i, c] / 20, -0.5)
        assert found.height[i, s, c] == one.height
        assert found.where[i, s, c] == pytest.approx(float(one.where))
        assert found.overlap[i, s, c] == pytest.approx(a[i, s] @ b[i, c] / 20)
    np.testing.assert_allclose(found.margin_end, drawn.stabilities(b).min(2))
    with pytest.raises(ValueError, match="on the sphere"):
        connections(drawn, a, 2 * b, -0.5)
    with pytest.raises(ValueError, match="shape"):
        connections(drawn, a[:1], b, -0.5)
