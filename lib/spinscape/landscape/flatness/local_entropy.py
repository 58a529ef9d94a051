"""Local entropy: the logarithm of the Boltzmann-weighted volume around a network.

The slides' definition (Pittorino 2023), divided by the volume of the free Gaussian, so that it is finite and
does not depend on a unit of length::

    Phi(w; beta, gamma) = log E exp(-beta L(w')),    w' normal around w with variance 1 / (beta gamma)

which is ``-beta L_LE(w)`` of the entropic algorithms up to a number that is the same for all networks.
It is never above ``-beta min L``, and the flatter the loss is around w, the closer it is to ``-beta L(w)``.

Estimator: thermodynamic integration in the strength lambda of the loss::

    Phi = -beta * integral of <L>_lambda over lambda from 0 to 1

``<L>_lambda`` is the mean loss under the Gaussian times ``exp(-lambda beta L)``, measured by chains
(`_chains`).
With ``lambda = s^power`` the integrand is smooth in s, and Clenshaw and Curtis' rule takes the integral.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from spinscape.landscape.flatness._chains import autocorrelation_time
from spinscape.landscape.flatness._potential import Potential
from spinscape.landscape.flatness._quadrature import rule
from spinscape.landscape.flatness._strengths import sample
from spinscape.landscape.flatness.local_energy import local_energy
from spinscape.landscape.symmetry.checks import (
    as_numbers,
    at_least,
    check_finite,
    check_memory,
    check_samples,
)
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.evaluation import evaluate
from spinscape.networks.losses import PerSample

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LocalEntropy:
    """Local entropies in nats.

    Attributes
    ----------
    beta
        Inverse temperature: what the mean loss per sample is multiplied by.
    gammas
        Strengths of the pull to the network, ``(G,)``.
    strengths
        Strengths lambda of the loss, from 0 to 1, ``(T,)``.
    value
        ``log E exp(-beta L)``, ``(R, G)``.
    error
        Its standard error ``(R, G)``: `statistical` and `quadrature` together.
    statistical
        Of the chains, from their autocorrelation times; deviations between chains count, and it is at least
        half of `start_gap`.
    quadrature
        Distance to the rule with every other strength; an upper bound for smooth integrands.
    direct, direct_error
        A second estimate: the logarithm of the mean of ``exp(-beta L)`` over draws of the Gaussian, and its
        standard error. Worth something where `direct_count` is large.
    direct_count
        Number of draws that count in it, ``1 / sum p^2`` of their shares p.
    energy
        Mean loss ``<L>`` at each strength, ``(R, G, T)``.
    acceptance
        Share of proposals accepted, ``(R, G, T)``; NaN at strength 0, which needs no chain.
    autocorrelation
        Autocorrelation time of the loss in proposals, ``(R, G, T)``; 1 at strength 0.
    start_gap
        The value from chains that began at the network minus that from chains that began at draws of the
        Gaussian, in nats, ``(R, G)``; where it is large beside `error` chains have not settled.
    mean_distance
        Mean Euclidean distance to the network at strength 1, ``(R, G)``.
    reference_loss
        ``L(w)``, ``(R,)``.
    """

    beta: float
    gammas: Floats
    strengths: Floats
    value: Floats
    error: Floats
    statistical: Floats
    quadrature: Floats
    direct: Floats
    direct_error: Floats
    direct_count: Floats
    energy: Floats
    acceptance: Floats
    autocorrelation: Floats
    start_gap: Floats
    mean_distance: Floats
    reference_loss: Floats

    @property
    def relative(self) -> Floats:
        """``Phi + beta L(w)``, ``(R, G)``: what flatness alone contributes, 0 for a constant loss."""
        return self.value + self.beta * self.reference_loss[:, None]


def local_entropy(
    ensemble: Ensemble,
    x: Tensor,
    y: Tensor,
    *,
    beta: float,
    gammas: ArrayLike,
    steps: int = 40,
    settle: int | None = None,
    leaps: int = 4,
    chains: int = 4,
    intervals: int = 12,
    power: float = 4.0,
    draws: int = 100,
    loss: str | PerSample = "cross_entropy",
    chunk: int | None = None,
    seed: int = 0,
) -> LocalEntropy:
    """Estimate the local entropy of networks by thermodynamic integration.

    Parameters
    ----------
    ensemble
        R networks of any model, evaluated as they are in use.
    x, y
        Inputs ``(N, ...)`` and labels ``(N,)`` or targets.
    beta
        Inverse temperature of the mean loss; N for a Boltzmann weight ``exp(-loss)`` of every sample.
    gammas
        Strengths of the pull, ``(G,)``, positive: the Gaussian has variance ``1 / (beta gamma)``.
    steps, settle
        Proposals of each chain that are recorded, and proposals before them (as many, if None), in which
        steps are fitted.
    leaps
        Gradients per proposal at strength 1; fewer at smaller ones, as the root of the strength.
    chains
        Chains at each strength, an even number: half begin at the network, half at a draw of the Gaussian.
    intervals
        Strengths above 0, a multiple of 4.
    power
        Strengths are ``s^power``, so that small ones, where stiff directions fade, are dense.
    draws
        Draws of the Gaussian for strength 0 and the direct estimate.
    loss
        As in :func:`spinscape.networks.evaluation.evaluate`.
    chunk
        Chains at once; by default what fits. It never changes what a chain draws.
    seed
        Seed of the chains; the streams depend on the seed, the numbers of network, gamma, strength and chain.

    Returns
    -------
    LocalEntropy

    Raises
    ------
    ValueError
        If a number is out of range, weights are not finite, or samples do not fit the model.
    MemoryError
        If the losses of all chains do not fit in memory.
    """
    pulls = np.atleast_1d(as_numbers("gammas", gammas))
    if pulls.ndim != 1 or not pulls.size or not (np.isfinite(pulls) & (pulls > 0)).all():
        raise ValueError(f"gammas must be positive finite numbers, not {gammas!r}")
    for name, number, least in (("beta", beta, 0.0), ("power", power, 1.0)):
        if not least < number < np.inf:
            raise ValueError(f"{name} must be a finite number above {least:g}, not {number}")
    steps, leaps = at_least("steps", steps, 4), at_least("leaps", leaps, 1)
    settle = steps if settle is None else at_least("settle", settle, 0)
    if at_least("chains", chains, 2) % 2 or at_least("intervals", intervals, 4) % 4:
        raise ValueError(f"chains must be even and intervals a multiple of 4, not {chains} and {intervals}")
    draws = at_least("draws", draws, 2)
    check_finite(ensemble)
    shape = (ensemble.replicas, len(pulls), intervals, chains)
    check_memory("steps", steps, 16.0 * np.prod(shape))
    x, y = check_samples(ensemble, x, y, loss)
    reference = np.asarray(evaluate(ensemble, x, y, loss=loss, accuracy=False).loss)
    nodes, weights, coarse = rule(intervals, power)
    free = _free(ensemble, x, y, beta * pulls, draws, loss, seed)
    found = sample(
        Potential(ensemble, x, y, loss), beta, pulls, nodes[1:], shape,
        steps=steps, settle=settle, leaps=leaps, chunk=chunk, seed=seed,
    )  # fmt: skip
    series = found.loss.reshape(*shape, steps)
    times = autocorrelation_time(series).numpy()
    variance = series.var((-2, -1)).numpy() * times / (chains * steps)
    levels = series.mean(-1).numpy()
    energy = np.concatenate([free.mean(-1)[..., None], levels.mean(-1)], -1)
    value, rough = (-beta * energy @ w for w in (weights, coarse))
    gap = -beta * (levels[..., ::2].mean(-1) - levels[..., 1::2].mean(-1)) @ weights[1:]
    statistical = np.maximum(beta * np.sqrt(variance @ weights[1:] ** 2), np.abs(gap) / 2)
    direct, direct_error, direct_count = _direct(-beta * free)
    distance = found.distance.reshape(*shape, steps)[:, :, -1].mean((-2, -1)).numpy()
    first = np.full((*shape[:2], 1), np.nan)
    return LocalEntropy(
        beta=float(beta),
        gammas=pulls,
        strengths=nodes,
        value=value,
        error=np.hypot(statistical, value - rough),
        statistical=statistical,
        quadrature=np.abs(value - rough),
        direct=direct,
        direct_error=direct_error,
        direct_count=direct_count,
        energy=energy,
        acceptance=np.concatenate([first, found.acceptance.reshape(shape).mean(-1).numpy()], -1),
        autocorrelation=np.concatenate([np.ones_like(first), times], -1),
        start_gap=gap,
        mean_distance=distance / np.sqrt(beta * pulls),
        reference_loss=reference,
    )


def _free(
    ensemble: Ensemble, x: Tensor, y: Tensor, precision: Floats, draws: int, loss: str | PerSample, seed: int
) -> Floats:
    """Return losses at draws of the Gaussians, ``(R, G, draws)``; the same draws for all precisions."""
    found = local_energy(
        ensemble, x, y, 1 / np.sqrt(precision), draws=draws, kind="additive", loss=loss, seed=seed
    )
    return found.loss_draws + found.reference_loss[:, None, None]


def _direct(logarithms: Floats) -> tuple[Floats, Floats, Floats]:
    """Return the logarithm of the mean of exponentials over the last axis, its error, and the count."""
    top = logarithms.max(-1, keepdims=True)
    factors = np.exp(logarithms - top)
    mean, count = factors.mean(-1), factors.shape[-1]
    error = factors.std(-1, ddof=1) / (mean * np.sqrt(count))
    return np.log(mean) + top[..., 0], error, factors.sum(-1) ** 2 / (factors**2).sum(-1)
