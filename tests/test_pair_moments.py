import numpy as np
import pytest

from spinscape.landscape.pair_moments import moments, pair_mean
from spinscape.landscape.pairs import Pairs


def test_equals_numpy_and_leaving_out_one_state():
    pairs = Pairs.from_vectors(np.random.default_rng(0).normal(size=(9, 5)))
    found, values = moments(pairs.distances), pairs.upper_distances
    assert found.mean == pytest.approx(values.mean(), rel=1e-12)
    assert found.sd == pytest.approx(values.std(ddof=1), rel=1e-12)
    keep = np.arange(9) != 4
    rest = Pairs.from_overlaps(pairs.overlaps[keep][:, keep], pairs.norms[keep]).upper_distances
    assert found.means[4] == pytest.approx(9 * values.mean() - 8 * rest.mean(), rel=1e-10)
    expected = 9 * np.log(values.std(ddof=1)) - 8 * np.log(rest.std(ddof=1))
    assert found.log_sds[4] == pytest.approx(expected, rel=1e-8)


def test_interval_covers_where_states_have_effects():
    rng, inside, narrow = np.random.default_rng(1), 0, 0
    for _ in range(300):
        effects = rng.normal(size=25)
        matrix = effects[:, None] + effects + 10
        found = moments(matrix).mean_estimate()
        inside += found.low <= 10 <= found.high
        values = matrix[np.triu_indices(25, 1)]
        narrow += abs(values.mean() - 10) <= 1.96 * values.std() / len(values) ** 0.5
    # An interval over pairs covers far less often.
    assert 0.9 <= inside / 300 <= 0.99
    assert narrow / 300 < 0.7


@pytest.mark.parametrize(
    "matrix", [np.zeros((3, 3)), np.zeros((5, 4)), np.ones((5, 5)), np.full((5, 5), np.nan)]
)
def test_bad_input(matrix):
    with pytest.raises(ValueError, match=r"moments|pairs"):
        moments(matrix)


def test_pairs_are_consistent_and_checked():
    rows = np.random.default_rng(2).normal(size=(6, 40))
    pairs = Pairs.from_vectors(rows)
    direct = np.linalg.norm(rows[:, None] - rows, axis=-1)
    assert np.allclose(pairs.distances, direct, rtol=1e-10, atol=1e-10)
    again = Pairs.from_distances(pairs.distances, pairs.norms)
    assert np.allclose(again.overlaps, pairs.overlaps, atol=1e-12)
    for bad in (np.ones((4, 3)), np.array([[1, 0.5], [0.4, 1]]), np.zeros((3, 3))):
        with pytest.raises(ValueError, match="overlaps"):
            Pairs.from_overlaps(bad)
    with pytest.raises(ValueError, match="norms"):
        Pairs.from_overlaps(np.eye(3), [1, 1, 0])
    with pytest.raises(ValueError, match="rows"):
        Pairs.from_vectors(np.zeros((3, 2)))


def test_vectors_that_nearly_agree_keep_their_distances() -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((8, 2000))
    rows[1] = rows[0]
    rows[3] = rows[2] + 1e-9 * rng.standard_normal(2000)
    rows[5] = 1.0000001 * rows[4]
    found = Pairs.from_vectors(rows)
    exact = np.linalg.norm(rows[:, None] - rows, axis=2)
    np.testing.assert_allclose(found.distances, exact, rtol=1e-9)
    assert found.distances[0, 1] == 0
    assert np.abs(found.overlaps).max() <= 1
    np.testing.assert_array_equal(found.overlaps, found.overlaps.T)


def test_how_often_intervals_hold_the_mean() -> None:
    rng = np.random.default_rng(0)
    sums = products = 0
    for _ in range(400):
        x, s = rng.normal(size=7), rng.exponential(size=7)
        one, other = pair_mean(np.add.outer(x, x)), pair_mean(np.multiply.outer(s, s))
        sums += bool(one.low <= 0 <= one.high)
        products += bool(other.low <= 1 <= other.high)
    assert 0.91 < sums / 400 < 0.98
    assert 0.74 < products / 400 < 0.89
