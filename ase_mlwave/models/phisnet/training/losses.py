"""Loss terms and error measures, all in Hartree and Bohr."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ase_mlwave.models.phisnet.assembly import MatrixBatch
from ase_mlwave.models.phisnet.baseline import exact_matrices
from ase_mlwave.models.phisnet.config import PhiSNetConfig
from ase_mlwave.models.phisnet.energy import electronic_states, energies_of_atoms, wavefunction_energies
from ase_mlwave.models.phisnet.learned import learned_matrices
from ase_mlwave.models.phisnet.model import PhiSNet, PhiSNetOutput
from ase_mlwave.models.phisnet.training.prepared import TrainingBatch
from ase_mlwave.models.phisnet.training.settings import LossWeights
from ase_mlwave.quantum.stacks import Stacks

__all__ = ["Prediction", "loss_terms", "predict_batch"]


@dataclass(frozen=True)
class Prediction:
    """What the loss compares: the network's output, energies, forces and dipoles, where they are asked for."""

    output: PhiSNetOutput | None
    energies: Tensor | None = None
    forces: Tensor | None = None
    dipoles: Tensor | None = None


def predict_batch(
    model: PhiSNet,
    batch: TrainingBatch,
    *,
    energies: bool,
    forces: bool,
    dipoles: bool = False,
    with_matrices: bool = True,
    create_graph: bool = True,
    mixed: bool = False,
) -> Prediction:
    """Run the network and, if asked for, the wavefunction energy, its forces and the dipole.

    Parameters
    ----------
    model : PhiSNet
        The network.
    batch : TrainingBatch
        Molecules.
    energies, forces, dipoles : bool
        What to compute beside H; dipoles where the batch has the matrices of coordinates.
    with_matrices : bool
        Compute H, too, where the energy does without.
    create_graph : bool
        Keep the graph of the forces, for training.
    mixed : bool
        Let the layers of the network multiply in bfloat16; geometry, heads and all that follows are as ever.

    Returns
    -------
    Prediction
    """
    molecules = batch.molecules
    device = molecules.positions.device.type
    layers: AbstractContextManager[Any] = torch.autocast(device, torch.bfloat16) if mixed else nullcontext()
    if model.energy_features is not None:
        with layers:
            output = model(molecules, batch.plan, distances=False) if with_matrices else None
        alone = (energies or forces) and _energies_of_atoms(model, batch, forces=forces, create_graph=create_graph)
        return Prediction(output, *(alone or ()))
    if not (energies or forces or dipoles):
        with layers:
            return Prediction(model(molecules, batch.plan, distances=False))
    if forces:
        molecules = molecules.at(molecules.positions.detach().clone().requires_grad_())
    with torch.set_grad_enabled(torch.is_grad_enabled() or forces):
        with layers:
            output = model(molecules, batch.plan, distances=False)
        matrices = batch.matrices
        if forces or "energy_core" not in matrices:
            matrices = _integrals(batch, molecules.positions, model.config)
        learned = learned_matrices(output, molecules.positions, batch.numbers, model.config)
        hamiltonian = MatrixBatch(learned + matrices["baseline"], output.hamiltonian.sizes)
        penalty = model.config.overlap_penalty
        states = electronic_states(hamiltonian, matrices["overlap"], batch.n_occupied, penalty)
        core, short_range = matrices["energy_core"], model.config.short_range
        atomic: Any = output.atomic_energies
        total = wavefunction_energies(molecules, hamiltonian, core, states, atomic, short_range=short_range)
        force = None
        if forces:
            force = -torch.autograd.grad(total.sum(), molecules.positions, create_graph=create_graph)[0]
        dipole = _dipoles(batch, states.density) if dipoles else None
    return Prediction(output, total, force, dipole)


def _dipoles(batch: TrainingBatch, density: MatrixBatch) -> Tensor:
    """Evaluate the dipoles (B, 3) of densities, e Bohr; as functions of H alone, not of the positions."""
    molecules = batch.molecules
    moments = molecules.numbers[:, None] * molecules.positions.detach()
    nuclei = moments.new_zeros(len(molecules.n_atoms), 3).index_add(0, molecules.system, moments)
    stacks = Stacks.of(density.sizes, moments.device)
    electrons = [stacks.sums(density.flat * batch.matrices[name]) for name in ("x", "y", "z")]
    return nuclei - torch.stack(electrons, 1)


def _energies_of_atoms(
    model: PhiSNet, batch: TrainingBatch, *, forces: bool, create_graph: bool
) -> tuple[Tensor, Tensor | None]:
    """Compute energies (B,), and forces (N, 3), of a model whose energies are those of its atoms alone."""
    molecules = batch.molecules
    if forces:
        molecules = molecules.at(molecules.positions.detach().clone().requires_grad_())
    with torch.set_grad_enabled(torch.is_grad_enabled() or forces):
        total = energies_of_atoms(molecules, model.atomic_energies(molecules, batch.plan))
        if not forces:
            return total, None
        return total, -torch.autograd.grad(total.sum(), molecules.positions, create_graph=create_graph)[0]


def _integrals(batch: TrainingBatch, positions: Tensor, config: PhiSNetConfig) -> dict[str, Tensor]:
    """Compute what the energy needs as a function of the positions; each (sum M_b^2,), named as what is kept."""
    kinds: dict[str, Any] = {
        "baseline": config.baseline,
        "shift": config.baseline_shift,
        "short_range": config.short_range,
        "prepared": batch.integrals,
    }
    exact = exact_matrices(positions, batch.numbers, config.basis, second=False, **kinds)
    return {"baseline": exact.baseline, "overlap": exact.overlap, "energy_core": exact.core}


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
    output, matrices = prediction.output, batch.matrices
    if output is not None and output.potential is not None:
        terms |= _potential_terms(output.potential, batch, weights)
    elif output is not None and (weights.hamiltonian or weights.needs_orbitals):
        error = output.hamiltonian.flat - _label(matrices.get("residual"), "Hamiltonian matrices")
        if weights.hamiltonian:
            terms["hamiltonian"] = _mixed_error(error)
        if weights.needs_orbitals:
            terms |= _orbital_terms(error, batch, weights)
    others = (("overlap", output.overlap), ("core", output.core)) if output is not None else ()
    for name, predicted in others:
        if getattr(weights, name) and predicted is not None:
            terms[name] = _mixed_error(predicted.flat - matrices[name])
    if weights.energy:
        terms["energy"] = (_label(prediction.energies, "energies") - _label(batch.energies, "energies")).abs().mean()
    if weights.forces:
        terms["forces"] = (_label(prediction.forces, "forces") - _label(batch.forces, "forces")).abs().mean()
    if weights.dipole:
        terms["dipole"] = (_label(prediction.dipoles, "dipoles") - _label(batch.dipoles, "dipoles")).abs().mean()
    return terms


def _potential_terms(predicted: Tensor, batch: TrainingBatch, weights: LossWeights) -> dict[str, Tensor]:
    """Give the terms of a learned potential whose weight is not zero."""
    if batch.forms is None:
        raise ValueError("a learned potential needs Hamiltonian matrices, which some training records lack; label them")
    return {name: value for name, value in batch.forms.terms(predicted).items() if getattr(weights, name)}


def _label(value: Tensor | None, name: str) -> Tensor:
    if value is None:
        raise ValueError(f"the loss needs {name}, which some training records lack; label them, or set its weight to 0")
    return value


def _mixed_error(error: Tensor) -> Tensor:
    """Mean absolute plus root mean square error: the first is what counts, the second watches the outliers."""
    return error.abs().mean() + (error.square().mean() + 1e-20).sqrt()


def _orbital_terms(error: Tensor, batch: TrainingBatch, weights: LossWeights) -> dict[str, Tensor]:
    """Give what an error of H does to the reference's orbitals, to first order.

    Only the block between occupied and virtual orbitals changes the density; divided by the gaps eps_a - eps_i it is
    the density's error in the basis of these orbitals. Source: wavefunction alignment loss, arXiv:2502.19227, without
    gaps.
    """
    if batch.orbitals is None:
        raise ValueError("these losses need orbitals; they are kept where the preparation names them")
    levels, mixing = batch.orbitals.errors(error)
    terms = {}
    if weights.occupied:
        terms["occupied"] = levels.abs().sum() / batch.orbitals.n_occupied
    if weights.alignment:
        terms["alignment"] = (mixing.square().sum() / batch.orbitals.n_pairs + 1e-20).sqrt()
    if weights.density:
        change = mixing / batch.orbitals.gaps
        terms["density"] = (change.square().sum() / batch.orbitals.n_pairs + 1e-20).sqrt()
    return terms
