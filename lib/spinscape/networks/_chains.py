"""Hidden units of plain chains of layers, read off their modules."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from torch import nn

from spinscape.networks.models import MaxPool, Residual, Shortcut
from spinscape.networks.units import EXAMPLE, Axis, Description, Kind, Units, join, layer_axes, norm_axes

_LINEAR: tuple[type[nn.Module], ...] = (nn.Identity, Shortcut, nn.Dropout, nn.Dropout1d, nn.Dropout2d)
_HOMOGENEOUS = (nn.ReLU, nn.LeakyReLU)
_ODD = (nn.Tanh, nn.Softsign, nn.Tanhshrink)
_OTHER = (
    nn.Sigmoid, nn.GELU, nn.SiLU, nn.ELU, nn.Softplus, nn.SELU, nn.CELU, nn.Mish, nn.LogSigmoid, nn.ReLU6,
    nn.Hardtanh, nn.Hardsigmoid, nn.Hardswish, nn.AlphaDropout,
)  # fmt: skip
_AVERAGE = (nn.AvgPool1d, nn.AvgPool2d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d)
_MAXIMUM = (MaxPool, nn.MaxPool1d, nn.MaxPool2d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d)
_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)

_KINDS: dict[type[nn.Module], Kind] = {
    **dict.fromkeys((*_LINEAR, *_AVERAGE), "linear"),
    **dict.fromkeys((*_HOMOGENEOUS, *_MAXIMUM), "homogeneous"),
    **dict.fromkeys(_ODD, "odd"),
    **dict.fromkeys(_OTHER, "other"),
}


def _both(first: Kind, second: Kind) -> Kind:
    """Return what two functions, one after the other, commute with."""
    if "linear" in (first, second):
        return second if first == "linear" else first
    return first if first == second else "other"


def read_chain(model: nn.Module) -> Description:
    """Return the hidden units of a chain of layers; see `units.describe`.

    Raises
    ------
    ValueError
        If a module is not understood; it is named.
    """
    chain = _Chain()
    chain.walk(model, "")
    return chain.description()


class _Chain:
    """The layers of a chain as they are met; the last set written has no reader yet."""

    def __init__(self) -> None:
        self.sets: list[Units] = []
        self.current = -1  # the set that enters the next layer; -1 for the inputs
        self.before = -1  # the set that entered the last linear layer of a Residual
        self.layout: Literal["inputs", "features", "maps", "flat"] = "inputs"
        self.layer: str | None = None  # what a batch norm would follow directly
        self.norms: list[tuple[str, str]] = []
        self.every: dict[str, tuple[Axis, ...]] = {}  # the axes of each batch norm

    def description(self) -> Description:
        """Return what was read; the last set is the outputs."""
        if self.current < 0:
            raise _unknown("the model", "has no linear layer or convolution")
        outputs: tuple[str, ...] = ()
        final = self.sets[self.current]
        if final.kind in ("linear", "homogeneous") and not final.outgoing:
            outputs = tuple(axis.name for axis in final.incoming)
        hidden = [units for units in self.sets if units is not final and units.outgoing]
        listed = {axis for units in hidden for axis in units.norms}
        elsewhere = (name for name, axes in self.every.items() if axes and not listed.issuperset(axes))
        return Description(tuple(hidden), outputs, tuple(self.norms), tuple(elsewhere))

    def walk(self, module: nn.Module, name: str) -> None:
        """Read a module and what it holds."""
        kind = type(module)
        if kind in (nn.Sequential, Residual):
            outer, self.before = self.before, self.current
            for child, part in module._modules.items():
                assert part is not None
                if kind is Residual and type(part) is Shortcut:
                    self.add(join(name, child))
                else:
                    if type(part) is nn.Linear:
                        self.before = self.current
                    self.walk(part, join(name, child))
            self.before = outer
        elif isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d) and kind in _LAYERS:
            self.connect(module, name)
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) and kind in _NORMS:
            self.normalise(module, name)
        elif isinstance(module, nn.Flatten) and (module.start_dim, module.end_dim) == (1, -1):
            self.layout = "flat" if self.layout == "maps" else self.layout
            self.layer = None if self.layout == "flat" else self.layer
        elif kind in _KINDS:
            if kind in (*_AVERAGE, *_MAXIMUM) and self.layout not in ("inputs", "maps"):
                raise _unknown(name, f"({kind.__name__}) pools over units")
            self.pass_through(_KINDS[kind], keeps=kind in _LINEAR)
        else:
            raise _unknown(name or "the model itself", f"({kind.__name__}) is not understood")

    def change(self, index: int, **values: object) -> None:
        """Replace attributes of a set."""
        self.sets[index] = replace(self.sets[index], **values)  # type: ignore[arg-type]

    def connect(self, module: nn.Linear | nn.Conv1d | nn.Conv2d, name: str) -> None:
        """Let a layer read the current set and write one of its own."""
        convolution = not isinstance(module, nn.Linear)
        if isinstance(module, nn.Linear):
            inside, outside = module.in_features, module.out_features
        else:
            inside, outside = module.in_channels, module.out_channels
        if not isinstance(module, nn.Linear) and module.groups != 1:
            raise _unknown(name, f"(a convolution in {module.groups} groups) is not understood")
        if self.current >= 0:
            size = self.sets[self.current].size
            repeat = inside // size if self.layout == "flat" else 1
            if convolution != (self.layout == "maps") or inside != size * repeat:
                kind = type(module).__name__
                if inside == size and not convolution:
                    raise _unknown(name, f"({kind}) reads feature maps that nothing flattened")
                raise _unknown(name, f"({kind}) reads {inside} numbers, not the {size} units before it")
            axis = Axis(join(name, "weight"), 1, repeat)
            self.change(self.current, outgoing=(*self.sets[self.current].outgoing, axis))
        incoming, _ = layer_axes(name, module)
        self.sets.append(Units(name, outside, incoming, (), incoming, (), kind="linear"))
        self.current = len(self.sets) - 1
        self.layout = "maps" if convolution else "features"
        self.layer = name

    def normalise(self, module: nn.BatchNorm1d | nn.BatchNorm2d, name: str) -> None:
        """Let a batch norm act on the current set."""
        if self.current < 0:
            self.every[name] = norm_axes(name, module)
            return
        units = self.sets[self.current]
        repeat = module.num_features // units.size if self.layout == "flat" else 1
        if module.num_features != units.size * repeat:
            raise _unknown(
                name, f"normalises {module.num_features} numbers, not the {units.size} units before"
            )
        self.every[name] = norm_axes(name, module, repeat)
        self.change(self.current, norms=(*units.norms, *self.every[name]))
        if self.layer is not None:
            self.norms.append((self.layer, name))

    def pass_through(self, kind: Kind, *, keeps: bool) -> None:
        """Let a module act on every entry, or every map, of the current set."""
        if self.current >= 0:
            self.change(self.current, kind=_both(self.sets[self.current].kind, kind))
        if not keeps:
            self.layer = None

    def add(self, name: str) -> None:
        """Let a shortcut add the set that entered the last linear layer: the two become one."""
        if self.before < 0 or self.layout != "features" or self.current == self.before:
            raise _unknown(name, "adds no hidden units")
        old, new = self.sets[self.before], self.sets[self.current]
        if old.size != new.size:
            raise _unknown(name, f"adds {old.size} units to {new.size}")
        self.change(
            self.before,
            incoming=(*old.incoming, *new.incoming),
            norms=(*old.norms, *new.norms),
            kind=_both(old.kind, new.kind),
        )
        del self.sets[self.current]
        self.current, self.layer = self.before, None


def _unknown(name: str, why: str) -> ValueError:
    return ValueError(
        f"the hidden units of this model are not known: {name} {why}; "
        "describe the model by a method hidden_units() that returns a Description "
        f"({EXAMPLE})"
    )
