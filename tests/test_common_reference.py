"""Lines between all pairs of networks, aligned to one reference and pair by pair."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spinscape.landscape.pair_moments import moments, pair_mean
from spinscape.landscape.paths import common, linear, repair, reset_statistics, to_one_reference
from spinscape.landscape.symmetry import align, match, permute, random_permutations
from spinscape.networks.ensemble import Ensemble, evaluate, outputs
from spinscape.networks.models import mlp
from symmetric import randomised

KINDS = ("raw", "common", "pairs", "raw+repair", "common+repair", "pairs+repair")


def data(count: int = 50) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(3)
    x = torch.randn(count, 6, generator=g, dtype=torch.float64)
    return x, torch.randint(0, 3, (count,), generator=g)


def placed(ensemble: Ensemble, kind: str, i: int, j: int) -> tuple[Ensemble, Ensemble]:
    """Both ends of one line, in a few plain lines."""
    if kind.startswith("common"):
        ensemble = align(ensemble, 1).ensemble
    a, b = ensemble[i], ensemble[j]
    if kind.startswith("pairs"):
        b = permute(b, match(a, b).permutations)
    return a, b


def test_each_line_is_what_a_loop_would_give() -> None:
    ensemble, (x, y) = randomised(mlp([6, 8, 5, 3]), 4), data()
    t = [0, 0.2, 0.5, 1]
    found = to_one_reference(ensemble, x, y, reference=1, t=t, kinds=KINDS, samples=x[:30])
    assert found.loss.shape == found.error.shape == (6, 6, 4)
    assert found.kinds == KINDS
    assert found.reference == 1
    for p, (i, j) in enumerate(zip(found.first, found.second, strict=True)):
        for k, kind in enumerate(KINDS):
            a, b = placed(ensemble, kind, i, j)
            points = linear(a, b, t).points()
            if kind.endswith("repair"):
                points = repair(points, [a, b], x[:30], t=t)
            wanted = evaluate(points, x, y)
            np.testing.assert_allclose(found.loss[k, p], wanted.loss, rtol=1e-9)
            np.testing.assert_allclose(found.error[k, p], 1 - wanted.accuracy)
    assert list(zip(found.first, found.second, strict=True)) == [
        (0, 1),
        (0, 2),
        (0, 3),
        (1, 2),
        (1, 3),
        (2, 3),
    ]
    assert found.without_reference().tolist() == [False, True, True, False, False, True]


def test_copies_have_no_barrier_once_aligned() -> None:
    one, (x, _) = randomised(mlp([6, 8, 5, 3]), 1), data()
    y = outputs(one, x)[0].argmax(1)
    ensemble = permute(one, random_permutations(one, replicas=5, seed=5))
    for reference in (0, one, "barycentre"):
        found = to_one_reference(ensemble, x, y, reference=reference, t=5)
        for measure in ("loss", "error"):
            barriers = found.barriers(measure)
            assert barriers[1:] == pytest.approx(0, abs=1e-10)
        assert found.barriers()[0].min() > 0.01
        assert found.reference == (0 if reference == 0 else -1)
        assert found.without_reference().all() == (reference != 0)


def test_repair_leaves_the_ends() -> None:
    ensemble, (x, y) = randomised(mlp([6, 8, 5, 3]), 3).to(torch.float32), data()
    found = to_one_reference(ensemble, x, y, t=3, kinds=("raw", "raw+repair"))
    np.testing.assert_allclose(found.loss[0, :, [0, -1]], found.loss[1, :, [0, -1]], rtol=1e-6)
    assert np.abs(found.loss[0, :, 1] - found.loss[1, :, 1]).min() > 1e-3


def test_batch_norms_on_lines_are_measured_anew() -> None:
    ensemble, (x, y) = randomised(mlp([6, 8, 3], batch_norm=True), 2), data()
    found = to_one_reference(ensemble, x, y, t=3, kinds=("raw", "raw+repair"))
    points = linear(ensemble[0], ensemble[1], 3).points()
    for k, one in enumerate((points, reset_statistics(points, x))):
        np.testing.assert_allclose(found.loss[k, 0], evaluate(one, x, y).loss, rtol=1e-9)


def test_chunks_of_pairs_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    ensemble, (x, y) = randomised(mlp([6, 8, 5, 3]), 4), data()
    options = {"t": 5, "kinds": KINDS, "restarts": 1, "seed": 3}
    whole = to_one_reference(ensemble, x, y, **options)
    monkeypatch.setitem(common.POINT_BYTES, "cpu", 1)
    parts = to_one_reference(ensemble, x, y, **options)
    assert np.array_equal(whole.loss, parts.loss)


def test_barriers_by_each_definition() -> None:
    ensemble, (x, y) = randomised(mlp([6, 8, 3]), 3), data()
    found = to_one_reference(ensemble, x, y, t=5)
    line = np.linspace(0, 1, 5)
    for name, values in (("loss", found.loss), ("error", found.error)):
        ends = values[..., 0], values[..., -1]
        mean = (ends[0] + ends[1]) / 2
        np.testing.assert_allclose(found.barriers(name, "over_mean"), values.max(-1) - mean)
        np.testing.assert_allclose(found.barriers(name, "midpoint"), values[..., 2] - mean)
        rest = values - ends[0][..., None] * (1 - line) - ends[1][..., None] * line
        np.testing.assert_allclose(found.barriers(name, "over_line"), rest.max(-1))
        assert (found.barriers(name, "over_line") >= 0).all()
    even = to_one_reference(ensemble, x, y, t=4)
    assert np.isnan(even.barriers("loss", "midpoint")).all()
    for choice in (("loss", "highest"), ("accuracy", "midpoint")):
        with pytest.raises(ValueError, match="no barrier"):
            found.barriers(*choice)


def test_estimates_treat_networks_as_independent() -> None:
    ensemble, (x, y) = randomised(mlp([6, 8, 3]), 6), data()
    found = to_one_reference(ensemble, x, y, reference=2, t=5)
    barriers = found.barriers(definition="midpoint")
    estimate = found.estimate(barriers)
    kept = found.without_reference()
    np.testing.assert_allclose(estimate.value, barriers[:, kept].mean(1))
    assert estimate.n.tolist() == [5, 5, 5]
    table = np.zeros((6, 6))
    table[found.first, found.second] = table[found.second, found.first] = barriers[1]
    rest = np.delete(np.delete(table, 2, 0), 2, 1)
    wanted = moments(rest).mean_estimate()
    assert estimate.low[1] == pytest.approx(float(wanted.low))
    assert estimate.high[1] == pytest.approx(float(wanted.high))
    assert float(found.estimate(barriers[1] - barriers[2])) == pytest.approx(
        (barriers[1] - barriers[2])[kept].mean()
    )
    with pytest.raises(ValueError, match="15 pairs"):
        found.estimate(barriers[:, 1:])


def test_the_reference_is_left_out_only_where_networks_are_aligned_to_it() -> None:
    ensemble, (x, y) = randomised(mlp([6, 8, 3]), 5), data()
    plain = to_one_reference(ensemble, x, y, t=5, kinds=("raw", "pairs"))
    found = to_one_reference(ensemble, x, y, reference=2, t=5, kinds=KINDS[:5])
    barriers, table = found.barriers("error"), found.by_kind("error")
    assert list(table) == list(KINDS[:5])
    for kind in ("raw", "pairs"):
        wanted = plain.estimate(plain.barriers("error")[plain.kinds.index(kind)])
        whole = found.estimate(barriers[KINDS.index(kind)], leave_out=False)
        for one in (whole, table[kind]):
            assert float(one) == pytest.approx(float(wanted))
            assert one.high == pytest.approx(float(wanted.high))
            assert one.n == 5
    for kind in ("common", "common+repair"):
        wanted = found.estimate(barriers[KINDS.index(kind)])
        assert (float(table[kind]), float(table[kind].high)) == (float(wanted), float(wanted.high))
        assert table[kind].n == 4
    assert float(table["raw"]) != float(found.estimate(barriers[0]))
    wanted = found.estimate(barriers[0], leave_out=False, level=0.5).high
    assert found.by_kind("error", level=0.5)["raw"].high == wanted


def test_intervals_of_barriers_are_not_below_zero() -> None:
    first, second = np.triu_indices(4, 1)
    values = np.zeros((1, 6, 3))
    values[0, 0, 1] = 1.0
    found = common.Comparison(("raw",), first, second, np.linspace(0, 1, 3), values, -values, -1)
    assert found.estimate(found.barriers()).low[0] < 0
    assert found.by_kind()["raw"].low == 0
    assert found.by_kind(definition="over_mean")["raw"].low == 0
    assert found.by_kind("error", "midpoint")["raw"].low < 0


def test_intervals_over_networks_cover() -> None:
    # Effects of networks and of pairs; a share of 600 at 0.95 leaves 0.92 to 0.98 with chance 0.001.
    rng, inside, narrow = np.random.default_rng(0), 0, 0
    for _ in range(600):
        effects, noise = rng.normal(size=8), np.triu(rng.normal(size=(8, 8)), 1)
        table = 3 + effects[:, None] + effects + 0.5 * (noise + noise.T)
        found = pair_mean(table)
        inside += found.low <= 3 <= found.high
        values = table[np.triu_indices(8, 1)]
        narrow += abs(values.mean() - 3) <= 2 * values.std(ddof=1) / 28**0.5
    assert 0.92 <= inside / 600 <= 0.98
    assert narrow / 600 < 0.75


def test_pair_means_of_tables_of_any_shape() -> None:
    x = np.random.default_rng(1).normal(size=(7, 3))
    found = pair_mean(x[:, None] + x)
    np.testing.assert_allclose(found.value, 2 * x.mean(0))
    np.testing.assert_allclose(
        (found.high - found.low) / 2, 2 * 2.4469 * x.std(0, ddof=1) / 7**0.5, rtol=1e-4
    )
    flat = pair_mean(np.ones((4, 4)))
    assert (float(flat), flat.interval) == (1.0, (1.0, 1.0))
    broken = np.ones((4, 4))
    broken[0, 1] = broken[1, 0] = np.nan
    for bad in (np.ones((2, 2)), np.ones((3, 4)), np.triu(np.ones((4, 4))), broken):
        with pytest.raises(ValueError, match="tables must be"):
            pair_mean(bad)
    with pytest.raises(ValueError, match="level"):
        pair_mean(np.ones((4, 4)), level=1.0)


def test_bad_arguments() -> None:
    ensemble, (x, y) = randomised(mlp([6, 8, 3]), 3), data()
    for options, told in (
        ({"kinds": ("raw", "both")}, "kinds"),
        ({"kinds": ()}, "kinds"),
        ({"t": 1}, "at least 2 points"),
        ({"t": [0, 0.7, 0.5, 1]}, "t must be"),
        ({"t": [0.1, 1]}, "t must run"),
        ({"reference": "mean"}, "reference"),
        ({"method": "best"}, "method"),
    ):
        with pytest.raises(ValueError, match=told):
            to_one_reference(ensemble, x, y, **options)
    with pytest.raises(ValueError, match="two networks"):
        to_one_reference(ensemble[0], x, y)
    with pytest.raises(IndexError, match="network 3"):
        to_one_reference(ensemble, x, y, reference=3)
    with pytest.raises(TypeError, match="no option"):
        to_one_reference(ensemble, x, y, sort=True)
