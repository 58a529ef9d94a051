"""The page of a sweep: a figure per claim over the grid, the verdicts, and the table to download."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from nbformat import NotebookNode

from spinscape.companion import ledger
from spinscape.companion.layout import word
from spinscape.companion.ledger_page import chapter_title
from spinscape.companion.pages import literal, seconds
from spinscape.companion.plan import Plan
from spinscape.companion.sweep import TABLE, Table, make_table, write_table
from spinscape.companion.sweep_figure import SEED, are_numbers, draw

_REST = "Other numbers"

# A figure of more panels than this is folded.
_FOLDED = 12


def write_pages(plan: Plan, done: Mapping[str, NotebookNode], target: Path) -> None:
    """Write the page ``index.md`` with its figures and the table into a folder.

    Parameters
    ----------
    plan
        A plan of the kind `plan.SWEEP`.
    done
        Slot of a run -> its executed notebook.
    target
        The folder that Jupyter Book will read.
    """
    table = make_table(plan, done)
    (target / TABLE).write_bytes(write_table(plan, done).read_bytes())
    path = plan.layout.book / "claims.yaml"
    claims = ledger.load_claims(path) if path.is_file() else {}
    parts = [_head(plan, table)]
    for title, panels in _groups(table, plan, done).items():
        parts.append(f"## {title}\n")
        if title in claims:
            parts.append(f"{claims[title].statement}\n\n{_verdicts(table, title)}")
        if panels:
            label = f"fig-{title.replace(' ', '-').lower()}"
            draw(table, panels, target / f"{label}.svg")
            parts.append(_figure(label, title, panels, table))
    parts.append(_runs(plan, done))
    (target / "index.md").write_text("\n".join(parts), encoding="utf-8")


def command(plan: Plan) -> str:
    """Return the command that makes the sweep."""
    words = [f"{name}={','.join(map(word, values))}" for name, values in plan.axes.items()]
    words += [f"{name}={word(value)}" for name, value in plan.fixed.items()]
    return shlex.join(["spinscape", "sweep", _chapter(plan), *words, "--profile", plan.profile])


def _chapter(plan: Plan) -> str:
    return next(iter(plan.runs.values())).chapter


def _head(plan: Plan, table: Table) -> str:
    sizes = " x ".join(str(len(values)) for values in plan.axes.values())
    axes = "\n".join(
        f"| `{name}` | {', '.join(literal(word(value)) for value in values)} |"
        for name, values in plan.axes.items()
    )
    repeated = ""
    if list(plan.axes) == [SEED]:
        repeated = (
            f"The values of `{SEED}` are repetitions: a line stands at their mean, "
            "and the band is the 95% interval of that mean.\n"
        )
    elif SEED in plan.axes:
        repeated = f"The values of `{SEED}` are repetitions: a line joins their means.\n"
    return f"""# Sweep of *{chapter_title(_chapter(plan))}*

{len(table.rows)} runs ({sizes}), every other parameter {plan.settings}.

| parameter | values |
|:--|:--|
{axes}

{{download}}`The table as CSV <{TABLE}>` has a row per run and keeps every bit of every number.

````sh
{command(plan)}
````

Points are what each run recorded, and bars are the intervals that it recorded with them.
{repeated}A verdict is that of its run alone.
With {len(table.rows)} runs at hand, the one that looks best is no evidence.
"""


def _groups(table: Table, plan: Plan, done: Mapping[str, NotebookNode]) -> dict[str, dict[str, str]]:
    """Claim, or a word for the rest -> column -> name of its panel."""
    records = [ledger.read(notebook) for notebook in done.values()]
    claims = dict.fromkeys(c for left in records for c in (*left.measurements, *left.skipped))
    drawn = [c for c in table.columns if not c.endswith((".low", ".high", ".n")) and _numbers(table, c)]
    groups: dict[str, dict[str, str]] = {claim: {} for claim in claims}
    for column in drawn:
        claim, dot, name = column.partition(".")
        if column not in table.axes:
            owner = claim if dot and claim in claims else _REST
            groups.setdefault(owner, {})[column] = (name if owner == claim else column).replace("_", " ")
    return groups


def _numbers(table: Table, column: str) -> bool:
    values = [value for value in table.column(column) if value is not None]
    return bool(values) and are_numbers(values)


def _verdicts(table: Table, claim: str) -> str:
    if f"{claim}.verdict" not in table.columns:
        return ""
    counts = Counter(table.column(f"{claim}.verdict"))
    found = ", ".join(f"{outcome} in {count}" for outcome, count in counts.items())
    return f"Verdicts of the {len(table.rows)} runs: {found}.\n"


def _figure(label: str, title: str, panels: Mapping[str, str], table: Table) -> str:
    over = " and ".join(f"`{name}`" for name in table.axes)
    names = ", ".join(panels.values())
    figure = (
        f":::{{figure}} {label}.svg\n:name: {label}\n:figclass: wide\n"
        f":alt: Panels over {over.replace('`', '')}, one for each of {names}.\n\n"
        f"{title}: what each run recorded, over {over}.\n:::\n"
    )
    if len(panels) > _FOLDED:
        return f"::::{{dropdown}} {len(panels)} panels\n{figure}::::\n"
    return figure


def _runs(plan: Plan, done: Mapping[str, NotebookNode]) -> str:
    rows = []
    for slot, run in plan.runs.items():
        about = done[slot].metadata["spinscape"] if slot in done else {}
        device = ledger.read(done[slot]).stamp.get("device", "") if slot in done else ""
        duration = seconds(about["duration"]) if about else "missing"
        cells = (literal(run.label), duration, literal(device), literal(about.get("commit", "")), run.key)
        rows.append(f"| {' | '.join(cells)} |")
    table = "\n".join(rows)
    return f"## Runs\n\n| point | duration | device | commit | key |\n|:--|--:|:--|:--|:--|\n{table}\n"
