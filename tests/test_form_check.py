"""The check of normal forms holds for normal forms, and fails for what is none."""

import pytest
import torch

from spinscape.landscape.paths import form_check
from spinscape.landscape.paths.form_check import check_form
from spinscape.landscape.symmetry import NormalForm, normalize
from spinscape.networks.convolutional import convnet
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.models import mlp

MODELS = {
    "chain": (lambda: mlp([6, 8, 7, 3]), (6,)),
    "batch norm": (lambda: mlp([6, 8, 7, 3], batch_norm=True), (6,)),
    "convolution": (lambda: convnet(1, 3, size=8, widths=(4, 5)), (1, 8, 8)),
}


def _case(name):
    torch.manual_seed(0)
    make, shape = MODELS[name]
    nets = Ensemble.from_modules([make() for _ in range(3)])
    for key, value in nets.buffers.items():
        if key.endswith("running_mean"):
            value.normal_()
        elif key.endswith("running_var"):
            value.uniform_(0.5, 2)
    return nets, torch.randn(20, *shape)


@pytest.mark.parametrize("name", MODELS)
def test_normal_forms_compute_the_same_on_spheres(name):
    found = check_form(*_case(name))
    assert found.output_change < 1e-13
    assert found.predictions_changed == 0
    assert found.norm_error < 1e-13
    assert found.control_change > 0.1
    assert found.units > 3


@pytest.mark.parametrize("what", ["outputs", "norms"])
def test_a_wrong_form_is_noticed(monkeypatch, what):
    nets, x = _case("chain")

    def wrong(ensemble):
        form = normalize(ensemble)
        params = dict(form.ensemble.params)
        name = "layer3.weight" if what == "outputs" else "layer1.weight"
        params[name] = params[name].clone()
        params[name][:, 0] *= 1.5
        return NormalForm(Ensemble(form.ensemble.model, params), form.output_scale, form.norms)

    monkeypatch.setattr(form_check, "normalize", wrong)
    found = check_form(nets, x)
    assert found.output_change > 1e-3
    assert found.norm_error > 1e-2
