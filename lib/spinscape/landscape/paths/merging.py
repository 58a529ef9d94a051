"""Means of many networks, as they are or with their hidden units put in one order first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from spinscape import progress
from spinscape.landscape.paths.repair import repair as reset_units
from spinscape.landscape.symmetry.alignment import align, barycentre
from spinscape.landscape.symmetry.checks import whole_numbers
from spinscape.networks.ensemble import Ensemble, evaluate
from spinscape.networks.losses import PerSample
from spinscape.networks.running_statistics import reset_statistics

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Merged:
    """Loss and error of the mean of n networks, in groups that share no network.

    Attributes
    ----------
    counts
        Numbers n of networks, int64 ``(C,)``.
    loss, error
        Of the mean of the first n of each group, float64 ``(C, G)``.
    single_loss, single_error
        Of the networks themselves, ``(N, G)``.
    """

    counts: NDArray[np.int64]
    loss: Floats
    error: Floats
    single_loss: Floats
    single_error: Floats


def merge(
    ensemble: Ensemble,
    counts: Sequence[int],
    x: Tensor,
    y: Tensor,
    *,
    reference: int | str | None = 0,
    repair: bool = False,
    samples: Tensor | None = None,
    groups: int = 1,
    loss: str | PerSample = "cross_entropy",
    chunk: int | None = None,
    **options: Any,
) -> Merged:
    """Evaluate means of n networks against n.

    Parameters
    ----------
    ensemble
        G N networks: N of the first group, N of the second, ...
    counts
        Numbers n, each from 1 to N; means are taken of the first n of a group.
    x, y
        Samples to evaluate on, as in `evaluate`.
    reference, repair, samples, options
        As in :func:`soup`; by default `samples` are `x`.
    groups
        The number G.
        Groups are independent if their networks are: intervals run over them.
    loss
        As in `evaluate`.
    chunk
        Networks at once in evaluation.

    Returns
    -------
    Merged

    Raises
    ------
    ValueError
        As :func:`soup`, or if a count is not from 1 to N.
    IndexError
        If there is no such reference among the first n.
    """
    size = _group_size(ensemble, groups)
    wanted = whole_numbers("counts", counts, 1)
    if max(wanted) > size:
        raise ValueError(f"counts must be at most the {size} networks of a group, not {max(wanted)}")
    rows = np.arange(ensemble.replicas).reshape(groups, size)
    samples = x if samples is None else samples
    values, errors = np.empty((2, len(wanted), groups))
    for k, n in enumerate(progress.track(wanted, "merging")):
        few = ensemble[rows[:, :n].ravel()]
        means = soup(few, groups=groups, reference=reference, repair=repair, samples=samples, **options)
        values[k], errors[k] = _evaluated(means, x, y, loss, chunk)
    singles = [part.reshape(groups, size).T for part in _evaluated(ensemble, x, y, loss, chunk)]
    return Merged(np.array(wanted, np.int64), values, errors, *singles)


def soup(
    ensemble: Ensemble,
    *,
    groups: int = 1,
    reference: int | str | None = 0,
    repair: bool = False,
    samples: Tensor | None = None,
    **options: Any,
) -> Ensemble:
    """Return the mean of the networks of each group.

    Parameters
    ----------
    ensemble
        G N networks: N of the first group, N of the second, ...
    groups
        The number G.
    reference
        What the networks of a group are aligned to first: the number of one of them, or ``"barycentre"``;
        None leaves them as they are.
    repair
        Whether the activation statistics of the mean are set to the mean of the networks' ones
        (`repair.repair`), or the running statistics of batch norms measured anew, if there are any.
    samples
        Inputs ``(N, ...)`` for `repair`.
    **options
        Those of `symmetry.align`, such as `method`.

    Returns
    -------
    Ensemble
        G networks.

    Raises
    ------
    ValueError
        If the networks do not make G equal groups, there is `repair` without samples, or the reference is
        none of the above.
    IndexError
        If a group has no network of this number.
    """
    size = _group_size(ensemble, groups)
    named = reference is None or (isinstance(reference, str) and reference == "barycentre")
    if not named and (not isinstance(reference, int | np.integer) or isinstance(reference, bool)):
        raise ValueError(f"reference must be a number, 'barycentre' or None, not {reference!r}")
    if repair and samples is None:
        raise ValueError("repair needs samples over which activation statistics are taken")
    placed = []
    for g in range(groups):
        group = ensemble[g * size : (g + 1) * size]
        if reference is not None and size > 1:
            group = align(group, reference, **options).ensemble
        placed.append(group)
    means = Ensemble.concatenate([barycentre(group) for group in placed])
    if not repair or samples is None:
        return means
    if any(isinstance(module, _BatchNorm) for module in ensemble.model.modules()):
        return reset_statistics(means, samples)
    whole = Ensemble.concatenate(placed)
    ends = [whole[np.arange(groups) * size + n] for n in range(size)]
    return reset_units(means, ends, samples, weights=[[1 / size] * size])


def _evaluated(
    ensemble: Ensemble, x: Tensor, y: Tensor, loss: str | PerSample, chunk: int | None
) -> tuple[Floats, Floats]:
    found = evaluate(ensemble, x, y, loss=loss, chunk=chunk)
    assert isinstance(found.loss, np.ndarray)
    return found.loss, 1 - found.accuracy


def _group_size(ensemble: Ensemble, groups: int) -> int:
    if not isinstance(groups, int | np.integer) or groups < 1 or ensemble.replicas % groups:
        raise ValueError(f"groups must divide the {ensemble.replicas} networks, not {groups!r}")
    return ensemble.replicas // int(groups)
