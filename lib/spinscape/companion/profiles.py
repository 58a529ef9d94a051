"""Profiles: files of parameter values for the whole book, ``book/profiles/<name>.yaml``.

A value is the text that stands in the file, and the declared type says what it means: for YAML
itself ``010`` would be eight, ``1:30`` ninety and ``no`` false.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from spinscape.companion.layout import Layout, shown, unknown
from spinscape.companion.parameters import ParameterError, check, schema
from spinscape.companion.yaml_text import YAMLTextError, read_yaml


@dataclass(frozen=True)
class Profile:
    """A named set of values.

    Attributes
    ----------
    name, about
        Its file's stem, and one sentence on what it is for.
    chapters
        Chapter -> parameter -> value, checked.
    """

    name: str
    about: str = ""
    chapters: dict[str, dict[str, Any]] = field(default_factory=dict)


def load_profile(layout: Layout, name: str) -> Profile:
    """Read and check a profile.

    Raises
    ------
    ParameterError
        If there is no such profile, it cannot be read, names an unknown chapter or parameter, or
        gives a value that is not allowed; the message names the file.
    """
    if name not in (names := layout.profiles()):
        raise ParameterError(unknown("profile", name, names))
    path = layout.book / "profiles" / f"{name}.yaml"
    where = path.relative_to(layout.root)
    try:
        content = read_yaml(path.read_bytes())
    except YAMLTextError as error:
        raise ParameterError(f"{where}, {error}") from None
    except OSError as error:
        raise ParameterError(f"{where}: cannot be read: {error.strerror}") from None
    content = {} if content is None else content
    if not isinstance(content, dict):
        raise ParameterError(f"{where}: expected the keys 'about' and 'chapters'.")
    for key in content:
        if key not in ("about", "chapters"):
            raise ParameterError(f"{where}: {unknown('key', key, ('about', 'chapters'))}")
    about = content.get("about") or ""
    if not isinstance(about, str):
        raise ParameterError(f"{where}: about: expected a sentence, not {shown(about)}.")
    wanted = content.get("chapters") or {}
    if not isinstance(wanted, dict):
        raise ParameterError(f"{where}: chapters: expected 'chapter:' lines, not {shown(wanted)}.")
    chapters = {}
    known = layout.chapters()
    for chapter, values in wanted.items():
        if chapter not in known:
            raise ParameterError(f"{where}: {unknown('chapter', chapter, known)}")
        values = {} if values is None else values
        if not isinstance(values, dict):
            raise ParameterError(f"{where}: {chapter}: expected 'name: value' lines, not {shown(values)}.")
        if empty := [name for name, value in values.items() if value is None]:
            raise ParameterError(f"{where}: {chapter}: parameter {shown(empty[0])} has no value.")
        try:
            chapters[chapter] = check(schema(layout.chapter(chapter)), values)
        except ParameterError as error:
            raise ParameterError(f"{where}: {chapter}: {error}") from None
    return Profile(name, about, chapters)


def effective(
    layout: Layout, chapter: str, profile: Profile, overrides: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """All parameters of a chapter: its defaults, then the profile's values, then `overrides`."""
    parameters = schema(layout.chapter(chapter))
    values = {parameter.name: parameter.default for parameter in parameters}
    values.update(profile.chapters.get(chapter, {}))
    values.update(check(parameters, overrides or {}))
    return values
