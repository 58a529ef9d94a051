"""Distances predicted from norms, against planted ones."""

from __future__ import annotations

import numpy as np
import pytest

from spinscape.landscape import norm_mixture
from spinscape.landscape.norm_mixture import explain, peaks
from spinscape.landscape.pairs import Pairs


def planted(
    count: int, *, squares: tuple[float, ...], noise: float, dimension: int, seed: int, clusters: int = 1
) -> tuple[Pairs, np.ndarray]:
    """States of norms in groups, with independent directions, or directions in clusters."""
    source = np.random.default_rng(seed)
    stop = np.arange(count) % len(squares)
    norms = np.sqrt(np.array(squares)[stop] + source.normal(0, noise, count))
    rows = source.normal(size=(count, dimension))
    if clusters > 1:
        rows += 2 * source.normal(size=(clusters, dimension))[source.integers(clusters, size=count)]
    return Pairs.from_vectors(rows * (norms / np.linalg.norm(rows, axis=1))[:, None]), stop


@pytest.mark.parametrize(("levels", "count"), [(1, 1), (2, 3), (3, 5), (4, 7)])
def test_equally_spaced_groups_of_norms_make_an_odd_number_of_peaks(levels: int, count: int) -> None:
    norms = np.sqrt(np.repeat(100.0 + 4 * np.arange(levels), 20))
    found = peaks(norms)
    assert found.count == count
    wanted = np.sqrt(200 + 4 * np.arange(2 * levels - 1))
    assert found.positions == pytest.approx(wanted, abs=2 * (found.grid[1] - found.grid[0]))
    step = found.grid[1] - found.grid[0]
    assert found.density.sum() * step == pytest.approx(1, abs=1e-6)
    # Pairs of groups a and b: as many as there are with the same sum.
    assert found.heights.argmax() == levels - 1
    shifted = peaks(norms, overlap=0.5).positions
    assert shifted[0] == pytest.approx(10, abs=0.02)


def test_peaks_that_are_too_broad_or_too_low_are_not_counted() -> None:
    norms = np.sqrt(np.repeat([100.0, 104, 108], 20))
    assert peaks(norms, spread=0.5).count == 1
    assert peaks(norms, spread=0.02).count == 5
    lopsided = np.sqrt(np.repeat([100.0, 140.0], [60, 1]))
    assert peaks(lopsided, prominence=0.5).count == 1
    assert peaks(lopsided, prominence=0.01).count == 2


def test_what_norms_alone_make_is_told_as_such() -> None:
    pairs, stop = planted(45, squares=(100, 106, 112), noise=0.05, dimension=20_000, seed=1)
    found = explain(pairs, stop, draws=99)
    direct = np.sqrt(
        [
            pairs.norms[i] ** 2 + pairs.norms[j] ** 2 - 2 * pairs.norms[i] * pairs.norms[j] * found.overlap
            for i in range(45)
            for j in range(i + 1, 45)
        ]
    )
    assert found.predicted == pytest.approx(direct, rel=1e-12)
    d = pairs.upper_distances
    assert found.by_norms.value == pytest.approx(1 - ((d - direct) ** 2).sum() / ((d - d.mean()) ** 2).sum())
    assert found.by_norms.value > 0.9
    assert found.by_norms.low < found.by_norms.value < found.by_norms.high < 1
    assert found.by_groups.value == pytest.approx(found.by_norms.value, abs=0.02)
    assert found.peaks == 5
    assert found.far_from_mixture < 0.3 * found.far_from_gaussian
    assert found.levels.tolist() == [0, 1, 2]
    assert found.sizes.tolist() == [15, 15, 15]
    assert found.group_norms == pytest.approx(np.sqrt([100, 106, 112]), abs=0.01)
    for a in range(3):
        for b in range(3):
            of = [pairs.distances[i, j] for i in range(45) for j in range(i) if {i % 3, j % 3} == {a, b}]
            assert found.group_means[a, b] == pytest.approx(np.mean(of))
    assert np.abs(found.group_residuals).max() < 0.02


def test_clusters_are_not_taken_for_norms() -> None:
    pairs, stop = planted(45, squares=(100, 100.1), noise=0.01, dimension=2000, seed=2, clusters=3)
    found = explain(pairs, stop, draws=99)
    assert abs(found.by_norms.value) < 0.05
    assert abs(found.by_both.value) < 0.1
    assert found.peaks == 1
    assert found.far_from_mixture > 0.3


def test_groups_that_differ_in_overlap_and_not_in_norm() -> None:
    source = np.random.default_rng(3)
    rows = source.normal(size=(30, 4000))
    rows[:15] += 0.5 * source.normal(size=4000)
    rows /= np.linalg.norm(rows, axis=1)[:, None]
    found = explain(Pairs.from_vectors(rows), np.repeat([7, 9], 15), draws=50)
    assert abs(found.by_norms.value) < 2e-3
    assert found.by_groups.value > 0.9
    assert found.by_both.value == pytest.approx(found.by_groups.value, abs=2e-3)
    assert found.by_groups.low > 0.8
    assert found.group_residuals[0, 0] < found.group_residuals[1, 1]


@pytest.mark.filterwarnings("error")
def test_norms_that_explain_everything() -> None:
    norms = np.sqrt(np.repeat([100.0, 104.0, 108.0], 8))
    overlaps = np.full((24, 24), 0.25) + 0.75 * np.eye(24)
    found = explain(Pairs.from_overlaps(overlaps, norms), norms, draws=20)
    assert found.by_norms.value == pytest.approx(1)
    assert found.residual_sd < 1e-12
    assert found.peaks == 5
    assert found.far_from_mixture < 1e-2 < found.far_from_gaussian


def test_histograms() -> None:
    pairs, _ = planted(40, squares=(100, 110), noise=0.05, dimension=5000, seed=5)
    found = explain(pairs, bins=30, draws=0)
    width = np.diff(found.edges)
    assert (found.measured * width).sum() == pytest.approx(1)
    assert 0.98 < (found.mixture * width).sum() <= 1
    assert 0.95 < (found.gaussian * width).sum() < 1
    assert np.abs(found.mixture - found.measured).sum() < 0.7 * np.abs(found.gaussian - found.measured).sum()
    assert np.isnan([found.by_norms.low, found.by_groups.value, found.by_both.high]).all()
    assert found.sizes.tolist() == [40]


def test_draws_depend_on_the_seed_only() -> None:
    pairs, stop = planted(12, squares=(100, 104), noise=0.1, dimension=100, seed=6)
    one, two, three = (explain(pairs, stop, draws=20, seed=seed) for seed in (1, 1, 2))
    assert one.by_norms == two.by_norms != three.by_norms
    assert one.by_norms.value == three.by_norms.value


def test_wasserstein_distances_against_scipy() -> None:
    from scipy.stats import norm, wasserstein_distance

    pairs, _ = planted(30, squares=(100, 106), noise=0.1, dimension=300, seed=7)
    found, d = explain(pairs, draws=0), pairs.upper_distances
    quantiles = norm.ppf((np.arange(20_000) + 0.5) / 20_000)
    gaussian = wasserstein_distance(d, d.mean() + d.std() * quantiles) / d.std()
    assert found.far_from_gaussian == pytest.approx(gaussian, rel=0.02)
    source = np.random.default_rng(0)
    left = (d - found.predicted).mean()
    many = np.tile(found.predicted, 400) + left
    mixture = wasserstein_distance(d, many + source.normal(0, found.residual_sd, many.shape)) / d.std()
    assert found.far_from_mixture == pytest.approx(mixture, abs=0.004)


def test_bad_arguments() -> None:
    pairs, stop = planted(6, squares=(100, 104), noise=0.1, dimension=20, seed=8)
    for call, message in (
        (lambda: explain(pairs, stop[:5]), "groups must be 6 numbers"),
        (lambda: explain(pairs, bins=0), "bins must be"),
        (lambda: explain(pairs, draws=-1), "draws must be"),
        (lambda: explain(pairs, level=1.0), "level must lie"),
        (lambda: explain(Pairs.from_overlaps(np.eye(2))), "at least 3 states"),
        (lambda: explain(Pairs.from_overlaps(np.eye(4))), "all distances are equal"),
        (lambda: peaks([1.0]), "at least 2 positive"),
        (lambda: peaks([1.0, -1.0]), "at least 2 positive"),
        (lambda: peaks([1.0, 2.0], overlap=1.0), "overlap must lie"),
        (lambda: peaks([1.0, 2.0], spread=0.0), "spread and prominence"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    assert norm_mixture.GRID > 1000
