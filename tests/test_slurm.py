"""A sweep through Slurm: killed, resumed, stopped, and equal to the one that ran here."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bookcopy import copy_book
from spinscape.companion.layout import Layout
from test_pipeline import processes

GRID = ("sweep", "random_walks", "hidden=16,32", "seed=0,1,2", "--profile", "tiny")
THROUGH = ("--", "--executor", "slurm", "--slurm-status-command", "squeue", "--latency-wait", "5")


@pytest.fixture(scope="module")
def slurm():
    """Ask for a Slurm that answers; its absence is a failure in CI unless it said why."""
    if reason := os.environ.get("SPINSCAPE_NO_SLURM"):
        pytest.skip(f"no Slurm: {reason}")
    answers = shutil.which("sinfo") and subprocess.run(["sinfo"], capture_output=True).returncode == 0
    if not answers:
        message = "no Slurm answers: tools/one_node_slurm.sh starts one"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)


def start(root: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "spinscape.companion.cli", *words],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root / "lib")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    output, errors = process.communicate(timeout=400)
    return process.returncode, output + errors


def line(output: str, start: str) -> str:
    (found,) = (x.removeprefix(start) for x in output.splitlines() if x.startswith(start))
    return found


def jobs(state: str = "all") -> list[str]:
    """Numbers of this user's jobs that are pending or running."""
    shown = subprocess.run(
        ["squeue", "--noheader", "--format=%i %T", "--states=PENDING,RUNNING,COMPLETING"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\n")
    return [x.split()[0] for x in shown if x and state in ("all", x.split()[1])]


def wait_for(condition, seconds: float = 120.0):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.1)
    raise AssertionError("waited in vain")


def running(root: Path) -> list[Path]:
    """Progress files of runs that are inside their cells."""
    paths = (root / "_build" / "runs" / "progress").glob("*.json")
    return [path for path in paths if '"running"' in path.read_text(encoding="utf-8")]


def test_a_sweep_through_slurm_resumes_and_equals_the_local_one(slurm, tmp_path):
    here, there = copy_book(tmp_path / "here"), copy_book(tmp_path / "there, on $(nodes)")

    stopped = start(there, *GRID, *THROUGH)
    wait_for(lambda: running(there))
    stopped.send_signal(signal.SIGINT)
    code, output = finish(stopped)
    assert code == 128 + signal.SIGINT, output
    assert output.rstrip().endswith("Stopped. The next call goes on from here.")
    wait_for(lambda: not jobs())
    wait_for(lambda: not processes(Layout(there)))

    # The sweep that runs here takes the time in which the other one waits for Slurm.
    beside = start(here, *GRID)
    killed = start(there, *GRID, *THROUGH)
    wait_for(lambda: running(there))
    subprocess.run(["scancel", "--signal=KILL", "--full", jobs("RUNNING")[0]], check=True)
    code, output = finish(killed)
    assert code == 1, output
    assert output.count(" failed in cell ") == 1, output
    done = line(output, "Executed: ").count("(")
    assert done == 5, output

    code, output = finish(start(there, *GRID, *THROUGH))
    assert code == 0, output
    assert line(output, "Executed: ").count("(") == 1, output
    wait_for(lambda: not processes(Layout(there)))

    code, local = finish(beside)
    assert code == 0, local
    assert line(local, "Executed: ").count("(") == 6
    tables = [Path(line(text, "Table: ")).read_bytes() for text in (output, local)]
    assert tables[0] == tables[1]
    assert tables[0].count(b"\ndone,") == 6
