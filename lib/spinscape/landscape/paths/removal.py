"""Profiles between pairs of networks before and after each of their symmetries is removed.

The slides' main figure (Pittorino 2023; Pittorino et al. 2022, Deep networks on toroids): lines between
networks as they are, with rescaling removed, with permutations removed, with both, and geodesics where
networks lie on spheres.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from spinscape.landscape.paths.barriers import Barriers, barriers
from spinscape.landscape.paths.combination import POINTS, Path, linear
from spinscape.landscape.paths.profiles import profile
from spinscape.landscape.paths.sphere import geodesic
from spinscape.landscape.symmetry import NormalForm, align, normalize
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.units import describe

Floats = NDArray[np.float64]

WAYS = (
    ("none", "line"),
    ("scales", "line"),
    ("order", "line"),
    ("both", "line"),
    ("scales", "geodesic"),
    ("both", "geodesic"),
)
"""What is removed, and the path: networks as they are lie on no spheres, so they have no geodesic."""


@dataclass(frozen=True)
class Removal:
    """Loss and error on paths between P pairs of networks, for the W ways of `WAYS`.

    Attributes
    ----------
    t
        Positions, ``(K,)``.
    loss, error
        Over the first samples, ``(W, P, K)``.
    test_loss, test_error
        Over the second ones, ``(W, P, K)``.
    distance
        Euclidean distance between the ends, ``(W, P)``.
    """

    t: Floats
    loss: Floats
    error: Floats
    test_loss: Floats
    test_error: Floats
    distance: Floats

    def barriers(self, measure: str = "test_error") -> Barriers:
        """Return barriers of one of the four tables, each ``(W, P)``."""
        if measure not in ("loss", "error", "test_loss", "test_error"):
            raise ValueError(f"measure must be loss, error, test_loss or test_error, not {measure!r}")
        return barriers(getattr(self, measure), self.t)

    def of(self, removed: str, path: str) -> int:
        """Return the number of a way; a ValueError if it is none of `WAYS`."""
        return WAYS.index((removed, path))


def removal(
    ensemble: Ensemble,
    train: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    *,
    t: int | ArrayLike = POINTS,
    **options: Any,
) -> Removal:
    """Follow loss and error between networks 0 and 1, 2 and 3, ...

    Disjoint pairs are independent of each other.

    Parameters
    ----------
    ensemble
        An even number of networks with homogeneous activations; batch norms are folded first.
    train, test
        Inputs and labels of two sets of samples.
    t
        As for :func:`spinscape.landscape.paths.linear`.
    **options
        Those of `symmetry.align`, such as `method`.

    Returns
    -------
    Removal

    Raises
    ------
    ValueError
        If the number of networks is odd, or an argument does not fit; see `linear`, `profile` and
        `symmetry.normalize`.

    Notes
    -----
    The normal form has a last layer of norm 1 and a scale of its outputs.
    On a path between normal forms outputs are multiplied by the scale interpolated between those of the ends,
    which changes no answer and makes losses those of the networks at the ends.
    """
    if ensemble.replicas % 2:
        raise ValueError(f"pairs need an even number of networks, not {ensemble.replicas}")
    form = normalize(ensemble)
    first, second = _pairs(ensemble)
    a, b = (_chosen(form, start) for start in (0, 1))
    ends: dict[str, tuple[Ensemble, Ensemble]] = {
        "none": (first, second),
        "scales": (a.ensemble, b.ensemble),
        "order": (first, align(second, first, **options).ensemble),
        "both": (a.ensemble, align(b.ensemble, a.ensemble, **options).ensemble),
    }
    scales = a.output_scale, b.output_scale
    found = []
    for removed, kind in WAYS:
        path = (geodesic if kind == "geodesic" else linear)(*ends[removed], t)
        path = scaled(path, scales) if removed in ("scales", "both") else path
        found += [profile(path, *samples) for samples in (train, test)]
    loss, test_loss = (np.stack([one.loss for one in found[k::2]]) for k in (0, 1))
    error, test_error = (np.stack([one.error for one in found[k::2]]) for k in (0, 1))
    distance = np.stack([_distance(*ends[removed]) for removed, _ in WAYS])
    return Removal(found[0].t, loss, error, test_loss, test_error, distance)


def scaled(path: Path, scales: Sequence[Tensor]) -> Path:
    """Multiply the last layer of a path by numbers that go linearly from one end's to the other's.

    Parameters
    ----------
    path
        P paths between normal forms.
    scales
        Those of the first networks and of the last, ``(P,)`` each.
    """
    names = describe(path.bases[0].model).outputs
    t = torch.from_numpy(path.t)
    first, last = (scale.detach().double().cpu()[:, None] for scale in scales)
    factor = (1 - t) * first + t * last
    coefficients = dict(path.coefficients)
    for name in names:
        here = path.bases[0].params[name]
        shaped = factor.reshape(*factor.shape, *[1] * (here.ndim - 1)).to(here.device)
        coefficients[name] = tuple(c * shaped.to(c.dtype).to(c.device) for c in coefficients[name])
    return replace(path, coefficients=coefficients)


def _pairs(ensemble: Ensemble) -> tuple[Ensemble, Ensemble]:
    return ensemble[0::2], ensemble[1::2]


def _chosen(form: NormalForm, start: int) -> NormalForm:
    norms = {name: value[start::2] for name, value in form.norms.items()}
    return NormalForm(form.ensemble[start::2], form.output_scale[start::2], norms)


def _distance(a: Ensemble, b: Ensemble) -> Floats:
    return (a.flat().double() - b.flat().double()).norm(dim=1).cpu().numpy()
