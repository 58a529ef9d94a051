"""Figures hold the numbers they were given."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from numpy.testing import assert_allclose

from spinscape import statistics
from spinscape.companion import plot_glasses
from spinscape.glasses import sherrington_kirkpatrick as sk
from spinscape.landscape.norm_mixture import explain
from spinscape.landscape.null_overlaps import fit
from spinscape.landscape.pairs import Pairs
from spinscape.landscape.power import ENOUGH, VERDICTS, Calibration


@pytest.fixture
def axes() -> Axes:
    return plt.figure().add_subplot()


@pytest.fixture(autouse=True)
def closed() -> object:
    yield
    plt.close("all")


def states(count: int = 16) -> Pairs:
    return Pairs.from_vectors(np.random.default_rng(1).standard_normal((count, 50)))


def test_overlap_distributions(axes: Axes) -> None:
    found = sk.temper(sk.sample_couplings(8, 3), [0.3, 1.0, 3.0], sweeps=40, burn=0)
    plot_glasses.overlap_distributions(axes, found, [0.31, 2.5], single=2, bins=9)
    thin = [line for line in axes.lines if line.get_linewidth() < 1]
    density = found.density(9)[1]
    assert [line.get_ydata().tolist() for line in thin] == density[:2, 0].tolist()
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["$T$ = 0.30", "$T$ = 3.00"]
    bold = [line for line in axes.lines if line not in thin and len(line.get_xdata()) == 9]
    assert_allclose(bold[-1].get_ydata(), density[:, 2].mean(0))


def test_strips_leave_rows_without_values_empty() -> None:
    panels = [("x", {"a": [1.0, 2.0], "b": 3.0}, 0.5), ("y", {"b": [4.0]}, None)]
    figure = plot_glasses.strips(panels, colours={"a": "red", "b": "blue"}, log=(True,))
    left, right = figure.axes
    assert left.get_xscale() == "log"
    assert right.get_xscale() == "linear"
    dots = [line for line in left.lines if line.get_marker() == "o"]
    assert [line.get_xdata().tolist() for line in dots] == [[1.0, 2.0], [3.0]]
    assert [line.get_color() for line in dots] == ["red", "blue"]
    assert [line.get_xdata() for line in left.lines if line not in dots] == [[0.5, 0.5]]
    assert [len(line.get_xdata()) for line in right.lines] == [0, 1]
    assert [text.get_text() for text in left.get_yticklabels()] == ["a", "b"]
    assert left.get_ylim()[0] > left.get_ylim()[1]  # the first row on top


def test_spread_stays_within_the_curves(axes: Axes) -> None:
    rows = np.array([[1.0, 1.0, 1.0, 5.0], [2.0, np.nan, 2.0, 2.0]])
    plot_glasses.spread(axes, rows, label="w", colour="red")
    assert_allclose(axes.lines[0].get_ydata(), [2, 2])
    assert axes.lines[0].get_xdata().tolist() == [1, 2]
    corners = axes.collections[0].get_paths()[0].vertices
    assert corners[:, 1].min() == 1  # not mean less deviation, 0.27
    assert corners[:, 1].max() == pytest.approx(2 + np.sqrt(3))


def test_distance_histograms() -> None:
    pairs = states()
    figure = plot_glasses.distance_histograms({"one": (pairs, fit(pairs))}, draws=20, columns=2)
    shown, hidden = figure.axes
    assert not hidden.get_visible()
    steps = shown.patches[0].get_data()
    assert_allclose((steps.values * np.diff(steps.edges)).sum(), 1)
    curve = shown.lines[0].get_xydata()
    assert abs(curve[curve[:, 1].argmax(), 0] - pairs.upper_distances.mean()) < np.diff(curve[:2, 0])[0]


def test_norm_prediction(axes: Axes) -> None:
    found = explain(states(), draws=0)
    plot_glasses.norm_prediction(axes, found, "distance")
    assert [patch.get_data().values.tolist() for patch in axes.patches] == [
        found.mixture.tolist(), found.measured.tolist()
    ]  # fmt: skip
    assert axes.lines[0].get_ydata().tolist() == found.gaussian.tolist()


def test_power_curves() -> None:
    power = np.linspace(0, 1, 2 * 3 * 4).reshape(2, 3, 4)
    nothing = np.zeros(4), np.zeros((4, 2))
    rates = Calibration(
        VERDICTS, *nothing, ((3,), (3, 3)), np.array([1.0, 2.0, 4.0]), power, np.stack([power, power], -1),
        np.zeros((2, 4)), 10, 0.02, 12,
    )  # fmt: skip
    both = plt.figure().subplots(1, 2)
    plot_glasses.power_curves(both, rates, ["hierarchy"])
    for k, at in enumerate(both):
        assert at.lines[0].get_ydata().tolist() == power[k, :, 3].tolist()
        assert at.lines[1].get_ydata() == [ENOUGH, ENOUGH]


def test_strengths_that_could_not_be_planted_leave_their_place_empty() -> None:
    power = np.array([[[0.5], [np.nan], [np.nan]]])
    interval = np.stack([power - 0.2, power + 0.3], -1)
    rates = Calibration(
        ("hierarchy",), np.zeros(1), np.zeros((1, 2)), ((3,),), np.array([1.0, 2.0, 4.0]), power, interval,
        np.full((1, 1), np.nan), 10, np.full(1, 0.02), 12,
    )  # fmt: skip
    at = plt.figure().subplots()
    plot_glasses.power_curves([at], rates, ["hierarchy"])
    low, high = at.get_xlim()
    assert low < 1
    assert high > 4
    bars = [one for one in at.collections if isinstance(one, LineCollection)]
    assert_allclose(bars[0].get_segments()[0], [[1, 0.3], [1, 0.8]])


def test_spread_against_size(axes: Axes) -> None:
    rows = [statistics.mean(np.array([1.0, 2.0, 3.0]) * factor) for factor in (1, 2)]
    plot_glasses.spread_against_size(axes, [64, 256], {"raw": rows})
    (dotted,) = [line for line in axes.lines if line.get_linestyle() == ":"]
    assert_allclose(dotted.get_ydata(), [2, 1])
    bars = axes.collections[0].get_segments()
    assert_allclose([bar[:, 1] for bar in bars], [one.interval for one in rows])
