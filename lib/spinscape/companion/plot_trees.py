"""Figures of hierarchies: dendrograms, matrices in the order of their leaves, and planes of triples.

Every set of states in a figure is drawn alike, on common scales, so that data can be read beside their null.
Dark is close, as in Liao et al. 2024, Figure 5.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from spinscape.companion import plotting
from spinscape.landscape.hierarchy import Tree, clusters, tree
from spinscape.landscape.pairs import Pairs
from spinscape.landscape.triples import Triples

Floats = NDArray[np.float64]

TAIL = 1.0
"""Percent of the entries that may lie beyond either end of a colour scale."""

MARGIN = 0.1
"""How far the axis of heights goes below the lowest merge, as a share of the range of heights."""

SCALES = ("mean", "sd", "own")


def dendrogram(axes: Axes, found: Tree, *, parts: int = 1, origin: float = 0.0, unit: float = 1.0) -> None:
    """Draw a tree with its leaves at 0.5, 1.5, ..., as the rows and columns of `ordered_matrix` lie.

    The axis of heights begins a little below the lowest merge, not at 0.

    Parameters
    ----------
    axes
        Where to draw.
    found
        A tree of R states.
    parts
        Number of clusters whose branches get colours of their own; the branches above them are grey.
    origin, unit
        What is taken off heights, and what they are divided by then.

    Raises
    ------
    ValueError
        If `parts` is not from 1 to R, or the unit not positive.
    """
    if not unit > 0:
        raise ValueError(f"unit must be positive, not {unit}")
    states = found.replicas
    labels = clusters(found, parts)
    hues = plotting.colours(parts) if parts > 1 else [plotting.INK]
    tops = (found.linkage[:, 2] - origin) / unit
    at, height = np.empty(2 * states - 1), np.full(2 * states - 1, -origin / unit)
    height[states:] = tops
    at[found.order] = np.arange(states) + 0.5
    some = np.arange(2 * states - 1)
    paths, drawn = [], []
    for merge, (i, j) in enumerate(found.linkage[:, :2].astype(int)):
        node, top = states + merge, tops[merge]
        at[node], some[node] = (at[i] + at[j]) / 2, some[i]
        paths.append([(at[i], height[i]), (at[i], top), (at[j], top), (at[j], height[j])])
        # The first merges make the clusters, the last ones join them.
        drawn.append(hues[labels[some[node]]] if merge < states - parts else "#8a8a8a")
    width = float(np.clip(90 / states, 0.5, 1.4))
    axes.add_collection(LineCollection(paths, colors=drawn, linewidths=width, capstyle="projecting"))
    axes.set(xlim=(0, states), ylim=_ends(tops, height[0]), xticks=[])
    axes.yaxis.set_major_locator(_ticks())
    axes.grid(axis="x", visible=False)
    axes.spines["bottom"].set_visible(False)


def ordered_matrix(
    axes: Axes,
    matrix: ArrayLike,
    order: ArrayLike,
    *,
    limits: tuple[float, float] | None = None,
    label: str = "",
    overlaps: bool = False,
) -> AxesImage:
    """Draw a matrix of pairs with rows and columns in a given order, the first at the top left.

    Parameters
    ----------
    axes
        Where to draw.
    matrix
        Shape (R, R).
    order
        The states from first to last, shape (R,), such as a tree's leaves.
    limits
        Ends of the colour scale; by default those of `spread`.
    label
        Name of what the colours show, for a scale of the panel's own; no scale without it.
    overlaps
        Whether large entries, not small ones, are close.

    Raises
    ------
    ValueError
        If the order is not one of R states.
    """
    m, leaves = np.asarray(matrix, float), np.asarray(order)
    if m.ndim != 2 or m.shape[0] != m.shape[1] or sorted(leaves.tolist()) != list(range(len(m))):
        raise ValueError(f"order must be one of the rows of a square matrix, not of shape {leaves.shape}")
    low, high = spread([m]) if limits is None else limits
    image = axes.imshow(
        m[np.ix_(leaves, leaves)],
        cmap="viridis_r" if overlaps else "viridis",
        vmin=low,
        vmax=high,
        extent=(0, len(m), len(m), 0),
        interpolation="nearest" if len(m) < 100 else "antialiased",
    )
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    if label:
        _scale(image, [axes], label)
    return image


def spread(matrices: Sequence[ArrayLike]) -> tuple[float, float]:
    """Return the ends of a common colour scale: nearly all entries off the diagonals lie between them."""
    entries = [np.asarray(m, float)[~np.eye(len(np.asarray(m)), dtype=bool)] for m in matrices]
    ends = np.array([np.percentile(row, (TAIL, 100 - TAIL)) for row in entries])
    low, high = float(ends[:, 0].min()), float(ends[:, 1].max())
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def tree_and_matrices(
    items: Mapping[str, Pairs | ArrayLike],
    *,
    parts: int = 1,
    scale: str = "mean",
    shared: bool = True,
    optimal: bool = False,
) -> Figure:
    """Draw a row per set of states: its dendrogram, its distances in that order, its cophenetic distances.

    Parameters
    ----------
    items
        `Pairs`, or distances (R, R), by name; R may differ.
    parts
        Number of clusters that the dendrograms colour.
    scale
        What distances and heights are told in, so that sets of different sizes share their scales:
        ``"mean"``, the mean distance of the set; ``"sd"``, standard deviations of the set's distances from
        their mean; ``"own"``, as they are.
    shared
        Whether the rows share their scales of heights and of colours; else every panel has its own, which
        shows what little structure there is in any data.
    optimal
        As in `tree`.

    Raises
    ------
    ValueError
        If there is no item, one holds no distances or none that differ, or the scale is unknown.
    """
    if not items:
        raise ValueError("no sets of states to draw")
    if scale not in SCALES:
        raise ValueError(f"scale must be one of {', '.join(SCALES)}, not {scale!r}")
    distances = [np.asarray(v.distances if isinstance(v, Pairs) else v, float) for v in items.values()]
    found = [tree(d, optimal=optimal) for d in distances]
    lines = [_line(d, scale) for d in distances]
    figure, axes = plotting.panels(3, rows=len(items), height=2.8 if shared else 3.1)
    of = {"mean": " / mean", "sd": " less mean (sd)", "own": ""}[scale]
    columns = (
        ("distance" + of, [(d - o) / u for d, (o, u) in zip(distances, lines, strict=True)]),
        (
            "cophenetic distance" + of,
            [(t.cophenetic - o) / u for t, (o, u) in zip(found, lines, strict=True)],
        ),
    )
    tops = np.concatenate([(t.linkage[:, 2] - o) / u for t, (o, u) in zip(found, lines, strict=True)])
    for row, name, one, (origin, unit) in zip(axes, items, found, lines, strict=True):
        dendrogram(row[0], one, parts=min(parts, one.replicas), origin=origin, unit=unit)
        row[0].set_ylabel("height" + of.replace("mean", "mean distance"))
        row[0].set_title(name, loc="left", fontsize=10)
        if shared:
            row[0].set_ylim(_ends(tops, max(-o / u for o, u in lines)))
    for column, (label, matrices) in enumerate(columns, 1):
        limits = spread(matrices) if shared else None
        for row, one, m in zip(axes, found, matrices, strict=True):
            image = ordered_matrix(row[column], m, one.order, limits=limits, label="" if shared else label)
        if shared:
            _scale(image, list(axes[:, column]), label)
    return figure


def overlap_matrices(
    items: Mapping[str, Pairs | ArrayLike], *, order: str = "tree", columns: int = 3, label: str = "overlap"
) -> Figure:
    """Draw matrices of overlaps side by side on one scale, as Figure 1 of Liao et al. 2024 draws them.

    Parameters
    ----------
    items
        `Pairs`, or overlaps (R, R), by name; R may differ.
    order
        ``"tree"``: that of the leaves of Ward's tree of ``sqrt(2 - 2 q)``; ``"given"``: as they come.
    columns
        Panels side by side.
    label
        Name of what the colours show.

    Raises
    ------
    ValueError
        If there is no item, one holds no overlaps, or the order is unknown.
    """
    if not items:
        raise ValueError("no overlaps to draw")
    if order not in ("tree", "given"):
        raise ValueError(f"order must be 'tree' or 'given', not {order!r}")
    sets = [Pairs.from_overlaps(v.overlaps if isinstance(v, Pairs) else v) for v in items.values()]
    columns = min(columns, len(sets))
    figure, axes = plotting.panels(columns, rows=-(-len(sets) // columns), height=8.2 / columns + 0.5)
    limits = spread([s.overlaps for s in sets])
    for panel in axes.flat[len(sets) :]:
        panel.set_axis_off()
    for panel, name, one in zip(axes.flat, items, sets, strict=False):
        leaves = tree(one).order if order == "tree" else np.arange(one.replicas)
        image = ordered_matrix(panel, one.overlaps, leaves, limits=limits, overlaps=True)
        panel.set_title(name, loc="left", fontsize=10)
    _scale(image, list(axes.flat), label, aspect=15 * columns)
    return figure


def triple_planes(items: Mapping[str, Triples], *, columns: int = 3, largest: float = 4.0) -> Figure:
    """Draw the densities of triples over B and K side by side on one scale.

    An ultrametric space lies on the bottom edge, independent normals on both sides of the dashed diagonal
    alike.

    Parameters
    ----------
    items
        Triples by name.
    columns
        Panels side by side.
    largest
        Where both axes end, in standard deviations of a side.

    Raises
    ------
    ValueError
        If there is no item.
    """
    if not items:
        raise ValueError("no triples to draw")
    edges = np.linspace(0, largest, 41)
    columns = min(columns, len(items))
    rows = -(-len(items) // columns)
    figure, axes = plotting.panels(columns, rows=rows, height=8.2 / columns + 0.5)
    planes = [one.plane(edges) for one in items.values()]
    sides = (
        ("B: middle less shortest (sd)", "K: longest less middle (sd)")
        if columns < 4
        else ("B (sd)", "K (sd)")
    )
    # A root makes the tails visible beside the peaks.
    ticks = np.array([0.01, 0.1, 0.3, 1, 3, 10, 30, 100])
    top = max(float(p.max()) for p in planes)
    for panel in axes.flat[len(items) :]:
        panel.set_axis_off()
    for k, (panel, name, plane) in enumerate(zip(axes.flat, items, planes, strict=False)):
        image = panel.pcolormesh(edges, edges, np.sqrt(plane.T), cmap="viridis", vmin=0, vmax=top**0.5)
        panel.plot([0, largest], [0, largest], color="white", lw=1, ls="--")
        panel.set_aspect("equal")
        panel.grid(False)
        panel.set_title(name, loc="left", fontsize=10)
        panel.set(xlabel=sides[0], ylabel="" if k % columns else sides[1])
    bar = _scale(image, list(axes.flat), "density of triples", aspect=15 * columns)
    shown = ticks[ticks <= top]
    bar.set_ticks(np.sqrt(shown).tolist(), labels=[f"{t:g}" for t in shown])
    return figure


def _scale(image: Any, axes: list[Axes], label: str, *, aspect: int = 20) -> Any:
    """Add a colour scale below panels, with arrows where colours go on."""
    low, high = image.get_clim()
    values = np.asarray(image.get_array())
    diagonal = {(True, False): "min", (False, True): "max", (True, True): "both"}
    beyond = diagonal.get((bool(values.min() < low), bool(values.max() > high)), "neither")
    bar = axes[0].figure.colorbar(
        image, ax=axes, label=label, location="bottom", extend=beyond, shrink=0.9, aspect=aspect, pad=0.02
    )
    bar.locator = _ticks()
    bar.update_ticks()
    bar.outline.set_visible(False)
    return bar


def _ticks() -> MaxNLocator:
    return MaxNLocator(4, steps=[1, 2, 5, 10])


def _line(distances: Floats, scale: str) -> tuple[float, float]:
    """Return what is taken off distances, and what they are divided by then."""
    entries = distances[~np.eye(len(distances), dtype=bool)]
    mean, sd = float(entries.mean()), float(entries.std())
    if scale == "mean" and not mean > 0:
        raise ValueError("all distances of a set are 0")
    if scale == "sd" and not sd > 1e-12 * mean:
        raise ValueError("all distances of a set are alike")
    return {"mean": (0.0, mean), "sd": (mean, sd), "own": (0.0, 1.0)}[scale]


def _ends(tops: Floats, leaves: float) -> tuple[float, float]:
    """Return the ends of an axis of heights, not below the leaves."""
    low, high = float(tops.min()), float(tops.max())
    span = high - low if high > low else max(low - leaves, 1.0)
    return max(low - MARGIN * span, leaves), high + 0.04 * span
