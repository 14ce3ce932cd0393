"""One reading of total charge and unpaired electrons, for records, readers, calculators and training.

``info["charge"]`` is the total charge and ``info["spin"]`` the number of unpaired electrons. Other programs' names are
understood where they can mean one thing only; what may mean something else is refused rather than ignored.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from math import isfinite
from numbers import Real
from typing import Any

import numpy as np
from ase import Atoms
from ase.symbols import Symbols

from ase_mlwave.systems.system import System

__all__ = ["charge_and_spin", "check_electrons", "electrons_at_fault", "may_be_charge_or_spin", "other_statements"]

_CHARGES = frozenset(
    {"charge", "totalcharge", "totcharge", "netcharge", "molecularcharge", "moleculecharge", "molcharge"}
    | {"systemcharge", "globalcharge", "formalcharge", "chargetotal", "chrg"}
)
_UNPAIRED = frozenset(
    {"spin", "unpaired", "unpairedelectrons", "nunpaired", "nunpairedelectrons", "numunpaired"}
    | {"numunpairedelectrons", "numberofunpairedelectrons"}
)
_MULTIPLICITIES = frozenset({"multiplicity", "spinmultiplicity", "spinmult", "mult", "totalmultiplicity"})
#: Last word of names that may give a charge, or a spin in a convention that cannot be known.
_SUSPECT_CHARGE = frozenset({"charge", "chrg"})
_SUSPECT_SPIN = frozenset({"spin", "multiplicity", "mult", "unpaired", "uhf"})

_PLURALS = {"charge": "charges", "spin": "numbers of unpaired electrons"}
_MEANING = {
    "charge": "the total charge in elementary charges, a whole number",
    "spin": "the number of unpaired electrons, 0 or more (not the multiplicity)",
    "multiplicity": "the multiplicity, unpaired electrons + 1, so 1 or more",
}
#: Sums of rounded atomic charges are as near as this to a whole number.
_ROUNDING = 1e-6
_LARGEST = 10**6
#: From here on a sum of atomic charges or moments says something else than a whole number.
_DISAGREEMENT = 0.5


def charge_and_spin(info: Mapping[str, Any]) -> tuple[int, int]:
    """Read total charge and unpaired electrons from the entries of ``atoms.info``, or of a row of a database.

    Parameters
    ----------
    info : mapping
        ``charge`` or ``total_charge``, ``net_charge``, ...; ``spin`` (unpaired electrons) or ``unpaired_electrons``,
        ..., or ``multiplicity``, ``spin_multiplicity``, ... in any capitals. What is missing counts as 0.

    Returns
    -------
    tuple of int
        Total charge, and number of unpaired electrons (PySCF's ``spin``, not the multiplicity).

    Raises
    ------
    ValueError
        If one is no whole number, a spin is negative, two entries disagree, or an entry by a name that is not known
        (``ion_charge``, ``total_spin``, ``uhf``, ...) may say otherwise and no known one is there.
    """
    charges: dict[str, int] = {}
    spins: dict[str, int] = {}
    for name, value in info.items():
        plain = "".join(_words(name))
        if plain in _CHARGES:
            charges[name] = _checked(name, value, "charge", -_LARGEST)
        elif plain in _UNPAIRED:
            spins[name] = _checked(name, value, "spin", 0)
        elif plain in _MULTIPLICITIES:
            spins[name] = _checked(name, value, "multiplicity", 1) - 1
    charge, spin = _common_value("charge", charges), _common_value("spin", spins)
    if not charges:
        _refuse_unknown(info, "charge", _SUSPECT_CHARGE)
    if not spins:
        _refuse_unknown(info, "spin", _SUSPECT_SPIN)
    return charge, spin


def may_be_charge_or_spin(name: str) -> bool:
    """Tell whether `charge_and_spin` reads, or might refuse, what has this name."""
    words = _words(name)
    understood = _CHARGES | _UNPAIRED | _MULTIPLICITIES
    return "".join(words) in understood or (bool(words) and words[-1] in _SUSPECT_CHARGE | _SUSPECT_SPIN)


def other_statements(atoms: Atoms, charge: int, spin: int) -> list[str]:
    """List what ASE's or tblite's ways of giving charge and spin say otherwise; they are not read.

    Parameters
    ----------
    atoms : Atoms
        With or without initial charges and moments, and a calculator.
    charge, spin : int
        What was read.

    Returns
    -------
    list of str
        Empty where nothing disagrees.
    """
    parameters = getattr(atoms.calc, "parameters", None)
    parameters = parameters if isinstance(parameters, Mapping) else {}
    multiplicity = _as_integer(parameters.get("multiplicity"))
    results = getattr(atoms.calc, "results", None) or {}
    statements = {
        "charge": {
            "initial charges add up to": _total(atoms.arrays.get("initial_charges")),
            "the calculator's parameter 'charge' is": _as_integer(parameters.get("charge")),
            "atomic charges add up to": _total(results.get("charges")),
        },
        "spin": {
            "initial magnetic moments add up to": _size(_total(atoms.arrays.get("initial_magmoms"))),
            "the calculator's multiplicity leaves unpaired": None if multiplicity is None else multiplicity - 1,
            "atomic magnetic moments add up to": _size(_total(results.get("magmoms"))),
            "the magnetic moment is": _size(_total(results.get("magmom"))),
        },
    }
    return [
        f"{words} {value:.4g}, but the {quantity} that is read is {read}"
        for quantity, read in (("charge", charge), ("spin", spin))
        for words, value in statements[quantity].items()
        if value is not None and np.ndim(value) == 0 and abs(value - read) >= _DISAGREEMENT
    ]


def electrons_at_fault(numbers: Iterable[int], charge: int, spin: int) -> str:
    """Say why a molecule cannot have this charge and spin.

    Parameters
    ----------
    numbers : iterable of int
        Atomic numbers.
    charge, spin : int
        Total charge and number of unpaired electrons.

    Returns
    -------
    str
        Empty where electrons and spin go together.
    """
    atoms = [int(number) for number in numbers]
    n_electrons = sum(atoms) - charge
    if n_electrons >= spin and (n_electrons - spin) % 2 == 0:
        return ""
    multiplicity = " (a multiplicity is given as atoms.info['multiplicity'])" if spin else ""
    return (
        f"{Symbols(atoms).get_chemical_formula()} with charge {charge} has {n_electrons} electrons, which cannot leave "
        f"{spin} unpaired. Set atoms.info['charge'] or atoms.info['spin']{multiplicity}."
    )


def check_electrons(systems: Iterable[System]) -> None:
    """Refuse molecules whose number of electrons does not go with their spin.

    Parameters
    ----------
    systems : iterable of System
        All of a data set.

    Raises
    ------
    ValueError
        That names the first and counts the others.
    """
    faults = {
        place: fault
        for place, system in enumerate(systems)
        if (fault := electrons_at_fault(system.numbers.tolist(), system.charge, system.spin))
    }
    if faults:
        first = min(faults)
        others = f" So have {len(faults) - 1} others." if len(faults) > 1 else ""
        raise ValueError(f"structure {first}: {faults[first]}{others}")


def _words(name: object) -> list[str]:
    """Split a name at capitals and signs: ``TotalCharge`` and ``total_charge`` are the same."""
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", str(name))]


def _as_integer(given: object) -> int | None:
    """Return a whole number as one, up to rounding; None for anything else."""
    if isinstance(given, np.ndarray | np.generic) and given.ndim == 0:
        given = given.item()
    if isinstance(given, bool) or not isinstance(given, Real):
        return None
    value = float(given)
    if not isfinite(value) or abs(value) > _LARGEST or abs(value - round(value)) > _ROUNDING:
        return None
    return round(value)


def _checked(name: str, given: object, meaning: str, smallest: int) -> int:
    value = _as_integer(given)
    if value is None or value < smallest:
        shown = given.item() if isinstance(given, np.generic) else given
        raise ValueError(f"atoms.info[{name!r}] is {shown!r}. Give {_MEANING[meaning]}.")
    return value


def _common_value(quantity: str, entries: Mapping[str, int]) -> int:
    """Return the one value that all entries give, 0 where there is none."""
    if len(set(entries.values())) > 1:
        names = " and ".join(f"atoms.info[{name!r}]" for name in entries)
        values = " and ".join(str(value) for value in entries.values())
        raise ValueError(f"{names} disagree: they give {_PLURALS[quantity]} of {values}. Remove what is wrong.")
    return next(iter(entries.values()), 0)


def _refuse_unknown(info: Mapping[str, Any], quantity: str, last_words: frozenset[str]) -> None:
    """Refuse an entry that may give a charge or spin in a way that is not known, unless it says what is read: 0."""
    for name, given in info.items():
        words = _words(name)
        harmless = (0, 1) if words and words[-1] in {"multiplicity", "mult"} else (0,)
        value = _as_integer(given)
        if words and words[-1] in last_words and value is not None and value not in harmless:
            raise ValueError(
                f"atoms.info[{name!r}] is {value}, which may mean a {quantity}, but is no name that is known. Set "
                f"atoms.info[{quantity!r}], {_MEANING[quantity]}; then other names do not matter."
            )


def _total(values: Any) -> Any:
    """Return the sum over atoms of charges, or of moments (numbers or vectors); None where there are none."""
    try:
        total = None if values is None else np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        return None
    return total if total is None or total.ndim == 0 else total.sum(axis=0)


def _size(total: Any) -> float | None:
    return None if total is None else float(np.linalg.norm(total))
