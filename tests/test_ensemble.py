from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from spinscape.networks import evaluation, forward
from spinscape.networks.ensemble import CorruptFileError, Ensemble, History, evaluate, outputs
from spinscape.networks.forward import Forward, is_stackable, stacked_forward
from spinscape.networks.models import mlp


def ensemble_of(model_maker, replicas: int, seed: int = 0) -> Ensemble:
    torch.manual_seed(seed)
    return Ensemble.from_modules([model_maker() for _ in range(replicas)])


def data(count: int, *shape: int, classes: int = 3, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(count, *shape, generator=generator)
    return x, torch.randint(classes, (count,), generator=generator)


class Norm(nn.Module):
    """Batch norm and dropout, in a module of its own."""

    def __init__(self, width: int = 32):
        super().__init__()
        self.first = nn.Linear(16, width)
        self.norm = nn.BatchNorm1d(width)
        self.drop = nn.Dropout(0.5)
        self.last = nn.Linear(width, 3)

    def forward(self, x):
        return self.last(self.drop(torch.relu(self.norm(self.first(x)))))


class Branch(nn.Module):
    """Control flow that depends on data, which vmap refuses."""

    def __init__(self):
        super().__init__()
        self.line = nn.Linear(4, 3)

    def forward(self, x):
        out = self.line(x)
        return out if out.sum() > 0 else -2 * out


def warmed_norm() -> Norm:
    model = Norm()
    model.train()
    for _ in range(3):
        model(torch.rand(20, 16))
    return model


def conv() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))


MODELS = {
    "mlp": (lambda: mlp([4, 5, 3]), (4,)),
    "tanh, no bias": (lambda: mlp([4, 16, 3], activation="tanh", bias=False), (2, 2)),
    "batch norm": (warmed_norm, (16,)),
    "branch": (Branch, (4,)),
    "conv": (conv, (1, 4, 4)),
}


@pytest.mark.parametrize("name", MODELS)
def test_evaluate_agrees_with_ordinary_modules(name):
    maker, shape = MODELS[name]
    many = ensemble_of(maker, 5)
    x, y = data(600, *shape)
    found = evaluate(many, x, y, predictions=True)
    raw = outputs(many, x)
    assert raw.shape == (5, 600, 3)
    for r in range(5):
        module = many.module(r).eval()
        with torch.no_grad():
            expected = torch.cat([module(x[:512]), module(x[512:])])
        assert torch.allclose(raw[r], expected, atol=1e-5)
        loss = float(F.cross_entropy(expected.double(), y))
        assert found.loss[r] == pytest.approx(loss, abs=1e-6)
        assert np.array_equal(found.predictions[r], raw[r].argmax(1).numpy())
        assert found.accuracy[r] == np.mean(found.predictions[r] == y.numpy())


def numpy_mlp(params, r: int, x: np.ndarray) -> np.ndarray:
    h = x
    count = len(params) // 2
    for i in range(1, count + 1):
        h = h @ params[f"layer{i}.weight"][r].numpy().T + params[f"layer{i}.bias"][r].numpy()
        h = np.maximum(h, 0) if i < count else h
    return h


@settings(max_examples=25, deadline=None)
@given(
    widths=st.lists(st.integers(1, 20), min_size=2, max_size=4),
    replicas=st.integers(1, 6),
    count=st.integers(1, 40),
)
def test_float64_oracle(widths, replicas, count):
    many = ensemble_of(lambda: mlp(widths).double(), replicas)
    x, y = data(count, widths[0], classes=widths[-1])
    found = evaluate(many, x, y)
    for r in range(replicas):
        z = numpy_mlp(many.params, r, x.double().numpy())
        top = z.max(1, keepdims=True)
        logs = z - top - np.log(np.exp(z - top).sum(1, keepdims=True))
        assert found.loss[r] == pytest.approx(-logs[np.arange(count), y].mean(), abs=1e-12)
        assert found.accuracy[r] == np.mean(z.argmax(1) == y.numpy())


@pytest.mark.parametrize("name", MODELS)
def test_bits_do_not_depend_on_the_chunk(name):
    maker, shape = MODELS[name]
    many = ensemble_of(maker, 7)
    x, y = data(700, *shape)
    whole = evaluate(many, x, y, chunk=7)
    for chunk in (1, 2, 3, 100):
        part = evaluate(many, x, y, chunk=chunk)
        assert np.array_equal(part.loss, whole.loss)
        assert np.array_equal(part.accuracy, whole.accuracy)
    assert np.array_equal(evaluate(many[3], x, y).loss, whole.loss[3:4])
    assert np.array_equal(evaluate(many[[5, 0]], x, y).loss, whole.loss[[5, 0]])
    assert torch.equal(outputs(many, x, chunk=2), outputs(many, x))


def test_several_losses_come_from_one_forward_pass(monkeypatch):
    many = ensemble_of(lambda: mlp([4, 8, 3]), 3)
    x, y = data(100, 4)
    calls = []
    original = Forward.__call__

    def counted(self, *args, **kwargs):
        calls.append(1)
        return original(self, *args, **kwargs)

    monkeypatch.setattr(Forward, "__call__", counted)

    def clipped(z, labels):
        return F.cross_entropy(z, labels, reduction="none").clamp(max=1.0)

    found = evaluate(many, x, y, loss={"plain": "cross_entropy", "clipped": clipped})
    assert len(calls) == 1
    assert np.array_equal(found.loss["plain"], evaluate(many, x, y).loss)
    assert (found.loss["clipped"] <= np.minimum(found.loss["plain"], 1)).all()


def test_regression():
    many = ensemble_of(lambda: mlp([4, 3]), 2)
    x, _ = data(50, 4)
    y = torch.rand(50, 3)
    found = evaluate(many, x, y, loss="mse")
    assert found.loss[1] == pytest.approx(float(F.mse_loss(many.module(1)(x).detach(), y)), abs=1e-6)
    assert np.isnan(found.accuracy).all()


def test_evaluate_refuses():
    many = ensemble_of(lambda: mlp([4, 3]), 2)
    x, y = data(10, 4)
    with pytest.raises(ValueError, match="same positive length"):
        evaluate(many, x, y[:9])
    with pytest.raises(ValueError, match="loss must be one of"):
        evaluate(many, x, y, loss="hinge")
    with pytest.raises(ValueError, match="one value per sample"):
        evaluate(many, x, y, loss=lambda z, t: z.sum())
    with pytest.raises(ValueError, match="chunk must be at least 1"):
        evaluate(many, x, y, chunk=0)
    with pytest.raises(ValueError, match="at least one loss"):
        evaluate(many, x, y, loss={})
    bare = ensemble_of(lambda: nn.Sequential(nn.Linear(4, 3)), 2)
    with pytest.raises(ValueError, match=r"flat\(\)"):
        evaluate(bare, x.view(10, 2, 2), y)


def test_modes_and_flags_are_left_alone():
    model = warmed_norm().train()
    model.norm.eval()
    many = Ensemble.from_modules([model])
    x, y = data(64, 16)
    before = {name: value.clone() for name, value in many.buffers.items()}
    evaluate(many, x, y)
    assert model.training
    assert not model.norm.training
    assert all(torch.equal(value, before[name]) for name, value in many.buffers.items())


class Short:
    """Stands in for a machine on which no more than `room` replicas fit at once."""

    def __init__(self, room: int, error: Exception):
        self.room, self.error, self.original = room, error, Forward.__call__
        self.sizes: list[int] = []

    def bind(self, monkeypatch):
        def call(forward, params, *args, **kwargs):
            self.sizes.append(len(next(iter(params.values()))))
            if self.sizes[-1] > self.room:
                raise self.error
            return self.original(forward, params, *args, **kwargs)

        monkeypatch.setattr(Forward, "__call__", call)
        return self


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_out_of_memory_halves_the_chunk(monkeypatch, error):
    many = ensemble_of(lambda: mlp([4, 5, 3]), 9)
    x, y = data(600, 4)
    whole = evaluate(many, x, y)
    short = Short(2, error).bind(monkeypatch)
    again = evaluate(many, x, y, chunk=9)
    assert max(short.sizes[2:]) <= 5
    assert np.array_equal(again.loss, whole.loss)
    short.room = 0
    with pytest.raises(MemoryError, match="one replica and a block of 512"):
        evaluate(many, x, y)


def test_other_errors_pass_through(monkeypatch):
    many = ensemble_of(lambda: mlp([4, 5, 3]), 2)
    Short(0, RuntimeError("something else")).bind(monkeypatch)
    with pytest.raises(RuntimeError, match="something else"):
        evaluate(many, *data(10, 4))


def test_a_broken_model_raises_its_own_error():
    class Broken(Branch):
        def forward(self, x):
            raise RuntimeError("my own mistake")

    with pytest.raises(RuntimeError, match="my own mistake"):
        evaluate(ensemble_of(Broken, 2), *data(10, 4))


def test_which_mode_runs():
    def mode(model, *shape, batch=64):
        one = Ensemble.from_modules([model])
        x = torch.rand(batch, *shape)
        return Forward(model, one.params, one.buffers, x, training=False).mode(batch)

    assert mode(mlp([4, 5, 3]), 4) == "stacked"
    assert mode(Norm(32), 16) == "vmap"
    assert mode(Norm(32), 16, batch=20) == "loop"
    assert mode(Norm(33), 16) == "loop"
    assert mode(Norm(8192), 16) == "vmap"
    assert mode(Norm(2**17), 16) == "loop"
    assert mode(Branch(), 4) == "loop"


def test_what_is_stackable():
    assert is_stackable(nn.Sequential(nn.Linear(2, 2), nn.GELU(), nn.Linear(2, 2)))
    shared = nn.Linear(2, 2)
    assert not is_stackable(nn.Sequential(shared, nn.ReLU(), shared))
    assert not is_stackable(nn.Sequential(nn.Linear(2, 2), nn.Softmax(1)))
    assert not is_stackable(nn.Sequential(nn.Linear(2, 2), nn.Dropout()))
    assert not is_stackable(nn.Sequential())
    hooked = mlp([2, 2])
    hooked.layer1.register_forward_hook(lambda module, args, out: 2 * out)
    assert not is_stackable(hooked)
    tied = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    tied[1].weight = tied[0].weight
    assert not is_stackable(tied)


@pytest.mark.parametrize("widths", [[7, 5, 3], [16, 32, 10], [3, 1]])
@pytest.mark.parametrize("batch", [1, 5, 16, 33])
def test_stacked_gradients_are_those_of_the_module(widths, batch):
    modules = [mlp(widths, activation="softplus").double() for _ in range(3)]
    many = Ensemble.from_modules(modules)
    params = {name: value.requires_grad_() for name, value in many.params.items()}
    x = torch.rand(3, batch, widths[0], dtype=torch.float64)
    stacked_forward(modules[0], params, x).square().sum().backward()
    for r, module in enumerate(modules):
        module(x[r]).square().sum().backward()
        for name, value in module.named_parameters():
            assert torch.allclose(params[name].grad[r], value.grad, atol=1e-12)


@pytest.fixture(scope="module")
def large():
    """Two networks and batches whose first products are large enough for oneDNN in training."""
    torch.manual_seed(0)
    many = ensemble_of(lambda: mlp([784, 128, 10], activation="softplus"), 2)
    x = torch.rand(2, 64, 784)
    weight = many.params["layer1.weight"]
    assert forward.products.worth(weight, x.mT)
    return many, x


def loss_of(large, kind=torch.float32):
    """Return the loss as a function of the first layer's weights, and these."""
    many, x = large
    rest = {name: value.to(kind) for name, value in many.params.items()}

    def loss(weight):
        return stacked_forward(many.model, rest | {"layer1.weight": weight}, x.to(kind)).square().mean()

    return loss, rest["layer1.weight"]


def test_large_networks_can_be_differentiated_by_torch_func(large):
    loss, weight = loss_of(large)
    exact, double = loss_of(large, torch.float64)
    step = torch.randn_like(weight)
    slope = torch.func.grad(loss)(weight)
    own = double.clone().requires_grad_()
    (right,) = torch.autograd.grad(exact(own), own)
    assert right.abs().max() > 0
    assert torch.allclose(slope.double(), right, atol=1e-6 * float(right.abs().max()))
    value, change = torch.func.jvp(loss, (weight,), (step,))
    assert float(value) == pytest.approx(float(exact(double)), rel=1e-5)
    assert float(change) == pytest.approx(float((right * step).sum()), rel=1e-3)
    _, curved = torch.func.jvp(torch.func.grad(loss), (weight,), (step,))
    _, again = torch.func.jvp(torch.func.grad(exact), (double,), (step.double(),))
    assert torch.allclose(curved.double(), again, atol=1e-5 * float(again.abs().max()))


def test_large_networks_can_be_batched_by_torch_func(large):
    many, x = large
    inputs = torch.stack([x, 2 * x, x - 1])
    found = torch.func.vmap(lambda rows: stacked_forward(many.model, many.params, rows))(inputs)
    for one, rows in zip(found, inputs, strict=True):
        assert torch.allclose(one, stacked_forward(many.model, many.params, rows), atol=1e-5)


def test_only_training_multiplies_by_another_library(large, monkeypatch):
    many, x = large
    calls, product = [], forward.products.product
    monkeypatch.setattr(forward.products, "product", lambda *pair: calls.append(1) or product(*pair))
    still = stacked_forward(many.model, many.params, x)
    assert not calls
    assert torch.allclose(stacked_forward(many.model, many.params, x, training=True), still, atol=1e-5)
    assert calls


def test_indexing_concatenating_and_flattening():
    many = ensemble_of(warmed_norm, 5)
    assert len(many) == many.replicas == 5
    assert many[-1].replicas == 1
    assert torch.equal(many[-1].flat(), many[4].flat())
    assert many[1:4].replicas == 3
    assert many[np.array([True, False, True, False, False])].replicas == 2
    back = Ensemble.concatenate([many[:2], many[2], many[3:]])
    assert torch.equal(back.flat(), many.flat())
    assert torch.equal(back.buffers["norm.running_mean"], many.buffers["norm.running_mean"])
    again = many.unflatten(many.flat())
    assert all(torch.equal(again.params[name], value) for name, value in many.params.items())
    assert many[0].unflatten(torch.zeros(9, many.flat().shape[1])).replicas == 9
    assert torch.allclose(many.norms, many.flat().double().norm(dim=1))
    for bad in (5, slice(3, 3), []):
        with pytest.raises(IndexError):
            many[bad]
    with pytest.raises(ValueError, match="rows must have shape"):
        many.unflatten(torch.zeros(5, 3))
    with pytest.raises(ValueError, match="do not match the buffers"):
        many.unflatten(torch.zeros(4, many.flat().shape[1]))
    with pytest.raises(ValueError, match="different models"):
        Ensemble.concatenate([many, ensemble_of(lambda: mlp([4, 3]), 1)])
    with pytest.raises(ValueError, match="no ensemble"):
        Ensemble.concatenate([])


def test_module_is_a_copy():
    many = ensemble_of(warmed_norm, 2)
    module = many.module(1)
    assert torch.equal(module.first.weight, many.params["first.weight"][1])
    assert torch.equal(module.norm.running_var, many.buffers["norm.running_var"][1])
    with torch.no_grad():
        module.first.weight.zero_()
    assert many.params["first.weight"][1].any()
    assert many.model.first.weight.any()


def test_conversion():
    many = ensemble_of(warmed_norm, 2)
    double = many.to(torch.float64)
    assert double.dtype == torch.float64
    assert double.buffers["norm.num_batches_tracked"].dtype == torch.int64
    assert double.module(0).first.weight.dtype == torch.float64
    assert many.to("cpu").device == torch.device("cpu")
    with pytest.raises(ValueError, match="floating-point"):
        many.to(torch.int32)
    with pytest.raises(ValueError, match="device must be"):
        many.to("gpu")


def test_shapes_and_names_are_checked():
    model = mlp([4, 3])
    good = ensemble_of(lambda: model, 2).params
    with pytest.raises(ValueError, match=r"layer1\.bias must have shape \(2, 3\)"):
        Ensemble(model, good | {"layer1.bias": torch.zeros(1, 3)})
    with pytest.raises(ValueError, match="names of params differ"):
        Ensemble(model, good | {"more": torch.zeros(2)})
    with pytest.raises(ValueError, match="names of buffers differ"):
        Ensemble(model, good, {"more": torch.zeros(2)})
    with pytest.raises(ValueError, match="one architecture"):
        Ensemble.from_modules([model, mlp([4, 4, 3])])


def history(replicas: int) -> History:
    made = History.empty(3, replicas)
    made.train_loss[:2] = np.arange(2 * replicas).reshape(2, replicas)
    made.epochs_run[:] = 2
    made.diverged[0] = True
    return made


def test_history_follows_the_replicas():
    made = history(3)
    assert np.isnan(made.final("train_loss")[0])
    assert made.final("train_loss")[1:].tolist() == [4, 5]
    with pytest.raises(ValueError, match="curve must be one of"):
        made.final("loss")
    longer = History.empty(5, 2)
    both = History.concatenate([made, longer])
    assert both.train_loss.shape == (5, 5)
    assert both.epochs_run.tolist() == [2, 2, 2, 0, 0]


def test_disk_round_trip(tmp_path):
    many = ensemble_of(warmed_norm, 3)
    many = Ensemble(many.model, many.params, many.buffers, history(3))[1:]
    path = tmp_path / "deep" / "one.safetensors"
    many.save(path)
    back = Ensemble.load(path, Norm())
    assert torch.equal(back.flat(), many.flat())
    assert list(back.params) == list(many.params)
    assert all(torch.equal(back.buffers[name], value) for name, value in many.buffers.items())
    for name, value in many.history.arrays().items():
        assert np.array_equal(back.history.arrays()[name], value, equal_nan=True)
    assert [entry.name for entry in path.parent.iterdir()] == ["one.safetensors"]
    with pytest.raises(ValueError, match="must have shape"):
        Ensemble.load(path, Norm(64))
    with pytest.raises(ValueError, match="names of params"):
        Ensemble.load(path, mlp([4, 3]))
    with pytest.raises(FileNotFoundError, match="there is no file"):
        Ensemble.load(tmp_path / "none", Norm())


@pytest.mark.parametrize("how", ["bit", "cut", "empty", "text", "foreign"])
def test_damaged_file(tmp_path, how):
    from safetensors.torch import save_file

    path = tmp_path / "one.safetensors"
    ensemble_of(lambda: mlp([4, 3]), 2).save(path)
    content = path.read_bytes()
    damaged = {
        "bit": content[:-5] + bytes([content[-5] ^ 1]) + content[-4:],
        "cut": content[:-4],
        "empty": b"",
        "text": b"<html>not a tensor</html>",
        "foreign": b"",
    }[how]
    path.write_bytes(damaged)
    if how == "foreign":
        save_file({"w": torch.zeros(2)}, path)
    with pytest.raises(CorruptFileError, match=r"one\.safetensors"):
        Ensemble.load(path, mlp([4, 3]))


def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    from spinscape.networks import storage

    path = tmp_path / "one.safetensors"
    many = ensemble_of(lambda: mlp([4, 3]), 2)
    many.save(path)

    def fail(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(storage, "save_file", fail)
    with pytest.raises(OSError, match="disk full"):
        many[0].save(path)
    assert Ensemble.load(path, many.model).replicas == 2
    assert len(list(tmp_path.iterdir())) == 1


def test_block_is_a_multiple_of_whole_vectors():
    assert evaluation.BLOCK % 32 == 0


@pytest.mark.parametrize("hidden", [127, 301, 512])
def test_large_products_have_the_same_bits_alone_and_in_a_crowd(hidden: int) -> None:
    torch.manual_seed(0)
    nets = [nn.Sequential(nn.Linear(301, hidden), nn.ReLU(), nn.Linear(hidden, 7)) for _ in range(9)]
    many = Ensemble.from_modules(nets)
    x, y = torch.rand(1500, 301), torch.arange(1500) % 7
    together = evaluate(many, x, y).loss
    for r in (0, 3, 8):
        assert evaluate(many[r], x, y).loss[0] == together[r]
        assert evaluate(many, x, y, chunk=2).loss[r] == together[r]
    exact = evaluate(many.to(torch.float64), x, y).loss
    np.testing.assert_allclose(together, exact, rtol=1e-6)


def test_a_network_that_is_not_finite_has_no_accuracy() -> None:
    torch.manual_seed(0)
    nets = [nn.Linear(3, 2) for _ in range(2)]
    with torch.no_grad():
        nets[1].weight.fill_(torch.nan)
    found = evaluate(Ensemble.from_modules(nets), torch.rand(5, 3), torch.zeros(5, dtype=torch.int64))
    assert np.isfinite(found.accuracy[0])
    assert np.isnan(found.accuracy[1])
    assert np.isnan(found.loss[1])


@pytest.mark.parametrize("products", [0, None], ids=["one by one", "stacked"])
@pytest.mark.parametrize("shape", [(9,), (3, 3), (2,)], ids=str)
@pytest.mark.parametrize("count", [16, 5])
def test_inputs_of_another_number_of_features_are_refused(monkeypatch, products, shape, count):
    if products is not None:
        monkeypatch.setattr(forward, "ONEDNN_PRODUCTS", products)
    ensemble = Ensemble.from_modules([mlp([4, 6, 3]), mlp([4, 6, 3])])
    x = torch.zeros(count, *shape)
    features = x[0].numel()
    for call in (lambda: outputs(ensemble, x), lambda: evaluate(ensemble, x, torch.zeros(count).long())):
        with pytest.raises(ValueError, match=rf"x has {features} features, layer1\.weight reads 4"):
            call()


def test_layers_that_do_not_fit_each_other_are_refused():
    ensemble = Ensemble.from_modules([nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(5, 3))])
    with pytest.raises(ValueError, match=r"x has 6 features, 2\.weight reads 5"):
        outputs(ensemble, torch.zeros(16, 4))


def test_a_module_in_two_places_is_used_in_both() -> None:
    torch.manual_seed(0)
    relu = torch.nn.ReLU()
    net = torch.nn.Sequential(torch.nn.Linear(5, 7), relu, torch.nn.Linear(7, 6), relu, torch.nn.Linear(6, 3))
    x = torch.randn(20, 5)
    with torch.no_grad():
        right = net(x)
    torch.testing.assert_close(outputs(Ensemble.from_modules([net]), x)[0], right)
