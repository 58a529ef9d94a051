"""Means of many networks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spinscape.landscape.paths import merge, repair, reset_statistics, soup, unit_statistics
from spinscape.landscape.symmetry import align, permute, random_permutations
from spinscape.networks.convolutional import convnet
from spinscape.networks.ensemble import Ensemble, evaluate
from spinscape.networks.models import mlp
from symmetric import randomised


def data(count: int = 50) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(3)
    x = torch.randn(count, 6, generator=g, dtype=torch.float64)
    return x, torch.randint(0, 3, (count,), generator=g)


def copies(count: int = 6) -> Ensemble:
    one = randomised(mlp([6, 8, 5, 3]), 1)
    return permute(one, random_permutations(one, replicas=count, seed=5))


def test_copies_merge_without_loss_once_aligned() -> None:
    ensemble, (x, y) = copies(), data()
    own = evaluate(ensemble[0], x, y)
    aligned = merge(ensemble, [1, 2, 3], x, y, groups=2)
    assert aligned.counts.tolist() == [1, 2, 3]
    assert aligned.loss == pytest.approx(np.full((3, 2), own.loss[0]), rel=1e-12)
    assert aligned.error == pytest.approx(np.full((3, 2), 1 - own.accuracy[0]))
    assert aligned.single_loss == pytest.approx(np.full((3, 2), own.loss[0]), rel=1e-12)
    raw = merge(ensemble, [1, 2, 3], x, y, groups=2, reference=None)
    assert raw.loss[0] == pytest.approx(aligned.loss[0], rel=1e-12)
    assert np.abs(raw.loss[1:] - aligned.loss[1:]).min() > 0.01


@pytest.mark.parametrize("reference", [None, 1, "barycentre"])
def test_means_are_of_the_first_networks_of_each_group(reference: int | str | None) -> None:
    ensemble, (x, y) = randomised(mlp([6, 8, 3]), 6), data()
    found = merge(ensemble, [2, 3], x, y, groups=2, reference=reference)
    for k, n in enumerate((2, 3)):
        for g in range(2):
            group = ensemble[3 * g : 3 * g + n]
            if reference is not None:
                group = align(group, reference).ensemble
            mean = Ensemble(
                group.model, {name: value.mean(0, keepdim=True) for name, value in group.params.items()}
            )
            wanted = evaluate(mean, x, y)
            assert found.loss[k, g] == pytest.approx(wanted.loss[0], rel=1e-10)
            assert found.error[k, g] == pytest.approx(1 - wanted.accuracy[0])
    each = evaluate(ensemble, x, y)
    np.testing.assert_allclose(found.single_loss.T.ravel(), each.loss, rtol=1e-12)
    np.testing.assert_allclose(found.single_error.T.ravel(), 1 - each.accuracy)


def test_a_group_does_not_depend_on_the_others() -> None:
    ensemble, (x, y) = randomised(mlp([6, 8, 3]), 6), data()
    both = merge(ensemble, [1, 3], x, y, groups=2, repair=True)
    alone = merge(ensemble[3:], [1, 3], x, y, repair=True)
    assert np.array_equal(both.loss[:, 1:], alone.loss)


def test_repaired_means_have_the_mean_statistics() -> None:
    ensemble, (x, _) = randomised(mlp([6, 8, 5, 3]), 6), data()
    found = soup(ensemble, groups=2, reference=None, repair=True, samples=x)
    each, mean = unit_statistics(ensemble, x), unit_statistics(found, x)
    for layer in each.layers:
        wanted = each.sd[layer].reshape(2, 3, -1).mean(1)
        np.testing.assert_allclose(mean.sd[layer], wanted, rtol=1e-8)
        np.testing.assert_allclose(mean.mean[layer], each.mean[layer].reshape(2, 3, -1).mean(1), atol=1e-9)
    plain = soup(ensemble[:2], reference=None)
    again = repair(plain, [ensemble[0], ensemble[1]], x, t=[0.5])
    torch.testing.assert_close(
        soup(ensemble[:2], reference=None, repair=True, samples=x).flat(),
        again.flat(),
        rtol=1e-12,
        atol=1e-12,
    )


def test_batch_norms_are_measured_anew() -> None:
    ensemble = randomised(convnet(widths=(3, 4), batch_norm=True), 4)
    x = torch.randn(20, 1, 8, 8, dtype=torch.float64)
    found = soup(ensemble, repair=True, samples=x)
    wanted = reset_statistics(soup(ensemble), x)
    assert all(torch.equal(found.buffers[name], value) for name, value in wanted.buffers.items())


def test_bad_arguments() -> None:
    ensemble, (x, y) = randomised(mlp([6, 8, 3]), 4), data()
    for options, told in (
        ({"groups": 3}, "groups must divide"),
        ({"groups": 0}, "groups must divide"),
        ({"counts": [5]}, "at most the 4 networks"),
        ({"counts": [2, 0]}, "counts"),
        ({"counts": []}, "counts"),
        ({"reference": "mean"}, "reference"),
        ({"reference": True}, "reference"),
    ):
        with pytest.raises(ValueError, match=told):
            merge(ensemble, **({"counts": [1]} | options), x=x, y=y)
    with pytest.raises(IndexError, match="no network 3"):
        merge(ensemble, [1, 2], x, y, reference=3)
    with pytest.raises(ValueError, match="samples"):
        soup(ensemble, repair=True)
