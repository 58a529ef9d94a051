"""Build the book: one Snakemake call with a lock around it, and a clear word on how it went."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console

from spinscape.companion import provenance
from spinscape.companion.homeless import stand_ins
from spinscape.companion.layout import Layout
from spinscape.companion.live import Display, read_rows
from spinscape.companion.pages import seconds
from spinscape.companion.plan import Plan, executed, make_plan
from spinscape.companion.processes import BusyError, die_with_parent, locked, stop_group
from spinscape.companion.site import restore

CORES = "SPINSCAPE_CORES"

_TAIL = 15
_LOG_NAME = re.compile(r".+-([0-9a-f]{16})\.\w+")


class BuildError(RuntimeError):
    """A build could not be done; the message is what a person needs to know."""


@dataclass
class Outcome:
    """How a build went.

    Attributes
    ----------
    ok
        Whether all that was asked for was done.
    index
        The page to open; None where no site was made.
    ran
        Chapters that were executed, with the seconds each took.
    failures
        Reports of chapters that failed, as ``failed/<chapter>.json`` has them.
    problem
        What went wrong outside of chapters.
    elapsed
        Seconds for all of it.
    """

    ok: bool = False
    index: Path | None = None
    ran: dict[str, float] = field(default_factory=dict)
    failures: list[dict[str, Any]] = field(default_factory=list)
    problem: str = ""
    elapsed: float = 0.0


class Stopped(BaseException):
    """A signal asked the build to stop."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def side_by_side(wanted: int | None = None) -> int:
    """Return how many chapters may run at once: at most one per usable CPU.

    Parameters
    ----------
    wanted
        A smaller number; by default the environment's ``SPINSCAPE_CORES``.
    """
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if wanted:
        return min(wanted, usable or 1)
    asked = os.environ.get(CORES, "")
    if asked and not (asked.isdigit() and int(asked) > 0):
        raise BuildError(f"{CORES}={asked!r} is no positive number")
    return min(int(asked), usable or 1) if asked else (usable or 1)


def build(
    layout: Layout,
    profile: str = "quick",
    *,
    cores: int | None = None,
    extra: Sequence[str] = (),
    console: Console | None = None,
) -> Outcome:
    """Execute what is stale, stage and build the site.

    Parameters
    ----------
    layout, profile
        Which book, at which profile.
    cores
        How many chapters run side by side, as `side_by_side` reads it.
    extra
        Further arguments for Snakemake.
    console
        Where progress is shown.

    Raises
    ------
    BookError, ParameterError
        If the book or the profile cannot be used; nothing has run then.
    BuildError
        If another build of this profile is under way.
    Stopped
        On SIGINT, SIGTERM and SIGHUP, after everything that ran has been stopped.
    """
    console = console or Console()
    begin = time.monotonic()
    cores = side_by_side(cores)
    try:
        with locked(layout.build(profile) / ".lock"):
            plan = make_plan(layout, profile)
            restore(layout, profile)
            outcome = _locked_build(plan, cores, extra, console)
    except BusyError:
        raise BuildError(f"another build of the profile {profile!r} is under way in {layout.root}") from None
    outcome.elapsed = time.monotonic() - begin
    return outcome


def _locked_build(plan: Plan, cores: int, extra: Sequence[str], console: Console) -> Outcome:
    folder = plan.folder
    for name in ("progress", "failed"):
        for path in (folder / name).glob("*"):
            if path.suffix != ".lock":
                path.unlink()
    before = plan.finished()
    log = folder / "logs" / "snakemake.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8") as output:
        code = _run_snakemake(_command(plan, cores, extra), output, plan, before, console)
    outcome = Outcome()
    outcome.failures = _failures(plan) if code else []
    for chapter in plan.runs:
        if chapter in plan.finished() - before:
            outcome.ran[chapter] = _duration(executed(folder, chapter))
    outcome.ok = code == 0 and not outcome.failures
    if outcome.ok and plan.site_mark.is_file():
        _tidy(plan)
        outcome.index = plan.layout.html(plan.profile) / "index.html"
    elif outcome.ok:
        outcome.problem = f"Snakemake was asked for something else than the site: {log}"
    elif not outcome.failures:
        outcome.problem = _problem(plan, log)
    return outcome


def _failures(plan: Plan) -> list[dict[str, Any]]:
    """Collect what chapters reported, and those that ended without a word."""
    found = []
    for row in read_rows(plan.folder, plan.runs, ()):
        path = plan.folder / "failed" / f"{row.chapter}.json"
        if path.is_file():
            found.append(json.loads(path.read_text(encoding="utf-8")))
        elif row.state in ("starting", "running", "stopped"):
            partial = plan.folder / "partial" / f"{row.chapter}.ipynb"
            found.append(
                {"chapter": row.chapter, "cell": row.cell, "cells": row.cells, "source": "",
                 "exception": "Stopped", "value": "its process was ended from outside",
                 "traceback": "", "partial": str(partial) if partial.is_file() else ""}
            )  # fmt: skip
    return found


def _command(plan: Plan, cores: int, extra: Sequence[str]) -> list[str]:
    return [
        sys.executable, "-P", "-m", "snakemake",
        "--snakefile", str(plan.layout.root / "Snakefile"),
        "--directory", str(plan.folder),
        "--cores", str(cores),
        "--resources", "gpu=1",
        "--config", f"profile={plan.profile}",
        "--rerun-triggers", "mtime",
        "--scheduler", "greedy",
        "--nolock", "--rerun-incomplete", "--keep-going", "--nocolor",
        *extra,
    ]  # fmt: skip


def _run_snakemake(command: list[str], output: Any, plan: Plan, fresh: set[str], console: Console) -> int:
    search = [str(provenance.LIBRARY), os.environ.get("PYTHONPATH", "")]
    environment = {
        **os.environ,
        **stand_ins(plan.layout.root / "_build" / "cache"),
        "PYTHONPATH": os.pathsep.join(filter(None, search)),
    }
    stopping: list[int] = []

    def stop(number: int, _: FrameType | None) -> None:
        stopping.append(number)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, stop) for number in numbers}
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=die_with_parent(signal.SIGKILL),
        cwd=plan.layout.root,
        env=environment,
    )
    try:
        with Display(console).open() as display:
            while process.poll() is None and not stopping:
                _show(display, plan, fresh)
                try:
                    process.wait(0.25)
                except subprocess.TimeoutExpired:
                    continue
            if not stopping:
                _show(display, plan, fresh)
    finally:
        stop_group(process.pid)
        for number, handler in before.items():
            signal.signal(number, handler)
    if stopping:
        raise Stopped(stopping[0])
    return process.wait()


def _show(display: Display, plan: Plan, fresh: set[str]) -> None:
    rows = read_rows(plan.folder, plan.runs, fresh)
    stage = f"profile {plan.profile}: "
    if plan.site_mark.is_file():
        stage += "the site is up to date"
    elif plan.stage_mark.is_file():
        stage += "building the site"
    else:
        stage += "executing and staging"
    display.update(rows, stage)


def _duration(path: Path) -> float:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    return float(notebook["metadata"]["spinscape"]["duration"])


def _tidy(plan: Plan) -> None:
    """Remove code, logs and partial results of runs that are no longer part of the book."""
    keys = {run.key for run in plan.runs.values()} | {plan.site_key}
    for name in ("code", "logs"):
        for path in (plan.folder / name).iterdir():
            found = _LOG_NAME.fullmatch(path.name)
            if found and found[1] not in keys:
                path.unlink()
    shutil.rmtree(plan.folder / "partial", ignore_errors=True)


def _problem(plan: Plan, log: Path) -> str:
    for step in ("site", "stage"):
        path = plan.folder / "logs" / f"{step}-{plan.site_key}.log"
        if path.is_file() and not (plan.folder / "made" / path.stem).is_file():
            text = path.read_text(encoding="utf-8", errors="replace")
            head = "The site could not be built." if step == "site" else "The book could not"
            start = text.rfind(head)
            return f"{text[start:].strip() if start >= 0 else _tail(text)}\nLog: {path}"
    return f"{_tail(log.read_text(encoding='utf-8', errors='replace'))}\nLog: {log}"


def _tail(text: str) -> str:
    return "\n".join(text.rstrip().splitlines()[-_TAIL:])


def describe(outcome: Outcome, plan_folder: Path) -> str:
    """Word how a build went, for a person at a terminal."""
    lines = []
    for report in outcome.failures:
        chapter = report["chapter"]
        lines.append(f"{chapter} failed in cell {report['cell']} of {report['cells']}: "
                     f"{report['exception']}: {report['value']}")  # fmt: skip
        lines += [f"    {line}" for line in report["source"].splitlines()]
        lines.append(_tail(report["traceback"]))
        if report["partial"]:
            lines.append(f"Partial notebook: {report['partial']}")
        logs = sorted((plan_folder / "logs").glob(f"{chapter}-*.log"), key=os.path.getmtime)
        lines += [f"Log: {path}" for path in logs[-1:]]
        lines.append("")
    if outcome.problem:
        lines.append(outcome.problem)
    ran = ", ".join(f"{name} ({seconds(time)})" for name, time in outcome.ran.items())
    lines.append(f"Executed: {ran or 'nothing'}.")
    if outcome.index:
        lines.append(f"Done in {seconds(outcome.elapsed)}: {outcome.index}")
    return "\n".join(lines)
