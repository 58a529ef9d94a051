"""What is wrong with a disk is said in one line that names the folder and what to do."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from scarce import needs_mount, run_on_disk
from spinscape.companion import disk

FOLDER = Path("/book/_build")


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.ENOSPC, "is full"),
        (errno.EDQUOT, "quota"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "permission denied"),
        (errno.EFBIG, "ulimit -f"),
        (errno.EIO, "reports errors"),
    ],
)
def test_errors_and_logs_are_explained(number, says):
    error = OSError(number, os.strerror(number), "/book/_build/quick/.part")
    wrapped = RuntimeError("in a cell")
    wrapped.__cause__ = error
    log = f"Traceback:\n  File ...\nOSError: [Errno {number}] {os.strerror(number)}: '/book/_build/x'\nmore"
    rust = f"SafetensorError: I/O error: {os.strerror(number)} (os error {number})"
    for problem in (error, wrapped, log, rust, RuntimeError(log)):
        text = disk.explain(problem, FOLDER)
        assert text is not None
        assert "\n" not in text
        assert says in text
        assert str(FOLDER) in text
        assert "/quick" not in text
        assert "call again" in text or "another disk" in text


def test_another_file_is_named_as_it_is():
    text = disk.explain(PermissionError(13, "Permission denied", "/elsewhere/file"), FOLDER)
    assert text is not None
    assert text.startswith("/elsewhere/file may not be")
    assert disk.explain("Permission denied: '/elsewhere/file'", FOLDER) == text


@pytest.mark.parametrize(
    "problem",
    [ValueError("no"), FileNotFoundError(2, "No such file or directory", "x"), "all is well", OSError("odd")],
)
def test_what_is_not_the_disk_is_not_explained(problem):
    assert disk.explain(problem, FOLDER) is None


def test_errors_that_cause_each_other_end():
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    assert disk.explain(one, FOLDER) is None


def test_a_good_folder_is_made_and_left_empty(tmp_path):
    folder = tmp_path / "a" / "b"
    disk.check_writable(folder)
    assert os.listdir(folder) == []


def test_a_file_in_the_way_is_named(tmp_path):
    path = tmp_path / "file"
    path.touch()
    with pytest.raises(disk.DiskError, match=r"file cannot be used: File exists\."):
        disk.check_writable(path)


CHECK = """
import os
from spinscape.companion import disk as module
try:
    module.check_writable(disk / "_build")
    print("writable")
except module.DiskError as error:
    print(error)
    assert module.explain(error, disk) == str(error)
print(sorted(os.listdir(disk)))
"""


@pytest.mark.parametrize(
    ("options", "says", "left"),
    [
        ({}, "writable", ["_build"]),
        ({"before": "head -c 1500000 /dev/zero > big"}, "_build is full (", ["_build", "big"]),
        (
            {"before": "touch a b c", "inodes": 4},
            "is full (no more files can be made on it)",
            ["a", "b", "c"],
        ),
        ({"read_only": True}, "_build is on a read-only file system. Make it", []),
        ({"read_only": True, "before": "mkdir _build"}, "_build is on a read-only file system.", ["_build"]),
    ],
)
def test_real_disks(tmp_path, options, says, left):
    needs_mount()
    done = run_on_disk(CHECK, tmp_path / "disk", **options)
    said, files = done.stdout.splitlines()
    assert says in said, done.stderr
    assert files == str(left)
    if "full (" in said and "files" not in said:
        assert "KiB free). Free some space and call again. What is finished is kept." in said


def test_a_folder_of_someone_else(tmp_path):
    if os.geteuid() != 0:
        tmp_path.chmod(0o500)
        with pytest.raises(disk.DiskError, match="permission denied"):
            disk.check_writable(tmp_path / "_build")
        return
    tmp_path.chmod(0o755)
    os.seteuid(65534)
    try:
        with pytest.raises(disk.DiskError, match="permission denied"):
            disk.check_writable(tmp_path / "_build")
    finally:
        os.seteuid(0)


def test_a_limit_on_files(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", f"from pathlib import Path; disk = Path({str(tmp_path)!r}){CHECK}"],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, 2**16)),
    )
    assert "may not grow further" in done.stdout, done.stderr
