"""Readers of the published formats: pure functions from bytes to arrays, safe for any bytes."""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from collections.abc import Iterable
from pathlib import PurePosixPath

import numpy as np

_CIFAR_SHAPE = (3, 32, 32)
_MOST_MEMBERS = 100
_BLOCK = 512
_PLAIN = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE)
# Extended headers of the pax format; what they state is not used.
_COMMENTS = (tarfile.XHDTYPE, tarfile.XGLTYPE)


def decompress(raw: bytes, limit: int) -> bytes:
    """Decompress a gzip file in bounded memory.

    Parameters
    ----------
    raw
        The file.
    limit
        The largest number of bytes that may come out.

    Raises
    ------
    ValueError
        If it is no gzip file, damaged, cut short, or too large.
    """
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(raw)) as stream:
            content = stream.read(limit + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(str(error)) from None
    if len(content) > limit:
        raise ValueError(f"it decompresses to more than {limit} bytes")
    return content


def read_members(archive: bytes, folder: str, names: Iterable[str]) -> dict[str, bytes]:
    """Read files out of a tar archive; nothing is unpacked.

    Headers are read one by one and nothing that they state is believed: `tarfile` follows links,
    chains of extended headers and stated sizes.

    Parameters
    ----------
    archive
        The archive, not compressed.
    folder
        The folder in the archive that holds everything.
    names
        The files wanted from it.

    Returns
    -------
    dict
        Content by name.

    Raises
    ------
    ValueError
        If it is no archive, a member lies outside the folder or is neither file nor folder, a file is
        cut short or missing, or there are unusually many members.
    """
    found: dict[str, bytes] = {}
    start = 0
    for _ in range(_MOST_MEMBERS):
        try:
            member = tarfile.TarInfo.frombuf(archive[start : start + _BLOCK], "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            if start and not any(archive[start : start + _BLOCK]):
                break
            raise ValueError(f"it is no tar archive: {error} at byte {start}") from None
        start += _BLOCK
        if not 0 <= member.size <= len(archive) - start:
            raise ValueError(
                f"{member.name!r} in the archive states {member.size} bytes, which are not there"
            )
        if member.type not in _COMMENTS:
            found[_below(member, folder)] = archive[start : start + member.size]
        start += -(-member.size // _BLOCK) * _BLOCK
    else:
        raise ValueError(f"the archive has {_MOST_MEMBERS} members or more")
    for name in names:
        if name not in found:
            raise ValueError(f"the archive has no file {folder}/{name}")
    return {name: found[name] for name in names}


def _below(member: tarfile.TarInfo, folder: str) -> str:
    """Return a member's path below the folder."""
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or path.parts[:1] not in ((), (folder,)):
        raise ValueError(f"the archive has a member outside its folder {folder}: {member.name!r}")
    if member.type not in _PLAIN:
        raise ValueError(f"the archive has a member that is neither file nor folder: {member.name!r}")
    return "/".join(path.parts[1:])


def parse_idx(content: bytes, dimensions: int) -> np.ndarray:
    """Read an IDX file of unsigned bytes (the format of MNIST).

    Parameters
    ----------
    content
        The decompressed file: the magic number ``0x0000080D`` with ``D`` the number of dimensions,
        then one big-endian 32-bit size per dimension, then the bytes.
    dimensions
        The number of dimensions that is expected: 3 for images, 1 for labels.

    Returns
    -------
    ndarray
        ``uint8`` array of the shape that the header states.

    Raises
    ------
    ValueError
        If the magic number or the length is wrong.
    """
    start = 4 * (1 + dimensions)
    if len(content) < start:
        raise ValueError(f"{len(content)} bytes are too few for an IDX header of {start} bytes")
    expected = bytes((0, 0, 8, dimensions))
    if content[:4] != expected:
        raise ValueError(
            f"magic number 0x{content[:4].hex()} instead of 0x{expected.hex()} "
            f"(unsigned bytes, {dimensions} dimensions)"
        )
    shape = tuple(int(size) for size in np.frombuffer(content, ">u4", dimensions, offset=4))
    count = 1
    for size in shape:
        count *= size
    if len(content) != start + count:
        raise ValueError(
            f"the header states the shape {shape}, so {start + count} bytes, but there are {len(content)}"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def parse_cifar(content: bytes, label_bytes: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Read records of the binary version of CIFAR.

    Parameters
    ----------
    content
        Records of `label_bytes` labels and 3072 pixels (red, green and blue planes of 32 x 32, row
        by row).
    label_bytes
        1 for CIFAR-10; 2 for CIFAR-100 (coarse then fine label). The last of them is used.
    classes
        The number of classes, an exclusive bound of the labels.

    Returns
    -------
    images : ndarray
        ``uint8``, shape ``(N, 3, 32, 32)``.
    labels : ndarray
        ``int64``, shape ``(N,)``.

    Raises
    ------
    ValueError
        If the length is no multiple of a record, or a label is out of range.
    """
    record = label_bytes + 3072
    if not content or len(content) % record:
        raise ValueError(f"{len(content)} bytes are not a whole number of {record}-byte records")
    rows = np.frombuffer(content, np.uint8).reshape(-1, record)
    labels = rows[:, label_bytes - 1].astype(np.int64)
    if labels.max() >= classes:
        raise ValueError(f"label {labels.max()} is out of range: there are {classes} classes")
    return rows[:, label_bytes:].reshape(-1, *_CIFAR_SHAPE), labels


def parse_names(content: bytes, classes: int) -> tuple[str, ...]:
    """Read class names, one per line.

    Raises
    ------
    ValueError
        If there are not exactly `classes` of them.
    """
    names = tuple(line.strip() for line in content.decode("utf-8").splitlines() if line.strip())
    if len(names) != classes:
        raise ValueError(f"{len(names)} class names where {classes} are expected")
    return names
