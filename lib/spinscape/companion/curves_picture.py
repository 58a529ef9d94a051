"""The static picture of curves with controls: lines for the values of one, panels for those of another."""

from __future__ import annotations

from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spinscape.companion.embedded import png

if TYPE_CHECKING:
    from spinscape.companion.interactive_curves import Control, Curves

SHOWN = 6
"""Lines and panels of a picture at most; of more values it takes some, evenly spread."""

_DASHES = ("-", "--", ":", "-.", (0, (6, 1, 1, 1, 1, 1)), (0, (1, 3)))


def picture(found: Curves) -> bytes:
    """Draw some of the curves, for where they cannot be chosen.

    Parameters
    ----------
    found
        Of its controls with several values the first one goes over lines, the second one over panels.
        The others stay where they start, which the picture says.

    Returns
    -------
    bytes
        A PNG file.
    """
    from matplotlib import style
    from matplotlib.figure import Figure

    from spinscape.companion.plotting import STYLE

    several = [k for k, control in enumerate(found.controls) if len(control.values) > 1]
    over, across = [*several, None, None][:2]
    chosen = _some(found.controls[over]) if over is not None else [0]
    panels = _some(found.controls[across]) if across is not None else [0]
    rows = -(-len(panels) // 3)
    columns = -(-len(panels) // rows)
    with style.context(STYLE):
        figure = Figure(figsize=(8.2, 0.6 + 2.6 * rows), layout="constrained")
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for at in grid.flat[len(panels) :]:
            at.set_axis_off()
        for at, panel in zip(grid.flat, panels, strict=False):
            place = [control.start for control in found.controls]
            if across is not None:
                place[across] = panel
                at.set_title(_said(found.controls[across], panel, 80 // columns), fontsize=9)
            _panel(at, found, place, over, chosen)
        figure.supxlabel(_plain(found.axes[0], 80), fontsize=10)
        figure.supylabel(_plain(found.axes[1], 30 * rows), fontsize=10)
        held = [_said(control, control.start) for k, control in enumerate(found.controls)
                if k not in (over, across)]  # fmt: skip
        _legend(figure, found, over, chosen, held)
        return png(figure)


def _some(control: Control) -> list[int]:
    """Return places of at most `SHOWN` values, the ends among them."""
    count = len(control.values)
    return sorted({int(k) for k in np.rint(np.linspace(0, count - 1, min(count, SHOWN)))})


def _panel(at: Any, found: Curves, place: list[int], over: int | None, chosen: list[int]) -> None:
    from spinscape.companion.plotting import colours

    empty = True
    for value, colour in zip(chosen, colours(len(chosen)), strict=True):
        here = list(place)
        if over is not None:
            here[over] = value
        lines = (array[tuple(here)] for array in (found.middle, found.low, found.high))
        for middle, low, high, dash in zip(*lines, _DASHES, strict=False):
            empty &= bool(np.isnan(middle).all())
            at.plot(found.x, middle, color=colour, ls=dash, lw=1.4, marker=_marker(middle), ms=3)
            at.fill_between(found.x, low, high, color=colour, alpha=0.15, lw=0)
    if empty:
        at.text(0.5, 0.5, "no curve", transform=at.transAxes, ha="center", va="center")
    if found.log[0]:
        at.set_xscale("log")
    if found.log[1]:
        at.set_yscale("log")


def _marker(values: NDArray[np.float64]) -> str:
    """Return a dot where a line would hide points that stand alone."""
    finite = np.concatenate([[False], np.isfinite(values), [False]])
    alone = finite[1:-1] & ~finite[:-2] & ~finite[2:]
    return "o" if alone.any() else ""


def _legend(figure: Any, found: Curves, over: int | None, chosen: list[int], held: list[str]) -> None:
    from matplotlib.lines import Line2D

    from spinscape.companion.plotting import INK, colours

    handles, labels = [], []
    if over is not None:
        control = found.controls[over]
        handles += [Line2D([], [], color=colour) for colour in colours(len(chosen))]
        labels += [_said(control, value) for value in chosen]
    if len(found.names) > 1:
        handles += [Line2D([], [], color=INK, ls=dash) for _, dash in zip(found.names, _DASHES, strict=False)]
        labels += [_plain(name) for name in found.names]
    handles += [Line2D([], [], ls="")] * len(held)
    labels += held
    if handles:
        figure.legend(handles, labels, loc="outside right upper", fontsize=8)


def _said(control: Control, place: int, width: int = 28) -> str:
    return _plain(f"{control.name} = {control.values[place]}", width)


def _plain(text: str, width: int = 28) -> str:
    """Break a text into lines, and keep matplotlib from reading it as mathematics."""
    return fill(text, width).replace("$", r"\$")
