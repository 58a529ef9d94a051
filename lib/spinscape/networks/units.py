"""Symmetry as data: which parameters each set of exchangeable hidden units touches.

A set of hidden units (the neurons of a layer, the channels of a convolution, a residual stream) may be
permuted, and with a positively homogeneous activation each unit may be rescaled, if every parameter that
writes or reads the units follows.
A `Description` lists those parameters, as ``PermutationSpec`` does in the code of Ainsworth et al.
(arXiv:2209.04836), so that `spinscape.landscape.symmetry` knows no architecture.
`describe` gives the one of a model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, get_args

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

Kind = Literal["homogeneous", "odd", "linear", "other"]
"""What an activation commutes with: positive factors, signs, both, or neither."""

EXAMPLE = "an example is in the docstring of spinscape.networks.units.Description"


@dataclass(frozen=True)
class Axis:
    """An axis of a parameter or buffer along which units are listed.

    Attributes
    ----------
    name
        Name of the parameter or buffer.
    axis
        The axis, without the replica axis, counted from 0.
    repeat
        Consecutive entries per unit; above 1 where feature maps were flattened.
    """

    name: str
    axis: int = 0
    repeat: int = 1


@dataclass(frozen=True)
class Units:
    """Hidden units that are permuted together.

    Attributes
    ----------
    name
        Name of the set, that of the layer that writes it (first).
    size
        Number of units.
    incoming
        Weights and biases that write the units; all of a unit's entries are scaled with it.
    outgoing
        Weights that read the units; scaled by the inverse.
    opening
        Those of `incoming` in layers that do not themselves depend on the units: all of them in a chain, in
        a residual stream the layers that open it.
    norms
        Scales, shifts and running statistics of batch norms on the units; permuted with them, and folded
        into `incoming` before anything is rescaled.
    kind
        What the activation of the units commutes with; it has to be said, by name.
        No check can tell: a wrong kind lets factors or signs change the function.
    """

    name: str
    size: int
    incoming: tuple[Axis, ...]
    outgoing: tuple[Axis, ...]
    opening: tuple[Axis, ...]
    norms: tuple[Axis, ...] = ()
    kind: Kind = field(kw_only=True)

    @property
    def axes(self) -> tuple[Axis, ...]:
        """Every axis that a permutation of the units acts on."""
        return (*self.incoming, *self.norms, *self.outgoing)


@dataclass(frozen=True)
class Description:
    """The hidden units of a model.

    Attributes
    ----------
    units
        Sets of units in the order of the forward pass.
    outputs
        Weight and bias of the last layer, which one positive number scales; empty where an activation that
        does not commute with positive factors follows them.
    norms
        Pairs of names of modules, a layer and the batch norm that follows it.
    elsewhere
        Names of batch norms that act on no hidden units, but on inputs or outputs.

    Examples
    --------
    A model of one's own says what writes and what reads its hidden units, and what they commute with.

    >>> import torch
    >>> class Gated(nn.Module):
    ...     def __init__(self) -> None:
    ...         super().__init__()
    ...         self.low, self.gate, self.top = nn.Linear(4, 8), nn.Linear(4, 8), nn.Linear(8, 3)
    ...
    ...     def forward(self, x: torch.Tensor) -> torch.Tensor:
    ...         return self.top(self.low(x).relu() * self.gate(x).sigmoid())
    ...
    ...     def hidden_units(self) -> Description:
    ...         written = (Axis("low.weight"), Axis("low.bias"), Axis("gate.weight"), Axis("gate.bias"))
    ...         units = Units("hidden", 8, written, (Axis("top.weight", 1),), written, kind="other")
    ...         return Description((units,), ("top.weight", "top.bias"))

    Whatever was forgotten changes the function of a permuted network.

    >>> from spinscape.landscape.functions import function_change
    >>> from spinscape.landscape.symmetry import permute, random_permutations
    >>> from spinscape.networks.ensemble import Ensemble
    >>> ensemble = Ensemble.from_modules([Gated().double()])
    >>> permuted = permute(ensemble, random_permutations(ensemble, replicas=1))
    >>> bool(function_change(ensemble, permuted, torch.randn(50, 4))[0] < 1e-12)
    True
    """

    units: tuple[Units, ...]
    outputs: tuple[str, ...]
    norms: tuple[tuple[str, str], ...] = field(default=())
    elsewhere: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Units:
        """Return the set of this name.

        Raises
        ------
        KeyError
            It lists the names there are.
        """
        for units in self.units:
            if units.name == name:
                return units
        names = ", ".join(repr(units.name) for units in self.units)
        raise KeyError(f"there are no hidden units {name!r}; known sets: {names}")


def describe(model: nn.Module) -> Description:
    """Return the hidden units of a model.

    Parameters
    ----------
    model
        A module with a method ``hidden_units()`` that returns a `Description`, or a plain chain:
        ``nn.Sequential`` (nested too) or `models.Residual` of flatten, linear, convolution (1d and 2d, no
        groups), batch norm (1d and 2d), pooling, dropout and activations that act on each entry.

    Returns
    -------
    Description
        Checked against the model's parameters and buffers; sets are named after the layers that write them.

    Raises
    ------
    ValueError
        If the model holds a module that is not understood, which is named, or if its description does not
        fit its parameters.
    TypeError
        If ``hidden_units()`` returns something else.

    Examples
    --------
    >>> from spinscape.networks.models import mlp
    >>> [(units.name, units.size) for units in describe(mlp([784, 512, 64, 10])).units]
    [('layer1', 512), ('layer2', 64)]
    """
    from spinscape.networks._chains import read_chain

    own = getattr(model, "hidden_units", None)
    if callable(own):
        description = own()
        if not isinstance(description, Description):
            raise TypeError(
                f"hidden_units() of {type(model).__name__} must return a Description, "
                f"not {type(description).__name__}"
            )
    else:
        description = read_chain(model)
    check(model, description)
    return description


def check(model: nn.Module, description: Description) -> None:
    """Refuse a description that does not fit the parameters and buffers of a model.

    Parameters
    ----------
    model
        Any module.
    description
        What is said of its hidden units.

    Raises
    ------
    ValueError
        If a parameter is missing or of another shape, or a bias or a batch norm of the units is not listed;
        it is named.
    TypeError
        If `description` is something else.
    """
    if not isinstance(description, Description):
        raise TypeError(f"description must be a Description, not {type(description).__name__}")
    tensors = dict(model.named_parameters()) | dict(model.named_buffers())
    shared = dict(model.named_parameters(remove_duplicate=False))
    modules = dict(model.named_modules())
    repeated = [name for name, n in Counter(u.name for u in description.units).items() if n > 1]
    if repeated:
        raise ValueError(f"hidden units {repeated[0]!r} are described twice")
    seen: set[tuple[str, int]] = set()
    for units in description.units:
        if units.size < 1 or units.kind not in get_args(Kind):
            raise ValueError(f"hidden units {units.name!r} have size {units.size} and kind {units.kind!r}")
        for axis in units.axes:
            where = f"axis {axis.axis} of {axis.name}, listed for hidden units {units.name!r},"
            if axis.name in shared and axis.name not in tensors:
                first = next(name for name, value in tensors.items() if value is shared[axis.name])
                raise ValueError(f"{where} is one parameter with {first}: tied weights are not understood")
            if axis.name not in tensors:
                raise ValueError(f"{where} is of no parameter or buffer of the model")
            shape = tuple(tensors[axis.name].shape)
            if not 0 <= axis.axis < len(shape):
                raise ValueError(f"{where} does not exist: its shape is {shape}")
            if axis.repeat < 1 or shape[axis.axis] != units.size * axis.repeat:
                raise ValueError(
                    f"{where} must have {units.size} x {axis.repeat} entries; its shape is {shape}"
                )
            if (axis.name, axis.axis) in seen:
                raise ValueError(f"{where} is listed twice")
            seen.add((axis.name, axis.axis))
        stray = [axis.name for axis in units.opening if axis not in units.incoming]
        if stray or not units.opening:
            told = f"{stray[0]} is not" if stray else "there is none"
            raise ValueError(f"opening of hidden units {units.name!r} must be part of incoming: {told}")
    for name in description.outputs:
        if name not in tensors:
            raise ValueError(f"{name}, listed in outputs, is no parameter of the model")
    for where, names in (
        ("norms", (name for pair in description.norms for name in pair)),
        ("elsewhere", description.elsewhere),
    ):
        for name in names:
            if name not in modules:
                raise ValueError(f"{name}, listed in {where}, is no module of the model")
    _check_complete(modules, set(tensors), description)


def _check_complete(modules: dict[str, nn.Module], tensors: set[str], description: Description) -> None:
    """Refuse a description that lists the weights of a layer without its bias, or leaves out a batch norm."""
    for units in description.units:
        for axes in (units.incoming, units.norms):
            listed = {axis.name for axis in axes}
            for axis in axes:
                layer, _, tensor = axis.name.rpartition(".")
                bias = join(layer, "bias")
                own = getattr(modules.get(layer), "bias", None)
                told = tensor != "weight" or axis.axis or own is None
                if not told and bias in tensors and bias not in listed:
                    raise ValueError(
                        f"{bias} is not listed for hidden units {units.name!r}, although {axis.name} is: "
                        f"a permutation would change the function; {EXAMPLE}"
                    )
    listed = {axis.name for units in description.units for axis in units.axes}
    for name, module in modules.items():
        if isinstance(module, _BatchNorm) and name not in description.elsewhere:
            for axis in norm_axes(name, module):
                if axis.name not in listed:
                    raise ValueError(
                        f"{axis.name} is listed for no hidden units: a batch norm belongs to the norms "
                        f"of the units it acts on, or in elsewhere if these are inputs or outputs; {EXAMPLE}"
                    )


def layer_axes(
    name: str, layer: nn.Module, norm: tuple[str, nn.Module] | None = None
) -> tuple[tuple[Axis, ...], tuple[Axis, ...]]:
    """Return the axes along which a layer, and a batch norm after it, list the units they write.

    Parameters
    ----------
    name, layer
        Name of the layer and the layer, with a weight and maybe a bias.
    norm
        The same of a batch norm, or of a module without parameters.

    Returns
    -------
    incoming, norms : tuple of Axis
        For `Units`.
    """
    incoming = _axes(name, layer, ("weight", "bias"))
    return incoming, () if norm is None else norm_axes(*norm)


def norm_axes(name: str, norm: nn.Module, repeat: int = 1) -> tuple[Axis, ...]:
    """Return the axes of scale, shift and running statistics of a batch norm, as far as it has them.

    Parameters
    ----------
    name, norm
        Name of the batch norm and the batch norm; a module without parameters has none.
    repeat
        Consecutive entries per unit.

    Returns
    -------
    tuple of Axis
        For the norms of `Units`.
    """
    return _axes(name, norm, ("weight", "bias", "running_mean", "running_var"), repeat)


def _axes(name: str, module: nn.Module, tensors: Iterable[str], repeat: int = 1) -> tuple[Axis, ...]:
    there = (tensor for tensor in tensors if getattr(module, tensor, None) is not None)
    return tuple(Axis(join(name, tensor), 0, repeat) for tensor in there)


def join(prefix: str, name: str) -> str:
    """Return the name of a part of a module, of the model itself if that has none."""
    return f"{prefix}.{name}" if prefix else name
