"""Where things lie in a book's folder, and what it names them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")

# Characters of a value that a message quotes.
_SHOWN = 80

# Folders of _build that are no profile's.
_RESERVED = ("cache", "memo", "pages", "runs", "sweeps")


class BookError(ValueError):
    """The book or what is asked of it cannot be used as it is."""


def find_root(start: Path | None = None) -> Path:
    """Find the folder with ``_toc.yml``, from `start` or the working folder upwards.

    Raises
    ------
    BookError
        If no folder on the way has one; nor, where no `start` is given, this module's repository.
    """
    own = Path(__file__).resolve().parents if start is None else ()
    start = Path.cwd() if start is None else Path(start).resolve()
    for folder in (start, *start.parents, *own):
        if (folder / "_toc.yml").is_file():
            return folder
    raise BookError(f"no _toc.yml in {start} or above it: call this from the book's folder")


def shown(value: object) -> str:
    """Write a value for a message: as Python does, control characters escaped, long ones cut short."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no integer of more than some thousand digits.
        return "a number too long to write"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}... ({len(text)} characters)"


def unknown(what: str, name: str, allowed: Iterable[str]) -> str:
    """Word the message for an unknown name: the nearest valid one, and all that are allowed."""
    allowed = list(allowed)
    lower = {entry.lower(): entry for entry in allowed}
    near = difflib.get_close_matches(name.lower(), lower, n=1, cutoff=0.5)
    hint = f" Did you mean {lower[near[0]]!r}?" if near else ""
    return f"unknown {what} {shown(name)}.{hint} Allowed: {', '.join(allowed) or 'none'}."


@dataclass(frozen=True)
class Layout:
    """The folders of one book.

    Parameters
    ----------
    root
        The folder with ``_toc.yml``.
    """

    root: Path

    @property
    def book(self) -> Path:
        """Chapters, profiles, claims and references."""
        return self.root / "book"

    @property
    def lib(self) -> Path:
        """Root of the import package that chapters use."""
        return self.root / "lib"

    @property
    def memo(self) -> Path:
        """Memoised results, shared by all profiles."""
        return self.root / "_build" / "memo"

    @property
    def runs(self) -> Path:
        """Runs of chapters with parameters of a reader's own, shared by pages and sweeps."""
        return self.root / "_build" / "runs"

    def build(self, profile: str) -> Path:
        """Everything that a build of one profile makes."""
        return self.root / "_build" / profile

    def page(self, name: str) -> Path:
        """Everything that belongs to the page of one run, named ``<chapter>-<key>``."""
        return self.root / "_build" / "pages" / name

    def sweep(self, name: str) -> Path:
        """Everything that belongs to one sweep, named ``<chapter>-<key>``."""
        return self.root / "_build" / "sweeps" / name

    def html(self, profile: str) -> Path:
        """Folder of the finished site of one profile."""
        return self.build(profile) / "html"

    def chapter(self, name: str) -> Path:
        """Source of a chapter.

        Raises
        ------
        BookError
            If there is no such chapter.
        """
        if name not in (names := self.chapters()):
            raise BookError(unknown("chapter", name, names))
        return self.book / f"{name}.md"

    def toc(self) -> list[str]:
        """All pages in ``_toc.yml``, in reading order."""
        path = self.root / "_toc.yml"
        try:
            tree = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise BookError(f"{path}: {error}") from None
        names = list(files(tree))
        for name in names:
            if not _NAME.fullmatch(name):
                raise BookError(f"{path}: {name!r} is no page name (letters, digits, - and _)")
        return names

    def chapters(self) -> list[str]:
        """Pages in ``_toc.yml`` that have code to run, in reading order."""
        return [name for name in self.toc() if executable(self.book / f"{name}.md")]

    def profiles(self) -> list[str]:
        """Names of the profiles, the default first."""
        names = sorted(path.stem for path in (self.book / "profiles").glob("*.yaml"))
        names = [name for name in names if _NAME.fullmatch(name) and name not in _RESERVED]
        return sorted(names, key=lambda name: name != "quick")


def executable(path: Path) -> bool:
    """Whether a page is a notebook: its front matter names a kernel or it has code cells."""
    if not path.is_file():
        return False
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise BookError(f"{path} cannot be read: {error}") from None
    front = re.match(r"---\n(.*?)\n---\n", text, flags=re.DOTALL)
    return bool(
        (front and re.search(r"^kernelspec:", front[1], flags=re.MULTILINE))
        or re.search(r"^```+\{code-cell\}", text, flags=re.MULTILINE)
    )


def files(node: object) -> Iterable[str]:
    """Yield the pages that a table of contents lists, in reading order."""
    if isinstance(node, dict):
        for key in ("root", "file"):
            if key in node:
                yield str(node[key])
        for key in ("parts", "chapters", "sections"):
            yield from files(node.get(key))
    elif isinstance(node, list):
        for entry in node:
            yield from files(entry)


def word(value: Any) -> str:
    """Return a value as it is written on the command line."""
    if isinstance(value, list):
        return "[" + ",".join(map(word, value)) + "]"
    if isinstance(value, str) and re.search(r"[,\[\]'\"]|^\s|\s$", value):
        return f'"{value}"' if "'" in value else f"'{value}'"
    return str(value).lower() if isinstance(value, bool) else str(value)
