"""Means and standard deviations of distances that Liao et al. 2024 print, for networks on MNIST.

Of the panels of Figures 4 and A2 the copy at hand gives the numbers of these widths, of Figure A3 (gradient
descent) it gives none.
"""

from __future__ import annotations

INPUTS = 784
"""Of the source's networks."""

FIGURES: dict[str, dict[int, tuple[float, float]]] = {
    "4": {256: (75.59, 1.27), 512: (80.08, 2.26), 1024: (86.26, 2.26)},
    "A2": {512: (45.86, 0.11), 1024: (51.44, 0.07)},
    "A3": {},
}
"""Mean and standard deviation by figure and hidden units."""

ADAM, GRADIENT_DESCENT = ("4", "A2"), ("A3",)
"""Figures of each optimiser, by what the text says they show."""


def printed(width: int, inputs: int, figures: tuple[str, ...] = ADAM) -> dict[str, tuple[float, float]]:
    """Return mean and standard deviation by figure for networks of this size; empty where none is printed.

    Parameters
    ----------
    width
        Hidden units.
    inputs
        Input units; nothing is printed for any number but 784.
    figures
        Some of `FIGURES`.
    """
    return {name: FIGURES[name][width] for name in figures if inputs == INPUTS and width in FIGURES[name]}
