"""Overlaps of functions, against direct computation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from gauge import inputs, networks
from spinscape.landscape import functions
from spinscape.landscape.overlaps import (
    distances,
    function_change,
    function_distances,
    function_overlaps,
    triple_distortion,
)
from spinscape.landscape.symmetry import (
    align,
    permute,
    quotient_distances,
    random_permutations,
    random_scales,
    rescale,
)
from spinscape.networks.convolutional import convnet
from spinscape.networks.ensemble import Ensemble, outputs
from spinscape.networks.models import mlp


def test_against_numpy() -> None:
    one, two, x = networks("two layers", 3), networks("batch norm", 2), inputs("two layers")
    found = function_overlaps(one, x, others=two)
    f, g = outputs(one, x).numpy(), outputs(two, x).numpy()
    for r in range(3):
        for s in range(2):
            assert found.agreement[r, s] == (f[r].argmax(1) == g[s].argmax(1)).mean()
            a, b = ((h - h.mean(0)).ravel() for h in (f[r], g[s]))
            assert found.correlation[r, s] == pytest.approx(np.corrcoef(a, b)[0, 1], abs=1e-12)
    assert found.inputs == 40
    itself = function_overlaps(one, x)
    again = function_overlaps(one, x, others=one)
    assert np.array_equal(itself.agreement, again.agreement)
    assert np.allclose(itself.correlation, again.correlation, atol=1e-14)
    assert np.array_equal(itself.agreement, itself.agreement.T)


def test_symmetries_change_nothing() -> None:
    ensemble, x = networks("two layers", 3), inputs("two layers")
    moved = permute(ensemble, random_permutations(ensemble, replicas=3))
    moved = rescale(moved, random_scales(moved, replicas=3))
    found, before = function_overlaps(ensemble, x, others=moved), function_overlaps(ensemble, x)
    assert np.allclose(found.correlation, before.correlation, atol=1e-12)
    assert np.array_equal(found.agreement, before.agreement)
    assert np.allclose(np.diag(found.correlation), 1)
    assert found.agreement[0, 1] < 1


def test_functions_that_do_not_vary_and_single_outputs() -> None:
    net = mlp([6, 4, 3]).double()
    with torch.no_grad():
        net.layer2.weight.zero_()
    found = function_overlaps(Ensemble.from_modules([net, mlp([6, 4, 3]).double()]), inputs("one layer"))
    assert np.isnan(found.correlation[0]).all()
    assert found.correlation[1, 1] == pytest.approx(1)
    single = function_overlaps(Ensemble.from_modules([mlp([6, 4, 1])]), inputs("one layer"))
    assert np.isnan(single.agreement).all()
    assert single.correlation[0, 0] == pytest.approx(1)


def test_change_by_hand() -> None:
    nets = [nn.Linear(1, 2, bias=False) for _ in range(3)]
    with torch.no_grad():
        for net, (a, b) in zip(nets, [(1.0, -4.0), (2.0, -4.0), (0.0, 0.0)], strict=True):
            net.weight.copy_(torch.tensor([[a], [b]]))
    one = Ensemble.from_modules(nets)
    x = torch.tensor([[1.0], [-2.0]])
    assert function_change(one, one[0], x).tolist() == [0.0, 0.25, np.inf]
    assert function_change(one[2], one[2], x).tolist() == [0.0]
    assert function_change(one[0], one, x).tolist() == [0.0, 0.25, 1.0]


def test_bad_input(monkeypatch: pytest.MonkeyPatch) -> None:
    one, x = networks("one layer"), inputs("one layer")
    with pytest.raises(ValueError, match="x is empty"):
        function_overlaps(one, x[:0])
    with pytest.raises(ValueError, match="others must have 3 outputs like ensemble, not 2"):
        function_overlaps(one, x, others=Ensemble.from_modules([mlp([6, 4, 2]).double()]))
    with pytest.raises(ValueError, match="second must have 1 or 2 networks, not 3"):
        function_change(one, networks("one layer", 3), x)
    bad = networks("one layer")
    bad.params["layer1.weight"][0] = torch.nan
    with pytest.raises(ValueError, match=r"weights of second must be finite, not those of 'layer1\.weight'"):
        function_change(one, bad, x)
    with pytest.raises(ValueError, match=r"weights of others must be finite, not those of 'layer1\.weight'"):
        function_overlaps(one, x, others=bad)
    bad.params["layer1.weight"].fill_(1e308)
    with pytest.raises(ValueError, match="outputs of second are not finite"):
        function_change(one, bad, x)
    monkeypatch.setattr(functions, "available_bytes", lambda device: 24 * 2 * 3 * 20)
    with pytest.raises(MemoryError, match="x must hold at most 20 inputs"):
        function_overlaps(one, x)


def test_inputs_of_another_number_of_features_are_refused() -> None:
    ensemble = Ensemble.from_modules([mlp([4, 6, 3]), mlp([4, 6, 3])])
    x = torch.rand(16, 9, generator=torch.Generator().manual_seed(1))
    for call in (lambda: function_overlaps(ensemble, x), lambda: function_change(ensemble, ensemble, x)):
        with pytest.raises(ValueError, match=r"x has 9 features, layer1\.weight reads 4"):
            call()


@pytest.mark.parametrize("shape", [(5, 1, 9, 9), (5, 2, 8, 8)])
def test_images_that_a_network_does_not_read_are_refused(shape: tuple[int, ...]) -> None:
    ensemble = Ensemble.from_modules([convnet(size=8, widths=(4,))])
    with pytest.raises(ValueError, match="is not what the networks read"):
        function_overlaps(ensemble, torch.zeros(shape))


def test_raw_distances_are_those_of_the_weights() -> None:
    ensemble = networks("two layers", 4)
    rows = ensemble.flat().numpy()
    found = distances(ensemble)
    assert found.norms == pytest.approx(np.linalg.norm(rows, axis=1))
    assert found.distances == pytest.approx(np.linalg.norm(rows[:, None] - rows, axis=2), rel=1e-12)
    cosines = rows @ rows.T / np.outer(found.norms, found.norms)
    assert found.overlaps == pytest.approx(cosines, abs=1e-12)


def test_aligned_distances_are_those_of_orbits() -> None:
    one = networks("one layer", 3)
    copies = permute(one, random_permutations(one, replicas=3, seed=2))
    both = Ensemble.concatenate([one, copies])
    found = distances(both, "aligned", start="identity")
    assert (found.distances == quotient_distances(both).matched).all()
    assert found.distances[:3, 3:].diagonal() == pytest.approx(0, abs=1e-12)
    assert found.overlaps[:3, 3:].diagonal() == pytest.approx(1)
    assert found.distances[:3, :3] == pytest.approx(found.distances[3:, 3:], rel=1e-12)
    assert (found.norms == distances(both).norms).all()
    assert (found.distances <= distances(both).distances + 1e-12).all()


def test_distances_after_alignment_to_one_reference() -> None:
    ensemble = networks("one layer", 5)
    found = distances(ensemble, "reference", reference=2)
    rows = align(ensemble, 2).ensemble.flat().numpy()
    assert found.distances == pytest.approx(np.linalg.norm(rows[:, None] - rows, axis=2), rel=1e-12)
    assert found.distances[2] == pytest.approx(distances(ensemble, "aligned").distances[2], rel=1e-12)


def test_alignment_to_one_reference_distorts_triples() -> None:
    torch.manual_seed(0)
    ensemble = Ensemble.from_modules([mlp([20, 30, 3]).double() for _ in range(9)])
    found = triple_distortion(ensemble, reference=-1)
    assert found.reference == 8
    assert (found.excess[8] == 0).all()
    others = found.excess[:8, :8][np.triu_indices(8, 1)]
    assert (others > 0).all()
    raw, aligned, referred = (p.distances[:8, :8] for p in (found.raw, found.aligned, found.referred))
    assert found.lost == pytest.approx((referred - aligned).sum() / (raw - aligned).sum())
    assert 0.5 < found.lost < 1
    # Each triple with the reference now has one long side and two short ones.
    assert found.with_reference[2] > 2 * found.with_reference[1]
    for pairs, mean in zip((found.raw, found.aligned, found.referred), found.triples, strict=True):
        gaps = []
        for triple in itertools.combinations(range(9), 3):
            sides = sorted(pairs.distances[a, b] for a, b in itertools.combinations(triple, 2))
            gaps.append((8 in triple, sides[2] - sides[1]))
        sd = pairs.upper_distances.std(ddof=1)
        assert mean == pytest.approx(np.mean([gap for _, gap in gaps]) / sd)
    assert found.with_reference[2] == pytest.approx(np.mean([gap for held, gap in gaps if held]) / sd)
    assert found.without_reference[2] == pytest.approx(np.mean([gap for held, gap in gaps if not held]) / sd)


@pytest.mark.filterwarnings("error")
def test_triples_of_networks_that_are_all_the_same_have_no_scale() -> None:
    torch.manual_seed(0)
    found = triple_distortion(Ensemble.from_modules([mlp([5, 4, 3])] * 5))
    assert np.isnan([found.lost, *found.triples, *found.with_reference, *found.without_reference]).all()


def test_distances_of_functions() -> None:
    ensemble, x = networks("two layers", 3), inputs("two layers")
    found = function_distances(ensemble, x)
    assert found.overlaps == pytest.approx(function_overlaps(ensemble, x).correlation, abs=1e-12)
    assert (found.norms == 1).all()
    assert found.distances == pytest.approx(np.sqrt(2 * (1 - found.overlaps)), abs=1e-7)
    moved = permute(ensemble, random_permutations(ensemble, replicas=3))
    both = function_distances(Ensemble.concatenate([ensemble, moved]), x)
    assert both.distances[:3, 3:].diagonal() == pytest.approx(0, abs=1e-7)


def test_bad_arguments_of_distances() -> None:
    ensemble, x = networks("one layer", 3), inputs("one layer")
    with pytest.raises(ValueError, match="kind must be one of"):
        distances(ensemble, "matched")
    with pytest.raises(TypeError, match="raw distances take no options, not start"):
        distances(ensemble, start="identity")
    with pytest.raises(TypeError, match="no option 'foo'"):
        distances(ensemble, "aligned", foo=1)
    for call in (distances, lambda one: function_distances(one, x)):
        with pytest.raises(ValueError, match="at least 2 networks"):
            call(ensemble[0])
    with pytest.raises(ValueError, match="at least 4 networks, not 3"):
        triple_distortion(ensemble)
    four = networks("one layer", 4)
    for odd in (4, -5, 1.0, True):
        with pytest.raises(IndexError, match="there is no network"):
            triple_distortion(four, reference=odd)
    constant = mlp([6, 4, 3]).double()
    with torch.no_grad():
        constant.layer2.weight.zero_()
    with pytest.raises(ValueError, match="do not vary"):
        function_distances(Ensemble.from_modules([constant, mlp([6, 4, 3]).double()]), x)
    ensemble.params["layer1.weight"][1] = torch.inf
    with pytest.raises(ValueError, match=r"must be finite, not those of 'layer1\.weight' of network 1"):
        distances(ensemble)
