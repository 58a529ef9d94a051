"""Fixtures that several test modules share."""

from __future__ import annotations

import os

import pytest
import torch

from small import network
from spinscape.networks.ensemble import Ensemble

LONGEST = (
    "test_campaign", "test_site", "test_pipeline", "test_sweep", "test_slurm", "test_memo",
    "test_papermill", "test_interactive", "test_interactive_curves", "test_cluster", "test_cli",
    "test_descent", "test_normal_form", "test_kubernetes",
)  # fmt: skip
"""Files that take longest: they are begun first, so that no process is left with one of them at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first; the order within a file stays."""
    place = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))


@pytest.fixture(scope="session")
def real_data() -> str:
    """Folder of the real MNIST; without it a test is skipped, or fails under CI=true."""
    folder = os.environ.get("SPINSCAPE_DATA", "")
    if not os.path.isdir(os.path.join(folder, "mnist")):
        reason = "SPINSCAPE_DATA names no folder with mnist in it"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return folder


@pytest.fixture
def data() -> tuple[torch.Tensor, torch.Tensor]:
    """Sixty inputs of six numbers with labels in three classes."""
    g = torch.Generator().manual_seed(1)
    return torch.rand(60, 6, generator=g), torch.randint(0, 3, (60,), generator=g)


@pytest.fixture
def ensemble() -> Ensemble:
    """Three small networks."""
    return Ensemble.from_modules([network(s) for s in range(3)])
