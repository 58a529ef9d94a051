"""Predicates of the chapter on permutation symmetry.

Identities hold or fail up to rounding: outputs in double precision may differ by 1e-10 of the largest one.
What is measured on trained networks has to lie on one side of its threshold with its whole interval, over
networks of one seed each.

- The bound on the group holds when sampled elements obey the laws of a group and preserve the function, and
  all elements of a tiny network are different and preserve it too; if one of these fails, it does not hold.
  Rescaling and sign flips have to preserve the function as further elements.
  Where a control, exchanging two weights of one unit, changes nothing, the test could not have failed and
  decides nothing.
- The barrier peaks in the middle when the mean curve of each width has its largest value within 0.05 of it at
  the largest number of swaps; it grows when the rank correlation of barrier and swaps is positive at every
  width; a step from one number of swaps to the next at which it falls (5%, Holm over all steps) spoils that.
  The barrier is the mean over trials of the largest rise of the test loss along the line.
- The figure says that a wider layer lowers the barrier: rank correlation of barrier and width, mean over the
  numbers of swaps.
  The text says that more hidden layers lower it: the same with the number of hidden layers at fixed width,
  where the swaps are spread over the layers ("in the hidden layers by S times"), and where each layer gets as
  many.
  Where the barrier falls with the width, the claim is reproduced if it falls with depth in both ways, and
  partly if it falls with depth where swaps are spread and not where each layer gets as many.
  The source is wrong if the barrier rises or stays with depth in both ways: it stays if the interval of the
  correlation holds zero and the change from the fewest to the most layers lies within a factor of 1.25.
- Permutations of different layers commute, and both orders give one set: an identity, so that the experiment
  tests the code.
  It could fail where permutations within one layer do not commute.
- Reordering solutions removes no symmetry when the distances are the same multiset to 1e-9, and permuted
  copies of a solution stay where they were, while matching brings the copies together and all pairs closer.
  The first half is an identity as well.
  Sorting each network's own units is another protocol; what it does is in the reason.
- A misprint is a printed number of parameters that differs from the count.

They were written before the chapter's first run; what was changed after runs and a review, and what that did:

- The barrier had to rise with depth in both ways for the source to be wrong, so that one that stays under
  spread swaps and rises under the others gave "partly" (digits).
- A fall with depth within a factor of 1.25 counted as none, whatever its interval: a surer fall would have
  turned "partly" (MNIST) into "source is wrong".
- A control that exchanged two pixels that are always empty made the theorem "partly" (MNIST), and a
  permutation that changes outputs would have done no worse.
- Steps that do not fall counted as a part that holds, width by width; no verdict changed.
- The runs themselves changed after the first on MNIST: 16 networks of each depth for 10, and a stream of its
  own for the layers of spread swaps, which had shared one with the pairs of the second layer.
  The correlation of spread swaps with depth went from -0.48 to -0.30; the verdict stayed "partly".
"""

from __future__ import annotations

import math

from spinscape.companion.ledger import (
    NOT_REPRODUCED,
    PARTLY,
    REPRODUCED,
    SOURCE_WRONG,
    Measurement,
    Verdict,
)
from spinscape.companion.predicates import Case
from spinscape.companion.predicates.intervals import (
    Parameters,
    Rows,
    above,
    below,
    combine,
    contains,
    equals,
    every,
    falls,
    refute,
    rises,
    show,
    synthetic,
    undecided,
    within,
)

ROUNDING = 1e-10
SAME = 1e-9
MIDDLE = 0.05
VISIBLE = 1e-3
CLOSE = 1e-3
STEADY = 1.25


def group_order(rows: Rows, _: Parameters) -> Verdict:
    """Laws of a group, invariance, and as many elements as the bound says."""
    said = (
        f"{rows['samples'].value:.0f} sampled elements: largest change of an output "
        f"{rows['function_change'].value:.1g}, largest deviation from the laws of a group "
        f"{rows['law_deviation'].value:.1g}. "
        f"Tiny network: {rows['distinct'].value:.0f} different elements of "
        f"{rows['bound'].value:.0f}, largest "
        f"change {rows['exhaustive_change'].value:.1g}. "
        f"Further elements: rescaling {rows['rescaling_change'].value:.1g}, sign flips of tanh units "
        f"{rows['flip_change'].value:.1g}. Exchanging two weights of one unit changes outputs by "
        f"{rows['control_change'].value:.2g}."
    )
    preserved = ("function_change", "law_deviation", "exhaustive_change")
    bound = every(
        [
            *(below(rows[name], ROUNDING) for name in preserved),
            equals(rows["distinct"], rows["bound"].value),
        ]
    )
    further = every([below(rows[name], ROUNDING) for name in ("rescaling_change", "flip_change")])
    if bound is False:
        return Verdict(NOT_REPRODUCED, said)
    if not above(rows["control_change"], VISIBLE):
        return undecided(f"{said} The control changes nothing.", "networks that are alive")
    return combine([bound, further], said)


def grows_with_swaps(rows: Rows, _: Parameters) -> Verdict:
    """Peak in the middle and growth with the number of swaps, at every width."""
    widths = [name.removeprefix("peak_") for name in rows if name.startswith("peak_")]
    words = "; ".join(
        f"M = {m}: rank correlation {show(rows[f'trend_swaps_{m}'])}, falling steps "
        f"{rows[f'falling_steps_{m}'].value:.0f}, peak at {show(rows[f'peak_{m}'])}, largest barrier "
        f"{show(rows[f'largest_barrier_{m}'])} nats"
        for m in widths
    )
    middle = every([within(rows[f"peak_{m}"], 0.5 - MIDDLE, 0.5 + MIDDLE) for m in widths])
    grows = every([rises(rows[f"trend_swaps_{m}"]) for m in widths])
    unbroken = every([below(rows[f"falling_steps_{m}"], 0) for m in widths])
    return combine([middle, grows if unbroken else unbroken], f"{words}.")


def falls_with_width(rows: Rows, _: Parameters) -> Verdict:
    """Judge what the figure says of the width and what the text says of the depth."""
    width, total, each = (rows[f"trend_{name}"] for name in ("width", "depth_total", "depth_each"))
    said = (
        f"Rank correlation of the barrier with the width {show(width)}; with the number of hidden layers "
        f"{show(total)} for swaps spread over them and {show(each)} for as many in each. "
        f"From the smallest to the largest: exp({show(rows['log_change_width'])}) with the width, "
        f"exp({show(rows['log_change_depth_total'])}) and exp({show(rows['log_change_depth_each'])}) with "
        f"depth. Barrier at (S, M) over that at (2 S, 2 M): exp({show(rows['log_collapse_ratio'])}), "
        f"which is 1 for a function of S / M."
    )
    narrower = falls(width)
    if narrower is False:
        return Verdict(NOT_REPRODUCED, said)
    never_falls = all(
        rises(rows[f"trend_{way}"]) or stays(rows[f"trend_{way}"], rows[f"log_change_{way}"])
        for way in ("depth_total", "depth_each")
    )
    if narrower and never_falls:
        return Verdict(SOURCE_WRONG, f"{said} The figure is right, the wording of the text is not.")
    if every([narrower, falls(total), falls(each)]):
        return Verdict(REPRODUCED, f"{said} Both the figure and the wording of the text hold.")
    if narrower and falls(total) and falls(each) is False:
        said = f"{said} The figure is right, the wording of the text only where swaps are spread."
        return Verdict(PARTLY, said)
    return undecided(said)


def stays(trend: Measurement, change: Measurement) -> bool:
    """Whether a barrier stays as it is: no trend, and little change from the first to the last."""
    return bool(contains(trend, 0) and within(change, -math.log(STEADY), math.log(STEADY)))


def commute(rows: Rows, _: Parameters) -> Verdict:
    """Ask whether permutations of different layers commute and both orders give one set."""
    said = (
        f"{rows['samples'].value:.0f} pairs of permutations of different layers: largest difference "
        f"between the "
        f"two orders {rows['commutator'].value:.1g}; both orders give "
        f"{rows['elements_first'].value:.0f} elements on a tiny network, and together "
        f"{rows['elements_both'].value:.0f}. Within one layer "
        f"{rows['noncommuting_share'].value:.0%} of the pairs "
        f"do not commute. Rescaling and sign flips change outputs by "
        f"{rows['rescaling_change'].value:.1g} and "
        f"{rows['flip_change'].value:.1g}, and they are no permutations."
    )
    evidence = [
        below(rows["commutator"], 0),
        equals(rows["elements_both"], rows["elements_first"].value),
        above(rows["noncommuting_share"], 0.5),
        below(rows["rescaling_change"], ROUNDING),
        below(rows["flip_change"], ROUNDING),
    ]
    contrary = equals(rows["elements_both"], rows["elements_first"].value) is False
    return refute(evidence, contrary, said, "The other order gives other elements.")


def reordering(rows: Rows, _: Parameters) -> Verdict:
    """Ask what reordering solutions does to their distances, and what matching does."""
    said = (
        f"Largest change of a sorted distance by reordering the solutions: "
        f"{rows['multiset_change'].value:.1g} of the largest. "
        f"Distance of a solution and its permuted copy, over that of two solutions: "
        f"{show(rows['copy_raw'])} before, {show(rows['copy_reordered'])} after reordering, "
        f"{show(rows['copy_matched'])} after matching. Matching leaves "
        f"{show(rows['matched_over_raw'])} of the "
        f"mean distance of two solutions. Had each network's units been sorted by the same algorithm: copies "
        f"{show(rows['copy_sorted'])}, two solutions {show(rows['sorted_over_raw'])}."
    )
    evidence = [
        below(rows["multiset_change"], SAME),
        above(rows["copy_reordered"], 0.5),
        below(rows["copy_matched"], CLOSE),
        falls_below_one(rows),
    ]
    contrary = every([below(rows["copy_reordered"], CLOSE), below(rows["multiset_change"], SAME) is False])
    return refute(evidence, contrary, said, "The reordering brings permuted copies together.")


def falls_below_one(rows: Rows) -> bool | None:
    """Whether matching brings solutions closer."""
    row = rows["matched_over_raw"]
    if not row.measured:
        return None
    return True if row.high < 1 else (False if row.low >= 1 else None)


def _off(number: float) -> str:
    return f"{abs(number):,.0f} too {'many' if number > 0 else 'few'}"


def counts(rows: Rows, _: Parameters) -> Verdict:
    """Compare printed numbers of parameters with counted ones."""
    start = "printed_minus_counted_"
    off = {name.removeprefix(start): row for name, row in rows.items() if name.startswith(start)}
    agree = {name: equals(row, 0) for name, row in off.items()}
    wrong = [name for name, same in agree.items() if same is False]
    words = ", ".join(f"FC{name.replace('_', '-')} is printed {_off(off[name].value)}" for name in wrong)
    said = f"Of {len(off)} printed counts {len(off) - len(wrong)} agree with the built networks. {words}"
    misprinted = None if None in agree.values() else bool(wrong)
    return refute([misprinted], every(list(agree.values())), f"{said}.", "No misprint.")


PREDICATES = {
    "permutation-group-order": group_order,
    "swap-barrier-grows-with-swaps": grows_with_swaps,
    "swap-barrier-falls-with-width": falls_with_width,
    "permutations-commute": commute,
    "reordering-removes-permutation": reordering,
    "parameter-counts": counts,
}

_FIGURE = {
    "dataset": "mnist",
    "widths": [64, 128, 256, 512, 1024],
    "swaps": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 15, 20, 25, 30],
}
_TRIALS = {"networks": 5, "trials": 10, "epochs": 3, "images": 2000}
_DEPTH = _TRIALS | {"layer_networks": 8, "layer_trials": 4}
_WORDS = "nets with 64 to 1024 hidden units on MNIST, 50 trials"
_COST = "`spinscape build --profile mnist`, under 15 minutes on one core"

CASES = {
    "swap-barrier-grows-with-swaps": Case(_FIGURE, _TRIALS, _WORDS, _COST),
    "swap-barrier-falls-with-width": Case(_FIGURE, _DEPTH, _WORDS, _COST),
}

_IDENTITIES = {
    "samples": 100.0,
    "rescaling_change": 1e-15,
    "flip_change": 1e-15,
}
_LAWS = _IDENTITIES | {"function_change": 1e-15, "law_deviation": 0.0, "exhaustive_change": 1e-15}

EXAMPLES = {
    "permutation-group-order": (
        synthetic(**_LAWS, distinct=24, bound=24, control_change=0.3),
        synthetic(
            samples=100,
            function_change=0.1,
            law_deviation=0.1,
            exhaustive_change=0.1,
            rescaling_change=0.1,
            flip_change=0.1,
            distinct=12,
            bound=24,
            control_change=0.0,
        ),
    ),
    "swap-barrier-grows-with-swaps": (
        synthetic(
            **{f"trend_swaps_{m}": (0.98, 0.95, 1.0) for m in (64, 128, 256, 512, 1024)},
            **{f"falling_steps_{m}": 0 for m in (64, 128, 256, 512, 1024)},
            **{f"peak_{m}": (0.5, 0.48, 0.52) for m in (64, 128, 256, 512, 1024)},
            **{f"largest_barrier_{m}": (0.5, 0.4, 0.6) for m in (64, 128, 256, 512, 1024)},
        ),
        synthetic(
            **{f"trend_swaps_{m}": (-0.5, -0.8, -0.2) for m in (64, 128, 256, 512, 1024)},
            **{f"falling_steps_{m}": 3 for m in (64, 128, 256, 512, 1024)},
            **{f"peak_{m}": (0.2, 0.1, 0.3) for m in (64, 128, 256, 512, 1024)},
            **{f"largest_barrier_{m}": (0.5, 0.4, 0.6) for m in (64, 128, 256, 512, 1024)},
        ),
    ),
    "swap-barrier-falls-with-width": (
        synthetic(
            trend_width=(-0.99, -1.0, -0.97),
            trend_depth_total=(0.9, 0.7, 1.0),
            trend_depth_each=(0.9, 0.7, 1.0),
            log_collapse_ratio=(0.1, -0.1, 0.3),
            log_change_width=(-3.0, -3.5, -2.5),
            log_change_depth_total=(0.5, 0.3, 0.7),
            log_change_depth_each=(1.5, 1.0, 2.0),
        ),
        synthetic(
            trend_width=(-0.99, -1.0, -0.97),
            trend_depth_total=(-0.9, -1.0, -0.7),
            trend_depth_each=(-0.9, -1.0, -0.7),
            log_collapse_ratio=(0.1, -0.1, 0.3),
            log_change_width=(-3.0, -3.5, -2.5),
            log_change_depth_total=(-0.5, -0.7, -0.3),
            log_change_depth_each=(-1.5, -2.0, -1.0),
        ),
    ),
    "permutations-commute": (
        synthetic(
            **_IDENTITIES,
            commutator=0.0,
            elements_first=12,
            elements_both=12,
            noncommuting_share=0.95,
        ),
        synthetic(
            **_IDENTITIES,
            commutator=0.3,
            elements_first=12,
            elements_both=24,
            noncommuting_share=0.95,
        ),
    ),
    "reordering-removes-permutation": (
        synthetic(
            multiset_change=0.0,
            copy_raw=(0.9, 0.8, 1.0),
            copy_reordered=(0.9, 0.8, 1.0),
            copy_matched=0.0,
            copy_sorted=0.0,
            matched_over_raw=(0.9, 0.89, 0.91),
            sorted_over_raw=(0.98, 0.97, 0.99),
        ),
        synthetic(
            multiset_change=0.5,
            copy_raw=(0.9, 0.8, 1.0),
            copy_reordered=0.0,
            copy_matched=0.0,
            copy_sorted=0.0,
            matched_over_raw=(0.9, 0.89, 0.91),
            sorted_over_raw=(0.98, 0.97, 0.99),
        ),
    ),
    "parameter-counts": (
        synthetic(printed_minus_counted_1_64=0, printed_minus_counted_1_128=1408),
        synthetic(printed_minus_counted_1_64=0, printed_minus_counted_1_128=0),
    ),
}
