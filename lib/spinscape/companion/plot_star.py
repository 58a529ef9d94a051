"""Figures and tables of the negative perceptron: laws, energies, triangles, shares and contacts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from IPython.display import Markdown
from matplotlib.axes import Axes
from matplotlib.tri import Triangulation
from numpy.typing import ArrayLike, NDArray

from spinscape import statistics
from spinscape.companion import plotting, tables
from spinscape.glasses.perceptron import (
    Attraction,
    Jamming,
    Landing,
    Sight,
    Stabilities,
    stability_density,
)
from spinscape.landscape.paths.removal import Removal

Floats = NDArray[np.float64]

SEEN = 0.9
"""Share of solutions that has to be seen without a barrier for a margin to count as large enough."""


def phases(
    axes: Sequence[Axes],
    kappa: Floats,
    lines: Mapping[str, Floats],
    alpha: Floats,
    entropies: Mapping[str, Floats],
) -> None:
    """Draw lines of theory in the plane of margin and density (left) and entropies by density (right)."""
    left, right = axes
    styles = ("-", "--", ":")
    for colour, style, (name, values) in zip(
        plotting.colours(len(lines)), styles, lines.items(), strict=False
    ):
        left.plot(kappa, values, style, color=colour, label=name)
    left.set(xlabel="margin $\\kappa$", ylabel="$\\alpha$", yscale="log")
    plotting.sparse_log_ticks(left)
    left.legend(fontsize=8)
    for colour, (name, values) in zip(plotting.colours(len(entropies)), entropies.items(), strict=True):
        right.plot(alpha, values, color=colour, label=name)
    right.set(xlabel="$\\alpha$", ylabel="entropy per weight")
    right.legend(fontsize=8)


def laws(axes: Sequence[Axes], found: Mapping[float, Stabilities], kappa: Mapping[float, float]) -> None:
    """Draw sampled laws of stabilities and those of theory, one panel for each density of constraints."""
    for panel, (alpha, seen) in zip(axes, found.items(), strict=True):
        middle = (seen.edges[1:] + seen.edges[:-1]) / 2
        plotting.band(panel, middle, seen.density, label="sampled")
        h = np.linspace(kappa[alpha], seen.edges[-1], 400)
        panel.plot(h, stability_density(h, alpha, kappa[alpha]), "k--", lw=1, label="theory")
        title = f"$\\alpha = {alpha:g}$, $\\kappa = {kappa[alpha]:g}$"
        panel.set(xlabel="stability $h$", ylabel="density")
        panel.set_title(title, fontsize=9)
        panel.set_ylim(0, None)
    axes[0].legend(fontsize=8)


def overlaps(
    axes: Axes, sizes: Sequence[int], found: Mapping[float, Sequence[Floats]], limits: Mapping[float, float]
) -> None:
    """Draw overlaps against 1 / N, instances' means with intervals, and theory at the left end."""
    for colour, (alpha, rows) in zip(plotting.colours(len(found)), found.items(), strict=True):
        for n, row in zip(sizes, rows, strict=True):
            label = f"$\\alpha = {alpha:g}$" if n == sizes[0] else ""
            plotting.dots(axes, [1 / n], row[:, None], color=colour, label=label)
        axes.plot(0, limits[alpha], "*", ms=11, color=colour, clip_on=False)
    axes.set(xlabel="$1 / N$", ylabel="overlap", xlim=(0, None))
    axes.legend(fontsize=8)


def energies(
    axes: Sequence[Axes],
    gamma: Floats,
    sampled: Mapping[float, Mapping[int, Floats]],
    theory: Mapping[float, Floats],
) -> None:
    """Draw energies between two solutions by size and in theory, in percent, a panel for each density."""
    for panel, (alpha, rows) in zip(axes, sampled.items(), strict=True):
        for colour, (n, values) in zip(plotting.colours(len(rows)), rows.items(), strict=True):
            plotting.band(panel, gamma, 100 * values, colour=colour, label=f"N = {n}")
        panel.plot(gamma, 100 * theory[alpha], "k--", lw=1.2, label="theory")
        panel.set(xlabel="$\\gamma_1$", ylabel="violated patterns (%)", title=f"$\\alpha = {alpha:g}$")
        panel.set_ylim(0, None)
    axes[0].legend(fontsize=8)


def ternary(axes: Sequence[Axes], gamma: Floats, maps: Mapping[str, Floats]) -> None:
    """Draw energies over the triangle between three solutions, in percent, on one scale of colours."""
    x, y = gamma[:, 1] + gamma[:, 2] / 2, gamma[:, 2] * np.sqrt(3) / 2
    # Where nothing is violated any scale will do.
    high = max(float(values.max()) for values in maps.values()) or 1e-4
    for panel, (title, values) in zip(axes, maps.items(), strict=True):
        drawn = panel.tricontourf(
            Triangulation(x, y), 100 * values, np.linspace(0, 100 * high, 21), cmap="viridis"
        )
        panel.set_aspect("equal")
        panel.set_title(title, fontsize=9)
        panel.set_axis_off()
    panel.figure.colorbar(drawn, ax=list(axes), label="violated patterns (%)", shrink=0.85, format="%.2f")


def sights(axes: Sequence[Axes], found: Mapping[int, Sight], threshold: float | None, kappa: float) -> None:
    """Draw what robust solutions see by their margin (left), and pairs of typical ones by size (right).

    Margins that an instance has no solution of are left out; all instances of a size must share them.
    """
    if any((seen.margins != seen.margins[:1]).any() for seen in found.values()):
        raise ValueError("instances of a size must have the same margins, not levels of their own")
    left, right = axes
    for colour, (n, seen) in zip(plotting.colours(len(found)), found.items(), strict=True):
        full = np.isfinite(seen.share).all(0)
        if full.any():
            plotting.band(left, seen.margins[0][full], seen.share[:, full], colour=colour, label=f"N = {n}")
        plotting.dots(right, [n], seen.typical[:, None], color=colour)
    if threshold is not None and np.isfinite(threshold):
        left.axvline(threshold, color="black", ls="--", lw=1, label="theory")
    left.set(xlabel="margin of the robust solution", ylabel="share without a barrier", ylim=(0, 1.03))
    if left.get_legend_handles_labels()[1]:
        left.legend(fontsize=8)
    right.set(xlabel="N", ylabel="share without a barrier", xscale="log", ylim=(0, 1.03))
    right.set_xticks(list(found), [str(n) for n in found])
    right.minorticks_off()
    left.axvline(kappa, color="grey", lw=0.8, ls=":")


def core(
    axes: Sequence[Axes],
    alphas: Sequence[float],
    found: Mapping[float, Sight],
    line: Floats,
    stable: NDArray[np.bool_],
    limit: Floats,
    convex: Floats,
) -> None:
    """Draw the smallest margins that see `SEEN` of the typical solutions or of one another, by density.

    Parameters
    ----------
    axes
        Two panels.
    alphas
        Densities of the theory.
    found
        By density, what was sampled.
    line, limit, convex
        Star threshold, largest margin and convex threshold of theory at `alphas`.
    stable
        Where replica symmetry is stable.
    """
    left, right = axes
    for alpha, seen in found.items():
        smallest, mutual = seen.smallest(SEEN), seen.smallest(SEEN, mutual=True)
        left.plot(np.full(len(smallest), alpha), smallest, "o", ms=4, alpha=0.6, color="C0")
        left.plot(np.full(len(mutual), alpha), mutual, "^", ms=4, alpha=0.6, color="C2")
        left.plot(np.full(len(seen.best), alpha), seen.best, "x", ms=4, alpha=0.6, color="C3")
    for part, style in ((stable, "-"), (~stable, ":")):
        left.plot(alphas, np.where(part, line, np.nan), style, color="C0", lw=1.2)
    left.plot(alphas, limit, ":", color="C3", lw=1.2)
    left.plot(alphas, np.where(stable, convex, np.nan), "-", color="C2", lw=1.2)
    left.plot([], [], "o", color="C0", label="sees typical ones")
    left.plot([], [], "^", color="C2", label="see each other")
    left.plot([], [], "x", color="C3", label="largest, found")
    left.plot([], [], "-", color="grey", label="theory")
    left.plot([], [], ":", color="grey", label="theory, unstable")
    left.set(xlabel="$\\alpha$", ylabel="margin")
    left.legend(fontsize=7)
    for name, values in {
        "largest margin": [seen.best_share for seen in found.values()],
        "typical pairs": [seen.typical for seen in found.values()],
    }.items():
        table = np.full((max(map(len, values)), len(values)), np.nan)
        for k, row in enumerate(values):
            table[: len(row), k] = row
        plotting.band(right, list(found), table, label=name)
    right.set(xlabel="$\\alpha$", ylabel="share without a barrier", ylim=(0, 1.03))
    right.legend(fontsize=8)


def attraction(axes: Sequence[Axes], found: Attraction, walk: Floats) -> None:
    """Draw the largest barrier and the margin along gradient descent; a band for the random walk."""
    left, right = axes
    plotting.band(left, found.times, 100 * found.barrier.mean(1), label="gradient descent")
    still = statistics.mean(100 * walk)
    left.axhspan(float(still.low), float(still.high), color="grey", alpha=0.3, label="random walk, its end")
    left.set(xlabel="pass over the patterns", ylabel="largest barrier (%)", ylim=(0, None))
    left.legend(fontsize=8)
    plotting.band(right, found.times, found.margin.mean(1))
    right.set(xlabel="pass over the patterns", ylabel="margin")


def landing_table(found: Landing) -> Markdown:
    """Return margins and shares by algorithm, means over solved instances with intervals; none has dashes."""
    rows = []
    for k, name in enumerate(found.names):
        row = [name, f"{found.solved[k].mean():.0%}"]
        if not np.isfinite(found.margin[k]).any():
            rows.append([*row, "-", "-", "-", "-"])
            continue
        margin, share = statistics.mean(found.margin[k]), statistics.mean_share(found.share[k])
        height = statistics.mean(100 * found.height[k]).clipped(0, 100)
        for one, form in ((margin, ".3f"), (share, ".2f"), (height, ".2f")):
            row.append(f"{float(one.value):{form}} [{float(one.low):{form}}, {float(one.high):{form}}]")
        rows.append([*row, f"{float(statistics.mean(found.overlap[k]).value):.3f}"])
    heads = ["algorithm", "solved", "margin", "share without a barrier", "barrier (%)", "overlap"]
    return tables.markdown(heads, rows)


def networks(axes: Axes, shares: Mapping[str, Mapping[tuple[str, int], Floats]]) -> None:
    """Draw shares of barrier-free paths by kind of network and width, for several ways of following them."""
    keys = list(dict.fromkeys(key for rows in shares.values() for key in rows))
    places = np.linspace(-0.12, 0.12, len(shares))
    for shift, colour, (way, rows) in zip(places, plotting.colours(len(shares)), shares.items(), strict=True):
        for key in rows:
            free = statistics.proportion(rows[key])
            reach = np.array([[free.value - free.low], [free.high - free.value]])
            style: dict[str, Any] = {"fmt": "o", "ms": 4, "lw": 1.2, "capsize": 2, "color": colour}
            label = way if key == next(iter(rows)) else None
            axes.errorbar([keys.index(key) + shift], [float(free.value)], reach, label=label, **style)
    axes.set_xticks(range(len(keys)), [f"{name}\n{m} units" for name, m in keys])
    axes.set(ylabel="share without a barrier", ylim=(-0.03, 1.03))
    axes.legend(fontsize=8)


def network_table(
    found: Mapping[tuple[str, int], Removal], energies: Mapping[tuple[str, int], Floats]
) -> Markdown:
    """Return, by kind and width, pairs with two solved ends, shares and errors on their geodesics.

    `energies` are local energies of the training loss of the networks at the first ends, (R,) each.
    """
    rows = []
    for (name, m), one in found.items():
        solved = (one.error[0][:, [0, -1]] == 0).all(1)
        errors = one.error[one.of("both", "geodesic")][solved].max(1)
        row = [f"{name}, {m} units", f"{solved.sum()} of {len(solved)}"]
        if len(errors) > 1:
            for seen in (statistics.proportion(errors == 0), statistics.mean(100 * errors).clipped(0, 100)):
                row.append(f"{float(seen.value):.2f} [{float(seen.low):.2f}, {float(seen.high):.2f}]")
        else:
            row += ["-", "-"]
        test = 100 * one.test_error[0][:, 0][solved]
        rows.append([*row, f"{test.mean():.2f}" if len(test) else "-", f"{np.mean(energies[name, m]):.3f}"])
    heads = [
        "network", "pairs with two solutions", "share without a barrier", "largest training error (%)",
        "its test error (%)", "its local energy (nats)",
    ]  # fmt: skip
    return tables.markdown(heads, rows)


def contacts(
    axes: Sequence[Axes], sizes: Sequence[int], found: Mapping[str, Sequence[Jamming]], levels: ArrayLike
) -> None:
    """Draw contacts per degree of freedom against the size (left), and along compressions (right).

    Compressions that have not finished are left out on the left; those of the last size are on the right.
    """
    left, right = axes
    for colour, (name, rows) in zip(plotting.colours(len(found)), found.items(), strict=True):
        ended = [(n, one.z[one.finished]) for n, one in zip(sizes, rows, strict=True) if one.finished.any()]
        for k, (n, z) in enumerate(ended):
            plotting.dots(left, [n], z[:, None], color=colour, label="" if k else name)
        for energy, z in zip(rows[-1].path_energy, rows[-1].path_z, strict=True):
            right.plot(energy, z, "-", lw=0.7, alpha=0.6, color=colour)
    for level in np.atleast_1d(np.asarray(levels, float)):
        left.axhline(level, color="black", ls="--", lw=0.8)
    left.set(xlabel="N", ylabel="contacts per degree of freedom")
    left.legend(fontsize=8)
    right.set(xlabel="energy per weight", ylabel="contacts per degree of freedom", xscale="log")
    right.invert_xaxis()
