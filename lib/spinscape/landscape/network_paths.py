"""A ReLU network as a sum over its paths, and the sizes of the spin glass that it is compared with.

In a fully connected ReLU network without biases every output is a sum over paths from the inputs: the input
that the path begins at, times the product of its weights, where all hidden units on it are active
(Choromanska et al. 2015; Liao et al. 2024, eq 8).
A bias is the weight of a path that begins at a constant unit in the layer below, so with biases the sum runs
over shorter paths too, and is no longer of one degree in the weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log, prod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from spinscape.networks.ensemble import Ensemble
from spinscape.networks.evaluation import outputs
from spinscape.networks.forward import is_stackable

MOST_PATHS = 2_000_000
"""Paths that are listed one by one; more of them are refused."""

_ENTRIES = 2**22


@dataclass(frozen=True)
class GlassSizes:
    """What a network of given widths becomes in the comparison with a spherical spin glass.

    Attributes
    ----------
    order
        H, the number of layers of weights, which is the number of spins in a product.
    paths
        Psi, the product of all widths.
    size
        Lambda = Psi^(1/H), the number of spins.
    parameters
        N, the number of weights.
    printed
        The factor q as printed in eq 7 of Liao et al.: ``sqrt(Psi^((H-1)/(2H)))``, above 1.
    required
        The factor that turns the sum over paths (eq 13) into the Hamiltonian (eq 15):
        ``Lambda^(-(H-1)/2) = Psi^(-(H-1)/(2H))``, below 1; constants that do not grow with the size are
        left out.
    """

    order: int
    paths: int
    size: float
    parameters: int
    printed: float
    required: float


@dataclass(frozen=True)
class PrefactorVerdict:
    """Whether the printed factor q gives a Hamiltonian, as exponents.

    Attributes
    ----------
    order
        H.
    printed_exponent, required_exponent
        Of Psi in q: ``(H-1)/(4H)`` and ``-(H-1)/(2H)``.
    ratio
        Printed over required exponent, -1/2 for every H: wrong sign, and half the size.
    printed_variance, required_variance
        Exponent of Lambda in the variance of ``q sum X w ... w`` on the sphere, for independent standard
        normal X. A Hamiltonian is extensive: its variance grows as Lambda^1.
    agrees
        Whether the two factors are the same function of Psi.
    """

    order: int
    printed_exponent: float
    required_exponent: float
    ratio: float
    printed_variance: float
    required_variance: float
    agrees: bool


@dataclass(frozen=True)
class PathCheck:
    """The sum over paths beside the forward pass.

    Attributes
    ----------
    error
        Largest difference of an output, over the samples, ``(R,)``, as a share of `scale`.
    scale
        Largest sum of absolute terms behind an output, ``(R,)``: what rounding errors are measured by.
    paths
        Number of paths that begin at inputs.
    bias_paths
        Number of paths that begin at constant units.
    """

    error: NDArray[np.float64]
    scale: NDArray[np.float64]
    paths: int
    bias_paths: int


def glass_sizes(widths: Sequence[int]) -> GlassSizes:
    """Return order, number of paths, size and factors of a network without biases.

    Parameters
    ----------
    widths
        Numbers of units from inputs to outputs, at least two.

    Raises
    ------
    ValueError
        If there are fewer than two widths, or one is not a positive integer.

    Examples
    --------
    >>> sizes = glass_sizes([784, 512, 10])
    >>> sizes.order, sizes.paths, round(sizes.size), sizes.parameters
    (2, 4014080, 2004, 406528)
    """
    _check_widths(widths)
    order, paths = len(widths) - 1, prod(int(width) for width in widths)
    verdict = prefactor_verdict(order)
    return GlassSizes(
        order,
        paths,
        float(np.exp(log(paths) / order)),
        sum(int(a) * int(b) for a, b in pairwise(widths)),
        float(np.exp(verdict.printed_exponent * log(paths))),
        float(np.exp(verdict.required_exponent * log(paths))),
    )


def prefactor_verdict(order: int) -> PrefactorVerdict:
    """Compare the factor q that eq 7 prints with the one that eq 15 needs.

    Eq 13 sums ``Lambda^H = Psi`` independent terms of order one, so its variance is Psi.
    The Hamiltonian of eq 15 carries ``Lambda^(-(H-1)/2)``, which leaves the variance ``Lambda``.
    Eq 7 prints a factor that grows, which leaves ``Lambda^((3H-1)/2)``.

    Parameters
    ----------
    order
        H, at least 1.

    Raises
    ------
    ValueError
        If the order is below 1.
    """
    if int(order) != order or order < 1:
        raise ValueError(f"the order must be an integer of at least 1, not {order}")
    printed, required = (order - 1) / (4 * order), -(order - 1) / (2 * order)
    return PrefactorVerdict(
        int(order),
        printed,
        required,
        printed / required if order > 1 else float("nan"),
        order * (1 + 2 * printed),
        order * (1 + 2 * required),
        printed == required,
    )


def list_paths(widths: Sequence[int]) -> NDArray[np.int64]:
    """List all paths through fully connected layers.

    Parameters
    ----------
    widths
        Numbers of units ``n_0 .. n_H``.

    Returns
    -------
    ndarray
        ``(n_0 n_1 ... n_H, H + 1)``: the unit in each layer, the last layer running fastest.

    Raises
    ------
    ValueError
        If there are more than :data:`MOST_PATHS`.
    """
    _check_widths(widths)
    count = prod(int(width) for width in widths)
    if count > MOST_PATHS:
        raise ValueError(
            f"{list(widths)} has {count} paths; at most {MOST_PATHS} are listed, so take a smaller network"
        )
    return np.stack(np.unravel_index(np.arange(count), tuple(widths)), axis=1)


def activations(ensemble: Ensemble, x: Tensor) -> list[Tensor]:
    """Return which hidden units are active, that is have a positive input.

    Parameters
    ----------
    ensemble
        Fully connected ReLU networks, as :func:`spinscape.networks.models.mlp` makes them.
    x
        Inputs ``(N, ...)``.

    Returns
    -------
    list of Tensor
        Bool ``(R, N, n_l)`` for each hidden layer.

    Raises
    ------
    ValueError
        If the model is of another kind.
    """
    weights, biases = layers(ensemble)
    h = x.to(ensemble.device, ensemble.dtype).flatten(1).expand(ensemble.replicas, len(x), -1)
    active = []
    with torch.no_grad():
        for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
            h = h @ weight.mT
            h = (h if bias is None else h + bias[:, None]).relu()
            active.append(h > 0)
    return active


def path_sum(
    ensemble: Ensemble,
    x: Tensor,
    *,
    absolute: bool = False,
    relu_output: bool = False,
) -> Tensor:
    """Return the outputs as sums over paths, each path a term of its own.

    Parameters
    ----------
    ensemble
        R fully connected ReLU networks of few units, with or without biases.
    x
        Inputs ``(N, ...)``.
    absolute
        Whether to sum the absolute values of the terms instead, the scale of rounding errors.
    relu_output
        Whether the outputs pass a ReLU too, as in the sources' eq 7: a path then counts only where the output
        unit that it ends at is active.

    Returns
    -------
    Tensor
        ``(R, N, n_H)`` in float64.

    Raises
    ------
    ValueError
        If the model is of another kind or has more than :data:`MOST_PATHS` paths.
    """
    double = ensemble.to(exact_place(ensemble.device)).to(torch.float64)
    weights, biases = layers(double)
    widths = [weights[0].shape[2], *(weight.shape[1] for weight in weights)]
    list_paths(widths)
    x = x.to(double.device, torch.float64).flatten(1)
    active = [mask.double() for mask in activations(double, x)]
    total = x.new_zeros(ensemble.replicas, len(x), widths[-1])
    one = x.new_ones(len(x), 1)
    with torch.no_grad():
        for start, bias in enumerate([None, *biases]):
            if start and bias is None:
                continue
            first = weights[0] if bias is None else bias[..., None]
            below = [first, *weights[max(start, 1) :]]
            _add_terms(total, below, active[max(start - 1, 0) :], one if start else x, absolute)
    if relu_output:
        total = total * (outputs(double, x) > 0)
    return total


def check_paths(ensemble: Ensemble, x: Tensor, *, relu_output: bool = False) -> PathCheck:
    """Compare the sum over paths with the forward pass, both in float64.

    Parameters
    ----------
    ensemble, x, relu_output
        As in :func:`path_sum`.
    """
    found = path_sum(ensemble, x, relu_output=relu_output)
    place = exact_place(ensemble.device)
    passed = outputs(ensemble.to(place).to(torch.float64), x.to(place, torch.float64))
    if relu_output:
        passed = passed.relu()
    scale = path_sum(ensemble, x, absolute=True).flatten(1).amax(1)
    error = (found - passed).flatten(1).abs().amax(1) / scale
    weights, biases = layers(ensemble)
    widths = [weight.shape[1] for weight in weights]
    begins = [prod(widths[level:]) for level, bias in enumerate(biases) if bias is not None]
    return PathCheck(
        error.cpu().numpy(), scale.cpu().numpy(), weights[0].shape[2] * prod(widths), sum(begins)
    )


def layers(ensemble: Ensemble) -> tuple[list[Tensor], list[Tensor | None]]:
    """Return weights ``(R, n_l, n_{l-1})`` and biases ``(R, n_l)`` or None of a fully connected ReLU network.

    Raises
    ------
    ValueError
        If the model is no plain sequence of linear layers with a ReLU between any two of them.
    """
    model = ensemble.model
    kinds = [type(module) for module in model.children() if not isinstance(module, nn.Flatten)]
    plain = is_stackable(model) and kinds == [nn.Linear, *[nn.ReLU, nn.Linear] * (len(kinds) // 2)]
    if not plain:
        raise ValueError("paths need a plain sequence of linear layers with a ReLU between any two, as mlp()")
    names = [name for name, module in model.named_children() if isinstance(module, nn.Linear)]
    params = {name: value.detach() for name, value in ensemble.params.items()}
    return [params[f"{name}.weight"] for name in names], [params.get(f"{name}.bias") for name in names]


def exact_place(device: torch.device) -> torch.device:
    """Return a device that knows float64: this one, or the CPU in place of MPS."""
    return torch.device("cpu") if device.type == "mps" else device


def _add_terms(
    total: Tensor, weights: Sequence[Tensor], active: Sequence[Tensor], x: Tensor, absolute: bool
) -> None:
    """Add to outputs ``(R, N, C)`` the terms of all paths that begin at the sources ``x`` ``(N, n_0)``.

    ``active[k]`` belongs to the layer that ``weights[k]`` lead to.
    """
    widths = [weights[0].shape[2], *(weight.shape[1] for weight in weights)]
    for block in _blocks(list_paths(widths), max(1, _ENTRIES // (total.shape[0] * total.shape[1]))):
        units = torch.from_numpy(block).to(total.device).unbind(1)
        product = weights[0].new_ones(len(total), len(block))
        for k, weight in enumerate(weights):
            product = product * weight[:, units[k + 1], units[k]]
        terms = product[:, None] * x[:, units[0]]
        for k, mask in enumerate(active[: len(weights) - 1]):
            terms = terms * mask[:, :, units[k + 1]]
        total.index_add_(2, units[-1], terms.abs() if absolute else terms)


def _blocks(paths: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    for first in range(0, len(paths), size):
        yield paths[first : first + size]


def _check_widths(widths: Sequence[int]) -> None:
    if len(widths) < 2 or any(int(width) != width or width < 1 for width in widths):
        raise ValueError(f"widths must be at least two positive integers, not {list(widths)}")
