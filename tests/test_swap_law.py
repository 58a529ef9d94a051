"""The law of swapped units against sums over all pairs, over all matchings, and against lines."""

from __future__ import annotations

from itertools import combinations, permutations

import numpy as np
import pytest
import torch
from torch.nn.functional import one_hot

from spinscape.landscape._displaced import one_hidden
from spinscape.landscape.swap_law import covariance_factors, pair_moments, shrunk_loss
from spinscape.landscape.swap_lines import swap_lines
from spinscape.landscape.symmetry import permute
from spinscape.networks.ensemble import Ensemble, evaluate, outputs
from spinscape.networks.models import mlp


def networks(width: int, activation: str = "relu", replicas: int = 1) -> Ensemble:
    torch.manual_seed(5)
    made = [mlp([5, width, 3], activation=activation) for _ in range(replicas)]
    ensemble = Ensemble.from_modules(made).to(torch.float64)
    for p in ensemble.params.values():
        p.mul_(2)
    return ensemble


def samples(count: int = 20) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(1)
    x = torch.randn(count, 5, generator=g, dtype=torch.float64)
    return x, torch.randint(0, 3, (count,), generator=g)


def matchings(units: list[int], pairs: int) -> list[list[tuple[int, int]]]:
    """All sets of disjoint pairs."""
    if not pairs:
        return [[]]
    edges = combinations(units, 2)
    return [list(c) for c in combinations(edges, pairs) if len({u for e in c for u in e}) == 2 * pairs]


def halfway(ensemble: Ensemble, orders: list[list[int]]) -> Ensemble:
    """The middles of the lines to all permuted copies."""
    copies = permute(ensemble, {"layer1": orders})
    params = {n: (p + copies.params[n]) / 2 for n, p in ensemble.params.items()}
    return Ensemble(ensemble.model, params)


def swapped(width: int, pairs: list[tuple[int, int]]) -> list[int]:
    order = list(range(width))
    for i, j in pairs:
        order[i], order[j] = j, i
    return order


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize(("width", "pairs"), [(3, 1), (6, 1), (6, 2), (6, 3), (7, 2), (7, 3)])
def test_mean_and_covariance_are_those_over_all_matchings(activation: str, width: int, pairs: int) -> None:
    ensemble, (x, _) = networks(width, activation), samples()
    orders = [swapped(width, m) for m in matchings(list(range(width)), pairs)]
    seen = outputs(halfway(ensemble, orders), x)
    moments = pair_moments(one_hidden(ensemble.model, ensemble.params, 0), x)
    np.testing.assert_allclose(moments.outputs + pairs * moments.mean, seen.mean(0), rtol=1e-11, atol=1e-12)
    away = seen - seen.mean(0)
    units, rest = covariance_factors(width, 2 * pairs / width)
    np.testing.assert_allclose(
        units * moments.units + rest * moments.rest,
        torch.einsum("knc,knd->ncd", away, away) / len(orders),
        rtol=1e-9,
        atol=1e-12,
    )


def test_the_mean_is_that_over_all_permutations_too() -> None:
    width = 6
    ensemble, (x, _) = networks(width), samples()
    orders = np.array(list(permutations(range(width))))
    away = (orders != np.arange(width)).sum(1)
    moments = pair_moments(one_hidden(ensemble.model, ensemble.params, 0), x)
    for displaced in (2, 3, 6):
        seen = outputs(halfway(ensemble, orders[away == displaced].tolist()), x).mean(0)
        np.testing.assert_allclose(
            moments.outputs + displaced / 2 * moments.mean, seen, rtol=1e-11, atol=1e-12
        )


def test_a_quadratic_loss_is_exact_and_a_convex_one_bounded() -> None:
    # A quadratic loss depends on mean and covariance alone; 4000 draws, each mirrored, for each of 20 samples
    # leave a standard error of about 0.4%.
    width, pairs = 7, 3
    ensemble, (x, y) = networks(width), samples()
    targets = one_hot(y, 3).double()
    middles = halfway(ensemble, [swapped(width, m) for m in matchings(list(range(width)), pairs)])
    law = shrunk_loss(ensemble, x, targets, [2 * pairs / width], loss="mse", draws=4000)
    exact = evaluate(middles, x, targets, loss="mse").loss
    assert isinstance(exact, np.ndarray)
    assert law.fluctuating[0, 0] == pytest.approx(exact.mean(), rel=0.02)
    assert law.mean[0, 0] < 0.9 * exact.mean()
    entropy = evaluate(middles, x, y).loss
    assert isinstance(entropy, np.ndarray)
    assert shrunk_loss(ensemble, x, y, [2 * pairs / width]).mean[0, 0] < entropy.mean()


def test_no_swaps_cost_nothing_and_equal_units_cannot_be_told_apart() -> None:
    ensemble, (x, y) = networks(8, replicas=2), samples()
    law = shrunk_loss(ensemble, x, y, [0.0, 0.5])
    start = evaluate(ensemble, x, y).loss
    np.testing.assert_allclose(law.start, start)
    np.testing.assert_allclose(law.mean[:, 0], start)
    np.testing.assert_allclose(law.fluctuating[:, 0], start)
    assert (law.spread[:, 0] == 0).all()
    assert (law.spread[:, 1] > 0).all()
    for name, axis in (("layer1.weight", 1), ("layer1.bias", 1), ("layer2.weight", 2)):
        p = ensemble.params[name]
        p.copy_(p.mean(axis, keepdim=True).expand_as(p))
    equal = shrunk_loss(ensemble, x, y, [1.0])
    np.testing.assert_allclose(equal.mean[:, 0], equal.start, rtol=1e-12)
    assert equal.fluctuating == pytest.approx(equal.mean, abs=1e-6)
    assert equal.shrinkage == pytest.approx(1)


@pytest.mark.parametrize("disjoint", [True, False])
def test_the_law_foretells_the_middle_of_lines(disjoint: bool) -> None:
    # 400 lines of a random network of 64 units; the Gaussian outputs and chains of units are approximations,
    # so the law may be off by 5% of the rise beside four standard errors of the mean over lines.
    ensemble, (x, y) = networks(64), samples(200)
    swaps = [4, 16, 32]
    lines = swap_lines(ensemble, x, y, swaps=swaps, trials=400, points=3, disjoint=disjoint)
    moved = lines.displaced[0].mean(1)
    law = shrunk_loss(ensemble, x, y, moved / 64, paired=lines.paired[0].mean(1) / moved)
    rise = lines.loss[0, :, :, 1] - law.start[0]
    error = rise.std(1, ddof=1) / 20
    assert (np.abs(law.fluctuating[0] - law.start[0] - rise.mean(1)) < 4 * error + 0.05 * rise.mean(1)).all()
    assert (law.mean[0] < law.fluctuating[0]).all()
    if not disjoint:
        pairs = shrunk_loss(ensemble, x, y, moved / 64)
        assert pairs.fluctuating[0, -1] > law.fluctuating[0, -1]


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    ensemble, (x, y) = networks(9), samples(150)
    whole = shrunk_loss(ensemble, x, y, [0.3, 1.0])
    monkeypatch.setattr("spinscape.landscape.swap_law.PAIR_BYTES", 1)
    monkeypatch.setattr("spinscape.landscape.swap_law.DRAW_BYTES", 1)
    monkeypatch.setattr("spinscape.landscape.swap_law.SAMPLES", 7)
    parts = shrunk_loss(ensemble, x, y, [0.3, 1.0])
    np.testing.assert_allclose(parts.mean, whole.mean, rtol=1e-12)
    np.testing.assert_allclose(parts.fluctuating, whole.fluctuating, rtol=1e-6)


def test_what_cannot_be_is_refused() -> None:
    ensemble, (x, y) = networks(8), samples()
    with pytest.raises(ValueError, match="shares"):
        shrunk_loss(ensemble, x, y, [1.5])
    with pytest.raises(ValueError, match="shares must be numbers"):
        shrunk_loss(ensemble, x, y, "half")
    with pytest.raises(ValueError, match="paired"):
        shrunk_loss(ensemble, x, y, [0.5], paired=2)
    with pytest.raises(ValueError, match="draws"):
        shrunk_loss(ensemble, x, y, [0.5], draws=0)
    with pytest.raises(ValueError, match="length"):
        shrunk_loss(ensemble, x, y[1:], [0.5])
    with pytest.raises(ValueError, match="at least 3"):
        shrunk_loss(networks(2), x, y, [0.5])


def test_samples_weights_and_sizes_are_checked_at_the_door() -> None:
    ensemble, (x, y) = networks(6), samples()
    with pytest.raises(ValueError, match=r"labels y must lie in 0\.\.2, not 1\.\.3"):
        shrunk_loss(ensemble, x, y + 1, [0.5])
    with pytest.raises(ValueError, match="x has 4 features, and the networks read 5"):
        shrunk_loss(ensemble, x[:, :4], y, [0.5])
    with pytest.raises(ValueError, match=r"one hidden layer.*deep_swap_lines"):
        shrunk_loss(Ensemble.from_modules([mlp([5, 4, 4, 3])]), x, y, [0.5])
    with pytest.raises(MemoryError, match="draws must be at most"):
        shrunk_loss(ensemble, x, y, [0.5], draws=10**9)
    by_numpy = shrunk_loss(ensemble, x.numpy(), y.numpy(), [0.5])
    np.testing.assert_array_equal(by_numpy.fluctuating, shrunk_loss(ensemble, x, y, [0.5]).fluctuating)
    ensemble.params["layer1.bias"][0, 0] = torch.inf
    with pytest.raises(ValueError, match=r"must be finite, not those of 'layer1\.bias' of network 0"):
        shrunk_loss(ensemble, x, y, [0.5])
