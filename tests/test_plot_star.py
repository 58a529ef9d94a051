"""Figures and tables of the negative perceptron show what they are given."""

from __future__ import annotations

import warnings

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.axes import Axes

from spinscape import statistics
from spinscape.companion import plot_star, plotting
from spinscape.glasses.perceptron import (
    Attraction,
    Jamming,
    Landing,
    Sight,
    Stabilities,
    stability_density,
    ternary_grid,
)
from spinscape.landscape.paths.removal import WAYS, Removal


@pytest.fixture(autouse=True)
def closed():
    """Close all figures after each test."""
    yield
    plt.close("all")


def row(columns: int) -> list[Axes]:
    return list(plotting.panels(columns)[1][0])


def heights(axes: Axes) -> list[np.ndarray]:
    """Return the ordinates of all lines that have any."""
    return [np.asarray(line.get_ydata(), float) for line in axes.lines if len(line.get_ydata())]


def dots(axes: Axes) -> list[tuple[float, float, float, float]]:
    """Return abscissa, value, low and high of the means with intervals, in the order of drawing."""
    found = []
    for container in axes.containers:
        line, _, (bars,) = container
        (segment,) = bars.get_segments()
        found.append((float(line.get_xdata()[0]), float(line.get_ydata()[0]), *sorted(segment[:, 1])))
    return found


def interval(values: np.ndarray) -> tuple[float, float, float]:
    one = statistics.mean(values)
    return float(one.value), float(one.low), float(one.high)


def share(hits: np.ndarray) -> tuple[float, float, float]:
    one = statistics.proportion(hits)
    return float(one.value), float(one.low), float(one.high)


def legend(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


def seen(
    share: np.ndarray,
    typical: np.ndarray,
    best: float = 0.5,
    first: float = -0.3,
    mutual: np.ndarray | None = None,
) -> Sight:
    """Return what is seen from margins 0.2 apart; from the best solution everything."""
    count, levels = share.shape
    margins = np.tile(first + 0.2 * np.arange(levels), (count, 1))
    ones = np.ones(count)
    pairs = np.full(share.shape, np.nan) if mutual is None else mutual
    return Sight(margins, share, 1 - share, share, pairs, best * ones, ones, 0 * ones, typical)


def test_laws_are_the_sampled_ones_and_those_of_theory() -> None:
    edges = np.array([-0.5, 0.0, 1.0, 2.0])
    density = np.array([[0.5, 0.4, 0.2], [0.7, 0.4, 0.1]])
    one = Stabilities(edges, density, np.zeros((2, 4)))
    axes = row(2)
    other = Stabilities(edges - 0.5, density, np.zeros((2, 4)))
    margins = {2.0: -1.0, 1.0: -0.5}
    plot_star.laws(axes, {1.0: one, 2.0: other}, margins)
    for panel, alpha in zip(axes, (1.0, 2.0), strict=True):
        line = panel.lines[1]
        h = np.asarray(line.get_xdata())
        assert (h[0], h[-1]) == pytest.approx((margins[alpha], margins[alpha] + 2.5))
        np.testing.assert_allclose(line.get_ydata(), stability_density(h, alpha, margins[alpha]))
    sampled = axes[0].lines[0]
    np.testing.assert_allclose(sampled.get_xdata(), [-0.25, 0.5, 1.5])
    np.testing.assert_allclose(sampled.get_ydata(), [0.6, 0.4, 0.15])
    np.testing.assert_allclose(axes[1].lines[0].get_xdata(), [-0.75, 0, 1])
    titles = ["$\\alpha = 1$, $\\kappa = -0.5$", "$\\alpha = 2$, $\\kappa = -1$"]
    assert [panel.get_title() for panel in axes] == titles
    assert legend(axes[0]) == ["sampled", "theory"]
    with pytest.raises(ValueError, match="zip"):
        plot_star.laws(row(1), {1.0: one, 2.0: other}, margins)
    with pytest.raises(KeyError):
        plot_star.laws(row(2), {1.0: one, 2.0: other}, {1.0: -0.5})


def test_overlaps_stand_at_one_over_n_with_theory_at_the_left() -> None:
    rng = np.random.default_rng(0)
    rows = {alpha: [rng.random(5), rng.random(3)] for alpha in (1.0, 2.0)}
    (axes,) = row(1)
    plot_star.overlaps(axes, [10, 40], rows, {1.0: 0.3, 2.0: 0.5})
    expected = [
        (1 / n, *interval(x)) for alpha in (1.0, 2.0) for n, x in zip((10, 40), rows[alpha], strict=True)
    ]
    np.testing.assert_allclose(dots(axes), expected)
    stars = [(*line.get_xdata(), *line.get_ydata()) for line in axes.lines if line.get_marker() == "*"]
    assert stars == [(0, 0.3), (0, 0.5)]
    assert legend(axes) == ["$\\alpha = 1$", "$\\alpha = 2$"]


def test_energies_are_in_percent() -> None:
    gamma = np.linspace(0, 1, 3)
    values = {16: np.array([[0, 0.1, 0], [0, 0.3, 0]]), 32: np.full((4, 3), 0.05)}
    axes = row(1)
    plot_star.energies(axes, gamma, {1.5: values}, {1.5: np.array([0, 0.25, 0])})
    np.testing.assert_allclose(heights(axes[0]), [[0, 20, 0], [5, 5, 5], [0, 25, 0]])
    assert legend(axes[0]) == ["N = 16", "N = 32", "theory"]


def test_triangles_share_a_scale_and_have_their_corners_where_they_belong() -> None:
    gamma = ternary_grid(4)
    axes = row(2)
    plot_star.ternary(axes, gamma, {"one": 0.2 * gamma[:, 0], "two": 0.1 * gamma[:, 2]})
    first, second = (panel.collections[0] for panel in axes)
    np.testing.assert_array_equal(first.levels, second.levels)
    assert first.levels[-1] == pytest.approx(20)
    assert [panel.get_title() for panel in axes] == ["one", "two"]
    # The highest contour lies at the first corner on the left, at the third, half way, on the right.
    tops = [next(p for p in part.get_paths()[::-1] if len(p.vertices)).vertices for part in (first, second)]
    np.testing.assert_allclose(np.abs(tops[0] - [0, 0]).min(0), 0, atol=1e-9)
    assert np.linalg.norm(tops[0], axis=1).max() < 0.1
    assert second.get_paths()[9].vertices[:, 1].max() == pytest.approx(np.sqrt(3) / 2)


def test_triangles_without_a_violated_pattern_are_drawn() -> None:
    axes = row(1)
    plot_star.ternary(axes, ternary_grid(4), {"convex": np.zeros(15)})
    assert axes[0].collections[0].levels[0] == 0


def test_sights_leave_out_margins_that_an_instance_lacks() -> None:
    small = seen(np.array([[0.2, 0.6, np.nan], [0.4, 0.8, 1.0]]), np.array([0.1, 0.3]))
    large = seen(np.array([[0.5, 0.7, 1.0], [0.7, 0.7, 1.0], [0.6, 1.0, 1.0]]), np.array([0.0, 0.1, 0.2]))
    left, right = row(2)
    plot_star.sights([left, right], {10: small, 20: large}, -0.05, -0.5)
    np.testing.assert_allclose(left.lines[0].get_xdata(), [-0.3, -0.1])
    np.testing.assert_allclose(left.lines[0].get_ydata(), [0.3, 0.7])
    np.testing.assert_allclose(left.lines[1].get_ydata(), [0.6, 0.8, 1.0])
    assert [line.get_xdata()[0] for line in left.lines[2:]] == [-0.05, -0.5]
    assert legend(left) == ["N = 10", "N = 20", "theory"]
    np.testing.assert_allclose(
        dots(right), [(n, *interval(s.typical)) for n, s in ((10, small), (20, large))]
    )
    assert [text.get_text() for text in right.get_xticklabels()] == ["10", "20"]


@pytest.mark.parametrize("threshold", [None, float("nan")])
def test_sights_without_a_threshold_or_a_margin_that_all_have(threshold: float | None) -> None:
    none = seen(np.array([[np.nan, np.nan], [0.4, 0.8]]), np.array([0.1, 0.3]))
    left, right = row(2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plot_star.sights([left, right], {10: none}, threshold, -0.5)
    assert [line.get_xdata()[0] for line in left.lines] == [-0.5]
    assert dots(right)[0][1] == pytest.approx(0.2)


def test_sights_refuse_margins_of_each_instance() -> None:
    own = seen(np.array([[0.2, 0.4], [0.4, 0.8]]), np.array([0.1, 0.3]))
    own.margins[1] += 0.01
    with pytest.raises(ValueError, match="same margins"):
        plot_star.sights(row(2), {10: own}, None, -0.5)


def test_core_shows_every_instance_and_both_parts_of_theory() -> None:
    # Two densities with other numbers of instances, one of which sees nothing.
    mutual = np.array([[0.5, 1.0], [0.95, 0.2], [0.1, 0.7]])
    first = seen(np.array([[0.4, 0.8], [0.95, 0.9], [0.8, 1.0]]), np.array([0.3, 0.5, 0.7]), mutual=mutual)
    second = seen(
        np.array([[0.0, 0.0], [0.0, 0.2]]),
        np.array([0.0, 0.2]),
        best=0.1,
        mutual=np.array([[0, 0], [0, 0.9]]),
    )
    second.best_share[:] = [0.2, 1.0]
    scale, stable = np.array([1.0, 2.0, 3.0]), np.array([True, True, False])
    left, right = row(2)
    line, limit, convex = np.array([-0.2, 0.0, 0.1]), np.array([0.5, 0.3, 0.2]), np.array([-0.4, -0.3, -0.1])
    plot_star.core([left, right], scale, {1.0: first, 2.0: second}, line, stable, limit, convex)
    assert plot_star.SEEN == 0.9
    circles = [x for x in left.lines if x.get_marker() == "o" and len(x.get_xdata())]
    crosses = [x for x in left.lines if x.get_marker() == "x" and len(x.get_xdata())]
    np.testing.assert_allclose([*circles[0].get_ydata()], [-0.1 + 0.6 / 2, -0.3, -0.2])
    np.testing.assert_allclose([*circles[1].get_ydata()], [np.nan, -0.1 + 0.2 * 0.7 / 0.8])
    # Half of the typical solutions are seen from lower margins.
    assert (first.smallest(0.5)[[0, 2]] < circles[0].get_ydata()[[0, 2]]).all()
    triangles = [x for x in left.lines if x.get_marker() == "^" and len(x.get_xdata())]
    np.testing.assert_allclose([*triangles[0].get_ydata()], [-0.3 + 0.2 * 0.8, -0.3, -0.1 + 0.6 * 2 / 3])
    np.testing.assert_allclose([*triangles[1].get_ydata()], [-0.1 + 0.2 * 0.9, -0.1])
    for marks in (circles, triangles, crosses):
        assert [[*x.get_xdata()] for x in marks] == [[1, 1, 1], [2, 2]]
    np.testing.assert_allclose([*crosses[1].get_ydata()], [0.1, 0.1])
    curves = [x.get_ydata() for x in left.lines if x.get_marker() == "None" and len(x.get_xdata())]
    expected = [[-0.2, 0, np.nan], [np.nan, np.nan, 0.1], limit, [-0.4, -0.3, np.nan]]
    np.testing.assert_array_equal(curves, expected)
    assert legend(left)[:3] == ["sees typical ones", "see each other", "largest, found"]
    np.testing.assert_allclose(heights(right), [[1.0, 0.6], [0.5, 0.1]])
    assert legend(right) == ["largest margin", "typical pairs"]


def test_attraction_and_the_random_walk() -> None:
    barrier = np.array([[[0.3, 0.1], [0.5, 0.1]], [[0.2, 0.0], [0.2, 0.2]]])
    found = Attraction(np.array([0, 5]), barrier, barrier, barrier, -barrier, barrier, barrier, barrier)
    walk = np.array([0.2, 0.3, 0.4])
    left, right = row(2)
    plot_star.attraction([left, right], found, walk)
    np.testing.assert_allclose(heights(left), [[30, 10]])
    np.testing.assert_allclose(heights(right), [[-0.3, -0.1]])
    band = left.patches[0].get_extents().transformed(left.transData.inverted())
    np.testing.assert_allclose([band.y0, band.y1], np.multiply(100, interval(walk)[1:]))
    assert legend(left) == ["gradient descent", "random walk, its end"]


def test_landing_table_has_a_row_for_each_algorithm() -> None:
    two = np.array([[0.1, 0.3], [0.2, np.nan]])
    found = Landing(("rule", "typical"), np.array([[1.0, 0.5], [0.5, 0.0]]), -two, two, two / 10, two)
    lines = plot_star.landing_table(found).data.splitlines()
    assert lines[0].startswith("| algorithm | solved | margin | share")
    value, low, high = interval(two[0])
    assert lines[2].startswith(
        f"| rule | 75% | {-value:.3f} [{-high:.3f}, {-low:.3f}] | {value:.2f} [{max(low, 0):.2f}"
    )
    assert f"| {10 * value:.2f} [{max(10 * low, 0):.2f}, {10 * high:.2f}] | 0.200 |" in lines[2]
    # The instance that was not solved is left out.
    assert lines[3].startswith("| typical | 25% | -0.200")
    assert lines[3].endswith("| 0.200 |")
    assert len(lines) == 4


def test_landing_table_has_dashes_where_nothing_was_found() -> None:
    none = np.array([[np.nan, np.nan], [0.1, 0.3]])
    found = Landing(("rule", "typical"), np.array([[0.0, 0.0], [1.0, 1.0]]), none, none, none, none)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lines = plot_star.landing_table(found).data.splitlines()
    assert lines[2] == "| rule | 0% | - | - | - | - |"
    assert lines[3].startswith("| typical | 100% | 0.200 [")


def test_networks_by_kind_width_and_way() -> None:
    rng = np.random.default_rng(1)
    keys = [("typical", 16), ("rSGD", 16), ("typical", 32)]
    line = {key: rng.integers(0, 2, k).astype(float) for k, key in enumerate(keys, 4)}
    # A way may lack kinds of the other.
    arcs = {key: 1 - line[key] for key in keys[1:]}
    (axes,) = row(1)
    plot_star.networks(axes, {"line": line, "geodesic": arcs})
    expected = [(k - 0.12, *share(line[key])) for k, key in enumerate(keys)]
    expected += [(k + 0.12, *share(arcs[key])) for k, key in enumerate(keys) if k]
    np.testing.assert_allclose(dots(axes), expected)
    ticks = [text.get_text() for text in axes.get_xticklabels()]
    assert ticks == ["typical\n16 units", "rSGD\n16 units", "typical\n32 units"]
    assert legend(axes) == ["line", "geodesic"]


def removed(worst: list[float], ends: list[float]) -> Removal:
    """Return pairs with errors `ends` at the first end, and `worst` half way with both symmetries removed."""
    error = np.zeros((len(WAYS), len(worst), 3))
    error[0, :, 0] = ends
    error[WAYS.index(("both", "geodesic")), :, 1] = worst
    test = np.full_like(error, 0.5)
    test[0, :, 0] = 0.1 * np.arange(1, len(worst) + 1)
    return Removal(np.linspace(0, 1, 3), error, error, test, test, np.ones((len(WAYS), len(worst))))


def test_network_table_counts_pairs_of_solutions() -> None:
    found = {
        ("rSGD", 16): removed([0.0, 0.02, 0.9, 0.04], [0, 0, 0.1, 0]),
        ("typical", 32): removed([0.0, 0.5], [0, 0.1]),
        ("average", 32): removed([0.1], [0.1]),
    }
    energies = {
        ("typical", 32): np.array([0.5, 1.0]),
        ("average", 32): np.array([0.1234]),
        ("rSGD", 16): np.array([0.1, 0.2, 0.3, 0.4]),
    }
    heads, _, *lines = plot_star.network_table(found, energies).data.splitlines()
    assert heads.endswith("| its local energy (nats) |")
    # Ends of intervals are kept in the range that shares and errors can have.
    value, low, high = share(np.array([1.0, 0, 0]))
    rise = np.clip(interval(np.array([0, 2.0, 4.0])), 0, 100)
    assert lines[0] == (
        f"| rSGD, 16 units | 3 of 4 | {value:.2f} [{low:.2f}, {high:.2f}] | "
        f"{rise[0]:.2f} [{rise[1]:.2f}, {rise[2]:.2f}] | {np.mean([10, 20, 40]):.2f} | 0.250 |"
    )
    assert lines[1] == "| typical, 32 units | 1 of 2 | - | - | 10.00 | 0.750 |"
    assert lines[2] == "| average, 32 units | 0 of 1 | - | - | - | 0.123 |"


def jammed(z: list[float], finished: list[bool]) -> Jamming:
    """Return jamming points with these contacts and compressions of two and three rounds."""
    count, values = len(z), np.array(z)
    energy, path = np.tile([1.0, 0.1, 0.01], (count, 1)), np.tile([0.1, 0.5, 0.9], (count, 1))
    energy[0, 2] = path[0, 2] = np.nan
    whole = (10 * values).astype(int)
    return Jamming(values, whole, 10, values, values, np.array(finished), energy, energy, path, values)


def test_contacts_are_those_of_finished_compressions() -> None:
    found = {
        "perceptron": [jammed([0.5, 0.5], [False, False]), jammed([0.9, 0.1, 1.1], [True, False, True])],
        "committee": [jammed([0.7, 0.8], [True, True]), jammed([0.6, 0.8], [True, True])],
    }
    left, right = row(2)
    plot_star.contacts([left, right], [30, 60], found, [1.0, 0.8])
    kept = np.array([0.9, 1.1]), np.array([0.7, 0.8]), np.array([0.6, 0.8])
    np.testing.assert_allclose(
        dots(left), [(n, *interval(z)) for n, z in zip((60, 30, 60), kept, strict=True)]
    )
    # A kind has its label although nothing has finished at the first size.
    assert legend(left) == ["perceptron", "committee"]
    levels = [line.get_ydata()[0] for line in left.lines if line.get_linestyle() == "--"]
    assert levels == [1.0, 0.8]
    assert len(right.lines) == 5
    np.testing.assert_array_equal(right.lines[0].get_ydata(), [0.1, 0.5, np.nan])
    np.testing.assert_array_equal(right.lines[1].get_xdata(), [1.0, 0.1, 0.01])
    assert right.xaxis_inverted()


def test_phases_draw_lines_and_entropies() -> None:
    _, axes = plotting.panels(2)
    x = np.linspace(-1, -0.1, 4)
    plot_star.phases(
        axes[0], x, {"a": 1 + x**2, "b": 2 + x**2}, np.arange(1.0, 4.0), {"c": -np.arange(1.0, 4.0)}
    )
    np.testing.assert_allclose(axes[0, 0].lines[1].get_ydata(), 2 + x**2)
    assert [line.get_label() for line in axes[0, 1].lines] == ["c"]
