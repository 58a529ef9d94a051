"""Finding the files of a data set, and checking them before anything reads them.

The places, in order: the folder in ``SPINSCAPE_DATA``, Debian's ``/usr/share/datasets``, the cache
(``SPINSCAPE_CACHE``, else the one pooch names for this system), the published mirrors. The first
place that holds any file of the data set is the one that is used; a wrong file there is an error
and never a reason to look further.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from spinscape import durable
from spinscape.networks._parsers import decompress
from spinscape.networks.registry import RemoteFile, Specification

DATA_VARIABLE = "SPINSCAPE_DATA"
CACHE_VARIABLE = "SPINSCAPE_CACHE"
DEBIAN = Path("/usr/share/datasets")
CONNECT_TIMEOUT = 5.0
"""Seconds that each address of a mirror has to answer."""
TIMEOUT = 20.0
"""Seconds that a mirror may stay silent."""
PATIENCE = 60.0
"""Seconds after which a mirror must have kept up `SLOWEST`."""
SLOWEST = 4096
"""Bytes per second, on average, below which a download is given up."""
LARGEST = {"idx": 64 * 2**20, "cifar": 256 * 2**20}
"""Bytes that a file may have, on disk and decompressed; the published ones have less."""

_PIECE = 2**16
# Mirrors shall not compress once more what is compressed.
_AS_IT_IS = {"Accept-Encoding": "identity"}


class DataError(RuntimeError):
    """A data set is missing, or a file of it is not what was published.

    Attributes
    ----------
    missing
        Whether no place holds any file of the data set.
    """

    def __init__(self, message: str, *, missing: bool = False) -> None:
        super().__init__(message)
        self.missing = missing


@dataclass(frozen=True)
class Found:
    """Checked files of a data set by name: decompressed ``content``, ``md5`` on disk and ``paths``."""

    source: str
    content: dict[str, bytes]
    md5: dict[str, str]
    paths: dict[str, Path]


def cache_folder() -> Path:
    """Return the folder of downloaded files (it may not exist yet)."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen)
    return Path(_pooch().os_cache("spinscape"))


def _pooch() -> ModuleType:
    """Import pooch without tqdm's remark that a notebook lacks widgets."""
    from tqdm import TqdmWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TqdmWarning)
        import pooch

    return pooch


def find(specification: Specification, root: str | Path | None, download: bool) -> Found:
    """Find, check and read every file of a data set.

    Parameters
    ----------
    specification
        The data set.
    root
        A folder to use instead of the one in ``SPINSCAPE_DATA``, or None.
    download
        Whether the mirrors may be asked.

    Raises
    ------
    DataError
        If a file is wrong or a folder incomplete, or if nothing was found anywhere.
    """
    local = root if root is not None else os.environ.get(DATA_VARIABLE)
    looked = []
    places: list[tuple[str, Path]] = []
    if local:
        places.append(("local", Path(local) / specification.name))
    else:
        looked.append(f"local folder: {DATA_VARIABLE} is not set")
    places.append(("debian", DEBIAN / specification.name))
    places.append(("cache", cache_folder() / specification.name))
    for source, folder in places:
        held = [file for file in specification.files if _held(folder / file.name)]
        if source != "cache" and held and len(held) < len(specification.files):
            lacking = [file.name for file in specification.files if file not in held]
            raise DataError(
                f"{folder} holds only a part of {specification.name}: "
                f"{', '.join(lacking)} missing. " + how_to_provide(specification)
            )
        if len(held) == len(specification.files):
            return _read(source, folder, specification)
        looked.append(f"{source}: nothing in {folder}")
    if not download:
        looked.append("download: not allowed by download=False")
        raise DataError(_nothing(specification, looked), missing=True)
    folder = places[-1][1]
    for file in specification.files:
        if _held(folder / file.name):
            _check(folder / file.name, file, "cache", specification)
        else:
            _fetch(file, specification, folder, looked)
    return _read("download", folder, specification)


def how_to_provide(specification: Specification) -> str:
    """Say in one sentence how a reader can put the files in place by hand."""
    names = ", ".join(file.name for file in specification.files)
    return (
        f"To provide the data, put {names} (from {' or '.join(specification.mirrors)}) "
        "into a folder "
        f"'{specification.name}' and set {DATA_VARIABLE} to the folder that contains it."
    )


def _nothing(specification: Specification, looked: list[str]) -> str:
    places = "".join(f"\n  - {place}" for place in looked)
    return f"The data set {specification.name} was not found. Looked here:{places}\n" + how_to_provide(
        specification
    )


def _held(path: Path) -> bool:
    """Whether there is anything at a path, be it a file or not."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise DataError(f"{path} cannot be looked at: {error.strerror}.") from None
    return True


def _read(source: str, folder: Path, specification: Specification) -> Found:
    content, sums = {}, {}
    paths = {file.name: folder / file.name for file in specification.files}
    for file in specification.files:
        content[file.name], sums[file.name] = _check(paths[file.name], file, source, specification)
    return Found(source, content, sums, paths)


def _check(path: Path, file: RemoteFile, source: str, specification: Specification) -> tuple[bytes, str]:
    """Return the decompressed content and the MD5 of the file as it lies on disk."""
    limit = LARGEST[specification.form]
    try:
        raw = _bytes(path, limit)
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror or error}. "
            "It was left as it is; replace it or move it away. " + how_to_provide(specification)
        ) from None
    found = hashlib.md5(raw, usedforsecurity=False).hexdigest()
    repackaged = source == "debian" and file.content_md5 is not None
    if found != file.md5 and not repackaged:
        raise DataError(_wrong(path, len(raw), "MD5", file.md5, found, specification))
    try:
        content = decompress(raw, limit)
    except ValueError as error:
        raise DataError(
            _wrong(path, len(raw), "MD5", file.md5, found, specification, f" ({error})")
        ) from None
    if repackaged:
        inner = hashlib.md5(content, usedforsecurity=False).hexdigest()
        if inner != file.content_md5:
            what = "MD5 of the decompressed content"
            raise DataError(_wrong(path, len(raw), what, file.content_md5, inner, specification))
    return content, found


def _bytes(path: Path, limit: int) -> bytes:
    """Read a regular file of at most `limit` bytes; a pipe is not waited for."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        about = os.fstat(handle)
        if stat.S_ISDIR(about.st_mode):
            raise OSError("it is a folder")
        if not stat.S_ISREG(about.st_mode):
            raise OSError("it is no regular file")
        if about.st_size > limit:
            raise OSError(f"{about.st_size} bytes are more than the published file has")
        with open(handle, "rb", closefd=False) as stream:
            return stream.read(limit)
    finally:
        os.close(handle)


def _wrong(
    path: Path,
    size: int,
    what: str,
    expected: str | None,
    found: str,
    specification: Specification,
    why: str = "",
) -> str:
    return (
        f"{path} ({size} bytes) is not the published file{why}: "
        f"{what} {found}, expected {expected}. "
        "The file was left as it is; replace it or move it away. " + how_to_provide(specification)
    )


def _fetch(file: RemoteFile, specification: Specification, folder: Path, looked: list[str]) -> None:
    """Download one file from the first mirror that serves the right bytes."""
    import requests
    import urllib3

    failures = list(looked)
    target = folder / file.name
    durable.sweep(folder)
    try:
        with durable.aside(target, folder=True) as part:
            for mirror in specification.mirrors:
                try:
                    fetched = _retrieve(mirror + file.name, file, part, LARGEST[specification.form])
                except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError) as error:
                    failures.append(f"download: {mirror + file.name}: {_short(error)}")
                else:
                    durable.put_in_place(fetched, target)
                    return
    except OSError as error:
        raise DataError(f"{folder} cannot be written: {error.strerror or error}.") from None
    raise DataError(_nothing(specification, failures), missing=True)


def _retrieve(address: str, file: RemoteFile, folder: Path, limit: int) -> Path:
    """Download a file into a folder and check its MD5."""
    pooch = _pooch()
    log = pooch.get_logger()
    level = log.level
    log.setLevel("WARNING")
    try:
        fetched = pooch.retrieve(
            address,
            known_hash=f"md5:{file.md5}",
            fname=file.name,
            path=folder,
            downloader=partial(_stream, limit=limit),
        )
    finally:
        log.setLevel(level)
    return Path(fetched)


def _stream(address: str, path: str, _: Any, *, limit: int) -> None:
    """Write what a server sends to a file, as long as it is neither silent, slow nor endless."""
    import requests

    begin, size = time.monotonic(), 0
    timeout = (CONNECT_TIMEOUT, TIMEOUT)
    with (
        requests.get(address, stream=True, timeout=timeout, headers=_AS_IT_IS) as answer,
        open(path, "wb") as output,
    ):
        answer.raise_for_status()
        while piece := answer.raw.read1(_PIECE):
            output.write(piece)
            size += len(piece)
            if size > limit:
                raise ValueError(f"the mirror sent more than {limit} bytes")
            seconds = time.monotonic() - begin
            if seconds > PATIENCE and size < seconds * SLOWEST:
                raise ValueError(f"the mirror sent {size} bytes in {seconds:.0f} s, which is too slow")


def _short(error: BaseException) -> str:
    """Cut a chain of network errors down to its last cause, in one line."""
    while isinstance(cause := getattr(error, "reason", None) or next(iter(error.args), None), Exception):
        error = cause
    text = " ".join(str(error).split()) or type(error).__name__
    if "does not match the known hash" in text or "hash" in text.lower():
        return "the mirror served another file than the published one (MD5 differs)"
    if "resolve" in text or "resolution" in text:
        return "the host name could not be resolved (no network?)"
    return text if len(text) <= 160 else f"{type(error).__name__}: {text[:140]}..."
