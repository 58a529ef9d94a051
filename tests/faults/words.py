"""Bad parameters through the real command line: refused before anything starts."""

from __future__ import annotations

from bad_parameters import BAD
from bookcopy import CHAPTER
from faults.field import Case, Field
from faults.table import Row

GROUP = "bad parameters"

# Refused before the parameters are looked at.
_ELSEWHERE = (
    (("run", "random_walk"), ("unknown chapter 'random_walk'. Did you mean 'random_walks'?",)),
    (("run", CHAPTER, "--profile", "quik"), ("unknown profile 'quik'. Did you mean 'quick'?",)),
    (("build", "--profile", "../quick"), ("unknown profile '../quick'.",)),
    (("sweep", CHAPTER, "hidden=8,x"), ("'x'", "is not of type int")),
    (("data", "mnits"), ("unknown data set 'mnits'. Did you mean 'mnist'?",)),
)
_SHORT = ("hiden=32", "hidden=many", "hidden=0", "dataset=fashion-mnits", "sigmas=[0.1")


def refuse(field: Field, case: Case, words: tuple[str, ...], parts: tuple[str, ...]) -> list[Row]:
    """Call with bad words; one line, nothing made, nothing started."""
    row = Row(GROUP, " ".join(word if len(word) < 40 else f"{word[:30]}..." for word in words))
    with field.book(case.name, "real") as book:
        done = book.call(*words)
        row.code, row.said, row.seconds = done.code, done.said, done.seconds
        row.expect(done.code == 2, f"exit code {done.code}")
        row.expect(len(done.lines) == 1 and done.err, f"{len(done.lines)} lines")
        row.expect(not book.built.exists(), "something was made")
        for part in parts:
            row.expect(part in done.err, f"{part!r} is not in the message")
        row.orphans = len(book.processes())
        row.leftovers = sorted(path.name for path in book.temporary.iterdir())
        book.kill_all()
    return [row]


def cases(*, short: bool) -> list[Case]:
    """List the words to refuse."""
    every = [(("run", CHAPTER, *words), parts) for words, parts in BAD]
    every += list(_ELSEWHERE)
    if short:
        every = [entry for entry in every if entry[0][-1] in _SHORT]
    return [
        Case(f"words-{number:02d}", GROUP, refuse, entry, ("real",)) for number, entry in enumerate(every)
    ]
