"""On a GPU: the same results as on the CPU, from training to every probe of the chapters."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from small import network
from spinscape.landscape.downhill import downhill_walks
from spinscape.landscape.flatness import hessian_trace
from spinscape.landscape.kinks import kink_rise
from spinscape.landscape.walks import random_walks
from spinscape.networks import datasets
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
        (downhill_walks, {"sigmas": [0.01, 0.1], "steps": 3, "trials": 5}, "loss"),
    ):
        one, other = (getattr(probe(e, x, y, **options), name) for e in both)
        np.testing.assert_allclose(one, other, rtol=1e-8)
    walks = [random_walks(e, {"a": (x, y)}, sigmas=[0.1], steps=3, walks=2) for e in both]
    np.testing.assert_allclose(
        walks[0].loss["a"]["cross_entropy"], walks[1].loss["a"]["cross_entropy"], rtol=1e-8
    )


def test_training_starts_alike_and_ends_close() -> None:
    digits = datasets.load("digits").flat()
    options = {"replicas": 3, "epochs": 2, "batch_size": 64, "dtype": torch.float64}
    one, other = (train(mlp([64, 16, 10]), digits, device=d, **options) for d in ("cpu", "cuda"))
    np.testing.assert_allclose(one.history.train_loss, other.history.train_loss, rtol=1e-6)
