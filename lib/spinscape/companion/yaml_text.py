"""YAML read as the text that stands in it: scalars stay what was written, whatever they look like."""

from __future__ import annotations

import codecs
from typing import Any

import yaml

from spinscape.companion.layout import shown

# What a node without a tag of its own has.
_TAGS = {
    yaml.ScalarNode: yaml.BaseLoader.DEFAULT_SCALAR_TAG,
    yaml.SequenceNode: yaml.BaseLoader.DEFAULT_SEQUENCE_TAG,
    yaml.MappingNode: yaml.BaseLoader.DEFAULT_MAPPING_TAG,
}
_NOTHING = ("", "~", "null", "Null", "NULL")


class YAMLTextError(ValueError):
    """A YAML text cannot be used; the message begins with the line."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(f"line {line}: {problem}")


def read_yaml(content: bytes) -> Any:
    """Read one YAML document of mappings, lists and scalars.

    Parameters
    ----------
    content
        UTF-8, with or without a byte order mark.

    Returns
    -------
    dict, list, str or None
        Every key and every scalar is a str, as written and without its quotes; what has no value,
        and ``null`` or ``~`` without quotes, is None.

    Raises
    ------
    YAMLTextError
        If the text is no UTF-8, no YAML or nested without end, a key comes twice, or a tag or an
        alias stands in it.
    """
    try:
        text = content.removeprefix(codecs.BOM_UTF8).decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise YAMLTextError(line, "this is no UTF-8 text.") from None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        return None if node is None else _value(node)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise YAMLTextError(line, f"the character {text[error.position]!a} is not allowed.") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = ", ".join(filter(None, (error.context, error.problem)))
        raise YAMLTextError(mark.line + 1 if mark else 1, f"{problem}.") from None
    except RecursionError:
        raise YAMLTextError(1, "this is nested too deeply.") from None


class _Loader(yaml.BaseLoader):
    """PyYAML's reader without types; aliases are refused, since a few lines of them can mean millions."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise YAMLTextError(event.start_mark.line + 1, f"the alias {shown(event.anchor)} is not read.")
        return super().compose_node(parent, index)


def _value(node: yaml.Node) -> Any:
    if node.tag != _TAGS[type(node)]:
        raise YAMLTextError(_line(node), f"the tag {shown(node.tag)} is not read.")
    if isinstance(node, yaml.SequenceNode):
        return [_value(entry) for entry in node.value]
    if isinstance(node, yaml.ScalarNode):
        return None if node.style is None and node.value in _NOTHING else node.value
    found: dict[str, Any] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise YAMLTextError(_line(key), "a key is no name.")
        if key.value in found:
            raise YAMLTextError(_line(key), f"the key {shown(key.value)} comes twice.")
        found[key.value] = _value(value)
    return found


def _line(node: yaml.Node) -> int:
    return node.start_mark.line + 1
