"""Markov chains of the Sherrington-Kirkpatrick model in torch: all walkers of all instances at once.

Spins are offered flips one after the other, each for all walkers together.
Local fields come as matrix products for blocks of spins, corrected within the block as spins flip.
Random numbers are those of `_sk_numba`, on whatever device.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spinscape.glasses._sk_chains import REFRESH, Chains, Sums

BLOCK = 32
"""Spins whose fields come from one matrix product."""


class TorchChains(Chains):
    """Chains on a torch device; see `Chains`."""

    def __init__(
        self,
        couplings: NDArray[np.float64],
        temperatures: NDArray[np.float64],
        keys: NDArray[np.uint64],
        device: torch.device,
    ) -> None:
        super().__init__(couplings, temperatures, keys)
        instances, replicas, count = self.shape
        self._device = device
        self._couplings = torch.as_tensor(couplings, dtype=torch.float32, device=device)
        self._keys = torch.as_tensor(keys.view(np.int64), device=device)
        self._walkers = self._keys[:, :, :-1].reshape(instances, -1)
        self._beta = torch.as_tensor(self.beta, device=device)
        self._at = torch.arange(count, device=device).repeat(instances, replicas, 1)
        self._seen = torch.zeros(self.shape, dtype=torch.int8, device=device)
        self._counts, self._flips, self._swaps, self._trips = (
            torch.as_tensor(x, device=device) for x in (self.counts, self.flips, self.swaps, self.round_trips)
        )
        bits = _hash(self._walkers, torch.arange(1, self.n + 1, device=device)) & 1
        self._spins = (1 - 2 * bits).to(torch.float32)  # (n, I, C)
        self._energy = torch.zeros(self.shape, dtype=torch.float64, device=device)  # by walker

    def advance(self, sweeps: int, *, count: bool) -> Sums:
        """Do so many sweeps of every walker, an exchange and a measurement after each."""
        shape = (self.shape[0], self.shape[2])
        energy, square, q2 = torch.zeros((3, *shape), dtype=torch.float64, device=self._device)
        for sweep in range(self.done, self.done + sweeps):
            self._sweep(sweep)
            self._exchange(sweep)
            self._turns()
            u = self._energy.gather(2, self._at) / self.n
            energy += u.mean(1)
            square += u.square().mean(1)
            self._overlaps(q2, count)
        self.done += sweeps
        for ours, theirs in ((self.counts, self._counts), (self.flips, self._flips),
                             (self.swaps, self._swaps), (self.round_trips, self._trips)):  # fmt: skip
            ours[...] = theirs.cpu().numpy()
        return Sums(*(x.cpu().numpy() for x in (energy, square, q2)))

    def states(self, t: int) -> tuple[NDArray[np.int8], NDArray[np.int64]]:
        """Return the states at temperature t, (I, R, n), and which walker each is, (I, R)."""
        spins = self._ordered()[..., t].permute(1, 2, 0)
        return spins.to(torch.int8).cpu().numpy(), self._at[..., t].cpu().numpy()

    def _ordered(self) -> Tensor:
        """Spins by temperature, (n, I, R, T)."""
        return self._spins.unflatten(2, self.shape[1:]).gather(3, self._at.expand(self.n, -1, -1, -1))

    def _sweep(self, sweep: int) -> None:
        n, s = self.n, self._spins
        words = (n + 1) // 2
        counters = torch.arange(words, device=self._device) + (2 * n + sweep * words)
        thresholds = _exponentials(_hash(self._walkers, counters))
        beta = torch.empty(self.shape, dtype=torch.float64, device=self._device)
        beta.scatter_(2, self._at, self._beta.expand(self.shape))
        twice = (2 * beta).float().flatten(1)
        gained, taken = torch.zeros_like(twice), torch.zeros_like(twice)
        for begin in range(0, n, BLOCK):
            end = min(begin + BLOCK, n)
            rows = self._couplings[:, begin:end]
            fields = (rows @ s.transpose(0, 1)).transpose(0, 1).contiguous()
            block = rows[:, :, begin:end].permute(1, 2, 0)[..., None].contiguous()
            for k in range(end - begin):
                cost = s[begin + k] * fields[k]
                flip = (twice * cost < thresholds[begin + k]).float()
                change = -2 * flip * s[begin + k]
                s[begin + k] += change
                gained.addcmul_(flip, cost, value=2)
                taken += flip
                if k + 1 < end - begin:
                    fields[k + 1 :].addcmul_(block[k + 1 :, k], change)
        if sweep % REFRESH == 0:
            fields = (self._couplings @ s.transpose(0, 1)).transpose(0, 1)
            self._energy = (-0.5 * (s * fields).sum(0)).double().unflatten(1, self.shape[1:])
        else:
            self._energy += gained.double().unflatten(1, self.shape[1:])
        self._flips += taken.long().unflatten(1, self.shape[1:]).gather(2, self._at).sum(1)

    def _exchange(self, sweep: int) -> None:
        count = self.shape[2]
        first = torch.arange(sweep & 1, count - 1, 2, device=self._device)
        if not len(first):
            return
        bits = _hash(self._keys[:, :, -1], sweep * count + first) >> 11 & (2**53 - 1)
        thresholds = -torch.log((bits.double() + 0.5) * 2.0**-53).permute(1, 2, 0)
        low, high = self._at[..., first], self._at[..., first + 1]
        gap = self._energy.gather(2, low) - self._energy.gather(2, high)
        taken = (self._beta[first + 1] - self._beta[first]) * gap < thresholds
        self._at[..., first] = torch.where(taken, high, low)
        self._at[..., first + 1] = torch.where(taken, low, high)
        self._swaps[:, first] += taken.sum(1)

    def _turns(self) -> None:
        """Follow walkers between the ends: 1 after the lowest temperature, 2 after it and the highest."""
        low, high = self._at[..., :1], self._at[..., -1:]
        self._trips += (self._seen.gather(2, low) == 2)[..., 0]
        self._seen.scatter_(2, low, torch.ones_like(low, dtype=torch.int8))
        if self.shape[2] > 1:
            before = self._seen.gather(2, high)
            self._seen.scatter_(2, high, torch.where(before == 1, 2, before).to(torch.int8))

    def _overlaps(self, q2: Tensor, count: bool) -> None:
        replicas = self.shape[1]
        spins = self._ordered()
        one = torch.ones((), dtype=torch.int64, device=self._device)
        for r in range(1, replicas):
            dots = (spins[:, :, r, None] * spins[:, :, :r]).sum(0)  # (I, r, T)
            q2 += (dots / self.n).double().square().sum(1) * (2 / (replicas * (replicas - 1)))
            if count:
                places = ((dots + self.n) / 2).round().long().transpose(1, 2)
                self._counts.scatter_add_(2, places, one.expand(places.shape))


def _shift(z: Tensor, by: int) -> Tensor:
    """Shift 64 bits to the right, zeros coming in from the left."""
    return z >> by & (2 ** (64 - by) - 1)


def _hash(keys: Tensor, counters: Tensor) -> Tensor:
    """Return outputs of splitmix64 from states `keys`, (counters, *keys); signed integers wrap around."""
    z = keys + (counters * _signed(0x9E3779B97F4A7C15)).reshape(-1, *[1] * keys.dim())
    z = (z ^ _shift(z, 30)) * _signed(0xBF58476D1CE4E5B9)
    z = (z ^ _shift(z, 27)) * _signed(0x94D049BB133111EB)
    return z ^ _shift(z, 31)


def _signed(word: int) -> int:
    return word - 2**64 if word >= 2**63 else word


def _exponentials(words: Tensor) -> Tensor:
    """Return -log((b + 1/2) / 2^32) for the low and high 32 bits b of words (W, I, C), (2 W, I, C)."""
    halves = torch.stack([words & (2**32 - 1), _shift(words, 32)], 1).flatten(0, 1)
    return -torch.log((halves.float() + 0.5) * 2.0**-32)
