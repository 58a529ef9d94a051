"""The data sets of Liao et al. 2024 in numbers: their Table A1, counted from the files.

>>> [row.size for row in describe_datasets(["digits"])]
['8 x 8']
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from spinscape.networks.datasets import DataError, Dataset, load
from spinscape.networks.registry import Specification, specification

TITLES = {
    "digits": "Digits",
    "linnerud": "Linnerud",
    "mnist": "MNIST",
    "fashion-mnist": "Fashion-MNIST",
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
}
"""Names as they are printed, by the names that :func:`spinscape.networks.datasets.load` knows."""

SOURCE = ("mnist", "fashion-mnist", "cifar10", "cifar100")
"""The data sets of Table A1, in its order."""


@dataclass(frozen=True)
class Row:
    """One data set in a table.

    Attributes
    ----------
    name
        The name it is loaded by.
    train, test
        Numbers of samples.
    shape
        Shape of one input as it is loaded, channels first.
    classes
        Number of classes, or of targets of a regression.
    counted
        Whether the numbers were counted from the files; otherwise they are the published ones.
    """

    name: str
    train: int
    test: int
    shape: tuple[int, ...]
    classes: int
    counted: bool

    @property
    def title(self) -> str:
        """The data set's name as it is printed."""
        return TITLES[self.name]

    @property
    def size(self) -> str:
        """Pixels of an image, such as ``"28 x 28"`` or ``"32 x 32 x 3"``: channels last, one is not named."""
        channels, *sides = self.shape if len(self.shape) > 1 else (1, *self.shape)
        return " x ".join(map(str, [*sides, channels] if channels > 1 else sides))

    @property
    def cells(self) -> tuple[str, ...]:
        """The row as Table A1 has it: name, training samples, test samples, size, classes."""
        return (self.title, f"{self.train:,}", f"{self.test:,}", self.size, str(self.classes))


HEADER = ("Dataset", "Training Set", "Testing Set", "Feature Size", "Category")
"""Head of Table A1."""

PRINTED = {
    "mnist": ("MNIST", "60,000", "10,000", "28 x 28", "10"),
    "fashion-mnist": ("Fashion-MNIST", "60,000", "10,000", "28 x 28", "10"),
    "cifar10": ("CIFAR-10", "50,000", "10,000", "32 x 32 x 32", "10"),
    "cifar100": ("CIFAR-100", "50,000", "10,000", "32 x 32 x 32", "100"),
}
"""Table A1 as the text extracted from the source's PDF has it.

In the cells of CIFAR a stray 3 follows the size, so that its last factor may be the extraction's doing.
"""


def describe_datasets(names: Iterable[str] = SOURCE, *, root: str | Path | None = None) -> list[Row]:
    """Count samples, pixels and classes of data sets; nothing is downloaded.

    Parameters
    ----------
    names
        As :func:`spinscape.networks.datasets.load` knows them; by default those of Table A1.
    root
        Folder that holds the data sets' own folders, used instead of the one in ``SPINSCAPE_DATA``.

    Returns
    -------
    list of Row
        In the order of `names`. Where no place holds any file of a data set, the row has the published
        numbers and says so.

    Raises
    ------
    ValueError
        If a name is unknown.
    DataError
        If files are there and one of them is missing or wrong.
    """
    return [_row(specification(name), root) for name in names]


def misprints(row: Row) -> dict[str, tuple[str, str]]:
    """Return the columns in which Table A1 differs from a row: column -> (printed, right).

    Raises
    ------
    ValueError
        If the data set is not in Table A1.
    """
    if row.name not in PRINTED:
        raise ValueError(f"{row.name} is not in Table A1, which lists {', '.join(SOURCE)}")
    pairs = zip(PRINTED[row.name], row.cells, strict=True)
    return {column: pair for column, pair in zip(HEADER, pairs, strict=True) if pair[0] != pair[1]}


def _row(wanted: Specification, root: str | Path | None) -> Row:
    try:
        data = load(wanted.name, root=root, download=False)
    except DataError as error:
        if not error.missing:
            raise
        return Row(wanted.name, *wanted.counts, wanted.shape, wanted.targets, counted=False)
    return Row(wanted.name, len(data.x_train), len(data.x_test), data.shape, _classes(data), counted=True)


def _classes(data: Dataset) -> int:
    """Count the classes that occur among the labels, or the targets."""
    return len(data.y_train.unique()) if data.task == "classification" else data.targets
