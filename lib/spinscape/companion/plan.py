"""What a call has to make: one key per run, from everything its results depend on.

There are three kinds of plan: the whole book at a profile, the page of one chapter with parameters
of a reader's own, and a sweep of one chapter over a grid.
The mark of a finished run carries the key in its name (``done/<chapter>-<key>.json``), so a run is
stale exactly when its content is: times of files play no part.
Marks belong to a plan, since Snakemake removes those of what it is about to run; executed notebooks
may be shared.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat

from spinscape.companion import chapters, provenance, sealed
from spinscape.companion.layout import BookError, Layout, word
from spinscape.companion.pages import literal
from spinscape.companion.processes import write_whole
from spinscape.companion.profiles import Profile, effective, load_profile

REPOSITORY = "SPINSCAPE_REPOSITORY"
KEY_GLOB = "[0-9a-f]" * 16
FILE = "plan.json"

BOOK, PAGE, SWEEP = "book", "page", "sweep"


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
    slot
        Names the run's files: the chapter within a book, else `name`.
    label
        What people are shown.
    source
        The code-only notebook; not part of what a plan on disk holds.
    """

    chapter: str
    profile: str
    parameters: dict[str, Any]
    changed: dict[str, Any]
    identity: dict[str, str]
    key: str
    slot: str
    label: str
    source: str = field(default="", repr=False, compare=False)

    @property
    def name(self) -> str:
        """The chapter and the key."""
        return f"{self.chapter}-{self.key}"

    @property
    def gpu(self) -> int:
        """Number of GPUs the run takes: one where it may and the machine has one."""
        return int(takes_gpu(self.parameters))

    def mark(self, folder: Path) -> Path:
        """Where the mark of the finished run lies in a plan's folder."""
        return folder / "done" / f"{self.name}.json"

    def code(self, store: Path) -> Path:
        """Where the code-only notebook of the run lies in a folder of runs."""
        return store / "code" / f"{self.name}.ipynb"

    def executed(self, store: Path) -> Path:
        """Where the executed notebook lies in a folder of runs."""
        return executed(store, self.slot)


def takes_gpu(parameters: Mapping[str, Any]) -> bool:
    """Whether a run with these parameters computes on a GPU of this machine."""
    return parameters.get("device") in ("auto", "cuda") and gpu_visible()


def gpu_visible() -> bool:
    """Whether an NVIDIA GPU is there and not hidden from programs, without asking its driver."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "unset") in ("", "-1", "NoDevFiles")
    return not hidden and any(Path("/dev").glob("nvidia[0-9]*"))


def executed(store: Path, slot: str) -> Path:
    """Where the executed notebook of a run lies in a folder of runs."""
    return store / "executed" / f"{slot}.ipynb"


def plan_runs(
    layout: Layout,
    chapter: str,
    profile: Profile,
    points: Sequence[Mapping[str, Any]] = ({},),
    *,
    shared: bool = False,
    labels: Sequence[str] = (),
) -> list[Run]:
    """Work out the runs of one chapter, one per set of overriding parameters.

    Parameters
    ----------
    layout, chapter, profile
        Which chapter, at which profile.
    points
        Values that stand in for the profile's.
    shared
        Whether runs of one chapter lie side by side, each in a slot of its own.
    labels
        What people are shown for each point; by default the chapter.

    Raises
    ------
    BookError, ParameterError
        If the chapter cannot be read, or a value is not allowed.
    """
    notebook, identity = _code(layout, chapter)
    defaults = effective(layout, chapter, Profile(profile.name))
    runs = []
    for number, overrides in enumerate(points):
        parameters = effective(layout, chapter, profile, overrides)
        on_gpu = {"gpu": True} if takes_gpu(parameters) else {}
        key = _key({"chapter": chapter, "parameters": parameters, **identity, **on_gpu})
        changed = {k: v for k, v in parameters.items() if v != defaults[k]}
        notebook.metadata["spinscape"] = {
            "chapter": chapter,
            "profile": profile.name,
            "key": key,
            "parameters": parameters,
            "changed": changed,
            "code_hash": identity["code"],
            "library_hash": identity["library"],
            "environment_hash": identity["environment"],
        }
        runs.append(
            Run(
                chapter=chapter,
                profile=profile.name,
                parameters=parameters,
                changed=changed,
                identity=identity,
                key=key,
                slot=f"{chapter}-{key}" if shared else chapter,
                label=labels[number] if labels else chapter,
                source=nbformat.writes(notebook),
            )
        )
    return runs


def _code(layout: Layout, chapter: str) -> tuple[nbformat.NotebookNode, dict[str, str]]:
    """Return the code-only notebook of a chapter, and the hashes that its runs' keys are made of."""
    notebook = chapters.code_only(chapters.read_chapter(layout.chapter(chapter)))
    try:
        library = provenance.chapter_library_hash(chapters.code(notebook), library=layout.lib)
    except SyntaxError as error:
        raise BookError(f"{chapter}: the code cannot be parsed: {error}") from None
    return notebook, {
        "code": chapters.code_hash(notebook),
        "library": library,
        "environment": provenance.environment_hash(layout.root),
    }


def _key(content: Any) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Plan:
    """All runs of one call, and the key of the site that they make.

    Attributes
    ----------
    layout, profile
        Which book, at which profile.
    kind
        `BOOK`, `PAGE` or `SWEEP`.
    folder
        What the call makes beside the runs, and where Snakemake works.
    store
        Where the files of the runs lie.
    runs
        Slot -> run, in reading order or the grid's.
    site_key
        Key of everything but the runs' outputs that the site is made of.
    axes
        Parameter -> values of a sweep; the grid is their product, the last one fastest.
    fixed
        Values of a reader's own that all runs share, in place of the profile's.
    """

    layout: Layout
    profile: str
    kind: str
    folder: Path
    store: Path
    runs: dict[str, Run]
    site_key: str
    axes: dict[str, list[Any]] = field(default_factory=dict)
    fixed: dict[str, Any] = field(default_factory=dict)

    @property
    def settings(self) -> str:
        """Words, in Markdown, for where the parameters come from."""
        own = ", ".join(f"`{name}` = {literal(word(value))}" for name, value in self.fixed.items())
        return f"the `{self.profile}` profile" + (f" with {own}" if own else "")

    def finished(self) -> set[str]:
        """Slots whose mark is there; `prepare` makes marks agree with executed notebooks."""
        return {slot for slot, run in self.runs.items() if run.mark(self.folder).is_file()}

    def executed_here(self) -> set[str]:
        """Slots that a process of this plan has executed, in place of finding them done."""
        found = set()
        for slot in self.finished():
            with contextlib.suppress(OSError, ValueError, KeyError):
                mark = json.loads(self.runs[slot].mark(self.folder).read_text(encoding="utf-8"))
                if mark["executed"]:
                    found.add(slot)
        return found

    @property
    def stage_mark(self) -> Path:
        """The mark of the staged folder."""
        return self.folder / "made" / f"stage-{self.site_key}"

    @property
    def site_mark(self) -> Path:
        """The mark of the finished site."""
        return self.folder / "made" / f"site-{self.site_key}"

    @property
    def html(self) -> Path:
        """The folder of the site."""
        return self.folder / "html"

    @property
    def index(self) -> Path:
        """The page to open first."""
        first = next(iter(self.runs.values())).chapter if self.kind == PAGE else "index"
        return self.html / f"{first}.html"

    @property
    def labels(self) -> dict[str, str]:
        """Slot -> what people are shown."""
        return {slot: run.label for slot, run in self.runs.items()}

    def prepare(self) -> None:
        """Write what the runs start from, and make marks say which executed notebooks are whole."""
        for run in self.runs.values():
            code, mark = run.code(self.store), run.mark(self.folder)
            if _text(code) != run.source:
                write_whole(code, run.source)
            if sealed.key(run.executed(self.store)) == run.key:
                write_whole(mark, mark_text(run.name, executed=False))
            else:
                mark.unlink(missing_ok=True)
        unfinished = self.finished() != set(self.runs)
        if unfinished:
            self.stage_mark.unlink(missing_ok=True)
        if unfinished or not self.index.is_file():
            self.site_mark.unlink(missing_ok=True)
        self.write()

    def distrust_pages(self) -> None:
        """Have the next call make the pages again if what they are made of was edited meanwhile."""
        settings = () if self.kind == BOOK else (self.profile, self.fixed)
        if _site_key(self.layout, self.runs, *settings) != self.site_key:
            self.stage_mark.unlink(missing_ok=True)
            self.site_mark.unlink(missing_ok=True)

    def write(self) -> Path:
        """Write the plan where every process of the call reads it."""
        runs = [{k: v for k, v in vars(run).items() if k != "source"} for run in self.runs.values()]
        content = {
            "profile": self.profile,
            "kind": self.kind,
            "folder": str(self.folder),
            "store": str(self.store),
            "runs": runs,
            "site_key": self.site_key,
            "axes": self.axes,
            "fixed": self.fixed,
        }
        write_whole(self.folder / FILE, json.dumps(content, indent=1))
        return self.folder / FILE


def mark_text(name: str, *, executed: bool) -> str:
    """Return what the mark of a finished run holds.

    Parameters
    ----------
    name
        The run.
    executed
        Whether the call that writes it has executed the run; else it found it done.
    """
    return json.dumps({"run": name, "executed": executed})


def _text(path: Path) -> str:
    """Return a code-only notebook as text; empty where there is none."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""


def read_plan(root: Path, path: Path) -> Plan:
    """Read what `Plan.write` wrote."""
    content = json.loads(path.read_text(encoding="utf-8"))
    runs = [Run(**run) for run in content.pop("runs")]
    folder, store = Path(content.pop("folder")), Path(content.pop("store"))
    by_slot = {run.slot: run for run in runs}
    return Plan(layout=Layout(root), folder=folder, store=store, runs=by_slot, **content)


def book_plan(layout: Layout, profile: str) -> Plan:
    """Plan the whole book at a profile.

    Raises
    ------
    BookError, ParameterError
        If the table of contents, a chapter or the profile cannot be used.
    """
    values = load_profile(layout, profile)
    runs = {name: plan_runs(layout, name, values)[0] for name in layout.chapters()}
    folder = layout.build(profile)
    return Plan(layout, profile, BOOK, folder, folder, runs, _site_key(layout, runs))


def page_plan(layout: Layout, chapter: str, profile: str, overrides: Mapping[str, Any]) -> Plan:
    """Plan one chapter with values of a reader's own, and its page.

    Raises
    ------
    BookError, ParameterError
        If the chapter, the profile or a value cannot be used.
    """
    (run,) = plan_runs(layout, chapter, load_profile(layout, profile), [overrides], shared=True)
    runs, folder = {run.slot: run}, layout.page(run.name)
    own = {name: run.parameters[name] for name in overrides}
    key = _site_key(layout, runs, profile, own)
    return Plan(layout, profile, PAGE, folder, layout.runs, runs, key, fixed=own)


def sweep_plan(
    layout: Layout,
    chapter: str,
    profile: str,
    axes: Mapping[str, Sequence[Any]],
    fixed: Mapping[str, Any] | None = None,
) -> Plan:
    """Plan a chapter over a grid of values, and the table over it.

    Parameters
    ----------
    layout, chapter, profile
        Which chapter, at which profile.
    axes
        Parameter -> values; the grid is their product.
    fixed
        Values that all points share.

    Raises
    ------
    BookError, ParameterError
        If the chapter, the profile or a value cannot be used.
    """
    grid = {name: list(values) for name, values in axes.items()}
    points = [dict(zip(grid, point, strict=True)) for point in itertools.product(*grid.values())]
    labels = [" ".join(f"{name}={word(value)}" for name, value in point.items()) for point in points]
    overrides = [{**(fixed or {}), **point} for point in points]
    planned = plan_runs(layout, chapter, load_profile(layout, profile), overrides, shared=True, labels=labels)
    runs = {run.slot: run for run in planned}
    name = f"{chapter}-{_key({'axes': list(grid.items()), 'runs': list(runs)})}"
    own = dict(fixed or {})
    key = _site_key(layout, runs, profile, own)
    return Plan(layout, profile, SWEEP, layout.sweep(name), layout.runs, runs, key, grid, own)


def _site_key(layout: Layout, runs: Mapping[str, Run], *settings: Any) -> str:
    """Key of everything but the runs' outputs that the site is made of."""
    package = provenance.LIBRARY / provenance.PACKAGE
    judging = [path for room in ("companion", "glasses") for path in package.glob(f"{room}/**/*.py")]
    judging += package.glob("companion/*.js")
    files = [layout.root / name for name in ("_config.yml", "_toc.yml")]
    files += [path for path in layout.book.rglob("*") if "profiles" not in path.parts]
    content = {
        "files": {str(p.relative_to(layout.root)): _file_hash(p) for p in files if p.is_file()},
        "judging": [_file_hash(path) for path in sorted(judging)],
        "runs": {name: run.key for name, run in runs.items()},
        "environment": provenance.environment_hash(layout.root),
        "repository": os.environ.get(REPOSITORY, ""),
        "settings": settings,
    }
    return _key(content)


def _file_hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
