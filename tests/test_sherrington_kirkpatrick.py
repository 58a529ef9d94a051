"""The Sherrington-Kirkpatrick model: exact sums, two kernels, equilibrium, kept states."""

from __future__ import annotations

from dataclasses import fields, replace
from itertools import product

import numpy as np
import pytest
import torch

from spinscape.companion.memo import remember
from spinscape.glasses import _sk_checks
from spinscape.glasses.sherrington_kirkpatrick import (
    Tempering,
    energies,
    equilibrium,
    ground_states,
    identity_gap,
    independence,
    ladder,
    oriented,
    overlaps,
    sample_couplings,
    temper,
    thermal,
)
from spinscape.landscape.pairs import Pairs

COLD = (0.3, 0.6, 1.0, 2.0)


@pytest.fixture(scope="module")
def sampled() -> Tempering:
    """Sixty instances of 24 spins, with states kept at both ends."""
    t = ladder(0.3, 2, 8)
    return temper(sample_couplings(24, 60, seed=11), t, sweeps=400, burn=200, keep=(t[0], t[-1]), samples=20)


def by_hand(j: np.ndarray, t: float) -> tuple[float, float, float, np.ndarray]:
    """Lowest energy, mean energy, mean q^2 and P(q) of one instance from all pairs of configurations."""
    n = len(j)
    s = np.array(list(product((-1, 1), repeat=n)), float)
    u = -np.einsum("ki,ij,kj->k", s, np.triu(j), s) / n
    p = np.exp(-n * (u - u.min()) / t)
    p /= p.sum()
    q = s @ s.T / n
    places = ((q + 1) * n / 2).round().astype(int)
    law = np.bincount(places.ravel(), np.outer(p, p).ravel(), n + 1)
    return u.min(), p @ u, p @ q**2 @ p, law


def test_couplings_have_their_law_and_do_not_depend_on_how_many() -> None:
    j = sample_couplings(40, 300, seed=2)
    upper = j[:, *np.triu_indices(40, 1)]
    assert (j == j.swapaxes(1, 2)).all()
    assert not j.diagonal(axis1=1, axis2=2).any()
    # 234,000 draws: five standard errors.
    assert abs(40 * upper.var() - 1) < 5 * np.sqrt(2 / upper.size)
    assert abs(upper.mean()) < 5 / np.sqrt(40 * upper.size)
    np.testing.assert_array_equal(sample_couplings(40, 3, seed=2), j[:3])
    assert len({float(one[0, 1]) for one in (*j[:3], sample_couplings(40, 1, seed=3)[0])}) == 4


@pytest.mark.parametrize("n", [2, 3, 7])
def test_sums_over_configurations_are_those_by_hand(n: int) -> None:
    j = sample_couplings(n, 3, seed=n)
    lowest, exact = ground_states(j), thermal(j, COLD)
    np.testing.assert_allclose(energies(j, lowest.spins), lowest.energy, rtol=1e-12)
    for i, one in enumerate(j):
        for k, t in enumerate(COLD):
            ground, u, q2, law = by_hand(one, t)
            np.testing.assert_allclose(
                (lowest.energy[i], exact.energy[i, k], exact.q2[i, k]), (ground, u, q2), rtol=1e-10
            )
            np.testing.assert_allclose(exact.distribution[i, k], law, atol=1e-12)
    step = 1e-4
    slope = (thermal(j, [1 + step]).energy - thermal(j, [1 - step]).energy) / (2 * step)
    np.testing.assert_allclose(thermal(j, [1.0]).heat, slope, rtol=1e-5)


@pytest.mark.parametrize(("n", "instances", "printed"), [(8, 2000, (-0.5746, 0.0018)),
                                                         (12, 800, (-0.6177, 0.0026)),
                                                         (16, 150, (-0.646, 0.006))])  # fmt: skip
def test_ground_states_average_to_the_printed_values(n: int, instances: int, printed: tuple) -> None:
    found = ground_states(sample_couplings(n, instances, seed=4)).energy
    error = np.hypot(found.std(ddof=1) / np.sqrt(instances), printed[1])
    assert abs(found.mean() - printed[0]) < 3.5 * error


@pytest.mark.parametrize("n", [2, 5, 8])
def test_the_identity_holds_at_every_size_without_a_correction(n: int) -> None:
    j = sample_couplings(n, 1500, seed=5)
    strength = (j**2).sum((1, 2)) / (n - 1)
    exact = thermal(j, COLD)
    gap = identity_gap(exact, strength=strength)
    assert (np.abs(gap.mean) < 4 * gap.error).all()
    assert (np.abs(gap.sharp_mean) < 4 * gap.sharp_error).all()
    assert gap.sharp_error[-1] < 0.6 * gap.error[-1]
    # With a factor (n - 1) / n, as one might guess, or without the couplings' own terms, it does not hold.
    wrong = exact.energy + (n - 1) / n * (1 - exact.q2) / (2 * exact.temperatures)
    assert (np.abs(wrong.mean(0)) > 6 * gap.error).any()


@pytest.mark.parametrize("n", [8, 12, 16])
def test_tempering_gives_the_exact_averages(n: int) -> None:
    j = sample_couplings(n, 20, seed=n)
    t = ladder(0.2, 2, 6)
    found, exact = temper(j, t, sweeps=2000, burn=200, seed=1), thermal(j, t)
    for name in ("energy", "q2"):
        off = getattr(found, name) - getattr(exact, name)
        error = getattr(found, f"{name}_error")
        # Means over instances within four standard errors, and errors of the right size.
        assert (np.abs(off.mean(0)) < 4 * np.sqrt((error**2).mean(0) / len(j))).all()
        assert 0.8 < np.sqrt(((off / error) ** 2).mean()) < 1.35
    assert np.abs((found.distribution - exact.distribution).mean(0)).max() < 0.012
    np.testing.assert_allclose(found.heat, exact.heat, atol=0.12)
    np.testing.assert_allclose(found.distribution.sum(-1), 1)


def test_both_kernels_walk_the_same_way() -> None:
    j = sample_couplings(37, 3, seed=6)
    options = {"replicas": 3, "sweeps": 50, "burn": 10, "keep": (0.4, 1.5), "samples": 9, "seed": 2}
    t = [0.4, 0.7, 1.0, 1.5]
    one, other = (temper(j, t, method=method, **options) for method in ("numba", "torch"))
    for field in fields(Tempering):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if np.asarray(a).dtype.kind == "f":
            np.testing.assert_allclose(a, b, atol=2e-5, err_msg=field.name)
        else:
            np.testing.assert_array_equal(a, b, err_msg=field.name)
    auto = temper(j, t, **options)
    np.testing.assert_array_equal(auto.energy, one.energy)


@pytest.mark.parametrize("method", ["numba", "torch"])
def test_an_instance_does_not_depend_on_the_others(method: str) -> None:
    j = sample_couplings(20, 4, seed=7)
    options = {"sweeps": 40, "keep": [0.5], "samples": 4, "method": method}
    many, few = temper(j, (0.5, 1.0), **options), temper(j[:2], (0.5, 1.0), **options)
    np.testing.assert_array_equal(many.spins[:2], few.spins)
    if method == "numba":
        np.testing.assert_array_equal(many.energy_bins[:2], few.energy_bins)
    assert (many.spins[0] != temper(j, (0.5, 1.0), seed=1, **options).spins[0]).any()


def test_equilibrium_is_reached_and_its_lack_is_seen(sampled: Tempering) -> None:
    found = equilibrium(sampled)
    for pvalues in (found.identity_p, found.energy_p, found.q2_p):
        assert pvalues.min() > 0.001
    # The start is far from equilibrium, the last stage is not.
    z = found.gap_stages / found.gap_stages_error
    assert (z[:4, 0] > 10).all()
    assert (np.abs(z[:, -1]) < 4).all()
    assert (found.round_trips > 5).all()
    j = sample_couplings(24, 60, seed=11)
    quenched = temper(j, [0.05], sweeps=100, burn=0)
    assert equilibrium(quenched).identity_p[0] < 1e-6
    assert quenched.round_trips.sum() == 0


def test_round_trips_follow_walkers() -> None:
    """With two temperatures a walker comes back each second time that its temperature changes."""
    found = temper(sample_couplings(4, 2, seed=8), (1.0, 1.01), sweeps=400, burn=0, keep=(1.0,), samples=800)
    for i, r in product(range(2), range(2)):
        at_low = found.walker[i, 0, found.replica == r]
        # Walker 0 has been at the lowest temperature before the first exchange unless it left at once.
        arrivals = (np.diff(at_low) != 0).sum()
        assert abs(found.round_trips[i, r] - arrivals) <= 2
    assert found.acceptance[0] > 0.95


def test_overlaps_are_symmetric_above_the_transition_and_wide_below(sampled: Tempering) -> None:
    law = sampled.distribution.mean(0)
    np.testing.assert_allclose(law, law[:, ::-1], atol=0.012)
    spread = np.sqrt((law * sampled.support**2).sum(-1))
    np.testing.assert_allclose(spread**2, sampled.q2.mean(0), rtol=1e-9)
    assert spread[0] > 0.6 > 0.3 > spread[-1]
    edges, heights = sampled.density(11)
    np.testing.assert_allclose(heights.sum(-1) * np.diff(edges)[0], 1, rtol=1e-12)
    flat = replace(sampled, distribution=np.diff(np.clip((2 * np.arange(26) - 1) / 48, 0, 1))[None, None])
    np.testing.assert_allclose(flat.density(7)[1], 0.5)


def test_kept_states_are_equilibrium_states_of_their_temperature(sampled: Tempering) -> None:
    assert sampled.spins.shape == (60, 2, 20, 24)
    j = sample_couplings(24, 60, seed=11)
    kept = energies(j, sampled.spins).mean(2)
    off = kept - sampled.energy[:, [0, -1]]
    assert (np.abs(off.mean(0)) < 4 * off.std(0, ddof=1) / np.sqrt(60)).all()
    found = independence(sampled)
    assert found.spacing == 40
    assert found.difference_p.min() > 0.001
    assert (found.memory < 0.1).all()
    assert (found.effective > 16).all()
    assert found.walkers.mean() > 8
    # States of neighbouring sweeps are not independent, and it is seen.
    close = temper(sample_couplings(24, 20, seed=11), [0.3], sweeps=10, burn=50, keep=[0.3], samples=20)
    assert independence(close).difference_p[0] < 0.01
    assert independence(close).memory[0] > 0.3
    assert independence(close).effective[0] < 11


def test_states_become_pairs_and_point_one_way(sampled: Tempering) -> None:
    states = sampled.spins[0, 0]
    q = overlaps(states)
    np.testing.assert_allclose(Pairs.from_vectors(states).overlaps, q, atol=1e-12)
    turned = oriented(sampled.spins)
    np.testing.assert_array_equal(np.abs(overlaps(turned)), np.abs(overlaps(sampled.spins)))
    assert overlaps(turned)[:, 0].mean() > overlaps(sampled.spins)[:, 0].mean() + 0.2
    np.testing.assert_array_equal(np.abs(overlaps(oriented(-turned))), np.abs(overlaps(turned)))


def test_results_can_be_remembered(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setenv("SPINSCAPE_MEMO", str(tmp_path))
    j = sample_couplings(6, 2)
    first = remember(temper, j, [0.5, 1.0], sweeps=4)
    second = remember(temper, j, [0.5, 1.0], sweeps=4)
    for field in fields(Tempering):
        np.testing.assert_array_equal(getattr(first, field.name), getattr(second, field.name))
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"temperatures": []}, "list of numbers"),
        ({"temperatures": [1.0, 0.5]}, "increasing"),
        ({"temperatures": [0.0, 0.5]}, "positive"),
        ({"temperatures": [0.5, np.nan]}, "finite"),
        ({"replicas": 1}, "replicas must be"),
        ({"sweeps": 0}, "sweeps must be"),
        ({"burn": -1}, "burn must be"),
        ({"seed": -1}, "seed must be"),
        ({"keep": [0.7]}, "0.7 is not among"),
        ({"keep": [0.5], "samples": 0}, "samples must be"),
        ({"keep": [0.5], "samples": 90}, "at least 45 sweeps"),
        ({"method": "c"}, "method must be"),
        ({"method": "numba", "device": "meta"}, "on the CPU"),
        ({"couplings": np.zeros((1, 1, 1))}, "n at least 2"),
        ({"couplings": np.zeros((4, 4))}, r"shape \(I, n, n\)"),
        ({"couplings": np.ones((1, 3, 3))}, "zeros on the diagonal"),
        ({"couplings": np.triu(np.ones((1, 3, 3)), 1)}, "symmetric"),
        ({"couplings": np.full((1, 3, 3), np.inf)}, "finite"),
        ({"couplings": np.zeros((1, 3, 3), complex)}, "real"),
    ],
)
def test_bad_arguments_of_tempering_are_refused(change: dict, message: str) -> None:
    good = {"couplings": sample_couplings(4, 1), "temperatures": [0.5, 1.0], "sweeps": 10}
    with pytest.raises(ValueError, match=message):
        temper(**(good | change))


def test_other_bad_arguments_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for call, message in (
        (lambda: sample_couplings(1, 2), "n must be"),
        (lambda: sample_couplings(4, 0), "instances must be"),
        (lambda: ladder(1, 0.5, 3), "increasing"),
        (lambda: ladder(0.5, 1, 1), "count must be"),
        (lambda: thermal(np.zeros((1, 21, 21)), [1.0]), "2 to 20"),
        (lambda: ground_states(np.zeros((1, 25, 25))), "2 to 24"),
        (lambda: energies(sample_couplings(4, 1), np.zeros((1, 4))), r"\+1 or -1"),
        (lambda: energies(sample_couplings(4, 1), np.ones((2, 4))), r"shape \(1, ..., 4\)"),
        (lambda: overlaps(np.ones(3)), "axes"),
        (lambda: independence(temper(sample_couplings(4, 1), [1.0], sweeps=2)), "no states were kept"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    monkeypatch.setattr(_sk_checks, "available_bytes", lambda device: 1e6)
    with pytest.raises(ValueError, match=r"take 0.0298 GiB, more than there is: 3 such instances fit"):
        sample_couplings(200, 100)
    with pytest.raises(ValueError, match="not even one such instance fits"):
        sample_couplings(2000, 1)
    monkeypatch.setattr(_sk_checks, "available_bytes", lambda device: 1e4)
    with pytest.raises(ValueError, match="chains of 3 instances of 12 spins take"):
        temper(sample_couplings(12, 1).repeat(3, 0), [0.5, 1.0])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_gpu_walks_the_same_way() -> None:
    j = sample_couplings(33, 4, seed=9)
    here, there = (temper(j, [0.5, 1.0], sweeps=40, method="torch", device=d) for d in ("cpu", "cuda"))
    np.testing.assert_array_equal(here.distribution, there.distribution)
    np.testing.assert_allclose(here.energy, there.energy, atol=2e-5)
