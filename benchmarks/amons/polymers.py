"""Polymers: finite chains relaxed with the reference, and the infinite chains that repeat the middle of them.

The energy of an infinite chain is that of a cell: what one more cell adds to a finite chain of the same geometry.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from ase import Atoms
from ase.calculators.calculator import CalculationFailed
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ase_mlwave.data.convert import record_from_atoms
from ase_mlwave.data.record import Record
from ase_mlwave.models.amons.fragments.geometry import amon_geometries
from ase_mlwave.models.amons.regression.environments import Geometry
from ase_mlwave.reference.levels import LevelOfTheory, TbliteLevel
from ase_mlwave.units import BOHR
from benchmarks.amons.curve import Curve, Options
from benchmarks.amons.study import Query, Relaxing, cut_amons, free_atoms, label, learning_curves

__all__ = ["POLYMERS", "Polymer", "run", "zigzag"]

Array = NDArray[np.float64]

#: Zigzag of carbon: step along the chain, amplitude; where substituents are, relative to their atom; Angstrom.
_STEP, _AMPLITUDE = 1.27, 0.42
_SP3, _SP2, _CHLORINE, _CAP = (0.88, 0.63), 1.09, (1.46, 1.00), 1.10
#: Distance from all atoms beyond which an atom is none of the polymer's, Bohr.
_ELSEWHERE = 0.01


@dataclass(frozen=True)
class Polymer:
    """Say what a chain is made of.

    Parameters
    ----------
    cell : tuple of str
        Members of the backbone in one cell: ``"CH2"``, ``"CH"`` (sp2), ``"O"``, ``"CHCl"`` and ``"ClCH"`` (chlorine in
        front of and behind the plane of the zigzag).
    n_monomers : int
        Monomers of a cell.
    n_cells : int
        Of the finite chain, at least 3.
    max_heavy : int
        Heavy atoms of the largest amons.
    """

    cell: tuple[str, ...]
    n_monomers: int
    n_cells: int
    max_heavy: int = 7


#: All trans, in one plane. Polyacetylene is conjugated throughout and asks for larger amons, of which it has few.
POLYMERS = {
    "polyethylene": Polymer(("CH2", "CH2"), 1, 8),
    "polyacetylene": Polymer(("CH", "CH"), 1, 8, max_heavy=10),
    "polyethylene oxide": Polymer(("CH2", "CH2", "O") * 2, 2, 3),
    "polyvinyl chloride": Polymer(("CH2", "CHCl", "CH2", "ClCH"), 2, 3),
}


def run(options: Options) -> list[Curve]:
    """Relax chains, cut amons whose caps alone are relaxed, label them, and predict chains and cells."""
    level = TbliteLevel("gfn2-xtb")
    names = list(POLYMERS)[: options.n_systems]
    built = [record_from_atoms(zigzag(POLYMERS[name].cell, POLYMERS[name].n_cells)[0]) for name in names]
    tight = Relaxing(level, largest_force=5e-4, steps=300)
    relaxed = label(built, options.output / "polymers-queries.db", tight, options, "relax chains")
    curves = []
    for name, chain in zip(names, relaxed, strict=True):
        if chain is not None:
            curves += _study(name, chain, level, options)
    return curves


def zigzag(members: Sequence[str], n_cells: int) -> tuple[Atoms, list[list[int]]]:
    """Build a planar chain with hydrogen at both ends.

    Parameters
    ----------
    members : sequence of str
        See `Polymer`.
    n_cells : int
        How often they are repeated.

    Returns
    -------
    atoms : Atoms
        Along x, the ends' hydrogens last.
    groups : list of list of int
        Atoms of each cell.
    """
    symbols: list[str] = []
    places: list[tuple[float, float, float]] = []
    groups: list[list[int]] = []
    for index, member in enumerate([*members] * n_cells):
        if index % len(members) == 0:
            groups.append([])
        side = 1.0 if index % 2 else -1.0
        own, around = _member(member)
        # Bonds of polyacetylene are short and long in turn, or nobody could tell the double ones.
        place, amplitude = (index * _STEP, _AMPLITUDE) if member != "CH" else (index * 1.23 - 0.045 * side, 0.35)
        for symbol, (forward, outward) in [(own, (0.0, 0.0)), *around]:
            groups[-1].append(len(symbols))
            symbols.append(symbol)
            places.append((place, side * (amplitude + outward), forward))
    first, last = places[groups[0][0]], next(p for p in reversed(places) if p[2] == 0.0 and abs(p[1]) < 0.5)
    for (x, y, _), along in ((first, -0.9), (last, 0.9)):
        symbols.append("H")
        places.append((x + along, y - np.sign(y) * 0.55, 0.0))
    return Atoms(symbols, places), groups


def _member(member: str) -> tuple[str, list[tuple[str, tuple[float, float]]]]:
    """Return the element of a member, and symbols and places (out of the plane, outward) of what is bonded to it."""
    if member == "O":
        return "O", []
    if member == "CH":
        return "C", [("H", (0.0, _SP2))]
    front, behind = {"CH2": ("H", "H"), "CHCl": ("Cl", "H"), "ClCH": ("H", "Cl")}[member]
    place = {"H": _SP3, "Cl": _CHLORINE}
    return "C", [(front, place[front]), (behind, (-place[behind][0], place[behind][1]))]


def _study(name: str, chain: Record, level: TbliteLevel, options: Options) -> list[Curve]:
    """Learn a chain and its cell, each from its own amons."""
    polymer = POLYMERS[name]
    largest = options.max_heavy or polymer.max_heavy
    free = free_atoms(chain.numbers.tolist(), level)
    cell = _middle(chain, zigzag(polymer.cell, polymer.n_cells)[1])
    n_monomers = polymer.n_monomers * polymer.n_cells
    queries = [Query.of(chain, f"{name}, chain", "monomer", n_monomers)]
    geometry = Geometry(cell.numbers, cell.positions / BOHR, cell=cell.cell.complete() / BOHR, pbc=cell.pbc)
    energy = _cell_energy(cell, level)
    queries.append(Query(f"{name}, cell", geometry, energy, "monomer", polymer.n_monomers))
    curves = []
    for query, cut in zip(queries, (cut_amons(chain, largest), _cut_cell(cell, largest)), strict=True):
        title = f"label amons of {query.system}"
        labelled = label(cut, options.output / "polymers.db", Relaxing(level), options, title)
        amons = [amon for amon in labelled if amon is not None]
        curves += learning_curves([query], amons, level.name, free=free, options=options)
    return curves


def _middle(chain: Record, groups: Sequence[Sequence[int]]) -> Atoms:
    """Make a periodic cell of the one in the middle of a chain."""
    middle = len(groups) // 2
    positions = chain.positions * BOHR
    before, here, after = (positions[list(groups[index])] for index in (middle - 1, middle, middle + 1))
    period = ((after - here).mean(axis=0) + (here - before).mean(axis=0)) / 2
    across = np.linalg.svd(period[None])[2][1:] * 30.0
    return Atoms(chain.numbers[list(groups[middle])], here, cell=np.vstack([period, across]), pbc=(True, False, False))


def _cut_cell(cell: Atoms, max_heavy: int) -> tuple[Record, ...]:
    """Cut amons from an infinite chain, and say which of their atoms are caps."""
    period = cell.cell[0]
    images = np.vstack([cell.positions + n * period for n in range(-2 * max_heavy, 2 * max_heavy + 1)]) / BOHR
    tree = cKDTree(images)
    amons = amon_geometries(cell, max_heavy)
    caps = [np.flatnonzero(tree.query(amon.positions)[0] > _ELSEWHERE).tolist() for amon in amons]
    return tuple(replace(amon, info={**amon.info, "caps": own}) for amon, own in zip(amons, caps, strict=True))


def _cell_energy(cell: Atoms, level: LevelOfTheory, n_cells: int = 4) -> float:
    """Compute what one more cell adds to a finite chain that repeats it, Hartree."""
    energies = []
    for count in (n_cells, n_cells + 1):
        energy = level.label(record_from_atoms(_finite(cell, count))).energy
        if energy is None:
            raise CalculationFailed(f"{level.name} gives no energy for a chain of {count} cells.")
        energies.append(energy)
    return energies[1] - energies[0]


def _finite(cell: Atoms, n_cells: int) -> Atoms:
    """Repeat a cell, with hydrogen in place of the next atoms on both sides."""
    period = cell.cell[0]
    atoms = Atoms()
    for index in range(n_cells):
        part = Atoms(cell.numbers, cell.positions + index * period)
        atoms += part
    backbone = np.flatnonzero((cell.numbers != 1) & (cell.numbers != 17))
    first, last = cell.positions[backbone[0]], cell.positions[backbone[-1]]
    shift = (n_cells - 1) * period
    for end, other in ((first, last - period), (last + shift, first + shift + period)):
        along = other - end
        atoms += Atoms("H", [end + _CAP * along / np.linalg.norm(along)])
    return atoms
