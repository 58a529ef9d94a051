"""Ways to spoil a file of a data set, and small made-up data sets to spoil.

`WAYS` maps a name to a `Way`; `write` lays a spoiled data set out in a folder like those that
``SPINSCAPE_DATA`` and ``SPINSCAPE_CACHE`` name.
"""

from __future__ import annotations

import gzip
import io
import os
import pickle
import struct
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spinscape.networks import registry

BATCHES = "cifar-10-batches-bin"


def idx(array: np.ndarray) -> bytes:
    head = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.astype(np.uint8).tobytes()


def small_images(seed: int = 0) -> dict[str, bytes]:
    """Four made-up gzipped IDX files: 7 training and 3 test images of 4 x 4."""
    draw = np.random.default_rng(seed)
    arrays = [
        draw.integers(0, 256, (7, 4, 4)),
        draw.integers(0, 10, 7),
        draw.integers(0, 256, (3, 4, 4)),
        draw.integers(0, 10, 3),
    ]
    return {
        file.name: gzip.compress(idx(array), mtime=1)
        for file, array in zip(registry.MNIST.files, arrays, strict=True)
    }


def archive(members: dict[str, bytes], *extra: tarfile.TarInfo) -> bytes:
    """A gzipped archive of files, and of entries without content."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for entry in extra:
            tar.addfile(entry)
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return gzip.compress(stream.getvalue(), mtime=1)


def cifar_members(name: str) -> dict[str, bytes]:
    """The files of a made-up CIFAR of a few images."""
    draw = np.random.default_rng(2)

    def records(count: int, labels: int) -> bytes:
        rows = draw.integers(0, 256, (count, labels + 3072)).astype(np.uint8)
        rows[:, :labels] %= 10
        return rows.tobytes()

    if name == "cifar10":
        parts = [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]
        members = {f"{BATCHES}/{part}": records(2, 1) for part in parts}
        names = "\n".join(f"class {i}" for i in range(10)) + "\n\n"
        return members | {f"{BATCHES}/batches.meta.txt": names.encode()}
    members = {f"cifar-100-binary/{part}.bin": records(3, 2) for part in ("train", "test")}
    names = "\n".join(f"class {i}" for i in range(100))
    return members | {"cifar-100-binary/fine_label_names.txt": names.encode()}


def made_up(dataset: str) -> dict[str, bytes]:
    """Good files of a small made-up data set."""
    if dataset == "cifar10":
        return {registry.CIFAR10.files[0].name: archive(cifar_members("cifar10"))}
    return small_images()


@dataclass(frozen=True)
class Way:
    """One way to spoil a file.

    Attributes
    ----------
    dataset
        The data set.
    file
        Which of its files.
    spoil
        Writes something at a path, given the good content.
    says
        What the message says (a regular expression); the sums where it is empty.
    behind
        What it says when the published sum is that of the spoiled file; empty where only the sum can
        tell.
    """

    dataset: str
    file: int
    spoil: Callable[[Path, bytes], None]
    says: str = ""
    behind: str = ""


class Evidence:
    """Pickled, it makes a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.path),)


def evidence(path: Path) -> Path:
    """Where a spoiled file at `path` would leave a trace if it were unpickled."""
    return path.parent.parent / "unpickled"


def _bytes(change: Callable[[bytes], bytes]) -> Callable[[Path, bytes], None]:
    def spoil(path: Path, good: bytes) -> None:
        path.write_bytes(change(good))

    return spoil


def _content(change: Callable[[bytes], bytes]) -> Callable[[Path, bytes], None]:
    """Change what is inside the gzip file."""
    return _bytes(lambda good: gzip.compress(change(gzip.decompress(good)), mtime=1))


def _flip(content: bytes, at: int, bit: int = 4) -> bytes:
    changed = bytearray(content)
    changed[at] ^= bit
    return bytes(changed)


def _entry(name: str, kind: bytes, target: str = "") -> Callable[[Path, bytes], None]:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, target
    return _bytes(lambda good: archive(_unpacked(good), entry))


def _member(name: str, content: bytes) -> Callable[[Path, bytes], None]:
    return _bytes(lambda good: archive({name: content} | _unpacked(good)))


def _unpacked(good: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(good), mode="r:gz") as tar:
        return {m.name: tar.extractfile(m).read() for m in tar.getmembers() if m.isreg()}


def _stating(size: int) -> Callable[[Path, bytes], None]:
    """Let the first header of the archive state another size."""

    def change(content: bytes) -> bytes:
        entry = tarfile.TarInfo.frombuf(content[:512], "utf-8", "strict")
        entry.size = size
        return entry.tobuf(tarfile.GNU_FORMAT) + content[512:]

    return _content(change)


def _bomb(path: Path, good: bytes) -> None:
    """4 GiB of zeros in 4 MiB."""
    path.write_bytes(gzip.compress(bytes(2**20), mtime=1) * 4096)


def _crowd(path: Path, good: bytes) -> None:
    entries = [tarfile.TarInfo(f"{BATCHES}/{i}") for i in range(1000)]
    path.write_bytes(archive(_unpacked(good), *entries))


def _pickled(path: Path, good: bytes) -> None:
    path.write_bytes(pickle.dumps(Evidence(evidence(path))))


def _pickled_member(path: Path, good: bytes) -> None:
    members = _unpacked(good) | {f"{BATCHES}/data_batch_1.bin": pickle.dumps(Evidence(evidence(path)))}
    path.write_bytes(archive(members))


def _cut_batch(path: Path, good: bytes) -> None:
    members = _unpacked(good)
    name = f"{BATCHES}/data_batch_2.bin"
    path.write_bytes(archive(members | {name: members[name][:-1]}))


def _sparse(path: Path, good: bytes) -> None:
    with path.open("wb") as file:
        file.truncate(2**36)


def _unreadable(path: Path, good: bytes) -> None:
    path.write_bytes(good)
    path.chmod(0)


def _first_label(value: int) -> Callable[[bytes], bytes]:
    return lambda content: content[:8] + bytes([value]) + content[9:]


_PAGE = b"<!DOCTYPE html><html><title>404</title><body>The file has moved.</body></html>"
_NO_GZIP = "Not a gzipped file"
_OUTSIDE = "outside its folder"
_SPECIAL = "neither file nor folder"

WAYS: dict[str, Way] = {
    "gzip cut in half": Way("mnist", 0, _bytes(lambda good: good[: len(good) // 2]), behind="ended before"),
    "content cut": Way("mnist", 0, _content(lambda c: c[:-5]), behind="header states the shape"),
    "content too long": Way("mnist", 2, _content(lambda c: c + b"x"), behind="header states the shape"),
    "bit in gzip": Way("mnist", 0, _bytes(lambda good: _flip(good, len(good) // 2)), behind="."),
    "bit in gzip's magic": Way("mnist", 1, _bytes(lambda good: _flip(good, 0)), behind=_NO_GZIP),
    "bit in gzip's checksum": Way(
        "mnist", 1, _bytes(lambda good: _flip(good, -6)), behind="CRC check failed"
    ),
    "bit in the header": Way("mnist", 0, _content(lambda c: _flip(c, 7)), behind="header states the shape"),
    "bit in a pixel": Way("mnist", 0, _content(lambda c: _flip(c, 30))),
    "wrong magic": Way("mnist", 3, _content(lambda c: b"\0\0\r\1" + c[4:]), behind="magic number 0x00000d01"),
    "labels for images": Way("mnist", 0, _content(lambda c: idx(np.zeros(9))), behind="magic number"),
    "wrong sizes": Way("mnist", 2, _content(lambda c: c[:11] + b"\x05" + c[12:]), behind="header states"),
    "huge sizes": Way("mnist", 0, _content(lambda c: c[:4] + b"\xff" * 12 + c[16:]), behind="header states"),
    "a label less": Way("mnist", 1, _content(lambda c: idx(np.zeros(6))), behind="6 labels, .* 7 images"),
    "no images": Way("mnist", 0, _content(lambda c: idx(np.zeros((0, 4, 4)))), behind="no images"),
    "other size of images": Way(
        "mnist", 2, _content(lambda c: idx(np.zeros((3, 5, 5)))), behind="images are 5 x 5"
    ),
    "label out of range": Way("mnist", 1, _content(_first_label(10)), behind="label 10 is out of range"),
    "gzip bomb": Way("mnist", 0, _bomb, behind="decompresses to more than"),
    "not compressed": Way("mnist", 1, _bytes(gzip.decompress), behind=_NO_GZIP),
    "an HTML page": Way("mnist", 2, _bytes(lambda good: _PAGE), behind=_NO_GZIP),
    "an HTML page, compressed": Way("mnist", 2, _content(lambda c: _PAGE), behind="magic number"),
    "empty": Way("mnist", 0, _bytes(lambda good: b""), behind="too few"),
    "another data set": Way("mnist", 0, _bytes(lambda g: small_images(9)[registry.MNIST.files[0].name])),
    "a folder": Way("mnist", 0, lambda path, good: path.mkdir(), says="is a folder"),
    "a pipe": Way("mnist", 1, lambda path, good: os.mkfifo(path), says="no regular file"),
    "a device": Way("mnist", 0, lambda path, good: path.symlink_to("/dev/zero"), says="no regular file"),
    "a broken link": Way("mnist", 3, lambda path, good: path.symlink_to("gone"), says="No such file"),
    "a link to itself": Way("mnist", 3, lambda path, good: path.symlink_to(path), says="symbolic links"),
    "64 GiB of nothing": Way("mnist", 0, _sparse, says="more than the published file"),
    "unreadable": Way("mnist", 2, _unreadable, says="Permission denied"),
    "archive cut": Way("cifar10", 0, _content(lambda c: c[: len(c) // 2]), behind="which are not there"),
    "bit in a tar header": Way("cifar10", 0, _content(lambda c: _flip(c, 3)), behind="bad checksum"),
    "path with ..": Way("cifar10", 0, _member("../escape", b"x"), behind=_OUTSIDE),
    "path with .. inside": Way("cifar10", 0, _member(f"{BATCHES}/../../escape", b"x"), behind=_OUTSIDE),
    "absolute path": Way("cifar10", 0, _member("/tmp/spinscape-escape", b"x"), behind=_OUTSIDE),
    "symbolic link": Way("cifar10", 0, _entry(f"{BATCHES}/a", tarfile.SYMTYPE, "/etc"), behind=_SPECIAL),
    "hard link": Way("cifar10", 0, _entry(f"{BATCHES}/a", tarfile.LNKTYPE, "/etc/passwd"), behind=_SPECIAL),
    "device in the archive": Way("cifar10", 0, _entry(f"{BATCHES}/a", tarfile.CHRTYPE), behind=_SPECIAL),
    "pipe in the archive": Way("cifar10", 0, _entry(f"{BATCHES}/a", tarfile.FIFOTYPE), behind=_SPECIAL),
    "tar bomb": Way("cifar10", 0, _stating(2**40), behind="states 1099511627776 bytes"),
    "negative size": Way("cifar10", 0, _stating(-512), behind="states -512 bytes"),
    "archive of 1000 members": Way("cifar10", 0, _crowd, behind="100 members or more"),
    "gzip bomb for an archive": Way("cifar10", 0, _bomb, behind="decompresses to more than"),
    "archive without a batch": Way(
        "cifar10", 0, _bytes(lambda good: archive(dict(list(_unpacked(good).items())[1:]))), behind="no file"
    ),
    "batch cut": Way("cifar10", 0, _cut_batch, behind="6145 bytes are not a whole number"),
    "a pickle": Way("cifar10", 0, _pickled, behind=_NO_GZIP),
    "a pickle for a batch": Way("cifar10", 0, _pickled_member, behind="whole number of 3073-byte records"),
}


def write(way: Way, root: Path, good: dict[str, bytes] | None = None) -> Path:
    """Write a spoiled data set into a folder and return the spoiled file.

    Parameters
    ----------
    way
        How to spoil it.
    root
        The folder that the data set's own folder goes into.
    good
        The good files; made up where not given.
    """
    good = made_up(way.dataset) if good is None else good
    name = registry.SPECIFICATIONS[way.dataset].files[way.file].name
    folder = root / way.dataset
    folder.mkdir(parents=True, exist_ok=True)
    for other, content in good.items():
        if other != name:
            (folder / other).write_bytes(content)
    way.spoil(folder / name, good[name])
    return folder / name
