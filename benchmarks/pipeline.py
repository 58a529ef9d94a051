"""What the pipeline costs beyond the cells: messages, one run, runs of a sweep, here or on a cluster.

    python benchmarks/pipeline.py                                 all of it on this machine
    python benchmarks/pipeline.py -- --executor slurm --jobs 2    the sweep through Slurm

Works in a copy of the book, so that nothing of the checkout's own builds is touched.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from bookcopy import CHAPTER, copy_book


def call(root: Path, *words: str) -> tuple[float, subprocess.CompletedProcess[str]]:
    """Run the command in a book's folder; return the seconds it took."""
    begin = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "spinscape.companion.cli", *words], cwd=root, capture_output=True, text=True
    )
    return time.perf_counter() - begin, done


def executed(folder: Path) -> list[dict[str, Any]]:
    """Metadata of all executed notebooks in a folder."""
    paths = sorted((folder / "executed").glob("*.ipynb"))
    return [json.loads(path.read_text(encoding="utf-8"))["metadata"]["spinscape"] for path in paths]


def main() -> None:
    """Measure and print one line per quantity."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default="tiny")
    parser.add_argument("--repeat", type=int, default=5, help="calls with a bad parameter")
    parser.add_argument("--only-sweep", action="store_true")
    words = sys.argv[1:]
    cut = words.index("--") if "--" in words else len(words)
    given, extra = parser.parse_args(words[:cut]), words[cut:]
    with tempfile.TemporaryDirectory(prefix="book-") as folder:
        root = copy_book(Path(folder))
        if not (given.only_sweep or extra):
            measure_messages(root, given.repeat)
            measure_run(root, given.profile)
        measure_sweep(root, given.profile, extra)


def measure_messages(root: Path, repeat: int) -> None:
    """Time from a call with a bad parameter to its message."""
    for word in ("hiden=64", "hidden=many", "hidden=0", "dataset=mnits"):
        times = []
        for _ in range(repeat):
            seconds, done = call(root, "run", CHAPTER, word)
            assert done.returncode == 2, done.stderr
            times.append(seconds)
        print(f"message on {word}: median {sorted(times)[repeat // 2]:.2f} s, longest {max(times):.2f} s")


def measure_run(root: Path, profile: str) -> None:
    """Time of one run and of the whole book beyond what their cells took."""
    for name, words, folder in (
        ("run", ("run", CHAPTER, "seed=17"), root / "_build" / "runs"),
        ("build", ("build",), root / "_build" / profile),
    ):
        total, done = call(root, *words, "--profile", profile)
        assert done.returncode == 0, done.stdout + done.stderr
        for about in executed(folder):
            process = about["duration"] - about["in_cells"]
            print(
                f"{name}: {total:.1f} s in all, cells {about['in_cells']:.1f} s, "
                f"kernel and papermill {process:.1f} s, everything beyond the cells "
                f"{total - about['in_cells']:.1f} s"
            )
        again, _ = call(root, *words, "--profile", profile)
        print(f"{name} again, nothing to do: {again:.1f} s")


def measure_sweep(root: Path, profile: str, extra: list[str]) -> None:
    """Time of six runs one at a time, beyond their cells."""
    words = ("sweep", CHAPTER, "hidden=16,32", "seed=20,21,22", "--profile", profile)
    words += () if extra else ("--cores", "1")
    total, done = call(root, *words, *extra)
    assert done.returncode == 0, done.stdout + done.stderr
    runs = [about for about in executed(root / "_build" / "runs") if about["parameters"]["seed"] >= 20]
    cells = sum(about["in_cells"] for about in runs)
    kernels = sum(about["duration"] for about in runs) - cells
    print(
        f"sweep of {len(runs)}: {total:.1f} s in all, cells {cells:.1f} s, kernels {kernels:.1f} s; "
        f"beyond the cells {(total - cells) / len(runs):.1f} s per run, table and page among them"
    )


if __name__ == "__main__":
    main()
