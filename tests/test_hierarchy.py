"""Ward's trees: equal to scipy's, and what is read off them equal to its definition."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.cluster import hierarchy as oracle
from scipy.spatial.distance import squareform

from spinscape.companion import memo
from spinscape.landscape import hierarchy
from spinscape.landscape.hierarchy import (
    Trees,
    agglomerate,
    as_typeset,
    blockiness,
    clusters,
    gap,
    jump,
    tree,
    trees,
    typeset,
    ward,
    ward_update,
    within,
)
from spinscape.landscape.pairs import Pairs


def points(states: int, seed: int = 0, dimension: int = 40) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(states, dimension))


def random_distances(states: int, seed: int = 0) -> np.ndarray:
    """Draw distances of no Euclidean space: they break the triangle inequality."""
    return squareform(np.random.default_rng(seed).uniform(0.1, 1, states * (states - 1) // 2))


def grouped(parts: int, each: int, seed: int = 0, apart: float = 2.0) -> Pairs:
    rng = np.random.default_rng(seed)
    centres = apart * rng.normal(size=(parts, 30))
    return Pairs.from_vectors(np.repeat(centres, each, 0) + rng.normal(size=(parts * each, 30)))


def test_update_is_wards_distance_of_centres() -> None:
    x = points(9)
    sets = {"s": [0, 1, 2, 3], "t": [4, 5], "v": [6, 7, 8]}

    def apart(a: list[int], b: list[int]) -> float:
        factor = 2 * len(a) * len(b) / (len(a) + len(b))
        return float(np.sqrt(factor) * np.linalg.norm(x[a].mean(0) - x[b].mean(0)))

    s, t, v = sets.values()
    vs, vt, st = (np.array(apart(a, b)) for a, b in ((v, s), (v, t), (s, t)))
    assert ward_update(vs, vt, float(st), np.array(3), 4, 2) == pytest.approx(apart(s + t, v), rel=1e-13)
    assert as_typeset(vs, vt, float(st), np.array(3), 4, 2) != pytest.approx(apart(s + t, v), rel=0.1)


def test_as_typeset_is_a_square_that_knows_left_from_right() -> None:
    args = (np.array(3.0), np.array(4.0), 2.0, np.array(1), 2, 3)
    assert as_typeset(*args) == pytest.approx(0.5**0.5 * 9 + 4 / 6 * 16 - 4 / 6)
    swapped = (np.array(4.0), np.array(3.0), 2.0, np.array(1), 3, 2)
    assert ward_update(*args) == pytest.approx(float(ward_update(*swapped)))
    assert as_typeset(*args) != pytest.approx(float(as_typeset(*swapped)), rel=1e-3)


@pytest.mark.parametrize("states", [2, 3, 17, 120])
@pytest.mark.parametrize("kind", ["Euclidean", "any"])
def test_algorithm_2_is_scipys_ward_linkage(states: int, kind: str) -> None:
    d = Pairs.from_vectors(points(states)).distances if kind == "Euclidean" else random_distances(states)
    right = oracle.linkage(squareform(d), "ward")
    found = ward(d)
    np.testing.assert_array_equal(found[:, [0, 1, 3]], right[:, [0, 1, 3]])
    np.testing.assert_allclose(found[:, 2], right[:, 2], rtol=1e-12)
    assert (np.diff(found[:, 2]) >= 0).all()


def test_algorithm_2_stops_at_k_clusters() -> None:
    d = random_distances(25)
    whole = tree(d)
    for k in (1, 2, 6, 24, 25):
        found = agglomerate(d, clusters=k)
        assert len(found.linkage) == 25 - k
        same = found.labels[:, None] == found.labels
        cut = clusters(whole, k)
        np.testing.assert_array_equal(same, cut[:, None] == cut)
        assert found.labels[0] == 0
        assert sorted(set(found.labels.tolist())) == list(range(k))


def test_algorithm_2_takes_other_updates() -> None:
    d = random_distances(25)
    found = agglomerate(d, update=lambda vs, vt, *_: np.minimum(vs, vt)).linkage
    right = oracle.linkage(squareform(d), "single")
    np.testing.assert_array_equal(found, right)


@pytest.mark.parametrize("optimal", [False, True])
def test_tree_is_scipys(optimal: bool) -> None:
    d = random_distances(40)
    found = tree(d, optimal=optimal)
    right = oracle.linkage(squareform(d), "ward", optimal_ordering=optimal)
    correlation, cophenetic = oracle.cophenet(right, squareform(d))
    np.testing.assert_array_equal(found.linkage, right)
    np.testing.assert_array_equal(found.order, oracle.dendrogram(right, no_plot=True)["leaves"])
    np.testing.assert_array_equal(squareform(found.cophenetic), cophenetic)
    assert found.cophenetic_correlation == pytest.approx(correlation, rel=1e-12)
    ordered = d[np.ix_(found.order, found.order)].diagonal(1).sum()
    plain = tree(d).order
    assert (ordered < d[np.ix_(plain, plain)].diagonal(1).sum()) == optimal


def test_many_trees_are_one_by_one() -> None:
    d = np.stack([random_distances(20, seed) for seed in range(4)])
    found = trees(d)
    for b, one in enumerate(d):
        np.testing.assert_array_equal(found.linkages[b], tree(one).linkage)
        assert found.cophenetic_correlation[b] == tree(one).cophenetic_correlation
    assert trees(d[0]).linkages.shape == (1, 19, 4)


def test_trees_of_states_that_coincide() -> None:
    found = tree(np.zeros((4, 4)))
    assert np.isnan(found.cophenetic_correlation)
    assert np.isnan(tree(1.0 - np.eye(3)).cophenetic_correlation)
    assert within(found.linkage, 4).tolist() == [0, 0, 0, 0]
    assert jump(found.linkage, 3)[0] == 0


def test_cuts_are_scipys_and_run_along_the_leaves() -> None:
    found = tree(random_distances(30))
    table = clusters(found, range(1, 31))
    assert table.shape == (30, 30)
    for k in range(1, 31):
        cut = table[:, k - 1]
        right = oracle.cut_tree(found.linkage, k)[:, 0]
        np.testing.assert_array_equal(cut[:, None] == cut, right[:, None] == right)
        assert (np.diff(cut[found.order]) >= 0).all()
        assert cut.max() == k - 1
        np.testing.assert_array_equal(clusters(found, k), cut)


@pytest.mark.parametrize("kind", ["Euclidean", "any"])
def test_dispersion_is_its_definition(kind: str) -> None:
    d = Pairs.from_vectors(points(18)).distances if kind == "Euclidean" else random_distances(18)
    found = tree(d)
    direct = []
    for k in range(1, 19):
        cut = clusters(found, k)
        direct.append(
            sum((d[np.ix_(cut == c, cut == c)] ** 2).sum() / (2 * (cut == c).sum()) for c in range(k))
        )
    np.testing.assert_allclose(within(found.linkage, 18), direct, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(within([found.linkage] * 3, 5)[2], within(found.linkage, 5))


def test_the_largest_fall_of_heights() -> None:
    heights = [1.0, 2.0, 2.5, 10.0, 11.0]
    linkage = np.array([[0, 0, h, 0] for h in heights])
    value, k = jump(linkage, 5)
    assert (value, k) == (pytest.approx(0.75), 3)
    value, k = jump(linkage, 2)
    assert (value, k) == (pytest.approx(1 - 10 / 11), 2)
    values, ks = jump(np.stack([linkage, linkage]), 5)
    assert values.shape == ks.shape == (2,)
    assert jump(tree(grouped(4, 8)).linkage)[1] == 4


def test_gap_statistic_is_its_definition() -> None:
    data = tree(grouped(3, 10))
    null = trees(np.stack([Pairs.from_vectors(points(30, s, 30)).distances for s in range(1, 21)]))
    found = gap(data, null, most=6)
    logs = np.log(within(null.linkages, 6))
    np.testing.assert_allclose(found.gap, logs.mean(0) - np.log(within(data.linkage, 6)))
    np.testing.assert_allclose(found.error, logs.std(0) * np.sqrt(21 / 20))
    assert found.best == 3
    assert found.clusters.tolist() == [1, 2, 3, 4, 5, 6]
    passes = [found.gap[k] >= found.gap[k + 1] - found.error[k + 1] for k in range(5)]
    assert passes.index(True) == 2


def test_gap_statistic_takes_the_error_of_the_next_number_of_clusters() -> None:
    def linkage(*dispersions: float) -> np.ndarray:
        """Return merges that leave these dispersions within 1, 2, 3 clusters of 4 states."""
        heights = np.sqrt(2 * -np.diff([*dispersions, 0.0]))[::-1]
        return np.stack([np.zeros(3), np.zeros(3), heights, np.zeros(3)], 1)

    data = replace(tree(random_distances(4)), linkage=linkage(40.0, 10.0, 2.0))
    # One cluster falls short of two by less than its own error, but by more than that of two, which is 0.
    null = Trees(np.stack([linkage(11.0, 10.0, 1.0), linkage(100.0, 10.0, 1.0)]), np.zeros(2))
    found = gap(data, null, most=3)
    np.testing.assert_allclose(found.log_within, np.log([40, 10, 2]))
    np.testing.assert_allclose(found.gap, np.log([1100**0.5 / 40, 1, 1 / 2]), atol=1e-12)
    np.testing.assert_allclose(found.error, [1.5**0.5 * np.log(100 / 11) / 2, 0, 0], atol=1e-12)
    assert found.best == 2


def test_gap_statistic_finds_one_cluster_in_a_null() -> None:
    null = trees(np.stack([Pairs.from_vectors(points(30, s, 30)).distances for s in range(1, 41)]))
    best = [gap(tree(Pairs.from_vectors(points(30, s, 30))), null).best for s in range(100, 130)]
    # Chance alone passes the first step about one time in six.
    assert np.mean(np.array(best) == 1) > 0.6


def test_coinciding_states_are_infinitely_well_grouped() -> None:
    labels = np.arange(12) % 2
    d = (labels[:, None] != labels).astype(float)
    null = trees(np.stack([random_distances(12, s) for s in range(5)]))
    found = gap(tree(d), null, most=4)
    assert np.isneginf(found.log_within[1:]).all()
    assert found.best == 2


def test_share_of_variance_in_blocks_is_that_of_a_regression() -> None:
    rng = np.random.default_rng(3)
    m = rng.normal(size=(12, 12))
    m += m.T
    cuts = np.stack([np.repeat([0, 1, 2], 4), np.zeros(12, int), np.repeat([5, 9], 6)], 1)
    i, j = np.triu_indices(12, 1)
    shares = blockiness(m, cuts)
    for cut, share in zip(cuts.T, shares, strict=True):
        names = np.unique(cut)
        design = np.stack([np.ones(len(i)), *[(cut[i] == c) & (cut[j] == c) for c in names]], 1).astype(float)
        left = m[i, j] - design @ np.linalg.lstsq(design, m[i, j])[0]
        assert share == pytest.approx(1 - left.var() / m[i, j].var(), abs=1e-12)
    assert shares[1] == 0
    assert blockiness(m, cuts[:, 0]).shape == ()
    exact = np.where(cuts[:, :1] == cuts[:, 0], 1.0 + cuts[:, 0], 0.0)
    assert blockiness(exact, cuts[:, 0]) == pytest.approx(1)
    assert np.isnan(blockiness(np.full((12, 12), 0.1), cuts[:, 0]))


def test_cophenetic_matrices_have_blocks_whatever_they_are_made_of() -> None:
    for seed in range(5):
        null = Pairs.from_vectors(points(60, seed, 500))
        found = tree(null)
        cuts = clusters(found, [5, 10])
        raw, cophenetic = (blockiness(m, cuts) for m in (null.distances, found.cophenetic))
        assert (cophenetic > 4 * raw).all()
        assert (cophenetic > 0.4).all()


def test_eq_5_as_printed_depends_on_the_unit_of_length() -> None:
    pairs = Pairs.from_vectors(points(30))
    found = typeset(pairs, units=(1e-3, 1.0))
    assert found.inversions[0] > 5
    assert found.highest[0] < found.ward_highest < 1e3 < found.highest[1]
    assert (found.shared < 1).all()
    assert found.shared[0] != found.shared[1]
    assert found.swapped > 0
    assert found.ward_highest == pytest.approx(ward(pairs)[-1, 2] / pairs.distances.max())
    right = agglomerate(pairs.distances * 1e-3).linkage
    np.testing.assert_array_equal(right[:, :2], ward(pairs)[:, :2])


def test_eq_5_as_printed_overflows() -> None:
    found = typeset(Pairs.from_vectors(100 * points(60)), units=(1.0,))
    assert found.merges[0] < 59
    assert np.isfinite(found.highest).all()


def test_results_can_be_remembered(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv(memo.ENVIRONMENT, str(tmp_path))
    for make in (tree, trees):
        first, again = (memo.remember(make, random_distances(8)) for _ in range(2))
        assert type(again) is type(first)
        np.testing.assert_array_equal(again.cophenetic_correlation, first.cophenetic_correlation)
    assert len(list(tmp_path.glob("*.safetensors"))) == 2


GOOD = random_distances(6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tree(np.zeros((1, 1))), "at least 2 states"),
        (lambda: tree(np.zeros((2, 3))), r"matrices \(R, R\)"),
        (lambda: tree(np.zeros(6)), r"matrices \(R, R\)"),
        (lambda: tree(np.stack([GOOD, GOOD])), r"one matrix \(R, R\)"),
        (lambda: tree(-GOOD), "must not be negative"),
        (lambda: tree(GOOD + np.eye(6)), "0 on the diagonal"),
        (lambda: tree(np.triu(GOOD)), "symmetric"),
        (lambda: tree(GOOD * np.nan), "finite"),
        (lambda: trees(np.full((2, 3, 3), np.inf)), "finite"),
        (lambda: trees(np.zeros((0, 3, 3))), r"matrices \(R, R\)"),
        (lambda: ward(np.triu(GOOD)), "symmetric"),
        (lambda: agglomerate(GOOD, clusters=0), "from 1 to 6"),
        (lambda: agglomerate(GOOD, clusters=7), "from 1 to 6"),
        (lambda: clusters(tree(GOOD), 7), "from 1 to 6"),
        (lambda: clusters(tree(GOOD), [2, 0]), "from 1 to 6"),
        (lambda: clusters(tree(GOOD), []), "from 1 to 6"),
        (lambda: within(tree(GOOD).linkage, 7), "most must be from 1 to 6"),
        (lambda: within(np.zeros(4), 1), r"linkages must be"),
        (lambda: jump(tree(GOOD).linkage, 6), "most must be from 2 to 5"),
        (lambda: gap(tree(GOOD), trees(GOOD), most=3), "at least 2 trees"),
        (lambda: gap(tree(GOOD), trees(np.stack([random_distances(5)] * 2))), "of 6 states, not 2 of 5"),
        (lambda: gap(tree(GOOD), trees(np.stack([GOOD, GOOD])), most=7), "most must be from 2 to 6"),
        (lambda: blockiness(GOOD, np.zeros(5)), "values must be"),
        (lambda: typeset(GOOD, units=()), "units must be positive"),
        (lambda: typeset(GOOD, units=(0.0,)), "units must be positive"),
        (lambda: typeset(np.zeros((5, 5))), "not all be zero"),
        (lambda: typeset(random_distances(3)), "at least 4 states"),
    ],
)
def test_refuses(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_leaves_what_it_is_given_alone() -> None:
    d = random_distances(10)
    before = d.copy()
    agglomerate(d)
    tree(d)
    np.testing.assert_array_equal(d, before)
    assert hierarchy.ward(Pairs.from_vectors(points(4))).shape == (3, 4)
