"""Carry out a plan: one Snakemake call with a lock around it, and a clear word on how it went."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console

from spinscape.companion import provenance, sealed, slurm, sweep
from spinscape.companion.disk import Watch, check_writable
from spinscape.companion.homeless import stand_ins
from spinscape.companion.live import Display, read_rows
from spinscape.companion.pages import seconds
from spinscape.companion.parameters import ParameterError
from spinscape.companion.plan import BOOK, PAGE, SWEEP, Plan, Run
from spinscape.companion.processes import (
    BusyError,
    Stopped,
    die_with_parent,
    locked,
    private_files,
    stop_group,
)
from spinscape.companion.site import restore
from spinscape.companion.troubles import trouble

CORES = "SPINSCAPE_CORES"

_TAIL = 15
_CANCEL_SECONDS = 15.0
_PATIENCE, _PATIENCE_ELSEWHERE = 10.0, 2.0
_ASKED_TO_END = "Will exit after finishing currently running jobs"
_SPHINX_DONE = "build succeeded"
_GO_ON = "The next call goes on from here."
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
    table
        A sweep's table, of the runs that are done.
    ran
        Chapters that were executed, with the seconds each took.
    failures
        Reports of runs that failed, as ``failed/<slot>.json`` has them, with label and log.
    disk
        What is wrong with the disk, where that made the call fail; all else follows from it.
    problem
        What went wrong outside of chapters.
    elapsed
        Seconds for all of it.
    """

    ok: bool = False
    index: Path | None = None
    table: Path | None = None
    ran: dict[str, float] = field(default_factory=dict)
    failures: list[dict[str, Any]] = field(default_factory=list)
    disk: str | None = None
    problem: str = ""
    elapsed: float = 0.0


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
    if asked and not re.fullmatch("0*[1-9][0-9]{0,5}", asked):
        raise ParameterError(f"{CORES}={asked!r} is no positive number")
    return min(int(asked), usable or 1) if asked else (usable or 1)


def carry_out(
    plan: Plan,
    *,
    cores: int | None = None,
    extra: Sequence[str] = (),
    console: Console | None = None,
) -> Outcome:
    """Execute what is stale of a plan, stage and build its site.

    Parameters
    ----------
    plan
        What to make.
    cores
        How many chapters run side by side, as `side_by_side` reads it.
    extra
        Further arguments for Snakemake.
    console
        Where progress is shown.

    Raises
    ------
    ParameterError
        If the number of cores makes no sense.
    BuildError
        If another call makes the same.
    DiskError
        If nothing can be written.
    Stopped
        On SIGINT, SIGTERM and SIGHUP, after everything that ran has been stopped.
    """
    console = console or Console()
    begin = time.monotonic()
    if not is_remote(extra):
        side_by_side(cores)
    try:
        with private_files():
            check_writable(plan.folder)
            with locked(plan.folder / ".lock"):
                plan.prepare()
                restore(plan.folder)
                outcome = _locked_build(plan, cores, extra, console)
    except BusyError:
        raise BuildError(f"another {_kind(plan)} is under way in {plan.layout.root}") from None
    outcome.elapsed = time.monotonic() - begin
    return outcome


def _kind(plan: Plan) -> str:
    if plan.kind == BOOK:
        return f"build of the profile {plan.profile!r}"
    return "run with the same values" if plan.kind == PAGE else "sweep over the same grid"


def _locked_build(plan: Plan, cores: int | None, extra: Sequence[str], console: Console) -> Outcome:
    for slot in plan.runs:
        _clear(plan.store, slot)
    before = plan.finished()
    if plan.site_mark.is_file() and not extra:
        _tidy(plan)
        return Outcome(ok=True, index=plan.index, table=_table(plan) if plan.kind == SWEEP else None)
    log = plan.folder / "logs" / "snakemake.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    watch = Watch(plan.store)
    with log.open("w", encoding="utf-8") as output:
        code = _run_snakemake(plan, cores, extra, output, before, console, watch)
    outcome = Outcome()
    if code:
        outcome.failures = _failures(plan)
        if not any(_chapters_own(report) for report in outcome.failures):
            outcome.disk = watch.explain(*_texts(plan, outcome.failures))
        if not outcome.disk and (ended := _ended(code, log)):
            outcome.failures = [f for f in outcome.failures if f["exception"] != "Stopped"]
            outcome.problem = ended
    here = plan.executed_here() - before
    for slot in plan.runs:
        if slot in here:
            outcome.ran[plan.labels[slot]] = _duration(plan.runs[slot].executed(plan.store))
    outcome.ok = code == 0 and not outcome.failures
    if outcome.ok and plan.site_mark.is_file():
        _tidy(plan)
        outcome.index = plan.index
        plan.distrust_pages()
    elif outcome.ok:
        outcome.problem = f"Snakemake was asked for something else than the site: {log}"
    elif not outcome.failures and not outcome.disk:
        outcome.problem = outcome.problem or _problem(plan, log)
    if plan.kind == SWEEP and plan.finished():
        outcome.table = _table(plan, [report["slot"] for report in outcome.failures])
    return outcome


def _ended(code: int, log: Path) -> str:
    """Say that Snakemake itself was ended from outside; empty where it was not."""
    if code < 0:
        how = signal.Signals(-code).name
    elif _ASKED_TO_END in log.read_text(encoding="utf-8", errors="replace"):
        how = "SIGTERM"
    else:
        return ""
    return f"Snakemake was ended from outside ({how}). {_GO_ON}"


def _chapters_own(report: Mapping[str, Any]) -> bool:
    """Whether a failure is of the chapter's own making, not the disk's or the machine's."""
    return trouble(report) is None and report["exception"] not in ("OSError", "FileNotFoundError")


def _texts(plan: Plan, failures: Sequence[Mapping[str, Any]]) -> list[str]:
    """Collect what may tell of the disk: errors that chapters met, and the logs of this call."""
    told = [str(f["value"]) for f in failures if f["exception"] in ("OSError", "DiskError")]
    logs = [plan.folder / "logs" / f"{step}-{plan.site_key}.log" for step in ("stage", "site")]
    logs = [log for log in logs if not (plan.folder / "made" / log.stem).is_file()]
    for log in (*logs, plan.folder / "logs" / "snakemake.log"):
        with contextlib.suppress(OSError):
            told.append(log.read_text(encoding="utf-8", errors="replace"))
    return told


def _clear(store: Path, slot: str) -> None:
    """Remove what an earlier call left of a run's progress, unless another call is running it."""
    with contextlib.suppress(BusyError), locked(store / "progress" / f"{slot}.lock"):
        for name in (f"progress/{slot}.json", f"progress/{slot}.bar", f"failed/{slot}.json"):
            (store / name).unlink(missing_ok=True)


def _table(plan: Plan, failed: Sequence[str] = ()) -> Path:
    """Write the table over the runs that are done, and return where it is."""
    done = {slot: sealed.read(plan.runs[slot].executed(plan.store)) for slot in plan.runs
            if slot in plan.finished()}  # fmt: skip
    return sweep.write_table(plan, done, failed)


def _failures(plan: Plan) -> list[dict[str, Any]]:
    """Collect what chapters reported, and those that ended without a word."""
    found = []
    rows = read_rows(plan.store, plan.labels, ())
    for run, row in zip(plan.runs.values(), rows, strict=True):
        path = plan.store / "failed" / f"{run.slot}.json"
        log = plan.store / "logs" / f"{run.name}.log"
        about = {"label": run.label, "slot": run.slot, "log": str(log)}
        if path.is_file():
            found.append(json.loads(path.read_text(encoding="utf-8")) | about)
        elif row.state in ("starting", "running", "stopped") or _failed(plan, run):
            partial = plan.store / "partial" / f"{run.slot}.ipynb"
            found.append(
                {"chapter": run.chapter, "cell": row.cell, "cells": row.cells, "source": "",
                 "exception": "Stopped", "value": "its process was ended from outside",
                 "traceback": "", "partial": str(partial) if partial.is_file() else "", **about}
            )  # fmt: skip
    return found


def _failed(plan: Plan, run: Run) -> bool:
    """Whether Snakemake says that a run failed; for those that were ended before they could."""
    with contextlib.suppress(OSError):
        text = (plan.folder / "logs" / "snakemake.log").read_text(encoding="utf-8", errors="replace")
        return bool(
            re.search(rf"^Error in rule execute:\n(?:    .*\n)*?    output: .*{run.name}", text, re.M)
        )
    return False


def executor(extra: Sequence[str]) -> str:
    """Return the executor that arguments for Snakemake name; empty where they name none.

    A profile of Snakemake's is taken for one that names an executor: its own name is returned.
    """
    for names in (("--executor", "-e"), ("--profile", "--workflow-profile")):
        for number, word in enumerate(extra):
            name, equals, value = word.partition("=")
            if word.startswith("-e") and len(word) > 2 and "-e" in names:
                return word[2:]
            if name in names or (len(name) > 5 and any(full.startswith(name) for full in names)):
                return Path(value if equals else "".join(extra[number + 1 : number + 2])).name or "unnamed"
    return ""


def is_remote(extra: Sequence[str]) -> bool:
    """Whether arguments for Snakemake send jobs elsewhere, as far as they tell: to a cluster, say."""
    return executor(extra) not in ("", "local") or bool(os.environ.get("SNAKEMAKE_PROFILE"))


def _command(plan: Plan, cores: int | None, extra: Sequence[str]) -> list[str]:
    here = ["--cores", str(side_by_side(cores)), "--resources", "gpu=1"]
    # On a cluster both would limit what runs on all of it.
    there = ["--cores", str(cores)] if cores else []
    profile = plan.layout.root / "profiles" / executor(extra)
    if executor(extra) and profile.is_dir() and not any(word.startswith("--profile") for word in extra):
        there += ["--profile", str(profile)]
    return [
        sys.executable, "-P", "-m", "snakemake",
        "--snakefile", str(plan.layout.root / "Snakefile"),
        "--directory", str(plan.folder),
        *(there if is_remote(extra) else here),
        "--rerun-triggers", "mtime",
        "--scheduler", "greedy",
        "--nolock", "--rerun-incomplete", "--keep-going", "--nocolor",
        *extra,
    ]  # fmt: skip


def _run_snakemake(
    plan: Plan,
    cores: int | None,
    extra: Sequence[str],
    output: Any,
    fresh: set[str],
    console: Console,
    watch: Watch,
) -> int:
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
        _command(plan, cores, extra),
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
                watch.look()
                try:
                    process.wait(0.25)
                except subprocess.TimeoutExpired:
                    continue
            if not stopping:
                _show(display, plan, fresh)
        if stopping and is_remote(extra):
            console.print("Stopping: jobs that were sent elsewhere are being cancelled.")
            # Upon this signal Snakemake cancels them; a second one ends the waiting.
            process.send_signal(signal.SIGINT)
            deadline = time.monotonic() + _CANCEL_SECONDS
            while process.poll() is None and len(stopping) == 1 and time.monotonic() < deadline:
                time.sleep(0.1)
    finally:
        stop_group(process.pid, patience=_PATIENCE_ELSEWHERE if is_remote(extra) else _PATIENCE)
        if stopping and is_remote(extra):
            slurm.cancel(Path(output.name))
        for number, handler in before.items():
            signal.signal(number, handler)
    if stopping:
        raise Stopped(stopping[0])
    return process.wait()


def _show(display: Display, plan: Plan, fresh: set[str]) -> None:
    rows = read_rows(plan.store, plan.labels, fresh)
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
    """Remove code, logs and partial results of runs that are no longer part of the book.

    Snakemake's notes on jobs that were cut off go too: all of the plan is made.
    Beside a page or a sweep only the logs of earlier sites go: their runs are shared.
    """
    shutil.rmtree(plan.folder / ".snakemake" / "incomplete", ignore_errors=True)
    keys = {run.key for run in plan.runs.values()} | {plan.site_key}
    for name in ("code", "logs") if plan.kind == BOOK else ("logs",):
        for path in (plan.folder / name).glob("*"):
            found = _LOG_NAME.fullmatch(path.name)
            if found and found[1] not in keys:
                path.unlink()
    if plan.kind == BOOK:
        for name in ("partial", "failed"):
            shutil.rmtree(plan.folder / name, ignore_errors=True)


def _problem(plan: Plan, log: Path) -> str:
    for step in ("site", "stage"):
        path = plan.folder / "logs" / f"{step}-{plan.site_key}.log"
        if path.is_file() and not (plan.folder / "made" / path.stem).is_file():
            text = path.read_text(encoding="utf-8", errors="replace")
            head = "The site could not be built." if step == "site" else "The book could not"
            start = text.rfind(head)
            # A step that came so far and tells of no error was ended while it put the site in place.
            ended = _SPHINX_DONE in text and "Traceback" not in text
            said = text[start:].strip() if start >= 0 else "" if ended else _tail(text)
            work = "Building the site" if step == "site" else "Staging the pages"
            return f"{said or f'{work} was ended from outside. {_GO_ON}'}\nLog: {path}"
    return f"{_tail(log.read_text(encoding='utf-8', errors='replace'))}\nLog: {log}"


def _tail(text: str) -> str:
    return "\n".join(text.rstrip().splitlines()[-_TAIL:])


def describe(outcome: Outcome) -> str:
    """Word how a call went, for a person at a terminal."""
    lines = [outcome.disk] if outcome.disk else []
    told: dict[tuple[str, str], str] = {}
    for report in () if outcome.disk else outcome.failures:
        label = report["label"]
        what = (report["exception"], report["value"])
        if what in told:
            lines += [f"{label} failed like {told[what]}.", f"Log: {report['log']}", ""]
            continue
        told[what] = label
        lines.append(f"{label} failed in cell {report['cell']} of {report['cells']}: "
                     f"{report['exception']}: {report['value']}")  # fmt: skip
        kind = trouble(report)
        if kind is None:
            lines += [f"    {line}" for line in report["source"].splitlines()]
            lines.append(_tail(report["traceback"]))
            if report["partial"]:
                lines.append(f"Partial notebook: {report['partial']}")
        elif kind.advice:
            lines.append(kind.advice)
        lines += [f"Log: {report['log']}", ""]
    if outcome.problem:
        lines.append(outcome.problem)
    ran = ", ".join(f"{name} ({seconds(time)})" for name, time in outcome.ran.items())
    lines.append(f"Executed: {ran or 'nothing'}.")
    if outcome.table:
        lines.append(f"Table: {outcome.table}")
    if outcome.index:
        lines.append(f"Done in {seconds(outcome.elapsed)}: {outcome.index}")
    return "\n".join(lines)
