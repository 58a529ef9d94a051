"""The inner loop of entropy-SGD, as an optimiser of stacked networks with another one inside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spinscape.networks.optimisers import Factory

TABLE, PLACES = 91, 92
"""What random numbers are drawn for, among the numbers in `spinscape.landscape.steps`."""

STARTS = 2**18
"""Places in the table of normals where the noise of a step can begin."""


@dataclass(frozen=True)
class Loop:
    """The numbers of an inner loop.

    Attributes
    ----------
    steps, rate, noise, average, momentum, nesterov, decay, scaled
        As in :func:`spinscape.networks.entropic.train_entropy`.
    strengths
        Of the coupling, one for every loop, the unfinished last one too.
    """

    steps: int
    rate: float
    noise: float
    average: float
    momentum: float
    nesterov: bool
    decay: float
    scaled: bool
    strengths: Sequence[float]


class Noise:
    """Standard normals for every parameter of every network in every step, the same on every device.

    Drawing one takes 2.8 ns on a CPU core, where a parameter's slope takes 8 ns at a batch of 128, and a GPU
    would wait for it. So one table is drawn for the run, and the noise of a network in a step is a stretch of
    it, with one sign, that begins at a place drawn for this network and step.
    Within a step the normals are independent, and over the steps those of one parameter are, except where a
    place is drawn twice, which two steps do once in `STARTS` times, and the signs then differ half of
    the time.
    """

    def __init__(self, seed: int, amplitude: float) -> None:
        self.seed, self.amplitude = seed, amplitude
        self._table: Tensor | None = None

    def table(self, numbers: int, like: Tensor) -> Tensor:
        """Return the table for networks of so many numbers, times the amplitude."""
        if self._table is None or len(self._table) != numbers + STARTS:
            drawn = torch.randn(numbers + STARTS, generator=_generator(self.seed, TABLE), dtype=torch.float64)
            self._table = drawn.mul_(self.amplitude).to(like.dtype).to(like.device)
        return self._table

    def places(self, replicas: np.ndarray, epoch: int, steps: int) -> tuple[Tensor, Tensor]:
        """Return where the noise of an epoch's steps begins, and its signs, each int64 ``(steps, R)``."""
        drawn = [
            torch.randint(2 * STARTS, (steps,), generator=_generator(self.seed, PLACES, int(r), epoch))
            for r in replicas
        ]
        stacked = torch.stack(drawn, 1)
        return stacked // 2, 1 - 2 * (stacked % 2)


class InnerLoop(torch.optim.Optimizer):
    """Steps of a Langevin dynamics around a centre, which the outer optimiser moves after each loop.

    The parameters are those of the walkers, ``x'``; the state holds the centres x, the means mu, velocities
    if there is a momentum, the squared distances of the last means to their centres, and what the outer
    optimiser keeps.

    Parameters
    ----------
    params
        Stacked tensors ``(R, ...)``, or rows of them that are filled up (`optimisers.as_rows`).
    loop
        Its numbers.
    outer
        Makes the optimiser of the centres.
    noise
        None for none.
    """

    def __init__(self, params: list[Tensor], loop: Loop, outer: Factory, noise: Noise | None) -> None:
        super().__init__(params, {})
        self.stepped = params
        self.loop, self.outer, self.noise = loop, outer(params), noise
        self.param_groups = self.outer.param_groups
        self.count = self.begun = 0
        self.sizes: list[int] = []

    def begin(self, replicas: np.ndarray, epoch: int, steps: int, sizes: list[int]) -> None:
        """Begin an epoch of so many steps; `sizes` are the numbers per network of each tensor."""
        self.begun = self.count = epoch * steps
        self.sizes = sizes
        if self.noise is None:
            return
        one = self.stepped[0]
        self.places, signs = (part.to(one.device) for part in self.noise.places(replicas, epoch, steps))
        self.signs = signs.to(one.dtype)[..., None]
        table = self.noise.table(sum(sizes), one)
        begins = np.cumsum([0, *sizes[:-1]])
        self.windows = [
            table.as_strided((STARTS, size), (1, 1), int(first))
            for first, size in zip(begins, sizes, strict=True)
        ]

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move the walkers by the slopes in ``grad``; after the last step of a loop the centres."""
        turn, place = divmod(self.count, self.loop.steps)
        strength = self.loop.strengths[turn]
        for which, param in enumerate(self.stepped):
            self._walk(param, self._state(param), strength)
            if self.noise is not None:
                self._shake(which, param)
            state = self.state[param]
            state["mean"].mul_(self.loop.average).add_(param, alpha=1 - self.loop.average)
        self.count += 1
        if place == self.loop.steps - 1:
            self._turn(strength)

    def _state(self, param: Tensor) -> dict[str, Any]:
        """Return what is known of a tensor; a loop begins where its parameters are."""
        state: dict[str, Any] = self.state[param]
        if "centre" not in state:
            state |= {"centre": param.detach().clone(), "mean": param.detach().clone()}
            state["apart"] = torch.full((len(param),), torch.nan, dtype=torch.float64)
            if self.loop.momentum:
                state["velocity"] = torch.zeros_like(param)
        return state

    def _walk(self, param: Tensor, state: dict[str, Any], strength: float) -> None:
        loop, slope = self.loop, param.grad
        assert slope is not None
        apart = param - state["centre"] if strength else None
        if loop.decay:
            slope = slope.add(param, alpha=loop.decay)
        if loop.momentum:
            velocity = state["velocity"].mul_(loop.momentum).add_(slope)
            if loop.nesterov:
                param.add_(slope, alpha=-loop.rate).add_(velocity, alpha=-loop.rate * loop.momentum)
            else:
                param.add_(velocity, alpha=-loop.rate)
        else:
            param.add_(slope, alpha=-loop.rate)
        if apart is not None:
            param.add_(apart, alpha=-loop.rate * strength)

    def _shake(self, which: int, param: Tensor) -> None:
        now = self.count - self.begun
        noise = self.windows[which].index_select(0, self.places[now]).mul_(self.signs[now])
        part = param if param[0].numel() == self.sizes[which] else param[:, : self.sizes[which]]
        part.add_(noise.view(part.shape))

    def _turn(self, strength: float) -> None:
        """Move the centres along the slope of the local entropy and begin the next loop there."""
        for param, size in zip(self.stepped, self.sizes, strict=True):
            state = self.state[param]
            slope = state["mean"].neg_().add_(state["centre"])
            state["apart"] = _squares(slope.reshape(len(slope), -1)[:, :size])
            param.copy_(state["centre"])
            param.grad = slope if self.loop.scaled else slope.mul_(strength)
            self.outer.state[param] = {
                key.removeprefix("outer."): state.pop(key) for key in list(state) if key.startswith("outer.")
            }
        self.outer.step()
        for param in self.stepped:
            state = self.state[param]
            state |= {f"outer.{key}": value for key, value in self.outer.state.pop(param, {}).items()}
            state["centre"].copy_(param)
            state["mean"].copy_(param)
            if "velocity" in state:
                state["velocity"].zero_()
            param.grad = None


def _squares(rows: Tensor) -> Tensor:
    """Return the sum of squares of each row, float64 ``(R,)`` on the CPU, each row summed by itself."""
    if rows.device.type == "mps":
        rows = rows.cpu()
    return torch.stack([row.double().square().sum() for row in rows]).cpu()


def amplitude(rate: float, noise: float) -> float:
    """Return the standard deviation of the noise in one step, ``sqrt(rate) noise``."""
    return sqrt(rate) * noise


def _generator(seed: int, purpose: int, *which: int) -> torch.Generator:
    state = np.random.SeedSequence(seed, spawn_key=(purpose, *which)).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0] >> 1))
