"""On a GPU: the same results as on the CPU, from training to every probe of the chapters."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from small import network
from spinscape.glasses.descent import gradient_descent, relax
from spinscape.glasses.pspin import PSpin, random_points
from spinscape.landscape.downhill import downhill_walks
from spinscape.landscape.flatness import (
    along,
    hessian_trace,
    lanczos_density,
    local_energy,
    local_entropy,
    top_eigenvalues,
)
from spinscape.landscape.kinks import kink_rise
from spinscape.landscape.network_paths import check_paths
from spinscape.landscape.path_activity import path_activity
from spinscape.landscape.path_usage import path_usage
from spinscape.landscape.paths import band, bend, merge, reset_statistics, to_one_reference
from spinscape.landscape.paths import relax as relax_bands
from spinscape.landscape.paths.flips import compare_flips
from spinscape.landscape.pruning import prune
from spinscape.landscape.reordering import compare
from spinscape.landscape.surfaces import surfaces
from spinscape.landscape.swap_law import shrunk_loss
from spinscape.landscape.swap_lines import deep_swap_lines, swap_lines
from spinscape.landscape.symmetry import (
    align,
    match,
    permute,
    quotient_distances,
    random_permutations,
    recovery,
)
from spinscape.landscape.walks import random_walks
from spinscape.networks import datasets
from spinscape.networks.binary import is_binary, random_binary, train_binary
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.evaluation import evaluate
from spinscape.networks.models import mlp
from spinscape.networks.training import train

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")


@pytest.fixture
def both() -> tuple[Ensemble, Ensemble]:
    here = Ensemble.from_modules([network(s) for s in range(4)]).to(torch.float64)
    return here, here.to("cuda")


def test_probes_agree(both, data) -> None:
    here, there = both
    x, y = data[0].double(), data[1]
    assert evaluate(there, x, y).loss == pytest.approx(evaluate(here, x, y).loss, rel=1e-9)
    assert kink_rise(there, x, y, [0.01]) == pytest.approx(kink_rise(here, x, y, [0.01]), rel=1e-8)
    for probe, options, name in (
        (hessian_trace, {"probes": 3}, "trace"),
        (lanczos_density, {"steps": 5, "probes": 2}, "trace"),
        (top_eigenvalues, {"count": 2}, "values"),
        (downhill_walks, {"sigmas": [0.01, 0.1], "steps": 3, "trials": 5}, "loss"),
    ):
        one, other = (getattr(probe(e, x, y, **options), name) for e in both)
        np.testing.assert_allclose(one, other, rtol=1e-8)
    walks = [random_walks(e, {"a": (x, y)}, sigmas=[0.1], steps=3, walks=2) for e in both]
    np.testing.assert_allclose(
        walks[0].loss["a"]["cross_entropy"], walks[1].loss["a"]["cross_entropy"], rtol=1e-8
    )


def test_measures_of_flatness_agree(both, data) -> None:
    x, y = data[0].double(), data[1]
    one, other = (local_energy(e, x, y, [0.1, 0.4], draws=3) for e in both)
    np.testing.assert_allclose(other.loss_draws, one.loss_draws, rtol=1e-8)
    small = {"beta": 20.0, "gammas": [2.0], "steps": 4, "chains": 2, "intervals": 4, "leaps": 2}
    one, other = (local_entropy(e, x, y, **small) for e in both)
    np.testing.assert_allclose(other.energy, one.energy, rtol=1e-7)
    one, other = (along(e[:2], e[2:], [-1.0, 0.5, 2.0], (x, y), (x, y)) for e in both)
    for name in ("loss", "curvature", "second_difference", "distance"):
        np.testing.assert_allclose(getattr(other, name), getattr(one, name), rtol=1e-6)


def test_binary_networks_and_paths_of_flips_agree() -> None:
    data = datasets.load("digits").standardised().shortened(256)
    model = mlp([64, 16, 10], bias=False, activation="tanh")
    trained = train_binary(model, data, replicas=2, epochs=2, device="cuda", evaluate_test=False)
    assert is_binary(trained)
    assert trained.device.type == "cuda"
    here = random_binary(model, replicas=4).to(torch.float64)
    there = here.to("cuda")
    x, y = data.x_train.double(), data.y_train
    one, other = (compare_flips(e[:2], e[2:], x, y, points=5, trials=1, turns=5) for e in (here, there))
    for name in ("before", "after"):
        np.testing.assert_allclose(getattr(one, name).loss, getattr(other, name).loss, rtol=1e-8)
        np.testing.assert_array_equal(getattr(one, name).differing, getattr(other, name).differing)


def test_swapped_copies_agree(both, data) -> None:
    x, y = data[0].double(), data[1]
    for lines in (swap_lines, deep_swap_lines):
        one, other = (lines(e, x, y, swaps=[0, 2, 5], trials=4, points=5) for e in both)
        np.testing.assert_allclose(other.loss, one.loss, rtol=1e-9)
        np.testing.assert_array_equal(other.accuracy, one.accuracy)
        np.testing.assert_allclose(other.distance, one.distance, rtol=1e-9)
    one, other = (shrunk_loss(e, x, y, [0.25, 1.0], loss="cross_entropy") for e in both)
    np.testing.assert_allclose(other.mean, one.mean, rtol=1e-9)
    np.testing.assert_allclose(other.fluctuating, one.fluctuating, rtol=1e-3)
    one, other = (compare(e) for e in both)
    for name in ("raw", "reordered", "ward", "norm"):
        np.testing.assert_allclose(getattr(other, name), getattr(one, name), rtol=1e-9)


def test_pruned_networks_are_trained_alike() -> None:
    digits = datasets.load("digits").flat()
    here = train(mlp([64, 16, 10]), digits, replicas=2, epochs=2, dtype=torch.float64, device="cpu")
    retraining = {"epochs": 2, "batch_size": 64}
    for gradual in (False, True):
        one, other = (
            prune(e, digits, [0.5, 0.9], retraining=retraining, gradual=gradual)
            for e in (here, here.to("cuda"))
        )
        np.testing.assert_allclose(one.loss, other.loss, rtol=1e-6)
        np.testing.assert_allclose(one.retrained_loss, other.retrained_loss, rtol=1e-5)


def test_paths_agree() -> None:
    torch.manual_seed(0)
    here = Ensemble.from_modules([mlp([6, 7, 5, 3]) for _ in range(3)]).to(torch.float64)
    there, x = here.to("cuda"), torch.randn(50, 6)
    assert (check_paths(there, x).error < 1e-13).all()
    one, other = (path_usage(e, [0.0, 0.4], x=x) for e in (here, there))
    np.testing.assert_allclose(one.entropy, other.entropy, rtol=1e-9)
    one, other = (path_activity(e, x, pairs=30) for e in (here, there))
    np.testing.assert_array_equal(one.correlation, other.correlation)


def test_curves_and_bands_agree() -> None:
    digits = datasets.load("digits").flat().shortened(300)
    here = train(mlp([64, 16, 10]), digits, replicas=4, epochs=5, dtype=torch.float64, device="cpu")
    for probe, options in (
        (bend, {"epochs": 3}),
        (band, {"pivots": 4, "rounds": 2, "added": 1, "epochs": 1}),
    ):
        one, other = (probe(here[:2], here[2:], digits, device=d, **options) for d in ("cpu", "cuda"))
        np.testing.assert_array_equal(other.kept, one.kept)
        np.testing.assert_allclose(other.curve, one.curve, rtol=1e-6)
        np.testing.assert_allclose(other.line, one.line, rtol=1e-9)
    start = torch.rand(2, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    options = {"steps": 20, "learning_rate": 0.01, "spring": 1.0}
    one, other = (
        relax_bands(start.to(d), lambda r: ((r**4).sum(1), 4 * r**3), **options) for d in ("cpu", "cuda")
    )
    np.testing.assert_allclose(other.pivots, one.pivots, rtol=1e-9)


def test_training_starts_alike_and_ends_close() -> None:
    digits = datasets.load("digits").flat()
    options = {"replicas": 3, "epochs": 2, "batch_size": 64, "dtype": torch.float64}
    one, other = (train(mlp([64, 16, 10]), digits, device=d, **options) for d in ("cpu", "cuda"))
    np.testing.assert_allclose(one.history.train_loss, other.history.train_loss, rtol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_glasses_agree(dtype) -> None:
    here = PSpin.sample(3, 12, instances=3, seed=1, dtype=dtype)
    there, starts = here.to("cuda"), random_points(3, 4, 12, seed=2, dtype=dtype)
    close = {"rtol": 1e-9, "atol": 1e-9} if dtype == torch.float64 else {"rtol": 1e-4, "atol": 1e-4}
    for name in ("energy", "gradient", "hessian"):
        one, other = getattr(here, name)(starts), getattr(there, name)(starts.to("cuda"))
        torch.testing.assert_close(one, other.cpu(), **close)
    paths = [gradient_descent(g, starts.to(g.device), times=[0.5, 1.0]) for g in (here, there)]
    np.testing.assert_allclose(paths[0].energy, paths[1].energy, **close)
    ends = [relax(g, starts.to(g.device)) for g in (here, there)]
    np.testing.assert_allclose(ends[0].energy, ends[1].energy, **close)


def test_surfaces_agree(both, data) -> None:
    x, y = data[0].double(), data[1]
    one, other = (surfaces(e, x, y, grid=5, planes=2, accuracy=True) for e in both)
    np.testing.assert_allclose(one.values, other.values, rtol=1e-9)
    np.testing.assert_array_equal(one.accuracy, other.accuracy)


def test_matching_agrees() -> None:
    torch.manual_seed(1)
    here = Ensemble.from_modules([mlp([6, 300, 8, 3]) for _ in range(3)]).to(torch.float64)
    there = here.to("cuda")
    one, other = (match(e[0], e, sequence="random", restarts=1) for e in (here, there))
    assert all(torch.equal(p, other.permutations[name]) for name, p in one.permutations.items())
    assert other.objective == pytest.approx(one.objective, rel=1e-9)
    for reference in (0, "barycentre"):
        assert align(there, reference).distances == pytest.approx(align(here, reference).distances, abs=1e-9)
    assert quotient_distances(there).matched == pytest.approx(quotient_distances(here).matched, abs=1e-9)
    planted = permute(there[0], random_permutations(there, replicas=2))
    assert match(there[0], planted).objective == pytest.approx(float(there.norms[0]) ** 2)
    one, other = (recovery(e, noise=[0, 1], trials=3) for e in (here, there))
    assert (one.exact == other.exact).all()


def test_lines_and_means_agree(both, data) -> None:
    x, y = data[0].double(), data[1]
    kinds = ("raw", "common", "pairs", "raw+repair", "common+repair", "pairs+repair")
    lines = [to_one_reference(e, x, y, t=3, kinds=kinds) for e in both]
    np.testing.assert_allclose(lines[0].loss, lines[1].loss, rtol=1e-8)
    means = [merge(e, [1, 2], x, y, groups=2, repair=True) for e in both]
    np.testing.assert_allclose(means[0].loss, means[1].loss, rtol=1e-8)
    here = Ensemble.from_modules([mlp([6, 8, 3], batch_norm=True) for _ in range(3)]).to(torch.float64)
    found = [reset_statistics(e, x).buffers["norm1.running_var"].cpu() for e in (here, here.to("cuda"))]
    torch.testing.assert_close(*found)
