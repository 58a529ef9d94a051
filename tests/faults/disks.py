"""Disks that fill up, and folders that cannot be written."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from faults.call import Book, Done, wait_until
from faults.field import Case, Field
from faults.kills import compare
from faults.table import Row

FULL, READ_ONLY = "full disk", "read-only"
_ROOM = 400 * 2**20
_MIB = 2**20

# Calls of mount that are still in force, for the end of a case.
_mounted: list[Path] = []


def mount(folder: Path, *words: str) -> None:
    """Mount something at a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", *words, str(folder)], check=True, capture_output=True)
    if not any(word.startswith("remount") or ",remount" in word for word in words):
        _mounted.append(folder)


def may_mount() -> str:
    """Say why nothing can be mounted here; empty where it can."""
    inside = os.environ.get("SPINSCAPE_FAULTS_INSIDE", "none")
    return "no disk can be mounted here" if inside == "none" else ""


@contextlib.contextmanager
def mounts() -> Iterator[None]:
    """Unmount at the end what was mounted meanwhile."""
    try:
        yield
    finally:
        while _mounted:
            subprocess.run(["umount", "-l", str(_mounted.pop())], check=False, capture_output=True)


@contextlib.contextmanager
def disk_book(field: Field, name: str, size: int) -> Iterator[Book]:
    """Use a copy of the book on a disk of its own with a number of bytes left."""
    source = field.references["tiny"].book
    used = sum(-(-path.stat().st_size // 4096) * 4096 + 4096 for path in source.root.rglob("*")
               if "_build" not in path.parts)  # fmt: skip
    book = Book(field.folder / name, field.home)
    with mounts():
        try:
            mount(book.root, "-t", "tmpfs", "-o", f"size={used + size}", "none")
            ignore = shutil.ignore_patterns("_build")
            shutil.copytree(source.root, book.root, ignore=ignore, dirs_exist_ok=True)
            free = shutil.disk_usage(book.root).free
            mount(book.root, "-o", f"remount,size={shutil.disk_usage(book.root).total - free + size}")
            book.temporary.mkdir()
            yield book
        finally:
            book.kill_all()
    shutil.rmtree(book.folder, ignore_errors=True)


def small(field: Field, case: Case, size: int) -> list[Row]:
    """Build on a disk that is too small; then give it room."""
    row = Row(FULL, f"{size / _MIB:.1f} MiB left for the build", left_out=may_mount())
    if row.left_out:
        return [row]
    with disk_book(field, case.name, size) as book:
        done = book.call(*field.words("tiny"))
        row.when = book.state("tiny")
        check_message(row, done, book.root, "is full")
        row.orphans = book.orphans()
        mount(book.root, "-o", f"remount,size={_ROOM}")
        check_after(field, book, row)
    return [row]


def filling(field: Field, case: Case, pattern: str, inside: str) -> list[Row]:
    """Fill the disk while the build is in a state; then remove what filled it."""
    row = Row(FULL, f"something else fills the disk ({inside})", left_out=may_mount())
    if row.left_out:
        return [row]
    with disk_book(field, case.name, 120 * _MIB) as book:
        running = book.start(*field.words("tiny"))
        at = book.built / "tiny"

        def there() -> bool:
            return any(at.glob(pattern)) and (pattern != "progress/*.json" or inside in book.state("tiny"))

        wait_until(lambda: there() or running.process.poll() is not None, pause=0.002)
        row.when = book.state("tiny")
        filler = book.root / "filler"
        fill(filler)
        done = running.end()
        check_message(row, done, book.root, "is full")
        row.orphans = book.orphans()
        filler.unlink()
        check_after(field, book, row)
    return [row]


def fill(path: Path) -> None:
    """Write until the disk is full."""
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        for size in (_MIB, 4096, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(size))


def check_message(row: Row, done: Done, folder: Path, says: str) -> None:
    """Check how a call ended whose disk was not what it should be."""
    row.code, row.said, row.seconds = done.code, done.said, done.seconds
    text = done.out + done.err
    row.expect(done.code in (1, 2), f"exit code {done.code}")
    row.expect("Traceback" not in text, "a traceback was shown")
    row.expect(says in text, f"{says!r} is not in the message")
    row.expect(str(folder) in text, "the folder is not named")
    row.expect(text.count(says) == 1, "more than one message")
    row.expect(not [x for x in done.err.splitlines() if "Error" in x and says not in x], "other errors shown")


def check_after(field: Field, book: Book, row: Row) -> None:
    """Check that the same call finishes once there is room."""
    for name in book.damaged():
        row.expect(False, f"half-written: {name}")
    kept = book.kept()
    done = book.call(*field.words("tiny"))
    row.then = f"exit {done.code}, {done.seconds:.1f} s, {done.ran or done.said}, kept {len(kept)}"
    row.expect(done.code == 0, f"the next call ended with {done.code}: {done.said}")
    now = book.kept()
    row.expect(all(now.get(name) == how for name, how in kept.items()), "something whole was made again")
    row.orphans += book.orphans()
    compare(book, field.references["tiny"], row)


def sealed_off(field: Field, case: Case, what: str, built: bool) -> list[Row]:
    """Call where a folder can only be read; then where it can be written again."""
    words = {"book": "the book's folder", "_build": "_build", "t": "the folder for temporary files"}
    row = Row(
        READ_ONLY, f"{words[what]}, {'with' if built else 'without'} an earlier build", left_out=may_mount()
    )
    if row.left_out:
        return [row]
    with field.book(case.name, built=built) as book, mounts():
        folder = {"book": book.root, "_build": book.built, "t": book.temporary}[what]
        if built:
            for mark in book.built.glob("tiny/made/site-*"):
                mark.unlink()
        before = book.listing()
        folder.mkdir(exist_ok=True)
        mount(folder, "--bind", str(folder))
        mount(folder, "-o", "remount,bind,ro")
        done = book.call(*field.words("tiny"))
        if what == "t":
            row.code, row.said, row.seconds = done.code, done.said, done.seconds
            row.expect(done.code == 0 or "read-only" in done.said, "neither finished nor a clear message")
            row.expect("Traceback" not in done.out + done.err, "a traceback was shown")
        else:
            check_message(row, done, folder, "read-only file system")
            row.expect(book.listing() == before, "something was changed")
        row.orphans = book.orphans()
        subprocess.run(["umount", str(_mounted.pop())], check=True, capture_output=True)
        check_after(field, book, row)
    return [row]


def full_temporary(field: Field, case: Case) -> list[Row]:
    """Build with a full disk for temporary files."""
    row = Row(FULL, "the folder for temporary files is on a full disk", left_out=may_mount())
    if row.left_out:
        return [row]
    with field.book(case.name) as book, mounts():
        mount(book.temporary, "-t", "tmpfs", "-o", "size=64k", "none")
        fill(book.temporary / "filler")
        begin = time.monotonic()
        done = book.call(*field.words("tiny"))
        row.code, row.said, row.seconds = done.code, done.said, time.monotonic() - begin
        row.expect(done.code == 0 or "is full" in done.said, "neither finished nor a clear message")
        row.expect("Traceback" not in done.out + done.err, "a traceback was shown")
        row.orphans = book.orphans()
        (book.temporary / "filler").unlink()
        check_after(field, book, row)
    return [row]


def cases(*, short: bool) -> list[Case]:
    """List the disks."""
    sizes: tuple[float, ...] = (6.0,) if short else (0.3, 1.1, 1.5, 2.0, 4.0, 8.0, 16.0, 30.0)
    found = [Case(f"full-{k}", FULL, small, (int(s * _MIB),)) for k, s in enumerate(sizes)]
    states = [
        ("progress/*.json", "starting"), ("progress/*.json", "cell 5"), ("progress/*.json", "cell 14"),
        ("src.part", "staging"), ("site.part", "building the site"),
    ]  # fmt: skip
    if not short:
        found += [Case(f"filling-{k}", FULL, filling, state) for k, state in enumerate(states)]
        found.append(Case("full-temporary", FULL, full_temporary))
    sealed: list[tuple[str, bool]] = [("book", True)] if short else [
        ("book", False), ("book", True), ("_build", True), ("_build", False), ("t", False)
    ]  # fmt: skip
    found += [Case(f"read-only-{k}", READ_ONLY, sealed_off, how) for k, how in enumerate(sealed)]
    return found
