"""A sweep's table: what the runs over a grid recorded, one row per point."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nbformat import NotebookNode

from spinscape.companion import ledger
from spinscape.companion.plan import Plan, Run
from spinscape.companion.processes import write_whole

TABLE = "table.csv"
DONE, FAILED, MISSING = "done", "failed", "missing"


@dataclass(frozen=True)
class Table:
    """One row per point of the grid.

    Attributes
    ----------
    axes
        Parameter -> values.
    columns
        ``state``, the axes' names, then what the runs recorded: ``claim.name`` with ``.low``,
        ``.high`` and ``.n`` where there are any, ``claim.verdict``, and the free values by their
        own names, or ``value.name`` where that is taken; a number that is not finite is NaN.
    rows
        As many entries as columns; None where a run recorded nothing of that name.
    """

    axes: dict[str, list[Any]]
    columns: list[str]
    rows: list[list[Any]]

    def column(self, name: str) -> list[Any]:
        """All entries of one column."""
        at = self.columns.index(name)
        return [row[at] for row in self.rows]

    def csv(self) -> str:
        """Write the table; numbers keep every bit."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows([_entry(value) for value in row] for row in self.rows)
        return text.getvalue()


def _entry(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool | list):
        return json.dumps(value)
    if isinstance(value, float):
        return repr(value)
    text = str(value)
    # A spreadsheet would take it for a formula.
    return f"'{text}" if isinstance(value, str) and text.startswith(("=", "+", "-", "@")) else text


def make_table(plan: Plan, done: Mapping[str, NotebookNode], failed: Collection[str] = ()) -> Table:
    """Collect what the runs of a sweep recorded.

    Parameters
    ----------
    plan
        A plan of the kind `plan.SWEEP`.
    done
        Slot of a run -> its executed notebook; the others' rows are empty and marked so.
    failed
        Slots of runs that failed; others that are not done were not reached.
    """
    recorded = {slot: _recorded(plan, run, done.get(slot)) for slot, run in plan.runs.items()}
    names = list(dict.fromkeys(name for record in recorded.values() for name in record))
    rows = []
    for slot, run in plan.runs.items():
        record = recorded[slot]
        state = DONE if slot in done else FAILED if slot in failed else MISSING
        point = [run.parameters[name] for name in plan.axes]
        rows.append([state, *point, *(record.get(name) for name in names)])
    return Table(plan.axes, ["state", *plan.axes, *names], rows)


def _recorded(plan: Plan, run: Run, notebook: NotebookNode | None) -> dict[str, Any]:
    if notebook is None:
        return {}
    left = ledger.read(notebook)
    found: dict[str, Any] = {}
    for claim, rows in left.measurements.items():
        for name, row in rows.items():
            found[f"{claim}.{name}"] = row.value
            if row.measured:
                found |= {f"{claim}.{name}.low": row.low, f"{claim}.{name}.high": row.high}
            if row.n is not None:
                found[f"{claim}.{name}.n"] = row.n
    path = plan.layout.book / "claims.yaml"
    if path.is_file():
        claims = {k: c for k, c in ledger.load_claims(path).items() if c.chapter == run.chapter}
        verdicts = ledger.judge(claims, {run.chapter: left})
        found |= {f"{claim}.verdict": verdict.outcome for claim, verdict in verdicts.items()}
    taken = {"state", *plan.axes, *found}
    for name, value in left.values.items():
        # What is recorded as None is a number that is not finite.
        found[f"value.{name}" if name in taken else name] = math.nan if value is None else value
    return found


def write_table(plan: Plan, done: Mapping[str, NotebookNode], failed: Collection[str] = ()) -> Path:
    """Write the table beside the plan and return where it is."""
    path = plan.folder / TABLE
    write_whole(path, make_table(plan, done, failed).csv())
    return path
