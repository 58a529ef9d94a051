"""One representation for many networks: parameters with a leading replica axis.

Training R networks, walking R walks, scanning the points of a path or of a surface are the same
thing: many parameter settings of one model, one call.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from spinscape.networks.device import resolve_device
from spinscape.networks.evaluation import Evaluation, evaluate, outputs
from spinscape.networks.history import History
from spinscape.networks.storage import CorruptFileError, read, write

__all__ = ["CorruptFileError", "Ensemble", "Evaluation", "History", "evaluate", "outputs"]


@dataclass(frozen=True)
class Ensemble:
    """R parameter settings of one model.

    Attributes
    ----------
    model
        Any ``nn.Module``; it is used statelessly, its own parameters are never read.
    params
        Parameters by name, each ``(R, ...)``.
    buffers
        Buffers by name (such as batch-norm statistics), each ``(R, ...)``.
    history
        What training recorded, or None.
    """

    model: nn.Module = field(repr=False)
    params: dict[str, Tensor] = field(repr=False)
    buffers: dict[str, Tensor] = field(default_factory=dict, repr=False)
    history: History | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Check names and shapes against the model."""
        own: list[tuple[str, dict[str, Tensor], dict[str, Any]]] = [
            ("params", self.params, dict(self.model.named_parameters())),
            ("buffers", self.buffers, dict(self.model.named_buffers())),
        ]
        if not self.params:
            raise ValueError("an ensemble needs a model with at least one parameter")
        first = next(iter(self.params.values()))
        replicas = len(first) if first.ndim else 0
        if replicas < 1:
            raise ValueError("an ensemble needs at least one replica: a leading axis of length >= 1")
        for what, given, expected in own:
            if given.keys() != expected.keys():
                odd = sorted(given.keys() ^ expected.keys())
                raise ValueError(f"the names of {what} differ from the model's: {', '.join(odd)}")
            for name, value in given.items():
                shape = (replicas, *expected[name].shape)
                if tuple(value.shape) != shape:
                    raise ValueError(f"{name} must have shape {shape}, not {tuple(value.shape)}")

    @property
    def replicas(self) -> int:
        """The number R of parameter settings."""
        return len(next(iter(self.params.values())))

    def __len__(self) -> int:
        return self.replicas

    @property
    def device(self) -> torch.device:
        """The device of the parameters."""
        return next(iter(self.params.values())).device

    @property
    def dtype(self) -> torch.dtype:
        """The number type of the parameters."""
        return next(iter(self.params.values())).dtype

    def __getitem__(self, index: int | slice | Sequence[int] | np.ndarray | Tensor) -> Ensemble:
        """Return the chosen replicas as an ensemble; the replica axis stays, also for one."""
        rows: slice | Tensor
        if isinstance(index, slice):
            rows = index
        elif isinstance(index, (int, np.integer)):
            if not -self.replicas <= index < self.replicas:
                raise IndexError(f"replica {index} is out of range: there are {self.replicas}")
            rows = slice(int(index) % self.replicas, int(index) % self.replicas + 1)
        else:
            rows = torch.as_tensor(index, device=self.device)
            if rows.numel() == 0:
                raise IndexError("no replica was chosen")
        if isinstance(rows, slice) and not range(*rows.indices(self.replicas)):
            raise IndexError(f"{index} chooses none of {self.replicas} replicas")
        history = self.history
        if history is not None:
            history = history.take(rows if isinstance(rows, slice) else rows.cpu().numpy())
        return Ensemble(
            self.model,
            {name: value[rows] for name, value in self.params.items()},
            {name: value[rows] for name, value in self.buffers.items()},
            history,
        )

    @classmethod
    def concatenate(cls, ensembles: Sequence[Ensemble]) -> Ensemble:
        """Join ensembles of one model; histories are joined if every part has one.

        Raises
        ------
        ValueError
            If there is none, or their names or shapes differ.
        """
        if not ensembles:
            raise ValueError("there is no ensemble to concatenate")
        first = ensembles[0]
        for other in ensembles[1:]:
            same = other.params.keys() == first.params.keys() and all(
                other.params[name].shape[1:] == value.shape[1:] for name, value in first.params.items()
            )
            if not same or other.buffers.keys() != first.buffers.keys():
                raise ValueError("ensembles of different models cannot be concatenated")
        histories = [ensemble.history for ensemble in ensembles]
        whole = [history for history in histories if history is not None]
        return cls(
            first.model,
            {name: torch.cat([e.params[name] for e in ensembles]) for name in first.params},
            {name: torch.cat([e.buffers[name] for e in ensembles]) for name in first.buffers},
            History.concatenate(whole) if len(whole) == len(histories) else None,
        )

    @classmethod
    def from_modules(cls, modules: Sequence[nn.Module]) -> Ensemble:
        """Gather ordinary modules of one architecture; the first serves as the model."""
        if not modules:
            raise ValueError("there is no module to gather")
        try:
            params = {
                name: torch.stack([dict(m.named_parameters())[name].detach() for m in modules])
                for name, _ in modules[0].named_parameters()
            }
            buffers = {
                name: torch.stack([dict(m.named_buffers())[name].detach() for m in modules])
                for name, _ in modules[0].named_buffers()
            }
        except (KeyError, RuntimeError) as error:
            raise ValueError(f"the modules are not of one architecture: {error}") from None
        return cls(modules[0], params, buffers)

    def module(self, replica: int) -> nn.Module:
        """Return an ordinary module with the weights of one replica (a copy)."""
        one = self[replica]
        module = deepcopy(self.model)
        state = {name: value[0].clone() for name, value in (one.params | one.buffers).items()}
        with torch.no_grad():
            for name, own in [*module.named_parameters(), *module.named_buffers()]:
                own.data = state[name]
        return module

    def to(self, target: torch.device | str | torch.dtype) -> Ensemble:
        """Move to a device, or convert floating-point tensors to another number type."""
        if isinstance(target, torch.dtype):
            if not target.is_floating_point:
                raise ValueError(f"dtype must be a floating-point type, not {target}")

            def move(value: Tensor) -> Tensor:
                return value.to(target) if value.is_floating_point() else value
        else:
            device = resolve_device(target)

            def move(value: Tensor) -> Tensor:
                return value.to(device)

        return Ensemble(
            self.model,
            {name: move(value) for name, value in self.params.items()},
            {name: move(value) for name, value in self.buffers.items()},
            self.history,
        )

    def flat(self) -> Tensor:
        """Return all parameters of a replica as one row, ``(R, P)``, in the order of ``params``."""
        return torch.cat([value.reshape(len(value), -1) for value in self.params.values()], dim=1)

    def unflatten(self, rows: Tensor) -> Ensemble:
        """Return an ensemble whose parameters are the given rows.

        Parameters
        ----------
        rows
            ``(R', P)`` in the order of :meth:`flat`; `R'` is free if there are no buffers or this
            ensemble has one replica, else it must be R.
        """
        sizes = [value[0].numel() for value in self.params.values()]
        if rows.ndim != 2 or rows.shape[1] != sum(sizes):
            raise ValueError(f"rows must have shape (R, {sum(sizes)}), not {tuple(rows.shape)}")
        count = len(rows)
        if self.buffers and self.replicas not in (1, count):
            raise ValueError(f"{count} rows do not match the buffers of {self.replicas} replicas")
        parts = rows.split(sizes, dim=1)
        params = {
            name: part.reshape(count, *value.shape[1:])
            for (name, value), part in zip(self.params.items(), parts, strict=True)
        }
        buffers = {name: value.expand(count, *value.shape[1:]) for name, value in self.buffers.items()}
        return Ensemble(self.model, params, buffers)

    @property
    def norms(self) -> Tensor:
        """Euclidean norm of all parameters of each replica, float64 ``(R,)``."""
        squares = [value.reshape(len(value), -1).double().square().sum(1) for value in self.params.values()]
        return torch.stack(squares).sum(0).sqrt()

    def save(self, path: str | Path) -> None:
        """Write to a safetensors file with a SHA-256; written aside, then renamed."""
        tensors = {f"params.{name}": value for name, value in self.params.items()}
        tensors |= {f"buffers.{name}": value for name, value in self.buffers.items()}
        if self.history is not None:
            tensors |= {
                f"history.{name}": torch.from_numpy(np.array(value))
                for name, value in self.history.arrays().items()
            }
        write(Path(path), tensors)

    @classmethod
    def load(cls, path: str | Path, model: nn.Module) -> Ensemble:
        """Read what :meth:`save` wrote, onto the CPU.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        CorruptFileError
            If it is no ensemble file or its content does not match its sum.
        ValueError
            If names or shapes do not fit `model`.
        """
        groups: dict[str, dict[str, Tensor]] = {"params": {}, "buffers": {}, "history": {}}
        for key, value in read(Path(path)).items():
            group, _, name = key.partition(".")
            if group not in groups or not name:
                raise CorruptFileError(f"{path} is no ensemble file: it holds {key!r}")
            groups[group][name] = value
        arrays = {name: value.numpy() for name, value in groups["history"].items()}
        order = [name for name, _ in model.named_parameters()]
        params = groups["params"]
        if params.keys() == set(order):
            params = {name: params[name] for name in order}
        history = History.from_arrays(arrays) if arrays else None
        return cls(model, params, groups["buffers"], history)
