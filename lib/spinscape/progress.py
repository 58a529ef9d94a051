"""Progress bars that do not litter a page.

In a terminal or a live notebook a bar is tqdm's own.
When the pipeline runs a chapter it names a file in the environment variable
``SPINSCAPE_PROGRESS``; the bar then goes to that file, one line at a time, and the cell's output
stays clean.
The module lies below the four rooms, so that every one of them may use it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from tqdm.std import tqdm

T = TypeVar("T")

ENVIRONMENT = "SPINSCAPE_PROGRESS"


class _OneLine:
    """A text sink that keeps only the last line of what is written, in a small file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, text: str) -> int:
        line = text.strip("\r\n ")
        if line:
            aside = self.path.with_name(self.path.name + ".part")
            # A full disk costs the bar, not the computation.
            try:
                aside.write_text(line, encoding="utf-8")
                os.replace(aside, self.path)
            except OSError:
                with contextlib.suppress(OSError):
                    aside.unlink()
        return len(text)

    def flush(self) -> None:
        """Do nothing: every line is written whole."""


def track(items: Iterable[T], what: str, *, total: int | None = None) -> Iterator[T]:
    """Iterate over `items` with a bar labelled `what`.

    Parameters
    ----------
    items
        Anything iterable.
    what
        A short label, such as ``"training"``.
    total
        The number of items, where `items` has no length.
    """
    yield from _make(items, what, total)


def bar(what: str, total: int) -> Any:
    """Return a bar moved by hand: a context manager with ``update(count)``."""
    return _make(None, what, total)


def _make(items: Iterable[T] | None, what: str, total: int | None) -> Any:
    target = os.environ.get(ENVIRONMENT)
    if target:
        sink = _OneLine(Path(target))
        return tqdm(items, desc=what, total=total, file=sink, ascii=True, mininterval=0.5,
                     ncols=60, leave=False)  # fmt: skip
    return tqdm(items, desc=what, total=total, leave=False)
