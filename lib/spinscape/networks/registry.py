"""What the data sets are: names, files, published MD5 sums and mirrors.

The module needs the standard library only, so a command line can list the names without loading
anything heavy.

Sources of the sums: the MNIST and Fashion-MNIST pages (LeCun, Cortes and Burges; Xiao, Rasul and
Vollgraf, arXiv:1708.07747) and Krizhevsky's CIFAR page, as repeated by torchvision's dataset
classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches


@dataclass(frozen=True)
class RemoteFile:
    """One file of a data set.

    Attributes
    ----------
    name
        File name, the same in every place.
    md5
        Published MD5 of the file as it is downloaded.
    content_md5
        MD5 of the decompressed content, where a repackaged copy with another gzip header is known.
    """

    name: str
    md5: str
    content_md5: str | None = None


@dataclass(frozen=True)
class Specification:
    """A data set: how it is read and where it is published.

    Attributes
    ----------
    name
        Name given to :func:`spinscape.networks.datasets.load`, also the name of its folder.
    form
        ``"bundled"`` (comes with scikit-learn), ``"idx"`` (MNIST's format) or ``"cifar"`` (binary
        version).
    files
        The files, in the order training images, training labels, test images, test labels
        (``idx``).
    mirrors
        Addresses that the file name is appended to, tried in turn.
    classes
        Names of the classes; empty where they are read from the files or the task is regression.
    counts
        Training and test samples, as published (the bundled sets: as split here).
    shape
        Shape of one input as it is loaded, such as ``(3, 32, 32)``.
    targets
        Number of classes, or of targets of a regression.
    """

    name: str
    form: str
    files: tuple[RemoteFile, ...] = ()
    mirrors: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    counts: tuple[int, int] = (0, 0)
    shape: tuple[int, ...] = ()
    targets: int = 0


_IDX = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
_DIGITS = tuple(str(digit) for digit in range(10))

MNIST = Specification(
    "mnist",
    "idx",
    tuple(
        RemoteFile(name, md5)
        for name, md5 in zip(
            _IDX,
            (
                "f68b3c2dcbeaaa9fbdd348bbdeb94873",
                "d53e105ee54ea40749a09fcbcd1e9432",
                "9fb629c4189551a2d022fa330f9573f3",
                "ec29112dd5afa0611ce80d1b7f02629c",
            ),
            strict=True,
        )
    ),
    (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    _DIGITS,
    (60_000, 10_000),
    (1, 28, 28),
    10,
)

FASHION_MNIST = Specification(
    "fashion-mnist",
    "idx",
    tuple(
        RemoteFile(name, md5, content)
        for name, md5, content in zip(
            _IDX,
            (
                "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
                "25c81989df183df01b3e8a0aad5dffbe",
                "bef4ecab320f06d8554ea6380940ec79",
                "bb300cfdad3c16e7a12a480ee83cd310",
            ),
            (
                "f4a8712d7a061bf5bd6d2ca38dc4d50a",
                "9018921c3c673c538a1fc5bad174d6f9",
                "8181f5470baa50b63fa0f6fddb340f0a",
                "15d484375f8d13e6eb1aabb0c3f46965",
            ),
            strict=True,
        )
    ),
    ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
    (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
    (60_000, 10_000),
    (1, 28, 28),
    10,
)

CIFAR10 = Specification(
    "cifar10",
    "cifar",
    (RemoteFile("cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530"),),
    ("https://www.cs.toronto.edu/~kriz/",),
    counts=(50_000, 10_000),
    shape=(3, 32, 32),
    targets=10,
)

CIFAR100 = Specification(
    "cifar100",
    "cifar",
    (RemoteFile("cifar-100-binary.tar.gz", "03b5dce01913d631647c71ecec9e9cb8"),),
    ("https://www.cs.toronto.edu/~kriz/",),
    counts=(50_000, 10_000),
    shape=(3, 32, 32),
    targets=100,
)

SPECIFICATIONS: dict[str, Specification] = {
    specification.name: specification
    for specification in (
        Specification("digits", "bundled", classes=_DIGITS, counts=(1437, 360), shape=(1, 8, 8), targets=10),
        Specification("linnerud", "bundled", counts=(15, 5), shape=(3,), targets=3),
        MNIST,
        FASHION_MNIST,
        CIFAR10,
        CIFAR100,
    )
}

NAMES: tuple[str, ...] = tuple(SPECIFICATIONS)
"""Every name that :func:`spinscape.networks.datasets.load` knows."""


def specification(name: str) -> Specification:
    """Look up a data set by its exact name.

    Raises
    ------
    ValueError
        If there is no such data set; the message gives the nearest name and the list.
    """
    if name in SPECIFICATIONS:
        return SPECIFICATIONS[name]
    near = get_close_matches(str(name).lower().replace("_", "-"), NAMES, n=1, cutoff=0.4)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"There is no data set {name!r}.{hint} Known names: {', '.join(NAMES)}.")
