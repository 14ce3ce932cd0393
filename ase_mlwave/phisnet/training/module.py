"""The Lightning side of training a PhiSNet: what a step and a validation compute."""

from __future__ import annotations

import torch
from torch import Tensor

from ase_mlwave.phisnet.training.losses import loss_terms, predict_batch
from ase_mlwave.phisnet.training.prepared import PreparedSystem, TrainingBatch, join
from ase_mlwave.training.module import EpochData, TrainedModule

__all__ = ["PhiSNetData", "PhiSNetModule"]


class PhiSNetData(EpochData):
    """Feed batches of prepared molecules."""

    def join(self, systems: list[PreparedSystem]) -> TrainingBatch:
        """Join molecules to a batch."""
        return join(systems, self.settings.model.cutoff)


class PhiSNetModule(TrainedModule):
    """Train a network on the weighted sum of loss terms."""

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
