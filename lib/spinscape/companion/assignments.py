"""``name=value`` words of the command line: values of a run, axes of a sweep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from spinscape.companion.layout import shown, unknown
from spinscape.companion.parameters import Parameter, ParameterError, parse_text


def read_values(parameters: Sequence[Parameter], words: Sequence[str]) -> dict[str, Any]:
    """Read ``name=value`` words.

    Parameters
    ----------
    parameters
        What the chapter declares.
    words
        Such as ``hidden=64``, ``sigmas=[0.01,0.07]``.

    Raises
    ------
    ParameterError
        For a word of another form, a name that is unknown or comes twice, or a value that is not
        allowed.
    """
    return {parameter.name: parse_text(parameter, text) for parameter, text in _split_all(parameters, words)}


def read_axes(
    parameters: Sequence[Parameter], words: Sequence[str]
) -> tuple[dict[str, list[Any]], dict[str, Any]]:
    """Read ``name=value,value,...`` words.

    A list parameter's values stand in brackets: ``sigmas=[0.01],[0.01,0.02]``.

    Returns
    -------
    axes : dict
        Name -> values, for the words with two values or more.
    fixed : dict
        Name -> value, for the words with one.

    Raises
    ------
    ParameterError
        As `read_values`; also where a value comes twice or no word has two values.
    """
    axes: dict[str, list[Any]] = {}
    fixed: dict[str, Any] = {}
    for parameter, text in _split_all(parameters, words):
        texts = _outer_commas(text)
        if parameter.type.startswith("list[") and not all(t.strip().startswith("[") for t in texts):
            raise ParameterError(
                f"parameter {parameter.name!r}: in a sweep each list stands in brackets, "
                f"such as {shown(f'{parameter.name}=[{text}]')} for one list."
            )
        values = [parse_text(parameter, each) for each in texts]
        for number, value in enumerate(values):
            if value in values[:number]:
                raise ParameterError(f"parameter {parameter.name!r}: {shown(value)} comes twice.")
        if len(values) > 1:
            axes[parameter.name] = values
        else:
            fixed[parameter.name] = values[0]
    if not axes:
        raise ParameterError("a sweep needs a parameter with several values, such as seed=0,1,2.")
    return axes, fixed


def _split_all(parameters: Sequence[Parameter], words: Sequence[str]) -> list[tuple[Parameter, str]]:
    by_name = {parameter.name: parameter for parameter in parameters}
    found: dict[str, str] = {}
    for word in words:
        name, equals, text = word.partition("=")
        name = name.strip()
        if not equals:
            raise ParameterError(
                f"{shown(word)} is not of the form name=value. Allowed names: {', '.join(by_name) or 'none'}."
            )
        if name not in by_name:
            raise ParameterError(unknown("parameter", name, by_name))
        if name in found:
            raise ParameterError(f"parameter {name!r} is given twice.")
        found[name] = text
    return [(by_name[name], text) for name, text in found.items()]


def _outer_commas(text: str) -> list[str]:
    """Split at commas outside of brackets and quotes."""
    parts, depth, quote = [""], 0, ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character in "[]":
            depth += 1 if character == "[" else -1
        elif character == "," and depth == 0:
            parts.append("")
            continue
        parts[-1] += character
    return parts
