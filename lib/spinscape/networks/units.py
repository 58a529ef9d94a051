"""Symmetry as data: which parameters each set of exchangeable hidden units touches.

A set of hidden units (the neurons of a layer, the channels of a convolution, a residual stream) may be
permuted, and with a positively homogeneous activation each unit may be rescaled, if every parameter that
writes or reads the units follows.
A `Description` lists those parameters, as ``PermutationSpec`` does in the code of Ainsworth et al.
(arXiv:2209.04836), so that `spinscape.landscape.symmetry` knows no architecture.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["homogeneous", "odd", "linear", "other"]
"""What an activation commutes with: positive factors, signs, both, or neither."""


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
        What the activation of the units commutes with.
    """

    name: str
    size: int
    incoming: tuple[Axis, ...]
    outgoing: tuple[Axis, ...]
    opening: tuple[Axis, ...]
    norms: tuple[Axis, ...] = ()
    kind: Kind = "homogeneous"

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
        Weight and bias of the last layer, which one positive number scales.
    norms
        Pairs of names of modules, a layer and the batch norm that follows it.
    """

    units: tuple[Units, ...]
    outputs: tuple[str, ...]
    norms: tuple[tuple[str, str], ...] = field(default=())

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
