"""What the Lightning modules and data of all models share."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sized
from typing import Any

import lightning.pytorch as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, SequentialSampler
from torch.utils.data import Dataset as TorchDataset

from ase_mlwave.training.sampler import EpochSampler
from ase_mlwave.training.settings import RunSettings

__all__ = ["EpochData", "TrainedModule"]


class EpochData(pl.LightningDataModule):
    """Feed batches whose order depends on seed and epoch alone.

    Parameters
    ----------
    train, valid : torch Dataset with a length
        Molecules to learn from and to validate on.
    settings : RunSettings
        Batch size, seed and steps per epoch.
    """

    train_set: Any
    valid_set: Any

    def __init__(self, train: TorchDataset[Any] | Sized, valid: TorchDataset[Any] | Sized, settings: Any) -> None:
        super().__init__()
        self.train_set, self.valid_set, self.settings = train, valid, settings

    @abstractmethod
    def join(self, systems: list[Any]) -> Any:
        """Join molecules to a batch."""

    def train_dataloader(self) -> DataLoader[Any]:
        """Give the batches of the current epoch (called anew at each)."""
        trainer, settings = self.trainer, self.settings
        sampler = EpochSampler(
            len(self.train_set),
            settings.batch_size,
            settings.steps_per_epoch,
            seed=settings.seed,
            epoch=trainer.current_epoch if trainer is not None else 0,
            total=settings.steps,
            rank=trainer.global_rank if trainer is not None else 0,
            world_size=trainer.world_size if trainer is not None else 1,
        )
        own = torch.Generator()  # loaders draw from the global one otherwise
        return DataLoader(self.train_set, batch_sampler=sampler, collate_fn=self.join, generator=own)

    def val_dataloader(self) -> DataLoader[Any]:
        """Give the validation molecules in their order."""
        return DataLoader(
            self.valid_set,
            batch_size=max(32, self.settings.batch_size),
            sampler=SequentialSampler(self.valid_set),
            collate_fn=self.join,
            generator=torch.Generator(),
        )


class TrainedModule(pl.LightningModule):
    """Hold the network that is trained, its optimiser and the learning rate over time.

    Parameters
    ----------
    network : nn.Module
        What is trained.
    settings : RunSettings
        Optimiser and schedule.
    """

    def __init__(self, network: nn.Module, settings: RunSettings) -> None:
        super().__init__()
        self.network: Any = network
        self.settings: Any = settings

    def on_validation_model_zero_grad(self) -> None:
        """Keep gradients: validation of forces must not drop them."""

    def configure_optimizers(self) -> Any:
        """Build AdamW and the schedule, stepped once per optimiser step."""
        chosen = self.settings.optimiser
        optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=chosen.learning_rate, betas=chosen.betas, weight_decay=chosen.weight_decay
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, self._rate)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _rate(self, step: int) -> float:
        """Give the learning rate at a step, relative to the highest."""
        chosen = self.settings.optimiser
        rise = min(1.0, (step + 1) / max(1, chosen.warmup_steps))
        left = max(0.0, 1.0 - step / (chosen.decay_steps or self.settings.steps))
        fall = {"linear": left, "cosine": 0.5 * (1 + math.cos(math.pi * (1 - left))), "constant": 1.0}
        return float(rise * fall[chosen.schedule])
