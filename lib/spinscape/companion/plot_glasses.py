"""Figures of glasses with a known answer, and of networks among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from spinscape.companion import plotting
from spinscape.glasses.sherrington_kirkpatrick import Tempering


def overlap_distributions(
    axes: Axes, found: Tempering, temperatures: Sequence[float], *, single: int = 0, bins: int = 25
) -> None:
    """Draw P(q) at some temperatures: means over instances, and single instances at the first.

    Parameters
    ----------
    axes
        Where to draw.
    found
        What parallel tempering found.
    temperatures
        Some of its temperatures; the nearest ones are taken.
    single
        Number of instances that get a thin line of their own at the first temperature.
    bins
        Number of bins of the overlap.
    """
    edges, density = found.density(bins)
    centres = (edges[1:] + edges[:-1]) / 2
    places = [int(np.abs(found.temperatures - wanted).argmin()) for wanted in temperatures]
    shades = plotting.colours(len(places))
    for row in density[:single, places[0]]:
        axes.plot(centres, row, lw=0.7, color="0.6")
    for place, colour in zip(places, shades, strict=True):
        label = f"$T$ = {found.temperatures[place]:.2f}"
        plotting.band(axes, centres, density[:, place], label=label, colour=colour)
    axes.set(xlabel="overlap $q$", ylabel="density $P(q)$")
    axes.set_ylim(0, 1.15 * max(density[:, place].mean(0).max() for place in places))
    axes.legend(fontsize=8)


def strips(
    panels: Sequence[tuple[str, Mapping[str, ArrayLike], float | None]],
    *,
    colours: Mapping[str, str],
    log: Sequence[bool] = (),
) -> Figure:
    """Draw numbers of many cases as dots on one row per case, in panels that share the rows.

    Parameters
    ----------
    panels
        Name of the abscissa, values by case, and where a vertical line stands; a case that is missing from a
        panel leaves its row empty there.
    colours
        Colour by case, which also says what the rows are, from top to bottom.
    log
        Which panels have a logarithmic abscissa.
    """
    names = list(colours)
    figure, axes = plotting.panels(len(panels), height=0.42 * len(names) + 1.0)
    for k, (at, (label, values, line)) in enumerate(zip(axes[0], panels, strict=True)):
        for row, name in enumerate(names):
            x = np.ravel(np.asarray(values.get(name, ()), float))
            # Dots that would hide one another are set off, always in the same way.
            offset = 0.3 * (((np.arange(len(x)) * 0.618) % 1) - 0.5) if len(x) > 1 else np.zeros(len(x))
            at.plot(x, row + offset, "o", ms=4, alpha=0.75, mew=0, color=colours[name])
        if line is not None:
            at.axvline(line, color="0.3", lw=1, ls="--")
        if k < len(log) and log[k]:
            at.set_xscale("log")
        at.set(xlabel=label, ylim=(len(names) - 0.5, -0.5))
        at.set_yticks(range(len(names)), names if k == 0 else [""] * len(names))
    return figure
