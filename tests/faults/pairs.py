"""Two calls at once in one folder."""

from __future__ import annotations

import json
import time

from bookcopy import CHAPTER
from faults.call import Done, wait_until
from faults.field import Case, Field
from faults.kills import compare
from faults.table import Row

GROUP = "two calls at once"


def same(field: Field, case: Case) -> list[Row]:
    """Build twice in one folder: the second is refused at once, the first unharmed."""
    row = Row(GROUP, "a second build of the same profile")
    with field.book(case.name) as book:
        first = book.start(*field.words("tiny"))
        row.expect(wait_until(lambda: "cell" in book.state("tiny")), "the first build did not start")
        row.when = book.state("tiny")
        second = book.call(*field.words("tiny"))
        row.code, row.said, row.seconds = second.code, second.said, second.seconds
        row.expect(second.code == 1, f"exit code {second.code}")
        row.expect(len(second.lines) == 1, f"{len(second.lines)} lines")
        row.expect("is under way" in second.said, "another message")
        row.expect(first.process.poll() is None, "the first build was over when the second was refused")
        finish(row, first.end())
        row.orphans = book.orphans()
        compare(book, field.references["tiny"], row)
    return [row]


def side_by_side(field: Field, case: Case) -> list[Row]:
    """Build, and run a chapter, at once: both finish."""
    row = Row(GROUP, "a build and a run of the same chapter")
    with field.book(case.name) as book:
        first = book.start(*field.words("tiny"), "--cores", "1")
        second = book.start(*field.words("run"), "--cores", "1").end()
        row.code, row.said, row.seconds = second.code, second.said, second.seconds
        row.expect(second.code == 0, f"the run ended with {second.code}: {second.said}")
        finish(row, first.end())
        row.orphans = book.orphans()
        expected = json.loads(field.references["tiny"].values) | json.loads(field.references["run"].values)
        row.values = "equal" if json.loads(book.values()) == expected else "differ"
        known = set.union(*(field.references[name].listing for name in ("tiny", "run")))
        row.leftovers = book.leftovers(known)
    return [row]


def sharing(field: Field, case: Case) -> list[Row]:
    """Sweep two grids with a common point at once: both finish, and the point is executed once."""
    row = Row(GROUP, "two sweeps that share a point")
    words = [("sweep", CHAPTER, f"hidden={grid}", "seed=3", "--profile", "tiny") for grid in ("8,12", "8,16")]
    with field.book(case.name) as book:
        first = book.start(*words[0], "--cores", "1")
        running = book.start(*words[1], "--cores", "1")
        seen: dict[str, set[tuple[int, int]]] = {}
        while first.process.poll() is None or running.process.poll() is None:
            for name, about in book.kept().items():
                seen.setdefault(name, set()).add(about)
            time.sleep(0.05)
        second, other = running.end(), first.end()
        row.code, row.said, row.seconds = second.code, second.said, second.seconds
        row.expect(second.code == 0, f"the second ended with {second.code}: {second.said}")
        finish(row, other)
        row.then += f" The second: {second.ran}"
        row.orphans = book.orphans()
        runs = [about for name, about in seen.items() if name.startswith("runs/executed/")]
        row.expect(len(runs) == 3, f"{len(runs)} runs in place of three")
        row.expect(all(len(about) == 1 for about in runs), "a point was executed twice")
        tables = [path.read_text() for path in book.built.glob("sweeps/*/table.csv")]
        (expected,) = field.references["sweep"].book.built.glob("sweeps/*/table.csv")
        row.values = "equal" if expected.read_text() in tables else "differ"
        row.leftovers = book.parts()
    return [row]


def finish(row: Row, done: Done) -> None:
    """Note how the first call ended."""
    row.then = f"the first: exit {done.code}, {done.seconds:.1f} s, {done.ran}"
    row.expect(done.code == 0, f"the first call ended with {done.code}: {done.said}")
    row.expect("Traceback" not in done.out + done.err, "the first call showed a traceback")


def cases(*, short: bool) -> list[Case]:
    """List the pairs."""
    found = [Case("pair-same", GROUP, same)]
    if not short:
        found.append(Case("pair-build-run", GROUP, side_by_side, (), ("tiny", "run")))
        found.append(Case("pair-sweeps", GROUP, sharing, (), ("tiny", "sweep")))
    return found
