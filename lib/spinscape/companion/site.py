"""Build the site from the staged folder, and put it in place only when it is whole."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from spinscape.companion.plan import REPOSITORY
from spinscape.companion.processes import die_with_parent, put_in_place, settle, write_whole
from spinscape.companion.provenance import LIBRARY

# What pages load from MathJax's folder: the loader that carries TeX and its fonts, and the TeX
# extensions it fetches when a formula asks for them. The rest is tens of megabytes.
_MATHJAX = ("tex-chtml.js", "input/tex/extensions", "output/chtml/fonts", "a11y", "sre")
_MATHJAX_DROPPED = ("sre/mathmaps",)
_JUPYTER_BOOK = "from jupyter_book.cli.main import main; main()"
_WARNING = re.compile(r"WARNING|ERROR|Error")


class SiteError(RuntimeError):
    """Sphinx had something to say."""


def build_site(folder: Path) -> None:
    """Run Jupyter Book over the staged folder with execution off and warnings as errors.

    Parameters
    ----------
    folder
        The staged pages are in its ``src``; the site goes to its ``html``.

    Raises
    ------
    SiteError
        With Sphinx's warnings; the site that was there before stays.
    """
    part = folder / "site.part"
    shutil.rmtree(part, ignore_errors=True)
    search = [str(LIBRARY), os.environ.get("PYTHONPATH", "")]
    command = [sys.executable, "-P", "-c", _JUPYTER_BOOK, "build", str(folder / "src"),
               "--path-output", str(part), "--all", "-W", "-n", "--keep-going"]  # fmt: skip
    run = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=die_with_parent(signal.SIGTERM),
        env={**os.environ, "NO_COLOR": "1", "PYTHONPATH": os.pathsep.join(filter(None, search))},
    )
    print(run.stdout)
    built = part / "_build" / "html"
    if run.returncode or not (built / "index.html").is_file():
        raise SiteError(_warnings(run.stdout))
    _prune_mathjax(built / "_static" / "mathjax")
    if os.environ.get(REPOSITORY):
        for notebook in (folder / "src").glob("*.ipynb"):
            shutil.copy(notebook, built)
        (built / ".nojekyll").touch()
    settle(built)
    _swap(built, folder / "html")
    shutil.rmtree(part, ignore_errors=True)


def _warnings(output: str) -> str:
    lines = [line for line in output.splitlines() if _WARNING.search(line)]
    return "\n".join(lines or output.splitlines()[-20:])


def _prune_mathjax(folder: Path) -> None:
    kept = [folder / name for name in _MATHJAX]
    dropped = [folder / name for name in _MATHJAX_DROPPED]
    for path in list(folder.rglob("*")):
        inside = any(path == keep or keep in path.parents for keep in kept)
        outside = any(drop in path.parents for drop in dropped)
        if path.is_file() and (outside or not inside):
            path.unlink()
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def _swap(built: Path, html: Path) -> None:
    """Put a folder in the place of another; `restore` undoes what an interruption leaves."""
    old = html.with_name("html.old")
    shutil.rmtree(old, ignore_errors=True)
    if html.exists():
        os.replace(html, old)
    put_in_place(built, html)
    shutil.rmtree(old, ignore_errors=True)


def restore(folder: Path) -> None:
    """Put the earlier site back where the last build was stopped between two moves."""
    html = folder / "html"
    old = html.with_name("html.old")
    if old.is_dir() and not html.exists():
        os.replace(old, html)


def main(arguments: list[str] | None = None) -> int:
    """Build the site as the command line says; return the exit code."""
    parser = argparse.ArgumentParser(prog="spinscape.companion.site")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--mark", type=Path, required=True)
    parser.add_argument("--parent", type=int, help="process that has to be this one's parent")
    given = parser.parse_args(arguments)
    die_with_parent(signal.SIGTERM)()
    if given.parent not in (None, os.getppid()):
        return 1
    for old in given.mark.parent.glob("site-*"):
        old.unlink()
    try:
        build_site(given.folder)
    except SiteError as error:
        print(f"The site could not be built.\n{error}")
        return 1
    write_whole(given.mark, "")
    return 0


if __name__ == "__main__":
    sys.exit(main())
