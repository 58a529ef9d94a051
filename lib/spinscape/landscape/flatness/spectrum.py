"""The spectrum of the Hessian of the loss: its density by stochastic Lanczos quadrature."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.stats import wasserstein_distance
from torch import Tensor

from spinscape.landscape.flatness._groups import in_groups
from spinscape.landscape.flatness._lanczos import Lanczos
from spinscape.landscape.flatness.trace import signs
from spinscape.landscape.steps import LANCZOS, generator
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.losses import PerSample
from spinscape.progress import bar

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Spectrum:
    """An estimate of the distribution of the eigenvalues of R Hessians.

    Each probe gives a measure of its own, whose first ``2 steps - 1`` moments are those of the spectrum as
    that probe sees it; the estimate is their mean.

    Attributes
    ----------
    nodes
        Ascending, ``(R, probes, steps)``, loss per squared parameter unit.
    weights
        Likewise, of sum one for each probe.
    count
        Parameters D of a network.
    """

    nodes: Floats
    weights: Floats
    count: int

    def density(self, grid: ArrayLike, width: ArrayLike) -> Floats:
        """Return the density smoothed by a Gaussian.

        Parameters
        ----------
        grid
            Points ``(G,)``, or ``(R, G)`` for points of each network's own.
        width
            Standard deviation of the Gaussian, positive, a number or ``(R,)``.

        Returns
        -------
        ndarray
            ``(R, G)``, of integral one.

        Raises
        ------
        ValueError
            If the width is not positive or shapes do not fit.
        """
        count = len(self.nodes)
        spread = np.broadcast_to(np.asarray(width, float), (count,))
        if not (spread > 0).all():
            raise ValueError(f"width must be positive, not {width!r}")
        points = np.asarray(grid, float)
        points = np.broadcast_to(points, (count, points.shape[-1]))
        found = np.empty(points.shape)
        for r, (nodes, weights) in enumerate(zip(self._flat(self.nodes), self._measure(), strict=True)):
            z = (points[r, :, None] - nodes) / spread[r]
            found[r] = np.exp(-(z**2) / 2) @ weights / (spread[r] * np.sqrt(2 * np.pi))
        return found

    def share_near_zero(self, threshold: ArrayLike) -> Floats:
        """Return the share of eigenvalues of absolute value up to a threshold, ``(R,)``.

        Parameters
        ----------
        threshold
            A number or ``(R,)``.
        """
        return self.share_by_probe(threshold).mean(1)

    def share_by_probe(self, threshold: ArrayLike) -> Floats:
        """Return what each probe says about :meth:`share_near_zero`, ``(R, probes)``."""
        limit = np.broadcast_to(np.asarray(threshold, float), (len(self.nodes),))[:, None, None]
        return (self.weights * (np.abs(self.nodes) <= limit)).sum(2)

    @property
    def trace(self) -> Floats:
        """The trace, ``(R,)``: that of Hutchinson with the same probes."""
        return self._traces().mean(1)

    @property
    def trace_error(self) -> Floats:
        """Monte Carlo standard error of the trace, ``(R,)``; NaN with one probe."""
        probes = self.nodes.shape[1]
        if probes < 2:
            return np.full(len(self.nodes), np.nan)
        return self._traces().std(1, ddof=1) / np.sqrt(probes)

    def quantiles(self, shares: ArrayLike) -> Floats:
        """Return the smallest nodes with at least these shares of the eigenvalues below or at them.

        Parameters
        ----------
        shares
            Between 0 and 1, ``(Q,)``.

        Returns
        -------
        ndarray
            ``(R, Q)``.

        Raises
        ------
        ValueError
            If a share is not between 0 and 1.
        """
        wanted = np.atleast_1d(np.asarray(shares, float))
        if not ((wanted >= 0) & (wanted <= 1)).all():
            raise ValueError(f"shares must lie between 0 and 1, not {shares!r}")
        found = np.empty((len(self.nodes), len(wanted)))
        for r, (nodes, weights) in enumerate(zip(self._flat(self.nodes), self._measure(), strict=True)):
            order = np.argsort(nodes, kind="stable")
            below = np.cumsum(weights[order])
            at = np.searchsorted(below, wanted * below[-1] - 1e-12)
            found[r] = nodes[order][np.minimum(at, len(order) - 1)]
        return found

    def _traces(self) -> Floats:
        return self.count * (self.nodes * self.weights).sum(2)

    def _flat(self, values: Floats) -> Floats:
        return values.reshape(len(values), -1)

    def _measure(self) -> Floats:
        """Weights of all probes together, ``(R, probes * steps)``, of sum one."""
        return self._flat(self.weights) / self.weights.shape[1]


def lanczos_density(
    ensemble: Ensemble,
    x: Tensor,
    y: Tensor,
    *,
    steps: int = 60,
    probes: int = 4,
    seed: int = 0,
    loss: str | PerSample = "cross_entropy",
    chunk: int | None = None,
) -> Spectrum:
    """Estimate the distribution of the eigenvalues of the Hessian by stochastic Lanczos quadrature.

    Lanczos' iteration from a random vector of signs gives a tridiagonal matrix; its eigenvalues, with the
    squares of the first components of its eigenvectors, are a Gauss quadrature of the spectrum as seen by
    that vector (Golub and Welsch 1969; Lin, Saad and Yang 2016; Ghorbani, Krishnan and Xiao 2019).

    Parameters
    ----------
    ensemble
        R networks of D parameters, evaluated as they are in use.
    x, y
        Inputs ``(N, ...)`` and labels or targets ``(N, ...)``.
    steps
        Nodes per probe, and Hessian products; D at most are taken.
    probes
        Random vectors per network.
    seed
        Seed of the vectors; probe k of network r depends on the seed, r and k only.
    loss
        As in :func:`spinscape.networks.evaluation.evaluate`.
    chunk
        Networks at once in a product.

    Returns
    -------
    Spectrum
        For piecewise linear networks without the kinks' contribution.

    Raises
    ------
    ValueError
        If steps or probes are below 1, or samples do not fit the networks.
    MemoryError
        If the vectors of one network do not fit; it says how many do.

    Examples
    --------
    >>> import torch
    >>> from spinscape.networks.ensemble import Ensemble
    >>> net = torch.nn.Linear(3, 2)
    >>> x, y = torch.randn(5, 3), torch.tensor([0, 1, 0, 1, 1])
    >>> lanczos_density(Ensemble.from_modules([net]), x, y, steps=4, probes=2).nodes.shape
    (1, 2, 4)
    """
    if steps < 1 or probes < 1:
        raise ValueError(f"steps and probes must be at least 1, not {steps} and {probes}")
    count = sum(value[0].numel() for value in ensemble.params.values())
    steps = min(steps, count)
    nodes, weights = [], []
    vectors = probes * (steps + 4)
    with bar("Lanczos", ensemble.replicas * steps) as moved:
        for rows, product in in_groups(ensemble, x, y, loss, chunk, vectors=vectors):
            sources = [generator(seed, LANCZOS, r, k) for r in rows for k in range(probes)]
            starts = torch.cat([signs(product.ensemble, source, 1) for source in sources])
            space = Lanczos(product, starts.unflatten(0, (len(rows), probes)), steps)
            for _ in range(steps):
                space.step()
                moved.update(len(rows))
            values, columns = torch.linalg.eigh(space.tridiagonal())
            nodes.append(values)
            weights.append(columns[..., 0, :].square())
    return Spectrum(torch.cat(nodes).numpy(), torch.cat(weights).numpy(), count)


def wasserstein(spectrum: Spectrum, exact: ArrayLike, *, relative_to: str | None = None) -> Floats:
    """Return the 1-Wasserstein distance between an estimated and an exact spectrum.

    It is the area between the two distribution functions, the mean distance by which eigenvalues are moved.

    Parameters
    ----------
    spectrum
        Of R networks of D parameters.
    exact
        Eigenvalues ``(R, D)``.
    relative_to
        ``"width"`` (largest less smallest exact eigenvalue) or ``"deviation"`` (their standard deviation) to
        divide by; None for the distance itself, in units of the eigenvalues.

    Returns
    -------
    ndarray
        ``(R,)``.

    Raises
    ------
    ValueError
        If the shape does not fit or the unit is unknown.
    """
    values = np.asarray(exact, float)
    if values.shape != (len(spectrum.nodes), spectrum.count):
        expected = (len(spectrum.nodes), spectrum.count)
        raise ValueError(f"exact must be eigenvalues of shape {expected}, not {values.shape}")
    units = {None: np.ones(len(values)), "width": np.ptp(values, axis=1), "deviation": values.std(1)}
    if relative_to not in units:
        raise ValueError(f"relative_to must be 'width', 'deviation' or None, not {relative_to!r}")
    flat = zip(values, spectrum._flat(spectrum.nodes), spectrum._measure(), strict=True)
    distances = [wasserstein_distance(one, nodes, v_weights=weights) for one, nodes, weights in flat]
    return np.array(distances) / units[relative_to]
