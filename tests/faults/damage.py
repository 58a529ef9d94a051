"""Files that a finished build left, damaged afterwards; the next call makes good what it needs."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from faults.call import Book
from faults.field import Case, Field
from faults.kills import compare
from faults.table import Row

GROUP = "damaged files"


def flip(path: Path, draw: random.Random) -> str:
    """Flip one bit of a file."""
    raw = bytearray(path.read_bytes())
    place, bit = draw.randrange(len(raw)), draw.randrange(8)
    raw[place] ^= 1 << bit
    path.write_bytes(bytes(raw))
    return f"bit {bit} of byte {place} of {len(raw)} flipped"


def cut(path: Path, draw: random.Random) -> str:
    """Cut a file short."""
    raw = path.read_bytes()
    length = draw.randrange(1, len(raw))
    path.write_bytes(raw[:length])
    return f"cut to {length} of {len(raw)} bytes"


def empty(path: Path, draw: random.Random) -> str:
    """Leave nothing of a file but its name."""
    path.write_bytes(b"")
    return "emptied"


def memo(field: Field, case: Case, which: int | None, ways: tuple[Callable[..., str], ...]) -> list[Row]:
    """Damage stored results, and the executed notebook so that the chapter runs again."""
    row = Row(GROUP, "")
    reference = field.references["tiny"]
    draw = random.Random(f"{field.seed} {case.name}")
    with field.book(case.name, "tiny", built=True) as book:
        stored = sorted(book.built.glob("memo/*.safetensors"))
        paths = stored if which is None else [stored[which % len(stored)]]
        done = [ways[number % len(ways)](path, draw) for number, path in enumerate(paths)]
        row.fault = f"stored result {paths[0].name[:8]}: {done[0]}" if len(paths) == 1 else (
            f"{len(paths)} stored results: " + ", ".join(done))  # fmt: skip
        for path in book.built.glob("*/executed/*.ipynb"):
            flip(path, draw)
        before = {path: path.stat().st_ino for path in stored}
        again(book, field, row)
        made = [path for path in stored if path.stat().st_ino != before[path]]
        row.expect(set(paths) <= set(made), "a damaged result was used")
        row.expect(set(made) <= set(paths), "a whole result was computed again")
        compare(book, reference, row)
    return [row]


def product(field: Field, case: Case, pattern: str, way: Callable[..., str], runs: bool) -> list[Row]:
    """Damage a file of the finished build and call again."""
    row = Row(GROUP, pattern)
    reference = field.references["tiny"]
    draw = random.Random(f"{field.seed} {case.name}")
    with field.book(case.name, "tiny", built=True) as book:
        (path,) = sorted(book.built.glob(f"tiny/{pattern}"))[:1]
        row.fault += f" {way(path, draw)}"
        stored = book.kept()
        ran = again(book, field, row)
        row.expect(ran == runs, "the chapter was not run again" if runs else "the chapter was run again")
        now = book.kept()
        lost = [name for name, about in stored.items() if name.startswith("memo/") and now.get(name) != about]
        row.expect(not lost, "stored results were made again")
        compare(book, reference, row)
    return [row]


def again(book: Book, field: Field, row: Row) -> bool:
    """Call, note how it went, and return whether a chapter ran."""
    done = book.call(*field.words("tiny"))
    row.code, row.said, row.seconds = done.code, done.said, done.seconds
    row.then = done.ran
    row.expect(done.code == 0, f"exit code {done.code}")
    row.expect("Traceback" not in done.out + done.err, "a traceback was shown")
    row.orphans = book.orphans()
    return bool(done.ran) and "nothing" not in done.ran


def cases(*, short: bool) -> list[Case]:
    """List what is damaged how."""
    found = [Case("memo-all", GROUP, memo, (None, (flip,)))]
    products: list[tuple[str, Callable[..., str], bool]] = []
    if not short:
        found += [Case(f"memo-{number}", GROUP, memo, (number, (flip,))) for number in range(5)]
        found.append(Case("memo-cut", GROUP, memo, (None, (cut, empty))))
        products += [
            ("executed/*.ipynb", flip, True),
            ("executed/*.ipynb", cut, True),
            ("executed/*.ipynb", empty, True),
            ("done/*.json", empty, False),
            ("plan.json", empty, False),
            ("plan.json", flip, False),
            ("code/*.ipynb", cut, False),
            ("code/*.ipynb", empty, False),
            ("made/site-*", flip_or_fill, False),
            ("made/stage-*", flip_or_fill, False),
            ("progress/*.json", cut, False),
            ("src/random_walks.ipynb", cut, False),
            ("html/index.html", remove, False),
        ]
    for number, arguments in enumerate(products):
        found.append(Case(f"damage-{number:02d}", GROUP, product, arguments))
    return found


def flip_or_fill(path: Path, draw: random.Random) -> str:
    """Write something into a file that is empty."""
    path.write_bytes(draw.randbytes(20))
    return "filled with 20 random bytes"


def remove(path: Path, draw: random.Random) -> str:
    """Remove a file."""
    path.unlink()
    return "removed"
