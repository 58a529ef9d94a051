"""Runs and sweeps of a small book: what they make, what they run again, and their table."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import numpy as np
import pytest

from spinscape.companion import sealed
from spinscape.companion.ledger import RECORD, VALUE
from spinscape.companion.plan import page_plan, read_plan, sweep_plan
from spinscape.companion.processes import locked
from spinscape.companion.sweep import make_table
from spinscape.companion.sweep_figure import draw, split_axes, spread
from spinscape.companion.sweep_page import command
from toybook import REPOSITORY, edit, make_book, spinscape

RECORDING = """from IPython.display import display

loss = {"value": 0.1 * width, "low": 0.05 * width, "high": 0.3 * width, "n": 4, "unit": ""}
display({"application/vnd.spinscape.record+json":
         {"claim": "walk", "figure": "", "measurements": {"loss": loss}}}, raw=True)
display({"application/vnd.spinscape.value+json": {"rate": rates[0], "word": "x"}}, raw=True)
print(double(width), rates)"""


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    """Make a book whose first chapter records numbers and has links to the others."""
    layout = make_book(tmp_path_factory.mktemp("a book, {braces} and $(true)"))
    edit(layout.book / "alpha.md", "print(double(width), rates)", RECORDING)
    links = "Some prose, see [the other](beta.md), {doc}`beta`, {ref}`there`, [ledger](ledger.md)."
    edit(layout.book / "alpha.md", "Some prose.", links)
    edit(layout.book / "beta.md", "# Beta", "# Beta\n\n(there)=\n## There")
    return layout


def call(layout, *words: str, **environment: str):
    run = spinscape(*words, root=layout.root, **environment)
    line = next((x for x in run.stdout.splitlines() if x.startswith("Executed: ")), "")
    return line.removeprefix("Executed: "), run


def wait_for(condition) -> None:
    for _ in range(1200):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("waited in vain")


def page_of(run) -> Path:
    return Path(run.stdout.rpartition("Done in ")[2].split(": ", 1)[1].strip())


def rows_of(run):
    (path,) = [x.removeprefix("Table: ") for x in run.stdout.splitlines() if x.startswith("Table: ")]
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_has_a_page_and_is_not_done_twice(book):
    ran, run = call(book, "run", "alpha", "width=7", "rates=[1e-3]")
    assert run.returncode == 0, run.stdout + run.stderr
    assert ran.startswith("alpha (")
    page = page_of(run)
    text = page.read_text(encoding="utf-8")
    assert "14 [0.001]" in text
    assert "stands outside of the book" in text
    assert '<a class="reference internal" href="beta.html' not in text
    assert "see the other," in text
    plan = page_plan(book, "alpha", "quick", {"width": 7, "rates": [1e-3]})
    assert page == plan.index
    assert not (plan.html / "beta.html").exists()
    assert call(book, "run", "alpha", "width=7", "rates=0.001")[0] == "nothing."
    assert not book.build("quick").exists()


def test_a_sweep_runs_what_is_new_and_ends_with_a_table(book):
    ran, run = call(book, "sweep", "alpha", "width=5,7", "rates=[0.3],[1e-3]")
    assert run.returncode == 0, run.stdout + run.stderr
    # The run above is one of the points.
    assert ran.count("(") == 3
    assert "width=7 rates=[0.001]" not in ran
    rows = rows_of(run)
    assert [(row["width"], row["rates"]) for row in rows] == [
        ("5", "[0.3]"), ("5", "[0.001]"), ("7", "[0.3]"), ("7", "[0.001]")
    ]  # fmt: skip
    assert [row["walk.loss"] for row in rows] == ["0.5", "0.5", "0.7000000000000001", "0.7000000000000001"]
    assert rows[0] | {"walk.loss.low": "0.25", "walk.loss.n": "4", "rate": "0.3", "word": "x"} == rows[0]
    assert {row["state"] for row in rows} == {"done"}
    page = page_of(run)
    text = page.read_text(encoding="utf-8")
    source = (page.parents[1] / "src" / "index.md").read_text(encoding="utf-8")
    assert "spinscape sweep alpha width=5,7 'rates=[0.3],[0.001]' --profile quick" in source
    assert "table.csv" in text
    assert "fig-walk.svg" in text
    ran, run = call(book, "sweep", "alpha", "width=5,7,8", "rates=[0.3],[1e-3]")
    assert run.returncode == 0
    assert ran.count("(") == 2
    assert ran.count("width=8") == 2
    assert rows_of(run)[:4] == rows
    assert call(book, "sweep", "alpha", "width=5,7,8", "rates=[0.3],[1e-3]")[0] == "nothing."


def test_a_point_that_fails_leaves_the_others_and_is_run_again(book):
    code = "print(double(width), rates)"
    edit(book.book / "alpha.md", code, f"if width == 2:\n    1 / rates.index(9.0)\n{code}")
    words = ("sweep", "alpha", "width=1,2,3")
    ran, run = call(book, *words)
    assert run.returncode == 1
    assert "width=2 failed in cell 3 of 3: ValueError: " in run.stdout
    assert ran.count("(") == 2
    assert [row["state"] for row in rows_of(run)] == ["done", "failed", "done"]
    assert [row["walk.loss"] == "" for row in rows_of(run)] == [False, True, False]
    assert "Done in" not in run.stdout
    ran, run = call(book, *words)
    assert (run.returncode, ran) == (1, "nothing.")


def test_two_calls_of_the_same_are_refused_and_a_shared_run_is_waited_for(book):
    plan = sweep_plan(book, "alpha", "quick", {"width": [4, 6]})
    with locked(plan.folder / ".lock"):
        _, run = call(book, "sweep", "alpha", "width=4,6")
    assert run.returncode == 1
    assert run.stderr.strip().startswith("spinscape: another sweep over the same grid is under way in ")


def test_a_plan_is_what_it_was_written_as(book):
    plan = sweep_plan(book, "alpha", "quick", {"width": [4, 6]}, {"rates": [0.5]})
    plan.prepare()
    again = read_plan(book.root, plan.folder / "plan.json")
    assert again == plan
    assert command(again) == "spinscape sweep alpha width=4,6 'rates=[0.5]' --profile quick"
    assert again.settings == "the `quick` profile with `rates` = `[0.5]`"
    assert [run.parameters for run in again.runs.values()] == [
        {"width": 4, "rates": [0.5]}, {"width": 6, "rates": [0.5]}
    ]  # fmt: skip


def test_a_table_keeps_every_bit_and_says_what_is_missing(book):
    plan = sweep_plan(book, "alpha", "quick", {"width": [4, 6]})
    value = float(np.nextafter(0.1, 1))
    outputs = [
        nbformat.v4.new_output("display_data", {mime: content})
        for mime, content in (
            (RECORD, {"claim": "c", "figure": "", "measurements": {
                "m": {"value": value, "low": None, "high": None, "n": None, "unit": ""}}}),
            (VALUE, {"v": None, "w": "a, \"b\"", "width": 1.5, "f": "=1+1"}),
        )
    ]  # fmt: skip
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(outputs=outputs)])
    table = make_table(plan, {list(plan.runs)[1]: notebook})
    assert table.columns == ["state", "width", "c.m", "v", "w", "value.width", "f"]
    assert table.rows[0] == ["missing", 4, None, None, None, None, None]
    assert str(table.rows[1]) == str(["done", 6, value, float("nan"), 'a, "b"', 1.5, "=1+1"])
    read = list(csv.reader(table.csv().splitlines()))
    assert float(read[2][2]) == value
    assert read[1] == ["missing", "4", "", "", "", "", ""]
    assert read[2][3:] == ["nan", 'a, "b"', "1.5", "'=1+1"]


def test_what_runs_across_what_makes_series_and_what_is_moved_aside():
    assert split_axes({"seed": [0, 1], "hidden": [8, 16], "dataset": ["a", "b", "c"]}) == (
        "hidden", ["dataset"]
    )  # fmt: skip
    assert split_axes({"seed": [0, 1, 2]}) == ("seed", [])
    assert split_axes({"dataset": ["a", "b"], "fast": [True, False]}) == ("dataset", ["fast"])
    np.testing.assert_array_equal(spread(np.array([1.0, 2.0])), [1.0, 2.0])
    moved = spread(np.array([1.0, 1.0, 3.0, 3.0]))
    assert moved[0] < 1.0 < moved[1] < 2.0 < moved[2] < 3.0 < moved[3]
    moved = spread(np.array([1.0, 1.0, 1.0, 100.0]), logarithmic=True)
    assert moved[0] < moved[1] == 1.0 < moved[2]
    assert moved[3] == pytest.approx(100.0)


@pytest.mark.parametrize(
    "axes",
    [
        {"width": [1, 2, 4], "seed": [0, 1]},
        {"name": ["digits", "mnist"], "fast": [True, False]},
        {"seed": [0, 1]},
        {"rates": [[0.1], [0.2]], "width": [1, 100]},
    ],
)
def test_every_kind_of_grid_can_be_drawn(axes, tmp_path):
    from itertools import product

    from spinscape.companion.sweep import Table

    points = list(product(*axes.values()))
    rows = [["done", *point, 1.0 * k, k - 0.5, None if k == 1 else k + 1.0] for k, point in enumerate(points)]
    rows[-1][-3] = None
    table = Table(axes, ["state", *axes, "c.m", "c.m.low", "c.m.high"], rows)
    draw(table, {"c.m": "m"}, tmp_path / "figure.svg")
    text = (tmp_path / "figure.svg").read_text(encoding="utf-8")
    assert "<svg" in text


def test_a_damaged_notebook_is_no_notebook(tmp_path):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("a = 'é'\nb = 1")])
    notebook.metadata["spinscape"] = {"key": "0123"}
    text = sealed.seal(notebook)
    path = tmp_path / "a.ipynb"
    path.write_text(text, encoding="utf-8")
    assert sealed.key(path) == "0123"
    assert sealed.read(path).cells[0].source == "a = 'é'\nb = 1"
    raw = path.read_bytes()
    generator = np.random.default_rng(0)
    for place in generator.integers(len(raw), size=200):
        spoilt = bytearray(raw)
        spoilt[place] ^= 1 << int(generator.integers(8))
        path.write_bytes(bytes(spoilt))
        try:
            same = json.loads(spoilt.decode()) == json.loads(text)
        except ValueError:
            same = False
        assert (sealed.key(path) == "0123") == same
    for cut in (0, 1, len(raw) // 2, len(raw) - 3):
        path.write_bytes(raw[:cut])
        assert sealed.key(path) == ""
        with pytest.raises(ValueError, match="missing or damaged"):
            sealed.read(path)


def test_points_that_differ_in_the_last_digits_keep_their_rows(book):
    ran, run = call(book, "sweep", "alpha", "rates=[0.10000001],[0.10000002]", "width=1")
    assert run.returncode == 0, run.stdout + run.stderr
    assert [row["rate"] for row in rows_of(run)] == ["0.10000001", "0.10000002"]
    assert ran.count("(") == 2


def test_a_library_that_is_edited_meanwhile_gives_no_result_a_wrong_key(book):
    tools = book.lib / "spinscape" / "tools.py"
    text = tools.read_text(encoding="utf-8")
    edit(book.book / "alpha.md", "print(double", "import time\n\ntime.sleep(3)\nprint(double")
    process = subprocess.Popen(
        [sys.executable, "-m", "spinscape.companion.cli", "sweep", "alpha", "width=4,5,6", "--cores", "1"],
        cwd=book.root,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "lib")},
        stdout=subprocess.PIPE,
        text=True,
    )
    done = book.root / "_build" / "sweeps"
    before = set(done.glob("*/done/*"))
    wait_for(lambda: len(set(done.glob("*/done/*")) - before) == 1)
    tools.write_text(text.replace("2 * x", "200 * x"), encoding="utf-8")
    output, _ = process.communicate()
    tools.write_text(text, encoding="utf-8")
    assert process.returncode == 1
    assert output.count("BookError: the library or the environment was changed") == 1
    assert output.count("failed like width=") == 1
    ran, run = call(book, "sweep", "alpha", "width=4,5,6")
    assert run.returncode == 0, run.stdout
    assert ran.count("(") == 2
    for plan in (page_plan(book, "alpha", "quick", {"width": width}) for width in (4, 5, 6)):
        (planned,) = plan.runs.values()
        assert f"{2 * planned.parameters['width']} [" in str(sealed.read(planned.executed(plan.store)).cells)


def test_marks_of_one_call_are_not_another_ones(book):
    first = sweep_plan(book, "alpha", "quick", {"width": [4, 5]})
    second = sweep_plan(book, "alpha", "quick", {"width": [4, 5, 6]})
    for plan in (first, second):
        plan.prepare()
        assert plan.finished() == set(plan.runs)
        assert plan.executed_here() == set()
    for run in first.runs.values():
        run.mark(first.folder).unlink()
    assert second.finished() == set(second.runs)
    damaged = next(iter(second.runs.values()))
    path = damaged.executed(second.store)
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    second.prepare()
    assert second.finished() == set(second.runs) - {damaged.slot}
    path.write_bytes(whole)


def test_values_are_text_on_pages_whatever_they_hold(book):
    value = "x`<script>alert(1)</script> | *b* ![i](y)"
    edit(book.book / "beta.md", '"digits"  # data set {digits | mnist}', '"digits"  # any')
    _, run = call(book, "run", "beta", f"name={value}")
    assert run.returncode == 0, run.stdout + run.stderr
    for name in ("beta.html", "status.html"):
        text = (page_of(run).parent / name).read_text(encoding="utf-8")
        assert "<script>alert" not in text
        assert "alert" in text
    _, run = call(book, "sweep", "beta", f"name='{value}','b,c'")
    assert run.returncode == 0, run.stdout + run.stderr
    assert "<script>alert" not in page_of(run).read_text(encoding="utf-8")
    assert [row["name"] for row in rows_of(run)] == [value, "b,c"]


def test_pages_that_are_edited_while_they_are_made_are_made_again(book):
    plan = page_plan(book, "alpha", "quick", {"width": 7})
    for mark in (plan.stage_mark, plan.site_mark):
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()
    plan.distrust_pages()
    assert plan.stage_mark.exists()
    assert plan.site_mark.exists()
    text = (book.book / "alpha.md").read_text(encoding="utf-8")
    edit(book.book / "alpha.md", "# Alpha", "# Beth")
    plan.distrust_pages()
    (book.book / "alpha.md").write_text(text, encoding="utf-8")
    assert not plan.stage_mark.exists()
    assert not plan.site_mark.exists()
