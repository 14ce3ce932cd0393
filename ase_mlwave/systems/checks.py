"""What is refused of a molecule or a cell before any work."""

from __future__ import annotations

import numpy as np
from ase.calculators.calculator import InputError

from ase_mlwave.systems.charge_spin import electrons_at_fault
from ase_mlwave.systems.neighbours import NeighbourList, find_pairs
from ase_mlwave.systems.system import System
from ase_mlwave.units import BOHR

__all__ = ["check_distances", "check_molecule"]

#: Nuclei nearer than this (Bohr; 0.1 Angstrom) coincide, whatever the temperature: the bond of H2 is 1.4 Bohr long.
_MIN_DISTANCE: float = 0.1 / BOHR
#: The search looks this far, Bohr: with smaller boxes it takes longer.
_SEARCHED = 3.0


def check_distances(system: System, of_what: str = "", contacts: NeighbourList | None = None) -> None:
    """Refuse atoms that coincide with another, or with an image of one.

    Parameters
    ----------
    system : System
        A molecule or a cell.
    of_what : str
        Its name for the message, beginning with a space.
    contacts : NeighbourList, optional
        Remembers near atoms from one step of a simulation to the next.

    Raises
    ------
    InputError
        With the two nearest atoms.
    """
    pairs = find_pairs(system, _SEARCHED) if contacts is None else contacts.find_pairs(system, _SEARCHED)
    distances = np.linalg.norm(pairs.vectors(system), axis=1)
    nearest = int(np.argmin(distances)) if len(pairs) else None
    if nearest is None or distances[nearest] >= _MIN_DISTANCE:
        return
    i, j = sorted((int(pairs.first[nearest]), int(pairs.second[nearest])))
    which = "they, or images of them," if system.n_periods else "they"
    raise InputError(
        f"atoms {i} and {j}{of_what} coincide: {which} are {distances[nearest] * BOHR:.3g} Angstrom apart, and less "
        f"than {_MIN_DISTANCE * BOHR:.1g} Angstrom is refused. Mend the structure."
    )


def check_molecule(system: System) -> None:
    """Refuse coinciding nuclei, and a number of electrons that is none or does not go with the spin.

    Parameters
    ----------
    system : System
        A molecule.

    Raises
    ------
    InputError
        With the atoms or the number of electrons at fault.
    """
    check_distances(system, f" of {system.formula}")
    fault = electrons_at_fault(system.numbers, system.charge, system.spin)
    if not fault and system.n_electrons < 1:
        fault = f"{system.formula} with charge {system.charge} has 0 electrons. Give another charge."
    if fault:
        raise InputError(fault)
