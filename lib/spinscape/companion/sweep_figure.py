"""Figures of a sweep: one panel per recorded number over the grid."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from spinscape import statistics
from spinscape.companion import plotting
from spinscape.companion.layout import word
from spinscape.companion.sweep import Table

SEED = "seed"
"""An axis of this name holds repetitions: its values share a series, and a line joins their means."""

_COLUMNS = 3
_LOGARITHMIC = 8.0
_MOST_TICKS = 6

# How many characters of a legend fit side by side, and what a line beside its label takes.
_LEGEND_CHARACTERS, _LEGEND_HANDLE = 95, 8


def split_axes(axes: Mapping[str, list[Any]]) -> tuple[str, list[str]]:
    """Choose what runs across a panel and what makes series; the seed repeats.

    Returns
    -------
    across : str
        The axis with the most values among those that are numbers and no seed, else the first.
    series : list of str
        The other axes but the seed.
    """
    free = [name for name in axes if name != SEED] or list(axes)
    numeric = [name for name in free if are_numbers(axes[name])]
    across = max(numeric or free, key=lambda name: len(axes[name]))
    return across, [name for name in free if name != across]


def are_numbers(values: list[Any]) -> bool:
    """Whether all values are numbers that can stand on an axis."""
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def draw(table: Table, panels: Mapping[str, str], path: Path) -> None:
    """Draw a panel for each of some columns and save the figure.

    Parameters
    ----------
    table
        The sweep.
    panels
        Column -> name of its panel.
    path
        Where the figure goes; the suffix says in which format.
    """
    plotting.use_style()
    columns = min(_COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure, axes = plt.subplots(rows, columns, figsize=(8.2, 2.6 * rows), squeeze=False)
    across, series = split_axes(table.axes)
    values = table.axes[across]
    alone = across == SEED
    numeric = are_numbers(values) and not alone
    places = np.array(values, float) if numeric else np.arange(len(values), dtype=float)
    logarithmic = numeric and places.min() > 0 and places.max() / places.min() >= _LOGARITHMIC
    x = np.array([places[values.index(value)] for value in table.column(across)])
    aside = spread(x, logarithmic)
    groups = list(zip(*(map(word, table.column(name)) for name in series), strict=True)) or [()] * len(x)
    colours = dict(zip(dict.fromkeys(groups), plotting.colours(len(set(groups))), strict=True))
    for at, (column, name) in zip(axes.flat, panels.items(), strict=False):
        for group, colour in colours.items():
            here = np.array([other == group for other in groups])
            label = ", ".join(f"{n} {value}" for n, value in zip(series, group, strict=True))
            y, low, high = (part[here] for part in _column(table, column))
            _runs(at, aside[here], y, low, high, colour)
            if alone:
                _mean(at, y, colour)
            else:
                _line(at, x[here], y, label, colour)
        at.set(xlabel=across, ylabel=name)
        if logarithmic:
            at.set_xscale("log")
            at.minorticks_off()
        if not numeric or len(values) <= _MOST_TICKS:
            at.set_xticks(places, [f"{v:g}" if numeric else word(v) for v in values])
    for spare in axes.flat[len(panels) :]:
        spare.set_visible(False)
    if series:
        handles, labels = axes[0, 0].get_legend_handles_labels()
        fitting = max(1, _LEGEND_CHARACTERS // (max(map(len, labels)) + _LEGEND_HANDLE))
        figure.legend(handles, labels, loc="outside upper left", ncols=min(fitting, len(labels)))
    figure.savefig(path)
    plt.close(figure)


def _column(table: Table, name: str) -> list[Any]:
    """Values and ends of the intervals of one column, NaN where there are none."""
    found = []
    for column in (name, f"{name}.low", f"{name}.high"):
        entries = table.column(column) if column in table.columns else [None] * len(table.rows)
        found.append(np.array([math.nan if entry is None else entry for entry in entries], float))
    return found


def spread(x: Any, logarithmic: bool = False) -> Any:
    """Move points that share a place a little aside, so that all can be seen.

    Parameters
    ----------
    x
        Shape (points,).
    logarithmic
        Whether the axis is.
    """
    at = np.log(x) if logarithmic else np.asarray(x, float)
    ordered = np.unique(at)
    if len(ordered) == len(at):
        return x
    span = np.ptp(ordered) or 1.0
    width = min(0.08 * span, 0.5 * np.diff(ordered).min(initial=span))
    moved = at.copy()
    for place in ordered:
        (here,) = np.nonzero(at == place)
        moved[here] += width * (np.arange(len(here)) - (len(here) - 1) / 2) / max(1, len(here) - 1)
    return np.exp(moved) if logarithmic else moved


def _runs(at: Axes, x: Any, y: Any, low: Any, high: Any, colour: Any) -> None:
    """Draw the runs' values with the intervals that they recorded."""
    at.vlines(x, low, high, color=colour, lw=1.0, alpha=0.45)
    at.plot(x, y, "o", color=colour, ms=3.5, alpha=0.7)


def _line(at: Axes, x: Any, y: Any, label: str, colour: Any) -> None:
    """Join the means of the runs at each place."""
    finite = np.isfinite(y)
    ordered = np.unique(x[finite])
    at.plot(
        ordered, [y[finite & (x == place)].mean() for place in ordered], color=colour, lw=1.2, label=label
    )


def _mean(at: Axes, y: Any, colour: Any) -> None:
    """Draw the mean over repetitions, with its 95% interval as a band."""
    found = statistics.mean(y[np.isfinite(y)]) if np.isfinite(y).sum() > 1 else None
    if found is not None:
        at.axhline(float(found.value), color=colour, lw=1.2)
        at.axhspan(float(found.low), float(found.high), color=colour, alpha=0.15, lw=0)
