"""The private folder for a kernel's sockets: made, removed, and swept where a process left it."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat
import papermill
import pytest

from spinscape.companion import engine


@pytest.fixture
def temporary(monkeypatch):
    """Make a folder for temporary files with a path short enough for sockets."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        monkeypatch.setenv("IPYTHONDIR", "")
        yield Path(folder)


def test_the_folder_is_this_users_alone_and_goes_away(temporary):
    with engine.private_sockets() as config:
        (folder,) = temporary.iterdir()
        assert folder.name.startswith(f"spinscape-{os.getpid()}-")
        assert folder.stat().st_mode & 0o777 == 0o700
        assert config["KernelManager"]["ip"] == str(folder / "k")
        engine.remove_sockets()
        assert not folder.exists()
    assert not list(temporary.iterdir())


def test_folders_of_dead_processes_are_swept(temporary):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    dead, locked, live = (
        temporary / f"spinscape-{process}-{name}"
        for process, name in ((ended.pid, "dead"), (ended.pid, "locked"), (os.getppid(), "live"))
    )
    other = temporary / "spinscape-notes"
    for folder in (dead, locked, live, other):
        folder.mkdir()
        (folder / "kernel.json").touch()
    target = temporary / "target"
    target.mkdir()
    link = temporary / f"spinscape-{ended.pid}-link"
    link.symlink_to(target)
    handle = os.open(locked, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with engine.private_sockets():
        assert not dead.exists()
    os.close(handle)
    assert {*temporary.iterdir()} == {locked, live, other, target, link}
    with engine.private_sockets():
        assert not locked.exists()


def test_a_forked_process_prints_into_the_notebook(temporary):
    code = "import os\nif not os.fork():\n    print('from the fork', flush=True)\n    os._exit(0)\nos.wait()"
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    cells = [nbformat.v4.new_code_cell(code), nbformat.v4.new_code_cell("print('after')")]
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    with engine.private_sockets() as config:
        done = papermill.execute_notebook(
            notebook,
            None,
            engine_name=engine.NAME,
            kernel_name="python3",
            progress_bar=False,
            config=config,
        )
        engine.kill_kernels()
    texts = [output.get("text", "") for cell in done.cells for output in cell["outputs"]]
    assert "from the fork" in texts[0]
    assert "after\n" in texts
