"""Kohn-Sham and Hartree-Fock theory, by PySCF."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pyscf
from ase import Atoms
from ase.calculators.calculator import CalculationFailed, CalculatorError, InputError, SCFError
from numpy.typing import NDArray
from pydantic import Field, PrivateAttr, ValidationInfo, field_validator
from pyscf import dft, gto, scf

from ase_mlwave.data.record import Record
from ase_mlwave.quantum.basis import auxiliary_basis, build_mole
from ase_mlwave.quantum.gpu import PYSCF_DEVICES, check_device, on_device, to_numpy
from ase_mlwave.quantum.names import (
    check_basis,
    check_elements,
    check_functional,
    is_functional,
    is_hartree_fock,
    without_evaluation,
)
from ase_mlwave.quantum.populations import dipole_moment
from ase_mlwave.reference.levels.base import unlabelled_record
from ase_mlwave.reference.levels.settings import SettingsLevel
from ase_mlwave.reference.scf_rescue import AS_IS, RESCUE_KEY, converge_with_rescue
from ase_mlwave.systems.system import System

__all__ = ["PyscfLevel", "find_level", "method_names"]


class PyscfLevel(SettingsLevel):
    """Kohn-Sham or Hartree-Fock theory in a Gaussian basis, by PySCF.

    Restricted for molecules without unpaired electrons, unrestricted otherwise.

    Notes
    -----
    Labels equal those of a PySCF calculation set up by hand
    (``test_labels_equal_those_of_pyscf``); forces are minus the derivative of the energy
    (``test_forces_are_minus_the_derivative_of_the_energy``).
    """

    tries_again: ClassVar[bool] = True
    has_mean_field: ClassVar[bool] = True

    functional: str
    """PySCF's name of the functional, or ``"hf"``."""
    basis: str
    """PySCF's name of the basis; spherical functions."""
    density_fit: bool = True
    """Whether the Coulomb and exchange matrices are density-fitted, in PySCF's default auxiliary basis."""
    grid_level: int = Field(default=3, ge=0, le=9)
    """PySCF's level of the integration grid."""
    conv_tol: float = Field(default=1e-10, gt=0, lt=1e-2)
    """Energy change below which the SCF has converged, Hartree."""
    max_cycle: int = Field(default=100, ge=1)
    """Number of SCF cycles after which it has failed."""
    grid_response: bool = True
    """Whether forces have the response of the integration grid. Without it, as in labels of earlier versions, they
    differ from the derivative of the energy by about 1e-5 Hartree/Bohr at grid level 3; the rest is the same."""
    _device: str = PrivateAttr("cpu")

    @field_validator("functional", "basis")
    @classmethod
    def _lower(cls, value: str) -> str:
        return value.strip().lower()

    @field_validator("grid_response")
    @classmethod
    def _only_with_a_grid(cls, value: bool, info: ValidationInfo) -> bool:
        """Hartree-Fock theory has no grid; its levels are equal whatever is said here."""
        return value or is_hartree_fock(info.data.get("functional", ""))

    def model_post_init(self, context: Any, /) -> None:
        """Refuse names that PySCF does not know."""
        check_functional(self.functional)
        check_basis(self.basis)

    def on(self, device: str) -> PyscfLevel:
        """Return the same level on another device; see ``LevelOfTheory.on``."""
        if device not in PYSCF_DEVICES:
            check_device(device)
        twin = self.model_copy()
        twin._device = device
        return twin

    def load(self) -> None:
        """See that the machine has the level's device."""
        check_device(self._device)

    def settings(self) -> dict[str, Any]:
        """Return the fields that matter, and the program."""
        without_meaning = {"grid_response"} if is_hartree_fock(self.functional) else set()
        return {"program": "pyscf", **self.model_dump(exclude=without_meaning)}

    def mean_field(self, mole: gto.Mole) -> scf.hf.SCF:
        """Return an unconverged mean-field object: RKS or RHF without unpaired electrons, UKS or UHF with.

        Parameters
        ----------
        mole : pyscf.gto.Mole
            In this level's basis (not checked, so that a level can be run in another basis on purpose).

        Returns
        -------
        pyscf.scf.hf.SCF
            With functional, grid, density fitting and convergence threshold set; on a GPU one of gpu4pyscf.

        Raises
        ------
        InputError
            If the machine has not the level's device.
        """
        if is_hartree_fock(self.functional):
            mf = scf.UHF(mole) if mole.spin else scf.RHF(mole)
            mf.disp = self.functional.partition("-")[2] or None
        else:
            mf = (dft.UKS if mole.spin else dft.RKS)(mole, xc=self.functional)
            mf.grids.level = self.grid_level
        if self.density_fit:
            mf = mf.density_fit()
            mf.with_df.auxbasis = auxiliary_basis(mole, mf.with_df.auxbasis)
        mf.conv_tol = self.conv_tol
        mf.max_cycle = self.max_cycle
        mf.chkfile = None
        return on_device(mf, self._device)

    def check(self, system: System) -> None:
        """Refuse what has elements that the basis lacks, too; see ``LevelOfTheory.check``."""
        super().check(system)
        check_elements(self.basis, system.numbers)

    def label(self, molecule: Record | Atoms) -> Record:
        """Run the SCF and its analytic gradient; see ``LevelOfTheory.label``.

        An SCF that does not converge as it is gets more careful tries, to the same threshold; ``info["scf_rescue"]``
        then names what helped.
        """
        record = unlabelled_record(molecule)
        self.check(record)
        mole = build_mole(record.numbers, record.positions, self.basis, record.charge, record.spin)
        try:
            with without_evaluation():
                mf, rung = self.converged(mole, record.formula)
            forces = {"forces": -self._gradient(mf)} if self._with_forces else {}
            fock = to_numpy(mf.get_fock(dm=mf.make_rdm1()))
            density = to_numpy(mf.make_rdm1())
            dipole = dipole_moment(density.sum(axis=0) if mole.spin else density, mole)
        except CalculatorError:
            raise
        except Exception as error:  # PySCF raises whatever comes up; a label is all or nothing
            raise CalculationFailed(f"PySCF failed for {record.formula} at {self.name}: {error!r}") from error
        symmetric = (fock + np.swapaxes(fock, -1, -2)) / 2  # symmetric to rounding before
        rescued = {} if rung == AS_IS else {RESCUE_KEY: rung}
        labels: dict[str, Any] = {"energy": float(mf.e_tot), "dipole": dipole, **forces}
        return replace(record, **labels, matrices={"hamiltonian": symmetric}).with_info(**rescued)

    def converged(self, mole: gto.Mole, formula: str) -> tuple[Any, str]:
        """Converge the SCF of a molecule.

        Parameters
        ----------
        mole : pyscf.gto.Mole
            In this level's basis.
        formula : str
            What the molecule is called in messages.

        Returns
        -------
        mean_field : PySCF mean-field object
            Converged.
        rung : str
            As of `converge_with_rescue`.

        Raises
        ------
        SCFError
            If nothing converges it.
        """
        mean_field, rung = converge_with_rescue(lambda: self.mean_field(mole), lambda: self.on("cpu").mean_field(mole))
        if not rung:
            raise SCFError(
                f"the SCF of {formula} at {self.name} did not converge to {self.conv_tol:g} Hartree within "
                f"{self.max_cycle} cycles, nor with level shifts, smaller steps or in second order."
            )
        return mean_field, rung

    def _gradient(self, mf: scf.hf.SCF) -> NDArray[np.float64]:
        from ase_mlwave.quantum.functional import gradient_method  # loads torch

        try:
            return to_numpy(gradient_method(mf, grid_response=self.grid_response).kernel())
        except NotImplementedError as error:
            raise InputError(
                f"PySCF {pyscf.__version__} has no forces of {self.name} ({error}). Update it, or label without the "
                f"response of the grid: '{self.model_copy(update={'grid_response': False}).name}'."
            ) from error


def find_level(words: Sequence[str]) -> PyscfLevel | None:
    """Make the level that a string's words name, if it is a functional in a basis.

    Parameters
    ----------
    words : sequence of str
        ``functional/basis``, then settings of ``PyscfLevel`` as ``key=value``.

    Returns
    -------
    PyscfLevel or None
        None if PySCF runs no such functional.

    Raises
    ------
    InputError
        If the basis or a setting is unknown or wrong.
    """
    functional, _, basis = words[0].partition("/")
    if not (basis and is_functional(functional)):
        return None
    return PyscfLevel.from_words(words)


def method_names() -> list[str]:
    """List the methods that are named without a basis: none."""
    return []
