"""How evenly the paths of a pruned network use the weights that are left.

The comparison with a spin glass lets the s weights that are left be spread evenly over the paths: every
sequence of H of them occurs in between ``Psi / (c s^H)`` and ``c Psi / s^H`` paths (Liao et al. 2024, eq 12).
In a network with weights of its own for every connection a sequence occurs in one path or in none, so
that, read literally, no constant c does. What can be uniform is the number of paths through each weight.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from spinscape.landscape.network_paths import activations, exact_place, layers
from spinscape.landscape.pruning import Criterion, Scope, masks
from spinscape.networks.ensemble import Ensemble
from spinscape.progress import track

Floats = NDArray[np.float64]

_BLOCK = 512

QUANTILES = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)


@dataclass(frozen=True)
class PathUsage:
    """Paths through each weight that is left, for R networks at F pruned fractions.

    A path is counted where all its weights are left; with samples given, by the share of samples at which all
    its hidden units are active.

    Attributes
    ----------
    fractions
        Share of weights pruned, ``(F,)``.
    remaining
        s, weights that are left, ``(F, R)``.
    paths
        Paths that are left, ``(F, R)``.
    unused
        Share of the weights that are left through which no path goes, ``(F, R)``.
    entropy
        Entropy of the usage over the weights that are left as a share of ``log s``, ``(F, R)``: 1 if every
        weight carries as many paths as any other.
    effective
        ``exp(entropy) / s``, the share of weights over which it spreads, ``(F, R)``.
    constant
        The smallest c for which every used weight carries between 1/c and c times the mean, ``(F, R)``.
    quantiles
        Of usage over its mean, weights that are not used included, ``(F, R, Q)`` at :data:`QUANTILES`.
    decile_ratio
        The 90th percentile of the usage over the 10th, among weights that are used, ``(F, R)``.
    layer_decile_ratio
        The same of the usage over the mean of its own layer, ``(F, R)``: with every path active a weight of
        one layer carries more paths than one of another, whatever training does.
    relative_spread
        Standard deviation over mean of the usage, ``(F, R)``.
    layer_entropy
        The entropy within each layer, relative to the log of its weights left, ``(F, R, H)``.
    log10_sequences
        Decimal logarithm of `paths` over ``s^H``, the share of all sequences of weights left that are a path,
        ``(F, R)``. Eq 12 read literally lets none be without one.
    """

    fractions: Floats
    remaining: NDArray[np.int64]
    paths: Floats
    unused: Floats
    entropy: Floats
    effective: Floats
    constant: Floats
    quantiles: Floats
    decile_ratio: Floats
    layer_decile_ratio: Floats
    relative_spread: Floats
    layer_entropy: Floats
    log10_sequences: Floats


def path_usage(
    ensemble: Ensemble,
    fractions: Sequence[float] = (0.0, 0.5, 0.8, 0.9, 0.95),
    *,
    x: Tensor | None = None,
    scope: Scope = "global",
    criterion: Criterion = "magnitude",
    seed: int = 0,
) -> PathUsage:
    """Prune fully connected ReLU networks and count the paths through each weight that is left.

    Paths through biases are left out.
    Where a whole layer is left without weights there is no path, and measures of the usage are NaN.

    Parameters
    ----------
    ensemble
        R networks.
    fractions, scope, criterion, seed
        As in :func:`spinscape.landscape.pruning.masks`; the random criterion is the control of a network
        whose weights are left by chance.
    x
        Inputs ``(N, ...)`` whose activities paths are weighed by, or None to count paths alone.

    Raises
    ------
    ValueError
        If the networks are of another kind, or a fraction is out of range.
    """
    weights, _ = layers(ensemble)
    names = [name for name, value in ensemble.params.items() if value.ndim > 2]
    rows = []
    for fraction in track(fractions, "usage of weights"):
        kept = masks(ensemble, fraction, scope=scope, criterion=criterion, seed=seed)
        chosen = [kept[name] for name in names]
        pruned = Ensemble(
            ensemble.model,
            {
                name: value.detach() * kept[name] if name in kept else value
                for name, value in ensemble.params.items()
            },
            ensemble.buffers,
        )
        usage = through_weights(chosen, None if x is None else activations(pruned, x))
        rows.append(
            [_describe([one[r] for one in usage], [m[r] for m in chosen]) for r in range(len(weights[0]))]
        )
    table = {name: np.array([[row[name] for row in line] for line in rows]) for name in rows[0][0]}
    return PathUsage(fractions=np.asarray(fractions, float), **table)


def through_weights(kept: Sequence[Tensor], active: Sequence[Tensor] | None = None) -> list[Tensor]:
    """Return the number of paths through each weight.

    Parameters
    ----------
    kept
        Which weights there are, bool ``(R, n_l, n_{l-1})`` for each of H layers.
    active
        Which hidden units are active, bool ``(R, N, n_l)``; a path then counts by the share of the N samples
        at which all its hidden units are active.

    Returns
    -------
    list of Tensor
        Float64 ``(R, n_l, n_{l-1})``: the paths that lead to a weight times those that go on from it.
    """
    place = exact_place(kept[0].device)
    there = [mask.to(place).double() for mask in kept]
    if active is None:
        ones = [mask.new_ones(len(mask), 1, mask.shape[1]) for mask in there[:-1]]
        return _counted(there, ones)
    samples = active[0].shape[1]
    total = [mask * 0 for mask in there]
    for first in range(0, samples, _BLOCK):
        on = [mask[:, first : first + _BLOCK].to(place).double() for mask in active]
        total = [a + b for a, b in zip(total, _counted(there, on), strict=True)]
    return [one / samples for one in total]


def _counted(there: Sequence[Tensor], on: Sequence[Tensor]) -> list[Tensor]:
    """Return the paths through each weight, summed over samples; `on` is ``(R, N, n_l)``."""
    shape = on[0].shape[:2]
    towards = [there[0].new_ones(()).expand(*shape, there[0].shape[2])]
    for mask, units in zip(there[:-1], on, strict=True):
        towards.append((towards[-1] @ mask.mT) * units)
    onwards = [there[0].new_ones(()).expand(*shape, there[-1].shape[1])]
    for mask, units in zip(there[:0:-1], on[::-1], strict=True):
        onwards.append((onwards[-1] @ mask) * units)
    return [
        (after.mT @ before) * mask for before, after, mask in zip(towards, onwards[::-1], there, strict=True)
    ]


def _describe(usage: Sequence[Tensor], kept: Sequence[Tensor]) -> dict[str, object]:
    """Describe the usage of one network's weights, one tensor per layer."""
    parts = [one[mask.to(one.device)].cpu().numpy() for one, mask in zip(usage, kept, strict=True)]
    every = np.concatenate(parts)
    used, mean = every[every > 0], every.mean() if len(every) else np.nan
    paths = float(parts[0].sum())
    entropy = _entropy(every)
    with np.errstate(divide="ignore", invalid="ignore"):
        sequences = np.log10(paths) - len(parts) * np.log10(len(every))
        return {
            "remaining": len(every),
            "paths": paths,
            "unused": 1 - len(used) / len(every) if len(every) else np.nan,
            "entropy": entropy / np.log(len(every)) if len(every) > 1 else np.nan,
            "effective": np.exp(entropy) / len(every) if len(every) else np.nan,
            "constant": max(used.max() / mean, mean / used.min()) if len(used) else np.nan,
            "quantiles": np.quantile(every / mean, QUANTILES)
            if len(used)
            else np.full(len(QUANTILES), np.nan),
            "decile_ratio": _decile_ratio(used),
            "layer_decile_ratio": _decile_ratio(
                np.concatenate([part[part > 0] / part.mean() for part in parts if len(part) and part.any()])
                if len(used)
                else used
            ),
            "relative_spread": every.std() / mean if len(used) else np.nan,
            "layer_entropy": [_entropy(p) / np.log(len(p)) if len(p) > 1 else np.nan for p in parts],
            "log10_sequences": sequences,
        }


def _decile_ratio(used: Floats) -> float:
    return float(np.divide(*np.quantile(used, [0.9, 0.1]))) if len(used) else float("nan")


def _entropy(usage: Floats) -> float:
    """Return the entropy of non-negative numbers taken as shares of their sum; NaN where it is zero."""
    total = usage.sum()
    if not total > 0:
        return float("nan")
    shares = usage[usage > 0] / total
    return float(-(shares * np.log(shares)).sum())
