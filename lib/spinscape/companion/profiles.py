"""Profiles: files of parameter values for the whole book, ``book/profiles/<name>.yaml``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from spinscape.companion.layout import Layout, unknown
from spinscape.companion.parameters import ParameterError, check, schema


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
        If there is no such profile, or it names an unknown chapter or parameter or gives a value
        that is not allowed; the message names the file.
    """
    if name not in (names := layout.profiles()):
        raise ParameterError(unknown("profile", name, names))
    path = layout.book / "profiles" / f"{name}.yaml"
    where = path.relative_to(layout.root)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise ParameterError(f"{where}: {error}") from None
    if not isinstance(content, dict):
        raise ParameterError(f"{where}: expected the keys 'about' and 'chapters'.")
    for key in content:
        if key not in ("about", "chapters"):
            raise ParameterError(f"{where}: {unknown('key', str(key), ('about', 'chapters'))}")
    chapters = {}
    known = layout.chapters()
    for chapter, values in (content.get("chapters") or {}).items():
        if chapter not in known:
            raise ParameterError(f"{where}: {unknown('chapter', str(chapter), known)}")
        if not isinstance(values or {}, dict):
            raise ParameterError(f"{where}: {chapter}: expected 'name: value' lines.")
        try:
            chapters[chapter] = check(schema(layout.chapter(chapter)), values or {})
        except ParameterError as error:
            raise ParameterError(f"{where}: {chapter}: {error}") from None
    return Profile(name, str(content.get("about", "")), chapters)


def effective(
    layout: Layout, chapter: str, profile: Profile, overrides: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """All parameters of a chapter: its defaults, then the profile's values, then `overrides`."""
    parameters = schema(layout.chapter(chapter))
    values = {parameter.name: parameter.default for parameter in parameters}
    values.update(profile.chapters.get(chapter, {}))
    values.update(check(parameters, overrides or {}))
    return values
