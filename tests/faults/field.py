"""Where a campaign works: its folder, the undisturbed calls, and one case after the other."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bookcopy import CHAPTER, copy_book
from faults.call import Book, Reference, borrowed, make_reference, new_book
from faults.table import Row
from faults.toy import make_toy


@dataclass
class Field:
    """The folder of a campaign and what undisturbed calls in it left.

    Attributes
    ----------
    folder
        For all copies of the book.
    profile
        Of the builds that are killed.
    short
        Whether this is the short form.
    seed
        For everything random.
    data
        Folder with real data sets; empty where there is none.
    toy
        Whether the builds are of the small book.
    """

    folder: Path
    profile: str
    short: bool
    seed: int
    data: str = ""
    toy: bool = False
    references: dict[str, Reference] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        """Stands in for the user's home."""
        return self.folder / "home"

    def words(self, name: str) -> tuple[str, ...]:
        """Words of the command behind a name; none where the book is only there."""
        tiny = ("--profile", "tiny")
        return {
            "real": (),
            "toy": ("build", *tiny),
            "build": ("build", "--profile", self.profile),
            "tiny": ("build", *tiny),
            "run": ("run", CHAPTER, "seed=5", *tiny),
            "sweep": ("sweep", CHAPTER, "hidden=8,12", "seed=3", *tiny),
        }[name]

    def is_toy(self, name: str) -> bool:
        """Whether a name stands for the small book."""
        return name == "toy" or (self.toy and name in ("build", "tiny"))

    def prepare(self, name: str) -> Reference:
        """Make an undisturbed call once, in a copy with compiled modules and a warm home."""
        for other, known in list(self.references.items()):
            if known.words == self.words(name) and self.is_toy(other) == self.is_toy(name):
                self.references[name] = known
        if name not in self.references:
            folder = self.folder / f"reference-{name}"
            write = make_toy if self.is_toy(name) else copy_book
            self.references[name] = make_reference(folder, self.home, self.words(name), write)
        return self.references[name]

    @contextlib.contextmanager
    def book(self, name: str, reference: str = "tiny", *, built: bool = False) -> Iterator[Book]:
        """Use a copy of an undisturbed call's book, with its build or without, and remove it."""
        source = self.references[reference].book
        with borrowed(new_book(self.folder / name, self.home, source, built=built)) as book:
            yield book


@dataclass(frozen=True)
class Case:
    """One thing to try.

    Attributes
    ----------
    name, group
        For people; `name` also names the case's folder.
    function
        Called with the field and `arguments`; returns rows.
    needs
        Names of undisturbed calls.
    """

    name: str
    group: str
    function: Callable[..., list[Row]]
    arguments: tuple[Any, ...] = ()
    needs: tuple[str, ...] = ("tiny",)

    def run(self, field: Field) -> list[Row]:
        """Carry the case out; an error of the campaign itself is a failed row."""
        try:
            return self.function(field, self, *self.arguments)
        except Exception as error:
            row = Row(self.group, self.name)
            row.expect(False, f"the campaign stumbled: {type(error).__name__}: {error}")
            return [row]
