"""Readers of the published binary formats: pure functions from bytes to arrays."""

from __future__ import annotations

import numpy as np

_CIFAR_SHAPE = (3, 32, 32)


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
