"""The parameters cell is the schema: reading it, and checking values against it."""

from __future__ import annotations

import subprocess
import sys

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from spinscape.companion.chapters import read_chapter
from spinscape.companion.parameters import (
    ParameterError,
    Range,
    _parameter_cells,
    check,
    declared,
    parse_text,
    schema,
)
from spinscape.companion.profiles import effective, load_profile
from toybook import ALPHA, REPOSITORY, make_book

CELL = """
hidden: int = 64  # hidden units {1..1000}
rate: float = 1e-2  # learning rate {0<..1}
momentum: float = 0.9  # {0..<1}
shuffle: bool = True  # shuffle every epoch
dataset: str = "digits"  # data set {digits | mnist | fashion-mnist}
label: str = "plain"  # any text
sigmas: list[float] = [0.01, 0.07]  # step widths {0<..}
seeds: list[int] = [0, 1]
extra: list[int] = []  # further seeds
sets: list[str] = ["digits"]  # {digits | mnist}
"""
SCHEMA = declared(CELL)
BY_NAME = {parameter.name: parameter for parameter in SCHEMA}


def test_declarations_are_read():
    hidden = BY_NAME["hidden"]
    assert (hidden.type, hidden.default, hidden.help) == ("int", 64, "hidden units")
    assert hidden.allowed == Range(1, 1000)
    assert hidden.constraint == "1..1000"
    assert BY_NAME["rate"].constraint == "0<..1"
    assert BY_NAME["momentum"].constraint == "0..<1"
    assert BY_NAME["sigmas"].constraint == "0<.."
    assert BY_NAME["dataset"].allowed == ("digits", "mnist", "fashion-mnist")
    assert BY_NAME["label"].constraint == ""
    assert BY_NAME["seeds"].help == ""


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("width = 3", "expected"),
        ("width: int", "needs a literal default"),
        ("width: int = f()", "needs a literal default"),
        ("width: integer = 3", "unknown type 'integer'"),
        ("width: int = 3  # {1..2}", "out of range"),
        ("width: int = 3  # {a|b}", "no range"),
        ("width: int = 3  # {3}", "no range"),
        ("flag: bool = True  # {0..1}", "no range"),
        ("name: str = 'a'  # {a||b}", "empty choice"),
        ("name: str = 'c'  # {a | b}", "unknown value 'c'"),
        ("width: int = 2.5", "not of type int"),
        ("width: int = 3 +", "line 1"),
    ],
)
def test_bad_declarations_are_refused(source, message):
    with pytest.raises(ParameterError, match=message.replace("|", r"\|")):
        declared(source)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("hidden", "007", 7),
        ("hidden", "1e2", 100),
        ("hidden", " 12 ", 12),
        ("rate", "1e-3", 1e-3),
        ("rate", "1", 1.0),
        ("rate", ".5", 0.5),
        ("shuffle", "true", True),
        ("shuffle", "No", False),
        ("shuffle", "0", False),
        ("dataset", "mnist", "mnist"),
        ("dataset", "'mnist'", "mnist"),
        ("label", "007", "007"),
        ("label", "true", "true"),
        ("sigmas", "[0.01,0.07]", [0.01, 0.07]),
        ("sigmas", "0.01, 7e-2", [0.01, 0.07]),
        ("extra", "[]", []),
        ("sigmas", "1", [1.0]),
        ("sets", "[digits, mnist]", ["digits", "mnist"]),
        ("sets", '["digits"]', ["digits"]),
    ],
)
def test_command_line_text_means_what_a_person_means(name, text, value):
    read = parse_text(BY_NAME[name], text)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("hidden", "0", "out of range. Allowed: 1..1000"),
        ("hidden", "1.5", "not of type int"),
        ("hidden", "many", "not of type int"),
        ("hidden", "true", "not of type int"),
        ("hidden", "", "not of type int"),
        ("rate", "0", "out of range"),
        ("rate", "nan", "not of type float"),
        ("rate", "1e999", "not of type float"),
        ("momentum", "1", "out of range"),
        ("shuffle", "maybe", "not of type bool"),
        ("dataset", "fashion-mnits", "Did you mean 'fashion-mnist'"),
        ("sigmas", "[0.1,0]", "out of range"),
        ("sigmas", "[0.1", "lacks a bracket"),
        ("sigmas", "[0.1,,0.2]", "not of type"),
        ("seeds", "[0,true]", "not of type"),
        ("sigmas", "[]", "the list is empty. Give at least one value, such as [0.01, 0.07]"),
    ],
)
def test_bad_text_is_refused_with_what_is_allowed(name, text, message):
    with pytest.raises(ParameterError) as error:
        parse_text(BY_NAME[name], text)
    assert message in str(error.value)
    assert name in str(error.value)


def test_yaml_values_mean_what_a_person_means():
    values = yaml.safe_load("{rate: 1e-3, hidden: 7, shuffle: false, sigmas: [1e-2, 1], extra: []}")
    assert values["rate"] == "1e-3"
    found = check(SCHEMA, values)
    assert found == {
        "rate": 1e-3, "hidden": 7, "shuffle": False, "sigmas": [0.01, 1.0], "extra": [],
    }  # fmt: skip


@pytest.mark.parametrize(
    "values",
    [{"hidden": True}, {"rate": False}, {"shuffle": 1}, {"dataset": 3}, {"seeds": 1},
     {"seeds": "12"}, {"label": None}, {"hidden": 10**400}],
)  # fmt: skip
def test_a_value_of_another_type_is_refused(values):
    with pytest.raises(ParameterError, match="not of type"):
        check(SCHEMA, values)


def test_an_unknown_name_gets_the_nearest_and_all():
    with pytest.raises(ParameterError) as error:
        check(SCHEMA, {"hiden": 3})
    assert "Did you mean 'hidden'?" in str(error.value)
    assert "sigmas" in str(error.value)


@given(st.floats(1e-6, 1.0))
def test_any_float_survives_its_own_text(value):
    assert parse_text(BY_NAME["rate"], repr(value)) == value


@given(st.lists(st.integers(-(10**30), 10**30)))
def test_any_list_of_integers_survives_its_own_text(values):
    assert parse_text(BY_NAME["extra"], repr(values)) == values


def test_the_schema_of_a_chapter_is_its_tagged_cell(tmp_path):
    path = tmp_path / "alpha.md"
    path.write_text(ALPHA, encoding="utf-8")
    assert [parameter.name for parameter in schema(path)] == ["width", "rates"]
    cell = next(cell for cell in read_chapter(path).cells if "parameters" in cell.metadata.get("tags", []))
    assert next(_parameter_cells(ALPHA)).strip() == cell.source.strip()


def test_tags_may_stand_in_a_yaml_block(tmp_path):
    path = tmp_path / "a.md"
    path.write_text("```{code-cell} python3\n---\ntags:\n  - parameters\n---\nn: int = 2\n```\n")
    assert schema(path)[0].default == 2


def test_a_chapter_without_the_cell_has_no_parameters(tmp_path):
    path = tmp_path / "a.md"
    path.write_text("```{code-cell}\nn: int = 2\n```\n")
    assert schema(path) == []


def test_profiles_are_checked(tmp_path):
    layout = make_book(tmp_path)
    assert effective(layout, "alpha", load_profile(layout, "quick")) == {
        "width": 4, "rates": [0.1, 0.2],
    }  # fmt: skip
    profile = load_profile(layout, "quick")
    assert effective(layout, "alpha", profile, {"width": 5})["width"] == 5
    with pytest.raises(ParameterError, match=r"Did you mean 'quick'\?"):
        load_profile(layout, "quik")
    path = layout.book / "profiles" / "other.yaml"
    for content, message in (
        ("chapters: {alpa: {}}", "unknown chapter 'alpa'. Did you mean 'alpha'"),
        ("chapters: {alpha: {with: 3}}", "Did you mean 'width'"),
        ("chapters: {alpha: {width: 11}}", "out of range"),
        ("chapters: {alpha: 3}", "name: value"),
        ("chapter: {}", "Did you mean 'chapters'"),
        ("- 3", "expected the keys"),
        ("a: [", "other.yaml"),
    ):
        path.write_text(content, encoding="utf-8")
        with pytest.raises(ParameterError) as error:
            load_profile(layout, "other")
        assert message in str(error.value)
        assert "book/profiles/other.yaml" in str(error.value)


def test_checking_parameters_imports_neither_torch_nor_papermill():
    code = (
        "import sys, spinscape.companion.profiles, spinscape.companion.cli;"
        "print([n for n in ('torch', 'papermill', 'numpy', 'snakemake') if n in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(REPOSITORY / "lib")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == "[]"
