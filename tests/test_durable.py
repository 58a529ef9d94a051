"""Files are flushed, moved, private; parts are removed by their writer, or swept when it was killed."""

from __future__ import annotations

import os
import resource
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scarce import needs_mount, run_on_disk
from spinscape import durable


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_file_is_flushed_before_the_move_and_the_folder_after(tmp_path, monkeypatch):
    done: list[tuple[str, int]] = []
    flush, move = os.fsync, os.replace

    def fsync(handle: int) -> None:
        done.append(("flush", os.fstat(handle).st_ino))
        flush(handle)

    def replace(source: Path, target: Path) -> None:
        done.append(("move", os.stat(source).st_ino))
        assert Path(source).read_bytes() == b"new"
        move(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    path = tmp_path / "file"
    durable.write_whole(path, "new")
    inode = path.stat().st_ino
    assert done == [("flush", inode), ("move", inode), ("flush", tmp_path.stat().st_ino)]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_step_that_fails_leaves_the_old_file_alone(tmp_path, monkeypatch, step):
    path = tmp_path / "file"
    durable.write_whole(path, "old")

    def fail(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="No space"):
        durable.write_whole(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_what_is_written_is_this_users_alone(tmp_path):
    before = os.umask(0)
    try:
        path = tmp_path / "one" / "two" / "file"
        durable.write_whole(path, b"x")
        with durable.aside(path, folder=True) as part:
            assert mode(part) == 0o700
            assert part.parent == path.parent
    finally:
        os.umask(before)
    assert mode(path) == 0o600
    assert mode(path.parent) == mode(path.parent.parent) == 0o700


def test_private_files_hold_for_child_processes_and_end(tmp_path):
    with durable.private_files():
        subprocess.run(["sh", "-c", f"mkdir {tmp_path}/a; echo > {tmp_path}/a/b"], check=True)
        (tmp_path / "c").write_text("")
    assert [mode(tmp_path / name) for name in ("a", "a/b", "c")] == [0o700, 0o600, 0o600]
    before = os.umask(0o022)
    try:
        with pytest.raises(KeyError), durable.private_files():
            raise KeyError
        (tmp_path / "d").write_text("")
    finally:
        os.umask(before)
    assert mode(tmp_path / "d") == 0o644


WRITER = """
import sys, time
from pathlib import Path
from spinscape import durable
with durable.aside(Path(sys.argv[1]), folder=sys.argv[2] == "folder") as part:
    (part / "half" if part.is_dir() else part).write_text("half")
    print("written", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_parts_of_a_killed_writer_are_swept_those_of_a_live_one_stay(tmp_path, kind):
    path = tmp_path / "result"
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), kind], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "written\n"
        durable.write_whole(path, "mine")
        durable.sweep(tmp_path)
        assert len(os.listdir(tmp_path)) == 2
        writer.send_signal(signal.SIGKILL)
    durable.write_whole(tmp_path / "other", "")
    assert len(os.listdir(tmp_path)) == 3
    durable.write_whole(path, "again")
    assert sorted(os.listdir(tmp_path)) == ["other", "result"]


def test_a_sweep_follows_no_link_and_takes_nothing_else(tmp_path):
    target = tmp_path / "target"
    target.mkdir()
    (target / "file").touch()
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / f".link{durable.SUFFIX}").symlink_to(target)
    (folder / ".other.part").touch()
    (folder / f"visible{durable.SUFFIX}").touch()
    os.mkfifo(folder / f".pipe{durable.SUFFIX}")
    durable.sweep(folder)
    assert (target / "file").exists()
    assert sorted(os.listdir(folder)) == [
        f".link{durable.SUFFIX}",
        ".other.part",
        f"visible{durable.SUFFIX}",
    ]
    durable.sweep(tmp_path / "missing")


WRITE_OFTEN = """
import sys
from pathlib import Path
from spinscape import durable
for i in range(100):
    durable.sweep(Path(sys.argv[1]).parent)
    durable.write_whole(Path(sys.argv[1]), sys.argv[2] * 50_000)
"""


def test_writers_side_by_side_leave_one_whole_file(tmp_path):
    path = tmp_path / "file"
    writers = [subprocess.Popen([sys.executable, "-c", WRITE_OFTEN, str(path), word]) for word in "abc"]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        if path.exists():
            text = path.read_text()
            assert len(text) == 50_000
            assert len(set(text)) == 1
            seen.add(text[0])
        time.sleep(0.001)
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    assert seen <= set("abc")
    assert os.listdir(tmp_path) == ["file"]


def test_a_folder_is_settled_and_moved(tmp_path):
    tree = tmp_path / "tree.part"
    tree.mkdir()
    (tree / "file").write_text("x")
    durable.settle(tree)
    durable.put_in_place(tree, tmp_path / "tree")
    assert (tmp_path / "tree" / "file").read_text() == "x"
    with pytest.raises(FileNotFoundError):
        durable.settle(tree)


FULL = """
import os
from spinscape import durable
durable.write_whole(disk / "file", "old")
for size in (2**20, 3 * 2**20):
    try:
        durable.write_whole(disk / "file", "x" * size)
        print("written", os.stat(disk / "file").st_size)
    except OSError as error:
        print(error.errno, os.stat(disk / "file").st_size)
print(os.listdir(disk))
"""


def test_a_full_disk_keeps_the_old_file_and_no_part(tmp_path):
    needs_mount()
    done = run_on_disk(FULL, tmp_path / "disk")
    assert done.stdout.splitlines() == ["written 1048576", "28 1048576", "['file']"], done.stderr


def test_a_limit_on_files_keeps_the_old_file_and_no_part(tmp_path):
    path = tmp_path / "file"
    durable.write_whole(path, "old")
    code = f"from pathlib import Path; disk = Path({str(tmp_path)!r}){FULL}"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2**21, 2**21)),
    )
    assert done.stdout.splitlines() == ["written 1048576", "27 1048576", "['file']"], done.stderr
