"""Both orders of layers give one set of elements; a control that is no symmetry."""

from __future__ import annotations

import pytest
import torch

from spinscape.landscape.overlaps import function_change
from spinscape.landscape.symmetry.orders import BothOrders, both_orders, exchange_inputs
from spinscape.landscape.symmetry.permutations import permute
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.models import mlp
from spinscape.networks.units import Description


def one(*widths: int) -> Ensemble:
    torch.manual_seed(1)
    return Ensemble.from_modules([mlp(widths)]).to(torch.float64)


def test_the_order_of_layers_gives_no_new_elements() -> None:
    assert both_orders(one(2, 3, 2, 2)) == BothOrders(12, 12, 12)
    assert both_orders(one(2, 2, 3, 2, 2)) == BothOrders(24, 24, 24)


def test_layers_are_permuted_in_both_orders(monkeypatch: pytest.MonkeyPatch) -> None:
    visited: list[str] = []

    def spy(ensemble: Ensemble, permutations: dict, description: Description) -> Ensemble:
        visited.extend(permutations)
        return permute(ensemble, permutations, description)

    monkeypatch.setattr("spinscape.landscape.symmetry.orders.permute", spy)
    both_orders(one(2, 3, 2, 2))
    assert visited == ["layer1", "layer2"] * 12 + ["layer2", "layer1"] * 12


def test_parameters_that_ask_for_gradients_and_weights_that_are_not_finite() -> None:
    ensemble = one(2, 3, 2, 2)
    asking = Ensemble(ensemble.model, {n: p.clone().requires_grad_() for n, p in ensemble.params.items()})
    assert both_orders(asking).together == 12
    ensemble.params["layer2.bias"][0, 0] = torch.nan
    with pytest.raises(ValueError, match=r"must be finite, not those of 'layer2\.bias' of network 0"):
        both_orders(ensemble)


def test_alike_units_have_fewer_images() -> None:
    ensemble = one(2, 3, 2, 2)
    for value in ensemble.params.values():
        value.zero_()
    assert both_orders(ensemble).together == 1


def test_exchanged_inputs_change_the_function_and_two_exchanges_do_not() -> None:
    ensemble, x = one(4, 3, 2), torch.randn(50, 4, dtype=torch.float64)
    changed = exchange_inputs(ensemble, "layer1.weight", 0, 1, 2)
    assert function_change(ensemble, changed, x)[0] > 1e-2
    again = exchange_inputs(changed, "layer1.weight", 0, 1, 2)
    assert function_change(ensemble, again, x)[0] == 0


def test_bad_input() -> None:
    ensemble = one(4, 3, 2)
    with pytest.raises(ValueError, match="must be one network, not 2"):
        both_orders(Ensemble.concatenate([ensemble, ensemble]))
    for name, numbers, match in (
        ("layer1.bias", (0, 0, 1), "one of the weights"),
        ("layer1.weight", (3, 0, 1), "unit must be one of 0 to 2"),
        ("layer1.weight", (0, 1, 1), "must differ and lie in 0 to 3"),
    ):
        with pytest.raises(ValueError, match=match):
            exchange_inputs(ensemble, name, *numbers)
