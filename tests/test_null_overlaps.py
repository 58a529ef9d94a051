"""Null models of overlaps: parameters found again, and what draws keep of the data."""

from __future__ import annotations

import numpy as np
import pytest

from spinscape.glasses.overlap_models import replica_symmetric
from spinscape.landscape import null_overlaps
from spinscape.landscape.null_overlaps import draw, fit, split, two_way, wishart
from spinscape.landscape.pairs import Pairs

R = 40


def pairs(seed: int = 0, **options: float) -> Pairs:
    q = replica_symmetric(R, **({"dimension": 2000, "seed": seed} | options))[0]
    return Pairs.from_overlaps(q, 5 + np.random.default_rng(seed).random(R))


def test_fit_finds_what_overlaps_were_drawn_with() -> None:
    options = {"overlap": 0.3, "sigma": 0.01, "effect": 0.02}
    nulls = [fit(pairs(seed, **options)) for seed in range(20)]
    for name, value in options.items():
        found = np.array([getattr(null, name) for null in nulls])
        assert abs(found.mean() - value) < 4 * found.std(ddof=1) / np.sqrt(20) + 1e-4, name
    assert np.mean([null.dimension for null in nulls]) == pytest.approx((0.7 / 0.01) ** 2, rel=0.03)


def test_fit_finds_continuous_directions() -> None:
    found = fit(pairs(factors=(0.05,), sigma=0.01), factors=2)
    assert found.factors[0] == pytest.approx(0.05, rel=0.5)
    assert found.factors[1] < 0.01
    assert found.sigma == pytest.approx(0.01, rel=0.2)


def test_split_undoes_a_sum_and_a_product_of_effects() -> None:
    a = np.linspace(-0.1, 0.1, R)
    mean, effects, rest = two_way((0.3 + a[:, None] + a)[None])
    np.testing.assert_allclose(mean, 0.3)
    np.testing.assert_allclose(effects[0], a, atol=1e-12)
    np.testing.assert_allclose(rest, 0, atol=1e-12)
    c = 0.5 + a
    parts = split(np.outer(c, c)[None])
    np.testing.assert_allclose(parts.residual, 0, atol=1e-4)
    np.testing.assert_allclose(parts.scale**2 / (1 - c**2), (parts.scale**2 / (1 - c**2)).mean(), rtol=0.02)


@pytest.mark.parametrize("kind", ["symmetric", "rotated"])
def test_draws_keep_norms_mean_effects_and_size_of_fluctuations(kind: str) -> None:
    data = pairs(effect=0.02, overlap=0.2)
    null = fit(data)
    some = draw(null, 3, kind=kind)
    parts = split(some.overlaps)
    np.testing.assert_array_equal(some.norms, np.tile(data.norms, (3, 1)))
    np.testing.assert_allclose(parts.effects, np.tile(null.effects, (3, 1)), atol=3e-3)
    sizes = (parts.residual**2).sum((1, 2)) / (null.residual**2).sum()
    np.testing.assert_allclose(sizes, 1, rtol=0.02)
    for q, one in zip(some.overlaps, some.pairs(), strict=True):
        np.testing.assert_allclose(one.distances, Pairs.from_overlaps(q, data.norms).distances)


@pytest.mark.parametrize("kind", ["symmetric", "rotated"])
@pytest.mark.parametrize("norms", ["same", "smooth"])
def test_a_draw_is_the_same_whatever_their_number(kind: str, norms: str) -> None:
    null = fit(pairs())
    many = draw(null, 4, kind=kind, norms=norms, seed=3)
    last = draw(null, 1, kind=kind, norms=norms, seed=3, start=3)
    np.testing.assert_array_equal(many.overlaps[3], last.overlaps[0])
    np.testing.assert_array_equal(many.norms[3], last.norms[0])
    assert not np.array_equal(many.overlaps[0], many.overlaps[1])
    assert not np.array_equal(many.overlaps[0], draw(null, 1, kind=kind, norms=norms, seed=4).overlaps[0])


def test_smooth_norms_forget_the_groups_of_the_data() -> None:
    groups = np.repeat([8.0, 10.0], R // 2)
    null = fit(Pairs.from_overlaps(pairs().overlaps, groups))
    norms = draw(null, 50, norms="smooth").norms
    assert norms.mean() == pytest.approx(9, abs=0.1)
    assert norms.std() == pytest.approx(groups.std(), rel=0.1)
    assert (np.abs(norms - 9) < 0.5).mean() > 0.2


def test_rotations_keep_the_spectrum() -> None:
    for factors, tolerance in (((), 0.05), ((0.1,), 0.15)):
        null = fit(pairs(factors=factors))
        own = np.linalg.eigvalsh(null.residual)[::-1]
        drawn = np.linalg.eigvalsh(split(draw(null, 40, kind="rotated").overlaps).residual)[:, ::-1].mean(0)
        np.testing.assert_allclose(drawn[:3], own[:3], rtol=tolerance)


def test_wishart_is_what_vectors_have() -> None:
    rng = np.random.default_rng(0)
    for dimension in (6, 12.5, 300):
        found = np.stack([wishart(10, dimension, rng) for _ in range(400)])
        i, j, k = 0, 4, 9
        entries = found[:, i, j]
        assert abs(entries.mean()) < 4 / np.sqrt(400)
        assert entries.std() == pytest.approx(1, abs=0.15)
        upper = found[:, *np.triu_indices(10, 1)]
        assert upper.std() == pytest.approx(1, abs=0.03)
        triangle = (found[:, i, j] * found[:, j, k] * found[:, k, i]).mean()
        assert triangle == pytest.approx(dimension**-0.5, abs=0.25)


def test_what_cannot_be_fitted_or_drawn_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    null = fit(pairs())
    with pytest.raises(ValueError, match="at least 8 states"):
        fit(Pairs.from_overlaps(np.eye(7)))
    with pytest.raises(ValueError, match="do not vary"):
        fit(Pairs.from_overlaps(0.3 + 0.7 * np.eye(R)))
    with pytest.raises(ValueError, match="factors"):
        fit(pairs(), factors=11)
    with pytest.raises(ValueError, match="kinds"):
        draw(null, 1, kind="shuffled")
    with pytest.raises(ValueError, match="norms"):
        draw(null, 1, norms="own")
    with pytest.raises(ValueError, match="at least 1"):
        draw(null, 0)
    with pytest.raises(ValueError, match="seed"):
        draw(null, 1, seed=-1)
    monkeypatch.setattr(null_overlaps, "available_bytes", lambda _: 48 * R**2 * 5)
    with pytest.raises(MemoryError, match="at most 5"):
        draw(null, 6)
