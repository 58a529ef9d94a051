"""Figures of paths between networks: profiles, barriers by what was removed, maps through three networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from matplotlib.tri import Triangulation
from numpy.typing import ArrayLike

from spinscape import statistics
from spinscape.companion import plotting
from spinscape.landscape.paths import WAYS, Removal, Triangle

SHORT = {"none": "as they are", "scales": "scaled", "order": "ordered", "both": "both"}
"""What was removed, for the labels of a narrow axis."""

SHORTEST = 0.2
"""Share of a value below which bars on a logarithmic axis are cut."""


def removals(axes: Sequence[Axes], found: Mapping[str, Removal], measure: str = "test_error") -> None:
    """Draw mean profiles, a panel for each way, a line with a 95% band over pairs for each algorithm.

    Parameters
    ----------
    axes
        As many panels as `WAYS`.
    found
        By name of the algorithm.
    measure
        A table of `Removal`; shares are drawn in percent.
    """
    factor = 100 if measure.endswith("error") else 1
    for w, (panel, (removed, path)) in enumerate(zip(axes, WAYS, strict=True)):
        for (name, one), colour in zip(found.items(), plotting.colours(len(found)), strict=True):
            plotting.band(panel, one.t, factor * getattr(one, measure)[w], label=name, colour=colour)
        panel.set_title(f"{SHORT[removed]}, {path}", fontsize=9)
        panel.set(xlabel="position on the path")


def barrier_dots(axes: Axes, found: Mapping[str, Removal], measure: str = "test_error") -> None:
    """Draw mean barriers over the line between the ends, with 95% intervals over pairs, by way.

    Parameters
    ----------
    axes
        Where to draw.
    found, measure
        As for :func:`removals`.
    """
    factor = 100 if measure.endswith("error") else 1
    places = np.arange(len(WAYS), dtype=float)
    for k, ((name, one), colour) in enumerate(zip(found.items(), plotting.colours(len(found)), strict=True)):
        rows = factor * one.barriers(measure).over_line.T
        plotting.dots(axes, places + 0.15 * (k - (len(found) - 1) / 2), rows, label=name, color=colour)
    labels = [f"{SHORT[removed]}\n{path}" for removed, path in WAYS]
    axes.set_xticks(places, labels, fontsize=8)


def against_width(
    axes: Axes, widths: Sequence[int], curves: Mapping[str, Sequence[statistics.Estimate]], **marks: Any
) -> None:
    """Draw estimates against the width on logarithmic axes, one colour for each name.

    A bar that reaches below a fifth of its value, where a logarithmic axis has no room for it, is cut there
    and ends in a triangle that points down.

    Parameters
    ----------
    axes
        Where to draw.
    widths
        Hidden units.
    curves
        By name, one estimate for each width.
    **marks
        Passed to matplotlib's ``errorbar``.
    """
    for (name, row), colour in zip(curves.items(), plotting.colours(len(curves)), strict=True):
        value, low, high = (
            np.array([float(getattr(one, part)) for one in row]) for part in ("value", "low", "high")
        )
        floor = np.maximum(low, SHORTEST * value)
        ends = np.nan_to_num([value - floor, high - value])
        style = {"fmt": "o-", "ms": 4, "lw": 1.2, "capsize": 2, **marks}
        axes.errorbar(widths, value, yerr=np.maximum(ends, 0), color=colour, label=name, **style)
        cut = low < floor
        axes.plot(np.asarray(widths)[cut], floor[cut], "v", ms=5, color=colour, label="_cut")
    axes.set(xscale="log", yscale="log", xlabel="hidden units $M$")
    axes.set_xticks(list(widths), [str(m) for m in widths], fontsize=8)
    axes.minorticks_off()


def triangles(
    axes: Sequence[Axes],
    found: Mapping[str, tuple[Triangle, ArrayLike]],
    *,
    label: str,
    highest: float | None = None,
) -> None:
    """Draw maps through three networks side by side, on one scale of colours, with the networks as dots.

    Parameters
    ----------
    axes
        One panel for each map.
    found
        By title, a triangle and the values at the points of its first path, ``(K,)``.
    label
        Name of what the colours show.
    highest
        Value from which on colours stay the same; by default the largest one.
    """
    tables = [np.asarray(values, float) for _, values in found.values()]
    low = min(float(np.nanmin(table)) for table in tables)
    high = highest or max(float(np.nanmax(table)) for table in tables)
    for panel, (title, (one, _)), table in zip(axes, found.items(), tables, strict=True):
        shown = np.clip(table, low, high)
        lattice = Triangulation(one.x[0], one.y[0], one.cells)
        drawn = panel.tricontourf(lattice, shown, np.linspace(low, high, 21), cmap="viridis")
        panel.plot(*one.corners[0].T, "o", ms=5, color="white", mec="black", mew=0.8)
        panel.set_aspect("equal")
        panel.set_title(title, fontsize=9)
        panel.grid(False)
    panel.figure.colorbar(drawn, ax=list(axes), label=label, shrink=0.85, ticks=MaxNLocator(6))
