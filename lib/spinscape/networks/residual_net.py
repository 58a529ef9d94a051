"""Residual networks for small images (He et al., arXiv:1512.03385) that state their hidden units."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from spinscape.networks.convolutional import check_counts, check_lists
from spinscape.networks.models import check_count
from spinscape.networks.units import Axis, Description, Units, layer_axes


class Block(nn.Module):
    """Two convolutions of 3 x 3, and a shortcut from inputs to outputs.

    ``relu(norm2(conv2(relu(norm1(conv1(x))))) + shortcut_norm(shortcut(x)))``; the shortcut is a convolution
    of 1 x 1 where channels or size change, else the identity.
    """

    def __init__(self, inside: int, width: int, stride: int, *, batch_norm: bool = True) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, width, 3, stride, 1, bias=not batch_norm)
        self.norm1 = _norm(width, batch_norm)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=not batch_norm)
        self.norm2 = _norm(width, batch_norm)
        self.shortcut: nn.Module = nn.Identity()
        self.shortcut_norm: nn.Module = nn.Identity()
        if stride != 1 or inside != width:
            self.shortcut = nn.Conv2d(inside, width, 1, stride, bias=not batch_norm)
            self.shortcut_norm = _norm(width, batch_norm)

    def forward(self, x: Tensor) -> Tensor:
        """Run the block on feature maps ``(B, channels, height, width)``."""
        inner = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(inner)) + self.shortcut_norm(self.shortcut(x)))


class ResNet(nn.Module):
    """A residual network of basic blocks, in the form for small images.

    ``stem`` (3 x 3, stride 1), ``stem_norm``, stages ``stage1``, ``stage2``, ... of `Block`, mean over the
    maps, ``output``.
    Every stage but the first halves the maps and doubles the channels.

    Parameters
    ----------
    channels
        Of the inputs ``(B, channels, height, width)``, of any height and width.
    classes
        Number of outputs.
    blocks
        Blocks in each stage.
    width
        Channels of the first stage.
    batch_norm
        Whether a batch norm follows each convolution; without, convolutions have biases.

    Raises
    ------
    ValueError
        If a number is not a positive integer.
    MemoryError
        If the network does not fit in memory.
    """

    def __init__(
        self,
        channels: int = 3,
        classes: int = 10,
        *,
        blocks: Sequence[int] = (2, 2, 2, 2),
        width: int = 64,
        batch_norm: bool = True,
    ) -> None:
        super().__init__()
        check_lists(blocks=blocks)
        check_counts(channels=channels, classes=classes, width=width, stages=len(blocks))
        for count in blocks:
            check_counts(blocks=count)
        check_count(_weights(channels, classes, blocks, width))
        self.blocks = tuple(blocks)
        self.stem = nn.Conv2d(channels, width, 3, 1, 1, bias=not batch_norm)
        self.stem_norm = _norm(width, batch_norm)
        inside = width
        for k, count in enumerate(blocks):
            outside = width * 2**k
            stage = [
                Block(outside if b else inside, outside, 2 if k and not b else 1, batch_norm=batch_norm)
                for b in range(count)
            ]
            self.add_module(f"stage{k + 1}", nn.Sequential(*stage))
            inside = outside
        self.output = nn.Linear(inside, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return outputs ``(B, classes)``."""
        x = F.relu(self.stem_norm(self.stem(x)))
        for k in range(len(self.blocks)):
            x = self.get_submodule(f"stage{k + 1}")(x)
        return self.output(x.mean((2, 3)))

    def hidden_units(self) -> Description:
        """Return one set for each stage's residual stream and one for the inner channels of each block.

        The stem opens the stream of the first stage; the first block's second convolution and shortcut open
        that of any other.
        """
        stream = _Channels("stage1")
        stream.write(self, "stem", "stem_norm", opens=True)
        sets = [stream]  # in the order of the forward pass
        for k, count in enumerate(self.blocks, start=1):
            for b in range(count):
                name = f"stage{k}.{b}"
                inner = _Channels(f"{name}.conv1")
                stream.read(inner.name)
                inner.write(self, inner.name, f"{name}.norm1", opens=True)
                inner.read(f"{name}.conv2")
                sets.append(inner)
                opens = k > 1 and b == 0
                if opens:
                    stream.read(f"{name}.shortcut")
                    stream = _Channels(f"stage{k}")
                    stream.write(self, f"{name}.shortcut", f"{name}.shortcut_norm", opens=True)
                    sets.append(stream)
                stream.write(self, f"{name}.conv2", f"{name}.norm2", opens=opens)
        stream.read("output")
        norms = tuple(pair for channels in sets for pair in channels.pairs)
        return Description(
            tuple(channels.units() for channels in sets), ("output.weight", "output.bias"), norms
        )


class _Channels:
    """A set of channels, with the layers that write and read them as they are met."""

    def __init__(self, name: str) -> None:
        self.name, self.size = name, 0
        self.incoming: list[Axis] = []
        self.opening: list[Axis] = []
        self.norms: list[Axis] = []
        self.outgoing: list[Axis] = []
        self.pairs: list[tuple[str, str]] = []

    def write(self, model: nn.Module, layer: str, norm: str, *, opens: bool = False) -> None:
        """Add a layer that writes the channels through a norm."""
        module, after = model.get_submodule(layer), model.get_submodule(norm)
        incoming, norms = layer_axes(layer, module, (norm, after))
        self.size = module.get_parameter("weight").shape[0]
        self.incoming += incoming
        self.norms += norms
        self.opening += incoming if opens else ()
        self.pairs += [(layer, norm)] if isinstance(after, nn.BatchNorm2d) else []

    def read(self, layer: str) -> None:
        """Add a layer that reads the channels."""
        self.outgoing.append(Axis(f"{layer}.weight", 1))

    def units(self) -> Units:
        """Return them as data."""
        return Units(
            self.name,
            self.size,
            tuple(self.incoming),
            tuple(self.outgoing),
            tuple(self.opening),
            tuple(self.norms),
            kind="homogeneous",
        )


def resnet18(channels: int = 3, classes: int = 10, *, width: int = 64, batch_norm: bool = True) -> ResNet:
    """Make ResNet-18 in its form for small images, 11,173,962 parameters at three channels, ten classes.

    Parameters
    ----------
    channels, classes, width, batch_norm
        As for `ResNet`.

    Raises
    ------
    ValueError
        If a number is not a positive integer.
    MemoryError
        If the network does not fit in memory.
    """
    return ResNet(channels, classes, width=width, batch_norm=batch_norm)


def _norm(width: int, batch_norm: bool) -> nn.Module:
    return nn.BatchNorm2d(width) if batch_norm else nn.Identity()


def _weights(channels: int, classes: int, blocks: Sequence[int], width: int) -> int:
    """Return the number of weights of convolutions and of the last layer."""
    count, inside = 9 * channels * width, width
    for k, depth in enumerate(blocks):
        outside = width * 2**k
        shortcut = inside * outside if k else 0
        count += 9 * inside * outside + 9 * (2 * depth - 1) * outside**2 + shortcut
        inside = outside
    return count + inside * classes
