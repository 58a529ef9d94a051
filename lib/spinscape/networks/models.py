"""Models, and the laws their initial parameters are drawn from."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Sequence
from copy import deepcopy
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from spinscape.memory import available_bytes

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "elu": nn.ELU,
    "softplus": nn.Softplus,
    "identity": nn.Identity,
}

INITIALISATIONS = ("pytorch", "glorot")

PARAMETER_BYTES = 4
"""Memory of one parameter in single precision, in which networks are trained."""

M = TypeVar("M", bound=nn.Module)

_GLOROT = (nn.Linear, nn.modules.conv._ConvNd, nn.Bilinear)


class Shortcut(nn.Identity):
    """Marks where a :class:`Residual` adds the input of the linear layer before."""


class MaxPool(nn.MaxPool2d):
    """Maximum over windows of 2 x 2, fast on a CPU where no slope is needed; the same bits as its parent.

    PyTorch's pooling looks for places as well as values, which takes three quarters of the forward pass of a
    small convolutional network on a CPU; without a slope two maxima of strided halves do.
    """

    def __init__(self) -> None:
        super().__init__(2, ceil_mode=True)

    def forward(self, h: Tensor) -> Tensor:
        """Return the maxima, a window that sticks out at the border over what it holds."""
        if torch.is_grad_enabled() or h.device.type != "cpu":
            return super().forward(h)
        short = (h.shape[-1] % 2, h.shape[-2] % 2)
        if any(short):
            h = functional.pad(h, (0, short[0], 0, short[1]), value=-math.inf)
        h = torch.maximum(h[..., ::2], h[..., 1::2])
        return torch.maximum(h[..., ::2, :], h[..., 1::2, :])


class Residual(nn.Sequential):
    """A sequence in which each :class:`Shortcut` adds the input of the last linear layer."""

    def forward(self, x: Tensor) -> Tensor:
        """Run the layers, inputs ``(B, ...)`` to outputs ``(B, C)``."""
        before = x
        for module in self:
            if isinstance(module, nn.Linear):
                before = x
            x = x + before if isinstance(module, Shortcut) else module(x)
        return x


def mlp(
    widths: Sequence[int],
    *,
    activation: str = "relu",
    bias: bool = True,
    batch_norm: bool = False,
    skip: bool = False,
    initialisation: str = "pytorch",
) -> nn.Sequential:
    """Make a fully connected network.

    Parameters
    ----------
    widths
        Numbers of units from inputs to outputs, such as ``[784, 512, 10]``.
    activation
        A key of :data:`ACTIVATIONS`, applied after every layer but the last.
    bias
        Whether layers have biases.
    batch_norm
        Whether a batch norm with scale and shift stands between each hidden layer and its activation.
    skip
        Whether the input of each hidden layer as wide as the one before it is added to its activation,
        ``h_l = h_{l-1} + phi(norm(W_l h_{l-1} + b_l))`` for l >= 2; nothing follows the sum.
    initialisation
        ``"pytorch"`` or ``"glorot"``, see :func:`initialise`; drawn from PyTorch's global
        generator.

    Returns
    -------
    nn.Sequential
        ``flatten``, ``layer1``, ``norm1``, ``activation1``, ``layer2``, ``norm2``, ``activation2``,
        ``skip2``, ... as far as asked for, so that weights are named ``layer1.weight``.
        Inputs may have any shape ``(B, ...)`` of ``widths[0]`` entries.

    Raises
    ------
    ValueError
        If widths, activation or initialisation are not of the kind above, or with `skip` no two hidden
        layers of one width follow each other.
    MemoryError
        If the network does not fit in memory.

    Examples
    --------
    >>> [tuple(p.shape) for p in mlp([64, 32, 10]).parameters()]
    [(32, 64), (32,), (10, 32), (10,)]
    """
    check_widths(widths, bias=bias, batch_norm=batch_norm)
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {sorted(ACTIVATIONS)}, not {activation!r}")
    if skip and not any(a == b for a, b in pairwise(widths[1:-1])):
        raise ValueError(f"skip needs two hidden layers of one width in a row, not widths {list(widths)}")
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    last = len(widths) - 1
    for i in range(1, last + 1):
        layers[f"layer{i}"] = nn.Linear(int(widths[i - 1]), int(widths[i]), bias=bias)
        if i == last:
            break
        if batch_norm:
            layers[f"norm{i}"] = nn.BatchNorm1d(int(widths[i]))
        layers[f"activation{i}"] = ACTIVATIONS[activation]()
        if skip and i > 1 and widths[i] == widths[i - 1]:
            layers[f"skip{i}"] = Shortcut()
    model = Residual(layers) if skip else nn.Sequential(layers)
    if initialisation != "pytorch":
        seed = int(torch.randint(2**62, ()))
        params, _ = initialise(model, torch.Generator().manual_seed(seed), initialisation)
        with torch.no_grad():
            for name, own in model.named_parameters():
                own.copy_(params[name])
    return model


def check_widths(
    widths: Sequence[int], *, bias: bool = True, batch_norm: bool = False, networks: int = 1
) -> None:
    """Refuse widths that are none, or networks of them that do not fit in memory; allocates nothing.

    Raises
    ------
    ValueError
        If widths are not at least two positive integers.
    MemoryError
        It tells how many parameters fit.
    """
    try:
        good = len(widths) > 1 and all(int(width) == width and width > 0 for width in widths)
    except (TypeError, ValueError, OverflowError):
        good = False
    if not good:
        raise ValueError(f"widths must be at least two positive integers, not {widths!r}")
    count = parameter_count(widths, bias=bias, batch_norm=batch_norm)
    # Drawing and training hold at least one copy more.
    each, there = 2 * PARAMETER_BYTES * networks, available_bytes(torch.device("cpu"))
    if each * count > there:
        raise MemoryError(
            f"networks ({networks} of widths {list(widths)}) take {each * count / 2**30:.3g} GiB, more than "
            f"there is: their {count:,} parameters must be at most {int(there / each):,}"
        )


def make(build: Callable[[], M]) -> M:
    """Build a network, unless it and a copy of it do not fit in memory.

    Parameters
    ----------
    build
        Makes the network; called first on a device without memory, to count parameters.

    Raises
    ------
    MemoryError
        It tells how many parameters fit.
    """
    with torch.device("meta"):
        count = sum(value.numel() for value in build().parameters())
    check_count(count)
    return build()


def check_count(parameters: int) -> None:
    """Refuse a network of so many parameters if it and a copy of it do not fit in memory.

    Raises
    ------
    MemoryError
        It tells how many parameters fit.
    """
    each, there = 2 * PARAMETER_BYTES, available_bytes(torch.device("cpu"))
    if each * parameters > there:
        raise MemoryError(
            f"a network of {parameters:,} parameters takes {each * parameters / 2**30:.3g} GiB, more than "
            f"there is: its parameters must be at most {int(there / each):,}"
        )


def parameter_count(widths: Sequence[int], *, bias: bool = True, batch_norm: bool = False) -> int:
    """Return the number of parameters of :func:`mlp` of these widths.

    Examples
    --------
    >>> parameter_count([784, 512, 10])
    407050
    """
    weights = sum(int(m) * int(n) for m, n in pairwise(widths))
    return weights + bias * sum(widths[1:]) + 2 * batch_norm * sum(widths[1:-1])


def equal_width(
    features: int,
    classes: int,
    hidden_layers: int,
    parameters: int,
    *,
    bias: bool = True,
    batch_norm: bool = False,
) -> int:
    """Return the width of equal hidden layers that comes closest to a number of parameters.

    Parameters
    ----------
    features, classes
        Numbers of inputs and outputs.
    hidden_layers
        Number of hidden layers, at least 1.
    parameters
        The budget; the count of weights, biases and scales nearest to it is chosen, the smaller of two.
    bias, batch_norm
        As in :func:`mlp`.

    Raises
    ------
    ValueError
        If a number is below 1, or not even hidden layers of one unit keep to the budget.

    Examples
    --------
    >>> [equal_width(784, 10, h, 407_050) for h in (1, 5, 10)]
    [512, 230, 175]
    """
    for what, value in (("features", features), ("classes", classes), ("hidden_layers", hidden_layers)):
        if int(value) != value or value < 1:
            raise ValueError(f"{what} must be a positive integer, not {value}")

    def count(width: int) -> int:
        widths = [features, *[width] * hidden_layers, classes]
        return parameter_count(widths, bias=bias, batch_norm=batch_norm)

    if parameters < count(1):
        raise ValueError(
            f"{hidden_layers} hidden layers between {features} inputs and {classes} outputs have at least "
            f"{count(1)} parameters, more than {parameters}"
        )
    # The count grows with the width and is at least `features` per unit.
    width = bisect_right(range(parameters // features + 2), parameters, lo=1, key=count) - 1
    return min((width, width + 1), key=lambda w: abs(count(w) - parameters))


def initialise(
    model: nn.Module,
    generator: torch.Generator,
    scheme: str | Callable[[nn.Module], None] = "pytorch",
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Draw initial parameters of any model from a generator; the model itself stays as it is.

    Parameters
    ----------
    model
        Any module. Every submodule that owns parameters needs ``reset_parameters()``, as PyTorch's
        own have.
    generator
        A CPU generator; one number is drawn from it, which seeds all draws for this replica.
    scheme
        ``"pytorch"``: each layer's own default law. ``"glorot"``: weights of linear and convolution
        layers uniform in ``+- sqrt(6 / (fan_in + fan_out))`` and their biases zero, as in Keras
        (Glorot and Bengio, AISTATS 2010); other layers by their default law. Or a function that
        resets the module it is given, in place, from PyTorch's global generator.

    Returns
    -------
    params, buffers : dict of str to Tensor
        By name, on the CPU.

    Raises
    ------
    ValueError
        If the scheme is unknown or a submodule cannot be reset.
    """
    fresh = deepcopy(model).to("cpu")
    seed = int(torch.randint(2**62, (), generator=generator))
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.random.default_generator.manual_seed(seed)
        if callable(scheme):
            scheme(fresh)
        elif scheme in INITIALISATIONS:
            _reset(fresh, scheme)
        else:
            raise ValueError(f"initialisation must be one of {INITIALISATIONS} or a function, not {scheme!r}")
    return (
        {name: value.detach() for name, value in fresh.named_parameters()},
        {name: value.detach() for name, value in fresh.named_buffers()},
    )


def _reset(model: nn.Module, scheme: str) -> None:
    for name, module in model.named_modules():
        if scheme == "glorot" and isinstance(module, _GLOROT):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
            continue
        reset = getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)
        if callable(reset):
            reset()
        elif next(module.parameters(recurse=False), None) is not None:
            raise ValueError(
                f"{type(module).__name__} ({name or 'the model itself'}) owns parameters "
                "but has no "
                "reset_parameters(); add that method, or pass a function as initialisation"
            )
