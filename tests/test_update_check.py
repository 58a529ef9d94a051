"""Replicated SGD against lines carried out by hand; see test_replicated.py for momentum and decay."""

from __future__ import annotations

import pytest

from spinscape.networks import datasets, update_check
from spinscape.networks.models import mlp
from spinscape.networks.update_check import check_update


@pytest.mark.parametrize("interval", [1, 2])
def test_the_printed_update_is_what_runs(interval) -> None:
    data = datasets.load("digits").flat().shortened(150)
    found = check_update(mlp([64, 8, 10]), data, interval=interval)
    assert found.by_hand < 1e-13
    assert found.free == 0.0
    assert found.control > 1e-3
    assert found.steps == 6


def test_another_coupling_is_seen(monkeypatch) -> None:
    data = datasets.load("digits").flat().shortened(150)
    right = update_check.train_replicated
    monkeypatch.setattr(
        update_check, "train_replicated", lambda *a, **k: right(*a, **{**k, "gamma": 1.01 * k["gamma"]})
    )
    assert check_update(mlp([64, 8, 10]), data).by_hand > 1e-5
