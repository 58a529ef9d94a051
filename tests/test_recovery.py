"""Planted permutations, with noise on the weights."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest
import torch

from spinscape.landscape.symmetry._pair import Pair
from spinscape.landscape.symmetry.matching import Found, Search
from spinscape.landscape.symmetry.recovery import METHODS, _noisy, recovery
from spinscape.networks.convolutional import vgg16
from spinscape.networks.datasets import load
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.models import mlp
from spinscape.networks.residual_net import resnet18
from spinscape.networks.training import train
from spinscape.networks.units import describe
from symmetric import randomised


@pytest.mark.parametrize("hidden", [1, 2, 3, 4])
def test_planted_permutations_of_trained_networks(hidden: int) -> None:
    model = mlp([64, *[20] * hidden, 10])
    ensemble = train(model, load("digits").flat(), replicas=2, epochs=2, device="cpu")
    found = recovery(ensemble, trials=100, methods=("layerwise", "layerwise, then descent"))
    assert found.exact.all()
    assert (found.right == 1).all()


@pytest.mark.parametrize("model", [vgg16(width=4), resnet18(width=4)], ids=["VGG16", "ResNet-18"])
def test_planted_permutations_of_convolutional_networks(model: torch.nn.Module) -> None:
    ensemble = randomised(model, 2).to(torch.float32)
    found = recovery(ensemble, trials=4, methods=("layerwise", "layerwise, then descent"))
    assert found.exact.all()
    assert found.sets == tuple(units.name for units in describe(model).units)
    assert found.by_set.shape == (2, 1, 4, len(found.sets))


def test_much_noise_hides_the_permutation() -> None:
    ensemble = randomised(mlp([6, 12, 10, 3]), 5)
    found = recovery(ensemble, noise=[0, 0.5, 2, 20], trials=20)
    assert found.methods == tuple(METHODS)
    assert found.exact.shape == found.right.shape == (4, 4, 20)
    best = found.methods.index("layerwise, then descent")
    assert found.exact[best, 0].all()
    assert not found.exact[:, 3].any()
    assert (np.diff(found.right.mean(-1)) < 0.03).all()
    # One unit in a dozen or so is right by chance.
    assert found.right[:, 3].mean() < 0.25
    assert (found.exact == (found.right == 1)).all()
    sizes = np.array([12, 10])
    assert found.right == pytest.approx(found.by_set @ sizes / 22)


def test_descent_sees_outgoing_weights_and_layerwise_does_not() -> None:
    ensemble = randomised(mlp([3, 20, 30]), 5)
    found = recovery(ensemble, noise=[1.0], trials=20)
    right = dict(zip(found.methods, found.right.mean((-1, -2)), strict=True))
    assert right["layerwise, then descent"] > right["layerwise"] + 0.2
    assert right["layerwise, then descent"] == right["descent"]


def test_noise_is_in_units_of_each_parameter() -> None:
    ensemble = randomised(mlp([6, 12, 10, 3]), 5)
    params = dict(ensemble.params)
    params["layer1.weight"], params["layer1.bias"] = 64 * params["layer1.weight"], 64 * params["layer1.bias"]
    one, other = (
        recovery(e, noise=[1.0], trials=20, methods=["layerwise"])
        for e in (ensemble, Ensemble(ensemble.model, params))
    )
    assert 0.1 < one.right.mean() < 0.9
    assert (one.by_set == other.by_set).all()


def test_trials_do_not_depend_on_their_number_nor_on_levels() -> None:
    ensemble = randomised(mlp([6, 12, 10, 3]), 3)
    many, few = (recovery(ensemble, noise=[0.5, 1], trials=t, seed=2) for t in (9, 4))
    assert (many.by_set[:, :, :4] == few.by_set).all()
    one = recovery(ensemble, noise=[1], trials=4, seed=2, methods=["descent"])
    assert (one.by_set[0, 0] == few.by_set[few.methods.index("descent"), 1]).all()
    other = recovery(ensemble, noise=[0.5, 1], trials=9, seed=3)
    assert (other.by_set != many.by_set).any()


def test_equal_units_may_change_places() -> None:
    ensemble = randomised(mlp([6, 8, 3]), 1)
    for name in ("layer1.weight", "layer1.bias"):
        ensemble.params[name][:, :3] = 0
    ensemble.params["layer2.weight"][:, :, :3] = 1
    found = recovery(ensemble, noise=[0, 1e-3], trials=20)
    assert found.exact.all()
    assert (found.right == 1).all()
    ensemble.params["layer2.weight"][:, :, 0] = 1 + 1e-9
    found = recovery(ensemble, noise=[1e-3], trials=20)
    assert not found.exact.all()
    assert set(found.right.flatten()) == {6 / 8, 1.0}
    assert (found.exact == (found.right == 1)).all()


def test_options_of_ones_own() -> None:
    ensemble = randomised(mlp([6, 8, 8, 3]), 2)
    methods = {"three starts": {"restarts": 2}, "no biases": {"bias": False}}
    found = recovery(ensemble, trials=3, methods=methods)
    assert found.methods == ("three starts", "no biases")
    assert found.exact.all()


def test_weights_stay_as_they_were() -> None:
    ensemble = randomised(mlp([6, 8, 3]), 2)
    before = {name: value.clone() for name, value in ensemble.params.items()}
    recovery(ensemble, noise=[0, 1], trials=4)
    assert all(torch.equal(before[name], value) for name, value in ensemble.params.items())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"noise": [-1]}, "noise must list finite levels"),
        ({"noise": []}, "noise must list finite levels"),
        ({"noise": [np.nan]}, "noise must list finite levels"),
        ({"trials": 0}, "trials must be a whole number of at least 1"),
        ({"methods": ["guess"]}, "methods must be some of"),
        ({"methods": "descent"}, "methods must be some of"),
        ({"methods": []}, "methods must be some of"),
        ({"methods": {}}, "methods must be some of"),
        ({"methods": None}, "methods must be some of"),
        ({"noise": None}, "noise must list finite levels"),
        ({"noise": ["much"]}, "noise must list finite levels"),
        ({"trials": "a"}, "trials must be a whole number of at least 1"),
        ({"methods": {"mine": {"start": "anywhere"}}}, "start must be one of"),
        ({"seed": -1}, "seed must be a whole number"),
    ],
    ids=str,
)
def test_options_are_checked(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        recovery(randomised(mlp([2, 3, 2]), 1), **options)


def test_weights_that_are_not_finite_are_refused() -> None:
    ensemble = randomised(mlp([2, 3, 2]), 2)
    ensemble.params["layer2.bias"][1, 0] = torch.nan
    with pytest.raises(ValueError, match=r"not those of 'layer2\.bias' of network 1"):
        recovery(Ensemble(ensemble.model, ensemble.params))


def test_what_cannot_be_recovered_is_refused() -> None:
    ensemble = randomised(mlp([2, 3, 2]), 1)
    with pytest.raises(MemoryError, match=r"1,000,000,000,000 trials of .*trials must be at most"):
        recovery(ensemble, trials=10**12)
    with pytest.raises(TypeError, match="method 'mine' has no option 'begin'; options are method, start"):
        recovery(ensemble, methods={"mine": {"begin": "identity"}})
    with pytest.raises(ValueError, match="no hidden units"):
        recovery(randomised(mlp([2, 3]), 1))


def test_noise_is_in_units_of_the_root_mean_square() -> None:
    g = torch.Generator().manual_seed(1)
    value = torch.randn(20_000, generator=g) * (torch.rand(20_000, generator=g) < 0.1)
    noisy = _noisy({"weight": value}, 0.5, 0, 0)["weight"]
    # The mean absolute value is a quarter of it.
    assert float((noisy - value).std()) == pytest.approx(0.5 * float(value.square().mean().sqrt()), rel=0.03)


def test_searches_of_a_trial_draw_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    # The package has a function of the module's name.
    module = import_module("spinscape.landscape.symmetry.recovery")
    seen = []
    look = module.look

    def watched(pair: Pair, search: Search, *which: int) -> Found:
        seen.append(which)
        return look(pair, search, *which)

    monkeypatch.setattr(module, "look", watched)
    recovery(randomised(mlp([2, 3, 2]), 2), trials=3, methods=["descent, random order"])
    assert seen == [(0,), (1,), (2,)]
