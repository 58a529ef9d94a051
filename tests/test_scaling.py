"""Rescaling and sign flips of hidden units."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gauge import ARCHITECTURES, inputs, networks
from spinscape.landscape.overlaps import function_change
from spinscape.landscape.symmetry import flip_signs, random_rescale, random_scales, random_signs, rescale
from spinscape.networks.convolutional import convnet
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.models import mlp
from spinscape.networks.units import describe


def odd(widths: list[int], count: int = 2, **options: object) -> Ensemble:
    torch.manual_seed(3)
    return Ensemble.from_modules([mlp(widths, activation="tanh", **options).double() for _ in range(count)])


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_rescaling_keeps_the_function(name: str) -> None:
    ensemble, x = networks(name), inputs(name)
    moved = rescale(ensemble, random_scales(ensemble, replicas=2, spread=2))
    assert function_change(ensemble, moved, x).max() < 1e-10
    assert any(float((moved.params[n] - v).abs().max()) > 1e-2 for n, v in ensemble.params.items())


def test_by_hand() -> None:
    ensemble = networks("one layer")
    moved = rescale(ensemble, {"layer1": [1, 2, 4, 8, 1, 1, 1]})
    for name in ("layer1.weight", "layer1.bias"):
        assert torch.equal(moved.params[name][:, 2], 4 * ensemble.params[name][:, 2])
    assert torch.equal(moved.params["layer2.weight"][:, :, 2], ensemble.params["layer2.weight"][:, :, 2] / 4)
    assert torch.equal(moved.params["layer2.bias"], ensemble.params["layer2.bias"])


@settings(deadline=None, max_examples=20)
@given(widths=st.lists(st.integers(1, 6), min_size=3, max_size=6), seed=st.integers(0, 10**6))
def test_flips_keep_the_function_of_odd_networks(widths: list[int], seed: int) -> None:
    ensemble, x = odd(widths), torch.randn(5, widths[0]).double()
    signs = random_signs(ensemble, replicas=2, seed=seed)
    assert function_change(ensemble, flip_signs(ensemble, signs), x).max() < 1e-10
    twice = flip_signs(flip_signs(ensemble, signs), signs)
    assert all(torch.equal(twice.params[name], value) for name, value in ensemble.params.items())


def test_flips_with_batch_norm_maps_and_shortcuts() -> None:
    x = torch.randn(5, 1, 8, 8).double()
    for build in (
        lambda: convnet(activation="tanh", pool="average", batch_norm=True, hidden=(5,)),
        lambda: mlp([64, 6, 6, 2], activation="tanh", skip=True),
    ):
        ensemble = Ensemble.from_modules([build().double()])
        moved = flip_signs(ensemble, random_signs(ensemble, replicas=3))
        assert moved.replicas == 3
        assert function_change(ensemble, moved, x).max() < 1e-10


def test_wrong_signs_would_be_seen() -> None:
    ensemble, x = odd([3, 4, 2]), torch.randn(5, 3).double()
    ensemble.params["layer1.weight"][:, 0] *= -1
    assert function_change(odd([3, 4, 2]), ensemble, x).min() > 1e-3


def test_draws_do_not_depend_on_the_number_of_replicas() -> None:
    description = describe(mlp([2, 30, 20, 1]))
    for draw in (lambda n: random_scales(description, replicas=n, seed=4),):
        assert all(torch.equal(draw(5)[name][:2], draw(2)[name]) for name in ("layer1", "layer2"))
    assert random_signs(description, replicas=2) == {}
    signs = random_signs(odd([2, 300, 1]), replicas=2)["layer1"]
    assert signs.unique().tolist() == [-1, 1]
    assert set(random_scales(odd([2, 3, 1]), replicas=2)) == set()
    assert (random_scales(description, replicas=1, spread=0)["layer1"] == 1).all()


@pytest.mark.parametrize(
    ("scales", "words"),
    [
        ({"layer9": [1.0]}, "scales name hidden units 'layer9'; known sets: 'layer1'"),
        ({"layer1": [1.0, 2.0]}, r"scales of 'layer1' must have 7 entries, not shape \(2,\)"),
        ({"layer1": [0.0, 1, 1, 1, 1, 1, 1]}, "scales of 'layer1' must be positive and finite"),
        ({"layer1": [-1.0, 1, 1, 1, 1, 1, 1]}, "scales of 'layer1' must be positive and finite"),
        ({"layer1": [torch.nan, 1, 1, 1, 1, 1, 1]}, "scales of 'layer1' must be positive and finite"),
        ({"layer1": [torch.inf, 1, 1, 1, 1, 1, 1]}, "scales of 'layer1' must be positive and finite"),
        ({"layer1": [[1.0] * 7] * 3}, "scales of 'layer1' must have 1 or 2 rows, not 3"),
        ({"layer1": "many"}, "scales of 'layer1' must be numbers"),
        ({"layer1": [1e-320, 1, 1, 1, 1, 1, 1]}, r"scales make weights overflow: 'layer2\.weight'"),
    ],
)
def test_what_are_no_scales_is_refused(scales: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        rescale(networks("one layer"), scales)


def test_what_cannot_be_scaled_is_refused() -> None:
    with pytest.raises(
        ValueError, match="scales change the function: the activation of 'layer1' is of kind 'odd'"
    ):
        rescale(odd([2, 3, 1]), {"layer1": [1.0, 1, 1]})
    with pytest.raises(ValueError, match=r"signs change the function: .*'homogeneous'"):
        flip_signs(networks("one layer"), {"layer1": [1.0] * 7})
    with pytest.raises(ValueError, match=r"signs of 'layer1' must be \+1 or -1"):
        flip_signs(odd([2, 3, 1]), {"layer1": [1.0, 1, 2]})
    maximum = Ensemble.from_modules([convnet(activation="tanh", pool="max")])
    with pytest.raises(ValueError, match="signs change the function"):
        flip_signs(maximum, {"conv1": torch.ones(8)})
    bad = networks("one layer")
    bad.params["layer1.bias"][0, 0] = torch.nan
    with pytest.raises(ValueError, match=r"weights must be finite, not those of 'layer1\.bias'"):
        rescale(bad, {})
    with pytest.raises(ValueError, match="spread must be"):
        random_scales(bad, replicas=1, spread=-1)
    with pytest.raises(ValueError, match="spread must be a finite number of at least 0, not 'a'"):
        random_scales(bad, replicas=1, spread="a")
    with pytest.raises(ValueError, match="replicas must be"):
        random_signs(bad, replicas=0)
    for draw, of in ((random_scales, bad), (random_signs, odd([2, 3, 1]))):
        with pytest.raises(MemoryError, match="replicas must be at most"):
            draw(of, replicas=10**13)


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_random_rescaling_keeps_the_function_and_changes_the_weights(name: str) -> None:
    ensemble = networks(name)
    plain, moved = (random_rescale(ensemble, spread, seed=3) for spread in (0.0, 1.0))
    assert (function_change(ensemble, moved, inputs(name)) < 1e-9).all()
    assert torch.equal(plain.flat(), random_rescale(plain, 0.0).flat())
    assert not torch.allclose(plain.flat(), moved.flat(), rtol=0.1)
    assert torch.equal(random_rescale(ensemble[:1], 1.0, seed=3).flat(), moved.flat()[:1])
    assert not torch.equal(random_rescale(ensemble, 1.0, seed=4).flat(), moved.flat())


def test_random_rescaling_changes_the_hessian_of_a_hand_made_network() -> None:
    from small import dense_hessian, network

    x, y = torch.randn(30, 6, dtype=torch.float64), torch.arange(30) % 3
    ensemble = Ensemble.from_modules([network(0).double()])
    factor = random_scales(ensemble, replicas=1, spread=1.0, seed=2)["0"][0]
    moved = random_rescale(ensemble, 1.0, seed=2)
    before, after = (dense_hessian(nets.module(0), x, y) for nets in (ensemble, moved))
    # Row by row the Hessian is divided by what a parameter was multiplied with.
    grown = torch.cat([factor.repeat_interleave(6), factor, (1 / factor).repeat(3), torch.ones(3)])
    assert torch.allclose(after, before / torch.outer(grown, grown), rtol=1e-9, atol=1e-12)
    assert not torch.allclose(after.trace(), before.trace(), rtol=0.1)


def test_random_rescaling_refuses_what_it_cannot_do() -> None:
    with pytest.raises(ValueError, match="spread"):
        random_rescale(networks("one layer"), -1.0)
    with pytest.raises(ValueError, match="seed"):
        random_rescale(networks("one layer"), 1.0, seed=-1)
