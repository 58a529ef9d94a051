"""What the check of Ward's trees says where the answer is known, and where an algorithm is wrong."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from spinscape.landscape import ward_check
from spinscape.landscape.pairs import Pairs


def states(seed: int, count: int = 16, clusters: int = 1) -> Pairs:
    rng = np.random.default_rng(seed)
    x = (
        rng.standard_normal((count, 40))
        + 30 * rng.standard_normal((clusters, 40))[np.arange(count) % clusters]
    )
    return Pairs.from_vectors(x)


def test_algorithms_agree_on_states_without_ties() -> None:
    found = ward_check.against_scipy([states(1), states(2), states(3, clusters=3)])
    assert found.trees == 3
    assert found.alike == 1
    assert max(found.heights, found.cophenetic) < 1e-12
    assert 0 < found.typeset <= 1


@pytest.mark.parametrize(("row", "column"), [(14, 2), (3, 3)])
def test_a_wrong_tree_is_seen(monkeypatch: pytest.MonkeyPatch, row: int, column: int) -> None:
    right, first = ward_check.ward, states(1)

    def spoilt(pairs: Pairs) -> np.ndarray:
        rows = right(pairs).copy()
        if pairs is first:
            rows[row, column] *= 1.5
        return rows

    monkeypatch.setattr(ward_check, "ward", spoilt)
    found = ward_check.against_scipy([first, states(2)])
    if column == 2:
        assert_allclose((found.heights, found.cophenetic, found.alike), (0.5, 0.5, 1))
    else:
        assert found.alike == 14 / 15


def test_blocks_explain_clusters_and_every_cophenetic_matrix() -> None:
    loose, tight = states(1, 30), states(2, 30, clusters=5)
    shares = ward_check.block_shares([loose, tight])
    assert shares.euclidean.shape == shares.cophenetic.shape == (2,)
    assert shares.euclidean[0] < 0.35
    assert shares.cophenetic[0] > 0.5
    two = ward_check.block_shares([states(2, 30, clusters=2)], blocks=2)
    assert two.euclidean[0] > 0.99
    assert two.cophenetic[0] > 0.99


def test_refusals() -> None:
    with pytest.raises(ValueError, match="no states"):
        ward_check.against_scipy([])
    with pytest.raises(ValueError, match="no states"):
        ward_check.block_shares([])
    with pytest.raises(ValueError, match="from 1 to"):
        ward_check.block_shares([states(1, 4)])


@pytest.mark.filterwarnings("error")
def test_two_equal_states_do_not_spoil_the_comparison() -> None:
    x = np.random.default_rng(1).standard_normal((8, 30))
    x[5] = x[2]
    d = np.sqrt(((x[:, None] - x) ** 2).sum(-1))
    found = ward_check.against_scipy([Pairs.from_distances(d, np.linalg.norm(x, axis=1))])
    assert max(found.heights, found.cophenetic) < 1e-12


@pytest.mark.filterwarnings("error")
def test_ties_leave_heights_alike() -> None:
    corners = np.array([[int(b) for b in f"{i:04b}"] for i in range(16)], float) * 2 - 1
    found = ward_check.against_scipy([Pairs.from_vectors(corners)])
    assert found.heights < 1e-12
    assert np.isfinite([found.cophenetic, found.alike, found.typeset]).all()
