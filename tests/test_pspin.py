"""The spherical p-spin glass against automatic differentiation, eigenvectors and its covariance."""

from __future__ import annotations

import itertools
import subprocess
import sys

import numpy as np
import pytest
import torch

from spinscape import memory
from spinscape.glasses import _memory
from spinscape.glasses.pspin import (
    PSpin,
    from_tangent,
    random_points,
    tangent_basis,
    to_sphere,
    to_tangent,
)
from spinscape.glasses.slices import curvature, energy_slice, plane_points

CASES = [(2, 6), (3, 5), (4, 4), (5, 3), (6, 3), (3, 2)]


def plain_energy(glass: PSpin, i: int, s: torch.Tensor) -> torch.Tensor:
    value = glass.couplings[i]
    for _ in range(glass.p):
        value = value @ s
    return value / glass.n ** ((glass.p - 1) / 2)


@pytest.fixture(params=CASES, ids=lambda c: f"p{c[0]}n{c[1]}")
def case(request) -> tuple[PSpin, torch.Tensor]:
    p, n = request.param
    return PSpin.sample(p, n, instances=3, seed=1), random_points(3, 4, n, seed=2)


def each(glass: PSpin, points: torch.Tensor, what) -> torch.Tensor:
    return torch.stack([torch.stack([what(i, s) for s in row]) for i, row in enumerate(points)])


def test_derivatives_are_those_of_autograd(case) -> None:
    glass, points = case
    n = glass.n
    energy = each(glass, points, lambda i, s: plain_energy(glass, i, s))
    first = each(glass, points, lambda i, s: torch.func.grad(lambda x: plain_energy(glass, i, x))(s))
    second = each(glass, points, lambda i, s: torch.func.hessian(lambda x: plain_energy(glass, i, x))(s))
    torch.testing.assert_close(glass.energy(points), energy)
    torch.testing.assert_close(glass.energy_per_spin(points), energy / n)
    torch.testing.assert_close(glass.euclidean_gradient(points), first)
    normal = points[..., :, None] * points[..., None, :] / n
    projector = torch.eye(n, dtype=torch.float64) - normal
    torch.testing.assert_close(glass.gradient(points), (projector @ first[..., None])[..., 0])
    radial = (points * first).sum(-1)[..., None, None] / n
    whole = projector @ second @ projector - radial * projector
    basis = tangent_basis(points)
    torch.testing.assert_close(glass.hessian(points), basis.mT @ whole @ basis)
    torch.testing.assert_close(basis @ glass.hessian(points) @ basis.mT, whole)


def test_tangent_basis_is_orthonormal_and_tangent() -> None:
    points = random_points(2, 5, 7, seed=3)
    points[0, 0] = to_sphere(-torch.eye(7, dtype=torch.float64)[0])
    basis = tangent_basis(points)
    frame = torch.cat([basis, points[..., None] / 7**0.5], -1)
    torch.testing.assert_close(frame.mT @ frame, torch.eye(7, dtype=torch.float64).expand(2, 5, 7, 7))
    vectors = torch.randn(2, 5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    flat = to_tangent(vectors, points)
    torch.testing.assert_close(flat, (basis.mT @ vectors[..., None])[..., 0])
    torch.testing.assert_close(from_tangent(flat, points), (basis @ flat[..., None])[..., 0])


def test_gradient_and_hessian_along_a_geodesic() -> None:
    glass, point = PSpin.sample(3, 6, seed=4), random_points(1, 1, 6, seed=5)
    vector = torch.randn(1, 1, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    vector = vector / vector.norm()
    tangent, root = from_tangent(vector, point), 6**0.5
    h = 1e-3
    down, here, up = (
        glass.energy(np.cos(t / root) * point + np.sin(t / root) * root * tangent).item() for t in (-h, 0, h)
    )
    slope, bend = (up - down) / (2 * h), (up - 2 * here + down) / h**2
    assert slope == pytest.approx((glass.gradient(point) * tangent).sum().item(), abs=1e-5)
    expected = (vector @ glass.hessian(point)[0] @ vector.mT).item()
    assert bend == pytest.approx(expected, abs=1e-4)


def test_two_spins_are_an_eigenvalue_problem() -> None:
    glass = PSpin.sample(2, 8, instances=2, seed=6)
    values, vectors = torch.linalg.eigh(glass.couplings / 8**0.5)
    points = to_sphere(vectors.mT.contiguous())
    torch.testing.assert_close(glass.energy_per_spin(points), values)
    assert glass.gradient(points).abs().max() < 1e-12
    found = torch.linalg.eigvalsh(glass.hessian(points))
    for i, k in itertools.product(range(2), range(8)):
        others = torch.cat([values[i, :k], values[i, k + 1 :]])
        torch.testing.assert_close(found[i, k], 2 * (others - values[i, k]))


@pytest.mark.parametrize("p", [2, 3, 4])
def test_covariance_of_the_energy(p: int) -> None:
    # E[H(s) H(s')] = n (s.s'/n)^p, in 10 entries within 4.5 standard errors: false alarm below 1e-4.
    n, count = 5, 20_000
    glass = PSpin.sample(p, n, instances=count, seed=7)
    points = random_points(1, 4, n, seed=8)
    energy = glass.energy(points.expand(count, -1, -1)).numpy()
    overlap = (points[0] @ points[0].T / n).numpy()
    for a, b in itertools.combinations_with_replacement(range(4), 2):
        product = energy[:, a] * energy[:, b]
        error = product.std(ddof=1) / count**0.5
        assert abs(product.mean() - n * overlap[a, b] ** p) < 4.5 * error
    assert abs(energy.mean(0)).max() < 4.5 * (n / count) ** 0.5


def test_couplings_are_symmetric_with_the_right_variances() -> None:
    s = PSpin.sample(3, 12, instances=4, seed=9).couplings
    for order in itertools.permutations((1, 2, 3)):
        torch.testing.assert_close(s, s.permute(0, *order), rtol=0, atol=1e-14)
    a, b, c = np.meshgrid(*3 * (np.arange(12),), indexing="ij")
    kinds = {1 / 6: (a < b) & (b < c), 1 / 3: (a == b) & (b < c), 1.0: (a == b) & (b == c)}
    for variance, where in kinds.items():
        values = s[:, torch.from_numpy(where)].numpy().ravel()
        # Five standard errors of a variance of normals.
        assert values.var() == pytest.approx(variance, abs=5 * variance * (2 / len(values)) ** 0.5)


@pytest.mark.parametrize("p", [2, 3, 4, 5])
def test_symmetric_part_keeps_the_energy(p: int) -> None:
    g = torch.Generator().manual_seed(p)
    raw = torch.randn(2, *p * (3,), dtype=torch.float64, generator=g)
    kept = raw.clone()
    glass, points = PSpin.symmetrised(raw), random_points(2, 3, 3, seed=1)
    assert torch.equal(raw, kept)
    PSpin(glass.couplings)
    orders = list(itertools.permutations(range(1, p + 1)))
    mean = sum(raw.permute(0, *order) for order in orders) / len(orders)
    torch.testing.assert_close(glass.couplings, mean)
    for i, k in itertools.product(range(2), range(3)):
        value = raw[i]
        for _ in range(p):
            value = value @ points[i, k]
        assert glass.energy(points)[i, k].item() == pytest.approx(value.item() * 3 ** (-(p - 1) / 2))


def test_homogeneous_and_equivariant(case) -> None:
    glass, points = case
    torch.testing.assert_close(glass.energy(1.5 * points), 1.5**glass.p * glass.energy(points))
    g = torch.Generator().manual_seed(2)
    turn, _ = torch.linalg.qr(torch.randn(glass.n, glass.n, dtype=torch.float64, generator=g))
    turned = glass.couplings
    for axis in range(1, glass.p + 1):
        turned = torch.tensordot(turned, turn, ([axis], [1])).movedim(-1, axis)
    other, there = PSpin(turned), points @ turn.T
    torch.testing.assert_close(other.energy(there), glass.energy(points))
    torch.testing.assert_close(other.gradient(there), glass.gradient(points) @ turn.T)
    torch.testing.assert_close(
        torch.linalg.eigvalsh(other.hessian(there)), torch.linalg.eigvalsh(glass.hessian(points))
    )


def test_hessian_spectrum_tends_to_the_semicircle() -> None:
    # Off a critical point too: the spectrum lies about -p u, radius 2 sqrt(p (p-1)).
    # One instance has the mean square within a share of 2 / n: these have standard errors of 2%.
    for p, n, instances in ((3, 100, 1), (4, 36, 8)):
        glass = PSpin.sample(p, n, instances=instances, seed=11)
        points = random_points(instances, 1, n, seed=12)
        shifted = torch.linalg.eigvalsh(glass.hessian(points)) + p * glass.energy_per_spin(points)[..., None]
        assert shifted.square().mean().item() == pytest.approx(p * (p - 1), rel=0.1)
        assert shifted.abs().max().item() == pytest.approx(2 * (p * (p - 1)) ** 0.5, rel=0.15)


def test_instances_points_and_chunks_do_not_depend_on_company(monkeypatch) -> None:
    few, many = PSpin.sample(3, 6, instances=2, seed=3), PSpin.sample(3, 6, instances=5, seed=3)
    assert torch.equal(few.couplings, many.couplings[:2])
    assert not torch.equal(many.couplings[0], many.couplings[1])
    assert not torch.equal(few.couplings, PSpin.sample(3, 6, instances=2, seed=4).couplings)
    points = random_points(5, 9, 6, seed=3)
    assert torch.equal(points[:2, :4], random_points(2, 4, 6, seed=3))
    whole = [many.energy(points), many.gradient(points), many.hessian(points)]
    monkeypatch.setitem(_memory.CHUNK_BYTES, "cpu", 1)
    for a, b in zip(whole, [many.energy(points), many.gradient(points), many.hessian(points)], strict=True):
        torch.testing.assert_close(a, b)


def test_instances_of_other_orders_and_sizes_share_no_numbers() -> None:
    drawn = [PSpin.sample(p, n, instances=2, seed=3).couplings.numpy() for p in (2, 3) for n in (6, 7)]
    # What lies on the diagonal is drawn and not averaged.
    diagonals = [one[(slice(None), *(range(6),) * (one.ndim - 1))] for one in drawn]
    numbers = np.concatenate([one.ravel() for one in diagonals])
    assert len(np.unique(numbers)) == len(numbers) == 4 * 2 * 6
    points = [random_points(2, 3, n, seed=3) for n in (6, 7)]
    for a in points[0].reshape(-1, 6):
        for b in points[1].reshape(-1, 7):
            ratio = a[:3] / b[:3]
            assert ratio.std() > 1e-6


def test_indexing_and_types() -> None:
    glass = PSpin.sample(3, 4, instances=5, seed=1)
    assert (glass.p, glass.n, glass.instances, len(glass)) == (3, 4, 5, 5)
    assert torch.equal(glass[-1].couplings, glass.couplings[4:])
    assert torch.equal(glass[1:3].couplings, glass.couplings[1:3])
    assert torch.equal(glass[torch.tensor([3, 0])].couplings, glass.couplings[[3, 0]])
    assert [len(one) for one in glass] == [1] * 5
    for wrong in (5, -6, slice(5, None)):
        with pytest.raises(IndexError):
            glass[wrong]
    single = PSpin.sample(3, 4, seed=1, dtype=torch.float32)
    assert single.dtype == single.gradient(random_points(1, 2, 4)).dtype == torch.float32
    assert glass.to(torch.float32).dtype == torch.float32


def bad_couplings() -> dict[str, tuple[torch.Tensor, type[Exception], str]]:
    good = PSpin.sample(3, 4, seed=1).couplings
    nan, inf, skew = good.clone(), good.clone(), good.clone()
    nan[0, 1, 2, 3], inf[0, 0, 0, 0] = float("nan"), float("-inf")
    skew[0, 0, 1, 2] += 1e-6
    half = torch.randn(good.shape, dtype=good.dtype, generator=torch.Generator().manual_seed(1))
    return {
        "one axis": (torch.ones(2, 4), ValueError, "p >= 2"),
        "one spin": (torch.ones(2, 1, 1), ValueError, "n >= 2"),
        "no instance": (torch.ones(0, 3, 3), ValueError, "shape"),
        "unequal": (torch.ones(1, 3, 4), ValueError, "shape"),
        "integers": (torch.ones(1, 3, 3, dtype=torch.int64), TypeError, "real"),
        "complex": (torch.ones(1, 3, 3, dtype=torch.complex128), TypeError, "real"),
        "array": (np.ones((1, 3, 3)), TypeError, "tensor"),
        "asymmetric in its last axes": (good + half + half.transpose(1, 2), ValueError, "axes 1 and 2"),
        "nan": (nan, ValueError, "finite"),
        "inf": (inf, ValueError, "finite"),
        "asymmetric": (skew, ValueError, "symmetric"),
    }


@pytest.mark.parametrize("name", bad_couplings())
def test_bad_couplings_are_refused(name: str) -> None:
    couplings, kind, words = bad_couplings()[name]
    with pytest.raises(kind, match=words):
        PSpin(couplings)
    if not name.startswith("asymmetric"):
        with pytest.raises(kind):
            PSpin.symmetrised(couplings)


def test_bad_sizes_and_points_are_refused() -> None:
    for p, n, instances in ((1, 5, 1), (3, 1, 1), (3, 5, 0)):
        with pytest.raises(ValueError, match="at least"):
            PSpin.sample(p, n, instances=instances)
    with pytest.raises(ValueError, match="dtype"):
        PSpin.sample(3, 5, dtype=torch.float16)
    glass, points = PSpin.sample(3, 5, instances=2), random_points(2, 3, 5)
    for wrong in (points[0], points[:1], random_points(2, 3, 6)):
        with pytest.raises(ValueError, match="shape"):
            glass.energy(wrong)
    for call in (glass.gradient, glass.hessian, glass.energy_and_gradient):
        with pytest.raises(ValueError, match="sphere"):
            call(1.1 * points)
        with pytest.raises(ValueError, match="sphere"):
            call(float("nan") * points)
    with pytest.raises(ValueError, match="times"):
        glass.contract(points, 4)
    with pytest.raises(ValueError, match="n must be a whole number of at least 2"):
        random_points(1, 1, 1)


def test_sizes_that_cannot_fit_are_refused(monkeypatch) -> None:
    with pytest.raises(ValueError, match=r"at p = 6 the largest n allowed here is \d+"):
        PSpin.sample(6, 2000)
    for p, n in ((1000, 10), (3, 10**200)):
        with pytest.raises(ValueError, match=r"allowed here is \d+$"):
            PSpin.sample(p, n)
    monkeypatch.setattr(memory, "_machine", lambda: 2 * 8 * 100.5**3)
    with pytest.raises(ValueError, match=r"at n = 10 the largest p allowed here is 6$"):
        PSpin.sample(1000, 10)
    with pytest.raises(ValueError, match=r"at p = 3 and n = 10 at most 2029 instances are allowed here$"):
        PSpin.sample(3, 10, instances=10**6)
    with pytest.raises(ValueError, match=r"at most \d+ are allowed here$"):
        random_points(10, 10**6, 100)
    with pytest.raises(ValueError, match=r"at most \d+ are allowed here$"):
        energy_slice(PSpin.sample(3, 10), grid=10**5)
    with pytest.raises(ValueError, match=r"p = 3 the largest n allowed here is 100$"):
        PSpin.sample(3, 101)
    PSpin.sample(3, 10)
    glass, points = PSpin.sample(3, 30), random_points(1, 4000, 30)
    with pytest.raises(ValueError, match=r"at most [1-9]"):
        glass.hessian(points)


MEMORY = """
import resource, torch
from spinscape.glasses.descent import gradient_descent
from spinscape.glasses.pspin import PSpin, random_points
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before = peak()
glass, points = PSpin.sample(3, 200), random_points(1, 4, 200)
glass.energy(points), glass.hessian(points), gradient_descent(glass, points, times=[0.2])
print((peak() - before) / (8 * 200**3))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs the resource module")
def test_memory_stays_near_two_sets_of_couplings() -> None:
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 3


def test_planes_lie_on_the_sphere_in_order() -> None:
    points = random_points(1, 3, 5, seed=4)[0]
    grid = plane_points(points[0], points[1:], 0.5, 5)
    torch.testing.assert_close(grid.square().sum(-1), torch.full((25,), 5.0, dtype=torch.float64))
    torch.testing.assert_close(grid[12], points[0])
    # Along the second direction rows stay in one plane through the origin with the first column's.
    height = points[0] / 5**0.5
    flat = (grid / (grid @ height)[:, None]).view(5, 5, 5)
    steps = flat[:, 1:] - flat[:, :-1]
    torch.testing.assert_close(steps, steps[:1, :1].expand_as(steps))
    torch.testing.assert_close(steps.norm(dim=-1), torch.full((5, 4), 0.25, dtype=torch.float64))
    assert (steps[0, 0] * points[2]).sum() > 0
    assert ((flat[1, 0] - flat[0, 0]) * points[1]).sum() > 0
    for wrong in ([points[1], points[1]], [points[0], points[1]]):
        with pytest.raises(ValueError, match="independent"):
            plane_points(points[0], torch.stack(wrong), 0.5, 5)
    with pytest.raises(ValueError, match="extent"):
        plane_points(points[0], points[1:], 0.0, 5)
    with pytest.raises(ValueError, match="n >= 3"):
        plane_points(points[0], points[1:, :4], 1.0, 5)


def test_slices_hold_energy_and_curvature(monkeypatch) -> None:
    glass = PSpin.sample(3, 6, instances=2, seed=5)
    seen = energy_slice(glass, extent=1.0, grid=7, seed=1)
    drawn = random_points(2, 3, 6, seed=1)
    for i in range(2):
        points = plane_points(drawn[i, 0], drawn[i, 1:], 1.0, 7)[None]
        values = torch.linalg.eigvalsh(glass[i].hessian(points))[0].numpy().reshape(7, 7, 5)
        np.testing.assert_allclose(seen.energy[i], glass[i].energy_per_spin(points)[0].reshape(7, 7))
        np.testing.assert_allclose(seen.smallest[i], values[..., 0], rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(seen.negative[i], (values < 0).mean(-1))
    assert seen.negative_fraction == pytest.approx((seen.smallest < 0).mean((1, 2)))
    monkeypatch.setitem(_memory.CHUNK_BYTES, "cpu", 1)
    points = plane_points(drawn[0, 0], drawn[0, 1:], 1.0, 7)[None]
    np.testing.assert_allclose(curvature(glass[0], points)[0][0], seen.smallest[0].ravel())
