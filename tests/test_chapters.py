"""A chapter taken apart and put together; numbers in prose; outputs as a page shows them."""

from __future__ import annotations

import importlib.util
import subprocess

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_output

from spinscape.companion import pages
from spinscape.companion.chapters import code, code_hash, code_only, merge, read_chapter
from spinscape.companion.layout import BookError, Layout
from spinscape.companion.prose import fill, show
from toybook import ALPHA, FRONT, make_book


def chapter(tmp_path, text=ALPHA):
    path = tmp_path / "alpha.md"
    path.write_text(text, encoding="utf-8")
    return read_chapter(path)


def test_prose_leaves_the_code_only_notebook_alone(tmp_path):
    before = code_only(chapter(tmp_path))
    after = code_only(chapter(tmp_path, ALPHA.replace("Some prose.", "Other words.\n\n# More")))
    assert nbformat.writes(before) == nbformat.writes(after)
    assert [cell.cell_type for cell in before.cells] == ["code", "code"]
    assert before.cells[0].metadata == {"tags": ["parameters"]}
    assert [cell.id for cell in before.cells] == ["code-000", "code-001"]
    nbformat.validate(before)


def test_the_code_hash_sees_code_and_not_looks(tmp_path):
    before = code_hash(code_only(chapter(tmp_path)))
    looks = ALPHA.replace("```{code-cell}\nfrom", '```{code-cell}\n:tags: ["hide-input"]\n\nfrom')
    assert code_hash(code_only(chapter(tmp_path, looks))) == before
    other = ALPHA.replace("double(width)", "double(2 * width)")
    assert code_hash(code_only(chapter(tmp_path, other))) != before


@pytest.mark.parametrize(
    ("commit", "at"),
    [
        ("0123456789ab", "@0123456789ab"),
        ("0123456789ab-dirty", "@0123456789ab"),
        ("unknown", ""),
        ("-dirty", ""),
    ],
)
@pytest.mark.parametrize("missing", [True, False])
def test_the_setup_cell_installs_what_made_the_page_where_it_is_missing(monkeypatch, commit, at, missing):
    installed = []
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if missing else name)
    monkeypatch.setattr(subprocess, "run", lambda command, check: installed.append(command[-1]))
    exec(pages.setup_cell("owner/book", commit).source, {})
    assert installed == ([f"git+https://github.com/owner/book{at}"] if missing else [])


def test_magics_do_not_hide_imports(tmp_path):
    text = FRONT + "```{code-cell}\n%matplotlib inline\nimport spinscape\n```\n"
    assert code(chapter(tmp_path, text)) == "pass\nimport spinscape"


def executed_of(source):
    notebook = code_only(source)
    notebook.cells[1].outputs = [new_output("stream", name="stdout", text="6\n")]
    notebook.cells[1].execution_count = 3
    injected = new_code_cell("# Parameters\nwidth = 4\n")
    injected.metadata["tags"] = ["injected-parameters"]
    notebook.cells.insert(1, injected)
    return notebook


def test_merging_puts_outputs_into_the_prose(tmp_path):
    source = chapter(tmp_path)
    page = merge(source, executed_of(source))
    kinds = [cell.cell_type for cell in page.cells]
    assert kinds == ["markdown", "code", "code", "code", "markdown"]
    assert page.cells[2].source == "# Parameters\nwidth = 4\n"
    assert page.cells[3].outputs[0].text == "6\n"
    assert "jupytext" not in page.metadata
    nbformat.validate(page)


def test_outputs_of_other_code_are_refused(tmp_path):
    executed = executed_of(chapter(tmp_path))
    with pytest.raises(BookError, match="other code"):
        merge(chapter(tmp_path, ALPHA.replace("double(width)", "double(1)")), executed)


NUMBERS = {"loss.mean": 0.123456, "n": 12, "name": "digits", "a<b": 1, "flag": True, "s": [1, 2.5]}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("loss {{ loss.mean:.2f }}!", '<span class="measured" data-key="loss.mean" '
         'data-format=".2f">0.12</span>'),
        ("{{ n }}", 'data-format="">12</span>'),
        ("{{ loss.mean }}", ">0.123</span>"),
        ("{{ flag }}", ">yes</span>"),
        ("{{ s }}", ">1, 2.5</span>"),
        ("$x = {{ n }}$ and {a}", "$x = 12$ and {a}"),
        ("$x_{{a}} = {{n}}$", "$x_{{a}} = 12$"),
        ("{{loss.mean:,.2f}}.", 'data-format=",.2f">0.12</span>.'),
        ("{{loss.mean}}", 'data-format=".3g">0.123</span>'),
        ("$$\nx_{{a}} = {{ loss.mean:.1e }}\n$$", "$$\nx_{{a}} = 1.2e-01\n$$"),
        ("```{math}\nx = {{ n }}\n```", "x = 12\n"),
        ("\\begin{align}\nx = {{ n }}\n\\end{align}", "x = 12\n"),
        ("# Of {{ n }} networks", "# Of 12 networks"),
        ("`{{ unknown }}`", "`{{ unknown }}`"),
        ("`{{name}}` and {{n}}", '`digits` and <span class="measured" data-key="n"'),
        ("```python\n{{ unknown }}\n```", "{{ unknown }}"),
        ("```{note}\n{{ n }}\n```", ">12</span>"),
        ("it costs \\$5, {{ n }} times \\$6", ">12</span>"),
    ],
)  # fmt: skip
def test_numbers_are_filled_in(text, expected):
    assert expected in fill(text, NUMBERS, "alpha")


def test_an_unknown_number_is_an_error_that_names_chapter_and_key():
    with pytest.raises(BookError, match=r"alpha: unknown number 'loss.men'.*loss.mean"):
        fill("{{ loss.men }}", NUMBERS, "alpha")
    with pytest.raises(BookError, match="alpha"):
        fill("{{name:.2f}}", NUMBERS, "alpha")


def test_bare_values_are_shown_short():
    assert show(1 / 3) == "0.333"
    assert show(10) == "10"


def record(claim):
    return new_output("display_data", {pages.RECORD: {"claim": claim}})


def test_only_the_last_record_of_a_claim_becomes_its_box():
    cells = [
        new_code_cell("a", outputs=[record("x"), record("y")]),
        new_code_cell(
            "b",
            outputs=[
                record("x"),
                record("z"),
                new_output("display_data", {pages.VALUE: {"n": 1}}),
                new_output("display_data", {pages.STAMP: {"seed": 1}}),
                new_output("stream", name="stderr", text="\n"),
                new_output("stream", name="stderr", text="slow: 1%\rslow: 9%\x08\nnext\n"),
            ],
        ),
    ]
    page = nbformat.v4.new_notebook(cells=cells)
    pages.clean_outputs(page, lambda claim: None if claim == "z" else f"<b>{claim}</b>")
    shown = [[out.get("data", out.get("text")) for out in cell.outputs] for cell in page.cells]
    assert shown == [
        [{"text/html": "<b>y</b>"}],
        [{"text/html": "<b>x</b>"}, "slow: 9%\nnext\n"],
    ]


def test_a_caption_goes_to_the_image_alone():
    outputs = [
        new_output("execute_result", {"text/plain": "<Legend>"}),
        new_output("display_data", {"image/png": "aa", "text/plain": "<Figure>"}),
        record("x"),
    ]
    cell = new_code_cell("draw()", outputs=outputs, id="cell")
    cell.metadata["mystnb"] = {"figure": {"name": "fig-a", "caption": "A."}}
    page = nbformat.v4.new_notebook(cells=[cell])
    pages.clean_outputs(page, lambda claim: f"<b>{claim}</b>")
    assert [list(output.data) for output in page.cells[0].outputs] == [["image/png", "text/plain"]]
    assert page.cells[1].source == "<b>x</b>"
    nbformat.validate(page)


def test_pages_and_chapters_come_from_the_table_of_contents(tmp_path):
    layout = make_book(tmp_path)
    assert layout.toc() == ["intro", "alpha", "beta", "ledger", "status"]
    assert layout.chapters() == ["alpha", "beta"]
    with pytest.raises(BookError, match=r"Did you mean 'alpha'\?"):
        layout.chapter("alpa")
    (tmp_path / "_toc.yml").write_text("root: ../secret\n")
    with pytest.raises(BookError, match="no page name"):
        Layout(tmp_path).toc()


def test_durations_are_written_for_people():
    assert [pages.seconds(s) for s in (0.04, 59.9, 61, 3700)] == [
        "0.0 s", "59.9 s", "1 min 01 s", "1 h 01 min",
    ]  # fmt: skip
