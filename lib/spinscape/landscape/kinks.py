"""What the kinks of rectified linear units add to the curvature of the loss.

Automatic differentiation gives the Hessian of a piecewise smooth function away from its kinks.
A displacement of finite size crosses kinks, and the mean loss over displacements feels them at first
order in their variance, as it feels the trace of the Hessian.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn
from torch.nn import functional

from spinscape.networks.ensemble import Ensemble


def kink_rise(ensemble: Ensemble, x: Tensor, y: Tensor, spread: ArrayLike) -> NDArray[np.float64]:
    """Mean rise of the cross-entropy that crossing kinks causes, for networks with one hidden ReLU layer.

    With all weights displaced by independent Gaussians of variance s, the pre-activation ``a`` of a unit
    becomes Gaussian with variance ``v = s (|x|^2 + 1)`` (without the 1 if there is no bias), and the mean
    of the unit's output rises by ``a Phi(a/sqrt v) + sqrt v phi(a/sqrt v) - max(0, a)``.
    That rise times the loss's slope in the unit's output, summed over units, is the rise of the loss to
    leading order.

    Parameters
    ----------
    ensemble
        R networks of two linear layers with one ReLU between them.
    x, y
        Inputs (N, d) and class labels (N,).
    spread
        Variances s, positive, shape (K,).

    Returns
    -------
    ndarray
        Nats, shape (R, K).

    Raises
    ------
    ValueError
        If the networks have another architecture or a variance is not positive.
    """
    variances = np.asarray(spread, float).ravel()
    if len(variances) == 0 or variances.min() <= 0:
        raise ValueError("spread must hold positive variances")
    linear = [m for m in ensemble.model.modules() if isinstance(m, nn.Linear)]
    other = [m for m in ensemble.model.children() if not isinstance(m, nn.Linear | nn.Flatten | nn.ReLU)]
    if not isinstance(ensemble.model, nn.Sequential) or len(linear) != 2 or other:
        raise ValueError("kink_rise is for a sequence of two linear layers with one ReLU between them")
    inputs = x.to(ensemble.device).flatten(1)
    scale = inputs.square().sum(1, keepdim=True) + (linear[0].bias is not None)
    rows = [
        _one(ensemble.module(r), inputs, y.to(ensemble.device), scale, variances)
        for r in range(ensemble.replicas)
    ]
    return np.array(rows)


def _one(net: nn.Module, x: Tensor, y: Tensor, scale: Tensor, variances: NDArray[np.float64]) -> list[float]:
    first, second = (m for m in net.modules() if isinstance(m, nn.Linear))
    with torch.no_grad():
        a = first(x)
        outputs = second(a.relu())
        surplus = outputs.softmax(-1) - functional.one_hot(y, outputs.shape[-1])
        slope = surplus @ second.weight
        found = []
        for s in variances:
            width = (float(s) * scale).sqrt()
            z = a / width
            # E max(0, a + width xi) - max(0, a) = width (phi(z) - |z| Phi(-|z|)), even in z.
            density = torch.exp(-z.square() / 2) / (2 * torch.pi) ** 0.5
            lift = width * (density - z.abs() * torch.special.ndtr(-z.abs()))
            found.append(float((slope * lift).sum(1).mean()))
    return found
