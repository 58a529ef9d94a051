from __future__ import annotations

import sys
from itertools import pairwise

import numpy as np
import pytest
import torch

from spinscape.companion import memo
from spinscape.landscape.functions import function_change
from spinscape.landscape.paths._flip_orders import ORDERS, Drawing, greedy_ranks, ranked, ranks
from spinscape.landscape.paths.flips import compare_flips, flips, hamming, matched_signs
from spinscape.landscape.symmetry import flip_signs, permute, random_permutations, random_signs
from spinscape.networks.binary import binarised, random_binary, signs, train_binary
from spinscape.networks.convolutional import convnet
from spinscape.networks.datasets import load
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.evaluation import evaluate
from spinscape.networks.models import mlp

X = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
Y = torch.randint(3, (40,), generator=torch.Generator().manual_seed(1))


def pairs(count: int = 3, *, widths: tuple[int, ...] = (6, 8, 3), activation: str = "relu"):
    nets = random_binary(mlp(widths, bias=False, activation=activation), replicas=2 * count)
    return nets[:count], nets[count:]


def drawing(*orders: str, trials: int = 2) -> Drawing:
    return Drawing(orders, trials, 6, 20, "cross_entropy", 5)


@pytest.fixture(scope="module")
def trained():
    data = load("digits").standardised()
    model = mlp([64, 32, 10], bias=False)
    nets = train_binary(model, data, replicas=6, epochs=20, evaluate_test=False)
    x, y = data.subset("train", 500)
    return nets[:3], nets[3:], x, y


def test_ends_are_the_networks_and_every_point_is_evaluated():
    a, b = pairs()
    found = flips(a, b, X, Y, points=7, trials=2)
    assert found.loss.shape == found.error.shape == (3, len(ORDERS), 2, 7)
    assert np.isfinite(found.loss).all()
    for end, net in ((0, a), (-1, b)):
        result = evaluate(net, X, Y)
        for o in range(len(ORDERS)):
            for trial in range(2):
                np.testing.assert_allclose(found.loss[:, o, trial, end], result.loss)
                np.testing.assert_allclose(found.error[:, o, trial, end], 1 - result.accuracy)
    np.testing.assert_allclose(found.hamming, hamming(a, b))
    assert found.layers == ("layer1.weight", "layer2.weight")
    assert found.sizes.tolist() == [48, 24]
    counted = [(a.params[n] != b.params[n]).flatten(1).sum(1).numpy() for n in found.layers]
    np.testing.assert_array_equal(found.differing, np.stack(counted, 1))


def test_points_are_one_flip_apart_where_there_are_as_many():
    a, b = pairs(1, widths=(6, 4, 3))
    count = int((a.flat() != b.flat()).sum())
    found = flips(a, b, X, Y, points=count + 1, orders=["random"], trials=1)
    (order,) = ranks(a, b, X, Y, drawing("random", trials=1), 0)
    here = a.flat().clone()
    for k in range(count + 1):
        loss = evaluate(a.unflatten(here), X, Y).loss[0]
        # The draws of the path are those of the seed 0.
        assert k or loss == pytest.approx(found.loss[0, 0, 0, 0])
        here[0, order == k] = b.flat()[0, order == k]
    assert torch.equal(here, b.flat())
    own = flips(a, b, X, Y, points=count + 1, orders=["random"], trials=1, seed=5)
    middle = torch.where(order < count // 2, b.flat(), a.flat())
    expected = evaluate(a.unflatten(middle), X, Y).loss[0]
    assert own.loss[0, 0, 0, count // 2] == pytest.approx(expected)


@pytest.mark.parametrize("name", ORDERS)
def test_every_order_flips_each_differing_sign_once(name):
    a, b = pairs(1, widths=(6, 8, 5, 3))
    different = (a.flat() != b.flat())[0]
    found = ranks(a, b, X, Y, drawing(name), 0)
    for one in found:
        assert sorted(one[different].tolist()) == list(range(int(different.sum())))
        assert int(one[~different].min()) >= int(different.sum())
    assert not torch.equal(found[0], found[1])


def test_orders_by_layer_and_by_unit():
    a, b = pairs(1, widths=(6, 8, 5, 3))
    different = (a.flat() != b.flat())[0]
    layer = torch.repeat_interleave(torch.arange(3), torch.tensor([48, 40, 15]))[different]
    forward, backward, unit = ranks(a, b, X, Y, drawing("forward", "backward", "unit", trials=1), 0)
    assert layer[forward[different].argsort()].diff().min() >= 0
    assert layer[backward[different].argsort()].diff().max() <= 0
    # Rows of hidden layers are units, and columns of the last layer, those of the units before it.
    owner = [torch.arange(8).repeat_interleave(6), 8 + torch.arange(5).repeat_interleave(8)]
    owner = torch.cat([*owner, 8 + torch.arange(5).repeat(3)])[different]
    order = owner[unit[different].argsort()].tolist()
    changes = sum(x != y for x, y in pairwise(order))
    assert changes == len(set(order)) - 1
    assert order != sorted(order)


def test_units_of_flattened_maps_are_channels():
    nets = random_binary(convnet(1, 4, size=4, widths=(5,), bias=False), replicas=2)
    a, b = nets[0], nets[1]
    x, y = torch.randn(8, 1, 4, 4), torch.randint(4, (8,))
    different = (a.flat() != b.flat())[0]
    (unit,) = ranks(a, b, x, y, drawing("unit", trials=1), 0)
    owner = torch.cat([torch.arange(5).repeat_interleave(9), torch.arange(5).repeat_interleave(4).repeat(4)])
    order = owner[different][unit[different].argsort()].tolist()
    assert sum(x != y for x, y in pairwise(order)) == 4


def test_the_greedy_order_takes_the_least_slopes_first_from_both_ends():
    a, b = pairs(1)
    a, b = a.to(torch.float64), b.to(torch.float64)
    x = X.double()
    different = (a.flat() != b.flat())[0]
    total = int(different.sum())
    place = greedy_ranks(a, b, x, Y, turns=total)

    def slope(row):
        row = row[None].clone().requires_grad_()
        first, second = row.split([48, 24], 1)
        hidden = torch.relu(x @ first.view(8, 6).T)
        loss = torch.nn.functional.cross_entropy(hidden @ second.view(3, 8).T, Y)
        return torch.autograd.grad(loss, row)[0][0]

    here, there, left = a.flat()[0].clone(), b.flat()[0].clone(), different.clone()
    for turn in range(total):
        ours = here if turn % 2 == 0 else there
        target = (b if turn % 2 == 0 else a).flat()[0]
        cost = (slope(ours) * (target - ours)).masked_fill(~left, torch.inf)
        taken = int((place == (turn // 2 if turn % 2 == 0 else total - 1 - turn // 2)).nonzero())
        # Weights at dead units cost nothing alike.
        assert bool(left[taken])
        assert float(cost[taken]) <= float(cost.min()) + 1e-12
        ours[taken], left[taken] = target[taken], False
    assert torch.equal(here, there)


def test_ranks_by_keys():
    keys = torch.tensor([0.5, 0.1, 0.9, 0.2])
    assert ranked(keys, torch.tensor([True, True, True, False])).tolist() == [1, 0, 2, 3]


def test_results_do_not_depend_on_what_runs_beside_or_on_blocks(monkeypatch):
    a, b = pairs()
    whole = flips(a, b, X, Y, points=5, trials=2)
    one = flips(a[0], b[0], X, Y, points=5, trials=2)
    np.testing.assert_array_equal(whole.loss[:1], one.loss)
    few = flips(a, b, X, Y, points=5, trials=1, orders=["unit"])
    np.testing.assert_array_equal(whole.loss[:, [ORDERS.index("unit")], :1], few.loss)
    monkeypatch.setattr(sys.modules[flips.__module__], "BLOCK", 1)
    np.testing.assert_array_equal(flips(a, b, X, Y, points=5, trials=2).loss, whole.loss)
    other = flips(a, b, X, Y, points=5, trials=2, seed=1)
    assert not np.array_equal(other.loss, whole.loss)


def test_equal_networks_have_a_flat_path():
    a, _ = pairs()
    found = flips(a, a, X, Y, points=4)
    assert (found.hamming == 0).all()
    assert np.ptp(found.loss, axis=-1).max() == 0


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_planted_symmetries_are_undone(activation):
    a, _ = pairs(widths=(6, 12, 9, 3), activation=activation)
    b = permute(a, random_permutations(a, replicas=3))
    if activation == "tanh":
        b = flip_signs(b, random_signs(a, replicas=3))
    assert hamming(a, b).min() > 0.3
    found, flipped = matched_signs(a, b)
    assert flipped == (activation == "tanh")
    assert hamming(a, found).max() == 0
    plain, _ = matched_signs(a, b, flip_units=False)
    assert (hamming(a, plain).max() == 0) == (activation == "relu")


def test_matching_counts_signs_whatever_the_sizes_of_weights():
    a, b = pairs()
    found, _ = matched_signs(a, b)
    assert function_change(b, found, X).max() < 1e-5
    best = match_by_signs(a, b)
    np.testing.assert_allclose(hamming(a, found), best)
    assert (best < hamming(a, b)).all()


def match_by_signs(a: Ensemble, b: Ensemble) -> np.ndarray:
    """Smallest share of differing signs, by scipy's assignment on counts."""
    from scipy.optimize import linear_sum_assignment

    found = []
    for r in range(len(a)):
        left, right = (
            np.concatenate([s.params["layer1.weight"][r].numpy(), s.params["layer2.weight"][r].numpy().T], 1)
            for s in (signs(a), signs(b))
        )
        counts = (left[:, None] != right[None]).sum(-1)
        found.append(counts[linear_sum_assignment(counts)].sum() / left.size)
    return np.array(found)


def test_matching_lowers_distance_and_barriers_of_trained_networks(trained):
    a, b, x, y = trained
    found = compare_flips(a, b, x, y, orders=["random", "unit", "greedy"], trials=2, points=9)
    assert (found.after.hamming < found.before.hamming).all()
    assert (found.after.hamming < found.by_chance).all()
    assert not found.flipped

    def barrier(values):
        return (values.max(-1) - (values[..., 0] + values[..., -1]) / 2).mean((0, 2))

    before, after = barrier(found.before.error), barrier(found.after.error)
    assert (after < before).all()
    # Greedy and unit by unit are lower roads than a random order.
    assert (before[1:] < before[0]).all()


def test_results_can_be_kept(tmp_path, monkeypatch):
    monkeypatch.setenv(memo.ENVIRONMENT, str(tmp_path))
    a, b = pairs(2)
    first = memo.remember(compare_flips, a, b, X, Y, points=3, trials=1)
    again = memo.remember(compare_flips, a, b, X, Y, points=3, trials=1)
    assert len(list(tmp_path.glob("*.safetensors"))) == 1
    np.testing.assert_array_equal(first.after.loss, again.after.loss)
    assert again.before.orders == ORDERS


def test_what_is_refused():
    a, b = pairs()
    real = Ensemble.from_modules([mlp([6, 8, 3], bias=False)] * 3)
    for bad, match in (
        ({"orders": ["upwards"]}, "orders must be"),
        ({"orders": "random"}, "orders must be"),
        ({"orders": []}, "orders must be"),
        ({"points": 1}, "points"),
        ({"trials": 0}, "trials"),
        ({"batch": 0}, "batch"),
        ({"turns": 0}, "turns"),
        ({"seed": -1}, "seed"),
    ):
        with pytest.raises(ValueError, match=match):
            flips(a, b, X, Y, **bad)
    with pytest.raises(ValueError, match="b is not binary"):
        flips(a, real, X, Y)
    with pytest.raises(ValueError, match="as many networks"):
        flips(a, b[:2], X, Y)
    with pytest.raises(ValueError, match="have size"):
        flips(a, binarised(b, gain=1), X, Y)
    with pytest.raises(ValueError, match="labels"):
        flips(a, b, X, Y + 1)
    with pytest.raises(ValueError, match="a must have"):
        hamming(a[:2], b)


def test_orders_that_do_not_fit_in_memory_are_refused():
    a, b = pairs()
    with pytest.raises(MemoryError, match="trials must be at most"):
        flips(a, b, X, Y, trials=10**12)
