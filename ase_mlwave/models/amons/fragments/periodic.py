"""Crystals, sheets and chains: the part of an infinite bond graph around one cell that fragments are cut from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from ase import Atoms
from ase.calculators.calculator import InputError
from ase.data import chemical_symbols, covalent_radii
from rdkit import Chem

from ase_mlwave.models.amons.fragments.bond_orders import ELEMENTS, Edge, NoLewisStructureError, lewis_structure
from ase_mlwave.models.amons.fragments.contacts import REACH, find_contacts
from ase_mlwave.models.amons.fragments.coordinates import LONGEST_BOND, are_bonded, total_charge
from ase_mlwave.models.amons.fragments.molecule import Molecule
from ase_mlwave.models.amons.fragments.rdkit_graphs import Bond, rdkit_graph, sanitise
from ase_mlwave.systems.conversion import system_from_atoms
from ase_mlwave.systems.neighbours import find_pairs
from ase_mlwave.units import BOHR

__all__ = ["Unrolled", "images_touch", "unroll"]

#: Bonds beyond a fragment that the rules look at (the rest of a ring).
_MARGIN = 4
#: Atoms of the largest neighbourhood that is laid out.
_MOST_ATOMS = 50_000

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

    @property
    def home(self) -> set[_Image]:
        """Atoms of the cell at the origin."""
        return {(atom, (0, 0, 0)) for atom in range(len(self.valences))}

    @cached_property
    def around(self) -> tuple[tuple[tuple[int, _Shift, int], ...], ...]:
        """Bonds of every atom: the other atom, the shift of its cell, and the order."""
        bonds_of: list[list[tuple[int, _Shift, int]]] = [[] for _ in self.valences]
        for (i, j, shift), order in zip(self.edges, self.orders, strict=True):
            bonds_of[i].append((j, shift, order))
            bonds_of[j].append((i, (-shift[0], -shift[1], -shift[2]), order))
        return tuple(tuple(bonds) for bonds in bonds_of)


def unroll(
    atoms: Atoms, max_heavy: int, *, allow_radicals: bool = False, max_contact_heavy: int | None = None
) -> Unrolled:
    """Lay out the neighbourhood of one cell as a molecule.

    Parameters
    ----------
    atoms : Atoms
        Periodic in one, two or three directions, of covalent bonds and without a charge.
    max_heavy : int
        Number of heavy atoms of the largest fragment that will be cut.
    allow_radicals : bool
        Accept atoms with an unpaired electron, such as a single carbon atom in boron nitride. A fragment may have one.
    max_contact_heavy : int, optional
        Number of heavy atoms of the largest pair of fragments that touch; then images that touch the cell are laid out,
        too.

    Returns
    -------
    Unrolled
        Every fragment, or pair of fragments, with a root as its smallest atom has its whole surroundings.

    Raises
    ------
    InputError
        If a cell vector is missing, an element is not covalent, it is not certain whether two atoms are bonded, atoms
        are left with unpaired electrons, or the neighbourhood has more than 50,000 atoms.

    Notes
    -----
    Bonds come from distances, bond orders and charges are those of the least charged Lewis structure
    (`ase_mlwave.models.amons.fragments.bond_orders`), as of molecules: a molecule in a cell has the amons that it has
    without (``test_cell_around_a_molecule_makes_no_difference``).
    Source: no program for this has been published; rules and caps are those of molecules.
    """
    graph = _bond_graph(atoms)
    if graph.radicals and not allow_radicals:
        names = ", ".join(f"{atoms.symbols[atom]}{atom}" for atom in sorted(graph.radicals)[:10])
        raise InputError(
            f"these atoms of the crystal have unpaired electrons: {names}. Dope with pairs, repeat the cell so that "
            "electrons pair up, or allow radicals."
        )
    reached = _reached(graph.home, graph.around, max_heavy - 1 + _MARGIN)
    if max_contact_heavy is not None:
        touching = _touching(atoms, _reached(graph.home, graph.around, max_contact_heavy - 1))
        reached |= _reached(touching, graph.around, max_contact_heavy - 2 + _MARGIN)
    images = sorted(reached)
    cluster = _laid_out(atoms.numbers.tolist(), graph, images)
    flat, aromatic = _flags(atoms.numbers.tolist(), graph)
    cell = np.asarray(atoms.cell[:])
    sources = tuple(atom for atom, _ in images)
    molecule = replace(
        cluster,
        positions=np.array([atoms.positions[atom] + np.array(shift) @ cell for atom, shift in images]) / BOHR,
        flat=frozenset(index for index, atom in enumerate(sources) if atom in flat),
        aromatic=frozenset(index for index, atom in enumerate(sources) if atom in aromatic),
        radicals=frozenset(index for index, atom in enumerate(sources) if atom in graph.radicals),
    )
    return Unrolled(molecule, sources, _roots(images))


def images_touch(atoms: Atoms) -> bool:
    """Tell whether there are contacts in a cell, or between its images.

    Parameters
    ----------
    atoms : Atoms
        As for `unroll`.

    Returns
    -------
    bool
        False for networks of bonds such as silicon.
    """
    near = unroll(atoms, 1, allow_radicals=True, max_contact_heavy=2)
    return bool(find_contacts(near.molecule, frozenset(near.roots or ())))


def _bond_graph(atoms: Atoms) -> _Graph:
    """Find bonds, valences and multiple bonds of a cell."""
    for direction in range(3):
        if atoms.pbc[direction] and not np.linalg.norm(atoms.cell[direction]) > 0:
            raise InputError(f"the query is periodic along vector {direction}, but that cell vector is zero; set it.")
    unknown = sorted({int(number) for number in atoms.numbers} - ELEMENTS)
    if unknown:
        raise InputError(
            f"the query has {_symbols(unknown)}, but fragments of crystals are defined for covalent bonds between "
            f"{_symbols(sorted(ELEMENTS))}."
        )
    if total_charge(atoms):
        raise InputError(f"the crystal has charge {total_charge(atoms)} a cell; charged cells have no defined energy.")
    edges, lengths = _edges(atoms)
    bonds = [Edge(i, j, length) for (i, j, _), length in zip(edges, lengths, strict=True)]
    try:
        structure = lewis_structure(atoms.numbers.tolist(), bonds, 0)
    except NoLewisStructureError as error:
        raise InputError(f"{error}; check the crystal's bonds, hydrogens and dopants.") from error
    lacking = [atom for atom, missing in enumerate(structure.unpaired) if missing > 1]
    if lacking:
        names = ", ".join(f"{atoms.symbols[atom]}{atom} ({structure.unpaired[atom]})" for atom in lacking[:10])
        raise InputError(f"these atoms of the crystal lack bonds: {names}. Check its hydrogens, or repeat the cell.")
    valences = [0] * len(atoms)
    for (i, j, _), order in zip(edges, structure.orders, strict=True):
        valences[i] += order
        valences[j] += order
    radicals = frozenset(atom for atom, missing in enumerate(structure.unpaired) if missing)
    return _Graph(tuple(edges), structure.orders, tuple(valences), structure.charges, radicals)


def _edges(atoms: Atoms) -> tuple[list[tuple[int, int, _Shift]], list[float]]:
    """Return the bonds of a cell, each once, and their lengths in sums of covalent radii."""
    radii = covalent_radii[atoms.numbers]
    ends, distances = _near(atoms, 2 * LONGEST_BOND * float(radii.max()))
    edges, lengths = [], []
    for (i, j, step), distance in zip(ends, distances, strict=True):
        if (j, step) < (i, (0, 0, 0)):
            continue  # the same bond from its other end
        bonded, certain = are_bonded(int(atoms.numbers[i]), int(atoms.numbers[j]), float(distance))
        if not certain:
            raise InputError(
                f"it is not certain whether {atoms.symbols[i]}{i} and {atoms.symbols[j]}{j} are bonded: they are "
                f"{distance:.2f} A apart. Relax the structure, or move it away from this distance."
            )
        if bonded:
            edges.append((i, j, step))
            lengths.append(float(distance / (radii[i] + radii[j])))
    return edges, lengths


def _reached(start: set[_Image], around: Sequence[Sequence[tuple[int, _Shift, int]]], bonds: int) -> set[_Image]:
    """Return the images of atoms that are at most so many bonds away from some."""
    border = start
    reached = set(border)
    for _ in range(bonds):
        border = {(other, _add(shift, step)) for atom, shift in border for other, step, _ in around[atom]} - reached
        reached |= border
        if len(reached) > _MOST_ATOMS:
            raise InputError(
                f"fragments of this size need more than {_MOST_ATOMS:,} atoms around one cell to be laid out. Choose a "
                "smaller max_heavy (for shells: fewer bonds), or a smaller cell."
            )
    return reached


def _touching(atoms: Atoms, images: set[_Image]) -> set[_Image]:
    """Return the images of atoms that may touch some, those included."""
    near: list[list[tuple[int, _Shift]]] = [[] for _ in atoms]
    for i, j, shift in _near(atoms, REACH)[0]:
        near[i].append((j, shift))
    return images | {(other, _add(shift, step)) for atom, shift in images for other, step in near[atom]}


def _near(atoms: Atoms, cutoff: float) -> tuple[list[tuple[int, int, _Shift]], list[float]]:
    """Return pairs of atoms, each from both ends, and their distances, Angstrom; of the second which image."""
    system = system_from_atoms(atoms)
    pairs = find_pairs(system, cutoff / BOHR)
    shifts = np.zeros((len(pairs), 3), dtype=np.int64) if pairs.shifts is None else pairs.shifts
    steps = [(x, y, z) for x, y, z in shifts.tolist()]
    ends = list(zip(pairs.first.tolist(), pairs.second.tolist(), steps, strict=True))
    return ends, (np.linalg.norm(pairs.vectors(system), axis=1) * BOHR).tolist()


def _add(one: _Shift, two: _Shift) -> _Shift:
    return (one[0] + two[0], one[1] + two[1], one[2] + two[2])


def _roots(images: Sequence[_Image]) -> tuple[int, ...]:
    """Return the places of the atoms of the cell at the origin."""
    return tuple(index for index, (_, shift) in enumerate(images) if shift == (0, 0, 0))


def _laid_out(numbers: Sequence[int], graph: _Graph, images: Sequence[_Image]) -> Molecule:
    """Make a molecule of images of atoms and the bonds between them."""
    place = {image: index for index, image in enumerate(images)}
    orders: dict[Bond, int] = {}
    for (atom, shift), index in place.items():
        for other, step, order in graph.around[atom]:
            end = place.get((other, _add(shift, step)))
            if end is not None and index < end:
                orders[(index, end)] = order
    return Molecule(
        numbers=tuple(int(numbers[atom]) for atom, _ in images),
        charges=tuple(graph.charges[atom] for atom, _ in images),
        orders=orders,
    )


def _flags(numbers: Sequence[int], graph: _Graph) -> tuple[frozenset[int], frozenset[int]]:
    """Let RDKit find the atoms of a cell that are sp or sp2, and those that are aromatic.

    All images of an atom are alike, so that the neighbourhood of one cell is enough: RDKit's search for rings in the
    whole cluster takes minutes. Bonds that lead out of it count as hydrogens.
    """
    images = sorted(_reached(graph.home, graph.around, _MARGIN))
    cluster = _laid_out(numbers, graph, images)
    outside = [graph.valences[atom] - home for (atom, _), home in zip(images, cluster.valences, strict=True)]
    editable = rdkit_graph(cluster.numbers, cluster.charges, cluster.orders, outside)
    try:
        sanitise(editable)
    except (ValueError, RuntimeError) as error:
        raise InputError(f"RDKit does not accept the bonds found in the crystal: {error}.") from error
    sp2 = {Chem.HybridizationType.SP, Chem.HybridizationType.SP2}
    home = [(images[index][0], editable.GetAtomWithIdx(index)) for index in _roots(images)]
    return (
        frozenset(atom for atom, image in home if image.GetHybridization() in sp2),
        frozenset(atom for atom, image in home if image.GetIsAromatic()),
    )


def _symbols(numbers: Sequence[int]) -> str:
    return ", ".join(chemical_symbols[number] for number in numbers)
