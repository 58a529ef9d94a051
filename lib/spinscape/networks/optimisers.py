"""PyTorch's optimisers on stacked parameters.

An optimiser whose arithmetic is elementwise treats R stacked networks exactly as R networks apart.
Its state tensors share the parameters' leading axis, so replicas can be taken out of it. On a GPU and
for Adam the fused variants are used, which move each number once (on a CPU 0.5 instead of 4.3 ns per
parameter and step). On a CPU a fused step works on whole vectors and rounds what is left over in another
way, so it is given parameters whose networks fill whole vectors, see :func:`as_rows`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

Factory = Callable[[list[Tensor]], torch.optim.Optimizer]
State = list[dict[str, Any]]

NAMES = ("adam", "sgd")

_VECTOR = 64
"""Bytes of the widest vectors of a CPU."""


def factory(
    optimiser: str | Callable[..., torch.optim.Optimizer],
    device: torch.device,
    *,
    learning_rate: float,
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> Factory:
    """Return a function that makes the optimiser for a list of stacked parameters.

    Parameters
    ----------
    optimiser
        ``"adam"``, ``"sgd"``, a class of ``torch.optim`` (given the learning rate and weight
        decay), or a function of the list of parameters that returns an optimiser.
    device
        Where the parameters are.
    learning_rate, momentum, nesterov, weight_decay
        As in ``torch.optim``; momentum and nesterov belong to SGD.

    Raises
    ------
    ValueError
        If a value is out of range, the name is unknown, or the optimiser mixes the replicas.
    """
    if not learning_rate > 0:
        raise ValueError(f"learning_rate must be positive, not {learning_rate}")
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum must lie in [0, 1), not {momentum}")
    if weight_decay < 0:
        raise ValueError(f"weight_decay must not be negative, not {weight_decay}")
    if optimiser != "sgd" and (momentum or nesterov):
        raise ValueError("momentum and nesterov belong to optimiser 'sgd'")
    if nesterov and not momentum:
        raise ValueError("nesterov needs a positive momentum")
    common: dict[str, Any] = {"lr": learning_rate, "weight_decay": weight_decay}
    if device.type == "cuda":
        common["fused"] = True
    else:
        common |= {"fused": False, "foreach": False}
    if optimiser == "adam":
        if fills_vectors(optimiser, device):
            common |= {"fused": True, "foreach": None}
        return lambda params: torch.optim.Adam(params, **common)
    if optimiser == "sgd":
        return lambda params: torch.optim.SGD(params, momentum=momentum, nesterov=nesterov, **common)
    if isinstance(optimiser, str) or not callable(optimiser):
        raise ValueError(
            f"optimiser must be one of {NAMES}, a torch.optim class or a function, not {optimiser!r}"
        )
    given: Any = optimiser
    make: Factory = given
    if inspect.isclass(optimiser):
        accepted = inspect.signature(optimiser).parameters
        options = {key: value for key, value in common.items() if key in accepted}

        def make(params: list[Tensor]) -> torch.optim.Optimizer:
            return given(params, **options)

    _check_elementwise(make, device)
    return make


def fills_vectors(optimiser: str | Callable[..., torch.optim.Optimizer], device: torch.device) -> bool:
    """Tell whether the optimiser has to be given :func:`as_rows` of the parameters and slopes."""
    return optimiser == "adam" and device.type == "cpu"


def as_rows(stacked: Tensor) -> Tensor:
    """Return stacked numbers as rows that fill whole vectors of the CPU.

    Parameters
    ----------
    stacked
        ``(R, ...)``.

    Returns
    -------
    Tensor
        ``(R, n)``, contiguous: the first numbers of a row are those of a network, the others zero; a view
        where there is nothing to add. :func:`as_stacked` shows the numbers in their shape.
    """
    rows = stacked.reshape(len(stacked), -1).contiguous()
    missing = -rows.shape[1] % (_VECTOR // rows.element_size())
    return F.pad(rows, (0, missing)) if missing else rows


def as_stacked(rows: Tensor, shape: torch.Size) -> Tensor:
    """Return the view ``(R, ...)`` of what :func:`as_rows` made; `shape` is that of one network."""
    return rows[:, : shape.numel()].unflatten(1, shape) if shape else rows[:, 0]


def _check_elementwise(make: Factory, device: torch.device) -> None:
    """Try the optimiser on two small replicas, together and apart."""
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(2, 3, 4, generator=generator)
    slopes = torch.randn(3, 2, 3, 4, generator=generator)
    slopes[:, 1] *= 100

    def run(rows: slice) -> Tensor:
        leaf = start[rows].clone().to(device).requires_grad_()
        rule = make([leaf])
        for slope in slopes:
            leaf.grad = slope[rows].clone().to(device)
            rule.step()
        return leaf.detach()

    try:
        apart = torch.cat([run(slice(0, 1)), run(slice(1, 2))])
        together = run(slice(0, 2))
    except (RuntimeError, ValueError, TypeError) as error:
        raise ValueError(f"the optimiser cannot work on stacked parameters (R, ...): {error}") from error
    if not torch.allclose(together, apart, rtol=1e-5, atol=1e-7):
        raise ValueError(
            "the optimiser is not elementwise: it would mix the replicas, which share one tensor"
        )


def snapshot(rule: torch.optim.Optimizer, params: Sequence[Tensor]) -> State:
    """Copy the optimiser's state, one dictionary per parameter."""
    return [
        {
            key: value.clone() if isinstance(value, Tensor) else value
            for key, value in rule.state.get(param, {}).items()
        }
        for param in params
    ]


def take(state: State, rows: Tensor, replicas: int) -> State:
    """Return the state of the chosen replicas; tensors without a replica axis are copied."""

    def chosen(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        if value.ndim and len(value) == replicas:
            return value[rows.to(value.device)]
        return value.clone()

    return [{key: chosen(value) for key, value in entry.items()} for entry in state]


def restore(rule: torch.optim.Optimizer, params: Sequence[Tensor], state: State) -> None:
    """Give the optimiser the state that :func:`snapshot` or :func:`take` returned."""
    for param, entry in zip(params, state, strict=True):
        rule.state[param].clear()
        rule.state[param].update(entry)
