"""What a model lacks for a structure: the amon around its least known atoms, found and said."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from ase.data import chemical_symbols, covalent_radii
from numpy.typing import NDArray

from ase_mlwave.models.amons.fragments.missing import FragmentFinder
from ase_mlwave.models.amons.fragments.molecule import Molecule
from ase_mlwave.models.amons.fragments.perception import molecule_from
from ase_mlwave.systems.conversion import atoms_from_system
from ase_mlwave.systems.neighbours import find_pairs
from ase_mlwave.systems.system import System
from ase_mlwave.units import BOHR

__all__ = ["Graphs", "advise", "structure_key"]

#: Distances in sums of covalent radii: bonds that are known from before are broken past the first, and atoms that were
#: not bonded are so below the second.
_BROKEN, _BONDED = 1.5, 1.15
#: Atoms that may be bonded are nearer.
_NEAR = 1.3


def structure_key(system: System) -> tuple[Any, ...]:
    """Return what decides which fragments a structure has: its atoms, and which of them are near each other."""
    if system.cell is not None and system.pbc is not None:
        return system.numbers.tobytes(), system.cell.tobytes(), system.pbc.tobytes()
    pairs, stretches = _stretches(system, _NEAR)
    near = pairs[stretches < _NEAR]
    return system.numbers.tobytes(), near.tobytes(), system.charge


class Graphs:
    """Remember the bonds of structures, so that those of molecules in motion need not be guessed at every step."""

    def __init__(self) -> None:
        self._molecules: dict[tuple[bytes, int], Molecule] = {}

    def finder(self, system: System, like: Molecule | None = None) -> FragmentFinder:
        """Make what finds fragments of a structure.

        Parameters
        ----------
        system : System
            The structure.
        like : Molecule, optional
            The query; a structure of the same atoms in the same order has its bonds, as long as they hold.

        Returns
        -------
        FragmentFinder

        Raises
        ------
        InputError
            If the bonds are not certain.
        """
        if system.n_periods:
            return FragmentFinder(atoms_from_system(system))
        key = system.numbers.tobytes(), system.charge
        if key not in self._molecules and like is not None and _same_atoms(like, system):
            self._molecules[key] = like
        if key not in self._molecules or not _holds(self._molecules[key], system):
            self._molecules[key] = molecule_from(system)
        return FragmentFinder(replace(self._molecules[key], positions=system.positions))


def _same_atoms(molecule: Molecule, system: System) -> bool:
    return molecule.numbers == tuple(system.numbers.tolist()) and sum(molecule.charges) == system.charge


def _holds(molecule: Molecule, system: System) -> bool:
    """Tell whether no bond of a graph is broken, and none was made."""
    pairs, stretches = _stretches(system, _BROKEN)
    unbroken, near = ({(i, j) for i, j in pairs[stretches < limit].tolist()} for limit in (_BROKEN, _BONDED))
    return near <= molecule.orders.keys() <= unbroken


def _stretches(system: System, limit: float) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return pairs i < j of atoms, (P, 2), and their distances in sums of covalent radii: all within a limit."""
    radii = covalent_radii[system.numbers] / BOHR
    neighbours = find_pairs(system, limit * 2 * float(radii.max()))
    is_first = neighbours.first < neighbours.second
    pairs = np.stack([neighbours.first[is_first], neighbours.second[is_first]], axis=1)
    lengths = np.linalg.norm(neighbours.vectors(system)[is_first], axis=1)
    return pairs, lengths / radii[pairs].sum(axis=1)


def advise(
    finder: Callable[[], FragmentFinder],
    numbers: Sequence[int],
    worst: Sequence[int],
    known: Collection[str],
    largest: int | None = None,
) -> tuple[str | None, str]:
    """Find the amon that would help, and say so.

    Parameters
    ----------
    finder : callable
        Makes what finds fragments of the structure.
    numbers : sequence of int
        Its atomic numbers.
    worst : sequence of int
        Badly covered atoms, the worst first.
    known : collection of str
        SMILES of the training amons.
    largest : int, optional
        ``max_heavy`` of a model that was made for one query; past it more is missing than one amon.

    Returns
    -------
    smiles : str or None
        None where all amons around those atoms are known, or none can be named.
    text : str
        For a warning, with a space before it.
    """
    named = ", ".join(f"{atom} ({chemical_symbols[numbers[atom]]})" for atom in sorted(worst))
    text = f" Least known are the surroundings of the atoms {named}."
    try:
        fragment = finder().missing(worst, known)
    except (RuntimeError, ValueError) as error:  # the structure may be anything, and its energy is known already
        return None, f"{text} No amon can be named for them: {error}"
    if fragment is None:
        return None, f"{text} Their amons are known, but in other geometries; calc.extend() learns these, too."
    size = len(fragment.atoms)
    if "." not in fragment.smiles and largest is not None and size > largest:
        return fragment.smiles, (
            f"{text} Their amons of up to {largest} heavy atoms are known; larger ones would help, such as "
            f"{fragment.smiles}: make the calculator anew with max_heavy={size}; calc.extend() learns that amon alone."
        )
    return fragment.smiles, f"{text} The amon {fragment.smiles} would help; calc.extend() labels and learns it."
