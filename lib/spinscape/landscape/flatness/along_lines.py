"""Flatness along the lines through pairs of networks (Liao et al. 2024, equation 6 and Figure 6).

The source draws loss and accuracy on ``(1 - alpha) a + alpha b`` for alpha from -1 to 2, with a trained on
small batches and b on large ones, and reads off that a lies in a flatter place.
A line confounds norm with flatness: rescaled hidden units leave both functions and change every curvature.
So all of it is measured before and after symmetries are removed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from spinscape.landscape.flatness.hessian import HessianProducts
from spinscape.landscape.paths.combination import Path, euclidean, same_size
from spinscape.landscape.paths.profiles import profile
from spinscape.landscape.symmetry import align, normalize
from spinscape.landscape.symmetry.checks import as_numbers, check_finite, check_samples
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.losses import PerSample

Floats = NDArray[np.float64]
Way = Literal["none", "scales", "order", "both"]
Measure = Literal["loss", "error", "test_loss", "test_error"]


@dataclass(frozen=True)
class AlongLines:
    """Loss and error on lines through P pairs of networks, for W ways of removing symmetries.

    Attributes
    ----------
    ways
        What was removed: ``"none"``, ``"scales"``, ``"order"`` or ``"both"``, W of them.
    alphas
        Positions, 0 at the first network and 1 at the second, ``(K,)``.
    loss, error, test_loss, test_error
        Mean loss and share of wrong answers over the training and the test samples, ``(W, P, K)``.
    end_loss, end_error, end_test_loss, end_test_error
        The same at both networks, ``(W, P, 2)``.
    distance
        Euclidean distance between the networks, ``(W, P)``.
    norms
        Norms of all their parameters, ``(W, P, 2)``.
    curvature
        ``u^T H u`` at both networks, u the unit vector of the line and H the Hessian of the mean training
        loss, ``(W, P, 2)``; for piecewise linear networks without the kinks' contribution.
    second_difference
        ``(L(h) - 2 L(0) + L(-h)) / h^2`` there, kinks and all, ``(W, P, 2)``.
    step
        Its h as a share of the distance.
    """

    ways: tuple[str, ...]
    alphas: Floats
    loss: Floats
    error: Floats
    test_loss: Floats
    test_error: Floats
    end_loss: Floats
    end_error: Floats
    end_test_loss: Floats
    end_test_error: Floats
    distance: Floats
    norms: Floats
    curvature: Floats
    second_difference: Floats
    step: float

    def reach(self, rise: float, measure: Measure = "loss") -> Floats:
        """Return how far one may go from each network until a measure has risen by a given amount.

        Parameters
        ----------
        rise
            Positive.
        measure
            ``"loss"``, ``"error"``, ``"test_loss"`` or ``"test_error"``.

        Returns
        -------
        ndarray
            Euclidean distances ``(W, P, 2, 2)``: at the first and second network, away from the other one
            and towards it. Interpolated between positions; NaN where the line ends before.
        """
        if not 0 < rise < np.inf:
            raise ValueError(f"rise must be positive and finite, not {rise}")
        if measure not in get_args(Measure):
            raise ValueError(f"measure must be one of {get_args(Measure)}, not {measure!r}")
        values, ends = getattr(self, measure), getattr(self, f"end_{measure}")
        found = np.empty((*self.distance.shape, 2, 2))
        for index in np.ndindex(*self.distance.shape):
            for end in range(2):
                for towards in range(2):
                    sign = 1 if towards != end else -1
                    ahead = sign * (self.alphas - end)
                    found[(*index, end, towards)] = _crossing(ahead, values[index], ends[(*index, end)], rise)
        return found * self.distance[..., None, None]


def along(
    a: Ensemble,
    b: Ensemble,
    alphas: ArrayLike,
    train: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    *,
    ways: Sequence[Way] = ("none", "both"),
    step: float = 0.05,
    loss: str | PerSample = "cross_entropy",
    **options: Any,
) -> AlongLines:
    """Follow loss and error on the lines through networks ``a[p]`` and ``b[p]``, and beyond both ends.

    Parameters
    ----------
    a, b
        P networks each, of one model.
    alphas
        Positions ``(K,)`` in increasing order, such as ``np.linspace(-1, 2, 61)``.
    train, test
        Inputs and labels, or targets.
    ways
        What is removed first: nothing; the ``"scales"`` of hidden units (incoming vectors of norm 1, norms
        pushed into the last layer, so that functions stay); the ``"order"`` of b's units, which is matched
        to a's; or ``"both"``. For scales, batch norms are folded and activations must be homogeneous.
    step
        Of the second difference, as a share of the distance.
    loss
        As in :func:`spinscape.networks.evaluation.evaluate`.
    **options
        Those of `symmetry.align`, such as `method`.

    Returns
    -------
    AlongLines

    Raises
    ------
    ValueError
        If positions do not increase, `step` is not positive, a way is unknown, networks coincide, or they or
        the samples do not fit.

    Notes
    -----
    Statistics of batch norms are not continued beyond the ends, where variances could turn negative: there
    they are those of the nearer network.
    """
    positions = as_numbers("alphas", alphas)
    if positions.ndim != 1 or not positions.size or not np.isfinite(positions).all():
        raise ValueError(f"alphas must be a row of finite numbers, not shape {positions.shape}")
    if not (np.diff(positions) > 0).all():
        raise ValueError("alphas must increase")
    if not 0 < step < np.inf:
        raise ValueError(f"step must be positive and finite, not {step}")
    unknown = [way for way in ways if way not in get_args(Way)]
    if unknown or not ways:
        raise ValueError(f"ways must be of {get_args(Way)}, not {list(ways)}")
    check_finite(a)
    check_finite(b)
    a, b = same_size((a, b))
    samples = [check_samples(a, *part, loss) for part in (train, test)]
    extra = np.array([0.0, 1.0, -step, step, 1 - step, 1 + step])
    columns: dict[str, list[Floats]] = {}
    for first, second in _ends(a, b, ways, options):
        row = _line(first, second, positions, extra, samples, loss)
        for name, value in row.items():
            columns.setdefault(name, []).append(value)
    found = {name: np.stack(values) for name, values in columns.items()}
    centre = found["end_loss"]
    sides = found.pop("sides").reshape(*centre.shape, 2).sum(-1)
    second_difference = (sides - 2 * centre) / (step * found["distance"][..., None]) ** 2
    return AlongLines(
        ways=tuple(ways), alphas=positions, second_difference=second_difference, step=float(step), **found
    )


def _ends(
    a: Ensemble, b: Ensemble, ways: Sequence[str], options: dict[str, Any]
) -> list[tuple[Ensemble, Ensemble]]:
    """Return the networks at both ends of the lines, for each way."""
    plain = (a, b)
    bare = None
    if {"scales", "both"} & set(ways):
        bare = normalize(a, output="keep").ensemble, normalize(b, output="keep").ensemble
    found = []
    for way in ways:
        pair = bare if way in ("scales", "both") else plain
        assert pair is not None
        first, second = pair
        if way in ("order", "both"):
            second = align(second, first, **options).ensemble
        found.append((first, second))
    return found


def _line(
    a: Ensemble,
    b: Ensemble,
    positions: Floats,
    extra: Floats,
    samples: list[tuple[Tensor, Tensor]],
    loss: str | PerSample,
) -> dict[str, Floats]:
    """Return everything that is measured on one set of lines."""
    rows, others = a.flat(), b.flat()
    away = others - rows
    distance = away.double().norm(dim=1)
    if not bool((distance > 0).all()):
        raise ValueError("two networks of a pair coincide: there is no line through them")
    found: dict[str, Floats] = {}
    for prefix, (x, y) in zip(("", "test_"), samples, strict=True):
        t = np.concatenate([positions, extra if not prefix else extra[:2]])
        values = profile(_through(a, b, t), x, y, loss)
        for name, table in (("loss", values.loss), ("error", values.error)):
            found[prefix + name] = table[:, : len(positions)]
            found["end_" + prefix + name] = table[:, len(positions) :][:, :2]
            if not prefix and name == "loss":
                found["sides"] = table[:, len(positions) + 2 :]
    direction = away / distance.to(away.dtype)[:, None]
    bends = [curvature_along(end, direction, *samples[0], loss=loss) for end in (a, b)]
    found["curvature"] = np.stack(bends, 1)
    found["distance"] = distance.cpu().numpy()
    found["norms"] = torch.stack([a.norms, b.norms], 1).cpu().numpy()
    return found


def _through(a: Ensemble, b: Ensemble, t: Floats) -> Path:
    """Return lines with positions beyond their ends."""
    return euclidean(t, (a, b), np.stack([1 - t, t]))


def curvature_along(
    ensemble: Ensemble, directions: Tensor, x: Tensor, y: Tensor, *, loss: str | PerSample = "cross_entropy"
) -> Floats:
    """Return ``u^T H u`` with the Hessian H of the mean loss, one direction u per network.

    Parameters
    ----------
    ensemble
        R networks, evaluated as they are in use.
    directions
        ``(R, D)`` in the order of :meth:`Ensemble.flat`.
    x, y
        Inputs and labels or targets on the networks' device.
    loss
        As in :func:`spinscape.networks.evaluation.evaluate`.

    Returns
    -------
    ndarray
        ``(R,)``; for piecewise linear networks without the kinks' contribution.
    """
    products = HessianProducts(ensemble, x, y, loss)(directions[:, None])[:, 0]
    return (directions * products).sum(1).double().cpu().numpy()


def _crossing(ahead: Floats, values: Floats, start: float, rise: float) -> float:
    """Return how far ahead values pass ``start + rise`` first, between the positions ahead."""
    order = np.argsort(ahead)
    order = order[ahead[order] > 0]
    where = np.concatenate([[0.0], ahead[order]])
    level = np.concatenate([[start], values[order]]) - start - rise
    past = np.flatnonzero(level >= 0)
    if not past.size:
        return float("nan")
    k = past[0]
    return float(where[k - 1] - level[k - 1] * (where[k] - where[k - 1]) / (level[k] - level[k - 1]))
