"""The table of a campaign: one row per fault, and what makes a row fail."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

HEADS = ("group", "fault", "state when it came", "exit", "first line of the message", "seconds",
         "next call", "values", "orphans", "leftovers", "verdict")  # fmt: skip
_LONGEST = 150


@dataclass
class Row:
    """What one fault did.

    Attributes
    ----------
    group, fault
        What was done.
    when
        In which state of the call it came.
    code, said, seconds
        How the disturbed call ended: exit code, its message's first line, how long it took.
    then
        What the next call did.
    values
        Whether the recorded values are those of an undisturbed call; empty where there are none.
    orphans, leftovers
        Processes and files that were left.
    wrong
        What is not as it has to be; the row fails when there is anything.
    left_out
        Why the fault could not be tried here.
    """

    group: str
    fault: str
    when: str = ""
    code: int | None = None
    said: str = ""
    seconds: float | None = None
    then: str = ""
    values: str = ""
    orphans: int = 0
    leftovers: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    left_out: str = ""

    def expect(self, condition: object, otherwise: str) -> bool:
        """Note what is wrong where a condition does not hold."""
        if not condition:
            self.wrong.append(otherwise)
        return bool(condition)

    @property
    def problems(self) -> list[str]:
        """All that makes the row fail."""
        found = list(self.wrong)
        if self.orphans:
            found.append(f"{self.orphans} processes were left")
        if self.leftovers:
            found.append("left behind: " + ", ".join(self.leftovers[:5]))
        if self.values not in ("", "equal"):
            found.append(f"recorded values: {self.values}")
        return found

    @property
    def verdict(self) -> str:
        """Pass, FAIL with the reasons, or why the row was left out."""
        if self.left_out:
            return f"left out: {self.left_out}"
        return "FAIL: " + "; ".join(self.problems) if self.problems else "pass"

    def cells(self) -> tuple[str, ...]:
        """The row's entries, in the order of `HEADS`."""
        seconds = "" if self.seconds is None else f"{self.seconds:.1f}"
        code = "" if self.code is None else str(self.code)
        return (self.group, self.fault, self.when, code, self.said, seconds, self.then, self.values,
                str(self.orphans), str(len(self.leftovers)), self.verdict)  # fmt: skip


def markdown(rows: Iterable[Row], title: str) -> str:
    """Write the rows as a Markdown table under a title, with a count of each group below it."""
    rows = list(rows)
    lines = [f"# {title}", "", line(HEADS), line(["--"] * len(HEADS))]
    lines += [line(row.cells()) for row in rows]
    lines += ["", *summary(rows)]
    return "\n".join(lines) + "\n"


def line(cells: Iterable[str]) -> str:
    """Write one line of the table."""
    return "| " + " | ".join(map(_cell, cells)) + " |"


def summary(rows: Iterable[Row]) -> list[str]:
    """Count what passed, failed and was left out, per group."""
    counts: dict[str, Counter[str]] = {}
    longest: dict[str, float] = {}
    for row in rows:
        counts.setdefault(row.group, Counter())[row.verdict.partition(":")[0]] += 1
        longest[row.group] = max(longest.get(row.group, 0.0), row.seconds or 0.0)
    return [
        f"- {group}: {count.total()} rows, " + ", ".join(f"{n} {what}" for what, n in sorted(count.items()))
        + f"; longest call that was disturbed or refused {longest[group]:.2f} s"
        for group, count in counts.items()
    ]  # fmt: skip


def failed(rows: Iterable[Row]) -> bool:
    """Whether any row failed, or there is none."""
    rows = list(rows)
    return not rows or any(row.verdict.startswith("FAIL") for row in rows)


def _cell(text: str) -> str:
    text = re.sub(r"[\x00-\x1f\x7f]+", " ", text).replace("|", "\\|").strip()
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
