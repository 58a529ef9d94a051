"""The ledger as a page, and the box that shows a verdict where a chapter measured it."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Mapping

from spinscape.companion.ledger import OUTCOMES, SOURCES, Claim, Measurement, Records, Verdict

FEW = 8
"""Up to this many measurements of a row are shown without a click."""

ACRONYMS = {"rsb": "RSB"}

WHOLE = 1e9
"""Counts below this are written in full."""


def page(
    claims: Mapping[str, Claim],
    verdicts: Mapping[str, Verdict],
    records: Mapping[str, Records],
    settings: str,
) -> str:
    """Return the ledger in MyST Markdown: counts first, then every row by chapter.

    Parameters
    ----------
    claims, verdicts
        All rows and what came out for each.
    records
        Chapter -> what it left.
    settings
        Words for the parameters behind the records, such as "the `quick` profile".
    """
    parts = [_head(claims, verdicts, settings)]
    for chapter in dict.fromkeys(claim.chapter for claim in claims.values()):
        rows = [claim for claim in claims.values() if claim.chapter == chapter]
        parts.append(f"(ledger-{chapter.replace('_', '-')})=\n## {chapter_title(chapter)}\n")
        if chapter in records:
            parts.append(f"See {{doc}}`{chapter}` for the runs behind these rows.\n")
        parts += [_card(claim, verdicts[claim.id], records.get(chapter)) for claim in rows]
    return "\n".join(parts)


def box(claim: Claim, verdict: Verdict) -> str:
    """Return the HTML that shows a claim's verdict at the place where it was measured."""
    return (
        f'<aside class="claim-box {_kind(verdict)}" aria-label="Verdict on {_text(claim.id)}">'
        f'<p><a href="ledger.html#{claim.id}">{_text(claim.id)}</a> {_badge(verdict)}</p>'
        f"<p>{_text(verdict.reason)}</p>{_stand_in(verdict)}</aside>"
    )


def measured(name: str, row: Measurement) -> str:
    """Return one measurement as text: value, interval, unit and number of seeds."""
    text = "not finite" if math.isnan(row.value) else f"{row.value:.4g}"
    if row.value == row.low == row.high and float(row.value).is_integer() and abs(row.value) < WHOLE:
        text = f"{row.value:,.0f}"
    if row.measured and row.low != row.high:
        text += f" [{row.low:.4g}, {row.high:.4g}]"
    if row.unit:
        text += f" {row.unit}"
    if row.n is not None:
        text += f" (n = {row.n})"
    return f"{name.replace('_', ' ')}: {text}"


def _head(claims: Mapping[str, Claim], verdicts: Mapping[str, Verdict], settings: str) -> str:
    counts = {
        outcome: sum(verdict.outcome == outcome for verdict in verdicts.values()) for outcome in OUTCOMES
    }
    wrong = sum(claim.source_error for claim in claims.values())
    table = "\n".join(f"| {outcome} | {count} |" for outcome, count in counts.items())
    return f"""# Ledger of claims

Every result, figure, table, algorithm and theorem of the three sources has a row here, {len(claims)} in all.
Chapters record measurements; a predicate per row, written before its run was looked at, gives the verdict;
where one was changed later, its source says how and why.
This page was made from {settings}.
{wrong} rows are marked because the source is wrong or contradicts itself there as written.

| verdict | rows |
|:--|--:|
{table}

Intervals are 95% intervals over independent seeds; n is the number of seeds.
A row whose claimed case was not run says so, and shows what its predicate gives on the case that was run.
"""


def _card(claim: Claim, verdict: Verdict, records: Records | None) -> str:
    rows = records.measurements.get(claim.id, {}) if records else {}
    figure = records.figures.get(claim.id, "") if records else ""
    lines = [
        f'<section class="claim {_kind(verdict)}" id="{claim.id}">',
        f'<p class="claim-head"><strong>{_text(claim.id)}</strong> {_badge(verdict)}</p>',
        f"<p>{_text(claim.statement)}</p>",
        f'<p class="claim-source">{_text(SOURCES[claim.source])}; {_text(claim.where)}'
        + (". The source is in error here as written." if claim.source_error else ".")
        + "</p>",
        f"<p>{_text(verdict.reason)}</p>",
        _stand_in(verdict),
        f"<p>The source's number: {_text(str(claim.ref))}.</p>" if claim.ref is not None else "",
    ]
    if rows:
        items = "".join(f"<li>{_text(measured(name, row))}</li>" for name, row in rows.items())
        shown = " open" if len(rows) <= FEW else ""
        lines.append(f"<details{shown}><summary>Measured</summary><ul>{items}</ul></details>")
    lines.append(f"<details><summary>What is checked</summary><p>{_text(claim.check)}</p></details>")
    if figure:
        lines.append(f'<p><a href="{claim.chapter}.html#{figure}">Figure</a></p>')
    lines.append("</section>\n")
    return "\n".join(line for line in lines if line)


def _badge(verdict: Verdict) -> str:
    return f'<span class="verdict">{_text(verdict.outcome)}</span>'


def _stand_in(verdict: Verdict) -> str:
    return f'<p class="stand-in">{_text(verdict.stand_in)}</p>' if verdict.stand_in else ""


def _kind(verdict: Verdict) -> str:
    return "verdict-" + verdict.outcome.replace(" ", "-")


def chapter_title(chapter: str) -> str:
    """Return a chapter's name as words."""
    words = " ".join(ACRONYMS.get(word, word) for word in chapter.split("_"))
    return words[0].upper() + words[1:]


def _text(words: str) -> str:
    """Escape words for HTML; what stands in backticks becomes code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(words, quote=False))
