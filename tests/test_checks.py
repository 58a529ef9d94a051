"""Checks of arguments: what passes, and that messages name the argument."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spinscape.landscape.symmetry import checks
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.models import mlp


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3)])
def test_whole_numbers_of_every_kind_become_ints(value) -> None:
    assert type(checks.at_least("count", value, 3)) is int
    assert checks.whole_numbers("counts", np.array([value, 4]), 3) == [3, 4]


@pytest.mark.parametrize("value", [2, 3.0, True, "3", None, np.nan, [3]])
def test_what_is_no_whole_number_is_refused(value) -> None:
    with pytest.raises(ValueError, match="count must be a whole number of at least 3, not"):
        checks.at_least("count", value, 3)
    with pytest.raises(ValueError, match="counts must be a list of whole numbers of at least 3, not"):
        checks.whole_numbers("counts", [3, value], 3)


@pytest.mark.parametrize("values", [[], 3, "34", None])
def test_what_is_no_list_is_refused(values) -> None:
    with pytest.raises(ValueError, match="counts must be a list of whole numbers of at least 1, not"):
        checks.whole_numbers("counts", values, 1)


def test_sizes_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "available_bytes", lambda device: 900.0)
    checks.check_memory("rows", 90, 10)
    checks.check_memory("units", 30, 1, power=2)
    with pytest.raises(MemoryError, match=r"91 rows of 2 nets take .* GiB, .* rows must be at most 90$"):
        checks.check_memory("rows", 91, 10, what="of 2 nets")
    with pytest.raises(MemoryError, match=r"units must be at most 30$"):
        checks.check_memory("units", 31, 1, power=2)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_weights_and_statistics_that_are_not_finite_are_named(value: float) -> None:
    ensemble = Ensemble.from_modules([mlp([2, 3, 1], batch_norm=True) for _ in range(3)])
    checks.check_finite(ensemble)
    name = "norm1.running_var"
    ensemble.buffers[name][2, 1] = value
    with pytest.raises(ValueError, match=rf"weights must be finite, not those of '{name}' of network 2"):
        checks.check_finite(ensemble)
    checks.check_finite(ensemble.params)
