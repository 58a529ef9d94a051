"""Executed notebooks that carry a digest of themselves, so that damage is noticed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

_SEAL = "sha256"


def seal(notebook: NotebookNode) -> str:
    """Write the digest into the metadata and return the notebook as text."""
    content = json.loads(nbformat.writes(notebook))
    content["metadata"]["spinscape"][_SEAL] = _digest(content)
    return json.dumps(content, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def key(path: Path) -> str:
    """Return the key of the run that a sealed notebook is of; empty where it is missing or damaged."""
    content = _content(path)
    return "" if content is None else str(content["metadata"]["spinscape"].get("key", ""))


def read(path: Path) -> NotebookNode:
    """Read a sealed notebook.

    Raises
    ------
    ValueError
        If there is none, or it is not what was written.
    """
    content = _content(path)
    if content is None:
        raise ValueError(f"{path} is missing or damaged")
    return nbformat.reads(json.dumps(content), as_version=4)


def _content(path: Path) -> Any:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        stated = content["metadata"]["spinscape"][_SEAL]
        return content if stated == _digest(content) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _digest(content: Any) -> str:
    about = {k: v for k, v in content["metadata"]["spinscape"].items() if k != _SEAL}
    bare = {**content, "metadata": {**content["metadata"], "spinscape": about}}
    text = json.dumps(bare, sort_keys=True, separators=(",", ":"), allow_nan=True)
    return hashlib.sha256(text.encode()).hexdigest()
