"""How large the weights of trained networks are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spinscape.networks.ensemble import Ensemble


def magnitudes(ensemble: Ensemble) -> dict[str, NDArray[np.float64]]:
    """Return root mean square and mean absolute value of all parameters and of each weight matrix.

    Parameters
    ----------
    ensemble
        R networks.

    Returns
    -------
    dict
        ``rms_all``, ``mean_abs_all``, and ``rms_layer1``, ``mean_abs_layer1`` and so on for the
        parameters with two or more axes, in their order; each of shape (R,).
    """
    flat = {name: p.detach().double().cpu().flatten(1) for name, p in ensemble.params.items()}
    matrices = [name for name, p in ensemble.params.items() if p.ndim > 2]
    groups = {"all": np.concatenate([p.numpy() for p in flat.values()], axis=1)}
    groups.update({f"layer{k}": flat[name].numpy() for k, name in enumerate(matrices, start=1)})
    found = {}
    for name, values in groups.items():
        found[f"rms_{name}"] = np.sqrt((values**2).mean(1))
        found[f"mean_abs_{name}"] = np.abs(values).mean(1)
    return found
