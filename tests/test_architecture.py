"""Studies of architectures: what is trained, what is measured, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from spinscape.companion import memo
from spinscape.landscape.architecture import Design, depth_study, factorial_study, steps_to, study
from spinscape.landscape.relief import basin_depth, basin_width, roughness
from spinscape.landscape.surfaces import surfaces
from spinscape.networks.datasets import load
from spinscape.networks.evaluation import evaluate
from spinscape.networks.losses import one_hot_mean_squared_error
from spinscape.networks.models import mlp, parameter_count
from spinscape.networks.training import train

OPTIONS = {"replicas": 2, "epochs": 3, "planes": 2, "grid": 5, "samples": 200, "seed": 4, "device": "cpu"}


@pytest.fixture(scope="module")
def digits():
    return load("digits")


def test_depth_study_is_what_its_parts_give(digits) -> None:
    found = depth_study(digits, hidden_layers=(1, 3), parameters=3000, rise=0.3, target_loss=1.0, **OPTIONS)
    assert [design.hidden_layers for design in found.designs] == [1, 3]
    assert np.abs(found.parameters - 3000).max() < 100
    design = found.designs[1]
    widths = [64, *[design.width] * 3, 10]
    assert found.parameters[1] == parameter_count(widths)
    flat = digits.flat()
    x, y = flat.subset("train", 200, 4)
    nets = train(mlp(widths), flat, replicas=2, epochs=3, batch_size=64, learning_rate=3e-3, seed=4,
                 initialisation="glorot", device="cpu")  # fmt: skip
    seen = surfaces(nets, x, y, grid=5, planes=2, seed=4)
    np.testing.assert_array_equal(found.values[1], seen.values)
    np.testing.assert_array_equal(found.uneven[1], roughness(seen.values, seen.axis).uneven)
    np.testing.assert_array_equal(found.depth[1], basin_depth(seen.values))
    np.testing.assert_array_equal(found.width[1], basin_width(seen.values, seen.axis, 0.3).radius)
    np.testing.assert_allclose(found.train_loss[1], evaluate(nets, x, y).loss, rtol=1e-5)
    np.testing.assert_allclose(found.curve[1, :, -1], found.train_loss[1], rtol=1e-5)
    np.testing.assert_array_equal(found.test_accuracy[1], nets.history.test_accuracy[-1])
    assert found.curve_steps.tolist() == [0, 23, 46, 69]
    rim = found.depth[1] + seen.values.min((-2, -1))
    half = (rim - seen.values[..., 2, 2]) / 2
    np.testing.assert_array_equal(found.half_width[1], basin_width(seen.values, seen.axis, half).radius)
    assert 0 < found.steps[0].max() <= 69
    assert found.curve.shape == (2, 2, 4)


def test_the_curve_starts_at_the_initial_networks(digits) -> None:
    found = study(digits, [Design(2, 12, batch_norm=True)], **OPTIONS)
    still = train(mlp([64, 12, 12, 10], batch_norm=True), digits.flat(), replicas=2, epochs=1, seed=4,
                  learning_rate=1e-30, initialisation="glorot", device="cpu")  # fmt: skip
    fresh = {name: torch.zeros_like(b) if "mean" in name or "num" in name else torch.ones_like(b)
             for name, b in still.buffers.items()}  # fmt: skip
    start = type(still)(still.model, still.params, fresh)
    x, y = digits.flat().subset("train", 200, 4)
    np.testing.assert_allclose(found.curve[0, :, 0], evaluate(start, x, y).loss, rtol=1e-5)


def test_factorial_study_has_every_combination(digits) -> None:
    found = factorial_study(digits, hidden_layers=2, width=8, **(OPTIONS | {"grid": 3, "epochs": 1}))
    assert len(found.designs) == 16 == len(set(found.designs))
    assert found.values.shape == (16, 2, 2, 3, 3)
    assert np.isfinite(found.values).all()
    kinds = {(d.activation, d.loss, d.batch_norm, d.skip) for d in found.designs}
    assert ("tanh", "one_hot_mse", True, False) in kinds
    by = {(d.loss): found.train_loss[i].mean() for i, d in enumerate(found.designs)}
    assert by["one_hot_mse"] < 1 < by["cross_entropy"]


def test_a_study_can_be_remembered(digits, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv(memo.ENVIRONMENT, str(tmp_path))
    options = OPTIONS | {"grid": 3, "epochs": 1, "planes": 1}
    first = memo.remember(study, digits, [Design(1, 6)], **options)
    again = memo.remember(study, digits, [Design(1, 6)], **options)
    assert len(list(tmp_path.glob("*.safetensors"))) == 1
    assert again.designs == first.designs
    np.testing.assert_array_equal(again.values, first.values)


def test_steps_to_a_target() -> None:
    steps = np.array([0, 10, 20])
    curves = np.array([[1.0, 0.1, 0.01], [1.0, 0.9, 0.8], [0.05, 1.0, 1.0], [1.0, np.nan, 0.001]])
    found = steps_to(curves, steps, 0.1)
    assert found[:3].tolist() == pytest.approx([10, np.inf, 0])
    assert steps_to(curves[0], steps, 10**-1.5) == pytest.approx(15)


def test_squared_error_to_labels() -> None:
    outputs = torch.randn(2, 7, 4, dtype=torch.float64)
    y = torch.randint(0, 4, (2, 7))
    exact = (outputs - functional.one_hot(y, 4)).square().mean(-1)
    torch.testing.assert_close(one_hot_mean_squared_error(outputs, y), exact)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rise": 0.0}, "must be positive"),
        ({"target_loss": -1.0}, "must be positive"),
        ({"samples": 0}, "size must lie in"),
        ({"grid": 4}, "odd integer"),
    ],
)
def test_bad_input_is_refused(digits, options, message) -> None:
    with pytest.raises(ValueError, match=message):
        study(digits, [Design(1, 3)], **(OPTIONS | {"epochs": 1} | options))
    with pytest.raises(ValueError, match="no design"):
        study(digits, [], **OPTIONS)
    with pytest.raises(ValueError, match="classification"):
        study(load("linnerud"), [Design(1, 3)], **OPTIONS)
