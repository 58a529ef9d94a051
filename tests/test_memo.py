"""Stored results: hit when the call is the same, miss when anything differs, never half or flipped."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from scarce import little_memory, needs_mount, run_on_disk
from spinscape.companion import memo, provenance
from spinscape.landscape.walks import Walks, random_walks
from spinscape.networks import datasets, storage
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.models import mlp
from spinscape.networks.training import train


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setenv(memo.ENVIRONMENT, str(tmp_path))
    return tmp_path


@pytest.fixture
def ensemble() -> Ensemble:
    torch.manual_seed(0)
    return Ensemble.from_modules([nn.Linear(4, 3) for _ in range(2)])


@pytest.fixture
def data() -> dict:
    return {"all": (torch.rand(9, 4, generator=torch.Generator().manual_seed(1)), torch.arange(9) % 3)}


def _walk(ensemble: Ensemble, data: dict, **changed) -> Walks:
    return memo.remember(random_walks, ensemble, data, **{"sigmas": [0.1], "steps": 2, **changed})


def test_the_second_call_reads_the_first(ensemble, data, folder, monkeypatch) -> None:
    first = _walk(ensemble, data)
    monkeypatch.setattr("spinscape.landscape.walks._look", None)
    second = _walk(ensemble, data)
    np.testing.assert_array_equal(first.displacement, second.displacement)
    assert second.loss["all"].keys() == first.loss["all"].keys()
    assert len(list(folder.iterdir())) == 1


def test_training_is_remembered_bit_for_bit(folder) -> None:
    digits = datasets.load("digits")
    options = {"replicas": 2, "epochs": 2, "batch_size": 64, "device": "cpu"}
    first = memo.remember(train, mlp([64, 8, 10]), digits, **options)
    second = memo.remember(train, mlp([64, 8, 10]), digits, **options)
    assert len(list(folder.iterdir())) == 1
    for name, p in first.params.items():
        assert torch.equal(p, second.params[name])
    # Walks draw in the order of the parameters, so another order makes other walks.
    assert list(second.params) == list(first.params)
    assert list(first.params) != sorted(first.params)
    np.testing.assert_array_equal(first.history.train_loss, second.history.train_loss)
    other = memo.remember(train, mlp([64, 9, 10]), digits, **options)
    assert other.params.keys() == first.params.keys()
    assert len(list(folder.iterdir())) == 2


def test_any_difference_is_another_key(ensemble, data, monkeypatch) -> None:
    base = memo.key(random_walks, (ensemble, data), {"sigmas": [0.1], "steps": 2})

    turned = dataclasses.replace(ensemble, params=dict(reversed(ensemble.params.items())))
    assert memo.key(random_walks, (turned, data), {"sigmas": [0.1], "steps": 2}) != base

    def changed(**options) -> str:
        return memo.key(random_walks, (ensemble, data), {"sigmas": [0.1], "steps": 2, **options})

    assert changed() == base
    assert changed(seed=0) == base, "a default that is spelt out is the same call"
    assert changed(seed=1) != base
    assert changed(sigmas=[0.1000001]) != base
    moved = {"all": (data["all"][0] + 1e-7, data["all"][1])}
    assert memo.key(random_walks, (ensemble, moved), {"sigmas": [0.1], "steps": 2}) != base
    monkeypatch.setattr(provenance, "library_hash", lambda modules: "changed")
    assert changed() != base


@pytest.fixture
def stored(ensemble, data, folder) -> tuple[Path, bytes]:
    """A stored walk and its bytes."""
    _walk(ensemble, data)
    (path,) = folder.iterdir()
    return path, path.read_bytes()


def whole(path: Path) -> bool:
    """Whether a stored result can be read again."""
    return json.loads(storage.read(path)[memo.TREE].numpy().tobytes())["key"] == path.stem


def _positions(raw: bytes) -> list[tuple[int, int]]:
    """Bytes and bits to flip: all of the header's length, some of the header, the tree, the tensors."""
    draw = np.random.default_rng(4)
    header = 8 + int.from_bytes(raw[:8], "little")
    length = [(byte, bit) for byte in range(8) for bit in range(8)]
    rest = [
        (int(at), int(bit))
        for begin, end in ((8, header), (header, len(raw)), (8, len(raw)))
        for at, bit in zip(draw.integers(begin, end, 80), draw.integers(0, 8, 80), strict=True)
    ]
    return length + rest


def test_a_flipped_bit_anywhere_is_seen(stored, ensemble, data, monkeypatch) -> None:
    path, raw = stored
    again = object()
    monkeypatch.setattr("spinscape.landscape.walks._look", None)
    monkeypatch.setattr(memo, "_write", lambda *arguments: None)
    name = memo.key(random_walks, (ensemble, data), {"sigmas": [0.1], "steps": 2})
    assert path.stem == name
    monkeypatch.setattr(memo, "key", lambda *arguments: name)

    def walk(ensemble: Ensemble, data: dict) -> object:
        return again

    positions = _positions(raw)
    assert len(positions) == 304
    with little_memory(2**28):
        for at, bit in positions:
            flipped = bytearray(raw)
            flipped[at] ^= 1 << bit
            path.write_bytes(flipped)
            with pytest.warns(memo.MemoWarning, match="not whole"):
                assert memo.remember(walk, ensemble, data) is again, (at, bit)
    path.write_bytes(raw)
    assert isinstance(memo.remember(walk, ensemble, data), Walks)


@pytest.mark.parametrize("keep", [0, 7, 8, 100, -1])
def test_a_truncated_file_is_computed_again(ensemble, data, stored, keep: int) -> None:
    path, raw = stored
    path.write_bytes(raw[:keep])
    with pytest.warns(memo.MemoWarning, match="not whole"):
        _walk(ensemble, data)
    assert whole(path)


def _header_only(size: int) -> bytes:
    """A file whose header announces a tensor of so many bytes."""
    text = json.dumps({"tree": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    return len(text).to_bytes(8, "little") + text


@pytest.mark.parametrize(
    "content",
    [
        _header_only(2**50),
        (2**40).to_bytes(8, "little") + b"{}",
        (99_000_000).to_bytes(8, "little") + b"{",
        pickle.dumps({"a": 1}),
        b"<!DOCTYPE html>",
    ],
)
def test_a_file_that_announces_much_or_is_something_else(ensemble, data, stored, content: bytes) -> None:
    path, _ = stored
    path.write_bytes(content)
    with little_memory(2**28), pytest.warns(memo.MemoWarning, match="not whole"):
        _walk(ensemble, data)
    assert whole(path)


@pytest.mark.parametrize("what", ["pipe", "link", "folder"])
def test_what_is_no_file_is_not_waited_for(ensemble, data, stored, what: str) -> None:
    path, _ = stored
    path.unlink()
    {"pipe": os.mkfifo, "link": lambda p: p.symlink_to(p), "folder": os.mkdir}[what](path)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        _walk(ensemble, data)
    assert "not whole" in str(said[0].message)
    if what != "folder":
        assert whole(path)
    assert len(os.listdir(path.parent)) == 1


def test_a_file_of_another_call_is_not_used(ensemble, data, stored) -> None:
    path, _ = stored
    other = memo.key(random_walks, (ensemble, data), {"sigmas": [0.1], "steps": 3})
    path.rename(path.with_name(f"{other}.safetensors"))
    with pytest.warns(memo.MemoWarning, match="not whole"):
        assert _walk(ensemble, data, steps=3).steps == 3


@pytest.mark.parametrize(
    "tree",
    [
        {"dataclass": "spinscape.companion.processes:stop_group", "fields": {"group": 0}},
        {"dataclass": "spinscape.landscape.walks:os.system", "fields": {"command": "true"}},
        {"dataclass": "spinscape.no_such_module:Thing", "fields": {}},
        {"dataclass": "spinscape.landscape.walks:Walks", "fields": {"no": 1}},
        {"dataclass": "os:system", "fields": {}},
        {"tensor": "t99"},
        {"list": 3},
        {"dataclass": 3},
        {"mapping": {"deep": "deep"}},
    ],
)
def test_a_forged_file_calls_nothing_and_is_computed_again(ensemble, data, stored, monkeypatch, tree) -> None:
    path, _ = stored
    called = []
    monkeypatch.setattr("spinscape.companion.processes.stop_group", lambda **given: called.append(given))
    text = json.dumps({"key": path.stem, "result": tree})
    if "deep" in str(tree):
        text = '{"key": "", "result": ' + '{"list": [' * 100_000 + "]}" * 100_000 + "}"
    storage.write(path, {memo.TREE: torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)})
    with pytest.warns(memo.MemoWarning, match="not whole"):
        assert isinstance(_walk(ensemble, data), Walks)
    assert whole(path)
    assert not called


def test_a_disk_that_cannot_be_written_costs_nothing_else(ensemble, data, tmp_path, monkeypatch) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv(memo.ENVIRONMENT, str(blocked))
    with pytest.warns(memo.MemoWarning, match="could not be stored"):
        assert _walk(ensemble, data).steps == 2


ON_A_DISK = """
import os, warnings, torch
os.environ["SPINSCAPE_MEMO"] = str(disk / "memo")
from spinscape.companion import memo
from spinscape.networks import datasets, storage
from spinscape.networks.models import mlp
from spinscape.networks.training import train

with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    options = {"replicas": 2, "epochs": 1, "batch_size": 64, "device": "cpu"}
    found = memo.remember(train, mlp([64, 400, 10]), datasets.load("digits"), **options)
print([str(w.message).partition("/")[0] for w in said if w.category is memo.MemoWarning])
print(found.replicas, sum(len(files) for _, _, files in os.walk(disk)))
"""


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"size": "64m"}, ""),
        ({"size": "100k"}, "[Errno 28] No space left on device: "),
        ({"size": "64m", "read_only": True}, "[Errno 30] Read-only file system: "),
    ],
)
def test_a_full_or_read_only_disk_is_said_and_left_clean(tmp_path, options, says) -> None:
    needs_mount()
    done = run_on_disk(ON_A_DISK, tmp_path / "disk", **options)
    said = [f"the result could not be stored: {says}'"] if says else []
    assert done.stdout.splitlines() == [str(said), f"2 {0 if says else 1}"], done.stderr


def test_parts_of_killed_processes_are_swept_and_files_are_private(
    ensemble, data, folder, monkeypatch
) -> None:
    kept = folder / "memo"
    code = (
        "import os, signal; from pathlib import Path; from spinscape import durable\n"
        f"with durable.aside(Path({str(kept)!r}) / 'a.safetensors', folder=True) as part:\n"
        "    (part / 'half').write_text('')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code], check=False)
    assert len(os.listdir(kept)) == 1
    monkeypatch.setenv(memo.ENVIRONMENT, str(kept))
    _walk(ensemble, data)
    (path,) = kept.iterdir()
    assert path.suffix == ".safetensors"
    assert path.stat().st_mode & 0o77 == kept.stat().st_mode & 0o77 == 0


def test_a_file_that_is_replaced_while_it_is_read_is_read_again(tmp_path, monkeypatch) -> None:
    path = tmp_path / "one.safetensors"
    storage.write(path, {"a": torch.zeros(3)})
    opened = []

    def mixed(at: Path, **options: str) -> object:
        if not opened:
            storage.write(path, {"a": torch.ones(3)})
        opened.append(at)
        if len(opened) == 1:
            raise SafetensorError("header of one file, content of the other")
        return safe_open(at, **options)

    monkeypatch.setattr(storage, "safe_open", mixed)
    assert storage.read(path)["a"].tolist() == [1, 1, 1]
    assert opened == [path, path]


SIDE_BY_SIDE = """
import sys, torch
from pathlib import Path
from spinscape.networks import storage
for i in range(40):
    storage.write(Path(sys.argv[1]), {"a": torch.full((20_000,), i, dtype=torch.float32)})
    (found,) = set(storage.read(Path(sys.argv[1]))["a"].tolist())
"""


def test_writers_and_readers_side_by_side_see_whole_files(tmp_path) -> None:
    path = tmp_path / "together" / "one.safetensors"
    words = [sys.executable, "-c", SIDE_BY_SIDE, str(path)]
    writers = [subprocess.Popen(words, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    assert [(writer.communicate()[1], writer.returncode) for writer in writers] == [("", 0)] * 3
    assert os.listdir(path.parent) == [path.name]


def test_only_our_own_classes_are_rebuilt(ensemble, data, folder) -> None:
    with pytest.raises(ValueError, match="no class of this library"):
        memo._decode({"dataclass": "subprocess:Popen", "fields": {}}, {}, {})


def test_what_has_no_canonical_form_is_refused(ensemble, data) -> None:
    with pytest.raises(TypeError, match="canonical"):
        _walk(ensemble, {"all": (data["all"][0], object())})


class Scaled(nn.Module):
    """A module with a plain attribute, a buffer and a submodule."""

    def __init__(self, scale: float, shift: float = 0.0) -> None:
        super().__init__()
        self.scale = scale
        self.register_buffer("shift", torch.tensor(shift))
        self.linear = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.scale * self.linear(x) + self.shift


def _weighted(weight: float):
    def loss(outputs: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return weight * nn.functional.cross_entropy(outputs, y, reduction="none")

    return loss


def _frozen() -> nn.Module:
    module = Scaled(1.0)
    module.linear.bias.requires_grad_(False)
    return module


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Scaled(1.0), Scaled(2.0)),
        (Scaled(1.0), Scaled(1.0, shift=0.5)),
        (Scaled(1.0), _frozen()),
        (nn.Dropout(0.1), nn.Dropout(0.2)),
        (_weighted(1.0), _weighted(2.0)),
        (functools.partial(_weighted, 1.0), functools.partial(_weighted, weight=1.0)),
        (torch.zeros(2), torch.zeros(2, dtype=torch.float64)),
        (True, 1),
        (1, 1.0),
        ([1, 2], [2, 1]),
    ],
)
def test_what_differs_has_another_canonical_form(one, other) -> None:
    assert json.dumps(memo._canonical(one)) != json.dumps(memo._canonical(other))


def test_equal_things_have_one_canonical_form() -> None:
    assert memo._canonical(Scaled(1.0)) == memo._canonical(Scaled(1.0))
    assert memo._canonical(_weighted(2.0)) == memo._canonical(_weighted(2.0))
    assert memo._canonical(mlp([4, 3, 2])) == memo._canonical(mlp([4, 3, 2]))


def test_other_labels_are_another_data_set() -> None:
    digits = datasets.load("digits")
    shuffled = dataclasses.replace(digits, y_train=digits.y_train.roll(1))
    assert memo._canonical(digits) == memo._canonical(datasets.load("digits"))
    assert memo._canonical(digits) != memo._canonical(shuffled)


def test_state_that_a_key_cannot_see_is_refused() -> None:
    module = Scaled(1.0)
    module.scale = object()
    with pytest.raises(TypeError, match="canonical"):
        memo._canonical(module)
