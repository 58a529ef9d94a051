"""Progress bars that do not litter a page.

In a terminal or a live notebook a bar is tqdm's own.
When the pipeline runs a chapter it names a file in the environment variable
``SPINSCAPE_PROGRESS``; the bar then goes to that file, one line at a time, and the cell's output stays clean.
The module lies below the four rooms, so that every one of them may use it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from tqdm.auto import tqdm

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
            aside.write_text(line, encoding="utf-8")
            os.replace(aside, self.path)
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
    target = os.environ.get(ENVIRONMENT)
    if target:
        from tqdm.std import tqdm as plain

        sink = _OneLine(Path(target))
        yield from plain(items, desc=what, total=total, file=sink, ascii=True, mininterval=0.5,
                         ncols=60, leave=False)  # fmt: skip
    else:
        yield from tqdm(items, desc=what, total=total, leave=False)
