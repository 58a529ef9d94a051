"""The parameters cell is the schema: reading it, and checking values against it."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bad_parameters import BAD
from spinscape.companion.assignments import read_axes, read_values
from spinscape.companion.chapters import read_chapter
from spinscape.companion.parameters import (
    Parameter,
    ParameterError,
    Range,
    _parameter_cells,
    check,
    declared,
    parse_text,
    schema,
)
from spinscape.companion.profiles import effective, load_profile
from spinscape.companion.yaml_text import YAMLTextError, read_yaml
from toybook import ALPHA, REPOSITORY, make_book

CELL = """
hidden: int = 64  # hidden units {1..1000}
rate: float = 1e-2  # learning rate {0<..1}
momentum: float = 0.9  # {0..<1}
seed: int = 0  # {0..}
shuffle: bool = True  # shuffle every epoch
dataset: str = "digits"  # data set {digits | mnist | fashion-mnist}
label: str = "plain"  # any text
sigmas: list[float] = [0.01, 0.07]  # step widths {0<..}
seeds: list[int] = [0, 1]
extra: list[int] = []  # further seeds
sets: list[str] = ["digits"]  # {digits | mnist}
labels: list[str] = []  # any texts
"""
SCHEMA = declared(CELL)
RULES = {
    parameter.name: parameter
    for parameter in declared(
        """
sizes: list[int] = [3, 5, 8]  # spins {3..200; increasing; at least 3}
rates: list[float] = [0.1, 0.2]  # {0<..1; increasing}
pair: list[int] = [4, 2]  # {..; exactly 2; even}
grid: int = 17  # points along a side {5..201;odd}
sets: list[str] = ["digits", "mnist"]  # {digits | mnist;  at  least  2}
"""
    )
}
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
        ("width: int = 2.5", "2.5 is not of type int. Allowed: int."),
        ("width: int = '3'  # {1..10}", "'3' is not of type int. Allowed: int in 1..10."),
        ("widths: list[int] = 3", "3 is not of type list[int]. Allowed: list[int]."),
        ("flag: bool = 'no'", "'no' is not of type bool. Allowed: bool."),
        ("name: str = 3", "3 is not of type str. Allowed: str."),
        ("width: int = 3 +", "line 1"),
        ("width: int = {[]: 1}", "needs a literal default"),
        ("width: int = 3\nwidth: int = 4", "line 2: 'width' comes twice"),
        ("width: int = 3  # {1..9; od}", "'od' in {1..9; od} is no rule for int. Allowed: odd, even."),
        ("width: int = 3  # {1..9; increasing}", "'increasing' in {1..9; increasing} is no rule for int."),
        ("width: int = 3  # {1..9;}", "'' in {1..9;} is no rule for int."),
        ("width: int = 3  # {odd}", "{odd} is no range for int"),
        ("width: int = 4  # {1..9; odd}", "4 is not odd. Allowed: 1..9; odd."),
        ("rate: float = 0.1  # {0..1; odd}", "is no rule for float. Allowed: none."),
        ("rates: list[float] = [0.1]  # {0..1; even}", "Allowed: increasing, at least N, exactly N."),
        ("sizes: list[int] = [1, 1]  # {1..9; increasing}", "[1, 1] is not increasing."),
        ("sizes: list[int] = [1]  # {1..9; at least 2}", "[1] has 1 value, not at least 2."),
        ("sizes: list[int] = [1, 2]  # {1..9; at least two}", "'at least two' in"),
        ("sizes: list[int] = [1, 2]  # {1..9; at least -1}", "'at least -1' in"),
        ("sizes: list[int] = [1, 2]  # {1..9; exactly}", "'exactly' in"),
        ("names: list[str] = ['a']  # {a | b; increasing}", "Allowed: at least N, exactly N."),
        ("name: str = 'a'  # {a | b; odd}", "is no rule for str. Allowed: none."),
    ],
)
def test_bad_declarations_are_refused(source, message):
    with pytest.raises(ParameterError) as error:
        declared(source)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("hidden", "007", 7),
        ("hidden", "1e2", 100),
        ("hidden", " 12 ", 12),
        ("hidden", "010", 10),
        ("hidden", "5.0", 5),
        ("hidden", "+5.", 5),
        ("hidden", "0.25e0_2", 25),
        ("hidden", "'64'", 64),
        ("seed", "1_000", 1000),
        ("seed", "1e23", 10**23),
        ("seed", "12345678901234567890.0", 12345678901234567890),
        ("seed", "0e99999999999999999999999", 0),
        ("rate", "1e-3", 1e-3),
        ("rate", "1", 1.0),
        ("rate", ".5", 0.5),
        ("shuffle", "true", True),
        ("shuffle", "No", False),
        ("shuffle", "0", False),
        ("shuffle", " ON ", True),
        ("shuffle", "1", True),
        ("shuffle", "yes", True),
        ("shuffle", "off", False),
        ("dataset", "mnist", "mnist"),
        ("dataset", "'mnist'", "mnist"),
        ("label", "007", "007"),
        ("label", "true", "true"),
        ("label", "", ""),
        ("label", "' two  words '", " two  words "),
        ("label", '"', '"'),
        ("label", "a=b", "a=b"),
        ("sigmas", "[0.01,0.07]", [0.01, 0.07]),
        ("sigmas", "0.01, 7e-2", [0.01, 0.07]),
        ("extra", "[]", []),
        ("sigmas", "1", [1.0]),
        ("sets", "[digits, mnist]", ["digits", "mnist"]),
        ("sets", '["digits"]', ["digits"]),
        ("sigmas", "0.01,0.07,", [0.01, 0.07]),
        ("sigmas", "[0.01, 0.07, ]", [0.01, 0.07]),
        ("sigmas", "['0.01', \"7e-2\"]", [0.01, 0.07]),
        ("seeds", "007,010", [7, 10]),
        ("seeds", "1", [1]),
        ("labels", "['a, b', \"[c]\", d e,'']", ["a, b", "[c]", "d e", ""]),
        ("labels", "", []),
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


@pytest.mark.parametrize(
    ("allowed", "given", "words"),
    [
        ("0..", "-1", "at least 0"),
        ("0<..", "0", "more than 0"),
        ("..8", "9", "at most 8"),
        ("..<8", "8", "less than 8"),
        ("0<..8", "0", "0<..8"),
        ("3..; odd", "1", "at least 3; odd"),
    ],
)
def test_a_range_with_an_open_end_is_said_in_words(allowed, given, words):
    (parameter,) = declared(f"n: int = 5  # {{{allowed}}}")
    with pytest.raises(ParameterError) as error:
        parse_text(parameter, given)
    assert str(error.value) == f"parameter 'n': {given} is out of range. Allowed: {words}."
    assert parameter.constraint == allowed


def test_rules_are_shown_after_the_range():
    shown = {name: parameter.constraint for name, parameter in RULES.items()}
    assert shown == {
        "sizes": "3..200; increasing; at least 3",
        "rates": "0<..1; increasing",
        "pair": "..; exactly 2; even",
        "grid": "5..201; odd",
        "sets": "digits | mnist; at least 2",
    }
    assert RULES["sizes"].help == "spins"


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("sizes", "3,4,5", [3, 4, 5]),
        ("sizes", "[3, 4, 5, 1e2]", [3, 4, 5, 100]),
        ("rates", "0.5", [0.5]),
        ("pair", "-2,0", [-2, 0]),
        ("grid", "5", 5),
        ("sets", "mnist,mnist", ["mnist", "mnist"]),
    ],
)
def test_a_value_within_the_rules_is_read(name, text, value):
    assert parse_text(RULES[name], text) == value


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("sizes", "3,5,4", "[3, 5, 4] is not increasing. Allowed: 3..200; increasing; at least 3."),
        ("sizes", "3,5,5", "[3, 5, 5] is not increasing."),
        ("sizes", "3,5", "[3, 5] has 2 values, not at least 3. Allowed: 3..200; increasing; at least 3."),
        ("sizes", "5", "[5] has 1 value, not at least 3."),
        ("sizes", "2,3,4", "2 is out of range. Allowed: 3..200; increasing; at least 3."),
        ("sizes", "[]", "the list is empty"),
        ("sizes", "a,b", "Allowed: list[int] in 3..200; increasing; at least 3, such as [3, 5, 8]."),
        ("rates", "0.2,0.1", "[0.2, 0.1] is not increasing."),
        ("pair", "2,4,6", "[2, 4, 6] has 3 values, not exactly 2."),
        ("pair", "2,-3", "-3 is not even. Allowed: ..; exactly 2; even."),
        ("grid", "8", "8 is not odd. Allowed: 5..201; odd."),
        ("sets", "mnist", "['mnist'] has 1 value, not at least 2."),
    ],
)
def test_a_value_against_the_rules_is_refused(name, text, message):
    with pytest.raises(ParameterError) as error:
        parse_text(RULES[name], text)
    assert str(error.value).startswith(f"parameter {name!r}: ")
    assert message in str(error.value)


def test_every_point_of_a_sweep_keeps_the_rules():
    rules = list(RULES.values())
    axes, fixed = read_axes(rules, ("sizes=[3,4,5],[4,5,6]", "grid=5,7", "rates=[0.1]"))
    assert axes == {"sizes": [[3, 4, 5], [4, 5, 6]], "grid": [5, 7]}
    assert fixed == {"rates": [0.1]}
    for word in ("grid=5,6", "sizes=[3,4,5],[5,4,3]", "sizes=[3,4,5],[3,4]"):
        with pytest.raises(ParameterError, match=r"is not odd|is not increasing|not at least 3"):
            read_axes(rules, (word,))


def test_a_long_list_against_the_rules_does_not_flood_the_terminal():
    with pytest.raises(ParameterError, match="is not increasing") as error:
        check(list(RULES.values()), {"sizes": [3] * 10_000})
    assert len(str(error.value)) < 400


@pytest.mark.parametrize(
    ("name", "value", "meant"),
    [
        ("shuffle", "true", True),
        ("shuffle", 1, True),
        ("shuffle", 0, False),
        ("hidden", "1e2", 100),
        ("hidden", 5.0, 5),
        ("rate", 1, 1.0),
        ("rate", "1e-3", 1e-3),
        ("label", "'as it is '", "'as it is '"),
        ("sigmas", "[0.01,0.07]", [0.01, 0.07]),
        ("sigmas", 0.01, [0.01]),
        ("sigmas", ("1e-2", 1), [0.01, 1.0]),
        ("labels", ["'a', b"], ["'a', b"]),
    ],
)
def test_values_of_python_mean_what_a_person_means(name, value, meant):
    found = check(SCHEMA, {name: value})[name]
    assert found == meant
    assert type(found) is type(meant)


@pytest.mark.parametrize(
    ("name", "value"),
    [("hidden", True), ("hidden", 5.5), ("hidden", float("inf")), ("hidden", [5]), ("rate", False),
     ("rate", float("nan")), ("shuffle", 1.0), ("shuffle", 2), ("shuffle", None), ("dataset", 3),
     ("label", 7), ("label", None), ("label", ["a"]), ("seeds", {"a": 1}), ("seeds", [[1]]),
     ("seeds", [True]), ("seeds", None), ("hidden", 10**400)],
)  # fmt: skip
def test_a_value_of_another_type_is_refused(name, value):
    with pytest.raises(ParameterError, match=rf"parameter '{name}': .*not of type"):
        check(SCHEMA, {name: value})


def test_a_number_that_python_cannot_write_is_refused():
    with pytest.raises(ParameterError, match="a number too long to write is not of type int"):
        check(SCHEMA, {"seed": 10**5000})


@pytest.mark.parametrize("text", ["two\nlines", "\x1b[31m", "\0", "\udcff"])
def test_text_that_a_page_cannot_hold_is_refused(text):
    with pytest.raises(ParameterError, match="holds control characters or is no Unicode") as error:
        check(SCHEMA, {"label": text})
    assert text not in str(error.value)


CHAPTER = schema(REPOSITORY / "book" / "random_walks.md")


@pytest.mark.parametrize(("words", "parts"), BAD, ids=[f"{i}: {w[0][:30]!a}" for i, (w, _) in enumerate(BAD)])
def test_a_bad_command_line_is_refused_and_told_what_is_allowed(words, parts):
    with pytest.raises(ParameterError) as error:
        read_values(CHAPTER, words)
    message = str(error.value)
    assert [part for part in parts if part not in message] == []
    assert len(message) < 800
    assert message.isprintable()


def test_a_command_line_is_read():
    words = ("sigmas=[0.01,0.07]", "dataset=fashion-mnist", "hidden=1e3", " seed = 007 ")
    assert read_values(CHAPTER, words) == {
        "sigmas": [0.01, 0.07], "dataset": "fashion-mnist", "hidden": 1000, "seed": 7,
    }  # fmt: skip
    with pytest.raises(ParameterError, match=r"unknown parameter 'a'\. Allowed: none"):
        read_values([], ["a=1"])


@pytest.mark.parametrize(
    "words",
    [("x" * 10_000,), ("label=" + "x" * 10_000 + ",y," + "x" * 10_000,), ("sigmas=" + "1," * 4_995 + "1",)],
    ids=["form", "twice", "brackets"],
)
def test_a_long_word_of_a_sweep_does_not_flood_the_terminal(words):
    with pytest.raises(ParameterError, match=r"\(10002 characters\)") as error:
        read_axes(SCHEMA, words)
    assert len(str(error.value)) < 400


def test_an_unknown_name_gets_the_nearest_and_all():
    with pytest.raises(ParameterError) as error:
        check(SCHEMA, {"hiden": 3})
    assert "Did you mean 'hidden'?" in str(error.value)
    assert "sigmas" in str(error.value)


TEXTS = st.text(st.characters(exclude_categories=("Cc", "Cs")))
VALID = {
    "hidden": st.integers(1, 1000),
    "rate": st.floats(0, 1, exclude_min=True),
    "seed": st.integers(0, 10**300),
    "shuffle": st.booleans(),
    "dataset": st.sampled_from(["digits", "mnist", "fashion-mnist"]),
    "label": TEXTS,
    "sigmas": st.lists(st.floats(0, 1e300, exclude_min=True), min_size=1),
    "extra": st.lists(st.integers(-(10**30), 10**30)),
    "sets": st.lists(st.sampled_from(["digits", "mnist"]), min_size=1),
    "labels": st.lists(TEXTS.filter(lambda text: "'" not in text)),
}
GIVEN = st.sampled_from(sorted(VALID)).flatmap(lambda name: st.tuples(st.just(name), VALID[name]))


def written(value):
    """The text of a value, as a person writes it on a command line."""
    if isinstance(value, list):
        return f"[{', '.join(map(written, value))}]"
    return f"'{value}'" if isinstance(value, str) else repr(value)


def same(found, value):
    return repr(found) == repr(value)


@settings(deadline=None)
@given(GIVEN)
def test_any_value_survives_its_own_text(pair):
    name, value = pair
    assert same(parse_text(BY_NAME[name], written(value)), value)


@settings(deadline=None)
@given(GIVEN)
def test_any_value_survives_being_checked(pair):
    name, value = pair
    assert same(check(SCHEMA, {name: value}), {name: value})


@settings(deadline=None)
@given(GIVEN, st.booleans())
def test_any_value_survives_a_yaml_file(pair, flow):
    text = yaml.safe_dump(dict([pair]), allow_unicode=True, default_flow_style=flow)
    assert same(check(SCHEMA, read_yaml(text.encode("utf-8"))), dict([pair]))


HARD = st.text(st.sampled_from(list("0123456789.eE+-_,[]'\" \n\x00xtrue\u0663\udcff")))


def value_or_message(read, *arguments):
    try:
        return read(*arguments), ""
    except (ParameterError, YAMLTextError) as error:
        return None, str(error)


@settings(deadline=None)
@given(st.sampled_from(SCHEMA), HARD | st.text())
@example(BY_NAME["hidden"], "1" * 100_000 + "x")
@example(BY_NAME["seed"], "1e-99999999999999999999")
@example(BY_NAME["seed"], "1" * 400)
@example(BY_NAME["sigmas"], " " * 50_000 + "[")
@example(BY_NAME["labels"], "'" * 50_001)
@example(BY_NAME["sigmas"], "1," * 50_000 + "x")
@example(BY_NAME["labels"], "a" + " " * 50_000 + "[")
def test_any_text_is_a_value_or_a_parameter_error(parameter, text):
    for read in (Parameter.check, parse_text):
        value, message = value_or_message(read, parameter, text)
        assert len(message) < 600
        assert message.isprintable()
        assert message or same(parameter.check(value), value)


@settings(deadline=None)
@given(st.binary() | st.text().map(str.encode))
@example(b"[" * 2_000)
@example(b"a: &a [*a]")
def test_any_bytes_are_a_profile_or_a_yaml_error(content):
    _, message = value_or_message(read_yaml, content)
    assert not message or message.startswith("line ")


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


def test_profiles_are_read_over_the_defaults(tmp_path):
    layout = make_book(tmp_path)
    profile = load_profile(layout, "quick")
    assert effective(layout, "alpha", profile) == {"width": 4, "rates": [0.1, 0.2]}
    assert effective(layout, "alpha", profile, {"width": 5})["width"] == 5
    with pytest.raises(ParameterError, match=r"Did you mean 'quick'\?"):
        load_profile(layout, "quik")


def profile_of(tmp_path: Path, content: bytes):
    layout = make_book(tmp_path)
    (layout.book / "alpha.md").write_text(
        f"```{{code-cell}}\n:tags: [parameters]\n{CELL}```\n", encoding="utf-8"
    )
    (layout.book / "profiles" / "other.yaml").write_bytes(content)
    return load_profile(layout, "other")


PROFILE = """\
about: no
chapters:
  beta:
  alpha:
    hidden: 010
    seed: 1_000
    rate: .5
    momentum: "0.1"
    shuffle: yes
    label: no
    sigmas:
      - 1e-3
      - 0.07
    seeds: [007, "010"]
    extra: []
    sets: [digits, 'mnist']
    labels: [null and void, on, "null", 2024-01-01]
"""


def test_a_profile_means_what_a_person_means(tmp_path):
    profile = profile_of(tmp_path, b"\xef\xbb\xbf" + PROFILE.encode())
    assert profile.about == "no"
    assert profile.chapters["beta"] == {}
    assert profile.chapters["alpha"] == {
        "hidden": 10, "seed": 1000, "rate": 0.5, "momentum": 0.1, "shuffle": True, "label": "no",
        "sigmas": [1e-3, 0.07], "seeds": [7, 10], "extra": [], "sets": ["digits", "mnist"],
        "labels": ["null and void", "on", "null", "2024-01-01"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("line", "meant"),
    [("label: 007", "007"), ("label: '007'", "007"), ("label: 1:30", "1:30"),
     ("label: 2024-01-01", "2024-01-01"),
     ("label: ''", ""), ('label: "null"', "null"), ("label: >-\n      two\n      words", "two words"),
     ("shuffle: on", True), ("shuffle: 1", True), ("shuffle: 'false'", False), ("hidden: 1e2", 100),
     ("hidden: 5.0", 5), ("sigmas: 0.01,0.07", [0.01, 0.07]), ("sigmas: 1e-3", [1e-3])],
)  # fmt: skip
def test_a_line_of_a_profile_means_what_a_person_means(tmp_path, line, meant):
    profile = profile_of(tmp_path, f"chapters:\n  alpha:\n    {line}\n".encode())
    (found,) = profile.chapters["alpha"].values()
    assert same(found, meant)


BAD_LINES = [
    ("hidn: 3", "alpha: unknown parameter 'hidn'. Did you mean 'hidden'?"),
    ("hidden: 1001", "alpha: parameter 'hidden': 1001 is out of range. Allowed: 1..1000."),
    (
        "hidden: 1:30",
        "alpha: parameter 'hidden': '1:30' is not of type int. Allowed: int in 1..1000, such as 64.",
    ),
    ("hidden: 0x10", "'0x10' is not of type int"),
    ("hidden: yes", "'yes' is not of type int"),
    ("hidden: .inf", "'.inf' is not of type int"),
    ("rate: .nan", "'.nan' is not of type float"),
    ("hidden:", "alpha: parameter 'hidden' has no value."),
    ("hidden: ~", "alpha: parameter 'hidden' has no value."),
    ("label: null", "alpha: parameter 'label' has no value."),
    ("label: |\n      two\n      lines", "'two\\nlines\\n' holds control characters"),
    ("hidden: {a: 1}", "parameter 'hidden': {'a': '1'} is not of type int"),
    ("hidden: [1]", "parameter 'hidden': ['1'] is not of type int"),
    ("sigmas: {a: 1}", "parameter 'sigmas': {'a': '1'} is not of type list[float]"),
    ("sigmas: [[1], [2]]", "['1'], entry 1 of [['1'], ['2']], is not of type float"),
    ("sigmas: [1, ~]", "None, entry 2 of ['1', None], is not of type float"),
    ("sigmas: []", "the list is empty"),
    ("shuffle: maybe", "'maybe' is not of type bool"),
    ("dataset: Mnist", "Did you mean 'mnist'?"),
    ("hidden: 3\n    rate: 1\n    hidden: 4", "line 5: the key 'hidden' comes twice."),
    ("hidden: 3\n  alpha:\n    rate: 1", "line 4: the key 'alpha' comes twice."),
    ("hidden: !!int 3", "line 3: the tag 'tag:yaml.org,2002:int' is not read."),
    ("seeds: &a [1]\n    extra: *a", "line 4: the alias 'a' is not read."),
    ("<<: {hidden: 3}", "unknown parameter '<<'"),
    ("hidden: [3", "line 4: while parsing a flow sequence, expected ',' or ']', but got '<stream end>'."),
    ("hidden: a: b", "line 3: mapping values are not allowed here."),
    ("\thidden: 3", "line 3: while scanning for the next token, found character '\\t'"),
    ("hidden: 3\x00", "line 3: the character '\\x00' is not allowed."),
    ("? [hidden]\n    : 3", "line 3: a key is no name."),
    ("hidden: " + "9" * 10_000, "(10002 characters) is not of type int"),
    ("hidden: " + "[" * 2_000, "line 1: this is nested too deeply."),
]


@pytest.mark.parametrize(("line", "message"), BAD_LINES, ids=[line[:30] for line, _ in BAD_LINES])
def test_a_bad_line_of_a_profile_is_refused(tmp_path, line, message):
    content = f"chapters:\n  alpha:\n    {line}\n".encode()
    with pytest.raises(ParameterError) as error:
        profile_of(tmp_path, content)
    assert message in str(error.value)
    assert str(error.value).startswith("book/profiles/other.yaml")
    assert len(str(error.value)) < 500
    assert str(error.value).isprintable()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"chapters: {alpa: {}}", "unknown chapter 'alpa'. Did you mean 'alpha'"),
        (b"chapters: {alpha: 3}", "alpha: expected 'name: value' lines, not '3'"),
        (b"chapters: {alpha: [hidden, 3]}", "alpha: expected 'name: value' lines"),
        (b"chapters: [alpha]", "chapters: expected 'chapter:' lines"),
        (b"chapter: {}", "Did you mean 'chapters'"),
        (b"about: [a]", "about: expected a sentence"),
        (b"- 3", "expected the keys"),
        (b"3", "expected the keys"),
        (b"a: [", "line 1: "),
        (b"about: a\nchapters: \xff\n", "line 2: this is no UTF-8 text."),
        ("about: ä".encode("utf-16"), "line 1: this is no UTF-8 text."),
        (b"about: a\n---\nabout: b", "line 2: expected a single document"),
    ],
)
def test_a_bad_profile_is_refused(tmp_path, content, message):
    with pytest.raises(ParameterError) as error:
        profile_of(tmp_path, content)
    assert message in str(error.value)
    assert str(error.value).startswith("book/profiles/other.yaml")


def test_an_empty_profile_is_one_of_defaults(tmp_path):
    assert profile_of(tmp_path, b"# nothing\n").chapters == {}


def test_a_profile_that_cannot_be_read_is_named(tmp_path):
    layout = make_book(tmp_path)
    (layout.book / "profiles" / "folder.yaml").mkdir()
    (layout.book / "profiles" / "nowhere.yaml").symlink_to("missing")
    for name, problem in (("folder", "Is a directory"), ("nowhere", "No such file")):
        with pytest.raises(ParameterError, match=rf"book/profiles/{name}.yaml: cannot be read: {problem}"):
            load_profile(layout, name)


def test_a_profile_without_permission_is_named(tmp_path, monkeypatch):
    layout = make_book(tmp_path)

    def refuse(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(
        ParameterError, match=r"^book/profiles/quick.yaml: cannot be read: Permission denied$"
    ):
        load_profile(layout, "quick")


@pytest.mark.parametrize("content", [b"\xff", b"```{code-cell}\n:tags: [parameters\n\nn: int = 2\n```\n"])
def test_a_chapter_that_cannot_be_read_is_named(tmp_path, content):
    path = tmp_path / "a.md"
    path.write_bytes(content)
    with pytest.raises(ParameterError, match=r"a.md: cannot be read"):
        schema(path)


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
