"""Rise of the loss in random directions: a quadratic, where it is known, and streams."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spinscape.landscape.random_rise import random_rise
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.models import mlp


@pytest.fixture
def line() -> tuple[Ensemble, torch.Tensor, torch.Tensor]:
    """Linear regression at its minimum, with a Hessian known in closed form."""
    torch.manual_seed(0)
    x = torch.randn(40, 6, dtype=torch.float64)
    weights = torch.randn(2, 1, 6, dtype=torch.float64)
    ensemble = Ensemble(torch.nn.Linear(6, 1, bias=False), {"weight": weights})
    return ensemble, x, x @ weights[0].T


def test_the_mean_rise_is_half_the_mean_curvature(line) -> None:
    ensemble, x, y = line
    distances = np.array([0.0, 0.5, 1.0])
    rise = random_rise(ensemble[0], x, y, distances, directions=400, loss="mse", seed=1)
    curvature = 2 * float(x.square().sum() / len(x))
    expected = curvature / 6 / 2 * distances**2
    error = rise[0].std(1) / np.sqrt(400)
    assert np.abs(rise[0].mean(1) - expected)[1:].max() < 4 * error.max()
    assert np.allclose(rise[0, 0], 0)
    # Twice the distance: four times the rise, direction by direction.
    assert np.allclose(rise[0, 2], 4 * rise[0, 1])


def test_directions_do_not_depend_on_how_many_networks_there_are(line) -> None:
    ensemble, x, y = line
    both = random_rise(ensemble, x, y, [[0.1], [0.2]], directions=3, loss="mse")
    first = random_rise(ensemble[0], x, y, [0.1], directions=2, loss="mse")
    assert np.allclose(both[0, :, :2], first[0])
    assert not np.allclose(both[0], both[1])


@pytest.mark.parametrize(
    ("distances", "directions", "match"),
    [
        ([-1.0], 1, "distances must be at least 0"),
        ([np.nan], 1, "finite"),
        (["far"], 1, "distances must be numbers"),
        ([[1.0]], 1, r"shape \(2, K\)"),
        ([1.0], 0, "directions must be a whole number of at least 1"),
        ([1.0], 1.5, "directions must be a whole number of at least 1, not 1.5"),
    ],
)
def test_bad_input(distances, directions, match) -> None:
    ensemble = Ensemble.from_modules([mlp([4, 3, 2]), mlp([4, 3, 2])])
    with pytest.raises(ValueError, match=match):
        random_rise(ensemble, torch.zeros(2, 4), torch.zeros(2).long(), distances, directions=directions)


def test_every_point_lies_at_its_distance(monkeypatch: pytest.MonkeyPatch) -> None:
    # With orthogonal inputs of the right length the loss is the squared distance to the minimum.
    x = 6**0.5 * torch.eye(6, dtype=torch.float64)
    ensemble = Ensemble(
        torch.nn.Linear(6, 1, bias=False), {"weight": torch.ones(2, 1, 6, dtype=torch.float64)}
    )
    distances = np.array([[0.0, 0.5, 2.0], [1.0, 3.0, 0.0]])
    expected = np.repeat(distances[..., None] ** 2, 5, axis=2)
    rise = random_rise(ensemble, x, x.sum(1, keepdim=True), distances, directions=5, loss="mse")
    np.testing.assert_allclose(rise, expected, rtol=1e-12, atol=1e-14)
    monkeypatch.setattr("spinscape.landscape.random_rise.PIECE_BYTES", 1)
    parts = random_rise(ensemble, x, x.sum(1, keepdim=True), distances, directions=5, loss="mse")
    np.testing.assert_allclose(parts, rise, rtol=1e-12, atol=1e-14)


def test_samples_weights_and_sizes_are_checked_at_the_door() -> None:
    ensemble = Ensemble.from_modules([mlp([4, 3, 2]), mlp([4, 3, 2])])
    x, y = torch.zeros(2, 4), torch.tensor([0, 2])
    with pytest.raises(ValueError, match=r"labels y must lie in 0\.\.1, not 0\.\.2"):
        random_rise(ensemble, x, y, [1.0])
    assert random_rise(ensemble, x.numpy(), (y // 2).numpy(), [1.0]).shape == (2, 1, 4)
    with pytest.raises(MemoryError, match="directions must be at most"):
        random_rise(ensemble, x, y // 2, [1.0], directions=10**13)
    ensemble.params["layer1.bias"][1, 0] = torch.nan
    with pytest.raises(ValueError, match=r"must be finite, not those of 'layer1\.bias' of network 1"):
        random_rise(ensemble, x, y // 2, [1.0])
