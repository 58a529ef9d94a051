"""Stored results: hit when the call is the same, miss when anything differs, never half or flipped."""

from __future__ import annotations

import dataclasses
import functools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from spinscape.companion import memo, provenance
from spinscape.landscape.walks import Walks, random_walks
from spinscape.networks import datasets
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
    np.testing.assert_array_equal(first.history.train_loss, second.history.train_loss)
    other = memo.remember(train, mlp([64, 9, 10]), digits, **options)
    assert other.params.keys() == first.params.keys()
    assert len(list(folder.iterdir())) == 2


def test_any_difference_is_another_key(ensemble, data, monkeypatch) -> None:
    base = memo.key(random_walks, (ensemble, data), {"sigmas": [0.1], "steps": 2})

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


@pytest.mark.parametrize("where", [0.02, 0.5, 0.97])
def test_a_flipped_bit_is_seen_and_computed_again(ensemble, data, folder, where: float) -> None:
    first = _walk(ensemble, data)
    (path,) = folder.iterdir()
    raw = bytearray(path.read_bytes())
    raw[int(len(raw) * where)] ^= 4
    path.write_bytes(raw)
    with pytest.warns(memo.MemoWarning, match="not whole"):
        second = _walk(ensemble, data)
    np.testing.assert_array_equal(first.displacement, second.displacement)
    third = _walk(ensemble, data)
    np.testing.assert_array_equal(first.displacement, third.displacement)


@pytest.mark.parametrize("keep", [0, 7, 100])
def test_a_truncated_file_is_computed_again(ensemble, data, folder, keep: int) -> None:
    _walk(ensemble, data)
    (path,) = folder.iterdir()
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.warns(memo.MemoWarning, match="not whole"):
        _walk(ensemble, data)


def test_a_disk_that_cannot_be_written_costs_nothing_else(ensemble, data, tmp_path, monkeypatch) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv(memo.ENVIRONMENT, str(blocked))
    with pytest.warns(memo.MemoWarning, match="could not be stored"):
        assert _walk(ensemble, data).steps == 2


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
