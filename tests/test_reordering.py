"""What orders of solutions and of units do to distances."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.cluster import hierarchy
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import pdist, squareform

from spinscape.landscape.reordering import (
    by_solutions,
    by_units,
    compare,
    raw_distances,
    unit_vectors,
)
from spinscape.landscape.symmetry import permute, random_permutations
from spinscape.networks.ensemble import Ensemble, outputs
from spinscape.networks.models import mlp
from spinscape.networks.units import describe

MODELS = [
    ([6, 12, 3], {}),
    ([6, 9, 8, 3], {"batch_norm": True}),
    ([6, 7, 7, 7, 3], {"skip": True}),
]


def networks(widths: list[int], replicas: int, dtype: torch.dtype = torch.float64, **options) -> Ensemble:
    torch.manual_seed(0)
    return Ensemble.from_modules([mlp(widths, **options) for _ in range(replicas)]).to(dtype)


def test_distances_are_those_of_scipy(monkeypatch: pytest.MonkeyPatch) -> None:
    ensemble = networks([6, 12, 3], 7, torch.float32)
    expected = squareform(pdist(ensemble.flat().double().numpy()))
    np.testing.assert_allclose(raw_distances(ensemble), expected, rtol=1e-10, atol=0)
    monkeypatch.setattr("spinscape.landscape.reordering.PIECE", 1)
    np.testing.assert_allclose(raw_distances(ensemble), expected, rtol=1e-10, atol=0)


def test_nearly_equal_networks_keep_their_distance() -> None:
    ensemble = networks([6, 12, 3], 3)
    for p in ensemble.params.values():
        p[1] = p[0]
    ensemble.params["layer1.bias"][1, 0] += 1e-9
    found = raw_distances(ensemble)
    assert found[0, 1] == found[1, 0] == pytest.approx(1e-9, rel=1e-6)
    ensemble.params["layer1.bias"][1, 0] = ensemble.params["layer1.bias"][0, 0]
    assert raw_distances(ensemble)[0, 1] == 0


def test_an_order_of_solutions_leaves_the_multiset_of_distances() -> None:
    ensemble = networks([6, 12, 3], 9)
    found = compare(ensemble)
    assert found.multiset_change < 1e-12
    assert (np.sort(found.order) == np.arange(9)).all()
    assert (found.order != np.arange(9)).any()
    np.testing.assert_allclose(found.reordered, found.raw[np.ix_(found.order, found.order)], rtol=1e-12)
    np.testing.assert_array_equal(found.order, hierarchy.leaves_list(found.linkage))
    sorted_networks = by_solutions(ensemble)
    assert torch.equal(sorted_networks.ensemble.flat(), ensemble.flat()[torch.from_numpy(found.order)])
    for own in (found.ward, found.norm):
        change = np.abs(np.sort(squareform(own)) - np.sort(squareform(found.raw)))
        assert change.max() > 1e-3


@pytest.mark.parametrize("by", ["ward", "norm"])
@pytest.mark.parametrize(("widths", "options"), MODELS)
def test_sorted_units_of_permuted_copies_are_at_distance_zero(by: str, widths: list, options: dict) -> None:
    one = networks(widths, 1, **options)
    for name, b in one.buffers.items():
        if name.endswith("running_var"):
            b.copy_(torch.rand(b.shape, generator=torch.Generator().manual_seed(2)) + 0.5)
    copies = permute(one, random_permutations(one, replicas=6, seed=3))
    assert squareform(raw_distances(copies)).min() > 0.1
    found = by_units(copies, by=by)
    assert raw_distances(found.ensemble).max() == 0
    for b in found.ensemble.buffers.values():
        assert torch.equal(b, b[:1].expand_as(b))
    x = torch.randn(10, 6, dtype=torch.float64)
    np.testing.assert_allclose(outputs(found.ensemble, x)[0], outputs(one, x)[0], rtol=1e-12, atol=1e-14)
    again = permute(copies, found.permutations)
    assert torch.equal(again.flat(), found.ensemble.flat())


def test_sorting_is_not_matching() -> None:
    # One hidden layer: the optimal permutation of the second network is an assignment problem.
    ensemble = networks([6, 30, 3], 5)
    units = describe(ensemble.model).units[0]
    vectors = [unit_vectors(ensemble, units, r) for r in range(5)]
    offset = [ensemble.params["layer2.bias"][r].numpy() for r in range(5)]
    found = compare(ensemble)
    for i in range(5):
        for j in range(i):
            pairs = linear_sum_assignment(vectors[i] @ vectors[j].T, maximize=True)
            rest = np.square(offset[i] - offset[j]).sum()
            optimal = np.sqrt(np.square(vectors[i][pairs[0]] - vectors[j][pairs[1]]).sum() + rest)
            for own in (found.ward, found.norm):
                assert own[i, j] > 1.02 * optimal
            assert found.raw[i, j] > optimal


def test_orders_by_hand() -> None:
    ensemble = networks([1, 3, 1], 1, bias=False)
    ensemble.params["layer1.weight"][0] = torch.tensor([[3.0], [1.0], [1.1]])
    ensemble.params["layer2.weight"][0] = 0
    for by, order in (("norm", [1, 2, 0]), ("ward", [1, 2, 0])):
        assert by_units(ensemble, by=by).permutations["layer1"].tolist() == [order]
    # Of two sides the mean norm counts, not the total: a pair of 3 and 3.1 comes before 5.
    for weights in ([-3.0, 1.0, -2.9], [5.0, 3.0, 3.1]):
        ensemble.params["layer1.weight"][0] = torch.tensor(weights)[:, None]
        assert by_units(ensemble, by="ward").permutations["layer1"].tolist() == [[1, 2, 0]]


def test_what_cannot_be_is_refused() -> None:
    ensemble = networks([6, 12, 3], 2)
    with pytest.raises(ValueError, match="by must be"):
        by_units(ensemble, by="size")
    with pytest.raises(ValueError, match="two networks"):
        by_solutions(ensemble[0])
    wide = Ensemble.from_modules([mlp([1, 10**6, 1])])
    with pytest.raises(MemoryError, match=r"units of 'layer1' take .* units of 'layer1' must be at most"):
        by_units(wide, by="ward")
    assert by_units(wide, by="norm").permutations["layer1"].shape == (1, 10**6)
    ensemble.params["layer2.weight"][1, 0, 0] = torch.nan
    for refused in (raw_distances, by_units, compare):
        with pytest.raises(ValueError, match=r"layer2\.weight"):
            refused(ensemble)
