"""Rules for the whole value of a parameter, beyond the range of its numbers.

They follow the range or the choice of a declaration after semicolons: ``{3..200; increasing; at least 3}``.

- ``increasing``: each number of a list is greater than the one before it;
- ``at least N``, ``exactly N``: how many entries a list has;
- ``odd``, ``even``: for an ``int``, or every entry of a ``list[int]``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from spinscape.companion.layout import shown

_RULE = re.compile(r"(increasing|odd|even)|(at least|exactly) ([0-9]{1,9})")
_KINDS = {
    "increasing": ("list[int]", "list[float]"),
    "at least": ("list[int]", "list[float]", "list[str]"),
    "exactly": ("list[int]", "list[float]", "list[str]"),
    "odd": ("int", "list[int]"),
    "even": ("int", "list[int]"),
}


@dataclass(frozen=True)
class Rule:
    """One rule: its word, and the number of entries where the word needs one."""

    word: str
    entries: int | None = None

    def __str__(self) -> str:
        return self.word if self.entries is None else f"{self.word} {self.entries}"

    def broken(self, value: Any) -> str:
        """Say how a value of a fitting type breaks this rule; empty where it does not."""
        if self.word in ("odd", "even"):
            parity = int(self.word == "odd")
            wrong = [one for one in (value if isinstance(value, list) else [value]) if one % 2 != parity]
            return f"{shown(wrong[0])} is not {self.word}" if wrong else ""
        if self.word == "increasing":
            ordered = all(low < high for low, high in pairwise(value))
            return "" if ordered else f"{shown(value)} is not increasing"
        right = len(value) >= (self.entries or 0) if self.word == "at least" else len(value) == self.entries
        return "" if right else f"{shown(value)} has {len(value)} value{'s'[: len(value) != 1]}, not {self}"


def allowed_rules(kind: str) -> tuple[str, ...]:
    """Return the rules that a parameter of this type can have, as they are written."""
    return tuple(
        f"{word} N" if word in ("at least", "exactly") else word
        for word, kinds in _KINDS.items()
        if kind in kinds
    )


def read_rules(kind: str, texts: Sequence[str]) -> tuple[Rule, ...]:
    """Read the rules of a parameter of type `kind`.

    Raises
    ------
    ValueError
        With the text that is no rule for this type.
    """
    rules = []
    for text in texts:
        plain = " ".join(text.split())
        found = _RULE.fullmatch(plain)
        word = (found[1] or found[2]) if found else ""
        if not found or kind not in _KINDS[word]:
            raise ValueError(plain)
        rules.append(Rule(word, int(found[3]) if found[3] else None))
    return tuple(rules)
