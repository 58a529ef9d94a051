"""Checks that the chapter on flatness makes, and that they can fail."""

from __future__ import annotations

import numpy as np
import pytest

from spinscape.landscape.flatness import check_invariance, invariance_check, quadratic_check
from spinscape.networks import datasets, printed_errors
from spinscape.networks.models import mlp
from spinscape.networks.training import train


@pytest.fixture(scope="module")
def case():
    data = datasets.load("digits").flat().shortened(150)
    return train(mlp([64, 12, 10]), data, replicas=2, epochs=10, batch_size=16), data.x_train, data.y_train


def test_local_energy_does_not_see_symmetries(case) -> None:
    found = check_invariance(*case, [0.2, 0.4, 0.6], repeats=20)
    assert found.rescaled < 1e-9
    assert found.permuted < 1e-9
    assert (found.trace_ratio > 1.3).all()
    assert ((found.error_ratio > 0.5) & (found.error_ratio < 1.8)).all()
    with pytest.raises(ValueError, match="repeats"):
        check_invariance(*case, [0.2], repeats=2)


def test_additive_noise_fails_the_check(case, monkeypatch) -> None:
    right = invariance_check.local_energy
    monkeypatch.setattr(invariance_check, "local_energy", lambda *a, **k: right(*a, **k, kind="additive"))
    found = check_invariance(*case, [0.02, 0.05, 0.1], repeats=3)
    assert found.rescaled > 1e-2
    assert found.permuted < 1e-9


def test_quadratics() -> None:
    found = quadratic_check(dimensions=(2, 6), gammas=(0.5, 50.0), chains=2)
    assert found.exact.shape == found.value.shape == (2, 2, 2)
    assert np.abs(found.z).max() < 4
    assert found.relative.max() < 0.05


def test_printed_numbers() -> None:
    gains = [small - large for small, large in printed_errors.TABLE_A3.values()]
    assert np.mean(gains) == pytest.approx(0.6625)
    assert printed_errors.wins() == (20, 22)
    assert printed_errors.gpu_hours(copies=3) == pytest.approx(
        sum(r.gpu_hours() for r in printed_errors.ROWS)
    )
    one = printed_errors.ROWS[1]
    assert one.gpu_hours(copies=3, seeds=1) == pytest.approx(
        6 * 5.6e8 * 50_000 * 160 * 6 / printed_errors.THROUGHPUT / 3600
    )
