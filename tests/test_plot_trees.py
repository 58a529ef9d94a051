"""Figures of hierarchies: every line, colour and scale where it belongs."""

from __future__ import annotations

import matplotlib
import matplotlib.pyplot as plt

matplotlib.use("Agg")

import numpy as np
import pytest

from spinscape.companion import plot_trees, plotting
from spinscape.landscape.hierarchy import clusters, tree
from spinscape.landscape.pairs import Pairs
from spinscape.landscape.triples import triples


def states(replicas: int, seed: int = 0, scale: float = 1.0) -> Pairs:
    return Pairs.from_vectors(scale * np.random.default_rng(seed).normal(size=(replicas, 20)))


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def panel():
    return plotting.panels(1)[1][0, 0]


def test_a_dendrogram_has_a_bracket_per_merge_over_its_leaves() -> None:
    found = tree(states(12))
    axes = panel()
    plot_trees.dendrogram(axes, found, unit=2.0)
    brackets = np.array(axes.collections[0].get_segments())
    assert brackets.shape == (11, 4, 2)
    np.testing.assert_allclose(brackets[:, 1, 1], found.linkage[:, 2] / 2)
    np.testing.assert_allclose(brackets[:, 2, 1], found.linkage[:, 2] / 2)
    feet = brackets[:, [0, 3]].reshape(-1, 2)
    leaves = feet[feet[:, 1] == 0, 0]
    np.testing.assert_array_equal(np.sort(leaves), np.arange(12) + 0.5)
    at = np.argsort(found.order)
    for (left, _, _, right), (i, j) in zip(brackets, found.linkage[:, :2].astype(int), strict=True):
        for x, node in ((left[0], i), (right[0], j)):
            assert node >= 12 or x == at[node] + 0.5
    low, high = axes.get_ylim()
    assert 0 < low < found.linkage[0, 2] / 2
    assert high > found.linkage[-1, 2] / 2


def test_clusters_have_colours_of_their_own() -> None:
    found = tree(states(12))
    axes = panel()
    plot_trees.dendrogram(axes, found, parts=3)
    hues = [matplotlib.colors.to_hex(c) for c in axes.collections[0].get_colors()]
    assert len(set(hues[:-2])) <= 3
    assert hues[-1] == hues[-2]
    assert hues[-1] not in hues[:-2]
    labels = clusters(found, 3)
    for hue, (i, j) in zip(hues[:-2], found.linkage[:-2, :2].astype(int), strict=True):
        for node in (i, j):
            assert node >= 12 or hue == plotting.colours(3)[labels[node]]


def test_a_matrix_stands_in_the_order_of_the_leaves() -> None:
    pairs = states(7)
    order = tree(pairs).order
    axes = panel()
    image = plot_trees.ordered_matrix(axes, pairs.distances, order, label="distance")
    np.testing.assert_array_equal(image.get_array(), pairs.distances[np.ix_(order, order)])
    assert image.get_extent() == [0, 7, 7, 0]
    assert image.get_clim() == plot_trees.spread([pairs.distances])
    assert [a.get_xlabel() for a in axes.figure.axes] == ["", "distance"]


def test_close_is_dark() -> None:
    pairs = states(7)
    near, far = (
        plot_trees.ordered_matrix(panel(), m, np.arange(7), overlaps=overlaps)
        for m, overlaps in ((pairs.distances, False), (pairs.overlaps, True))
    )
    assert sum(near.cmap(0.0)[:3]) < sum(near.cmap(1.0)[:3])
    assert sum(far.cmap(1.0)[:3]) < sum(far.cmap(0.0)[:3])


def test_the_diagonal_does_not_stretch_the_colours() -> None:
    d = states(60).distances
    low, high = plot_trees.spread([d, 2 * d])
    entries = d[np.triu_indices(60, 1)]
    assert low == pytest.approx(np.percentile(np.repeat(entries, 2), 1))
    assert high == pytest.approx(2 * np.percentile(np.repeat(entries, 2), 99))
    assert plot_trees.spread([1 - np.eye(3)]) == (0.5, 1.5)


def test_rows_are_drawn_alike_on_common_scales() -> None:
    items = {"data": states(10, scale=5.0), "null": states(14, 1).distances}
    figure = plot_trees.tree_and_matrices(items, parts=3)
    axes = np.reshape(figure.axes[:6], (2, 3))
    assert axes[0, 0].get_ylim() == axes[1, 0].get_ylim()
    assert [row[0].get_title(loc="left") for row in axes] == ["data", "null"]
    for column in (1, 2):
        assert axes[0, column].images[0].get_clim() == axes[1, column].images[0].get_clim()
    for row, values in zip(axes, (items["data"].distances, items["null"]), strict=True):
        found = tree(values)
        mean = values[np.triu_indices(len(values), 1)].mean()
        for image, m in zip((row[1].images[0], row[2].images[0]), (values, found.cophenetic), strict=True):
            np.testing.assert_allclose(image.get_array(), m[np.ix_(found.order, found.order)] / mean)
    assert len(figure.axes) == 8
    assert figure.get_size_inches()[0] == pytest.approx(8.2)


def test_distances_in_standard_deviations_from_their_mean() -> None:
    items = {"data": states(10, scale=5.0), "null": states(14, 1)}
    figure = plot_trees.tree_and_matrices(items, scale="sd")
    axes = np.reshape(figure.axes[:6], (2, 3))
    for row, pairs in zip(axes, items.values(), strict=True):
        drawn = np.array(row[1].images[0].get_array())
        off = drawn[~np.eye(len(drawn), dtype=bool)]
        assert (off.mean(), off.std()) == (pytest.approx(0, abs=1e-12), pytest.approx(1))
        top = tree(pairs).linkage[-1, 2]
        d = pairs.upper_distances
        brackets = np.array(row[0].collections[0].get_segments())
        assert brackets[-1, 1, 1] == pytest.approx((top - d.mean()) / d.std())
        assert brackets[..., 1].min() == pytest.approx(-d.mean() / d.std())
        assert row[0].get_ylim()[0] > -d.mean() / d.std()


def test_rows_with_scales_of_their_own() -> None:
    items = {"data": states(10, scale=5.0), "null": states(14, 1)}
    figure = plot_trees.tree_and_matrices(items, scale="own", shared=False)
    axes = np.reshape(figure.axes[:6], (2, 3))
    assert axes[0, 0].get_ylim()[1] > 3 * axes[1, 0].get_ylim()[1]
    assert axes[0, 1].images[0].get_clim() != axes[1, 1].images[0].get_clim()
    assert axes[0, 1].images[0].get_array().max() == pytest.approx(items["data"].distances.max())
    assert len(figure.axes) == 10


def test_overlaps_share_one_scale() -> None:
    items = {name: states(8, seed) for seed, name in enumerate(("a", "b", "c", "d"))}
    figure = plot_trees.overlap_matrices(items)
    assert len({a.images[0].get_clim() for a in figure.axes[:4]}) == 1
    order = tree(Pairs.from_overlaps(items["a"].overlaps)).order
    np.testing.assert_array_equal(
        figure.axes[0].images[0].get_array(), items["a"].overlaps[np.ix_(order, order)]
    )
    given = plot_trees.overlap_matrices({"b": items["b"].overlaps}, order="given")
    np.testing.assert_array_equal(given.axes[0].images[0].get_array(), items["b"].overlaps)


def test_planes_of_triples_share_one_scale() -> None:
    items = {"a": triples(states(12)), "b": triples(tree(states(12)).cophenetic)}
    figure = plot_trees.triple_planes(items, largest=3.0)
    meshes = [a.collections[0] for a in figure.axes[:2]]
    assert meshes[0].get_clim() == meshes[1].get_clim()
    drawn = np.asarray(meshes[1].get_array()).reshape(40, 40)
    assert drawn[0].sum() > 0
    assert drawn[1:].sum() == 0


def test_figures_can_be_drawn_of_few_and_of_equal_states(tmp_path) -> None:
    figure = plot_trees.tree_and_matrices({"two": states(2), "equal": 1 - np.eye(4)}, parts=3)
    figure.savefig(tmp_path / "a.png")
    zero = np.kron(1 - np.eye(2), np.ones((3, 3)))
    plot_trees.tree_and_matrices({"coinciding": zero}, shared=False).savefig(tmp_path / "b.png")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plot_trees.dendrogram(panel(), tree(states(4)), parts=5), "from 1 to 4"),
        (lambda: plot_trees.dendrogram(panel(), tree(states(4)), unit=0), "unit must be positive"),
        (lambda: plot_trees.ordered_matrix(panel(), np.eye(3), [0, 1, 1]), "order must be"),
        (lambda: plot_trees.tree_and_matrices({}), "no sets of states"),
        (lambda: plot_trees.tree_and_matrices({"a": np.zeros((3, 3))}), "all distances of a set are 0"),
        (lambda: plot_trees.tree_and_matrices({"a": np.eye(3)}), "on the diagonal"),
        (lambda: plot_trees.tree_and_matrices({"a": 1 - np.eye(3)}, scale="sd"), "are alike"),
        (lambda: plot_trees.tree_and_matrices({"a": states(4)}, scale="x"), "scale must be one of"),
        (lambda: plot_trees.overlap_matrices({}), "no overlaps"),
        (lambda: plot_trees.overlap_matrices({"a": np.eye(3)}, order="x"), "order must be"),
        (lambda: plot_trees.triple_planes({}), "no triples"),
    ],
)
def test_refuses(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
