"""Random-energy models against their exact averages at finite size and their limits."""

from __future__ import annotations

import math

import numpy as np
import pytest

from spinscape.glasses.random_energy import MOST_BITS, grem, reference, rem, states, transitions

CRITICAL = 1 / math.sqrt(2 * math.log(2))


def test_transitions() -> None:
    assert transitions((16,)) == pytest.approx([CRITICAL])
    first, second = transitions((8, 8))
    assert first**2 / second**2 == pytest.approx(7 / 3)
    assert transitions((4, 12), (0.5, 0.5)) == pytest.approx(
        np.sqrt([0.5 / (0.25 * 2 * math.log(2)), 0.5 / (0.75 * 2 * math.log(2))])
    )
    # Where the second level would freeze first, both freeze together as one model does.
    assert transitions((8, 8), (0.3, 0.7)) == pytest.approx([CRITICAL, CRITICAL])
    assert transitions((4, 4, 8), (0.6, 0.1, 0.3))[1:] == pytest.approx(
        np.full(2, math.sqrt(0.4 / (0.75 * 2 * math.log(2))))
    )


@pytest.mark.parametrize("temperature", [0.2, 1.0, 3.0])
def test_reference_of_two_states_is_one_integral(temperature: float) -> None:
    z = np.linspace(-12, 12, 20_001)
    density = np.exp(-(z**2) / 2)
    weight = 1 / (1 + np.exp(math.sqrt(2) / temperature * z))
    expected = (density * (weight**2 + (1 - weight) ** 2)).sum() / density.sum()
    found = reference((1,), temperature)
    assert found.participation == pytest.approx([expected], abs=1e-9)
    assert found.energy == pytest.approx([-(1 - expected) / temperature], abs=1e-8)


def test_reference_of_two_levels_with_one_node_each_side() -> None:
    # Shares (s, 1 - s) and four states: by brute force over Gaussian energies, sampled.
    rng = np.random.default_rng(1)
    beta, draws = 1 / 0.6, 400_000
    top = rng.standard_normal((draws, 2, 1)) * math.sqrt(2 * 0.7)
    low = rng.standard_normal((draws, 2, 2)) * math.sqrt(2 * 0.3)
    weights = np.exp(-beta * (top + low))
    weights /= weights.sum((1, 2), keepdims=True)
    both = (weights.sum(2) ** 2).sum(1), (weights**2).sum((1, 2))
    found = reference((1, 1), 0.6).participation
    for one, sampled in zip(found, both, strict=True):
        assert one == pytest.approx(sampled.mean(), abs=4 * sampled.std() / math.sqrt(draws))


def test_reference_tends_to_the_frozen_phase() -> None:
    limit = 1 - 0.5 / CRITICAL
    off = [reference((bits,), 0.5).participation[0] - limit for bits in (16, 64, 400)]
    # Corrections fall about as 1 / bits: 0.065, 0.021, 0.0044.
    assert off[0] > 2 * off[1] > 4 * off[2] > 0
    assert off[2] < 0.006
    both = reference((200, 200), 0.4).participation
    assert both == pytest.approx(1 - 0.4 / transitions((200, 200)), abs=0.01)
    hot = reference((200,), 1.2)
    assert hot.participation[0] < 1e-6
    assert hot.energy == pytest.approx([-1 / 1.2], abs=1e-5)


@pytest.mark.parametrize(
    ("bits", "temperature"), [((12,), 0.5), ((12,), 1.5), ((6, 6), 0.4), ((3, 4, 5), 0.5)]
)
def test_samples_follow_the_exact_averages(bits: tuple[int, ...], temperature: float) -> None:
    instances = 500
    found = grem(bits, temperature, replicas=40, instances=instances, seed=2)
    exact = reference(bits, temperature)
    error = math.sqrt(instances)
    y = found.participation
    assert found.labels.shape == (instances, 40, len(bits))
    assert (np.abs(y.mean(0) - exact.participation) < 4 * y.std(0) / error).all()
    assert (np.abs(found.energy.mean(0) - exact.energy) < 4 * found.energy.std(0) / error).all()
    gap = found.identity_gap
    assert (np.abs(gap.mean(0)) < 4 * gap.std(0) / error).all()
    # Two sampled states share a node as often as the weights say.
    same = np.cumprod(found.labels[:, :, None] == found.labels[:, None], axis=3)
    shared = (same.sum((1, 2)) - 40) / (40 * 39)
    difference = shared - y
    assert (np.abs(difference.mean(0)) < 4 * difference.std(0) / error + 1e-12).all()


def test_an_instance_depends_on_its_number_only() -> None:
    few, many = (rem(8, 0.4, replicas=10, instances=i, seed=3) for i in (2, 4))
    assert np.array_equal(few.labels, many.labels[:2])
    assert np.array_equal(few.energy, many.energy[:2])
    assert not np.array_equal(many.energy[0], many.energy[1])


def test_states_of_three_kinds() -> None:
    drawn = {kind: states(kind, replicas=40, dimension=3000, instances=30, seed=4)
             for kind in ("symmetric", "one", "two")}  # fmt: skip
    upper = np.triu_indices(40, 1)
    share = {}
    for kind, one in drawn.items():
        assert one.overlaps.shape == (30, 40, 40)
        q = one.overlaps[:, *upper]
        share[kind] = [((low < q) & (q < high)).mean() for low, high in ((-0.2, 0.2), (0.2, 0.6), (0.6, 1.0))]
        assert sum(share[kind]) == pytest.approx(1)
    assert share["symmetric"][0] > 0.99
    assert share["one"][1] < 1e-3
    assert share["one"][2] == pytest.approx(
        reference((16,), drawn["one"].temperature).participation[0], abs=0.15
    )
    assert share["two"][1] > 0.1
    assert drawn["symmetric"].temperature > drawn["symmetric"].transitions[0]
    assert drawn["two"].temperature < drawn["two"].transitions[1]
    exact = states("one", replicas=10, overlaps=(0.0, 1.0))
    assert set(np.unique(exact.overlaps)) <= {0.0, 1.0}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: grem((), 0.5), "bits"),
        (lambda: grem((0,), 0.5), "bits"),
        (lambda: grem((MOST_BITS, 1), 0.5), "at most 24"),
        (lambda: grem((8, 8), 0.5, shares=(0.5,)), "shares"),
        (lambda: grem((8, 8), 0.5, shares=(0.7, 0.7)), "shares"),
        (lambda: rem(8, 0.0), "temperature"),
        (lambda: rem(8, math.nan), "temperature"),
        (lambda: rem(8, 0.5, replicas=1), "replicas"),
        (lambda: rem(8, 0.5, instances=0), "instances"),
        (lambda: reference((401,), 0.5), "400"),
        (lambda: reference((8,), 1e-6), "too far"),
        (lambda: reference((8,), 1e9), "too far"),
        (lambda: states("three"), "kind"),
        (lambda: states("one", overlaps=(0.0, 0.5, 0.8)), "overlap_levels"),
    ],
)
def test_bad_arguments(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
