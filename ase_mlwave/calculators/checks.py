"""What a calculator refuses before any work, and how it reads an ``Atoms`` object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import InputError
from ase.data import chemical_symbols
from ase.neighborlist import neighbor_list
from scipy.spatial.distance import pdist, squareform

from ase_mlwave.data.record import Record
from ase_mlwave.quantum.cubes import CubeGrid
from ase_mlwave.units import BOHR

__all__ = ["MIN_DISTANCE_ANGSTROM", "Domain", "charge_and_spin", "cube_grid", "read_atoms"]

#: Nuclei nearer than this coincide, whatever the temperature (the shortest bond, H2, is 0.74 Angstrom long).
MIN_DISTANCE_ANGSTROM = 0.1

_MEANING = {
    "charge": "the total charge in elementary charges, a whole number",
    "spin": "the number of unpaired electrons, 0 or more (not the multiplicity)",
}


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
    """Read ``atoms.info["charge"]`` and ``["spin"]``.

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
        If one of them is not a whole number, or the spin is negative.
    """
    values = []
    for key in _MEANING:
        given = atoms.info.get(key, 0)
        try:
            value = int(given)
            whole = value == given
        except (TypeError, ValueError, OverflowError):
            whole = False
        if not whole or (key == "spin" and value < 0):
            raise InputError(f"atoms.info[{key!r}] is {given!r}. Give {_MEANING[key]}.")
        values.append(value)
    return values[0], values[1]


def read_atoms(atoms: Any, domain: Domain) -> Record:
    """Check one structure and convert it to atomic units.

    Parameters
    ----------
    atoms : Atoms
        Not changed.
    domain : Domain
        What the model was made for.

    Returns
    -------
    Record
        Positions in Bohr; no labels. Of a periodic structure ``info`` has ``"cell"`` ((3, 3), Bohr) and ``"pbc"``.

    Raises
    ------
    InputError
        If the structure is empty, periodic, has an element, charge or spin outside the domain, positions that are not
        finite, coinciding atoms, or a number of electrons that does not go with its spin (of cells, any number goes).
    """
    if not isinstance(atoms, Atoms):
        raise InputError(f"a calculation needs an ase.Atoms object, got {type(atoms).__name__}.")
    if len(atoms) == 0:
        raise InputError("the Atoms object is empty. Give it at least one atom.")
    _check_elements(atoms, domain)
    if atoms.pbc.any() and not domain.periodic:
        raise InputError(
            f"the model is for molecules, but the structure is periodic (pbc={atoms.pbc.tolist()}). "
            "Set atoms.pbc = False if it is a molecule in a box."
        )
    _check_positions(atoms)
    charge, spin = charge_and_spin(atoms)
    for name, value, allowed in (("charge", charge, domain.charges), ("spin", spin, domain.spins)):
        if value not in allowed:
            raise InputError(
                f"atoms.info[{name!r}] is {value}, but the model was made for {name} "
                f"{' or '.join(map(str, sorted(allowed)))}. Change atoms.info or take another model."
            )
    if atoms.pbc.any():
        cell = {"cell": np.array(atoms.cell.complete()) / BOHR, "pbc": np.array(atoms.pbc)}
        return Record(numbers=atoms.numbers, positions=atoms.positions / BOHR, charge=charge, spin=spin, info=cell)
    n_electrons = int(atoms.numbers.sum()) - charge
    if n_electrons < spin or (n_electrons - spin) % 2:
        raise InputError(
            f"{atoms.get_chemical_formula()} with charge {charge} has {n_electrons} electrons, which cannot leave "
            f"{spin} unpaired. Set atoms.info['charge'] or atoms.info['spin']."
        )
    return Record(numbers=atoms.numbers, positions=atoms.positions / BOHR, charge=charge, spin=spin)


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
    if not 0 < spacing < 10:
        raise InputError(f"spacing is {spacing!r} Angstrom, but must be positive, such as 0.1")
    return CubeGrid(spacing=spacing / BOHR)


def _check_elements(atoms: Atoms, domain: Domain) -> None:
    unknown = sorted(set(atoms.symbols) - domain.elements)
    if unknown:
        known = sorted(domain.elements, key=chemical_symbols.index)
        raise InputError(
            f"the model does not know {', '.join(unknown)}: it was made for {', '.join(known)}. "
            "Take another model (`mlwave models` lists them) or train one."
        )


def _check_positions(atoms: Atoms) -> None:
    bad = np.flatnonzero(~np.isfinite(atoms.positions).all(axis=1))
    if len(bad):
        raise InputError(f"the position of atom {bad[0]} is not finite: {atoms.positions[bad[0]].tolist()} Angstrom.")
    if atoms.pbc.any():
        _check_cell(atoms)
        return
    if len(atoms) < 2:
        return
    distances = squareform(pdist(atoms.positions))
    np.fill_diagonal(distances, np.inf)
    i, j = sorted(np.unravel_index(distances.argmin(), distances.shape))
    if distances[i, j] < MIN_DISTANCE_ANGSTROM:
        raise InputError(
            f"atoms {i} and {j} coincide: they are {distances[i, j]:.3g} Angstrom apart, and less than "
            f"{MIN_DISTANCE_ANGSTROM} Angstrom is refused. Mend the structure."
        )


def _check_cell(atoms: Atoms) -> None:
    """Refuse periods without a vector, a cell without volume, and atoms that coincide with any image."""
    lengths = atoms.cell.lengths()
    for axis, (periodic, length) in enumerate(zip(atoms.pbc, lengths, strict=True)):
        if periodic and not length > 0:
            raise InputError(
                f"the structure is periodic along cell vector {axis}, which is zero. Set atoms.cell, or "
                "atoms.pbc = False if it is a molecule."
            )
    finite = bool(np.isfinite(atoms.cell.array).all())
    if not finite or np.linalg.matrix_rank(atoms.cell.array) < np.count_nonzero(lengths):
        raise InputError(f"the cell vectors {atoms.cell.tolist()} are not finite or linearly dependent. Mend the cell.")
    i, j, r = neighbor_list("ijd", atoms, MIN_DISTANCE_ANGSTROM)
    if len(r):
        raise InputError(
            f"atoms {i[0]} and {j[0]} coincide: they, or images of them, are {r[0]:.3g} Angstrom apart, and less than "
            f"{MIN_DISTANCE_ANGSTROM} Angstrom is refused. Mend the structure."
        )
