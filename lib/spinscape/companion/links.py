"""Links between pages: to chapters, which are staged as notebooks, and to pages that are left out."""

from __future__ import annotations

import re
from collections.abc import Iterable

from spinscape.companion.layout import Layout

_LABEL = re.compile(
    r"^\(([\w-]+)\)=[ \t]*$|^:(?:name|label):[ \t]*([\w-]+)[ \t]*$|^[ \t]+name:[ \t]*([\w-]+)[ \t]*$",
    flags=re.MULTILINE,
)
_REFERENCE = re.compile(
    r"(?<!!)\[(?P<text>[^\]\n]*)\]\((?P<page>[\w-]+)\.(?:md|ipynb)(?:#[\w-]*)?\)"
    r"|\{(?:doc|ref|numref|eq|prf:ref)\}`(?:(?P<title>[^`<]+?)\s*<)?(?P<label>[\w-]+)>?`"
)
_TITLE = re.compile(r"^#[ \t]+(\S[^\n]*)$", flags=re.MULTILINE)


class Absent:
    """What the staged pages cannot link to: pages and labels of chapters that are left out.

    Parameters
    ----------
    layout
        The book.
    listed
        Pages that are staged.
    notebooks
        Those of them that are staged as notebooks, so that links to ``name.md`` have to say ``name.ipynb``.
    """

    def __init__(self, layout: Layout, listed: Iterable[str], notebooks: Iterable[str] = ()) -> None:
        self.notebooks = frozenset(notebooks)
        here, away = set(), {}
        listed = frozenset(listed)
        self.titles: dict[str, str] = {}
        for name in layout.toc():
            path = layout.book / f"{name}.md"
            text = path.read_text(encoding="utf-8") if path.is_file() else ""
            labels = _labels(text)
            if title := _TITLE.search(text):
                self.titles[name] = title[1].strip()
            if name in listed:
                here |= labels
            else:
                away.update(dict.fromkeys({name, *labels}, name))
        self.page_of = {label: name for label, name in away.items() if label not in here}

    def soften(self, text: str) -> str:
        """Put words in the place of links and references that would lead nowhere; mend links to notebooks.

        A link to a page without words of its own gets the page's title, as it has where the page is there.
        """
        return _REFERENCE.sub(self._words, text) if self.page_of or self.notebooks else text

    def _words(self, found: re.Match[str]) -> str:
        label = found["page"] or found["label"]
        if label not in self.page_of:
            page = found["page"]
            return found[0].replace(f"]({page}.md", f"]({page}.ipynb") if page in self.notebooks else found[0]
        name = self.page_of[label]
        words = (found["text"] or found["title"] or "").strip()
        if words or label != name:
            return words or f"`{label}` in `{name}`"
        return f"*{self.titles[name]}*" if name in self.titles else f"`{name}`"


def _labels(text: str) -> set[str]:
    return {found for groups in _LABEL.findall(text) for found in groups if found}
