"""Hessians, vibrations and infrared spectra of any calculator, from its batches or its model's own derivatives."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Callable, Sequence
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, InputError
from numpy.typing import NDArray

from ase_mlwave.calculators.checks import read_atoms
from ase_mlwave.calculators.infrared import InfraredData
from ase_mlwave.calculators.members import Member
from ase_mlwave.calculators.outcome import Outcome
from ase_mlwave.console import late_bar
from ase_mlwave.errors import OutOfDomainWarning
from ase_mlwave.models.domain.scope import Domain
from ase_mlwave.systems.system import System
from ase_mlwave.units import BOHR, HARTREE

if TYPE_CHECKING:  # loads matplotlib
    from ase.vibrations import VibrationsData

__all__ = ["SecondDerivatives"]

Array = NDArray[np.float64]

#: Displacements of central differences by the network's precision, Angstrom. Forces of float64 are known to 1e-8
#: eV/Angstrom (SCF: 1e-6) and more, so that 3e-6 of a force constant is lost; those of float32 to some 1e-4.
_STEPS = {"float64": 1e-3, "float32": 1e-2}


class SecondDerivatives(Calculator):
    """Differentiate what a calculator predicts twice: of energies, and of dipoles and forces together."""

    members: tuple[Member, ...]
    domain: Domain

    @abstractmethod
    def predict_outcomes(
        self,
        structures: Sequence[Atoms],
        properties: Sequence[str] = ("energy", "forces"),
        *,
        progress: Callable[[int], None] | None = None,
        outside: str | None = None,
        extras: Sequence[str] | None = None,
    ) -> list[Outcome]:
        """Compute structures in batches."""

    def _curvature(self, member: Member, system: System, progress: Callable[[int], None]) -> Array | None:
        """Differentiate a member's energy twice, exactly: (3N, 3N), Hartree/Bohr^2; None where it cannot be.

        ``progress`` is called with the number of rows done since the last call.
        """
        return None

    def hessian(self, atoms: Atoms, *, step: float | None = None) -> Array:
        """Compute the second derivatives of the energy by the positions.

        Parameters
        ----------
        atoms : Atoms
            A structure, which is not changed; constraints do not count. Of a cell its images move along.
        step : float, optional
            Displacement of central differences of the forces, Angstrom. By default the model is differentiated
            twice where that is exact (quantum deep fields; a PhiSNet's energies of atoms alone), and otherwise moved
            by 0.001 Angstrom (0.01 in float32).

        Returns
        -------
        ndarray, (3N, 3N)
            eV/Angstrom^2, symmetric, rows x, y, z of atom after atom; the mean over a committee.

        Raises
        ------
        InputError, OutOfDomainError, PropertyNotImplementedError
            As `predict`, which 6 N displaced structures go through; the structure itself is judged, they are not. Also
            if the step is not positive.

        Notes
        -----
        Translations are in its null space, rotations of a minimum, too, but for what an integration grid leaves. Law:
        ``test_hessian_is_the_derivative_of_the_forces``.
        """
        step = _checked_step(step)
        system = self._judged_structure(atoms)
        n_rows = 3 * len(atoms)
        if step is None:
            with late_bar("second derivatives", n_rows * len(self.members)) as progress:
                exact = [self._curvature(member, system, progress) for member in self.members]
            found = [matrix for matrix in exact if matrix is not None]
            if len(found) == len(exact):
                return _symmetric(np.mean(found, axis=0) * (HARTREE / BOHR**2))
        (slopes,) = self._differences(atoms, ("forces",), step)
        return _symmetric(-slopes.reshape(n_rows, n_rows))

    def vibrations(self, atoms: Atoms, *, step: float | None = None) -> VibrationsData:
        """Compute harmonic vibrations, at a minimum or a saddle point; arguments and errors as `hessian`.

        Returns
        -------
        ase.vibrations.VibrationsData
            ``get_energies()`` (eV), ``get_frequencies()`` (cm^-1), ``get_modes()``, ``tabulate()``, ...
        """
        from ase.vibrations import VibrationsData

        return VibrationsData.from_2d(_plain(atoms), self.hessian(atoms, step=step))

    def infrared(self, atoms: Atoms, *, step: float | None = None) -> InfraredData:
        """Compute harmonic vibrations with infrared intensities, by central differences of forces and dipoles.

        Arguments and errors as `hessian`; a model without dipoles raises ``PropertyNotImplementedError``.

        Returns
        -------
        InfraredData
            ``vibrations``, ``get_intensities()``, ``lines()`` for `ase_mlwave.plot_spectrum`.
        """
        step = _checked_step(step)
        self._judged_structure(atoms)
        forces, dipoles = self._differences(atoms, ("forces", "dipole"), step)
        from ase.vibrations import VibrationsData

        hessian = _symmetric(-forces.reshape(3 * len(atoms), -1))
        return InfraredData(VibrationsData.from_2d(_plain(atoms), hessian), dipoles.reshape(len(atoms), 3, 3))

    def _judged_structure(self, atoms: Atoms) -> System:
        """Check a structure, and warn or raise where it is outside the domain."""
        self.predict_outcomes([atoms], ("energy",), extras=())
        return read_atoms(atoms, self.domain)

    def _differences(self, atoms: Atoms, properties: tuple[str, ...], step: float | None) -> list[Array]:
        """Differentiate properties by the positions, central differences: (3N, ...), in ASE's units over Angstrom."""
        step = _STEPS[self.parameters["dtype"]] if step is None else step
        displaced = []
        for coordinate, sign in product(range(3 * len(atoms)), (1, -1)):
            moved = _plain(atoms)
            moved.positions.flat[coordinate] += sign * step
            displaced.append(moved)
        with late_bar("displaced structures", len(displaced)) as progress, warnings.catch_warnings():
            warnings.simplefilter("ignore", OutOfDomainWarning)  # the structure itself has been judged
            outcomes = self.predict_outcomes(displaced, properties, progress=progress, outside="warn", extras=())
        columns = [np.array([outcome.values[name] for outcome in outcomes]) for name in properties]
        return [(values[::2] - values[1::2]) / (2 * step) for values in columns]


def _plain(atoms: Atoms) -> Atoms:
    """Copy a structure without its constraints, which ASE would apply to what it is given."""
    copy: Atoms = atoms.copy()
    copy.set_constraint()
    return copy


def _checked_step(step: float | None) -> float | None:
    if step is not None and not (isinstance(step, int | float) and 0 < step < np.inf):
        raise InputError(f"step is {step!r}; give a positive number in Angstrom, or None.")
    return step


def _symmetric(matrix: Array) -> Array:
    result: Array = (matrix + matrix.T) / 2
    return result
