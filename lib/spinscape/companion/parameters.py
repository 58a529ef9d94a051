"""The parameters of a chapter: what its parameters cell declares, and checks of given values.

The cell tagged ``parameters`` is the only place where a parameter is declared.
Each of its lines reads ``name: type = default  # help {constraint}``, where the type is one of
``int``, ``float``, ``bool``, ``str``, ``list[int]``, ``list[float]`` and ``list[str]``, and the
optional constraint at the comment's end is

- a range ``{low..high}``; both ends belong to it, ``<`` beside an end leaves that end out, and a
  missing end is open: ``{1..1000}``, ``{0<..1}``, ``{0..<1}``, ``{0<..}``;
- or a choice ``{digits | mnist}``.

For a list the constraint holds for each element; an empty list is allowed only where the default is
one.
Rules for the value as a whole follow after semicolons, as in ``{3..200; increasing; at least 3}`` and
``{5..201; odd}``; `spinscape.companion.rules` lists them.

The declared type decides what a value means, wherever it comes from:

- an ``int`` or a ``float`` is a decimal number: ``010`` is ten, ``1e3`` and ``5.0`` are whole, and
  ``1_000`` is a thousand as in Python; ``0x10``, ``1:30``, ``nan`` and ``inf`` are refused;
- a ``bool`` is ``true``, ``yes``, ``on`` or ``1``, or ``false``, ``no``, ``off`` or ``0``, in any case;
- a ``str`` is any text without control characters; a number of Python's is none, since what was
  written (``007``) is lost;
- a list is ``[0.01, 0.07]`` or ``0.01,0.07``, a comma at the end allowed, and a single value is a list
  of one; an entry in quotes may hold commas and brackets.

Nothing here imports torch, so a wrong value is refused at once.
"""

from __future__ import annotations

import ast
import io
import math
import re
import tokenize
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import yaml

from spinscape.companion.layout import shown, unknown
from spinscape.companion.rules import Rule, allowed_rules, read_rules

TYPES = ("int", "float", "bool", "str", "list[int]", "list[float]", "list[str]")

_CELL = re.compile(
    r"^(?P<fence>```+)\{code-cell\}[^\n]*\n(?P<body>.*?)^(?P=fence)[ \t]*$",
    flags=re.MULTILINE | re.DOTALL,
)
_DIGITS = "[0-9]+(?:_[0-9]+)*"
_NUMBER = rf"[-+]?(?:{_DIGITS}(?:\.(?:{_DIGITS})?)?|\.{_DIGITS})(?:[eE][-+]?{_DIGITS})?"
_ENTRY = re.compile(r"""\s*+("[^"]*"|'[^']*'|[^,\[\]"']++)\s*+(?:,|\Z)""")
_WORDS = {"true": True, "yes": True, "on": True, "1": True,
          "false": False, "no": False, "off": False, "0": False}  # fmt: skip
_RANGE = re.compile(rf"(?P<low>{_NUMBER})?(?P<above><)?\.\.(?P<below><)?(?P<high>{_NUMBER})?")


class ParameterError(ValueError):
    """A parameter is declared or given in a way that cannot be used."""


@dataclass(frozen=True)
class Range:
    """Allowed numbers: from `low` to `high`, an end left out where it is marked open."""

    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    below: bool = False

    def __contains__(self, value: float) -> bool:
        low = self.low < value if self.above else self.low <= value
        high = value < self.high if self.below else value <= self.high
        return low and high

    def __str__(self) -> str:
        low = "" if self.low == -math.inf else f"{self.low:.15g}"
        high = "" if self.high == math.inf else f"{self.high:.15g}"
        return f"{low}{'<' if self.above else ''}..{'<' if self.below else ''}{high}"

    @property
    def words(self) -> str:
        """The range as a sentence says it: in words where one end is open."""
        if self.high == math.inf and self.low > -math.inf:
            return f"{'more than' if self.above else 'at least'} {self.low:.15g}"
        if self.low == -math.inf and self.high < math.inf:
            return f"{'less than' if self.below else 'at most'} {self.high:.15g}"
        return str(self)


@dataclass(frozen=True)
class Parameter:
    """One declared parameter.

    Attributes
    ----------
    name, type, default, help
        As declared; `type` is one of `TYPES`.
    allowed
        A `Range`, a tuple of choices, or None where every value of the type will do.
    rules
        What holds for the value as a whole.
    """

    name: str
    type: str
    default: Any
    help: str = ""
    allowed: Range | tuple[str, ...] | None = None
    rules: tuple[Rule, ...] = ()

    @property
    def element(self) -> str:
        """The type, or for a list the type of its elements."""
        return self.type.removeprefix("list[").removesuffix("]")

    @property
    def constraint(self) -> str:
        """The constraint as a person writes it; empty where there is none."""
        if self.allowed is None:
            return ""
        first = " | ".join(self.allowed) if isinstance(self.allowed, tuple) else str(self.allowed)
        return "; ".join([first, *map(str, self.rules)])

    def check(self, value: Any) -> Any:
        """Return `value` in the declared type, or raise `ParameterError`.

        Text is read by the declared type, as in the module's description; for a ``str`` it is taken
        as it is.
        """
        found = self._typed(value)
        for rule in self.rules:
            if broken := rule.broken(found):
                raise ParameterError(f"parameter {self.name!r}: {broken}. Allowed: {self.constraint}.")
        return found

    def _typed(self, value: Any) -> Any:
        """Return `value` in the declared type, each element of it allowed."""
        if not self.type.startswith("list["):
            return self._element(value, value)
        entries = self._entries(value)
        if not entries and self.default:
            raise ParameterError(
                f"parameter {self.name!r}: the list is empty. "
                f"Give at least one value, such as {self.default!r}."
            )
        if len(entries) == 1:
            return [self._element(entries[0], value)]
        return [self._element(entry, value, number) for number, entry in enumerate(entries, 1)]

    def _entries(self, value: Any) -> list[Any]:
        """Entries of a list as Python gives it or as text; any other value is a list of one."""
        if isinstance(value, list | tuple):
            return list(value)
        if not isinstance(value, str):
            return [value]
        inner = value.strip()
        if inner.startswith("[") != inner.endswith("]"):
            raise ParameterError(f"parameter {self.name!r}: {shown(value)} lacks a bracket.")
        inner = inner.removeprefix("[").removesuffix("]").strip()
        entries: list[Any] = []
        position = 0
        while position < len(inner):
            found = _ENTRY.match(inner, position)
            if not found or not (entry := found[1].strip()):
                raise self._not_of_type(value)
            entries.append(_without_quotes(entry))
            position = found.end()
        return entries

    def _element(self, entry: Any, value: Any, number: int = 0) -> Any:
        """Check `value`, or the entry of it with this number."""
        cast = _cast(self.element, entry)
        if cast is None:
            raise self._not_of_type(value, entry, number)
        if isinstance(self.allowed, tuple) and cast not in self.allowed:
            raise ParameterError(f"parameter {self.name!r}: {unknown('value', str(cast), self.allowed)}")
        if isinstance(self.allowed, Range) and cast not in self.allowed:
            raise ParameterError(
                f"parameter {self.name!r}: {shown(cast)} is out of range. "
                f"Allowed: {'; '.join([self.allowed.words, *map(str, self.rules)])}."
            )
        if isinstance(cast, str) and any(unicodedata.category(letter) in ("Cc", "Cs") for letter in cast):
            raise ParameterError(
                f"parameter {self.name!r}: {shown(cast)} holds control characters or is no Unicode text."
            )
        return cast

    def _not_of_type(self, value: Any, entry: Any = None, number: int = 0) -> ParameterError:
        what, kind = shown(value), self.type
        if number:
            what, kind = f"{shown(entry)}, entry {number} of {what},", self.element
        limits = f" in {self.constraint}" if self.constraint else ""
        # The default of a wrong declaration is no example.
        example = "" if value is self.default else f", such as {self.default!r}"
        return ParameterError(
            f"parameter {self.name!r}: {what} is not of type {kind}. Allowed: {self.type}{limits}{example}."
        )


def _cast(kind: str, value: Any) -> Any:
    """`value` as a `kind` where it means one, else None."""
    if kind == "str":
        return value if isinstance(value, str) else None
    if isinstance(value, str):
        value = _without_quotes(value.strip())
    if kind == "bool":
        if isinstance(value, str):
            return _WORDS.get(value.lower())
        return bool(value) if isinstance(value, int) and value in (0, 1) else None
    return None if isinstance(value, bool) else _number(kind, value)


def _number(kind: str, value: Any) -> int | float | None:
    if isinstance(value, str):
        if not re.fullmatch(_NUMBER, value):
            return None
        value = float(value) if kind == "float" else _exact(value)
    try:
        if not isinstance(value, int | float) or not math.isfinite(value):
            return None
    except OverflowError:
        return None
    if kind == "float":
        return float(value)
    return int(value) if value == int(value) else None


def _exact(text: str) -> int | float:
    """Read a number, exactly where it is whole: as a float ``1e23`` is not."""
    try:
        exact = Decimal(text)
    except InvalidOperation:  # The exponent has some twenty digits.
        return float(text)
    whole = math.isfinite(float(text)) and exact == exact.to_integral_value()
    return int(exact) if whole else math.nan


def _without_quotes(text: str) -> str:
    quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
    return text[1:-1] if quoted else text


def parse_text(parameter: Parameter, text: str) -> Any:
    """Read a value from the command line as a person means it.

    It is `Parameter.check`, but quotes around a ``str`` are dropped, and so is space outside of them.

    Raises
    ------
    ParameterError
        If the text is no value of the declared type, or not an allowed one.
    """
    return parameter.check(_without_quotes(text.strip()) if parameter.type == "str" else text)


def schema(chapter: Path) -> list[Parameter]:
    """Read what a chapter's parameters cell declares; a chapter without one has no parameters.

    Raises
    ------
    ParameterError
        If the file cannot be read, a line of the cell is no declaration, a name comes twice, or a
        default breaks its own constraint.
    """
    try:
        bodies = list(_parameter_cells(Path(chapter).read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ParameterError(f"{chapter}: cannot be read: {error}") from None
    for body in bodies:
        try:
            return declared(body)
        except ParameterError as error:
            raise ParameterError(f"{chapter}: {error}") from None
    return []


def _parameter_cells(text: str) -> Iterator[str]:
    for cell in _CELL.finditer(text):
        body = cell["body"]
        options: dict[str, Any] = {}
        if block := re.match(r"---\n(.*?)\n---\n", body, flags=re.DOTALL):
            options = yaml.safe_load(block[1]) or {}
            body = body[block.end() :]
        elif lines := re.match(r"(?:^:[\w-]+:.*\n)+", body, flags=re.MULTILINE):
            pairs = (line[1:].partition(":") for line in lines[0].splitlines())
            options = {name: yaml.safe_load(value) for name, _, value in pairs}
            body = body[lines.end() :]
        if "parameters" in (options.get("tags") or []):
            yield body


def declared(source: str) -> list[Parameter]:
    """Read the declarations in the source of a parameters cell."""
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        raise ParameterError(f"parameters cell, line {error.lineno}: {error.msg}") from None
    comments = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    found: dict[str, Parameter] = {}
    for node in tree.body:
        parameter = _declaration(node, comments.get(node.end_lineno or 0, ""))
        if parameter.name in found:
            raise ParameterError(f"parameters cell, line {node.lineno}: {parameter.name!r} comes twice.")
        found[parameter.name] = parameter
    return list(found.values())


def _declaration(node: ast.stmt, comment: str) -> Parameter:
    where = f"parameters cell, line {node.lineno}"
    if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
        raise ParameterError(f"{where}: expected 'name: type = default  # help {{constraint}}'.")
    name, kind = node.target.id, ast.unparse(node.annotation)
    if kind not in TYPES:
        raise ParameterError(f"{where}: {unknown('type', kind, TYPES)}")
    try:
        default = ast.literal_eval(node.value) if node.value is not None else None
    except (ValueError, TypeError):
        default = None
    if default is None:
        raise ParameterError(f"{where}: {name!r} needs a literal default.")
    text, allowed, rules = _constraint(comment, kind, where)
    parameter = Parameter(name, kind, default, text, allowed, rules)
    if isinstance(default, str) != (kind == "str") or isinstance(default, list) != kind.startswith("list["):
        raise parameter._not_of_type(default)
    return replace(parameter, default=parameter.check(default))


def _constraint(
    comment: str, kind: str, where: str
) -> tuple[str, Range | tuple[str, ...] | None, tuple[Rule, ...]]:
    match = re.fullmatch(r"(.*?)\s*\{([^{}]*)\}\s*", comment)
    if not match:
        return comment.strip(), None, ()
    inside = match[2].strip()
    first, *rest = inside.split(";")
    allowed = _choices(first, where) if kind in ("str", "list[str]") else _range(first, kind, where)
    try:
        return match[1].strip(), allowed, read_rules(kind, rest)
    except ValueError as error:
        rules = ", ".join(allowed_rules(kind)) or "none"
        raise ParameterError(
            f"{where}: {str(error)!r} in {{{inside}}} is no rule for {kind}. Allowed: {rules}."
        ) from None


def _choices(text: str, where: str) -> tuple[str, ...]:
    choices = tuple(choice.strip() for choice in text.split("|"))
    if not all(choices):
        raise ParameterError(f"{where}: {{{text}}} has an empty choice.")
    return choices


def _range(text: str, kind: str, where: str) -> Range:
    found = _RANGE.fullmatch(text.replace(" ", ""))
    if not found or kind == "bool":
        raise ParameterError(f"{where}: {{{text}}} is no range for {kind}, such as {{0<..1}}.")
    low = -math.inf if found["low"] is None else float(found["low"])
    high = math.inf if found["high"] is None else float(found["high"])
    return Range(low, high, bool(found["above"]), bool(found["below"]))


def check(parameters: list[Parameter], values: Mapping[str, Any]) -> dict[str, Any]:
    """Check values against a schema.

    Parameters
    ----------
    parameters
        What `schema` returned.
    values
        Name -> value, as Python gives it or as text.

    Returns
    -------
    dict
        The given names with their values in the declared types.

    Raises
    ------
    ParameterError
        For an unknown name, a wrong type or a value out of range; it says what is allowed.
    """
    by_name = {parameter.name: parameter for parameter in parameters}
    for name in values:
        if name not in by_name:
            raise ParameterError(unknown("parameter", str(name), by_name))
    return {name: by_name[name].check(value) for name, value in values.items()}
