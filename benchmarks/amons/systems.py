"""Geometries of polymers, droplets, sheets, crystals and base pairs, Angstrom, and molecules drawn from files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk, graphene, molecule
from ase.calculators.calculator import InputError
from ase.data.s22 import create_s22_system
from numpy.typing import NDArray
from rdkit import Chem
from rdkit.Chem import rdForceFieldHelpers
from scipy.spatial.transform import Rotation

from ase_mlwave.data.readers import read_dataset
from ase_mlwave.data.record import Record
from ase_mlwave.models.amons.fragments.capping import CAP_LENGTHS
from ase_mlwave.models.amons.fragments.perception import molecule_from
from ase_mlwave.reference.molecules import from_smiles
from ase_mlwave.units import BOHR

Array = NDArray[np.float64]

# --- molecules of QM7 and QM9 -----------------------------------------------------------------------------------------


def choose(path: Path, sizes: Sequence[int], count: int, seed: int) -> list[Record]:
    """Choose molecules of so many heavy atoms at random among those whose bonds are certain; no labels.

    ``info["name"]`` is file and row. A larger count only adds molecules.
    """
    found = []
    for row, record in enumerate(read_dataset(path)):
        n_heavy = int((record.numbers > 1).sum())
        if n_heavy in sizes:
            info = {"name": f"{path.stem}-{row}", "n_heavy": n_heavy}
            found.append(replace(record, energy=None, forces=None, info=info))
    chosen: list[Record] = []
    for index in np.random.default_rng(seed).permutation(len(found)):
        if len(chosen) == count:
            break
        if smiles_of(found[index]) is not None:
            chosen.append(found[index])
    return chosen


def smiles_of(record: Record) -> str | None:
    """Write a molecule as SMILES; None where its bonds are uncertain."""
    try:
        return str(Chem.MolToSmiles(Chem.RemoveHs(molecule_from(record).to_rdkit()), isomericSmiles=False))
    except InputError:
        return None


# --- polymers ---------------------------------------------------------------------------------------------------------

#: Zigzag of carbon: step along the chain, amplitude; where substituents are, relative to their atom.
_STEP, _AMPLITUDE = 1.27, 0.42
_SP3, _SP2, _CHLORINE, _CAP = (0.88, 0.63), 1.09, (1.46, 1.00), 1.10


def zigzag(members: Sequence[str], n_cells: int) -> tuple[Atoms, list[list[int]]]:
    """Build a planar chain along x with hydrogen at both ends (the last atoms), and say which atoms are each cell's."""
    symbols: list[str] = []
    places: list[tuple[float, float, float]] = []
    groups: list[list[int]] = []
    for index, member in enumerate([*members] * n_cells):
        if index % len(members) == 0:
            groups.append([])
        side = 1.0 if index % 2 else -1.0
        # Bonds of polyacetylene are short and long in turn, or nobody could tell the double ones.
        place, amplitude = (index * _STEP, _AMPLITUDE) if member != "CH" else (index * 1.23 - 0.045 * side, 0.35)
        for symbol, (forward, outward) in _member(member):
            groups[-1].append(len(symbols))
            symbols.append(symbol)
            places.append((place, side * (amplitude + outward), forward))
    first, last = places[groups[0][0]], next(p for p in reversed(places) if p[2] == 0.0 and abs(p[1]) < 0.5)
    for (x, y, _), along in ((first, -0.9), (last, 0.9)):
        symbols.append("H")
        places.append((x + along, y - np.sign(y) * 0.55, 0.0))
    return Atoms(symbols, places), groups


def _member(member: str) -> list[tuple[str, tuple[float, float]]]:
    """Return the atoms of a member, first that of the backbone, with their places (out of the plane, outward)."""
    if member in ("O", "CH"):
        return [("O", (0.0, 0.0))] if member == "O" else [("C", (0.0, 0.0)), ("H", (0.0, _SP2))]
    front, behind = {"CH2": ("H", "H"), "CHCl": ("Cl", "H"), "ClCH": ("H", "Cl")}[member]
    place = {"H": _SP3, "Cl": _CHLORINE}
    return [("C", (0.0, 0.0)), (front, place[front]), (behind, (-place[behind][0], place[behind][1]))]


def middle_cell(chain: Record, groups: Sequence[Sequence[int]]) -> Atoms:
    """Make a periodic cell of the one in the middle of a chain."""
    middle = len(groups) // 2
    positions = chain.positions * BOHR
    before, here, after = (positions[list(groups[index])] for index in (middle - 1, middle, middle + 1))
    period = ((after - here).mean(axis=0) + (here - before).mean(axis=0)) / 2
    across = np.linalg.svd(period[None])[2][1:] * 30.0
    return Atoms(chain.numbers[list(groups[middle])], here, cell=np.vstack([period, across]), pbc=(True, False, False))


def finite_chain(cell: Atoms, n_cells: int) -> Atoms:
    """Repeat a cell, with hydrogen in place of the next atoms on both sides."""
    period = cell.cell[0]
    atoms = Atoms()
    for index in range(n_cells):
        atoms += Atoms(cell.numbers, cell.positions + index * period)
    backbone = np.flatnonzero((cell.numbers != 1) & (cell.numbers != 17))
    first, last = cell.positions[backbone[0]], cell.positions[backbone[-1]]
    shift = (n_cells - 1) * period
    for end, other in ((first, last - period), (last + shift, first + shift + period)):
        along = other - end
        atoms += Atoms("H", [end + _CAP * along / np.linalg.norm(along)])
    return atoms


# --- water ------------------------------------------------------------------------------------------------------------

#: Volume of a molecule in the sphere that a droplet begins in, and least distance of two oxygens.
_VOLUME, _APART = 45.0, 2.7


def droplet(n_molecules: int, seed: int = 0) -> Atoms:
    """Put molecules at random into a sphere, and relax them with MMFF94."""
    rng = np.random.default_rng([seed, n_molecules])
    water = molecule("H2O")
    radius = (3 * n_molecules * _VOLUME / (4 * np.pi)) ** (1 / 3)
    places: list[Array] = []
    while len(places) < n_molecules:
        place = rng.uniform(-radius, radius, 3)
        if np.linalg.norm(place) < radius and all(np.linalg.norm(place - other) > _APART for other in places):
            places.append(place)
    turned = [Rotation.random(random_state=rng).apply(water.positions) + place for place in places]
    atoms = Atoms(np.tile(water.numbers, n_molecules), np.vstack(turned))
    mol = Chem.AddHs(Chem.MolFromSmiles(".".join(["O"] * n_molecules)))
    order = [index for n in range(n_molecules) for index in (n, n_molecules + 2 * n, n_molecules + 2 * n + 1)]
    conformer = Chem.Conformer(len(order))
    for index, position in zip(order, atoms.positions.tolist(), strict=True):
        conformer.SetAtomPosition(index, position)
    mol.AddConformer(conformer)
    rdForceFieldHelpers.MMFFOptimizeMolecule(mol, maxIters=2000)
    atoms.positions = np.array(mol.GetConformer().GetPositions())[order]
    return atoms


# --- boron nitride ----------------------------------------------------------------------------------------------------

#: Distance of next neighbours of the same element, and of bonded atoms.
_LATTICE = 2.504
_BOND = _LATTICE / np.sqrt(3)


def doped_sheet(sites: Sequence[int], n_cells: int) -> Atoms:
    """Build a periodic sheet, with carbon at sites of one ring (in order around it, boron first; from 3 cells on)."""
    atoms = graphene("BN", a=_LATTICE, size=(n_cells, n_cells, 1), vacuum=10.0)
    atoms.pbc = (True, True, False)
    if sites:
        ring = _ring(atoms)
        atoms.numbers[[ring[site] for site in sites]] = 6
    return atoms


def flake(n_rings: int, sites: Sequence[int] = ()) -> Atoms:
    """Build a hexagonal flake of 1, 7, 19, ... rings, hydrogen at its edge, with carbon at sites of the innermost."""
    size = 2 * n_rings + 4
    sheet = graphene("BN", a=_LATTICE, size=(size, size, 1), vacuum=10.0)
    middle = sheet.positions[_ring(sheet)].mean(axis=0)
    one, two = sheet.cell[0] / size, sheet.cell[1] / size
    span = range(1 - n_rings, n_rings)
    skew = 1 if one @ two > 0 else -1
    centres = np.array([middle + i * one + j * two for i in span for j in span if abs(i + skew * j) < n_rings])
    kept = np.flatnonzero((np.linalg.norm(sheet.positions[:, None] - centres, axis=2) < 1.1 * _BOND).any(axis=1))
    atoms = Atoms(sheet.numbers[kept], sheet.positions[kept])
    distances = np.linalg.norm(sheet.positions[kept][:, None] - sheet.positions, axis=2)
    for row, inner in enumerate(kept):
        for outer in np.flatnonzero((distances[row] > 0.1) & (distances[row] < 1.1 * _BOND)):
            if outer not in kept:
                along = (sheet.positions[outer] - sheet.positions[inner]) / _BOND
                length = CAP_LENGTHS[int(sheet.numbers[inner])] * BOHR
                atoms += Atoms("H", [sheet.positions[inner] + length * along])
    order = _around(atoms, middle)
    atoms.numbers[[order[site] for site in sites]] = 6
    return atoms


def _ring(sheet: Atoms) -> list[int]:
    """Find a ring near the middle of a sheet, boron first, in order around it."""
    centre = sheet.positions.mean(axis=0)
    boron = min(np.flatnonzero(sheet.numbers == 5), key=lambda a: float(np.linalg.norm(sheet.positions[a] - centre)))
    near = np.flatnonzero(np.abs(np.linalg.norm(sheet.positions - sheet.positions[boron], axis=1) - _BOND) < 0.1)
    return _around(sheet, sheet.positions[near[0]] + sheet.positions[near[1]] - sheet.positions[boron])


def _around(atoms: Atoms, middle: Array) -> list[int]:
    """Return the ring around a point, in order, boron first."""
    ring = np.flatnonzero(np.linalg.norm(atoms.positions - middle, axis=1) < 1.1 * _BOND)
    angles = np.arctan2(*(atoms.positions[ring] - middle)[:, 1::-1].T)
    order = ring[np.argsort(angles)].tolist()
    start = next(index for index, atom in enumerate(order) if atoms.numbers[atom] == 5)
    return order[start:] + order[:start]


# --- silicon ----------------------------------------------------------------------------------------------------------


def silicon_cells(seed: int = 0) -> Iterator[tuple[str, Atoms, Atoms]]:
    """Yield crystals, as the smallest cell and as the cubic one of eight atoms: perfect, strained, displaced."""
    smallest, cubic = bulk("Si", "diamond", a=5.431), bulk("Si", "diamond", a=5.431, cubic=True)
    sheared = np.array([[1.0, 0.02, 0.0], [0.02, 1.0, 0.0], [0.0, 0.0, 1.0]])
    for name, strain in {"perfect": np.eye(3), "compressed 2 %": 0.98 * np.eye(3), "sheared 4 %": sheared}.items():
        both = smallest.copy(), cubic.copy()
        for cell in both:
            cell.set_cell(cell.cell[:] @ strain, scale_atoms=True)
        yield name, *both
    for amplitude in (0.05, 0.10):  # standard deviation
        rattled = cubic.copy()
        rattled.rattle(amplitude, rng=np.random.default_rng(seed))
        yield f"displaced {amplitude:.2f} A", rattled, rattled


# --- base pairs -------------------------------------------------------------------------------------------------------

_GUANINE, _CYTOSINE = "Nc1nc2[nH]cnc2c(=O)[nH]1", "Nc1cc[nH]c(=O)n1"
#: Atoms of the hydrogen bonds, first to third (O6 N1 N2 and N4 N3 O2), and the distance of these edges.
EDGES = ((9, 10, 0), (0, 7, 6))
_BRIDGE = 2.9


def base_pair(name: str) -> Atoms:
    """Build the pair A-T or G-C; the atoms of the first base come first."""
    return guanine_cytosine() if name == "G-C" else create_s22_system("Adenine-thymine_Watson-Crick_complex")


def guanine_cytosine() -> Atoms:
    """Build the pair from its bases, edge to edge in one plane."""
    flat = []
    for smiles, edge, turn in ((_GUANINE, EDGES[0], -1.0), (_CYTOSINE, EDGES[1], 1.0)):
        base = from_smiles(smiles)
        frame = _along(base.positions * BOHR, edge)
        if frame[:, 1].mean() * turn < 0:
            frame = frame * [1, -1, -1]
        flat.append(Atoms(base.numbers, frame))
    flat[1].positions += [0, _BRIDGE, 0]
    pair: Atoms = flat[0] + flat[1]
    return pair


def _along(positions: Array, edge: tuple[int, int, int]) -> Array:
    """Turn a base such that its edge lies on the x axis and its ring in the xy plane."""
    first, middle, last = positions[list(edge)]
    x = (last - first) / np.linalg.norm(last - first)
    z = np.linalg.svd(positions - positions.mean(axis=0))[2][2]
    z = z - x * (z @ x)
    z /= np.linalg.norm(z)
    turned: Array = (positions - (first + middle + last) / 3) @ np.array([x, np.cross(z, x), z]).T
    return turned
