"""Figures: densities that integrate, bands where the interval is."""

from __future__ import annotations

import matplotlib
import matplotlib.pyplot as plt

matplotlib.use("Agg")

import numpy as np
import pytest

from spinscape import statistics
from spinscape.companion import plotting


def test_density_per_decade_integrates_to_the_share_inside() -> None:
    values = np.array([0.0, 0.002, 0.02, 0.2, 5.0])
    bins = np.geomspace(1e-3, 1, 31)
    assert plotting.log_density(values, bins).sum() * 0.1 == pytest.approx(3 / 5)


def test_a_band_is_the_interval_of_the_mean() -> None:
    samples = np.random.default_rng(0).normal(size=(6, 4))
    _, axes = plotting.panels(1)
    plotting.band(axes[0, 0], np.arange(4), samples, label="x")
    found = statistics.mean(samples)
    edges = axes[0, 0].collections[0].get_paths()[0].vertices[:, 1]
    assert edges.min() == pytest.approx(found.low.min())
    assert edges.max() == pytest.approx(found.high.max())
    np.testing.assert_allclose(axes[0, 0].lines[0].get_ydata(), found.value)


def test_dots_are_means_with_their_intervals() -> None:
    samples = np.random.default_rng(0).normal(size=(6, 4))
    samples[:, 3] = 2.0
    _, axes = plotting.panels(1)
    plotting.dots(axes[0, 0], np.arange(4), samples, color="k")
    (container,) = axes[0, 0].containers
    found = statistics.mean(samples)
    np.testing.assert_allclose(container.lines[0].get_ydata(), found.value)
    bars = np.array(container.lines[2][0].get_segments())[..., 1]
    np.testing.assert_allclose(bars, np.stack([found.low, found.high], 1))
    assert bars[3, 0] == bars[3, 1] == 2.0


def test_one_line_per_condition_with_abscissas_of_its_own() -> None:
    x = np.array([[1.0, 2.0], [10.0, 20.0]])
    _, axes = plotting.panels(1)
    plotting.bands(axes[0, 0], x, np.ones((2, 3, 2)), ["a", "b"], legend="condition")
    assert [line.get_xdata().tolist() for line in axes[0, 0].lines] == x.tolist()
    assert axes[0, 0].get_legend().get_title().get_text() == "condition"
    assert len(set(plotting.colours(5))) == 5


def test_ticks_at_whole_numbers() -> None:
    _, axes = plotting.panels(2)
    axes[0, 0].plot([1, 2, 3], [0, 1, 2])
    plotting.whole_numbers(axes)
    assert all(float(tick).is_integer() for tick in axes[0, 0].get_xticks())


def test_sparse_log_ticks_are_plain_numbers() -> None:
    figure, axes = plotting.panels(1)
    at = axes[0, 0]
    at.plot([0.1, 1], [1, 2])
    at.set(xscale="log", yscale="linear", xlim=(0.1, 1))
    plotting.sparse_log_ticks(at)
    figure.canvas.draw()
    assert {"0.1", "0.2", "0.5", "1"} <= {tick.get_text() for tick in at.get_xticklabels()}
    assert not any(tick.get_text() for tick in at.get_xticklabels(minor=True))
    plt.close(figure)
