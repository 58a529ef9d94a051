"""Convolutional networks: a small one of any depth, and VGG16."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from spinscape.networks.models import ACTIVATIONS, MaxPool, make

VGG16 = (2, 2, 3, 3, 3)
"""Convolutions in each group of VGG16; a group doubles the channels, up to eight times the first's."""


def convnet(
    channels: int = 1,
    classes: int = 10,
    *,
    size: int = 8,
    widths: Sequence[int] = (8, 16),
    hidden: Sequence[int] = (),
    activation: str = "relu",
    pool: str = "max",
    bias: bool = True,
    batch_norm: bool = False,
) -> nn.Sequential:
    """Make a small convolutional network.

    Parameters
    ----------
    channels, size
        Inputs are ``(B, channels, size, size)``.
    classes
        Number of outputs.
    widths
        Channels of the convolutions; each has 3 x 3 kernels, stride 1, zeros at the border, and is followed
        by an activation and a pooling of 2 x 2 that rounds up.
    hidden
        Widths of linear layers between the convolutions and the outputs.
    activation
        A key of `models.ACTIVATIONS`.
    pool
        ``"max"`` or ``"average"``.
    bias
        Whether layers have biases.
    batch_norm
        Whether a batch norm stands between each hidden layer and its activation.

    Returns
    -------
    nn.Sequential
        ``conv1``, ``norm1``, ``activation1``, ``pool1``, ``conv2``, ..., ``flatten``, ``layer3``, ... as far
        as asked for.

    Raises
    ------
    ValueError
        If an argument is none of those above.
    MemoryError
        If the network does not fit in memory.

    Examples
    --------
    >>> [tuple(p.shape) for p in convnet(bias=False).parameters()]
    [(8, 1, 3, 3), (16, 8, 3, 3), (10, 64)]
    """
    if pool not in ("max", "average"):
        raise ValueError(f"pool must be 'max' or 'average', not {pool!r}")
    check_lists(widths=widths, hidden=hidden)
    if not len(widths):
        raise ValueError("widths must name at least one convolution")
    groups = [[width] for width in widths]
    return _network(channels, classes, size, groups, hidden, activation, pool, bias, batch_norm)


def vgg16(
    channels: int = 3, classes: int = 10, *, size: int = 32, width: int = 64, batch_norm: bool = True
) -> nn.Sequential:
    """Make VGG16 for small images: thirteen convolutions and one linear layer.

    Simonyan and Zisserman (arXiv:1409.1556), configuration D, with batch norm and a single linear layer as
    usual on CIFAR-10.

    Parameters
    ----------
    channels, size
        Inputs are ``(B, channels, size, size)``; poolings round up, so any size is allowed.
    classes
        Number of outputs.
    width
        Channels of the first two convolutions, 64 in the original.
    batch_norm
        Whether a batch norm follows each convolution.

    Returns
    -------
    nn.Sequential
        ``conv1``, ``norm1``, ``activation1``, ``conv2``, ..., ``pool2``, ..., ``pool13``, ``flatten``,
        ``layer14``.

    Raises
    ------
    ValueError
        If a number is not a positive integer.
    MemoryError
        If the network does not fit in memory.

    Examples
    --------
    >>> sum(p.numel() for p in vgg16(width=4).parameters())
    58686
    """
    check_counts(width=width)
    groups = [[width * min(2**k, 8)] * count for k, count in enumerate(VGG16)]
    return _network(channels, classes, size, groups, (), "relu", "max", True, batch_norm)


def check_counts(**values: int) -> None:
    """Refuse numbers that are not positive integers.

    Raises
    ------
    ValueError
        It names the number.
    """
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} must be a positive integer, not {value!r}")


def check_lists(**values: Sequence[int]) -> None:
    """Refuse what are no sequences.

    Raises
    ------
    ValueError
        It names the sequence.
    """
    for name, value in values.items():
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise ValueError(f"{name} must be a sequence of positive integers, not {value!r}")


def _network(
    channels: int,
    classes: int,
    size: int,
    groups: Sequence[Sequence[int]],
    hidden: Sequence[int],
    activation: str,
    pool: str,
    bias: bool,
    batch_norm: bool,
) -> nn.Sequential:
    """Convolutions in groups that end with a pooling, then linear layers; numbered through."""
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {sorted(ACTIVATIONS)}, not {activation!r}")
    check_counts(channels=channels, classes=classes, size=size)
    for width in (*(width for group in groups for width in group), *hidden):
        check_counts(width=width)

    def build() -> nn.Sequential:
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        inside, side, i = channels, size, 0
        for group in groups:
            for width in group:
                i += 1
                layers[f"conv{i}"] = nn.Conv2d(inside, width, 3, padding=1, bias=bias)
                if batch_norm:
                    layers[f"norm{i}"] = nn.BatchNorm2d(width)
                layers[f"activation{i}"] = ACTIVATIONS[activation]()
                inside = width
            layers[f"pool{i}"] = MaxPool() if pool == "max" else nn.AvgPool2d(2, ceil_mode=True)
            side = -(-side // 2)
        layers["flatten"] = nn.Flatten()
        inside *= side * side
        for width in hidden:
            i += 1
            layers[f"layer{i}"] = nn.Linear(inside, width, bias=bias)
            if batch_norm:
                layers[f"norm{i}"] = nn.BatchNorm1d(width)
            layers[f"activation{i}"] = ACTIVATIONS[activation]()
            inside = width
        layers[f"layer{i + 1}"] = nn.Linear(inside, classes, bias=bias)
        return nn.Sequential(layers)

    return make(build)
