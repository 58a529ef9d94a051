"""Figures of glasses with a known answer, and of networks among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from scipy.stats import norm

from spinscape.companion import plotting
from spinscape.glasses.sherrington_kirkpatrick import Tempering
from spinscape.landscape.norm_mixture import NormMixture
from spinscape.landscape.null_overlaps import Null, draw
from spinscape.landscape.pairs import Pairs
from spinscape.landscape.power import ENOUGH, Calibration
from spinscape.networks.snapshots import Course
from spinscape.statistics import Estimate


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


def spread(axes: Axes, samples: ArrayLike, *, label: str, colour: str) -> None:
    """Draw the mean of curves ``(E, R)`` over R networks against the epoch, and one standard deviation."""
    rows = np.asarray(samples, float)
    epochs = np.arange(1, len(rows) + 1)
    centre, width = np.nanmean(rows, 1), np.nanstd(rows, 1)
    axes.plot(epochs, centre, color=colour, lw=1.4, label=label)
    low = np.maximum(centre - width, np.nanmin(rows, 1))
    axes.fill_between(
        epochs, low, np.minimum(centre + width, np.nanmax(rows, 1)), color=colour, alpha=0.2, lw=0
    )


def distance_histograms(
    items: Mapping[str, tuple[Pairs, Null]], *, draws: int = 100, columns: int = 3
) -> Figure:
    """Draw histograms of distances with their normal curves and what a null with smooth norms gives.

    Parameters
    ----------
    items
        States, and the null fitted to them, by the panel's name.
    draws
        Draws of the null for the band.
    columns
        Panels side by side.
    """
    rows = -(-len(items) // columns)
    figure, axes = plotting.panels(columns, rows=rows, height=2.4)
    for at in axes.flat[len(items) :]:
        at.set_visible(False)
    for at, (name, (pairs, null)) in zip(axes.flat, items.items(), strict=False):
        upper = np.triu_indices(pairs.replicas, 1)
        drawn = draw(null, draws, norms="smooth").distances[:, *upper]
        values = pairs.upper_distances
        edges = np.linspace(min(values.min(), drawn.min()), max(values.max(), drawn.max()), 41)
        heights = np.stack([np.histogram(row, edges, density=True)[0] for row in drawn])
        low, high = np.percentile(heights, (2.5, 97.5), axis=0)
        at.fill_between(edges, np.r_[low, low[-1]], np.r_[high, high[-1]], step="post", color="0.8", lw=0)
        at.stairs(np.histogram(values, edges, density=True)[0], edges, color="#33638d", lw=1.3)
        x = np.linspace(edges[0], edges[-1], 200)
        at.plot(x, norm.pdf(x, values.mean(), values.std(ddof=1)), color="#b5651d", lw=1.2)
        at.set(xlabel="distance", yticks=[], ylim=(0, None))
        at.text(0.03, 0.95, name, transform=at.transAxes, va="top", fontsize=8)
        at.grid(False)
    return figure


def norm_prediction(axes: Axes, found: NormMixture, label: str) -> None:
    """Draw the histogram of distances, what the norms alone predict, and a normal curve."""
    axes.stairs(found.mixture, found.edges, fill=True, color="#b5cde0")
    axes.stairs(found.measured, found.edges, color="#33638d", lw=1.3)
    centres = (found.edges[1:] + found.edges[:-1]) / 2
    axes.plot(centres, found.gaussian, color="#b5651d", ls="--", lw=1.2)
    axes.set(xlabel=label, yticks=[], ylim=(0, None))
    axes.grid(False)


def distance_course(axes: Axes, course: Course, marks: Sequence[int] = ()) -> None:
    """Draw the mean distance between networks against their mean training loss, with dots at some epochs."""
    loss = np.nanmean(course.history.train_loss, 1)
    at = course.measured - 1
    axes.plot(loss[at], course.distance_mean[at], color="#33638d", lw=1.4)
    chosen = [epoch - 1 for epoch in marks if epoch in course.measured]
    axes.plot(loss[chosen], course.distance_mean[chosen], "o", ms=5, color="#33638d")
    axes.set_xscale("log")
    axes.invert_xaxis()


def power_curves(axes: Sequence[Axes], rates: Calibration, verdicts: Sequence[str]) -> None:
    """Draw the power of some verdicts against the strength of planted clusters, one panel per kind."""
    for k, at in enumerate(axes):
        for name, colour in zip(verdicts, plotting.colours(len(verdicts)), strict=True):
            v = rates.verdicts.index(name)
            low, high = rates.power_interval[k, :, v].T
            at.plot(rates.strengths, rates.power[k, :, v], "o-", ms=3, lw=1.3, color=colour, label=name)
            at.fill_between(rates.strengths, low, high, color=colour, alpha=0.2, lw=0)
        at.axhline(ENOUGH, color="0.4", ls="--", lw=1)
        at.set(xlabel="strength of the clusters", ylim=(-0.03, 1.03))
        at.text(
            0.97,
            0.05,
            " x ".join(map(str, rates.branching[k])) + " clusters",
            transform=at.transAxes,
            ha="right",
        )
    axes[0].set_ylabel("share of sets with an alarm")
    axes[0].legend(fontsize=8)


def spread_against_size(axes: Axes, sizes: Sequence[int], curves: Mapping[str, Sequence[Estimate]]) -> None:
    """Draw estimates against a size on logarithmic axes; dotted, the power -1/2 from each start."""
    x = np.asarray(sizes, float)
    for (name, row), colour in zip(curves.items(), plotting.colours(len(curves)), strict=True):
        value, low, high = (
            np.array([float(getattr(one, part)) for one in row]) for part in ("value", "low", "high")
        )
        axes.errorbar(
            x,
            value,
            np.stack([value - low, high - value]).clip(0),
            fmt="o-",
            ms=4,
            lw=1.2,
            color=colour,
            label=name,
        )
        axes.plot(x, value[0] * np.sqrt(x[0] / x), ":", color=colour, lw=1)
    axes.set(xscale="log", yscale="log")
    axes.set_xticks(x, [str(size) for size in sizes])
    axes.minorticks_off()
    axes.legend(fontsize=8)
