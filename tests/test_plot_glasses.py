"""Figures hold the numbers they were given."""

from __future__ import annotations

from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.axes import Axes
from numpy.testing import assert_allclose

from spinscape import statistics
from spinscape.companion import plot_glasses, plotting
from spinscape.glasses import sherrington_kirkpatrick as sk
from spinscape.landscape.modality import PRINTED_BINS
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
    assert both[1].get_title("left") == r"3 $\times$ 3 clusters"


def test_spread_against_size(axes: Axes) -> None:
    rows = [statistics.mean(np.array([1.0, 2.0, 3.0]) * factor) for factor in (1, 2)]
    plot_glasses.spread_against_size(axes, [64, 256], {"raw": rows})
    (dotted,) = [line for line in axes.lines if line.get_linestyle() == ":"]
    assert_allclose(dotted.get_ydata(), [2, 1])
    bars = axes.collections[0].get_segments()
    assert_allclose([bar[:, 1] for bar in bars], [one.interval for one in rows])


def _labels(axis) -> list[str]:
    low, high = axis.get_view_interval()
    at = zip(axis.get_majorticklocs(), axis.get_majorticklabels(), strict=True)
    return [tick.get_text() for place, tick in at if low <= place <= high and tick.get_text()]


def _estimates(values: list[float]) -> list[statistics.Estimate]:
    return [statistics.mean(value * np.array([0.98, 0.99, 1.01, 1.02])) for value in values]


@pytest.mark.parametrize(
    ("values", "shown"),
    [([0.9, 0.4, 0.11], {"0.5", "0.2"}), ([0.0035, 0.0024, 0.0018], {"0.002"}), ([0.6, 0.58, 0.57], set())],
)
def test_sizes_and_ordinates_are_labelled(values: list[float], shown: set[str]) -> None:
    figure, axes = plotting.panels(1)
    plot_glasses.spread_against_size(axes[0, 0], [64, 128, 256], {"raw": _estimates(values)})
    figure.canvas.draw()
    assert _labels(axes[0, 0].xaxis) == ["64", "128", "256"]
    labels = _labels(axes[0, 0].yaxis)
    assert shown <= set(labels)
    assert len(labels) >= 2
    assert all(float(label) > 0 for label in labels), "plain numbers"
    assert not len(axes[0, 0].xaxis.get_minorticklocs())
    assert not len(axes[0, 0].yaxis.get_minorticklocs())


def test_legend_and_titles_of_power_lie_outside_of_the_panels() -> None:
    power = np.linspace(0, 1, 2 * 3 * 4).reshape(2, 3, 4)
    rates = Calibration(
        VERDICTS, np.zeros(4), np.zeros((4, 2)), ((3,), (3, 3)), np.array([1.0, 2.0, 4.0]), power,
        np.stack([power, power], -1), np.zeros((2, 4)), 40, 0.02, 60,
    )  # fmt: skip
    figure, axes = plotting.panels(2)
    plot_glasses.power_curves(axes[0], rates, ["modality", "blocks", "hierarchy"])
    figure.set_layout_engine("constrained")
    figure.canvas.draw()
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["modes", "tree as drawn", "hierarchy"]
    box = legend.get_window_extent()
    for at, words in zip(axes[0], ("3 clusters", r"3 $\times$ 3 clusters"), strict=True):
        assert not at.get_window_extent().overlaps(box)
        assert at.get_title("left") == words
        assert not at.texts
        assert at.get_legend() is None


def test_a_panel_says_its_moments_and_the_printed_ones() -> None:
    pairs, wide = states(), states(30)
    items = {"a": (pairs, fit(pairs)), "b": (wide, fit(wide))}
    figure = plot_glasses.distance_histograms(items, draws=10, printed={"b": (75.59, 1.27)})
    first, second = (at.texts[0].get_text() for at in figure.axes[:2])
    values = pairs.upper_distances
    assert first.startswith("a\n")
    assert first.endswith(f"{values.mean():.2f} / {values.std(ddof=1):.2f}")
    assert second.endswith("source: 75.59 / 1.27")
    figure.canvas.draw()
    for at in figure.axes[:2]:
        lowest = at.transData.inverted().transform(at.texts[0].get_window_extent())[0, 1]
        assert lowest > max(line.get_ydata().max() for line in at.lines), "words stand above the curves"
    with pytest.raises(ValueError, match="no panel: c"):
        plot_glasses.distance_histograms(items, printed={"c": (1, 2)})


@pytest.mark.parametrize(
    ("sd", "digits"), [(12.0, 2), (1.27, 2), (0.11, 2), (0.07, 3), (0.0012, 4), (0.0, 2)]
)
def test_two_digits_of_a_standard_deviation(sd: float, digits: int) -> None:
    assert plot_glasses._digits(sd) == digits


def _area(axes: Axes) -> list[float]:
    return [float(np.sum(step.get_data()[0] * np.diff(step.get_data()[1]))) for step in axes.patches]


def test_many_bins_beside_few() -> None:
    _, axes = plotting.panels(1)
    plot_glasses.printed_bins(axes[0, 0], np.random.default_rng(0).standard_normal(4000), "d")
    many, few = axes[0, 0].patches
    assert len(many.get_data()[0]) == PRINTED_BINS
    assert 20 < len(few.get_data()[0]) < 150
    assert _area(axes[0, 0]) == pytest.approx([1, 1])
    assert axes[0, 0].get_xlabel() == "d"
    assert axes[0, 0].get_legend().get_texts()[0].get_text() == "1,990 bins"


def test_every_set_of_overlaps_has_an_integral_of_one() -> None:
    g = np.random.default_rng(0)
    sets = {
        "narrow": 0.9 + 0.01 * g.standard_normal(300),
        "wide": g.uniform(-1, 1, 700),
        "spins": (2 * g.binomial(16, 0.5, 2000) - 16) / 16,
    }
    _, axes = plotting.panels(1)
    plot_glasses.overlap_curves(axes[0, 0], sets)
    assert _area(axes[0, 0]) == pytest.approx([1, 1, 1])
    assert [text.get_text() for text in axes[0, 0].get_legend().get_texts()] == list(sets)
    values, edges, _ = axes[0, 0].patches[2].get_data()
    assert len(values) == len(np.unique(sets["spins"])), "a bin for each value that few spins have"
    assert np.diff(edges) == pytest.approx(1 / 8)


def test_norms_and_distances_by_spikes() -> None:
    pairs = states(20)
    stops, spikes = np.arange(20) // 4 + 7, np.array([0, 1, 2, 4, 9] * 4)
    _, axes = plotting.panels(2)
    plot_glasses.stopping(axes[0], stops, pairs, spikes)
    left, right = axes[0]
    assert [text.get_text() for text in left.get_legend().get_texts()] == ["0", "1", "2", "4 or more"]
    assert len(left.lines) == len(right.lines) == 4
    last = spikes >= 4
    np.testing.assert_allclose(left.lines[3].get_xydata(), np.c_[stops, pairs.norms][last])
    off = np.where(np.eye(20, dtype=bool), np.nan, pairs.distances)
    np.testing.assert_allclose(right.lines[3].get_xydata(), np.c_[pairs.norms, np.nanmean(off, 1)][last])
    with pytest.raises(ValueError, match="one per network"):
        plot_glasses.stopping(axes[0], stops[:5], pairs, spikes)


def test_the_kind_of_clusters_can_be_chosen_panel_by_panel() -> None:
    power = np.linspace(0, 1, 2 * 3 * 4).reshape(2, 3, 4)
    rates = Calibration(
        VERDICTS, np.zeros(4), np.zeros((4, 2)), ((3,), (5,)), np.array([1.0, 2.0, 4.0]), power,
        np.stack([power, power], -1), np.zeros((2, 4)), 40, 0.02, 60,
    )  # fmt: skip
    figure, axes = plotting.panels(3)
    for at in axes[0]:
        plot_glasses.power_curves([at], rates, ["modality", "hierarchy"], kind=1)
    assert len(figure.legends) == 1
    assert [at.get_ylabel() != "" for at in axes[0]] == [True, False, False]
    for at in axes[0]:
        assert at.get_title("left") == "5 clusters"
        assert at.lines[0].get_ydata().tolist() == power[1, :, 0].tolist()


def test_curves_of_networks_by_whether_they_had_a_spike() -> None:
    loss, norms = np.arange(1.0, 13).reshape(4, 3), np.arange(12.0).reshape(4, 3)
    _, axes = plotting.panels(2)
    plot_glasses.kept_curves(axes[0], loss, norms, np.array([False, True, False]))
    for at, rows in zip(axes[0], (loss, norms), strict=True):
        assert [line.get_ydata().tolist() for line in at.lines] == rows.T.tolist()
        assert at.lines[0].get_xdata().tolist() == [1, 2, 3, 4]
        colours = [line.get_color() for line in at.lines]
        assert colours[0] == colours[2] != colours[1]
    assert [at.get_yscale() for at in axes[0]] == ["log", "linear"]


def test_the_course_of_distances_has_dots_at_all_measured_epochs_or_at_some(axes: Axes) -> None:
    epochs = np.array([1, 2, 4])
    loss, distance = np.array([[2.0, 2.0], [1.0, 1.0], [0.5, 0.5], [0.1, 0.3]]), np.array([3.0, 4, np.nan, 6])
    course = SimpleNamespace(
        history=SimpleNamespace(train_loss=loss), measured=epochs, distance_mean=distance
    )
    plot_glasses.distance_course(axes, course, label="all")
    plot_glasses.distance_course(axes, course, [2, 3], label="some", colour="red")
    assert axes.xaxis_inverted()
    line, every, _, some = axes.lines
    assert_allclose(line.get_xydata(), [[2, 3], [1, 4], [0.2, 6]])
    assert_allclose(every.get_xydata(), line.get_xydata())
    assert_allclose(some.get_xydata(), [[1, 4]])
    assert some.get_color() == "red"
    assert axes.get_legend_handles_labels()[1] == ["all", "some"]
