"""What is wrong with a disk, in one sentence that says what to do."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import tempfile
from pathlib import Path

_PROBE_BYTES = 2**20
_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")

_KEPT = "What is finished is kept."
_FULL = "Free some space and call again."
_OTHER = "Make it writable, or put the book into a folder of yours, and call again."

_NUMBERS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO, errno.EACCES)
_TEXTS = {number: re.compile(rf"{re.escape(os.strerror(number))}(?:: '(/[^'\n]*)')?") for number in _NUMBERS}

# Others speak of permissions too: only words that the system's own message has beside it count.
_TEXTS[errno.EACCES] = re.compile(
    r"Permission denied(?:: '(/[^'\n]*)'| \(os error 13\))|\[Errno 13\] Permission denied"
)


class DiskError(OSError):
    """A folder cannot be written; the message says why and what to do."""


def explain(problem: BaseException | str, folder: Path) -> str | None:
    """Turn an error, or the text of a log, into one message about the disk.

    Parameters
    ----------
    problem
        An exception; its causes are looked at, too. Or text, such as that of a log.
    folder
        Where the work was going on, for the message.

    Returns
    -------
    str or None
        None where it was not the disk.
    """
    if isinstance(problem, DiskError):
        return str(problem)
    found = _in_error(problem) if isinstance(problem, BaseException) else _in_text(problem)
    if found is None:
        return None
    number, name = found
    place = Path(name) if name else folder
    return _message(number, folder if place.is_relative_to(folder) else place)


def check_writable(folder: Path) -> None:
    """Make a folder where missing, and write, flush and remove 1 MiB in it.

    Raises
    ------
    DiskError
        If that fails.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder, buffering=0) as probe:
            left = memoryview(bytes(_PROBE_BYTES))
            while left:
                left = left[probe.write(left) :]
            os.fsync(probe.fileno())
    except OSError as error:
        raise DiskError(explain(error, folder) or f"{folder} cannot be used: {_reason(error)}.") from None


class Watch:
    """Whether a disk was full at any time that somebody looked.

    What fills a disk is often removed before its message can be read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.was_full = False

    def look(self) -> None:
        """Look at the space that is left."""
        with contextlib.suppress(OSError):
            self.was_full |= shutil.disk_usage(self.folder).free < _PROBE_BYTES

    def explain(self, *texts: str) -> str | None:
        """Return one message if work failed because of the disk, None otherwise.

        Parameters
        ----------
        *texts
            Logs and messages of what failed.
        """
        try:
            check_writable(self.folder)
        except DiskError as error:
            return str(error)
        found = (explain(text, self.folder) for text in texts)
        told = next((message for message in found if message), None)
        return told or (_message(errno.ENOSPC, self.folder) if self.was_full else None)


def _in_error(error: BaseException) -> tuple[int, str] | None:
    """Find the number of the system's error, and the file that it names, in an error or its causes."""
    seen: list[BaseException] = []
    at: BaseException | None = error
    while at is not None and at not in seen:
        if isinstance(at, OSError) and at.errno in _TEXTS:
            return at.errno, os.fsdecode(at.filename) if isinstance(at.filename, str | bytes) else ""
        seen.append(at)
        at = at.__cause__ or at.__context__
    return _in_text(str(error))


def _in_text(text: str) -> tuple[int, str] | None:
    for number, pattern in _TEXTS.items():
        if found := pattern.search(text):
            return number, found[1] or ""
    return None


def _message(number: int, folder: Path) -> str:
    if number == errno.ENOSPC:
        return f"The disk of {folder} is full ({_free(folder)}). {_FULL} {_KEPT}"
    if number == errno.EDQUOT:
        return f"The disk quota for {folder} is used up. {_FULL} {_KEPT}"
    if number == errno.EFBIG:
        return f"Files in {folder} may not grow further (ulimit -f). Raise that limit and call again. {_KEPT}"
    if number == errno.EIO:
        return f"The disk of {folder} reports errors. Move the book to another disk. {_KEPT}"
    if number == errno.EROFS:
        return f"{folder} is on a read-only file system. {_OTHER}"
    return f"{folder} may not be written by this user (permission denied). {_OTHER}"


def _free(folder: Path) -> str:
    """Describe the space that is left where a folder is, or would be."""
    there = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    try:
        size = float(shutil.disk_usage(there).free)
        inodes = os.statvfs(there)
    except OSError:
        return "free space unknown"
    if inodes.f_files and not inodes.f_favail:
        return "no more files can be made on it"
    unit = 0
    while size >= 1024 and unit < len(_UNITS) - 1:
        size, unit = size / 1024, unit + 1
    return f"{size:.0f} {_UNITS[unit]} free"


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
