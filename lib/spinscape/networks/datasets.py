"""Data sets, found on this machine or on the published mirrors, and checked by MD5.

>>> data = load("digits")
>>> data.x_train.shape, data.shape, data.task
(torch.Size([1437, 1, 8, 8]), (1, 8, 8), 'classification')
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from spinscape.networks._files import DataError, Found, find
from spinscape.networks._parsers import parse_cifar, parse_idx, parse_names, read_members
from spinscape.networks.registry import NAMES, Specification, specification

if TYPE_CHECKING:
    import torch

__all__ = ["NAMES", "DataError", "Dataset", "load"]

Task = Literal["classification", "regression"]

_SPLIT_SEED = 0
_DIGITS_TEST = 360
_LINNERUD_TEST = 5


@dataclass(frozen=True)
class Dataset:
    """Training and test samples as tensors on the CPU.

    Attributes
    ----------
    name
        The name it was loaded by; of padded images with their side.
    x_train, x_test
        Inputs, ``(N, *shape)`` float32; pixels lie in [0, 1].
    y_train, y_test
        Labels ``(N,)`` int64, or targets ``(N, K)`` float32 for regression.
    classes
        Names of the classes; names of the targets for regression.
    task
        ``"classification"`` or ``"regression"``.
    md5
        MD5 of each file by name; for bundled sets of the data itself.
    source
        Where it was found: ``"bundled"``, ``"local"``, ``"debian"``, ``"cache"`` or ``"download"``.
    """

    name: str
    x_train: torch.Tensor = field(repr=False)
    y_train: torch.Tensor = field(repr=False)
    x_test: torch.Tensor = field(repr=False)
    y_test: torch.Tensor = field(repr=False)
    classes: tuple[str, ...] = ()
    task: Task = "classification"
    md5: dict[str, str] = field(default_factory=dict)
    source: str = "bundled"

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one input, such as ``(1, 28, 28)``."""
        return tuple(self.x_train.shape[1:])

    @property
    def features(self) -> int:
        """Number of entries of one input."""
        return int(np.prod(self.shape))

    @property
    def targets(self) -> int:
        """Number of outputs a network needs: classes, or targets of a regression."""
        return len(self.classes)

    def flat(self) -> Dataset:
        """Return the same data with every input as one row, ``(N, d)`` (a view, no copy)."""
        return replace(self, x_train=self.x_train.flatten(1), x_test=self.x_test.flatten(1))

    def shortened(self, size: int, seed: int = 0) -> Dataset:
        """Return the same data with at most `size` training samples, drawn as by `subset`.

        Raises
        ------
        ValueError
            If `size` is below 1.
        """
        x, y = self.subset("train", min(size, len(self.x_train)), seed)
        return replace(self, x_train=x, y_train=y)

    def standardised(self) -> Dataset:
        """Return the same data with mean 0 and variance 1 over the training samples, entry by entry.

        Inputs are scaled, and the targets of a regression; entries that never vary are only shifted.
        """
        x_train, x_test = _standardised(self.x_train, self.x_test)
        y_train, y_test = self.y_train, self.y_test
        if self.task == "regression":
            y_train, y_test = _standardised(y_train, y_test)
        return replace(self, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)

    def downscaled(self, side: int) -> Dataset:
        """Return the same images with `side` x `side` pixels, each the mean over the area that it covers.

        Pixels that lie across a border count by the share of them on either side, so the mean of an image
        stays what it is.

        Raises
        ------
        ValueError
            If the inputs are no images ``(C, h, w)``, or `side` does not lie in 1..min(h, w).
        """
        import torch

        if len(self.shape) != 3 or not 1 <= side <= min(self.shape[1:]):
            raise ValueError(f"images of {self.shape} cannot be scaled down to {side} x {side}")
        rows, columns = (torch.from_numpy(_overlaps(size, side)) for size in self.shape[1:])
        return replace(
            self,
            x_train=rows @ self.x_train @ columns.T,
            x_test=rows @ self.x_test @ columns.T,
        )

    def padded(self, side: int) -> Dataset:
        """Return the same images in the middle of `side` x `side` pixels of zero, under a name that says so.

        28 x 28 pixels become 32 x 32 by two on each side; of an odd number the last row and column get one
        more. Unless there is nothing to add, the side follows the name, such as ``"fashion-mnist-32"``.

        Raises
        ------
        ValueError
            If the inputs are no images ``(C, h, w)``, or `side` is below h or w.
        """
        import torch.nn.functional as F  # noqa: N812

        if len(self.shape) != 3 or side < max(self.shape[1:]):
            raise ValueError(f"images of {self.shape} cannot be padded to {side} x {side}")
        height, width = (side - size for size in self.shape[1:])
        if not height and not width:
            return self
        border = (width // 2, width - width // 2, height // 2, height - height // 2)
        return replace(
            self,
            name=f"{self.name}-{side}",
            x_train=F.pad(self.x_train, border),
            x_test=F.pad(self.x_test, border),
        )

    def subset(
        self, split: Literal["train", "test"], size: int, seed: int = 0
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw a fixed subset without replacement, the same for the same `size` and `seed`.

        Parameters
        ----------
        split
            ``"train"`` or ``"test"``.
        size
            Number of samples, at most those of the split.
        seed
            Seed of the draw.

        Returns
        -------
        x, y : Tensor
            Inputs ``(size, *shape)`` and labels ``(size,)`` or targets ``(size, K)``.

        Raises
        ------
        ValueError
            If the split is unknown or `size` does not lie in 1..N.
        """
        import torch

        if split not in ("train", "test"):
            raise ValueError(f"split must be 'train' or 'test', not {split!r}")
        x, y = (self.x_train, self.y_train) if split == "train" else (self.x_test, self.y_test)
        if not 1 <= size <= len(x):
            raise ValueError(f"size must lie in 1..{len(x)} for the {split} split, not {size}")
        chosen = np.random.default_rng(seed).permutation(len(x))[:size]
        rows = torch.from_numpy(np.sort(chosen))
        return x[rows], y[rows]


def _standardised(fitted: torch.Tensor, other: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Scale two sets of rows by mean and deviation of the first; entries that never vary are shifted."""
    centre, spread = fitted.mean(0), fitted.std(0, correction=0)
    spread = spread.where(spread > 0, 1.0)
    return (fitted - centre) / spread, (other - centre) / spread


def _overlaps(size: int, parts: int) -> np.ndarray:
    """Return the share of each of `parts` equal parts that each of `size` pixels covers, float32."""
    ends = np.arange(parts + 1)[:, None] * size / parts
    covered = np.clip(ends - np.arange(size), 0, 1)
    return (np.diff(covered, axis=0) * parts / size).astype(np.float32)


def load(name: str, *, root: str | Path | None = None, download: bool = True) -> Dataset:
    """Load a data set by name.

    Parameters
    ----------
    name
        One of :data:`NAMES`.
    root
        Folder that holds the data set's own folder, used instead of the one in ``SPINSCAPE_DATA``.
    download
        Whether the published mirrors may be asked when no place holds the files.

    Returns
    -------
    Dataset
        ``digits``: 1,437 training and 360 test images, a fixed stratified split, pixels divided by
        16. ``linnerud``: 15 and 5 rows of three exercises, with three targets, in the units of the
        source. ``mnist``, ``fashion-mnist``: 60,000 and 10,000 images of 28 x 28. ``cifar10``,
        ``cifar100``: 50,000 and 10,000 images of 3 x 32 x 32 (fine labels). Pixels of these divided
        by 255.

    Raises
    ------
    ValueError
        If the name is unknown.
    DataError
        If a file is wrong, or nothing was found.
    """
    wanted = specification(name)
    if wanted.form == "bundled":
        return _digits(wanted) if name == "digits" else _linnerud(wanted)
    found = find(wanted, root, download)
    arrays, classes = (_idx if wanted.form == "idx" else _cifar)(wanted, found)
    return _images(wanted.name, arrays, classes, found.md5, found.source)


def _images(
    name: str,
    arrays: list[np.ndarray],
    classes: tuple[str, ...],
    md5: dict[str, str],
    source: str,
) -> Dataset:
    import torch

    images = [torch.from_numpy(array.astype(np.float32)).div_(255) for array in arrays[::2]]
    labels = [torch.from_numpy(array.astype(np.int64)) for array in arrays[1::2]]
    return Dataset(name, images[0], labels[0], images[1], labels[1], classes, md5=md5, source=source)


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Name the file in whatever is said against its content."""
    try:
        yield
    except ValueError as error:
        raise DataError(f"{path} cannot be used: {error}. The file was left as it is.") from None


def _idx(wanted: Specification, found: Found) -> tuple[list[np.ndarray], tuple[str, ...]]:
    arrays = []
    for images, labels in zip(wanted.files[::2], wanted.files[1::2], strict=True):
        with _reading(found.paths[images.name]):
            x = parse_idx(found.content[images.name], 3)
            if not x.size:
                raise ValueError("it holds no images")
        with _reading(found.paths[labels.name]):
            y = parse_idx(found.content[labels.name], 1)
            if len(x) != len(y):
                raise ValueError(f"it has {len(y)} labels, {images.name} {len(x)} images")
            if y.max() >= len(wanted.classes):
                raise ValueError(f"label {y.max()} is out of range: there are {len(wanted.classes)} classes")
        arrays += [x[:, None], y]
    train, test = (" x ".join(map(str, array.shape[2:])) for array in arrays[::2])
    with _reading(found.paths[wanted.files[2].name]):
        if train != test:
            raise ValueError(f"its images are {test}, those to train on {train}")
    return arrays, wanted.classes


def _cifar(wanted: Specification, found: Found) -> tuple[list[np.ndarray], tuple[str, ...]]:
    if wanted.name == "cifar10":
        folder, label_bytes, classes, names = "cifar-10-batches-bin", 1, 10, "batches.meta.txt"
        parts = [[f"data_batch_{part}.bin" for part in range(1, 6)], ["test_batch.bin"]]
    else:
        folder, label_bytes, classes, names = "cifar-100-binary", 2, 100, "fine_label_names.txt"
        parts = [["train.bin"], ["test.bin"]]
    (file,) = wanted.files
    arrays: list[np.ndarray] = []
    with _reading(found.paths[file.name]):
        members = read_members(found.content[file.name], folder, [*parts[0], *parts[1], names])
        for part in parts:
            pieces = [parse_cifar(members[member], label_bytes, classes) for member in part]
            arrays += [np.concatenate(piece) for piece in zip(*pieces, strict=True)]
        return arrays, parse_names(members[names], classes)


def _digits(wanted: Specification) -> Dataset:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    x, y = load_digits(return_X_y=True)
    x = (x / 16).astype(np.float32).reshape(-1, 1, 8, 8)
    train, test = train_test_split(
        np.arange(len(x)), test_size=_DIGITS_TEST, stratify=y, random_state=_SPLIT_SEED
    )
    return _bundled(wanted.name, (x, y.astype(np.int64)), train, test, wanted.classes)


def _linnerud(wanted: Specification) -> Dataset:
    from sklearn.datasets import load_linnerud

    bunch = load_linnerud()
    pair = (bunch.data.astype(np.float32), bunch.target.astype(np.float32))
    order = np.random.default_rng(_SPLIT_SEED).permutation(len(pair[0]))
    test, train = np.sort(order[:_LINNERUD_TEST]), np.sort(order[_LINNERUD_TEST:])
    data = _bundled(wanted.name, pair, train, test, tuple(bunch.target_names))
    return replace(data, task="regression")


def _bundled(
    name: str,
    pair: tuple[np.ndarray, np.ndarray],
    train: np.ndarray,
    test: np.ndarray,
    classes: tuple[str, ...],
) -> Dataset:
    """Split a bundled data set; its MD5 is that of the inputs' bytes followed by the targets'."""
    import torch

    x, y = pair
    digest = hashlib.md5(np.ascontiguousarray(x).tobytes(), usedforsecurity=False)
    digest.update(np.ascontiguousarray(y).tobytes())
    return Dataset(
        name,
        torch.from_numpy(x[train]),
        torch.from_numpy(y[train]),
        torch.from_numpy(x[test]),
        torch.from_numpy(y[test]),
        classes,
        md5={f"{name} (scikit-learn)": digest.hexdigest()},
    )
