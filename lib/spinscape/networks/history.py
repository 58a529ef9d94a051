"""What training records, per epoch and replica."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

_CURVES = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")


@dataclass(frozen=True)
class History:
    """Curves of R replicas over at most E epochs.

    Attributes
    ----------
    train_loss, train_accuracy
        Running means over the batches of the epoch, ``(E, R)``; NaN after a replica has stopped.
    test_loss, test_accuracy
        At the epoch's end, in evaluation mode, ``(E, R)``; NaN where not evaluated.
    epochs_run
        Epochs each replica trained for, int64 ``(R,)``.
    diverged
        Whether a replica's loss or parameters became infinite or NaN, or its loss rose to a thousand
        times that of its first batch (or of outputs of zero, if larger, where training went on from given
        networks), bool ``(R,)``.
    diverged_epoch
        The epoch (from 1) at whose end that was seen; 0 where it was not, int64 ``(R,)``.
    """

    train_loss: np.ndarray
    train_accuracy: np.ndarray
    test_loss: np.ndarray
    test_accuracy: np.ndarray
    epochs_run: np.ndarray
    diverged: np.ndarray
    diverged_epoch: np.ndarray

    @classmethod
    def empty(cls, epochs: int, replicas: int) -> History:
        """Return a history in which nothing has happened yet; training fills its arrays."""
        return cls(
            **{curve: np.full((epochs, replicas), np.nan) for curve in _CURVES},
            epochs_run=np.zeros(replicas, np.int64),
            diverged=np.zeros(replicas, bool),
            diverged_epoch=np.zeros(replicas, np.int64),
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """Return all arrays by name."""
        return {entry.name: getattr(self, entry.name) for entry in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> History:
        """Return the history that :meth:`arrays` described."""
        expected = {entry.name for entry in fields(cls)}
        if arrays.keys() != expected:
            raise ValueError(f"a history needs {sorted(expected)}, not {sorted(arrays)}")
        return cls(**arrays)

    def take(self, rows: slice | np.ndarray) -> History:
        """Return the curves of the chosen replicas."""
        return History(**{name: value[..., rows] for name, value in self.arrays().items()})

    def final(self, curve: str) -> np.ndarray:
        """Return the last value of a curve for each replica, ``(R,)``; NaN where it diverged.

        Raises
        ------
        ValueError
            If there is no such curve.
        """
        if curve not in _CURVES:
            raise ValueError(f"curve must be one of {_CURVES}, not {curve!r}")
        values = getattr(self, curve)
        last = values[np.maximum(self.epochs_run - 1, 0), np.arange(values.shape[1])]
        return np.where(self.diverged | (self.epochs_run == 0), np.nan, last)

    @classmethod
    def concatenate(cls, histories: Sequence[History]) -> History:
        """Join histories along the replica axis; shorter ones are filled with NaN."""
        epochs = max(len(history.train_loss) for history in histories)
        joined = {}
        for entry in fields(cls):
            parts = [getattr(history, entry.name) for history in histories]
            if entry.name in _CURVES:
                parts = [
                    np.pad(part, ((0, epochs - len(part)), (0, 0)), constant_values=np.nan) for part in parts
                ]
            joined[entry.name] = np.concatenate(parts, axis=-1)
        return cls(**joined)
