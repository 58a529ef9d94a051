"""Enumerated critical points against closed forms, exact mean counts and an independent search."""

import itertools

import numpy as np
import pytest
import torch

from spinscape import memory
from spinscape.companion import memo
from spinscape.glasses import _classes, _enumeration, _homotopy, critical_points
from spinscape.glasses._eigenpairs import Tensors, certify
from spinscape.glasses.complexity import mean_critical_points
from spinscape.glasses.critical_points import MOST_CLASSES, find, find_by_newton
from spinscape.glasses.pspin import PSpin

COUNTS = {(3, 2): 3, (3, 3): 7, (3, 4): 15, (3, 5): 31, (3, 6): 63, (4, 3): 13, (4, 4): 40, (5, 3): 21}


@pytest.fixture(scope="module")
def cases():
    """Forty instances of each order and size, enumerated once."""
    glasses = {
        case: PSpin.sample(*case, instances=200 if case in ((3, 4), (3, 2)) else 40, seed=7)
        for case in COUNTS
    }
    return {case: (glass, find(glass, seed=1)) for case, glass in glasses.items()}


def vectors(*rows):
    return torch.tensor(rows, dtype=torch.float64)


def matched(a, b, n):
    """Whether every point of a is exactly one of b and the other way round."""
    near = a @ b.T / n > 1 - 1e-9
    return len(a) == len(b) and (near.sum(0) == 1).all() and (near.sum(1) == 1).all()


@pytest.mark.parametrize("case", COUNTS)
def test_all_complex_classes_are_found_and_certified(cases, case):
    _, found = cases[case]
    assert found.expected == COUNTS[case]
    assert (found.complex_count == COUNTS[case]).all()
    assert found.complete.all()
    assert (found.kantorovich < 0.25).all()
    assert (found.separation > _classes.SAME).all()
    assert (found.counts <= 2 * COUNTS[case]).all()
    assert (found.missing == 0).all()
    assert f"all {COUNTS[case]} complex classes" in found.statement()


@pytest.mark.parametrize("case", COUNTS)
def test_points_are_critical_points_of_the_glass(cases, case):
    n = case[1]
    glass, found = cases[case]
    for i in range(0, len(glass), 10):
        one = found[i]
        points = torch.from_numpy(one.points)[None]
        assert torch.allclose(points.square().sum(-1), torch.tensor(n, dtype=torch.float64))
        assert glass[i].gradient(points).abs().max() < 1e-10 * n
        assert np.allclose(one.energy, glass[i].energy_per_spin(points)[0], atol=1e-12)
        spectra = torch.linalg.eigvalsh(glass[i].hessian(points))[0].numpy()
        assert np.allclose(one.smallest, spectra[:, 0], atol=1e-9)
        assert (one.index == (spectra < 0).sum(1)).all()
        assert (np.diff(one.energy) >= 0).all()


@pytest.mark.parametrize("case", COUNTS)
def test_signs_of_indices_add_up_to_the_euler_characteristic(cases, case):
    _, found = cases[case]
    assert (found.euler == 1 + (-1) ** (case[1] - 1)).all()
    one = found[3]
    assert found.euler[3] == ((-1.0) ** one.index).sum()


@pytest.mark.parametrize("case", COUNTS)
def test_antipodal_points(cases, case):
    p, n = case
    for one in cases[case][1]:
        partner = (one.points @ -one.points.T).argmax(1)
        assert np.allclose(one.points[partner], -one.points, atol=1e-12)
        if p % 2:
            assert np.allclose(one.energy[partner], -one.energy)
            assert (one.index[partner] == n - 1 - one.index).all()
        else:
            assert np.allclose(one.energy[partner], one.energy)
            assert (one.index[partner] == one.index).all()
            assert np.allclose(one.smallest[partner], one.smallest)


@pytest.mark.parametrize("n", [2, 3, 8, 20])
def test_two_spins_are_the_eigenvectors(n):
    glass = PSpin.sample(2, n, instances=5, seed=3)
    found = find(glass)
    assert found.complete.all()
    assert (found.counts == 2 * n).all()
    assert (found.counts_by_index == 2).all()
    for i, one in enumerate(found):
        values, axes = np.linalg.eigh(glass.couplings[i].numpy())
        assert np.allclose(one.energy, np.repeat(values, 2) / n**0.5)
        assert np.allclose(one.index, np.repeat(np.arange(n), 2))
        assert matched(one.points, n**0.5 * np.concatenate([axes.T, -axes.T]), n)
        gaps = 2 * (values[None] - values[:, None]) / n**0.5
        np.fill_diagonal(gaps, np.inf)
        assert np.allclose(one.smallest[::2], gaps.min(1))


def test_matrices_that_do_not_fit_are_refused(monkeypatch):
    glass = PSpin.sample(2, 300)
    assert find(glass).complete.all()
    monkeypatch.setattr(memory, "_machine", lambda: 8.0 * 16 * 200**2)
    with pytest.raises(ValueError, match="n up to 200 is allowed"):
        find(glass)


def test_paths_that_turn_sharply_at_their_ends_arrive():
    # Steps of no less than 1e-4 leave one of the 255 classes of this instance missing after all rounds.
    draws = np.random.default_rng(np.random.SeedSequence(7002, spawn_key=(101, 46)))
    glass = PSpin.symmetrised(torch.from_numpy(draws.standard_normal((1, 8, 8, 8))))
    tensors = critical_points._normalised(critical_points._scaled(glass))
    classes = _enumeration.enumerate_classes(tensors, 46, 7007, paths=4096)
    assert classes.valid.all()


@pytest.mark.parametrize(("n", "instances"), [(8, 12), (10, 2)])
def test_larger_instances_are_complete(n, instances):
    found = find(PSpin.sample(3, n, instances=instances, seed=3), seed=4)
    assert found.complete.all()
    assert (found.complex_count == 2**n - 1).all()
    assert (found.kantorovich < 0.25).all()
    assert (found.euler == 0).all()


@pytest.mark.parametrize("apart", [1e-2, 1e-3, 3e-5])
@pytest.mark.parametrize("real", [True, False])
def test_classes_that_nearly_meet_are_told_to_be_real_or_not(apart, real):
    # On the circle: tangents 2 and 0.5 + apart, 0.5 - apart, real or times i.
    roots = np.array([2, 0.5 + apart * (1 if real else 1j), 0.5 - apart * (1 if real else 1j)])
    cube, square, one, free = np.poly(roots).real
    c = torch.empty(2, 2, 2, dtype=torch.float64)
    c[0, 0, 0], c[1, 1, 1] = -2 * cube - one, square + 2 * free
    c[0, 0, 1] = c[0, 1, 0] = c[1, 0, 0] = free
    c[0, 1, 1] = c[1, 0, 1] = c[1, 1, 0] = -cube
    found = find(PSpin(c[None]))
    assert found.complete.all()
    assert found.counts[0] == (6 if real else 2)
    tangents = np.unique(np.round(found.points[:, 1] / found.points[:, 0], 6))
    assert np.allclose(tangents, np.unique(roots[roots.imag == 0].real), atol=1e-6)


def test_three_spins_on_the_circle_are_roots_of_a_cubic():
    glass = PSpin.sample(3, 2, instances=30, seed=5)
    for i, one in enumerate(find(glass)):
        c = glass.couplings[i].numpy()
        # (-sin, cos) . S s^2 = 0, divided by cos^3: a cubic in the tangent.
        cubic = [
            -c[0, 1, 1],
            c[1, 1, 1] - 2 * c[0, 0, 1],
            2 * c[0, 1, 1] - c[0, 0, 0],
            c[0, 0, 1],
        ]
        roots = np.roots(cubic)
        tangents = roots[abs(roots.imag) < 1e-9].real
        half = np.stack([np.ones_like(tangents), tangents], 1) / np.hypot(1, tangents)[:, None]
        assert matched(one.points, 2**0.5 * np.concatenate([half, -half]), 2)


def planted(n, weights, seed=0):
    """An orthogonally decomposable tensor of order 3, and all its real eigenvectors, one of each class."""
    axes, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(n, n)))
    tensor = np.einsum("a,ai,aj,ak->ijk", weights, axes, axes, axes)
    subsets = [s for r in range(1, n + 1) for s in itertools.combinations(range(n), r)]
    known = np.array([sum(axes[a] / weights[a] for a in subset) for subset in subsets])
    return PSpin(torch.from_numpy(tensor)[None]), known / np.linalg.norm(known, axis=1, keepdims=True)


@pytest.mark.parametrize("n", [2, 4, 6])
def test_planted_eigenvectors_are_recovered(n):
    weights = np.linspace(1, 2, n) * (-1.0) ** np.arange(n)
    glass, known = planted(n, weights)
    found = find(glass)
    assert found.complete.all()
    assert found.counts[0] == 2 * (2**n - 1)
    assert matched(found[0].points, n**0.5 * np.concatenate([known, -known]), n)


@pytest.mark.parametrize("factor", [1e-8, 1e6])
def test_the_scale_of_the_couplings_does_not_matter(cases, factor):
    glass, found = cases[3, 4]
    scaled = find(PSpin(factor * glass.couplings[:20]), seed=1)
    assert scaled.complete.all()
    first = found.instance < 20
    assert np.allclose(scaled.points, found.points[first], atol=1e-9)
    assert np.allclose(scaled.energy, factor * found.energy[first], rtol=1e-9, atol=1e-12 * factor)


@pytest.mark.parametrize("case", [(3, 2), (3, 4), (3, 6), (4, 4)])
def test_mean_counts_are_the_exact_ones(cases, case):
    # Three standard errors for fixed seeds: a false alarm once in 370 choices of the seed.
    counts = cases[case][1].counts
    error = counts.std(ddof=1) / len(counts) ** 0.5
    assert abs(counts.mean() - mean_critical_points(*case)) < 3 * error
    if case == (3, 2):
        assert np.isclose(mean_critical_points(*case), 2 * 7**0.5)


@pytest.mark.parametrize("case", [(3, 4), (3, 6), (4, 4)])
def test_mean_counts_by_index_are_the_exact_ones(cases, case):
    # Up to six indices at 3.5 standard errors: a false alarm in less than 0.3% of the seeds.
    counts = cases[case][1].counts_by_index
    error = counts.std(0, ddof=1) / len(counts) ** 0.5
    exact = [mean_critical_points(*case, index=k) for k in range(case[1])]
    assert (abs(counts.mean(0) - exact) < 3.5 * error).all()


@pytest.mark.parametrize(("case", "instances"), [((3, 4), 12), ((3, 6), 6), ((4, 4), 4), ((2, 5), 2)])
def test_newton_from_random_starts_finds_the_same(case, instances):
    glass = PSpin.sample(*case, instances=instances, seed=9)
    found, other = find(glass), find_by_newton(glass, seed=2)
    assert not other.complete.any()
    assert (other.complex_count == -1).all()
    assert (other.starts >= 4096).all()
    assert "not known" in other.statement()
    for a, b in zip(found, other, strict=True):
        assert matched(a.points, b.points, case[1])
        assert np.allclose(a.energy, b.energy)
        assert (np.sort(a.index) == np.sort(b.index)).all()


def test_an_instance_does_not_depend_on_the_others(cases, monkeypatch):
    glass, found = cases[3, 4]
    monkeypatch.setattr("spinscape.glasses.critical_points.PATHS", {"cpu": 40})
    monkeypatch.setattr("spinscape.glasses.critical_points.HELD", 100)
    some = find(glass[:10], seed=1)
    assert (some.complex_count == found.complex_count[:10]).all()
    assert np.allclose(some.points, found.points[found.instance < 10], atol=1e-10)
    assert (some.instance == found.instance[found.instance < 10]).all()


def test_jumped_and_failed_paths_are_followed_again(cases, monkeypatch):
    # A first round this careless loses many paths; the rounds after it find what is missing.
    glass, found = cases[3, 5]
    monkeypatch.setattr(_enumeration, "ROUNDS", ((8.0, 0), *_enumeration.ROUNDS))
    again = find(glass, seed=1)
    assert again.complete.all()
    assert (again.rounds > 1).any()
    assert (again.counts == found.counts).all()
    monkeypatch.setattr(_enumeration, "ROUNDS", ((8.0, 0),))
    careless = find(glass, seed=1)
    short = careless.complex_count < careless.expected
    assert short.any()
    assert (careless.complete == ~short).all()
    assert (careless.complex_count <= careless.expected).all()
    assert "not certified" in careless.statement()


def test_couplings_that_are_not_generic_are_not_certified():
    axis = vectors(1.0, 2.0, 3.0)
    rank_one = torch.einsum("i,j,k->ijk", axis, axis, axis)
    decoupled = torch.zeros(3, 3, 3, dtype=torch.float64)
    decoupled[0, 0, 0] = decoupled[1, 1, 1] = 1
    found = find(PSpin(torch.stack([torch.zeros_like(rank_one), rank_one, decoupled])))
    assert not found.complete.any()
    # Of rank one: the axis alone. Two decoupled cubes: each, and both together. The rest is not isolated.
    assert found.complex_count.tolist() == [0, 1, 3]
    assert found.counts.tolist() == [0, 2, 6]
    assert "0 (0 found), 1 (1 found), 2 (3 found)" in found.statement()
    even = find(PSpin(torch.zeros(1, 3, 3, 3, 3, dtype=torch.float64)))
    assert not even.complete.any()
    assert len(even[0].energy) == 0
    matrix = find(PSpin(torch.diag(vectors(1.0, 1.0, 2.0))[None]))
    assert matrix.complex_count.tolist() == [2]
    assert not matrix.complete.any()


def test_a_generic_instance_beside_others_is_not_disturbed():
    glass = PSpin.sample(3, 3, instances=3, seed=2)
    couplings = glass.couplings.clone()
    couplings[1] = 0
    found = find(PSpin(couplings))
    assert found.complete.tolist() == [True, False, True]
    alone = find(glass)
    assert np.allclose(found[2].points, alone[2].points, atol=1e-10)


def test_newton_search_of_nothing():
    other = find_by_newton(PSpin(torch.zeros(1, 3, 3, 3, dtype=torch.float64)), starts=64, most=256)
    assert len(other[0].energy) == 0


def test_certificate_covers_the_distance_to_the_solution():
    glass, known = planted(4, np.array([1.0, 1.2, 1.5, 2.0]))
    tensors = Tensors(glass.couplings).to(torch.complex128)
    x = torch.from_numpy(known).to(torch.complex128)
    draws = np.random.default_rng(0).normal(size=(2, *known.shape))
    for size in (1e-13, 1e-9, 1e-6):
        moved = x + size * torch.from_numpy(draws[0] + 1j * draws[1])
        moved = moved / moved.norm(dim=1, keepdim=True)
        near = torch.zeros(len(x), dtype=torch.int64)
        number, radius, alone = certify(tensors, moved, near, [len(x)])
        distance = (1 - (moved.conj() * x).sum(1).abs().square()).clamp_min(0).sqrt()
        sure = number <= 0.25
        assert sure.any()
        assert (distance[sure] <= radius[sure] + 2e-8).all()
        assert (radius[sure] <= alone[sure]).all()


@pytest.mark.parametrize(("p", "n"), [(3, 4), (4, 3), (5, 3), (6, 2)])
def test_start_points_are_the_eigenvectors_of_the_diagonal_tensor(p, n):
    x = _homotopy.start_points(p, n)
    assert len(x) == ((p - 1) ** n - 1) // (p - 2) == _enumeration.expected_classes(p, n)
    powers = x ** (p - 1)
    values = (x.conj() * powers).sum(1, keepdims=True)
    assert np.allclose(powers, values * x)
    assert np.allclose(np.linalg.norm(x, axis=1), 1)
    overlap = abs(x.conj() @ x.T) - np.eye(len(x))
    assert overlap.max() < 1 - 1e-6


@pytest.mark.parametrize("p", [3, 4, 6])
def test_uniqueness_takes_the_growth_of_the_derivative(p):
    # Along its axis a tensor of rank one has the derivative (p-1)(p-2) s^(p-3), up to s = 2 in the ball.
    tensor = torch.zeros(1, *p * (2,), dtype=torch.float64)
    tensor[(0, *p * (0,))] = 1
    x = torch.tensor([[1.0, 0.0]], dtype=torch.complex128)
    _, _, alone = certify(Tensors(tensor).to(torch.complex128), x, torch.zeros(1, dtype=torch.int64), [1])
    bordered = np.array([[p - 2, 0, -1], [0, -1, 0], [1, 0, 0]])
    inverse = np.linalg.norm(np.linalg.inv(bordered), 2)
    assert 0.1 < float(alone) * inverse * (p - 1) * (p - 2) * 2 ** (p - 3) <= 1


def test_classes_are_compared_up_to_a_factor():
    random = torch.Generator().manual_seed(1)
    x = torch.randn(1, 300, 4, dtype=torch.complex128, generator=random)
    x = x / x.norm(dim=2, keepdim=True)
    turn = torch.polar(torch.ones(300, dtype=torch.float64), torch.rand(300, generator=random).double())
    x[0, 200:] = x[0, :100] * turn[200:, None]
    valid = torch.ones(1, 300, dtype=torch.bool)
    near = _classes.nearest_earlier(x, valid)[0]
    assert (near[200:] < 1e-14).all()
    assert (near[:200] > 1e-4).all()
    direct = 1 - (x[0].conj() @ x[0].mT).abs().square().tril(-1).amax(1)
    assert torch.allclose(near, direct, atol=1e-14)
    valid[0, :100] = False
    assert (_classes.nearest_earlier(x, valid)[0, 200:] > 1e-4).all()
    real, away = _classes.imaginary(torch.cat([x[0, :5], x[0, :5].real * 1j + 0]))
    assert (away[:5] > 0.1).all()
    assert (away[5:] < 1e-14).all()
    assert torch.allclose(real.norm(dim=1), torch.ones(10, dtype=torch.float64))


@pytest.mark.parametrize(("p", "n", "allowed"), [(3, 15, 14), (4, 10, 9), (5, 8, 7), (6, 8, 7)])
def test_sizes_that_are_too_big_are_refused(p, n, allowed):
    glass = PSpin(torch.zeros(1, *p * (n,), dtype=torch.float32))
    for search in (find, find_by_newton):
        with pytest.raises(ValueError, match=rf"at most {MOST_CLASSES} .* n up to {allowed}$"):
            search(glass)


def test_bad_input_is_refused():
    glass = PSpin.sample(3, 3, instances=2)
    with pytest.raises(ValueError, match="seed must be a whole number"):
        find(glass, seed=-1)
    for seed in (None, 1.5, "1"):
        with pytest.raises(ValueError, match="seed must be a whole number"):
            find(glass, seed=seed)
    for wrong in ({"starts": 0}, {"most": 0}, {"patience": 0.0}, {"patience": float("nan")}, {"starts": 1.5}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be"):
            find_by_newton(glass, **wrong)
    with pytest.raises(ValueError, match="are allowed here"):
        find_by_newton(glass, starts=10**13)
    with pytest.raises(TypeError, match="PSpin"):
        find(glass.couplings)
    found = find(glass)
    assert len(found) == 2
    assert found.of(-1).energy.tolist() == found[1].energy.tolist()
    for i in (2, -3):
        with pytest.raises(IndexError, match="2 instances"):
            found[i]


def test_single_precision_couplings_are_taken():
    glass = PSpin.sample(3, 4, instances=3, seed=4, dtype=torch.float32)
    found = find(glass)
    assert found.complete.all()
    assert found.points.dtype == np.float64
    assert (found.residual < 1e-12).all()


def test_results_can_be_remembered(tmp_path, monkeypatch):
    monkeypatch.setenv(memo.ENVIRONMENT, str(tmp_path))
    glass = PSpin.sample(3, 3, instances=2)
    first, second = memo.remember(find, glass), memo.remember(find, glass)
    assert len(list(tmp_path.glob("*.safetensors"))) == 1
    assert np.array_equal(first.points, second.points)
    assert second.complete.dtype == bool
    assert second.p == 3


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("case", [(2, 5), (3, 4), (3, 8), (4, 4), (5, 3)])
def test_a_gpu_finds_the_same(case):
    glass = PSpin.sample(*case, instances=6, seed=8)
    here, there = find(glass), find(glass.to("cuda"))
    assert there.complete.all()
    assert (here.counts == there.counts).all()
    assert np.allclose(here.energy, there.energy, atol=1e-10)
    other = find_by_newton(glass.to("cuda")[:2])
    assert np.allclose(other.energy, here.energy[here.instance < 2], atol=1e-10)
