"""The survey against `structure` and `verdict_p`, on states whose clusters are known."""

from __future__ import annotations

import numpy as np
import pytest

from spinscape.companion import memo
from spinscape.landscape.pairs import Pairs
from spinscape.landscape.power import VERDICTS, clopper_pearson, verdict_p
from spinscape.landscape.structure import structure
from spinscape.landscape.survey import components, share, survey


def cloud(states: int, clusters: int, shared: float, seed: int, dimension: int = 400) -> np.ndarray:
    """Cosines of Gaussian vectors around Gaussian centres, drawn without the library."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((clusters, dimension))[np.arange(states) % clusters]
    x = np.sqrt(1 - shared) * rng.standard_normal((states, dimension)) + np.sqrt(shared) * centres
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    q = x @ x.T
    np.fill_diagonal(q, 1)
    return (q + q.T) / 2


@pytest.mark.parametrize(("of", "norms"), [("distances", "smooth"), ("overlaps", "same")])
def test_the_short_p_values_are_those_of_structure(of: str, norms: str) -> None:
    rng = np.random.default_rng(5)
    pairs = Pairs.from_overlaps(cloud(14, 3, 0.1, 2), 10 + rng.random(14))
    whole = structure(pairs, draws=99, mixture_draws=0, of=of, norms=norms, seed=4)
    short = verdict_p(pairs, *VERDICTS, draws=99, of=of, norms=norms, seed=4)
    assert short == {name: getattr(whole, f"{name}_p") for name in VERDICTS}
    assert list(verdict_p(pairs, "hierarchy", "modality", draws=99)) == ["hierarchy", "modality"]


def test_the_survey_has_the_p_values_of_structure_and_counts_levels() -> None:
    sets = np.stack([cloud(15, 1, 0.0, 1), cloud(15, 3, 0.5, 2)])
    found = survey(sets, draws=99, seed=7)
    for i, q in enumerate(sets):
        one = structure(Pairs.from_overlaps(q), of="overlaps", draws=99, mixture_draws=0, seed=7 + i)
        assert (found.modality_p[i], found.hierarchy_p[i], found.structure_p[i]) == (
            one.modality_p, one.hierarchy_p, one.structure_p
        )  # fmt: skip
    assert found.levels.tolist() == [0, 1]
    assert found.modes.tolist() == [1, 2]
    assert 0.7 < found.triples[0] < 1.3
    assert found.triples[1] < 0.8
    assert float(found.seen) == 0.5
    assert float(found.right(1)) == 0.5


def test_levels_need_an_alarm_and_modes() -> None:
    rng = np.random.default_rng(3)
    coarse, fine = np.arange(27) // 9, np.arange(27) // 3
    x = rng.standard_normal((27, 2000)) * np.sqrt(0.2)
    x += (rng.standard_normal((3, 2000))[coarse] + rng.standard_normal((9, 2000))[fine]) * np.sqrt(0.4)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    q = x @ x.T
    np.fill_diagonal(q, 1)
    assert survey(q[None]).levels.tolist() == [2]


def test_components_are_those_of_the_distances_and_of_a_null_without_groups() -> None:
    q = cloud(24, 1, 0.0, 1)
    one = components(Pairs.from_overlaps(q, 10 + 0.01 * np.arange(24)), draws=5)
    assert one.best == 1
    assert one.null.tolist() == [1] * 5
    groups = Pairs.from_overlaps(q, 10.0 + 5 * (np.arange(24) % 2))
    assert components(groups, draws=5, norms="smooth").best >= 3  # two groups of norms, three distances
    assert components(groups, draws=5, norms="same").null.min() >= 3
    assert components(groups, draws=5, norms="smooth").null.max() <= 2


def test_a_share_has_the_exact_interval() -> None:
    found = share([True, False, True, True])
    assert float(found) == 0.75
    assert found.interval == pytest.approx(tuple(clopper_pearson(3, 4)))
    assert int(found.n) == 4
    with pytest.raises(ValueError, match="at least one trial"):
        share([])


def test_what_is_no_stack_of_overlaps_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(I, R, R\)"):
        survey(np.eye(14))
    with pytest.raises(ValueError, match="a verdict must be"):
        verdict_p(Pairs.from_overlaps(cloud(14, 1, 0.0, 1)), "cluster")
    with pytest.raises(ValueError, match="at least 12"):
        verdict_p(Pairs.from_overlaps(cloud(11, 1, 0.0, 1)), "modality")
    with pytest.raises(ValueError, match="at least 99"):
        verdict_p(Pairs.from_overlaps(cloud(14, 1, 0.0, 1)), "modality", draws=98)


@pytest.mark.parametrize(("states", "draws"), [(9, 99), (14, 3)])
def test_too_few_states_or_draws_are_refused(states: int, draws: int) -> None:
    with pytest.raises(ValueError, match="at least"):
        survey(cloud(states, 1, 0.0, 1)[None], draws=draws)


def test_states_that_are_no_numbers_are_refused() -> None:
    sets = np.stack([cloud(14, 1, 0.0, 1)] * 2)
    sets[1, 3, 4] = np.nan
    with pytest.raises(ValueError, match="finite"):
        survey(sets)
    with pytest.raises(ValueError, match="square matrix"):
        survey(np.ones((1, 14, 13)))


def test_a_survey_comes_back_from_disk(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(memo.ENVIRONMENT, str(tmp_path))
    sets = cloud(12, 1, 0.0, 1)[None]
    first = memo.remember(survey, sets)
    monkeypatch.setattr("spinscape.landscape.survey.fit", None)  # the second is not computed
    second = memo.remember(survey, sets)
    assert type(second) is type(first)
    for name, value in vars(first).items():
        assert np.array_equal(value, getattr(second, name)), name
        assert value.dtype == getattr(second, name).dtype, name
