"""Figures of paths show what they are given."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from spinscape import statistics
from spinscape.companion import plot_paths, plotting
from spinscape.landscape.paths import WAYS, Removal, triangle
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.models import mlp


@pytest.fixture
def found():
    rng = np.random.default_rng(0)
    t = np.linspace(0, 1, 5)
    tables = rng.uniform(0.1, 0.3, (2, 4, len(WAYS), 6, 5))
    return {name: Removal(t, *four, np.ones((len(WAYS), 6))) for name, four in zip("ab", tables, strict=True)}


def test_profiles_have_a_panel_for_each_way_and_percent_for_errors(found):
    figure, axes = plotting.panels(3, rows=2)
    plot_paths.removals(axes.ravel(), found)
    assert [len(panel.lines) for panel in axes.ravel()] == [2] * 6
    drawn = axes[0, 0].lines[1].get_ydata()
    np.testing.assert_allclose(drawn, 100 * found["b"].test_error[0].mean(0))
    plt.close(figure)


def test_barriers_stand_over_their_ways(found):
    figure, axes = plotting.panels(1)
    plot_paths.barrier_dots(axes[0, 0], found, "loss")
    data = axes[0, 0].containers[0].lines[0].get_xydata()
    np.testing.assert_allclose(data[:, 1], found["a"].barriers("loss").over_line.mean(1))
    assert len(axes[0, 0].get_xticks()) == len(WAYS)
    plt.close(figure)


def test_estimates_stand_at_their_widths():
    figure, axes = plotting.panels(1)
    rows = [statistics.mean([0.1, 0.2, 0.3]), statistics.mean([0.01, 0.02, 0.03])]
    plot_paths.against_width(axes[0, 0], [8, 64], {"raw": rows})
    data = axes[0, 0].containers[0].lines[0].get_xydata()
    np.testing.assert_allclose(data, [[8, 0.2], [64, 0.02]])
    plt.close(figure)


def test_bars_that_are_cut_end_in_a_triangle():
    figure, axes = plotting.panels(1)
    values = [0.2, 0.02, 0.1]
    lows = [0.1, -0.01, 0.001]
    rows = [
        statistics.Estimate(np.array(v), np.array(low), np.array(2 * v), np.array(3), 0.95)
        for v, low in zip(values, lows, strict=True)
    ]
    plot_paths.against_width(axes[0, 0], [8, 64, 512], {"raw": rows})
    (marks,) = [line for line in axes[0, 0].lines if line.get_marker() == "v"]
    np.testing.assert_allclose(marks.get_xydata(), [[64, 0.004], [512, 0.02]])
    (bars,) = axes[0, 0].containers[0].lines[2]
    np.testing.assert_allclose([bar[0, 1] for bar in bars.get_segments()], [0.1, 0.004, 0.02])
    assert axes[0, 0].get_legend_handles_labels()[1] == ["raw"]
    plt.close(figure)


def test_maps_share_their_colours():
    torch.manual_seed(0)
    nets = Ensemble.from_modules([mlp([4, 5, 3]) for _ in range(3)])
    one = triangle(nets[:1], nets[1:2], nets[2:], 5)
    count = one.path.size[1]
    figure, axes = plotting.panels(2)
    values = {"first": (one, np.linspace(0, 1, count)), "second": (one, np.linspace(1, 4, count))}
    plot_paths.triangles(axes[0], values, label="error", highest=2.0)
    levels = [panel.collections[0].get_clim() for panel in axes[0]]
    assert levels[0] == levels[1] == (0.0, 2.0)
    plt.close(figure)
