"""A Sphinx extension that gives pages the scripts that they use, and no others.

Jupyter Book always loads sphinx-thebe, which declares its constants twice on every page (an error
in the browser's console) and points at a server outside; the book has no Thebe buttons.
Pages with figures that move load scripts of the book's own, which fetch plotly.js from beside them; that
comes out of the installed plotly, once into a site that has such a page.
"""

from __future__ import annotations

import shutil
from importlib import resources
from pathlib import Path
from typing import Any

from spinscape.companion import interactive, interactive_curves

SHARED = "figures.js"
SCRIPTS = {interactive.MARK: "surfaces.js", interactive_curves.MARK: "curves.js"}
"""What a page has in it -> the script that it then needs, besides the shared one."""

LIBRARY = "plotly.min.js"


def drop_unused(app: Any, pagename: str, template: str, context: dict[str, Any], tree: Any) -> None:
    """Take Thebe's files, and scripts that come a second time, out of a page's context."""
    for kind in ("script_files", "css_files"):
        kept, seen = [], set()
        for entry in context.get(kind, []):
            body = (getattr(entry, "attributes", None) or {}).get("body") or ""
            name = f"{getattr(entry, 'filename', None) or entry or ''} {body}"
            if "thebe" not in name.lower() and not (body and name in seen):
                kept.append(entry)
            seen.add(name)
        context[kind] = kept


def add_scripts(app: Any, pagename: str, template: str, context: dict[str, Any], tree: Any) -> None:
    """Let a page that has figures that move load their scripts."""
    for script in _needed(context.get("body") or ""):
        app.add_js_file(script, loading_method="defer")


def _needed(text: str) -> list[str]:
    """Return the scripts that a page with this text needs, in the order in which they run."""
    own = [script for mark, script in SCRIPTS.items() if mark in text]
    return [SHARED, *own] if own else []


def copy_scripts(app: Any, exception: Exception | None) -> None:
    """Put the scripts of figures that move beside the pages, if any of them needs them."""
    out = Path(app.outdir)
    if exception is not None:
        return
    needed = {script for page in out.rglob("*.html") for script in _needed(_text(page))}
    if not needed:
        return
    static = out / "_static"
    static.mkdir(exist_ok=True)
    for script in needed:
        with resources.as_file(resources.files("spinscape.companion") / script) as own:
            shutil.copyfile(own, static / script)
    with resources.as_file(resources.files("plotly") / "package_data" / LIBRARY) as library:
        shutil.copyfile(library, static / LIBRARY)


def _text(page: Path) -> str:
    return page.read_text(encoding="utf-8", errors="replace")


def setup(app: Any) -> dict[str, Any]:
    """Register the extension; what drops scripts runs after all others."""
    app.connect("html-page-context", add_scripts)
    app.connect("html-page-context", drop_unused, priority=900)
    app.connect("build-finished", copy_scripts)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
