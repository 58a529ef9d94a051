"""Toy sites with figures that move, and a real browser without a network to look at them."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat

from spinscape.companion.site import build_site
from test_site import OPTIONS, _chromium
from toybook import REPOSITORY

GL = [option for option in OPTIONS if option != "--disable-gpu"]
GL += ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
CONFIG = """title: Toy
only_build_toc_files: true
execute:
  execute_notebooks: "off"
sphinx:
  extra_extensions:
    - sphinx-mathjax-offline
    - spinscape.companion.sphinx_scripts
  config:
    html_context:
      default_mode: auto
"""


def data_of(page: str) -> dict:
    """Return the block of data of a figure."""
    return json.loads(re.search(r'<script type="application/json">(.*?)</script>', page)[1])


def built(folder: Path, **pages: Sequence[str]) -> Path:
    """Build a site of a plain page and one with figures for each name; return where it is."""
    _chromium()
    source = folder / "src"
    source.mkdir()
    for name, figures in pages.items():
        cells = [nbformat.v4.new_markdown_cell("# Figures")]
        for html in figures:
            output = nbformat.v4.new_output("display_data", {"text/html": html})
            cells.append(nbformat.v4.new_code_cell("show()", outputs=[output]))
        notebook = nbformat.v4.new_notebook(cells=cells)
        notebook.metadata["kernelspec"] = {
            "name": "python3",
            "display_name": "Python 3",
            "language": "python",
        }
        nbformat.write(notebook, source / f"{name}.ipynb")
    (source / "plain.md").write_text("# Plain\n\nNothing moves here.\n", encoding="utf-8")
    chapters = "".join(f"  - file: {name}\n" for name in pages)
    toc = "format: jb-book\nroot: plain\n" + (f"chapters:\n{chapters}" if chapters else "")
    (source / "_toc.yml").write_text(toc, encoding="utf-8")
    (source / "_config.yml").write_text(CONFIG, encoding="utf-8")
    shutil.copytree(REPOSITORY / "book" / "_static", source / "_static")
    build_site(folder)
    return folder / "html"


@contextmanager
def chromium() -> Iterator[Any]:
    """Open a browser that can draw in three dimensions."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=_chromium(), args=GL)
        yield opened
        opened.close()


class Tab:
    """A page with all that it complained about and asked for."""

    def __init__(self, browser: Any, **options: Any) -> None:
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.errors: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda m: self.errors.append(m.text) if m.type == "error" else None)
        self.page.on("pageerror", lambda e: self.errors.append(str(e)))
        self.page.on("requestfailed", lambda r: self.errors.append(f"failed: {r.url}"))
        self.page.on("request", lambda r: self.asked.append(r.url))

    def open(self, path: Path) -> None:
        self.page.goto(path.as_uri(), wait_until="load")


def grave(tab: Tab, where: str) -> list[Any]:
    """Return what axe-core finds serious or critical within a selector."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(tab.page, context=where).response["violations"]
    serious = [v for v in found if v["impact"] in {"serious", "critical"}]
    return [(v["id"], node["target"]) for v in serious for node in v["nodes"]]
