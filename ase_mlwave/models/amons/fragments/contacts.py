"""Non-covalent amons: pairs of covalent ones that touch in the query, and clusters of small molecules."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

import numpy as np
from ase.calculators.calculator import InputError
from ase.data import covalent_radii, vdw_radii

from ase_mlwave.models.amons.fragments.capping import cap_fragment, is_crowded
from ase_mlwave.models.amons.fragments.fragment import Fragment
from ase_mlwave.models.amons.fragments.molecule import Molecule
from ase_mlwave.models.amons.fragments.rdkit_graphs import Bond, pair_of
from ase_mlwave.models.amons.fragments.subgraphs import connected_subgraphs
from ase_mlwave.systems.neighbours import near_points
from ase_mlwave.units import BOHR

__all__ = ["IN_CELLS", "REACH", "contact_fragments", "find_contacts", "usual_contact_heavy"]

#: Van der Waals radii, Angstrom; ASE's for other elements, 2.0 where there is none.
_VDW_RADII = {1: 1.10, 6: 1.70, 7: 1.55, 8: 1.52, 9: 1.47, 16: 1.80}
_UNKNOWN_RADIUS = 2.0
#: A contact is longer than the covalent radii and this (Angstrom), and not longer than this many van der Waals radii.
_BEYOND_BOND, _REACH = 0.45, 1.20
_BONDS_APART, _NEARBY = 4, 2
#: Longest contact of elements whose van der Waals radii are known, Angstrom.
REACH = 2 * _REACH * _UNKNOWN_RADIUS
#: Heavy atoms of contact amons where nothing else is said: of molecules that touch, and within one molecule.
_BETWEEN, _WITHIN = 6, 4
IN_CELLS = _BETWEEN


def usual_contact_heavy(molecule: Molecule) -> int | None:
    """Choose the size of non-covalent amons for a query.

    Parameters
    ----------
    molecule : Molecule
        The query; for cells `IN_CELLS` is usual.

    Returns
    -------
    int or None
        6 heavy atoms for molecules that touch: the dimers of formic acid and of formamide are wrong by 13
        to 15 kcal/mol with 4 and by 0.4 with 6 (GFN2-xTB). 4 within one molecule, where 6 cost up to twice the amons of
        a peptide and gain nothing. None without coordinates.
    """
    if molecule.positions is None:
        return None
    return _BETWEEN if len(molecule.parts) > 1 else _WITHIN


def find_contacts(molecule: Molecule, ends: Collection[int] | None = None) -> tuple[Bond, ...]:
    """Find the pairs of atoms that touch without being bonded.

    Parameters
    ----------
    molecule : Molecule
        With positions; it may consist of several molecules.
    ends : collection of int, optional
        Atoms of which one must be an end; all by default.

    Returns
    -------
    tuple of (int, int)
        Atoms (hydrogens too) in different molecules, or at least 4 bonds apart, whose distance lies between the sum of
        covalent radii + 0.45 Angstrom and 1.20 sums of van der Waals radii; none is an sp3 carbon, and neither has a
        nearer atom among those within 2 bonds of the other.

    Raises
    ------
    InputError
        If there are no positions.

    Notes
    -----
    Time is linear in the number of atoms.
    Source: the public program aqml, non-covalent bonds.
    """
    if molecule.positions is None:
        raise InputError("contacts need coordinates; give the query as ase.Atoms or a file with a geometry.")
    positions = molecule.positions * BOHR
    covalent = [float(covalent_radii[number]) for number in molecule.numbers]
    outer = [_vdw_radius(number) for number in molecule.numbers]
    excluded = {a for a in molecule.heavy if molecule.numbers[a] == 6 and len(molecule.neighbours[a]) == 4}
    contacts = []
    for i, j in near_points(positions, 2.0 * _REACH * max(outer)):
        if ends is not None and i not in ends and j not in ends:
            continue
        distance = float(np.linalg.norm(positions[i] - positions[j]))
        if {i, j} & excluded or not covalent[i] + covalent[j] + _BEYOND_BOND < distance < _REACH * (
            outer[i] + outer[j]
        ):
            continue
        if j in _within(molecule, i, _BONDS_APART - 1):
            continue
        around_i, around_j = sorted(_within(molecule, i, _NEARBY)), sorted(_within(molecule, j, _NEARBY))
        to_j = np.linalg.norm(positions[around_j] - positions[i], axis=1)
        to_i = np.linalg.norm(positions[around_i] - positions[j], axis=1)
        if min(*to_j, *to_i, distance) >= distance - 1e-9:
            contacts.append((i, j))
    return tuple(contacts)


def contact_fragments(
    molecule: Molecule, fragments: Iterable[Fragment], max_heavy: int, roots: Collection[int] | None = None
) -> Iterator[Fragment]:
    """Combine covalent amons that touch.

    Parameters
    ----------
    molecule : Molecule
        The query, with positions.
    fragments : iterable of Fragment
        Its covalent amons, see ``fragments_of``.
    max_heavy : int
        Largest number of heavy atoms of a combination.
    roots : collection of int, optional
        Atoms of which one must be the smallest of the combination; all by default. Of a crystal those of one cell, so
        that combinations which differ by a translation of the lattice count once.

    Yields
    ------
    Fragment
        Pairs with at least one contact between atoms of the query, no common atom and no bond between them; and
        connected clusters of three or more molecules of one heavy atom each (water), as many as ``max_heavy`` allows
        (the public program ends at three). Combinations in which atoms collide are left out.
        The SMILES of the parts are joined by dots in alphabetical order.

    Raises
    ------
    InputError
        If there are no positions.
    """
    pairs = ((_owner(molecule, i), _owner(molecule, j)) for i, j in find_contacts(molecule))
    links = sorted({pair_of(*pair) for pair in pairs})
    if not links:
        return
    parts = sorted(fragments, key=lambda fragment: (len(fragment.atoms), fragment.atoms))
    at: dict[int, list[Fragment]] = {}
    for part in parts:
        for atom in part.atoms:
            at.setdefault(atom, []).append(part)
    for group in (*_pairs(molecule, links, at, max_heavy), *_clusters(molecule, links, at, max_heavy)):
        joined = _joined(group)
        if roots is not None and joined.atoms[0] not in roots:
            continue
        if not is_crowded(cap_fragment(molecule, frozenset(joined.atoms), dict(joined.orders)).molecule):
            yield joined


def _pairs(
    molecule: Molecule, links: Sequence[Bond], at: dict[int, list[Fragment]], max_heavy: int
) -> list[tuple[Fragment, ...]]:
    """Return pairs of fragments with a contact, each pair once."""
    pairs: dict[frozenset[tuple[int, ...]], tuple[Fragment, ...]] = {}
    for a, b in links:
        for one in at.get(a, ()):
            closed = set(one.atoms).union(*(molecule.neighbours[atom] for atom in one.atoms))
            for two in at.get(b, ()):
                if len(one.atoms) + len(two.atoms) > max_heavy:
                    break  # they come by size
                if closed.isdisjoint(two.atoms):
                    pairs.setdefault(frozenset({one.atoms, two.atoms}), (one, two))
    return list(pairs.values())


def _clusters(
    molecule: Molecule, links: Sequence[Bond], at: dict[int, list[Fragment]], max_heavy: int
) -> list[tuple[Fragment, ...]]:
    """Return sets of three or more molecules of one heavy atom that hang together by contacts, each set once."""
    if max_heavy < 3:
        return []
    alone = [
        (atom, part)
        for atom in molecule.heavy
        if all(molecule.numbers[other] == 1 for other in molecule.neighbours[atom])
        for part in at.get(atom, ())
    ]
    place = {atom: index for index, (atom, _) in enumerate(alone)}
    touching: list[list[int]] = [[] for _ in alone]
    for a, b in links:
        if a in place and b in place:
            touching[place[a]].append(place[b])
            touching[place[b]].append(place[a])
    groups = (group for group in connected_subgraphs(touching, max_heavy) if len(group) > 2)
    return [tuple(alone[index][1] for index in group) for group in sorted(groups, key=lambda g: (len(g), g))]


def _owner(molecule: Molecule, atom: int) -> int:
    """Return the heavy atom that a hydrogen is bonded to, and a heavy atom itself."""
    bonded = molecule.neighbours[atom]
    return bonded[0] if molecule.numbers[atom] == 1 and bonded else atom


def _joined(group: tuple[Fragment, ...]) -> Fragment:
    """Make one fragment of several."""
    return Fragment(
        atoms=tuple(sorted(atom for part in group for atom in part.atoms)),
        orders=tuple(sorted(order for part in group for order in part.orders)),
        smiles=".".join(sorted(part.smiles for part in group)),
    )


def _within(molecule: Molecule, atom: int, bonds: int) -> set[int]:
    """Return the other atoms that are at most so many bonds away."""
    reached = {atom}
    border = {atom}
    for _ in range(bonds):
        border = {other for inner in border for other in molecule.neighbours[inner]} - reached
        reached |= border
    return reached - {atom}


def _vdw_radius(number: int) -> float:
    radius = _VDW_RADII.get(number, float(vdw_radii[number]) if number < len(vdw_radii) else _UNKNOWN_RADIUS)
    return radius if np.isfinite(radius) else _UNKNOWN_RADIUS
