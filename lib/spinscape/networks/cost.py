"""What training costs: floating-point operations counted, hours projected from a throughput."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from spinscape.networks.convolutional import check_counts
from spinscape.networks.forward import training_mode


def training_flops(model: nn.Module, shape: Sequence[int], samples: int, epochs: int) -> float:
    """Count the operations that training one network takes.

    Matrix products and convolutions of a forward and a backward pass are counted by PyTorch's
    ``FlopCounterMode``, an addition and a multiplication as two; norms, activations, poolings and optimiser
    are not, a few percent for convolutions.
    The first layer needs no gradient of its inputs and is counted so.

    Parameters
    ----------
    model
        Any network; nothing of it is computed or copied. What does not fit in memory can be built under
        ``torch.device("meta")``.
    shape
        Of one input, such as ``(3, 32, 32)``.
    samples
        Training samples per epoch.
    epochs
        Passes over them.

    Returns
    -------
    float
        Operations.

    Raises
    ------
    ValueError
        If a number is below 1.

    Examples
    --------
    Per sample and weight two operations forwards, two for the slope of the weight, and two for that of the
    input where it is needed.

    >>> from spinscape.networks.models import mlp
    >>> training_flops(mlp([64, 32, 10]), (64,), samples=1, epochs=1) == 4 * 64 * 32 + 6 * 32 * 10
    True
    """
    check_counts(samples=samples, epochs=epochs)
    for size in shape:
        check_counts(shape=size)
    # Shapes without numbers; two samples, as batch norms refuse a single one.
    tensors = {n: torch.empty_like(p, device="meta", requires_grad=True) for n, p in model.named_parameters()}
    tensors |= {n: torch.empty_like(value, device="meta") for n, value in model.named_buffers()}
    x = torch.empty(2, *shape, dtype=next(model.parameters()).dtype, device="meta")
    counter = FlopCounterMode(display=False)
    with training_mode(model, True), counter:
        functional_call(model, tensors, (x,)).sum().backward()
    return counter.get_total_flops() / 2 * samples * epochs


def hours(flops: float, throughput: float) -> float:
    """Return the hours that so many operations take at a throughput in operations per second.

    Raises
    ------
    ValueError
        If the operations are negative, or the throughput is not positive.
    """
    if not flops >= 0 or not throughput > 0:
        raise ValueError(f"flops must be at least 0 and throughput positive, not {flops} and {throughput}")
    return flops / throughput / 3600
