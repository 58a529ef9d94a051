"""Calls of the command in a copy of the book, the processes they start, and what they leave."""

from __future__ import annotations

import compileall
import contextlib
import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from bookcopy import copy_book
from spinscape.companion import ledger, sealed
from spinscape.companion.processes import die_with_parent
from spinscape.networks import storage

MARK = "SPINSCAPE_FAULTS"
_LONGEST_CALL = 300.0
_ORPHANS_MAY_TAKE = 5.0
_PROGRESS = re.compile(r"profile \S+: |.+?  (starting|running|waiting|done|failed|stopped|up to date)\b")
_PART = re.compile(r".*(\.part|-part|\.old|\.tmp)(/.*)?")


@dataclass
class Done:
    """How a call ended."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def lines(self) -> list[str]:
        """What the call said beside its progress."""
        said = [x for x in self.out.splitlines() if x.strip() and not _PROGRESS.match(x)]
        return [x for x in self.err.splitlines() if x.strip()] + said

    @property
    def said(self) -> str:
        """The first line of that."""
        return self.lines[0] if self.lines else ""

    @property
    def ran(self) -> str:
        """What the call executed; empty where it did not come so far."""
        return next((x for x in self.lines if x.startswith("Executed: ")), "")


@dataclass
class Running:
    """A call that is under way."""

    process: subprocess.Popen[bytes]
    output: Path
    begin: float

    def end(self, patience: float = _LONGEST_CALL) -> Done:
        """Wait for the end; a call that takes too long is killed and has the code 999."""
        try:
            code = self.process.wait(patience)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            code = 999
        seconds = time.monotonic() - self.begin
        out, err = (self.output.with_suffix(end).read_text(errors="replace") for end in (".out", ".err"))
        return Done(code, out, err, seconds)


@dataclass
class Book:
    """A copy of the book with a folder for temporary files beside it."""

    folder: Path
    home: Path
    calls: int = 0
    extra: dict[str, str] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        """The book."""
        return self.folder / "book"

    @property
    def built(self) -> Path:
        """What builds make."""
        return self.root / "_build"

    @property
    def temporary(self) -> Path:
        """Where temporary files go."""
        return self.folder / "t"

    def environment(self, **more: str) -> dict[str, str]:
        """What calls find in their environment."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("SPINSCAPE_")}
        own = {
            "HOME": str(self.home),
            "TMPDIR": str(self.temporary),
            "PYTHONPATH": str(self.root / "lib"),
            "OMP_NUM_THREADS": "1",
            MARK: str(self.folder),
        }
        for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "MPLCONFIGDIR", "CI"):
            kept.pop(name, None)
        return {**kept, **own, **self.extra, **more}

    def start(self, *words: str, before: tuple[str, ...] = (), **environment: str) -> Running:
        """Start the command; `before` are words that start another program that starts it."""
        self.calls += 1
        output = self.folder / f"call{self.calls}"
        with output.with_suffix(".out").open("wb") as out, output.with_suffix(".err").open("wb") as err:
            process = subprocess.Popen(
                [*before, sys.executable, "-m", "spinscape.companion.cli", *words],
                cwd=self.root,
                env=self.environment(**environment),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                preexec_fn=die_with_parent(signal.SIGTERM),
            )
        return Running(process, output, time.monotonic())

    def call(self, *words: str, before: tuple[str, ...] = (), **environment: str) -> Done:
        """Run the command to its end."""
        return self.start(*words, before=before, **environment).end()

    def processes(self) -> list[psutil.Process]:
        """Processes that work for this copy, whoever started them."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.pid != os.getpid() and process.environ().get(MARK) == str(self.folder):
                    found.append(process)
        return found

    def orphans(self, patience: float = _ORPHANS_MAY_TAKE) -> int:
        """Wait for the processes of a call that has ended, end those that stay, and count them."""
        deadline = time.monotonic() + patience
        while (left := self.processes()) and time.monotonic() < deadline:
            time.sleep(0.1)
        self.kill_all()
        return len(left)

    def kill_all(self) -> None:
        """Kill every process of this copy, as when the machine goes down."""
        for _ in range(100):
            if not (left := self.processes()):
                return
            for number in (signal.SIGSTOP, signal.SIGKILL):
                for process in left:
                    with contextlib.suppress(psutil.Error):
                        process.send_signal(number)
            time.sleep(0.02)

    def values(self) -> str:
        """Everything that all executed notebooks and sweep tables recorded, as canonical text."""
        found: dict[str, object] = {}
        for path in sorted(self.built.glob("*/executed/*.ipynb")):
            records = dataclasses.asdict(ledger.read(sealed.read(path)))
            found[str(path.relative_to(self.built))] = records
        for path in sorted(self.built.glob("sweeps/*/table.csv")):
            found[str(path.relative_to(self.built))] = path.read_text(encoding="utf-8")
        return json.dumps(found, sort_keys=True, indent=1)

    def listing(self) -> set[str]:
        """Files that calls left and folders that are being written; not Snakemake's notes on jobs."""
        found = set()
        for path in self.built.rglob("*"):
            name = str(path.relative_to(self.built))
            if re.search(r"\.snakemake/(?!incomplete/|locks/)", name):
                continue
            if path.is_file() or _PART.fullmatch(path.name):
                found.add(name)
        return found

    def leftovers(self, expected: set[str]) -> list[str]:
        """Files that an undisturbed call does not leave: in the build, and temporary ones."""
        left = sorted(self.listing() - expected)
        folders = sorted(str(p.relative_to(self.folder)) for p in self.temporary.glob("spinscape-*"))
        return left + folders

    def parts(self) -> list[str]:
        """Files whose names say that they are being written."""
        return sorted(name for name in self.listing() if _PART.fullmatch(name))

    def kept(self) -> dict[str, tuple[int, int]]:
        """Inode and time of every finished run's notebook and every result that is stored."""
        paths = list((self.built / "memo").glob("*.safetensors"))
        for mark in self.built.glob("*/done/*.json"):
            name = mark.stem if mark.parts[-3] == "runs" else mark.stem.rpartition("-")[0]
            paths.append(mark.parents[1] / "executed" / f"{name}.ipynb")
        found = {}
        for path in paths:
            if path.is_file():
                found[str(path.relative_to(self.built))] = (path.stat().st_ino, path.stat().st_mtime_ns)
        return found

    def damaged(self) -> list[str]:
        """Files in their places that are not whole."""
        found = []
        for path in self.built.glob("memo/*.safetensors"):
            try:
                storage.read(path)
            except storage.CorruptFileError:
                found.append(path.name)
        for path in self.built.glob("*/executed/*.ipynb"):
            if not sealed.key(path):
                found.append(str(path.relative_to(self.built)))
        return found

    def state(self, folder: str) -> str:
        """What a build or another call whose files lie in a folder of ``_build`` is doing."""
        at = self.built / folder
        if any(at.glob("made/site-*")):
            return "site done"
        if (at / "html.old").exists():
            return "swapping sites"
        if (at / "site.part").exists() or any(at.glob("made/stage-*")):
            return "building the site"
        if (at / "src.part").exists():
            return "staging"
        states = []
        for progress in sorted((self.built / s / "progress" for s in {folder, "runs"}), key=str):
            for path in sorted(progress.glob("*.json")):
                with contextlib.suppress(OSError, ValueError):
                    content = json.loads(path.read_text(encoding="utf-8"))
                    running = content["state"] == "running"
                    states.append(f"cell {content['cell']}" if running else content["state"])
        return ", ".join(states) or "starting"


@dataclass
class Reference:
    """An undisturbed call, whose book stays as it was left."""

    words: tuple[str, ...]
    book: Book
    seconds: float
    values: str
    listing: set[str]

    @property
    def site(self) -> str:
        """Folder of the call's own files below ``_build``."""
        found = list(self.book.built.rglob("plan.json"))
        return str(found[0].parent.relative_to(self.book.built))


def make_reference(
    folder: Path, home: Path, words: tuple[str, ...], write: Callable[[Path], object] = copy_book
) -> Reference:
    """Write a book and call the command in it, undisturbed; without words only compile its modules."""
    book = new_book(folder, home, write=write)
    if not words:
        compileall.compile_dir(book.root / "lib", quiet=2)
        return Reference(words, book, 0.0, "", set())
    done = book.call(*words)
    if done.code:
        raise RuntimeError(f"the undisturbed call failed: {done.out}{done.err}")
    return Reference(words, book, done.seconds, book.values(), book.listing())


def new_book(
    folder: Path,
    home: Path,
    source: Book | None = None,
    *,
    built: bool = False,
    write: Callable[[Path], object] = copy_book,
) -> Book:
    """Write a book, or copy one with its compiled modules and, if wished, its build."""
    book = Book(folder, home)
    if source is None:
        write(book.root)
    else:
        ignore = None if built else shutil.ignore_patterns("_build")
        shutil.copytree(source.root, book.root, ignore=ignore)
    for path in (book.temporary, home):
        path.mkdir(parents=True, exist_ok=True)
    return book


@contextlib.contextmanager
def borrowed(book: Book) -> Iterator[Book]:
    """Use a copy, and remove it with its processes."""
    try:
        yield book
    finally:
        book.kill_all()
        shutil.rmtree(book.folder, ignore_errors=True)


def wait_until(condition: Callable[[], object], *, patience: float = 120.0, pause: float = 0.02) -> bool:
    """Wait for a condition; return whether it came true."""
    deadline = time.monotonic() + patience
    while not (found := bool(condition())) and time.monotonic() < deadline:
        time.sleep(pause)
    return found
