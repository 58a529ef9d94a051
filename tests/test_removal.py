"""Paths between networks before and after symmetries are removed, and barriers against width."""

import numpy as np
import pytest
import torch

from spinscape.landscape.paths import WAYS, Comparison, pair_table, peak, removal, share_of_pairs
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


def test_a_peak_is_found_and_no_fall_where_barriers_rise():
    found = peak(_tables([0.2, 0.6, 0.1]))
    assert found.place == 1
    assert found.rise.low > 0.3
    assert found.fall.low > 0.4
    assert found.share.high < 0.5
    assert float(found.rise) == pytest.approx(0.4, abs=0.03)
    assert float(found.share) == pytest.approx(1 / 6, abs=0.03)
    rising = peak(_tables([0.2, 0.4, 0.6]))
    assert rising.place == 2
    assert rising.fall.low < float(rising.fall) < rising.fall.high < 0
    assert 1 < rising.share.low < float(rising.share) < rising.share.high
    falling = peak(_tables([0.6, 0.4, 0.2]))
    assert falling.place == 0
    assert falling.rise.low < float(falling.rise) < falling.rise.high < 0


def _simulated(means, runs, count=6, level=0.95):
    """Peaks of additive tables with a noise of the pairs too; networks scatter by 13% of a barrier of 0.3."""
    rng, (first, second) = np.random.default_rng(1), np.triu_indices(count, 1)
    for _ in range(runs):
        tables = []
        for mean in means:
            x = rng.normal(mean / 2, 0.03, count)
            values = x[first] + x[second] + rng.normal(0, 0.02, len(first))
            tables.append(pair_table(first, second, values))
        yield peak(tables, level=level)


def test_flat_barriers_rarely_have_a_peak():
    # Of 400 with a share of at most 0.05, more than 33 come with chance 0.003.
    found = list(_simulated([0.3] * 5, 400))
    assert sum(one.rise.low > 0 and one.fall.low > 0 for one in found) <= 33
    assert sum(not one.rise.low <= 0 <= one.rise.high for one in found) <= 33
    assert sum(not one.fall.low <= 0 <= one.fall.high for one in found) <= 33
    assert sum(not one.share.low <= 1 <= one.share.high for one in found) <= 33


@pytest.mark.parametrize("place", [1, 4])
def test_a_true_rise_is_rarely_denied(place):
    means = [0.3] * 5
    means[place] = 0.345
    found = list(_simulated(means, 400))
    assert sum(one.place == 0 for one in found) > 10
    assert sum(one.rise.high <= 0 for one in found) <= 8
    assert sum(not one.rise.low <= 0.045 <= one.rise.high for one in found) <= 33
    share = 0.345 / 0.3 if place == 4 else 0.3 / 0.345
    assert sum(not one.share.low <= share <= one.share.high for one in found) <= 33


def test_the_interval_of_a_clear_peak_is_not_too_long():
    # One width decides; at a level of 0.6 one of four comparisons leaves out 0.1.
    found = list(_simulated([0.1, 0.1, 0.9, 0.1, 0.3], 400, level=0.6))
    for name, true in (("rise", 0.8), ("fall", 0.6), ("share", 1 / 3)):
        ends = [getattr(one, name).interval for one in found]
        assert 0.05 < np.mean([not low <= true <= high for low, high in ends]) < 0.15


def test_shares_of_barriers_that_may_be_zero():
    small = peak(_tables([0.01, 0.6, 0.0], spread=0.02))
    assert small.share.low == 0
    assert 0 < small.share.high < 0.5
    none = peak([np.zeros((4, 4))] * 3)
    assert np.isnan(none.share.value)
    assert none.rise.interval == (0, 0)
    free = peak(_tables([0.001, 0.001, 0.6], spread=0.02))
    assert free.share.low > 1
    assert free.share.high == np.inf


def test_gaps_without_enough_pairs_leave_no_interval():
    chain = pair_table([0, 1], [1, 2], [0.2, 0.3])
    chain[0, 1] = chain[1, 0] = np.nan
    found = peak([chain, *_tables([0.2, 0.3])])
    assert np.isnan(found.rise.interval).all()
    assert np.isfinite(found.rise.value)


def test_tables_of_pairs_are_symmetric_and_leave_gaps():
    table = pair_table([0, 0], [1, 2], [1.0, 2.0])
    assert table[1, 0] == 1
    assert table[2, 0] == 2
    assert np.isnan(table[1, 2])


def test_too_few_widths_or_networks_are_refused():
    with pytest.raises(ValueError, match="three widths, not 2"):
        peak(_tables([0.1, 0.2]))
    with pytest.raises(ValueError, match="at least 3 networks"):
        peak([np.zeros((2, 2))] * 3)
    with pytest.raises(ValueError, match="level"):
        peak(_tables([0.1, 0.2, 0.3]), level=1.0)


def test_a_share_that_all_pairs_agree_on_has_an_interval():
    first, second = np.triu_indices(6, 1)
    one = Comparison(
        ("raw",), first, second, np.linspace(0, 1, 3), np.zeros((1, 15, 3)), np.zeros((1, 15, 3)), 0
    )
    none, every = (share_of_pairs(one, np.full(15, flag)) for flag in (False, True))
    assert none.value == 0
    assert every.value == 1
    assert 0.5 < none.high < 0.7
    assert 0.3 < every.low < 0.5
    half = share_of_pairs(one, second % 2 == 0)
    assert 0 <= half.low < half.value < half.high <= 1


def test_six_networks_besides_the_reference_tell_most_from_few():
    first, second = np.triu_indices(7, 1)
    nothing = np.zeros((1, len(first), 3))
    one = Comparison(("common",), first, second, np.linspace(0, 1, 3), nothing, nothing, 0)
    none, every = (share_of_pairs(one, np.full(len(first), flag)) for flag in (False, True))
    assert none.high < 0.5 < every.low


def test_pairs_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="two different networks"):
        pair_table([0, 1], [1, 1], [0.2, 0.3])
    with pytest.raises(ValueError, match="equal length"):
        pair_table([0, 1], [1, 2], [0.2])
