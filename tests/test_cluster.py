"""The one-node Slurm: what it listens to, how it starts and ends; jobs that a stopped call has left."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest
import yaml

from spinscape.companion import slurm
from toybook import REPOSITORY, edit, make_book

TOOL = REPOSITORY / "tools" / "one_node_slurm.sh"


def tool(word: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [TOOL, word, folder], env={**os.environ, **environment}, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def cluster():
    """Start a cluster of this module's own; yields its folder and an environment that finds it."""
    if reason := os.environ.get("SPINSCAPE_NO_SLURM"):
        pytest.skip(f"no Slurm: {reason}")
    if not shutil.which("sinfo") and os.environ.get("CI") != "true":
        pytest.skip("Slurm is not installed (Debian: slurm-wlm, munge)")
    with tempfile.TemporaryDirectory(prefix="spinscape-slurm.", dir="/tmp") as name:
        folder = Path(name)
        started = tool("start", folder)
        assert started.returncode == 0, started.stderr
        assert started.stdout == f"export PATH={folder}/bin:$PATH\n"
        yield folder, {**os.environ, "PATH": f"{folder}/bin:{os.environ['PATH']}"}
        stopped = tool("stop", folder)
        assert stopped.returncode == 0, stopped.stderr
        assert not daemons(folder)


def daemons(folder: Path) -> list[psutil.Process]:
    """Processes of the cluster in a folder."""
    return [p for p in psutil.process_iter(["cmdline"]) if f"{folder}/" in " ".join(p.info["cmdline"] or ())]


def ask(environment: dict[str, str], *words: str) -> str:
    return subprocess.run(words, env=environment, capture_output=True, text=True, check=True).stdout.strip()


def test_it_answers_and_starting_it_again_changes_nothing(cluster):
    folder, environment = cluster
    before = {p.pid for p in daemons(folder)}
    assert len(before) >= 3
    again = tool("start", folder)
    assert again.returncode == 0, again.stderr
    assert {p.pid for p in daemons(folder)} == before
    assert tool("status", folder).returncode == 0
    assert ask(environment, "sinfo", "--noheader", "--format=%c") == str(len(os.sched_getaffinity(0)))


def test_it_is_for_this_user_on_this_machine_alone(cluster):
    folder, _ = cluster
    assert folder.stat().st_mode & 0o077 == 0
    ports = [c for p in daemons(folder) for c in p.net_connections() if c.status == psutil.CONN_LISTEN]
    assert len(ports) == 2
    assert {connection.laddr.ip for connection in ports} == {"127.0.0.1"}


def test_two_are_apart(cluster):
    _, environment = cluster
    ask(environment, "sbatch", "--output=/dev/null", "--wrap=sleep 600", "--job-name=first")
    with tempfile.TemporaryDirectory(prefix="spinscape-slurm.", dir="/tmp") as name:
        other = Path(name)
        assert tool("start", other, **environment).returncode == 0
        both = {**environment, "PATH": f"{other}/bin:{environment['PATH']}"}
        assert ask(both, "squeue", "--noheader") == ""
        assert tool("stop", other, **both).returncode == 0
    assert "first" in ask(environment, "squeue", "--noheader", "--format=%j")
    ask(environment, "scancel", "--name=first")


def test_it_says_why_it_cannot_start(cluster, tmp_path):
    assert "cannot use a folder of this name" in tool("start", tmp_path / "a b").stderr
    fake = tmp_path / "fake"
    fake.mkdir()
    (fake / "slurmd").write_text("#!/bin/sh\necho no memory at all >&2\nexit 1\n", encoding="utf-8")
    (fake / "slurmd").chmod(0o755)
    with tempfile.TemporaryDirectory(prefix="spinscape-slurm.", dir="/tmp") as name:
        run = tool("start", Path(name), PATH=f"{fake}:{os.environ['PATH']}")
        assert run.returncode == 1
        assert run.stderr.splitlines()[-1] == "one_node_slurm: slurmd did not start"
        assert "no memory at all" in run.stderr
        assert not daemons(Path(name))


def test_jobs_of_a_run_are_cancelled_by_what_its_log_says(cluster, monkeypatch, tmp_path):
    _, environment = cluster
    monkeypatch.setenv("PATH", environment["PATH"])
    submit = ("sbatch", "--output=/dev/null", "--wrap=sleep 600", "--job-name")
    for name in ("run-1", "run-1", "other"):
        ask(environment, *submit, name)
    log = tmp_path / "snakemake.log"
    slurm.cancel(log)
    log.write_text("Building DAG of jobs...\nSLURM run ID: run-1\nSelect jobs\n", encoding="utf-8")
    slurm.cancel(log)
    left = ("squeue", "--noheader", "--format=%j", "--states=PENDING,RUNNING")
    wait_for(lambda: ask(environment, *left) == "other")
    monkeypatch.setenv("PATH", "/nowhere")
    slurm.cancel(log)


def test_a_call_that_is_stopped_while_it_submits_leaves_no_job(cluster, tmp_path):
    _, environment = cluster
    layout = make_book(tmp_path)
    edit(layout.book / "alpha.md", "print(double(width), rates)", "import time; time.sleep(600)")
    profile = REPOSITORY / "profiles" / "slurm"
    ask(environment, "scancel", "--me")
    wait_for(lambda: not ask(environment, "squeue", "--noheader"))
    process = subprocess.Popen(
        [sys.executable, "-m", "spinscape.companion.cli", "sweep", "alpha", "width=1,2,3,4,5,6,7,8",
         "rates=[0.1],[0.2],[0.3]", "--", "--profile", profile, "--slurm-status-command", "squeue"],
        cwd=layout.root,
        env={**environment, "PYTHONPATH": str(REPOSITORY / "lib")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )  # fmt: skip
    wait_for(lambda: ask(environment, "squeue", "--noheader") or process.poll() is not None)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate()
    assert process.returncode == 128 + signal.SIGINT, output
    wait_for(lambda: not ask(environment, "squeue", "--noheader"))


def test_stopping_ends_what_jobs_have_started(cluster):
    folder, environment = cluster
    words = ("sbatch", "--output=/dev/null", "--job-name=stubborn")
    ask(environment, *words, "--wrap=trap '' TERM; sleep 601 & wait; sleep 602")
    wait_for(lambda: "RUNNING" in ask(environment, "squeue", "-h", "-o", "%T", "--name=stubborn"))
    assert tool("stop", folder).returncode == 0
    assert not daemons(folder)
    wait_for(
        lambda: not [p for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] == ["sleep", "601"]]
    )
    assert tool("status", folder).returncode == 1
    assert tool("stop", folder).returncode == 0


def wait_for(condition) -> None:
    for _ in range(1200):
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError("waited in vain")


def test_the_profile_hands_commands_over_without_a_second_shell():
    profile = yaml.safe_load((REPOSITORY / "profiles/slurm/config.yaml").read_text(encoding="utf-8"))
    assert profile["executor"] == "slurm"
    assert profile["slurm-pass-command-as-script"] is True
