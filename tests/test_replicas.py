from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from spinscape.glasses.pspin import PSpin, random_points
from spinscape.glasses.replicas import hessian_edge, misfits, negative_share, overlaps, restarts
from spinscape.statistics import extrapolate


def test_overlaps_are_those_of_all_pairs() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(2, 4, 5))
    found = overlaps(points)
    assert found.shape == (2, 6)
    pairs = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    for i in range(2):
        expected = [points[i, a] @ points[i, b] / 5 for a, b in pairs]
        np.testing.assert_allclose(found[i], expected)
    with pytest.raises(ValueError, match="at least two points"):
        overlaps(points[:, :1])


def test_restarts_are_one_over_the_share_near_the_lowest() -> None:
    found = restarts([[-1.0, -0.995, -0.5, -0.4], [-2.0, -1.0, -1.0, -1.0]], within=0.01)
    np.testing.assert_allclose(found, [2.0, 4.0])
    with pytest.raises(ValueError, match="positive"):
        restarts([[1.0]], within=0.0)
    with pytest.raises(ValueError, match="finite"):
        restarts([[math.nan, 1.0]], within=0.1)


@pytest.mark.parametrize("p", [2, 3, 4])
def test_the_edge_of_sampled_hessians_tends_to_the_threshold(p: int) -> None:
    sizes = {2: (20, 40, 80), 3: (15, 30, 60), 4: (12, 20, 30)}[p]
    edges = []
    for n in sizes:
        glass = PSpin.sample(p, n, instances=40, seed=3)
        edges.append(hessian_edge(glass, random_points(40, 6, n, seed=4)))
    threshold = 2 * math.sqrt((p - 1) / p)
    # Finite sizes lie below, and the straight line in (n - 1)^(-2/3) meets the threshold within 2%.
    assert edges[0].mean() < edges[-1].mean() < threshold
    limit = extrapolate(np.array(sizes) - 1, edges, powers=(2 / 3,))
    assert abs(limit.value / threshold - 1) < 0.02


def test_the_edge_follows_from_the_eigenvalues() -> None:
    glass = PSpin.sample(3, 7, instances=2, seed=5)
    points = random_points(2, 3, 7, seed=6)
    shifted = torch.linalg.eigvalsh(glass.hessian(points)) + 3 * glass.energy_per_spin(points)[..., None]
    np.testing.assert_allclose(
        hessian_edge(glass, points), -shifted[..., 0].mean(1).numpy() / 3 * math.sqrt(7 / 6), rtol=1e-12
    )


def test_misfits_tell_an_exponential_from_a_power() -> None:
    n = np.array([8.0, 12, 17, 24])
    exponential, power = misfits(n, np.exp(0.3 * n))
    assert exponential < 1e-12 < power
    exponential, power = misfits(n, n**1.5)
    assert power < 1e-12 < exponential
    assert np.isnan(misfits([1, 2], [1, 2])).all()


def test_share_of_points_with_negative_curvature() -> None:
    glass = PSpin.sample(2, 5, instances=3, seed=1)
    _, vectors = torch.linalg.eigh(glass.couplings)
    points = math.sqrt(5) * vectors.mT[:, [0, 1]]  # the minimum and the first saddle
    np.testing.assert_allclose(negative_share(glass, points), 0.5)
