"""Disturb the book's commands in every way, and write a table of what came out.

    python tests/campaign.py                       all of it, half an hour or more
    python tests/campaign.py --short               the short form that the tests run
    python tests/campaign.py --only kills,memo     groups or cases whose names begin so

Works in copies of the book in a folder for temporary files, in a namespace of its own for mounts.
Ends with 1 when any row of the table fails.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from faults import damage, disks, files, kills, machine, pairs, words
from faults.field import Case, Field
from faults.table import Row, failed, line, markdown
from spinscape.companion.processes import die_with_parent

INSIDE = "SPINSCAPE_FAULTS_INSIDE"


def all_cases(kill_count: int, seed: int, *, short: bool) -> list[Case]:
    """List everything there is to try."""
    return [
        *words.cases(short=short),
        *pairs.cases(short=short),
        *machine.cases(short=short),
        *damage.cases(short=short),
        *disks.cases(short=short),
        *files.cases(short=short),
        *kills.cases(kill_count, seed, short=short),
    ]


def chosen(cases: list[Case], only: str) -> list[Case]:
    """Pick the cases whose group or name begins with one of some words."""
    starts = tuple(filter(None, only.split(",")))
    return [
        case for case in cases if not starts or case.group.startswith(starts) or case.name.startswith(starts)
    ]


def own_mounts(arguments: list[str]) -> None:
    """Start this program anew where it may mount disks that no other process sees, if that is possible."""
    if os.environ.get(INSIDE):
        return
    os.environ[INSIDE] = "none"
    for start in (("unshare", "-m"), ("unshare", "-r", "-m")):
        probe = [*start, "mount", "-t", "tmpfs", "-o", "size=64k", "none", "/mnt"]
        with contextlib.suppress(OSError):
            if subprocess.run(probe, capture_output=True, check=False).returncode == 0:
                os.environ[INSIDE] = " ".join(start)
                os.execvp(start[0], [*start, sys.executable, *arguments])


def carry_out(field: Field, cases: list[Case], jobs: int) -> list[Row]:
    """Run cases, and say on stderr what came out."""
    for name in dict.fromkeys(name for case in cases for name in case.needs):
        begin = time.monotonic()
        reference = field.prepare(name)
        if reference.words:
            tell(f"undisturbed: spinscape {' '.join(reference.words)}: {time.monotonic() - begin:.1f} s")
    rows: list[Row] = []
    if jobs == 1:
        for case in cases:
            rows += told(case.run(field))
        return rows
    with ProcessPoolExecutor(jobs, get_context("fork"), die_with_parent(signal.SIGTERM)) as pool:
        for found in pool.map(Case.run, cases, [field] * len(cases)):
            rows += told(found)
    return rows


def told(rows: list[Row]) -> list[Row]:
    for row in rows:
        tell(line(row.cells()))
    return rows


def tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(arguments: list[str]) -> int:
    """Run the campaign as the command line says; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, help="random kills of a build (30; 2 in the short form)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, help="cases side by side (1; 2 in the short form)")
    parser.add_argument("--only", default="", metavar="NAME,...", help="groups or cases that begin so")
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--toy", action="store_true", help="build the small book (so does the short form)")
    parser.add_argument("--profile", help="of the killed builds (quick; tiny in the short form)")
    parser.add_argument("--output", type=Path, help="a file for the table")
    given = parser.parse_args(arguments[1:])
    own_mounts(arguments)
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    count = given.kills if given.kills is not None else (2 if given.short else 30)
    cases = chosen(all_cases(count, given.seed, short=given.short), given.only)
    begin = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    try:
        profile = given.profile or ("tiny" if given.short else "quick")
        jobs = given.jobs or (2 if given.short else 1)
        data = os.environ.get("SPINSCAPE_DATA", "")
        toy = given.toy or given.short
        rows = carry_out(Field(folder, profile, given.short, given.seed, data, toy), cases, jobs)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    text = markdown(rows, f"Fault campaign, seed {given.seed}, {(time.monotonic() - begin) / 60:.0f} minutes")
    print(text)
    if given.output:
        given.output.parent.mkdir(parents=True, exist_ok=True)
        given.output.write_text(text, encoding="utf-8")
    return int(failed(rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv))
