"""Products of stacked matrices by either library, with gradients."""

import pytest
import torch

from spinscape.networks import optimisers, products
from spinscape.networks.datasets import load
from spinscape.networks.models import mlp
from spinscape.networks.training import train

SHAPES = [(3, 40, 784, 128), (2, 7, 33, 19), (1, 64, 513, 100)]


@pytest.fixture
def small(monkeypatch):
    """Let oneDNN multiply small matrices too."""
    monkeypatch.setattr(products, "TRAINED_PRODUCTS", 1)
    assert products.usable(torch.zeros(1)), "this build of PyTorch has no oneDNN product"


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("turned", [False, True], ids=["rows", "columns"])
@pytest.mark.usefixtures("small")
def test_product_and_its_gradients_are_those_of_double_precision(shape, turned):
    r, m, k, n = shape
    torch.manual_seed(0)
    a, b = torch.randn(r, m, k), (torch.randn(r, n, k).mT if turned else torch.randn(r, k, n))
    assert products.worth(a, b)
    weights = torch.randn(r, m, n)
    results = []
    for kind in (torch.float32, torch.float64):
        pair = [value.to(kind).requires_grad_() for value in (a, b)]
        out = products.product(*pair)
        first = torch.autograd.grad((out * weights.to(kind)).square().sum(), pair, create_graph=True)
        second = torch.autograd.grad(sum(one.square().sum() for one in first), pair)
        results.append([out, *first, *second])
    for found, right in zip(*results, strict=True):
        torch.testing.assert_close(
            found.double(), right, rtol=0, atol=2e-6 * float(right.detach().abs().max())
        )


@pytest.mark.usefixtures("small")
def test_a_network_has_the_same_bits_beside_any_others():
    torch.manual_seed(0)
    a, b = torch.randn(6, 11, 37), torch.randn(6, 37, 21)
    whole = products.product(a, b)
    for r in range(6):
        torch.testing.assert_close(products.product(a[r : r + 1], b[r : r + 1])[0], whole[r], rtol=0, atol=0)


def test_small_and_double_products_are_left_to_bmm(monkeypatch):
    a, b = torch.randn(2, 30, 100), torch.randn(2, 100, 1000)
    assert products.worth(a, b)
    assert not products.worth(a, b[..., :999])
    assert not products.worth(a.double(), b.double())
    monkeypatch.setattr(products, "_LINEAR", None)
    assert not products.worth(a, b)


@pytest.mark.parametrize("hidden", [13, 64])
def test_training_has_the_same_bits_whichever_chunk_and_the_same_numbers_by_either_library(
    monkeypatch, hidden
):
    data = load("digits").flat()
    calls, linear = [], products.linear
    monkeypatch.setattr(products, "linear", lambda *given: calls.append(1) or linear(*given))
    settings = {"replicas": 3, "epochs": 2, "batch_size": 50, "device": "cpu", "seed": 1}

    def run(count: int, **more):
        monkeypatch.setattr(products, "TRAINED_PRODUCTS", count)
        return train(mlp([64, hidden, 10]), data, **settings, **more).params

    fast, apart = run(1), run(1, chunk=1)
    count = len(calls)
    assert count > 0
    plain = run(10**12)
    assert len(calls) == count
    for name, value in fast.items():
        assert torch.equal(value, apart[name]), name
        torch.testing.assert_close(value, plain[name], rtol=0, atol=1e-4)


@pytest.mark.parametrize("shape", [(3,), (4, 13), (2, 5, 16), (1, 1, 1)], ids=str)
@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.float16], ids=str)
def test_rows_fill_whole_vectors_and_show_the_same_numbers(shape, kind):
    stacked = torch.randn(shape).to(kind)
    rows = optimisers.as_rows(stacked)
    assert rows.is_contiguous()
    assert rows.shape[1] * rows.element_size() % 64 == 0
    seen = optimisers.as_stacked(rows, stacked.shape[1:])
    assert torch.equal(seen, stacked)
    seen.fill_(1)
    assert rows.sum() == stacked.numel()


def test_rows_take_no_copy_of_what_fills_vectors():
    stacked = torch.randn(3, 4, 16)
    assert optimisers.as_rows(stacked).data_ptr() == stacked.data_ptr()


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_adam_by_rows_is_adam(decay):
    torch.manual_seed(0)
    start, slopes = torch.randn(3, 5, 7, dtype=torch.float64), torch.randn(6, 3, 5, 7, dtype=torch.float64)
    make = optimisers.factory("adam", torch.device("cpu"), learning_rate=0.03, weight_decay=decay)
    rows, plain = optimisers.as_rows(start).requires_grad_(), start.clone().requires_grad_()
    ours, theirs = make([rows]), torch.optim.Adam([plain], lr=0.03, weight_decay=decay, foreach=False)
    for slope in slopes:
        rows.grad, plain.grad = optimisers.as_rows(slope), slope.clone()
        ours.step()
        theirs.step()
    torch.testing.assert_close(
        optimisers.as_stacked(rows.detach(), start.shape[1:]), plain.detach(), rtol=1e-13, atol=1e-13
    )
    assert optimisers.as_rows(start).shape[1] == 40
    assert rows.detach()[:, 35:].abs().sum() == 0
