from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
import torch

from spinscape.landscape.functions import function_change
from spinscape.landscape.symmetry import (
    flip_signs,
    inner_product,
    match,
    match_signs,
    permute,
    random_permutations,
    random_signs,
)
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.models import mlp


def networks(widths: list[int], count: int, *, activation: str = "tanh", seed: int = 0) -> Ensemble:
    torch.manual_seed(seed)
    return Ensemble.from_modules([mlp(widths, activation=activation).double() for _ in range(count)])


@pytest.mark.parametrize("hidden", [[20], [16, 12], [10, 14, 9]])
def test_planted_permutations_and_signs_are_recovered(hidden):
    a = networks([12, *hidden, 5], 3)
    p, s = random_permutations(a, replicas=3, seed=4), random_signs(a, replicas=3, seed=4)
    b = flip_signs(permute(a, p), s)
    found = match_signs(a, b)
    again = found.apply(b)
    for name, value in a.params.items():
        assert torch.equal(again.params[name], value)
    np.testing.assert_allclose(found.objective, inner_product(a, a))
    np.testing.assert_allclose(found.before, inner_product(a, b))


def test_one_hidden_layer_is_solved_exactly():
    a, b = networks([3, 4, 2], 5), networks([3, 4, 2], 5, seed=1)
    found = match_signs(a, b)
    x = torch.randn(20, 3, dtype=torch.float64)
    assert function_change(b, found.apply(b), x).max() < 1e-12
    np.testing.assert_allclose(inner_product(a, found.apply(b)), found.objective)
    best = np.full(5, -np.inf)
    for order in permutations(range(4)):
        for sign in product([-1.0, 1.0], repeat=4):
            moved = flip_signs(permute(b, {"layer1": torch.tensor(order)}), {"layer1": torch.tensor(sign)})
            best = np.maximum(best, inner_product(a, moved))
    np.testing.assert_allclose(found.objective, best)


def test_several_layers_gain_at_least_what_permutations_do_on_average():
    a, b = networks([10, 12, 12, 4], 8), networks([10, 12, 12, 4], 8, seed=1)
    found = match_signs(a, b)
    x = torch.randn(30, 10, dtype=torch.float64)
    assert function_change(b, found.apply(b), x).max() < 1e-12
    np.testing.assert_allclose(inner_product(a, found.apply(b)), found.objective)
    assert (found.objective >= found.before).all()
    assert found.objective.mean() > match(a, b).objective.mean()


def test_without_odd_units_it_is_the_plain_matching():
    a, b = networks([6, 8, 3], 4, activation="relu"), networks([6, 8, 3], 4, activation="relu", seed=1)
    found = match_signs(a, b)
    assert found.signs == {}
    np.testing.assert_allclose(found.objective, match(a, b).objective)
    assert torch.equal(found.apply(b).flat(), permute(b, match(a, b).permutations).flat())


def test_one_reference_for_all():
    a, b = networks([6, 8, 3], 1), networks([6, 8, 3], 3, seed=1)
    apart = [match_signs(a, b[r]).objective[0] for r in range(3)]
    np.testing.assert_allclose(match_signs(a, b).objective, apart)


def test_what_is_refused():
    a = networks([6, 8, 3], 2)
    with pytest.raises(ValueError, match="a must have 1 or 3 networks"):
        match_signs(a, networks([6, 8, 3], 3))
    with pytest.raises(ValueError, match="must be equal"):
        match_signs(a, networks([6, 7, 3], 2))
    normed = Ensemble.from_modules([mlp([6, 8, 3], activation="tanh", batch_norm=True)])
    with pytest.raises(ValueError, match="fold them first"):
        match_signs(normed, normed)
