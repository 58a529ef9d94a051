"""Tables of a chapter whose number of rows a run decides."""

from __future__ import annotations

from collections.abc import Sequence

from IPython.display import Markdown


def markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Markdown:
    """Return a table to be shown as the output of a cell.

    Parameters
    ----------
    heads
        Of the columns; all but the first are set to the right.
    rows
        As many words for each row.

    Raises
    ------
    ValueError
        If a row has another number of words.
    """
    if any(len(row) != len(heads) for row in rows):
        raise ValueError(f"rows of a table must have {len(heads)} words")
    rule = [":--", *["--:"] * (len(heads) - 1)]
    return Markdown("\n".join(f"| {' | '.join(words)} |" for words in (heads, rule, *rows)))
