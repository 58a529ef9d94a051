"""Paths between networks before and after symmetries are removed, and barriers against width."""

import numpy as np
import pytest
import torch

from spinscape.landscape.paths import WAYS, pair_table, peak, removal
from spinscape.landscape.symmetry import permute, random_permutations, random_scales, rescale
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.evaluation import evaluate
from spinscape.networks.models import initialise, mlp


def _networks(count: int, hidden: tuple[int, ...] = (7,)) -> Ensemble:
    model = mlp([5, *hidden, 3])
    drawn = [initialise(model, torch.Generator().manual_seed(k), "pytorch")[0] for k in range(count)]
    params = {name: torch.stack([one[name] for one in drawn]).double() for name in drawn[0]}
    return Ensemble(model, params)


@pytest.fixture(scope="module")
def samples():
    torch.manual_seed(0)
    return [(torch.randn(n, 5).double(), torch.randint(3, (n,))) for n in (40, 30)]


@pytest.mark.parametrize("hidden", [(7,), (6, 5)])
def test_ends_are_the_networks_whatever_is_removed(samples, hidden):
    nets = _networks(6, hidden)
    found = removal(nets, *samples, t=5)
    assert found.loss.shape == (len(WAYS), 3, 5)
    for tables, (x, y) in zip(
        ((found.loss, found.error), (found.test_loss, found.test_error)), samples, strict=True
    ):
        right = evaluate(nets, x, y)
        for table, values in zip(tables, (right.loss, 1 - right.accuracy), strict=True):
            for column, start in ((0, 0), (-1, 1)):
                np.testing.assert_allclose(
                    table[:, :, column], np.tile(values[start::2], (len(WAYS), 1)), atol=1e-12
                )


def test_copies_meet_once_both_symmetries_are_removed(samples):
    nets = _networks(4, (6, 5))
    copies = permute(nets, random_permutations(nets.model, replicas=4, seed=1))
    copies = rescale(copies, random_scales(nets, replicas=4, seed=2))
    order = [0, 4, 1, 5, 2, 6, 3, 7]
    found = removal(Ensemble.concatenate([nets, copies])[order], *samples, t=5)
    for path in ("line", "geodesic"):
        w = found.of("both", path)
        assert found.distance[w].max() < 1e-6
        np.testing.assert_allclose(found.loss[w], found.loss[w][:, :1].repeat(5, 1), atol=1e-10)
        assert found.barriers("loss").over_line[w].max() < 1e-10
    for way in (("none", "line"), ("scales", "line"), ("order", "line")):
        assert found.distance[found.of(*way)].min() > 0.1


def test_removal_wants_pairs(samples):
    with pytest.raises(ValueError, match="even number of networks, not 3"):
        removal(_networks(3), *samples)


def test_an_unknown_measure_is_refused(samples):
    with pytest.raises(ValueError, match="measure must be"):
        removal(_networks(2), *samples, t=3).barriers("accuracy")


def _tables(means, spread=0.01, count=6):
    rng = np.random.default_rng(0)
    tables = []
    for mean in means:
        x = rng.normal(mean / 2, spread, count)
        first, second = np.triu_indices(count, 1)
        tables.append(pair_table(first, second, x[first] + x[second]))
    return tables


def test_a_peak_is_found_and_a_fall_is_none_where_there_is_no_peak():
    found = peak(_tables([0.2, 0.6, 0.1]), draws=200)
    assert found.place == 1
    assert found.rise.low > 0.3 and found.fall.low > 0.4
    assert found.share.low < 0.1 / 0.6 < found.share.high
    rising = peak(_tables([0.2, 0.4, 0.6]), draws=200)
    assert rising.place == 2
    assert rising.fall.low <= 0 and rising.share.high >= 1


def test_flat_barriers_have_no_peak():
    flat = [peak(_tables([0.3, 0.3, 0.3], spread=0.05, count=5), draws=200, seed=s) for s in range(3)]
    assert all(one.rise.low <= 0.02 for one in flat)


def test_tables_of_pairs_are_symmetric_and_leave_gaps():
    table = pair_table([0, 0], [1, 2], [1.0, 2.0])
    assert table[1, 0] == 1 and table[2, 0] == 2 and np.isnan(table[1, 2])


def test_too_few_widths_or_networks_are_refused():
    with pytest.raises(ValueError, match="three widths, not 2"):
        peak(_tables([0.1, 0.2]))
    with pytest.raises(ValueError, match="at least 3 networks"):
        peak([np.zeros((2, 2))] * 3)
