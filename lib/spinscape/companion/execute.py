"""Run one chapter: ``python -m spinscape.companion.execute NAME --root R --store S --slot T``.

Called by the rules in ``Snakefile``.
The notebook grows at a partial path and is moved into place when the run has ended well; what goes
wrong is written to ``failed/<slot>.json`` beside it.
"""

from __future__ import annotations

import os
import signal
import sys

from spinscape.companion.processes import die_with_parent, locked, write_whole

if __name__ == "__main__":
    # Before the imports below, which take long enough for the parent to die meanwhile.
    die_with_parent(signal.SIGTERM)()

import argparse
import json
import math
import re
import resource
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

import nbformat

from spinscape.companion import chapters, plan, provenance, sealed
from spinscape.companion.layout import BookError, Layout
from spinscape.companion.parameters import ParameterError, check, schema

_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|[\x00-\x08\x0b-\x1f\x7f]")
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


class ChapterError(RuntimeError):
    """A chapter's run ended badly; `report` is what ``failed/<chapter>.json`` holds."""

    def __init__(self, report: dict[str, Any]) -> None:
        super().__init__(f"{report['chapter']}: {report['exception']}: {report['value']}")
        self.report = report


@dataclass
class Progress:
    """What a chapter is doing, in a small file that the build shows."""

    path: Path
    chapter: str
    cells: int = 0
    cell: int = 0
    started: float = field(default_factory=time.time)
    state: str = "starting"

    @property
    def bar(self) -> Path:
        """File for the bar of the loop that runs inside the cell."""
        return self.path.with_suffix(".bar")

    def write(self, state: str, cell: int | None = None) -> None:
        """Set the state and the running cell's number, counted from one."""
        self.state = state
        self.cell = self.cell if cell is None else cell
        self.bar.unlink(missing_ok=True)
        content = {"chapter": self.chapter, "state": state, "cell": self.cell, "cells": self.cells,
                   "started": self.started, "at": time.time()}  # fmt: skip
        write_whole(self.path, json.dumps(content))


def run_chapter(layout: Layout, store: Path, name: str, slot: str, mark: Path) -> Path:
    """Execute a chapter's code-only notebook and leave the executed one in place.

    Parameters
    ----------
    layout
        The book.
    store
        Folder of the runs' files.
    name
        Chapter and key, which name the code-only notebook that `plan.Plan.prepare` wrote.
    slot
        Names the executed notebook.
    mark
        The file that says that the run is done.

    Returns
    -------
    Path
        The executed notebook.

    Raises
    ------
    ParameterError
        If the notebook's parameters break the chapter's schema; no kernel was started.
    BookError
        If the library was edited since the run was planned: its key would name other code.
    ChapterError
        If a cell raised or the kernel died.
    """
    code = store / "code" / f"{name}.ipynb"
    target = plan.executed(store, slot)
    chapter, _, key = name.rpartition("-")
    stale = sealed.key(target) != key
    if stale:
        notebook = nbformat.read(code, as_version=4)
        about = notebook.metadata["spinscape"]
        check(schema(layout.chapter(chapter)), about["parameters"])
        _check_library(layout, notebook)
        executed = _execute(layout, store, code, slot, about)
        _check_library(layout, notebook)
        if slot == chapter:
            for old in mark.parent.glob(f"{chapter}-{plan.KEY_GLOB}.json"):
                old.unlink()
        write_whole(target, executed)
        (store / "partial" / f"{slot}.ipynb").unlink(missing_ok=True)
    write_whole(mark, plan.mark_text(name, executed=stale))
    return target


def _check_library(layout: Layout, notebook: nbformat.NotebookNode) -> None:
    """Make sure that what the kernel imports is what the run's key names."""
    about = notebook.metadata["spinscape"]
    library = provenance.chapter_library_hash(chapters.code(notebook), library=layout.lib)
    environment = provenance.environment_hash(layout.root)
    if (library, environment) != (about["library_hash"], about["environment_hash"]):
        raise BookError(
            "the library or the environment was changed while this call was under way, so its result "
            "would bear the key of other code. Call again"
        )


def _execute(layout: Layout, store: Path, code: Path, slot: str, about: Mapping[str, Any]) -> str:
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    from spinscape.companion import engine

    chapter = about["chapter"]
    partial = store / "partial" / f"{slot}.ipynb"
    partial.parent.mkdir(parents=True, exist_ok=True)
    notebook = nbformat.read(code, as_version=4)
    extra = 1 if about["changed"] else 0
    cells = len(notebook.cells) + extra
    progress = Progress(store / "progress" / f"{slot}.json", chapter, cells)
    progress.write("starting")
    os.environ.update(_environment(layout, progress))
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _stopper(progress))
    started = datetime.now(UTC)
    failure: tuple[str, str, list[str]] | None = None
    with engine.private_sockets() as config:
        try:
            papermill.execute_notebook(
                notebook,
                _literal(partial),
                parameters=dict(about["changed"]) or None,
                engine_name=engine.NAME,
                kernel_name="python3",
                progress_bar=False,
                cwd=str(layout.book),
                config=config,
                on_cell_start=lambda cell, cell_index: progress.write("running", cell_index + 1),
            )
        except PapermillExecutionError as error:
            progress.cell = error.cell_index + 1
            failure = (error.ename, error.evalue, error.traceback)
        except DeadKernelError:
            failure = ("DeadKernelError", _cause_of_death(), [])
        except RuntimeError as error:
            died = "died" in str(error)
            value = _cause_of_death() if died else f"the kernel did not start: {error}"
            failure = ("DeadKernelError" if died else type(error).__name__, value, [])
        finally:
            engine.kill_kernels()
    if failure:
        progress.write("failed")
        raise ChapterError(_report(partial, progress, failure))
    executed = _complete(partial, layout, about, started, cells)
    progress.write("done", progress.cells)
    return executed


def _literal(path: Path) -> str:
    """Return a path in which papermill, which fills in what stands in braces, finds nothing to fill in."""
    return str(path).replace("{", "{{").replace("}", "}}")


def _cause_of_death() -> str:
    """Say how the last kernel ended."""
    from spinscape.companion import engine

    code = engine.exit_code()
    if code == -signal.SIGKILL:
        how = "was killed (SIGKILL), which is what the system does when memory runs out"
    elif code is not None and code < 0:
        how = f"crashed (signal {-code}, {signal.strsignal(-code)})"
    else:
        how = "ended" + ("" if code is None else f" with exit code {code}")
    return f"the kernel {how} before the cell ended. The next call runs the chapter again"


def _environment(layout: Layout, progress: Progress) -> dict[str, str]:
    """Return what the kernel finds in its environment beyond what this process has."""
    search = [str(layout.lib), os.environ.get("PYTHONPATH", "")]
    return {
        **dict.fromkeys(_THREADS, "1"),
        "PYTHONPATH": os.pathsep.join(filter(None, search)),
        "PYTHONHASHSEED": "0",
        "SPINSCAPE_PROGRESS": str(progress.bar),
        "SPINSCAPE_MEMO": str(layout.memo),
    }


def _stopper(progress: Progress) -> Any:
    def stop(number: int, _: FrameType | None) -> None:
        from spinscape.companion import engine

        # A second signal must not cut the clearing short.
        for other in (signal.SIGINT, signal.SIGTERM):
            signal.signal(other, signal.SIG_IGN)
        engine.kill_kernels()
        engine.remove_sockets()
        try:
            progress.write("stopped")
        finally:
            os._exit(128 + number)

    return stop


def _complete(partial: Path, layout: Layout, about: Mapping[str, Any], started: datetime, cells: int) -> str:
    """Return the executed notebook as text, with what made it in its metadata."""
    notebook = nbformat.read(partial, as_version=4)
    in_cells = sum(cell.metadata.get("papermill", {}).get("duration") or 0.0 for cell in notebook.cells)
    notebook.metadata["spinscape"] = {
        **about,
        "commit": provenance.commit(layout.root),
        "versions": provenance.versions(),
        "started": started.isoformat(timespec="seconds"),
        "duration": round((datetime.now(UTC) - started).total_seconds(), 3),
        "in_cells": round(in_cells, 3),
        "cells": cells,
        "peak_memory": _peak_memory(),
    }
    return sealed.seal(notebook)


def _peak_memory() -> int:
    """Return the largest memory any child of this process had in use, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _report(partial: Path, progress: Progress, failure: tuple[str, str, list[str]]) -> dict[str, Any]:
    sources = []
    if partial.is_file():
        cells = json.loads(partial.read_text(encoding="utf-8"))["cells"]
        sources = ["".join(c["source"]) for c in cells if c["cell_type"] == "code"]
    name, value, lines = failure
    number = progress.cell
    return {
        "chapter": progress.chapter,
        "cell": number,
        "cells": progress.cells,
        "source": sources[number - 1] if 0 < number <= len(sources) else "",
        "exception": name,
        "value": _ANSI.sub("", value),
        "traceback": _ANSI.sub("", "\n".join(lines)),
        "partial": str(partial),
    }


def main(arguments: list[str] | None = None) -> int:
    """Run one chapter as the command line says; return the exit code."""
    parser = argparse.ArgumentParser(prog="spinscape.companion.execute")
    parser.add_argument("name", help="chapter and key")
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--store", type=Path, required=True, help="folder of the runs' files")
    parser.add_argument("--slot", required=True, help="names this run's files")
    parser.add_argument("--mark", type=Path, required=True, help="written when the run is done")
    parser.add_argument("--parent", type=int, help="process that has to be this one's parent")
    given = parser.parse_args(arguments)
    if given.parent not in (None, os.getppid()):
        return 1
    layout = Layout(given.root)
    chapter = given.name.rpartition("-")[0]
    failed = given.store / "failed" / f"{given.slot}.json"
    try:
        # A shared run may be under way for another call, or for one that was killed, on a cluster.
        with locked(given.store / "progress" / f"{given.slot}.lock", wait=math.inf):
            failed.unlink(missing_ok=True)
            run_chapter(layout, given.store, given.name, given.slot, given.mark)
    except ChapterError as error:
        report = error.report
    except Exception as error:
        if not isinstance(error, ParameterError | BookError | OSError):
            traceback.print_exc()
        report = _early(chapter, type(error).__name__, str(error))
    else:
        return 0
    write_whole(failed, json.dumps(report, indent=1))
    print(f"{report['chapter']}: cell {report['cell']}: {report['exception']}: {report['value']}")
    print(report["traceback"])
    return 1


def _early(chapter: str, name: str, value: str) -> dict[str, Any]:
    return {"chapter": chapter, "cell": 0, "cells": 0, "source": "", "exception": name,
            "value": value, "traceback": "", "partial": ""}  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
