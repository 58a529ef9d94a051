"""House rules that a chapter's source can break without any run noticing."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import jupytext
import pytest
import yaml

from spinscape.companion.layout import Layout
from spinscape.companion.profiles import load_profile

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted((ROOT / "book").glob("*.md"))
CHAPTERS = [p for p in PAGES if "kernelspec:" in p.read_text(encoding="utf-8")]
LIBRARY = sorted((ROOT / "lib").rglob("*.py"))
ROOMS = ["glasses", "networks", "landscape", "companion"]


def _cells(path: Path, kind: str) -> list:
    return [c for c in jupytext.read(path).cells if c.cell_type == kind]


# Numbers that the sources print, which the prose repeats.
SOURCES = {
    "0.05",
    "0.07",
    "16.1",
    "75.59",
    "1.27",
    "80.08",
    "2.26",
    "86.26",
    "45.86",
    "0.11",
    "51.44",
    "0.67",
}


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda p: p.stem)
def test_code_cells_are_short_and_hold_no_algorithm(chapter: Path) -> None:
    for cell in _cells(chapter, "code"):
        if "parameters" in cell.metadata.get("tags", []):
            continue
        lines = [line for line in cell.source.splitlines() if line.strip()]
        assert len(lines) <= 15, cell.source
        tree = ast.parse(cell.source)
        assert not [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.ClassDef | ast.While)]


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda p: p.stem)
def test_every_figure_has_words_and_a_caption(chapter: Path) -> None:
    drawn = [c for c in _cells(chapter, "code") if "plotting.panels" in c.source]
    assert drawn
    for cell in drawn:
        about = cell.metadata["mystnb"]
        assert len(about["image"]["alt"]) > 40
        assert about["figure"]["name"].startswith("fig-")
        assert len(about["figure"]["caption"]) > 40
        assert "set_title" not in cell.source, "no titles inside plots"


def test_labels_are_given_once() -> None:
    pattern = r"^(?:    name: |:label: |\((?=[a-z-]+\)=))([a-z0-9-]+)"
    found = [label for page in PAGES for label in re.findall(pattern, page.read_text("utf-8"), flags=re.M)]
    assert len(found) > 50
    assert sorted({label for label in found if found.count(label) > 1}) == []


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda p: p.stem)
def test_every_exercise_has_its_solution_right_after(chapter: Path) -> None:
    text = chapter.read_text(encoding="utf-8")
    labels = re.findall(r"```\{exercise\}\n:label: (\S+)", text)
    solved = re.findall(r"```\{solution\} (\S+)\n:class: dropdown", text)
    assert labels
    assert labels == solved


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda p: p.stem)
def test_prose_quotes_recorded_numbers(chapter: Path) -> None:
    # After "## Experiment" a decimal number in the prose is a threshold, a step size or a source's
    # number; a measured one stands in double braces. Decimals that are allowed are listed here.
    text = "\n".join(c.source for c in _cells(chapter, "markdown"))
    _, _, results = text.partition("## Experiment")
    results, _, _ = results.partition("## Exercises")
    plain = re.sub(r"\{\{.*?\}\}|\$.*?\$", "", results)
    found = {n for n in re.findall(r"\b\d+\.\d+\b", plain) if n not in SOURCES}
    assert found == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_one_sentence_per_line(page: Path) -> None:
    for cell in _cells(page, "markdown"):
        plain = re.sub(r"```.*?```|\$\$.*?\$\$|^\|.*$|^    .*$", "", cell.source, flags=re.S | re.M)
        for line in plain.splitlines():
            if re.match(r"\s*(\d+\.|[-*]) ", line) or line.startswith("#"):
                continue
            assert not re.search(r"[a-z\)\]`$][.?!] +[A-Z][a-z]", line), line


def test_parameter_cells_are_annotated() -> None:
    for chapter in CHAPTERS:
        (cell,) = [c for c in _cells(chapter, "code") if "parameters" in c.metadata.get("tags", [])]
        body = ast.parse(cell.source).body
        assert all(isinstance(node, ast.AnnAssign) for node in body)


def test_parameters_are_checked_in_the_cell_right_after_theirs() -> None:
    for chapter in CHAPTERS:
        code = _cells(chapter, "code")
        tags = [cell.metadata.get("tags", []) for cell in code]
        (after,) = [i + 1 for i, of_cell in enumerate(tags) if "parameters" in of_cell]
        assert code[after].source == "cells.check_parameters()"
        assert tags[after] == ["remove-cell"]


@pytest.mark.parametrize("module", LIBRARY, ids=lambda p: "/".join(p.parts[-2:]))
def test_a_module_imports_from_its_own_room_and_those_before(module: Path) -> None:
    parts = module.relative_to(ROOT / "lib" / "spinscape").parts
    place = ROOMS.index(parts[0]) if parts[0] in ROOMS else -1
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{a.name}" for a in node.names]
        elif isinstance(node, ast.Import):
            names = [a.name for a in node.names]
        for name in names:
            room = re.match(r"spinscape\.(\w+)", name)
            if room and room[1] in ROOMS:
                assert ROOMS.index(room[1]) <= place, f"{module} imports {name}"


def test_profiles_name_what_they_are() -> None:
    for path in (ROOT / "book" / "profiles").glob("*.yaml"):
        about = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert set(about) == {"about", "chapters"}
        assert len(about["about"]) > 20
        load_profile(Layout(ROOT), path.stem)  # raises where a value is not allowed
