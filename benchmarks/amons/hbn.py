"""Sheets of hexagonal boron nitride, pure and doped with carbon: finite flakes and infinite sheets.

GFN2-xTB of a periodic sheet in tblite depends on the height of the empty space as 1/height, and is still 1.9 kcal/mol
an atom above the limit of large flakes at 20 Angstrom. The references are therefore flakes: of themselves, and, for an
infinite sheet, the limit of three hexagonal flakes (energy = a pairs + b hydrogens + c); a dopant changes a sheet as it
changes the middle of a flake.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.build import graphene
from ase.calculators.calculator import CalculationFailed

from ase_mlwave.data.record import Record
from ase_mlwave.models.amons.config import FitSettings
from ase_mlwave.models.amons.fragments.capping import CAP_LENGTHS
from ase_mlwave.models.amons.fragments.geometry import amon_geometries
from ase_mlwave.models.amons.fragments.shells import shell_geometries
from ase_mlwave.models.amons.regression.environments import Geometry
from ase_mlwave.reference.levels import TbliteLevel
from ase_mlwave.units import BOHR
from benchmarks.amons.curve import Curve, Options
from benchmarks.amons.study import Query, distinct, free_atoms, label, learning_curves

__all__ = ["DOPANTS", "doped_sheet", "flake", "run"]

#: Distance of next neighbours of the same element, Angstrom.
_LATTICE = 2.504
#: Largest fragments of which all are cut, and the bonds around the centre of a shell.
_MAX_HEAVY, _SHELL = 6, 2
#: Cells of the doped sheets along each vector, and rings from the middle of the largest flake.
_CELLS, _RINGS = 4, 4
_SETTINGS = FitSettings(directions=0, penalty=1e-6)


@dataclass(frozen=True)
class Dopants:
    """Say which atoms are carbon: of the ring in the middle, in order around it, boron first."""

    sites: tuple[int, ...]

    @property
    def has_radical(self) -> bool:
        """Whether an electron is left unpaired."""
        return len(self.sites) % 2 == 1


DOPANTS = {
    "pure": Dopants(()),
    "C2 for BN": Dopants((0, 1)),
    "C for B": Dopants((0,)),
    "C for N": Dopants((1,)),
}


def run(options: Options) -> list[Curve]:
    """Label fragments and shells as they are, and predict a flake and a sheet of each kind."""
    level = TbliteLevel("gfn2-xtb")
    largest = options.max_heavy or _MAX_HEAVY
    amons: list[Record] = []
    free = free_atoms([1, 5, 6, 7], level)
    names = list(DOPANTS)[: options.n_systems]
    n_rings = _RINGS if options.max_heavy is None else 3
    pure = limit_of_flakes(level, n_rings)
    curves = []
    for name in names:
        radical = DOPANTS[name].has_radical
        sheet = doped_sheet(DOPANTS[name], 1 if name == "pure" else _CELLS)
        cut = amon_geometries(sheet, largest, allow_radicals=radical)
        shells = shell_geometries(sheet, _SHELL, allow_radicals=radical) if options.max_heavy is None else ()
        larger = [shell for shell in shells if shell.info["n_heavy"] > largest]
        found = label([*cut, *larger], options.output / "hbn.db", level, options, f"label amons, {name}")
        # Those of the pure sheet are shared by all.
        amons = distinct([*amons, *(amon for amon in found if amon is not None)])
        curves += _predict(name, sheet, amons, level, free, pure, n_rings, options)
    return curves


def _predict(
    name: str,
    sheet: Atoms,
    amons: list[Record],
    level: TbliteLevel,
    free: dict[int, float],
    pure: float,
    n_rings: int,
    options: Options,
) -> list[Curve]:
    """Predict a flake and a sheet of one kind from the amons of this kind and of the pure sheet."""
    dopants = DOPANTS[name]
    atoms = flake(n_rings - 1, dopants)
    energy, bare = _energy(atoms, level), _energy(flake(n_rings - 1), level)
    geometry = Geometry(np.array(atoms.numbers, dtype=np.int64), atoms.positions / BOHR)
    cell = Geometry(
        np.array(sheet.numbers, dtype=np.int64), sheet.positions / BOHR, cell=sheet.cell[:] / BOHR, pbc=sheet.pbc
    )
    queries = [
        Query(f"flake, {name}", geometry, energy, "atom", len(atoms)),
        Query(f"sheet, {name}", cell, pure * len(sheet) / 2 + energy - bare, "atom", len(sheet)),
    ]
    elements = {*atoms.numbers.tolist()}
    own = [amon for amon in amons if {*amon.numbers.tolist()} <= elements]
    return learning_curves(queries, own, level.name, free=free, settings=_SETTINGS, options=options)


def doped_sheet(dopants: Dopants, n_cells: int) -> Atoms:
    """Build a periodic sheet, doped in one ring.

    Parameters
    ----------
    dopants : Dopants
        What is carbon.
    n_cells : int
        Primitive cells along both vectors; at least 3 if anything is doped.

    Returns
    -------
    Atoms
        Periodic in the plane.
    """
    atoms = graphene("BN", a=_LATTICE, size=(n_cells, n_cells, 1), vacuum=10.0)
    atoms.pbc = (True, True, False)
    if dopants.sites:
        _dope(atoms, dopants)
    return atoms


def flake(n_rings: int, dopants: Dopants | None = None) -> Atoms:
    """Build a hexagonal flake with hydrogen at its edge.

    Parameters
    ----------
    n_rings : int
        1 for one ring, 2 for seven, 3 for nineteen.
    dopants : Dopants, optional
        What is carbon of the ring in the middle.

    Returns
    -------
    Atoms
        Not periodic.
    """
    size = 2 * n_rings + 4
    sheet = graphene("BN", a=_LATTICE, size=(size, size, 1), vacuum=10.0)
    ring = _ring(sheet)
    middle = sheet.positions[ring].mean(axis=0)
    one, two = sheet.cell[0] / size, sheet.cell[1] / size
    span = range(1 - n_rings, n_rings)
    skew = 1 if one @ two > 0 else -1
    centres = np.array([middle + i * one + j * two for i in span for j in span if abs(i + skew * j) < n_rings])
    bond = _LATTICE / np.sqrt(3)
    apart = np.linalg.norm(sheet.positions[:, None] - centres, axis=2)
    kept = np.flatnonzero((apart < 1.1 * bond).any(axis=1))
    atoms = Atoms(sheet.numbers[kept], sheet.positions[kept])
    distances = np.linalg.norm(sheet.positions[kept][:, None] - sheet.positions, axis=2)
    for row, inner in enumerate(kept):
        for outer in np.flatnonzero((distances[row] > 0.1) & (distances[row] < 1.1 * bond)):
            if outer not in kept:
                along = (sheet.positions[outer] - sheet.positions[inner]) / bond
                length = CAP_LENGTHS[int(sheet.numbers[inner])] * BOHR
                atoms += Atoms("H", [sheet.positions[inner] + length * along])
    if dopants is not None:
        order = _around(atoms.positions, middle, atoms.numbers)
        atoms.numbers[[order[site] for site in dopants.sites]] = 6
    return atoms


def limit_of_flakes(level: TbliteLevel, n_rings: int = _RINGS) -> float:
    """Compute the energy of a pair BN in an infinite sheet, Hartree, from the three flakes up to ``n_rings``."""
    rows, energies = [], []
    for count in range(n_rings - 2, n_rings + 1):
        atoms = flake(count)
        rows.append([np.count_nonzero(atoms.numbers == 5), np.count_nonzero(atoms.numbers == 1), 1])
        energies.append(_energy(atoms, level))
    return float(np.linalg.solve(np.array(rows, dtype=np.float64), np.array(energies))[0])


def _energy(atoms: Atoms, level: TbliteLevel) -> float:
    numbers = np.array(atoms.numbers, dtype=np.int64)
    labelled = level.label(Record(numbers, atoms.positions / BOHR, spin=int(numbers.sum() % 2)))
    if labelled.energy is None:
        raise CalculationFailed(f"{level.name} gives no energy for {atoms.symbols}.")
    return labelled.energy


def _ring(sheet: Atoms) -> list[int]:
    """Find a ring near the middle of a sheet, boron first, in order around it."""
    bond = _LATTICE / np.sqrt(3)
    centre = sheet.positions.mean(axis=0)
    boron = min(np.flatnonzero(sheet.numbers == 5), key=lambda a: float(np.linalg.norm(sheet.positions[a] - centre)))
    near = np.flatnonzero(np.abs(np.linalg.norm(sheet.positions - sheet.positions[boron], axis=1) - bond) < 0.1)
    middle = sheet.positions[near[0]] + sheet.positions[near[1]] - sheet.positions[boron]
    return _around(sheet.positions, middle, sheet.numbers)


def _around(positions: np.ndarray, middle: np.ndarray, numbers: np.ndarray) -> list[int]:
    """Return the ring around a point, in order, boron first."""
    bond = _LATTICE / np.sqrt(3)
    ring = np.flatnonzero(np.linalg.norm(positions - middle, axis=1) < 1.1 * bond)
    angles = np.arctan2(*(positions[ring] - middle)[:, 1::-1].T)
    order = ring[np.argsort(angles)].tolist()
    start = next(index for index, atom in enumerate(order) if numbers[atom] == 5)
    return order[start:] + order[:start]


def _dope(sheet: Atoms, dopants: Dopants) -> None:
    """Put carbon into a ring of a periodic sheet."""
    ring = _ring(sheet)
    sheet.numbers[[ring[site] for site in dopants.sites]] = 6
