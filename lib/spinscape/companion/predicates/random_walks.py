"""Predicates of the chapter on random walks (Liao et al. 2024, Sections 4.2 and A.4.1).

Thresholds, fixed before any run was looked at:

- the displacement law holds when exponent and prefactor lie within 0.02 of 1/2 and 1;
- a walk is flat at first when its initial slope is at most a third of its steepest quarter's;
- it ends on a plateau when the slope of its last quarter is at most a tenth of the steepest's;
- test follows train when the rank correlation is at least 0.9;
- "about 0.1" means within a factor of the square root of 2;
- the downhill fraction falls when Page's test says so at 5% after Holm's correction, and rises when
  the interval of its rank correlation with time lies above zero.

A whole interval has to lie on one side of a threshold; where it straddles, nothing is decided.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from spinscape.companion.ledger import (
    NOT_REPRODUCED,
    NOT_TESTED,
    PARTLY,
    REPRODUCED,
    Measurement,
    Verdict,
)
from spinscape.companion.predicates import Case

Rows = Mapping[str, Measurement]
Parameters = Mapping[str, Any]

FLAT = 1 / 3
PLATEAU = 0.1
RANK = 0.9
SIGNIFICANT = 0.05
MARGIN = 0.02
FACTOR = math.sqrt(2)

_MNIST = {"dataset": "mnist", "hidden": 512}
_COST = "`spinscape build --profile mnist`, under 15 minutes on one core"


def _below(row: Measurement, threshold: float) -> bool | None:
    """Whether the interval lies below (True), above (False) or across (None) a threshold."""
    if not row.measured:
        return None
    if row.high <= threshold:
        return True
    return False if row.low > threshold else None


def _show(row: Measurement) -> str:
    return f"{row.value:.3g} [{row.low:.3g}, {row.high:.3g}]"


def _starting(rows: Rows, prefix: str) -> dict[str, Measurement]:
    return {name: row for name, row in rows.items() if name.startswith(prefix)}


def displacement_law(rows: Rows, _: Parameters) -> Verdict:
    """Displacement grows as sigma sqrt(t q): both intervals inside the margins."""
    exponent, prefactor = rows["exponent"], rows["prefactor"]
    said = f"Exponent {_show(exponent)}, prefactor {_show(prefactor)}."
    inside = [
        abs(end - target) <= MARGIN
        for row, target in ((exponent, 0.5), (prefactor, 1.0))
        for end in (row.low, row.high)
    ]
    if all(inside):
        return Verdict(REPRODUCED, f"{said} There is no acceptance step, so this is no MCMC.")
    apart = [
        row.high < target - MARGIN or row.low > target + MARGIN
        for row, target in ((exponent, 0.5), (prefactor, 1.0))
    ]
    if any(apart):
        return Verdict(NOT_REPRODUCED, said)
    return Verdict(NOT_TESTED, f"{said} The intervals are too wide to decide.")


def flat_then_plateau(rows: Rows, _: Parameters) -> Verdict:
    """Flat at first, faster for larger sigma, a plateau for 0.05 and 0.07: three parts."""
    if not {"plateau_s050", "plateau_s070"} <= set(rows):
        return Verdict(NOT_TESTED, "The claim names the step sizes 0.05 and 0.07; this run lacks one.")
    flat = {name: _below(row, FLAT) for name, row in _starting(rows, "flat_ratio_").items()}
    plateau = {name: _below(rows[name], PLATEAU) for name in ("plateau_s050", "plateau_s070")}
    faster = rows["faster_p"].value < SIGNIFICANT
    said = (
        f"Flat at first for {sum(v is True for v in flat.values())} of {len(flat)} step sizes; "
        f"growth faster with sigma: p = {rows['faster_p'].value:.2g}; slope at the end over the "
        f"steepest: {_show(rows['plateau_s050'])} at 0.05, {_show(rows['plateau_s070'])} at 0.07."
    )
    parts = [
        all(v is True for v in flat.values()),
        faster,
        all(v is True for v in plateau.values()),
    ]
    if all(parts):
        return Verdict(REPRODUCED, said)
    refuted = [
        any(v is False for v in flat.values()),
        not faster,
        any(v is False for v in plateau.values()),
    ]
    if any(refuted):
        held = any(parts) or any(v is True for v in [*flat.values(), *plateau.values()])
        return Verdict(PARTLY if held else NOT_REPRODUCED, said)
    return Verdict(NOT_TESTED, f"{said} Some intervals do not decide.")


def follows_training(rows: Rows, _: Parameters) -> Verdict:
    """Rank correlation of the test curve with the training curve, loss and accuracy."""
    found = {name: rows[name] for name in ("spearman_loss", "spearman_accuracy")}
    said = (
        f"Rank correlation {_show(found['spearman_loss'])} (loss), "
        f"{_show(found['spearman_accuracy'])} (accuracy)."
    )
    low = [row.low >= RANK for row in found.values()]
    high = [row.high < RANK for row in found.values()]
    if all(low):
        return Verdict(REPRODUCED, said)
    if all(high):
        return Verdict(NOT_REPRODUCED, said)
    if any(low) and any(high):
        return Verdict(PARTLY, said)
    return Verdict(NOT_TESTED, f"{said} The intervals do not decide.")


def weight_scale(rows: Rows, _: Parameters) -> Verdict:
    """Which magnitude of the weights is about 0.1."""
    inside = {name: row.low >= 0.1 / FACTOR and row.high <= 0.1 * FACTOR for name, row in rows.items()}
    fits = ", ".join(name.replace("_", " ") for name, ok in inside.items() if ok) or "none"
    said = (
        f"All weights: RMS {_show(rows['rms_all'])}, mean absolute {_show(rows['mean_abs_all'])}. "
        f"Within a factor of 1.41 of 0.1: {fits}."
    )
    if inside["rms_all"] or inside["mean_abs_all"]:
        return Verdict(REPRODUCED, said)
    return Verdict(PARTLY if any(inside.values()) else NOT_REPRODUCED, said)


def downhill_fraction(rows: Rows, _: Parameters) -> Verdict:
    """Whether the fraction of trials below the trained loss falls with t, at both step sizes."""
    tests = {name: row.value for name, row in _starting(rows, "trend_p_").items()}
    fell = {name: p < SIGNIFICANT for name, p in tests.items() if math.isfinite(p)}
    said = "; ".join(
        f"{name.removeprefix('trend_rank_')}: rank correlation with t {_show(row)}"
        for name, row in _starting(rows, "trend_rank_").items()
        if name.replace("rank", "p") in fell
    )
    ranks = {name: rows[name.replace("trend_p_", "trend_rank_")] for name in fell}
    rose = [name for name, row in ranks.items() if row.low > 0]
    said += (
        f"; falls significantly for {sum(fell.values())} of {len(fell)} step sizes, rises for {len(rose)}."
    )
    if len(fell) < len(tests):
        said += f" At {len(tests) - len(fell)} the fraction never changed, which tells nothing."
    if not fell:
        return Verdict(NOT_TESTED, "At no step size did the fraction change, which tells nothing.")
    if all(fell.values()):
        return Verdict(REPRODUCED, said)
    if any(fell.values()):
        return Verdict(PARTLY, said)
    if rose:
        return Verdict(NOT_REPRODUCED, said)
    return Verdict(NOT_TESTED, f"{said} The intervals do not decide.")


PREDICATES = {
    "random-walk-algorithm": displacement_law,
    "walk-flat-then-plateau": flat_then_plateau,
    "walk-test-like-train": follows_training,
    "weight-scale": weight_scale,
    "downhill-walk-fraction": downhill_fraction,
}

CASES = {
    claim: Case(_MNIST, "FC1-512 on MNIST", _COST) for claim in PREDICATES if claim != "random-walk-algorithm"
}


def _rows(**values: tuple[float, float, float]) -> dict[str, Measurement]:
    return {name: Measurement(*triple, n=8) for name, triple in values.items()}


EXAMPLES = {
    "random-walk-algorithm": (
        _rows(exponent=(0.5, 0.495, 0.505), prefactor=(1.0, 0.99, 1.01)),
        _rows(exponent=(1.0, 0.99, 1.01), prefactor=(1.0, 0.99, 1.01)),
    ),
    "walk-flat-then-plateau": (
        _rows(
            flat_ratio_s050=(0.1, 0.05, 0.2),
            flat_ratio_s070=(0.1, 0.05, 0.2),
            faster_p=(1e-6, 1e-6, 1e-6),
            plateau_s050=(0.02, -0.01, 0.05),
            plateau_s070=(0.01, -0.01, 0.03),
        ),
        _rows(
            flat_ratio_s050=(1.0, 0.9, 1.1),
            flat_ratio_s070=(1.0, 0.9, 1.1),
            faster_p=(0.5, 0.5, 0.5),
            plateau_s050=(0.9, 0.8, 1.0),
            plateau_s070=(0.9, 0.8, 1.0),
        ),
    ),
    "walk-test-like-train": (
        _rows(spearman_loss=(0.99, 0.98, 1.0), spearman_accuracy=(0.97, 0.95, 0.99)),
        _rows(spearman_loss=(0.1, -0.2, 0.4), spearman_accuracy=(0.0, -0.3, 0.3)),
    ),
    "weight-scale": (
        _rows(rms_all=(0.1, 0.09, 0.11), mean_abs_all=(0.08, 0.075, 0.085)),
        _rows(rms_all=(0.04, 0.039, 0.041), mean_abs_all=(0.03, 0.029, 0.031)),
    ),
    "downhill-walk-fraction": (
        _rows(
            trend_p_s001=(1e-4, 1e-4, 1e-4),
            trend_p_s002=(1e-4, 1e-4, 1e-4),
            trend_rank_s001=(-0.9, -0.95, -0.8),
            trend_rank_s002=(-0.9, -0.95, -0.8),
        ),
        _rows(
            trend_p_s001=(0.9, 0.9, 0.9),
            trend_p_s002=(0.8, 0.8, 0.8),
            trend_rank_s001=(0.5, 0.2, 0.8),
            trend_rank_s002=(0.4, 0.1, 0.7),
        ),
    ),
}
