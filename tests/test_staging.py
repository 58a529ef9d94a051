"""Staging with a ledger: boxes, numbers, stamps, and what stops it."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
import yaml
from nbformat.v4 import new_output

from spinscape.companion import pages, sealed
from spinscape.companion.layout import BookError, Layout
from spinscape.companion.links import Absent
from spinscape.companion.plan import book_plan, executed
from spinscape.companion.staging import stage
from toybook import FRONT, edit, make_book

CHAPTER = FRONT + "# Beta\n\nThe loss is {{flat.loss:.2f}}.\n\n```{code-cell}\nmeasure()\n```\n"
ABOUT = {"commit": "abc", "versions": {"python": "3.12.0"}, "duration": 61.0, "cells": 1,
         "started": "2026-01-02T03:04:05+00:00", "peak_memory": 2**30}  # fmt: skip


def ledger(problems=()):
    """Stand in for the modules of the ledger."""
    return SimpleNamespace(
        read=lambda notebook: [
            output["data"][pages.RECORD]
            for cell in notebook.cells
            for output in cell.outputs
            if pages.RECORD in output.get("data", {})
        ],
        load_claims=lambda path: {"flat": "claim"},
        check_records=lambda claims, records: list(problems),
        judge=lambda claims, records: {"flat": "reproduced"},
        numbers=lambda records, parameters, verdicts: {
            "flat.loss": records[-1]["value"] if records else 0.0,
            "parameters.width": parameters.get("width"),
        },
        box=lambda claim, verdict: f"<aside>{claim}: {verdict}</aside>",
        page=lambda claims, verdicts, records, settings: f"# Ledger from {settings}\n",
    )


@pytest.fixture
def layout(tmp_path):
    """Make a book whose chapters have been executed, without a kernel."""
    layout = make_book(tmp_path)
    (layout.book / "beta.md").write_text(CHAPTER, encoding="utf-8")
    (layout.book / "claims.yaml").write_text("[]", encoding="utf-8")
    plan = book_plan(layout, "quick")
    plan.prepare()
    for name, run in plan.runs.items():
        notebook = nbformat.read(run.code(layout.build("quick")), as_version=4)
        notebook.metadata["spinscape"].update(ABOUT)
        if name == "beta":
            notebook.cells[0].outputs = [
                new_output("display_data", {mime: payload})
                for mime, payload in (
                    (pages.RECORD, {"claim": "flat", "value": 1.0}),
                    (pages.RECORD, {"claim": "flat", "value": 2.0}),
                    (pages.STAMP, {"dataset": "digits", "md5": {"a.csv": "0123"}, "seed": 7}),
                    (pages.VALUE, {"x": 1}),
                )
            ]
        path = executed(layout.build("quick"), name)
        path.parent.mkdir(exist_ok=True)
        path.write_text(sealed.seal(notebook), encoding="utf-8")
    return layout


def test_a_staged_chapter_has_box_number_and_stamp(layout):
    target = stage(book_plan(layout, "quick"), ledger=ledger())
    page = nbformat.read(target / "beta.ipynb", as_version=4)
    nbformat.validate(page)
    assert 'data-key="flat.loss" data-format=".2f">2.00</span>' in page.cells[0].source
    assert page.cells[1].outputs == [
        {"output_type": "display_data", "metadata": {},
         "data": {"text/html": "<aside>claim: reproduced</aside>"}}
    ]  # fmt: skip
    stamp = page.cells[-1].source
    for text in ("| profile | `quick` |", "a.csv `0123`", "| seed | `7` |", "1 min 01 s",
                 "1024 MiB", "python 3.12.0", "(status.md)"):  # fmt: skip
        assert text in stamp
    assert (target / "ledger.md").read_text(encoding="utf-8") == "# Ledger from the `quick` profile\n"
    assert "| [beta](beta.ipynb) | quick | done |" in (target / "status.md").read_text("utf-8")


def test_stale_files_go_and_all_pages_come(layout):
    target = stage(book_plan(layout, "quick"), ledger=ledger())
    (target / "old.md").touch()
    assert stage(book_plan(layout, "quick"), ledger=ledger()) == target
    names = {path.name for path in target.iterdir()}
    assert names == {
        "_config.yml", "_toc.yml", "_static", "intro.md", "alpha.ipynb", "beta.ipynb",
        "status.md", "ledger.md", "references.bib",
    }  # fmt: skip


def test_problems_of_the_ledger_stop_it(layout):
    with pytest.raises(BookError, match="no record for 'flat'"):
        stage(book_plan(layout, "quick"), ledger=ledger(["beta leaves no record for 'flat'"]))
    assert not (layout.build("quick") / "src").exists()


def test_missing_runs_and_pages_stop_it(layout):
    edit(layout.root / "_toc.yml", "status", "statuses")
    with pytest.raises(BookError, match="lists 'statuses'"):
        stage(book_plan(layout, "quick"), ledger=ledger())
    executed(layout.build("quick"), "alpha").unlink()
    with pytest.raises(BookError, match="alpha was not executed"):
        stage(book_plan(layout, "quick"), ledger=ledger())


def test_a_repository_gives_buttons_and_a_setup_cell(layout, monkeypatch):
    monkeypatch.setenv("SPINSCAPE_REPOSITORY", "owner/book")
    target = stage(book_plan(layout, "quick"), ledger=ledger())
    config = yaml.safe_load((target / "_config.yml").read_text(encoding="utf-8"))
    assert config["repository"]["url"] == "https://github.com/owner/book"
    assert config["repository"]["branch"] == "gh-pages"
    assert set(config["launch_buttons"]) == {"colab_url", "binderhub_url"}
    page = nbformat.read(target / "alpha.ipynb", as_version=4)
    assert page.cells[0].metadata["tags"] == ["remove-cell"]
    monkeypatch.setenv("SPINSCAPE_REPOSITORY", "owner")
    with pytest.raises(BookError, match="owner/name"):
        stage(book_plan(layout, "quick"), ledger=ledger())


def test_links_to_chapters_lead_to_notebooks() -> None:
    layout = Layout(Path(__file__).resolve().parents[1])
    names = layout.toc()
    links = Absent(layout, names, ["random_walks"])
    text = "See [walks](random_walks.md), [there](random_walks.md#fig-walks) and the [ledger](ledger.md)."
    assert links.soften(text) == (
        "See [walks](random_walks.ipynb), [there](random_walks.ipynb#fig-walks) and the [ledger](ledger.md)."
    )
    alone = Absent(layout, ["ledger"], [])
    assert alone.soften(text) == "See walks, there and the [ledger](ledger.md)."


def test_links_without_words_have_the_title_of_a_page_that_is_left_out(layout) -> None:
    text = "See [](beta.md), [ ](beta.md#there), {doc}`beta`, {doc}`that <beta>` and [](status.md)."
    assert Absent(layout, layout.toc(), ["beta"]).soften(text) == (
        "See [](beta.ipynb), [ ](beta.ipynb#there), {doc}`beta`, {doc}`that <beta>` and [](status.md)."
    )
    alone = Absent(layout, ["alpha"], ["alpha"])
    assert alone.soften(text) == "See *Beta*, *Beta*, *Beta*, that and `status`."
    assert alone.soften("See [](alpha.md).") == "See [](alpha.ipynb)."


def test_the_page_of_a_single_chapter_names_the_others_by_their_titles() -> None:
    """Every chapter of the book as `spinscape run` stages it: no link without words is left, nor a gap."""
    layout = Layout(Path(__file__).resolve().parents[1])
    for name in layout.chapters():
        alone = Absent(layout, [name, "ledger", "status"], [name])
        text = (layout.book / f"{name}.md").read_text(encoding="utf-8")
        for line, softened in zip(text.splitlines(), alone.soften(text).splitlines(), strict=True):
            for page in re.findall(r"\[\]\(([\w-]+)\.md\)", line):
                if page in layout.chapters() and page != name:
                    assert f"*{alone.titles[page]}*" in softened
            assert not re.search(r"\[\]\((?!ledger|status)[\w-]+\.md", softened)
