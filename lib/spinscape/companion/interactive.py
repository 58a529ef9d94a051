"""Surfaces that turn in the page.

A cell leaves one HTML output: a static picture, and the values in a block of data.
Where the page is open in a browser with WebGL, ``surfaces.js`` puts plotly surfaces in the picture's place.
The picture remains for print, without scripts and outside of the site.
Both scripts come with the site (see `sphinx_scripts`), so nothing is fetched from elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spinscape.companion.embedded import LEVELS, check_words, figure_html, parts, png, short, show

MARK = 'class="spinscape-surfaces"'
"""What a page has in it where `surfaces.js` is needed."""

LARGEST = 200 * 200
"""Points that one surface may have."""


def surfaces(
    items: Sequence[tuple[ArrayLike, ArrayLike, ArrayLike, str]],
    *,
    alt: str,
    axes: tuple[str, str, str] = ("first direction", "second direction", "loss"),
    caption: str = "",
) -> None:
    """Show surfaces side by side that a reader can turn.

    Parameters
    ----------
    items
        For each surface the coordinates x ``(M,)`` and y ``(N,)``, the heights z ``(M, N)`` at them, and its
        label. Heights that are not finite leave holes.
    alt
        What the surfaces show, in words, for those who do not see them.
    axes
        Labels of x, y and z.
    caption
        A line below, plain text.

    Raises
    ------
    ValueError
        If shapes do not fit, coordinates do not increase, a surface has no finite height or too many points,
        or the words are missing.
    """
    show(page_html(items, alt=alt, axes=axes, caption=caption), alt)


def page_html(
    items: Sequence[tuple[ArrayLike, ArrayLike, ArrayLike, str]],
    *,
    alt: str,
    axes: tuple[str, str, str],
    caption: str = "",
) -> str:
    """Return what :func:`surfaces` shows."""
    if not items:
        raise ValueError("there is no surface to show")
    check_words(alt, "surfaces")
    checked = [_checked(*item) for item in items]
    data = {"axes": list(axes), "surfaces": [_packed(*item) for item in checked]}
    return figure_html(MARK, data, _picture(checked, axes), alt=alt, caption=caption)


Item = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], str]


def _checked(x: ArrayLike, y: ArrayLike, z: ArrayLike, label: str) -> Item:
    across, along, heights = (np.asarray(values, float) for values in (x, y, z))
    if across.ndim != 1 or along.ndim != 1 or heights.shape != (len(across), len(along)):
        raise ValueError(
            f"{label}: x (M,), y (N,) and z (M, N) do not fit: {across.shape}, {along.shape}, {heights.shape}"
        )
    if heights.size > LARGEST:
        raise ValueError(f"{label}: {heights.size} points are more than the {LARGEST} that a page can carry")
    for values in (across, along):
        if len(values) < 2 or not np.isfinite(values).all() or not (np.diff(values) > 0).all():
            raise ValueError(f"{label}: coordinates must be at least two, finite and increasing")
    if not np.isfinite(heights).any():
        raise ValueError(f"{label}: no height is finite")
    return across, along, heights, label


def _packed(x: NDArray[np.float64], y: NDArray[np.float64], z: NDArray[np.float64], label: str) -> Any:
    """Return a surface as whole numbers of parts of its range, rows along y as plotly has them."""
    finite = np.isfinite(z)
    low, high = float(z[finite].min()), float(z[finite].max())
    step = (high - low) / LEVELS
    heights = parts(z.T, low, high)
    return {"label": label, "x": short(x), "y": short(y), "low": low, "step": step, "z": heights}


def _picture(items: list[Item], axes: tuple[str, str, str]) -> bytes:
    """Draw the surfaces side by side, for where they cannot turn."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.2, 3.6), dpi=100, layout="constrained")
    for number, (x, y, z, label) in enumerate(items, 1):
        at: Any = figure.add_subplot(1, len(items), number, projection="3d")
        across, along = np.meshgrid(x, y, indexing="ij")
        heights = np.where(np.isfinite(z), z, np.nan)
        at.plot_surface(across, along, heights, cmap="viridis", rcount=60, ccount=60, antialiased=False)
        at.set_box_aspect(None, zoom=0.85)
        at.set(xlabel=axes[0], ylabel=axes[1], zlabel=axes[2])
        at.tick_params(labelsize=7)
        at.text2D(0.5, 0.98, label, transform=at.transAxes, ha="center", va="top")
        at.view_init(elev=25, azim=-45)
    return png(figure)
