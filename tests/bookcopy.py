"""Copies of the book, so that nothing of the checkout's own builds is touched."""

from __future__ import annotations

import shutil
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
COPIED = ("book", "lib", "_config.yml", "_toc.yml", "Snakefile", "profiles", "requirements.lock")
CHAPTER = "random_walks"


def copy_book(target: Path, source: Path = REPOSITORY) -> Path:
    """Copy what a build reads into a folder, without what builds made."""
    target.mkdir(parents=True, exist_ok=True)
    for name in COPIED:
        if (source / name).is_dir():
            shutil.copytree(source / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source / name, target / name)
    return target
