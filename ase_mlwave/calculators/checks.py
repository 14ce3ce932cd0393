"""What a calculator refuses before any work, and how it reads an ``Atoms`` object."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import InputError
from numpy.typing import ArrayLike, NDArray

from ase_mlwave.errors import suggestion
from ase_mlwave.models.domain.scope import Domain, check_elements, check_system
from ase_mlwave.quantum.cubes import CubeGrid
from ase_mlwave.systems.charge_spin import charge_and_spin as read_charge_and_spin
from ase_mlwave.systems.charge_spin import other_statements
from ase_mlwave.systems.neighbours import NeighbourList
from ase_mlwave.systems.structures import check_arrays, check_cell
from ase_mlwave.systems.system import System
from ase_mlwave.units import BOHR

__all__ = [
    "charge_and_spin",
    "check_batch_size",
    "check_choice",
    "cube_grid",
    "property_names",
    "read_arrays",
    "read_atoms",
    "read_each",
    "read_points",
]

T = TypeVar("T")
Array = NDArray[np.float64]


def charge_and_spin(atoms: Atoms) -> tuple[int, int]:
    """Read charge and spin from ``atoms.info`` (`ase_mlwave.systems.charge_spin`).

    Parameters
    ----------
    atoms : Atoms
        Missing entries count as 0.

    Returns
    -------
    tuple of int
        Total charge, and number of unpaired electrons (PySCF's ``spin``, not the multiplicity).

    Raises
    ------
    InputError
        If one of them is not a whole number, the spin is negative, or entries disagree or may mean a charge or spin.
    """
    try:
        return read_charge_and_spin(atoms.info)
    except ValueError as error:
        raise InputError(str(error)) from None


def read_atoms(atoms: Any, domain: Domain, contacts: NeighbourList | None = None) -> System:
    """Check one structure and convert it to atomic units.

    Parameters
    ----------
    atoms : Atoms
        Not changed.
    domain : Domain
        What the model was made for.
    contacts : NeighbourList, optional
        As of `check_system`.

    Returns
    -------
    System

    Raises
    ------
    InputError
        If atomic numbers are not whole, or positions are not (N, 3) finite numbers; if charge or spin are not clear; or
        as `read_arrays`.
    """
    check_arrays(atoms)
    charge, spin = charge_and_spin(atoms)
    given = {"cell": atoms.cell.array, "pbc": atoms.pbc, "charge": charge, "spin": spin}
    system = read_arrays(atoms.numbers, atoms.positions, domain, **given, contacts=contacts)
    others = "; ".join(other_statements(atoms, system.charge, system.spin))
    if others:
        warnings.warn(f"{system.formula}: {others}. Set atoms.info to what is meant.", stacklevel=2)
    return system


def read_arrays(
    numbers: NDArray[np.int64],
    positions: NDArray[np.float64],
    domain: Domain,
    *,
    cell: NDArray[np.float64],
    pbc: NDArray[np.bool_],
    charge: int = 0,
    spin: int = 0,
    contacts: NeighbourList | None = None,
) -> System:
    """Check what describes a structure, in ASE's units, and convert it to atomic units.

    Parameters
    ----------
    numbers, positions : (N,), (N, 3)
        Atomic numbers, and Angstrom.
    domain : Domain
        What the model was made for.
    cell, pbc : (3, 3), (3,)
        Cell vectors in rows, Angstrom, and which are periods.
    charge, spin : int
        Total charge, and number of unpaired electrons.
    contacts : NeighbourList, optional
        As of `check_system`.

    Returns
    -------
    System

    Raises
    ------
    InputError
        If the structure is empty, has positions that are not finite or a cell that is no material's; or as
        `check_system`.
    """
    if len(numbers) == 0:
        raise InputError("the Atoms object is empty. Give it at least one atom.")
    check_elements(numbers, domain)
    if pbc.any():
        if not domain.periodic:
            raise InputError(
                f"the model is for molecules, but the structure is periodic (pbc={pbc.tolist()}). "
                "Set atoms.pbc = False if it is a molecule in a box."
            )
        check_cell(positions, cell, pbc)
    try:
        system = System(numbers, positions / BOHR, charge=charge, spin=spin, cell=cell / BOHR, pbc=pbc)
    except ValueError as error:
        raise InputError(str(error)) from None
    check_system(system, domain, contacts)
    return system


def read_each(read: Callable[[T], System], structures: Iterable[T]) -> list[System]:
    """Read structures one after the other; where one is refused, the message of the ``InputError`` gives its index."""
    systems = []
    for index, structure in enumerate(structures):
        try:
            systems.append(read(structure))
        except InputError as error:
            raise InputError(f"structure {index}: {error}") from error
    return systems


def cube_grid(path: str | PathLike[str], spacing: float) -> CubeGrid:
    """Make the grid of a cube file.

    Parameters
    ----------
    path : str or path
        The file, whose folder is looked at: a density takes longer than a look.
    spacing : float
        Largest distance of grid points, Angstrom.

    Returns
    -------
    CubeGrid
        In Bohr.

    Raises
    ------
    InputError
        If the spacing is not positive, or coarser than 10 Angstrom, or there is no folder for the file.
    """
    if not Path(path).parent.is_dir() or Path(path).is_dir():
        raise InputError(
            f"{path} can be no file: {'it is a folder' if Path(path).is_dir() else 'its folder is absent'}."
        )
    if not isinstance(spacing, (int, float)) or not 0 < spacing < 10:
        raise InputError(f"spacing is {spacing!r} Angstrom, but must be positive, such as 0.1")
    return CubeGrid(spacing=spacing / BOHR)


def read_points(points: ArrayLike) -> Array:
    """Read points in space, (..., 3), Angstrom, in Bohr.

    Raises
    ------
    InputError
        If they are no finite numbers (..., 3).
    """
    try:
        grid = np.asarray(points, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"points are no numbers: {error}") from error
    if grid.ndim == 0 or grid.shape[-1] != 3 or not np.isfinite(grid).all():
        raise InputError(f"points have shape {grid.shape}; give (..., 3) finite coordinates in Angstrom")
    return grid / BOHR


def property_names(given: Any) -> tuple[str, ...]:
    """Read the names of properties: one, or several; ``InputError`` if they are no names."""
    names = (given,) if isinstance(given, str) or not isinstance(given, Iterable) else tuple(given)
    if not all(isinstance(name, str) for name in names):
        raise InputError(f"properties are {given!r}. Give names, such as ['energy', 'forces'].")
    return names


def check_batch_size(given: Any) -> None:
    """Raise ``InputError`` if ``given`` is no value of the option ``batch_size``."""
    if given is not None and (not isinstance(given, int) or given < 1):
        raise InputError(f"batch_size is {given!r}, but must be a whole number of at least 1, or None.")


def check_choice(option: str, given: Any, allowed: Iterable[str]) -> None:
    """Raise ``InputError`` if the value of an option is none of those allowed; the message names the nearest."""
    choices = tuple(allowed)
    if not isinstance(given, str) or given not in choices:
        raise InputError(f"{option} is {given!r}. {suggestion(str(given), choices)}")
