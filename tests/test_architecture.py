"""Studies of architectures: what is trained, what is measured, and what is refused."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch.nn import functional

from spinscape.companion import memo
from spinscape.landscape import architecture
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


def test_half_of_the_rise_is_counted_from_the_network_not_from_the_lowest_point(digits) -> None:
    # Barely trained networks of squared error lie above other points of their planes.
    options = OPTIONS | {"epochs": 1, "planes": 3, "extent": 2.0, "learning_rate": 1e-9}
    found = study(digits, [Design(2, 6, loss="one_hot_mse")], **options)
    values = found.values[0]
    middle, lowest = values[..., 2, 2], values.min((-2, -1))
    half = (found.depth[0] + lowest - middle) / 2
    assert (lowest < middle).any()
    rises = half > 0
    np.testing.assert_array_equal(np.isnan(found.half_width[0]), ~rises)
    exact = basin_width(values, found.axis, np.where(rises, half, 1.0)).radius
    np.testing.assert_array_equal(found.half_width[0][rises], exact[rises])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden_layers": 0}, "hidden_layers must be an integer of at least 1"),
        ({"width": 2.5}, "width must be an integer of at least 1"),
        ({"width": "4"}, "width must be an integer of at least 1"),
        ({"activation": "rulu"}, "activation must be one of"),
        ({"loss": "mse"}, "loss must be one of"),
        ({"hidden_layers": 1, "skip": True}, "there is only one"),
    ],
)
def test_designs_that_are_none_are_refused(options, message) -> None:
    with pytest.raises(ValueError, match=message):
        Design(**({"hidden_layers": 2, "width": 3} | options))


def test_everything_is_checked_before_anything_is_trained(digits, monkeypatch) -> None:
    def never(*_, **__):
        raise AssertionError("training began")

    monkeypatch.setattr(architecture, "train", never)
    small, huge = Design(1, 3), Design(2, 10**6)
    for options in ({"grid": 4}, {"extent": np.inf}, {"planes": 0}):
        with pytest.raises(ValueError, match="must be"):
            study(digits, [small], **(OPTIONS | options))
    with pytest.raises(MemoryError, match="more points than"):
        study(digits, [small], **(OPTIONS | {"grid": 100_001}))
    with pytest.raises(MemoryError, match="parameters must be at most"):
        study(digits, [small, huge], **OPTIONS)
    with pytest.raises(ValueError, match="there is only one"):
        depth_study(digits, hidden_layers=(5, 1), parameters=3000, skip=True, **OPTIONS)


def test_diverged_networks_have_no_measures(digits) -> None:
    options = OPTIONS | {"epochs": 2, "optimiser": "sgd", "learning_rate": 1e18}
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = study(digits, [Design(2, 8)], **options)
    assert found.diverged.all()
    for name in ("width", "width_censored", "half_width", "minima", "laplacian", "train_loss", "test_loss"):
        assert np.isnan(getattr(found, name)).all(), name


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
    with pytest.raises(TypeError, match="list of Design"):
        study(digits, ["wide"], **OPTIONS)
    with pytest.raises(ValueError, match="no design"):
        study(digits, [], **OPTIONS)
    with pytest.raises(ValueError, match="classification"):
        study(load("linnerud"), [Design(1, 3)], **OPTIONS)
