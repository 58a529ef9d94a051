"""Figures of glasses and networks: what they show, in words and in numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.axes import Axes
from numpy.testing import assert_allclose

from spinscape.companion import plot_glasses, plotting
from spinscape.glasses.overlap_models import planted, replica_symmetric
from spinscape.landscape.modality import PRINTED_BINS
from spinscape.landscape.null_overlaps import fit
from spinscape.landscape.overlap_shapes import overlap_shape
from spinscape.landscape.pairs import Pairs
from spinscape.landscape.power import VERDICTS, Calibration
from spinscape.landscape.printed_distances import printed
from spinscape.statistics import Estimate, mean


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    plt.close("all")


def _pairs(states: int = 20) -> Pairs:
    g = np.random.default_rng(1)
    return Pairs.from_vectors(g.standard_normal((states, 300)) * g.uniform(1, 1.2, (states, 1)))


def _labels(axis) -> list[str]:
    low, high = axis.get_view_interval()
    at = zip(axis.get_majorticklocs(), axis.get_majorticklabels(), strict=True)
    return [tick.get_text() for place, tick in at if low <= place <= high and tick.get_text()]


def _estimates(values: list[float]) -> list[Estimate]:
    return [mean(value * np.array([0.98, 0.99, 1.01, 1.02])) for value in values]


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
    pairs, wide = _pairs(), _pairs(30)
    items = {"a": (pairs, fit(pairs)), "b": (wide, fit(wide))}
    figure = plot_glasses.distance_histograms(items, draws=10, printed={"b": printed(512, 784)})
    first, second = (at.texts[0].get_text() for at in figure.axes[:2])
    values = pairs.upper_distances
    assert first.startswith("a\n")
    assert first.endswith(f"{values.mean():.2f} / {values.std(ddof=1):.2f}")
    assert second.endswith("source, Figure 4: 80.08 / 2.26\nsource, Figure A2: 45.86 / 0.11")
    figure.canvas.draw()
    for at in figure.axes[:2]:
        lowest = at.transData.inverted().transform(at.texts[0].get_window_extent())[0, 1]
        assert lowest > max(line.get_ydata().max() for line in at.lines), "words stand above the curves"
    with pytest.raises(ValueError, match="no panel: c"):
        plot_glasses.distance_histograms(items, printed={"c": {"4": (1, 2)}})


@pytest.mark.parametrize(
    ("sd", "digits"), [(12.0, 2), (1.27, 2), (0.11, 2), (0.07, 3), (0.0012, 4), (0.0, 2)]
)
def test_two_digits_of_a_standard_deviation(sd: float, digits: int) -> None:
    assert plot_glasses._digits(sd) == digits


def _area(axes: Axes) -> list[float]:
    return [float(np.sum(step.get_data()[0] * np.diff(step.get_data()[1]))) for step in axes.patches]


def test_many_bins_beside_few() -> None:
    _, axes = plotting.panels(1)
    plot_glasses.printed_bins(axes[0, 0], np.random.default_rng(0).standard_normal(4000), label="d")
    many, few = axes[0, 0].patches
    assert len(many.get_data()[0]) == PRINTED_BINS
    assert 20 < len(few.get_data()[0]) < 150
    assert _area(axes[0, 0]) == pytest.approx([1, 1])
    assert axes[0, 0].get_xlabel() == "d"
    assert axes[0, 0].get_legend().get_texts()[0].get_text() == "1,990 bins"


def test_models_and_networks_share_two_axes() -> None:
    sets = {
        "alike": replica_symmetric(20, dimension=400, draws=3),
        "grouped": planted(1, replicas=20, strength=8, dimension=400, branching=(3,), draws=1).overlaps,
    }
    shapes = {name: overlap_shape(one, draws=40) for name, one in sets.items()}
    figure = plot_glasses.overlap_shapes(shapes, colours={"alike": "red", "grouped": "blue"}, single=2)
    left, right = figure.axes
    assert [text.get_text() for text in left.get_yticklabels()] == ["alike (3)", "grouped (1)"]
    assert left.get_ylim()[0] > left.get_ylim()[1]  # the first row on top
    one = shapes["alike"]
    assert len(left.lines) == 2, "single instances only where there are several"
    for line, own in zip(left.lines, one.density, strict=False):
        assert_allclose(line.get_ydata(), -plot_glasses.ROW * own / own.max())
    tallest = max(max(shape.standard.max(), shape.null.max()) for shape in shapes.values())
    edges = [-plot_glasses.ROW * edge / tallest for edge in one.null]
    assert_allclose([line.get_ydata() for line in right.lines[:2]], edges)
    for at in (left, right):
        low = [body.get_paths()[0].vertices[:, 1].min() for body in at.collections]
        assert all(row - 1 < top < row for row, top in enumerate(low)), "no curve reaches the row above"


def test_norms_and_distances_by_spikes() -> None:
    pairs = _pairs()
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


@pytest.mark.parametrize("spread", [0.03, 0.12, 0.15, 0.3, 1.5])
def test_labels_of_norms_do_not_touch(spread: float) -> None:
    plotting.use_style()
    pairs = replace(_pairs(), norms=np.linspace(100.01, 100 + spread, 20))
    figure, axes = plotting.panels(2, rows=2, height=2.6)
    plot_glasses.stopping(axes[0], np.arange(20), pairs, np.zeros(20))
    figure.draw_without_rendering()
    at, (low, high) = axes[0, 1], axes[0, 1].get_xlim()
    labels = zip(at.get_xticks(), at.get_xticklabels(), strict=True)
    boxes = [label.get_window_extent() for place, label in labels if low <= place <= high]
    assert len(boxes) > 2
    assert all(b.x0 > a.x1 + 10 for a, b in pairwise(boxes))


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
