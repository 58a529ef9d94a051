"""Failures that are not a chapter's fault: one message says what happened and what to do."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Trouble:
    """A kind of failure.

    Attributes
    ----------
    exceptions
        Names of exceptions that are of this kind, whatever they say.
    text
        What the message of any other exception says when it is of this kind.
    advice
        What to do; empty where the exception's own message says it.
    """

    exceptions: tuple[str, ...] = ()
    text: str = ""
    advice: str = ""

    def fits(self, exception: str, value: str) -> bool:
        """Whether an exception is of this kind."""
        return exception in self.exceptions or bool(self.text and re.search(self.text, value))


TROUBLES = (
    Trouble(
        exceptions=("OutOfMemoryError",),
        text=r"(?i)\bCUDA (error: )?out of memory|MPS backend out of memory",
        advice="The GPU's memory does not suffice. Give device=cpu, fewer networks or a smaller one.",
    ),
    Trouble(
        exceptions=("MemoryError", "_ArrayMemoryError"),
        text=r"can't allocate memory|Cannot allocate memory|Unable to allocate",
        advice="The machine's memory does not suffice. Give fewer networks, a smaller one or fewer images.",
    ),
    Trouble(
        exceptions=("DataError", "ParameterError", "DeadKernelError", "Stopped", "BookError", "DiskError")
    ),
)


def trouble(report: Mapping[str, Any]) -> Trouble | None:
    """Return what kind of trouble a failure's report tells of; None where the chapter itself failed."""
    for kind in TROUBLES:
        if kind.fits(str(report["exception"]), str(report["value"])):
            return kind
    return None
