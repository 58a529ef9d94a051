"""Ensembles with their permutation symmetry removed, and distances modulo permutations."""

from __future__ import annotations

import itertools
from importlib import import_module

import numpy as np
import pytest
import torch

from spinscape.landscape.symmetry import _separate, alignment
from spinscape.landscape.symmetry.alignment import align, barycentre, quotient_distances
from spinscape.landscape.symmetry.matching import Search, inner_product, match
from spinscape.landscape.symmetry.permutations import permute, random_permutations
from spinscape.networks.convolutional import convnet
from spinscape.networks.ensemble import Ensemble, outputs
from spinscape.networks.models import mlp
from spinscape.networks.residual_net import resnet18
from spinscape.networks.units import describe
from symmetric import randomised


def copies(model: torch.nn.Module, count: int, noise: float = 0.0) -> Ensemble:
    """Permuted copies of one network, with noise."""
    one = randomised(model, 1)
    g = torch.Generator().manual_seed(4)
    many = permute(one, random_permutations(one, replicas=count, seed=5))
    for value in many.params.values():
        value += noise * value.std() * torch.randn(value.shape, generator=g, dtype=value.dtype)
    return many


def between(a: Ensemble, b: Ensemble) -> np.ndarray:
    return (a.flat()[:, None] - b.flat()).norm(dim=2).numpy()


def same(a: Ensemble, b: Ensemble) -> bool:
    pairs = [(a.params, b.params), (a.buffers, b.buffers)]
    return all(torch.equal(one[name], two[name]) for one, two in pairs for name in one)


@pytest.mark.parametrize(
    "model", [mlp([6, 7, 3]), mlp([6, 7, 5, 3], batch_norm=True), resnet18(width=2)], ids=["1", "2", "ResNet"]
)
def test_copies_are_laid_on_the_reference(model: torch.nn.Module) -> None:
    ensemble = copies(model, 4)
    for reference, target in ((2, ensemble[2]), (ensemble[1], ensemble[1])):
        aligned = align(ensemble, reference)
        assert all(same(aligned.ensemble[r], target) for r in range(4))
        assert same(aligned.ensemble, permute(ensemble, aligned.permutations))
        assert same(aligned.reference, target)
        assert (aligned.distances == 0).all()
        assert aligned.spread[1] == pytest.approx(0, abs=1e-25)
        assert aligned.spread[0] > 0.1


def test_what_is_returned_of_an_alignment() -> None:
    ensemble = randomised(mlp([6, 7, 5, 3]), 5)
    aligned = align(ensemble, 1, start="identity")
    found = match(ensemble[1], ensemble, start="identity")
    assert (aligned.objective == found.objective).all()
    assert aligned.before == pytest.approx(between(ensemble[1], ensemble)[0])
    assert aligned.distances == pytest.approx(between(ensemble[1], aligned.ensemble)[0])
    assert (aligned.distances <= aligned.before).all()
    assert aligned.before[1] == aligned.distances[1] == 0
    for value, which in zip(aligned.spread, (ensemble, aligned.ensemble), strict=True):
        flat = which.flat()
        assert value == pytest.approx(float((flat - flat.mean(0)).square().sum(1).mean()))
    assert aligned.rounds == 1
    x = torch.randn(9, 6, dtype=torch.float64)
    assert torch.allclose(outputs(aligned.ensemble, x), outputs(ensemble, x), rtol=1e-10)


def test_each_to_its_own_reference() -> None:
    references = randomised(mlp([6, 7, 5, 3]), 3)
    ensemble = permute(references, random_permutations(references, replicas=3, seed=1))
    aligned = align(ensemble, references)
    assert same(aligned.ensemble, references)
    assert same(aligned.reference, references)


def test_copies_meet_in_their_barycentre() -> None:
    ensemble = copies(mlp([6, 7, 5, 3], batch_norm=True), 6)
    aligned = align(ensemble, "barycentre")
    assert all(same(aligned.ensemble[r], ensemble[0]) for r in range(6))
    assert aligned.spread[-1] == pytest.approx(0, abs=1e-25)
    assert aligned.rounds == 1


@pytest.mark.parametrize("noise", [0.5, 2.0])
def test_the_barycentre_draws_networks_together(noise: float) -> None:
    ensemble = copies(mlp([6, 12, 10, 3]), 8, noise)
    aligned = align(ensemble, "barycentre")
    assert len(aligned.spread) == aligned.rounds + 2
    assert aligned.rounds < 50
    assert (np.diff(aligned.spread[1:]) <= 1e-12).all()
    assert aligned.spread[-1] < align(ensemble, 0).spread[1] or noise < 1
    assert same(aligned.ensemble, permute(ensemble, aligned.permutations))
    mean = aligned.ensemble.flat().mean(0)
    assert torch.allclose(aligned.reference.flat()[0], mean)
    assert aligned.distances == pytest.approx((aligned.ensemble.flat() - mean).norm(dim=1).numpy())
    assert aligned.spread[-1] == pytest.approx(float((aligned.distances**2).mean()))
    assert aligned.objective == pytest.approx(inner_product(aligned.reference, aligned.ensemble))


def test_no_network_can_move_closer_to_the_mean_of_the_others() -> None:
    ensemble = copies(mlp([6, 12, 3]), 5, 1.0)
    placed = align(ensemble, "barycentre").ensemble
    for r in range(5):
        others = barycentre(placed[[k for k in range(5) if k != r]])
        found = match(others, placed[r])
        assert found.objective == pytest.approx(found.before, rel=1e-12)


def test_quotient_distances_of_one_hidden_layer_are_those_of_orbits() -> None:
    ensemble, others = randomised(mlp([3, 4, 2]), 3, seed=1), randomised(mlp([3, 4, 2]), 2, seed=2)
    every = torch.tensor(list(itertools.permutations(range(4))))
    found = quotient_distances(ensemble, others)
    assert found.raw == pytest.approx(between(ensemble, others))
    for i, j in np.ndindex(3, 2):
        orbit = permute(others[j], {"layer1": every})
        assert found.matched[i, j] == pytest.approx(between(ensemble[i], orbit).min(), rel=1e-12)


def test_quotient_distances_within_an_ensemble() -> None:
    ensemble = randomised(mlp([6, 7, 5, 3]), 4)
    found = quotient_distances(ensemble)
    both = quotient_distances(ensemble, ensemble, start="identity")
    assert found.raw == pytest.approx(between(ensemble, ensemble))
    for matrix in (found.raw, found.matched):
        assert (matrix == matrix.T).all()
        assert (np.diag(matrix) == 0).all()
    assert (found.matched <= found.raw).all()
    assert (both.matched <= both.raw).all()


def test_quotient_distance_of_copies_is_zero() -> None:
    found = quotient_distances(copies(mlp([6, 7, 5, 3]), 3))
    assert (found.matched == 0).all()
    assert found.raw[0, 1] > 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("widths", [(6, 7, 3), (64, 70, 10), (5, 300, 2)])
def test_many_pairs_at_once_give_the_bits_of_one_after_the_other(
    widths: tuple[int, ...], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(2)
    one = Ensemble.from_modules([mlp(widths) for _ in range(5)]).to(dtype)
    copies = permute(one[:2], random_permutations(one, replicas=2, seed=1))
    ensemble = Ensemble.concatenate([one, copies])
    description, search = describe(ensemble.model), Search()
    assert alignment.is_separate(ensemble, description, search)
    wanted = alignment._one_after_the_other(ensemble, ensemble, description, search, symmetric=True)
    for room in (1, 2**20):
        monkeypatch.setitem(_separate.CHUNK_BYTES, "cpu", room)
        found = quotient_distances(ensemble)
        for ours, theirs in zip((found.raw, found.matched), wanted, strict=True):
            assert (np.triu(ours) == theirs).all()
            assert (ours == ours.T).all()
    both = quotient_distances(ensemble[:3], ensemble[3:])
    for ours, theirs in zip((both.raw, both.matched), wanted, strict=True):
        assert (ours == theirs[:3, 3:]).all()
    assert found.matched[0, 5] == 0


@pytest.mark.parametrize("case", ["tiny", "no bias", "convolution", "equal units"])
def test_many_pairs_at_once_in_odd_cases(case: str) -> None:
    torch.manual_seed(3)
    maker = (lambda: convnet(size=8, widths=(5,))) if case == "convolution" else (lambda: mlp([6, 9, 3]))
    ensemble = Ensemble.from_modules([maker() for _ in range(4)])
    options = {"bias": False} if case == "no bias" else {}
    if case == "tiny":
        for value in ensemble.params.values():
            value[1:3] *= 1e-25
    if case == "equal units":
        for name, value in ensemble.params.items():
            if name != "layer2.bias":
                axis = 2 if name == "layer2.weight" else 1
                value[1] = value[1].narrow(axis - 1, 0, 1).expand(value.shape[1:])
    description, search = describe(ensemble.model), Search(**options)
    assert alignment.is_separate(ensemble, description, search)
    wanted = alignment._one_after_the_other(ensemble, ensemble, description, search, symmetric=True)
    found = alignment._separately(ensemble, ensemble, description, search, symmetric=True)
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-7 if case == "equal units" else 1e-15, abs=0)
    assert (found[1] < found[0])[np.triu_indices(4, 1)].all() or case != "convolution"


def test_layers_that_share_weights_are_matched_pair_by_pair() -> None:
    deep, flat = randomised(mlp([6, 7, 5, 3]), 2), randomised(mlp([6, 7, 3]), 2)
    assert not alignment.is_separate(deep, describe(deep.model), Search())
    for options in ({"method": "layerwise"}, {"restarts": 1}):
        assert not alignment.is_separate(flat, describe(flat.model), Search(**options))


def test_overflow_is_told_for_many_pairs() -> None:
    ensemble = Ensemble.from_modules([mlp([6, 7, 3]) for _ in range(3)])
    ensemble.params["layer1.weight"].mul_(1e30)
    with pytest.raises(ValueError, match="inner products of weights overflow"):
        quotient_distances(ensemble)


def test_options_and_references_are_checked() -> None:
    ensemble = randomised(mlp([6, 7, 5, 3]), 3)
    with pytest.raises(
        ValueError, match="reference must be an index, an ensemble or 'barycentre', not 'mean'"
    ):
        align(ensemble, "mean")
    with pytest.raises(IndexError, match="no network 3 for a reference: there are 3"):
        align(ensemble, 3)
    for odd in (1.5, None, [1], True, np.array([0, 1])):
        with pytest.raises(ValueError, match="reference must be an index, an ensemble or 'barycentre'"):
            align(ensemble, odd)
    assert align(ensemble, np.int64(-1)).distances[2] == 0
    with pytest.raises(TypeError, match="align has no option 'foo'; options are method, start"):
        align(ensemble, foo=1)
    with pytest.raises(ValueError, match=r"layer1\.weight has shape"):
        align(ensemble, randomised(mlp([6, 8, 5, 3]), 1))
    with pytest.raises(ValueError, match=r"layer3\.weight has shape \(3, 5\) in a and \(2, 5\) in b"):
        quotient_distances(ensemble, randomised(mlp([6, 7, 5, 2]), 1))
    with pytest.raises(ValueError, match="method must be one of"):
        quotient_distances(ensemble, method="best")
    with pytest.raises(TypeError, match="quotient_distances has no option 'direction'"):
        quotient_distances(ensemble, direction="up")
    ensemble.params["layer1.bias"][2, 0] = torch.nan
    for call in (align, quotient_distances):
        with pytest.raises(
            ValueError, match=r"weights of . must be finite, not those of 'layer1\.bias' of network [02]"
        ):
            call(ensemble)
    with pytest.raises(ValueError, match=r"must be finite, not those of 'layer1\.bias' of network 2"):
        barycentre(ensemble)


def test_rounds_that_do_not_end_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    ensemble = randomised(mlp([6, 7, 5, 3]), 4)
    module = import_module("spinscape.landscape.symmetry.alignment")
    assert align(ensemble, "barycentre").rounds > 1
    monkeypatch.setattr(module, "ROUNDS", 1)
    with pytest.warns(UserWarning, match="networks still moved after 1 rounds"):
        assert align(ensemble, "barycentre").rounds == 1
