"""Triples of states: equal to brute force, and at their references where those are known."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import squareform

from spinscape.landscape import triples as module
from spinscape.landscape.hierarchy import tree
from spinscape.landscape.pairs import Pairs
from spinscape.landscape.triples import INDEPENDENT, mean_k, triples


def states(replicas: int, seed: int = 0) -> Pairs:
    return Pairs.from_vectors(np.random.default_rng(seed).normal(size=(replicas, 20)))


def independent(replicas: int, seed: int = 0) -> np.ndarray:
    """Return distances that are independent normals."""
    flat = 50 + np.random.default_rng(seed).normal(size=replicas * (replicas - 1) // 2)
    return squareform(flat)


@pytest.mark.parametrize("kind", ["distances", "overlaps"])
def test_all_triples_are_those_of_brute_force(kind: str) -> None:
    pairs = states(9)
    m = getattr(pairs, kind)
    spread = m[np.triu_indices(9, 1)].std()
    k, base = [], []
    for i, j, h in combinations(range(9), 3):
        near, middle, far = sorted([m[i, j], m[i, h], m[j, h]], reverse=kind == "overlaps")
        k.append(abs(far - middle) / spread)
        base.append(abs(middle - near) / spread)
    found = triples(pairs, kind)
    np.testing.assert_array_equal(found.states, list(combinations(range(9), 3)))
    np.testing.assert_allclose(found.k, k, atol=1e-13)
    np.testing.assert_allclose(found.base, base, atol=1e-13)
    assert found.scale == pytest.approx(spread)
    assert found.mean_k == pytest.approx(np.mean(k))
    assert mean_k(pairs, kind) == pytest.approx(np.mean(k), rel=1e-12)


@pytest.mark.parametrize("kind", ["distances", "overlaps"])
def test_means_of_many_are_those_of_each(kind: str, monkeypatch) -> None:
    # Pieces of two matrices, and one left over.
    monkeypatch.setattr(module, "PIECE", 2 * 11**2)
    many = [states(11, seed) for seed in range(5)]
    means = mean_k(np.stack([getattr(one, kind) for one in many]), kind)
    assert means.shape == (5,)
    for mean, one in zip(means, many, strict=True):
        assert mean == pytest.approx(triples(one, kind).mean_k, rel=1e-12)
    assert np.shape(mean_k(many[0], kind)) == ()
    assert mean_k(many[0].distances[None]).shape == (1,)


def test_independent_normals_are_at_their_reference() -> None:
    # Within five standard errors over 40 sets: with Student's t, false alarms below one in 50,000.
    sets = [independent(40, seed) for seed in range(40)]
    base = np.array([triples(one).base.mean() for one in sets])
    for values in (mean_k(np.stack(sets)), base):
        assert abs(values.mean() - INDEPENDENT) < 5 * values.std(ddof=1) / 40**0.5
        assert values.std() < 0.05
    assert pytest.approx(0.8463, abs=5e-5) == INDEPENDENT


def test_an_ultrametric_space_has_k_zero() -> None:
    found = triples(tree(states(30)).cophenetic)
    assert found.k.max() < 1e-12
    assert found.base.mean() > 0.1
    clusters = np.arange(30) % 3
    q = np.where(clusters[:, None] == clusters, 0.5, 0.1) + 0.5 * np.eye(30)
    np.fill_diagonal(q, 1)
    by = triples(Pairs.from_overlaps(q), "overlaps")
    assert by.k.max() < 1e-12
    assert sorted(set(np.round(by.base * by.scale, 12).tolist())) == [0.0, 0.4]


def test_a_line_is_not_ultrametric() -> None:
    # Of three points on a line of length 1 the closer two are 1/8 apart, of two |x - y| has variance 1/18.
    assert mean_k(Pairs.from_vectors(1 + np.linspace(0, 1, 300)[:, None])) == pytest.approx(
        18**0.5 / 8, abs=0.01
    )
    line = Pairs.from_vectors(1 + np.linspace(0, 1, 40)[:, None] ** 2)
    # The longest side is the sum of the others: it exceeds the middle by the shortest.
    found = triples(line)
    d = line.distances
    sides = np.stack([d[found.states[:, a], found.states[:, b]] for a, b in ((0, 1), (0, 2), (1, 2))])
    np.testing.assert_allclose(found.k * found.scale, sides.min(0), atol=1e-12)


def test_neither_unit_nor_origin_nor_names_of_states_matter() -> None:
    d = states(15).distances
    other = 3 * d + 7 * (1 - np.eye(15))
    order = np.random.default_rng(0).permutation(15)
    np.testing.assert_allclose(triples(other).k, triples(d).k, atol=1e-12)
    np.testing.assert_allclose(np.sort(triples(d[np.ix_(order, order)]).k), np.sort(triples(d).k), atol=1e-12)
    assert mean_k(other) == pytest.approx(float(mean_k(d)), rel=1e-12)


def test_sampled_triples_are_all_alike_likely() -> None:
    found = triples(states(6), sample=20000, seed=5)
    assert (np.diff(found.states, axis=1) > 0).all()
    assert found.states.min() == 0
    assert found.states.max() == 5
    counts = np.unique(found.states @ [36, 6, 1], return_counts=True)[1]
    assert len(counts) == 20
    assert stats.chisquare(counts).pvalue > 1e-3
    whole = triples(states(6))
    table = dict(zip(map(tuple, whole.states), whole.k, strict=True))
    np.testing.assert_allclose(found.k, [table[tuple(s)] for s in found.states])


def test_sampled_triples_depend_on_the_seed_alone() -> None:
    first, again = (triples(states(8, s), sample=50, seed=1).states for s in (0, 1))
    np.testing.assert_array_equal(first, again)
    assert (triples(states(8), sample=50, seed=2).states != first).any()


def test_the_plane_integrates_to_the_share_inside() -> None:
    found = triples(states(20))
    edges = np.linspace(0, 1.5, 7)
    inside = np.mean((found.k <= 1.5) & (found.base <= 1.5))
    plane = found.plane(edges)
    assert plane.sum() * 0.25**2 == pytest.approx(inside)
    row = (found.base < 0.25) & (found.k >= 0.25) & (found.k < 0.5)
    assert plane[0, 1] * 0.25**2 == pytest.approx(row.mean())


def test_too_many_triples_are_refused_before_they_are_made(monkeypatch) -> None:
    monkeypatch.setattr(module, "available_bytes", lambda device: 1000 * module.BYTES)
    assert len(triples(states(10)).k) == 120
    with pytest.raises(MemoryError, match="sample must be at most 1000"):
        triples(states(20))
    assert len(triples(states(20), sample=1000).k) == 1000


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: triples(states(2)), "at least 3 states"),
        (lambda: triples(states(5), "overlap"), "distances, overlaps"),
        (lambda: triples(states(5).overlaps), "0 on the diagonal"),
        (lambda: triples(states(5).distances, "overlaps"), "1 on the diagonal"),
        (lambda: triples(1 - np.eye(5)), "all pairs are alike"),
        (lambda: mean_k(np.stack([states(4).distances, 1 - np.eye(4)])), "all pairs are alike"),
        (lambda: triples(np.stack([states(4).distances] * 2)), r"one matrix \(R, R\)"),
        (lambda: triples(states(5), sample=0), "sample must be at least 1"),
        (lambda: triples(states(5), sample=3, seed=-1), "seed must be"),
        (lambda: mean_k(np.full((4, 4), np.nan)), "finite"),
    ],
)
def test_refuses(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
