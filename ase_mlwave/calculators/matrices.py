"""Calculators whose models predict matrices: H, S, P and orbitals of one molecule, on points of space and in files."""

from __future__ import annotations

from functools import partial
from os import PathLike

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import CalculationFailed, InputError
from numpy.typing import ArrayLike, NDArray
from pyscf import gto

from ase_mlwave.calculators.base import MlwaveCalculator, Outcome
from ase_mlwave.calculators.checks import cube_grid, read_atoms, read_points
from ase_mlwave.calculators.moles import read_mole
from ase_mlwave.calculators.outcome import to_ase
from ase_mlwave.models.phisnet.assembly import MatrixBatch
from ase_mlwave.models.phisnet.energy import ElectronicState, electronic_states
from ase_mlwave.models.phisnet.inference import predict_batch
from ase_mlwave.models.phisnet.model import PhiSNet
from ase_mlwave.models.phisnet.molecules import matrices_of, mole_of
from ase_mlwave.quantum.cubes import density_on_points, orbitals_on_points, write_cube
from ase_mlwave.quantum.density import orbitals, penalised
from ase_mlwave.systems.system import System
from ase_mlwave.units import BOHR

__all__ = ["MatrixCalculator", "state_of"]

Array = NDArray[np.float64]


class MatrixCalculator(MlwaveCalculator):
    """Predict the Hamiltonian matrix of a molecule, its orbitals and its density, whatever its energy is.

    Notes
    -----
    For subclasses: models are of kind ``"phisnet"``, and ``integrals`` is among the options.
    """

    # --- matrices ---------------------------------------------------------------------------------------------------

    def hamiltonian(self, x: Atoms | gto.Mole) -> Array:
        """Predict the Hamiltonian matrix.

        Parameters
        ----------
        x : Atoms or pyscf.gto.Mole
            A molecule; a ``Mole`` must have the model's basis.

        Returns
        -------
        ndarray, (M, M)
            float64, Hartree, PySCF's AO order; the mean over a committee.

        Raises
        ------
        InputError
            If the molecule is outside what the model was made for, or the ``Mole`` has another basis.
        OutOfDomainError
            If it is unlike anything the model was trained on.
        """
        return self._matrices(x)[0]

    def overlap(self, x: Atoms | gto.Mole) -> Array:
        """Compute the exact overlap matrix in the model's basis, (M, M); arguments and errors as `hamiltonian`."""
        return self._matrices(x)[1]

    def density_matrix(self, x: Atoms | gto.Mole) -> Array:
        """Predict the density matrix P = 2 C_occ C_occ^T, (M, M); arguments and errors as `hamiltonian`.

        Notes
        -----
        tr[P S] is the number of electrons to rounding (``test_density_matrix_has_the_electrons``).
        """
        return self._matrices(x)[2]

    def orbitals(self, x: Atoms | gto.Mole) -> tuple[Array, Array]:
        """Predict the molecular orbitals.

        Parameters
        ----------
        x : Atoms or pyscf.gto.Mole
            As in `hamiltonian`.

        Returns
        -------
        orbital_energies : ndarray, (M,)
            Hartree, ascending; the lowest N_electrons / 2 are doubly occupied.
        coefficients : ndarray, (M, M)
            Orbitals in columns, PySCF's AO order, C^T S C = 1.

        Raises
        ------
        InputError, OutOfDomainError
            As `hamiltonian`.
        """
        H, S, _ = self._matrices(x)
        overlap = torch.from_numpy(S)
        lifted = penalised(torch.from_numpy(H), overlap, self._network.config.overlap_penalty)
        coefficients, energies = orbitals(lifted, overlap)
        return energies.numpy(), coefficients.numpy()

    # --- in space ---------------------------------------------------------------------------------------------------

    def density(self, x: Atoms | gto.Mole, points: ArrayLike) -> Array:
        """Evaluate the predicted electron density.

        Parameters
        ----------
        x : Atoms or pyscf.gto.Mole
            As in `hamiltonian`.
        points : array_like, (..., 3)
            Angstrom.

        Returns
        -------
        ndarray, (...)
            e/Angstrom^3.

        Raises
        ------
        InputError, OutOfDomainError
            As `hamiltonian`; also if the points are not finite (..., 3) numbers.
        """
        grid = read_points(points)
        mole = mole_of(self._network, self._system(x))
        return density_on_points(self._matrices(x)[2], mole, grid.reshape(-1, 3)).reshape(grid.shape[:-1]) / BOHR**3

    def orbital(self, x: Atoms | gto.Mole, index: int, points: ArrayLike) -> Array:
        """Evaluate a predicted molecular orbital in Angstrom^(-3/2); ``index`` counts from 0, by energy.

        Other arguments and errors as `density`; also ``InputError`` if there is no such orbital. Its sign is arbitrary.
        """
        grid = read_points(points)
        values = orbitals_on_points(*self._orbital(x, index), grid.reshape(-1, 3))
        return np.asarray(values.reshape(grid.shape[:-1]) / BOHR**1.5)

    def write_density(self, x: Atoms | gto.Mole, path: str | PathLike[str], *, spacing: float = 0.1) -> None:
        """Write the predicted electron density as a cube file.

        Parameters
        ----------
        x : Atoms or pyscf.gto.Mole
            As in `hamiltonian`.
        path : str or path
            File to write.
        spacing : float
            Largest distance of grid points, Angstrom.

        Raises
        ------
        InputError, OutOfDomainError
            As `hamiltonian`; also if the spacing is not positive, or there is no folder for the file.
        """
        grid = cube_grid(path, spacing)
        mole = mole_of(self._network, self._system(x))
        density = self._matrices(x)[2]
        write_cube(path, partial(density_on_points, density, mole), mole, grid, "Electron density, e/Bohr^3")

    def write_orbital(
        self, x: Atoms | gto.Mole, path: str | PathLike[str], index: int, *, spacing: float = 0.1
    ) -> None:
        """Write a predicted molecular orbital as a cube file; ``index`` counts from 0, by energy.

        Other arguments and errors as `write_density`; also ``InputError`` if there is no such orbital.
        """
        grid = cube_grid(path, spacing)
        orbital, mole = self._orbital(x, index)
        write_cube(path, partial(orbitals_on_points, orbital, mole), mole, grid, "Orbital, Bohr^(-3/2)")

    def _orbital(self, x: Atoms | gto.Mole, index: int) -> tuple[Array, gto.Mole]:
        """Look up an orbital, (M, 1), and the molecule in whose basis it is."""
        energies, coefficients = self.orbitals(x)
        if not isinstance(index, (int, np.integer)) or not 0 <= index < len(energies):
            raise InputError(f"there is no orbital {index}; this molecule has 0 to {len(energies) - 1}")
        return coefficients[:, [index]], mole_of(self._network, self._system(x))

    def _system(self, x: Atoms | gto.Mole) -> System:
        """Check a molecule and read it in atomic units."""
        if isinstance(x, gto.Mole):
            return read_mole(x, self.domain)
        if not isinstance(x, Atoms):
            raise InputError(f"expected ase.Atoms or a PySCF Mole, got {type(x).__name__}")
        return read_atoms(x, self.domain)

    @property
    def _network(self) -> PhiSNet:
        """The first of the members, whose basis is that of all."""
        return self.members[0].network_as(PhiSNet)

    def _matrices(self, x: Atoms | gto.Mole) -> tuple[Array, Array, Array]:
        """Predict H, S and P of one molecule; the mean H of a committee."""
        system = self._system(x)
        if isinstance(x, gto.Mole):
            mole = mole_of(self._network, system)
            if x.nao != mole.nao or not np.allclose(x.intor("int1e_ovlp"), mole.intor("int1e_ovlp"), atol=1e-8):
                raise InputError(
                    f"the Mole's basis is not the model's, {self._network.config.basis!r} (spherical); give Atoms, or "
                    "use initial_guess, which projects the density to another basis"
                )
        extras = self._judged(system, self._predicted(system)).extras
        return extras["hamiltonian"], extras["overlap"], extras["density_matrix"]

    def _predicted(self, system: System) -> Outcome:
        """Predict the matrices of one molecule, those of a committee averaged; not judged yet."""
        try:
            batches = [
                predict_batch(member.network_as(PhiSNet), [system], energies=False, integrals=self.option("integrals"))
                for member in self.members
            ]
        except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
            raise CalculationFailed(f"the predicted matrix cannot be diagonalised: {error}") from error
        predicted = [to_ase(Outcome({}, matrices_of(batch)[0]), len(system)) for batch in batches]
        return self._combine(system, predicted)


def state_of(hamiltonian: Array, overlap: Array, n_occupied: int, penalty: float) -> ElectronicState:
    """Solve the eigenproblem of one molecule, H and S (M, M), Hartree."""
    matrices = MatrixBatch.of([torch.from_numpy(hamiltonian)])
    return electronic_states(matrices, torch.from_numpy(overlap).view(-1), [n_occupied], penalty).split()[0]
