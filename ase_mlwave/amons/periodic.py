"""Crystals, sheets and chains: the part of an infinite bond graph around one cell that fragments are cut from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.calculators.calculator import InputError
from ase.data import chemical_symbols, covalent_radii
from ase.neighborlist import neighbor_list
from rdkit import Chem, rdBase

from ase_mlwave.amons.kekule import Edge, double_bonds
from ase_mlwave.amons.molecule import Bond, Molecule
from ase_mlwave.units import BOHR

__all__ = ["Unrolled", "unroll"]

#: Bonds are shorter than the first, gaps wider than the second number of sums of covalent radii; between, nobody knows.
#: (Silicon: 2.82 and 2.95 A, where the bond is 2.35 A long and the next neighbour 3.84 A away.)
_SURELY_BONDED, _SURELY_APART = 1.27, 1.33
#: Element -> numbers of bonds that it makes without a charge.
_VALENCES = {
    1: (1,), 5: (3,), 6: (4,), 7: (3,), 8: (2,), 9: (1,), 14: (4,), 15: (3, 5), 16: (2, 4, 6), 17: (1,), 32: (4,),
    35: (1,), 53: (1,),
}  # fmt: skip
#: Element -> charge that it has with one bond more than its valence.
_CROWDED_CHARGE = {5: -1, 7: 1, 8: 1}
#: Bonds beyond a fragment that the rules look at (the rest of a ring).
_MARGIN = 4

_Shift = tuple[int, int, int]
_Image = tuple[int, _Shift]


@dataclass(frozen=True, eq=False)
class Unrolled:
    """Hold a query as a finite molecule, and which of its fragments are to be counted.

    Parameters
    ----------
    molecule : Molecule
        A molecule, or the neighbourhood of one cell of a crystal.
    atoms : tuple of int
        The query's atom at the place of each atom.
    roots : tuple of int or None
        Atoms of which one must be a fragment's smallest; None for all. Of a crystal these are the atoms of one cell, so
        that fragments which differ by a translation of the lattice count once.
    """

    molecule: Molecule
    atoms: tuple[int, ...]
    roots: tuple[int, ...] | None = None

    @classmethod
    def of_molecule(cls, molecule: Molecule) -> Unrolled:
        """Wrap a molecule: all of its fragments count."""
        return cls(molecule, tuple(range(len(molecule))))


@dataclass(frozen=True, eq=False)
class _Graph:
    """The bond graph of one cell: edges (i, j, shift of j's cell), and what each atom needs."""

    edges: tuple[tuple[int, int, _Shift], ...]
    orders: tuple[int, ...]
    valences: tuple[int, ...]
    charges: tuple[int, ...]
    radicals: frozenset[int]


def unroll(atoms: Atoms, max_heavy: int, *, allow_radicals: bool = False) -> Unrolled:
    """Lay out the neighbourhood of one cell as a molecule.

    Parameters
    ----------
    atoms : Atoms
        Periodic in one, two or three directions; H, B, C, N, O, F, Si, P, S, Cl, Ge, Br and I with covalent bonds.
    max_heavy : int
        Number of heavy atoms of the largest fragment that will be cut.
    allow_radicals : bool
        Accept atoms with an unpaired electron, such as a single carbon atom in boron nitride. A fragment may have one.

    Returns
    -------
    Unrolled
        Every fragment with a root as its smallest atom has its whole surroundings.

    Raises
    ------
    InputError
        If a cell vector is missing, an element is not covalent, it is not certain whether two atoms are bonded, or
        atoms are left with unpaired electrons.

    Notes
    -----
    Bonds come from distances (up to 1.27 sums of covalent radii), valences from the element and the number of
    neighbours; four-coordinate B and N carry formal charges. Multiple bonds pair up what valences are left, short
    bonds first. Source: no program for this has been published; rules and caps are those of molecules.
    """
    graph = _bond_graph(atoms)
    if graph.radicals and not allow_radicals:
        names = ", ".join(f"{atoms.symbols[atom]}{atom}" for atom in sorted(graph.radicals)[:10])
        raise InputError(
            f"these atoms of the crystal have unpaired electrons: {names}. Dope with pairs, repeat the cell so that "
            "electrons pair up, or allow radicals."
        )
    around: list[list[tuple[int, _Shift, int]]] = [[] for _ in atoms]
    for (i, j, shift), order in zip(graph.edges, graph.orders, strict=True):
        around[i].append((j, shift, order))
        around[j].append((i, (-shift[0], -shift[1], -shift[2]), order))
    images = sorted(_reached(len(atoms), around, max_heavy - 1 + _MARGIN))
    place = {image: index for index, image in enumerate(images)}
    orders: dict[Bond, int] = {}
    for (atom, shift), index in place.items():
        for other, step, order in around[atom]:
            end = place.get((other, _add(shift, step)))
            if end is not None and index < end:
                orders[(index, end)] = order
    cell = np.asarray(atoms.cell[:])
    positions = np.array([atoms.positions[atom] + np.array(shift) @ cell for atom, shift in images]) / BOHR
    cluster = Molecule(
        numbers=tuple(int(atoms.numbers[atom]) for atom, _ in images),
        charges=tuple(graph.charges[atom] for atom, _ in images),
        orders=orders,
        positions=positions,
        radicals=frozenset(place[image] for image in images if image[0] in graph.radicals),
    )
    sources = tuple(atom for atom, _ in images)
    roots = tuple(index for (_, shift), index in place.items() if shift == (0, 0, 0))
    return Unrolled(_with_flags(cluster, [graph.valences[atom] for atom in sources]), sources, roots)


def _bond_graph(atoms: Atoms) -> _Graph:
    """Find bonds, valences and multiple bonds of a cell."""
    for direction in range(3):
        if atoms.pbc[direction] and not np.linalg.norm(atoms.cell[direction]) > 0:
            raise InputError(f"the query is periodic along vector {direction}, but that cell vector is zero; set it.")
    unknown = sorted({int(number) for number in atoms.numbers} - set(_VALENCES))
    if unknown:
        raise InputError(
            f"fragments of crystals are defined for covalent bonds between {_symbols(_VALENCES)}; the query has "
            f"{_symbols(unknown)}."
        )
    edges, lengths = _edges(atoms)
    neighbours = [0] * len(atoms)
    for i, j, _ in edges:
        neighbours[i] += 1
        neighbours[j] += 1
    valences, charges = [], []
    for atom, (number, count) in enumerate(zip(atoms.numbers, neighbours, strict=True)):
        valence, charge = _valence(int(number), count, atom)
        valences.append(valence)
        charges.append(charge)
    missing = [valence - count for valence, count in zip(valences, neighbours, strict=True)]
    by_length = sorted(range(len(edges)), key=lambda index: lengths[index])
    try:
        added, unpaired = double_bonds([Edge(index, *edges[index][:2]) for index in by_length], missing)
    except ValueError as error:
        raise InputError(f"{error}; check the structure's bonds, or repeat the cell.") from error
    for atom in unpaired:
        valences[atom] -= 1
    orders = tuple(1 + added.get(index, 0) for index in range(len(edges)))
    return _Graph(tuple(edges), orders, tuple(valences), tuple(charges), frozenset(unpaired))


def _edges(atoms: Atoms) -> tuple[list[tuple[int, int, _Shift]], list[float]]:
    """Return the bonds of a cell, each once, and their lengths in sums of covalent radii."""
    radii = covalent_radii[atoms.numbers]
    firsts, seconds, shifts, distances = neighbor_list("ijSd", atoms, list(_SURELY_APART * radii))
    edges, lengths = [], []
    for i, j, shift, distance in zip(firsts, seconds, shifts, distances, strict=True):
        step = (int(shift[0]), int(shift[1]), int(shift[2]))
        if (j, step) < (i, (0, 0, 0)):
            continue  # the same bond from its other end
        ratio = float(distance / (radii[i] + radii[j]))
        if ratio > _SURELY_BONDED:
            raise InputError(
                f"it is not certain whether {atoms.symbols[i]}{i} and {atoms.symbols[j]}{j} are bonded: they are "
                f"{distance:.2f} A apart. Relax the structure, or move it away from this distance."
            )
        edges.append((int(i), int(j), step))
        lengths.append(ratio)
    return edges, lengths


def _valence(number: int, n_neighbours: int, atom: int) -> tuple[int, int]:
    """Return the sum of bond orders and the formal charge of an atom."""
    for valence in _VALENCES[number]:
        if valence >= n_neighbours:
            return valence, 0
    if number in _CROWDED_CHARGE and n_neighbours == _VALENCES[number][-1] + 1:
        return n_neighbours, _CROWDED_CHARGE[number]
    raise InputError(
        f"atom {chemical_symbols[number]}{atom} has {n_neighbours} neighbours, more than it has bonds to give; check "
        "the structure."
    )


def _reached(n_atoms: int, around: Sequence[Sequence[tuple[int, _Shift, int]]], bonds: int) -> set[_Image]:
    """Return the images of atoms that are at most so many bonds away from the cell at the origin."""
    border: set[_Image] = {(atom, (0, 0, 0)) for atom in range(n_atoms)}
    reached = set(border)
    for _ in range(bonds):
        border = {(other, _add(shift, step)) for atom, shift in border for other, step, _ in around[atom]} - reached
        reached |= border
    return reached


def _add(one: _Shift, two: _Shift) -> _Shift:
    return (one[0] + two[0], one[1] + two[1], one[2] + two[2])


def _with_flags(cluster: Molecule, valences: Sequence[int]) -> Molecule:
    """Let RDKit find hybridisation and aromaticity; bonds that lead out of the cluster count as hydrogens."""
    editable = Chem.RWMol()
    for index, number in enumerate(cluster.numbers):
        atom = Chem.Atom(number)
        atom.SetFormalCharge(cluster.charges[index])
        atom.SetNumExplicitHs(valences[index] - cluster.valences[index])
        atom.SetNoImplicit(True)
        editable.AddAtom(atom)
    kinds = {1: Chem.BondType.SINGLE, 2: Chem.BondType.DOUBLE, 3: Chem.BondType.TRIPLE}
    for (i, j), order in cluster.orders.items():
        editable.AddBond(i, j, kinds[order])
    with rdBase.BlockLogs():
        Chem.SanitizeMol(editable)
    flat = {Chem.HybridizationType.SP, Chem.HybridizationType.SP2}
    return Molecule(
        cluster.numbers,
        cluster.charges,
        cluster.orders,
        flat=frozenset(atom.GetIdx() for atom in editable.GetAtoms() if atom.GetHybridization() in flat),
        aromatic=frozenset(atom.GetIdx() for atom in editable.GetAtoms() if atom.GetIsAromatic()),
        positions=cluster.positions,
        radicals=cluster.radicals,
    )


def _symbols(numbers: Sequence[int] | dict[int, tuple[int, ...]]) -> str:
    return ", ".join(chemical_symbols[number] for number in sorted(numbers))
