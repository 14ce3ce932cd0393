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
    mixed : bool
        Multiply in bfloat16 in the layers of the network, in steps; validation is in the weights' own precision.
    """

    def __init__(self, network: PhiSNet, weights: LossWeights, *, mixed: bool = False) -> None:
        super().__init__(network)
        self.weights, self.mixed = weights, mixed

    def training_step(self, batch: TrainingBatch, step: int) -> dict[str, Tensor]:
        """Give the terms of the loss and their weighted sum."""
        return self._loss(self._predict(self.network, batch, training=True), batch)

    def validation_step(self, network: PhiSNet, batch: TrainingBatch) -> dict[str, Tensor]:
        """Give the loss and mean absolute errors: H and energy in uHa (a potential's H: rms), forces in uHa/Bohr."""
        prediction = self._predict(network, batch, training=False)
        errors = {"loss": self._loss(prediction, batch)["loss"]}
        residual = batch.matrices.get("residual")
        if residual is not None and prediction.output is not None:
            errors["hamiltonian_uHa"] = (prediction.output.hamiltonian.flat - residual).abs().mean() * 1e6
        potential = None if prediction.output is None else prediction.output.potential
        if potential is not None and batch.forms is not None:
            errors["hamiltonian_rms_uHa"] = batch.forms.terms(potential)["hamiltonian"] * 1e6
        if prediction.energies is not None and batch.energies is not None:
            errors["energy_uHa"] = (prediction.energies - batch.energies).abs().mean() * 1e6
        if prediction.forces is not None and batch.forces is not None:
            errors["forces_uHa_per_Bohr"] = (prediction.forces - batch.forces).abs().mean() * 1e6
        if prediction.dipoles is not None and batch.dipoles is not None:
            errors["dipole_e_Bohr"] = (prediction.dipoles - batch.dipoles).abs().mean()
        return errors

    def _predict(self, network: PhiSNet, batch: TrainingBatch, *, training: bool) -> Prediction:
        forces = self.weights.forces > 0
        energies, dipoles = self.weights.energy > 0 or forces, self.weights.dipole > 0
        wanted = {"energies": energies, "forces": forces, "dipoles": dipoles}
        wanted["with_matrices"] = self.weights.needs_matrices
        return predict_batch(network, batch, **wanted, create_graph=training, mixed=self.mixed and training)

    def _loss(self, prediction: Prediction, batch: TrainingBatch) -> dict[str, Tensor]:
        terms = loss_terms(prediction, batch, self.weights)
        weighted = [getattr(self.weights, name) * value for name, value in terms.items()]
        return terms | {"loss": torch.stack(weighted).sum()}
