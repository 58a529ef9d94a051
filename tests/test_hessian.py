"""Hessian products, spectra and eigenvalues against dense matrices and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from small import dense_hessian
from spinscape.landscape.curvature import negative_curvature
from spinscape.landscape.flatness import (
    HessianProducts,
    Spectrum,
    _groups,
    dense,
    dense_hessians,
    exact_spectrum,
    hessian,
    hessian_trace,
    lanczos_density,
    top_eigenvalues,
    wasserstein,
)
from spinscape.landscape.symmetry import permute, random_permutations
from spinscape.networks.convolutional import convnet
from spinscape.networks.datasets import load
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.models import mlp
from spinscape.networks.residual_net import ResNet
from spinscape.networks.training import train

MODELS = {
    "relu": lambda: mlp([6, 8, 7, 3]),
    "tanh": lambda: mlp([6, 8, 7, 3], activation="tanh", bias=False),
    "linear": lambda: nn.Sequential(
        nn.Tanh(), nn.Linear(6, 5), nn.Linear(5, 3), nn.Softplus(), nn.Sigmoid()
    ),
    "residual": lambda: mlp([6, 8, 8, 3], skip=True, batch_norm=True),
    "convolutions": lambda: convnet(1, 3, size=4, widths=(2, 3)),
    "averages": lambda: convnet(1, 3, size=4, widths=(2, 3), pool="average", hidden=(4,), activation="silu"),
    "overlapping": lambda: nn.Sequential(
        nn.Conv2d(1, 2, 2), nn.Sequential(nn.GELU(), nn.MaxPool2d(2, stride=1)), nn.Flatten(), nn.Dropout(),
        nn.Linear(8, 3),
    ),
    "normalised": lambda: convnet(1, 3, size=4, widths=(2,), batch_norm=True),
    "resnet": lambda: ResNet(1, 3, blocks=(1,), width=2),
}  # fmt: skip


def many(name: str, count: int = 2) -> tuple[Ensemble, Tensor, Tensor]:
    """Return networks in float64 whose batch norms have seen data, and samples."""
    modules = []
    source = torch.Generator().manual_seed(3)
    flat = name in ("relu", "tanh", "linear", "residual")
    x = torch.rand(30, *((6,) if flat else (1, 4, 4)), generator=source, dtype=torch.float64)
    y = torch.randint(0, 3, (30,), generator=source)
    if flat:
        x[:, 2] = 0
    for seed in range(count):
        torch.manual_seed(seed)
        module = MODELS[name]().double()
        module.train()(x)
        modules.append(module.eval())
    return Ensemble.from_modules(modules), x, y


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("block", [7, 64])
def test_products_are_those_of_the_dense_hessian(name: str, block: int, monkeypatch) -> None:
    ensemble, x, y = many(name)
    monkeypatch.setattr(hessian, "BLOCK", block)
    monkeypatch.setattr(hessian, "MAPS_BLOCK", block)
    found = torch.cat(list(dense_hessians(ensemble, x, y)))
    slope = HessianProducts(ensemble, x, y).gradient()
    for r in range(2):
        net = ensemble.module(r).eval()
        torch.testing.assert_close(found[r], dense_hessian(net, x, y), rtol=1e-10, atol=1e-12)
        net.zero_grad()
        functional.cross_entropy(net(x), y).backward()
        exact = torch.cat([p.grad.flatten() for p in net.parameters()])
        torch.testing.assert_close(slope[r], exact, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("name", ["relu", "convolutions", "resnet"])
def test_any_loss_and_any_chunk(name: str, monkeypatch) -> None:
    ensemble, x, y = many(name, 3)
    v = torch.randn(3, 4, ensemble.flat().shape[1], dtype=torch.float64)
    named = HessianProducts(ensemble, x, y)(v)

    def own(outputs: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(outputs, labels, reduction="none")

    torch.testing.assert_close(HessianProducts(ensemble, x, y, own)(v), named, rtol=1e-10, atol=1e-12)
    targets = functional.one_hot(y, 3).double()
    one, other = HessianProducts(ensemble, x, y, "one_hot_mse"), HessianProducts(ensemble, x, targets, "mse")
    torch.testing.assert_close(one(v), other(v), rtol=1e-10, atol=1e-12)
    for chunk in (1, 2):
        monkeypatch.setattr(hessian, "WORK_BYTES", 1)
        monkeypatch.setattr(hessian, "KEPT_BYTES", 20_000 * chunk)
        cut = HessianProducts(ensemble, x, y, chunk=chunk)
        torch.testing.assert_close(cut(v), named, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(cut(v[:, :1]), named[:, :1], rtol=1e-10, atol=1e-12)


def test_linear_regression_is_known() -> None:
    """The Hessian of the mean of (w x + b - y)^2 is 2/N times the moments of (x, 1), whatever w and y."""
    source = torch.Generator().manual_seed(0)
    x = torch.randn(200, 5, generator=source, dtype=torch.float64) * torch.arange(1, 6)
    y = torch.randn(200, 1, generator=source, dtype=torch.float64)
    rows = torch.cat([x, torch.ones(200, 1)], 1)
    exact = torch.linalg.eigvalsh(2 * rows.T @ rows / 200).numpy()
    ensemble = Ensemble.from_modules([nn.Linear(5, 1).double() for _ in range(2)])
    options = {"loss": "mse"}
    np.testing.assert_allclose(exact_spectrum(ensemble, x, y, **options), [exact, exact], rtol=1e-10)
    top = top_eigenvalues(ensemble, x, y, 6, **options)
    np.testing.assert_allclose(top.values, [exact[::-1]] * 2, rtol=1e-9)
    assert top.converged.all()
    assert (top.steps <= 6).all()
    density = lanczos_density(ensemble, x, y, steps=50, probes=3, **options)
    assert density.nodes.shape == (2, 3, 6)
    np.testing.assert_allclose(density.nodes, np.broadcast_to(exact, (2, 3, 6)), rtol=1e-8)
    np.testing.assert_allclose(density.weights.sum(2), 1)


@pytest.fixture(scope="module")
def digits() -> tuple[Ensemble, Tensor, Tensor, np.ndarray]:
    """Two trained networks of 1210 parameters, and their exact spectra."""
    data = load("digits").flat().standardised()
    model = mlp([64, 16, 10])
    trained = train(model, data, replicas=2, epochs=20, batch_size=64, seed=1, evaluate_test=False)
    x, y = data.x_train[:600].double(), data.y_train[:600]
    nets = trained.to(torch.float64)
    return nets, x, y, exact_spectrum(nets, x, y)


def test_spectrum_of_a_digits_net(digits) -> None:
    nets, x, y, exact = digits
    net = nets.module(0)
    np.testing.assert_allclose(
        exact[0], torch.linalg.eigvalsh(dense_hessian(net, x, y)), rtol=1e-8, atol=1e-10
    )
    density = lanczos_density(nets, x, y, steps=60, probes=8)
    assert (wasserstein(density, exact, relative_to="width") < 0.002).all()
    assert (wasserstein(density, exact, relative_to="deviation") < 0.05).all()
    far = lanczos_density(nets, x, y, steps=3, probes=1)
    assert (wasserstein(far, exact) > wasserstein(density, exact)).all()
    sampled = lanczos_density(nets, x, y, steps=2, probes=100)
    assert (abs(sampled.trace - exact.sum(1)) < 4 * sampled.trace_error).all()
    assert (sampled.trace_error < 0.05 * sampled.trace).all()
    near = 0.01 * exact[:, -1]
    share = (abs(exact) <= near[:, None]).mean(1)
    np.testing.assert_allclose(density.share_near_zero(near), share, atol=0.05)
    grid = np.linspace(exact.min() - 5, exact.max() + 5, 4000)
    np.testing.assert_allclose(np.trapezoid(density.density(grid, 0.5), grid, axis=1), 1, rtol=1e-6)
    half, top = density.quantiles([0.5, 1.0]).T
    assert (abs(half - np.median(exact, axis=1)) < near).all()
    np.testing.assert_allclose(top, exact[:, -1], rtol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_both_ends_of_the_spectrum(digits, dtype: torch.dtype) -> None:
    nets, x, y, exact = digits
    nets, x = nets.to(dtype), x.to(dtype)
    top = top_eigenvalues(nets, x, y, 10)
    assert top.converged.all()
    np.testing.assert_allclose(top.values, exact[:, :-11:-1], rtol=1e-3)
    assert (top.residuals <= 1e-3 * top.values).all()
    low = top_eigenvalues(nets, x, y, 3, which="smallest")
    assert low.converged.all()
    np.testing.assert_allclose(low.values, exact[:, :3], rtol=1e-3)
    np.testing.assert_allclose(negative_curvature(nets, x, y), exact[:, 0], rtol=1e-3)
    short = top_eigenvalues(nets, x, y, 10, most_steps=12)
    assert not short.converged.all()
    assert (short.steps == 12).all()


def test_a_network_does_not_depend_on_its_neighbours(digits, monkeypatch) -> None:
    nets, x, y, _ = digits
    close = {"rtol": 1e-8, "atol": 1e-10}
    both = lanczos_density(nets, x, y, steps=10, probes=2, seed=3)
    monkeypatch.setattr(_groups, "GROUP_BYTES", 1)
    cut = lanczos_density(nets, x, y, steps=10, probes=2, seed=3, chunk=1)
    np.testing.assert_allclose(cut.nodes, both.nodes, **close)
    first = lanczos_density(nets[:1], x, y, steps=10, probes=1, seed=3)
    np.testing.assert_allclose(first.nodes[:, 0], both.nodes[:1, 0], **close)
    top = [top_eigenvalues(n, x, y, 3) for n in (nets, nets[:1])]
    np.testing.assert_allclose(top[0].values[:1], top[1].values, **close)
    trace = [hessian_trace(n, x, y, probes=3) for n in (nets, nets[:1])]
    np.testing.assert_allclose(trace[0].trace[:1], trace[1].trace, **close)


def test_permutations_leave_the_spectrum_and_rescaling_does_not(digits) -> None:
    nets, x, y, exact = digits
    moved = permute(nets, random_permutations(nets.model, replicas=2, seed=2))
    np.testing.assert_allclose(exact_spectrum(moved, x, y), exact, rtol=1e-6, atol=1e-8)
    params = dict(nets.params)
    scale = torch.linspace(0.3, 3, 16, dtype=torch.float64)
    params["layer1.weight"] = params["layer1.weight"] * scale[:, None]
    params["layer1.bias"] = params["layer1.bias"] * scale
    params["layer2.weight"] = params["layer2.weight"] / scale
    scaled = Ensemble(nets.model, params)
    torch.testing.assert_close(scaled.module(0)(x), nets.module(0)(x))
    assert (abs(exact_spectrum(scaled, x, y).sum(1) / exact.sum(1) - 1) > 0.1).all()


def test_an_exhausted_space_begins_anew() -> None:
    """Four equal eigenvalues and two more: the first vector sees one of the four."""
    x = torch.diag(torch.tensor([1.0, 1.0, 1.0, 1.0, 2.0, 3.0], dtype=torch.float64))
    ensemble = Ensemble.from_modules([nn.Linear(6, 1, bias=False).double()])
    exact = x.diagonal().square().numpy() * 2 / 6
    density = lanczos_density(ensemble, x, torch.zeros(6, 1), steps=6, probes=2, loss="mse")
    assert wasserstein(density, exact[None], relative_to="width")[0] < 1e-8
    top = top_eigenvalues(ensemble, x, torch.zeros(6, 1), 6, loss="mse")
    np.testing.assert_allclose(top.values[0], exact[::-1], rtol=1e-9)


def test_singular_hessians_have_numbers_in_float32() -> None:
    source = torch.Generator().manual_seed(0)
    nets = []
    for seed in range(160, 200):
        torch.manual_seed(seed)
        nets.append(mlp([2, 8, 2]))
    x, y = torch.rand(100, 2, generator=source), torch.randint(2, (100,), generator=source)
    assert np.isfinite(negative_curvature(Ensemble.from_modules(nets), x, y)).all()


def test_moments_of_a_known_measure() -> None:
    spectrum = Spectrum(np.array([[[0.0, 1.0], [0.0, 3.0]]]), np.array([[[0.75, 0.25], [0.5, 0.5]]]), 4)
    assert spectrum.trace == pytest.approx([4 * (0.25 + 1.5) / 2])
    assert spectrum.share_near_zero(0.5) == pytest.approx([0.625])
    np.testing.assert_allclose(spectrum.quantiles([0.6, 0.7, 0.8])[0], [0, 1, 3])
    assert wasserstein(spectrum, [[0, 0, 0, 1.75]])[0] == pytest.approx(0.125 + 0.25 * 1.25)
    height = spectrum.density([0.0], 0.01)[0, 0]
    assert height == pytest.approx(0.625 / (0.01 * np.sqrt(2 * np.pi)))


def test_bad_input_is_refused(ensemble, data, monkeypatch) -> None:
    x, y = data
    for bad, words in (
        ({"steps": 0}, "steps and probes"),
        ({"probes": 0}, "steps and probes"),
        ({"seed": -1}, "seed"),
        ({"chunk": 0}, "chunk"),
        ({"loss": "hinge"}, "loss must be"),
    ):
        with pytest.raises(ValueError, match=words):
            lanczos_density(ensemble, x, y, **bad)
    for bad, words in (
        ({"count": 0}, "count must"),
        ({"count": 84}, "count must"),
        ({"which": "widest"}, "which must"),
        ({"tolerance": 0.0}, "tolerance"),
        ({"most_steps": 5}, "most_steps"),
    ):
        with pytest.raises(ValueError, match=words):
            top_eigenvalues(ensemble, x, y, **bad)
    product = HessianProducts(ensemble, x, y)
    for shape in ((3, 83), (2, 1, 83), (3, 1, 82), (3, 0, 83)):
        with pytest.raises(ValueError, match="v must have shape"):
            product(torch.zeros(shape))
    for far in (x[:, :5], x[:10]):
        with pytest.raises(ValueError, match="x"):
            exact_spectrum(ensemble, far, y)
    spectrum = lanczos_density(ensemble, x, y, steps=3, probes=1)
    assert np.isnan(spectrum.trace_error).all()
    with pytest.raises(ValueError, match="width"):
        spectrum.density([0.0], 0.0)
    with pytest.raises(ValueError, match="shares"):
        spectrum.quantiles([1.5])
    with pytest.raises(ValueError, match="relative_to"):
        wasserstein(spectrum, np.zeros((3, 83)), relative_to="height")
    with pytest.raises(ValueError, match="shape"):
        wasserstein(spectrum, np.zeros((3, 82)))
    for module in (_groups, dense, hessian):
        monkeypatch.setattr(module, "available_bytes", lambda device: 2000.0)
    with pytest.raises(MemoryError, match="at most 6 fit"):
        lanczos_density(ensemble, x, y)
    with pytest.raises(MemoryError, match="7 parameters are allowed"):
        exact_spectrum(ensemble, x, y)
