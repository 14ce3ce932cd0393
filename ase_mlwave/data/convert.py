"""Between records (atomic units) and ``ase.Atoms`` (eV, Angstrom)."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.singlepoint import SinglePointCalculator
from numpy.typing import NDArray

from ase_mlwave.data.record import Record
from ase_mlwave.units import BOHR, HARTREE, HARTREE_PER_BOHR

__all__ = ["atoms_from_record", "record_from_atoms", "refuse_other_than_molecules"]


def record_from_atoms(atoms: Atoms, **info: Any) -> Record:
    """Make a record of a molecule and of the energy and forces that its calculator already has.

    Parameters
    ----------
    atoms : Atoms
        A molecule; ``atoms.info["charge"]`` and ``["spin"]`` (unpaired electrons) count as 0 where missing. It is
        left as it is, and nothing is calculated.
    **info
        Further entries of ``Record.info``.

    Returns
    -------
    Record
        Atomic units; ``info`` holds the rest of ``atoms.info``.

    Raises
    ------
    ValueError
        If the structure is empty or periodic, or a number is not finite.
    """
    refuse_other_than_molecules(len(atoms), atoms.pbc)
    described = {key: value for key, value in atoms.info.items() if key not in {"charge", "spin"}}
    energy = _known_result(atoms, "energy")
    forces = _known_result(atoms, "forces")
    return Record(
        numbers=atoms.numbers,
        positions=atoms.positions / BOHR,
        energy=None if energy is None else float(energy) / HARTREE,
        forces=None if forces is None else np.asarray(forces) / HARTREE_PER_BOHR,
        charge=int(atoms.info.get("charge", 0)),
        spin=int(atoms.info.get("spin", 0)),
        info={**described, **info},
    )


def atoms_from_record(record: Record) -> Atoms:
    """Make a molecule with the record's energy and forces in a ``SinglePointCalculator``.

    Parameters
    ----------
    record : Record
        Atomic units; its matrices are left out.

    Returns
    -------
    Atoms
        Angstrom, eV, eV/Angstrom; ``info`` holds ``charge`` and ``spin`` where they are not 0, and ``record.info``.
    """
    atoms = Atoms(numbers=record.numbers, positions=record.positions * BOHR)
    atoms.info.update(record.info)
    for key, value in (("charge", record.charge), ("spin", record.spin)):
        if value:
            atoms.info[key] = value
    results: dict[str, Any] = {}
    if record.energy is not None:
        results["energy"] = record.energy * HARTREE
    if record.forces is not None:
        results["forces"] = record.forces * HARTREE_PER_BOHR
    if results:
        atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def refuse_other_than_molecules(n_atoms: int, pbc: NDArray[np.bool_]) -> None:
    """Raise ``ValueError`` for an empty or a periodic structure."""
    if n_atoms == 0:
        raise ValueError("the Atoms object is empty; a record needs at least one atom.")
    if np.any(pbc):
        raise ValueError(
            f"records are molecules, but the structure is periodic (pbc={np.asarray(pbc).tolist()}). "
            "Set atoms.pbc = False if it is a molecule in a box."
        )


def _known_result(atoms: Atoms, name: str) -> Any:
    """Return what the calculator has already, or None."""
    if atoms.calc is None:
        return None
    try:
        return atoms.calc.get_property(name, atoms, allow_calculation=False)
    except PropertyNotImplementedError:
        return None
