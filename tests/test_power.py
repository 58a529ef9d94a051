"""Rates of alarm: intervals, thresholds, false alarms of the verdicts and their power."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from spinscape.glasses.overlap_models import replica_symmetric
from spinscape.landscape import power
from spinscape.landscape.null_overlaps import Draws, fit
from spinscape.landscape.pairs import Pairs
from spinscape.landscape.power import (
    VERDICTS,
    Calibration,
    _enough,
    calibrate,
    clopper_pearson,
    gaussian_networks,
    network_false_alarms,
    planted_sets,
    pvalues,
)
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.models import mlp

R = 30


def data() -> Pairs:
    q = replica_symmetric(R, dimension=2000, overlap=0.2, effect=0.01, seed=1)[0]
    return Pairs.from_overlaps(q, np.repeat([8.0, 9.0, 10.0], R // 3))


def test_intervals_are_those_of_scipy() -> None:
    for hits in (0, 3, 20):
        wanted = stats.binomtest(hits, 20).proportion_ci(method="exact")
        np.testing.assert_allclose(clopper_pearson(hits, 20), wanted, atol=1e-12)


def test_enough_is_where_the_interval_of_power_stays_above() -> None:
    x = np.array([1.0, 2.0, 3.0])
    assert _enough(x, np.array([0.0, 0.6, 1.0])) == 3
    assert _enough(x, np.array([0.9, 0.7, 0.8])) == 3
    assert _enough(x[::-1], np.array([0.9, 0.9, 0.7])) == 2
    assert _enough(x, np.array([0.9, 0.9, np.nan])) == 1
    assert np.isnan(_enough(x, np.array([0.9, 0.9, 0.7])))
    assert np.isnan(_enough(x, np.full(3, np.nan)))


def test_planted_sets_have_the_norms_mean_and_excess_asked_for() -> None:
    null = fit(data())
    none, some = (planted_sets(null, (3,), s, 40).overlaps for s in (0.0, 5.0))
    upper = np.triu_indices(R, 1)
    assert none[:, *upper].mean() == pytest.approx(null.overlap, abs=null.sigma)
    # A third of the pairs, nearly, share a cluster.
    share = 3 * 45 / 435
    excess = some[:, *upper].mean() - none[:, *upper].mean()
    assert excess == pytest.approx(5 * null.sigma * share, rel=0.1)
    assert np.array_equal(planted_sets(null, (3,), 5.0, 2).overlaps, some[:2])


def test_false_alarms_are_rare_and_power_is_high() -> None:
    found = calibrate(data(), strengths=(1.0, 8.0), branching=((3,),), draws=24, null_draws=99)
    assert found.verdicts == VERDICTS
    # More than 10 of 120 at a rate of 0.02 happen once in 10,000.
    assert (found.false_alarms <= 10 / 120).all()
    assert found.power.shape == (1, 2, 4)
    # The data's norms come in three groups, and the tree of the distances shows those.
    blocks = VERDICTS.index("blocks")
    assert found.power[0, 1, blocks] < 0.5
    assert (np.delete(found.power[0, 1], blocks) >= 0.8).all()
    assert found.power[0, 0, 0] < 0.5
    assert (found.power_interval[..., 0] <= found.power).all()
    assert (found.power <= found.power_interval[..., 1]).all()
    for verdict in ("structure", "hierarchy"):
        assert found.enough[0, VERDICTS.index(verdict)] <= 8


def test_strengths_that_no_vectors_have_are_left_out() -> None:
    q = replica_symmetric(R, dimension=20, seed=1)[0]
    found = calibrate(
        Pairs.from_overlaps(q), strengths=(1.0, 9.0), branching=((2,),), draws=10, null_draws=49
    )
    assert np.isfinite(found.power[0, 0]).all()
    assert np.isnan(found.power[0, 1]).all()
    told = found.measurements("structure")
    assert told["strength_structure"] == 1
    assert float(told["power_structure"]) == found.power[0, 0, VERDICTS.index("structure")]
    assert told["unplanted_structure"] == 1
    assert found.detected("structure").endswith("; 9 could not be planted")
    none = calibrate(Pairs.from_overlaps(q), strengths=(9.0,), branching=((2,),), draws=10, null_draws=49)
    told = none.measurements("structure")
    assert np.isnan(told["strength_structure"])
    assert np.isnan(float(told["power_structure"]))
    assert np.isfinite(float(told["alarms_structure"]))
    assert told["unplanted_structure"] == 1
    assert none.detected("structure") == "none; 9 could not be planted"


def test_only_what_is_detected_is_said_to_be() -> None:
    power = np.array([[[0.2, 0.9], [0.55, 1.0]]])
    interval = np.stack([power - 0.05, power], -1)
    enough = np.array([[np.nan, 3.0]])
    found = Calibration(
        ("modality", "hierarchy"), np.zeros(2), np.zeros((2, 2)), ((5,),), np.array([3.0, 6.0]), power,
        interval, enough, 20, np.full(2, 0.02), 60,
    )  # fmt: skip
    assert found.detected("modality") == "not up to 6 (power 55%)"
    assert found.detected("hierarchy") == "3 (power 90%)"
    power[0, 1], interval[0, 1] = np.nan, np.nan
    assert found.detected("modality") == "not up to 3 (power 20%); 6 could not be planted"
    assert found.detected("hierarchy") == "3 (power 90%); 6 could not be planted"


def test_clusters_of_given_sizes() -> None:
    null = fit(data())
    q = planted_sets(null, (2,), 20.0, 3, sizes=(6, R - 6)).overlaps
    level = null.overlap + 10 * null.sigma
    # In units of the fluctuation the two are 20 apart: rows have 5 or R - 7 others close to them.
    close = np.sort((q > level).sum(2) - 1, axis=1)
    assert (close == [5] * 6 + [R - 7] * (R - 6)).all()
    with pytest.raises(ValueError, match="sizes must be of 2 clusters"):
        planted_sets(null, (2,), 1.0, 3, sizes=(6, 6))
    with pytest.raises(ValueError, match="sizes must be"):
        planted_sets(null, (2, 2), 1.0, 3, sizes=(6, R - 6))


def test_p_values_are_the_same_however_draws_are_taken_together(monkeypatch: pytest.MonkeyPatch) -> None:
    sets = planted_sets(fit(data()), (3,), 1.0, 6, seed=3)
    together = pvalues(sets, 60, pooled=True)
    monkeypatch.setattr(power, "PIECE", 1)
    apart = pvalues(sets, 60, pooled=True)
    for verdict in VERDICTS:
        np.testing.assert_array_equal(together[verdict], apart[verdict])


def test_pooled_and_own_draws_tell_the_same() -> None:
    null = fit(data())
    sets = planted_sets(null, (2,), 3.0, 3)
    both = [pvalues(sets, 99, pooled=pooled) for pooled in (False, True)]
    for found in both:
        assert (found["structure"] <= 0.02).all()
        assert (found["hierarchy"] <= 0.02).all()
    alone = pvalues(Draws(sets.overlaps[:1], sets.norms[:1]), 99)
    assert all(alone[verdict][0] == both[0][verdict][0] for verdict in VERDICTS)


def networks() -> Ensemble:
    torch.manual_seed(0)
    return Ensemble.from_modules([mlp([6, 5, 3]) for _ in range(12)])


def test_gaussian_networks_keep_the_norm_of_every_parameter() -> None:
    nets = networks()
    found = gaussian_networks(nets, seed=1)
    for name, value in nets.params.items():
        torch.testing.assert_close(found.params[name].flatten(1).norm(dim=1), value.flatten(1).norm(dim=1))
        assert not torch.equal(found.params[name], value)
    again = gaussian_networks(nets[:3], seed=1)
    assert all(torch.equal(again.params[name], found.params[name][:3]) for name in again.params)


@pytest.mark.parametrize("aligned", [False, True])
def test_gaussian_networks_raise_few_alarms(aligned: bool) -> None:
    found = network_false_alarms(networks(), aligned=aligned, sets=10, null_draws=99)
    assert found.pvalues.shape == (10, 4)
    # At a rate of 0.05, 5 of 10 happen once in 15,000.
    assert (found.alarms < 0.5).all()
    assert (found.overlap > 0.1).all() == aligned


def test_what_is_no_calibration_is_refused() -> None:
    with pytest.raises(ValueError, match="strengths"):
        calibrate(data(), strengths=())
    with pytest.raises(ValueError, match="null_draws"):
        calibrate(data(), null_draws=10)
