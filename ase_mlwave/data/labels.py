"""Which entry of a structure is its energy, and which array its forces, whatever a program called them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io.extxyz import per_atom_properties
from numpy.typing import NDArray

from ase_mlwave.properties import LABELS
from ase_mlwave.units import BOHR, HARTREE, KCAL_PER_MOL, KJ_PER_MOL

__all__ = ["EV", "LabelConventions", "LabelUnits", "Labels", "ReadingOptions", "computed_result", "find_labels"]

_QUALIFIER = "(?:ref|reference|dft|qm|ks|scf|total|tot|potential|pot|free|true|target|label)"
_ENERGY = re.compile(f"{_QUALIFIER}*(?:energy|toten|e){_QUALIFIER}*(?:ev)?")
_FORCES = re.compile(f"{_QUALIFIER}*(?:forces|force|f){_QUALIFIER}*")
_LIKE_A_LABEL = re.compile("energ|force|grad|toten|enthalp|heat")

#: Entries for one quantity that differ by less, eV or eV/Angstrom, are one label written twice.
_ROUNDING = 1e-4
#: Arrays of a structure that are read, or that every structure may have.
_READ = frozenset({"numbers", "positions", "initial_charges", "initial_magmoms"})


@dataclass(frozen=True)
class LabelUnits:
    """Say what the numbers of a file are worth."""

    energy: float
    """One unit of energy in Hartree."""
    forces: float
    """One unit of force in Hartree/Bohr."""

    @classmethod
    def parse(cls, text: str) -> LabelUnits:
        """Read the name of units, in any capitals.

        Parameters
        ----------
        text : str
            ``eV``, ``kcal/mol``, ``kJ/mol`` (forces: the same per Angstrom), ``Hartree`` (forces: Hartree/Bohr) or
            ``Hartree/Angstrom`` (energies: Hartree).

        Returns
        -------
        LabelUnits

        Raises
        ------
        ValueError
            If it is none of them.
        """
        plain = text.lower().replace(" ", "")
        if plain not in _UNITS:
            raise ValueError(f"units are {text!r}. Known are: {', '.join(_SPELLED)}.")
        return _UNITS[plain]


EV = LabelUnits(1 / HARTREE, BOHR / HARTREE)
_SPELLED = {
    "eV": EV,
    "kcal/mol": LabelUnits(KCAL_PER_MOL / HARTREE, KCAL_PER_MOL * BOHR / HARTREE),
    "kJ/mol": LabelUnits(KJ_PER_MOL / HARTREE, KJ_PER_MOL * BOHR / HARTREE),
    "Hartree": LabelUnits(1.0, 1.0),
    "Hartree/Angstrom": LabelUnits(1.0, BOHR),
}
_UNITS = {name.lower(): units for name, units in _SPELLED.items()}


@dataclass(frozen=True)
class LabelConventions:
    """Say which entries are labels where their names do not, and in which units they are."""

    energy_key: str | None = None
    """Name of the energy; None: any name that is known."""
    forces_key: str | None = None
    """Name of the forces, or of a gradient with a minus sign before it; None: any name that is known."""
    units: LabelUnits = EV
    """Of the file."""


@dataclass(frozen=True)
class ReadingOptions:
    """The options of ``read_dataset``."""

    energy_key: str | None = None
    forces_key: str | None = None
    units: str | None = None
    level: str | None = None

    def labels(self) -> LabelConventions:
        """Return names and units of the labels."""
        units = EV if self.units is None else LabelUnits.parse(self.units)
        return LabelConventions(self.energy_key, self.forces_key, units)

    def refuse(self, *names: str, source: str) -> None:
        """Raise ``ValueError`` if one of these options is given, for a file that leaves no choice."""
        stated = [name for name in names if getattr(self, name) is not None]
        if stated:
            raise ValueError(f"{' and '.join(stated)}: {source} says itself what it holds. Leave this out.")


@dataclass(frozen=True)
class Labels:
    """Hold the labels of one structure as it gives them, and the names under which they are."""

    energy: float | None
    forces: NDArray[np.float64] | None
    dipole: NDArray[np.float64] | None = None
    """(3,), of a structure in ASE's units."""
    energy_names: tuple[str, ...] = ()
    forces_names: tuple[str, ...] = ()
    passed_over: tuple[str, ...] = ()
    """Arrays that are not read, and entries that look like labels and are not read as such."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of everything that is read."""
        return (*self.energy_names, *self.forces_names, *(() if self.dipole is None else ("dipole",)))


def find_labels(atoms: Atoms, conventions: LabelConventions) -> Labels:
    """Find energy and forces among a calculator's results, the entries of ``info`` and the arrays; a dipole in results.

    Parameters
    ----------
    atoms : Atoms
        Not changed, and nothing is calculated.
    conventions : LabelConventions
        Names, where they are not the usual ones.

    Returns
    -------
    Labels
        In the units of the structure.

    Raises
    ------
    ValueError
        If two entries for one quantity disagree.
    """
    energies = _energies(atoms, conventions.energy_key)
    forces = _forces(atoms, conventions.forces_key)
    _refuse_clash("energies", energies, "energy_key", LABELS["energy"].to_ase(conventions.units.energy))
    _refuse_clash("forces", forces, "forces_key", LABELS["forces"].to_ase(conventions.units.forces))
    consumed = {*energies, *(name.removeprefix("-") for name in forces)}
    return Labels(
        energy=None if not energies else float(next(iter(energies.values()))),
        forces=None if not forces else next(iter(forces.values())),
        dipole=_dipole(atoms) if conventions.units == EV else None,
        energy_names=tuple(energies),
        forces_names=tuple(forces),
        passed_over=tuple(_passed_over(atoms, consumed)),
    )


def _energies(atoms: Atoms, key: str | None) -> dict[str, Any]:
    """Return all numbers that are the energy, by name."""
    results = {name: computed_result(atoms, name) for name in (("energy", "free_energy") if key is None else (key,))}
    entries: Mapping[str, Any] = {
        name: value for name, value in atoms.info.items() if (name == key if key else _matches(_ENERGY, name))
    }
    return {name: value for name, value in {**results, **entries}.items() if _is_number(value)}


def _forces(atoms: Atoms, key: str | None) -> dict[str, NDArray[np.float64]]:
    """Return all arrays that are the forces, by name; of a name with a minus sign before it the negative."""
    name, sign = ("forces", 1.0) if key is None else (key.removeprefix("-"), -1.0 if key.startswith("-") else 1.0)
    arrays = {**atoms.info, **atoms.arrays}
    candidates = {
        other: array for other, array in arrays.items() if (other == name if key else _matches(_FORCES, other))
    }
    candidates.setdefault(name, computed_result(atoms, name))
    return {
        (other if sign > 0 else f"-{other}"): sign * np.asarray(array, dtype=np.float64)
        for other, array in candidates.items()
        if np.shape(array) == (len(atoms), 3) and np.asarray(array).dtype.kind in "fiu"
    }


def _dipole(atoms: Atoms) -> NDArray[np.float64] | None:
    """Return a result ``dipole`` that is ASE's: three numbers."""
    value = computed_result(atoms, "dipole")
    is_vector = np.shape(value) == (3,) and np.asarray(value).dtype.kind in "fiu"
    return np.asarray(value, dtype=np.float64) if is_vector else None


def computed_result(atoms: Atoms, name: str) -> Any:
    """Return what the calculator has already, or None."""
    if atoms.calc is None:
        return None
    try:
        return atoms.calc.get_property(name, atoms, allow_calculation=False)
    except (PropertyNotImplementedError, KeyError):
        return None


def _matches(pattern: re.Pattern[str], name: object) -> bool:
    return pattern.fullmatch(re.sub("[^a-z0-9]", "", str(name).lower())) is not None


def _is_number(value: Any) -> bool:
    return np.ndim(value) == 0 and np.asarray(value).dtype.kind in "fiu"


def _refuse_clash(quantity: str, entries: Mapping[str, Any], key: str, in_ev: float) -> None:
    """Refuse two entries for one quantity that are different labels; ``in_ev`` is what their unit is worth."""
    names = list(entries)
    for name in names[1:]:
        difference = in_ev * float(np.abs(np.asarray(entries[name]) - np.asarray(entries[names[0]])).max())
        if not difference <= _ROUNDING:
            raise ValueError(
                f"there are two kinds of {quantity}, {names[0]!r} and {name!r}, which differ by {difference:.4g} eV"
                f"{'/Angstrom' if quantity == 'forces' else ''}. Say which is meant, {key}={name!r} "
                f"(--{key.replace('_', '-')} on the command line), or remove one."
            )


def _passed_over(atoms: Atoms, consumed: set[str]) -> list[str]:
    """List arrays and results that are left out, and entries that may be labels and are kept as entries alone."""
    results = atoms.calc.results if isinstance(atoms.calc, SinglePointCalculator) else {}
    per_atom = [name for name in results if name in per_atom_properties]
    arrays = [f"array {name}" for name in (*atoms.arrays, *per_atom) if name not in _READ | consumed]
    names = (*atoms.info, *(name for name in results if name not in per_atom))
    entries = [f"entry {name}" for name in names if name not in consumed and _LIKE_A_LABEL.search(str(name).lower())]
    return arrays + entries
