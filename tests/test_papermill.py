"""Plain papermill and Jupyter: the same checks as from the command line, made inside the kernel."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from jupyter_client.manager import start_new_kernel

from spinscape.companion.cells import _check, check_parameters
from spinscape.companion.parameters import ParameterError
from toybook import FRONT, REPOSITORY

DECLARED = """\
hidden: int = 64  # {1..1000}
rate: float = 1e-2  # {0<..1}
shuffle: bool = True
dataset: str = "digits"  # {digits | mnist}
label: str = "plain"
sigmas: list[float] = [0.01, 0.07]  # {0<..}
"""
IMPORT = "from spinscape.companion import cells"
CHECK = "cells.check_parameters()"
NAMES = "print([hidden, rate, shuffle, dataset, label, sigmas])"
TOY = FRONT + "".join(
    f"```{{code-cell}} ipython3\n{tag}{source}\n```\n\n"
    for tag, source in (
        ("", IMPORT), (":tags: [parameters]\n\n", DECLARED), (":tags: [remove-cell]\n\n", CHECK), ("", NAMES)
    )
)  # fmt: skip


def command(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "lib"), "IPYTHONDIR": str(cwd / "ipython")}
    return subprocess.run(
        [sys.executable, "-m", *words], cwd=cwd, env=environment, capture_output=True, text=True
    )


def convert(source: Path, folder: Path) -> None:
    done = command("jupytext", "--to", "ipynb", "--output", "in.ipynb", str(source), cwd=folder)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def toy(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("toy")
    (folder / "toy.md").write_text(TOY, encoding="utf-8")
    convert(folder / "toy.md", folder)
    return folder


def code_cells(path: Path) -> list[dict]:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


@pytest.mark.parametrize(
    ("words", "printed"),
    [
        ((), "[64, 0.01, True, 'digits', 'plain', [0.01, 0.07]]"),
        (
            ("-p", "hidden", "1e2", "-p", "rate", "1", "-p", "shuffle", "false", "-p", "dataset", "mnist",
             "-r", "label", "007", "-p", "sigmas", "[0.5,1e-2]", "--report-mode"),
            "[100, 1.0, False, 'mnist', '007', [0.5, 0.01]]",
        ),
        (
            ("-y", "{rate: 1e-3, shuffle: no, sigmas: [1, 1e-3], label: 'a\"b'}", "--inject-paths"),
            "[64, 0.001, False, 'digits', 'a\"b', [1.0, 0.001]]",
        ),
        (
            ("-p", "hidden", "010", "-p", "shuffle", "0", "-p", "sigmas", "1"),
            "[10, 0.01, False, 'digits', 'plain', [1.0]]",
        ),
    ],
)  # fmt: skip
def test_papermill_sets_what_a_person_means(toy, words, printed):
    done = command("papermill", "in.ipynb", "out.ipynb", *words, cwd=toy)
    assert done.returncode == 0, done.stderr
    assert "".join(code_cells(toy / "out.ipynb")[-1]["outputs"][0]["text"]).strip() == printed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("-p", "hiden", "32"),
            "unknown parameter 'hiden'. Did you mean 'hidden'? Allowed: hidden, rate, shuffle",
        ),
        (("-p", "hidden", "1001"), "parameter 'hidden': 1001 is out of range. Allowed: 1..1000."),
        (("-p", "rate", "nan"), "nan is not of type float"),
        (("-p", "shuffle", "maybe"), "'maybe' is not of type bool"),
        (("-p", "label", "7"), "7 is not of type str"),
        (("-y", "sigmas: {a: 1}"), "{'a': 1} is not of type list[float]"),
        (("-r", "hidden", "9" * 9999), "(10001 characters) is not of type int"),
    ],
    ids=lambda value: "-".join(value)[:30] if isinstance(value, tuple) else None,
)
def test_papermill_with_a_bad_parameter_stops_at_the_check(toy, words, message):
    done = command("papermill", "in.ipynb", "bad.ipynb", *words, cwd=toy)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ParameterError: ")
    assert message in last
    *before, check, after = code_cells(toy / "bad.ipynb")
    assert "".join(check["source"]) == CHECK
    assert [output["output_type"] for output in check["outputs"]] == ["error"]
    assert all(cell["execution_count"] for cell in before)
    assert after["execution_count"] is None


def test_a_real_chapter_stops_before_it_trains(tmp_path):
    convert(REPOSITORY / "book" / "random_walks.md", tmp_path)
    done = command("papermill", "in.ipynb", "out.ipynb", "-p", "hiden", "32", cwd=tmp_path)
    assert done.returncode == 1
    assert (
        "ParameterError: unknown parameter 'hiden'. Did you mean 'hidden'? Allowed: dataset, " in done.stderr
    )
    run = [cell["source"] for cell in code_cells(tmp_path / "out.ipynb") if cell["execution_count"]]
    assert "".join(run[-1]) == CHECK
    assert "".join(run[-2]) == "# Parameters\nhiden = 32\n"
    assert len(run) == 4


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kernel")
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "lib"), "IPYTHONDIR": str(folder)}
    manager, client = start_new_kernel(kernel_name="python3", env=environment)
    yield client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def test_cells_may_be_edited_and_run_again_in_jupyter(kernel):
    def run(source: str) -> str:
        reply = kernel.execute_interactive(source, output_hook=lambda _: None, timeout=120)["content"]
        return "" if reply["status"] == "ok" else reply["evalue"]

    assert run(IMPORT) == ""
    assert "no parameters cell was run" in run(CHECK)
    assert run(DECLARED) == ""
    assert run(CHECK) == ""
    assert run(DECLARED.replace("64", "1001")) == ""
    assert "'hidden': 1001 is out of range. Allowed: 1..1000." in run(CHECK)
    assert run(DECLARED.replace("64", "'many'")) == ""
    assert "'many' is not of type int. Allowed: int in 1..1000." in run(CHECK)
    assert run(DECLARED.replace("64", "128")) == ""
    assert run(CHECK) == ""
    assert run("assert hidden == 128") == ""
    assert run("# Parameters\nhiden = 32\n") == ""
    assert "Did you mean 'hidden'?" in run(CHECK)
    assert run("# Parameters\nhidden = '32'\n") == ""
    assert run(CHECK) == ""
    assert run("assert hidden == 32") == ""
    assert run("rate = 7") == ""
    assert "'rate': 7.0 is out of range" in run(CHECK)


def of(*cells: str) -> dict:
    """Names after some cells were run and checked."""
    names: dict = {}
    for cell in cells:
        exec(cell, names)
    _check(["", IMPORT, *cells, CHECK], names)
    return names


def test_the_last_parameters_cell_counts():
    assert of(DECLARED, DECLARED.replace("64", "8"))["hidden"] == 8
    assert of(DECLARED, "x: int = 3")["hidden"] == 64
    with pytest.raises(ParameterError, match="out of range"):
        of(DECLARED, "x: int = 3", "hidden = 1001")


@pytest.mark.parametrize(
    ("given", "message"),
    [("[2, 1]", "is not increasing"), ("[1]", "not at least 2"), ("'1,1'", "increasing")],
)
def test_rules_hold_in_the_kernel(given, message):
    cell = "sizes: list[int] = [1, 2]  # sizes {1..9; increasing; at least 2}"
    assert of(cell, "sizes = '3, 4'")["sizes"] == [3, 4]
    with pytest.raises(ParameterError, match=message):
        of(cell, f"sizes = {given}")
    with pytest.raises(ParameterError, match="out of range"):
        of("x: int = 3", DECLARED, "hidden = 1001")


def test_only_what_papermill_set_after_the_parameters_cell_counts():
    assert of("# Parameters\nhiden = 3", DECLARED)["hidden"] == 64
    assert of(DECLARED, "# Parameters\nhiden = 3", "# Parameters\nhidden = '3'")["hidden"] == 3
    assert of(DECLARED, "# Parameters\nPAPERMILL_INPUT_PATH = 'a'")["hidden"] == 64
    with pytest.raises(ParameterError, match="unknown parameter 'hiden'"):
        of(DECLARED, "# Parameters\nhidden = 3\nhiden = 3")


def test_a_line_without_a_type_in_the_parameters_cell_is_refused():
    with pytest.raises(ParameterError, match=r"line 1: expected 'name: type = default"):
        of(DECLARED, DECLARED.replace("hidden: int", "hidden"))


def test_without_a_notebook_nothing_is_checked_and_it_says_so():
    with pytest.raises(ParameterError, match="in a notebook only"):
        check_parameters()
