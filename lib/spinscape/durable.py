"""Files that are whole or not there, also after a machine went down, and only this user's.

A file is written aside, flushed to the disk and moved into place; then its folder is flushed.
What a killed process leaves aside is locked by nobody and swept by the next one.
The module lies below the four rooms, so that every one of them may use it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SUFFIX = ".spinscape-part"

_PRIVATE_FOLDER = 0o700
_PRIVATE_MASK = 0o077


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file so that `path` holds either the old content or all of the new one.

    Raises
    ------
    OSError
        If it cannot be written; nothing is left aside.
    """
    with aside(path) as part:
        part.write_bytes(content.encode() if isinstance(content, str) else content)
        put_in_place(part, path)


def put_in_place(source: Path, target: Path) -> None:
    """Move a written file, or a folder that was settled, to `target`, for good.

    When the call returns the move survives a crash; before, `target` is the old one or the new
    one.
    Both must lie on one file system.
    """
    _flush(source)
    os.replace(source, target)
    _flush(target.parent)


def settle(folder: Path) -> None:
    """Flush everything below a folder, and the rest of its file system, to the disk.

    Raises
    ------
    OSError
        If the disk reports an error.
    """
    if sys.platform != "linux":
        os.sync()
        return
    library: Any = ctypes.CDLL(None, use_errno=True)
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if library.syncfs(handle):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(folder))
    finally:
        os.close(handle)


@contextlib.contextmanager
def aside(path: Path, *, folder: bool = False) -> Iterator[Path]:
    """Make an empty file, or folder, beside `path` to write into; what is left of it is removed.

    It has a name of its own, is for this user only, and is locked while the block runs.

    Parameters
    ----------
    path
        Where the content is to go in the end; its folder is made where missing.
    folder
        Make a folder, for writers that put files of their own beside their output.
    """
    private_folder(path.parent)
    sweep(path.parent, path.name)
    part, lock = _make(path, folder)
    try:
        yield part
    finally:
        _remove(part)
        os.close(lock)


def sweep(folder: Path, name: str = "") -> None:
    """Remove what killed processes left aside in a folder, of one file or of all.

    What is locked belongs to a writer that lives, in this container or another one.
    """
    with contextlib.suppress(OSError):
        for entry in os.scandir(folder):
            if entry.name.endswith(SUFFIX) and entry.name.startswith(f".{name}"):
                with contextlib.suppress(OSError):
                    _sweep_one(Path(entry.path))


def private_folder(folder: Path) -> None:
    """Make a folder, and those above it that are missing, for this user only."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    for each in reversed(missing):
        each.mkdir(mode=_PRIVATE_FOLDER, exist_ok=True)
    if not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))


@contextlib.contextmanager
def private_files() -> Iterator[None]:
    """Make every file and folder that is created meanwhile, also by child processes, this user's only."""
    before = os.umask(_PRIVATE_MASK)
    try:
        yield
    finally:
        os.umask(before)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        # Some network file systems cannot flush a folder.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


def _make(path: Path, folder: bool) -> tuple[Path, int]:
    """Make a part and lock it; again, where a sweep came between the two."""
    name = f".{path.name}."
    while True:
        if folder:
            part = tempfile.mkdtemp(SUFFIX, name, path.parent)
        else:
            handle, part = tempfile.mkstemp(SUFFIX, name, path.parent)
            os.close(handle)
        with contextlib.suppress(FileNotFoundError):
            lock = os.open(part, os.O_RDONLY | os.O_NOFOLLOW)
            # A file system without locks is never swept, either.
            with contextlib.suppress(OSError):
                fcntl.flock(lock, fcntl.LOCK_EX)
            if _is(part, lock):
                return Path(part), lock
            os.close(lock)


def _is(part: str, handle: int) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(part))
    except FileNotFoundError:
        return False


def _sweep_one(part: Path) -> None:
    lock = os.open(part, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        if os.fstat(lock).st_uid == os.getuid():
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove(part)
    finally:
        os.close(lock)


def _remove(part: Path) -> None:
    with contextlib.suppress(OSError):
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink()
