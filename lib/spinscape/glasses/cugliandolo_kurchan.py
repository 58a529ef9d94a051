"""Energy of descent and of Langevin dynamics from a random start, for infinitely many spins.

The correlation ``C(t, t') = s(t).s(t') / N`` and the response R of ``ds/dt = -grad H + noise`` on the
sphere obey, with the covariance ``f(q) = q^p`` of the energy and ``t > t'`` (Cugliandolo & Kurchan 1993),

    dC/dt (t, t') = -mu(t) C(t, t') + int_0^t' f'(C(t, s)) R(t', s) ds
                    + int_0^t f''(C(t, s)) R(t, s) C(s, t') ds
    dR/dt (t, t') = -mu(t) R(t, t') + int_t'^t f''(C(t, s)) R(t, s) R(s, t') ds
    mu(t) = T + p int_0^t f'(C(t, s)) R(t, s) ds = T - p e(t),    C(t, t) = R(t+, t) = 1.

The energy per spin e(t) tends at T = 0 to the threshold ``-2 sqrt((p-1)/p)``, as a power of t.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spinscape.glasses._arguments import whole
from spinscape.progress import track

Floats = NDArray[np.float64]

MOST_STEPS = 8000
"""More steps would take above a gigabyte and an hour."""


@dataclass(frozen=True)
class Curve:
    """Dynamics of infinitely many spins.

    Attributes
    ----------
    times
        0, step, ..., shape (T,).
    energy
        Energy per spin, shape (T,).
    overlap
        Overlap with the start ``C(t, 0)``, shape (T,).
    """

    times: Floats
    energy: Floats
    overlap: Floats


def descent_curve(p: int, *, time: float, step: float = 0.05, temperature: float = 0.0) -> Curve:
    """Integrate the equations from a random start; at temperature 0 this is gradient flow.

    Parameters
    ----------
    p
        Number of spins that a coupling couples, at least 2.
    time
        Last time; the number of steps is rounded up.
    step
        Time step. The error is of third order in it, at p = 3 about 0.001 at 0.05; the cost grows as
        ``(time / step)^3``.
    temperature
        Temperature of the noise, not negative.

    Returns
    -------
    Curve

    Raises
    ------
    ValueError
        If p is below 2, a time is not positive, the temperature is negative, the step is too large to
        be stable, or there are too many steps.

    Notes
    -----
    The predictor and corrector of Adams in t for all t' at once, Gregory's rule for the integrals.
    """
    p = whole(p, "p", 2)
    if not (time > 0 and step > 0 and math.isfinite(time) and 0 <= temperature < math.inf):
        raise ValueError(
            f"time and step must be positive, temperature finite and not negative, not {time}, {step}, "
            f"{temperature}"
        )
    largest = 1 / (temperature + 4 * math.sqrt(p * (p - 1)))
    if step > largest:
        raise ValueError(f"at p = {p} and temperature {temperature} the step must be at most {largest:.3g}")
    steps = math.ceil(time / step - 1e-9)
    if steps > MOST_STEPS:
        most = MOST_STEPS * step
        raise ValueError(f"{steps} steps are more than {MOST_STEPS}: at this step, time is at most {most:g}")
    c, r = np.zeros((steps + 1, steps + 1)), np.zeros((steps + 1, steps + 1))
    c[0, 0] = r[0, 0] = 1
    energy = np.zeros(steps + 1)
    slope_c, slope_r, energy[0] = _slopes(c, r, 0, p, step, temperature)
    before_c, before_r = slope_c, slope_r
    for m in track(range(steps), "Cugliandolo-Kurchan"):
        old, new = slice(0, m + 1), m + 1
        c[new, new] = r[new, new] = 1
        c[new, old] = c[old, new] = c[m, old] + _predicted(slope_c, before_c, step)
        r[new, old] = r[m, old] + _predicted(slope_r, before_r, step)
        ahead_c, ahead_r, _ = _slopes(c, r, new, p, step, temperature)
        c[new, old] = c[old, new] = c[m, old] + _corrected(ahead_c, slope_c, before_c, step)
        r[new, old] = r[m, old] + _corrected(ahead_r, slope_r, before_r, step)
        before_c, before_r = slope_c, slope_r
        slope_c, slope_r, energy[new] = _slopes(c, r, new, p, step, temperature)
    return Curve(times=np.arange(steps + 1, dtype=float) * step, energy=energy, overlap=c[:, 0].copy())


def _predicted(now: Floats, before: Floats, step: float) -> Floats:
    """Second-order Adams-Bashforth step; a first-order one where there is no earlier slope."""
    change = step * now
    old = len(now) - 1
    change[:old] += step / 2 * (now[:old] - before[:old])
    return change


def _corrected(ahead: Floats, now: Floats, before: Floats, step: float) -> Floats:
    """Third-order Adams-Moulton step; the trapezoidal rule where there is no earlier slope."""
    change = step / 2 * (ahead[:-1] + now)
    old = len(now) - 1
    change[:old] -= step / 12 * (ahead[:old] - 2 * now[:old] + before[:old])
    return change


def _slopes(
    c: Floats, r: Floats, m: int, p: int, step: float, temperature: float
) -> tuple[Floats, Floats, float]:
    """Right-hand sides of both equations at t = m step for all t' <= t, and the energy per spin.

    Integrals are Gregory's third-order rule: the trapezoidal one, and a twelfth of the difference of
    the slopes at the ends.
    """
    now = slice(0, m + 1)
    cc, rr = c[now, now], r[now, now]
    noise = p * c[m, now] ** (p - 1)
    memory = p * (p - 1) * c[m, now] ** (p - 2) * r[m, now]
    if m == 0:
        zero = np.full(1, -temperature)
        return zero, zero.copy(), 0.0
    w = np.ones(m + 1)
    w[[0, -1]] -= 7 / 12
    w[1] += 1 / 12
    w[-2] += 1 / 12
    energy = -step * float((w * noise) @ r[m, now])
    mu = temperature - p * energy
    driven = rr @ noise - 0.5 * noise[0] * rr[:, 0] - 0.5 * noise
    below = np.diagonal(rr, -1)
    driven[1:] -= (noise[1:] - noise[:-1] * below - noise[1] * rr[1:, 1] + noise[0] * rr[1:, 0]) / 12
    recalled = (w * memory) @ cc
    # C(s, t') has a kink at s = t' when there is noise: its slope falls from T to -T.
    recalled[1:-1] -= step * temperature / 6 * memory[1:-1]
    answered = memory @ rr - 0.5 * memory - 0.5 * memory[-1] * rr[-1]
    answered[:-1] -= (
        memory[-1] * rr[-1, :-1] - memory[-2] * rr[-2, :-1] - memory[1:] * below + memory[:-1]
    ) / 12
    slope_c = -mu * c[m, now] + step * (driven + recalled)
    slope_r = -mu * r[m, now] + step * answered
    return slope_c, slope_r, energy
