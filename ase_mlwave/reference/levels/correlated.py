"""Wavefunction methods with electron correlation, by PySCF: MP2, CCSD and CCSD(T)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
from ase import Atoms
from ase.calculators.calculator import (
    CalculationFailed,
    CalculatorError,
    InputError,
    PropertyNotImplementedError,
    SCFError,
)
from pydantic import Field, ValidationInfo, field_validator
from pyscf import cc, gto, mp, scf
from pyscf.cc import ccsd_t_lambda
from pyscf.data.elements import chemcore_atm
from pyscf.grad import ccsd_t as ccsd_t_gradient

from ase_mlwave.data.record import Record
from ase_mlwave.quantum.basis import build_mole, n_functions
from ase_mlwave.quantum.names import check_basis, check_elements, without_evaluation
from ase_mlwave.quantum.populations import dipole_moment
from ase_mlwave.reference.levels.base import unlabelled_record
from ase_mlwave.reference.levels.mean_fields import PyscfLevel
from ase_mlwave.reference.levels.settings import SettingsLevel
from ase_mlwave.reference.scf_rescue import AS_IS, RESCUE_KEY
from ase_mlwave.systems.system import System

__all__ = ["CorrelatedLevel", "Cost", "find_level", "method_names"]

_METHODS = ("mp2", "ccsd", "ccsd(t)")
#: Residual of the amplitudes' equations below which coupled cluster has converged; the energy's is of second order.
_AMPLITUDES = 1e-7


@dataclass(frozen=True)
class Cost:
    """What a label takes, to within a factor of two or three.

    Parameters
    ----------
    hours : float
        On one CPU core.
    gigabytes : float
        Memory, disk included.
    """

    hours: float
    gigabytes: float

    def __str__(self) -> str:
        """Write both with the units that a reader would choose."""
        time = f"{self.hours:.2g} CPU-hours" if self.hours >= 1 else f"{self.hours * 60:.2g} CPU-minutes"
        return f"{time} and {self.gigabytes:.2g} GB"


class CorrelatedLevel(SettingsLevel):
    """MP2, CCSD or CCSD(T) in a Gaussian basis, without density fitting, by PySCF.

    Restricted for molecules without unpaired electrons, unrestricted otherwise; of CCSD(T) in open shells there are
    free atoms and energies without forces alone, for PySCF 2.14's forces are off by up to 1e-3 Hartree/Bohr.

    Notes
    -----
    Labels are energy and forces, which are minus the derivative of the energy
    (``test_forces_of_correlated_levels_are_minus_the_derivative_of_the_energy``). There is no matrix: the method has no
    effective one-electron operator.
    """

    tries_again: ClassVar[bool] = True
    not_numbers: ClassVar[frozenset[str]] = frozenset({"dipole", "max_hours", "max_gigabytes"})

    method: Literal["mp2", "ccsd", "ccsd(t)"]
    """The method."""
    basis: str
    """PySCF's name of the basis; spherical functions."""
    frozen_core: bool = False
    """Leave the orbitals of the cores (1s of C, N, O) out of the correlation, as bases such as cc-pVDZ are made for."""
    conv_tol: float = Field(default=1e-10, gt=0, lt=1e-2)
    """Energy change below which the SCF and the amplitudes have converged, Hartree."""
    max_cycle: int = Field(default=100, ge=1)
    """Number of cycles after which the SCF, or the equations of the amplitudes, have failed."""
    dipole: bool = False
    """Label the dipole too, with the density of CCSD (of CCSD(T), too; the orbitals' relaxation is in the singles)."""
    max_hours: float = Field(default=1.0, gt=0)
    """Refuse molecules that are estimated to take longer, CPU-hours."""
    max_gigabytes: float = Field(default=16.0, gt=0)
    """Refuse molecules that are estimated to need more memory and disk, GB."""

    @field_validator("method", "basis", mode="before")
    @classmethod
    def _lower(cls, value: Any) -> Any:
        return value.strip().lower() if isinstance(value, str) else value

    @field_validator("dipole")
    @classmethod
    def _only_of_coupled_cluster(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("method") == "mp2":
            raise ValueError("dipoles are those of CCSD; leave dipole= out for mp2")
        return value

    def model_post_init(self, context: Any, /) -> None:
        """Refuse a basis that PySCF does not know."""
        check_basis(self.basis)

    @property
    def hartree_fock(self) -> PyscfLevel:
        """The level of the mean field on which the method stands."""
        return PyscfLevel(
            functional="hf",
            basis=self.basis,
            density_fit=False,
            conv_tol=self.conv_tol,
            max_cycle=self.max_cycle,
        )

    def mean_field(self, mole: gto.Mole) -> scf.hf.SCF:
        """Refuse: the method has no mean field of its own.

        Raises
        ------
        PropertyNotImplementedError
            Always.
        """
        raise PropertyNotImplementedError(
            f"{self.name} has no mean field of its own. That on which it stands is {self.hartree_fock.name!r}."
        )

    def cost(self, system: System) -> Cost:
        """Estimate what a label takes.

        Parameters
        ----------
        system : System
            A molecule.

        Returns
        -------
        Cost

        Notes
        -----
        By the steps that dominate, o and v occupied and virtual orbitals: o n^4 for MP2, o^2 v^4 for CCSD and o^3 v^4
        for (T), with factors measured on methanol in cc-pVDZ and water in cc-pVTZ; three times that for open shells.
        Energies alone leave out gradients, and of coupled cluster the lambda equations: factors of ethanol in cc-pVDZ
        and water in cc-pVTZ.
        """
        numbers = np.asarray(system.numbers).tolist()
        n = sum(n_functions(self.basis, z) for z in numbers)
        core = sum(chemcore_atm[z] for z in numbers) if self.frozen_core else 0
        occupied = (sum(numbers) - system.charge + system.spin + 1) // 2
        o, v = max(occupied - core, 0), max(n - occupied, 0)
        factors = (1.8e-8, 1.4e-8, 1.5e-8) if self._with_forces else (4.5e-9, 7.7e-9, 3.5e-10)
        steps = {"mp2": factors[0] * o * n**4}
        steps["ccsd"] = steps["mp2"] + factors[1] * o**2 * v**4
        steps["ccsd(t)"] = steps["ccsd"] + factors[2] * o**3 * v**4
        # Integrals over atomic orbitals; of coupled cluster (ov|vv), amplitudes and two-particle densities.
        numbers_kept = n**4 / 8 + (0 if self.method == "mp2" else 3 * o * v**3 + 12 * o**2 * v**2 + v**4 / 4)
        return Cost((3 if system.spin else 1) * steps[self.method] / 3600, 8e-9 * numbers_kept)

    def check(self, system: System) -> None:
        """Refuse what has no such labels, or costs too much, too; see ``LevelOfTheory.check``."""
        super().check(system)
        check_elements(self.basis, system.numbers)
        if self.method == "ccsd(t)" and system.spin and len(system) > 1 and self._with_forces:
            raise InputError(
                f"{system.formula} has {system.spin} unpaired electrons, for which PySCF's forces of CCSD(T) are "
                f"not the derivative of its energy. Take 'ccsd/{self.basis}', a molecule without, or energies alone "
                "(--no-forces)."
            )
        cost = self.cost(system)
        limits = {"max_hours": (cost.hours, self.max_hours), "max_gigabytes": (cost.gigabytes, self.max_gigabytes)}
        above = [f"{name}={np.ceil(needed):g}" for name, (needed, limit) in limits.items() if needed > limit]
        if above:
            raise InputError(
                f"a label of {system.formula} at {self.name} is estimated to take {cost}, the limits are "
                f"{self.max_hours:g} CPU-hours and {self.max_gigabytes:g} GB. Take a smaller basis or molecule, or "
                f"frozen_core=true; or write {' '.join(above)} after the level."
            )

    def label(self, molecule: Record | Atoms) -> Record:
        """Run Hartree-Fock theory, the correlation and their analytic gradient; see ``LevelOfTheory.label``.

        Raises
        ------
        SCFError
            If the SCF or the equations of the amplitudes do not converge.
        """
        record = unlabelled_record(molecule)
        self.check(record)
        mole = build_mole(record.numbers, record.positions, self.basis, record.charge, record.spin)
        try:
            with without_evaluation():
                mean_field, rung = self.hartree_fock.converged(mole, record.formula)
                labels = self._labels(mean_field, mole, record.formula)
        except CalculatorError:
            raise
        except Exception as error:  # PySCF raises whatever comes up; a label is all or nothing
            raise CalculationFailed(f"PySCF failed for {record.formula} at {self.name}: {error!r}") from error
        return replace(record, **labels).with_info(**({} if rung == AS_IS else {RESCUE_KEY: rung}))

    def _labels(self, mean_field: Any, mole: gto.Mole, formula: str) -> dict[str, Any]:
        """Correlate the electrons of a converged mean field."""
        frozen = sum(chemcore_atm[z] for z in mole.atom_charges().tolist()) if self.frozen_core else None
        solver = (mp.MP2 if self.method == "mp2" else cc.CCSD)(mean_field, frozen=frozen)
        if not _is_correlated(solver):  # PySCF's gradients fail for arrays without elements
            return {"energy": float(mean_field.e_tot), **self._forces(mean_field), **self._dipole(mean_field)}
        solver.max_cycle, solver.conv_tol = self.max_cycle, self.conv_tol
        if self.method == "mp2":
            solver.kernel()
            return {"energy": float(solver.e_tot), **self._forces(solver)}
        solver.conv_tol_normt = _AMPLITUDES
        integrals = solver.ao2mo()
        solver.kernel(eris=integrals)
        self._check_convergence(solver.converged, "amplitudes", formula)
        if self.dipole or (self.method == "ccsd" and self._with_forces):
            solver.solve_lambda(eris=integrals)
            self._check_convergence(solver.converged_lambda, "lambda equations", formula)
        labels = {"energy": float(solver.e_tot), **self._dipole(solver)}
        if self.method == "ccsd":
            return labels | self._forces(solver, eris=integrals)
        labels["energy"] += float(solver.ccsd_t(eris=integrals))
        options = {"max_cycle": self.max_cycle, "tol": _AMPLITUDES, "verbose": 0}
        if mole.natm == 1 or not self._with_forces:
            return labels | self._forces(solver)
        converged, l1, l2 = ccsd_t_lambda.kernel(solver, integrals, solver.t1, solver.t2, **options)
        self._check_convergence(converged, "lambda equations", formula)
        gradient = ccsd_t_gradient.Gradients(solver).kernel(solver.t1, solver.t2, l1, l2, eris=integrals)
        return labels | {"forces": -gradient}

    def _forces(self, method: Any, **options: Any) -> dict[str, Any]:
        """Differentiate the energy of a converged method where that is asked for; on a free atom there is no force."""
        if not self._with_forces:
            return {}
        if method.mol.natm == 1:
            return {"forces": np.zeros((1, 3))}
        return {"forces": -method.nuc_grad_method().kernel(**options)}

    def _check_convergence(self, converged: bool, what: str, formula: str) -> None:
        if not converged:
            raise SCFError(
                f"the {what} of {formula} at {self.name} did not converge to {self.conv_tol:g} Hartree within "
                f"{self.max_cycle} cycles. The molecule may need several determinants, or more cycles (max_cycle=)."
            )

    def _dipole(self, method: Any) -> dict[str, Any]:
        """Evaluate the dipole of a converged method where it is asked for."""
        if not self.dipole:
            return {}
        ao_repr = {} if isinstance(method, scf.hf.SCF) else {"ao_repr": True}
        density = np.asarray(method.make_rdm1(**ao_repr))
        return {"dipole": dipole_moment(density.sum(axis=0) if density.ndim == 3 else density, method.mol)}


def _is_correlated(solver: Any) -> bool:
    """Tell whether there are two active electrons, and orbitals to which they can be excited."""
    occupied, orbitals = np.atleast_1d(solver.nocc), np.atleast_1d(solver.nmo)
    n_electrons = occupied.sum() * (2 if len(occupied) == 1 else 1)
    return bool(n_electrons > 1 and (occupied * (orbitals - occupied)).any())


def find_level(words: Sequence[str]) -> CorrelatedLevel | None:
    """Make the level that a string's words name, if its method is one of these.

    Parameters
    ----------
    words : sequence of str
        ``mp2/basis``, ``ccsd/basis`` or ``ccsd(t)/basis``, then settings of ``CorrelatedLevel`` as ``key=value``.

    Returns
    -------
    CorrelatedLevel or None

    Raises
    ------
    InputError
        If the basis or a setting is unknown or wrong.
    """
    method, _, basis = words[0].partition("/")
    if method.lower() not in _METHODS or not basis:
        return None
    return CorrelatedLevel.from_words(words)


def method_names() -> list[str]:
    """List how the methods are written: a slip such as ``ccsd(t)`` without a basis is near."""
    return [f"{method}/cc-pvdz" for method in _METHODS]
