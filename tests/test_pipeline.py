"""A small book built end to end: what runs again, what does not, and what failures leave."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from spinscape.companion.homeless import stand_ins
from spinscape.companion.layout import Layout
from spinscape.companion.plan import book_plan
from spinscape.companion.processes import locked
from spinscape.companion.site import restore
from toybook import BETA, REPOSITORY, edit, executed, make_book, spinscape


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Build the book once."""
    layout = make_book(tmp_path_factory.mktemp("book"))
    run = spinscape("build", root=layout.root)
    assert run.returncode == 0, run.stdout + run.stderr
    return layout, run


def build(layout: Layout, *arguments: str, **environment: str):
    """Build again; return which chapters ran, and the finished process."""
    run = spinscape("build", *arguments, root=layout.root, **environment)
    line = next((x for x in run.stdout.splitlines() if x.startswith("Executed: ")), "")
    ran = {word for word in ("alpha", "beta") if word in line}
    return ran, run


def test_the_first_build_runs_everything(built):
    layout, run = built
    assert "Executed: alpha (" in run.stdout
    assert "beta (" in run.stdout
    assert f"{layout.html('quick')}/index.html" in run.stdout
    assert (layout.html("quick") / "index.html").is_file()
    page = (layout.html("quick") / "alpha.html").read_text(encoding="utf-8")
    assert "8 [0.1, 0.2]" in page
    assert '<span class="measured" data-key="parameters.width" data-format="">4</span>' in page
    assert "How this page was made" in page
    intro = (layout.html("quick") / "intro.html").read_text(encoding="utf-8")
    assert 'data-key="alpha.parameters.width" data-format="">4</span>' in intro
    status = (layout.html("quick") / "status.html").read_text(encoding="utf-8")
    assert "alpha" in status
    assert "MiB" in status
    assert "mathjax/tex-chtml.js" in page
    assert "THEBE_JS_URL" not in page


def test_the_executed_notebook_says_what_made_it(built):
    layout, _ = built
    about = executed(layout, "alpha")["metadata"]["spinscape"]
    assert about["parameters"] == {"width": 4, "rates": [0.1, 0.2]}
    assert about["changed"] == {"width": 4}
    assert about["profile"] == "quick"
    assert about["commit"] == "unknown"
    assert about["cells"] == 3
    assert about["duration"] > 0
    assert about["peak_memory"] > 10 * 2**20
    assert len(about["library_hash"]) == 64
    assert about["versions"]["python"]


def test_nothing_machine_bound_is_on_a_staged_page(built):
    layout, _ = built
    for page in (layout.build("quick") / "src").iterdir():
        if page.is_file():
            assert str(layout.root) not in page.read_text(encoding="utf-8")


def test_nothing_changed_and_files_touched_execute_nothing(built):
    layout, _ = built
    index = layout.html("quick") / "index.html"
    before = index.stat().st_mtime_ns
    for path in layout.root.rglob("*"):
        if "_build" not in path.parts and path.is_file():
            path.touch()
    ran, run = build(layout)
    assert run.returncode == 0
    assert ran == set()
    assert index.stat().st_mtime_ns == before


def test_prose_executes_nothing_and_reaches_the_page(built):
    layout, _ = built
    before = executed(layout, "alpha")
    edit(layout.book / "alpha.md", "Some prose.", "Another word.")
    ran, run = build(layout)
    assert run.returncode == 0
    assert ran == set()
    assert executed(layout, "alpha") == before
    assert "Another word." in (layout.html("quick") / "alpha.html").read_text(encoding="utf-8")


def stale(layout: Layout) -> set[str]:
    """Chapters that a build would run."""
    plan = book_plan(layout, "quick")
    plan.prepare()
    return set(plan.runs) - plan.finished()


def test_a_library_line_runs_only_the_chapters_that_use_it(built):
    layout, _ = built
    edit(layout.lib / "spinscape" / "tools.py", "2 * x", "20 * x")
    ran, run = build(layout)
    assert run.returncode == 0
    assert ran == {"alpha"}
    assert "80 [0.1, 0.2]" in (layout.html("quick") / "alpha.html").read_text(encoding="utf-8")


def test_each_change_makes_stale_just_what_it_must(built):
    layout, _ = built
    assert stale(layout) == set()
    site = book_plan(layout, "quick").site_key
    for path, old, new, expected in (
        (layout.book / "profiles" / "quick.yaml", "width: 4", "width: 5", {"alpha"}),
        (layout.book / "alpha.md", "# Alpha", "# Aleph", set()),
        (layout.book / "alpha.md", "double(width), ", "double(width) , ", {"alpha"}),
        (layout.lib / "spinscape" / "other.py", "other'", "changed'", {"beta"}),
        (layout.lib / "spinscape" / "__init__.py", "", "NEW = 1\n", {"alpha", "beta"}),
        (layout.root / "requirements.lock", "", "numpy==2\n", {"alpha", "beta"}),
        (layout.root / "_config.yml", "title: ", "title: A ", set()),
        (layout.book / "references.bib", "", "% a comment\n", set()),
    ):
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace(old, new) if old else text + new, encoding="utf-8")
        assert stale(layout) == expected, path
        assert book_plan(layout, "quick").site_key != site
        path.write_text(text, encoding="utf-8")
    assert stale(layout) == set()
    assert book_plan(layout, "quick").site_key == site


def test_a_missing_or_foreign_executed_notebook_is_noticed(built):
    layout, _ = built
    path = layout.build("quick") / "executed" / "beta.ipynb"
    aside = path.with_suffix(".aside")
    mark = next((layout.build("quick") / "done").glob("beta-*.json"))
    text = mark.read_text(encoding="utf-8")
    path.rename(aside)
    assert stale(layout) == {"beta"}
    aside.rename(path)
    mark.write_text(text, encoding="utf-8")
    assert stale(layout) == set()
    path.unlink()
    ran, run = build(layout)
    assert run.returncode == 0, run.stdout
    assert ran == {"beta"}
    assert path.is_file()


@pytest.fixture(scope="module")
def failing(tmp_path_factory):
    """Build a book whose second chapter raises."""
    layout = make_book(tmp_path_factory.mktemp("failing"))
    edit(layout.book / "beta.md", "print(name, ", "print(1 / 0, ")
    return layout, spinscape("build", root=layout.root)


def test_a_failing_chapter_is_reported_and_the_other_runs(failing):
    layout, run = failing
    assert run.returncode == 1
    assert "beta failed in cell 2 of 2: ZeroDivisionError: division by zero" in run.stdout
    assert "print(1 / 0, spinscape.other.LABEL)" in run.stdout
    assert "Executed: alpha (" in run.stdout
    partial = layout.build("quick") / "partial" / "beta.ipynb"
    assert f"Partial notebook: {partial}" in run.stdout
    assert "ZeroDivisionError" in partial.read_text(encoding="utf-8")
    assert "\x1b" not in run.stdout
    report = json.loads((layout.build("quick") / "failed" / "beta.json").read_text())
    assert report["cell"] == 2
    assert not (layout.html("quick") / "index.html").exists()


def test_a_repaired_chapter_runs_alone(failing):
    layout, _ = failing
    (layout.book / "beta.md").write_text(BETA, encoding="utf-8")
    ran, run = build(layout)
    assert run.returncode == 0, run.stdout
    assert ran == {"beta"}
    assert not (layout.build("quick") / "failed" / "beta.json").exists()


def test_a_dead_kernel_and_unknown_numbers_are_reported(failing):
    layout, _ = failing
    (layout.book / "beta.md").write_text(BETA, encoding="utf-8")
    edit(layout.book / "beta.md", "print(name, ", "import os; os._exit(3)\nprint(name, ")
    _, run = build(layout)
    assert run.returncode == 1
    assert (
        "beta failed in cell 2 of 2: DeadKernelError: the kernel ended with exit code 3 before" in run.stdout
    )
    (layout.book / "beta.md").write_text(BETA + "\n{{ parameters.nam }}\n", encoding="utf-8")
    _, run = build(layout)
    assert run.returncode == 1
    assert "beta: unknown number 'parameters.nam'. Did you mean 'parameters.name'" in run.stdout


def test_a_broken_page_leaves_the_earlier_site(failing):
    layout, _ = failing
    (layout.book / "beta.md").write_text(BETA, encoding="utf-8")
    _, run = build(layout)
    assert run.returncode == 0, run.stdout
    before = (layout.html("quick") / "beta.html").read_text(encoding="utf-8")
    edit(layout.book / "beta.md", "# Beta", "# Beta\n\n[nowhere](missing.md)")
    _, run = build(layout)
    assert run.returncode == 1
    assert "The site could not be built." in run.stdout
    assert "missing.md" in run.stdout
    assert (layout.html("quick") / "beta.html").read_text(encoding="utf-8") == before


def test_a_home_that_cannot_be_written_will_do(built, tmp_path):
    layout, _ = built
    (layout.build("quick") / "executed" / "beta.ipynb").unlink()
    nowhere = tmp_path / "file"
    nowhere.touch()
    ran, run = build(layout, HOME=str(nowhere / "home"), XDG_CACHE_HOME="", XDG_CONFIG_HOME="")
    assert run.returncode == 0, run.stdout
    assert ran == {"beta"}
    assert (layout.root / "_build" / "cache").is_dir()


def test_only_caches_that_cannot_be_written_are_moved(tmp_path, monkeypatch):
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "MPLCONFIGDIR", "SPINSCAPE_CACHE"):
        monkeypatch.delenv(name, raising=False)
    aside = tmp_path / "aside"
    home = tmp_path / "home"
    monkeypatch.setenv("HOME", str(home))
    assert stand_ins(aside) == {}
    moved = {"XDG_CACHE_HOME": str(aside), "MPLCONFIGDIR": str(aside / "matplotlib")}
    monkeypatch.setenv("HOME", str(tmp_path / "file" / "home"))
    (tmp_path / "file").touch()
    assert stand_ins(aside) == moved
    data = home / ".cache" / "spinscape"
    data.mkdir()
    (home / ".cache" / "snakemake").rmdir()
    (home / ".cache" / "snakemake").touch()
    (home / ".config" / "matplotlib").rmdir()
    (home / ".config" / "matplotlib").touch()
    monkeypatch.setenv("HOME", str(home))
    assert stand_ins(aside) == {**moved, "SPINSCAPE_CACHE": str(data)}
    assert not aside.exists()


def test_a_second_build_in_the_folder_is_refused(built):
    layout, _ = built
    with locked(layout.build("quick") / ".lock"):
        run = spinscape("build", root=layout.root)
    assert run.returncode == 1
    assert run.stderr.strip().endswith(f"is under way in {layout.root}")
    assert len(run.stderr.strip().splitlines()) == 1


def processes(layout: Layout) -> list[int]:
    """Processes that work for this book: kernels, chapters, the engine."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            words = [*process.cmdline(), process.environ().get("SPINSCAPE_MEMO", "")]
            if any(word.startswith(str(layout.root)) for word in words):
                found.append(process.pid)
    return found


@pytest.fixture
def temporary():
    """Make a folder for temporary files with a path short enough for sockets."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_build_leaves_nothing_behind_and_goes_on(built, temporary, number):
    layout, _ = built
    wait = f"import time, os\nif not os.path.exists('../go{number}'): time.sleep(120)\n"
    edit(layout.book / "beta.md", "print(name, ", f"{wait}print(name, ")
    process = subprocess.Popen(
        [sys.executable, "-m", "spinscape.companion.cli", "build"],
        cwd=layout.root,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "lib"), "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    progress = layout.build("quick") / "progress" / "beta.json"
    wait_for(lambda: '"running"' in text_of(progress) and '"cell": 2' in text_of(progress))
    assert processes(layout)
    assert list(temporary.glob("spinscape-*"))
    process.send_signal(number)
    _, errors = process.communicate()
    (layout.root / f"go{number}").touch()
    assert process.returncode == (-number if number == signal.SIGKILL else 128 + number)
    if number != signal.SIGKILL:
        assert errors.strip() == "Stopped. The next call goes on from here."
    wait_for(lambda: not processes(layout))
    wait_for(lambda: not list(temporary.glob("spinscape-*")))
    ran, run = build(layout)
    assert run.returncode == 0, run.stdout
    assert ran == {"beta"}


def test_a_killed_chapter_is_reported_and_leaves_no_kernel(failing):
    layout, _ = failing
    (layout.book / "beta.md").write_text(BETA, encoding="utf-8")
    kill = "import os, signal, time; os.kill(os.getppid(), signal.SIGKILL); time.sleep(600)"
    edit(layout.book / "beta.md", "print(name, ", f"{kill}\nprint(name, ")
    _, run = build(layout)
    assert run.returncode == 1
    assert "beta failed in cell 2 of 2: Stopped: its process was ended" in run.stdout
    wait_for(lambda: not processes(layout))


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def wait_for(condition) -> None:
    for _ in range(1200):
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError("waited in vain")


def test_published_notebooks_can_be_launched(built):
    layout, _ = built
    ran, run = build(layout, SPINSCAPE_REPOSITORY="owner/book")
    assert run.returncode == 0, run.stdout
    assert ran == set()
    page = (layout.html("quick") / "alpha.html").read_text(encoding="utf-8")
    assert "colab.research.google.com/github/owner/book/blob/gh-pages/alpha.ipynb" in page
    assert "mybinder.org" in page
    notebook = json.loads((layout.html("quick") / "alpha.ipynb").read_text(encoding="utf-8"))
    assert "git+https://github.com/owner/book" in "".join(notebook["cells"][0]["source"])
    assert notebook["cells"][0]["metadata"]["tags"] == ["remove-cell"]
    assert "pip" not in page


def test_an_interrupted_swap_is_undone(tmp_path):
    layout = make_book(tmp_path)
    old = layout.build("quick") / "html.old"
    old.mkdir(parents=True)
    restore(layout.build("quick"))
    assert layout.html("quick").is_dir()
    assert not old.exists()
