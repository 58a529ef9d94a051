"""Figures in one style: no titles inside plots, intervals as bands, colours that all eyes can tell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter
from numpy.typing import ArrayLike, NDArray

from spinscape import statistics
from spinscape.landscape.relief import minima_mask

INK = "#333333"

STYLE: dict[str, Any] = {
    "figure.dpi": 110,
    "figure.constrained_layout.use": True,
    "font.size": 10,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "svg.hashsalt": "spinscape",
}


def use_style() -> None:
    """Set the book's style for all figures of a chapter."""
    plt.style.use(STYLE)


def colours(n: int) -> list[str]:
    """Return n ordered colours, dark to light, that differ in lightness as well as in hue."""
    return [to_hex(plt.get_cmap("viridis")(v)) for v in np.linspace(0.0, 0.85, n)]


def panels(columns: int, *, rows: int = 1, height: float = 3.0) -> tuple[Figure, Any]:
    """Open a figure of one page's width with a row or a grid of panels."""
    return plt.subplots(rows, columns, figsize=(8.2, height * rows), squeeze=False)


def band(
    axes: Axes,
    x: ArrayLike,
    samples: ArrayLike,
    *,
    label: str = "",
    colour: Any = None,
    **line: Any,
) -> None:
    """Draw the mean over seeds as a line and its 95% interval as a band.

    Parameters
    ----------
    axes
        Where to draw.
    x
        Shape (T,).
    samples
        Shape (n, T); the first axis runs over independent seeds.
    label
        Entry in the legend.
    colour
        Any colour of matplotlib's.
    **line
        Passed to the line.
    """
    found = statistics.mean(samples)
    (drawn,) = axes.plot(x, found.value, color=colour, label=label or None, **line)
    axes.fill_between(np.asarray(x, float), found.low, found.high, color=drawn.get_color(), alpha=0.2, lw=0)


def bands(
    axes: Axes,
    x: ArrayLike,
    samples: ArrayLike,
    labels: Sequence[str],
    *,
    legend: str | None = None,
    **line: Any,
) -> None:
    """Draw one `band` per condition, in ordered colours.

    Parameters
    ----------
    axes
        Where to draw.
    x
        Shape (T,), or (S, T) where the conditions have abscissas of their own.
    samples
        Shape (S, n, T): conditions by independent seeds by points.
    labels
        One per condition.
    legend
        The legend's title; no legend where it is None.
    **line
        Passed to the lines.
    """
    table = np.asarray(samples, float)
    abscissas = np.broadcast_to(np.asarray(x, float), (len(table), table.shape[-1]))
    for at, rows, label, colour in zip(abscissas, table, labels, colours(len(table)), strict=True):
        band(axes, at, rows, label=label, colour=colour, **line)
    if legend is not None:
        axes.legend(title=legend, fontsize=8, title_fontsize=8)


def histograms(
    axes: Axes, samples: Sequence[ArrayLike], labels: Sequence[Any], *, legend: str, bins: int = 24
) -> None:
    """Draw one stepped histogram per condition over common bins, as densities in ordered colours.

    Parameters
    ----------
    axes
        Where to draw.
    samples
        The values of each condition; those not finite are left out.
    labels
        One per condition.
    legend
        The legend's title.
    bins
        Number of bins between the smallest and the largest value.
    """
    rows = [np.asarray(row, float) for row in samples]
    rows = [row[np.isfinite(row)] for row in rows]
    edges = np.histogram_bin_edges(np.concatenate(rows), bins).tolist()
    for row, label, colour in zip(rows, labels, colours(len(rows)), strict=True):
        axes.hist(row, edges, density=True, histtype="step", lw=1.4, color=colour, label=str(label))
    axes.legend(title=legend, fontsize=8, title_fontsize=8)


def maps(axes: Sequence[Axes], coordinates: ArrayLike, values: ArrayLike, *, label: str) -> None:
    """Draw surfaces as filled contours side by side, with their inner local minima as white dots.

    Parameters
    ----------
    axes
        One panel per surface.
    coordinates
        Shape (G,), of both directions.
    values
        Shape (K, G, G); the first direction runs upwards.
    label
        Name of what the colours show, with its unit.
    """
    at = np.asarray(coordinates, float)
    surfaces = np.asarray(values, float)
    levels = np.linspace(np.nanmin(surfaces), np.nanmax(surfaces), 25)
    for panel, surface in zip(axes, surfaces, strict=True):
        drawn = panel.contourf(at, at, surface, levels, cmap="viridis")
        rows, columns = np.nonzero(minima_mask(surface))
        panel.plot(at[columns], at[rows], "wo", ms=4, mec="k", mew=0.5)
        panel.set_aspect("equal")
        panel.grid(False)
    panel.figure.colorbar(drawn, ax=list(axes), label=label, shrink=0.9)


def dots(
    axes: Axes, x: ArrayLike, samples: ArrayLike, *, label: str = "", log: bool = False, **marks: Any
) -> None:
    """Draw the means over seeds as dots with their 95% intervals as bars.

    Parameters
    ----------
    axes
        Where to draw.
    x
        Shape (T,).
    samples
        Shape (n, T); the first axis runs over independent seeds.
    label
        Entry in the legend.
    log
        Whether to draw the geometric mean, with the interval of the mean logarithm, for a logarithmic axis.
    **marks
        Passed to matplotlib's ``errorbar``.
    """
    found = statistics.mean(np.log(samples) if log else samples)
    value, low, high = (np.exp(v) if log else v for v in (found.value, found.low, found.high))
    ends = np.nan_to_num([value - low, high - value])
    style = {"fmt": "o", "ms": 4, "lw": 1.2, "capsize": 2, "label": label or None, **marks}
    axes.errorbar(np.asarray(x, float), value, yerr=np.maximum(ends, 0), **style)


def whole_numbers(axes: Any) -> None:
    """Tick the abscissas of a grid of panels at whole numbers only."""
    for at in np.ravel(axes):
        at.xaxis.set_major_locator(MaxNLocator(integer=True))


def sparse_log_ticks(axes: Axes) -> None:
    """Label logarithmic axes at 1, 2 and 5 of each decade only, as plain numbers."""
    for axis in (axes.xaxis, axes.yaxis):
        if axis.get_scale() == "log":
            axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axis.set_major_formatter("{x:g}")
            axis.set_minor_formatter(NullFormatter())


def log_density(values: ArrayLike, bins: ArrayLike) -> NDArray[np.float64]:
    """Return the density per decade of positive values, for a logarithmic abscissa.

    Parameters
    ----------
    values
        Any shape; zeros count in the total and lie in no bin.
    bins
        Edges, positive and increasing, shape (B + 1,).

    Returns
    -------
    ndarray
        Shape (B,); its sum times the bins' width in decades is the share of values within the edges.
    """
    counts, edges = np.histogram(np.asarray(values, float), bins=np.asarray(bins, float))
    return counts / np.size(values) / np.diff(np.log10(edges))
