"""Hutchinson's trace against the dense Hessian and a second library."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from small import dense_hessian, network
from spinscape.landscape.flatness.trace import _signs, hessian_trace
from spinscape.landscape.steps import PROBES, generator
from spinscape.networks.ensemble import Ensemble


def test_trace_against_thedense_hessian(data) -> None:
    x, y = data[0].double(), data[1]
    nets = [network(s).double() for s in range(3)]
    found = hessian_trace(Ensemble.from_modules(nets), x, y, probes=600)
    for r, net in enumerate(nets):
        exact = float(dense_hessian(net, x, y).trace())
        assert abs(found.trace[r] - exact) < 4 * found.standard_error[r]
        net.zero_grad()
        functional.cross_entropy(net(x), y).backward()
        norm = sum(float((p.grad**2).sum()) for p in net.parameters()) ** 0.5
        assert found.gradient_norm[r] == pytest.approx(norm, rel=1e-10)


def test_trace_against_pyhessian(data) -> None:
    pyhessian = pytest.importorskip("pyhessian")
    x, y = data
    net = network(1)
    torch.manual_seed(0)
    other = pyhessian.hessian(net, nn.CrossEntropyLoss(), data=(x, y), cuda=False)
    samples = np.array(other.trace(maxIter=400, tol=0.0))
    found = hessian_trace(Ensemble.from_modules([net]), x, y, probes=400)
    error = np.hypot(found.standard_error[0], samples.std(ddof=1) / np.sqrt(len(samples)))
    assert abs(found.trace[0] - samples.mean()) < 4 * error


def test_bad_input_is_refused(ensemble, data) -> None:
    with pytest.raises(ValueError, match="at least 2"):
        hessian_trace(ensemble, *data, probes=1)


def test_each_probe_against_the_dense_hessian(data) -> None:
    x, y = data[0].double(), data[1]
    net = network(2).double()
    found = hessian_trace(Ensemble.from_modules([net]), x, y, probes=5, seed=4)
    dense = dense_hessian(net, x, y)
    source = generator(4, PROBES, 0)
    samples = []
    for _ in range(5):
        v = torch.cat([_signs({"p": p}, source)["p"].flatten() for p in net.parameters()])
        samples.append(float(v @ dense @ v))
    assert found.trace[0] == pytest.approx(np.mean(samples), rel=1e-9)
    assert found.standard_error[0] == pytest.approx(np.std(samples, ddof=1) / np.sqrt(5), rel=1e-9)
