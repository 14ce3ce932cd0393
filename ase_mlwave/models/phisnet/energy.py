"""The wavefunction energy: total energy from H, its density matrix, and atomic energies of the network."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ase_mlwave.quantum.density import density_matrix
from ase_mlwave.quantum.integrals import nuclear_repulsion
from ase_mlwave.systems.batch import SystemBatch

__all__ = ["ElectronicState", "electronic_states", "n_occupied", "wavefunction_energies"]


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


def n_occupied(numbers: Tensor, charge: int = 0) -> int:
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
    hamiltonians: tuple[Tensor, ...], overlaps: tuple[Tensor, ...], occupied: tuple[int, ...]
) -> list[ElectronicState]:
    """Solve the eigenproblems of a batch, molecules of equal size together.

    Parameters
    ----------
    hamiltonians, overlaps : tuple of Tensor, (M_b, M_b)
        H (Hartree) and S of each molecule.
    occupied : tuple of int, (B,)
        Doubly occupied orbitals of each.

    Returns
    -------
    list of ElectronicState, (B,)
        Differentiable to second order (density) and first order (orbital energies).
    """
    states: list[ElectronicState | None] = [None] * len(hamiltonians)
    groups: dict[int, list[int]] = {}
    for index, matrix in enumerate(hamiltonians):
        groups.setdefault(matrix.shape[0], []).append(index)
    for members in groups.values():
        counts = torch.tensor([occupied[i] for i in members], device=hamiltonians[0].device)
        density, energies = density_matrix(
            torch.stack([hamiltonians[i] for i in members]), torch.stack([overlaps[i] for i in members]), counts
        )
        for place, i in enumerate(members):
            states[i] = ElectronicState(density[place], energies[place], occupied[i])
    return [state for state in states if state is not None]


def wavefunction_energies(
    batch: SystemBatch,
    hamiltonians: tuple[Tensor, ...],
    cores: tuple[Tensor, ...],
    states: list[ElectronicState],
    atomic_energies: Tensor,
    *,
    short_range: bool = False,
) -> Tensor:
    """Compute E = 1/2 tr[P (H + h)] + E_nn + sum_i e_i of each molecule.

    Parameters
    ----------
    batch : SystemBatch
        Positions in Bohr.
    hamiltonians, cores : tuple of Tensor, (M_b, M_b)
        H and the core Hamiltonian h, Hartree; with the smeared charges' repulsion in h for ``short_range``.
    states : list of ElectronicState, (B,)
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
    electronic = torch.stack(
        [0.5 * (s.density * (h + core)).sum() for s, h, core in zip(states, hamiltonians, cores, strict=True)]
    )
    atoms = list(batch.n_atoms)
    repulsion = torch.stack(
        [
            nuclear_repulsion(r, z, short_range=short_range)
            for r, z in zip(batch.positions.split(atoms), batch.numbers.split(atoms), strict=True)
        ]
    )
    atomic = torch.zeros_like(electronic).index_add(0, batch.system, atomic_energies)
    return electronic + repulsion + atomic
