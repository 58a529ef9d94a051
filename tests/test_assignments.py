"""Words of the command line: values of a run, axes of a sweep."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spinscape.companion.assignments import read_axes, read_values
from spinscape.companion.parameters import Parameter, ParameterError, Range

PARAMETERS = [
    Parameter("width", "int", 3, allowed=Range(1, 10)),
    Parameter("rates", "list[float]", [0.1]),
    Parameter("names", "list[str]", ["a"]),
    Parameter("name", "str", "digits"),
    Parameter("fast", "bool", False),
]


def test_values_are_read_by_their_types():
    words = ["width=007", "rates=[0.01, 1e-3]", "name=a=b", "fast=true"]
    expected = {"width": 7, "rates": [0.01, 1e-3], "name": "a=b", "fast": True}
    assert read_values(PARAMETERS, words) == expected
    assert read_values(PARAMETERS, ["rates=0.01,0.02"]) == {"rates": [0.01, 0.02]}
    assert read_values(PARAMETERS, []) == {}


def test_axes_are_the_words_with_several_values():
    axes, fixed = read_axes(PARAMETERS, ["width=3,4", "rates=[0.1],[0.1,0.2]", "fast=false,true", "name=x"])
    assert axes == {"width": [3, 4], "rates": [[0.1], [0.1, 0.2]], "fast": [False, True]}
    assert list(axes) == ["width", "rates", "fast"]
    assert fixed == {"name": "x"}
    axes, _ = read_axes(PARAMETERS, ["name='a,b',c"])
    assert axes == {"name": ["a,b", "c"]}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["width"], "'width' is not of the form name=value"),
        (["widht=3"], "unknown parameter 'widht'. Did you mean 'width'? Allowed: width, rates"),
        (["=3"], "unknown parameter ''"),
        (["width=3", "width=4"], "'width' is given twice"),
        (["width=3,4,3"], "3 comes twice"),
        (["width=3,4,03"], "3 comes twice"),
        (["width=3,40"], "40 is out of range. Allowed: 1..10"),
        (["width=3,"], "'' is not of type int"),
        (["width=3"], "a sweep needs a parameter with several values"),
        ([], "a sweep needs a parameter with several values"),
        (["rates=0.1,0.2"], "each list stands in brackets"),
        (["rates=[0.1],0.2"], "each list stands in brackets"),
        (["rates=[0.1,[0.2]"], "parameter 'rates': "),
    ],
)
def test_words_that_make_no_sweep_are_refused(words, message):
    with pytest.raises(ParameterError, match=re.escape(message)):
        read_axes(PARAMETERS, words)


@given(st.lists(st.text(max_size=12), max_size=3))
def test_no_words_end_in_another_error(words):
    for read in (read_values, read_axes):
        for prefix in ("", "width=", "rates=", "names=", "fast="):
            try:
                read(PARAMETERS, [prefix + word for word in words])
            except ParameterError:
                continue
