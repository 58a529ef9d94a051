from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from small import network
from spinscape.companion.memo import key
from spinscape.landscape import pruning
from spinscape.landscape.pruning import harmless, masks, prune
from spinscape.networks.datasets import Dataset, load
from spinscape.networks.ensemble import Ensemble, evaluate
from spinscape.networks.models import mlp
from spinscape.networks.training import train


@pytest.fixture(scope="module")
def few() -> Dataset:
    digits = load("digits").flat()
    return Dataset("few", *digits.subset("train", 400), *digits.subset("test", 200), digits.classes)


@pytest.fixture(scope="module")
def trained(few) -> Ensemble:
    return train(mlp([64, 24, 10]), few, replicas=3, epochs=15, batch_size=32, learning_rate=5e-3)


@pytest.mark.parametrize("fraction", [0, 0.25, 0.5, 0.71, 0.97])
def test_global_masks_leave_the_largest_of_all_weights(trained, fraction) -> None:
    kept = masks(trained, fraction)
    assert kept.keys() == {"layer1.weight", "layer2.weight"}
    for r in range(3):
        flat = torch.cat([trained.params[name][r].abs().flatten() for name in kept])
        left = torch.cat([mask[r].flatten() for mask in kept.values()])
        assert int((~left).sum()) == round(fraction * len(flat))
        assert fraction == 0 or flat[~left].max() <= flat[left].min()


def test_layer_masks_leave_the_largest_of_every_layer(trained) -> None:
    for name, mask in masks(trained, 0.6, scope="layer").items():
        for r in range(3):
            weights = trained.params[name][r].abs()
            assert int((~mask[r]).sum()) == round(0.6 * weights.numel())
            assert weights[~mask[r]].max() <= weights[mask[r]].min()


def test_random_masks_belong_to_a_network_and_a_seed(trained) -> None:
    every, first = (masks(e, 0.5, criterion="random", seed=2) for e in (trained, trained[:2]))
    for name, mask in every.items():
        assert torch.equal(mask[:2], first[name])
        assert not torch.equal(mask[0], mask[1])
    other = masks(trained, 0.5, criterion="random", seed=3)
    assert not torch.equal(other["layer1.weight"], every["layer1.weight"])
    assert sum(int((~mask[0]).sum()) for mask in every.values()) == (64 + 10) * 24 / 2


def test_accuracy_before_retraining_is_that_of_the_masked_network(trained, few) -> None:
    found = prune(trained, few, [0, 0.8], scope="layer")
    assert found.accuracy.shape == (2, 3)
    np.testing.assert_array_equal(found.accuracy[0], found.dense_accuracy)
    np.testing.assert_array_equal(found.loss[0], found.dense_loss)
    module = trained.module(1)
    with torch.no_grad():
        for layer in (module.layer1, module.layer2):
            small = layer.weight.abs().flatten().argsort()[: round(0.8 * layer.weight.numel())]
            layer.weight.view(-1)[small] = 0
        hits = (module(few.x_test).argmax(1) == few.y_test).double().mean()
    assert found.accuracy[1, 1] == pytest.approx(float(hits))
    assert np.isnan(found.retrained_accuracy).all()
    np.testing.assert_allclose(found.left["layer2.weight"][1], 0.2)
    assert found.weights == 64 * 24 + 24 * 10


def test_retraining_repairs_and_does_not_depend_on_the_other_copies(trained, few, monkeypatch) -> None:
    options = {"epochs": 6, "batch_size": 32, "learning_rate": 5e-3}
    whole = prune(trained, few, [0, 0.9, 0.95], retraining=options)
    assert (whole.retrained_accuracy[1:] > whole.accuracy[1:]).all()
    assert (whole.retrained_loss[1:] < whole.loss[1:]).all()
    one = prune(trained[:1], few, [0.9], retraining=options)
    assert one.retrained_loss[0, 0] == whole.retrained_loss[1, 0]
    monkeypatch.setattr(pruning, "COPIES_BYTES", 1)
    apart = prune(trained, few, [0, 0.9, 0.95], retraining=options)
    np.testing.assert_array_equal(apart.retrained_loss, whole.retrained_loss)
    np.testing.assert_array_equal(apart.left["layer1.weight"], whole.left["layer1.weight"])


def test_controls_are_trained_for_as_long(trained, few) -> None:
    options = {"epochs": 3, "batch_size": 32, "learning_rate": 5e-3}
    once = prune(trained, few, [0, 0.9], retraining=options)
    np.testing.assert_array_equal(once.control_loss[0], once.retrained_loss[0])
    np.testing.assert_array_equal(once.control_loss[1], once.control_loss[0])
    assert (once.control_loss != once.dense_loss).all()
    gradual = prune(trained, few, [0.0, 0.5, 0.9], retraining=options, gradual=True)
    np.testing.assert_array_equal(gradual.retrained_loss[0], gradual.control_loss[0])
    np.testing.assert_array_equal(gradual.retrained_loss[0], once.control_loss[0])
    assert (gradual.control_loss[1] != gradual.control_loss[0]).all()


def test_gradual_pruning_keeps_what_is_pruned(trained, few, monkeypatch) -> None:
    seen = []
    kept = pruning._left
    monkeypatch.setattr(pruning, "_left", lambda *args: seen.append(kept(*args)) or seen[-1])
    options = {"epochs": 5, "batch_size": 32, "learning_rate": 5e-3}
    shares = [0.5, 0.7, 0.8, 0.9, 0.95]
    gradual = prune(trained, few, shares, retraining=options, gradual=True)
    for earlier, later in pairwise(seen):
        assert all(not (later[name] & ~earlier[name]).any() for name in later)
    np.testing.assert_allclose(
        sum(m.sum() for m in seen[-1].values()) / (3 * gradual.weights), 0.05, atol=1e-3
    )
    first = prune(trained[:1], few, shares, retraining=options, gradual=True)
    np.testing.assert_array_equal(first.retrained_loss[:, 0], gradual.retrained_loss[:, 0])


def test_planted_redundancy_is_found(few) -> None:
    """Of a network of 8 units, widened by 56 units that do nothing, seven eighths are redundant."""
    small = train(mlp([64, 8, 10], bias=False), few, replicas=2, epochs=20, batch_size=32, learning_rate=1e-2)
    first, second = small.params.values()
    noise = torch.Generator().manual_seed(0)
    wide = Ensemble(
        mlp([64, 64, 10], bias=False),
        {
            "layer1.weight": torch.cat([first, 1e-6 * torch.randn(2, 56, 64, generator=noise)], 1),
            "layer2.weight": torch.cat([second, 1e-6 * torch.randn(2, 10, 56, generator=noise)], 2),
        },
    )
    found = prune(wide, few, [0.5, 0.875, 0.95, 0.99])
    reference = evaluate(small, few.x_test, few.y_test)
    np.testing.assert_allclose(found.loss[1], reference.loss, rtol=1e-5)
    shares = harmless(found.accuracy, found.fractions, found.dense_accuracy, 0.02)
    assert (shares >= 0.875).all()
    assert (shares < 0.99).all()
    control = prune(wide, few, [0.5, 0.875], criterion="random")
    assert (control.loss > found.loss[:2] + 0.1).all()


def test_harmless_stops_at_the_first_loss() -> None:
    accuracy = [[0.9, 0.9, 0.5], [0.89, 0.6, 0.9], [0.9, 0.9, 0.9]]
    found = harmless(accuracy, [0, 0.5, 0.9], [0.9, 0.9, 0.9], 0.01)
    np.testing.assert_array_equal(found, [0.9, 0, np.nan])
    with pytest.raises(ValueError, match="must rise"):
        harmless(accuracy, [0, 0, 0.9], [0.9, 0.9, 0.9], 0.01)


def test_a_key_sees_starts_and_masks(trained, few) -> None:
    kept = masks(trained, 0.5)
    keys = {
        key(train, (trained.model, few), {"start": trained, "masks": kept}),
        key(train, (trained.model, few), {"start": trained}),
        key(train, (trained.model, few), {"start": trained[[1, 0, 2]]}),
        key(train, (trained.model, few), {"start": trained, "masks": masks(trained, 0.51)}),
        key(train, (trained.model, few), {"start": trained, "streams": [0, 1, 1]}),
    }
    assert len(keys) == 5


def test_results_are_kept(trained, few, tmp_path, monkeypatch) -> None:
    from spinscape.companion.memo import remember
    from spinscape.landscape.loss_spread import loss_spread
    from spinscape.landscape.path_activity import path_activity
    from spinscape.landscape.path_usage import path_usage

    monkeypatch.setenv("SPINSCAPE_MEMO", str(tmp_path))
    calls = [
        (prune, (trained, few, [0.5]), {"retraining": {"epochs": 1}}),
        (path_activity, (trained, few.x_test), {"pairs": 20}),
        (path_usage, (trained, [0.5]), {}),
        (loss_spread, (few, [3, 4]), {"networks": 3, "epochs": 1}),
    ]
    for function, args, options in calls:
        first = remember(function, *args, **options)
        again = remember(function, *args, **options)
        assert type(again) is type(first)
        for name, value in vars(first).items():
            for one, other in zip(
                *(v.values() if isinstance(v, dict) else [v] for v in (value, vars(again)[name])), strict=True
            ):
                np.testing.assert_array_equal(one, other)
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fractions": [1.0]}, "must lie in"),
        ({"fractions": [np.nan]}, "must lie in"),
        ({"fractions": []}, "at least one number"),
        ({"scope": "unit"}, "scope must be"),
        ({"criterion": "size"}, "criterion"),
        ({"retraining": {"masks": {}}}, "cannot set masks"),
        ({"gradual": True}, "gradual pruning needs"),
        ({"gradual": True, "retraining": {"epochs": 1}, "fractions": [0.5, 0.4]}, "gradual pruning needs"),
    ],
)
def test_refuses(trained, few, options, message) -> None:
    with pytest.raises(ValueError, match=message):
        prune(trained, few, **options)


def test_refuses_a_model_without_weights(few) -> None:
    bare = Ensemble.from_modules([torch.nn.LayerNorm(64)])
    with pytest.raises(ValueError, match="no weights to prune"):
        masks(bare, 0.5)
    assert masks(Ensemble.from_modules([network(0)]), 0.5).keys() == {"0.weight", "2.weight"}
