"""Locks, and child processes that do not outlive their parent; files that are whole or not there."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from spinscape.durable import private_files, put_in_place, settle, write_whole

__all__ = [
    "BusyError",
    "Stopped",
    "die_with_parent",
    "locked",
    "private_files",
    "put_in_place",
    "settle",
    "stop_group",
    "stopped_by_signals",
    "write_whole",
]

_PR_SET_PDEATHSIG = 1


class BusyError(RuntimeError):
    """Another process holds the lock."""


class Stopped(BaseException):
    """A signal asked the work to stop."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextlib.contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Raise `Stopped` on SIGINT, SIGTERM and SIGHUP meanwhile."""

    def stop(number: int, _: FrameType | None) -> None:
        raise Stopped(number)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def locked(path: Path, *, wait: float = 0.0) -> Iterator[None]:
    """Hold an exclusive lock on a file; the system drops it when the process ends, however it ends.

    Parameters
    ----------
    path
        The lock file, made where missing; never removed.
    wait
        Seconds to wait for another holder.

    Raises
    ------
    BusyError
        If another process still holds the lock after `wait` seconds.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + wait
    with path.open("a", encoding="utf-8") as handle:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise BusyError(str(path)) from None
                time.sleep(0.1)
        yield


def die_with_parent(number: signal.Signals = signal.SIGKILL) -> Callable[[], None]:
    """Make a function that asks Linux to send `number` to this process when its parent dies.

    The C library is looked up here, so that the function may run between fork and exec.
    On other systems the function does nothing.
    """
    library: Any = ctypes.CDLL(None) if sys.platform == "linux" else None

    def apply() -> None:
        if library is not None:
            library.prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)

    return apply


def stop_group(group: int, *, patience: float = 10.0) -> None:
    """End every process of a group: SIGTERM, and SIGKILL for those that stay for `patience` s."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if not _send(group, number):
            return
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(-group, os.WNOHANG)
            if not _send(group, 0):
                return
            time.sleep(0.05)


def _send(group: int, number: int) -> bool:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True
