"""The group of permutations: order, laws, and all elements of tiny networks."""

from __future__ import annotations

from math import factorial, log10

import numpy as np
import pytest
import torch

from gauge import inputs, networks, with_dead_units
from spinscape.landscape.symmetry import (
    enumerate_permutations,
    exhaust,
    group_laws,
    log10_order,
    order,
)
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.models import mlp
from spinscape.networks.units import describe


def tiny(widths: list[int], count: int = 2) -> Ensemble:
    torch.manual_seed(2)
    return Ensemble.from_modules([mlp(widths).double() for _ in range(count)])


def test_order_against_factorials() -> None:
    for widths in ([64], [128, 64], [1024, 1024]):
        exact = sum(log10(factorial(width)) for width in widths)
        assert log10_order(widths) == pytest.approx(exact, rel=1e-12)
        assert log10_order(mlp([3, *widths, 2])) == pytest.approx(exact, rel=1e-12)
    assert log10_order([]) == 0
    # A residual stream counts once, however many layers write it.
    resnet = networks("resnet18", 1)
    sizes = [units.size for units in describe(resnet.model).units]
    assert len(sizes) == 4 + 8
    assert log10_order(resnet) == pytest.approx(sum(log10(factorial(n)) for n in sizes))


def test_enumeration() -> None:
    every = [
        tuple(tuple(p.tolist()) for p in one.values()) for one in enumerate_permutations(mlp([2, 3, 4, 1]))
    ]
    assert len(every) == len(set(every)) == 6 * 24 == order(mlp([2, 3, 4, 1]))
    assert every[0] == ((0, 1, 2), (0, 1, 2, 3))
    assert order(mlp([2, 9, 1])) == 362_880


@pytest.mark.parametrize(
    ("widths", "told"), [([10], "3,628,800"), ([512], r"10\^1166\.5"), ([9, 2, 2], "1,451,520")]
)
def test_too_many_are_refused(widths: list[int], told: str) -> None:
    with pytest.raises(ValueError, match=rf"have {told} permutations, more than 1,000,000"):
        enumerate_permutations(mlp([2, *widths, 1]))
    with pytest.raises(ValueError, match="more than 1,000,000"):
        exhaust(tiny([2, *widths, 1]), torch.zeros(1, 2))


def test_all_permutations_of_a_tiny_network() -> None:
    found = exhaust(tiny([3, 4, 3, 2]), torch.randn(5, 3).double())
    assert found.count == 144
    assert found.distinct.tolist() == [144, 144]
    assert (found.function < 1e-10).all()


def test_equal_units_make_permutations_equal() -> None:
    ensemble = tiny([3, 4, 2])
    for name, value in ensemble.params.items():
        if name == "layer2.weight":
            value[1, :, 1] = value[1, :, 0]
        elif name != "layer2.bias":
            value[1, 1] = value[1, 0]
    assert exhaust(ensemble, torch.randn(5, 3).double()).distinct.tolist() == [24, 12]


def test_zeros_of_both_signs_are_equal_and_gradients_do_no_harm() -> None:
    ensemble = tiny([3, 4, 2])
    for name, value in ensemble.params.items():
        value.zero_()
        if name == "layer1.weight":
            value[:, 0] = -0.0
    asking = Ensemble(ensemble.model, {n: p.requires_grad_() for n, p in ensemble.params.items()})
    assert exhaust(asking, torch.randn(5, 3).double()).distinct.tolist() == [1, 1]


@pytest.mark.parametrize("name", ["two layers", "skip", "batch norm", "convnet", "vgg16", "resnet18"])
def test_laws(name: str) -> None:
    laws = group_laws(with_dead_units(networks(name)), inputs(name), samples=4)
    for exact in (laws.associativity, laws.identity, laws.inverse, laws.commutation):
        assert exact.tolist() == [0.0] * 4
    assert (laws.function < 1e-10).all()
    assert ((laws.within == 0) == laws.commuting).all()
    assert not laws.commuting.all()


def test_one_set_has_nothing_to_commute_with() -> None:
    laws = group_laws(tiny([3, 5, 2]), torch.randn(4, 3).double(), samples=6, seed=1)
    assert np.isnan(laws.commutation).all()
    few = group_laws(tiny([3, 5, 2]), torch.randn(4, 3).double(), samples=2, seed=1)
    assert np.array_equal(few.within, laws.within[:2])


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="samples must be"):
        group_laws(tiny([2, 3, 1]), torch.zeros(1, 2), samples=0)
    with pytest.raises(ValueError, match="widths must be a whole number of at least 1, not 0"):
        log10_order([3, 0])
    with pytest.raises(MemoryError, match="samples must be at most"):
        group_laws(tiny([2, 3, 1]), torch.zeros(1, 2), samples=10**13)
    bad = tiny([2, 3, 1])
    bad.params["layer2.weight"][1, 0, 2] = torch.nan
    for call in (group_laws, exhaust):
        with pytest.raises(ValueError, match=r"must be finite, not those of 'layer2\.weight' of network 1"):
            call(bad, torch.zeros(1, 2))
    with pytest.raises(ValueError, match="no hidden units"):
        group_laws(tiny([2, 1]), torch.zeros(1, 2))
