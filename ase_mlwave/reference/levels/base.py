"""What a level of theory is, and how its string finds it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from copy import copy
from importlib import import_module
from typing import Any, ClassVar

from ase import Atoms
from ase.calculators.calculator import InputError, PropertyNotImplementedError
from pyscf import gto, scf

from ase_mlwave.data.convert import record_from_atoms
from ase_mlwave.data.record import Record
from ase_mlwave.errors import suggestion
from ase_mlwave.quantum.names import check_functional
from ase_mlwave.systems.checks import check_molecule
from ase_mlwave.systems.system import System
from ase_mlwave.text import plain

__all__ = ["LevelOfTheory", "unlabelled_record"]

#: Modules that make levels, in the order in which they are asked. Named and not imported, for they stand on this one,
#: and the models on all of this room. Each has ``find_level(words)``, which returns None where the words are not its
#: own, and ``method_names()``, the names that have no basis.
_PROGRAMS = (
    "ase_mlwave.reference.levels.mean_fields",
    "ase_mlwave.reference.levels.correlated",
    "ase_mlwave.reference.levels.programs",
    "ase_mlwave.calculators.levels",
)


class LevelOfTheory(ABC):
    """Say how labels are computed, and compute them.

    Notes
    -----
    ``LevelOfTheory.parse(level.name)`` gives an equal level for every level that has a string
    (``test_the_name_of_a_level_parses_to_the_same_level``).
    """

    tries_again: ClassVar[bool] = False
    """Whether ``label`` itself tries other ways to converge, so that a second call cannot help."""

    has_mean_field: ClassVar[bool] = False
    """Whether it is a mean field, with orbitals and the matrix ``"hamiltonian"``."""

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
            ``"ccsd(t)/cc-pvdz"``, ``"ccsd/..."`` and ``"mp2/..."``, with settings of ``CorrelatedLevel``;
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
        for module in _PROGRAMS if words else ():
            level: LevelOfTheory | None = import_module(module).find_level(words)
            if level is not None:
                return level
        method, slash, basis = words[0].partition("/") if words else ("", "", "")
        if slash and basis:
            check_functional(method)  # no program has it: say why, and which is near
        known = [name for module in _PROGRAMS for name in import_module(module).method_names()]
        raise InputError(
            f"{text!r} is no level of theory. Write method/basis, such as 'pbe/def2-svp' or 'ccsd(t)/cc-pvdz', the "
            f"folder of a model, or a name. {suggestion(method, known)}"
        )

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
            The same geometry and ``info``, with energy (Hartree), forces (Hartree/Bohr, but for `energies_only`) and,
            where the method has them, the dipole (e*Bohr) and the matrix ``"hamiltonian"`` (Hartree, PySCF AO order).

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

    def energies_only(self) -> LevelOfTheory:
        """Return the same level, whose labels lack forces: its name, settings and labels' place in databases stay."""
        twin: Any = copy(self)
        twin._with_forces = False
        return twin  # type: ignore[no-any-return]

    def mean_field(self, mole: gto.Mole) -> scf.hf.SCF:
        """Return an unconverged PySCF mean-field object of this level.

        Raises
        ------
        PropertyNotImplementedError
            If the level is not computed by PySCF.
        """
        raise PropertyNotImplementedError(f"the level {self.name!r} is not computed by PySCF and has no mean field.")


def unlabelled_record(molecule: Record | Atoms) -> Record:
    """Return a record without labels.

    Raises
    ------
    InputError
        If the atoms are no molecule that a record can hold.
    """
    if isinstance(molecule, Record):
        return molecule.unlabelled()
    try:
        return record_from_atoms(molecule).unlabelled()
    except ValueError as error:
        raise InputError(str(error)) from error
