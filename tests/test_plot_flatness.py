"""Figures and tables of flatness, drawn from small numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from spinscape import statistics
from spinscape.companion import plot_flatness, plotting, tables
from spinscape.landscape.flatness import local_energy, quadratic_check, rank, replica_identity
from spinscape.networks import datasets
from spinscape.networks.models import mlp
from spinscape.networks.training import train


@pytest.fixture(scope="module")
def case():
    data = datasets.load("digits").flat().shortened(100)
    nets = train(mlp([64, 8, 10]), data, replicas=3, epochs=3, batch_size=20)
    return nets, local_energy(nets, data.x_train, data.y_train, [0.2, 0.4, 0.6], draws=4)


def test_tables_have_a_word_in_every_column() -> None:
    found = tables.markdown(["a", "b"], [["x", "1"], ["y", "2"]]).data
    assert found.splitlines() == ["| a | b |", "| :-- | --: |", "| x | 1 |", "| y | 2 |"]
    with pytest.raises(ValueError, match="2 words"):
        tables.markdown(["a", "b"], [["x"]])


def test_table_a3_stands_beside_the_printed_one() -> None:
    rng = np.random.default_rng(0)
    kinds = {part: 98 + rng.random(3) for part in ("train", "test")}
    scores = {(m, kind): kinds for m in (512, 600) for kind in ("sb", "lb")}
    gain = {m: statistics.mean(rng.random(3)) for m in (512, 600)}
    lines = plot_flatness.batch_table(scores, gain).data.splitlines()
    assert "98.31, 97.56: 0.75" in lines[2]
    assert "not printed" in lines[3]
    assert "16.5" in plot_flatness.printed_table(copies=3).data


def test_energies_and_training_curves(case) -> None:
    nets, energy = case
    _, axes = plotting.panels(2)
    plot_flatness.energies(axes[0], {"a": energy, "b": energy})
    assert [line.get_label() for line in axes[0, 0].lines] == ["a", "b"]
    np.testing.assert_allclose(axes[0, 0].lines[0].get_ydata(), 100 * energy.error.mean(0))
    _, axes = plotting.panels(2)
    plot_flatness.training(axes[0], {"a": nets}, steps=[5])
    np.testing.assert_array_equal(axes[0, 0].lines[0].get_xdata(), [5, 10, 15])


def test_arms_batches_and_clouds(case) -> None:
    _, energy = case
    wrong = {(body, arm): np.arange(3.0) for body in ("mlp", "conv") for arm in plot_flatness.ARMS}
    _, axes = plotting.panels(2, rows=2)
    plot_flatness.arms(axes, wrong, dict.fromkeys(wrong, energy))
    assert [label.get_text() for label in axes[1, 0].get_xticklabels()] == list(plot_flatness.ARMS.values())
    assert "mlp, rSGD x y" in plot_flatness.arm_table(wrong, dict.fromkeys(wrong, energy), 1).data
    # An arm that has not fitted the training samples is not called flat, however little it can get worse.
    unfit = replace(energy, error=energy.error / 10, reference_error=energy.reference_error + 0.76)
    shaken = {key: unfit if key[1] == "rsgd" else energy for key in wrong}
    row = next(
        line for line in plot_flatness.arm_table(wrong, shaken, 1).data.splitlines() if "mlp, rSGD |" in line
    )
    assert "not fitted" in row
    assert "flatter" not in row
    batches = np.repeat([8, 32], 3)
    _, axes = plotting.panels(2)
    plot_flatness.against_batch(axes[0], batches, {"a": np.arange(6.0), "b": np.ones(6)})
    np.testing.assert_allclose(axes[0, 0].lines[1].get_ydata(), [1, 4])
    _, axes = plotting.panels(2)
    plot_flatness.scatter(axes[0], {"a": np.arange(6.0), "b": np.ones(6)}, np.ones(6), batches)
    assert len(axes[0, 0].lines) == 2


def test_identity_confound_entropy_and_ranking() -> None:
    _, axes = plotting.panels(2)
    plot_flatness.identity(axes[0, 0], replica_identity("double well"))
    assert len(axes[0, 0].lines) == 3
    values = np.array([[1.0, 2.0], [10.0, 20.0]])
    _, axes = plotting.panels(2)
    plot_flatness.confound(axes[0], [0.0, 1.0], {"trace": [values, np.ones((2, 2))]})
    np.testing.assert_allclose(axes[0, 0].lines[0].get_ydata(), [1, 10])
    np.testing.assert_allclose(axes[0, 1].lines[0].get_ydata(), [1, 1])
    rng = np.random.default_rng(0)
    found = rank(
        {"a": rng.random(20), "b": rng.random(20)}, rng.random(20), rng.random(20), ["x", "y"] * 10, draws=50
    )
    _, axes = plotting.panels(1)
    plot_flatness.ranking(axes[0, 0], found)
    assert [label.get_text() for label in axes[0, 0].get_yticklabels()] == ["a", "b"]
    cases = quadratic_check(dimensions=(2,), gammas=(5.0,), steps=4, chains=2)
    assert cases.exact.shape == (1, 2, 1)
