"""Curves that follow sliders in the page.

A cell leaves one HTML output: a static picture of some of the curves, and all curves in a block of data.
Where scripts run, ``curves.js`` puts the controls and a plot of the chosen curves in the picture's place.
Every curve is computed beforehand; what the controls do is choose.
The scripts come with the site (see `sphinx_scripts`), so nothing is fetched from elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spinscape.companion.curves_picture import picture
from spinscape.companion.embedded import LEVELS, check_words, figure_html, parts, short, show

MARK = 'class="spinscape-curves"'
"""What a page has in it where `curves.js` is needed."""

LARGEST = 100_000
"""Values that a figure may carry, ends of bands counted; each takes about five bytes."""

LINES = 6
"""Lines that one plot may have."""

CONTROLS = 6
"""Controls that a figure may have."""


@dataclass(frozen=True)
class Control:
    """A name and what can be chosen, as words; `numeric` is a slider, else a list to choose from."""

    name: str
    values: tuple[str, ...]
    numeric: bool
    start: int


@dataclass(frozen=True)
class Curves:
    """All that a figure shows, checked.

    Attributes
    ----------
    controls
        K of them, with n_1, ..., n_K values.
    x
        Shape (N,).
    middle, low, high
        Shape (n_1, ..., n_K, L, N); NaN where there is no value.
    names
        L of them; empty words for a single line without a name.
    axes
        Labels of x and y.
    log
        Whether x and y are logarithmic.
    """

    controls: tuple[Control, ...]
    x: NDArray[np.float64]
    middle: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    names: tuple[str, ...]
    axes: tuple[str, str]
    log: tuple[bool, bool]


def sliders(
    *,
    controls: Sequence[tuple[str, Sequence[Any]]],
    x: ArrayLike,
    curves: ArrayLike,
    low: ArrayLike | None = None,
    high: ArrayLike | None = None,
    names: Sequence[str] = (),
    alt: str,
    axes: tuple[str, str],
    caption: str = "",
    start: Sequence[Any] | None = None,
    log: tuple[bool, bool] = (False, False),
    fit: bool = False,
) -> None:
    """Show curves that a reader chooses with controls.

    Parameters
    ----------
    controls
        A name and the values to choose from, for each control. Numbers (increasing) make a slider, all else
        a list to choose from. The static picture has a line for each value of the first control, a panel for
        each of the second, and holds the others where they start.
    x
        Shape (N,), increasing.
    curves
        Shape (n_1, ..., n_K, N), or (n_1, ..., n_K, L, N) for L lines in one plot: the values at x for every
        combination of the controls' values. Where values are not finite the curve has a gap; where a
        combination has none the page says so.
    low, high
        Ends of a band around the curves, of their shape; none by default.
    names
        L of them, for lines of one plot.
    alt
        What the figure shows, in words, for those who do not see it.
    axes
        Labels of x and y.
    caption
        A line below, plain text; it should say what the band is.
    start
        The value of each control that is shown first; the first ones by default.
    log
        Whether x and y are logarithmic.
    fit
        Whether the vertical axis fits the chosen curves; else it is the same for all combinations.
        A reader can change it.

    Raises
    ------
    ValueError
        If shapes do not fit, coordinates do not increase, nothing is finite, a logarithmic axis meets values
        that are not positive, a control or a start cannot be used, there are too many values, or the words
        are missing.
    """
    check_words(alt, "curves")
    abscissas = _coordinates(x, log[0])
    chosen = _controls(controls, start)
    grid = tuple(len(control.values) for control in chosen)
    middle, bottom, top = _lines(curves, low, high, (*grid, max(len(names), 1), len(abscissas)), log[1])
    found = Curves(
        controls=chosen,
        x=abscissas,
        middle=middle,
        low=bottom,
        high=top,
        names=tuple(map(str, names)) or ("",),
        axes=(str(axes[0]), str(axes[1])),
        log=(bool(log[0]), bool(log[1])),
    )
    show(figure_html(MARK, _packed(found, fit), picture(found), alt=alt, caption=caption), alt)


def _controls(
    controls: Sequence[tuple[str, Sequence[Any]]], start: Sequence[Any] | None
) -> tuple[Control, ...]:
    if not 1 <= len(controls) <= CONTROLS:
        raise ValueError(f"there must be 1 to {CONTROLS} controls, not {len(controls)}")
    if start is not None and len(start) != len(controls):
        raise ValueError(f"start needs one value for each of the {len(controls)} controls: {list(start)}")
    made = []
    for k, (name, values) in enumerate(controls):
        made.append(_control(str(name), list(values), None if start is None else start[k]))
    if len({control.name for control in made}) < len(made):
        raise ValueError(f"two controls have one name: {[control.name for control in made]}")
    return tuple(made)


def _control(name: str, values: list[Any], first: Any) -> Control:
    if not name.strip():
        raise ValueError("a control has no name")
    if not values:
        raise ValueError(f"{name}: there is no value to choose")
    numeric = all(isinstance(v, Real) and not isinstance(v, bool | np.bool_) for v in values)
    if numeric and not (all(map(math.isfinite, values)) and all(np.diff(np.asarray(values, float)) > 0)):
        raise ValueError(f"{name}: numbers must be finite and increasing: {values}")
    words = tuple(_word(value, numeric) for value in values)
    if len(set(words)) < len(words) or not all(word.strip() for word in words):
        raise ValueError(f"{name}: values must differ and must not be empty: {list(words)}")
    if first is not None and first not in values:
        raise ValueError(f"{name}: start {first!r} is none of {values}")
    return Control(name, words, numeric, 0 if first is None else values.index(first))


def _word(value: Any, numeric: bool) -> str:
    return f"{value:.6g}" if numeric and not isinstance(value, int | np.integer) else str(value)


def _coordinates(x: ArrayLike, log: bool) -> NDArray[np.float64]:
    values = np.asarray(x, float)
    if values.ndim != 1 or len(values) < 2 or not np.isfinite(values).all() or (np.diff(values) <= 0).any():
        raise ValueError("x must be one row of at least two coordinates, finite and increasing")
    if log and values[0] <= 0:
        raise ValueError(f"x: a logarithmic axis needs positive coordinates, not {values[0]:g}")
    return values


def _lines(
    curves: ArrayLike, low: ArrayLike | None, high: ArrayLike | None, shape: tuple[int, ...], log: bool
) -> NDArray[np.float64]:
    """Return the curves and the ends of their band, shape (3, n_1, ..., n_K, L, N)."""
    if (low is None) != (high is None):
        raise ValueError("a band needs both low and high")
    middle = np.asarray(curves, float)
    allowed = [shape] + ([(*shape[:-2], shape[-1])] if shape[-2] == 1 else [])
    if middle.shape not in allowed:
        wanted = " or ".join(map(str, allowed))
        raise ValueError(f"curves: controls, names and x ask for shape {wanted}, not {middle.shape}")
    if shape[-2] > LINES:
        raise ValueError(f"names: {shape[-2]} lines in one plot are more than {LINES}")
    count = middle.size * (1 if low is None else 3)
    if count > LARGEST:
        raise ValueError(
            f"{count} values are more than the {LARGEST} that a page can carry: "
            "take fewer points or fewer values of a control"
        )
    ends = [np.full_like(middle, np.nan) if end is None else np.asarray(end, float) for end in (low, high)]
    for end, what in zip(ends, ("low", "high"), strict=True):
        if end.shape != middle.shape:
            raise ValueError(f"{what}: shape {end.shape} is not that of the curves, {middle.shape}")
    table = np.stack([middle, *ends]).reshape(3, *shape)
    table[~np.isfinite(table)] = np.nan
    if np.isnan(table[0]).all():
        raise ValueError("curves: no value is finite")
    if (table[1] > table[2]).any():
        raise ValueError("the low end of a band lies above its high end")
    if log and np.nanmin(table) <= 0:
        raise ValueError(f"a logarithmic axis needs positive values, not {np.nanmin(table):g}")
    return table


def _packed(found: Curves, fit: bool) -> dict[str, Any]:
    """Return the data of a page: a row for each combination in order of C, in it one entry per line."""
    rows = np.stack([found.middle, found.low, found.high], -2).reshape(-1, len(found.names), 3, len(found.x))
    return {
        "axes": list(found.axes),
        "log": list(found.log),
        "fit": bool(fit),
        "levels": LEVELS,
        "names": list(found.names),
        "controls": [
            {"name": c.name, "values": list(c.values), "numeric": c.numeric, "start": c.start}
            for c in found.controls
        ],
        "x": short(found.x),
        "curves": [[_line(np.log10(line) if found.log[1] else line) for line in row] for row in rows],
    }


def _line(table: NDArray[np.float64]) -> dict[str, Any] | None:
    """Return a line as whole numbers of parts of its own range, (3, N); None where it has no value."""
    if np.isnan(table[0]).all():
        return None
    low, high = float(np.nanmin(table)), float(np.nanmax(table))
    packed: dict[str, Any] = {"low": float(f"{low:.9g}"), "step": float(f"{(high - low) / LEVELS:.9g}")}
    for key, values in zip(("middle", "bottom", "top"), table, strict=True):
        if not np.isnan(values).all():
            packed[key] = parts(values, low, high)
    return packed
