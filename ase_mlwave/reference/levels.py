"""Levels of theory: a string such as ``pbe/def2-svp`` becomes an object that labels molecules."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from typing import Any, ClassVar

import numpy as np
import pyscf
from ase import Atoms
from ase.calculators.calculator import (
    BaseCalculator,
    CalculationFailed,
    CalculatorError,
    InputError,
    PropertyNotImplementedError,
    SCFError,
)
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, ValidationInfo, field_validator
from pyscf import dft, gto, scf

from ase_mlwave.data.convert import atoms_from_record, record_from_atoms
from ase_mlwave.data.labels import computed_result
from ase_mlwave.data.record import Record
from ase_mlwave.errors import suggestion
from ase_mlwave.properties import LABELS
from ase_mlwave.quantum.basis import auxiliary_basis, build_mole
from ase_mlwave.quantum.functional import gradient_method
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
from ase_mlwave.reference.scf_rescue import AS_IS, RESCUE_KEY, converge_with_rescue
from ase_mlwave.systems.checks import check_molecule
from ase_mlwave.systems.system import System
from ase_mlwave.text import plain

__all__ = ["CalculatorLevel", "LevelOfTheory", "PyscfLevel", "TbliteLevel"]

#: The methods of tblite, as its ASE calculator spells them, by our names.
_TBLITE_METHODS = {"gfn2-xtb": "GFN2-xTB", "gfn1-xtb": "GFN1-xTB"}
#: Where levels of models are made; named and not imported, for models stand on this room.
_MODELS = "ase_mlwave.calculators.levels"


class LevelOfTheory(ABC):
    """Say how labels are computed, and compute them.

    Notes
    -----
    ``LevelOfTheory.parse(level.name)`` gives an equal level for every level that has a string
    (``test_the_name_of_a_level_parses_to_the_same_level``).
    """

    tries_again: ClassVar[bool] = False
    """Whether ``label`` itself tries other ways to converge, so that a second call cannot help."""

    @property
    def is_fast(self) -> bool:
        """Whether dynamics run with the level itself; otherwise with GFN2-xTB where that is installed."""
        return False

    @property
    def of_free_atoms(self) -> LevelOfTheory:
        """The level that labels free atoms: this one, unless it knows no open shells."""
        return self

    @staticmethod
    def parse(text: str) -> LevelOfTheory:
        """Make a level of theory from its string.

        Parameters
        ----------
        text : str
            ``functional/basis`` for PySCF (``"pbe/def2-svp"``, ``"hf/def2-tzvp"``), with settings of ``PyscfLevel``
            after it where they differ from the defaults (``"pbe/def2-svp density_fit=false grid_level=5"``);
            ``"gfn2-xtb"`` or ``"gfn1-xtb"`` for tblite; a model of the zoo or the folder of one (``"phisnet-chno"``,
            ``"runs/my-model energy=wavefunction"``), see `ase_mlwave.calculators.levels.ModelLevel`.

        Returns
        -------
        LevelOfTheory

        Raises
        ------
        InputError
            If the method, the basis or a setting is unknown, or the program that it needs is not installed.
        """
        try:
            words = plain(text, "the level of theory").split()
        except ValueError as error:
            raise InputError(f"{error}. Write, for example, 'pbe/def2-svp'.") from error
        method = words[0] if words else ""
        if method.lower() in _TBLITE_METHODS and len(words) == 1:
            return TbliteLevel(method.lower())
        functional, slash, basis = method.partition("/")
        names_functional = bool(slash and basis)
        if method and not (names_functional and is_functional(functional)):
            models = import_module(_MODELS)
            level: LevelOfTheory | None = models.find_model_level(words)
            if level is not None:
                return level
        if not names_functional:
            known = [*_TBLITE_METHODS, *import_module(_MODELS).list_models()]
            raise InputError(
                f"{text!r} is no level of theory. Write functional/basis, such as 'pbe/def2-svp' or 'hf/def2-svp', the "
                f"folder of a model, or a name. {suggestion(method, known)}"
            )
        return _pyscf_level(functional, basis, words[1:])

    @property
    @abstractmethod
    def name(self) -> str:
        """The string that names the level, in lower case but for names of models and of calculators."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Return everything that decides the numbers, as JSON types, for the metadata of data files."""

    @abstractmethod
    def label(self, molecule: Record | Atoms) -> Record:
        """Compute the labels of a molecule.

        Parameters
        ----------
        molecule : Record or Atoms
            Its own labels, if any, are ignored.

        Returns
        -------
        Record
            The same geometry and ``info``, with energy (Hartree), forces (Hartree/Bohr) and, where the method has them,
            the dipole (e*Bohr) and the matrix ``"hamiltonian"`` (Hartree, PySCF AO order).

        Raises
        ------
        InputError
            If atoms coincide, charge and spin do not fit, or an element is not served.
        SCFError
            If the self-consistent field does not converge.
        CalculationFailed
            If the program fails otherwise.
        """

    def load(self) -> None:  # noqa: B027 (most levels have nothing left to load)
        """Load the program's libraries, so that a limit on their threads finds them.

        Raises
        ------
        InputError
            If this machine lacks what the level needs.
        """

    def check(self, system: System) -> None:
        """Refuse a molecule that the level cannot label, as far as that is known before anything is computed.

        Parameters
        ----------
        system : System
            A molecule.

        Raises
        ------
        InputError
            If atoms coincide, charge and spin do not fit, or an element is not served.
        """
        check_molecule(system)

    def on(self, device: str) -> LevelOfTheory:
        """Return the same level, computed on a device: its name, settings and labels' place in databases stay.

        Parameters
        ----------
        device : str
            ``"cpu"``, or for PySCF's levels ``"cuda"``: gpu4pyscf computes them, on a machine that has it and a GPU.

        Returns
        -------
        LevelOfTheory

        Raises
        ------
        InputError
            If the level is not computed on such devices. Whether the machine has one shows when it is used (`load`).
        """
        if device != "cpu":
            raise InputError(f"the level {self.name!r} is computed on CPUs only, got device={device!r}. Leave it out.")
        return self

    def mean_field(self, mole: gto.Mole) -> scf.hf.SCF:
        """Return an unconverged PySCF mean-field object of this level.

        Raises
        ------
        PropertyNotImplementedError
            If the level is not computed by PySCF.
        """
        raise PropertyNotImplementedError(f"the level {self.name!r} is not computed by PySCF and has no mean field.")


class PyscfLevel(BaseModel, LevelOfTheory):
    """Kohn-Sham or Hartree-Fock theory in a Gaussian basis, by PySCF.

    Restricted for molecules without unpaired electrons, unrestricted otherwise.

    Notes
    -----
    Labels equal those of a PySCF calculation set up by hand
    (``test_labels_equal_those_of_pyscf``); forces are minus the derivative of the energy
    (``test_forces_are_minus_the_derivative_of_the_energy``).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    tries_again: ClassVar[bool] = True

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

    def __eq__(self, other: object) -> bool:
        """Compare what decides the numbers; a device does not."""
        return isinstance(other, PyscfLevel) and other.settings() == self.settings()

    def __hash__(self) -> int:
        return hash((type(self), self.name))

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

    @property
    def name(self) -> str:
        """``functional/basis``, followed by the settings that differ from the defaults."""
        changed = [
            f"{key}={str(getattr(self, key)).lower()}"
            for key, field in type(self).model_fields.items()
            if not field.is_required() and getattr(self, key) != field.default
        ]
        return " ".join([f"{self.functional}/{self.basis}", *changed])

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
        record = _as_record(molecule)
        self.check(record)
        mole = build_mole(record.numbers, record.positions, self.basis, record.charge, record.spin)
        try:
            with without_evaluation():
                mf, rung = converge_with_rescue(lambda: self.mean_field(mole), lambda: self.on("cpu").mean_field(mole))
            if not rung:
                raise SCFError(
                    f"the SCF of {record.formula} at {self.name} did not converge to {self.conv_tol:g} Hartree within "
                    f"{self.max_cycle} cycles, nor with level shifts, smaller steps or in second order."
                )
            gradient = self._gradient(mf)
            fock = to_numpy(mf.get_fock(dm=mf.make_rdm1()))
            density = to_numpy(mf.make_rdm1())
            dipole = dipole_moment(density.sum(axis=0) if mole.spin else density, mole)
        except CalculatorError:
            raise
        except Exception as error:  # PySCF raises whatever comes up; a label is all or nothing
            raise CalculationFailed(f"PySCF failed for {record.formula} at {self.name}: {error!r}") from error
        symmetric = (fock + np.swapaxes(fock, -1, -2)) / 2  # symmetric to rounding before
        rescued = {} if rung == AS_IS else {RESCUE_KEY: rung}
        labels: dict[str, Any] = {"energy": float(mf.e_tot), "forces": -gradient, "dipole": dipole}
        return replace(record, **labels, matrices={"hamiltonian": symmetric}).with_info(**rescued)

    def _gradient(self, mf: scf.hf.SCF) -> NDArray[np.float64]:
        try:
            return to_numpy(gradient_method(mf, grid_response=self.grid_response).kernel())
        except NotImplementedError as error:
            raise InputError(
                f"PySCF {pyscf.__version__} has no forces of {self.name} ({error}). Update it, or label without the "
                f"response of the grid: '{self.model_copy(update={'grid_response': False}).name}'."
            ) from error


class CalculatorLevel(LevelOfTheory):
    """Energies and forces from any ASE calculator.

    Parameters
    ----------
    name : str
        What the level is called in data files.
    make : callable
        Returns a calculator for a record (whose charge and spin it may heed); a function of a module, so that worker
        processes can find it.
    settings : dict, optional
        What else decides the numbers, as JSON types.
    """

    def __init__(
        self, name: str, make: Callable[[Record], BaseCalculator], settings: dict[str, Any] | None = None
    ) -> None:
        if not name.strip():
            raise InputError("a level of theory needs a name.")
        self._name = name.strip()
        self._make = make
        self._settings = dict(settings or {})

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._name!r})"

    @property
    def name(self) -> str:
        """The given name."""
        return self._name

    @property
    def is_fast(self) -> bool:
        """Whether dynamics run with the calculator itself."""
        return True

    def settings(self) -> dict[str, Any]:
        """Return the name and the given settings."""
        return {"program": "ase", "calculator": self._name, **self._settings}

    def calculator(self, molecule: Record | Atoms) -> BaseCalculator:
        """Return a fresh ASE calculator for a molecule, with its charge and spin."""
        return self._make(_as_record(molecule))

    def label(self, molecule: Record | Atoms) -> Record:
        """Ask the calculator for energy and forces, and for what it has computed with them; see `LevelOfTheory`."""
        record = _as_record(molecule)
        self.check(record)
        calculator = self._ready_calculator(record)
        try:
            results, notes = self._results(calculator, record)
        except CalculatorError:
            raise
        except Exception as error:  # any program may be behind it; a label is all or nothing
            raise CalculationFailed(f"{self.name} failed for {record.formula}: {error!r}") from error
        labels = {name: LABELS[name].from_ase(value) for name, value in results.items()}
        return replace(record, **labels).with_info(**notes)

    def _ready_calculator(self, record: Record) -> Any:
        """Return what `_results` asks."""
        return self.calculator(record)

    def _results(self, calculator: Any, record: Record) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return energy, forces and, where there is one, the dipole in ASE's units; and entries for ``info``."""
        atoms = atoms_from_record(record)
        atoms.calc = calculator
        results = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
        dipole = computed_result(atoms, "dipole")
        return results | ({} if dipole is None else {"dipole": dipole}), {}


class TbliteLevel(CalculatorLevel):
    """GFN1-xTB or GFN2-xTB by tblite.

    Parameters
    ----------
    method : str
        ``"gfn2-xtb"`` or ``"gfn1-xtb"``.

    Raises
    ------
    InputError
        If the method is another one, or tblite is not installed.
    """

    def __init__(self, method: str) -> None:
        if method not in _TBLITE_METHODS:
            raise InputError(f"tblite has no method {method!r}. {suggestion(method, _TBLITE_METHODS)}")
        if find_spec("tblite") is None:
            raise InputError(
                f"the level {method!r} needs tblite, which is not installed. Install it: pip install 'ase-mlwave[xtb]'."
            )
        super().__init__(method, self._tblite, {"program": "tblite"})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TbliteLevel) and other.name == self.name

    def __hash__(self) -> int:
        return hash((type(self), self.name))

    def load(self) -> None:
        """Import tblite."""
        import_module("tblite.ase")

    def _tblite(self, record: Record) -> BaseCalculator:
        from tblite.ase import TBLite  # an optional extra

        return TBLite(
            method=_TBLITE_METHODS[self.name], charge=record.charge, multiplicity=record.spin + 1, verbosity=0
        )


def _as_record(molecule: Record | Atoms) -> Record:
    """Return a record without labels."""
    if isinstance(molecule, Record):
        return molecule.unlabelled()
    try:
        return record_from_atoms(molecule).unlabelled()
    except ValueError as error:
        raise InputError(str(error)) from error


def _pyscf_level(functional: str, basis: str, settings: list[str]) -> PyscfLevel:
    """Make a PySCF level from the words of its string."""
    names = [key for key, field in PyscfLevel.model_fields.items() if not field.is_required()]
    values: dict[str, Any] = {}
    for word in settings:
        key, equals, value = word.partition("=")
        if not equals or key not in names:
            raise InputError(f"{word!r} is no setting of a level of theory; write key=value. {suggestion(key, names)}")
        values[key] = value
    try:
        return PyscfLevel(functional=functional, basis=basis, **values)
    except ValidationError as error:
        faults = "; ".join(f"{fault['loc'][0]}={fault['input']!r}: {fault['msg']}" for fault in error.errors())
        raise InputError(f"the level {functional}/{basis} has wrong settings: {faults}.") from error
