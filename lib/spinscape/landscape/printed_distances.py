"""Means and standard deviations of distances that Liao et al. 2024 print, for networks on MNIST.

Figures 4 and A2 are both said to be of Adam.
The copy at hand has the numbers of these widths; of Figure A3 (gradient descent) it has none.
"""

from __future__ import annotations

INPUTS = 784
"""Of the source's networks."""

FIGURES: dict[str, dict[int, tuple[float, float]]] = {
    "4": {256: (75.59, 1.27), 512: (80.08, 2.26), 1024: (86.26, 2.26)},
    "A2": {512: (45.86, 0.11), 1024: (51.44, 0.07)},
}
"""Mean and standard deviation by figure and hidden units."""


def printed(width: int, inputs: int) -> dict[str, tuple[float, float]]:
    """Return mean and standard deviation by figure for networks of this size; empty where none is printed.

    Parameters
    ----------
    width
        Hidden units.
    inputs
        Input units; nothing is printed for any number but 784.
    """
    return {name: row[width] for name, row in FIGURES.items() if inputs == INPUTS and width in row}
