"""Words that predicates share: where an interval lies, and what several parts of a claim give.

A part of a claim is True where its whole interval lies on the right side of a threshold, False where
it lies on the wrong side, and None where it straddles it or was not measured.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from spinscape.companion.ledger import (
    NOT_REPRODUCED,
    NOT_TESTED,
    PARTLY,
    REPRODUCED,
    SOURCE_WRONG,
    Measurement,
    Verdict,
)
from spinscape.companion.prose import NOTHING

Rows = Mapping[str, Measurement]
Parameters = Mapping[str, Any]
Part = bool | None


def synthetic(**values: tuple[float, float, float] | float) -> dict[str, Measurement]:
    """Make synthetic measurements: (value, low, high), or a number that is exact."""
    triples = {
        name: value if isinstance(value, tuple) else (value, value, value) for name, value in values.items()
    }
    return {name: Measurement(*triple, n=8) for name, triple in triples.items()}


def show(row: Measurement, form: str = ".3g") -> str:
    """Write a measurement with its interval, where it has one that is not a point."""
    if math.isnan(row.value):
        return NOTHING
    if not row.measured or row.low == row.high:
        return f"{row.value:{form}}"
    return f"{row.value:{form}} [{row.low:{form}}, {row.high:{form}}]"


def below(row: Measurement, threshold: float) -> Part:
    """Whether the interval lies at or below a threshold."""
    if not row.measured:
        return None
    if row.high <= threshold:
        return True
    return False if row.low > threshold else None


def above(row: Measurement, threshold: float) -> Part:
    """Whether the interval lies at or above a threshold."""
    if not row.measured:
        return None
    if row.low >= threshold:
        return True
    return False if row.high < threshold else None


def falls(row: Measurement) -> Part:
    """Whether a trend is negative; False where it is zero or positive, None where the interval has both."""
    if not row.measured:
        return None
    if row.high < 0:
        return True
    return False if row.low >= 0 else None


def rises(row: Measurement) -> Part:
    """Whether a trend is positive; False where it is zero or negative, None where the interval has both."""
    if not row.measured:
        return None
    if row.low > 0:
        return True
    return False if row.high <= 0 else None


def within(row: Measurement, low: float, high: float) -> Part:
    """Whether the interval lies between two ends; False where it lies wholly outside of them."""
    if not row.measured:
        return None
    if low <= row.low and row.high <= high:
        return True
    return False if row.high < low or row.low > high else None


def smaller(first: Measurement, second: Measurement) -> Part:
    """Whether the first interval lies below the second; None where they meet."""
    if not (first.measured and second.measured):
        return None
    if first.high < second.low:
        return True
    return False if first.low > second.high else None


def contains(row: Measurement, value: float) -> Part:
    """Whether the interval holds a value."""
    return None if not row.measured else row.low <= value <= row.high


def magnitude(row: Measurement) -> Measurement:
    """Return the absolute value of a measurement; its interval reaches zero where the sign is open."""
    ends = sorted((abs(row.low), abs(row.high)))
    low = 0.0 if row.low <= 0 <= row.high else ends[0]
    return Measurement(abs(row.value), low, ends[1], row.n, row.unit)


def exactly(row: Measurement, value: float, tolerance: float) -> Part:
    """Whether an exact number, which has no interval, has a value."""
    if not math.isfinite(row.value):
        return None
    return abs(row.value - value) <= tolerance


def equals(row: Measurement, value: float) -> Part:
    """Whether a counted number, which is its own interval, has a value."""
    return within(row, value, value)


def every(parts: Sequence[Part]) -> Part:
    """Return True if all parts hold, False if any fails, None if nothing is decided."""
    if False in parts:
        return False
    return None if None in parts else True


def combine(parts: Sequence[Part], said: str) -> Verdict:
    """All parts hold: reproduced; some hold and some fail: partly; all fail: not; else undecided."""
    if every(parts):
        return Verdict(REPRODUCED, said)
    if True in parts and False in parts:
        return Verdict(PARTLY, said)
    if None not in parts:
        return Verdict(NOT_REPRODUCED, said)
    return undecided(f"{said} A part fails, and whether another holds is open." if False in parts else said)


def refute(evidence: Sequence[Part], contrary: Part, said: str, otherwise: str) -> Verdict:
    """Judge a statement that is held to be wrong as written.

    Parameters
    ----------
    evidence
        Parts of the evidence against it; all have to hold.
    contrary
        Whether the opposite of the evidence was found; only then does the statement stand.
    said, otherwise
        Reason, and what to add where the statement stands.
    """
    if every(evidence):
        return Verdict(SOURCE_WRONG, said)
    if contrary:
        return Verdict(REPRODUCED, f"{said} {otherwise}")
    return undecided(said)


SEEDS = "four times the seeds halve the intervals, at four times the time of this run"


def undecided(said: str, cost: str = SEEDS) -> Verdict:
    """Give the verdict on what does not decide, with what it would cost to decide."""
    return Verdict(NOT_TESTED, f"{said} This run does not decide. Projected cost: {cost}.")
