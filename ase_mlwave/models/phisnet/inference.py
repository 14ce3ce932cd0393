"""From geometries to matrices, orbitals, densities and the wavefunction energy: what calculators are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ase_mlwave.models.phisnet.assembly import MatrixBatch
from ase_mlwave.models.phisnet.baseline import ExactMatrices, exact_matrices
from ase_mlwave.models.phisnet.energy import (
    ElectronicState,
    ElectronicStates,
    electronic_states,
    energies_of_atoms,
    n_occupied,
    wavefunction_energies,
)
from ase_mlwave.models.phisnet.learned import learned_matrices
from ase_mlwave.models.phisnet.model import PhiSNet
from ase_mlwave.quantum.integrals import IntegralProgram
from ase_mlwave.systems.batch import SystemBatch, collate
from ase_mlwave.systems.neighbours import NeighbourList
from ase_mlwave.systems.system import System

__all__ = ["PredictedAtoms", "PredictedBatch", "predict_atoms", "predict_batch"]


@dataclass(frozen=True)
class PredictedBatch:
    """Electronic structure of B molecules, float64, Hartree, PySCF's AO order.

    Parameters
    ----------
    molecules : SystemBatch
        Geometry; its positions carry gradients where they were asked for.
    hamiltonian : MatrixBatch
        H with its baseline.
    exact : ExactMatrices
        S, baseline and core Hamiltonian.
    joined_states : ElectronicStates
        Densities and orbital energies.
    atomic_energies : Tensor, (N,), or None
        e_i of the wavefunction energy; None where they were not asked for.
    joined_distances : Tensor, (N,)
        How unlike the training data each atom is.
    short_range : bool
        Whether the wavefunction energy has short-range Coulomb terms.
    atoms_alone : bool
        Whether the wavefunction energy is that of the atoms alone.
    """

    molecules: SystemBatch
    hamiltonian: MatrixBatch
    exact: ExactMatrices
    joined_states: ElectronicStates
    atomic_energies: Tensor | None
    joined_distances: Tensor
    short_range: bool
    atoms_alone: bool = False

    @property
    def positions(self) -> tuple[Tensor, ...]:
        """Positions of each molecule, (N_b, 3), Bohr."""
        return self.molecules.split(self.molecules.positions)

    @property
    def distances(self) -> tuple[Tensor, ...]:
        """How unlike the training data each atom of each molecule is, (N_b,)."""
        return self.molecules.split(self.joined_distances)

    @property
    def hamiltonians(self) -> tuple[Tensor, ...]:
        """H of each molecule, (M_b, M_b)."""
        return self.hamiltonian.matrices()

    @property
    def overlaps(self) -> tuple[Tensor, ...]:
        """S of each molecule, (M_b, M_b)."""
        return MatrixBatch(self.exact.overlap, self.hamiltonian.sizes).matrices()

    @property
    def states(self) -> tuple[ElectronicState, ...]:
        """Density and orbital energies of each molecule."""
        return self.joined_states.split()

    def wavefunction_energies(self) -> Tensor:
        """Compute E = 1/2 tr[P (H + h)] + E_nn + sum_i e_i, or sum_i e_i alone, (B,), Hartree."""
        if self.atomic_energies is None:
            raise ValueError("these molecules were predicted without energies; ask for energies=True")
        if self.atoms_alone:
            return energies_of_atoms(self.molecules, self.atomic_energies)
        return wavefunction_energies(
            self.molecules,
            self.hamiltonian,
            self.exact.core,
            self.joined_states,
            self.atomic_energies,
            short_range=self.short_range,
        )

    def gradient(self, energies: Tensor) -> Tensor:
        """Differentiate energies (B,) with respect to all positions: (N, 3), Hartree/Bohr."""
        return torch.autograd.grad(energies.sum(), self.molecules.positions)[0]


@dataclass(frozen=True)
class PredictedAtoms:
    """Energies of B molecules that are those of their atoms alone.

    Parameters
    ----------
    molecules : SystemBatch
        Geometry; its positions carry gradients where they were asked for.
    atomic_energies : Tensor, (N,)
        Hartree.
    joined_distances : Tensor, (N,)
        How unlike the training data each atom is.
    """

    molecules: SystemBatch
    atomic_energies: Tensor
    joined_distances: Tensor

    @cached_property
    def energies(self) -> Tensor:
        """Energies of the molecules, (B,), Hartree."""
        return energies_of_atoms(self.molecules, self.atomic_energies)

    def gradient(self) -> Tensor:
        """Differentiate all energies with respect to all positions: (N, 3), Hartree/Bohr."""
        return torch.autograd.grad(self.energies.sum(), self.molecules.positions)[0]


def predict_atoms(
    network: PhiSNet,
    systems: Sequence[System],
    *,
    gradients: bool = False,
    neighbours: NeighbourList | None = None,
) -> PredictedAtoms:
    """Predict energies that are those of atoms alone, without matrices; arguments and errors as `predict_batch`.

    Notes
    -----
    A small part of the time of `predict_batch`. Law: ``test_without_matrices_energies_are_the_same``.
    """
    molecules = collate(systems, network.config.cutoff, neighbours)
    plan = network.plan(molecules)
    molecules = molecules.to(network.radial.raw_alpha.device)
    distances = network.domain_distances(molecules, plan)
    if gradients:
        molecules = molecules.at(molecules.positions.clone().requires_grad_())
    with torch.set_grad_enabled(gradients):
        energies = _own_energies(network, systems, molecules)
    return PredictedAtoms(molecules, energies, distances)


def predict_batch(
    network: PhiSNet,
    systems: Sequence[System],
    *,
    gradients: bool = False,
    energies: bool = True,
    neighbours: NeighbourList | None = None,
    integrals: IntegralProgram = "torch",
) -> PredictedBatch:
    """Predict Hamiltonians of a batch and solve their eigenproblems.

    Parameters
    ----------
    network : PhiSNet
        The model; its device is where everything is computed.
    systems : sequence of System, (B,)
        Closed-shell molecules of the model's elements.
    gradients : bool
        Keep the graph for derivatives with respect to positions.
    energies : bool
        Whether the wavefunction energy is wanted. Where it is that of the atoms alone, what keeps a graph is this
        energy, and matrices are without.
    neighbours : NeighbourList, optional
        As of `ase_mlwave.systems.batch.collate`.
    integrals : str
        As of `ase_mlwave.quantum.integrals.batch_integrals`.

    Returns
    -------
    PredictedBatch

    Raises
    ------
    ValueError
        If an element is unknown or the electron number is odd.
    """
    config = network.config
    device = network.radial.raw_alpha.device
    own = config.energy_from == "atoms"
    molecules = collate(systems, config.cutoff, neighbours)
    plan = network.plan(molecules)
    molecules = molecules.to(device)
    if gradients:
        molecules = molecules.at(molecules.positions.clone().requires_grad_())
    with torch.set_grad_enabled(gradients and not (own and energies)):
        output = network(molecules, plan)
        exact = exact_matrices(
            molecules.positions,
            [s.numbers for s in systems],
            config.basis,
            baseline=config.baseline,
            shift=config.baseline_shift,
            short_range=config.short_range,
            integrals=integrals,
        )
        learned = learned_matrices(output, molecules.positions, [s.numbers for s in systems], config)
        hamiltonian = MatrixBatch(learned + exact.baseline, output.hamiltonian.sizes)
        occupied = [n_occupied(s.numbers, s.charge) for s in systems]
        states = electronic_states(hamiltonian, exact.overlap, occupied, config.overlap_penalty)
    atomic = output.atomic_energies
    if own and energies:
        with torch.set_grad_enabled(gradients):
            atomic = _own_energies(network, systems, molecules)
    return PredictedBatch(
        molecules=molecules,
        hamiltonian=hamiltonian,
        exact=exact,
        joined_states=states,
        atomic_energies=atomic,
        joined_distances=output.distances,
        short_range=config.short_range,
        atoms_alone=own,
    )


def _own_energies(network: PhiSNet, systems: Sequence[System], molecules: SystemBatch) -> Tensor:
    """Read atomic energies (N,) from features of their own, at the positions of a batch of these molecules."""
    near = collate(systems, network.config.energy_cutoff)
    places = near.to(molecules.positions.device).at(molecules.positions)
    return network.atomic_energies(places, network.plan(near))
