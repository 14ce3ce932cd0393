"""Between systems (atomic units) and what ASE and PySCF make of a molecule or a cell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from ase import Atoms

from ase_mlwave.systems.charge_spin import charge_and_spin
from ase_mlwave.systems.system import System
from ase_mlwave.units import BOHR

__all__ = ["atoms_from_system", "system_from_atoms", "system_from_mole"]


def system_from_atoms(atoms: Atoms) -> System:
    """Read an ``Atoms`` object in atomic units.

    Parameters
    ----------
    atoms : Atoms
        A molecule or a cell; charge and spin come from ``atoms.info`` (`ase_mlwave.systems.charge_spin`).

    Returns
    -------
    System

    Raises
    ------
    ValueError
        If charge or spin are not clear, or it is no `System`.
    """
    charge, spin = charge_and_spin(atoms.info)
    cell = atoms.cell.array / BOHR if atoms.pbc.any() else None
    return System(atoms.numbers, atoms.positions / BOHR, charge=charge, spin=spin, cell=cell, pbc=atoms.pbc)


def system_from_mole(mole: Any) -> System:
    """Read a molecule of PySCF's.

    Parameters
    ----------
    mole : pyscf.gto.Mole
        Built, without ghost atoms; its basis does not matter, and effective core potentials leave the atom what it is.

    Returns
    -------
    System
    """
    from pyscf import gto

    numbers = np.array([gto.charge(mole.atom_pure_symbol(i)) for i in range(mole.natm)])
    return System(numbers, mole.atom_coords(), charge=mole.charge, spin=abs(mole.spin))


def atoms_from_system(system: System, info: Mapping[str, Any] | None = None) -> Atoms:
    """Make an ``Atoms`` object.

    Parameters
    ----------
    system : System
        A molecule or a cell.
    info : mapping, optional
        Entries of ``atoms.info``.

    Returns
    -------
    Atoms
        Angstrom; ``info`` holds also ``charge`` and ``spin`` where they are not 0 or another entry may be taken for
        them.
    """
    atoms = Atoms(numbers=system.numbers, positions=system.positions * BOHR)
    if system.cell is not None:
        atoms.cell, atoms.pbc = system.cell * BOHR, system.pbc
    atoms.info.update(info or {})
    try:
        implied: tuple[int | None, int | None] = charge_and_spin(atoms.info)
    except ValueError:
        implied = (None, None)
    for key, value, without in zip(("charge", "spin"), (system.charge, system.spin), implied, strict=True):
        if value or value != without:
            atoms.info[key] = value
    return atoms
