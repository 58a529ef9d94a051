"""Predicates of the chapter on the negative perceptron, at their edges."""

from __future__ import annotations

import math

import pytest

from spinscape import statistics
from spinscape.companion.cells import above, as_many, at_most, one_of
from spinscape.companion.ledger import NOT_REPRODUCED, NOT_TESTED, PARTLY, REPRODUCED, Measurement, Verdict
from spinscape.companion.parameters import ParameterError
from spinscape.companion.predicates import outside
from spinscape.companion.predicates.intervals import synthetic
from spinscape.companion.predicates.star_shaped import CASES, EXAMPLES, PRECISE, PREDICATES

Triple = tuple[float, float, float]

SAME: Triple = (0.01, -0.03, 0.05)
OFF: Triple = (0.3, 0.2, 0.4)
WIDE: Triple = (0.01, -0.2, 0.2)
"""Relative differences from theory: none, one, and an interval that says neither."""

OPEN: Triple = (0.5, 0.0, 1.0)
NOT_MEASURED: Triple = (math.nan, math.nan, math.nan)


def judge(claim: str, *without: str, **changed: Triple | float) -> Verdict:
    """Judge the passing example, with some rows changed and some left out."""
    rows = EXAMPLES[claim][0] | synthetic(**changed)
    return PREDICATES[claim]({name: row for name, row in rows.items() if name not in without}, {})


@pytest.mark.parametrize(
    ("changed", "outcome"),
    [
        ({}, REPRODUCED),
        ({"overlap_b": OFF}, PARTLY),
        ({"overlap_b": WIDE}, NOT_TESTED),
        ({"overlap_b": NOT_MEASURED}, NOT_TESTED),
        ({"violation": 1e-6}, PARTLY),
        ({"violation": 1e-10}, REPRODUCED),
        ({"law": (0.05, 0.04, 0.06)}, PARTLY),
        # A law that cannot be told from a wrong one says nothing.
        ({"law_control": (0.01, 0.005, 0.015)}, NOT_TESTED),
        ({"starts_a": OFF}, NOT_TESTED),
        ({"starts_b": WIDE}, NOT_TESTED),
        # R-hat is shown only.
        ({"rhat": 3.0}, REPRODUCED),
    ],
)
def test_uniform_measure(changed: dict[str, Triple | float], outcome: str) -> None:
    assert judge("negative-perceptron", **changed).outcome == outcome


def test_starts_that_disagree_decide_neither_way() -> None:
    wrong = {"overlap_a": OFF, "law": (0.1, 0.09, 0.12)}
    assert judge("negative-perceptron", **wrong).outcome == PARTLY
    verdict = judge("negative-perceptron", **wrong, starts_a=OFF)
    assert verdict.outcome == NOT_TESTED
    assert "a 0.3 [0.2, 0.4]" in verdict.reason
    broken = judge("negative-perceptron", **wrong, starts_a=OFF, violation=0.1)
    assert broken.outcome == NOT_TESTED
    assert "A part fails" in broken.reason


def test_an_interval_may_be_just_as_wide_as_is_precise() -> None:
    wide = 0.99 * PRECISE
    assert judge("negative-perceptron", overlap_a=(0.0, -wide, wide)).outcome == REPRODUCED
    assert judge("negative-perceptron", overlap_a=(0.0, -wide, 1.1 * PRECISE)).outcome == NOT_TESTED
    # What is surely off is off, however little.
    assert judge("negative-perceptron", overlap_a=(0.02, 0.01, 0.03)).outcome == PARTLY


@pytest.mark.parametrize(
    ("claim", "rows"),
    [
        ("negative-perceptron", ["starts_a"]),
        ("negative-perceptron", ["overlap_a"]),
        ("interpolation-energy-2", ["middle_a"]),
        ("interpolation-energy-2", ["quarter_a"]),
        ("interpolation-energy-2", ["height_a"]),
        ("interpolation-energy-2", ["middle_a", "quarter_a", "height_a"]),
        ("interpolation-energy-3", ["centre_a"]),
        ("interpolation-energy-3", ["map_a"]),
        ("interpolation-energy-3", ["centre_a", "map_a"]),
        ("star-shape-in-networks", ["gain_rsgd_16"]),
        ("star-shape-in-networks", ["flat_rsgd_16"]),
        # Compressions that have not finished are not recorded.
        ("jamming-outlook", ["contacts_perceptron"]),
        ("jamming-outlook", ["contacts_committee"]),
        ("jamming-outlook", ["contacts_committee_convex"]),
        ("jamming-outlook", ["contacts_convex"]),
    ],
)
def test_what_was_not_measured_is_not_reproduced(claim: str, rows: list[str]) -> None:
    assert judge(claim, *rows).outcome == NOT_TESTED


@pytest.mark.parametrize(
    ("changed", "outcome"),
    [
        ({}, REPRODUCED),
        ({"middle_b": OFF}, PARTLY),
        ({"quarter_b": OFF}, PARTLY),
        ({"quarter_b": WIDE}, NOT_TESTED),
        ({"height_b": (0.0, -0.001, 0.001)}, NOT_TESTED),
        ({"height_b": (0.0, 0.0, 0.0)}, PARTLY),
        ({"middle_a": OFF, "quarter_a": OFF, "height_a": (0.0, 0.0, 0.0)}, NOT_REPRODUCED),
    ],
)
def test_energy_between_two(changed: dict[str, Triple], outcome: str) -> None:
    assert judge("interpolation-energy-2", **changed).outcome == outcome


@pytest.mark.parametrize(
    ("changed", "outcome"),
    [
        ({"centre_b": SAME, "map_b": 0.05}, REPRODUCED),
        ({"centre_b": OFF}, PARTLY),
        ({"map_b": 0.2}, PARTLY),
        ({"map_b": (0.1, 0.05, 0.15)}, NOT_TESTED),
        ({"centre_b": WIDE, "map_b": 0.2}, NOT_TESTED),
        ({"centre_a": OFF, "map_a": 0.2}, NOT_REPRODUCED),
    ],
)
def test_energy_between_three(changed: dict[str, Triple | float], outcome: str) -> None:
    assert judge("interpolation-energy-3", **changed).outcome == outcome


@pytest.mark.parametrize(
    ("changed", "outcome"),
    [
        ({"share_robust": (0.9, 0.9, 0.95), "share_typical": (0.05, 0.0, 0.1)}, REPRODUCED),
        ({"share_robust": (0.9, 0.85, 0.95)}, NOT_TESTED),
        ({"share_robust": (0.6, 0.5, 0.7)}, PARTLY),
        ({"share_typical": (0.3, 0.2, 0.4)}, PARTLY),
        ({"growth": (0.0, -0.1, 0.1)}, NOT_TESTED),
        ({"growth": (-0.1, -0.2, 0.0)}, PARTLY),
    ],
)
def test_star(changed: dict[str, Triple], outcome: str) -> None:
    assert judge("star-shaped", **changed).outcome == outcome


SEEN: Triple = (0.8, 0.7, 0.9)
"""Instances whose core is still there at the highest density."""


@pytest.mark.parametrize(
    ("changed", "outcome"),
    [
        ({}, REPRODUCED),
        # Chains that have not mixed see too much: what is lost all the same is lost.
        ({"rhat_last": 1.5}, REPRODUCED),
        ({"rhat_last": math.nan}, REPRODUCED),
        ({"core_last": SEEN}, PARTLY),
        ({"core_last": SEEN, "rhat_last": 1.05}, PARTLY),
        ({"core_last": SEEN, "rhat_last": 1.06}, NOT_TESTED),
        ({"core_last": SEEN, "rhat_last": math.inf}, NOT_TESTED),
        ({"core_last": SEEN, "rhat_last": math.nan}, NOT_TESTED),
        ({"core_last": (0.1, 0.05, 0.2)}, NOT_TESTED),
        ({"core_first": SEEN}, NOT_TESTED),
        ({"core_first": (0.5, 0.4, 0.6)}, PARTLY),
        ({"gap": (0.1, -0.1, 0.3)}, NOT_TESTED),
        ({"gap": NOT_MEASURED}, NOT_TESTED),
        ({"gap": (0.3, 0.2, 0.4)}, PARTLY),
        ({"gap": (-0.3, -0.4, 0.0)}, NOT_TESTED),
        # The margin itself is shown only.
        ({"rank": (0.3, 0.2, 0.4)}, REPRODUCED),
        ({"rank": NOT_MEASURED}, REPRODUCED),
    ],
)
def test_core(changed: dict[str, Triple | float], outcome: str) -> None:
    assert judge("disconnection-transitions", **changed).outcome == outcome


def test_core_says_both_correlations() -> None:
    reason = judge("disconnection-transitions", gap=(-0.7, -0.8, -0.6), rank=(-0.2, -0.3, -0.1)).reason
    assert "-0.7 [-0.8, -0.6], with the latter -0.2 [-0.3, -0.1]" in reason


def test_core_that_stays_is_not_reproduced_only_by_chains_that_have_mixed() -> None:
    failing = EXAMPLES["disconnection-transitions"][1]
    predicate = PREDICATES["disconnection-transitions"]
    assert predicate(failing, {}).outcome == NOT_REPRODUCED
    verdict = predicate(failing | synthetic(rhat_last=1.4), {})
    assert verdict.outcome == NOT_TESTED
    assert "R-hat there 1.4" in verdict.reason


@pytest.mark.parametrize(
    ("changed", "outcome"),
    [
        ({}, REPRODUCED),
        ({"left": (0.4, 0.3, 0.6)}, NOT_TESTED),
        ({"left": (0.7, 0.6, 0.8)}, PARTLY),
        # The random walk falls as far.
        ({"left_control": (0.1, 0.05, 0.2)}, NOT_TESTED),
        ({"left_control": (0.01, 0.0, 0.02)}, PARTLY),
        ({"left_control": NOT_MEASURED}, NOT_TESTED),
        ({"trend": (0.1, 0.0, 0.2)}, PARTLY),
    ],
)
def test_attraction(changed: dict[str, Triple], outcome: str) -> None:
    assert judge("sgd-attracted-to-core", **changed).outcome == outcome


MANY: Triple = (0.97, 0.95, 0.99)
UP: Triple = (0.3, 0.2, 0.4)
DOWN: Triple = (-0.3, -0.4, -0.2)


def test_networks_count_widths_at_which_typical_ones_do_not_see_each_other() -> None:
    # At 32 units all see all: no gain is possible, and none is asked for.
    wide = {
        "share_typical_32": MANY,
        "share_rsgd_32": MANY,
        "gain_rsgd_32": (0.0, -0.1, 0.1),
        "flat_rsgd_32": UP,
    }
    assert judge("star-shape-in-networks", **wide).outcome == REPRODUCED
    assert (
        judge("star-shape-in-networks", **wide | {"share_typical_32": (0.5, 0.4, 0.6)}).outcome == NOT_TESTED
    )
    # Every kind of network counts there.
    average = {"share_average_16": (0.5, 0.4, 0.6), "gain_average_16": UP, "flat_average_16": UP}
    assert judge("star-shape-in-networks", **average).outcome == PARTLY
    assert (
        judge("star-shape-in-networks", **average | {"gain_rsgd_16": (-0.1, -0.2, 0.0)}).outcome
        == NOT_REPRODUCED
    )
    assert judge("star-shape-in-networks", share_rsgd_16=(0.9, 0.8, 0.95)).outcome == NOT_TESTED


@pytest.mark.parametrize("typical", [MANY, OPEN, NOT_MEASURED])
def test_networks_decide_nothing_where_no_width_counts(typical: Triple) -> None:
    for gain in ((0.3, 0.2, 0.4), (-0.3, -0.4, -0.2)):
        verdict = judge("star-shape-in-networks", share_typical_16=typical, gain_rsgd_16=gain)
        assert verdict.outcome == NOT_TESTED
        assert "At no width" in verdict.reason


def test_widths_are_not_mistaken_for_one_another() -> None:
    rows = {"share_typical_6": MANY, "share_rsgd_6": OPEN, "gain_rsgd_6": (0.0, -0.5, 0.5), "flat_rsgd_6": UP}
    assert judge("star-shape-in-networks", **rows).outcome == REPRODUCED


@pytest.mark.parametrize("flat", [DOWN, (0.0, -0.1, 0.1), NOT_MEASURED])
def test_networks_that_are_not_clearly_flatter_do_not_count(flat: Triple) -> None:
    for gain in (UP, DOWN):
        verdict = judge("star-shape-in-networks", flat_rsgd_16=flat, gain_rsgd_16=gain)
        assert verdict.outcome == NOT_TESTED
        assert "that others are flatter" in verdict.reason
    # A kind that is not flat weighs neither for nor against those that are.
    average = {"share_average_16": (0.5, 0.4, 0.6), "gain_average_16": DOWN, "flat_average_16": flat}
    verdict = judge("star-shape-in-networks", **average)
    assert verdict.outcome == REPRODUCED
    assert (
        "local energy of typical networks over theirs: rsgd 16 0.3 [0.2, 0.4], average 16" in verdict.reason
    )


def proportions(flat: list[int], typical: list[int]) -> Verdict:
    """Judge pairs of networks, of a kind that is flatter than typical ones, that see each other or do not."""
    found = {
        "share_rsgd_16": statistics.proportion(flat),
        "share_typical_16": statistics.proportion(typical),
        "gain_rsgd_16": statistics.difference_of_proportions(flat, typical),
    }
    rows = {name: (float(one.value), *map(float, one.interval)) for name, one in found.items()}
    return judge("star-shape-in-networks", **rows)


@pytest.mark.parametrize(
    ("pairs", "flat", "typical", "outcome"),
    [
        # Three pairs say nothing, however they fall out: their shares are known to half of the range.
        (3, 1, 0, NOT_TESTED),
        (3, 0, 1, NOT_TESTED),
        (3, 1, 1, NOT_TESTED),
        # Many of them do, if not all are alike.
        (60, 1, 0, REPRODUCED),
        (60, 1, 1, NOT_TESTED),
    ],
)
def test_few_pairs_of_networks_decide_nothing(pairs: int, flat: int, typical: int, outcome: str) -> None:
    assert proportions(pairs * [flat], pairs * [typical]).outcome == outcome


@pytest.mark.parametrize(
    ("changed", "outcome"),
    [
        ({}, REPRODUCED),
        ({"contacts_perceptron": (0.9, 0.88, 0.92)}, PARTLY),
        ({"contacts_perceptron": (0.97, 0.94, 1.0)}, NOT_TESTED),
        ({"contacts_committee": (1.0, 0.99, 1.01)}, PARTLY),
        ({"contacts_committee": (0.98, 0.95, 1.01)}, NOT_TESTED),
        ({"contacts_committee_convex": (1.0, 0.99, 1.01)}, PARTLY),
        ({"contacts_committee_convex": (0.98, 0.95, 1.01)}, NOT_TESTED),
        ({"contacts_committee_convex": NOT_MEASURED}, NOT_TESTED),
        # The count is not trusted where it misses what is known.
        ({"contacts_convex": (1.0, 0.99, 1.01)}, NOT_TESTED),
        ({"convex_theory": 0.5}, NOT_TESTED),
    ],
)
def test_jamming(changed: dict[str, Triple | float], outcome: str) -> None:
    assert judge("jamming-outlook", **changed).outcome == outcome


@pytest.mark.parametrize("claim", sorted(PREDICATES))
def test_verdicts_say_their_numbers(claim: str) -> None:
    for rows in EXAMPLES[claim]:
        reason = PREDICATES[claim](rows, {}).reason
        assert "nan" not in reason
        assert "{" not in reason
    empty = {name: Measurement(math.nan) for name in EXAMPLES[claim][0]}
    verdict = PREDICATES[claim](empty, {})
    assert verdict.outcome == NOT_TESTED


@pytest.mark.parametrize("claim", sorted(CASES))
def test_large_sizes_are_the_case(claim: str) -> None:
    assert outside(claim, {"steps": 3000, "chains": 3}) == ""
    assert "steps = 2999" in outside(claim, {"steps": 2999, "chains": 3})
    assert "chains = 2" in outside(claim, {"steps": 3000, "chains": 2})
    for other in set(PREDICATES) - set(CASES):
        assert outside(other, {"steps": 1, "chains": 1}) == ""


def test_parameters_are_at_most_what_there_is() -> None:
    at_most(300, "training images", net_images=300, few=1)
    with pytest.raises(
        ParameterError, match=r"^net_images must be at most the 300 training images, not 301$"
    ):
        at_most(300, "training images", few=1, net_images=301)
    at_most(0, "test images")


def test_lists_that_go_with_each_other_are_as_long() -> None:
    as_many(sizes=[10, 20], instances=(3, 3), names=["a", "b"])
    as_many(sizes=[])
    with pytest.raises(
        ParameterError, match=r"^sizes \(3\) and instances \(2\) must be as long as each other$"
    ):
        as_many(sizes=[10, 20, 30], instances=[3, 3])
    with pytest.raises(ParameterError, match=r"a \(1\) and b \(1\) and c \(0\)"):
        as_many(a=[1], b=[1], c=[])


def test_parameters_are_among_the_values_of_a_list() -> None:
    one_of("kappas", [-0.5, -1.0], margin=-0.5, other=-1)
    with pytest.raises(ParameterError, match=r"^margin = -0\.4 must be one of kappas: \[-0\.5, -1\.0\]$"):
        one_of("kappas", (-0.5, -1.0), other=-0.5, margin=-0.4)
    with pytest.raises(ParameterError, match="margin"):
        one_of("kappas", [], margin=-0.5)


@pytest.mark.parametrize("value", [-0.5, -0.6, math.nan])
def test_parameters_are_above_a_value(value: float) -> None:
    above(-0.5, margins=-0.49, others=math.inf)
    with pytest.raises(ParameterError, match=rf"^margins must be above -0\.5, not {value}$"):
        above(-0.5, others=0.0, margins=value)
