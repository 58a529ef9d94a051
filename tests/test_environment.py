"""Pins: the same for pip and conda, every direct requirement among them; the Makefile."""

from __future__ import annotations

import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from conftest import LONGEST
from toybook import REPOSITORY

LINES = [
    line
    for line in (REPOSITORY / "requirements.lock").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
]
PINS = {canonicalize_name(Requirement(line).name): Requirement(line) for line in LINES}


def test_conda_gets_the_pins_of_the_lock():
    environment = yaml.safe_load((REPOSITORY / "environment.yml").read_text(encoding="utf-8"))
    (pip,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    assert pip == LINES
    declared = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    supported = declared["project"]["requires-python"]
    assert f"python{supported}" in environment["dependencies"]


def test_every_pin_is_exact_and_comes_once():
    assert len(PINS) == len(LINES)
    assert all(re.fullmatch(r"==[^*]+", str(pin.specifier)) for pin in PINS.values())
    assert not any(line.startswith("-") for line in LINES)


@pytest.fixture
def lock(monkeypatch):
    """Import ``tools/lock.py``."""
    monkeypatch.syspath_prepend(REPOSITORY / "tools")
    return importlib.import_module("lock")


@pytest.mark.parametrize("python", ["3.11.0", "3.12.0", "3.13.0"])
def test_first_releases_of_supported_pythons_can_install_every_pin(lock, python):
    refusing, looked_at = [], 0
    for name, pin in PINS.items():
        try:
            found = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        if not pin.specifier.contains(found.version):
            continue
        looked_at += 1
        asked = found.metadata["Requires-Python"]
        if not lock.admits(python, asked, pin.marker):
            refusing.append(f"{name} {found.version}: {asked}")
    assert looked_at > 100
    assert not refusing


def test_the_lock_refuses_a_package_that_asks_for_a_later_release(lock, monkeypatch):
    def pip(*_, **__) -> subprocess.CompletedProcess[str]:
        about = {"name": "sieve", "version": "4.1.2", "requires_python": asked}
        return subprocess.CompletedProcess([], 0, json.dumps({"install": [{"metadata": about}]}))

    monkeypatch.setattr(lock.subprocess, "run", pip)
    asked = ">=3.9"
    assert lock.resolve("python", "3.11") == {"sieve": ("sieve", "4.1.2")}
    asked = ">=3.11.5"
    with pytest.raises(SystemExit, match=r"3\.11\.0 could not install.*\n.*sieve==4\.1\.2 asks"):
        lock.resolve("python", "3.11")
    assert lock.admits("3.11.0", asked, Requirement('a; python_version == "3.12"').marker)


def test_direct_requirements_are_in_the_lock():
    text = (REPOSITORY / "requirements.in").read_text(encoding="utf-8")
    for line in text.splitlines():
        if line and not line.startswith("#"):
            wanted = Requirement(line)
            assert PINS[canonicalize_name(wanted.name)].specifier == wanted.specifier, line


def test_the_lock_satisfies_what_the_package_declares():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = sum(project["optional-dependencies"].values(), project["dependencies"])
    for line in declared:
        wanted = Requirement(line)
        (pin,) = PINS[canonicalize_name(wanted.name)].specifier
        assert wanted.specifier.contains(pin.version), line


needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["make", "-C", str(REPOSITORY), *arguments], capture_output=True, text=True)


@needs_make
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["PYTHON="], "Python 3.11, 3.12 or 3.13 is needed"),
        (["PYTHON=/bin/false"], "is not Python"),
    ],
)
def test_a_missing_python_is_said(arguments, message, tmp_path):
    run = make("install", f"VENV={tmp_path}/venv", *arguments)
    assert run.returncode != 0
    assert message in run.stdout
    assert not (tmp_path / "venv").exists()


@needs_make
def test_help_lists_the_targets():
    run = make("help")
    assert run.returncode == 0
    for target in ("book", "test", "lock", "lint", "clean"):
        assert re.search(rf"^{target} +\w", run.stdout, flags=re.MULTILINE)


def test_files_that_are_begun_first_are_there():
    assert [name for name in LONGEST if not (REPOSITORY / "tests" / f"{name}.py").is_file()] == []
    assert len(set(LONGEST)) == len(LONGEST)


def test_environment_only_writes_the_file_that_is_there(tmp_path):
    for name in ("requirements.lock", "tools/lock.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(REPOSITORY / name, tmp_path / name)
    subprocess.run([sys.executable, tmp_path / "tools" / "lock.py", "--environment-only"], check=True)
    written = (tmp_path / "environment.yml").read_text(encoding="utf-8")
    assert written == (REPOSITORY / "environment.yml").read_text(encoding="utf-8")
