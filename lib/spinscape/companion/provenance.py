"""What a result depends on: library modules, versions, commit; found without importing them."""

from __future__ import annotations

import ast
import functools
import hashlib
import platform
import subprocess
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

PACKAGE = "spinscape"
LIBRARY = Path(__file__).resolve().parents[2]

# Verdicts are computed when the book is staged, so what computes them is no part of a run.
NOT_IN_A_RUN = ("spinscape.companion.predicates",)

_VERSIONED = ("torch", "numpy", "scipy", "scikit-learn", PACKAGE)


_frozen: dict[Path, bytes] = {}


def freeze() -> None:
    """Keep the library's sources as they are now, so that hashes in this process speak of them."""
    _frozen.update({path: path.read_bytes() for path in (LIBRARY / PACKAGE).rglob("*.py")})


def _source_bytes(path: Path) -> bytes:
    return _frozen.get(path) or path.read_bytes()


def module_closure(start: Iterable[str] | str, *, library: Path = LIBRARY) -> dict[str, Path]:
    """Find the library modules that some code can import, directly or through others.

    Imports are read from the source, those inside functions included; modules in `NOT_IN_A_RUN`
    are left out.

    Parameters
    ----------
    start
        Names of modules, or a string of Python source.
    library
        The folder that holds the package.

    Returns
    -------
    dict
        Module name -> source file, sorted by name; the ``__init__`` of every package on the way
        is included.
    """
    names = list(_imports(start, "") if isinstance(start, str) else start)
    found: dict[str, Path] = {}
    while names:
        name = names.pop()
        if name in found or any(f"{name}.".startswith(f"{out}.") for out in NOT_IN_A_RUN):
            continue
        if "." in name:
            names.append(name.rpartition(".")[0])
        path = _source(name, library)
        if path is None:
            continue
        found[name] = path
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        names.extend(_imports(_source_bytes(path), package))
    return dict(sorted(found.items()))


def _source(name: str, library: Path) -> Path | None:
    if name.partition(".")[0] != PACKAGE:
        return None
    stem = library.joinpath(*name.split("."))
    for path in (stem / "__init__.py", stem.with_suffix(".py")):
        if path.is_file():
            return path
    return None


@functools.cache
def _imports(source: str | bytes, package: str) -> tuple[str, ...]:
    """Names of modules that some source imports; `package` resolves relative ones.

    Every key of a stored result asks for them again, so that they are kept by the source itself.
    """
    names: list[str] = []
    for node in _statements(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.extend(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")
                above = parents[: len(parents) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            names.append(base)
            names.extend(f"{base}.{alias.name}" for alias in node.names)
    return tuple(names)


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """Go through the statements of a syntax tree, those of every block inside others included."""
    for block in ("body", "orelse", "handlers", "finalbody", "cases"):
        inside = getattr(node, block, None)
        # A conditional expression and a lambda have a body too, which is no list and holds no statement.
        for one in inside if isinstance(inside, list) else ():
            yield one
            yield from _statements(one)


def library_hash(modules: Iterable[str], *, library: Path = LIBRARY) -> str:
    """SHA-256 over the sources of some modules and of all they can import."""
    return _digest(module_closure(list(modules), library=library))


def chapter_library_hash(code: str, *, library: Path = LIBRARY) -> str:
    """SHA-256 over the sources of all library modules that a chapter's code can import."""
    return _digest(module_closure(code, library=library))


def _digest(closure: dict[str, Path]) -> str:
    total = hashlib.sha256()
    for name, path in closure.items():
        total.update(f"{name} {hashlib.sha256(_source_bytes(path)).hexdigest()}\n".encode())
    return total.hexdigest()


def versions() -> dict[str, str]:
    """Python's version and those of the libraries that results depend on."""
    found = {"python": platform.python_version()}
    for name in _VERSIONED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    if found[PACKAGE] == "not installed":
        found[PACKAGE] = _declared_version()
    return found


def _declared_version() -> str:
    tree = ast.parse((LIBRARY / PACKAGE / "__init__.py").read_bytes())
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__version__":
            return str(ast.literal_eval(node.value))
    return "unknown"


def commit(root: Path) -> str:
    """Return the git commit of a folder, with ``-dirty`` where files differ, or ``unknown``."""
    try:
        run = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12",
             "--exclude=*"],
            capture_output=True, text=True, timeout=20, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return run.stdout.strip() or "unknown"


def environment_hash(root: Path) -> str:
    """SHA-256 over the pinned requirements and the installed versions results depend on."""
    total = hashlib.sha256()
    lock = root / "requirements.lock"
    if lock.is_file():
        total.update(lock.read_bytes())
    installed = versions()
    for name in ("torch", "numpy", "scipy", "scikit-learn"):
        total.update(f"{name}=={installed[name]}\n".encode())
    total.update(".".join(installed["python"].split(".")[:2]).encode())
    return total.hexdigest()
