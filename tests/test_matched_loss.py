"""Networks that are put at one training loss."""

from __future__ import annotations

import numpy as np
import pytest

from spinscape.landscape.matched_loss import match_loss
from spinscape.networks import datasets
from spinscape.networks.evaluation import evaluate, outputs
from spinscape.networks.models import mlp
from spinscape.networks.training import train


@pytest.fixture(scope="module")
def case():
    data = datasets.load("digits").flat().shortened(200)
    return train(mlp([64, 32, 10]), data, replicas=3, epochs=15, batch_size=20, learning_rate=3e-3), data


def test_losses_agree_and_answers_stay(case) -> None:
    nets, data = case
    before = evaluate(nets, data.x_train, data.y_train, predictions=True)
    level = 1.5 * float(np.max(before.loss))
    found = match_loss(nets, data.x_train, data.y_train, level)
    after = evaluate(found.networks, data.x_train, data.y_train, predictions=True)
    np.testing.assert_allclose(after.loss, level, rtol=1e-4)
    np.testing.assert_allclose(found.loss, level, rtol=1e-9)
    np.testing.assert_array_equal(after.predictions, before.predictions)
    scaled = outputs(nets, data.x_test) * found.factor[:, None, None]
    np.testing.assert_allclose(outputs(found.networks, data.x_test), scaled, rtol=1e-4, atol=1e-5)
    assert (found.factor < 1).all()


def test_levels_that_cannot_be_reached_are_refused(case) -> None:
    nets, data = case
    wrong = data.y_train.roll(1)
    with pytest.raises(ValueError, match="reaches a loss of"):
        match_loss(nets, data.x_train, wrong, 0.5)
    for level in (0.0, 3.0):
        with pytest.raises(ValueError, match="must lie between"):
            match_loss(nets, data.x_train, data.y_train, level)


def test_networks_that_cannot_reach_it_come_as_near_as_they_get(case) -> None:
    nets, data = case
    wrong = data.y_train.roll(1)
    found = match_loss(nets, data.x_train, wrong, 0.5, strict=False)
    assert (found.loss > 2).all()
    usual = match_loss(nets, data.x_train, data.y_train)
    own = evaluate(nets, data.x_train, data.y_train).loss
    np.testing.assert_allclose(usual.loss, 1.01 * np.max(own), rtol=1e-6)
