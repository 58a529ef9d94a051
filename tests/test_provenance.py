"""Hashes cover exactly what a chapter can import."""

from __future__ import annotations

import subprocess

import pytest

from spinscape.companion.provenance import (
    chapter_library_hash,
    commit,
    environment_hash,
    library_hash,
    module_closure,
    versions,
)


@pytest.fixture
def library(tmp_path):
    files = {
        "__init__.py": "",
        "networks/__init__.py": "from spinscape.networks import training",
        "networks/training.py": "from . import models\n\ndef f():\n    from ..deep import inner\n",
        "networks/models.py": "import numpy",
        "networks/unused.py": "",
        "deep/__init__.py": "",
        "deep/inner.py": "from .side import thing",
        "deep/side.py": "thing = 1",
        "companion/__init__.py": "",
        "companion/ledger.py": "def judge():\n    from spinscape.companion.predicates import ALL\n",
        "companion/predicates/__init__.py": "ALL = 1\nfrom spinscape.networks import unused",
        "companion/cli.py": "",
    }
    for name, text in files.items():
        path = tmp_path / "spinscape" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path


def names(start, library):
    return [name.removeprefix("spinscape.") for name in module_closure(start, library=library)]


def test_the_closure_follows_all_forms_of_import(library):
    expected = ["spinscape", "deep", "deep.inner", "deep.side", "networks", "networks.models",
                "networks.training"]  # fmt: skip
    for code in (
        "import spinscape.networks.training",
        "from spinscape.networks import training",
        "from spinscape.networks.training import f",
        "def later():\n    import spinscape.networks as n",
    ):
        assert names(code, library) == expected
    assert names(["spinscape.networks.training"], library) == expected


def test_code_without_the_library_has_an_empty_closure(library):
    assert names("import numpy\nx = 1", library) == []


def test_what_judges_is_no_part_of_a_run(library):
    assert names("from spinscape.companion import ledger", library) == [
        "spinscape", "companion", "companion.ledger",
    ]  # fmt: skip


def test_a_hash_changes_with_used_modules_only(library):
    code = "from spinscape.networks import training"
    before = chapter_library_hash(code, library=library)
    assert library_hash(["spinscape.networks.training"], library=library) == before
    for name in ("networks/unused.py", "companion/cli.py", "companion/predicates/__init__.py"):
        (library / "spinscape" / name).write_text("changed = 1")
        assert chapter_library_hash(code, library=library) == before
    (library / "spinscape/deep/side.py").write_text("thing = 2")
    assert chapter_library_hash(code, library=library) != before


def test_versions_name_python_and_the_library():
    found = versions()
    assert set(found) == {"python", "torch", "numpy", "scipy", "scikit-learn", "spinscape"}
    assert found["spinscape"] not in ("unknown", "not installed")


def test_a_commit_says_when_files_differ(tmp_path):
    assert commit(tmp_path) == "unknown"
    for arguments in (
        ["init", "-q"],
        ["add", "."],
        ["-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "-qm", "a"],
    ):
        if arguments[0] == "add":
            (tmp_path / "a").write_text("1")
        subprocess.run(["git", "-C", tmp_path, *arguments], check=True)
    clean = commit(tmp_path)
    assert len(clean) == 12
    (tmp_path / "a").write_text("2")
    assert commit(tmp_path) == f"{clean}-dirty"


def test_the_environment_hash_covers_the_lock(tmp_path):
    before = environment_hash(tmp_path)
    (tmp_path / "requirements.lock").write_text("numpy==2\n")
    assert environment_hash(tmp_path) != before
