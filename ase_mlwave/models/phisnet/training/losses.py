"""Loss terms and error measures, all in Hartree and Bohr."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ase_mlwave.models.phisnet.assembly import MatrixBatch
from ase_mlwave.models.phisnet.baseline import flatten
from ase_mlwave.models.phisnet.energy import electronic_states, n_occupied, wavefunction_energies
from ase_mlwave.models.phisnet.model import PhiSNet, PhiSNetOutput
from ase_mlwave.models.phisnet.training.prepared import TrainingBatch
from ase_mlwave.models.phisnet.training.settings import LossWeights
from ase_mlwave.quantum.density import orbitals

__all__ = ["Prediction", "loss_terms", "predict_batch"]


@dataclass(frozen=True)
class Prediction:
    """What the loss compares: H, and energies and forces where they are asked for."""

    output: PhiSNetOutput
    hamiltonian: MatrixBatch
    energies: Tensor | None
    forces: Tensor | None


def predict_batch(
    model: PhiSNet, batch: TrainingBatch, *, energies: bool, forces: bool, create_graph: bool = True
) -> Prediction:
    """Run the network and, if asked for, the wavefunction energy and its forces.

    Parameters
    ----------
    model : PhiSNet
        The network.
    batch : TrainingBatch
        Molecules; prepared with derivatives if ``forces``.
    energies, forces : bool
        What to compute beside H.
    create_graph : bool
        Keep the graph of the forces, for training.

    Returns
    -------
    Prediction
    """
    molecules = batch.molecules
    if forces:
        molecules = molecules.at(molecules.positions.detach().clone().requires_grad_())
    with torch.set_grad_enabled(torch.is_grad_enabled() or forces):
        output = model(molecules)
        per_molecule = molecules.positions.split(list(molecules.n_atoms))
        baseline = flatten([m.at(r) for m, r in zip(batch.baselines, per_molecule, strict=True)])
        hamiltonian = MatrixBatch(output.hamiltonian.flat + baseline, output.hamiltonian.sizes)
        if not (energies or forces):
            return Prediction(output, hamiltonian, None, None)
        overlap = flatten([m.at(r) for m, r in zip(batch.overlaps, per_molecule, strict=True)])
        core = flatten([m.at(r) for m, r in zip(batch.energy_cores, per_molecule, strict=True)])
        numbers = molecules.numbers.split(list(molecules.n_atoms))
        occupied = tuple(n_occupied(z, q) for z, q in zip(numbers, batch.charges, strict=True))
        states = electronic_states(hamiltonian, overlap, occupied)
        short_range = model.config.short_range
        total = wavefunction_energies(
            molecules, hamiltonian, core, states, output.atomic_energies, short_range=short_range
        )
        force = None
        if forces:
            force = -torch.autograd.grad(total.sum(), molecules.positions, create_graph=create_graph)[0]
    return Prediction(output, hamiltonian, total, force)


def loss_terms(prediction: Prediction, batch: TrainingBatch, weights: LossWeights) -> dict[str, Tensor]:
    """Evaluate the terms of the loss whose weight is not zero.

    Parameters
    ----------
    prediction : Prediction
        From :func:`predict_batch`.
    batch : TrainingBatch
        References.
    weights : LossWeights
        Which terms.

    Returns
    -------
    dict of str to Tensor
        Unweighted terms, named as in ``weights``.

    Raises
    ------
    ValueError
        If the batch lacks the labels of a term.
    """
    terms: dict[str, Tensor] = {}
    sizes = prediction.hamiltonian.sizes
    if weights.hamiltonian or weights.alignment:
        error = prediction.hamiltonian.flat - _label(batch.hamiltonian, "Hamiltonian matrices")
        if weights.hamiltonian:
            terms["hamiltonian"] = _mixed_error(error)
        if weights.alignment:
            terms["alignment"] = _alignment(MatrixBatch(error, sizes), batch)
    if weights.overlap and prediction.output.overlap is not None:
        terms["overlap"] = _mixed_error(
            prediction.output.overlap.flat - torch.cat([m.value.reshape(-1) for m in batch.overlaps])
        )
    if weights.core and prediction.output.core is not None:
        terms["core"] = _mixed_error(
            prediction.output.core.flat - torch.cat([m.value.reshape(-1) for m in batch.cores])
        )
    if weights.energy:
        terms["energy"] = (_label(prediction.energies, "energies") - _label(batch.energies, "energies")).abs().mean()
    if weights.forces:
        terms["forces"] = (_label(prediction.forces, "forces") - _label(batch.forces, "forces")).abs().mean()
    return terms


def _label(value: Tensor | None, name: str) -> Tensor:
    if value is None:
        raise ValueError(f"the loss needs {name}, which some training records lack; label them, or set its weight to 0")
    return value


def _mixed_error(error: Tensor) -> Tensor:
    """Mean absolute plus root mean square error: the first is what counts, the second watches the outliers."""
    return error.abs().mean() + (error.square().mean() + 1e-20).sqrt()


def _alignment(error: MatrixBatch, batch: TrainingBatch) -> Tensor:
    """Root mean square of the error of H between occupied and virtual orbitals of the reference.

    Source: wavefunction alignment loss, arXiv:2502.19227; to first order this block alone changes the density.
    """
    reference = MatrixBatch(_label(batch.hamiltonian, "Hamiltonian matrices"), error.sizes)
    numbers = batch.molecules.numbers.split(list(batch.molecules.n_atoms))
    squares, count = error.flat.new_zeros(()), 0
    for wrong, h, s, z, q in zip(
        error.matrices(), reference.matrices(), batch.overlaps, numbers, batch.charges, strict=True
    ):
        coefficients, _ = orbitals(h, s.value)
        occupied = n_occupied(z, q)
        block = coefficients[:, :occupied].T @ wrong @ coefficients[:, occupied:]
        squares, count = squares + block.square().sum(), count + block.numel()
    return (squares / count + 1e-20).sqrt()
