"""Straight lines, curves and broken lines against points written out by hand; barriers on drawn profiles."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from spinscape.companion.memo import remember
from spinscape.landscape.paths import Barriers, Path, barriers, bezier, broken, combination, linear, profile
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.models import mlp
from symmetric import randomised


def three(model: nn.Module | None = None, replicas: int = 2) -> list[Ensemble]:
    """Three ensembles of one model."""
    model = model or mlp([6, 8, 3])
    return [randomised(model, replicas, seed) for seed in range(3)]


def by_hand(path: Path, weights: np.ndarray, bases: list[Ensemble]) -> None:
    """Compare all points with sums of parameters, weights (bases, K)."""
    points, (pairs, count) = path.points(), path.size
    for name, value in points.params.items():
        for p in range(pairs):
            for k in range(count):
                terms = [w * base.params[name][p] for w, base in zip(weights[:, k], bases, strict=True)]
                torch.testing.assert_close(value[p * count + k], sum(terms), rtol=1e-13, atol=1e-14)


def test_lines_and_curves_are_what_their_formulas_say() -> None:
    a, c, b = three()
    t = np.linspace(0, 1, 7)
    by_hand(linear(a, b, 7), np.stack([1 - t, t]), [a, b])
    by_hand(bezier(a, c, b, 7), np.stack([(1 - t) ** 2, 2 * t * (1 - t), t**2]), [a, c, b])
    some = np.array([0.0, 0.1, 0.75])
    found = linear(a, b, some)
    assert found.size == (2, 3)
    np.testing.assert_array_equal(found.t, some)
    by_hand(found, np.stack([1 - some, some]), [a, b])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ends_are_the_networks_themselves(dtype) -> None:
    a, c, b = (ensemble.to(dtype) for ensemble in three(mlp([6, 8, 8, 3], batch_norm=True)))
    pivots = Ensemble.concatenate([e[r] for r in range(2) for e in (a, c, b)])
    for path in (linear(a, b, 4), bezier(a, c, b, 4), broken(pivots, 4, pairs=2)):
        for end, network in ((0, a), (-1, b)):
            found = path.points(steps=end)
            for name, value in (network.params | network.buffers).items():
                assert torch.equal((found.params | found.buffers)[name], value), name


def test_broken_lines_pass_through_their_pivots() -> None:
    a, c, b = three()
    # Path after path: a, c, b of network 0, then of network 1.
    pivots = Ensemble.concatenate([e[r] for r in range(2) for e in (a, c, b)])
    path = broken(pivots, 5, pairs=2)
    points = path.points()
    for name, value in points.params.items():
        rows = value.unflatten(0, (2, 5))
        torch.testing.assert_close(rows[:, 0::2].flatten(0, 1), pivots.params[name], rtol=0, atol=0)
        middle = (pivots.params[name][0] + pivots.params[name][1]) / 2
        torch.testing.assert_close(rows[0, 1], middle, rtol=1e-14, atol=0)
    many = broken(randomised(mlp([6, 8, 3]), 9), np.linspace(0, 1, 17))
    torch.testing.assert_close(
        many.points(steps=slice(None, None, 2)).flat(), randomised(mlp([6, 8, 3]), 9).flat()
    )


def test_some_of_the_points_are_those_of_all() -> None:
    a, _, b = three(replicas=3)
    path = linear(a, b, 5)
    whole = path.points().flat().unflatten(0, (3, 5))
    for pairs, steps in (
        (1, None),
        (None, [0, 3]),
        ([2, 0], slice(1, 3)),
        (range(1, 3), -1),
        (-1, range(0, 5, 2)),
    ):
        rows = [1] if pairs == 1 else [2] if pairs == -1 else [0, 1, 2] if pairs is None else list(pairs)
        columns = np.arange(5)[steps if steps is not None else slice(None)]
        expected = whole[rows][:, np.atleast_1d(columns)].flatten(0, 1)
        assert torch.equal(path.points(pairs, steps).flat(), expected)
    for pairs, steps, what in ((3, None, "3 paths"), (None, [5], "5 points"), ([], None, "no path")):
        with pytest.raises(IndexError, match=what):
            path.points(pairs, steps)


def test_one_network_serves_for_all() -> None:
    a, _, b = three(replicas=3)
    path = linear(a[1], b, 3)
    assert path.size == (3, 3)
    assert torch.equal(path.points(2).flat(), linear(a[1], b[2], 3).points().flat())


def test_statistics_of_batch_norms_go_along_and_counts_stay() -> None:
    a, _, b = three(mlp([6, 8, 3], batch_norm=True))
    middle = linear(a, b, 3).points(steps=1)
    for name in ("norm1.running_mean", "norm1.running_var"):
        torch.testing.assert_close(middle.buffers[name], (a.buffers[name] + b.buffers[name]) / 2)
    assert torch.equal(middle.buffers["norm1.num_batches_tracked"], a.buffers["norm1.num_batches_tracked"])


def test_unfit_networks_and_positions_are_refused() -> None:
    a, _, b = three(replicas=3)
    with pytest.raises(ValueError, match="2 networks cannot be paired with 3"):
        linear(a[:2], b)
    with pytest.raises(ValueError, match="same parameters"):
        linear(a, randomised(mlp([6, 9, 3]), 3))
    with pytest.raises(ValueError, match="same parameters"):
        linear(a, b.to(torch.float32))
    tanh = Ensemble(mlp([6, 8, 3], activation="tanh"), b.params)
    with pytest.raises(ValueError, match="modules"):
        linear(a, tanh)
    for t in (1, 0, [0.2, 0.1], [-0.1, 1.0], [0.0, 1.1], [], [[0.0, 1.0]], [0.0, float("nan")]):
        with pytest.raises(ValueError, match=r"at least 2 points|positions from 0 to 1"):
            linear(a, b, t)
    with pytest.raises(ValueError, match="3 pivots are not two or more for each of 2 paths"):
        broken(a, pairs=2)


def test_points_that_do_not_fit_are_refused_before_they_are_made(monkeypatch) -> None:
    a, _, b = three()
    path = linear(a, b, 25)
    monkeypatch.setattr(combination, "available_bytes", lambda device: 2 * path.point_bytes * 10)
    with pytest.raises(MemoryError, match=r"50 points take .* at most 10 fit"):
        path.points()
    assert path.points(0, range(10)).replicas == 10


def test_barriers_of_drawn_profiles() -> None:
    t = np.linspace(0, 1, 5)
    values = np.array([[1.0, 2.0, 5.0, 3.0, 2.0], [4.0, 3.0, 2.0, 1.0, 0.0], [0.0, -1.0, -2.0, -1.0, 0.0]])
    found = barriers(values, t)
    np.testing.assert_allclose(found.over_mean, [3.5, 2.0, 0.0])
    np.testing.assert_allclose(found.over_line, [3.5, 0.0, 0.0])
    np.testing.assert_allclose(found.midpoint, [3.5, 0.0, -2.0])
    np.testing.assert_allclose(found.position, [0.5, 0.0, 0.0])
    steep = barriers([0.0, 2.0, 3.0, 4.0, 4.0])
    assert float(steep.over_mean) == 2.0
    assert float(steep.over_line) == 1.0
    assert float(steep.position) == 0.25
    uneven = barriers([0.0, 1.0, 0.0], [0.0, 0.1, 1.0])
    assert np.isnan(uneven.midpoint)
    assert float(uneven.position) == 0.1


def test_barriers_never_fall_below_what_the_ends_say() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(200, 3, 26))
    found = barriers(values)
    assert found.over_line.shape == (200, 3)
    assert (found.over_line >= 0).all()
    assert (found.over_mean >= np.abs(values[..., 0] - values[..., -1]) / 2 - 1e-15).all()
    # A straight profile has no barrier above the line, not even by rounding.
    ends = rng.normal(size=(500, 2, 1))
    t = np.linspace(0, 1, 25)
    assert barriers((1 - t) * ends[:, 0] + t * ends[:, 1], t).over_line.max() < 1e-15
    assert np.isnan(barriers([0.0, np.nan, 1.0]).over_line)


def test_positions_of_barriers_are_checked() -> None:
    for values, t, what in (
        ([1.0], None, "two or more points"),
        ([1.0, 2.0], [0.0, 0.5], "from 0 to 1"),
        ([1.0, 2.0, 3.0], [0.0, 1.0], "in 3 positions"),
        ([1.0, 2.0, 3.0], [0.0, 0.0, 1.0], "from 0 to 1"),
    ):
        with pytest.raises(ValueError, match=what):
            barriers(values, t)


def test_results_can_be_kept(tmp_path, monkeypatch, data) -> None:
    monkeypatch.setenv("SPINSCAPE_MEMO", str(tmp_path))
    a, _, b = three()
    first, again = (remember(profile, linear(a, b, 3).points(), *data, pairs=2) for _ in range(2))
    np.testing.assert_array_equal(first.loss, again.loss)
    kept = [remember(barriers, first.loss) for _ in range(2)]
    assert isinstance(kept[1], Barriers)
    np.testing.assert_array_equal(kept[0].over_line, kept[1].over_line)
