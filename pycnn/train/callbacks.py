"""What a :class:`Trainer` calls while it runs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .trainer import Trainer


class Callback:
    """Base of callbacks: a subclass defines the methods it needs.

    What :meth:`state_dict` returns is in every checkpoint, and :meth:`load_state_dict` gets it back when a run is resumed.
    """

    def on_fit_start(self, trainer: Trainer) -> None:
        """Before the first step of `trainer`, also when a run is resumed."""

    def on_step_end(self, trainer: Trainer, loss: float) -> None:
        """After an update of `trainer`; `loss` is the batch's, from before it."""

    def on_epoch_end(self, trainer: Trainer, row: dict[str, float]) -> None:
        """After an epoch of `trainer` was measured and before it is saved; `row` is its row of ``metrics.csv``."""

    def on_fit_end(self, trainer: Trainer, row: dict[str, float]) -> None:
        """After the last epoch of `trainer`, whose row is `row`; not after an interruption."""

    def state_dict(self) -> dict:
        """What is needed to go on: JSON values."""
        return {}

    def load_state_dict(self, state: dict) -> None:
        """Go on from what `state_dict` returned, `state`."""


class EarlyStopping(Callback):
    """Stops the training after `patience` epochs in a row without a better value.

    Args:
        patience: how many epochs, at least 1.
        monitor: a column of ``metrics.csv``.
        mode: whether it should become small ("min") or large ("max").
        min_delta: the least change that counts as better.

    Raises:
        ValueError: `patience` is less than 1, or there is no such mode.
    """

    def __init__(self, patience: int, monitor: str = "test_loss", mode: str = "min", min_delta: float = 0.0):
        if patience < 1:
            raise ValueError(f"patience must be at least 1, got {patience}")
        if mode not in ("min", "max"):
            raise ValueError(f"mode must be 'min' or 'max', got {mode!r}")
        self.patience, self.monitor, self.mode, self.min_delta = patience, monitor, mode, min_delta
        self.best: float | None = None
        self.best_epoch = 0
        self.bad_epochs = 0

    def on_fit_start(self, trainer):
        self._stop_if_due(trainer)

    def on_epoch_end(self, trainer, row):
        if self.monitor not in row:
            raise ValueError(f"EarlyStopping: there is no column {self.monitor!r}; there are {', '.join(row)}")
        value, sign = row[self.monitor], 1 if self.mode == "min" else -1
        if math.isfinite(value) and (self.best is None or sign * value < sign * self.best - self.min_delta):
            self.best, self.best_epoch, self.bad_epochs = value, row["epoch"], 0
        else:
            self.bad_epochs += 1
        self._stop_if_due(trainer)

    def _stop_if_due(self, trainer):
        if self.bad_epochs >= self.patience:
            best = f", {self.best:.4f} in epoch {self.best_epoch + 1}" if self.best is not None else ""
            trainer.stop(f"{self.monitor} has not been better for {self.bad_epochs} epochs{best}")

    def state_dict(self):
        return {"best": self.best, "best_epoch": self.best_epoch, "bad_epochs": self.bad_epochs}

    def load_state_dict(self, state):
        self.best, self.best_epoch, self.bad_epochs = state["best"], state["best_epoch"], state["bad_epochs"]
