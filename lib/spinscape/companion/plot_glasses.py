"""Figures of glasses with a known answer, and of networks among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator
from numpy.typing import ArrayLike
from scipy.stats import norm

from spinscape.companion import plotting
from spinscape.glasses.sherrington_kirkpatrick import Tempering
from spinscape.landscape.modality import PRINTED_BINS, histogram
from spinscape.landscape.norm_mixture import NormMixture
from spinscape.landscape.null_overlaps import Null, draw
from spinscape.landscape.overlap_shapes import OverlapShape
from spinscape.landscape.pairs import Pairs
from spinscape.landscape.power import ENOUGH, Calibration
from spinscape.networks.snapshots import Course
from spinscape.statistics import Estimate

VERDICTS = {
    "modality": "modes",
    "blocks": "tree as drawn",
    "structure": "structure",
    "hierarchy": "hierarchy",
}
"""What a figure calls the verdicts of `spinscape.landscape.power`."""

ROW = 0.9
"""Height of the highest curve of a row, in distances between rows."""

MOST_SPIKES = 4
"""So many spikes or more share a colour."""

MOST_TICKS = 4
"""Steps between labels of norms, whose decimals would touch one another in a narrow panel."""


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
    items: Mapping[str, tuple[Pairs, Null]],
    *,
    draws: int = 100,
    columns: int = 3,
    printed: Mapping[str, Mapping[str, tuple[float, float]]] | None = None,
) -> Figure:
    """Draw histograms of distances with their normal curves and what a null with smooth norms gives.

    Every panel says its mean and standard deviation.

    Parameters
    ----------
    items
        States, and the null fitted to them, by the panel's name.
    draws
        Draws of the null for the band.
    columns
        Panels side by side.
    printed
        Mean and standard deviation that the source prints, by the panel's name and the source's figure;
        panels may be missing.

    Raises
    ------
    ValueError
        If a printed name is no panel's.
    """
    known = dict(printed or {})
    if unknown := sorted(known.keys() - items.keys()):
        raise ValueError(f"printed names no panel: {', '.join(unknown)}")
    rows = -(-len(items) // columns)
    figure, axes = plotting.panels(columns, rows=rows, height=2.6)
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
        shares = np.histogram(values, edges, density=True)[0]
        at.stairs(shares, edges, color="#33638d", lw=1.3)
        x, mean, sd = np.linspace(edges[0], edges[-1], 200), values.mean(), values.std(ddof=1)
        curve = norm.pdf(x, mean, sd)
        at.plot(x, curve, color="#b5651d", lw=1.2)
        digits = _digits(sd)
        lines = [name, rf"$\mu$ / $\sigma$: {mean:.{digits}f} / {sd:.{digits}f}"]
        for number, (centre, deviation) in known.get(name, {}).items():
            lines.append(f"source, Figure {number}: {centre:.2f} / {deviation:.2f}")
        # The words stand above the curves.
        top = max(shares.max(), high.max(), curve.max()) * (1.1 + 0.13 * len(lines))
        at.set(xlabel="distance", yticks=[], ylim=(0, top))
        at.text(0.03, 0.98, "\n".join(lines), transform=at.transAxes, va="top", fontsize=8)
        at.grid(False)
    return figure


def printed_bins(
    axes: Axes, values: ArrayLike, bins: int = PRINTED_BINS, label: str = "distance", *, legend: bool = True
) -> None:
    """Draw one histogram with very many bins and one with those of Freedman and Diaconis, as densities.

    Parameters
    ----------
    axes
        Where to draw.
    values
        At least 2 numbers.
    bins
        The many; by default as many as the source has.
    label
        Name of the abscissa.
    legend
        Whether to say the numbers of bins.
    """
    many, few = histogram(values, bins), histogram(values)
    axes.stairs(
        many.density, many.edges, fill=True, color="0.75", label=f"{bins:,} bins", rasterized=bins > 500
    )
    axes.stairs(few.density, few.edges, color="#33638d", lw=1.4, label=f"{len(few.counts):,} bins")
    axes.set(xlabel=label, yticks=[])
    axes.set_ylim(0, max(many.density.max(), few.density.max()) * (1.3 if legend else 1.05))
    axes.grid(False)
    if legend:
        axes.legend(fontsize=8, ncols=2, loc="upper center")


def overlap_shapes(
    items: Mapping[str, OverlapShape], *, colours: Mapping[str, str], single: int = 3
) -> Figure:
    """Draw P(q) of models and networks on common axes, one row each: as it is, and standardised.

    Left the mean over instances (filled) and single instances (thin), right the mean (filled) and
    the band of the null for a mean of as many instances (between lines).
    Rows of the left panel have scales of their own, those of the right panel share one.
    Beside the name of a row stands its number of instances.

    Parameters
    ----------
    items
        Shapes by the row's name, from top to bottom.
    colours
        Colour by the row's name.
    single
        Number of single instances, where there are several.
    """
    figure, axes = plotting.panels(2, height=0.5 * len(items) + 0.8)
    left, right = axes[0]
    tallest = max(max(one.standard.max(), one.null.max()) for one in items.values())
    for row, (name, one) in enumerate(items.items()):
        colour, mean = colours[name], one.density.mean(0)
        left.fill_between(one.q, row, row - ROW * mean / mean.max(), color=colour, alpha=0.5, lw=0.8)
        for own in one.density[:single] if len(one.density) > 1 else ():
            left.plot(one.q, row - ROW * own / own.max(), lw=0.6, color="0.25")
        right.fill_between(one.x, row, row - ROW * one.standard / tallest, color=colour, alpha=0.5, lw=0.8)
        for edge in one.null:
            right.plot(one.x, row - ROW * edge / tallest, lw=0.9, color="0.15")
    words = [f"{name} ({one.counted})" for name, one in items.items()]
    for at, names in ((left, words), (right, [""] * len(items))):
        at.set_yticks(range(len(items)), names)
        at.set_ylim(len(items) - 0.9, -ROW - 0.1)
        at.grid(False, axis="y")
    left.set(xlabel="overlap $q$")
    right.set(xlabel="(overlap $-$ mean) / sd")
    return figure


def stopping(axes_row: Sequence[Axes], epochs: ArrayLike, pairs: Pairs, counts: ArrayLike) -> None:
    """Draw norms against stopping epochs, and mean distances to the other networks against norms.

    Parameters
    ----------
    axes_row
        Two panels.
    epochs
        In which each network stopped, ``(R,)``.
    pairs
        The networks as they were then.
    counts
        Number of spikes of each network's loss until then, which colours its dot, ``(R,)``.

    Raises
    ------
    ValueError
        If epochs or counts are not one per network.
    """
    stops, spikes = np.asarray(epochs), np.asarray(counts, int)
    if not stops.shape == spikes.shape == (pairs.replicas,):
        raise ValueError(f"epochs {stops.shape} and counts {spikes.shape} must be one per network")
    mean = pairs.distances.sum(1) / (pairs.replicas - 1)
    capped = np.minimum(spikes, MOST_SPIKES)
    groups = np.unique(capped)
    for count, colour in zip(groups, plotting.colours(len(groups)), strict=True):
        more = " or more" if (spikes > MOST_SPIKES).any() and count == MOST_SPIKES else ""
        which = capped == count
        marks: dict[str, Any] = {"ms": 4, "mew": 0, "alpha": 0.8, "color": colour}
        axes_row[0].plot(stops[which], pairs.norms[which], "o", label=f"{count}{more}", **marks)
        axes_row[1].plot(pairs.norms[which], mean[which], "o", **marks)
    axes_row[0].set(xlabel="stopping epoch", ylabel="norm of the weights")
    axes_row[1].set(xlabel="norm of the weights", ylabel="mean distance to the others")
    plotting.whole_numbers(axes_row[0])
    axes_row[1].xaxis.set_major_locator(MaxNLocator(MOST_TICKS))
    # Above the panel, where no dot is.
    axes_row[0].legend(
        title="spikes",
        fontsize=8,
        title_fontsize=8,
        ncols=len(groups),
        loc="lower left",
        bbox_to_anchor=(0, 1),
        columnspacing=1,
        handletextpad=0.1,
    )


def _digits(sd: float) -> int:
    """Digits after the point that show two of a standard deviation, at least 2."""
    return max(2, 1 - int(np.floor(np.log10(sd)))) if sd > 0 else 2


def norm_prediction(axes: Axes, found: NormMixture, label: str) -> None:
    """Draw the histogram of distances, what the norms alone predict, and a normal curve."""
    axes.stairs(found.mixture, found.edges, fill=True, color="#b5cde0")
    axes.stairs(found.measured, found.edges, color="#33638d", lw=1.3)
    centres = (found.edges[1:] + found.edges[:-1]) / 2
    axes.plot(centres, found.gaussian, color="#b5651d", ls="--", lw=1.2)
    axes.set(xlabel=label, yticks=[], ylim=(0, None))
    axes.grid(False)


def distance_course(axes: Axes, course: Course, *, label: str = "", colour: str = "#33638d") -> None:
    """Draw the mean distance between networks against their mean training loss, with a dot per epoch."""
    loss = np.nanmean(course.history.train_loss, 1)
    at = course.measured - 1
    axes.plot(loss[at], course.distance_mean[at], "o-", ms=3, color=colour, lw=1.2, label=label)
    axes.set_xscale("log")
    if not axes.xaxis_inverted():
        axes.invert_xaxis()


def kept_curves(axes_row: Sequence[Axes], loss: ArrayLike, norms: ArrayLike, spiked: ArrayLike) -> None:
    """Draw training losses and norms ``(E, R)`` against the epoch, brown where `spiked` ``(R,)`` is true."""
    rows = np.asarray(loss, float), np.asarray(norms, float)
    for r, late in enumerate(np.asarray(spiked, bool)):
        for at, values in zip(axes_row, rows, strict=True):
            at.plot(
                np.arange(1, 1 + len(values)), values[:, r], lw=0.8, color="#b5651d" if late else "#33638d"
            )
    axes_row[0].set(xlabel="epoch", ylabel="training loss (nats)", yscale="log")
    axes_row[1].set(xlabel="epoch", ylabel="norm of the weights")


def power_curves(axes: Sequence[Axes], rates: Calibration, verdicts: Sequence[str]) -> None:
    """Draw the power of some verdicts against the strength of planted clusters, one panel per kind.

    The legend stands below the panels.
    """
    for k, at in enumerate(axes):
        _power(at, rates, verdicts, k)
        at.set_title(r" $\times$ ".join(map(str, rates.branching[k])) + " clusters", loc="left", fontsize=10)
    _power_legend(axes, len(verdicts))


def power_of_sets(
    axes: Sequence[Axes], rates: Mapping[str, Calibration], verdicts: Sequence[str], kind: int = 0
) -> None:
    """Draw the power of some verdicts for one kind of planted clusters, one panel per set of states."""
    for at, (name, found) in zip(axes, rates.items(), strict=True):
        _power(at, found, verdicts, kind)
        at.set_title(name, loc="left", fontsize=10)
    _power_legend(axes, len(verdicts))


def _power(at: Axes, rates: Calibration, verdicts: Sequence[str], k: int) -> None:
    for name, colour in zip(verdicts, plotting.colours(len(verdicts)), strict=True):
        v = rates.verdicts.index(name)
        low, high = rates.power_interval[k, :, v].T
        at.plot(rates.strengths, rates.power[k, :, v], "o-", ms=3, lw=1.3, color=colour, label=VERDICTS[name])
        at.fill_between(rates.strengths, low, high, color=colour, alpha=0.2, lw=0)
        at.vlines(rates.strengths, low, high, color=colour, alpha=0.5, lw=1)
    at.axhline(ENOUGH, color="0.4", ls="--", lw=1)
    # Strengths that could not be planted keep their place.
    first, last = rates.strengths.min(), rates.strengths.max()
    margin = 0.05 * (last - first) or 0.1 * last
    at.set(xlabel="strength of the clusters", ylim=(-0.03, 1.03), xlim=(first - margin, last + margin))


def _power_legend(axes: Sequence[Axes], columns: int) -> None:
    axes[0].set_ylabel("share of sets with an alarm")
    handles, names = axes[0].get_legend_handles_labels()
    axes[0].figure.legend(handles, names, loc="outside lower center", ncols=columns, fontsize=8)


def spread_against_size(axes: Axes, sizes: Sequence[int], curves: Mapping[str, Sequence[Estimate]]) -> None:
    """Draw estimates against a size on logarithmic axes; dotted, the power -1/2 from each start.

    Sizes are labelled as they are, ordinates at 1, 2 and 5 of each decade.
    """
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
    plotting.sparse_log_ticks(axes)
    axes.set_xticks(x, [str(size) for size in sizes])
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_locator(NullLocator())
    axes.legend(fontsize=8)
