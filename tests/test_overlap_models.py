"""Overlaps by construction against moments of Wishart matrices, and planted strengths measured back."""

from __future__ import annotations

import math

import numpy as np
import pytest

from spinscape.glasses import overlap_models
from spinscape.glasses.overlap_models import gram, hierarchical, planted, replica_symmetric

UPPER = np.triu_indices(12, 1)


@pytest.mark.parametrize(("vectors", "dimension"), [(4, 7.5), (6, 6), (6, 3)])
def test_gram_has_the_moments_of_a_wishart_matrix(vectors: int, dimension: float) -> None:
    rng = np.random.default_rng(1)
    draws = 10_000
    roots = [gram(rng, vectors, dimension) for _ in range(draws)]
    matrices = np.array([root @ root.T for root in roots])
    mean, var = matrices.mean(0), matrices.var(0)
    # Means have standard error sqrt(2 d / draws) at most, variances about 9% of 2 d at five of theirs.
    assert np.abs(mean - dimension * np.eye(vectors)).max() < 5 * math.sqrt(2 * dimension / draws)
    assert var == pytest.approx(dimension * (1 + np.eye(vectors)), rel=0.15)
    assert roots[0].shape == (vectors, min(vectors, math.ceil(dimension)))


@pytest.mark.parametrize("dimension", [20.0, 33.5, 5.0, math.inf])
def test_fluctuations_are_those_of_cosines(dimension: float) -> None:
    q = replica_symmetric(12, dimension=dimension, sigma=0.05, draws=6000, seed=2)
    omega = q / 0.05
    values = omega[:, UPPER[0], UPPER[1]]
    inverse = 0.0 if math.isinf(dimension) else 1 / dimension
    assert abs(values.mean()) < 0.01
    assert values.var() == pytest.approx(1, abs=0.015)
    # Of a cosine in d dimensions: E c^4 = 3 / (d (d + 2)), E c_12 c_23 c_31 = 1 / d^2.
    assert (values**4).mean() == pytest.approx(3 / (1 + 2 * inverse), rel=0.03)
    loop = omega[:, 0, 1] * omega[:, 1, 2] * omega[:, 2, 0]
    assert loop.mean() == pytest.approx(math.sqrt(inverse), abs=5 * loop.std() / math.sqrt(len(loop)))


def test_default_spread_is_that_of_vectors_around_a_common_one() -> None:
    q = replica_symmetric(12, dimension=40, overlap=0.3, draws=4000, seed=3)
    assert q.shape == (4000, 12, 12)
    assert np.array_equal(q, q.swapaxes(1, 2))
    assert (q[:, range(12), range(12)] == 1).all()
    assert q[:, *UPPER].mean() == pytest.approx(0.3, abs=0.002)
    assert q[:, *UPPER].std() == pytest.approx(0.7 / math.sqrt(40), rel=0.01)
    assert np.linalg.eigvalsh(q).min() > 0


def test_effects_and_factors_add_the_covariances_they_should() -> None:
    q = replica_symmetric(
        12, dimension=500, overlap=0.1, sigma=0.01, effect=0.03, factors=(0.02, 0.01), draws=4000, seed=4
    )
    q = q - q[:, *UPPER].mean()
    total = 0.01**2 + 2 * 0.03**2 + 0.02**2 + 0.01**2
    assert q[:, *UPPER].var() == pytest.approx(total, rel=0.03)
    # Pairs that share a state have the variance of its effect in common, pairs that share none nothing.
    assert (q[:, 0, 1] * q[:, 0, 2]).mean() == pytest.approx(0.03**2, rel=0.15)
    assert abs((q[:, 0, 1] * q[:, 2, 3]).mean()) < 1e-4
    loop = (q[:, 0, 1] * q[:, 1, 2] * q[:, 2, 0]).mean()
    alone = replica_symmetric(12, dimension=500, overlap=0.1, sigma=0.01, effect=0.03, draws=4000, seed=4)
    alone = alone - alone[:, *UPPER].mean()
    plain = (alone[:, 0, 1] * alone[:, 1, 2] * alone[:, 2, 0]).mean()
    assert loop - plain == pytest.approx(0.02**3 + 0.01**3, rel=0.5)


def test_a_draw_depends_on_its_number_only() -> None:
    few, many = (replica_symmetric(8, dimension=20, effect=0.1, draws=b, seed=5) for b in (2, 5))
    assert np.array_equal(few, many[:2])
    assert not np.array_equal(many[0], many[1])
    a, b = (planted(replicas=8, strength=2, dimension=20, sizes="random", draws=b, seed=5) for b in (1, 3))
    assert np.array_equal(a.overlaps, b.overlaps[:1])
    assert np.array_equal(a.labels, b.labels[:1])
    labels = b.labels[:1]
    one = hierarchical((0.1, 0.5), labels, dimension=30, seed=5)
    assert np.array_equal(one[0], hierarchical((0.1, 0.5), b.labels, dimension=30, seed=5)[0])


@pytest.mark.parametrize("dimension", [900.0, 61.3, math.inf])
@pytest.mark.parametrize("sizes", ["equal", "random"])
def test_planted_strength_is_measured_back(dimension: float, sizes: str) -> None:
    sigma, strength, draws = 0.02, 3.0, 60
    found = planted(
        2, replicas=60, strength=strength, dimension=dimension, overlap=0.2, sigma=sigma, branching=(3, 2),
        sizes=sizes, draws=draws, seed=6,
    )  # fmt: skip
    shared = overlap_models._shared(found.labels[0])
    assert shared.max() == 2
    for level in range(3):
        mask = np.stack([overlap_models._shared(one) == level for one in found.labels])
        values = found.overlaps[mask & ~np.eye(60, dtype=bool)]
        excess = (values.mean() - 0.2) / sigma
        # 61.3 dimensions hold states and centres as 61 only, and cosines fall short by about 1 / dimension.
        assert excess == pytest.approx(level * strength, abs=0.15 if dimension > 100 else 0.4)
        if level == 0:
            assert values.std() == pytest.approx(sigma, rel=0.03)


def test_clusters_are_vectors_and_equal_sizes_are_equal() -> None:
    found = planted(2, replicas=62, strength=6, dimension=400, overlap=0.3, branching=(3, 2), draws=20)
    assert np.linalg.eigvalsh(found.overlaps).min() > 0
    for one in found.labels:
        sizes = np.unique(one, axis=0, return_counts=True)[1]
        assert len(sizes) == 6
        assert np.ptp(sizes) <= 1
        assert (np.lexsort((one[:, 1], one[:, 0])) == np.arange(62)).all()
    drawn = planted(replicas=62, strength=6, dimension=400, sizes="random", draws=20).labels[..., 0]
    counts = np.stack([np.bincount(one, minlength=3) for one in drawn])
    assert counts.std() == pytest.approx(math.sqrt(62 * (1 / 3) * (2 / 3)), rel=0.4)


def test_without_strength_planted_is_replica_symmetric() -> None:
    a = planted(replicas=12, strength=0, dimension=30, overlap=0.2, effect=0.05, draws=2500, seed=7).overlaps
    b = replica_symmetric(12, dimension=30, overlap=0.2, effect=0.05, draws=2500, seed=8)
    for power in (1, 2, 3, 4):
        x, y = ((q[:, 0, 1] - 0.2) ** power for q in (a, b))
        assert abs(x.mean() - y.mean()) < 4 * math.hypot(x.std(), y.std()) / 50
    largest = [np.linalg.eigvalsh(q)[:, -1] for q in (a, b)]
    assert largest[0].mean() == pytest.approx(largest[1].mean(), abs=4 * largest[0].std() / 35)


def test_hierarchies_of_given_labels() -> None:
    labels = np.array([[0, 0], [0, 0], [0, 1], [1, 0], [1, 0], [1, 1]])
    exact = hierarchical((0.1, 0.4, 0.9), labels)
    assert exact[0].tolist() == [1, 0.9, 0.4, 0.1, 0.1, 0.1]
    many = hierarchical((0.1, 0.4, 0.9), np.repeat(labels[None], 1500, axis=0), dimension=100, seed=1)
    assert many.shape == (1500, 6, 6)
    assert many.mean(0) == pytest.approx(exact, abs=0.015)
    # Centres that are independent of each other: the sd is that of cosines, (1 - q_0) / sqrt(dimension).
    assert many[:, 0, 3].std() == pytest.approx(0.9 / 10, rel=0.08)
    assert many[:, 0, 1].std() < many[:, 0, 2].std() < many[:, 0, 3].std()
    same = hierarchical((0.0, 1.0), [[0], [0], [1]], dimension=10)
    assert same[0, 1] == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"replicas": 1}, "replicas"),
        ({"draws": 0}, "draws"),
        ({"dimension": 0.5}, "dimension"),
        ({"dimension": 7.5}, "dimension"),
        ({"dimension": math.nan}, "dimension"),
        ({"overlap": 1.0}, "overlap"),
        ({"overlap": math.nan}, "overlap"),
        ({"sigma": -0.1}, "sigma"),
        ({"effect": -0.1}, "effect"),
        ({"factors": (-1.0,)}, "factors"),
        ({"seed": -1}, "seed"),
        ({"draws": 10**12}, "at most .* draws are allowed"),
        ({"replicas": 10**8, "dimension": 1e9}, "at most .* replicas are allowed"),
    ],
)
def test_bad_arguments_of_the_null(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replica_symmetric(**{"replicas": 10, "dimension": 20, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"levels": 0}, "levels"),
        ({"levels": 2}, "branching"),
        ({"branching": (0,)}, "branching"),
        ({"branching": (11,)}, "do not fill"),
        ({"sizes": "odd"}, "sizes"),
        ({"strength": -1}, "strength"),
        ({"strength": math.sqrt(20)}, "below 4.472"),
        ({"strength": math.nan}, "strength"),
        ({"dimension": math.inf}, "sigma must be given"),
    ],
)
def test_bad_arguments_of_planted_states(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        planted(**{"replicas": 10, "dimension": 20, "strength": 1, **changes})


@pytest.mark.parametrize(
    ("levels", "labels", "message"),
    [
        ((0, 0.5), [0, 1], "labels"),
        ((0, 0.5), [[0.0], [1.0]], "labels"),
        ((0, 0.5), [[0]], "replicas"),
        ((0.5, 0), [[0], [1]], "overlap_levels"),
        ((0, 0.5, 0.7), [[0], [1]], "overlap_levels"),
        ((0, 1.1), [[0], [1]], "overlap_levels"),
        ((1, 1), [[0], [1]], "overlap_levels"),
    ],
)
def test_bad_arguments_of_hierarchies(levels: tuple, labels: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        hierarchical(levels, labels)
