"""What figures that move in a page have in common: one HTML output of a picture, data and a caption.

A script of the site puts a plot in the picture's place; the picture remains for print, without scripts and
outside of the site.
"""

from __future__ import annotations

import base64
import io
import json
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEVELS = 9999
"""Values are kept to so many parts of their range."""

COLOURS = 64
"""Colours of a picture."""

_SMALLEST_WORDS = 20


def check_words(alt: str, what: str) -> None:
    """Raise a ValueError unless `alt` says in words what `what` show."""
    if len(alt) < _SMALLEST_WORDS:
        raise ValueError(f"alt must say in words what the {what} show, not {alt!r}")


def figure_html(mark: str, data: Any, picture: bytes, *, alt: str, caption: str = "") -> str:
    """Return a figure for a page; all words in it are text.

    Parameters
    ----------
    mark
        The figure's attributes, by which its script and the site find it.
    data
        Goes into a block of JSON.
    picture
        A PNG file.
    alt
        What the picture shows, in words.
    caption
        A line below, plain text.
    """
    # "<" could end the block of data.
    text = json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    source = base64.b64encode(picture).decode()
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return (
        f'<figure {mark}><img alt="{escape(alt)}" src="data:image/png;base64,{source}">'
        f'<script type="application/json">{text}</script>{below}</figure>'
    )


def show(html: str, alt: str) -> None:
    """Leave a figure as a cell's output, its words where HTML is not shown."""
    from IPython.display import display

    display({"text/html": html, "text/plain": alt}, raw=True)


def parts(values: NDArray[np.float64], low: float, high: float) -> list[int | None]:
    """Return values, in order of C, as whole numbers of parts of a range; None where not finite."""
    finite = np.isfinite(values)
    levels = np.rint((np.where(finite, values, low) - low) / (high - low or 1.0) * LEVELS).astype(int)
    return [int(level) if ok else None for level, ok in zip(levels.flat, finite.flat, strict=True)]


def short(values: NDArray[np.float64]) -> list[float]:
    """Return values with six digits."""
    return [float(f"{value:.6g}") for value in values]


def png(figure: Any) -> bytes:
    """Draw a figure of matplotlib's in few colours, which suffice where most readers see a plot instead."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    image = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB").quantize(COLOURS)
    stream = io.BytesIO()
    image.save(stream, format="png", optimize=True)
    return stream.getvalue()
