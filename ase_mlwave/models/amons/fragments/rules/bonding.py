"""The bonds of a fragment whose atoms keep their valence and their number of neighbours (rules 3 and 7)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from scipy.optimize import LinearConstraint, milp
from scipy.sparse import coo_array

from ase_mlwave.models.amons.fragments.molecule import Molecule
from ase_mlwave.models.amons.fragments.rdkit_graphs import Bond

__all__ = ["perceived_orders", "resonant_atoms"]


def perceived_orders(molecule: Molecule, fragment: frozenset[int]) -> dict[Bond, int] | None:
    """Find bond orders with which every atom keeps its sum of bond orders, a hydrogen replacing each cut bond.

    Parameters
    ----------
    molecule : Molecule
        The query.
    fragment : frozenset of int
        Heavy atoms of the fragment.

    Returns
    -------
    dict of (int, int) to int, or None
        Orders of the bonds between these atoms; None if there are none that fit.

    Notes
    -----
    Let V be the sum of bond orders of an atom and CN the number of its neighbours. An atom with V - CN > 1 keeps all
    its multiple bonds. The others with V - CN = 1 must pair up by double bonds: a perfect matching. Where there are
    several, the query's own double bonds come first. Since V, CN and formal charges stay, a fragment of a closed-shell
    molecule has closed shells (``test_fragments_have_an_even_number_of_electrons``).
    """
    bonds = [(i, j) for i in sorted(fragment) for j in molecule.neighbours[i] if j > i and j in fragment]
    orders = dict.fromkeys(bonds, 1)
    fixed = _fixed_bonds(molecule, fragment)
    if any(i not in fragment or j not in fragment for i, j in fixed):
        return None
    orders.update(fixed)
    open_atoms = _open_atoms(molecule, fragment, fixed)
    matching = None if open_atoms is None else _perfect_matching(molecule, open_atoms)
    if matching is None:
        return None
    orders.update(dict.fromkeys(matching, 2))
    return orders


def resonant_atoms(molecule: Molecule) -> frozenset[int]:
    """Find the atoms whose bonds differ between the Kekule structures of a molecule.

    Parameters
    ----------
    molecule : Molecule
        All formal charges stay where they are.

    Returns
    -------
    frozenset of int
        Both atoms of every bond that is double in some structures and single in others.

    Notes
    -----
    Those of benzene, but not of furan or of a carboxylate (``test_resonant_atoms_are_those_of_kekule_structures``).
    """
    heavy = frozenset(molecule.heavy)
    open_atoms = _open_atoms(molecule, heavy, _fixed_bonds(molecule, heavy)) or set()
    bonds = [(i, j) for i in sorted(open_atoms) for j in molecule.neighbours[i] if j > i and j in open_atoms]
    if len(bonds) < len(open_atoms) / 2 + 1:
        return frozenset()  # nothing but the double bonds that there are
    partners = Counter(atom for bond in _matchable(sorted(open_atoms), bonds) for atom in bond)
    return frozenset(atom for atom, count in partners.items() if count > 1)


def _matchable(atoms: Sequence[int], bonds: Sequence[Bond]) -> set[Bond]:
    """Return the bonds that are double in some Kekule structure.

    Each structure is one with as many double bonds in new places as can be (an integer program), until there is none.
    """
    place = {atom: index for index, atom in enumerate(atoms)}
    ends = np.array([[place[i], place[j]] for i, j in bonds])
    edges = np.arange(len(bonds))
    at = coo_array((np.ones(2 * len(bonds)), (ends.T.ravel(), np.tile(edges, 2))), shape=(len(atoms), len(bonds)))
    fresh = np.ones(len(bonds))
    while True:
        solution = milp(-fresh, integrality=np.ones(len(bonds)), bounds=(0, 1), constraints=LinearConstraint(at, 1, 1))
        in_new_places = (fresh > 0) & (solution.x > 0.5) if solution.x is not None else np.zeros(len(bonds), dtype=bool)
        if not in_new_places.any():
            return {bond for bond, is_fresh in zip(bonds, fresh, strict=True) if not is_fresh}
        fresh[in_new_places] = 0.0


def _fixed_bonds(molecule: Molecule, fragment: Iterable[int]) -> dict[Bond, int]:
    """Return the multiple bonds of atoms with V - CN > 1, and their orders."""
    fixed: dict[Bond, int] = {}
    for atom in fragment:
        if molecule.valences[atom] - len(molecule.neighbours[atom]) > 1:
            for other in molecule.neighbours[atom]:
                order = molecule.order(atom, other)
                if order > 1:
                    fixed[(min(atom, other), max(atom, other))] = order
    return fixed


def _open_atoms(molecule: Molecule, fragment: Iterable[int], fixed: dict[Bond, int]) -> set[int] | None:
    """Return the atoms that need one double bond more than the fixed ones, or None if one needs more than that."""
    excess = {atom: molecule.valences[atom] - len(molecule.neighbours[atom]) for atom in fragment}
    for bond, order in fixed.items():
        for atom in bond:
            excess[atom] -= order - 1
    if any(count not in (0, 1) for count in excess.values()):
        return None
    return {atom for atom, count in excess.items() if count}


def _perfect_matching(molecule: Molecule, open_atoms: set[int]) -> list[Bond] | None:
    """Pair up atoms along bonds: the atom with the fewest partners first, the query's double bonds first."""
    if not open_atoms:
        return []
    partners = {a: [b for b in molecule.neighbours[a] if b in open_atoms] for a in open_atoms}
    atom = min(open_atoms, key=lambda a: (len(partners[a]), a))
    for other in sorted(partners[atom], key=lambda b: (-molecule.order(atom, b), b)):
        rest = _perfect_matching(molecule, open_atoms - {atom, other})
        if rest is not None:
            return [(min(atom, other), max(atom, other)), *rest]
    return None
