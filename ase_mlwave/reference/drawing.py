"""What every way to draw geometries shares: its checks, its start, its records."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.calculators.calculator import InputError
from numpy.typing import NDArray

from ase_mlwave.data.convert import atoms_from_record, record_from_atoms
from ase_mlwave.data.record import Record

__all__ = ["as_start", "check_request", "sampled_record"]


def check_request(temperatures: Sequence[float], n_geometries: int) -> None:
    """Refuse temperatures (K) or a number of geometries that are not positive, by ``InputError``."""
    if not temperatures or not all(0 < temperature < np.inf for temperature in temperatures):
        raise InputError(f"temperatures must be positive, in K (got {list(temperatures)}).")
    if n_geometries < 1:
        raise InputError(f"the number of geometries must be at least 1 (got {n_geometries}).")


def as_start(molecule: Record | Atoms) -> Atoms:
    """Return a copy of the molecule without a calculator."""
    atoms: Atoms = atoms_from_record(molecule) if isinstance(molecule, Record) else molecule.copy()
    atoms.calc = None
    return atoms


def sampled_record(start: Atoms, positions: NDArray[np.float64], temperature: float) -> Record:
    """Return a geometry (Angstrom) that was drawn at a temperature (K), with what the start has in ``info``."""
    atoms = Atoms(numbers=start.numbers, positions=positions, info=dict(start.info))
    return record_from_atoms(atoms, temperature=float(temperature))
