"""Spoilt files of data sets: one message that names the file, which stays as it was."""

from __future__ import annotations

import os
import re
from pathlib import Path

from bad_data import WAYS, Way, evidence, write
from bookcopy import CHAPTER
from faults.call import Book
from faults.field import Case, Field
from faults.table import Row
from spinscape.networks import registry

GROUP = "bad data files"
_RUN = ("run", CHAPTER, "dataset=mnist", "--profile", "tiny")
_SHORT = {"bit in gzip": True, "an HTML page": False, "path with ..": False, "empty": False}


def spoilt(field: Field, case: Case, name: str, run: bool, then_good: bool) -> list[Row]:
    """Call with a spoilt file, and with the good one after it where that is wished."""
    way = WAYS[name]
    row = Row(GROUP, f"{way.dataset}: {name}", "run" if run else "data")
    with field.book(case.name, "real") as book:
        folder = book.folder / "data"
        good = real(field, way)
        path = write(way, folder, good)
        before = about(folder)
        words = _RUN if run else ("data", way.dataset)
        done = book.call(*words, **places(book, folder))
        row.code, row.said, row.seconds = done.code, done.said, done.seconds
        text = done.out + done.err
        row.expect(done.code == 1, f"exit code {done.code}")
        # Beside made-up files, whose sums are wrong as well, the first one is named.
        named = str(path) if good else str(path.parent / registry.SPECIFICATIONS[way.dataset].files[0].name)
        row.expect(named in text, "the file is not named")
        row.expect("Traceback" not in text, "a traceback was shown")
        row.expect(text.count(named) == 1 or text.count("DataError") == 1, "more than one message")
        row.expect(not way.says or re.search(way.says, text), f"{way.says!r} is not in the message")
        row.expect(about(folder) == before, "something in the data's folder was changed")
        row.expect(not evidence(path).exists(), "what the file holds was executed")
        row.expect(not any((book.folder / "cache").glob("*")), "something was put into the cache")
        strange = {p.name for p in book.folder.iterdir() if not p.name.startswith("call")}
        row.expect(strange <= {"book", "t", "data"}, f"written outside: {sorted(strange)}")
        row.orphans = book.orphans()
        row.leftovers = book.parts() if book.built.exists() else []
        if then_good and good is not None:
            path.write_bytes(good[path.name])
            done = book.call(*words, **places(book, folder))
            row.then = f"with the good file: exit {done.code}, {done.ran}"
            row.expect(done.code == 0, f"with the good file: {done.said}")
    return [row]


def real(field: Field, way: Way) -> dict[str, bytes] | None:
    """Read the real files of a data set, where there are any."""
    folder = Path(field.data) / way.dataset
    names = [file.name for file in registry.SPECIFICATIONS[way.dataset].files]
    if not field.data or not all((folder / name).is_file() for name in names):
        return None
    return {name: (folder / name).read_bytes() for name in names}


def places(book: Book, folder: Path) -> dict[str, str]:
    """Environment in which only one folder has data."""
    return {"SPINSCAPE_DATA": str(folder), "SPINSCAPE_CACHE": str(book.folder / "cache")}


def about(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Inode, size and time of everything in a folder."""
    found = {}
    for path in folder.rglob("*"):
        stat = path.lstat()
        found[str(path)] = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
    return found


def cases(*, short: bool) -> list[Case]:
    """List the files to spoil: MNIST's for a run of the chapter, CIFAR-10's for the command ``data``."""
    runs = {name: way.dataset == "mnist" for name, way in WAYS.items()}
    if short:
        runs = _SHORT
    if os.geteuid() == 0:
        runs = {name: run for name, run in runs.items() if name != "unreadable"}
    good = next(name for name, run in runs.items() if run)
    return [
        Case(f"data-{number:02d}", GROUP, spoilt, (name, run, name == good and not short), ("real",))
        for number, (name, run) in enumerate(runs.items())
    ]
