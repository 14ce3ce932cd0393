"""The Lightning side of training: steps, optimiser, schedule, and the data of every epoch."""

from __future__ import annotations

import math
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, SequentialSampler

from ase_mlwave.phisnet.model import PhiSNet
from ase_mlwave.phisnet.training.losses import loss_terms, predict_batch
from ase_mlwave.phisnet.training.prepared import EpochSampler, PreparedDataset, PreparedSystem, TrainingBatch, join
from ase_mlwave.phisnet.training.settings import TrainingSettings

__all__ = ["PhiSNetData", "PhiSNetModule"]


class PhiSNetData(pl.LightningDataModule):
    """Feed batches whose order depends on seed and epoch alone.

    Parameters
    ----------
    train, valid : PreparedDataset
        Molecules to learn from and to validate on.
    settings : TrainingSettings
        Batch size, seed and steps per epoch.
    """

    def __init__(self, train: PreparedDataset, valid: PreparedDataset, settings: TrainingSettings) -> None:
        super().__init__()
        self.train_set, self.valid_set, self.settings = train, valid, settings

    def _join(self, systems: list[PreparedSystem]) -> TrainingBatch:
        return join(systems, self.settings.model.cutoff)

    def train_dataloader(self) -> DataLoader[PreparedSystem]:
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
        return DataLoader(self.train_set, batch_sampler=sampler, collate_fn=self._join, generator=own)

    def val_dataloader(self) -> DataLoader[PreparedSystem]:
        """Give the validation molecules in their order."""
        return DataLoader(
            self.valid_set,
            batch_size=max(32, self.settings.batch_size),
            sampler=SequentialSampler(self.valid_set),
            collate_fn=self._join,
            generator=torch.Generator(),
        )


class PhiSNetModule(pl.LightningModule):
    """Train a network on the weighted sum of loss terms.

    Parameters
    ----------
    network : PhiSNet
        What is trained.
    settings : TrainingSettings
        Loss, optimiser and schedule.
    """

    def __init__(self, network: PhiSNet, settings: TrainingSettings) -> None:
        super().__init__()
        self.network, self.settings = network, settings

    def training_step(self, batch: TrainingBatch, batch_idx: int) -> Tensor:
        """Return the weighted loss of a batch."""
        weights = self.settings.loss
        prediction = predict_batch(
            self.network, batch, energies=weights.energy > 0, forces=weights.forces > 0, create_graph=True
        )
        terms = loss_terms(prediction, batch, weights)
        total = torch.stack([getattr(weights, name) * value for name, value in terms.items()]).sum()
        logged = {f"train/{name}": value.detach() for name, value in terms.items()}
        logged["train/loss"] = total.detach()
        self.log_dict(logged, on_step=False, on_epoch=True, sync_dist=True, batch_size=len(batch.charges))
        return total

    def validation_step(self, batch: TrainingBatch, batch_idx: int) -> None:
        """Log mean absolute errors: H in uHa, energy in meV, forces in meV/Angstrom."""
        weights, n = self.settings.loss, len(batch.charges)
        energies, forces = weights.energy > 0, weights.forces > 0
        prediction = predict_batch(self.network, batch, energies=energies or forces, forces=forces, create_graph=False)
        errors: dict[str, Tensor] = {}
        if batch.hamiltonian is not None:
            errors["valid/hamiltonian_uHa"] = (prediction.hamiltonian.flat - batch.hamiltonian).abs().mean() * 1e6
        if prediction.energies is not None and batch.energies is not None:
            errors["valid/energy_uHa"] = (prediction.energies - batch.energies).abs().mean() * 1e6
        if prediction.forces is not None and batch.forces is not None:
            errors["valid/forces_uHa_per_Bohr"] = (prediction.forces - batch.forces).abs().mean() * 1e6
        self.log_dict({k: v.detach() for k, v in errors.items()}, batch_size=n, sync_dist=True)

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
        return rise * fall[chosen.schedule]
