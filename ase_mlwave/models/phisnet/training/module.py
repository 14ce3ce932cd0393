"""What a step and a validation of the training of a PhiSNet compute."""

from __future__ import annotations

import torch
from torch import Tensor

from ase_mlwave.models.phisnet.model import PhiSNet
from ase_mlwave.models.phisnet.training.losses import Prediction, loss_terms, predict_batch
from ase_mlwave.models.phisnet.training.prepared import TrainingBatch
from ase_mlwave.models.phisnet.training.settings import LossWeights
from ase_mlwave.models.training.module import TrainedModule

__all__ = ["PhiSNetModule"]


class PhiSNetModule(TrainedModule):
    """Train a network on the weighted sum of loss terms.

    Parameters
    ----------
    network : PhiSNet
        The network.
    weights : LossWeights
        Of the terms.
    """

    def __init__(self, network: PhiSNet, weights: LossWeights) -> None:
        super().__init__(network)
        self.weights = weights

    def training_step(self, batch: TrainingBatch, step: int) -> dict[str, Tensor]:
        """Give the terms of the loss and their weighted sum."""
        return self._loss(self._predict(self.network, batch, create_graph=True), batch)

    def validation_step(self, network: PhiSNet, batch: TrainingBatch) -> dict[str, Tensor]:
        """Give the loss and mean absolute errors: H in uHa, energy in uHa, forces in uHa/Bohr."""
        prediction = self._predict(network, batch, create_graph=False)
        errors = {"loss": self._loss(prediction, batch)["loss"]}
        residual = batch.matrices.get("residual")
        if residual is not None:
            errors["hamiltonian_uHa"] = (prediction.output.hamiltonian.flat - residual).abs().mean() * 1e6
        if prediction.energies is not None and batch.energies is not None:
            errors["energy_uHa"] = (prediction.energies - batch.energies).abs().mean() * 1e6
        if prediction.forces is not None and batch.forces is not None:
            errors["forces_uHa_per_Bohr"] = (prediction.forces - batch.forces).abs().mean() * 1e6
        return errors

    def _predict(self, network: PhiSNet, batch: TrainingBatch, *, create_graph: bool) -> Prediction:
        forces = self.weights.forces > 0
        energies = self.weights.energy > 0 or forces
        return predict_batch(network, batch, energies=energies, forces=forces, create_graph=create_graph)

    def _loss(self, prediction: Prediction, batch: TrainingBatch) -> dict[str, Tensor]:
        terms = loss_terms(prediction, batch, self.weights)
        weighted = [getattr(self.weights, name) * value for name, value in terms.items()]
        return terms | {"loss": torch.stack(weighted).sum()}
