"""The bar's file: one whole line; a disk that fails costs the bar, not the computation."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from scarce import needs_mount, run_on_disk
from spinscape import progress


def test_the_file_holds_one_line(tmp_path, monkeypatch, capsys):
    path = tmp_path / "alpha.bar"
    monkeypatch.setenv(progress.ENVIRONMENT, str(path))
    seen = []
    for item in progress.track(range(3), "training"):
        seen.append(item)
        (line,) = path.read_text(encoding="utf-8").splitlines()
        assert line.startswith("training:")
    assert seen == [0, 1, 2]
    assert os.listdir(tmp_path) == ["alpha.bar"]
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("where", ["missing/alpha.bar", "file/alpha.bar", "folder"])
def test_a_file_that_cannot_be_written_stops_nothing(tmp_path, monkeypatch, where):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    monkeypatch.setenv(progress.ENVIRONMENT, str(tmp_path / where))
    assert list(progress.track(range(3), "training")) == [0, 1, 2]
    with progress.bar("walks", 2) as bar:
        bar.update(2)
    assert {path.name for path in Path(tmp_path).rglob("*")} == {"file", "folder"}


FULL = """
import os
os.environ["SPINSCAPE_PROGRESS"] = str(disk / "alpha.bar")
from spinscape.progress import track
with open(disk / "big", "wb", buffering=0) as big:
    try:
        while True:
            big.write(bytes(4096))
    except OSError:
        print("full")
print(sum(track(range(5), "training")), os.listdir(disk))
"""


def test_a_full_disk_stops_nothing(tmp_path):
    needs_mount()
    done = run_on_disk(FULL, tmp_path / "disk", size="64k")
    assert done.stdout.splitlines() == ["full", "10 ['big']"], done.stderr
