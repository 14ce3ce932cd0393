"""The wavefunction energy: total energy from H, its density matrix, and atomic energies of the network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ase_mlwave.models.phisnet.assembly import MatrixBatch
from ase_mlwave.quantum.density import density_matrix, penalised
from ase_mlwave.quantum.integrals import coulomb_repulsion
from ase_mlwave.quantum.stacks import Stacks, uploaded
from ase_mlwave.systems.batch import SystemBatch

__all__ = [
    "ElectronicState",
    "ElectronicStates",
    "electronic_states",
    "energies_of_atoms",
    "n_occupied",
    "wavefunction_energies",
]


@dataclass(frozen=True)
class ElectronicState:
    """Density and orbital energies of one molecule, from its Hamiltonian.

    Parameters
    ----------
    density : Tensor, (M, M)
        P = 2 C_occ C_occ^T.
    orbital_energies : Tensor, (M,)
        Hartree, ascending.
    n_occupied : int
        Doubly occupied orbitals.
    """

    density: Tensor
    orbital_energies: Tensor
    n_occupied: int


@dataclass(frozen=True)
class ElectronicStates:
    """Densities and orbital energies of B molecules.

    Parameters
    ----------
    density : MatrixBatch
        P of each.
    orbital_energies : Tensor, (sum M_b,)
        Hartree, ascending in each molecule.
    n_occupied : tuple of int, (B,)
        Doubly occupied orbitals.
    """

    density: MatrixBatch
    orbital_energies: Tensor
    n_occupied: tuple[int, ...]

    def split(self) -> tuple[ElectronicState, ...]:
        """View the state of each molecule."""
        energies = self.orbital_energies.split(list(self.density.sizes))
        return tuple(map(ElectronicState, self.density.matrices(), energies, self.n_occupied))


def n_occupied(numbers: Tensor | NDArray[np.int64], charge: int = 0) -> int:
    """Count doubly occupied orbitals of a closed-shell molecule.

    Raises
    ------
    ValueError
        If the electron number is odd.
    """
    electrons = int(numbers.sum()) - charge
    if electrons % 2:
        raise ValueError(f"{electrons} electrons do not make a closed shell")
    return electrons // 2


def electronic_states(
    hamiltonian: MatrixBatch, overlap: Tensor, occupied: Sequence[int], penalty: float = 0.0
) -> ElectronicStates:
    """Solve the eigenproblems of a batch, molecules of about equal size together.

    Parameters
    ----------
    hamiltonian : MatrixBatch
        H of each molecule, Hartree.
    overlap : Tensor, (sum M_b^2,)
        S of each molecule, one behind the other.
    occupied : sequence of int, (B,)
        Doubly occupied orbitals of each.
    penalty : float
        As of `ase_mlwave.quantum.density.penalised`.

    Returns
    -------
    ElectronicStates
        Differentiable to second order (density) and first order (orbital energies).

    Raises
    ------
    CalculationFailed
        As `ase_mlwave.quantum.density.density_matrix`.

    Notes
    -----
    Laws: ``test_states_of_a_batch_are_those_of_its_members``, ``test_a_pass_needs_nothing_from_the_host``.
    """
    device = hamiltonian.flat.device
    stacks = Stacks.of(hamiltonian.sizes, device)
    densities, energies = [], []
    for H, S, stack in zip(stacks.stack(hamiltonian.flat), stacks.stack(overlap), stacks.stacks, strict=True):
        counts = uploaded(tuple(occupied[b] for b in stack.members), device)
        padded = None if len(set(stack.sizes)) == 1 else uploaded(stack.sizes, device)
        P, eps = density_matrix(penalised(H, S, penalty, padded), S, counts, padded)
        densities.append(P)
        energies.append(eps)
    density = MatrixBatch(stacks.flatten(densities), hamiltonian.sizes)
    return ElectronicStates(density, stacks.flatten_rows(energies), tuple(occupied))


def energies_of_atoms(batch: SystemBatch, atomic_energies: Tensor) -> Tensor:
    """Add up atomic energies (N,) to those of molecules, (B,)."""
    return atomic_energies.new_zeros(len(batch.n_atoms)).index_add(0, batch.system, atomic_energies)


def wavefunction_energies(
    batch: SystemBatch,
    hamiltonian: MatrixBatch,
    core: Tensor,
    states: ElectronicStates,
    atomic_energies: Tensor,
    *,
    short_range: bool = False,
) -> Tensor:
    """Compute E = 1/2 tr[P (H + h)] + E_nn + sum_i e_i of each molecule.

    Parameters
    ----------
    batch : SystemBatch
        Positions in Bohr.
    hamiltonian : MatrixBatch
        H of each molecule, Hartree.
    core : Tensor, (sum M_b^2,)
        Core Hamiltonians h, Hartree; with the smeared charges' repulsion in h for ``short_range``.
    states : ElectronicStates
        From :func:`electronic_states` of the same H.
    atomic_energies : Tensor, (N,)
        e_i, Hartree: they stand for E_xc - 1/2 tr[P v_xc] and vanish for Hartree-Fock.
    short_range : bool
        Take only the short-range part of the nuclear repulsion.

    Returns
    -------
    Tensor, (B,)
        Hartree.

    Notes
    -----
    Source: Unke et al. 2021 (Hartree-Fock); the atomic energies extend it to density functionals.
    Differs from the paper, for ``short_range``: an H of finite range does not know the potential of distant
    molecules, h and E_nn do, and between polar molecules a spurious charge-dipole term of 1/2 tr[P h] + E_nn falls
    off as 1/R^2 only (6 meV for two waters 30 Angstrom apart). With erfc-screened Coulomb terms in both it is zero,
    and the atomic energies learn what changes within a molecule. Law: ``test_wavefunction_energy_is_size_consistent``.
    """
    stacks = Stacks.of(hamiltonian.sizes, core.device)
    electronic = stacks.sums(0.5 * states.density.flat * (hamiltonian.flat + core))
    first, second, system = _nuclear_pairs(batch.n_atoms, core.device)
    numbers = batch.numbers.to(batch.positions.dtype)
    charges = numbers.index_select(0, first) * numbers.index_select(0, second)
    vectors = batch.positions.index_select(0, first) - batch.positions.index_select(0, second)
    repulsion = coulomb_repulsion(charges, vectors.square().sum(-1), short_range=short_range)
    atomic = electronic.index_add(0, batch.system, atomic_energies)
    return atomic.index_add(0, system, repulsion)


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # what is kept must serve gradients later
def _nuclear_pairs(n_atoms: tuple[int, ...], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """List the pairs of atoms within each molecule: first and second atom, and the molecule."""
    pairs = [np.stack(np.triu_indices(n, 1)) for n in n_atoms]
    starts = np.cumsum((0, *n_atoms[:-1]))
    atoms = np.concatenate([pair + start for pair, start in zip(pairs, starts, strict=True)], 1)
    system = np.repeat(np.arange(len(n_atoms)), [pair.shape[1] for pair in pairs])
    first, second = torch.from_numpy(atoms).to(device)
    return first, second, torch.from_numpy(system).to(device)
