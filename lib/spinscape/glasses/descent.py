"""Descent and Langevin dynamics on the sphere, from many starts in many instances at once.

Time is that of ``ds/dt = -grad H + noise`` with the extensive H, so at N = infinity energies per spin
follow `cugliandolo_kurchan.descent_curve`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spinscape.glasses._arguments import whole
from spinscape.glasses._basins import certified, first_columns, polish, third_derivative_bound
from spinscape.glasses._flow import diffuse, flow, stable_step, thermal_noise
from spinscape.glasses._pairs import Pairs
from spinscape.glasses.pspin import PSpin, to_sphere
from spinscape.progress import bar, track

Floats = NDArray[np.float64]

STEPS_BETWEEN_LOOKS = 20
"""Descent steps between two looks at which starts have arrived in a basin."""


@dataclass(frozen=True)
class Descent:
    """Energies along trajectories.

    Axes: I instances, K starts of each, T times.

    Attributes
    ----------
    times
        Times, shape (T,).
    energy
        Energy per spin, shape (I, K, T).
    gradient_norm
        Norm of the Riemannian gradient over sqrt(n), shape (I, K, T).
    points
        Where the trajectories end, shape (I, K, n).
    """

    times: Floats
    energy: Floats
    gradient_norm: Floats
    points: Floats


@dataclass(frozen=True)
class Relaxed:
    """Local minima reached.

    Axes: I instances, K starts of each.

    Attributes
    ----------
    energy
        Energy per spin, shape (I, K).
    residual
        Norm of the Riemannian gradient over sqrt(n), shape (I, K).
    smallest
        Smallest eigenvalue of the Riemannian Hessian, shape (I, K).
    converged
        Whether the residual is within the tolerance and the smallest eigenvalue positive, shape (I, K).
    steps
        Steps of plain gradient descent until the basin was certain, shape (I, K).
    points
        The minima, shape (I, K, n).
    """

    energy: Floats
    residual: Floats
    smallest: Floats
    converged: NDArray[np.bool_]
    steps: NDArray[np.int64]
    points: Floats


def gradient_descent(
    glass: PSpin, starts: Tensor, *, times: Sequence[float] | Floats, step: float | None = None
) -> Descent:
    """Follow ``ds/dt = -grad H`` from starts (I, K, n) on the sphere.

    Parameters
    ----------
    glass
        I instances.
    starts
        Points on the sphere, shape (I, K, n).
    times
        When to look, increasing from 0 or later, shape (T,).
    step
        Longest time step, by default half of one over the largest curvature; of second order.

    Raises
    ------
    ValueError
        If times do not increase from 0 or later, the step is not stable, an energy rises, or a start is
        off the sphere.
    """
    return langevin(glass, starts, times=times, temperature=0.0, step=step)


def langevin(
    glass: PSpin,
    starts: Tensor,
    *,
    times: Sequence[float] | Floats,
    temperature: float,
    step: float | None = None,
    seed: int = 0,
) -> Descent:
    """Follow Langevin dynamics at a fixed temperature; its equilibrium is the Gibbs measure.

    Parameters
    ----------
    glass, starts, times
        As for `gradient_descent`.
    step
        Longest time step, by default a quarter of one over the largest curvature; of second order.
    temperature
        Temperature, not negative, in the unit of H.
    seed
        Seed of the noise; what a start is fed does not depend on what runs beside it.

    Raises
    ------
    ValueError
        As `gradient_descent`, and if the temperature is negative.

    Notes
    -----
    A step is half a step of Brownian motion, one of gradient flow, and again the half.
    """
    when = np.asarray(times, float)
    if when.ndim != 1 or len(when) == 0 or not np.isfinite(when).all():
        raise ValueError("times must be a list of numbers")
    if when[0] < 0 or (np.diff(when) <= 0).any():
        raise ValueError("times must increase, from 0 or later")
    if not 0 <= temperature < np.inf:
        raise ValueError(f"temperature must be finite and not negative, not {temperature}")
    step = stable_step(glass, step, 0.25 if temperature else 0.5)
    points = glass.on_sphere(starts)
    pairs, noise = Pairs(glass), thermal_noise(points, glass.p, seed)
    rows: list[tuple[Tensor, Tensor]] = []
    slack = torch.finfo(glass.dtype).eps ** 0.5 * glass.n
    before, rose = torch.full_like(points[..., 0], torch.inf), torch.zeros((), device=points.device)
    counts = np.ceil(np.diff(when, prepend=0.0) / step - 1e-9).astype(int)
    with bar("descent", int(counts.sum())) as shown:
        for count, span in zip(counts, np.diff(when, prepend=0.0), strict=True):
            for _ in range(count):
                if temperature:
                    points = _langevin_step(pairs, points, temperature, span / count, noise)
                else:
                    points, energy = flow(pairs, points, span / count)
                    rose, before = rose + (energy > before + slack).any(), energy
                shown.update()
            energy, gradient = pairs.energy_and_gradient(points)
            if not temperature and bool(rose + (energy > before + slack).any()):
                raise ValueError(
                    f"an energy rose on its way down: steps of {step:.3g} are too long for these couplings"
                )
            rows.append((energy / glass.n, _size(gradient)))
    return Descent(
        times=when,
        energy=_array(torch.stack([row[0] for row in rows], -1)),
        gradient_norm=_array(torch.stack([row[1] for row in rows], -1)),
        points=_array(points),
    )


def annealed_langevin(
    glass: PSpin,
    starts: Tensor,
    *,
    temperature: float,
    time: float,
    step: float | None = None,
    seed: int = 0,
    tolerance: float | None = None,
) -> Relaxed:
    """Follow Langevin dynamics while the temperature falls linearly to 0, then `relax`.

    Parameters
    ----------
    glass, starts, step, seed
        As for `langevin`.
    temperature
        Temperature at the start, positive.
    time
        How long it takes to fall to 0, positive.
    tolerance
        As for `relax`.

    Raises
    ------
    ValueError
        As `langevin`, and if temperature or time is not positive.
    """
    if not (0 < temperature < np.inf and 0 < time < np.inf):
        raise ValueError(f"temperature and time must be positive and finite, not {temperature} and {time}")
    step = stable_step(glass, step, 0.25)
    points = glass.on_sphere(starts)
    pairs, noise = Pairs(glass), thermal_noise(points, glass.p, seed)
    count = int(np.ceil(time / step - 1e-9))
    for done in track(range(count), "annealing"):
        now = temperature * (1 - (done + 0.5) / count)
        points = _langevin_step(pairs, points, now, time / count, noise)
    return relax(glass, points, tolerance=tolerance)


def relax(
    glass: PSpin,
    starts: Tensor,
    *,
    tolerance: float | None = None,
    step: float | None = None,
    steps: int = 20_000,
) -> Relaxed:
    """Descend from starts (I, K, n) to local minima.

    Plain gradient descent with a fixed step runs until the point provably lies where the energy is
    convex and from where descent cannot leave; Newton's method then only makes the last digits.
    So each start ends in the minimum that plain descent would reach.

    Parameters
    ----------
    glass
        I instances.
    starts
        Points on the sphere, shape (I, K, n).
    tolerance
        Largest norm of the gradient over sqrt(n) at a minimum; 1e-9 by default, 1e-4 in single precision.
    step
        Step of descent, by default one over the largest curvature.
    steps
        Most steps of descent; what has not arrived by then is returned as not converged.

    Raises
    ------
    ValueError
        If the step is not stable, the tolerance or `steps` not positive, or a start off the sphere.

    Notes
    -----
    With the smallest Hessian eigenvalue m and a bound K on the derivative of the Hessian, a gradient
    below ``m^2 / (8 K)`` is the certificate; K = p^3 max|H| / n^{3/2}, and max|H| is bounded by the
    largest singular value of the couplings as an n x n^{p-1} matrix.
    """
    step = stable_step(glass, step, 1.0)
    if tolerance is None:
        tolerance = 1e-9 if glass.dtype == torch.float64 else 1e-4
    steps = whole(steps, "steps", 1)
    if not 0 < tolerance < np.inf:
        raise ValueError(f"tolerance must be positive and finite, not {tolerance}")
    points = glass.on_sphere(starts).clone()
    taken, safe = _descend(glass, points, tolerance, step, steps)
    points, smallest = polish(glass, points, safe)
    energy, gradient = glass.energy_and_gradient(points, checked=True)
    residual = _array(_size(gradient))
    lowest = _array(smallest)
    return Relaxed(
        energy=_array(energy / glass.n),
        residual=residual,
        smallest=lowest,
        converged=(residual <= tolerance) & (lowest > 0),
        steps=taken.cpu().numpy(),
        points=_array(points),
    )


def _descend(
    glass: PSpin, points: Tensor, tolerance: float, step: float, steps: int
) -> tuple[Tensor, Tensor]:
    """Move points in place into basins; return the steps taken and who has a certificate, both (I, K).

    Starts and instances that have arrived are dropped, so that the others run faster.
    """
    taken = torch.zeros(points.shape[:2], dtype=torch.int64, device=points.device)
    safe = torch.zeros_like(taken, dtype=torch.bool)
    here, active = points.clone(), torch.ones_like(safe)
    row = torch.arange(points.shape[0], device=points.device)
    column = torch.arange(points.shape[1], device=points.device).expand(len(points), -1)
    pairs, third = Pairs(glass), third_derivative_bound(glass)[:, None]
    # The first look at the Hessian comes when an eigenvalue of 2 would do.
    ask = (4 / (8 * third)).expand(safe.shape).clone()
    with bar("descent to minima", active.numel()) as shown:
        for done in range(0, steps, STEPS_BETWEEN_LOOKS):
            count = min(STEPS_BETWEEN_LOOKS, steps - done)
            for _ in range(count):
                gradient = pairs.energy_and_gradient(here)[1]
                here = to_sphere(here.sub(gradient, alpha=step))
            norm = torch.linalg.vector_norm(pairs.energy_and_gradient(here)[1], dim=-1)
            near = active & (norm <= ask)
            ask = torch.where(near, norm / 2, ask)
            proven = certified(pairs.glass, here, near, norm, third)
            small = norm <= tolerance * pairs.n**0.5
            finished = active & (proven | small | (done + count >= steps))
            i, k = torch.nonzero(finished, as_tuple=True)
            where = row[i], column[i, k]
            points[where], taken[where], safe[where] = here[i, k], done + count, proven[i, k]
            active &= ~finished
            shown.update(len(i))
            left = active.sum(1)
            if not bool(left.any()):
                break
            if int(left.max()) <= 0.8 * active.shape[1]:
                kept = first_columns(active)
                column, ask, active = (x.gather(1, kept) for x in (column, ask, active))
                here = here.gather(1, kept[..., None].expand(-1, -1, pairs.n))
            if int((left > 0).sum()) <= 0.8 * len(left):
                some = torch.nonzero(left)[:, 0]
                pairs = pairs[some]
                row, third, column, ask, active, here = (
                    x[some] for x in (row, third, column, ask, active, here)
                )
    return taken, safe


def _langevin_step(
    pairs: Pairs, points: Tensor, temperature: float, step: float, noise: Iterator[Tensor]
) -> Tensor:
    points = diffuse(points, temperature, step / 2, next(noise))
    return diffuse(flow(pairs, points, step)[0], temperature, step / 2, next(noise))


def _size(gradient: Tensor) -> Tensor:
    """Norm over sqrt(n)."""
    return torch.linalg.vector_norm(gradient, dim=-1) / gradient.shape[-1] ** 0.5


def _array(values: Tensor) -> Floats:
    return values.double().cpu().numpy()
