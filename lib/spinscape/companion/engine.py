"""How papermill talks to a kernel: private sockets, this interpreter, progress at every cell."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import signal
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, NotebookExecutionManager, papermill_engines
from papermill.log import logger
from traitlets.config import Config

from spinscape.companion.processes import die_with_parent

NAME = "spinscape"

_KERNEL = Path(__file__).with_name("kernel.py")
_FOLDER = re.compile(r"spinscape-(\d+)-\w+")
_in_use: list[Path] = []

# A Unix socket's path holds about a hundred characters.
_LONGEST_FOLDER = 70


class Kernel(AsyncKernelManager):
    """A kernel that runs the interpreter of this process, whatever kernels are installed."""

    started: "list[Kernel]" = []  # noqa: RUF012, UP037

    @property
    def kernel_spec(self) -> KernelSpec:
        """The kernel of the running interpreter, without a history file."""
        return KernelSpec(
            argv=[sys.executable, "-P", str(_KERNEL), "-f", "{connection_file}",
                  "--HistoryManager.enabled=False"],
            display_name="Python 3",
            language="python",
        )  # fmt: skip

    async def _async_launch_kernel(self, kernel_cmd: list[str], **kw: Any) -> None:
        Kernel.started.append(self)
        await super()._async_launch_kernel(kernel_cmd, preexec_fn=die_with_parent(signal.SIGKILL), **kw)


class Engine(NBClientEngine):
    """papermill's engine with the kernel above and a call before every cell."""

    @classmethod
    def execute_managed_notebook(
        cls,
        nb_man: NotebookExecutionManager,
        kernel_name: str,
        *,
        config: Config | None = None,
        on_cell_start: Any = None,
        start_timeout: int = 60,
        **_: Any,
    ) -> Any:
        """Execute the notebook that `nb_man` holds."""
        return PapermillNotebookClient(
            nb_man,
            kernel_name=kernel_name,
            kernel_manager_class=Kernel,
            config=config,
            on_cell_start=on_cell_start,
            startup_timeout=start_timeout,
            # What a kernel holds is in the notebook or on disk by now: waiting for its goodbye costs seconds.
            shutdown_kernel="immediate",
            timeout=None,
            log=logger,
        ).execute()


papermill_engines.register(NAME, Engine)


@contextlib.contextmanager
def private_sockets() -> Iterator[Config]:
    """Make a folder that only this user can enter, and a configuration that puts sockets there.

    IPython's own folder goes there too, so that a run depends on no user's start-up files.
    Folders that killed processes left behind are removed first.
    """
    base = tempfile.gettempdir()
    base = base if _short(base) else "/tmp"
    _sweep(Path(base))
    folder = Path(tempfile.mkdtemp(prefix=f"spinscape-{os.getpid()}-", dir=base))
    _in_use.append(folder)
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        # A file system without locks is never swept, either.
        with contextlib.suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        folder.chmod(stat.S_IRWXU)
        os.environ["IPYTHONDIR"] = str(folder / "ipython")
        connection = {"transport": "ipc", "ip": str(folder / "k")}
        yield Config(
            {
                "KernelManager": {**connection, "connection_file": str(folder / "kernel.json")},
                "Kernel": {**connection, "connection_file": str(folder / "kernel.json")},
            }
        )
    finally:
        remove_sockets()
        os.close(lock)


def remove_sockets() -> None:
    """Remove the folders that `private_sockets` made, also where a process ends without its end."""
    while _in_use:
        folder = _in_use.pop()
        # A kernel that is still dying may add files while the folder is being emptied.
        for _ in range(50):
            shutil.rmtree(folder, ignore_errors=True)
            if not folder.exists():
                break
            time.sleep(0.1)


def _sweep(base: Path) -> None:
    """Remove this user's folders of processes that are gone.

    A folder is in use while its process lives or, where processes cannot see each other, as in
    containers with one ``/tmp``, while it is locked.
    """
    for folder in base.glob("spinscape-*"):
        named = _FOLDER.fullmatch(folder.name)
        if not named or _alive(int(named[1])):
            continue
        with contextlib.suppress(OSError):
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                if os.fstat(lock).st_uid == os.getuid():
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def _short(folder: str) -> bool:
    return len(folder) < _LONGEST_FOLDER


def exit_code() -> int | None:
    """Return the exit code of the kernel that was started last; negative for a signal's number."""
    process = getattr(Kernel.started[-1].provisioner, "process", None) if Kernel.started else None
    return None if process is None else process.poll()


def kill_kernels() -> None:
    """Kill every kernel that this process started, with the processes that it started."""
    for kernel in Kernel.started:
        process = getattr(kernel.provisioner, "process", None)
        if process is not None and process.poll() is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
