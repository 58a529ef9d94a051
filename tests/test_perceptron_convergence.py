"""Convergence of chains, and what is measured on solutions."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from spinscape.glasses.perceptron import (
    Solutions,
    chain_overlaps,
    converged,
    effective_sample_size,
    geodesic_energies,
    interior_starts,
    patterns,
    sample_solutions,
    split_r_hat,
    stability_histogram,
)


def autoregressive(rho: float, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Return chains of variance 1 whose autocorrelation at lag t is rho^t."""
    x = np.random.default_rng(seed).standard_normal(shape)
    for k in range(1, shape[-1]):
        x[..., k] = rho * x[..., k - 1] + np.sqrt(1 - rho**2) * x[..., k]
    return x


@pytest.mark.parametrize("rho", [0.9, 0.5, 0.0, -0.4])
def test_effective_sample_size_of_autoregressive_chains(rho: float) -> None:
    x = autoregressive(rho, (20, 4, 2000), seed=1)
    wanted = 4 * 2000 * (1 - rho) / (1 + rho)
    # The mean of 20 sets has a relative error of 2 to 3 per cent at most.
    assert effective_sample_size(x).mean() == pytest.approx(wanted, rel=0.12)


def test_effective_sample_size_has_a_bound_and_knows_no_scale() -> None:
    x = autoregressive(-0.95, (2, 500), seed=2)
    assert effective_sample_size(x) == pytest.approx(1000 * np.log10(1000))
    y = autoregressive(0.6, (3, 4, 101), seed=3)
    np.testing.assert_allclose(effective_sample_size(np.exp(y)), effective_sample_size(y), rtol=1e-10)
    np.testing.assert_allclose(effective_sample_size(y)[1], effective_sample_size(y[1]), rtol=1e-10)


def test_r_hat_of_chains_that_agree_and_of_chains_that_do_not() -> None:
    x = autoregressive(0.5, (30, 4, 1000), seed=4)
    assert (split_r_hat(x) < 1.02).all()
    moved, wide, drifting = x.copy(), x.copy(), x.copy()
    moved[:, 0] += 1
    wide[:, 0] *= 3
    drifting += np.linspace(-1, 1, 1000)
    for worse in (moved, wide, drifting):
        assert (split_r_hat(worse) > 1.05).all()
    np.testing.assert_allclose(split_r_hat(moved)[3], split_r_hat(moved[3]), rtol=1e-12)


def test_r_hat_of_normal_scores_by_hand() -> None:
    # Scores of ranks 1 .. 8 are symmetric; halves (1 2), (3 4), (5 6), (7 8) of two chains.
    from scipy.special import ndtri

    z = ndtri((np.arange(1, 9) - 0.375) / 8.25).reshape(4, 2)
    within = z.var(1, ddof=1).mean()
    between = 2 * z.mean(1).var(ddof=1)
    assert split_r_hat(np.arange(8.0).reshape(2, 4)) >= np.sqrt(0.5 + between / within / 2) - 1e-12


def test_chains_that_stand_still() -> None:
    still = np.zeros((2, 8))
    assert np.isnan(split_r_hat(still))
    assert np.isnan(effective_sample_size(still))
    still[1] = 1
    assert split_r_hat(still) == np.inf


def test_bad_draws() -> None:
    with pytest.raises(ValueError, match="at least 4"):
        split_r_hat(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="finite"):
        effective_sample_size(np.full((2, 8), np.nan))


def test_two_kinds_of_starts_agree_after_mixing_only() -> None:
    given = patterns(2, 24, 1.0, seed=1)
    runs = {}
    for kind in ("core", "random"):
        start = interior_starts(given, -0.5, chains=4, kind=kind)
        options = {"chains": 4, "keep": 60, "start": start, "moves": "pairs", "seed": len(kind)}
        runs[kind] = [
            sample_solutions(given, -0.5, steps=steps, burn=burn, **options)
            for steps, burn in ((60, 0), (3000, 300))
        ]
    early, late = (converged(given, *pair) for pair in zip(runs["core"], runs["random"], strict=True))
    assert early.r_hat.max() > 1.1
    assert late.r_hat.max() < 1.1
    assert late.r_hat.shape == late.effective.shape == (2, 4)
    assert late.means.shape == late.r_hat_runs.shape == (2, 2, 4)
    # Chains that have not moved far are worth few draws of what changes slowly.
    assert (late.effective[:, [0, 1, 3]] > 3 * early.effective[:, [0, 1, 3]]).all()


def some_states(chains: int = 4, keep: int = 5, seed: int = 0) -> Solutions:
    given = patterns(2, 12, 1.5, seed=1)
    return sample_solutions(given, -0.6, chains=chains, steps=200, keep=keep, seed=seed)


def test_runs_that_cannot_be_compared() -> None:
    given, run = patterns(2, 12, 1.5, seed=1), some_states()
    with pytest.raises(ValueError, match="a run at least"):
        converged(given)
    with pytest.raises(ValueError, match="as many kept"):
        converged(given, run, some_states(keep=6))
    with pytest.raises(ValueError, match="two chains"):
        converged(given, some_states(chains=1))


def test_overlaps_are_means_over_pairs_of_chains() -> None:
    w = some_states().points
    wanted = np.mean(
        [[w[i, c] @ w[i, d].T / 12 for c, d in combinations(range(4), 2)] for i in range(2)], axis=(1, 2, 3)
    )
    np.testing.assert_allclose(chain_overlaps(w), wanted, atol=1e-12)
    across = np.mean([w[:, c] @ w[:, d].swapaxes(1, 2) / 12 for c in (0, 1) for d in (2, 3)], axis=(0, 2, 3))
    np.testing.assert_allclose(chain_overlaps(w[:, :2], w[:, 2:]), across, atol=1e-12)
    with pytest.raises(ValueError, match="two chains"):
        chain_overlaps(w[:, :1])
    with pytest.raises(ValueError, match="states must be"):
        chain_overlaps(w[0])


def test_histogram_counts_all_stabilities() -> None:
    given, w = patterns(2, 12, 1.5, seed=1), some_states().points
    edges = np.linspace(-0.6, 2, 14)
    found, h = stability_histogram(given, w, edges), given.stabilities(w).reshape(2, -1)
    for i in range(2):
        counts = np.histogram(h[i], edges)[0]
        np.testing.assert_allclose(found.density[i] * np.diff(edges), counts / h.shape[1], atol=1e-12)
        np.testing.assert_allclose(found.cumulative[i], (h[i][:, None] < edges).mean(0), atol=1e-12)
    with pytest.raises(ValueError, match="increasing"):
        stability_histogram(given, w, [1.0, 0.0])


@pytest.mark.parametrize("y", [2, 3])
def test_energies_are_those_of_points_on_geodesics(y: int) -> None:
    given, w = patterns(2, 12, 1.5, seed=1), some_states().points
    gamma = np.random.default_rng(0).dirichlet(np.ones(y), 6)
    gamma[0] = np.eye(y)[0]

    def energy(corners: np.ndarray) -> np.ndarray:
        mixed = np.einsum("gr,rikn->gikn", gamma, corners)
        mixed *= np.sqrt(12) / np.linalg.norm(mixed, axis=-1, keepdims=True)
        h = np.einsum("gikn,ipn->igkp", mixed, given.xi) / np.sqrt(12)
        return (h < -0.6).mean((2, 3))

    chosen = list(combinations(range(4), y))
    wanted = np.mean([energy(w[:, list(group)].swapaxes(0, 1)) for group in chosen], axis=0)
    found = geodesic_energies(given, w, gamma, -0.6)
    np.testing.assert_allclose(found, wanted, atol=1e-12)
    assert (found[:, 0] == 0).all()
    assert (found[:, 1:] > 0).any()
    groups = tuple(w[:, r : r + 1] for r in range(y))
    np.testing.assert_allclose(
        geodesic_energies(given, groups, gamma, -0.6), energy(w[:, :y].swapaxes(0, 1)), atol=1e-12
    )
    first = energy(w[:, list(chosen[0])].swapaxes(0, 1))
    np.testing.assert_allclose(geodesic_energies(given, w, gamma, -0.6, most=1), first, atol=1e-12)


@pytest.mark.parametrize(
    ("gamma", "words"),
    [
        ([0.5, 0.5], "gamma must be"),
        ([[0.25] * 4], "gamma must be"),
        ([[1.5, -0.5]], "not be negative"),
        ([[0.5, 0.6]], "sum 1"),
    ],
)
def test_bad_gamma(gamma: list[object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        geodesic_energies(patterns(2, 12, 1.5, seed=1), some_states().points, gamma, -0.6)


def test_too_few_corners() -> None:
    given, w = patterns(2, 12, 1.5, seed=1), some_states().points
    with pytest.raises(ValueError, match="3 chains"):
        geodesic_energies(given, w[:, :2], [[0.2, 0.3, 0.5]], -0.6)
    with pytest.raises(ValueError, match="2 groups"):
        geodesic_energies(given, (w, w, w), [[0.5, 0.5]], -0.6)
