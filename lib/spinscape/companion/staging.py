"""Stage the book: the folder that Jupyter Book reads, ``_build/<profile>/src``.

Chapters come as notebooks, prose merged with outputs; other pages are copied; the status page and
the ledger are generated.
"""

from __future__ import annotations

import argparse
import importlib
import os
import re
import shutil
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
import yaml
from nbformat import NotebookNode

from spinscape.companion import chapters, pages
from spinscape.companion.layout import BookError, Layout
from spinscape.companion.plan import REPOSITORY, executed
from spinscape.companion.processes import die_with_parent
from spinscape.companion.prose import fill

_REPOSITORY = re.compile(r"[A-Za-z0-9-]+/[A-Za-z0-9._-]+")
_GENERATED = ("status", "ledger")
_NO_LEDGER = "# Ledger\n\nThis book has no claims.\n"


def stage(layout: Layout, profile: str, *, ledger: Any = None) -> Path:
    """Write the staged folder anew.

    Parameters
    ----------
    layout, profile
        Which book, and which of its builds.
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
    folder = layout.build(profile)
    done = {name: _executed(folder, name) for name in layout.chapters()}
    book = _Ledger(layout, profile, done, ledger)
    target = folder / "src"
    aside = folder / "src.part"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    repository = os.environ.get(REPOSITORY, "")
    everywhere: dict[str, Any] = {}
    for name, notebook in done.items():
        numbers = book.numbers(name)
        everywhere.update({f"{name}.{key}": value for key, value in numbers.items()})
        page = _page(layout, name, notebook, numbers, book)
        if repository:
            commit = notebook.metadata["spinscape"]["commit"]
            page.cells.insert(0, pages.setup_cell(repository, commit))
        (aside / f"{name}.ipynb").write_text(nbformat.writes(page), encoding="utf-8")
    _copy_pages(layout, aside, done, everywhere)
    about = {name: notebook.metadata["spinscape"] for name, notebook in done.items()}
    (aside / "status.md").write_text(pages.status_page(about, profile), encoding="utf-8")
    (aside / "ledger.md").write_text(book.page(), encoding="utf-8")
    _write_config(layout, aside, repository)
    _drop_unlisted(layout, aside)
    shutil.rmtree(target, ignore_errors=True)
    os.replace(aside, target)
    return target


class _Ledger:
    """The ledger over all executed chapters; empty where the book has no claims."""

    def __init__(self, layout: Layout, profile: str, done: Mapping[str, NotebookNode], module: Any) -> None:
        self.profile = profile
        self.module = module
        self.look = module
        self.claims: dict[str, Any] = {}
        self.verdicts: dict[str, Any] = {}
        self.records: dict[str, Any] = {}
        self.parameters = {n: nb.metadata["spinscape"]["parameters"] for n, nb in done.items()}
        path = layout.book / "claims.yaml"
        if not path.is_file() and module is None:
            return
        if module is None:
            self.module = importlib.import_module("spinscape.companion.ledger")
            self.pages = importlib.import_module("spinscape.companion.ledger_page")
            self.look = importlib.import_module("spinscape.companion.ledger_page")
        self.records = {name: self.module.read(notebook) for name, notebook in done.items()}
        if path.is_file():
            self.claims = self.module.load_claims(path)
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
        return self.look.page(self.claims, self.verdicts, self.records, self.profile)


def _executed(folder: Path, name: str) -> NotebookNode:
    path = executed(folder, name)
    if not path.is_file():
        raise BookError(f"{name} was not executed: there is no {path}")
    return nbformat.read(path, as_version=4)


def _page(
    layout: Layout,
    name: str,
    notebook: NotebookNode,
    numbers: Mapping[str, Any],
    book: _Ledger,
) -> NotebookNode:
    try:
        page = chapters.merge(chapters.read_chapter(layout.chapter(name)), notebook)
    except BookError as error:
        raise BookError(f"{name}: {error}") from None
    stamp: dict[str, Any] = {}
    for cell in page.cells:
        if cell.cell_type == "markdown":
            cell.source = fill(cell.source, numbers, name)
        for output in cell.get("outputs", []):
            stamp.update(output.get("data", {}).get(pages.STAMP, {}))
    pages.clean_outputs(page, book.box)
    text = pages.stamp_section(notebook.metadata["spinscape"], stamp)
    page.cells.append(nbformat.v4.new_markdown_cell(text, id="stamp"))
    return page


def _copy_pages(layout: Layout, target: Path, done: Mapping[str, Any], numbers: Mapping[str, Any]) -> None:
    for name in layout.toc():
        source = layout.book / f"{name}.md"
        if name in done or name in _GENERATED:
            continue
        if not source.is_file():
            raise BookError(f"_toc.yml lists {name!r}, but there is no {source}")
        text = fill(source.read_text(encoding="utf-8"), numbers, name)
        (target / source.name).write_text(text, encoding="utf-8")
    for source in layout.book.glob("*.bib"):
        shutil.copy(source, target)
    if (layout.book / "_static").is_dir():
        shutil.copytree(layout.book / "_static", target / "_static")


def _drop_unlisted(layout: Layout, target: Path) -> None:
    """Remove generated pages that the table of contents does not list."""
    listed = layout.toc()
    for name in _GENERATED:
        if name not in listed:
            (target / f"{name}.md").unlink()


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
    shutil.copy(layout.root / "_toc.yml", target)


def main(arguments: list[str] | None = None) -> int:
    """Stage as the command line says; return the exit code."""
    parser = argparse.ArgumentParser(prog="spinscape.companion.staging")
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--profile", required=True)
    parser.add_argument("--mark", type=Path, required=True)
    given = parser.parse_args(arguments)
    die_with_parent(signal.SIGTERM)()
    given.mark.parent.mkdir(parents=True, exist_ok=True)
    for old in (*given.mark.parent.glob("stage-*"), *given.mark.parent.glob("site-*")):
        old.unlink()
    try:
        stage(Layout(given.root), given.profile)
    except (BookError, ValueError, OSError) as error:
        print(f"The book could not be staged.\n{error}")
        return 1
    given.mark.touch()
    return 0


if __name__ == "__main__":
    sys.exit(main())
