"""Checkpoints between epochs, from which a run goes on as if it had never stopped."""

from __future__ import annotations

import time
from pathlib import Path

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Checkpoint

__all__ = ["EpochCheckpoint"]


class EpochCheckpoint(Checkpoint):
    """Write one checkpoint at the end of an epoch, if the last one is old enough, and at the end of training.

    Parameters
    ----------
    path : Path
        File, replaced every time.
    minutes : float
        Least time between two checkpoints; 0 writes one after every epoch.

    Notes
    -----
    Only between epochs: there the order of molecules, the learning rate and the average of weights continue exactly
    (``test_resumed_run_equals_uninterrupted``).
    """

    def __init__(self, path: Path, minutes: float) -> None:
        self.path, self.seconds = path, 60 * minutes
        self._written = time.monotonic()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._written = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the checkpoint where it is due; the first process decides for all."""
        last = trainer.current_epoch + 1 == trainer.max_epochs
        due = trainer.strategy.broadcast(last or time.monotonic() - self._written >= self.seconds)
        if due:
            trainer.save_checkpoint(self.path, weights_only=False)
            self._written = time.monotonic()
