"""Between records (atomic units) and ``ase.Atoms`` (eV, Angstrom)."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io.extxyz import per_config_properties
from numpy.typing import NDArray

from ase_mlwave.data.labels import LabelConventions, Labels, find_labels
from ase_mlwave.data.record import Record
from ase_mlwave.properties import LABELS
from ase_mlwave.systems.charge_spin import other_statements
from ase_mlwave.systems.conversion import atoms_from_system, system_from_atoms

__all__ = ["Structure", "atoms_from_record", "read_structure", "record_from_atoms", "refuse_other_than_molecules"]


def record_from_atoms(atoms: Atoms, **info: Any) -> Record:
    """Make a record of a molecule and of the energy, forces and dipole that are known of it.

    Parameters
    ----------
    atoms : Atoms
        A molecule; charge and spin come from ``atoms.info`` (`ase_mlwave.systems.charge_spin`), labels from the results
        that its calculator already has, energy and forces also from entries and arrays whose names are known
        (`ase_mlwave.data.labels`). It is left as it is, and nothing is calculated.
    **info
        Further entries of ``Record.info``.

    Returns
    -------
    Record
        Atomic units; ``info`` holds the rest of ``atoms.info``.

    Raises
    ------
    ValueError
        If the structure is empty or periodic, a number is not finite, or entries contradict one another.

    Warns
    -----
    UserWarning
        If initial charges or moments, or the calculator's charge or multiplicity, say otherwise than what is read.
    """
    structure = read_structure(atoms, LabelConventions())
    if structure.other_statements:
        others = "; ".join(structure.other_statements)
        warnings.warn(f"{structure.record.formula}: {others}. Set atoms.info to what is meant.", stacklevel=2)
    return structure.record.with_info(**info) if info else structure.record


@dataclass(frozen=True)
class Structure:
    """Hold what was read of one structure, and what was not."""

    record: Record
    labels: Labels
    other_statements: tuple[str, ...]
    """What is said elsewhere about charge and spin, and differs from what was read."""


def read_structure(atoms: Atoms, conventions: LabelConventions) -> Structure:
    """Read one structure.

    Parameters
    ----------
    atoms : Atoms
        See `record_from_atoms`.
    conventions : LabelConventions
        Names and units of the labels.

    Returns
    -------
    Structure
        ``record.info`` has the entries that are not read, and what else a file gives of the molecule as a whole.

    Raises
    ------
    ValueError
        See `record_from_atoms`.
    """
    refuse_other_than_molecules(len(atoms), atoms.pbc)
    system = system_from_atoms(atoms)
    labels = find_labels(atoms, conventions)
    consumed = {"charge", "spin", *labels.names}
    record = Record(
        **vars(system),
        energy=None if labels.energy is None else labels.energy * conventions.units.energy,
        forces=None if labels.forces is None else labels.forces * conventions.units.forces,
        info={name: value for name, value in {**_other_results(atoms), **atoms.info}.items() if name not in consumed},
        dipole=None if labels.dipole is None else LABELS["dipole"].from_ase(labels.dipole),
    )
    return Structure(record, labels, tuple(other_statements(atoms, system.charge, system.spin)))


def _other_results(atoms: Atoms) -> dict[str, Any]:
    """Return what a file gives of a molecule as a whole beside its labels: stress, ..."""
    results = atoms.calc.results if isinstance(atoms.calc, SinglePointCalculator) else {}
    per_molecule = {*per_config_properties} - {"energy"}
    return {name: value for name, value in results.items() if name in per_molecule and value is not None}


def atoms_from_record(record: Record) -> Atoms:
    """Make a molecule with the record's labels in a ``SinglePointCalculator``.

    Parameters
    ----------
    record : Record
        Atomic units; its matrices are left out.

    Returns
    -------
    Atoms
        ASE's units; ``info`` holds ``record.info``, and ``charge`` and ``spin`` where they are not 0 or
        another entry may be taken for them.
    """
    atoms = atoms_from_system(record, record.info)
    results = {name: LABELS[name].to_ase(value) for name, value in record.labels.items()}
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
