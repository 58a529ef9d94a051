"""Elastic bands: saddles of known potentials, and bands between networks."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from scipy import optimize
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from spinscape.companion import memo
from spinscape.landscape.paths import NetworkBand, band, relax
from spinscape.landscape.paths._batches import Batches
from spinscape.landscape.paths._broken_lines import refined, split, spread
from spinscape.landscape.paths._pairs import Samples
from spinscape.landscape.paths.relaxation import tangents
from spinscape.networks import optimisers
from spinscape.networks.datasets import Dataset, load
from spinscape.networks.ensemble import Ensemble, evaluate
from spinscape.networks.models import mlp
from spinscape.networks.training import train

MINIMA = np.array([[-0.558223634633, 1.441725841805], [0.623499404931, 0.028037758529]])
"""The two deepest minima of the Mueller-Brown potential."""


def mueller_brown(r: Tensor) -> tuple[Tensor, Tensor]:
    height, a, b, c, x, y = torch.tensor(
        [
            [-200, -100, -170, 15],
            [-1, -1, -6.5, 0.7],
            [0, 0, 11, 0.6],
            [-10, -10, -6.5, 0.7],
            [1, 0, -0.5, -1],
            [0, 0.5, 1.5, 1],
        ],
        dtype=r.dtype,
    )
    dx, dy = r[:, :1] - x, r[:, 1:] - y
    terms = height * (a * dx**2 + b * dx * dy + c * dy**2).exp()
    slopes = [(terms * (2 * a * dx + b * dy)).sum(1), (terms * (b * dx + 2 * c * dy)).sum(1)]
    return terms.sum(1), torch.stack(slopes, 1)


def curved(r: Tensor) -> tuple[Tensor, Tensor]:
    """``(1 - x^2)^2 + (y + x^2 - 1)^2``: minima at (-1, 0) and (1, 0), a saddle of height 1 at (0, 1)."""
    x, y = r.unbind(1)
    w, v = 1 - x**2, y + x**2 - 1
    return w**2 + v**2, torch.stack([4 * x * (v - w), 2 * v], 1)


def bows(ends: np.ndarray, pivots: int, heights: list[float]) -> np.ndarray:
    """Bands between two points that are bent to one side."""
    s = np.linspace(0, 1, pivots)[:, None]
    across = np.array([[0, -1], [1, 0]]) @ (ends[1] - ends[0])
    return np.stack([(1 - s) * ends[0] + s * ends[1] + h * np.sin(np.pi * s) * across for h in heights])


def test_the_potentials_slopes_and_minima_are_right() -> None:
    points = torch.randn(20, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) / 2
    for potential in (mueller_brown, curved):
        leaf = points.clone().requires_grad_()
        (slope,) = torch.autograd.grad(potential(leaf)[0].sum(), leaf)
        torch.testing.assert_close(potential(points)[1], slope)
    assert mueller_brown(torch.from_numpy(MINIMA))[1].abs().max() < 1e-7


def test_a_band_climbs_to_the_saddle_from_any_start() -> None:
    found = optimize.root(lambda p: mueller_brown(torch.from_numpy(p)[None])[1][0].numpy(), [-0.8, 0.6])
    height = float(mueller_brown(torch.from_numpy(found.x)[None])[0])
    assert height == pytest.approx(-40.66484, abs=1e-5)
    start = bows(MINIMA, 9, [0.0, -0.3, 0.3])
    options = {"learning_rate": 2e-4, "momentum": 0.5, "spring": 500.0, "climb": True, "tolerance": 1e-7}
    made = relax(start, mueller_brown, steps=4000, **options)
    assert (made.steps < 4000).all()
    assert (made.force <= 1e-7).all()
    np.testing.assert_allclose(made.highest, height, rtol=1e-9)
    np.testing.assert_allclose(made.saddle, np.tile(found.x, (3, 1)), atol=1e-7)
    np.testing.assert_array_equal(made.pivots[:, [0, -1]], start[:, [0, -1]])
    energies, _ = mueller_brown(torch.from_numpy(made.pivots).flatten(0, 1))
    np.testing.assert_allclose(made.energies, energies.view(3, 9), rtol=1e-12)
    alone = relax(start[1:2], mueller_brown, steps=4000, **options)
    np.testing.assert_array_equal(alone.pivots, made.pivots[1:2])
    np.testing.assert_array_equal(alone.steps, made.steps[1:2])


@pytest.mark.parametrize("climb", [False, True])
@pytest.mark.parametrize("spring", [0.5, 2.0])
def test_a_curved_valley_is_followed(spring: float, climb: bool) -> None:
    ends = np.array([[-1.0, 0], [1, 0]])
    made = relax(
        bows(ends, 9, [0.0, 0.6]),
        curved,
        steps=5000,
        learning_rate=0.05,
        spring=spring,
        climb=climb,
        tolerance=1e-9,
    )
    np.testing.assert_allclose(made.highest, 1, rtol=1e-9)
    np.testing.assert_allclose(made.saddle, [[0, 1], [0, 1]], atol=1e-8)
    lengths = np.linalg.norm(np.diff(made.pivots, axis=1), axis=-1)
    np.testing.assert_allclose(lengths, lengths[:, :1].repeat(8, 1), rtol=1e-6)


def test_without_springs_pivots_are_put_back_and_the_top_closes_in_on_the_saddle() -> None:
    below = []
    for pivots in (14, 27, 53):
        made = relax(
            bows(MINIMA, pivots, [0.0]), mueller_brown, steps=600, learning_rate=2e-4, tolerance=1e-6
        )
        lengths = np.linalg.norm(np.diff(made.pivots[0], axis=0), axis=1)
        np.testing.assert_allclose(lengths, lengths.mean(), rtol=0.02)
        below.append(-40.66484 - made.highest[0])
    assert 0 < below[2] < below[1] < below[0] < 2
    shares = np.array([[1.0, 2, 1, 4]])
    made = relax(bows(MINIMA, 5, [0.0]), mueller_brown, steps=1, learning_rate=1e-5, shares=shares)
    lengths = np.linalg.norm(np.diff(made.pivots[0], axis=0), axis=1)
    np.testing.assert_allclose(lengths / lengths.sum(), shares[0] / 8, atol=0.01)


def test_tangents_point_uphill_and_mix_at_extrema() -> None:
    pivots = torch.tensor([[[0.0, 0], [1, 0], [1, 1], [2, 1], [2, 3], [5, 3], [5, 4]]]).double()
    energies = torch.tensor([[0.0, 1, 3, 2, 2.5, 2.5, 2.5]]).double()
    made = tangents(pivots, energies)[0]
    right, up = torch.eye(2, dtype=torch.float64)
    expected = [
        up,  # uphill from 0 to 3: towards the higher neighbour
        right + 0.5 * up,  # a maximum: the neighbour at 2 is the higher one, the other counts 1 to 2
        right + 0.5 * 2 * up,  # a minimum: the neighbour at 3 is the higher one
        3 * right,  # as high as the next: towards it
        3 * right + up,  # flat: from one neighbour to the other
    ]
    for vector, wanted in zip(made, expected, strict=True):
        torch.testing.assert_close(vector, wanted / wanted.norm())
    same = torch.zeros(1, 3, 2)
    assert (tangents(same, torch.rand(1, 3)) == 0).all()


def test_pivots_are_spread_on_the_line_that_they_make() -> None:
    g = torch.Generator().manual_seed(2)
    lines = torch.randn(4, 6, 3, generator=g, dtype=torch.float64)
    lines[3, 2] = lines[3, 1]
    shares = torch.rand(4, 9, generator=g, dtype=torch.float64)
    shares /= shares.sum(1, keepdim=True)
    made = spread(lines, shares)
    for line, share, new in zip(lines, shares, made, strict=True):
        ends = np.concatenate([[0], np.linalg.norm(np.diff(line, axis=0), axis=1).cumsum()])
        at = share.cumsum(0)[:-1].numpy() * ends[-1]
        expected = np.stack([np.interp(at, ends, column) for column in line.T.numpy()], 1)
        np.testing.assert_allclose(new, expected, rtol=1e-9, atol=1e-12)


def test_what_cannot_be_relaxed_is_refused() -> None:
    start = bows(MINIMA, 5, [0.0])
    good = {"steps": 3, "learning_rate": 1e-4}
    for message, bad, options in (
        ("M at least 3", start[:, :2], {}),
        ("M at least 3", start[0], {}),
        ("positions that are not finite", start * np.nan, {}),
        ("energies that are not finite", start * 1e200, {}),
        ("needs springs", start, {"climb": True}),
        ("spring must not be negative", start, {"spring": -1.0}),
        ("shares must be positive", start, {"shares": np.array([[1, 1, 1, 0]])}),
        ("shares must be positive", start, {"shares": np.ones((1, 5))}),
        ("steps", start, {"steps": -1}),
        ("learning_rate", start, {"learning_rate": 0.0}),
    ):
        with pytest.raises(ValueError, match=message):
            relax(bad, mueller_brown, **(good | options))
    with pytest.raises(ValueError, match="must return energies"):
        relax(start, lambda r: (r.sum(), r), **good)


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load("digits").flat().shortened(500)


@pytest.fixture(scope="module")
def pairs(digits) -> tuple[Ensemble, Ensemble]:
    """Two pairs of networks, trained to a loss that the straight lines leave."""
    made = train(mlp([64, 16, 10]), digits, replicas=4, epochs=60, batch_size=32, evaluate_test=False)
    return made[:2], made[2:]


OPTIONS = {"pivots": 5, "rounds": 3, "added": 2, "epochs": 4}


@pytest.fixture(scope="module")
def found(pairs, digits) -> NetworkBand:
    return band(*pairs, digits, **OPTIONS)


def test_a_band_between_networks_is_far_below_the_line(pairs, digits, found) -> None:
    a, b = pairs
    tops, lines = found.curve.max(1), found.line.max(1)
    ends = np.maximum(found.line[:, 0], found.line[:, -1])
    assert (tops - ends < 0.5 * (lines - ends)).all()
    assert (found.kept > 0).all()
    assert found.highest.shape == (4, 2)
    assert (found.highest[1:] < found.highest[0]).all()
    assert (found.length > 1).all()
    assert found.pivots.replicas == 2 * 9
    rows = found.pivots.flat().view(2, 9, -1)
    assert torch.equal(rows[:, 0], a.flat())
    assert torch.equal(rows[:, -1], b.flat())
    x, y = digits.x_train, digits.y_train
    np.testing.assert_allclose(found.energies, evaluate(found.pivots, x, y).loss.reshape(2, 9), rtol=1e-6)
    for t, loss, error, line in zip(found.t, found.curve.T, found.curve_error.T, found.line.T, strict=True):
        m = min(int(t * 8 + 1e-9), 7)
        part = t * 8 - m
        on_band = evaluate(a.unflatten((1 - part) * rows[:, m] + part * rows[:, m + 1]), x, y)
        on_line = evaluate(a.unflatten((1 - t) * a.flat() + t * b.flat()), x, y)
        np.testing.assert_allclose(loss, on_band.loss, rtol=1e-4)
        np.testing.assert_allclose(error, 1 - on_band.accuracy, atol=0.0021)
        np.testing.assert_allclose(line, on_line.loss, rtol=1e-4)


def test_a_band_that_fails_leaves_the_straight_line(pairs, digits) -> None:
    a, b = pairs
    made = band(a, b, digits, **(OPTIONS | {"epochs": 1, "learning_rate": 1e4}))
    assert not (made.highest[1:] <= made.highest[0]).any()
    np.testing.assert_array_equal(made.kept, 0)
    np.testing.assert_array_equal(made.curve, made.line)
    np.testing.assert_allclose(made.length, 1, rtol=1e-5)
    rows = made.pivots.flat().view(2, 9, -1)
    torch.testing.assert_close(rows[:, 4], (a.flat() + b.flat()) / 2, rtol=1e-5, atol=1e-6)


def test_a_pair_is_the_same_beside_any_number_of_others(pairs, digits, found) -> None:
    a, b = pairs
    alone = band(a[1:], b[1:], digits, **OPTIONS)
    apart = band(a, b, digits, chunk=1, **OPTIONS)
    first = band(a[:1], b[:1], digits, **OPTIONS)
    assert torch.equal(apart.pivots.flat(), found.pivots.flat())
    assert torch.equal(first.pivots.flat(), found.pivots.flat()[:9])
    for entry in dataclasses.fields(NetworkBand):
        if entry.name != "pivots":
            np.testing.assert_array_equal(getattr(apart, entry.name), getattr(found, entry.name))
    assert not torch.equal(alone.pivots.flat(), found.pivots.flat()[9:])  # it has other batches


def test_adam_and_any_model(pairs, digits) -> None:
    made = band(*pairs, digits, optimiser="adam", learning_rate=0.01, **OPTIONS)
    assert (made.curve.max(1) < 0.7 * made.line.max(1)).all()
    images = load("digits").shortened(64)
    torch.manual_seed(0)
    nets = Ensemble.from_modules(
        [nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10)) for _ in range(2)]
    )
    made = band(nets[:1], nets[1:], images, pivots=4, rounds=2, added=1, epochs=2)
    assert (made.curve.max(1) <= made.line.max(1)).all()
    assert made.curve.mean() < made.line.mean()


def test_batches_are_the_same_for_all_pivots_of_a_pair(pairs, digits) -> None:
    a, _ = pairs
    sources = [torch.Generator().manual_seed(s) for s in (1, 2)]
    batches = Batches(Samples.of(digits, a, None), a, 200, sources)
    assert batches.per_epoch == 3
    orders = torch.stack([torch.randperm(500, generator=torch.Generator().manual_seed(s)) for s in (1, 2)])
    rows = optimisers.as_rows(a.flat()).repeat_interleave(3, 0) * torch.linspace(0.5, 1, 6)[:, None]
    for k in range(3):
        energies, slopes = batches(rows)
        for i in range(6):
            index = orders[i // 3, 200 * k : 200 * (k + 1)]
            one = a[:1].unflatten(rows[i, None, : a.flat().shape[1]])
            leaves = {name: v[0].detach().clone().requires_grad_() for name, v in one.params.items()}
            outputs = functional_call(a.model, leaves, (digits.x_train[index],))
            loss = functional.cross_entropy(outputs, digits.y_train[index])
            slope = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(leaves.values()))])
            torch.testing.assert_close(energies[i], loss, rtol=1e-5, atol=1e-7)
            torch.testing.assert_close(slopes[i, : len(slope)], slope, rtol=1e-4, atol=1e-7)
            assert (slopes[i, len(slope) :] == 0).all()


def test_new_pivots_lie_on_the_band() -> None:
    pivots = torch.tensor([[0.0, 0], [4, 0], [4, 2]]).double()
    shares = torch.tensor([2 / 3, 1 / 3]).double()
    made, parts = split(pivots, shares, np.array([0.25, 1.5]))
    assert made.tolist() == [[0, 0], [1, 0], [4, 0], [4, 1], [4, 2]]
    np.testing.assert_allclose(parts, [1 / 6, 1 / 2, 1 / 6, 1 / 6])
    fine = refined(pivots, shares, 9)
    assert len(fine) == 9
    lengths = fine.diff(dim=0).norm(dim=1)
    assert float(lengths.sum()) == 6
    assert float(lengths.max()) == 1
    assert {tuple(p) for p in pivots.tolist()} <= {tuple(p) for p in fine.tolist()}


def test_bands_can_be_stored(pairs, digits, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv(memo.ENVIRONMENT, str(tmp_path))
    made, read = (memo.remember(band, *pairs, digits, pivots=3, rounds=1, epochs=1) for _ in range(2))
    assert len(list(tmp_path.glob("*.safetensors"))) == 1
    assert torch.equal(read.pivots.flat(), made.pivots.flat())
    np.testing.assert_array_equal(read.curve, made.curve)


def test_arguments_of_a_band_are_checked(pairs, digits) -> None:
    a, b = pairs
    for options in (
        {"pivots": 2},
        {"rounds": 0},
        {"added": -1},
        {"added": 7},
        {"epochs": 0},
        {"batch_size": 0},
        {"between": 0},
        {"learning_rate": 0.0},
        {"seed": -1},
    ):
        with pytest.raises(ValueError, match=next(iter(options))):
            band(a, b, digits, **options)
    with pytest.raises(ValueError, match="as many networks"):
        band(a[:1], b, digits)
    with pytest.raises(MemoryError, match=r"pivots of 2 bands take .* at most"):
        band(a, b, digits, pivots=2 * 10**9)
