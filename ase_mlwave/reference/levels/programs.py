"""Levels of other programs: any ASE calculator, and tblite's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from ase import Atoms
from ase.calculators.calculator import BaseCalculator, CalculationFailed, CalculatorError, InputError

from ase_mlwave.data.convert import atoms_from_record
from ase_mlwave.data.labels import computed_result
from ase_mlwave.data.record import Record
from ase_mlwave.errors import suggestion
from ase_mlwave.properties import LABELS
from ase_mlwave.reference.levels.base import LevelOfTheory, unlabelled_record

__all__ = ["CalculatorLevel", "TbliteLevel", "find_level", "method_names"]

#: The methods of tblite, as its ASE calculator spells them, by our names.
_TBLITE_METHODS = {"gfn2-xtb": "GFN2-xTB", "gfn1-xtb": "GFN1-xTB"}


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

    _with_forces = True

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
        return self._make(unlabelled_record(molecule))

    def label(self, molecule: Record | Atoms) -> Record:
        """Ask the calculator for energy and forces, and for what it has computed with them; see `LevelOfTheory`."""
        record = unlabelled_record(molecule)
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
        """Return energy, forces if wanted and the dipole if there is one, in ASE's units; and entries for ``info``."""
        atoms = atoms_from_record(record)
        atoms.calc = calculator
        results = {"energy": atoms.get_potential_energy()}
        if self._with_forces:
            results["forces"] = atoms.get_forces()
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


def find_level(words: Sequence[str]) -> TbliteLevel | None:
    """Make the level that a string's words name, if it is one of tblite's.

    Parameters
    ----------
    words : sequence of str
        ``["gfn2-xtb"]`` or ``["gfn1-xtb"]``; tblite's levels have no settings.

    Returns
    -------
    TbliteLevel or None

    Raises
    ------
    InputError
        If tblite is not installed.
    """
    method = words[0].lower()
    return TbliteLevel(method) if len(words) == 1 and method in _TBLITE_METHODS else None


def method_names() -> list[str]:
    """List the methods that are named without a basis."""
    return list(_TBLITE_METHODS)
