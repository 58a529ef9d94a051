"""The fault campaign in its short form, and that its table tells a failure."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from campaign import all_cases, chosen
from faults import kills
from faults.call import Done
from faults.table import HEADS, Row, failed, markdown

PROGRAM = Path(__file__).with_name("campaign.py")


def cells(text: str) -> list[list[str]]:
    """The table's rows, of the table alone."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines[2:]]


@pytest.mark.timeout(900)
def test_the_short_campaign_passes(tmp_path):
    output = tmp_path / "table.md"
    done = subprocess.run(
        [sys.executable, str(PROGRAM), "--short", "--output", str(output)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip() == output.read_text(encoding="utf-8").strip()
    rows = cells(done.stdout)
    groups = [row[0] for row in rows]
    for group, count in {"kills of a build": 2, "aimed kills": 2,
                         "kills in a long cell": 1, "bad parameters": 5, "bad data files": 4,
                         "damaged files": 1, "full disk": 1, "read-only": 1, "no network": 1,
                         "two calls at once": 1}.items():  # fmt: skip
        assert groups.count(group) == count, group
    left_out = [row for row in rows if "left out" in row[-1]]
    if os.environ.get("CI") == "true" and os.geteuid() == 0:
        assert not left_out


def test_the_full_campaign_has_what_it_promises():
    cases = all_cases(30, 0, short=False)
    groups = [case.group for case in cases]
    assert len({case.name for case in cases}) == len(cases)
    for group, count in {"kills of a build": 30, "kills of a run": 4, "kills of a sweep": 4,
                         "kills in a long cell": 4, "bad parameters": 25,
                         "bad data files": 15}.items():  # fmt: skip
        assert groups.count(group) >= count
    targets = {(strike[1], strike[2]) for case in cases if case.function is kills.kill
               for strike in case.arguments[0]}  # fmt: skip
    assert targets == {(target, int(number)) for target, number in kills.KINDS}
    assert any(len(case.arguments[0]) == 2 for case in cases if case.function is kills.kill)
    assert [case.name for case in chosen(cases, "kill-00,pair-same")] == ["pair-same", "kill-00"]
    assert all_cases(30, 0, short=False) == cases
    assert all_cases(30, 1, short=False) != cases


def test_a_row_fails_for_each_of_its_reasons():
    good = Row("g", "f", values="equal")
    assert good.verdict == "pass"
    for bad in (
        Row("g", "f", values="differ"),
        Row("g", "f", orphans=1),
        Row("g", "f", leftovers=["x.part"]),
    ):
        assert bad.verdict.startswith("FAIL")
        assert failed([good, bad])
    row = Row("g", "f | g\n" + "x" * 500)
    row.expect(False, "exit code 3")
    assert row.verdict == "FAIL: exit code 3"
    assert not failed([good, Row("g", "f", left_out="no disk")])
    assert failed([])
    text = markdown([good, row], "Title")
    assert [len(cells) for cells in cells(text.replace("f \\| g", "f"))] == [len(HEADS)] * 2
    assert "- g: 2 rows, 1 FAIL, 1 pass" in text


@pytest.mark.parametrize(
    ("got", "number", "code", "err", "wrong"),
    [
        (kills.COMMAND, 2, 130, kills.STOPPED, False),
        (kills.COMMAND, 2, 130, "", True),
        (kills.COMMAND, 2, 1, kills.STOPPED, True),
        (kills.COMMAND, 15, -15, "", False),
        (kills.COMMAND, 15, 143, "Traceback", True),
        (kills.COMMAND, 9, -9, "", False),
        (kills.ENGINE, 9, 1, "", True),
        (kills.KERNEL, 9, 1, "x failed: the kernel was killed (SIGKILL), which", False),
        (kills.KERNEL, 9, 1, "x failed: ValueError", True),
        (kills.CHAPTER, 15, 2, "Stopped: its process was ended from outside", True),
    ],
)
def test_how_a_struck_call_may_end(got, number, code, err, wrong):
    row = Row("g", "f")
    kills.check_end(row, got, number, Done(code, "", err, 9.0 if code > 0 else 1.0))
    assert bool(row.wrong) == wrong
