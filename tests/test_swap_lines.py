"""Lines to swapped copies against the general evaluator on interpolated parameters."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from spinscape.landscape.swap_lines import SwapLines, barrier, deep_swap_lines, swap_lines
from spinscape.landscape.symmetry import permute, swap
from spinscape.networks.convolutional import convnet
from spinscape.networks.ensemble import Ensemble, evaluate
from spinscape.networks.models import mlp

SWAPS = [0, 1, 2, 5, 9]


def networks(
    *widths: int, dtype: torch.dtype = torch.float64, replicas: int = 2, **options: object
) -> Ensemble:
    torch.manual_seed(3)
    made = [mlp(widths, **options) for _ in range(replicas)]  # type: ignore[arg-type]
    ensemble = Ensemble.from_modules(made).to(dtype)
    for p in ensemble.params.values():
        p.mul_(3)
    return ensemble


def samples(features: int, count: int = 70, classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(1)
    x = torch.randn(count, features, generator=g, dtype=torch.float64)
    return x, torch.randint(0, classes, (count,), generator=g)


def by_evaluator(ensemble: Ensemble, x, y, alpha: float, count: int, trials: int, **options) -> tuple:
    """Loss, accuracy and distance of ends, each (R, T), at one point of the lines."""
    copies = swap(ensemble, count, trials=trials, **options)
    index = torch.arange(ensemble.replicas).repeat_interleave(trials)
    start = ensemble[index]
    params = {n: (1 - alpha) * p + alpha * copies.ensemble.params[n] for n, p in start.params.items()}
    buffers = {n: (1 - alpha) * b + alpha * copies.ensemble.buffers[n] for n, b in start.buffers.items()}
    found = evaluate(Ensemble(ensemble.model, params, buffers), x, y)
    away = (start.flat() - copies.ensemble.flat()).norm(dim=1).numpy()
    return tuple(v.reshape(-1, trials) for v in (found.loss, found.accuracy, away)), copies.displaced


@pytest.mark.parametrize("activation", ["relu", "tanh", "softplus", "identity"])
@pytest.mark.parametrize("disjoint", [False, True])
def test_lines_equal_the_evaluator_on_interpolated_parameters(activation: str, disjoint: bool) -> None:
    ensemble, (x, y) = networks(6, 18, 3, activation=activation), samples(6)
    lines = swap_lines(ensemble, x, y, swaps=SWAPS, trials=4, points=5, disjoint=disjoint, seed=7)
    assert lines.loss.shape == lines.accuracy.shape == (2, 5, 4, 5)
    for s, count in enumerate(SWAPS):
        for a, alpha in enumerate(lines.alphas):
            (loss, accuracy, away), displaced = by_evaluator(
                ensemble, x, y, float(alpha), count, 4, disjoint=disjoint, seed=7
            )
            np.testing.assert_allclose(lines.loss[:, s, :, a], loss, rtol=1e-12)
            np.testing.assert_array_equal(lines.accuracy[:, s, :, a], accuracy)
        np.testing.assert_allclose(lines.distance[:, s], away, rtol=1e-10)
        np.testing.assert_array_equal(lines.displaced[:, s], displaced)
    assert (lines.share == lines.displaced / 18).all()
    assert not np.allclose(lines.loss[:, 1, 0, 2], lines.loss[:, 1, 1, 2], rtol=1e-6)


def test_a_permutation_that_is_not_its_own_inverse_has_a_line_of_its_own() -> None:
    ensemble, (x, y) = networks(6, 5, 3), samples(6)
    lines = swap_lines(ensemble, x, y, swaps=[4], trials=6, points=7)
    lopsided = np.abs(lines.loss - lines.loss[..., ::-1]).max(-1)
    assert lopsided.max() > 1e-3
    for a, alpha in enumerate(lines.alphas):
        (loss, _, _), _ = by_evaluator(ensemble, x, y, float(alpha), 4, 6)
        np.testing.assert_allclose(lines.loss[:, 0, :, a], loss, rtol=1e-12)


def test_any_order_of_swaps_and_any_other_swaps_and_trials_give_the_same() -> None:
    ensemble, (x, y) = networks(6, 12, 3, dtype=torch.float32), samples(6)
    many = swap_lines(ensemble, x, y, swaps=[3, 0, 8], trials=5, seed=2)
    one = swap_lines(ensemble, x, y, swaps=[8], trials=2, seed=2)
    np.testing.assert_allclose(many.loss[:, 2, :2], one.loss[:, 0], rtol=1e-6)
    np.testing.assert_allclose(many.displaced[:, 0, :2], swap(ensemble, 3, trials=2, seed=2).displaced)
    assert np.ptp(many.loss[:, 1], axis=(1, 2)).max() == 0


def test_other_losses_targets_and_models_without_biases() -> None:
    ensemble, (x, y) = networks(6, 12, 3, bias=False), samples(6)
    targets = torch.nn.functional.one_hot(y, 3).double()
    lines = swap_lines(ensemble, x, targets, swaps=[6], trials=2, points=3, loss="mse")
    deep = deep_swap_lines(ensemble, x, targets, swaps=[6], trials=2, points=3, loss="mse")
    np.testing.assert_allclose(lines.loss, deep.loss, rtol=1e-12)
    assert np.isnan(lines.accuracy).all()
    labels = swap_lines(ensemble, x, y, swaps=[6], trials=2, points=3, loss="one_hot_mse")
    np.testing.assert_allclose(labels.loss, lines.loss, rtol=1e-12)
    assert not np.isnan(labels.accuracy).any()


def test_small_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    ensemble, (x, y) = networks(6, 20, 3), samples(6, 150)
    whole = swap_lines(ensemble, x, y, swaps=[4, 9], trials=2, points=5)
    monkeypatch.setattr("spinscape.landscape._displaced.BLOCK_BYTES", 1)
    parts = swap_lines(ensemble, x, y, swaps=[4, 9], trials=2, points=5)
    np.testing.assert_allclose(parts.loss, whole.loss, rtol=1e-13)
    np.testing.assert_array_equal(parts.accuracy, whole.accuracy)


def test_a_dead_network_is_right_for_the_first_class_only() -> None:
    ensemble, (x, y) = networks(6, 8, 3), samples(6)
    for p in ensemble.params.values():
        p.zero_()
    lines = swap_lines(ensemble, x, y, swaps=[2], trials=1, points=3)
    assert lines.accuracy == pytest.approx(float((y == 0).double().mean()))
    assert barrier(lines).max() == pytest.approx(0, abs=1e-14)


def test_float32_agrees_with_float64() -> None:
    ensemble, (x, y) = networks(6, 64, 3), samples(6, 300)
    exact = swap_lines(ensemble, x, y, swaps=[1, 20, 30], trials=5)
    single = swap_lines(ensemble.to(torch.float32), x, y, swaps=[1, 20, 30], trials=5)
    np.testing.assert_allclose(single.loss, exact.loss, rtol=3e-6)


@pytest.mark.parametrize("options", [{}, {"skip": True}, {"batch_norm": True}, {"activation": "tanh"}])
def test_deep_lines_equal_the_evaluator(options: dict) -> None:
    ensemble, (x, y) = networks(6, 9, 9, 3, **options), samples(6)
    for name, b in ensemble.buffers.items():
        if name.endswith("running_var"):
            b.copy_(torch.rand(b.shape) + 0.5)
    lines = deep_swap_lines(ensemble, x, y, swaps=[0, 3], trials=3, points=5, seed=4)
    for s, count in enumerate([0, 3]):
        for a, alpha in enumerate(lines.alphas):
            (loss, accuracy, away), displaced = by_evaluator(ensemble, x, y, float(alpha), count, 3, seed=4)
            np.testing.assert_allclose(lines.loss[:, s, :, a], loss, rtol=1e-11)
            np.testing.assert_array_equal(lines.accuracy[:, s, :, a], accuracy)
        np.testing.assert_allclose(lines.distance[:, s], away, rtol=1e-10)
        np.testing.assert_array_equal(lines.displaced[:, s], displaced)


@pytest.mark.parametrize("model", ["wide", "convolutional", "pieces"])
def test_deep_lines_by_every_route(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Wide layers leave the lean route, convolutions have no linear first layer, small pieces split the line.
    torch.manual_seed(1)
    x, y = samples(25)
    if model == "convolutional":
        ensemble = Ensemble.from_modules([convnet(1, 3, size=5) for _ in range(2)]).to(torch.float64)
        x = x.reshape(-1, 1, 5, 5)
    else:
        ensemble = networks(25, *([350, 350] if model == "wide" else [9, 8]), 3)
    if model == "pieces":
        monkeypatch.setattr("spinscape.landscape._copy_lines.PIECE_BYTES", 1)
    lines = deep_swap_lines(ensemble, x, y, swaps=[2], trials=2, points=3)
    (loss, accuracy, _), _ = by_evaluator(ensemble, x, y, 0.5, 2, 2)
    np.testing.assert_allclose(lines.loss[:, 0, :, 1], loss, rtol=1e-10)
    np.testing.assert_array_equal(lines.accuracy[:, 0, :, 1], accuracy)
    assert np.ptp(lines.loss[:, 0, 0]) > 1e-9


@pytest.mark.parametrize("where", ["each", "total"])
def test_with_one_hidden_layer_both_ways_agree(where: str) -> None:
    ensemble, (x, y) = networks(6, 12, 3), samples(6)
    fast = swap_lines(ensemble, x, y, swaps=[0, 2, 5], trials=3, points=5, seed=9)
    slow = deep_swap_lines(ensemble, x, y, swaps=[0, 2, 5], trials=3, points=5, seed=9, where=where)
    np.testing.assert_allclose(fast.loss, slow.loss, rtol=1e-12)
    np.testing.assert_array_equal(fast.displaced, slow.displaced)
    np.testing.assert_array_equal(fast.paired, slow.paired)
    assert (fast.paired <= fast.displaced).all()
    assert (fast.paired % 2 == 0).all()
    assert (fast.paired[:, 2] < fast.displaced[:, 2]).any()
    np.testing.assert_allclose(fast.distance, slow.distance, rtol=1e-10)


def test_swaps_in_total_are_spread_over_the_layers() -> None:
    ensemble, (x, y) = networks(6, 40, 40, 40, 3, replicas=1), samples(6, 5)
    each = deep_swap_lines(ensemble, x, y, swaps=[1, 4], trials=30, points=2)
    total = deep_swap_lines(ensemble, x, y, swaps=[1, 4], trials=30, points=2, where="total")
    assert (each.displaced[0, 0] == 6).all()
    assert (total.displaced[0, 0] == 2).all()
    # A fixed seed; four swaps in one layer or another seldom meet, and never move more than eight units.
    assert total.displaced[0, 1].max() == 8
    assert total.displaced[0, 1].mean() > 7


def test_barriers_by_hand() -> None:
    alphas = np.array([0, 0.5, 1])
    loss = np.array([[[[1.0, 4.0, 3.0], [2.0, 1.0, 2.0]]]])
    lines = SwapLines(
        alphas,
        np.array([1]),
        loss,
        1 - loss / 10,
        np.array([[[2, 2]]]),
        np.array([[[2, 2]]]),
        np.ones((1, 1, 2)),
        np.array([8]),
    )
    np.testing.assert_allclose(barrier(lines), [[[2.0, 0.0]]])
    np.testing.assert_allclose(barrier(lines, of="error"), [[[0.2, 0.0]]])
    with pytest.raises(ValueError, match="of must be"):
        barrier(lines, of="height")


def test_what_cannot_be_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    ensemble, (x, y) = networks(6, 8, 3), samples(6)
    with pytest.raises(ValueError, match=r"one hidden layer.*deep_swap_lines"):
        swap_lines(networks(6, 8, 8, 3), x, y, swaps=[1], trials=1)
    with pytest.raises(ValueError, match="one hidden layer"):
        swap_lines(networks(6, 8, 3, batch_norm=True), x, y, swaps=[1], trials=1)
    for wrong in (
        {"swaps": []},
        {"swaps": [-1]},
        {"swaps": 3},
        {"swaps": ["a"]},
        {"swaps": [1.5]},
        {"trials": "a"},
        {"points": None},
        {"trials": 0},
        {"points": 1},
        {"swaps": [5], "disjoint": True},
    ):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            swap_lines(ensemble, x, y, **{"swaps": [1], "trials": 1, **wrong})
    with pytest.raises(ValueError, match="labels"):
        swap_lines(ensemble, x, y + 1, swaps=[1], trials=1)
    with pytest.raises(ValueError, match="length"):
        swap_lines(ensemble, x, y[:-1], swaps=[1], trials=1)
    with pytest.raises(ValueError, match="where"):
        deep_swap_lines(ensemble, x, y, swaps=[1], trials=1, where="all")
    with pytest.raises(MemoryError, match="allowed: trials times points must be at most"):
        swap_lines(ensemble, x, y, swaps=[1], trials=10**8)
    monkeypatch.setattr("spinscape.landscape.symmetry.checks.available_bytes", lambda device: 2.0**30)
    for lines in (swap_lines, deep_swap_lines):
        with pytest.raises(MemoryError, match=r"trials of 2 networks take .* trials must be at most"):
            lines(ensemble, x, y, swaps=[1], trials=10**7, points=2)


@pytest.mark.parametrize("lines", [swap_lines, deep_swap_lines])
def test_samples_and_weights_are_checked_at_the_door(lines) -> None:
    ensemble, (x, y) = networks(6, 8, 3), samples(6)
    with pytest.raises(ValueError, match=r"labels y must lie in 0\.\.2, not 0\.\.3"):
        lines(ensemble, x, torch.where(y > 1, 3, y), swaps=[1], trials=1)
    with pytest.raises(ValueError, match="labels of shape"):
        lines(ensemble, x, y.double(), swaps=[1], trials=1)
    with pytest.raises(ValueError, match=r"x has 5 features|x of shape .* is not what the networks read"):
        lines(ensemble, x[:, :5], y, swaps=[1], trials=1)
    for wrong in ((None, y), (x, "labels")):
        with pytest.raises(ValueError, match=r"[xy] must be a tensor or an array of numbers"):
            lines(ensemble, *wrong, swaps=[1], trials=1)
    with pytest.raises(ValueError, match=r"targets y must have shape \(70, 3\), not \(70, 2\)"):
        lines(ensemble, x, x[:, :2], swaps=[1], trials=1, loss="mse")
    by_numpy = lines(ensemble, x.numpy(), y.numpy(), swaps=np.array([1]), trials=np.int64(1))
    np.testing.assert_array_equal(by_numpy.loss, lines(ensemble, x, y, swaps=[1], trials=1).loss)
    for value in (torch.nan, torch.inf):
        ensemble.params["layer2.weight"][1, 0, 0] = value
        with pytest.raises(ValueError, match=r"must be finite, not those of 'layer2\.weight' of network 1"):
            lines(ensemble, x, y, swaps=[1], trials=1)


@pytest.mark.parametrize("lines", [swap_lines, deep_swap_lines])
def test_parameters_that_ask_for_gradients_give_the_same(lines) -> None:
    ensemble, (x, y) = networks(6, 8, 3), samples(6)
    asking = Ensemble(ensemble.model, {n: p.clone().requires_grad_() for n, p in ensemble.params.items()})
    found = [lines(one, x, y, swaps=[2], trials=2, points=3) for one in (ensemble, asking)]
    np.testing.assert_allclose(found[1].loss, found[0].loss, rtol=1e-13)
    np.testing.assert_array_equal(found[1].distance, found[0].distance)


def test_distances_in_small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    ensemble, (x, y) = networks(6, 9, 3), samples(6)
    whole = swap_lines(ensemble, x, y, swaps=[7, 2], trials=3, points=2)
    monkeypatch.setattr("spinscape.landscape.swap_lines.BLOCK_BYTES", 1)
    parts = swap_lines(ensemble, x, y, swaps=[7, 2], trials=3, points=2)
    np.testing.assert_array_equal(parts.distance, whole.distance)


def test_leaky_activation_and_dropout_of_a_model_in_use() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 10), nn.LeakyReLU(0.2), nn.Dropout(0.5), nn.Linear(10, 3)).double()
    ensemble, (x, y) = Ensemble.from_modules([net]), samples(6)
    lines = swap_lines(ensemble, x, y, swaps=[3], trials=2, points=3)
    deep = deep_swap_lines(ensemble, x, y, swaps=[3], trials=2, points=3)
    np.testing.assert_allclose(lines.loss, deep.loss, rtol=1e-12)
    assert torch.equal(permute(ensemble, {}).flat(), ensemble.flat())
