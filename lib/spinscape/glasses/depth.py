"""Networks of equal widths as spin glasses: how the number of critical points changes with depth.

A network with h hidden layers is a spin glass of order ``H = h + 1`` (Choromanska et al. 2015; Liao et
al. 2024, theorem A.2): with layer sizes ``n_0 .. n_H`` it has ``Psi = n_0 n_1 ... n_H`` paths and
``Lambda = Psi^{1/H}`` spins.
The module needs numpy and scipy only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spinscape.glasses._arguments import whole
from spinscape.glasses._counts import log_total
from spinscape.glasses.complexity import log_complex_count

Array = NDArray[np.float64]
EXACT = 1000
"""Largest Lambda at which the mean real count is taken from the exact formula."""


@dataclass(frozen=True)
class DepthCurve:
    """Networks of one parameter budget, one for each depth; every array has shape (D,).

    Attributes
    ----------
    parameters
        The budget.
    hidden, order
        Number of hidden layers h, and H = h + 1.
    width
        Units of each hidden layer, real-valued unless whole widths were asked for.
    used
        Parameters used; the budget itself for real-valued widths.
    log_paths, size
        Log of Psi, and Lambda.
    log_complex
        Log of the complex count ``((H-1)^Lambda - 1)/(H-2)``, nats.
    log_real
        Log of the mean number of real critical points of the spin glass, nats.
    """

    parameters: int
    hidden: NDArray[np.int64]
    order: NDArray[np.int64]
    width: Array
    used: Array
    log_paths: Array
    size: Array
    log_complex: Array
    log_real: Array

    @property
    def hidden_of_most_complex(self) -> int:
        """Number of hidden layers at which the complex count is largest."""
        return int(self.hidden[np.argmax(self.log_complex)])

    @property
    def hidden_of_most_real(self) -> int:
        """Number of hidden layers at which the mean real count is largest."""
        return int(self.hidden[np.argmax(self.log_real)])


def parameter_count(
    width: ArrayLike, hidden: ArrayLike, inputs: int, outputs: int, *, biases: bool = False
) -> Array:
    """Parameters of a network with equal hidden widths.

    ``width (inputs + outputs) + (hidden - 1) width^2`` weights, and with biases another
    ``hidden width + outputs``.

    Parameters
    ----------
    width, hidden
        Units of each hidden layer and number of hidden layers; they broadcast.
    inputs, outputs
        Sizes of the first and the last layer.
    biases
        Whether biases count.
    """
    width, hidden = np.asarray(width, float), np.asarray(hidden, float)
    return width * (inputs + outputs) + (hidden - 1) * width**2 + biases * (hidden * width + outputs)


def depth_curve(
    parameters: int,
    hidden: Sequence[int] | NDArray[np.int64],
    *,
    inputs: int = 784,
    outputs: int = 10,
    biases: bool = False,
    whole_widths: bool = False,
) -> DepthCurve:
    """Width, paths, spins and counts of critical points against depth at a fixed number of parameters.

    Biases add to the parameters but open no path from an input, so they enter the width only.

    Parameters
    ----------
    parameters
        Budget.
    hidden
        Numbers of hidden layers, each at least 1, shape (D,).
    inputs, outputs
        Sizes of the first and the last layer.
    biases
        Whether the budget counts biases; by default it counts weights alone.
    whole_widths
        Round every width down to a whole number, as a network needs.

    Raises
    ------
    ValueError
        If an argument is out of range, or the budget leaves less than one unit a layer.
    """
    parameters = whole(parameters, "parameters", 1)
    inputs, outputs = whole(inputs, "inputs", 1), whole(outputs, "outputs", 1)
    layers = np.array([whole(h, "every number of hidden layers", 1) for h in hidden], dtype=np.int64)
    if len(layers) == 0:
        raise ValueError("depth_curve needs at least one number of hidden layers")
    # Positive root of (h - 1) w^2 + (inputs + outputs + h [biases]) w = budget, stable at h = 1.
    linear = inputs + outputs + layers * biases
    free = max(parameters - outputs * biases, 0)
    width = 2 * free / (linear + np.sqrt(linear**2 + 4.0 * (layers - 1) * free))
    if whole_widths:
        width = np.floor(width * (1 + 1e-12))
    if (width < 1).any():
        first = int(layers[width < 1].min())
        least = int(parameter_count(1, first, inputs, outputs, biases=biases))
        raise ValueError(
            f"{parameters:,} parameters leave less than one unit a layer at {first} hidden layers, "
            f"where at least {least:,} are needed"
        )
    order = layers + 1
    log_paths = np.log(inputs) + np.log(outputs) + layers * np.log(width)
    size = np.exp(log_paths / order)
    return DepthCurve(
        parameters=parameters,
        hidden=layers,
        order=order,
        width=width,
        used=parameter_count(width, layers, inputs, outputs, biases=biases),
        log_paths=log_paths,
        size=size,
        log_complex=log_complex_count(order, size),
        log_real=np.array([log_real_count(int(h), float(s)) for h, s in zip(order, size, strict=True)]),
    )


def log_real_count(order: int, size: float) -> float:
    """Log of the mean number of real critical points of a spin glass, for a size that need not be whole.

    Up to 1000 spins the exact formula at the whole sizes on both sides, interpolated linearly.
    Above, or for larger sizes, the expansion of `log_real_asymptotic`; at order 2, 2 Lambda.

    Parameters
    ----------
    order
        Interaction order H, at least 2.
    size
        Number of spins Lambda, at least 1.

    Returns
    -------
    float
        Nats.

    Raises
    ------
    ValueError
        If the order is bad, or the size below 1 or not finite.
    """
    order = whole(order, "order", 2)
    if not (np.isfinite(size) and size >= 1):
        raise ValueError(f"size must be at least 1 and finite, not {size}")
    if order == 2:
        return float(np.log(2 * size))
    if size > EXACT:
        return log_real_asymptotic(order, size)
    lower = int(size)
    part = size - lower
    left = log_total(order, lower)
    return left if part == 0 else (1 - part) * left + part * log_total(order, lower + 1)


def log_real_asymptotic(order: int, size: float) -> float:
    """Log of the mean number of real critical points, expanded for many spins at order 3 and above.

    ``4 sqrt(2 n / (pi (p-2))) (p-1)^{n/2} (1 + a/n + O(1/n^2))``, from the density ``sqrt(2 n)/pi`` in the
    middle of the GOE spectrum under the Gaussian weight, with ``a = - 3/8 - (p+2)/(8 (p-2))``.

    Parameters
    ----------
    order
        Interaction order p, at least 3.
    size
        Number of spins n, large against 1.
    """
    order = whole(order, "order", 3)
    correction = -3 / 8 - (order + 2) / (8 * (order - 2))
    leading = np.log(4) + np.log(2 * size / (np.pi * (order - 2))) / 2 + size / 2 * np.log(order - 1)
    return float(leading + np.log1p(correction / size))
