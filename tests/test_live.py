"""What a build shows while it runs, and how many chapters run at once."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from spinscape.companion import build as building
from spinscape.companion import plan
from spinscape.companion.build import Outcome, describe, executor, is_remote, side_by_side
from spinscape.companion.live import Display, Row, read_rows
from spinscape.companion.parameters import ParameterError
from toybook import make_book


def test_rows_come_from_progress_files(tmp_path):
    folder = tmp_path / "progress"
    folder.mkdir()
    content = {"chapter": "a", "state": "running", "cell": 2, "cells": 9, "started": 0, "at": 5}
    (folder / "a.json").write_text(json.dumps(content))
    (folder / "a.bar").write_text("training: 3%")
    (folder / "b.json").write_text(json.dumps(content | {"chapter": "b", "state": "done"}))
    (folder / "c.json").write_text("{")
    rows = read_rows(tmp_path, {name: name for name in "abcd"}, ["d"])
    assert [row.state for row in rows] == ["running", "done", "waiting", "up to date"]
    assert rows[0].bar == "training: 3%"
    assert rows[1] == Row("b", "done", 2, 9, "", 5.0)
    assert rows[0].line().startswith("a  running  cell 2 of 9  ")


def show(terminal: bool, updates: list[list[Row]]) -> str:
    text = io.StringIO()
    display = Display(Console(file=text, force_terminal=terminal, width=100))
    with display.open():
        for rows in updates:
            display.update(rows, "profile quick: [building]")
    return text.getvalue()


def test_without_a_terminal_a_line_comes_on_each_change():
    running = Row("a", "running", 1, 3, "[###  ]")
    lines = show(False, [[running], [running], [Row("a", "running", 2, 3)], [Row("a", "done")]])
    assert lines.splitlines() == [
        "a  running  cell 1 of 3  [###  ]",
        "profile quick: [building]",
        "a  running  cell 2 of 3",
        "a  done",
    ]


def test_on_a_terminal_a_table_shows_bars_as_they_are():
    text = show(True, [[Row("a", "running", 1, 3, "[red]50%[/red]")]])
    assert "[red]50%[/red]" in text
    assert "1/3" in text


def test_a_report_without_a_traceback_is_worded_too():
    report = {"chapter": "a", "cell": 0, "cells": 0, "source": "", "exception": "OSError",
              "value": "no room", "traceback": "", "partial": "", "label": "a", "log": "a.log"}  # fmt: skip
    text = describe(Outcome(failures=[report]))
    assert "a failed in cell 0 of 0: OSError: no room" in text
    assert "Executed: nothing." in text


def test_chapters_side_by_side_are_at_most_the_cpus(monkeypatch):
    usable = side_by_side()
    assert side_by_side(1) == 1
    assert side_by_side(10_000) == usable
    monkeypatch.setenv("SPINSCAPE_CORES", "1")
    assert side_by_side() == 1
    monkeypatch.setenv("SPINSCAPE_CORES", "-1")
    with pytest.raises(ParameterError, match="SPINSCAPE_CORES"):
        side_by_side()


@pytest.mark.parametrize(
    ("device", "visible", "gpus"), [("auto", True, 1), ("cpu", True, 0), ("cuda", False, 0)]
)
def test_a_chapter_takes_the_gpu_where_it_may_and_there_is_one(tmp_path, monkeypatch, device, visible, gpus):
    layout = make_book(tmp_path)
    text = (layout.book / "beta.md").read_text(encoding="utf-8")
    line = f'device: str = "{device}"  # {{auto | cpu | cuda}}\nname: str = "digits"'
    (layout.book / "beta.md").write_text(text.replace('name: str = "digits"', line))
    monkeypatch.setattr(plan, "gpu_visible", lambda: visible)
    runs = plan.book_plan(layout, "quick").runs
    assert runs["beta"].gpu == gpus
    assert runs["alpha"].gpu == 0


def test_a_hidden_gpu_is_not_counted(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert not plan.gpu_visible()


@pytest.mark.parametrize(
    ("exception", "value", "advice"),
    [
        ("OutOfMemoryError", "CUDA out of memory. Tried to allocate 2 GiB.", "Give device=cpu"),
        ("RuntimeError", "CUDA error: out of memory", "Give device=cpu"),
        (
            "RuntimeError",
            "[enforce fail] DefaultCPUAllocator: can't allocate memory: you",
            "Give fewer networks",
        ),
        ("MemoryError", "", "Give fewer networks"),
        ("DataError", "mnist: a file is wrong", None),
    ],
)
def test_troubles_that_are_not_the_chapters_are_one_message(exception, value, advice):
    report = {"chapter": "a", "cell": 2, "cells": 3, "source": "train()", "exception": exception,
              "value": value, "traceback": "Traceback", "partial": "p",
              "label": "a", "log": "a.log"}  # fmt: skip
    text = describe(Outcome(failures=[report]))
    lines = text.splitlines()
    assert lines[0] == f"a failed in cell 2 of 3: {exception}: {value}"
    assert "Traceback" not in text
    if advice:
        assert advice in lines[1]
        del lines[1]
    assert lines[1:] == ["Log: a.log", "", "Executed: nothing."]
    own = describe(Outcome(failures=[report | {"exception": "ValueError", "value": "no"}]))
    assert "    train()\nTraceback\nPartial notebook: p\n" in own


@pytest.mark.parametrize(
    ("words", "name", "remote"),
    [
        ([], "", False),
        (["--executor", "slurm", "--jobs", "2"], "slurm", True),
        (["--executor=slurm"], "slurm", True),
        (["-e", "kubernetes"], "kubernetes", True),
        (["--executor", "local"], "local", False),
        (["--profile", "profiles/kubernetes"], "kubernetes", True),
        (["--profile", "profiles/mine", "--executor", "slurm"], "slurm", True),
        (["--dry-run"], "", False),
        (["--executor"], "unnamed", True),
    ],
)
def test_jobs_that_run_elsewhere_are_told_from_those_that_run_here(words, name, remote):
    assert executor(words) == name
    assert is_remote(words) == remote


@pytest.mark.parametrize(
    ("code", "log", "message"),
    [
        (-9, "", "Snakemake was ended from outside (SIGKILL). The next call goes on from here."),
        (1, "Will exit after finishing currently running jobs (scheduler).", "(SIGTERM)"),
        (1, "Error in rule execute", None),
    ],
)
def test_a_snakemake_that_was_ended_is_named(code, log, message, tmp_path):
    path = tmp_path / "snakemake.log"
    path.write_text(log, encoding="utf-8")
    said = building._ended(code, path)
    assert said == "" if message is None else message in said


def test_notes_on_jobs_that_were_cut_off_go_when_all_is_made(tmp_path):
    made = plan.book_plan(make_book(tmp_path), "quick")
    note = made.folder / ".snakemake" / "incomplete" / "bWFkZQ=="
    note.parent.mkdir(parents=True)
    note.touch()
    building._tidy(made)
    assert not note.exists()


def test_a_step_that_was_ended_is_named(tmp_path):
    made = plan.book_plan(make_book(tmp_path), "quick")
    log = made.folder / "logs" / f"site-{made.site_key}.log"
    log.parent.mkdir(parents=True)
    for text in ("\n", "much\nbuild succeeded.\n"):
        log.write_text(text, encoding="utf-8")
        assert building._problem(made, log).startswith("Building the site was ended from outside.")
    log.write_text("build succeeded.\nTraceback\nValueError: no", encoding="utf-8")
    assert building._problem(made, log).startswith("build succeeded.\nTraceback\nValueError: no")
    log.write_text("much\nThe site could not be built.\nWARNING: no", encoding="utf-8")
    assert building._problem(made, log).startswith("The site could not be built.\nWARNING: no")
