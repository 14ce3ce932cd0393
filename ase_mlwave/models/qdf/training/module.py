"""What a step and a validation of the training of a quantum deep field compute."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from ase_mlwave.data.record import Record
from ase_mlwave.models.qdf.batch import FieldBatch, with_blocks
from ase_mlwave.models.qdf.model import QDF, QDFOutput
from ase_mlwave.models.qdf.training.settings import LossWeights
from ase_mlwave.models.training.module import TrainedModule
from ase_mlwave.systems.batch import collate
from ase_mlwave.units import HARTREE, HARTREE_PER_BOHR

__all__ = ["QDFModule", "TrainingBatch", "join", "loss_terms"]


@dataclass(frozen=True)
class TrainingBatch:
    """Molecules of one step, with their references.

    Parameters
    ----------
    molecules : FieldBatch
        Geometry.
    energies : Tensor, (B,)
        Hartree.
    forces : Tensor or None, (N, 3)
        Hartree/Bohr; None where a molecule has none.
    """

    molecules: FieldBatch
    energies: Tensor
    forces: Tensor | None

    def to(self, device: torch.device | str) -> TrainingBatch:
        """Copy everything to a device."""
        forces = None if self.forces is None else self.forces.to(device)
        return TrainingBatch(self.molecules.to(device), self.energies.to(device), forces)

    def turned(self, matrix: Tensor) -> TrainingBatch:
        """Rotate all molecules by one matrix (3, 3)."""
        molecules = self.molecules.at(self.molecules.positions @ matrix.T)
        return replace(self, molecules=molecules, forces=None if self.forces is None else self.forces @ matrix.T)


def join(records: Sequence[Record], reach: float) -> TrainingBatch:
    """Join labelled molecules to a batch; forces that one of them lacks are left out for all."""
    forces = [torch.from_numpy(np.array(r.forces)) for r in records if r.forces is not None]
    return TrainingBatch(
        molecules=with_blocks(collate(records, reach)),
        energies=torch.tensor([r.energy for r in records], dtype=torch.float64),
        forces=torch.cat(forces) if len(forces) == len(records) else None,
    )


def loss_terms(
    network: QDF,
    batch: TrainingBatch,
    weights: LossWeights,
    *,
    create_graph: bool = True,
    grid_level: int | None = None,
) -> tuple[dict[str, Tensor], QDFOutput, Tensor | None]:
    """Run the network and evaluate the terms of the loss whose weight is not zero.

    Parameters
    ----------
    network : QDF
        The network.
    batch : TrainingBatch
        Molecules with references.
    weights : LossWeights
        Which terms.
    create_graph : bool
        Keep the graph of the forces, for training.
    grid_level : int, optional
        Size of the integration grid; the model's own by default.

    Returns
    -------
    terms : dict of str to Tensor
        Unweighted terms, named as in ``weights``.
    output : QDFOutput
        What the network gave.
    forces : Tensor or None, (N, 3)
        Predicted forces, where the batch has references and they have a weight.

    Notes
    -----
    The Hohenberg-Kohn term is divided by sum_A int Z_A^2 exp(-2 r^2) dr = sum_A Z_A^2 (pi/2)^(3/2), the potential's own
    square without the overlap of atoms.
    """
    differentiate = weights.forces > 0 and batch.forces is not None
    molecules = batch.molecules
    if differentiate:
        molecules = molecules.at(molecules.positions.detach().clone().requires_grad_())
    forces: Tensor | None = None
    with torch.set_grad_enabled(torch.is_grad_enabled() or differentiate):
        output: QDFOutput = network(molecules, potential=weights.potential > 0, grid_level=grid_level)
        if differentiate:
            (gradient,) = torch.autograd.grad(output.energies.sum(), molecules.positions, create_graph=create_graph)
            forces = -gradient
    terms: dict[str, Tensor] = {}
    if weights.energy:
        sizes = torch.tensor(molecules.n_atoms, dtype=torch.float64, device=batch.energies.device)
        terms["energy"] = ((output.energies - batch.energies) / sizes).abs().mean()
    if forces is not None and batch.forces is not None:
        terms["forces"] = (forces - batch.forces).abs().mean()
    if output.potential_error is not None:
        scale = molecules.numbers.double().square().sum() * (math.pi / 2) ** 1.5
        terms["potential"] = (output.potential_error.sum() / scale).sqrt()
    return terms, output, forces


class QDFModule(TrainedModule):
    """Train a network on the weighted sum of loss terms, on the training's grid and in random orientations.

    Parameters
    ----------
    network : QDF
        The network.
    weights : LossWeights
        Of the terms.
    grid_level : int
        Of the training's grid.
    seed : int or None
        Of the orientations; None leaves molecules as they are.
    """

    def __init__(self, network: QDF, weights: LossWeights, *, grid_level: int, seed: int | None) -> None:
        super().__init__(network)
        self.weights, self.grid_level, self.seed = weights, grid_level, seed

    def training_step(self, batch: TrainingBatch, step: int) -> dict[str, Tensor]:
        """Give the terms of the loss and their weighted sum."""
        if self.seed is not None:
            matrix = Rotation.random(rng=np.random.default_rng([self.seed, step])).as_matrix()
            batch = batch.turned(torch.from_numpy(matrix).to(batch.energies.device))
        terms, _, _ = loss_terms(self.network, batch, self.weights, grid_level=self.grid_level)
        return terms | {"loss": self._weighted(terms)}

    def validation_step(self, network: QDF, batch: TrainingBatch) -> dict[str, Tensor]:
        """Give the loss and mean absolute errors on the model's own grid: energies in meV, forces in meV/Angstrom."""
        terms, output, forces = loss_terms(network, batch, self.weights, create_graph=False)
        errors = {"loss": self._weighted(terms)}
        if "energy" in terms:
            errors["energy_meV"] = (output.energies - batch.energies).abs().mean() * 1e3 * HARTREE
        if forces is not None and batch.forces is not None:
            errors["forces_meV_per_A"] = (forces - batch.forces).abs().mean() * 1e3 * HARTREE_PER_BOHR
        if "potential" in terms:
            errors["potential"] = terms["potential"]
        return errors

    def _weighted(self, terms: dict[str, Tensor]) -> Tensor:
        return torch.stack([getattr(self.weights, name) * value for name, value in terms.items()]).sum()
