"""Permutations of hidden units."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from spinscape.landscape.symmetry import (
    compose,
    identity,
    inverse,
    permute,
    random_permutations,
    random_swaps,
    swap,
)
from spinscape.landscape.symmetry.swaps import swap_series
from spinscape.networks.ensemble import Ensemble, outputs
from spinscape.networks.models import mlp
from spinscape.networks.units import Axis, Description, Units, describe


def networks(widths: list[int], count: int = 2, **options: object) -> Ensemble:
    torch.manual_seed(1)
    return Ensemble.from_modules([mlp(widths, **options).double() for _ in range(count)])


def same(a: Ensemble, b: Ensemble) -> bool:
    pairs = [(a.params, b.params), (a.buffers, b.buffers)]
    return all(torch.equal(one[name], two[name]) for one, two in pairs for name in one)


def test_unit_i_of_the_result_is_unit_p_i() -> None:
    ensemble = networks([2, 3, 4])
    p = [2, 0, 1]
    result = permute(ensemble, {"layer1": p})
    assert torch.equal(result.params["layer1.weight"], ensemble.params["layer1.weight"][:, p])
    assert torch.equal(result.params["layer1.bias"], ensemble.params["layer1.bias"][:, p])
    assert torch.equal(result.params["layer2.weight"], ensemble.params["layer2.weight"][:, :, p])
    assert torch.equal(result.params["layer2.bias"], ensemble.params["layer2.bias"])


def test_every_replica_has_its_own_permutation() -> None:
    ensemble = networks([2, 3, 4, 5], 3)
    p = random_permutations(ensemble, replicas=3, seed=2)
    whole = permute(ensemble, p)
    for r in range(3):
        assert same(whole[r], permute(ensemble[r], {name: value[r] for name, value in p.items()}))


def test_one_network_takes_many_permutations() -> None:
    ensemble = networks([2, 3, 4, 5], 1, batch_norm=True)
    p = random_permutations(ensemble, replicas=4, seed=2)
    whole = permute(ensemble, p)
    assert whole.replicas == 4
    for r in range(4):
        assert same(whole[r], permute(ensemble, {name: value[r] for name, value in p.items()}))


def test_flattened_maps_move_together() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 4, 2)).double()
    ensemble, x = Ensemble.from_modules([net]), torch.randn(5, 1, 4, 4).double()
    result = permute(ensemble, random_permutations(net, replicas=6))
    assert not torch.equal(result.params["3.weight"][0], result.params["3.weight"][1])
    assert torch.allclose(outputs(result, x), outputs(ensemble, x), rtol=1e-12)


@settings(deadline=None, max_examples=30)
@given(
    widths=st.lists(st.integers(1, 6), min_size=3, max_size=6),
    options=st.fixed_dictionaries({"bias": st.booleans(), "batch_norm": st.booleans()}),
    seed=st.integers(0, 10**6),
)
def test_group_laws_and_function(widths: list[int], options: dict, seed: int) -> None:
    ensemble = networks(widths, 2, **options)
    p, q = (random_permutations(ensemble, replicas=2, seed=s) for s in (seed, seed + 1))
    both = permute(permute(ensemble, p), q)
    assert same(both, permute(ensemble, compose(p, q)))
    assert same(permute(permute(ensemble, p), inverse(p)), ensemble)
    assert same(permute(ensemble, identity(ensemble)), ensemble)
    x = torch.randn(7, widths[0], generator=torch.Generator().manual_seed(seed)).double()
    assert torch.allclose(outputs(both, x), outputs(ensemble, x), rtol=1e-10, atol=1e-12)


def test_draws_are_uniform_and_do_not_depend_on_the_number_of_replicas() -> None:
    description = describe(mlp([2, 3, 2, 1]))
    many = random_permutations(description, replicas=6000, seed=3)
    few = random_permutations(description, replicas=2, seed=3)
    assert all(torch.equal(many[name][:2], few[name]) for name in many)
    codes, counts = np.unique(many["layer1"].numpy() @ [9, 3, 1], return_counts=True)
    assert len(codes) == 6
    # Chi squared with 5 degrees of freedom exceeds 25.7 once in 10,000.
    assert ((counts - 1000) ** 2 / 1000).sum() < 25.7


def test_compose_takes_what_either_names() -> None:
    p, q = (
        {"a": torch.tensor([1, 2, 0])},
        {"a": torch.tensor([[0, 2, 1], [2, 1, 0]]), "b": torch.tensor([1, 0])},
    )
    both = compose(p, q)
    assert both["a"].tolist() == [[1, 0, 2], [0, 2, 1]]
    assert both["b"].tolist() == [1, 0]
    with pytest.raises(ValueError, match="'a' differ in shape"):
        compose(p, {"a": torch.tensor([1, 0])})


@pytest.mark.parametrize("disjoint", [False, True])
def test_swaps(disjoint: bool) -> None:
    ensemble = networks([3, 9, 2], 2)
    swapped = swap(ensemble, 3, trials=5, disjoint=disjoint, seed=4)
    assert swapped.ensemble.replicas == 10
    assert swapped.displaced.shape == (2, 5)
    p = swapped.permutations["layer1"]
    assert same(swapped.ensemble, permute(ensemble[[0] * 5 + [1] * 5], {"layer1": p}))
    assert np.array_equal(swapped.displaced.ravel(), (p != torch.arange(9)).sum(1).numpy())
    if disjoint:
        assert (swapped.displaced == 6).all()
        assert torch.equal(p.gather(1, p), torch.arange(9).expand(10, 9))


@pytest.mark.parametrize("disjoint", [False, True])
def test_more_swaps_begin_with_the_same_pairs(disjoint: bool) -> None:
    description = describe(mlp([2, 60, 1]))
    few, more = (
        random_swaps(description, s, replicas=2, trials=3, disjoint=disjoint, seed=5)["layer1"]
        for s in (19, 20)
    )
    last = compose({"a": few.flatten(0, 1).argsort(-1)}, {"a": more.flatten(0, 1)})["a"]
    assert ((last != torch.arange(60)).sum(-1) == 2).all()


def test_transpositions_are_uniform() -> None:
    description = describe(mlp([2, 4, 1]))
    p = random_swaps(description, 1, replicas=1, trials=6000)["layer1"][0].numpy()
    codes, counts = np.unique(p @ [64, 16, 4, 1], return_counts=True)
    assert len(codes) == 6
    # Chi squared with 5 degrees of freedom exceeds 25.7 once in 10,000.
    assert ((counts - 1000) ** 2 / 1000).sum() < 25.7


def test_sets_are_swapped_that_are_named() -> None:
    ensemble = networks([3, 8, 8, 2])
    assert set(swap(ensemble, 1).permutations) == {"layer1", "layer2"}
    one = swap(ensemble, 1, units="layer2")
    assert torch.equal(one.permutations["layer2"], swap(ensemble, 1).permutations["layer2"])
    assert set(one.permutations) == {"layer2"}
    assert torch.equal(one.ensemble.params["layer1.weight"], ensemble.params["layer1.weight"])
    assert same(swap(ensemble, 0).ensemble, ensemble)
    assert (swap(ensemble, 1).displaced == 4).all()


@pytest.mark.parametrize(
    ("permutations", "words"),
    [
        ({"layer3": [0, 1, 2]}, "'layer3'; known sets: 'layer1'"),
        ({"layer1": [0, 1]}, r"'layer1' must have 3 entries, not shape \(2,\)"),
        ({"layer1": [0, 1, 1]}, r"'layer1' must list each of 0..2 once"),
        ({"layer1": [1, 2, 3]}, r"'layer1' must list each of 0..2 once"),
        ({"layer1": [0.0, 1.0, 2.0]}, "'layer1' must be whole numbers"),
        ({"layer1": [[[0, 1, 2]]]}, "'layer1' must be whole numbers of shape"),
        ({"layer1": [[0, 1, 2]] * 3}, "'layer1' must have 1 or 2 rows, not 3"),
        ({"layer1": "abc"}, "'layer1' must be arrays of whole numbers"),
    ],
)
def test_what_is_no_permutation_is_refused(permutations: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        permute(networks([2, 3, 4]), permutations)


def test_products_and_inverses_take_permutations_only() -> None:
    for call in (lambda p: inverse({"a": p}), lambda p: compose({"a": p}, {"a": [0, 1]})):
        for p in ([1, 1], [1, 2], [[0, 1], [0, 0]], []):
            with pytest.raises(ValueError, match="permutations of 'a' must"):
                call(p)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"swaps": -1}, "swaps must be a whole number of at least 0, not -1"),
        ({"swaps": 1.5}, "swaps must be a whole number"),
        ({"swaps": 2, "disjoint": True}, "swaps must be at most 1, half the 3 units of 'layer1'"),
        ({"swaps": True}, "swaps must be a whole number"),
        ({"swaps": 1, "trials": "a"}, "trials must be a whole number of at least 1, not 'a'"),
        ({"swaps": 1, "trials": 0}, "trials must be a whole number of at least 1"),
        ({"swaps": 1, "units": "layer7"}, "units names hidden units 'layer7'; known sets: 'layer1'"),
        ({"swaps": 1, "units": []}, "units must name at least one"),
        ({"swaps": 1, "seed": -1}, "seed must be"),
    ],
)
def test_what_cannot_be_swapped_is_refused(arguments: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        swap(networks([2, 3, 4]), **arguments)


def test_copies_that_cannot_fit_are_refused() -> None:
    with pytest.raises(MemoryError, match="trials must be at most"):
        swap(networks([2, 3, 4]), 0, trials=10**13)
    with pytest.raises(MemoryError, match=r"trials of 1 networks take .* trials must be at most"):
        random_swaps(networks([2, 3, 4]), 0, replicas=1, trials=10**13)
    with pytest.raises(MemoryError, match="swaps must be at most"):
        swap(networks([2, 3, 4]), 10**13)
    with pytest.raises(MemoryError, match="replicas must be at most"):
        random_permutations(networks([2, 3, 4]), replicas=10**13)
    with pytest.raises(MemoryError, match="permutations must be at most"):
        permute(networks([100, 3, 10**5], 1), {"layer1": torch.arange(3).repeat(10**6, 1)})


def test_a_model_without_description_is_refused() -> None:
    ensemble = Ensemble.from_modules([nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3), nn.Linear(3, 1))])
    with pytest.raises(ValueError, match=r"LayerNorm.*hidden_units"):
        permute(ensemble, {})


def test_a_description_is_checked_against_the_model() -> None:
    units = Units(
        "a",
        3,
        (Axis("layer1.weight"),),
        (Axis("layer2.weight", 1),),
        (Axis("layer1.weight"),),
        kind="homogeneous",
    )
    ensemble = networks([2, 4, 1], bias=False)
    with pytest.raises(ValueError, match=r"layer1.weight.* must have 3 x 1 entries"):
        permute(ensemble, {"a": [0, 2, 1]}, Description((units,), ("layer2.weight",)))


def test_all_permutations_of_a_tiny_network_differ() -> None:
    ensemble = networks([2, 3, 2], 1)
    every = torch.tensor(list(itertools.permutations(range(3))))
    assert len(torch.unique(permute(ensemble, {"layer1": every}).flat(), dim=0)) == 6


@pytest.mark.parametrize("disjoint", [False, True])
def test_a_series_of_numbers_of_swaps_goes_on_where_smaller_ones_end(disjoint: bool) -> None:
    description = describe(mlp([2, 7, 9, 3]))
    series = swap_series(description, [3, 0, 1, 3], replicas=2, trials=3, disjoint=disjoint, seed=5)
    for k, count in enumerate([3, 0, 1, 3]):
        one = random_swaps(
            description, np.int64(count), replicas=2, trials=3, disjoint=disjoint, seed=np.int64(5)
        )
        assert all(torch.equal(series[name][:, :, k], one[name]) for name in one)


def test_each_pair_is_drawn_once_whatever_the_numbers_of_swaps(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    rand = torch.rand
    monkeypatch.setattr(
        torch, "rand", lambda *given, **options: calls.append(given) or rand(*given, **options)
    )
    description = describe(mlp([2, 7, 9, 3]))
    swap_series(description, [0, 50, 200], replicas=2, trials=3, where="total")
    # The layers, and the pairs of two layers.
    assert len(calls) == 2 * 3 * 3


def test_swaps_in_total_are_uniform_in_every_layer() -> None:
    description = describe(mlp([2, 40, 40, 40, 3]))
    drawn = swap_series(description, [1, 2], replicas=1, trials=4000, where="total", seed=1)
    away = {name: (p[0] != torch.arange(40)).double() for name, p in drawn.items()}
    assert torch.equal(sum(p[:, 0].sum(1) for p in away.values()), torch.full((4000,), 2.0).double())
    for p in away.values():
        # About 2667 units of 4000 / 3 swaps: a standard error of 0.03 in each quarter's share of a quarter.
        assert float(p[:, 0].sum()) == pytest.approx(8000 / 3, rel=0.1)
        quarters = p[:, 0].reshape(4000, 4, 10).sum((0, 2)) / p[:, 0].sum() * 4
        assert float((quarters - 1).abs().max()) < 0.15
