"""Little disk and little memory: code run on a small or read-only disk of its own, or within a limit."""

from __future__ import annotations

import contextlib
import os
import resource
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest


@cache
def _unshare() -> tuple[str, ...]:
    """Words that start a command where it may mount a disk; none where that is not allowed."""
    for words in (("unshare", "-m"), ("unshare", "-r", "-m"), ("sudo", "-n", "unshare", "-m")):
        try:
            script = "mount -t tmpfs -o size=64k none /mnt"
            subprocess.run([*words, "sh", "-c", script], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        return words
    return ()


def needs_mount() -> None:
    """Skip a test where this user has no right to mount a disk, whatever is installed."""
    if not _unshare():
        pytest.skip("no disk can be mounted here, by root or in a namespace of this user's")


def run_on_disk(
    code: str, folder: Path, *, size: str = "2m", before: str = "", read_only: bool = False, inodes: int = 0
) -> subprocess.CompletedProcess[str]:
    """Mount a disk at a folder, for one Python process only, and run code with ``disk`` as its path.

    Parameters
    ----------
    code
        The code.
    folder
        Where the disk is mounted; made where missing.
    size, inodes
        The size of the disk, and how many files it may hold (0: any number).
    before
        A shell command run in the folder before the code.
    read_only
        Whether the disk can be read only, once the command has run.
    """
    folder.mkdir(parents=True, exist_ok=True)
    at = shlex.quote(str(folder))
    options = f"size={size}" + (f",nr_inodes={inodes}" if inodes else "")
    search = os.pathsep.join(sys.path)
    steps = [f"export PYTHONPATH={shlex.quote(search)} OMP_NUM_THREADS=1"]
    steps += [f"mount -t tmpfs -o {options} none {at}", f"cd {at}"]
    steps += [before] if before else []
    steps += ["cd /", f"mount -o remount,ro {at}"] if read_only else []
    steps += [f"exec {shlex.quote(sys.executable)} -"]
    return subprocess.run(
        [*_unshare(), "sh", "-e", "-c", "\n".join(steps)],
        input=f"from pathlib import Path\n\ndisk = Path({str(folder)!r})\n{code}",
        capture_output=True,
        text=True,
        check=False,
    )


@contextlib.contextmanager
def little_memory(more: int) -> Iterator[None]:
    """Allow this process so many bytes beyond those it has."""
    if not os.path.exists("/proc/self/statm"):
        yield
        return
    with open("/proc/self/statm", encoding="ascii") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + more, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
