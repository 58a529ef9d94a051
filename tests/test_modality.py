"""Modality of a sample against scipy, scikit-learn, diptest and planted modes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.mixture import GaussianMixture

from spinscape.landscape.modality import PRINTED_BINS, gaussian_fit, histogram, mixtures


def three_modes() -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.concatenate([rng.normal(0, 1, 500), rng.normal(5, 1, 500), rng.normal(9, 0.5, 300)])


def test_gaussian_fit_is_that_of_scipy() -> None:
    x = np.random.default_rng(1).gamma(4, size=300)
    found = gaussian_fit(x)
    assert found.mu == pytest.approx(x.mean())
    assert found.sigma == pytest.approx(x.std(ddof=1))
    assert found.skewness == pytest.approx(stats.skew(x))
    assert found.kurtosis == pytest.approx(stats.kurtosis(x))
    assert found.distance == pytest.approx(stats.kstest(x, stats.norm(x.mean(), x.std(ddof=1)).cdf).statistic)
    assert found.count == 300


def test_histogram_has_the_bins_asked_for_and_integral_one() -> None:
    x = three_modes()
    for bins in (None, 10, PRINTED_BINS):
        found = histogram(x, bins)
        assert found.counts.sum() == len(x)
        assert (found.density * np.diff(found.edges)).sum() == pytest.approx(1)
        assert bins is None or len(found.centres) == bins


def test_mixture_agrees_with_scikit_learn() -> None:
    x = three_modes()
    found = mixtures(x[None], 4)[0]
    other = [GaussianMixture(k, n_init=3, random_state=0).fit(x[:, None]).bic(x[:, None]) for k in (1, 2, 3)]
    np.testing.assert_allclose(found.bic[:3], other, atol=6)
    assert found.best == found.modes == 3
    np.testing.assert_allclose(found.means, [0, 5, 9], atol=0.2)
    np.testing.assert_allclose(found.weights, [5 / 13, 5 / 13, 3 / 13], atol=0.05)
    np.testing.assert_allclose(found.sds, [1, 1, 0.5], atol=0.1)
    assert found.gain == pytest.approx((found.bic[0] - found.bic[2]) / len(x))
    grid = np.linspace(-10, 20, 4001)
    assert np.trapezoid(found.density(grid), grid) == pytest.approx(1, abs=1e-3)


def test_components_that_overlap_make_no_mode() -> None:
    rng = np.random.default_rng(3)
    found = mixtures(np.concatenate([rng.normal(0, 1, 3000), rng.normal(0, 4, 3000)])[None], 3)[0]
    assert found.best >= 2
    assert found.modes == 1


def test_one_gaussian_is_one_component_whatever_its_unit() -> None:
    rows = np.random.default_rng(4).normal(size=(3, 1000))
    one, other = mixtures(rows, 3), mixtures(7 + 1e-3 * rows, 3)
    assert [m.best for m in one] == [1, 1, 1] == [m.best for m in other]
    np.testing.assert_allclose(np.diff(one[0].bic), np.diff(other[0].bic), atol=0.1)


def test_what_is_no_sample_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 3 finite"):
        gaussian_fit([1, 2])
    with pytest.raises(ValueError, match="do not vary"):
        gaussian_fit([2.0, 2.0, 2.0])
    with pytest.raises(ValueError, match="finite"):
        mixtures([[1, 2, 3, np.nan]])
    with pytest.raises(ValueError, match="do not vary"):
        mixtures(np.ones((1, 20)))
    with pytest.raises(ValueError, match="most"):
        mixtures(np.arange(20.0)[None], 0)
    with pytest.raises(ValueError, match="bins"):
        histogram([1.0, 2.0], 0)
