"""The ledger of claims: chapters record measurements, predicates judge them afterwards.

A chapter calls `record` while it runs; the measurements travel in the executed notebook as
outputs of a MIME type of their own.
Verdicts are computed when the ledger is built (`judge`), so a changed predicate needs no new run.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

RECORD = "application/vnd.spinscape.record+json"
VALUE = "application/vnd.spinscape.value+json"
STAMP = "application/vnd.spinscape.stamp+json"

REPRODUCED = "reproduced"
PARTLY = "partly"
NOT_REPRODUCED = "not reproduced"
SOURCE_WRONG = "source is wrong"
NOT_TESTED = "not tested at this profile"
NOT_WRITTEN = "chapter not written"
OUTCOMES = (REPRODUCED, PARTLY, NOT_REPRODUCED, SOURCE_WRONG, NOT_TESTED, NOT_WRITTEN)

SOURCES = {
    "sgnn": "Spin Glass Models in Neural Networks",
    "liao": "Liao et al. 2024, arXiv:2407.20724",
    "cargese": "Pittorino, Cargèse 2023",
}


@dataclass(frozen=True)
class Claim:
    """One row of ``book/claims.yaml``."""

    id: str
    source: str
    where: str
    chapter: str
    statement: str
    check: str
    ref: str | float | None = None
    source_error: bool = False


@dataclass(frozen=True)
class Measurement:
    """One measured number with its interval and the number of seeds behind it."""

    value: float
    low: float = math.nan
    high: float = math.nan
    n: int | None = None
    unit: str = ""

    @property
    def measured(self) -> bool:
        """Whether both ends of an interval are known."""
        return math.isfinite(self.low) and math.isfinite(self.high)


@dataclass(frozen=True)
class Records:
    """What one executed chapter left behind.

    Attributes
    ----------
    measurements
        Claim id -> name -> `Measurement`.
    figures
        Claim id -> label of the figure that shows it.
    skipped
        Claim id -> (reason, projected cost).
    values
        Free numbers for the prose.
    stamp
        Data set, seed and device, as the kernel saw them.
    parameters
        The effective parameters of the run.
    """

    measurements: dict[str, dict[str, Measurement]] = field(default_factory=dict)
    figures: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, tuple[str, str]] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    stamp: dict[str, Any] = field(default_factory=dict)
    parameters: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """What came out for one claim.

    Attributes
    ----------
    outcome
        One of `OUTCOMES`.
    reason
        One or two sentences that say why.
    stand_in
        Where the run was not the claimed case: what the same predicate gives on what was run.
    """

    outcome: str
    reason: str
    stand_in: str = ""

    def __post_init__(self) -> None:
        if self.outcome not in OUTCOMES:
            raise ValueError(f"outcome {self.outcome!r} is none of {', '.join(OUTCOMES)}")


class ClaimsError(ValueError):
    """The file of claims cannot be used as it is."""


def _display(mime: str, payload: dict[str, Any]) -> None:
    from IPython.display import display

    display({mime: payload}, raw=True)


def _number(value: Any) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None


def record(
    claim: str,
    /,
    *,
    interval: tuple[float, float] | None = None,
    exact: bool = False,
    n: int | None = None,
    figure: str = "",
    unit: str = "",
    **values: Any,
) -> None:
    """Record measurements for a claim from inside a chapter.

    Parameters
    ----------
    claim
        Id of a row of ``book/claims.yaml``.
    interval
        Lower and upper end; only with exactly one value that is a plain number.
    exact
        Whether plain numbers are exact, or counted: their interval is then the number itself.
    n
        Number of independent seeds behind the values.
    figure
        Label of the figure that shows them.
    unit
        Unit of the values.
    **values
        Name -> number, or an `Estimate` that carries its own interval and count.

    Raises
    ------
    ValueError
        If an interval is given with several values, or is upside down.
    """
    if interval is not None and len(values) != 1:
        raise ValueError("an interval belongs to exactly one value: record them one by one")
    if interval is not None and interval[0] > interval[1]:
        raise ValueError(f"the interval {interval} is upside down")
    rows = {}
    for name, value in values.items():
        unknown = (float(value), float(value)) if exact else (math.nan, math.nan)
        ends: tuple[float, float] = getattr(value, "interval", unknown)
        low, high = ends if interval is None else interval
        count = n if n is not None else getattr(value, "n", None)
        rows[name] = {
            "value": _number(value),
            "low": _number(low),
            "high": _number(high),
            "n": None if count is None else int(count),
            "unit": unit,
        }
    _display(RECORD, {"claim": claim, "figure": figure, "measurements": rows})


def skip(claim: str, /, *, reason: str, cost: str) -> None:
    """Say that a claim cannot be tested by this run, why, and what testing it would cost."""
    _display(RECORD, {"claim": claim, "skipped": {"reason": reason, "cost": cost}})


def value(**values: Any) -> None:
    """Give numbers or words to the prose, where they stand as ``{{ name:format }}``."""
    _display(VALUE, {k: v if isinstance(v, str) else _number(v) for k, v in values.items()})


def stamp(*, dataset: Any, device: Any, seed: int) -> None:
    """Leave the data set with its MD5 sums, the device and the seed for the page's stamp."""
    _display(
        STAMP,
        {
            "dataset": dataset.name,
            "md5": dict(dataset.md5),
            "found": dataset.source,
            "device": str(device),
            "seed": int(seed),
        },
    )


def payloads(notebook: Any, mime: str) -> Iterator[dict[str, Any]]:
    """All outputs of one MIME type in a notebook, in order."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if mime in output.get("data", {}):
                yield output["data"][mime]


def read(notebook: Any) -> Records:
    """Collect what a chapter recorded from its executed notebook.

    A later record of the same name replaces the earlier one.
    """
    records = Records()
    for payload in payloads(notebook, RECORD):
        claim = payload["claim"]
        if "skipped" in payload:
            records.skipped[claim] = (payload["skipped"]["reason"], payload["skipped"]["cost"])
            continue
        rows = records.measurements.setdefault(claim, {})
        for name, row in payload["measurements"].items():
            numbers = {k: math.nan if row[k] is None else row[k] for k in ("value", "low", "high")}
            rows[name] = Measurement(**numbers, n=row["n"], unit=row["unit"])
        if payload["figure"]:
            records.figures[claim] = payload["figure"]
    for payload in payloads(notebook, VALUE):
        records.values.update({name: math.nan if v is None else v for name, v in payload.items()})
    for payload in payloads(notebook, STAMP):
        records.stamp.update(payload)
    metadata = notebook.metadata.get("spinscape", {})
    records.parameters.update(metadata.get("parameters", {}))
    return records


def load_claims(path: Path) -> dict[str, Claim]:
    """Read ``claims.yaml``: id -> `Claim`, in the file's order.

    Raises
    ------
    ClaimsError
        If a row lacks a key, has an unknown one, names an unknown source, or an id comes twice.
    """
    rows = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    claims: dict[str, Claim] = {}
    for row in rows:
        try:
            claim = Claim(**row)
        except TypeError as error:
            raise ClaimsError(f"{path}: row {row.get('id', row)}: {error}") from None
        if claim.source not in SOURCES:
            allowed = ", ".join(SOURCES)
            raise ClaimsError(f"{path}: {claim.id}: source {claim.source!r} is none of {allowed}")
        if claim.id in claims:
            raise ClaimsError(f"{path}: {claim.id} comes twice")
        claims[claim.id] = claim
    return claims


def check_records(claims: Mapping[str, Claim], records: Mapping[str, Records]) -> list[str]:
    """List what is missing or misplaced: rows without a record, records without a row.

    Parameters
    ----------
    claims
        All rows.
    records
        Chapter -> what it left; a chapter that is not written is not a key.

    Returns
    -------
    list of str
        One sentence per problem; empty when every row of every written chapter has its record.
    """
    problems = []
    for chapter, left in records.items():
        known = set(left.measurements) | set(left.skipped)
        for name in sorted(known):
            if name not in claims:
                near = difflib.get_close_matches(name, claims, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                problems.append(f"{chapter} records {name!r}, which is no row of the claims{hint}")
            elif claims[name].chapter != chapter:
                problems.append(f"{chapter} records {name!r}, a row of {claims[name].chapter}")
        for claim in claims.values():
            if claim.chapter == chapter and claim.id not in known:
                problems.append(f"{chapter} leaves no record for its row {claim.id!r}")
    return problems


def judge(claims: Mapping[str, Claim], records: Mapping[str, Records]) -> dict[str, Verdict]:
    """Compute every row's verdict from what the chapters recorded.

    Rows of chapters that are not written are `NOT_WRITTEN`.
    A row that was skipped is `NOT_TESTED`, with the reason and the projected cost.
    A row whose run was not the claimed case is `NOT_TESTED`, with what the predicate gives on the
    case that was run.
    """
    from spinscape.companion.predicates import PREDICATES, outside

    verdicts = {}
    for claim in claims.values():
        left = records.get(claim.chapter)
        if left is None:
            verdicts[claim.id] = Verdict(NOT_WRITTEN, "The chapter for this row is still to come.")
        elif claim.id in left.skipped:
            reason, cost = left.skipped[claim.id]
            verdicts[claim.id] = Verdict(NOT_TESTED, f"{reason} Projected cost: {cost}.")
        else:
            found = PREDICATES[claim.id](left.measurements.get(claim.id, {}), left.parameters)
            away = outside(claim.id, left.parameters)
            verdicts[claim.id] = Verdict(NOT_TESTED, away, _stand_in(found)) if away else found
    return verdicts


def _stand_in(found: Verdict) -> str:
    if found.outcome == NOT_TESTED:
        return f"What was run here decides nothing. {found.reason}"
    return f"On what was run here the predicate gives: {found.outcome}. {found.reason}"


def numbers(
    records: Records, parameters: Mapping[str, Any], verdicts: Mapping[str, Verdict]
) -> dict[str, Any]:
    """Everything that the prose of a chapter may quote, by key.

    ``claim.name``, ``claim.name.low``, ``claim.name.high``, ``claim.name.n`` and ``claim.verdict``;
    ``parameters.name``; and the free values by their own names.
    """
    found: dict[str, Any] = dict(records.values)
    found.update({f"parameters.{name}": entry for name, entry in parameters.items()})
    for claim, rows in records.measurements.items():
        for name, row in rows.items():
            found[f"{claim}.{name}"] = row.value
            found[f"{claim}.{name}.low"] = row.low
            found[f"{claim}.{name}.high"] = row.high
            found[f"{claim}.{name}.n"] = row.n
    found.update({f"{claim}.verdict": verdict.outcome for claim, verdict in verdicts.items()})
    return found
