"""A network along given directions, whose first layer is computed once for all points.

The output of a linear layer is linear in its weights: at ``W + a D + b E`` it is ``W x + a D x + b E x``.
So for the points of one plane the three products are taken once, and a point costs additions.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from spinscape.networks.models import Residual, Shortcut

Tensors = dict[str, Tensor]


class Mixture(nn.Module):
    """Adds up given outputs with weights, ``x_0 + sum_k w_k x_k``.

    Parameters
    ----------
    directions
        The number K of outputs beyond the first; inputs are ``(B, K + 1, F)`` and outputs ``(B, F)``.
    """

    def __init__(self, directions: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(directions))

    def reset_parameters(self) -> None:
        """Go back to the first output alone."""
        nn.init.zeros_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Mix inputs ``(B, K + 1, F)`` to ``(B, F)``."""
        return x[:, 0] + (self.weight[:, None] * x[:, 1:]).sum(1)


def split(model: nn.Module) -> tuple[nn.Sequential, str, nn.Sequential] | None:
    """Take a stackable model apart.

    Returns
    -------
    tuple or None
        What comes before the first linear layer, that layer's name, and the model with a `Mixture` along one
        direction in place of all these; None where a shortcut starts before that layer.
    """
    assert isinstance(model, nn.Sequential)
    parts = cut(model)
    if parts is None:
        return None
    before, (name, _), after = parts
    rest: OrderedDict[str, nn.Module] = OrderedDict([(name, Mixture(1))])
    rest.update(after)
    return nn.Sequential(OrderedDict(before)), name, type(model)(rest)


Named = tuple[str, nn.Module]


def cut(model: nn.Sequential) -> tuple[list[Named], Named, list[Named]] | None:
    """Return what comes before the first linear layer of a stackable model, that layer, and what comes after.

    None where a shortcut starts before that layer.
    """
    children = list(model.named_children())
    first = next(i for i, (_, module) in enumerate(children) if isinstance(module, nn.Linear))
    for _, module in children[first + 1 :]:
        if isinstance(module, nn.Linear):
            break
        if isinstance(model, Residual) and isinstance(module, Shortcut):
            return None
    return children[:first], children[first], children[first + 1 :]


def first_outputs(before: nn.Sequential, name: str, settings: Sequence[Tensors], x: Tensor) -> Tensor:
    """Return the first linear layer's output for each of its weights, ``(K, F, N)``.

    Parameters
    ----------
    before, name
        As :func:`split` returns them.
    settings
        K parameter settings of the model; a missing bias is zero.
    x
        Inputs ``(N, ...)``.
    """
    rows = before(x)
    if rows.ndim != 2:
        raise ValueError(f"the model's first layer is linear, so inputs must be (N, d), not {tuple(x.shape)}")
    outputs = []
    for tensors in settings:
        product = tensors[f"{name}.weight"] @ rows.mT
        bias = tensors.get(f"{name}.bias")
        outputs.append(product if bias is None else product + bias[:, None])
    return torch.stack(outputs)
