"""Activation statistics between networks: what a unit is given, and what stays as it is."""

from __future__ import annotations

import copy
from collections import OrderedDict

import numpy as np
import pytest
import torch
from numpy.typing import ArrayLike
from torch import nn

from spinscape.landscape.functions import function_change
from spinscape.landscape.paths import (
    _by_layer,
    bezier,
    linear,
    repair,
    repair_path,
    reset_statistics,
    unit_statistics,
    variance_ratios,
)
from spinscape.networks import _pieces
from spinscape.networks.convolutional import convnet
from spinscape.networks.ensemble import Ensemble, evaluate, outputs
from spinscape.networks.folding import fold
from spinscape.networks.models import mlp
from spinscape.networks.residual_net import resnet18
from symmetric import randomised

T = np.array([0.0, 0.3, 0.5, 1.0])

NESTED = nn.Sequential(
    OrderedDict(
        features=nn.Sequential(nn.Conv2d(1, 4, 3), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(4, 3, 1), nn.ReLU()),
        head=nn.Sequential(nn.Flatten(), nn.Linear(27, 6), nn.ReLU(), nn.Dropout(0.5), nn.Linear(6, 2)),
    )
)

MODELS = {
    "mlp": (mlp([5, 7, 6, 3]), (5,)),
    "convnet": (convnet(widths=(4, 6), hidden=(5,)), (1, 8, 8)),
    "nested": (NESTED, (1, 8, 8)),
}


def between(a: Ensemble, b: Ensemble, t: ArrayLike) -> Ensemble:
    return linear(a, b, t).points()


def inputs(shape: tuple[int, ...], count: int = 40, seed: int = 3) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(count, *shape, generator=g, dtype=torch.float64) + 0.5


def pairs(model: nn.Module, count: int = 2) -> tuple[Ensemble, Ensemble]:
    return randomised(model, count, 1), randomised(model, count, 2)


def hooked(module: nn.Module, x: torch.Tensor) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Means and deviations of what each layer of an ordinary module puts out."""
    found = {}

    def look(name: str):
        def hook(_, __, out: torch.Tensor) -> None:
            rows = out.movedim(1, -1).flatten(0, -2)
            found[name] = rows.mean(0), rows.std(0, correction=0)

        return hook

    for name, part in module.named_modules():
        if isinstance(part, nn.Linear | nn.Conv2d):
            part.register_forward_hook(look(name))
    module.eval()(x)
    return found


def test_a_network_made_by_hand() -> None:
    # One input, two units, x = -1 and 1: unit 0 is x in one end, -x/2 + 3 in the other; unit 1 is 2x in both.
    def net(w0: float, b0: float) -> Ensemble:
        one = mlp([1, 2, 1]).double()
        with torch.no_grad():
            one.layer1.weight.copy_(torch.tensor([[w0], [2.0]]))
            one.layer1.bias.copy_(torch.tensor([b0, 0.0]))
        return Ensemble.from_modules([one])

    a, b = net(1.0, 0.0), net(-0.5, 3.0)
    x = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
    middle = between(a, b, [0.5])
    # At the middle unit 0 has mean 1.5 and deviation 0.25, and is due (1 + 0.5) / 2 = 0.75.
    found = repair(middle, [a, b], x, t=[0.5])
    assert found.params["layer1.weight"][0].flatten().tolist() == pytest.approx([0.75, 2.0], rel=1e-12)
    assert found.params["layer1.bias"][0].tolist() == pytest.approx([1.5, 0.0], rel=1e-12)
    for name in ("layer2.weight", "layer2.bias"):
        assert torch.equal(found.params[name], middle.params[name])
    assert variance_ratios(middle, [a, b], x, t=[0.5])[0, 0, 0] == pytest.approx(
        (0.25**2 + 4) / (0.75**2 + 4)
    )


@pytest.mark.parametrize("name", MODELS)
def test_statistics_are_those_that_hooks_see(name: str) -> None:
    model, shape = MODELS[name]
    ensemble, x = randomised(model, 3), inputs(shape)
    found = unit_statistics(ensemble, x)
    for r in range(3):
        seen = hooked(ensemble.module(r).double(), x)
        assert tuple(seen)[:-1] == found.layers
        for layer in found.layers:
            np.testing.assert_allclose(found.mean[layer][r], seen[layer][0].detach(), atol=1e-12)
            np.testing.assert_allclose(found.sd[layer][r], seen[layer][1].detach(), rtol=1e-10)


@pytest.mark.parametrize("name", MODELS)
def test_every_unit_gets_the_mixture_of_the_ends(name: str) -> None:
    model, shape = MODELS[name]
    (a, b), x = pairs(model), inputs(shape)
    points = between(a, b, T)
    found = repair(points, [a, b], x, t=T)
    assert found.model is points.model
    first, second = unit_statistics(a, x), unit_statistics(b, x)
    for p in range(2):
        for k, t in enumerate(T):
            seen = hooked(found.module(p * len(T) + k).double(), x)
            for layer in first.layers:
                for kind, values in enumerate(("mean", "sd")):
                    ends = [getattr(one, values)[layer][p] for one in (first, second)]
                    wanted = (1 - t) * ends[0] + t * ends[1]
                    np.testing.assert_allclose(seen[layer][kind].detach(), wanted, rtol=1e-8, atol=1e-10)
    assert np.abs(variance_ratios(found, [a, b], x, t=T) - 1).max() < 1e-9
    assert np.abs(variance_ratios(points, [a, b], x, t=T)[..., 1:3] - 1).max() > 0.1


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ends_stay_as_they_are(name: str, dtype: torch.dtype) -> None:
    model, shape = MODELS[name]
    a, b = (one.to(dtype) for one in pairs(model))
    points = between(a, b, T)
    found = repair(points, [a, b], inputs(shape), t=T)
    for row, end in ((0, a), (3, b)):
        for key, value in end.params.items():
            assert (found.params[key][row :: len(T)] - value).abs().max() < 1e-6
    assert (
        found.params[next(iter(found.params))] - points.params[next(iter(found.params))]
    ).abs().max() > 0.01


def test_equals_batch_norms_put_in_and_folded() -> None:
    # The authors put batch norms after the layers, with the aims as shifts and scales, and train them.
    (a, b), x = pairs(mlp([5, 7, 6, 3]), 1), inputs((5,))
    middle = between(a, b, [0.5])
    aims = [unit_statistics(end, x) for end in (a, b)]
    net = copy.deepcopy(middle.module(0)).double()
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for name, part in net.named_children():
        layers[name] = part
        if name in aims[0].layers:
            norm = nn.BatchNorm1d(part.out_features, eps=1e-14, momentum=None).double()
            means, sds = ([getattr(aim, kind)[name][0] for aim in aims] for kind in ("mean", "sd"))
            norm.bias.data = torch.tensor((means[0] + means[1]) / 2)
            norm.weight.data = torch.tensor((sds[0] + sds[1]) / 2)
            layers[f"norm-{name}"] = norm
    wanted = nn.Sequential(layers).train()(x)
    found = repair(middle, [a, b], x, t=[0.5])
    torch.testing.assert_close(outputs(found, x)[0], wanted.detach(), rtol=1e-9, atol=1e-9)


def test_means_of_three_networks_by_weights() -> None:
    ends = [randomised(mlp([5, 7, 3]), 2, seed) for seed in range(3)]
    x = inputs((5,))
    mean = Ensemble(
        ends[0].model, {name: sum(end.params[name] for end in ends) / 3 for name in ends[0].params}
    )
    found = repair(mean, ends, x, weights=[[1 / 3] * 3])
    seen, sds = unit_statistics(found, x).sd["layer1"], [unit_statistics(end, x).sd["layer1"] for end in ends]
    np.testing.assert_allclose(seen, np.mean(sds, 0), rtol=1e-10)
    beyond = repair(mean, ends, x, weights=[[30.0, -29.0, 0.0]])
    assert np.isfinite(beyond.flat().numpy()).all()


def test_flat_units_are_only_moved() -> None:
    a = randomised(mlp([5, 4, 4, 3]), 1, 1)
    b = Ensemble(a.model, {name: value.clone() for name, value in a.params.items()})
    b.params["layer1.weight"][0, 2] *= -1
    a.params["layer2.weight"][0, 1] = b.params["layer2.weight"][0, 1] = 0
    x = inputs((5,))
    middle = between(a, b, [0.5])
    found = repair(middle, [a, b], x, t=[0.5])
    assert all(bool(value.isfinite().all()) for value in found.params.values())
    assert (found.params["layer1.weight"][0, 2] == 0).all()
    ends = [unit_statistics(end, x).mean["layer1"][0, 2] for end in (a, b)]
    assert found.params["layer1.bias"][0, 2].item() == pytest.approx(np.mean(ends))
    assert torch.equal(found.params["layer2.weight"][0, 1], torch.zeros(4, dtype=torch.float64))


@pytest.mark.parametrize("name", MODELS)
def test_neither_chunk_nor_neighbours_matter(name: str) -> None:
    model, shape = MODELS[name]
    (a, b), x = pairs(model, 3), inputs(shape)
    found = [repair(between(a, b, T), [a, b], x, t=T, chunk=chunk) for chunk in (None, 1, 5)]
    alone = repair(between(a[1], b[1], T), [a[1], b[1]], x, t=T)
    for key, value in found[0].params.items():
        assert all(torch.equal(value, one.params[key]) for one in found[1:])
        assert torch.equal(value[4:8], alone.params[key])


def test_memory_that_runs_out_halves_the_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    (a, b), x = pairs(mlp([5, 7, 3]), 3), inputs((5,))
    points = between(a, b, T)
    wanted, run, sizes = repair(points, [a, b], x, t=T), _by_layer.ByLayer.run, []

    def scarce(self, part, act):
        sizes.append(part.replicas)
        if part.replicas > 2:
            raise MemoryError
        run(self, part, act)

    monkeypatch.setattr(_by_layer.ByLayer, "run", scarce)
    found = repair(points, [a, b], x, t=T)
    assert torch.equal(found.flat(), wanted.flat())
    assert max(sizes) == 12
    monkeypatch.setattr(_pieces, "available_bytes", lambda device: 1000.0)
    with pytest.raises(MemoryError, match="at most 4 samples"):
        repair(points, [a, b], x, t=T)
    with pytest.raises(MemoryError, match="at most 2 samples"):
        reset_statistics(randomised(mlp([5, 7, 3], batch_norm=True)), x)


def test_a_path_knows_its_ends() -> None:
    (a, b), x = pairs(mlp([5, 7, 3])), inputs((5,))
    path = linear(a, b, T)
    whole = repair(path.points(), [a, b], x, t=T).flat()
    assert torch.equal(repair_path(path, x).flat(), whole)
    assert torch.equal(repair_path(path, x, pairs=slice(1, 2)).flat(), whole[4:])
    curve = bezier(a, randomised(mlp([5, 7, 3]), 2, 3), b, T)
    again = unit_statistics(repair_path(curve, x, pairs=[1]), x).sd["layer1"]
    ends = [unit_statistics(end[1], x).sd["layer1"][0] for end in (a, b)]
    np.testing.assert_allclose(again, [(1 - t) * ends[0] + t * ends[1] for t in T], rtol=1e-8)


def test_modules_that_work_in_place() -> None:
    def chain(inplace: bool) -> nn.Module:
        parts = [nn.ReLU(inplace), nn.Linear(5, 7), nn.LeakyReLU(0.1, inplace), nn.Linear(7, 3)]
        return nn.Sequential(*parts, nn.ReLU(inplace), nn.Linear(3, 2))

    x = inputs((5,))
    before, found = x.clone(), []
    for inplace in (False, True):
        a, b = pairs(chain(inplace))
        found.append(repair(between(a, b, T), [a, b], x, t=T, chunk=3))
    assert torch.equal(x, before)
    assert torch.equal(found[0].flat(), found[1].flat())


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (mlp([5, 7, 3], bias=False), "layer1 has no bias"),
        (mlp([5, 7, 3], batch_norm=True), "norm1 is a batch norm"),
        (mlp([5, 7, 7, 3], skip=True), "Residual"),
        (resnet18(width=2), "ResNet"),
    ],
)
def test_models_that_cannot_be_repaired(model: nn.Module, told: str) -> None:
    ensemble = randomised(model, 2)
    with pytest.raises(ValueError, match=told):
        repair(ensemble, [ensemble, ensemble], inputs((5,)), t=[0.5])


def test_bad_arguments() -> None:
    (a, b), x = pairs(mlp([5, 7, 3])), inputs((5,))
    points = between(a, b, T)
    for options, told in (
        ({}, "either t"),
        ({"t": T, "weights": [[1, 0]]}, "either t"),
        ({"t": T[:3]}, "8 points do not fit 3 positions"),
        ({"t": [T]}, "t must be"),
        ({"t": [0, 0.5, np.nan, 1]}, "finite"),
        ({"weights": np.ones((4, 3))}, "weights must have shape"),
        ({"t": T, "chunk": 0}, "chunk"),
    ):
        with pytest.raises(ValueError, match=told):
            repair(points, [a, b], x, **options)
    with pytest.raises(ValueError, match="at least two samples"):
        repair(points, [a, b], x[:1], t=T)
    with pytest.raises(ValueError, match="do not fit"):
        repair(points, [a, b[0]], x, t=T)


@pytest.mark.parametrize("model", [mlp([64, 7, 6, 3], batch_norm=True), resnet18(1, width=2)])
def test_batch_norms_measure_anew(model: nn.Module) -> None:
    ensemble = randomised(model, 3)
    shape = (64,) if isinstance(model, nn.Sequential) else (1, 8, 8)
    x = inputs(shape)
    found = reset_statistics(ensemble, x)
    assert found.params is ensemble.params
    for r in range(3):
        one = ensemble.module(r).double().train()
        for part in one.modules():
            if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
                part.momentum = 1.0
        # In use the networks now do what they do in training.
        wanted = one(x).detach()
        torch.testing.assert_close(outputs(found, x)[r], wanted, rtol=1e-5, atol=1e-5)
        for name, value in one.named_buffers():
            if name.endswith("running_mean"):
                torch.testing.assert_close(found.buffers[name][r], value, rtol=1e-9, atol=1e-9)
    again = reset_statistics(ensemble, x, chunk=1)
    assert all(torch.equal(again.buffers[name], value) for name, value in found.buffers.items())
    assert model[2].momentum == 0.1 if isinstance(model, nn.Sequential) else True


def test_statistics_of_several_batches_are_joined() -> None:
    ensemble, x = randomised(convnet(widths=(3, 4), batch_norm=True)), inputs((1, 8, 8), 41)
    found, whole = reset_statistics(ensemble, x, batch_size=16), reset_statistics(ensemble, x)
    left_out, wanted = reset_statistics(ensemble, x, batch_size=20), reset_statistics(ensemble, x[:40])
    for one, other in ((found, whole), (left_out, wanted)):
        for name in ("norm1.running_mean", "norm1.running_var"):
            torch.testing.assert_close(one.buffers[name], other.buffers[name])
    assert not torch.allclose(found.buffers["norm2.running_var"], whole.buffers["norm2.running_var"])


def test_dropout_is_left_out_and_norms_are_needed() -> None:
    def chain(p: float) -> nn.Module:
        return nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Dropout(p), nn.Linear(6, 4), nn.BatchNorm1d(4))

    one = randomised(chain(0.5))
    other = Ensemble(chain(0.0), one.params, one.buffers)
    x = inputs((5,))
    found, wanted = reset_statistics(one, x).buffers, reset_statistics(other, x).buffers
    assert all(torch.equal(found[name], wanted[name]) for name in found)
    with pytest.raises(ValueError, match="no batch norm"):
        reset_statistics(randomised(mlp([5, 7, 3])), x)
    with pytest.raises(ValueError, match="two samples"):
        reset_statistics(one, x, batch_size=1)


def test_folded_norms_can_be_repaired() -> None:
    a, b = (fold(one) for one in pairs(convnet(widths=(4,), batch_norm=True, bias=False), 1))
    x = inputs((1, 8, 8))
    points = between(a, b, [0, 0.5])
    found = repair(points, [a, b], x, t=[0, 0.5])
    assert function_change(found[0], a, x)[0] < 1e-9
    assert np.isfinite(evaluate(found, x, torch.zeros(40, dtype=torch.int64)).loss).all()
