"""A Sphinx extension that keeps pages from loading scripts that they do not use.

Jupyter Book always loads sphinx-thebe, which declares its constants twice on every page (an error
in the browser's console) and points at a server outside; the book has no Thebe buttons.
"""

from __future__ import annotations

from typing import Any


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


def setup(app: Any) -> dict[str, Any]:
    """Register the extension, after all others."""
    app.connect("html-page-context", drop_unused, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
