"""Tensors on disk: safetensors with a SHA-256, written aside, flushed and renamed."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from spinscape import durable

_FORMAT = "spinscape-tensors-1"
_PRIVATE = 0o600


class CorruptFileError(RuntimeError):
    """A file of tensors is damaged, cut short or something else."""


def write(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write tensors so that `path` holds either the old file or the whole new one, for this user only.

    Raises
    ------
    OSError
        If the file cannot be written; nothing is left aside.
    """
    flat = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    with durable.aside(path, folder=True) as folder:
        part = folder / path.name
        try:
            save_file(flat, part, metadata={"format": _FORMAT, "sha256": _digest(flat)})
        except SafetensorError as error:
            raise _system_error(error, path) from None
        part.chmod(_PRIVATE)
        durable.put_in_place(part, path)


def _system_error(error: SafetensorError, path: Path) -> Exception:
    """Turn what safetensors says about the disk into the system's own error."""
    found = re.search(r"\(os error (\d+)\)", str(error))
    return OSError(int(found[1]), os.strerror(int(found[1])), str(path)) if found else error


def read(path: Path) -> dict[str, Tensor]:
    """Read and check what :func:`write` wrote.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    CorruptFileError
        If it cannot be read, or its SHA-256 differs.
    """
    while True:
        found = _identity(path)
        try:
            return _read(path)
        except CorruptFileError:
            # safetensors opens a file twice: another process may have replaced it in between.
            if _identity(path) == found:
                raise


def _identity(path: Path) -> tuple[int, int, int]:
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    about = path.stat()
    return about.st_dev, about.st_ino, about.st_mtime_ns


def _read(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as stored:
            metadata = stored.metadata() or {}
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        raise CorruptFileError(f"{path} is damaged or no safetensors file: {error}") from None
    if metadata.get("format") != _FORMAT:
        raise CorruptFileError(f"{path} was not written by this library (no {_FORMAT!r} mark)")
    found = _digest(tensors)
    if found != metadata.get("sha256"):
        raise CorruptFileError(
            f"{path} is damaged: SHA-256 of its content is {found}, it states {metadata.get('sha256')}"
        )
    return tensors


def _digest(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        if value.numel():  # an empty tensor of wide elements cannot be viewed as bytes
            digest.update(value.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
