"""Measured numbers in prose: ``{{key:format}}`` in a chapter's text becomes the value.

TeX doubles braces too, and code may quote the notation: within mathematics and inline code
``{{a}}`` is left alone unless ``a`` is a number's key.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Mapping
from typing import Any

from spinscape.companion.layout import BookError, unknown

_NUMBER = re.compile(r"\{\{\s*(?P<key>[A-Za-z_][\w.-]*)\s*(?::(?P<format>[^{}\s]*))?\s*\}\}")

# The places where no tag may stand, in order of precedence: blocks of code keep their text,
# inline code, mathematics and headings take the number alone.
_PLACES = re.compile(
    r"(?P<code>^(?P<fence>```+|~~~+)(?:[\w+-]*|\{code-block\}[^\n]*|\{code\}[^\n]*)[ \t]*\n"
    r".*?^(?P=fence)[ \t]*$)"
    r"|(?P<literal>(?<!`)(?P<tick>`{1,2})(?!`).*?(?<!`)(?P=tick)(?!`)"
    r"|^(?P<mathfence>```+)\{math\}.*?^(?P=mathfence)[ \t]*$"
    r"|\{math\}`[^`]*`"
    r"|\$\$.*?\$\$"
    r"|\\begin\{(?P<environment>[a-z]+\*?)\}.*?\\end\{(?P=environment)\}"
    r"|(?<![\\$])\$(?![\s$])(?:[^$\\]|\\.)+?(?<!\s)\$)"
    r"|(?P<plain>^\#{1,6}[ ][^\n]*$)",
    flags=re.MULTILINE | re.DOTALL,
)


NOTHING = "no value"
"""What stands in the prose where a run could measure nothing."""


def fill(text: str, numbers: Mapping[str, Any], chapter: str) -> str:
    """Replace every ``{{key:format}}`` in Markdown.

    Parameters
    ----------
    text
        Markdown. Code blocks stay as they are; in inline code, mathematics and headings the number
        stands alone,
        elsewhere in a ``span`` of class ``measured`` that carries its key and format.
    numbers
        Key -> value.
    chapter
        Named in errors.

    Raises
    ------
    BookError
        For an unknown key, or a format that does not fit its value.
    """
    parts = []
    end = 0
    for place in _PLACES.finditer(text):
        parts.append(_fill(text[end : place.start()], numbers, chapter, tagged=True))
        within = place[0]
        if place["code"] is None:
            lenient = place["literal"] is not None
            within = _fill(within, numbers, chapter, tagged=False, lenient=lenient)
        parts.append(within)
        end = place.end()
    parts.append(_fill(text[end:], numbers, chapter, tagged=True))
    return "".join(parts)


def _fill(text: str, numbers: Mapping[str, Any], chapter: str, *, tagged: bool, lenient: bool = False) -> str:
    def replace(match: re.Match[str]) -> str:
        key, form = match["key"], match["format"] or ""
        if key not in numbers and lenient and match["format"] is None:
            return match[0]
        if key not in numbers:
            raise BookError(f"{chapter}: {unknown('number', key, sorted(numbers))}")
        try:
            form = form or _default_format(numbers[key])
            shown = show(numbers[key], form)
        except (TypeError, ValueError) as error:
            raise BookError(f"{chapter}: {match[0]}: {error}") from None
        if not tagged:
            return shown
        return (
            f'<span class="measured" data-key="{html.escape(key)}" '
            f'data-format="{html.escape(form)}">{html.escape(shown)}</span>'
        )

    return _NUMBER.sub(replace, text)


def show(value: Any, form: str = "") -> str:
    """Write a value as the prose shows it: by Python's format, three digits for a bare float."""
    if isinstance(value, float) and math.isnan(value):
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(show(entry, form) for entry in value)
    return format(value, form or _default_format(value))


def _default_format(value: Any) -> str:
    return ".3g" if isinstance(value, float) else ""
