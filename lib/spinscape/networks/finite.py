"""Weights that are numbers."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from spinscape.networks.ensemble import Ensemble


def check_finite(
    of: Ensemble | Mapping[str, Tensor], what: str = "weights must be finite, not those of"
) -> None:
    """Refuse infinities and NaN.

    Parameters
    ----------
    of
        Networks, whose parameters and buffers are looked at, or tensors ``(R, ...)`` by name.
    what
        Beginning of the message, which the name follows.

    Raises
    ------
    ValueError
        It names the tensor and the network.
    """
    tensors = of.params | of.buffers if isinstance(of, Ensemble) else of
    for name, value in tensors.items():
        # The extremes are NaN if anything is.
        if (
            value.is_floating_point()
            and value.numel()
            and not bool(torch.stack(value.detach().aminmax()).isfinite().all())
        ):
            rows = value.detach().reshape(len(value), -1).isfinite().all(1)
            network = int((~rows).nonzero()[0])
            raise ValueError(f"{what} {name!r} of network {network}")
