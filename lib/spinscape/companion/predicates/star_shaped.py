"""Predicates of the chapter on the star-shaped solution space of the negative perceptron.

Intervals are over independent instances, or over networks. Differences from theory are relative to theory,
taken in the limit of large sizes, with intervals of three standard errors either side; they agree where that
interval holds zero and reaches at most `PRECISE` from its middle, and nothing is decided where it is wider.

- The uniform measure is the perceptron's when no sampled state violates a constraint by more than 1e-9,
  chains from two kinds of interior starts agree in the overlap (otherwise nothing is decided), the
  overlap agrees with theory for every constraint density and margin that was run, and the stabilities'
  distribution function lies within `NEAR` of the theory's, while a wrong law (independent solutions) does
  not.
- The energy between two solutions is the theory's when it agrees at the middle and at a quarter of the way,
  for every density and margin, and it is above zero at the middle.
- The energy between three solutions is the theory's when it agrees at the centre of the triangle, and the
  root mean square of relative differences over the triangle is at most `PRECISE`.
- The set is star-shaped when, in the largest size, robust solutions see at least `MOST` of the typical ones
  without a barrier, at most `FEW` of the typical pairs do, and the difference of the two shares grows with
  the size.
- The core vanishes when the gap between the largest margin of an instance and the smallest one that sees
  `MOST` of the typical solutions closes as the density grows, in rank correlation, at least `MOST` of the
  instances have such a margin at the lowest density, and at most `FEW` of them at the highest. Chains that
  start in the core and have not mixed see too much of it: where more than `FEW` have such a margin and R-hat
  is above `MIXED`, nothing is decided.
- The core attracts gradient descent when the largest barrier to typical solutions falls along it, in rank
  correlation with the step, to less than half of what it was, and further than by a random walk within the
  solutions, the chain that the starts are from.
- Trained networks are star-shaped when, with both symmetries removed, flat solutions see at least `MOST` of
  the typical ones without a barrier, and more than typical ones see of one another, for each kind of flat
  solution and each width at which typical ones see less than `MOST` of one another. A kind counts where its
  local energy is below that of typical networks, for otherwise it is not flat.
- The jamming outlook holds when contacts per degree of freedom of the perceptron with a negative margin
  extrapolate to within `ISOSTATIC` of one at jamming, those of the committee machine lie below one by more
  than that, jammed at a negative and at a positive margin, and those of the convex perceptron agree with the
  closed form to within `ISOSTATIC`, which shows that the count can come out otherwise.

`PRECISE` is 0.1, `MIXED` 1.05, `NEAR` 0.02, `MOST` 0.9, `FEW` 0.1 and `ISOSTATIC` 0.03.
All were written before the chapter's first run. What was changed after exploring:

- Chains of two kinds of starts are compared by the difference of their overlaps over all instances, which is
  what averages need; R-hat, which is of single instances, asked for far longer chains. It is shown.
- Networks are compared at several widths; at the first one tried typical networks saw each other already.
- Where the core is looked for, chains that have not mixed decide nothing in its favour. The margin itself
  was asked to rise; in theory it falls, and so does the largest one, faster.

After a review: shares of all or none have intervals that say how many were looked at; kinds of networks have
to be flat to count; the committee is jammed at margins of both signs.
"""

from __future__ import annotations

import math

from spinscape.companion.ledger import Measurement, Verdict
from spinscape.companion.predicates import Case
from spinscape.companion.predicates.intervals import (
    Parameters,
    Part,
    Rows,
    above,
    below,
    combine,
    every,
    exactly,
    falls,
    rises,
    show,
    smaller,
    synthetic,
    undecided,
    within,
)

PRECISE, MIXED, NEAR = 0.1, 1.05, 0.02
MOST, FEW, HALF = 0.9, 0.1, 0.5
ISOSTATIC = 0.03
ROUNDING = 1e-9
MISSING = Measurement(math.nan)
"""Stands in for a row that a run could not record."""


def _named(rows: Rows, prefix: str) -> dict[str, Measurement]:
    return {name.removeprefix(prefix): row for name, row in rows.items() if name.startswith(prefix)}


def _all(parts: list[Part]) -> Part:
    """Return as `every`, but None where nothing was measured."""
    return every(parts) if parts else None


def _agrees(row: Measurement) -> Part:
    """Whether a relative difference is zero within three standard errors; None where these are too wide."""
    if not row.measured:
        return None
    if not row.low <= 0 <= row.high:
        return False
    return True if row.high - row.low <= 2 * PRECISE else None


def _listed(found: dict[str, Measurement]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {show(row, '.2g')}" for name, row in found.items())


def measure(rows: Rows, _: Parameters) -> Verdict:
    """Compare the uniform measure over solutions with theory: overlap and stabilities."""
    differences = _named(rows, "overlap_")
    said = (
        f"Constraints are violated by at most {rows['violation'].value:.1g}. Relative difference of the "
        f"overlap between chains from two kinds of interior starts, three standard errors: "
        f"{_listed(_named(rows, 'starts_'))} (R-hat {rows['rhat'].value:.3g}); from theory: "
        f"{_listed(differences)}. Distribution functions of stabilities "
        f"differ by {show(rows['law'], '.2g')}, from that of independent solutions by "
        f"{show(rows['law_control'], '.2g')}."
    )
    starts = _named(rows, "starts_")
    mixed = _all([_agrees(row) for row in starts.values()]) or None
    law = below(rows["law"], NEAR) if above(rows["law_control"], NEAR) else None
    parts = [_agrees(row) if mixed else None for row in differences.values()]
    return combine([exactly(rows["violation"], 0.0, ROUNDING), _all(parts), law if mixed else None], said)


def energy_2(rows: Rows, _: Parameters) -> Verdict:
    """Compare the energy between two typical solutions with theory."""
    middle, quarter = _named(rows, "middle_"), _named(rows, "quarter_")
    height = _named(rows, "height_")
    said = (
        f"Relative difference from theory, three standard errors: at the middle {_listed(middle)}; at a "
        f"quarter {_listed(quarter)}. Energy at the middle {_listed(height)}."
    )
    parts = [_all([_agrees(row) for row in found.values()]) for found in (middle, quarter)]
    return combine([*parts, _all([rises(row) for row in height.values()])], said)


def energy_3(rows: Rows, _: Parameters) -> Verdict:
    """Compare the energy between three typical solutions with theory."""
    centre, spread = _named(rows, "centre_"), _named(rows, "map_")
    said = (
        f"Relative difference from theory at the centre, three standard errors: {_listed(centre)}; root mean "
        f"square over the triangle {_listed(spread)}."
    )
    parts = [_all([_agrees(row) for row in centre.values()])]
    return combine([*parts, _all([below(row, PRECISE) for row in spread.values()])], said)


def star(rows: Rows, _: Parameters) -> Verdict:
    """Robust solutions see typical ones; typical ones do not see one another."""
    said = (
        f"Share of geodesics without a barrier at N = {rows['size'].value:.0f}: from solutions of margin "
        f"{rows['margin'].value:.3g} to typical ones {show(rows['share_robust'])}, between typical ones "
        f"{show(rows['share_typical'])}; their difference changes by {show(rows['growth'])} when the size "
        "doubles."
    )
    parts = [above(rows["share_robust"], MOST), below(rows["share_typical"], FEW), rises(rows["growth"])]
    return combine(parts, said)


def disconnection(rows: Rows, _: Parameters) -> Verdict:
    """Judge whether the core recedes and vanishes as the density of constraints grows."""
    said = (
        f"Rank correlation of the density with the gap between the largest margin and the smallest one that "
        f"sees 90% of the typical solutions {show(rows['gap'])}, with the latter {show(rows['rank'])}; "
        f"instances with such a margin {show(rows['core_first'])} at alpha = {rows['first'].value:.3g}, "
        f"{show(rows['core_last'])} at {rows['last'].value:.3g} (R-hat there {rows['rhat_last'].value:.3g}). "
        f"Theory, where replica symmetry is stable, only up to {rows['stable'].value:.3g}."
    )
    mixed = exactly(rows["rhat_last"], 1.0, MIXED - 1)
    lost = below(rows["core_last"], FEW)
    return combine(
        [falls(rows["gap"]), above(rows["core_first"], MOST), lost if lost or mixed else None], said
    )


def attraction(rows: Rows, _: Parameters) -> Verdict:
    """Judge whether the largest barrier falls along gradient descent, not along a random walk."""
    said = (
        f"Rank correlation of the largest barrier with the step {show(rows['trend'])}; at the end it is "
        f"{show(rows['left'])} of what it was, after a random walk {show(rows['left_control'])}."
    )
    return combine(
        [
            falls(rows["trend"]),
            below(rows["left"], HALF),
            smaller(rows["left"], rows["left_control"]),
        ],
        said,
    )


def networks(rows: Rows, _: Parameters) -> Verdict:
    """Judge whether flat solutions of trained networks see typical ones, more than these see one another."""
    shares, gains = _named(rows, "share_"), _named(rows, "gain_")
    said = (
        f"Share of geodesics without a barrier, symmetries removed, by kind and width: {_listed(shares)}; "
        f"more than between typical networks by {_listed(gains)}."
    )
    open_widths = {
        name.rpartition("_")[2]
        for name, row in shares.items()
        if name.startswith("typical_") and below(row, MOST)
    }
    flat = _named(rows, "flat_")
    said += f" log10 of the local energy of typical networks over theirs: {_listed(flat)}."
    counted = [
        name for name in gains if name.rpartition("_")[2] in open_widths and rises(flat.get(name, MISSING))
    ]
    if not counted:
        return undecided(
            f"{said} At no width is it clear that typical networks do not see each other, and that others "
            "are flatter."
        )
    parts = [
        every([above(shares[name], MOST) for name in counted]),
        every([rises(gains[name]) for name in counted]),
    ]
    return combine(parts, said)


def jamming(rows: Rows, _: Parameters) -> Verdict:
    """Isostatic perceptron, hypostatic committee machine, and the convex perceptron as a control."""
    kinds = ("perceptron", "committee", "committee_convex", "convex")
    rows = {f"contacts_{kind}": MISSING for kind in kinds} | dict(rows)
    said = (
        f"Contacts per degree of freedom at jamming: perceptron {show(rows['contacts_perceptron'])}; "
        f"committee machine {show(rows['contacts_committee'])} at a negative and "
        f"{show(rows['contacts_committee_convex'])} at a positive margin; convex perceptron "
        f"{show(rows['contacts_convex'])}, where the closed form gives {rows['convex_theory'].value:.3g}."
    )
    theory = rows["convex_theory"].value
    known = within(rows["contacts_convex"], theory - ISOSTATIC, theory + ISOSTATIC)
    one = within(rows["contacts_perceptron"], 1 - ISOSTATIC, 1 + ISOSTATIC)
    few = every([below(rows[f"contacts_committee{kind}"], 1 - ISOSTATIC) for kind in ("", "_convex")])
    return combine([one if known else None, few if known else None], said)


PREDICATES = {
    "negative-perceptron": measure,
    "interpolation-energy-2": energy_2,
    "interpolation-energy-3": energy_3,
    "star-shaped": star,
    "disconnection-transitions": disconnection,
    "sgd-attracted-to-core": attraction,
    "star-shape-in-networks": networks,
    "jamming-outlook": jamming,
}

CASES = {
    claim: Case(
        {},
        {"steps": 3000, "chains": 3},
        "large sizes, where chains of at least 3000 sweeps from twice three starts are needed",
        "`spinscape build --profile mnist`, about 15 minutes on one core",
    )
    for claim in (
        "negative-perceptron",
        "interpolation-energy-2",
        "interpolation-energy-3",
        "star-shaped",
        "disconnection-transitions",
    )
}

_SAME, _OFF = (0.01, -0.03, 0.05), (0.3, 0.2, 0.4)
_UP, _DOWN = (0.3, 0.2, 0.4), (-0.3, -0.4, -0.2)
_ALL, _NONE = (0.97, 0.95, 0.99), (0.03, 0.01, 0.06)

EXAMPLES = {
    "negative-perceptron": (
        synthetic(violation=1e-15, rhat=1.01, starts_a=_SAME, overlap_a=_SAME, law=(0.01, 0.008, 0.012),
                  law_control=(0.2, 0.19, 0.21)),
        synthetic(violation=0.1, rhat=1.01, starts_a=_SAME, overlap_a=_OFF, law=(0.1, 0.09, 0.12),
                  law_control=(0.2, 0.19, 0.21)),
    ),
    "interpolation-energy-2": (
        synthetic(middle_a=_SAME, quarter_a=_SAME, height_a=(0.01, 0.009, 0.011)),
        synthetic(middle_a=_OFF, quarter_a=_OFF, height_a=(0.0, 0.0, 0.0)),
    ),
    "interpolation-energy-3": (
        synthetic(centre_a=_SAME, map_a=(0.03, 0.02, 0.04)),
        synthetic(centre_a=_OFF, map_a=(0.3, 0.2, 0.4)),
    ),
    "star-shaped": (
        synthetic(size=200.0, margin=-0.1, share_robust=_ALL, share_typical=_NONE, growth=_UP),
        synthetic(size=200.0, margin=-0.1, share_robust=_NONE, share_typical=_ALL, growth=_DOWN),
    ),
    "disconnection-transitions": (
        synthetic(gap=_DOWN, rank=_DOWN, first=1.0, last=5.0, stable=3.0, rhat_last=1.02, core_first=_ALL,
                  core_last=_NONE),
        synthetic(gap=_UP, rank=_DOWN, first=1.0, last=5.0, stable=3.0, rhat_last=1.02, core_first=_NONE,
                  core_last=_ALL),
    ),
    "sgd-attracted-to-core": (
        synthetic(trend=(-0.9, -0.95, -0.8), left=(0.1, 0.05, 0.2), left_control=(1.0, 0.9, 1.1)),
        synthetic(trend=(0.1, 0.05, 0.2), left=(1.2, 1.15, 1.3), left_control=(1.0, 0.9, 1.1)),
    ),
    "star-shape-in-networks": (
        synthetic(share_rsgd_16=_ALL, share_typical_16=_NONE, gain_rsgd_16=_UP, flat_rsgd_16=_UP),
        synthetic(share_rsgd_16=_NONE, share_typical_16=_NONE, gain_rsgd_16=_DOWN, flat_rsgd_16=_UP),
    ),
    "jamming-outlook": (
        synthetic(contacts_perceptron=(1.0, 0.99, 1.01), contacts_committee=(0.8, 0.7, 0.9),
                  contacts_committee_convex=(0.7, 0.6, 0.8),
                  contacts_convex=(0.8, 0.79, 0.81), convex_theory=0.8),
        synthetic(contacts_perceptron=(0.8, 0.79, 0.81), contacts_committee=(1.0, 0.99, 1.01),
                  contacts_committee_convex=(1.0, 0.99, 1.01),
                  contacts_convex=(0.8, 0.79, 0.81), convex_theory=0.8),
    ),
}  # fmt: skip
