"""The command line: help, tables, and bad input refused before anything starts."""

from __future__ import annotations

import subprocess
import sys

import pytest

from toybook import REPOSITORY, edit, make_book, spinscape


@pytest.fixture
def layout(tmp_path):
    return make_book(tmp_path)


def test_help_lists_the_commands_that_there_are(layout):
    run = spinscape("--help", root=layout.root)
    assert run.returncode == 0
    for name in ("build", "run", "sweep", "params", "claims", "data"):
        assert f"  {name} " in run.stdout
    assert "probe" not in run.stdout


def test_params_lists_what_the_cell_declares(layout):
    run = spinscape("params", "alpha", root=layout.root)
    assert run.returncode == 0
    for word in ("width", "int", "3", "1..10", "how wide", "list[float]", "0<..1"):
        assert word in run.stdout


def test_the_book_is_found_from_a_folder_inside(layout):
    run = spinscape("params", "beta", root=layout.book / "profiles")
    assert run.returncode == 0
    assert "digits | mnist" in run.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["params", "alpa"], "unknown chapter 'alpa'. Did you mean 'alpha'?"),
        (["build", "--profile", "quik"], "unknown profile 'quik'. Did you mean 'quick'?"),
        (["build", "--profile", "../quick"], "unknown profile '../quick'."),
        (["claims"], "the book has no claims"),
        (["claims", "--profile", "mnst"], "unknown profile 'mnst'."),
        (["data", "mnits"], "unknown data set 'mnits'. Did you mean 'mnist'?"),
        (["build", "--cores", "0"], "Invalid value for '--cores'"),
        (["biuld"], "No such command 'biuld'"),
        (["run", "alpha", "--", "width=3"], "'width=3': what follows -- is for Snakemake"),
        (["run", "alpha", "--root", "/"], "no _toc.yml in /"),
        (["build", "--profil", "quick"], "No such option"),
    ],
)
def test_bad_input_is_refused(layout, arguments, message):
    run = spinscape(*arguments, root=layout.root)
    assert run.returncode == 2
    assert message in run.stderr
    assert "Traceback" not in run.stderr
    assert not (layout.root / "_build").exists()


def test_a_bad_value_in_a_profile_is_refused_before_anything_runs(layout):
    edit(layout.book / "profiles" / "quick.yaml", "width: 4", "width: many")
    run = spinscape("build", root=layout.root)
    assert run.returncode == 2
    assert run.stderr.startswith("spinscape: book/profiles/quick.yaml: alpha: parameter 'width'")
    assert len(run.stderr.splitlines()) == 1
    assert not (layout.root / "_build").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "alpha", "rates=0.2,0.1"], "parameter 'rates': [0.2, 0.1] is not increasing."),
        (["run", "alpha", "rates=0.1"], "parameter 'rates': [0.1] has 1 value, not at least 2."),
        (["sweep", "alpha", "width=3,4"], "parameter 'width': 4 is not odd. Allowed: 1..10; odd."),
        (["sweep", "alpha", "rates=[0.1,0.2],[0.2,0.1]"], "[0.2, 0.1] is not increasing."),
    ],
)
def test_a_value_against_the_rules_is_refused_before_anything_runs(layout, arguments, message):
    edit(layout.book / "alpha.md", "{0<..1}", "{0<..1; increasing; at least 2}")
    edit(layout.book / "alpha.md", "{1..10}", "{1..10; odd}")
    edit(layout.book / "profiles" / "quick.yaml", "width: 4", "width: 5")
    shown = spinscape("params", "alpha", root=layout.root, COLUMNS="200")
    assert "0<..1; increasing; at least 2" in shown.stdout
    assert "1..10; odd" in shown.stdout
    run = spinscape(*arguments, root=layout.root)
    assert run.returncode == 2
    assert message in run.stderr
    assert len(run.stderr.splitlines()) == 1
    assert not (layout.root / "_build").exists()


def test_a_wrong_rule_in_a_chapter_is_refused(layout):
    edit(layout.book / "alpha.md", "{0<..1}", "{0<..1; incresing}")
    run = spinscape("build", root=layout.root)
    assert run.returncode == 2
    assert "'incresing' in {0<..1; incresing} is no rule for list[float]." in run.stderr
    assert "Traceback" not in run.stderr


def test_outside_a_book_the_repository_is_used(tmp_path):
    run = spinscape("params", "no-such-chapter", root=tmp_path)
    assert run.returncode == 2
    assert "unknown chapter" in run.stderr


def test_a_bad_number_of_cores_is_one_message(layout):
    run = spinscape("build", root=layout.root, SPINSCAPE_CORES="many")
    assert run.returncode == 2
    assert run.stderr.strip() == "spinscape: SPINSCAPE_CORES='many' is no positive number"


def test_arguments_after_dashes_reach_the_engine(layout):
    run = spinscape("build", "--", "--dry-run", root=layout.root)
    assert run.returncode == 0
    assert "Executed: nothing." in run.stdout
    assert "Done in" not in run.stdout
    log = (layout.build("quick") / "logs" / "snakemake.log").read_text(encoding="utf-8")
    assert "dry-run" in log


def test_the_list_of_data_sets_says_what_is_wrong_with_one(layout, tmp_path):
    folder = tmp_path / "data"
    names = ["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz",
             "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"]  # fmt: skip
    for name in ("mnist", "fashion-mnist"):
        (folder / name).mkdir(parents=True)
        for file in names[: 4 if name == "mnist" else 3]:
            (folder / name / file).write_bytes(b"cut short")
    places = {"SPINSCAPE_DATA": str(folder), "SPINSCAPE_CACHE": str(tmp_path / "cache")}
    run = spinscape("data", root=layout.root, **places)
    assert run.returncode == 0
    lines = run.stdout.splitlines()
    assert lines[:2] == ["digits: bundled", "linnerud: bundled"]
    assert lines[2].startswith(f"mnist: {folder}/mnist/{names[0]} (9 bytes) is not the published file: MD5 ")
    assert lines[3] == (
        f"fashion-mnist: {folder}/fashion-mnist holds only a part of fashion-mnist: {names[3]} missing."
    )
    assert lines[4].startswith("cifar10: ")
    assert len(lines) <= 7


def test_refusing_imports_no_torch(layout):
    code = (
        "import sys; from spinscape.companion import cli\n"
        "try:\n    cli.app(['build', '--profile', 'quik'])\n"
        "except SystemExit as stop:\n    print(stop.code, 'torch' in sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=layout.root,
        env={"PYTHONPATH": str(REPOSITORY / "lib")},
        capture_output=True,
        text=True,
    )
    assert run.stdout.strip() == "2 False"
