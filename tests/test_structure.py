"""Verdicts on states whose structure is known: none, clusters, norms in groups, and a long axis."""

from __future__ import annotations

import numpy as np
import pytest

from spinscape.glasses.overlap_models import planted, replica_symmetric
from spinscape.landscape.modality import mixtures
from spinscape.landscape.null_overlaps import Draws, draw, split
from spinscape.landscape.pairs import Pairs
from spinscape.landscape.structure import PLAIN, RESIDUAL, Structure, pvalue, statistics, structure

R = 36
OPTIONS = {"draws": 99, "mixture_draws": 5}


def clusters(strength: float, norms: np.ndarray | None = None) -> Pairs:
    q = planted(1, replicas=R, strength=strength, dimension=2000, branching=(3,), seed=1).overlaps[0]
    return Pairs.from_overlaps(q, norms)


def verdicts(found: Structure) -> tuple[bool, bool, bool]:
    return found.multimodal, found.structured, found.clustered


def test_states_that_are_all_alike_have_no_structure() -> None:
    q = replica_symmetric(R, dimension=2000, overlap=0.2, effect=0.01, seed=2)[0]
    found = structure(Pairs.from_overlaps(q), **OPTIONS)
    assert verdicts(found) == (False, False, False)
    assert found.names == PLAIN + RESIDUAL
    assert found.symmetric.shape == found.rotated.shape == (len(found.names), 99)
    assert np.isfinite(found.row("split")[2]).all()
    assert (found.components == 1).all()


def test_clusters_are_found_and_make_modes_when_they_are_strong() -> None:
    assert verdicts(structure(clusters(2.0), **OPTIONS)) == (False, True, True)
    assert verdicts(structure(clusters(8.0), of="overlaps", **OPTIONS)) == (True, True, True)


def test_norms_in_groups_are_modes_but_no_clusters() -> None:
    norms = np.repeat([8.0, 10.0, 12.0], R // 3)
    data = clusters(0.0, norms)
    assert verdicts(structure(data, norms="smooth", **OPTIONS)) == (True, False, False)
    assert verdicts(structure(data, norms="same", **OPTIONS)) == (False, False, False)


def test_a_common_direction_of_three_epochs_is_no_cluster() -> None:
    x = np.random.default_rng(3).standard_normal((R, 2000))
    x[:, 0] += 15 * (1 + np.arange(R) % 3)
    assert verdicts(structure(Pairs.from_vectors(x), **OPTIONS)) == (False, False, False)


@pytest.mark.parametrize("shape", ["Gaussian", "uniform", "heavy"])
def test_a_long_axis_is_structure_but_no_cluster(shape: str) -> None:
    rng = np.random.default_rng(4)
    along = {
        "Gaussian": rng.standard_normal(R),
        "uniform": 3.4 * (rng.random(R) - 0.5),
        "heavy": rng.standard_t(5, R),
    }[shape]
    x = rng.standard_normal((R, 2000))
    x[:, 0] += 15 * along
    found = structure(Pairs.from_vectors(x), **OPTIONS)
    assert found.structured
    assert not found.clustered


def test_a_factor_in_the_null_explains_a_long_axis() -> None:
    x = np.random.default_rng(5).standard_normal((R, 2000))
    x[:, 0] += 15 * np.random.default_rng(6).standard_normal(R)
    assert structure(Pairs.from_vectors(x), **OPTIONS).structured
    assert not structure(Pairs.from_vectors(x), factors=1, **OPTIONS).structured


def test_statistics_know_neither_the_order_of_states_nor_the_unit() -> None:
    data = clusters(2.0, 5 + np.random.default_rng(0).random(R))
    order = np.random.default_rng(7).permutation(R)
    q = data.overlaps[np.ix_(order, order)]
    one, ladders = statistics(Draws(data.overlaps[None], data.norms[None]))
    other, other_ladders = statistics(Draws(q[None], 3 * data.norms[None, order]))
    for name, value in one.items():
        np.testing.assert_allclose(value, other[name], rtol=1e-6, err_msg=name)
    np.testing.assert_allclose(ladders, other_ladders, rtol=1e-6, atol=1e-6)


def test_statistics_of_a_set_are_the_same_beside_others() -> None:
    q = replica_symmetric(R, dimension=500, draws=3, seed=8)
    many, _ = statistics(Draws(q, np.ones((3, R))))
    last, _ = statistics(Draws(q[2:], np.ones((1, R))))
    for name in last:
        np.testing.assert_allclose(many[name][2], last[name][0], rtol=1e-9, err_msg=name)


def test_pvalues_count_the_draws_that_reach_a_value() -> None:
    np.testing.assert_allclose(pvalue(np.array([0.0, 2.0, 9.0]), np.array([1.0, 2.0, 3.0, np.nan])),
                               [1.0, 0.75, 0.25])  # fmt: skip


def test_what_is_no_question_is_refused() -> None:
    data = clusters(0.0)
    with pytest.raises(ValueError, match="of must be"):
        structure(data, of="angles")
    with pytest.raises(ValueError, match="at least 99"):
        structure(data, draws=20)
    with pytest.raises(ValueError, match="at least 12 states"):
        structure(Pairs.from_overlaps(np.eye(9)))


def test_no_value_has_no_p_value() -> None:
    found = pvalue(np.array([np.nan, 2.0]), np.array([1.0, 3.0, np.nan]))
    assert np.isnan(found[0])
    assert found[1] == 2 / 3


def test_gain_of_the_data_is_that_of_the_same_fit_as_of_the_draws() -> None:
    data = clusters(6.0)
    found = structure(data, **OPTIONS)
    alone = mixtures(data.upper_distances[None], bins=200, steps=100)[0]
    assert found.row("gain")[0] == pytest.approx(alone.gain)
    drawn = draw(found.null, 5).distances[:, *np.triu_indices(R, 1)]
    wanted = [one.gain for one in mixtures(drawn, bins=200, steps=100)]
    assert found.row("gain")[1][:5] == pytest.approx(wanted)


def test_two_clusters_of_unequal_size_are_no_product_of_effects() -> None:
    sizes = [9, 27]
    q = planted(replicas=R, strength=8.0, dimension=2000, branching=(2,), sizes=sizes, seed=3).overlaps
    assert split(q).product[0] == 0
    common = np.random.default_rng(3).standard_normal((R, 2000))
    common[:, 0] += 15 * (1 + np.arange(R) % 3)
    one = split(Pairs.from_vectors(common).overlaps[None])
    assert one.product[0] * one.mean[0] == pytest.approx(1, abs=0.2)
    assert verdicts(structure(Pairs.from_overlaps(q[0]), **OPTIONS))[1:] == (True, True)
