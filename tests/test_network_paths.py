from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from torch import nn

from spinscape.landscape.network_paths import (
    activations,
    check_paths,
    glass_sizes,
    list_paths,
    path_sum,
    prefactor_verdict,
)
from spinscape.landscape.path_activity import input_correlations, path_activity
from spinscape.landscape.path_usage import path_usage, through_weights
from spinscape.landscape.pruning import masks
from spinscape.networks.datasets import load
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.models import mlp
from spinscape.networks.training import train


def nets(widths, count=3, bias=False, seed=0) -> Ensemble:
    torch.manual_seed(seed)
    return Ensemble.from_modules([mlp(widths, bias=bias) for _ in range(count)])


@pytest.mark.parametrize("widths", [[4, 1], [5, 3, 2], [4, 5, 3, 1], [3, 4, 2, 3, 2], [8, 16, 10]], ids=str)
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("relu_output", [False, True])
def test_the_sum_over_paths_is_the_forward_pass(widths, bias, relu_output) -> None:
    x = torch.randn(40, widths[0], generator=torch.Generator().manual_seed(1))
    found = check_paths(nets(widths, bias=bias), x, relu_output=relu_output)
    assert (found.error < 1e-14).all()
    assert (found.scale > 0.01).all()
    assert found.paths == np.prod(widths)
    assert (found.bias_paths > 0) == bias


def test_trained_networks_are_sums_over_paths_too() -> None:
    digits = load("digits").flat()
    trained = train(mlp([64, 8, 6, 10], bias=False), digits, replicas=2, epochs=2, batch_size=64)
    assert (check_paths(trained, digits.x_test[:50]).error < 1e-13).all()


def test_one_path_at_a_time() -> None:
    """The terms written out with loops, and the sum of an inner weight set to zero."""
    ensemble = nets([3, 4, 2, 2], count=1)
    x = torch.randn(6, 3, dtype=torch.float64)
    w = [value[0].detach().double().numpy() for value in ensemble.params.values()]
    active = [mask[0].numpy() for mask in activations(ensemble.to(torch.float64), x)]
    total = np.zeros((6, 2))
    for n, (i, j, k, o) in product(range(6), product(range(3), range(4), range(2), range(2))):
        total[n, o] += x[n, i] * active[0][n, j] * active[1][n, k] * w[0][j, i] * w[1][k, j] * w[2][o, k]
    np.testing.assert_allclose(path_sum(ensemble, x)[0], total, atol=1e-14)


def test_a_wrong_activity_is_seen(monkeypatch) -> None:
    from spinscape.landscape import network_paths

    ensemble, x = nets([5, 4, 2]), torch.randn(30, 5)
    right = network_paths.activations

    def flipped(*args):
        masks = right(*args)
        masks[0][:, 0, 0] ^= True
        return masks

    monkeypatch.setattr(network_paths, "activations", flipped)
    assert (check_paths(ensemble, x).error > 1e-6).any()


def test_paths_are_listed_once() -> None:
    paths = list_paths([2, 3, 4])
    assert [tuple(row) for row in paths] == list(product(range(2), range(3), range(4)))
    with pytest.raises(ValueError, match="4000000 paths"):
        list_paths([2000, 2000])


def test_sizes_of_the_glass() -> None:
    sizes = glass_sizes([4, 3, 5, 2])
    assert (sizes.order, sizes.paths, sizes.parameters) == (3, 120, 4 * 3 + 3 * 5 + 5 * 2)
    assert sizes.size == pytest.approx(120 ** (1 / 3))
    assert sizes.printed == pytest.approx(np.sqrt(120 ** (2 / 6)))
    assert sizes.required == pytest.approx(sizes.size ** (-(3 - 1) / 2))
    for widths in ([4], [4, 0], [4, 2.5]):
        with pytest.raises(ValueError, match="at least two positive integers"):
            glass_sizes(widths)


@pytest.mark.parametrize("order", [2, 3, 4])
def test_the_required_factor_makes_the_sum_extensive(order) -> None:
    """Variance over couplings of q sum X w...w on the sphere, measured at two sizes."""
    verdict = prefactor_verdict(order)
    assert not verdict.agrees
    assert verdict.ratio == -0.5
    rng = np.random.default_rng(order)
    logs = []
    for size in (3, 6):
        w = rng.standard_normal(size)
        w *= np.sqrt(size) / np.linalg.norm(w)
        values = rng.standard_normal((4000, *[size] * order))
        for _ in range(order):
            values = values @ w
        paths = float(size**order)
        logs.append(
            [np.log((values * paths**e).var()) for e in (verdict.printed_exponent, verdict.required_exponent)]
        )
    slopes = np.diff(logs, axis=0)[0] / np.log(2)
    # The variance of 4000 normals is known to 2.2%; 4.5 standard errors of a slope are 0.21.
    np.testing.assert_allclose(slopes, [verdict.printed_variance, verdict.required_variance], atol=0.21)
    assert verdict.required_variance == pytest.approx(1)


def test_one_layer_needs_no_factor() -> None:
    verdict = prefactor_verdict(1)
    assert verdict.agrees
    assert verdict.printed_exponent == 0
    with pytest.raises(ValueError, match="at least 1"):
        prefactor_verdict(0)


@pytest.mark.parametrize(
    "model",
    [
        mlp([4, 3, 2], activation="tanh"),
        nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)),
        nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2), nn.ReLU()),
    ],
    ids=["tanh", "no activation", "activation at the end"],
)
def test_refuses_other_networks(model) -> None:
    with pytest.raises(ValueError, match="plain sequence of linear layers"):
        path_sum(Ensemble.from_modules([model]), torch.randn(3, 4))


def test_activity_of_planted_units() -> None:
    """Units that copy one fair bit each are active half the time, independently of each other."""
    x = torch.tensor(list(product([-1.0, 1.0], repeat=8)))
    model = mlp([8, 8, 3], bias=False)
    params = {"layer1.weight": torch.eye(8)[None], "layer2.weight": torch.ones(1, 3, 8)}
    found = path_activity(Ensemble(model, params), x, pairs=500)
    np.testing.assert_array_equal(found.unit_rates, 0.5)
    np.testing.assert_array_equal(found.rates, 0.5)
    assert found.rho[0] == 0.5
    np.testing.assert_array_equal(found.correlation[0, 0], 0)
    np.testing.assert_allclose(found.correlation[0, 1], 1)
    np.testing.assert_allclose(found.share_of_pairs, [7 / 8, 1 / 8])
    np.testing.assert_allclose(found.mean, [[0, 1]])
    np.testing.assert_allclose(found.random_rms, np.sqrt(1 / 8))
    assert found.samples == 256
    np.testing.assert_array_equal(found.active_share[0], (x > 0).double().mean(1))
    # The input that a path begins at is the one its unit copies in one of eight: correlation 1, else 0.
    share = (found.input_correlation[0] > 0.5).mean()
    assert abs(share - 1 / 8) < 4.5 * np.sqrt(1 / 8 * 7 / 8 / 500)
    assert found.rate_spread[0] == 0


def test_the_null_is_that_of_permuted_samples() -> None:
    """Root mean squares of the null are 1 / sqrt(N - 1); an explicit permutation agrees with it."""
    x = torch.randn(101, 12, generator=torch.Generator().manual_seed(2))
    found = path_activity(nets([12, 20, 20, 3], count=4), x, pairs=3000)
    # 4 * 3000 squares, each of relative standard deviation about sqrt(2), some paths in common.
    assert np.sqrt((found.null_rms[:, 0] ** 2).mean()) == pytest.approx(0.1, rel=0.05)
    assert np.sqrt(np.nanmean(found.null_input_correlation**2)) == pytest.approx(0.1, rel=0.1)
    assert (found.rms[:, 1] > 2 * found.null_rms[:, 1]).all()
    np.testing.assert_allclose(found.rms[:, 2], 1)
    assert found.share_of_pairs.sum() == pytest.approx(1)


def test_pairs_share_what_they_are_said_to() -> None:
    from spinscape.landscape.path_activity import _draw_pairs

    rng = np.random.default_rng(0)
    for widths in ([3, 5, 2], [1, 4, 4]):
        for shared in range(4):
            drawn = _draw_pairs(widths, shared, 300, rng)
            if drawn is None:
                assert (widths[0], shared) == (1, 0)
                continue
            assert ((drawn[0] == drawn[1]).sum(1) == shared).all()
            assert (drawn[1] < widths).all()


def test_correlations_are_those_of_the_activities() -> None:
    from spinscape.landscape.path_activity import _along, _phi

    rng = np.random.default_rng(3)
    active = [rng.random((60, 4)) < 0.6, rng.random((60, 5)) < 0.7]
    one = _along(active, np.array([[1, 2], [3, 4]]))
    np.testing.assert_array_equal(one[0], active[0][:, 1] & active[1][:, 2])
    expected = np.corrcoef(one)[0, 1]
    found = _phi(np.array([(one[0] & one[1]).sum()]), one[:1].sum(1), one[1:].sum(1), 60)
    assert found[0] == pytest.approx(expected)
    assert np.isnan(_phi(np.array([0]), np.array([0]), np.array([5]), 60)[0])


def test_networks_do_not_depend_on_each_other() -> None:
    x = torch.randn(50, 6, generator=torch.Generator().manual_seed(2))
    ensemble = nets([6, 9, 7, 3], count=3)
    every, two = path_activity(ensemble, x, pairs=40), path_activity(ensemble[:2], x, pairs=40)
    np.testing.assert_array_equal(every.correlation[:2], two.correlation)
    np.testing.assert_array_equal(every.null_correlation[:2], two.null_correlation)
    other = path_activity(ensemble, x, pairs=40, seed=1)
    assert not np.array_equal(other.rates, every.rates)


def test_correlated_inputs_are_seen() -> None:
    rng = np.random.default_rng(0)
    z = rng.standard_normal((400, 6))
    free = input_correlations(torch.from_numpy(z))
    assert free.rms < 2 * free.null_rms
    z[:, 1] = z[:, 0]
    z[:, 5] = 3
    bound = input_correlations(torch.from_numpy(z))
    assert bound.correlation.max() == pytest.approx(1)
    assert bound.constant == pytest.approx(1 / 6)


def test_usage_counts_paths() -> None:
    """Against the list of all paths, with and without activities."""
    ensemble = nets([4, 5, 3, 2], count=2)
    kept = list(masks(ensemble, 0.4).values())
    x = torch.randn(17, 4)
    active = activations(ensemble, x)
    plain, weighed = through_weights(kept), through_weights(kept, active)
    for r in range(2):
        counts = [np.zeros(mask.shape[1:]) for mask in kept]
        shares = [np.zeros(mask.shape[1:]) for mask in kept]
        for i, j, k, o in list_paths([4, 5, 3, 2]):
            if not (kept[0][r, j, i] and kept[1][r, k, j] and kept[2][r, o, k]):
                continue
            on = float((active[0][r, :, j] & active[1][r, :, k]).double().mean())
            for table, amount in ((counts, 1.0), (shares, on)):
                for part, edge in zip(table, ((j, i), (k, j), (o, k)), strict=True):
                    part[edge] += amount
        for layer in range(3):
            np.testing.assert_array_equal(plain[layer][r], counts[layer])
            np.testing.assert_allclose(weighed[layer][r], shares[layer], atol=1e-12)


def test_even_and_uneven_usage() -> None:
    even = path_usage(nets([6, 6, 6], count=2), [0.0])
    np.testing.assert_allclose(even.entropy, 1)
    np.testing.assert_allclose(even.effective, 1)
    np.testing.assert_allclose(even.constant, 1)
    np.testing.assert_allclose(even.relative_spread, 0, atol=1e-12)
    assert even.paths[0, 0] == 216
    assert even.log10_sequences[0, 0] == pytest.approx(np.log10(216 / 72**2))
    broad = path_usage(nets([8, 4, 2], count=1), [0.0])
    # Weights of the first layer carry 2 paths each, those of the second 8; 64 paths over 40 weights.
    mean = 2 * 64 / 40
    assert broad.constant[0, 0] == pytest.approx(8 / mean)
    assert broad.decile_ratio[0, 0] == pytest.approx(4)
    np.testing.assert_allclose(broad.layer_entropy, 1)
    shares = np.repeat([2, 8], [32, 8]) / 128
    assert broad.entropy[0, 0] == pytest.approx(-(shares * np.log(shares)).sum() / np.log(40))


def test_cut_off_weights_are_unused() -> None:
    ensemble = nets([4, 3, 2], count=1)
    params = {name: value.detach().clone() for name, value in ensemble.params.items()}
    params["layer2.weight"][:, :, 0] = 0
    found = path_usage(Ensemble(ensemble.model, params), [2 / 18])
    assert found.remaining[0, 0] == 16
    assert found.unused[0, 0] == pytest.approx(4 / 16)
    assert found.paths[0, 0] == 16


def test_usage_in_blocks_of_samples(monkeypatch) -> None:
    from spinscape.landscape import path_usage as module

    ensemble, x = nets([4, 5, 3, 2], count=2), torch.randn(23, 4)
    whole = path_usage(ensemble, [0.0, 0.3], x=x)
    monkeypatch.setattr(module, "_BLOCK", 5)
    parts = path_usage(ensemble, [0.0, 0.3], x=x)
    np.testing.assert_allclose(parts.entropy, whole.entropy, rtol=1e-12)
    np.testing.assert_allclose(parts.paths, whole.paths, rtol=1e-12)


def test_random_pruning_is_less_even_than_none() -> None:
    ensemble = nets([20, 20, 20], count=4)
    found = path_usage(ensemble, [0.0, 0.8], criterion="random")
    assert (found.entropy[1] < found.entropy[0]).all()
    assert (found.constant[1] > 1.5).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: path_activity(nets([4, 3, 2]), torch.randn(2, 4)), "3 samples"),
        (lambda: path_activity(nets([4, 3, 2]), torch.randn(9, 4), pairs=1), "2 pairs"),
        (lambda: path_activity(nets([4, 2]), torch.randn(9, 4)), "without hidden layers"),
        (lambda: input_correlations(torch.ones(9, 4)), "two inputs that vary"),
        (lambda: path_usage(nets([4, 3, 2]), [1.0]), "must lie in"),
    ],
)
def test_refuses(call, message) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_usage_without_a_path_is_no_number() -> None:
    usage = path_usage(nets([4, 3, 2]), [0.99])
    assert (usage.paths == 0).all()
    for name in ("entropy", "constant", "decile_ratio", "relative_spread"):
        assert np.isnan(getattr(usage, name)).all()


def test_usage_within_layers_does_not_feel_their_widths() -> None:
    usage = path_usage(nets([4, 3, 2]), [0.0])
    assert usage.decile_ratio == pytest.approx(4 / 2)
    assert usage.layer_decile_ratio == pytest.approx(1.0)
