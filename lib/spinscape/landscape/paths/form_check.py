"""Whether the normal form of networks is what it says: the same functions, and unit vectors."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from spinscape.landscape.paths.sphere import spheres
from spinscape.landscape.symmetry import normalize
from spinscape.landscape.symmetry.scaling import along, folded
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.evaluation import outputs

ROUNDING = 1e-12
"""Of the largest output: outputs as close as this are equal."""


@dataclass(frozen=True)
class FormCheck:
    """What bringing networks to normal form changes, in double precision.

    Attributes
    ----------
    output_change
        Largest change of an output, after the last layer's scale is undone, over the largest output.
    predictions_changed
        Number of predicted classes, over networks and samples, that change; the scale is not undone, and
        outputs closer to each other than rounding count as equal.
    norm_error
        Largest distance from 1 of the norm of a living unit's incoming vector, or of the last layer.
    control_change
        The same as `output_change` where a unit's incoming weights are divided by their norm and its outgoing
        ones are left.
    units
        Number of vectors of norm 1 of a network.
    """

    output_change: float
    predictions_changed: int
    norm_error: float
    control_change: float
    units: int


def check_form(ensemble: Ensemble, x: Tensor) -> FormCheck:
    """Bring networks to normal form and compare.

    Parameters
    ----------
    ensemble
        R networks; they are taken to double precision, and batch norms are folded.
    x
        Inputs ``(N, ...)``.

    Returns
    -------
    FormCheck

    Raises
    ------
    ValueError
        If networks have no normal form, see `symmetry.normalize`.
    """
    nets, inputs = ensemble.to(torch.float64), x.double()
    right = outputs(nets, inputs)
    form = normalize(nets)
    found = outputs(form.ensemble, inputs)
    scale = form.output_scale[:, None, None].to(found.device)
    size = float(right.abs().max())
    norms = torch.cat(
        [s.vectors(form.ensemble.params).norm(dim=-1).flatten() for s in spheres(form.ensemble)]
    )
    alive = norms > 0
    return FormCheck(
        float((found * scale - right).abs().max()) / size,
        int((_lead(right, found.argmax(-1)) > ROUNDING * size).sum()),
        float((norms[alive] - 1).abs().max()),
        float((outputs(_halfway(nets), inputs) - right).abs().max()) / size,
        sum(s.size for s in spheres(form.ensemble)),
    )


def _lead(outputs: Tensor, chosen: Tensor) -> Tensor:
    """Return by how much the largest output exceeds that of the chosen class, ``(R, N)``."""
    return outputs.max(-1).values - outputs.gather(-1, chosen[..., None])[..., 0]


def _halfway(ensemble: Ensemble) -> Ensemble:
    """Divide the incoming weights of the first hidden units by their norms, and leave what reads them."""
    norms = normalize(ensemble).norms
    plain, description = folded(ensemble, None)
    first, params = description.units[0], dict(plain.params)
    for axis in first.incoming:
        params[axis.name] = params[axis.name] / along(params[axis.name], axis, norms[first.name])
    return Ensemble(plain.model, params, plain.buffers)
