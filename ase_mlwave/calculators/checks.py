"""What a calculator refuses before any work, and how it reads an ``Atoms`` object."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import InputError
from ase.data import chemical_symbols
from ase.geometry import complete_cell, minkowski_reduce
from numpy.typing import NDArray

from ase_mlwave.errors import suggestion
from ase_mlwave.quantum.cubes import CubeGrid
from ase_mlwave.systems.charge_spin import charge_and_spin as read_charge_and_spin
from ase_mlwave.systems.charge_spin import electrons_at_fault, other_statements
from ase_mlwave.systems.checks import check_distances
from ase_mlwave.systems.conversion import system_from_atoms
from ase_mlwave.systems.system import System
from ase_mlwave.units import BOHR

__all__ = [
    "Domain",
    "charge_and_spin",
    "check_arrays",
    "check_choice",
    "check_finite",
    "check_system",
    "cube_grid",
    "property_names",
    "read_atoms",
]

Array = NDArray[np.float64]

#: Larger coordinates leave a bond too few digits (Angstrom).
_MAX_COORDINATE = 1e6
#: Shortest and longest period (Angstrom), and most atoms per cubic Angstrom (diamond has 0.18): beyond these nothing is
#: a material, and the images within a model's cutoff fill the memory.
_MIN_PERIOD, _MAX_PERIOD, _MAX_DENSITY = 1.2, 1e4, 0.5
#: Room that an atom takes in a direction without a period (Angstrom).
_THICKNESS = 3.0


@dataclass(frozen=True)
class Domain:
    """Say what a model was made for."""

    elements: frozenset[str]
    """Chemical symbols."""
    charges: frozenset[int] = frozenset({0})
    """Total charges."""
    spins: frozenset[int] = frozenset({0})
    """Numbers of unpaired electrons."""
    thresholds: Mapping[str, float] = field(default_factory=dict)
    """Entry of ``extras`` -> largest value without a warning."""
    limits: Mapping[str, float] = field(default_factory=dict)
    """Entry of ``extras`` -> largest value for which there are results at all."""
    periodic: bool = False
    """Whether cells are served."""

    def common(self, other: Domain) -> Domain:
        """Return what both serve; the smaller of two thresholds counts."""
        return Domain(
            self.elements & other.elements,
            self.charges & other.charges,
            self.spins & other.spins,
            _smaller(self.thresholds, other.thresholds),
            _smaller(self.limits, other.limits),
            self.periodic and other.periodic,
        )


def _smaller(one: Mapping[str, float], other: Mapping[str, float]) -> dict[str, float]:
    infinity = float("inf")
    return {name: min(one.get(name, infinity), other.get(name, infinity)) for name in {*one, *other}}


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


def read_atoms(atoms: Any, domain: Domain) -> System:
    """Check one structure and convert it to atomic units.

    Parameters
    ----------
    atoms : Atoms
        Not changed.
    domain : Domain
        What the model was made for.

    Returns
    -------
    System

    Raises
    ------
    InputError
        If the structure is empty, has atomic numbers that are not whole, positions that are not (N, 3) finite numbers,
        or a cell that is no material's; if charge or spin are not clear; or as `check_system`.
    """
    check_arrays(atoms)
    if len(atoms) == 0:
        raise InputError("the Atoms object is empty. Give it at least one atom.")
    _check_elements(atoms.numbers, domain)
    if atoms.pbc.any():
        if not domain.periodic:
            raise InputError(
                f"the model is for molecules, but the structure is periodic (pbc={atoms.pbc.tolist()}). "
                "Set atoms.pbc = False if it is a molecule in a box."
            )
        _check_cell(atoms)
    try:
        system = system_from_atoms(atoms)
    except ValueError as error:
        raise InputError(str(error)) from None
    check_system(system, domain)
    others = "; ".join(other_statements(atoms, system.charge, system.spin))
    if others:
        warnings.warn(f"{system.formula}: {others}. Set atoms.info to what is meant.", stacklevel=2)
    return system


def check_system(system: System, domain: Domain) -> None:
    """Refuse a structure that is not what a model was made for.

    Parameters
    ----------
    system : System
        A molecule or a cell.
    domain : Domain
        What the model was made for.

    Raises
    ------
    InputError
        If it is far from the origin, has an element, charge or spin outside the domain, coinciding atoms, or a number
        of electrons that does not go with its spin (of cells, any number goes).
    """
    _check_elements(system.numbers, domain)
    if np.abs(system.positions).max() * BOHR > _MAX_COORDINATE:
        raise InputError(f"positions must lie within {_MAX_COORDINATE:g} Angstrom of the origin. Move the structure.")
    check_distances(system)
    for name, value, allowed in (("charge", system.charge, domain.charges), ("spin", system.spin, domain.spins)):
        if value not in allowed:
            raise InputError(
                f"atoms.info[{name!r}] is {value}, but the model was made for {name} "
                f"{' or '.join(map(str, sorted(allowed)))}. Change atoms.info or take another model."
            )
    fault = "" if system.n_periods else electrons_at_fault(system.numbers, system.charge, system.spin)
    if fault:
        raise InputError(fault)


def cube_grid(spacing: float) -> CubeGrid:
    """Make the grid of a cube file.

    Parameters
    ----------
    spacing : float
        Largest distance of grid points, Angstrom.

    Returns
    -------
    CubeGrid
        In Bohr.

    Raises
    ------
    InputError
        If the spacing is not positive, or coarser than 10 Angstrom.
    """
    if not isinstance(spacing, (int, float)) or not 0 < spacing < 10:
        raise InputError(f"spacing is {spacing!r} Angstrom, but must be positive, such as 0.1")
    return CubeGrid(spacing=spacing / BOHR)


def property_names(given: Any) -> tuple[str, ...]:
    """Read the names of properties: one, or several; ``InputError`` if they are no names."""
    names = (given,) if isinstance(given, str) or not isinstance(given, Iterable) else tuple(given)
    if not all(isinstance(name, str) for name in names):
        raise InputError(f"properties are {given!r}. Give names, such as ['energy', 'forces'].")
    return names


def check_choice(option: str, given: Any, allowed: Iterable[str]) -> None:
    """Raise ``InputError`` if the value of an option is none of those allowed; the message names the nearest."""
    known = tuple(allowed)
    if not isinstance(given, str) or given not in known:
        raise InputError(f"{option} is {given!r}. {suggestion(str(given), known)}")


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


def check_finite(positions: Array) -> None:
    """Raise ``InputError`` that names the first atom without a place; positions (N, 3) in Angstrom."""
    bad = np.flatnonzero(~np.isfinite(positions).all(axis=1))
    if len(bad):
        raise InputError(f"the position of atom {bad[0]} is not finite: {positions[bad[0]].tolist()} Angstrom.")


def _check_elements(numbers: NDArray[np.int64], domain: Domain) -> None:
    unknown = sorted({chemical_symbols[number] for number in np.unique(numbers)} - domain.elements)
    if unknown:
        known = sorted(domain.elements, key=chemical_symbols.index)
        raise InputError(
            f"the model does not know {', '.join(unknown)}: it was made for {', '.join(known)}. "
            "Take another model (`mlwave models` lists them) or train one."
        )


def _check_cell(atoms: Atoms) -> None:
    """Refuse a cell that is no material's.

    Notes
    -----
    What counts is the lattice, not the vectors that it is written with: the shortest vector of the reduced cell.
    """
    periodic = np.where(atoms.pbc[:, None], atoms.cell.array, 0.0)
    if not np.isfinite(periodic).all():
        raise InputError(f"the cell vectors {atoms.cell.tolist()} are not finite. Mend the cell.")
    if np.abs(periodic).max() > _MAX_PERIOD:
        raise InputError(
            f"the cell is {np.abs(periodic).max():.3g} Angstrom long, and more than {_MAX_PERIOD:g} is refused. Set "
            "atoms.pbc = False if it is a molecule."
        )
    lengths = np.linalg.norm(periodic, axis=1)
    for axis in np.flatnonzero(atoms.pbc):
        if not lengths[axis] > 0:
            raise InputError(
                f"the structure is periodic along cell vector {axis}, which is zero. Set atoms.cell, or "
                "atoms.pbc = False if it is a molecule."
            )
    vectors = periodic[atoms.pbc] / lengths[atoms.pbc, None]
    if np.linalg.matrix_rank(vectors, tol=1e-6) < len(vectors):
        raise InputError(f"the cell vectors {atoms.cell.tolist()} are linearly dependent, or nearly so. Mend the cell.")
    cell: Array = complete_cell(periodic)
    period = np.linalg.norm(minkowski_reduce(cell, atoms.pbc)[0], axis=1)[atoms.pbc].min()
    if period < _MIN_PERIOD:
        raise InputError(
            f"the structure repeats itself after {period:.3g} Angstrom, and less than {_MIN_PERIOD} is refused. Mend "
            "the cell (its vectors are in Angstrom)."
        )
    along = np.linalg.solve(cell.T, atoms.positions.T)[~atoms.pbc]  # complete vectors are orthonormal to the others
    sizes = np.ptp(along, axis=1) + _THICKNESS
    density = len(atoms) / (abs(np.linalg.det(cell)) * sizes.prod())
    if density > _MAX_DENSITY:
        raise InputError(
            f"the cell holds {density:.3g} atoms per cubic Angstrom, and more than {_MAX_DENSITY} (thrice diamond) is "
            "refused. Mend the cell (its vectors are in Angstrom)."
        )
