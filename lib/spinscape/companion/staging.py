"""Stage pages: the folder that Jupyter Book reads, ``src`` beside the plan.

Chapters come as notebooks, prose merged with outputs; other pages are copied; the status page and
the ledger are generated.
The page of one chapter brings along what it leans on: its rows of the ledger, the status page, and
pages that quote no numbers; links to the rest of the book become plain words.
"""

from __future__ import annotations

import os
import signal
import sys

from spinscape.companion.processes import die_with_parent, put_in_place, settle, write_whole

if __name__ == "__main__":
    # Before the imports below, which take long enough for the parent to die meanwhile.
    die_with_parent(signal.SIGTERM)()

import argparse
import importlib
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import nbformat
import yaml
from nbformat import NotebookNode

from spinscape.companion import chapters, pages, sealed
from spinscape.companion.layout import BookError, Layout, files
from spinscape.companion.links import Absent
from spinscape.companion.plan import BOOK, FILE, PAGE, REPOSITORY, SWEEP, Plan, Run, read_plan
from spinscape.companion.prose import fill

_REPOSITORY = re.compile(r"[A-Za-z0-9-]+/[A-Za-z0-9._-]+")
_GENERATED = ("status", "ledger")
_NO_LEDGER = "# Ledger\n\nThis book has no claims.\n"


def stage(plan: Plan, *, ledger: Any = None) -> Path:
    """Write the staged folder anew.

    Parameters
    ----------
    plan
        What was run, and where.
    ledger
        Stands in for the modules ``ledger`` and ``ledger_page``, in tests.

    Returns
    -------
    Path
        The staged folder.

    Raises
    ------
    BookError
        If a chapter was not executed, records and claims do not fit, or the prose quotes a number
        that no run gave.
    """
    layout = plan.layout
    done = {slot: _executed(plan, run) for slot, run in plan.runs.items()}
    target = plan.folder / "src"
    aside = plan.folder / "src.part"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    if plan.kind == SWEEP:
        from spinscape.companion import sweep_page

        sweep_page.write_pages(plan, done, aside)
        toc = {"format": "jb-book", "root": "index"}
    else:
        toc = _toc(plan)
        _write_chapters(plan, aside, toc, {plan.runs[slot].chapter: done[slot] for slot in done}, ledger)
    for source in layout.book.glob("*.bib"):
        shutil.copy(source, aside)
    if (layout.book / "_static").is_dir():
        shutil.copytree(layout.book / "_static", aside / "_static")
    (aside / "_toc.yml").write_text(yaml.safe_dump(toc, sort_keys=False), encoding="utf-8")
    _write_config(layout, aside, os.environ.get(REPOSITORY, "") if plan.kind == BOOK else "")
    settle(aside)
    shutil.rmtree(target, ignore_errors=True)
    put_in_place(aside, target)
    return target


def _toc(plan: Plan) -> Any:
    """Return the table of contents: the book's, or one for a single chapter."""
    if plan.kind == BOOK:
        return yaml.safe_load((plan.layout.root / "_toc.yml").read_text(encoding="utf-8"))
    (run,) = plan.runs.values()
    chapters = plan.layout.chapters()
    others = [name for name in plan.layout.toc()[1:] if name not in chapters]
    listed = [name for name in others if name in _GENERATED or _quotes_nothing(plan.layout, name)]
    toc: dict[str, Any] = {"format": "jb-book", "root": run.chapter}
    return toc | ({"chapters": [{"file": name} for name in listed]} if listed else {})


def _quotes_nothing(layout: Layout, name: str) -> bool:
    source = layout.book / f"{name}.md"
    return source.is_file() and "{{" not in source.read_text(encoding="utf-8")


def _write_chapters(
    plan: Plan, target: Path, toc: Any, done: Mapping[str, NotebookNode], ledger: Any
) -> None:
    """Write the executed chapters and the pages beside them."""
    layout = plan.layout
    listed = list(files(toc))
    absent = Absent(layout, listed, done)
    book = _Ledger(plan, done, ledger)
    repository = os.environ.get(REPOSITORY, "") if plan.kind == BOOK else ""
    everywhere: dict[str, Any] = {}
    for name, notebook in done.items():
        # A shared run may have been made for a call at another profile.
        notebook.metadata["spinscape"]["profile"] = plan.profile
        numbers = book.numbers(name)
        everywhere.update({f"{name}.{key}": value for key, value in numbers.items()})
        page = _page(layout, name, notebook, numbers, book, absent)
        if repository:
            commit = notebook.metadata["spinscape"]["commit"]
            page.cells.insert(0, pages.setup_cell(repository, commit))
        if plan.kind == PAGE:
            _say_whose(page, plan)
        (target / f"{name}.ipynb").write_text(nbformat.writes(page), encoding="utf-8")
    _copy_pages(layout, target, [name for name in listed if name not in done], everywhere, absent)
    about = {name: notebook.metadata["spinscape"] for name, notebook in done.items()}
    generated = {"status": pages.status_page(about, plan.settings), "ledger": book.page()}
    for name, text in generated.items():
        if name in listed:
            (target / f"{name}.md").write_text(text, encoding="utf-8")


class _Ledger:
    """The ledger over all executed chapters; empty where the book has no claims."""

    def __init__(self, plan: Plan, done: Mapping[str, NotebookNode], module: Any) -> None:
        self.settings = plan.settings
        self.module = module
        self.look = module
        self.claims: dict[str, Any] = {}
        self.verdicts: dict[str, Any] = {}
        self.records: dict[str, Any] = {}
        self.parameters = {n: nb.metadata["spinscape"]["parameters"] for n, nb in done.items()}
        path = plan.layout.book / "claims.yaml"
        if not path.is_file() and module is None:
            return
        if module is None:
            self.module = importlib.import_module("spinscape.companion.ledger")
            self.pages = importlib.import_module("spinscape.companion.ledger_page")
            self.look = importlib.import_module("spinscape.companion.ledger_page")
        self.records = {name: self.module.read(notebook) for name, notebook in done.items()}
        if path.is_file():
            self.claims = self.module.load_claims(path)
            if plan.kind == PAGE:
                self.claims = {k: c for k, c in self.claims.items() if c.chapter in done}
            if problems := self.module.check_records(self.claims, self.records):
                raise BookError("\n".join(problems))
            self.verdicts = self.module.judge(self.claims, self.records)

    def numbers(self, chapter: str) -> dict[str, Any]:
        if self.module is None:
            return {f"parameters.{k}": v for k, v in self.parameters[chapter].items()}
        return self.module.numbers(self.records[chapter], self.parameters[chapter], self.verdicts)

    def box(self, claim: str) -> str | None:
        if claim not in self.claims:
            return None
        return self.look.box(self.claims[claim], self.verdicts[claim])

    def page(self) -> str:
        if not self.claims:
            return _NO_LEDGER
        return self.look.page(self.claims, self.verdicts, self.records, self.settings)


def _executed(plan: Plan, run: Run) -> NotebookNode:
    try:
        return sealed.read(run.executed(plan.store))
    except ValueError as error:
        raise BookError(f"{run.label} was not executed: {error}") from None


def _page(
    layout: Layout,
    name: str,
    notebook: NotebookNode,
    numbers: Mapping[str, Any],
    book: _Ledger,
    absent: Absent,
) -> NotebookNode:
    try:
        page = chapters.merge(chapters.read_chapter(layout.chapter(name)), notebook)
    except BookError as error:
        raise BookError(f"{name}: {error}") from None
    stamp: dict[str, Any] = {}
    for cell in page.cells:
        if cell.cell_type == "markdown":
            cell.source = absent.soften(fill(cell.source, numbers, name))
        for output in cell.get("outputs", []):
            stamp.update(output.get("data", {}).get(pages.STAMP, {}))
    pages.clean_outputs(page, book.box)
    text = pages.stamp_section(notebook.metadata["spinscape"], stamp)
    page.cells.append(nbformat.v4.new_markdown_cell(text, id="stamp"))
    return page


def _say_whose(page: NotebookNode, plan: Plan) -> None:
    """Put a note under the title that says that this is a run of a reader's own."""
    first = next(cell for cell in page.cells if cell.cell_type == "markdown")
    title, newline, text = first.source.partition("\n")
    note = f":::{{note}}\nThis page stands outside of the book.\nIt was made from {plan.settings}.\n:::\n"
    first.source = f"{title}{newline}\n{note}{text}" if title.startswith("# ") else f"{note}\n{first.source}"


def _copy_pages(
    layout: Layout, target: Path, names: Iterable[str], numbers: Mapping[str, Any], absent: Absent
) -> None:
    for name in names:
        source = layout.book / f"{name}.md"
        if name in _GENERATED:
            continue
        if not source.is_file():
            raise BookError(f"_toc.yml lists {name!r}, but there is no {source}")
        text = absent.soften(fill(source.read_text(encoding="utf-8"), numbers, name))
        (target / source.name).write_text(text, encoding="utf-8")


def _write_config(layout: Layout, target: Path, repository: str) -> None:
    config = yaml.safe_load((layout.root / "_config.yml").read_text(encoding="utf-8"))
    if repository:
        if not _REPOSITORY.fullmatch(repository):
            raise BookError(f"{REPOSITORY}={repository!r} is not of the form owner/name")
        config["repository"] = {
            "url": f"https://github.com/{repository}",
            "branch": "gh-pages",
            "path_to_book": "",
        }
        config["launch_buttons"] = {
            "colab_url": "https://colab.research.google.com",
            "binderhub_url": "https://mybinder.org",
        }
    text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
    (target / "_config.yml").write_text(text, encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    """Stage as the command line says; return the exit code."""
    parser = argparse.ArgumentParser(prog="spinscape.companion.staging")
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--mark", type=Path, required=True)
    parser.add_argument("--parent", type=int, help="process that has to be this one's parent")
    given = parser.parse_args(arguments)
    if given.parent not in (None, os.getppid()):
        return 1
    given.mark.parent.mkdir(parents=True, exist_ok=True)
    for old in (*given.mark.parent.glob("stage-*"), *given.mark.parent.glob("site-*")):
        old.unlink()
    try:
        stage(read_plan(given.root, given.folder / FILE))
    except (BookError, ValueError, OSError) as error:
        print(f"The book could not be staged.\n{error}")
        return 1
    write_whole(given.mark, "")
    return 0


if __name__ == "__main__":
    sys.exit(main())
