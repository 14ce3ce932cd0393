"""What is refused of an ``Atoms`` object before it is read: arrays that are none, and cells that are no material's."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import InputError
from ase.data import chemical_symbols
from ase.geometry import complete_cell, minkowski_reduce
from numpy.typing import NDArray

__all__ = ["check_arrays", "check_cell", "check_finite"]

#: Shortest and longest period (Angstrom), and most atoms per cubic Angstrom (diamond has 0.18): beyond these nothing is
#: a material, and the images within a model's cutoff fill the memory.
_MIN_PERIOD, _MAX_PERIOD, _MAX_DENSITY = 1.2, 1e4, 0.5
#: Room that an atom takes in a direction without a period (Angstrom).
_THICKNESS = 3.0


def check_arrays(atoms: Any) -> None:
    """Refuse what is no list of atoms: ASE does not look at what is put into ``atoms.arrays``.

    Parameters
    ----------
    atoms : Atoms
        May be anything.

    Raises
    ------
    InputError
        If it is no ``Atoms`` object, the numbers are not whole, or the positions are not (N, 3) finite numbers.
    """
    if not isinstance(atoms, Atoms):
        raise InputError(f"a calculation needs an ase.Atoms object, got {type(atoms).__name__}.")
    numbers, positions = np.asarray(atoms.numbers), np.asarray(atoms.positions)
    if numbers.dtype.kind not in "iu" or numbers.ndim != 1:
        raise InputError(f"atoms.numbers must be whole numbers, one an atom; got {numbers.dtype} {numbers.shape}.")
    if positions.dtype.kind not in "fiu" or positions.shape != (len(numbers), 3):
        raise InputError(
            f"atoms.positions must be real numbers of the shape ({len(numbers)}, 3) for {len(numbers)} atoms; got "
            f"{positions.dtype} {positions.shape}."
        )
    if ((numbers < 0) | (numbers >= len(chemical_symbols))).any():
        raise InputError(f"atoms.numbers must be atomic numbers up to {len(chemical_symbols) - 1}; got {max(numbers)}.")
    check_finite(positions)


def check_finite(positions: NDArray[np.float64]) -> None:
    """Raise ``InputError`` that names the first atom without a place; positions (N, 3) in Angstrom."""
    faulty = np.flatnonzero(~np.isfinite(positions).all(axis=1))
    if len(faulty):
        raise InputError(f"the position of atom {faulty[0]} is not finite: {positions[faulty[0]].tolist()} Angstrom.")


def check_cell(positions: NDArray[np.float64], vectors: NDArray[np.float64], pbc: NDArray[np.bool_]) -> None:
    """Refuse a cell that is no material's.

    Parameters
    ----------
    positions : (N, 3)
        Angstrom.
    vectors : (3, 3)
        Cell vectors in rows, Angstrom.
    pbc : (3,) of bool
        Which of them are periods.

    Raises
    ------
    InputError
        With what is wrong with the cell.

    Notes
    -----
    What counts is the lattice, not the vectors that it is written with: the shortest vector of the reduced cell.
    """
    periodic = np.where(pbc[:, None], vectors, 0.0)
    if not np.isfinite(periodic).all():
        raise InputError(f"the cell vectors {vectors.tolist()} are not finite. Mend the cell.")
    if np.abs(periodic).max() > _MAX_PERIOD:
        raise InputError(
            f"the cell is {np.abs(periodic).max():.3g} Angstrom long, and more than {_MAX_PERIOD:g} is refused. Set "
            "atoms.pbc = False if it is a molecule."
        )
    lengths = np.linalg.norm(periodic, axis=1)
    for axis in np.flatnonzero(pbc):
        if not lengths[axis] > 0:
            raise InputError(
                f"the structure is periodic along cell vector {axis}, which is zero. Set atoms.cell, or "
                "atoms.pbc = False if it is a molecule."
            )
    directions = periodic[pbc] / lengths[pbc, None]
    if np.linalg.matrix_rank(directions, tol=1e-6) < len(directions):
        raise InputError(f"the cell vectors {vectors.tolist()} are linearly dependent, or nearly so. Mend the cell.")
    cell: NDArray[np.float64] = complete_cell(periodic)
    period = np.linalg.norm(minkowski_reduce(cell, pbc)[0], axis=1)[pbc].min()
    if period < _MIN_PERIOD:
        raise InputError(
            f"the structure repeats itself after {period:.3g} Angstrom, and less than {_MIN_PERIOD} is refused. Mend "
            "the cell (its vectors are in Angstrom)."
        )
    along = np.linalg.solve(cell.T, positions.T)[~pbc]  # complete vectors are orthonormal to the others
    sizes = np.ptp(along, axis=1) + _THICKNESS
    density = len(positions) / (abs(np.linalg.det(cell)) * sizes.prod())
    if density > _MAX_DENSITY:
        raise InputError(
            f"the cell holds {density:.3g} atoms per cubic Angstrom, and more than {_MAX_DENSITY} (thrice diamond) is "
            "refused. Mend the cell (its vectors are in Angstrom)."
        )
