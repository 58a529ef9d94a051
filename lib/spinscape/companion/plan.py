"""What a build has to make: one key per chapter, from everything its results depend on.

The mark of a finished run carries the key in its name (``done/<chapter>-<key>.json``), so a run is
stale exactly when its content is: times of files play no part.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat

from spinscape.companion import chapters, provenance
from spinscape.companion.layout import BookError, Layout
from spinscape.companion.processes import write_whole
from spinscape.companion.profiles import Profile, effective, load_profile

REPOSITORY = "SPINSCAPE_REPOSITORY"
KEY_GLOB = "[0-9a-f]" * 16


@dataclass(frozen=True)
class Run:
    """One chapter at one set of parameters.

    Attributes
    ----------
    chapter, profile, parameters
        What runs; `parameters` are all of them.
    changed
        Those that differ from the chapter's defaults.
    identity
        The hashes that the key is made of.
    key
        Sixteen hexadecimal digits.
    """

    chapter: str
    profile: str
    parameters: dict[str, Any]
    changed: dict[str, Any]
    identity: dict[str, str]
    key: str

    @property
    def gpu(self) -> int:
        """Number of GPUs the run takes: one where it may and the machine has one."""
        return int(self.parameters.get("device") in ("auto", "cuda") and gpu_visible())

    def mark(self, folder: Path) -> Path:
        """Where the mark of the finished run lies in a build folder."""
        return folder / "done" / f"{self.chapter}-{self.key}.json"

    def code(self, folder: Path) -> Path:
        """Where the code-only notebook of the run lies in a build folder."""
        return folder / "code" / f"{self.chapter}-{self.key}.ipynb"


def gpu_visible() -> bool:
    """Whether an NVIDIA GPU is there and not hidden from programs, without asking its driver."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "unset") in ("", "-1", "NoDevFiles")
    return not hidden and any(Path("/dev").glob("nvidia[0-9]*"))


def plan_run(
    layout: Layout, chapter: str, profile: Profile, overrides: Mapping[str, Any] | None = None
) -> Run:
    """Work out one run and write its code-only notebook.

    Raises
    ------
    BookError, ParameterError
        If the chapter cannot be read, or a value is not allowed.
    """
    notebook = chapters.code_only(chapters.read_chapter(layout.chapter(chapter)))
    parameters = effective(layout, chapter, profile, overrides)
    defaults = effective(layout, chapter, Profile(profile.name))
    try:
        library = provenance.chapter_library_hash(chapters.code(notebook), library=layout.lib)
    except SyntaxError as error:
        raise BookError(f"{chapter}: the code cannot be parsed: {error}") from None
    identity = {
        "code": chapters.code_hash(notebook),
        "library": library,
        "environment": provenance.environment_hash(layout.root),
    }
    run = Run(
        chapter=chapter,
        profile=profile.name,
        parameters=parameters,
        changed={k: v for k, v in parameters.items() if v != defaults[k]},
        identity=identity,
        key=_key({"chapter": chapter, "parameters": parameters, **identity}),
    )
    notebook.metadata["spinscape"] = {
        "chapter": chapter,
        "profile": profile.name,
        "key": run.key,
        "parameters": run.parameters,
        "changed": run.changed,
        "code_hash": identity["code"],
        "library_hash": library,
        "environment_hash": identity["environment"],
    }
    path = run.code(layout.build(profile.name))
    if not path.is_file():
        write_whole(path, nbformat.writes(notebook))
    return run


def _key(content: Any) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Plan:
    """All runs of a book at one profile, and the key of the site that they make."""

    layout: Layout
    profile: str
    runs: dict[str, Run]
    site_key: str

    @property
    def folder(self) -> Path:
        """The build folder."""
        return self.layout.build(self.profile)

    def finished(self) -> set[str]:
        """Chapters whose run is done and whose executed notebook is in place."""
        return {name for name, run in self.runs.items() if run.mark(self.folder).is_file()}

    @property
    def stage_mark(self) -> Path:
        """The mark of the staged folder."""
        return self.folder / "made" / f"stage-{self.site_key}"

    @property
    def site_mark(self) -> Path:
        """The mark of the finished site."""
        return self.folder / "made" / f"site-{self.site_key}"


def make_plan(layout: Layout, profile: str) -> Plan:
    """Work out what a build has to make, and drop marks of what is no longer there.

    Raises
    ------
    BookError, ParameterError
        If the table of contents, a chapter or the profile cannot be used.
    """
    values = load_profile(layout, profile)
    runs = {name: plan_run(layout, name, values) for name in layout.chapters()}
    plan = Plan(layout, profile, runs, _site_key(layout, runs))
    for name, run in runs.items():
        mark = run.mark(plan.folder)
        if mark.is_file() and executed_key(executed(plan.folder, name)) != run.key:
            mark.unlink()
    unfinished = plan.finished() != set(runs)
    if unfinished:
        plan.stage_mark.unlink(missing_ok=True)
    if unfinished or not (layout.html(profile) / "index.html").is_file():
        plan.site_mark.unlink(missing_ok=True)
    return plan


def executed(folder: Path, chapter: str) -> Path:
    """Where the executed notebook of a chapter lies in a build folder."""
    return folder / "executed" / f"{chapter}.ipynb"


def executed_key(path: Path) -> str:
    """Return the key of the run that an executed notebook is of; empty where there is none."""
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        return str(notebook["metadata"]["spinscape"]["key"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _site_key(layout: Layout, runs: Mapping[str, Run]) -> str:
    """Key of everything but the runs' outputs that the site is made of."""
    package = provenance.LIBRARY / provenance.PACKAGE
    judging = [path for room in ("companion", "glasses") for path in package.glob(f"{room}/**/*.py")]
    files = [layout.root / name for name in ("_config.yml", "_toc.yml")]
    files += [path for path in layout.book.rglob("*") if "profiles" not in path.parts]
    content = {
        "files": {str(p.relative_to(layout.root)): _file_hash(p) for p in files if p.is_file()},
        "judging": [_file_hash(path) for path in sorted(judging)],
        "runs": {name: run.key for name, run in runs.items()},
        "environment": provenance.environment_hash(layout.root),
        "repository": os.environ.get(REPOSITORY, ""),
    }
    return _key(content)


def _file_hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
