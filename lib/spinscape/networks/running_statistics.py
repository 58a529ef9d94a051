"""Running statistics of batch norms, measured anew.

A batch norm brings a network's activations to the mean and variance that it learnt, if it knows those that
come in; of a network between others it does not.
Measuring them does for networks with batch norms what `spinscape.landscape.paths.repair` does for those
without (Jordan et al., arXiv:2211.08403, section 3).
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from spinscape.networks._pieces import check_samples, in_chunks
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.forward import Forward, training_mode
from spinscape.networks.units import join

__all__ = ["reset_statistics", "with_statistics"]


def with_statistics(
    ensemble: Ensemble, x: Tensor, *, batch_size: int | None = None, chunk: int | None = None
) -> Ensemble:
    """Return networks that can be used as they are: batch norms measured anew, where there are any.

    A mean of networks, or a point that training did not itself pass through, needs this before it is
    evaluated. Arguments and errors are those of :func:`reset_statistics`; networks without batch norms are
    returned as they are.
    """
    norms = any(tracks(module) for module in ensemble.model.modules())
    return reset_statistics(ensemble, x, batch_size=batch_size, chunk=chunk) if norms else ensemble


def tracks(module: nn.Module) -> bool:
    """Tell whether a module is a batch norm with running statistics."""
    return isinstance(module, _BatchNorm) and module.track_running_stats


def reset_statistics(
    ensemble: Ensemble, x: Tensor, *, batch_size: int | None = None, chunk: int | None = None
) -> Ensemble:
    """Measure the running statistics of all batch norms anew, as a network between others needs it.

    Each batch norm normalises by the statistics of the batch while those behind it are measured; dropout is
    left out.

    Parameters
    ----------
    ensemble
        R networks of any model with batch norms.
    x
        Inputs ``(N, ...)``.
    batch_size
        Samples at once, at least two; by default all, which is exact: the networks in use then do what they
        do in training on `x`.
        Statistics of several batches are joined; a last batch of one sample is left out.
    chunk
        Networks at once; by default what fits the cache or the GPU.

    Returns
    -------
    Ensemble
        The same networks with other buffers.

    Raises
    ------
    ValueError
        If the model has no batch norm with running statistics, or there are fewer than two samples.
    MemoryError
        If the layers of one network do not fit in memory; it tells how many samples do.
    """
    model = deepcopy(ensemble.model)
    norms: list[str] = []
    for name, module in list(model.named_modules()):
        if isinstance(module, _DropoutNd):
            model.set_submodule(name, nn.Identity())
        if tracks(module):
            module.momentum = 1.0  # type: ignore[assignment]
            norms.append(name)
    if not norms:
        raise ValueError(
            "the model has no batch norm with running statistics; repair() resets those of layers"
        )
    size = len(x) if batch_size is None else batch_size
    if min(size, len(x)) < 2:
        raise ValueError(f"statistics need at least two samples in a batch, not {min(size, len(x))}")
    x = x.to(ensemble.device, ensemble.dtype if x.is_floating_point() else x.dtype)
    batches = [part for part in x.split(size) if len(part) > 1]
    positions = _positions(model, ensemble, norms, x[:2])
    widest = max(ensemble.buffers[join(name, "running_mean")][0].numel() * n for name, n in positions.items())
    each = 8.0 * ensemble.dtype.itemsize * len(batches[0]) * max(widest, x[0].numel())
    check_samples(each, len(batches[0]), ensemble.device)
    found = {name: value.clone() for name, value in ensemble.buffers.items()}
    shares = torch.tensor([len(part) for part in batches]).to(x.device, ensemble.dtype)
    shares = (shares / shares.sum())[:, None, None]

    def work(few: Ensemble, rows: slice) -> None:
        forward = Forward(model, few.params, few.buffers, batches[0], training=True)
        seen = [_trained(forward, few, part) for part in batches]
        for name in norms:
            mean_of, variance_of = join(name, "running_mean"), join(name, "running_var")
            means = torch.stack([state[mean_of] for state in seen])
            # PyTorch stores the unbiased variance and normalises by the other one.
            counts = (len(part) * positions[name] for part in batches)
            variances = [state[variance_of] * ((n - 1) / n) for state, n in zip(seen, counts, strict=True)]
            mean = (shares * means).sum(0)
            found[mean_of][rows] = mean
            found[variance_of][rows] = (shares * (torch.stack(variances) + (means - mean).square())).sum(0)

    in_chunks(ensemble, each, work, chunk)
    return Ensemble(ensemble.model, ensemble.params, found)


def _trained(forward: Forward, ensemble: Ensemble, x: Tensor) -> dict[str, Tensor]:
    """Return the buffers after one batch in training mode."""
    state = {name: value.clone() for name, value in ensemble.buffers.items()}
    with torch.no_grad():
        forward(ensemble.params, state, x, shared=True)
    return state


def _positions(model: nn.Module, ensemble: Ensemble, norms: list[str], x: Tensor) -> dict[str, int]:
    """Return over how many positions of a sample each batch norm takes its statistics."""
    found: dict[str, int] = {}

    def count(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        return lambda _, given: found.__setitem__(name, given[0][0, 0].numel())

    hooks = [model.get_submodule(name).register_forward_pre_hook(count(name)) for name in norms]
    tensors = {name: value[0] for name, value in (ensemble.params | ensemble.buffers).items()}
    with torch.no_grad(), training_mode(model, False):
        functional_call(model, tensors, (x,))
    for hook in hooks:
        hook.remove()
    return found
