"""Pin everything: requirements.in -> requirements.lock -> environment.yml.

    python tools/lock.py                       resolve anew, then write both
    python tools/lock.py --environment-only    write environment.yml from the lock as it is

pip resolves on the interpreter that runs this, once as it is and once for every other supported
Python found beside it, so that what only one version needs gets a marker.
A pin that refuses the first release of a supported Python, such as 3.11.0, is an error: systems keep
early releases for years (Debian 12 has 3.11.2).
torch's own companions for CUDA are left to torch, which pins them itself.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

from packaging.markers import Marker
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parents[1]
VERSIONS = ("3.11", "3.12", "3.13")
_LEFT_TO_TORCH = re.compile(r"nvidia-|cuda-|triton$")

_HEAD = """\
# The same pins for conda as requirements.lock has for pip; written by `make lock`.
name: spinscape
channels:
  - conda-forge
dependencies:
  - python>=3.11,<3.14
  - pip
  - make
  - pip:
"""


def normal(name: str) -> str:
    """Spell a package name as the index does."""
    return re.sub(r"[-_.]+", "-", name).lower()


def admits(python: str, asked: str | None, marker: Marker | None = None) -> bool:
    """Say whether a package can be installed on a Python such as ``3.11.0``.

    Parameters
    ----------
    python
        The full version.
    asked
        The package's ``Requires-Python``.
    marker
        The pin's marker; where it leaves the package out, nothing is asked.
    """
    short = python.rpartition(".")[0]
    if marker and not marker.evaluate({"python_version": short, "python_full_version": python}):
        return True
    return SpecifierSet(asked or "").contains(python)


def resolve(python: str, version: str) -> dict[str, tuple[str, str]]:
    """Ask pip what it would install: normal name -> (name, version)."""
    run = subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed",
         "--report", "-", "-r", str(ROOT / "requirements.in")],
        stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    report = json.loads(run.stdout)
    first = f"{version}.0"
    refusing = [
        f"{e['metadata']['name']}=={e['metadata']['version']} asks for Python {asked}"
        for e in report["install"]
        if not admits(first, asked := e["metadata"].get("requires_python"))
    ]
    if refusing:
        listed = "\n  ".join(refusing)
        sys.exit(
            f"Python {first} could not install these:\n  {listed}\n"
            "Pin a release that it can run in requirements.in. Nothing was written."
        )
    pairs = [(e["metadata"]["name"], e["metadata"]["version"]) for e in report["install"]]
    return {
        normal(name): (name, version.partition("+")[0])
        for name, version in pairs
        if not _LEFT_TO_TORCH.match(normal(name))
    }


def pins(resolved: dict[str, dict[str, tuple[str, str]]]) -> list[str]:
    """Join what each Python needs; a pin that not all share gets a marker."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for version, packages in resolved.items():
        for key, (name, release) in packages.items():
            found.setdefault((key, name, release), []).append(version)
    lines = []
    for (_, name, release), where in sorted(found.items()):
        marker = " or ".join(f'python_version == "{version}"' for version in where)
        every = len(where) == len(resolved)
        lines.append(f"{name}=={release}" + ("" if every else f" ; {marker}"))
    return lines


def environment(lock: list[str]) -> str:
    """Write the conda environment that holds the same pins."""
    return _HEAD + "".join(f"      - {_quoted(line)}\n" for line in lock)


def _quoted(line: str) -> str:
    return f"'{line}'" if '"' in line else line


def read_lock() -> list[str]:
    """Lines of the lock, comments left out."""
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def main() -> None:
    """Resolve and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--environment-only", action="store_true")
    if not parser.parse_args().environment_only:
        own = "{}.{}".format(*sys.version_info)
        resolved = {own: resolve(sys.executable, own)}
        for version in VERSIONS:
            other = shutil.which(f"python{version}")
            if version != own and other:
                resolved[version] = resolve(other, version)
        missing = sorted(set(VERSIONS) - set(resolved))
        if missing:
            print(f"not resolved, no such Python here: {', '.join(missing)}", file=sys.stderr)
        text = "\n".join(["# Written by `make lock` from requirements.in.", *pins(resolved), ""])
        (ROOT / "requirements.lock").write_text(text, encoding="utf-8")
    (ROOT / "environment.yml").write_text(environment(read_lock()), encoding="utf-8")


if __name__ == "__main__":
    main()
