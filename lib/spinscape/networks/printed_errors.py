"""What the sources print on flatness: test accuracies by batch size, test errors of entropic algorithms.

Table A3 of Liao et al. 2024, and the table of deep networks of Pittorino's slides of 2023.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isnan, nan

from spinscape.networks.cost import hours

TABLE_A3 = {512: (98.31, 97.56), 1024: (98.69, 97.97), 2048: (98.78, 98.10), 4096: (98.99, 98.49)}
"""Test accuracy in percent with small and with large batches, by hidden units."""

THROUGHPUT = 30e12
"""Operations per second that projected hours assume."""


@dataclass(frozen=True)
class Row:
    """A row of the slides' table.

    Attributes
    ----------
    dataset, network
        As printed.
    baseline, rsgd, esgd, rsgd_x_y
        Test errors in percent; NaN where none is printed.
    products
        Multiplications of one forward pass, from the networks' own papers, at the size of the row's images.
    samples, epochs
        Training images; epochs of the baseline, assumed where the slides do not say.
    """

    dataset: str
    network: str
    baseline: float
    rsgd: float
    esgd: float
    rsgd_x_y: float
    products: float
    samples: int
    epochs: int

    def gpu_hours(self, *, copies: int = 3, seeds: int = 5) -> float:
        """Return the hours of all four algorithms, six operations per multiplication and image."""
        gradients = 3 + copies
        return hours(6 * self.products * self.samples * self.epochs * gradients * seeds, THROUGHPUT)


ROWS = (
    Row("CIFAR-10", "SmallConvNet", 16.5, 15.6, 14.7, 14.9, 1.2e7, 50_000, 300),
    Row("CIFAR-10", "ResNet-18", 13.1, 12.4, 12.1, 11.8, 5.6e8, 50_000, 160),
    Row("CIFAR-10", "ResNet-110", 6.4, 6.2, 6.2, 5.3, 2.55e8, 50_000, 300),
    Row("CIFAR-10", "PyramidNet + ShakeDrop", 2.1, 2.2, nan, 1.8, 4.6e9, 50_000, 300),
    Row("CIFAR-100", "PyramidNet + ShakeDrop", 13.8, 13.5, nan, 12.7, 4.6e9, 50_000, 300),
    Row("CIFAR-100", "EfficientNet-B0", 20.5, 20.6, 20.1, 19.5, 3.9e8, 50_000, 350),
    Row("Tiny ImageNet", "ResNet-50", 45.2, 41.5, 41.7, 39.2, 3.3e8, 100_000, 270),
    Row("Tiny ImageNet", "DenseNet-121", 41.4, 39.8, 38.6, 38.9, 2.4e8, 100_000, 270),
)  # fmt: skip
"""In the slides' order; products of ResNets by He et al. 2016, of PyramidNet-272 (200) by Han et al. 2017, of
EfficientNet-B0 by Tan and Le 2019 at 224 pixels, of ResNet-50 and DenseNet-121 scaled from 224 to 64."""


def gpu_hours(*, copies: int = 3, seeds: int = 5) -> float:
    """Return the projected hours of all rows."""
    return sum(row.gpu_hours(copies=copies, seeds=seeds) for row in ROWS)


def wins() -> tuple[int, int]:
    """Return how many printed errors of entropic algorithms lie below their baseline, and of how many."""
    entries = [
        (row.baseline, error)
        for row in ROWS
        for error in (row.rsgd, row.esgd, row.rsgd_x_y)
        if not isnan(error)
    ]
    return sum(error < baseline for baseline, error in entries), len(entries)
