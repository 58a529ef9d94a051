"""The examples of the README: they run, and give what their comments say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def my_network() -> nn.Module:
    """Stand in for a reader's own network: a chain of common layers."""
    return nn.Sequential(nn.Linear(784, 12), nn.ReLU(), nn.Linear(12, 10))


@pytest.fixture(scope="module")
def names() -> dict[str, Any]:
    """Run all examples one after the other, as a reader does."""
    found: dict[str, Any] = {"MyNetwork": my_network}
    examples = re.findall(r"^```python\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)
    assert len(examples) == 7
    for example in examples:
        exec(compile(example, "README.md", "exec"), found)
    return found


def test_probes_have_the_stated_shapes(names: dict[str, Any]) -> None:
    assert names["walks"].loss["mine"]["cross_entropy"].shape[:2] == (2, 2)
    assert names["walks"].loss["mine"]["cross_entropy"].shape[3] == 51
    distances = names["quotient_distances"](names["forms"]).matched
    assert distances.shape == (2, 2)
    assert names["seen"].loss.shape == names["seen"].error.shape == (1, 25)
    assert names["rise"].error.shape == names["rise"].error_error.shape == (2, 2)


def test_solutions_of_the_perceptron_are_those_of_the_margin(names: dict[str, Any]) -> None:
    typical = names["typical"]
    assert typical.points.shape[:2] == (4, 4)
    assert typical.least.min() >= -0.5
    assert abs(typical.overlap.mean() - names["replica_symmetric_overlap"](1.0, -0.5)) < 0.1


def test_the_tempered_glass_is_in_equilibrium(names: dict[str, Any]) -> None:
    gap, glass = names["gap"], names["glass"]
    assert glass.energy.shape == glass.q2.shape == (50, 10)
    assert (np.abs(gap.sharp_mean) < 4 * gap.sharp_error).all()
    assert (gap.sharp_error < 0.06).all()
    assert (np.diff(glass.energy.mean(0)) > 0).all()
    assert (np.diff(glass.q2.mean(0)) < 0).all()


def test_the_number_of_processes_is_that_of_the_makefile() -> None:
    assert "PROCESSES ?= 2\n" in (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "`make test` runs the tests on two processes" in TEXT
