"""Distances between networks and their copies, wherever these stand."""

from __future__ import annotations

import numpy as np
import pytest

from spinscape.landscape import copies


def test_copies_and_solutions_are_found_in_any_order() -> None:
    generator = np.random.default_rng(0)
    points = generator.normal(size=(6, 3))
    matrix = np.linalg.norm(points[:, None] - points, axis=-1)
    order = generator.permutation(6)
    moved = matrix[np.ix_(order, order)]
    expected = [matrix[i, i + 3] for i in range(3)]
    assert np.allclose(copies.of_copies(matrix), expected)
    assert np.allclose(copies.of_copies(moved, order), expected)
    others = [(matrix[i, :3].sum()) / 2 for i in range(3)]
    assert np.allclose(copies.of_solutions(matrix), others)
    assert np.allclose(copies.of_solutions(moved, order), others)


def test_bad_input() -> None:
    with pytest.raises(ValueError, match=r"shape \(2R, 2R\)"):
        copies.of_copies(np.zeros((3, 3)))
    with pytest.raises(ValueError, match="each of 0 to 3 once"):
        copies.of_copies(np.zeros((4, 4)), [0, 0, 1, 2])
    with pytest.raises(ValueError, match="no other"):
        copies.of_solutions(np.zeros((2, 2)))
