"""Nothing from outside is executed, nothing private is readable, no kernel is reached over a network."""

from __future__ import annotations

import ast
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import torch

import bad_data
from spinscape import durable
from spinscape.companion import engine, memo
from spinscape.landscape.flatness import hessian_trace
from toybook import REPOSITORY, edit, make_book

_MODULES = ("cloudpickle", "cPickle", "dill", "joblib", "marshal", "pickle", "shelve")
_CALLS = (
    "builtins.eval",
    "builtins.exec",
    "numpy.load",
    "os.popen",
    "os.system",
    "pandas.read_pickle",
    "pty.spawn",
    "shutil.unpack_archive",
    "subprocess.getoutput",
    "subprocess.getstatusoutput",
    "tempfile.mktemp",
    "torch.hub.load",
    "torch.load",
    "yaml.full_load",
    "yaml.unsafe_load",
)
_SAFE_LOADERS = ("yaml.SafeLoader", "yaml.CSafeLoader")
_UNPACK = ("extract", "extractall")


def dangers(source: str) -> Iterator[str]:
    """What a source does that could execute what it reads, or unpack it over other files."""
    tree = ast.parse(source)
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                names[alias.asname or alias.name.partition(".")[0]] = (
                    alias.name if alias.asname else alias.name.partition(".")[0]
                )
                if alias.name.partition(".")[0] in _MODULES:
                    yield f"import {alias.name}"
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
            if node.module.partition(".")[0] in _MODULES:
                yield f"import {node.module}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute | ast.Name) and isinstance(node.ctx, ast.Load):
            name = _dotted(node, names)
            if name in _CALLS or f"builtins.{name}" in _CALLS:
                yield name
        if not isinstance(node, ast.Call):
            continue
        name = _dotted(node.func, names)
        given = {keyword.arg: keyword.value for keyword in node.keywords}
        if isinstance(node.func, ast.Attribute) and node.func.attr in _UNPACK:
            yield f".{node.func.attr}()"
        if "shell" in given and not _is_false(given["shell"]):
            yield f"{name}(shell=)"
        if "allow_pickle" in given and not _is_false(given["allow_pickle"]):
            yield f"{name}(allow_pickle=)"
        if name in ("yaml.load", "yaml.load_all"):
            loader = given.get("Loader") or (node.args[1] if len(node.args) > 1 else None)
            if loader is None or _dotted(loader, names) not in _SAFE_LOADERS:
                yield name


def _is_false(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


def _dotted(node: ast.expr, names: dict[str, str]) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value, names)}.{node.attr}"
    return names.get(node.id, node.id) if isinstance(node, ast.Name) else "?"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import pickle", "import pickle"),
        ("def f():\n    import joblib.memory", "import joblib.memory"),
        ("from marshal import loads", "import marshal"),
        ("import torch as t\nt.load('x')", "torch.load"),
        ("from torch import load as read\nread('x')", "torch.load"),
        ("import numpy as np\nnp.load('x')", "numpy.load"),
        ("f(allow_pickle=1)", "f(allow_pickle=)"),
        ("eval('1')", "eval"),
        ("run = exec", "exec"),
        ("from os import system\nsystem('x')", "os.system"),
        ("import subprocess\nsubprocess.run('x', shell=True)", "subprocess.run(shell=)"),
        ("import yaml\nyaml.load(x)", "yaml.load"),
        ("import yaml\nyaml.load(x, Loader=yaml.Loader)", "yaml.load"),
        ("import yaml as y\ny.load(x, y.UnsafeLoader)", "yaml.load"),
        ("tar.extractall('.')", ".extractall()"),
        ("import tempfile\ntempfile.mktemp()", "tempfile.mktemp"),
    ],
)
def test_dangers_are_found(source, found):
    assert list(dangers(source)) == [found]


@pytest.mark.parametrize(
    "source",
    [
        "import yaml\nyaml.safe_load(x)\nyaml.load(x, Loader=yaml.SafeLoader)",
        "import subprocess\nsubprocess.run(['x'], shell=False)",
        "import json\njson.load(x)\nmodel.eval()\nself.exec(1)",
    ],
)
def test_what_is_harmless_is_no_danger(source):
    assert list(dangers(source)) == []


def test_the_library_has_none():
    found = {
        str(path.relative_to(REPOSITORY)): list(dangers(path.read_text(encoding="utf-8")))
        for path in (REPOSITORY / "lib").rglob("*.py")
    }
    assert len(found) > 40
    assert {path: each for path, each in found.items() if each} == {}


def test_a_pickle_for_a_stored_result_is_not_executed(tmp_path, monkeypatch, ensemble, data):
    monkeypatch.setenv(memo.ENVIRONMENT, str(tmp_path / "memo"))
    x, y = data
    before = memo.remember(hessian_trace, ensemble, x, y, probes=2)
    (path,) = (tmp_path / "memo").iterdir()
    evidence = tmp_path / "unpickled"
    path.write_bytes(pickle.dumps(bad_data.Evidence(evidence)))
    with pytest.warns(memo.MemoWarning, match="not whole"):
        after = memo.remember(hessian_trace, ensemble, x, y, probes=2)
    assert (before.trace == after.trace).all()
    torch.save(bad_data.Evidence(evidence), path)
    with pytest.warns(memo.MemoWarning, match="not whole"):
        memo.remember(hessian_trace, ensemble, x, y, probes=2)
    assert not evidence.exists()


@pytest.fixture
def temporary(monkeypatch) -> Iterator[Path]:
    """Make a folder for temporary files with a path short enough for sockets."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        monkeypatch.setenv("TMPDIR", folder)
        monkeypatch.setenv("IPYTHONDIR", "")
        yield Path(folder)


def test_a_link_laid_at_a_guessed_name_is_not_followed(temporary, tmp_path, monkeypatch):
    victim = tmp_path / "victim"
    victim.mkdir(mode=0o755)
    monkeypatch.setattr(tempfile, "_get_candidate_names", lambda: iter(["guessed", "fresh"]))
    (temporary / f"spinscape-{os.getpid()}-guessed").symlink_to(victim)
    with engine.private_sockets():
        folder = temporary / f"spinscape-{os.getpid()}-fresh"
        assert folder.is_dir()
        assert not os.listdir(victim)
    path = tmp_path / "file"
    (tmp_path / f".file.guessed{durable.SUFFIX}").symlink_to(victim / "file")
    durable.write_whole(path, "x")
    assert not os.listdir(victim)


WAITING = """
from pathlib import Path
import os, time
Path(os.environ["SPINSCAPE_TEST_SIGN"]).touch()
time.sleep(120)
"""


def asked(question, *words) -> list:
    """Ask a process something; the other chapter may end meanwhile, and then there is nothing."""
    try:
        return question(*words)
    except psutil.NoSuchProcess:
        return []


@pytest.mark.timeout(180)
def test_a_running_chapter_listens_on_no_network(tmp_path, temporary):
    """Look at the sockets of every process of a build while a cell runs."""
    layout = make_book(tmp_path / "book")
    edit(layout.book / "alpha.md", "print(double(width), rates)", WAITING)
    sign = tmp_path / "sign"
    words = [sys.executable, "-m", "spinscape.companion.cli", "build"]
    search = os.pathsep.join([str(REPOSITORY / "lib"), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": search, "SPINSCAPE_TEST_SIGN": str(sign)}
    with subprocess.Popen(words, cwd=layout.root, env=environment, stdout=subprocess.DEVNULL) as build:
        try:
            while not sign.exists():
                assert build.poll() is None
                time.sleep(0.1)
            processes = [psutil.Process(build.pid), *psutil.Process(build.pid).children(recursive=True)]
            commands = [" ".join(asked(process.cmdline)) for process in processes]
            on_network = [(p.pid, each) for p in processes for each in asked(p.net_connections, "inet")]
            local = [c.laddr for p in processes for c in asked(p.net_connections, "unix") if c.laddr]
            private = list(temporary.glob("spinscape-*"))
            modes = {(folder.stat().st_mode & 0o777, folder.stat().st_uid) for folder in private}
            keys = {path.stat().st_mode & 0o777 for path in temporary.glob("spinscape-*/kernel.json")}
        finally:
            build.send_signal(signal.SIGTERM)
            build.wait(60)
    assert any("kernel.json" in command for command in commands)
    assert any("spinscape.companion.execute" in command for command in commands)
    assert on_network == []
    assert len(local) >= 5
    assert all(any(Path(name).is_relative_to(folder) for folder in private) for name in local), local
    assert modes == {(0o700, os.getuid())}
    assert keys == {0o600}
    assert not list(temporary.glob("spinscape-*"))
