"""What a running build shows: a table on a terminal, a line per change elsewhere."""

from __future__ import annotations

import contextlib
import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

# Without a terminal, how many seconds may pass without a line.
_SILENCE = 20.0

# From so many rows on, a table shows only those that are at work, and counts the others.
_MANY = 16
_AT_WORK = ("starting", "running", "failed", "stopped")


@dataclass(frozen=True)
class Row:
    """What one chapter is doing."""

    chapter: str
    state: str
    cell: int = 0
    cells: int = 0
    bar: str = ""
    elapsed: float | None = None

    def line(self) -> str:
        """Describe the chapter in one line of text."""
        parts = [self.chapter, self.state]
        if self.cells and self.state == "running":
            parts.append(f"cell {self.cell} of {self.cells}")
        if self.elapsed is not None:
            parts.append(f"{self.elapsed:.0f} s")
        return "  ".join([*parts, self.bar] if self.bar else parts)


def read_rows(store: Path, labels: Mapping[str, str], fresh: Iterable[str]) -> list[Row]:
    """Read what every run is doing from the progress files.

    Parameters
    ----------
    store
        The folder of the runs' files.
    labels
        Slot -> what people are shown, for all runs, in order.
    fresh
        Slots that need no run.
    """
    fresh = set(fresh)
    rows = []
    for slot, chapter in labels.items():
        path = store / "progress" / f"{slot}.json"
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            rows.append(Row(chapter, "up to date" if slot in fresh else "waiting"))
            continue
        running = content["state"] in ("starting", "running")
        bar = ""
        if running:
            with contextlib.suppress(OSError):
                bar = path.with_suffix(".bar").read_text(encoding="utf-8").strip()
        until = time.time() if running else content["at"]
        rows.append(
            Row(chapter, content["state"], content["cell"], content["cells"], bar,
                max(0.0, until - content["started"]))
        )  # fmt: skip
    return rows


class Display:
    """Show rows as they change; use as a context manager."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.live = Live(console=console, refresh_per_second=4) if console.is_terminal else None
        self.shown: dict[str, tuple[str, int]] = {}
        self.last = time.monotonic()

    @contextlib.contextmanager
    def open(self) -> Iterator[Display]:
        """Start and end the live table, where there is a terminal."""
        if self.live is None:
            yield self
            return
        with self.live:
            yield self

    def update(self, rows: list[Row], stage: str) -> None:
        """Show the rows, and what the build as a whole is doing."""
        if self.live is not None:
            self.live.update(_table(rows, stage))
            return
        late = time.monotonic() - self.last > _SILENCE
        for row in rows:
            state = (row.state, row.cell)
            active = row.state in ("starting", "running")
            if self.shown.get(row.chapter) != state or (late and active):
                self._print(row.line())
            self.shown[row.chapter] = state
        if self.shown.get("") != (stage, 0) or time.monotonic() - self.last > _SILENCE:
            self._print(stage)
            self.shown[""] = (stage, 0)

    def _print(self, line: str) -> None:
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)
        self.last = time.monotonic()


def _table(rows: list[Row], stage: str) -> Table:
    table = Table(title=Text(stage), title_justify="left", box=None, pad_edge=False)
    for name, justify in (("chapter", "left"), ("state", "left"), ("cell", "right"),
                          ("elapsed", "right"), ("in the cell", "left")):  # fmt: skip
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    shown = rows if len(rows) < _MANY else [row for row in rows if row.state in _AT_WORK]
    if len(shown) < len(rows):
        counts = Counter(row.state for row in rows)
        table.title = Text(f"{stage}; " + ", ".join(f"{count} {state}" for state, count in counts.items()))
    for row in shown:
        cell = f"{row.cell}/{row.cells}" if row.cells else ""
        elapsed = "" if row.elapsed is None else f"{row.elapsed:.0f} s"
        table.add_row(*map(Text, (row.chapter, row.state, cell, elapsed, row.bar)))
    return table
