"""A chunk of replicas in training: parameters, optimiser, generators, and one epoch of steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from spinscape.networks import optimisers
from spinscape.networks.ensemble import Ensemble
from spinscape.networks.forward import Forward, Tensors
from spinscape.networks.losses import PerSample, correct, row_means
from spinscape.networks.models import initialise

Pull = Callable[[int, list[Tensor], Sequence[Tensor]], Sequence[Tensor]]
"""From the number of a step in its epoch, parameters and slopes to the slopes that are stepped by."""

Begin = Callable[["Group"], Pull | None]
"""What makes the pull of an epoch, when it begins; None where there is none."""

Shown = Callable[["Group"], tuple[Tensors, Tensors]]
"""From a group after an epoch to the parameters and buffers that count as its networks."""

Labels = Callable[[np.ndarray], Tensor]
"""From the numbers of replicas to a label of their own for every sample, ``(R, N)`` on the CPU."""


@dataclass(frozen=True)
class Plan:
    """What all replicas share: model, data on the device, and how to step.

    Networks that belong `together`, so many in a row, are never worked on apart. `labels` take the
    place of `y`. `rates` multiply the learning rate, epoch by epoch. A step works on so many `tensors` of the
    parameters' size. What is `shown` counts as the networks, where those in training do not.
    """

    model: nn.Module
    x: Tensor
    y: Tensor
    loss: PerSample
    batch_size: int
    rule: optimisers.Factory
    trainable: frozenset[str]
    resumed: bool = False
    by_rows: bool = False
    rates: tuple[float, ...] | None = None
    labels: Labels | None = None
    together: int = 1
    begin: Begin | None = None
    tensors: int = 5
    shown: Shown | None = None


@dataclass(frozen=True)
class Draws:
    """The random draws of one epoch: sample orders ``(R, N)``, and seeds of random layers."""

    orders: Tensor
    seeds: list[int]

    def take(self, rows: Tensor) -> Draws:
        """Return the draws of the chosen replicas."""
        return Draws(self.orders[rows.to(self.orders.device)], [self.seeds[r] for r in rows])


@dataclass(frozen=True)
class Origin:
    """Where replicas start: parameters, buffers and masks ``(R, ...)`` by name, numbers of generators."""

    params: Tensors
    buffers: Tensors
    masks: Tensors
    streams: Sequence[int]


class Group:
    """Replicas that are trained as one batched run.

    Attributes
    ----------
    replicas
        Their numbers in the whole run, ``(R,)``.
    params, buffers
        ``(R, ...)`` by name.
    epoch
        Epochs done.
    masks
        Where parameters are trained, bool ``(R, ...)`` by name; elsewhere they are held at zero.
    """

    def __init__(
        self,
        plan: Plan,
        replicas: np.ndarray,
        generators: list[torch.Generator],
        params: Tensors,
        buffers: Tensors,
        state: optimisers.State | None = None,
        epoch: int = 0,
        masks: Tensors | None = None,
    ) -> None:
        self.plan = plan
        self.replicas = replicas
        self.generators = generators
        self.params: Tensors = {}
        self._rows: list[Tensor] = []
        for name, value in params.items():
            trained = name in plan.trainable
            if trained and plan.by_rows:
                self._rows.append(optimisers.as_rows(value.detach()))
                value = optimisers.as_stacked(self._rows[-1], value.shape[1:])
            self.params[name] = value.detach().requires_grad_(trained)
        self.buffers = buffers
        self.epoch = epoch
        self.masks = masks or {}
        self.hold()
        self.draws: Draws | None = None
        self.rule = plan.rule(self.stepped)
        if state is not None:
            optimisers.restore(self.rule, self.stepped, state)

    @classmethod
    def start(
        cls,
        plan: Plan,
        replicas: np.ndarray,
        seed: int,
        scheme: str | Callable[[nn.Module], None],
        dtype: torch.dtype,
    ) -> Group:
        """Draw the initial parameters of the given replicas, each from its own generator."""
        generators = [generator_of(seed, int(r)) for r in replicas]
        drawn = [initialise(plan.model, generator, scheme) for generator in generators]
        device = plan.x.device

        def stack(which: int) -> Tensors:
            tensors = {}
            for name in drawn[0][which]:
                value = torch.stack([pair[which][name] for pair in drawn])
                kind = dtype if value.is_floating_point() else value.dtype
                tensors[name] = value.to(device, kind)
            return tensors

        return cls(plan, replicas, generators, stack(0), stack(1))

    @classmethod
    def resume(cls, plan: Plan, rows: np.ndarray, seed: int, origin: Origin, dtype: torch.dtype) -> Group:
        """Take the given replicas of an ensemble, each with the generator of its stream."""
        generators = [generator_of(seed, int(origin.streams[r])) for r in rows]
        for generator in generators:
            torch.randint(2**62, (), generator=generator)  # what initial parameters would have taken
        index = torch.from_numpy(rows)

        def chosen(tensors: Tensors) -> Tensors:
            taken = {name: value[index.to(value.device)].to(plan.x.device) for name, value in tensors.items()}
            return {name: v.to(dtype) if v.is_floating_point() else v for name, v in taken.items()}

        return cls(
            plan, rows, generators, chosen(origin.params), chosen(origin.buffers), masks=chosen(origin.masks)
        )

    def hold(self) -> None:
        """Set the parameters that are not trained to zero."""
        with torch.no_grad():
            for name, mask in self.masks.items():
                self.params[name].masked_fill_(~mask, 0)

    @property
    def leaves(self) -> list[Tensor]:
        """The stacked tensors that are optimised."""
        return [value for value in self.params.values() if value.requires_grad]

    @property
    def stepped(self) -> list[Tensor]:
        """What the optimiser steps: the stacked tensors, or the rows that they are views of."""
        return self._rows if self.plan.by_rows else self.leaves

    def detached(self) -> Tensors:
        """Return the parameters without their place in the graph (no copy)."""
        return {name: value.detach() for name, value in self.params.items()}

    def networks(self) -> Ensemble:
        """Return what counts as the networks; it may share their tensors."""
        shown = self.plan.shown
        return Ensemble(self.plan.model, *((self.detached(), self.buffers) if shown is None else shown(self)))

    def draw(self) -> Draws:
        """Draw the next epoch, once: halves that start the epoch again keep the draws."""
        if self.draws is None:
            before = [g.get_state() for g in self.generators]
            count = len(self.plan.x)
            try:
                orders = torch.stack([torch.randperm(count, generator=g) for g in self.generators])
                seeds = [int(torch.randint(2**48, (), generator=g)) for g in self.generators]
            except (RuntimeError, MemoryError):
                for g, state in zip(self.generators, before, strict=True):
                    g.set_state(state)
                raise
            self.draws = Draws(orders, seeds)
        return self.draws

    def advance(self) -> None:
        """Count an epoch as done; the next one draws anew."""
        self.draws = None
        self.epoch += 1

    def backup(self) -> tuple[Tensors, Tensors, optimisers.State]:
        """Copy everything that an epoch changes."""
        return (
            {name: value.detach().clone() for name, value in self.params.items()},
            {name: value.clone() for name, value in self.buffers.items()},
            optimisers.snapshot(self.rule, self.stepped),
        )

    def take(self, rows: Tensor, source: tuple[Tensors, Tensors, optimisers.State] | None = None) -> Group:
        """Return the chosen replicas as a group, as they are or as they were in a backup."""
        state = optimisers.snapshot(self.rule, self.stepped) if source is None else source[2]
        params, buffers = (self.detached(), self.buffers) if source is None else source[:2]
        part = Group(
            self.plan,
            self.replicas[rows.numpy()],
            [self.generators[r] for r in rows],
            {name: value[rows.to(value.device)] for name, value in params.items()},
            {name: value[rows.to(value.device)] for name, value in buffers.items()},
            optimisers.take(state, rows, len(self.replicas)),
            self.epoch,
            {name: mask[rows.to(mask.device)] for name, mask in self.masks.items()},
        )
        part.draws = None if self.draws is None else self.draws.take(rows)
        return part

    def run_epoch(self, forward: Forward) -> tuple[Tensor, Tensor, Tensor]:
        """Take one pass over the training samples; the epoch counts as done after :meth:`advance`.

        Returns
        -------
        loss, accuracy : Tensor
            Means over the epoch's samples, each taken before its step, float64 ``(R,)`` on the CPU.
        first : Tensor
            Mean loss of the first batch, ``(R,)``; that of outputs of zero, if it is larger and training goes
            on from given networks.
        """
        plan, draws, count = self.plan, self.draw(), len(self.replicas)
        self._set_rate()
        pull = None if plan.begin is None else plan.begin(self)
        own = None if plan.labels is None else plan.labels(self.replicas).to(plan.x.device)
        samples = draws.orders.shape[1]
        losses = torch.empty(count, samples, dtype=plan.x.dtype, device=plan.x.device)
        labels = not plan.y.is_floating_point()
        orders = draws.orders.to(plan.x.device)
        hits = torch.zeros(count, samples, dtype=torch.bool, device=plan.x.device)
        for step, start in enumerate(range(0, samples, plan.batch_size)):
            rows = orders[:, start : start + plan.batch_size]
            size = rows.shape[1]
            index = rows.reshape(-1)
            x = plan.x.index_select(0, index).view(count, size, *plan.x.shape[1:])
            if own is None:
                y = plan.y.index_select(0, index).view(count, size, *plan.y.shape[1:])
            else:
                y = own.gather(1, rows)
            seeds = [seed + step for seed in draws.seeds]
            outputs = forward(self.params, self.buffers, x, seeds=seeds)
            values = plan.loss(outputs, y)
            if step == 0 and plan.resumed:
                nothing = row_means(plan.loss(torch.zeros_like(outputs), y).detach())
            leaves = self.leaves
            slopes: Sequence[Tensor] = torch.autograd.grad(
                values.sum() / size, leaves, allow_unused=True, materialize_grads=True
            )
            if pull is not None:
                slopes = pull(step, leaves, slopes)
            for leaf, slope in zip(self.stepped, slopes, strict=True):
                leaf.grad = optimisers.as_rows(slope) if plan.by_rows else slope
            self.rule.step()
            self.hold()
            kept = slice(start, start + size)
            losses[:, kept] = values.detach()
            if labels:
                hits[:, kept] = correct(outputs.detach(), y)
        self.rule.zero_grad(set_to_none=True)
        accuracy = hits.sum(1).cpu().double() / samples
        first = row_means(losses[:, : plan.batch_size])
        if plan.resumed:
            # Trained networks begin near zero: that alone makes no loss a divergence.
            first = torch.maximum(first, nothing)
        return row_means(losses), accuracy if labels else torch.full_like(accuracy, torch.nan), first

    def _set_rate(self) -> None:
        """Set the learning rate of the epoch."""
        if self.plan.rates is not None:
            for entry in self.rule.param_groups:
                entry["lr"] = entry.setdefault("initial_lr", entry["lr"]) * self.plan.rates[self.epoch]

    def finite(self) -> Tensor:
        """Tell which replicas have only finite parameters, bool ``(R,)``."""
        checks = [value.reshape(len(value), -1).isfinite().all(1) for value in self.detached().values()]
        return torch.stack(checks).all(0)


def generator_of(seed: int, replica: int) -> torch.Generator:
    """Return the generator of one replica, seeded by the run's seed and its number only."""
    state = np.random.SeedSequence((seed, replica)).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state) >> 1)
