"""The ledger: what chapters leave, what predicates say, what the page shows."""

from __future__ import annotations

import math
import re
from pathlib import Path

import nbformat
import pytest

from spinscape import statistics
from spinscape.companion import ledger, ledger_page
from spinscape.companion.ledger import Claim, Measurement, Records, Verdict
from spinscape.companion.predicates import EXAMPLES, PREDICATES, intervals, outside
from spinscape.companion.prose import NOTHING, fill

ROOT = Path(__file__).resolve().parents[1]
CLAIMS = ledger.load_claims(ROOT / "book" / "claims.yaml")
MNIST = {"dataset": "mnist", "hidden": 512, "epochs": 12, "networks": 6, "images": 5000,
         "steps": 48, "downhill_steps": 8, "trials": 40}  # fmt: skip


@pytest.fixture
def notebook(monkeypatch):
    """A notebook that collects what a chapter displays."""
    cell = nbformat.v4.new_code_cell("")
    book = nbformat.v4.new_notebook(cells=[cell])

    def show(mime: str, payload: dict) -> None:
        cell.outputs.append(nbformat.v4.new_output("display_data", data={mime: payload}))

    monkeypatch.setattr(ledger, "_display", show)
    return book


def test_a_value_that_is_no_number_reaches_the_prose_as_nan(notebook) -> None:
    ledger.value(spread=float("nan"), limit=float("inf"))
    found = ledger.read(nbformat.reads(nbformat.writes(notebook), as_version=4))
    assert [f"{found.values[name]:.2f}" for name in ("spread", "limit")] == ["nan", "nan"]
    assert fill("{{spread:.2f}}; {{limit:.0f}}", found.values, "toy").count(NOTHING) == 2
    assert intervals.show(Measurement(float("nan"))) == NOTHING


def test_claims_carry_every_row() -> None:
    assert len(CLAIMS) == 69
    chapters = {claim.chapter for claim in CLAIMS.values()}
    assert len(chapters) == 8
    assert sum(claim.source_error for claim in CLAIMS.values()) >= 8


def test_records_travel_in_the_notebook(notebook) -> None:
    ledger.record("weight-scale", rms=0.05, interval=(0.04, 0.06), n=5, figure="fig-a")
    ledger.record("weight-scale", mean=statistics.mean([1.0, 2.0, 3.0]))
    ledger.record("weight-scale", rms=float("nan"))
    ledger.skip("other", reason="Too big.", cost="9 h")
    ledger.value(answer=42, word="yes")
    found = ledger.read(nbformat.reads(nbformat.writes(notebook), as_version=4))
    rows = found.measurements["weight-scale"]
    assert rows["mean"].value == 2.0
    assert rows["mean"].n == 3
    assert rows["mean"].low < 2.0 < rows["mean"].high
    assert rows["rms"].value != rows["rms"].value, "the later record of a name counts, NaN included"
    assert found.figures == {"weight-scale": "fig-a"}
    assert found.skipped == {"other": ("Too big.", "9 h")}
    assert found.values == {"answer": 42.0, "word": "yes"}


def test_an_exact_number_is_its_own_interval(notebook) -> None:
    ledger.record("weight-scale", exact=True, count=7, mean=statistics.mean([1.0, 2.0, 3.0]))
    ledger.record("weight-scale", open=7)
    rows = ledger.read(notebook).measurements["weight-scale"]
    assert (rows["count"].low, rows["count"].high, rows["count"].n) == (7, 7, None)
    assert rows["mean"].low < rows["mean"].high, "a value's own interval counts"
    assert not rows["open"].measured


def test_an_interval_belongs_to_one_value() -> None:
    with pytest.raises(ValueError, match="exactly one value"):
        ledger.record("x", a=1, b=2, interval=(0, 1))
    with pytest.raises(ValueError, match="upside down"):
        ledger.record("x", a=1, interval=(2, 1))


def test_missing_and_misplaced_records_are_named() -> None:
    claims = {name: CLAIMS[name] for name in ("weight-scale", "walk-test-like-train", "matching")}
    left = Records(measurements={"weight-scal": {}, "matching": {}, "walk-test-like-train": {}})
    problems = ledger.check_records(claims, {"random_walks": left})
    assert len(problems) == 3
    assert "did you mean 'weight-scale'" in problems[1]
    assert "a row of mode_connectivity" in problems[0]
    assert "no record for its row 'weight-scale'" in problems[2]


@pytest.mark.parametrize("claim", sorted(PREDICATES))
def test_every_predicate_can_pass_and_fail(claim: str) -> None:
    passing, failing = EXAMPLES[claim]
    verdicts = [PREDICATES[claim](measured, MNIST).outcome for measured in (passing, failing)]
    if CLAIMS[claim].source_error:
        # Without the evidence against it the statement stands.
        assert verdicts == [ledger.SOURCE_WRONG, ledger.REPRODUCED]
    else:
        assert verdicts == [ledger.REPRODUCED, ledger.NOT_REPRODUCED]


@pytest.mark.parametrize("claim", sorted(set(PREDICATES) - {"downhill-walk-fraction"}))
def test_wide_intervals_decide_nothing(claim: str) -> None:
    rows = {
        name: Measurement(row.value, row.value - 100, row.value + 100)
        for name, row in EXAMPLES[claim][0].items()
    }
    assert PREDICATES[claim](rows, {}).outcome == ledger.NOT_TESTED


def test_undecided_verdicts_say_what_deciding_costs() -> None:
    rows = {
        name: Measurement(row.value, row.value - 1, row.value + 1)
        for name, row in EXAMPLES["walk-flat-then-plateau"][0].items()
    }
    verdict = PREDICATES["walk-flat-then-plateau"](rows, {})
    assert verdict.outcome == ledger.NOT_TESTED
    assert "Projected cost" in verdict.reason


def test_partial_verdicts() -> None:
    flat, high = (EXAMPLES["walk-flat-then-plateau"][k] for k in (0, 1))
    mixed = {**high, **{name: row for name, row in flat.items() if not name.startswith("plateau")}}
    assert PREDICATES["walk-flat-then-plateau"](mixed, {}).outcome == ledger.PARTLY
    one = dict(EXAMPLES["weight-scale"][0]) | {"mean_abs_all": Measurement(0.05, 0.05, 0.05)}
    assert PREDICATES["weight-scale"](one, {}).outcome == ledger.PARTLY
    still = {name: Measurement(float("nan")) for name in ("trend_p_0.1", "trend_rank_0.1")}
    assert PREDICATES["downhill-walk-fraction"](still, {}).outcome == ledger.NOT_TESTED
    lacking = {"plateau_0.01": Measurement(1.0)}
    assert "lacks one" in PREDICATES["walk-flat-then-plateau"](lacking, {}).reason


def test_verdicts_on_depth_follow_the_evidence() -> None:
    judge = PREDICATES["swap-barrier-falls-with-width"]
    rows = EXAMPLES["swap-barrier-falls-with-width"][0]

    def outcome(trend: tuple[float, float, float], change: tuple[float, float, float]) -> str:
        spread = {
            "trend_depth_total": Measurement(*trend),
            "log_change_depth_total": Measurement(*change),
        }
        return judge(dict(rows) | spread, {}).outcome

    assert outcome((-0.4, -0.7, -0.1), (-0.2, -0.4, -0.1)) == ledger.PARTLY
    assert outcome((-0.9, -1.0, -0.8), (-0.2, -0.22, -0.18)) == ledger.PARTLY, (
        "a surer fall is no less of one"
    )
    assert outcome((0.0, -0.3, 0.3), (0.0, -0.1, 0.1)) == ledger.SOURCE_WRONG
    assert outcome((0.0, -0.3, 0.3), (0.0, -0.5, 0.5)) == ledger.NOT_TESTED
    assert outcome((0.8, 0.6, 1.0), (0.9, 0.5, 1.3)) == ledger.SOURCE_WRONG
    still = Measurement(0.0, -0.1, 0.1)
    both = {f"{what}_depth_{way}": still for what in ("trend", "log_change") for way in ("total", "each")}
    assert judge(dict(rows) | both, {}).outcome == ledger.SOURCE_WRONG


def test_a_broken_symmetry_or_a_dead_control_does_not_pass() -> None:
    judge, rows = PREDICATES["permutation-group-order"], dict(EXAMPLES["permutation-group-order"][0])
    broken = rows | {"function_change": Measurement(0.5, 0.5, 0.5)}
    dead = rows | {"control_change": Measurement(0.0, 0.0, 0.0)}
    assert judge(broken, {}).outcome == ledger.NOT_REPRODUCED
    assert judge(dead, {}).outcome == ledger.NOT_TESTED


def test_every_written_chapter_has_all_its_predicates() -> None:
    written = {p.stem for p in (ROOT / "book").glob("*.md")}
    rows = {claim.id for claim in CLAIMS.values() if claim.chapter in written}
    # A predicate may be there before its chapter: it is written before the first run.
    assert rows <= set(PREDICATES) == set(EXAMPLES) <= set(CLAIMS)


def test_another_case_is_not_the_claim() -> None:
    assert outside("weight-scale", MNIST) == ""
    assert "hidden = 64" in outside("weight-scale", MNIST | {"hidden": 64})
    assert "epochs = 1" in outside("weight-scale", MNIST | {"epochs": 1})
    assert outside("weight-scale", {}) != ""
    assert outside("random-walk-algorithm", {"dataset": "digits"}) == ""


def test_verdicts(notebook) -> None:
    claims = {name: CLAIMS[name] for name in ("weight-scale", "matching", "walk-test-like-train")}
    left = Records(
        measurements={"weight-scale": EXAMPLES["weight-scale"][0]},
        skipped={"walk-test-like-train": ("No test set.", "1 h")},
        parameters=MNIST,
    )
    verdicts = ledger.judge(claims, {"random_walks": left})
    assert verdicts["weight-scale"].outcome == ledger.REPRODUCED
    assert verdicts["matching"].outcome == ledger.NOT_WRITTEN
    assert verdicts["walk-test-like-train"].outcome == ledger.NOT_TESTED
    assert "1 h" in verdicts["walk-test-like-train"].reason
    away = Records(measurements=left.measurements, skipped=left.skipped, parameters={"dataset": "digits"})
    verdict = ledger.judge(claims, {"random_walks": away})["weight-scale"]
    assert verdict.outcome == ledger.NOT_TESTED
    assert "gives: reproduced" in verdict.stand_in
    wide = {n: Measurement(r.value, r.low - 1, r.high + 1) for n, r in EXAMPLES["weight-scale"][0].items()}
    away = Records(measurements={"weight-scale": wide}, parameters={"dataset": "digits"})
    verdict = ledger.judge({"weight-scale": CLAIMS["weight-scale"]}, {"random_walks": away})["weight-scale"]
    assert verdict.stand_in.startswith("What was run here decides nothing.")


def test_page_shows_every_row_and_links_figures() -> None:
    left = Records(
        measurements={"weight-scale": EXAMPLES["weight-scale"][0]}, figures={"weight-scale": "fig-walks"}
    )
    verdicts = {name: Verdict(ledger.NOT_WRITTEN, "To come.") for name in CLAIMS}
    text = ledger_page.page(CLAIMS, verdicts, {"random_walks": left}, "the `quick` profile")
    assert re.findall(r'<section class="[^"]*" id="([^"]+)">', text).__len__() == len(CLAIMS)
    assert 'href="random_walks.html#fig-walks"' in text
    assert "rms all: 0.13 [0.12, 0.141] (n = 8)" in text


def test_text_from_claims_is_escaped() -> None:
    claim = Claim("a", "liao", "here", "c", "x < y <script>", "check")
    verdicts = {"a": Verdict(ledger.PARTLY, "1 < 2")}
    assert "<script>" not in ledger_page.page({"a": claim}, verdicts, {}, "quick")
    assert "1 &lt; 2" in ledger_page.box(claim, verdicts["a"])


def test_numbers_for_the_prose() -> None:
    left = Records(measurements={"c": {"v": Measurement(1.5, 1.0, 2.0, n=4)}}, values={"free": 3.0})
    found = ledger.numbers(left, {"hidden": 64}, {"c": Verdict(ledger.PARTLY, "")})
    assert found["c.v.low"] == 1.0
    assert found["c.v.n"] == 4
    assert found["parameters.hidden"] == 64
    assert found["c.verdict"] == "partly"
    assert found["free"] == 3.0


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("- {id: a}", "missing"),
        ("- {id: a, source: x, where: w, chapter: c, statement: s, check: k}", "source 'x'"),
    ],
)
def test_bad_claims_are_refused(tmp_path: Path, row: str, message: str) -> None:
    path = tmp_path / "claims.yaml"
    path.write_text(row)
    with pytest.raises(ledger.ClaimsError, match=message):
        ledger.load_claims(path)


def test_counts_are_written_in_full() -> None:
    assert (
        ledger_page.measured("counted_1_128", Measurement(101770, 101770, 101770)) == "counted 1 128: 101,770"
    )
    assert (
        ledger_page.measured("a", Measurement(101770.4, 101770, 101771))
        == "a: 1.018e+05 [1.018e+05, 1.018e+05]"
    )
    assert ledger_page.measured("b", Measurement(1e-15, 1e-15, 1e-15)) == "b: 1e-15"


def test_a_strength_without_an_interval_counts_in_the_tests_of_clusters() -> None:
    # Strengths are chosen, not measured: chapters record them as plain numbers.
    rows = dict(EXAMPLES["sgd-distances-gaussian"][0])
    assert PREDICATES["sgd-distances-gaussian"](rows, {}).outcome == ledger.REPRODUCED
    for strength, outcome in ((3.0, ledger.REPRODUCED), (50.0, ledger.NOT_TESTED)):
        rows["strength_modality"] = Measurement(strength, math.nan, math.nan)
        assert PREDICATES["sgd-distances-gaussian"](rows, {}).outcome == outcome


@pytest.mark.parametrize("claim", ["rsb-analogy", "sgd-distances-gaussian"])
def test_a_detection_is_claimed_only_where_the_power_was_there(claim: str) -> None:
    rows = dict(EXAMPLES[claim][0])
    tests = [name.removeprefix("power_") for name in rows if name.startswith("power_")]
    reason = PREDICATES[claim](rows, {}).reason
    assert reason.count("at strength 3 (power 0.9 [0.85, 0.95])") == len(tests)
    for test in tests:
        rows |= {
            f"strength_{test}": Measurement(6.0, math.nan, math.nan),
            f"power_{test}": Measurement(0.55, 0.32, 0.77),
        }
    reason = PREDICATES[claim](rows, {}).reason
    assert reason.count("at no strength up to 6 (power 0.55 [0.32, 0.77])") == len(tests)
    assert "at strength" not in reason
    rows |= {f"unplanted_{test}": Measurement(2.0, math.nan, math.nan) for test in tests}
    assert PREDICATES[claim](rows, {}).reason.count("2 more that cannot be planted") == len(tests)
    rows |= {f"power_{test}": Measurement(math.nan, math.nan, math.nan) for test in tests}
    rows |= {f"strength_{test}": Measurement(math.nan, math.nan, math.nan) for test in tests}
    reason = PREDICATES[claim](rows, {}).reason
    assert reason.count("at no strength, since none of 2 can be planted") == len(tests)
    assert "nan" not in reason


def test_deep_barriers_that_still_rise_do_not_saturate() -> None:
    judge, rows = PREDICATES["width-lowers-barrier"], dict(EXAMPLES["width-lowers-barrier"][0])
    for share, outcome in (
        ((1.0, 0.9, 1.1), ledger.REPRODUCED),
        ((1.6, 1.4, 1.8), ledger.PARTLY),
        ((1.2, 1.0, 1.4), ledger.NOT_TESTED),
        ((0.3, 0.2, 0.4), ledger.PARTLY),
        ((0.9, 0.2, math.inf), ledger.NOT_TESTED),
    ):
        assert judge(rows | {"deep_share": Measurement(*share)}, {}).outcome == outcome, share


@pytest.mark.parametrize("claim", ["width-lowers-barrier", "one-basin-conjecture"])
def test_verdicts_on_pairs_want_seven_networks(claim: str) -> None:
    assert outside(claim, {"dataset": "mnist", "networks": 7}) == ""
    assert "networks = 6" in outside(claim, {"dataset": "mnist", "networks": 6})


def test_the_hours_are_those_of_the_networks_that_were_counted() -> None:
    rows = {k: v for k, v in EXAMPLES["zero-barrier-wide"][0].items() if not k.startswith("claimed_")}
    verdict = PREDICATES["zero-barrier-wide"](rows, {})
    assert verdict.outcome == ledger.NOT_TESTED
    assert "2 hours on one GPU, for residual networks up to 8 times the channels" in verdict.reason


def test_a_step_that_wide_intervals_hide_is_open() -> None:
    rows = EXAMPLES["geodesic-paths"][0]
    steps = ("before_sgd_minus_rsgd", "before_adv_minus_sgd")
    unmeasured = {name: Measurement(5.0, float("nan"), float("nan")) for name in steps}
    wide = {name: Measurement(5.0, -0.1, 10.0) for name in steps}
    for before in (unmeasured, wide):
        assert PREDICATES["geodesic-paths"]({**rows, **before}, {}).outcome == ledger.NOT_TESTED
    seen = {name: Measurement(5.0, 4.0, 6.0) for name in steps}
    assert PREDICATES["geodesic-paths"]({**rows, **seen}, {}).outcome == ledger.PARTLY


def test_zero_barriers_need_both_kinds_of_networks() -> None:
    rows = {name: row for name, row in EXAMPLES["zero-barrier-wide"][0].items() if "resnet" not in name}
    assert PREDICATES["zero-barrier-wide"](rows, {}).outcome == ledger.NOT_TESTED
